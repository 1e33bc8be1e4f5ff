"""Views for more than one feature: predicted against observed, and the regions of the gate in two inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap

from gatewise.plots import style, values


def predicted_observed(
    fit: Any,
    X: Any = None,
    y: Any = None,
    ax: Axes | None = None,
    *,
    gate_X: Any = None,
    groups: Any = None,
    output: int = 0,
    label: str = "y",
    palette: Sequence[int] | None = None,
    legend: bool = True,
) -> Axes:
    """Plot observed responses against the mean of the mixture, coloured by responsibilities.

    The dashed line is equality.

    Parameters
    ----------
    fit, X, y, ax, gate_X, groups, output, palette, legend
        As in `expert_curves`.
    label : str
        Name of the response, with units.

    Returns
    -------
    Axes
    """
    rows = values.rows(fit, X, y, gate_X, groups)
    fit, ax = values.engine_fit(fit), style.canvas(ax)
    seen, predicted = values.observed(fit, rows.y, output), values.leaves(fit, rows.x, rows.gate_x, output).total
    style.scatter(ax, predicted, seen, values.shares(fit, *rows), palette)
    ends = [min(seen.min(), predicted.min()), max(seen.max(), predicted.max())]
    ax.plot(ends, ends, color=style.INK, linewidth=1, linestyle=(0, (4, 2)), label="_equal")
    ax.set(xlabel=f"predicted {label}", ylabel=f"observed {label}")
    if legend:
        ax.legend(handles=style.leaf_handles(fit.mixture, palette), fontsize=8, frameon=False)
    return ax


def gating_regions(
    fit: Any,
    gate_X: Any,
    ax: Axes | None = None,
    *,
    features: tuple[int, int] = (0, 1),
    labels: tuple[str, str] = ("x 0", "x 1"),
    points: int = 121,
) -> Axes:
    """Colour the plane of two gate inputs by the leaf with the largest weight; pale where that weight is small.

    Other gate inputs are held at their medians. Black lines are the borders between regions.

    Parameters
    ----------
    fit : Fit or fitted regressor
    gate_X : array-like (n, g)
        Gate inputs, which set the range of the plot.
    ax : Axes, optional
        Axes to draw on; default: a new figure.
    features : (int, int)
        Columns of gate_X on the two axes.
    labels : (str, str)
        Axis labels, with units.
    points : int
        Grid points per axis.

    Returns
    -------
    Axes
    """
    fit, ax = values.engine_fit(fit), style.canvas(ax)
    inputs = values.table(gate_X)
    i, j = features
    across, up = values.section(inputs, i, points)[0], values.section(inputs, j, points)[0]
    plane = np.tile(np.median(inputs, 0), (points * points, 1))
    plane[:, i], plane[:, j] = np.tile(across, points), np.repeat(up, points)
    weights = values.leaf_weights(fit, plane).reshape(-1, points, points)
    leader, strength = weights.argmax(0), weights.max(0)
    count = len(weights)
    colours = ListedColormap([style.colour(leaf) for leaf in range(count)])
    ax.pcolormesh(
        across, up, leader, cmap=colours, vmin=-0.5, vmax=count - 0.5, alpha=0.15 + 0.45 * strength, rasterized=True
    )
    if leader.min() < leader.max():
        ax.contour(across, up, leader, levels=np.arange(count - 1) + 0.5, colors=style.INK, linewidths=0.8)
    ax.plot(inputs[:, i], inputs[:, j], ".", color=style.INK, markersize=2.5, label="_data")
    ax.set(xlabel=labels[0], ylabel=labels[1])
    return ax
