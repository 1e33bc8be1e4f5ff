"""Sample efficiency: how many times more rows one model needs than another for the same error."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatewise.markup import page, table
from gatewise.theory.curves import Curve
from gatewise.theory.slopes import DRAWS, LEVEL

if TYPE_CHECKING:
    from pandas import DataFrame

POINTS = 9  # errors of the table, equally spaced in their logarithm, ends included


class Efficiency(NamedTuple):
    """Sample efficiency: the numbers of observations that two models need for the same mean error.

    Attributes
    ----------
    first, second : str
        Arms.
    series : str
    errors : array (POINTS,)
        Mean errors that both curves reach within their range of n, the largest first.
    rows_first, rows_second : array (POINTS,)
        n at which each curve reaches the error.
    ratio : array (POINTS,)
        ``rows_second / rows_first``; above one if the second model needs more observations.
    low, high : array (POINTS,)
        95 % interval of the ratio, by bootstrapping replicates within each size; 0 or infinite if a resampled curve
        reaches the error outside its range of n.

    Examples
    --------
    >>> import tempfile
    >>> from dataclasses import replace
    >>> from gatewise.theory import STUDIES, NearTruth, Study, collect, curve, efficiency, run_study
    >>> arm = replace(STUDIES["softmax-exact"].arms[0], sizes=(100, 200), replicates=2, starts=NearTruth(0.1))
    >>> study = Study("tiny", "Two sizes", "Shows the calls.", (arm,))
    >>> folder = tempfile.mkdtemp()
    >>> _ = run_study(study, folder)
    >>> one = curve(collect(study, folder).frame, arm, "hellinger")
    >>> found = efficiency(one, one)
    >>> found.series, len(found.errors)
    ('hellinger', 9)
    """

    first: str
    second: str
    series: str
    errors: np.ndarray
    rows_first: np.ndarray
    rows_second: np.ndarray
    ratio: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def text(self) -> str:
        """Return the result as lines of text.

        Examples
        --------
        >>> one, nine = np.ones(1), np.full(1, 9.0)
        >>> print(Efficiency("a", "b", "mean", 0.1 * one, 100 * one, 900 * one, nine, 8 * one, 10 * one).text())
        n needed by b divided by n needed by a, mean
        error 0.1: 9 [8, 10] (n = 900 and 100)
        """
        lines = [f"n needed by {self.second} divided by n needed by {self.first}, {self.series}"]
        for e, one, two, ratio, low, high in zip(*self[3:], strict=True):
            lines.append(f"error {e:.3g}: {ratio:.3g} [{low:.3g}, {high:.3g}] (n = {two:.0f} and {one:.0f})")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        title, found = self.text().split("\n")[0], self.to_frame()
        return page(title, table({name: list(found[name]) for name in found}))

    def to_frame(self) -> DataFrame:
        """Return a data frame with a row per error: the rows of both, their ratio and its interval."""
        import pandas as pd

        rows = {f"rows of {self.first}": self.rows_first, f"rows of {self.second}": self.rows_second}
        return pd.DataFrame({"error": self.errors, **rows, "ratio": self.ratio, "low": self.low, "high": self.high})


def efficiency(first: Curve, second: Curve, seed: int = 0) -> Efficiency:
    """Compute how many times as many observations the second curve needs as the first for the same mean error.

    Mean errors are interpolated linearly between sizes on logarithmic axes. Nothing is extrapolated: only errors that
    both curves reach within their range of n are compared.

    Parameters
    ----------
    first, second : Curve
        The same series, measured in the same way.
    seed : int
        Seed of the bootstrap. Arms with equally many replicates are resampled together, so arms on the same data are
        paired.

    Returns
    -------
    Efficiency

    Raises
    ------
    ValueError
        If the series differ, a curve has fewer than two sizes or means that are not positive, or the curves have no
        errors in common.

    Examples
    --------
    >>> import tempfile
    >>> from dataclasses import replace
    >>> from gatewise.theory import STUDIES, NearTruth, Study, collect, curve, efficiency, run_study
    >>> arm = replace(STUDIES["softmax-exact"].arms[0], sizes=(100, 200), replicates=2, starts=NearTruth(0.1))
    >>> study = Study("tiny", "Two sizes", "Shows the calls.", (arm,))
    >>> folder = tempfile.mkdtemp()
    >>> _ = run_study(study, folder)
    >>> one = curve(collect(study, folder).frame, arm, "hellinger")
    >>> float(efficiency(one, one).ratio[0])  # a curve needs as many rows as itself
    1.0
    """
    if first.series != second.series:
        raise ValueError(f"series {first.series!r} and {second.series!r}: compare curves of the same series")
    parts = [_kept(c) for c in (first, second)]
    means = [np.array([e.mean() for e in kept]) for _, kept in parts]
    for c, m in zip((first, second), means, strict=True):
        if len(m) < 2 or not (m > 0).all():
            raise ValueError(f"{c.arm}, {c.series}: mean errors {m.tolist()}: two sizes with positive means are needed")
    top, bottom = min(m[0] for m in means), max(m.min() for m in means)
    if bottom >= top:
        spans = " and ".join(
            f"{c.arm} from {m[0]:.3g} down to {m.min():.3g}" for c, m in zip((first, second), means, strict=True)
        )
        raise ValueError(
            f"{first.series}: {spans} have no errors in common, and nothing is extrapolated: change the sizes of one"
        )
    errors = np.geomspace(top, bottom, POINTS)
    errors[0], errors[-1] = top, bottom
    wanted = np.log(errors)
    rows = [_passes(axis, np.log(m)[None], wanted)[0] for (axis, _), m in zip(parts, means, strict=True)]
    draws = [_passes(axis, np.log(_resampled(kept, seed)), wanted) for axis, kept in parts]
    with np.errstate(invalid="ignore"):  # both outside of their windows
        low, high = _interval(draws[1] - draws[0])
    one, two = np.exp(rows[0]), np.exp(rows[1])
    return Efficiency(first.arm, second.arm, first.series, errors, one, two, two / one, low, high)


def _kept(c: Curve) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return log sizes and the errors there, levels without numbers left out."""
    pairs = [(np.log(n), e[np.isfinite(e)]) for n, e in zip(c.axis, c.errors, strict=True) if np.isfinite(e).any()]
    return np.array([at for at, _ in pairs]), [e for _, e in pairs]


def _resampled(kept: list[np.ndarray], seed: int) -> np.ndarray:
    """Return bootstrapped means (DRAWS, levels)."""
    means = []
    for i, e in enumerate(kept):
        picks = np.random.default_rng([seed, i]).integers(len(e), size=(DRAWS, len(e)))
        means.append(e[picks].mean(-1))
    return np.stack(means, -1)


def _passes(at: np.ndarray, curves: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the log sizes (draws, errors) at which curves (draws, levels) first fall to errors; -inf, inf outside."""
    below = curves[:, None, :] <= wanted[:, None]
    right = below.argmax(-1)
    reached, inside = below.any(-1), right > 0
    left = np.maximum(right - 1, 0)
    rows = np.arange(len(curves))[:, None]
    upper, lower = curves[rows, left], curves[rows, right]
    share = (upper - wanted) / np.where(inside & reached, upper - lower, 1.0)
    found = at[left] + share * (at[right] - at[left])
    starts = reached & ~inside & (np.abs(curves[:, :1] - wanted) < 1e-12)
    found = np.where(inside, found, np.where(starts, at[0], -np.inf))
    return np.where(reached, found, np.inf)


def _interval(log_ratio: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the interval (errors,); a draw in which both curves pass outside widens both ends."""
    tail = 50.0 * (1.0 - LEVEL)
    low = np.percentile(np.where(np.isnan(log_ratio), -np.inf, log_ratio), tail, axis=0, method="lower")
    high = np.percentile(np.where(np.isnan(log_ratio), np.inf, log_ratio), 100.0 - tail, axis=0, method="higher")
    return np.exp(low), np.exp(high)
