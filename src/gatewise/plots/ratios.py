"""How many times as many rows one model of a study needs as another for the same error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from gatewise.plots import style
from gatewise.plots.words import above, canvas, readable
from gatewise.theory.efficiency import Efficiency

WIDE, ROW, ROOM = 9.0, 0.24, 1.1  # inches: of the picture of all comparisons, of a row, of axis and margins
NEXT = -2  # the comparison at the smallest error but one: at the ends, intervals are open


def rows_ratio(found: Sequence[Efficiency], ax: Axes | None = None) -> Axes:
    """Plot how many times as many rows the second model of each comparison needs as the first, by mean error.

    Both axes are logarithmic, errors fall to the right. Bands are 95 % intervals, and end where the interval is open.
    At 1 both need equally many.

    Parameters
    ----------
    found : sequence of Efficiency
    ax : Axes, optional
        Axes to draw on; default: a new figure with room for the legend.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        Without comparisons.

    Examples
    --------
    >>> import tempfile
    >>> from dataclasses import replace
    >>> from gatewise.plots import rows_ratio
    >>> from gatewise.theory import STUDIES, NearTruth, Study, collect, run_study, curve, efficiency
    >>> arm = replace(STUDIES["softmax-exact"].arms[0], sizes=(100, 200), replicates=2, starts=NearTruth(0.1))
    >>> study = Study("tiny", "Two sizes", "Shows the calls.", (arm,))
    >>> folder = tempfile.mkdtemp()
    >>> _ = run_study(study, folder)
    >>> result = collect(study, folder)
    >>> one = curve(result.frame, arm, "hellinger")
    >>> rows_ratio([efficiency(one, one)]).get_yscale()
    'log'
    """
    if not found:
        raise ValueError("no comparisons to plot: give at least one Efficiency")
    ax, series = canvas(ax, len(found)), {one.series for one in found}
    for i, one in enumerate(found):
        closed = (one.low > 0) & np.isfinite(one.high)
        label = style.plain(f"{one.second} over {one.first}" + (f": {one.series}" if len(series) > 1 else ""))
        look: dict[str, Any] = {"color": style.colour(i), "linestyle": style.dash(i), "marker": style.marker(i)}
        ax.plot(one.errors, one.ratio, label=label, linewidth=1.6, markersize=4, **look)
        ax.fill_between(one.errors, one.low, one.high, where=closed, color=style.colour(i), alpha=0.15, linewidth=0)
    ax.axhline(1.0, color=style.GREY, linewidth=0.9, linestyle=(0, (4, 3)))
    error = f"mean error: {series.pop()}" if len(series) == 1 else "mean error"
    ax.set(xscale="log", yscale="log", xlabel=error, ylabel="times as many rows")
    readable(ax, "x")
    readable(ax)
    ax.invert_xaxis()
    above(ax)
    return ax


def rows_needed(found: Sequence[Efficiency], ax: Axes | None = None) -> Axes:
    """Plot how many times as many rows the second model of each comparison needs, all comparisons in one picture.

    One row per comparison: the ratio at the smallest error but one of those that both reach, with its 95 % interval; an
    arrow where the interval is open. The error stands at the right.

    Parameters
    ----------
    found : sequence of Efficiency
    ax : Axes, optional
        Axes to draw on; default: a new figure with a row for every comparison.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        Without comparisons.

    Examples
    --------
    >>> import tempfile
    >>> from dataclasses import replace
    >>> from gatewise.plots import rows_needed
    >>> from gatewise.theory import STUDIES, NearTruth, Study, collect, run_study, curve, efficiency
    >>> arm = replace(STUDIES["softmax-exact"].arms[0], sizes=(100, 200), replicates=2, starts=NearTruth(0.1))
    >>> study = Study("tiny", "Two sizes", "Shows the calls.", (arm,))
    >>> folder = tempfile.mkdtemp()
    >>> _ = run_study(study, folder)
    >>> result = collect(study, folder)
    >>> one = curve(result.frame, arm, "hellinger")
    >>> rows_needed([efficiency(one, one)]).get_xscale()
    'log'
    """
    if not found:
        raise ValueError("no comparisons to plot: give at least one Efficiency")
    ax = style.canvas(style.own_axes(WIDE, ROW * len(found) + ROOM) if ax is None else ax)
    ratio, low, high, errors = (
        np.array([one[NEXT] for one in column])
        for column in zip(*((one.ratio, one.low, one.high, one.errors) for one in found), strict=True)
    )
    known = np.concatenate([ratio, low[low > 0], high[np.isfinite(high)], [1.0]])
    left, right = known.min() / 1.5, known.max() * 1.5
    ax.set(xscale="log", xlim=(left, right), ylim=(len(found) - 0.4, -0.6), xlabel="times as many rows")
    for y in range(len(found)):
        look: dict[str, Any] = {"color": style.COLOURS[0], "linewidth": 1.4}
        ax.plot([max(low[y], left), min(high[y], right)], [y, y], **look)
        for at, shape in ((left, "<"), (ratio[y], "o"), (right, ">")):
            if shape == "o" or (shape == "<" and low[y] <= 0) or (shape == ">" and np.isinf(high[y])):
                ax.plot(at, y, marker=shape, markersize=5, **look)
        ax.annotate(
            f"error {errors[y]:.2g}", (1.01, y), xycoords=("axes fraction", "data"), va="center", fontsize=7.5,
            color=style.GREY, annotation_clip=False,
        )  # fmt: skip
    ax.axvline(1.0, color=style.GREY, linewidth=0.9, linestyle=(0, (4, 3)))
    ax.set_yticks(range(len(found)), [style.shortened(_pair(one), 76) for one in found], fontsize=8)
    readable(ax, "x")
    ax.set_xlim(left, right)
    return ax


def _pair(one: Efficiency) -> str:
    """Return which models are compared, what their names share said once, and by which error."""
    first, second = one.first.split(", "), one.second.split(", ")
    shared = [part for part in first if part in second]
    names = [", ".join(part for part in parts if part not in shared) for parts in (second, first)]
    head = " / ".join(name or "the same" for name in names)
    return ": ".join([head, ", ".join([*shared, one.series])])
