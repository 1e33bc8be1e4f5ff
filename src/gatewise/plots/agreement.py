"""Views for more than one feature: predicted against observed, and the regions of the gate in two inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, ListedColormap
from matplotlib.patheffects import withStroke

from gatewise.plots import style, values

LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)  # gate weights with a contour
STEEP = 0.04  # share of a surface between the outer contours below which only the middle one is drawn


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

    Examples
    --------
    >>> from gatewise import MixtureOfExpertsRegressor
    >>> from gatewise.data import load
    >>> from gatewise.plots import predicted_observed
    >>> tone = load("tone")
    >>> model = MixtureOfExpertsRegressor(n_experts=2, n_init=1, random_state=0).fit(tone.X, tone.y)
    >>> predicted_observed(model, tone.X, tone.y, label="tuned").get_xlabel()
    'predicted tuned'
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
    gate_X: Any = None,
    ax: Axes | None = None,
    *,
    features: tuple[int | str, int | str] = (0, 1),
    labels: tuple[str, str] | None = None,
    points: int = 121,
) -> Axes:
    """Colour the plane of two gate inputs by the leaf with the largest weight; pale where that weight is small.

    Other gate inputs are held at their medians. Black lines are the borders between regions.

    Parameters
    ----------
    fit : Fit or fitted regressor
    gate_X : array-like (n, g)
        Gate inputs, which set the range of the plot; after `moe` a data frame, or nothing for that of the fit.
    ax : Axes, optional
        Axes to draw on; default: a new figure.
    features : (int or str, int or str)
        Columns of gate_X on the two axes, after `moe` of the inputs that the gate formula gives.
    labels : (str, str), optional
        Axis labels, with units; default: the names of the columns.
    points : int
        Grid points per axis.

    Returns
    -------
    Axes

    Examples
    --------
    >>> import numpy as np
    >>> from gatewise import MixtureOfExpertsRegressor
    >>> from gatewise.plots import gating_regions
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(200, 3))
    >>> y = np.where(X[:, 0] + rng.normal(size=200) > 0, 3 + X[:, 1], -3 - X[:, 2]) + 0.5 * rng.normal(size=200)
    >>> model = MixtureOfExpertsRegressor(n_experts=2, n_init=1, random_state=0).fit(X, y)
    >>> gating_regions(model, X, features=(0, 2), labels=("x0", "x2")).get_ylabel()
    'x2'
    """
    gate_X = values.gate_rows(fit, gate_X)
    fit, ax, inputs = values.engine_fit(fit), style.canvas(ax), values.table(gate_X)
    i, j = (values.place(gate_X, one) for one in features)
    labels = labels or (style.plain(values.title(gate_X, i, f"x {i}")), style.plain(values.title(gate_X, j, f"x {j}")))
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


def gate_surface(
    model: Any,
    X: Any = None,
    ax: Axes | None = None,
    *,
    columns: tuple[int | str, int | str] | None = None,
    expert: int = 0,
    points: int = 81,
    palette: Sequence[int] | None = None,
    data: bool = True,
) -> Axes:
    """Plot the gate weight of one expert over two columns, as a surface with labelled contours.

    Other columns are held at their medians, those without numbers at the most frequent value. In a hierarchy the weight
    is the product on the path to the expert.

    Parameters
    ----------
    model : fitted estimator
    X : array-like (n, g), optional
        Inputs of the gates, which set the range; after `moe` a data frame, by default that of the fit.
    ax : Axes, optional
        Axes to draw on; default: a new figure.
    columns : (int or str, int or str), optional
        Columns of numbers on the two axes; default: the first two, those that the gates read before others.
    expert : int
        Its number, counted over all groups of a hierarchy.
    points : int
        Grid points per axis.
    palette : sequence of int, optional
        Index of the colour of each leaf.
    data : bool
        Whether the rows are drawn as points.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        For columns that are not there, the same or without numbers, fewer than two columns of numbers, and an expert
        that is not there.

    Examples
    --------
    >>> import numpy as np
    >>> from gatewise import MixtureOfExpertsRegressor
    >>> from gatewise.plots import gate_surface
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(200, 3))
    >>> y = np.where(X[:, 0] + rng.normal(size=200) > 0, 3 + X[:, 1], -3 - X[:, 2]) + 0.5 * rng.normal(size=200)
    >>> model = MixtureOfExpertsRegressor(n_experts=2, n_init=1, random_state=0).fit(X, y)
    >>> gate_surface(model, X, columns=("x0", "x1")).get_xlabel()
    'x0'
    """
    names, mixture = style.leaf_names(model.mixture_), model.mixture_
    if not 0 <= expert < mixture.n_leaves:
        raise ValueError(f"expert={expert!r}: there are {mixture.n_leaves}, counted from 0")
    frame = values.inputs(model, X, gates=model._reader.given)
    columns = values.of_gates(model, frame) if columns is None else columns
    along = values.rows_along(frame, columns, points)
    if along.names[0] == along.names[1] or any(part.dtype.kind != "f" for part in along.values):
        raise ValueError(f"columns={columns!r}: give two different columns of numbers")
    if model._design is not None:
        weight = model.gate_proba(along.rows)[:, expert]
    else:
        weight = values.leaf_weights(model.fit_, values.gate_columns(model, along.rows))[expert]
    surface = weight.reshape(points, points)
    ax = style.canvas(ax if ax is not None else style.own_axes(4.8, 3.8))
    ax.grid(visible=False)
    tint = style.colour(style.palette_of(mixture.n_leaves, palette)[expert])
    shades = LinearSegmentedColormap.from_list("weight", ["white", tint])
    across, up = along.values
    mesh = ax.pcolormesh(across, up, surface, cmap=shades, vmin=0.0, vmax=1.0, alpha=0.75, rasterized=True)
    steep = ((surface > 0.1) & (surface < 0.9)).mean() < STEEP  # the lines would lie on one another
    levels = [one for one in ((0.5,) if steep else LEVELS) if surface.min() < one < surface.max()]
    if levels:
        lines = ax.contour(across, up, surface, levels=levels, colors=style.INK, linewidths=0.9)
        stroke = [withStroke(linewidth=2.5, foreground="white")]
        for text in ax.clabel(lines, fmt="%g", fontsize=8, inline=False):
            text.set(path_effects=stroke, zorder=4)
    if data:
        ax.plot(*along.seen, ".", color=style.GREY, markersize=2.2, alpha=0.6, label="_data", zorder=1.5)
        ax.set(xlim=(across[0], across[-1]), ylim=(up[0], up[-1]))
    bar = style.figure_of(ax).colorbar(mesh, ax=ax, ticks=[0.0, 0.5, 1.0])
    bar.set_label(f"gate weight of {names[expert]}", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    ax.set(xlabel=style.plain(along.names[0]), ylabel=style.plain(along.names[1]))
    return ax
