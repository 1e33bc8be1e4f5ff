"""What an expression of a formula may say: a documented set of functions of columns, checked as a tree, never run.

An *elementwise* expression is made of columns, numbers, ``+ - * / **`` and functions of one value. A *factor* of a term
may also be a spline, a polynomial or a categorical column. Whatever else Python can say is refused.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from keyword import iskeyword
from math import isfinite
from typing import Any, NamedTuple

import numpy as np

from gatewise.formulas.habits import instead_of, with_powers

ELEMENTWISE: dict[str, Callable[[Any], Any]] = {
    "log": np.log,
    "log1p": np.log1p,
    "log10": np.log10,
    "log2": np.log2,
    "exp": np.exp,
    "expm1": np.expm1,
    "sqrt": np.sqrt,
    "abs": np.abs,
    "sin": np.sin,
    "cos": np.cos,
    "tanh": np.tanh,
}
LEARNED = ("center", "scale", "standardize")  # of one column, with numbers that the data of the fit set
BASES = ("poly", "bs", "cs", "cr", "cc")  # several columns of one, likewise
CONTRASTS = ("Treatment", "Sum", "Helmert", "Poly", "Diff")
ARGUMENTS: dict[str, tuple[str, ...]] = {  # after the first
    **dict.fromkeys(("center",), ()),
    "scale": ("center", "scale", "ddof"),
    "standardize": ("center", "rescale", "ddof"),
    "poly": ("degree", "raw"),
    "bs": ("df", "knots", "degree", "include_intercept", "lower_bound", "upper_bound", "extrapolation"),
    **dict.fromkeys(("cs", "cr", "cc"), ("df", "knots", "lower_bound", "upper_bound", "constraints", "extrapolation")),
    "Treatment": ("reference",),
    "Sum": (),
    "Helmert": ("reverse", "scale"),
    "Poly": ("scores",),
    "Diff": ("backward",),
}
FUNCTIONS = (*ELEMENTWISE, "I", *LEARNED, *BASES, "C", *CONTRASTS)
LONGEST = 2000  # characters of a formula
MOST = 50  # of degrees, degrees of freedom, and entries of a list
POWERS = 20.0
DEEPEST = 60  # operations inside each other
QUOTED = re.compile(r"`([^`]*)`")
PARTS = {
    ast.Attribute: "an attribute",
    ast.Lambda: "a lambda",
    ast.Subscript: "a subscript",
    ast.Compare: "a comparison",
}
OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow)
KNOWN = (
    "+ - * / **, log, log1p, log10, log2, exp, expm1, sqrt, abs, sin, cos, tanh (also as np.log, ...), I, center, "
    "scale, standardize, poly, bs, cs, cr, cc and C with Treatment, Sum, Helmert, Poly or Diff"
)


def is_name(text: str) -> bool:
    """Return whether a name needs no backticks.

    Examples
    --------
    >>> is_name("x"), is_name("x.1"), is_name("class")
    (True, False, False)
    """
    return text.isidentifier() and not iskeyword(text)


class Expression(NamedTuple):
    """A checked expression.

    Attributes
    ----------
    text : str
    tree : ast.expr
    names : dict
        The column behind every name in the tree.
    """

    text: str
    tree: ast.expr
    names: dict[str, str]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns it reads, in order, each once."""
        return tuple(dict.fromkeys(self.names.values()))


def column(name: str) -> Expression:
    """Return the expression that is a column."""
    return Expression(name, ast.Name("_0", ast.Load()), {"_0": name})


def elementwise(text: str) -> Expression:
    """Return an elementwise expression, such as ``np.log(hours)``, after checking it.

    Raises
    ------
    ValueError
        For what it may not say, with the functions that it may.

    Examples
    --------
    >>> elementwise("np.log(hours) + 1").columns
    ('hours',)
    """
    tree, quoted = _tree(text)
    names = _names(_checked_value(text, tree, learned=False), quoted)
    return Expression(text, tree, _some(text, names))


def factor(text: str) -> Expression:
    """Return a factor of a term, such as ``bs(x, df=5)`` or ``C(site, Treatment("b"))``, after checking it.

    Examples
    --------
    >>> factor("poly(age, 2)").columns, is_categorical(factor("C(site, Sum)"))
    (('age',), True)
    """
    tree, quoted = _tree(text)
    if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and tree.func.id in (*BASES, "C"):
        first = _first(text, tree)
        if tree.func.id == "C":
            found = [_categorical(text, tree, first)]
        else:
            found = list(_checked_value(text, first, learned=True))
            _checked_literals(text, tree, tree.func.id)
    else:
        found = list(_checked_value(text, tree, learned=True))
    return Expression(text, tree, _some(text, _names(iter(found), quoted)))


def is_categorical(expression: Expression) -> bool:
    """Return whether an expression is ``C(...)``."""
    tree = expression.tree
    return isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and tree.func.id == "C"


def reference_of(expression: Expression) -> Any:
    """Return the level that a factor compares others with, where ``Treatment`` names one; else None.

    Examples
    --------
    >>> reference_of(factor("C(site, Treatment('b'))")), reference_of(factor("C(site, Sum)"))
    ('b', None)
    """
    for node in ast.walk(expression.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Treatment":
            given = [*node.args, *(one.value for one in node.keywords)]
            return _literal(expression.text, given[0]) if given else None
    return None


def widest(expression: Expression) -> int:
    """Return a number of columns that an expression without levels does not exceed.

    Examples
    --------
    >>> widest(factor("bs(x, df=5)")), widest(factor("log(x)"))
    (106, 1)
    """
    tree = expression.tree
    basis = isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and tree.func.id in BASES
    return 2 * MOST + 6 if basis else 1


def functions_in(expression: Expression) -> set[str]:
    """Return the names of functions that an expression calls."""
    calls = [node.func for node in ast.walk(expression.tree) if isinstance(node, ast.Call)]
    names = {node.id if isinstance(node, ast.Name) else "np" for node in calls}
    loose = {node.id for node in ast.walk(expression.tree) if isinstance(node, ast.Name) and node.id in CONTRASTS}
    return names | (loose - set(expression.names))


def compute(expression: Expression, values: dict[str, np.ndarray]) -> np.ndarray:
    """Return an elementwise expression of columns of numbers, without running it as Python.

    Examples
    --------
    >>> compute(elementwise("2 * sqrt(a)"), {"a": np.array([4.0, 9.0])})
    array([4., 6.])
    """
    with np.errstate(all="ignore"):
        return np.asarray(_computed(expression.tree, {name: values[of] for name, of in expression.names.items()}))


def _computed(node: ast.expr, values: dict[str, np.ndarray]) -> Any:
    match node:
        case ast.Constant(value=int() | float() as value):
            return float(value)
        case ast.Name(id=name):
            return values[name]
        case ast.UnaryOp(op=op, operand=inside):
            return -_computed(inside, values) if isinstance(op, ast.USub) else _computed(inside, values)
        case ast.BinOp(left=left, op=op, right=right):
            return _combined(op, _computed(left, values), _computed(right, values))
        case ast.Call(func=func, args=[inside]):
            name = func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "")
            value = _computed(inside, values)
            return value if name == "I" else ELEMENTWISE[name](value)
    raise AssertionError(ast.dump(node))  # the check lets nothing else through


def _combined(op: ast.operator, left: Any, right: Any) -> Any:
    match op:
        case ast.Add():
            return left + right
        case ast.Sub():
            return left - right
        case ast.Mult():
            return left * right
        case ast.Div():
            return np.true_divide(left, right)
    return np.power(left, right)


def _tree(text: str) -> tuple[ast.expr, dict[str, str]]:
    """Return the tree of a text, with a placeholder for every name in backticks, and what these stand for."""
    if not isinstance(text, str) or not text.strip() or len(text) > LONGEST:
        raise ValueError(f"{str(text)[:60]!r} is no expression: give one of columns, of at most {LONGEST} characters")
    quoted: dict[str, str] = {}

    def placeholder(found: re.Match[str]) -> str:
        quoted[f"_quoted{len(quoted)}_"] = found[1]
        return f" _quoted{len(quoted) - 1}_ "

    if "_quoted" in text:
        raise ValueError(f"{text!r} has a name with '_quoted', which is kept for names in backticks: rename the column")
    try:
        tree = ast.parse(QUOTED.sub(placeholder, with_powers(text)).strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as cause:
        raise ValueError(f"{text!r} cannot be read ({type(cause).__name__}): check its brackets and quotes") from None
    level: list[ast.AST] = [tree]
    depth = 0
    while level:
        level, depth = [child for node in level for child in ast.iter_child_nodes(node)], depth + 1
    if depth > DEEPEST:
        raise ValueError(
            f"{text[:60]!r}... has more than {DEEPEST} operations inside each other: compute it in the data"
        )
    return tree, quoted


def _refused(text: str, what: str, function: str = "") -> ValueError:
    return ValueError(
        f"{text!r} has {what}, which a formula may not use: {instead_of(function)}it may use columns, numbers, {KNOWN}"
    )


def _checked_value(text: str, node: ast.expr, learned: bool) -> Iterator[str]:
    """Yield the names of columns in an elementwise expression, after checking every part of it."""
    match node:
        case ast.Constant(value=value):
            _require_number(text, value)
        case ast.Name(id=name):
            if name.startswith("__"):
                raise _refused(text, f"the name {name}")
            yield name
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=inside):
            yield from _checked_value(text, inside, learned)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            base = list(_checked_value(text, left, learned))
            power = _literal(text, right)
            if not base or isinstance(power, str | bool) or power is None or abs(power) > POWERS:
                raise ValueError(f"{text!r} has a power: give that of a column, to a number of at most {POWERS:g}")
            yield from base
        case ast.BinOp(left=left, op=op, right=right) if isinstance(op, OPERATORS):
            yield from _checked_value(text, left, learned)
            yield from _checked_value(text, right, learned)
        case ast.Call():
            name = _function(text, node)
            if name in LEARNED and learned:
                _checked_literals(text, node, name)
            elif name not in (*ELEMENTWISE, "I") or node.keywords or len(node.args) != 1:
                raise _refused(text, f"{name}(...) with these arguments, or inside of another expression", name)
            inside_names = list(_checked_value(text, _first(text, node), learned))
            if not inside_names:
                raise ValueError(f"{text!r} has a function of no column: write its value as a number")
            yield from inside_names
        case _:
            raise _refused(text, PARTS.get(type(node), f"a part of the kind {type(node).__name__}"))


def _function(text: str, node: ast.Call) -> str:
    """Return the name of a function that is called, without a leading ``np.``."""
    match node.func:
        case ast.Name(id=name) if name in FUNCTIONS:
            return name
        case ast.Attribute(value=ast.Name(id="np"), attr=name) if name in ELEMENTWISE:
            return name
        case ast.Name(id=name):
            raise _refused(text, f"the function {name}", name)
    raise _refused(text, "a function that is reached by an attribute")


def _first(text: str, node: ast.Call) -> ast.expr:
    if not node.args or isinstance(node.args[0], ast.Starred):
        raise ValueError(f"{text!r} has a function without an argument: give it a column")
    return node.args[0]


def _categorical(text: str, node: ast.Call, first: ast.expr) -> str:
    """Return the column of ``C(column, contrast, levels=[...])`` after checking the rest."""
    if not isinstance(first, ast.Name) or first.id.startswith("__"):
        raise ValueError(f"{text!r}: C(...) takes a column, such as C(site); compute others in the data first")
    rest = [*node.args[1:], *(one.value for one in node.keywords if one.arg == "contrasts")]
    if len(rest) > 1:
        raise ValueError(f"{text!r}: C(...) takes a column and one contrast")
    for contrast in rest:
        name = getattr(contrast.func if isinstance(contrast, ast.Call) else contrast, "id", None)
        if name not in CONTRASTS:
            known = ", ".join(CONTRASTS)
            raise ValueError(f"{text!r}: the second argument of C is one of {known}, such as Treatment('b')")
        if isinstance(contrast, ast.Call):
            _checked_literals(text, ast.Call(contrast.func, [first, *contrast.args], contrast.keywords), name)
    for keyword in node.keywords:
        if keyword.arg not in ("contrasts", "levels"):
            raise _refused(text, f"C(..., {keyword.arg}=...)")
        if keyword.arg == "levels":
            _list(text, keyword.value)
    return first.id


def _checked_literals(text: str, node: ast.Call, name: str) -> None:
    """Check the arguments after the first: known ones, each a number, a text, a truth value or a list of them."""
    known = ARGUMENTS[name]
    rest = node.args[1:]
    if len(rest) > len(known) or any(one.arg not in known for one in node.keywords):
        raise ValueError(f"{text!r}: the arguments of {name} are {', '.join(known) or 'none but a column'}")
    pairs = [*zip(known, rest, strict=False), *((str(one.arg), one.value) for one in node.keywords)]
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError(f"{text!r} gives an argument of {name} twice")
    for key, value in pairs:
        found = _list(text, value) if isinstance(value, ast.List | ast.Tuple) else _literal(text, value)
        whole = key in ("df", "degree", "ddof")
        if whole and not (type(found) is int and (0 if key == "ddof" else 1) <= found <= MOST):
            raise ValueError(f"{text!r}: give {key} as a whole number from 1 to {MOST}")


def _list(text: str, node: ast.expr) -> list[Any]:
    if not isinstance(node, ast.List | ast.Tuple) or len(node.elts) > MOST:
        raise ValueError(f"{text!r}: give a list of at most {MOST} numbers or texts")
    return [_literal(text, one) for one in node.elts]


def _literal(text: str, node: ast.expr) -> Any:
    """Return a number, a text or a truth value that stands in an expression."""
    sign = 1
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        sign, node = -1 if isinstance(node.op, ast.USub) else 1, node.operand
        if not isinstance(node, ast.Constant) or isinstance(node.value, str | bool | None):
            raise _refused(text, "a sign before what is no number")
    if not isinstance(node, ast.Constant):
        raise _refused(text, "an argument that is computed")
    if isinstance(node.value, str | bool) or node.value is None:
        return node.value
    return sign * _require_number(text, node.value)


def _require_number(text: str, value: Any) -> Any:
    """Return a finite number, or raise."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value) or abs(value) > 1e300:
        raise _refused(text, f"the constant {str(value)[:20]!r}")
    return value


def _names(found: Iterator[str], quoted: dict[str, str]) -> dict[str, str]:
    return {name: quoted.get(name, name) for name in found}


def _some(text: str, names: dict[str, str]) -> dict[str, str]:
    if not names:
        raise ValueError(f"{text!r} reads no column: name one")
    return names
