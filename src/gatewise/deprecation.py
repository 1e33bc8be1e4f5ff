"""Names that have changed: for one minor release the old one works too, and a FutureWarning says the new one.

It lies below all rooms and imports nothing but the standard library. `renamed_function` is for functions and methods,
`renamed_parameters` for parameters, `renamed_attributes` for classes and constants of a module.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def renamed_function(old: str, new: Callable[P, R], *, removal: str) -> Callable[P, R]:
    """Return a function of the old name that warns and calls the new one.

    Parameters
    ----------
    old : str
    new : callable
        A function, or inside a class a method.
    removal : str
        The version that no longer has the old name, such as ``"0.3"``.

    Examples
    --------
    >>> def fit_many(n):
    ...     return n
    >>> many = renamed_function("many", fit_many, removal="0.3")
    >>> with warnings.catch_warnings(record=True) as heard:
    ...     warnings.simplefilter("always")
    ...     many(3)
    3
    >>> print(heard[0].message)
    many is deprecated and will be removed in gatewise 0.3: use fit_many
    """

    @wraps(new)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        _warn(old, new.__name__, removal)
        return new(*args, **kwargs)

    called.__name__ = old
    called.__qualname__ = new.__qualname__.removesuffix(new.__name__) + old
    called.__doc__ = f"Return what `{new.__name__}` does, the new name; this one will be removed in gatewise {removal}."
    return called


def renamed_parameters(names: Mapping[str, str], *, removal: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator of a function whose parameters have new names: the old ones are taken by keyword, and warn.

    Parameters
    ----------
    names : mapping of old to new names
        The function has the new ones only.
    removal : str
        The version that no longer has the old names.

    Raises
    ------
    TypeError
        By the function, where an old name is given beside the new one.

    Examples
    --------
    >>> @renamed_parameters({"n_components": "n_experts"}, removal="0.3")
    ... def size(n_experts=2):
    ...     return n_experts
    >>> with warnings.catch_warnings(record=True) as heard:
    ...     warnings.simplefilter("always")
    ...     size(n_components=5)
    5
    >>> print(heard[0].message)
    the parameter n_components of size is deprecated and will be removed in gatewise 0.3: use n_experts
    """

    def decorated(function: Callable[P, R]) -> Callable[P, R]:
        called = function.__qualname__.rpartition("<locals>.")[2].removesuffix(".__init__")

        @wraps(function)
        def renaming(*args: P.args, **kwargs: P.kwargs) -> R:
            for old in [name for name in names if name in kwargs]:
                new = names[old]
                if new in kwargs:
                    raise TypeError(f"{called} is given {new} and {old}, its old name: give {new} alone")
                _warn(f"the parameter {old} of {called}", new, removal)
                kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        return renaming

    return decorated


def renamed_attributes(
    module: str, names: Mapping[str, str], *, removal: str, otherwise: Callable[[str], Any] | None = None
) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a module in which classes, constants or functions have new names.

    Parameters
    ----------
    module : str
        ``__name__`` of the module.
    names : mapping of old to new names
    removal : str
        The version that no longer has the old names.
    otherwise : callable, optional
        The ``__getattr__`` that the module has without this, asked for all other names.

    Raises
    ------
    AttributeError
        By the function that is returned, for a name that the module does not have.
    """

    def found(name: str) -> Any:
        if name in names:
            _warn(f"{module}.{name}", f"{module}.{names[name]}", removal)
            return getattr(sys.modules[module], names[name])
        if otherwise is None:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        return otherwise(name)

    return found


def _warn(old: str, new: str, removal: str) -> None:
    """Warn whoever called the function that calls this."""
    words = f"{old} is deprecated and will be removed in gatewise {removal}: use {new}"
    warnings.warn(words, FutureWarning, stacklevel=3)
