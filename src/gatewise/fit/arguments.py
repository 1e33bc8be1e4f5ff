"""Arguments that are plain numbers, checked with the cause and the remedy: the same for engine and estimators."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, isfinite
from numbers import Integral, Real
from reprlib import repr as shortened
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import torch
from torch import Tensor

from gatewise.runs.workers import is_client

if TYPE_CHECKING:
    from distributed import Client

MOST_STARTS = 1_000_000


def scalar(value: Any) -> Any:
    """Return the number in an array or a tensor without dimensions, and anything else as it is.

    Examples
    --------
    >>> scalar(np.array(2)), scalar("2")
    (2, '2')
    """
    return value.item() if isinstance(value, np.ndarray | Tensor) and value.ndim == 0 else value


def is_whole(value: object) -> bool:
    """Return whether a value is a whole number; True and False are none."""
    return isinstance(value, Integral) and not isinstance(value, bool | np.bool_)


def is_number(value: Any) -> bool:
    """Return whether a value is a finite real number that a float can hold; True and False are none."""
    if not isinstance(value, Real) or isinstance(value, bool | np.bool_):
        return False
    try:
        return isfinite(value)
    except OverflowError:
        return False


def whole(name: str, value: Any, least: int, most: float = inf) -> int:
    """Return a whole number from `least` to `most`.

    Raises
    ------
    ValueError
        For anything else.
    """
    value = scalar(value)
    if not is_whole(value) or not least <= value <= most:
        limit = "" if most == inf else f" to {most:.0f}"
        raise ValueError(f"{name}={value!r}: give a whole number from {least}{limit}")
    return int(value)


def workers(name: str, value: Any) -> int | Client:
    """Return who does many fits: a number of processes from 1, or a client of a Dask cluster.

    Raises
    ------
    ValueError
        For anything else.
    """
    value = scalar(value)
    if is_client(value):
        return cast("Client", value)
    if not is_whole(value) or value < 1:
        raise ValueError(f"{name}={value!r}: give a number of processes from 1, or a distributed.Client")
    return int(value)


def penalty(value: Any) -> float:
    """Return the strength of a ridge, a number from 0."""
    value = scalar(value)
    if not is_number(value) or value < 0:
        raise ValueError(f"alpha={value!r}: the ridge penalty is a number from 0")
    return float(value)


def seconds(value: Any) -> float | None:
    """Return a limit of time in seconds, or None."""
    value = scalar(value)
    if value is not None and not (is_number(value) and value > 0):
        raise ValueError(f"max_time={value!r}: give seconds above 0, or None for no limit")
    return None if value is None else float(value)


def seed_number(value: Any) -> int | None:
    """Return a seed, a whole number from 0, or None for a new one each time."""
    return None if value is None else whole("seed", value, 0)


def floor(value: Any, q: int) -> Tensor | None:
    """Return the floor of the standard deviations ``(q,)`` in the units of y, or None for the default."""
    words = f"give a positive number, or one per column of y ({q})"
    return None if value is None else positive("min_scale", value, (q,), words)


def least_scale(value: Any) -> Tensor | None:
    """Return a floor of standard deviations, one for all responses or one for each, or None for the default."""
    if value is None:
        return None
    return positive("min_scale", value, np.shape(value)[:1], "give a positive number, or one per column of y")


def probability(name: str, value: Any) -> float:
    """Return a number strictly between 0 and 1."""
    value = scalar(value)
    if not is_number(value) or not 0 < value < 1:
        raise ValueError(f"{name}={value!r}: a probability is a number strictly between 0 and 1")
    return float(value)


def numbers(name: str, value: Any) -> np.ndarray:
    """Return a copy of a number or an array of numbers as floats.

    Raises
    ------
    ValueError
        For text, truth values, complex numbers, and whole numbers that no float can hold.
    """
    try:
        given = np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value)
        mixed = given.dtype.kind == "O" and not all(isinstance(one, Real) for one in given.flat)
        if mixed or given.dtype.kind not in "iufO":
            raise TypeError
        return given.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name}={shortened(value)}: give a number or an array of numbers") from None


def positive(name: str, value: Any, shape: tuple[int, ...], words: str) -> Tensor:
    """Return positive numbers, one for all or an array of this shape, as a tensor of it."""
    given = numbers(name, value)
    if given.shape not in ((), shape) or not (np.isfinite(given) & (given > 0)).all():
        raise ValueError(f"{name}={value!r}: {words}")
    return torch.from_numpy(given).expand(shape)


def limits(bounds: Mapping[str, Any] | None) -> dict[str, tuple[Tensor, Tensor]]:
    """Return bounds as tensors, by path.

    Raises
    ------
    ValueError
        For what is no pair of numbers, or one whose lower limit is not below or at the upper one (NaN is neither).
    """
    out = {}
    for path, pair in _items("bounds", bounds):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise ValueError(f"bounds[{path!r}]={pair!r}: give a pair (lower, upper)")
        low, high = (numbers(f"bounds[{path!r}]", end) for end in pair)
        if low.ndim > 0 and high.ndim > 0 and low.shape != high.shape:
            raise ValueError(f"bounds[{path!r}] has ends of shapes {low.shape} and {high.shape}: give equal shapes")
        if not ((low <= high) & (low < inf) & (high > -inf)).all():
            raise ValueError(
                f"bounds[{path!r}]={pair!r}: the lower limit must not be above the upper one, and some finite number "
                "must lie between them"
            )
        out[path] = torch.from_numpy(low), torch.from_numpy(high)
    return out


def held(fixed: Mapping[str, Any] | None) -> dict[str, Tensor]:
    """Return fixed values as tensors, by path; NaN entries stay free.

    Raises
    ------
    ValueError
        For what is not a finite number.
    """
    out = {path: torch.from_numpy(numbers(f"fixed[{path!r}]", value)) for path, value in _items("fixed", fixed)}
    for path, value in out.items():
        if bool(value.isinf().any()):
            raise ValueError(f"fixed[{path!r}] is infinite: give finite values")
    return out


def _items(name: str, given: Any) -> Any:
    if given is not None and not isinstance(given, Mapping):
        raise TypeError(f"{name} is a {type(given).__name__}: give a dict from parameter paths to values")
    return (given or {}).items()


def starts_number(name: str, value: Any) -> int | Literal["auto"]:
    """Return a number of starts, or "auto".

    Raises
    ------
    ValueError, TypeError
        For anything else.
    """
    if isinstance(value, str):
        if value != "auto":
            raise ValueError(f"{name}={value!r}: give 'auto', or a number of starts from 1 to {MOST_STARTS:,}")
        return "auto"
    return whole(name, value, 1, MOST_STARTS)
