"""How many times as many rows one model of a study needs as another for the same error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from gatewise.plots import style
from gatewise.plots.words import above, canvas, readable
from gatewise.theory.efficiency import Efficiency


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
