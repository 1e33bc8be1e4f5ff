"""Where the starts ended: evidence about the global optimum."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from gatewise.plots import style, values

LEAST_SPAN = 2.0  # log-likelihood units: differences far below one carry no evidence


def objective_per_start(fit: Any, ax: Axes | None = None, *, legend: bool = True) -> Axes:
    """Plot the log-likelihood that each start reached, best first, and the value that was selected.

    Parameters
    ----------
    fit : Fit or fitted regressor
    ax : Axes, optional
        Axes to draw on; default: a new figure.
    legend : bool

    Returns
    -------
    Axes

    Examples
    --------
    >>> from gatewise import MixtureOfExpertsRegressor
    >>> from gatewise.data import load
    >>> from gatewise.plots import objective_per_start
    >>> tone = load("tone")
    >>> model = MixtureOfExpertsRegressor(n_experts=2, n_init=1, random_state=0).fit(tone.X, tone.y)
    >>> objective_per_start(model).get_ylabel()
    'log-likelihood'
    """
    fit, ax = values.engine_fit(fit), style.canvas(ax)
    starts = fit.starts
    reached = starts.log_likelihood.numpy()
    order = np.argsort(-np.where(np.isfinite(reached), reached, -np.inf), kind="stable")
    order = order[np.isfinite(reached[order])]
    value, sound, rank = reached[order], starts.sound.numpy()[order], np.arange(1, len(order) + 1)
    ax.scatter(rank[sound], value[sound], s=22, marker="o", color=style.COLOURS[0], label="sound", zorder=3)
    if not sound.all():
        ax.scatter(
            rank[~sound], value[~sound], s=26, marker="^", facecolors="none", edgecolors=style.COLOURS[1],
            label="refused as unsound", zorder=3,
        )  # fmt: skip
    if not starts.subsampled:
        ax.axhline(fit.log_likelihood, color=style.INK, linewidth=1, linestyle=(0, (4, 2)), label="selected")
    _scales(ax, value, len(reached) - len(order), len(reached), starts.subsampled)
    if legend:
        ax.legend(fontsize=8, frameon=False, loc="best", borderaxespad=0.2)
    return ax


def _scales(ax: Axes, value: np.ndarray, failed: int, count: int, subsampled: bool) -> None:
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    ax.set_xlim(0.3, count + 0.7)
    if len(value):
        spare = max(LEAST_SPAN, 1.15 * float(np.ptp(value))) / 2
        middle = (float(value.max()) + float(value.min())) / 2
        ax.set_ylim(middle - spare, middle + spare)
    ax.ticklabel_format(axis="y", useOffset=False)
    lost = f", {failed} without a value" if failed else ""
    ax.set(xlabel=f"start, best first{lost}", ylabel="log-likelihood" + (", subsample" if subsampled else ""))
