"""Literal names of parameters outside core: whoever needs a slope or a scale asks for the role instead."""

from __future__ import annotations

import ast
import re
from collections.abc import Container, Iterable, Iterator
from typing import NamedTuple, TypeGuard

from benchmarks.house.source import Module

NAMES = "bias|weight|center|temperature|coef|intercept|output|scale|cholesky|dof|quadratic|threshold"
NAME = re.compile(rf"(?:[\w.]*\.)?(?:{NAMES})")
PATH = re.compile(rf"(?:gates\.\d+|experts|family)?\.(?:{NAMES})")
BLANK = re.compile(r".* .*", re.DOTALL)
TAKE_KEYS = {"get", "pop", "setdefault", "startswith", "endswith", "removeprefix", "removesuffix"}
OUTSIDE = ("core", "theory/papers", "nn/hub")  # the parts themselves, the papers' studies, public checkpoints' names

# Words that are no parameter's name where they stand: (file, literal) -> what they are.
ALLOWED = {
    ("estimators/formula.py", "intercept"): "a role, and a word of users",
    ("estimators/options.py", "scale"): "an option of the estimators",
    ("estimators/shared.py", "intercept"): "a role",
    ("estimators/terms.py", "intercept"): "a role",
    ("estimators/terms.py", "threshold"): "a role",
    ("estimators/terms.py", "output"): "a role",
    ("fit/search/nested.py", "intercept"): "a role",
    ("fit/search/nested.py", "quadratic"): "a role",
    ("fit/search/nested.py", "temperature"): "a role",
    ("experiments/temperature.py", "temperature"): "an option of the layers",
    ("experiments/language.py", "temperature"): "an option of the layers",
    ("formulas/side.py", "output"): "an option of formulaic",
    ("formulas/words.py", "center"): "a function of formulas",
    ("formulas/words.py", "scale"): "a function of formulas",
    ("infer/identifiability/known.py", "quadratic"): "a gate",
    ("nn/balance/methods.py", "bias"): "a method of balancing",
    ("nn/balance/methods.py", "weight"): "a number of the balancer",
    ("nn/upcycling.py", "bias"): "an option of the layers",
    ("theory/rate_verdicts.py", "intercept"): "a heading of the rate tables",
    ("testing/fits/laws.py", "quadratic"): "a role",
    ("testing/layers.py", "bias"): "an option of the layers",
    ("testing/layers.py", "output"): "what a layer returns",
    ("theory/voronoi/atoms.py", "scale"): "a role",
    ("theory/voronoi/compare.py", "bias"): "the name of a difference in a result",
    ("theory/voronoi/losses.py", "bias"): "an option of the losses",
}


class Literal(NamedTuple):
    """A parameter's name in quotes."""

    path: str
    line: int
    text: str


def literals(module: Module, allowed: Container[tuple[str, str]] = ALLOWED) -> Iterator[Literal]:
    """Yield the names of parameters that a file outside core uses as keys.

    A key is a name, or a path that ends in one (``gates.0.weight``), that is an index, a key of a dict, one side of a
    comparison or of ``in``, an argument of `get`, ``endswith`` and the like, or a member of a tuple, list or set; a
    path counts wherever it stands. Left alone are a class that declares `parameters`, since a part knows its own
    names; comparisons with a ``role``; ``Literal[...]``; texts with blanks; and the pairs of file and literal in
    `allowed`.
    """
    path = str(module.path)
    if not any(module.path.is_relative_to(room) for room in OUTSIDE):
        found = {(node.lineno, str(node.value)) for node in _keys(module.tree)}
        yield from (Literal(path, line, text) for line, text in sorted(found) if (path, text) not in allowed)


def _keys(node: ast.AST) -> Iterator[ast.Constant]:
    if isinstance(node, ast.ClassDef) and any(getattr(each, "name", "") == "parameters" for each in node.body):
        return
    if isinstance(node, ast.JoinedStr) and any(_matches(each, BLANK) for each in node.values):
        return
    yield from (each for each in _key_places(node) if _matches(each, NAME))
    for child in _below(node):
        if _matches(child, PATH):
            yield child
        yield from _keys(child)


def _key_places(node: ast.AST) -> Iterable[ast.AST | None]:
    """The expressions right below a node that serve as keys."""
    match node:
        case ast.Subscript():
            return [node.slice] if node.slice in _below(node) else []
        case ast.Compare():
            return _below(node)
        case ast.Call(func=ast.Attribute(attr=method)) if method in TAKE_KEYS:
            return node.args[:1]
        case ast.Dict():
            return node.keys
        case ast.Tuple() | ast.List() | ast.Set():
            return node.elts
        case ast.MatchValue():
            return [node.value]
    return []


def _below(node: ast.AST) -> list[ast.AST]:
    """The children of a node, without the words of ``Literal[...]`` and those that a role is compared with."""
    match node:
        case ast.Subscript(value=ast.Name(id="Literal")):
            return []
        case ast.Compare() if any(getattr(side, "attr", "") == "role" for side in (node.left, *node.comparators)):
            words = (ast.Constant, ast.Tuple, ast.List, ast.Set)
            return [side for side in (node.left, *node.comparators) if not isinstance(side, words)]
    return list(ast.iter_child_nodes(node))


def _matches(node: ast.AST | None, pattern: re.Pattern[str]) -> TypeGuard[ast.Constant]:
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and bool(pattern.fullmatch(node.value))
