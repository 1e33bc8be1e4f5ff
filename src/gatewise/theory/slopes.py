"""Slopes of errors on the logarithm of n, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

DRAWS = 2000  # of the bootstrap
LEVEL = 0.95


class Slope(NamedTuple):
    """A line through the logarithms of mean errors.

    Attributes
    ----------
    value : float
        Least-squares slope of ``log(mean error)`` on ``log n``.
    low, high : float
        95 % interval by the bootstrap over replicates inside each size. It covers the noise of replicates, not the
        choice of the window nor errors of the optimiser.
    median : float
        Slope of ``log(median error)``.
    draws : array (DRAWS,)
        Bootstrapped slopes.
    used, missing : tuple of int
        Replicates with and without a number at each size.
    """

    value: float
    low: float
    high: float
    median: float
    draws: np.ndarray
    used: tuple[int, ...]
    missing: tuple[int, ...]

    @property
    def half(self) -> float:
        """Half of the width of the interval."""
        return 0.5 * (self.high - self.low)


def slope(axis: Sequence[float], errors: Sequence[np.ndarray], seed: int = 0, first: int = 0) -> Slope:
    """Fit a line through the means of errors.

    Parameters
    ----------
    axis : sample sizes, one per level
    errors : arrays, one per level
        Errors of the replicates; NaN where a replicate has none.
    seed : int
        Of the bootstrap. Equal numbers of replicates are resampled alike, so that differences between series of the
        same data are paired.
    first : int
        Number of levels that were left out before these: slopes of all levels and of some are paired too.

    Returns
    -------
    Slope
        Of NaN where fewer than two levels have errors, or all errors of one are zero.

    Examples
    --------
    >>> found = slope((100, 400, 1600), [np.full(5, e) for e in (0.2, 0.1, 0.05)])
    >>> round(found.value, 12), round(found.half, 12)
    (-0.5, 0.0)
    """
    kept = [np.asarray(e, dtype=float)[np.isfinite(np.asarray(e, dtype=float))] for e in errors]
    used, missing = tuple(len(k) for k in kept), tuple(len(e) - len(k) for e, k in zip(errors, kept, strict=True))
    there = [i for i, k in enumerate(kept) if len(k)]
    if len(there) < 2:
        return no_slope(used, missing)
    at = np.log(np.asarray(axis, dtype=float)[there])
    line = (at - at.mean()) / ((at - at.mean()) ** 2).sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(line @ np.log([kept[i].mean() for i in there]))
        median = float(line @ np.log([np.median(kept[i]) for i in there]))
        means = []
        for i in there:
            picks = np.random.default_rng([seed, first + i]).integers(len(kept[i]), size=(DRAWS, len(kept[i])))
            means.append(kept[i][picks].mean(-1))
        draws = line @ np.log(np.array(means))
    low, high = interval(draws)
    return Slope(value, low, high, median, draws, used, missing)


def interval(draws: np.ndarray) -> tuple[float, float]:
    """Return the 95 % interval of bootstrapped slopes; NaN where a resampled mean is zero in more than 1 % of them."""
    finite = draws[np.isfinite(draws)]
    if len(finite) < 0.99 * len(draws):
        return np.nan, np.nan
    tail = 50.0 * (1.0 - LEVEL)
    low, high = np.percentile(finite, [tail, 100.0 - tail])
    return float(low), float(high)


def no_slope(used: tuple[int, ...], missing: tuple[int, ...]) -> Slope:
    """Return the slope of too few errors: no number."""
    return Slope(np.nan, np.nan, np.nan, np.nan, np.full(DRAWS, np.nan), used, missing)


def less(one: Slope, other: Slope) -> Slope:
    """Return the difference of two slopes, draw by draw."""
    draws = one.draws - other.draws
    low, high = interval(draws)
    return one._replace(
        value=one.value - other.value, low=low, high=high, median=one.median - other.median, draws=draws
    )
