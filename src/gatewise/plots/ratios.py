"""How many times as many rows one model of a study needs as another for the same error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter

from gatewise.plots import style
from gatewise.plots.words import above, canvas
from gatewise.theory.efficiency import Efficiency

TICKS = np.array([1.0, 2.0, 5.0])  # leading digits that are written


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
    ax.invert_xaxis()
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_minor_formatter(NullFormatter())
        low, high = sorted(axis.get_view_interval())
        axis.set_ticks(_ticks(low, high))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    above(ax)
    return ax


def _ticks(low: float, high: float) -> np.ndarray:
    """Return round numbers of an interval, about five."""
    powers = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    every = np.outer(powers, TICKS).flatten()
    inside = every[(every >= low) & (every <= high)]
    return inside if len(inside) < 8 else powers[(powers >= low) & (powers <= high)]
