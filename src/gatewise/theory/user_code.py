"""What the user's own classes and functions compute, as hashes: a study is another one once one of them is changed."""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

KNOWN = {"gatewise", "torch", "numpy", "scipy", *sys.stdlib_module_names} - {"__main__"}
CONSTANTS = (bool, int, float, complex, str, bytes, tuple, type(None))


def code_of(*values: object) -> dict[str, str]:
    """Return a hash of each class and function of the user's that values are made of, or that these call.

    Comments, docstrings and layout do not matter, nor does where the file lies. Code without a source, such as that
    typed into an interpreter, is hashed as it was compiled.

    Parameters
    ----------
    *values : object
        Parts of models, losses, inputs; what they hold is looked into.

    Returns
    -------
    dict of str
        By qualified name. Empty where everything is gatewise's own.
    """
    found: dict[str, str] = {}
    seen: set[type | FunctionType] = set()
    for value in values:
        for one in _made_of(value):
            _collect(one, found, seen)
    return dict(sorted(found.items()))


def _made_of(value: object) -> Iterator[type | FunctionType]:
    """Yield the classes and functions of a value and of all that it holds."""
    if isinstance(value, FunctionType | type):
        yield value
        return
    if isinstance(value, MethodType):
        yield from _made_of(value.__func__)
        return
    yield type(value)
    if isinstance(value, partial):
        held: tuple[object, ...] = (value.func, value.args, value.keywords)
    elif is_dataclass(value):
        held = tuple(getattr(value, field.name) for field in fields(value))
    elif isinstance(value, Mapping):
        held = tuple(value.values())
    else:
        held = tuple(value) if isinstance(value, tuple | list | set | frozenset) else ()
    for part in held:
        yield from _made_of(part)


def _collect(one: type | FunctionType, found: dict[str, str], seen: set[type | FunctionType]) -> None:
    """Add the hash of a class or function of the user's, of its bases, and of what it calls; one name, one hash."""
    if one.__module__.partition(".")[0] in KNOWN or one in seen:
        return
    seen.add(one)
    used = _used(one)
    constants = {name: repr(value) for name, value in used.items() if isinstance(value, CONSTANTS)}
    text = f"{found.get(one.__qualname__, '')}{_text(one)}\n{sorted(constants.items())}"
    found[one.__qualname__] = hashlib.sha256(text.encode()).hexdigest()[:16]
    for part in (*(one.__bases__ if isinstance(one, type) else ()), *used.values()):
        if isinstance(part, type | FunctionType):
            _collect(part, found, seen)


def _text(one: type | FunctionType) -> str:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(one)))
    except (OSError, TypeError, SyntaxError):
        return repr([_compiled(code) for code in _codes(one)])
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_docstring(body[0]):
            node.body = body[1:]  # type: ignore[attr-defined]
    return ast.dump(tree)


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _compiled(code: CodeType) -> tuple[object, ...]:
    inner = [_compiled(const) if isinstance(const, CodeType) else repr(const) for const in code.co_consts]
    return (code.co_name, code.co_code, code.co_names, code.co_varnames, inner)


def _functions(one: type | FunctionType) -> list[FunctionType]:
    if isinstance(one, FunctionType):
        return [one]
    found: list[Callable[..., Any]] = []
    for value in vars(one).values():
        value = value.__func__ if isinstance(value, staticmethod | classmethod) else value
        found += [value.fget] if isinstance(value, property) and value.fget else [value]
    return [inspect.unwrap(value) for value in found if isinstance(value, FunctionType)]


def _codes(one: type | FunctionType) -> list[CodeType]:
    return [function.__code__ for function in _functions(one)]


def _used(one: type | FunctionType) -> dict[str, object]:
    """Return what the code of a class or function names in its module: functions, classes and constants."""
    used: dict[str, object] = {}
    for function in _functions(one):
        for name in _names(function.__code__):
            value = function.__globals__.get(name)
            if name in function.__globals__ and not isinstance(value, ModuleType):
                used[name] = value
    return used


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _names(const)
