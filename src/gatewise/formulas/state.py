"""What the data of a fit taught a formula (knots, means, levels), as plain values that a file can hold."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

import numpy as np

DEEPEST = 5  # dicts and lists inside each other
ENTRIES = 100_000  # numbers and texts of one state
TEXT = 10_000  # characters of a text


def plain(value: Any) -> Any:
    """Return a state in dicts with texts as keys, lists, numbers, texts, truth values and None.

    A dict becomes ``{"pairs": [[key, value], ...]}``, since keys may be numbers; an array becomes ``{"array": lists}``.

    Raises
    ------
    ValueError
        For anything else, and for numbers that are not finite.

    Examples
    --------
    >>> plain({"alpha": {0: np.float64(1.5)}})
    {'pairs': [['alpha', {'pairs': [[0, 1.5]]}]]}
    """
    if isinstance(value, Mapping):
        return {"pairs": [[plain(key), plain(one)] for key, one in value.items()]}
    if isinstance(value, np.ndarray):
        return {"array": plain(value.tolist())}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and isfinite(value)):
        return value
    raise ValueError(f"{str(value)[:60]!r} is a {type(value).__name__}, which no file can hold as plain data")


def restored(value: Any) -> Any:
    """Return the state behind what `plain` gave.

    Raises
    ------
    ValueError
        For whatever `plain` does not give, and for more than any formula has.
    """
    return _restored(value, 0, [ENTRIES])


def _restored(value: Any, depth: int, left: list[int]) -> Any:
    left[0] -= 1
    if depth > 2 * DEEPEST or left[0] < 0:
        raise ValueError("the state of a formula is larger than any formula has")
    match value:
        case {"pairs": list(pairs), **more} if not more:
            return dict(_pair(one, depth, left) for one in pairs)
        case {"array": list(inside), **more} if not more:
            return _array(_restored(inside, depth + 1, left))
        case list():
            return [_restored(one, depth + 1, left) for one in value]
        case bool() | None:
            return value
        case int() | float() if isfinite(value) and abs(value) <= 1e300:
            return value
        case str() if len(value) <= TEXT:
            return value
    raise ValueError(f"the state of a formula has {str(value)[:60]!r}")


def _pair(pair: Any, depth: int, left: list[int]) -> tuple[Any, Any]:
    match pair:
        case [str() | int() as key, inside]:
            return _restored(key, depth, left), _restored(inside, depth + 1, left)
    raise ValueError(f"the state of a formula has the entry {str(pair)[:60]!r}")


def _array(value: Any) -> np.ndarray:
    try:
        found = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"the state of a formula has an array of {str(value)[:60]!r}") from None
    return found
