"""The curves of a study: errors of a series at every size, their slopes, and what the fits say of themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log10
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from gatewise.core.names import path_of
from gatewise.theory.arms import Arm
from gatewise.theory.ridges import directions_of, estimated_path, moves
from gatewise.theory.slopes import Slope, no_slope, slope
from gatewise.theory.store import Contents

APART = 1.25  # ratio of two sizes that count as two
OF_FITS = ("n", "status", "certified", "behind", "hits", "gap", "moved", "start")


class Curve(NamedTuple):
    """The errors and slopes of one series of an arm.

    Attributes
    ----------
    arm, series : str
    axis : tuple of int
        Sample sizes, or effective sizes.
    errors : tuple of arrays, one per level
    slope : Slope
        From all replicates.
    certified : Slope
        From certified replicates only.
    later : Slope
        Without the smallest third of the sizes; drawn from the same replicates as `slope`.
    uncertified : tuple of float
        Share of replicates without a certificate at each level.
    bounded : tuple of float
        Share of replicates at each level whose fit ends at a bound of the parameter that the series is about.
    flat : tuple of float
        Share of replicates at each level whose certificate says that the data do not identify the parameter; of a loss,
        some parameter that it sums.

    Examples
    --------
    >>> import tempfile
    >>> from dataclasses import replace
    >>> from gatewise.theory import STUDIES, NearTruth, Study, collect, curve, run_study
    >>> arm = replace(STUDIES["softmax-exact"].arms[0], sizes=(100, 200), replicates=2, starts=NearTruth(0.1))
    >>> study = Study("tiny", "Two sizes", "Shows the calls.", (arm,))
    >>> folder = tempfile.mkdtemp()
    >>> _ = run_study(study, folder)
    >>> found = curve(collect(study, folder).frame, arm, "hellinger")
    >>> found.slope.low <= found.slope.value <= found.slope.high
    True
    """

    arm: str
    series: str
    axis: tuple[int, ...]
    errors: tuple[np.ndarray, ...]
    slope: Slope
    certified: Slope
    later: Slope
    uncertified: tuple[float, ...]
    bounded: tuple[float, ...] = ()
    flat: tuple[float, ...] = ()

    @property
    def decades(self) -> float:
        """Powers of ten between the smallest and the largest size."""
        return log10(self.axis[-1] / self.axis[0])

    @property
    def steps(self) -> int:
        """Number of sizes that are a quarter apart."""
        count, last = 0, 0.0
        for size in self.axis:
            if size >= APART * last:
                count, last = count + 1, float(size)
        return count

    @property
    def replicates(self) -> int:
        """Replicates at the size that has the fewest."""
        return min(u + m for u, m in zip(self.slope.used, self.slope.missing, strict=True))

    @property
    def lost(self) -> tuple[float, ...]:
        """Share of replicates at each level that lack this error."""
        return tuple(m / max(u + m, 1) for u, m in zip(self.slope.used, self.slope.missing, strict=True))


def table(contents: Contents) -> pd.DataFrame:
    """Return the records as a table: one row per fit, one column per series.

    `active` counts the bounds that a fit ends at, and `bounds` are the paths of the parameters at a bound; `flat` are
    the directions that the fit calls unidentified, each as the paths of the parameters that it moves.
    """
    rows = []
    for (arm, axis, replicate), record in sorted(contents.records.items()):
        row = {"arm": arm, "axis": axis, "replicate": replicate, **record["series"]}
        row |= {name: record.get(name) for name in OF_FITS}
        row |= {"active": len(record["active"]), "bounds": tuple(dict.fromkeys(map(path_of, record["active"])))}
        rows.append(row | {"flat": directions_of(record.get("null", ()), record.get("flat", ()))})
    return pd.DataFrame(rows)


def curve(frame: pd.DataFrame, arm: Arm, series: str) -> Curve:
    """Compute the errors and slopes of one series of an arm.

    Parameters
    ----------
    frame : DataFrame
        `StudyResult.frame`.
    arm : Arm
    series : str
        One of `series_of`.

    Returns
    -------
    Curve
        From the replicates that are judged; without numbers if no fit has been run, or none has this error.

    Raises
    ------
    ValueError
        If the fits have no such series.

    Examples
    --------
    >>> import tempfile
    >>> from dataclasses import replace
    >>> from gatewise.theory import STUDIES, NearTruth, Study, collect, curve, run_study
    >>> arm = replace(STUDIES["softmax-exact"].arms[0], sizes=(100, 200), replicates=2, starts=NearTruth(0.1))
    >>> study = Study("tiny", "Two sizes", "Shows the calls.", (arm,))
    >>> folder = tempfile.mkdtemp()
    >>> _ = run_study(study, folder)
    >>> found = curve(collect(study, folder).frame, arm, "hellinger")
    >>> found.axis, [len(errors) for errors in found.errors]
    ((100, 200), [2, 2])
    """
    mine = frame[(frame["arm"] == arm.name) & (frame["replicate"] < arm.replicates)]
    axis = tuple(level.axis for level in arm.levels())
    if mine.empty:
        line, none = no_slope((0,) * len(axis), (0,) * len(axis)), (0.0,) * len(axis)
        return Curve(arm.name, series, axis, (np.empty(0),) * len(axis), line, line, line, none, none, none)
    if series not in mine:
        known = [name for name in mine.columns[3:] if mine[name].dtype == float and mine[name].notna().any()]
        raise ValueError(f"arm {arm.name!r} has no series {series!r}: it has {', '.join(known)}")
    levels = [mine[mine["axis"] == at] for at in axis]
    errors = [pd.to_numeric(level[series]).to_numpy(dtype=float) for level in levels]
    passed = [level["certified"].astype(bool).to_numpy() for level in levels]
    third = len(axis) // 3
    path = estimated_path(arm, series)
    return Curve(
        arm.name,
        series,
        axis,
        tuple(errors),
        slope(axis, errors),
        slope(axis, [np.where(good, error, np.nan) for good, error in zip(passed, errors, strict=True)]),
        slope(axis[third:], errors[third:], first=third),
        _shares(levels, lambda level: ~level["certified"].astype(bool)),
        _shares(levels, lambda level: _which(level, "bounds", lambda bounds: path in bounds)),
        _shares(levels, lambda level: _which(level, "flat", lambda flat: moves(arm, series, flat))),
    )


def _shares(levels: Sequence[pd.DataFrame], holds: Callable[[pd.DataFrame], pd.Series]) -> tuple[float, ...]:
    return tuple(float(holds(level).mean()) if len(level) else 0.0 for level in levels)


def _which(level: pd.DataFrame, column: str, holds: Callable[[Any], bool]) -> pd.Series:
    """Return for which fits a statement about a column holds; for none where it was not recorded."""
    return level[column].map(holds) if column in level else pd.Series(False, index=level.index)
