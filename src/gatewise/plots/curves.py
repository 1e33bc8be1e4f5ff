"""Expert curves over the data, and gate curves, along one feature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from gatewise.plots import style, values

ACTIVE = 0.05  # gate weight above which an expert's curve is drawn in full


def expert_curves(
    fit: Any,
    X: Any = None,
    y: Any = None,
    ax: Axes | None = None,
    *,
    gate_X: Any = None,
    groups: Any = None,
    feature: int | str = 0,
    output: int = 0,
    labels: tuple[str, str] | None = None,
    palette: Sequence[int] | None = None,
    legend: bool = True,
) -> Axes:
    """Plot the mean of each expert along one feature, over the data coloured by responsibilities.

    A curve is thick where the weight of its expert exceeds 0.05, and thin where the expert only extrapolates; branches
    of zeros and of noise have none. Other features are held at their medians, and so are the gate inputs if they differ
    from X.

    Parameters
    ----------
    fit : Fit or fitted regressor
    X : array-like (n, d) or (n,)
        After `moe` a data frame alone, or nothing for that of the fit.
    y : array-like (n,) or (n, q)
    ax : Axes, optional
        Axes to draw on; default: a new figure.
    gate_X : array-like (n, g), optional
        Gate inputs, if they differ from X.
    groups : array-like (n,), optional
        Rows of a group share their responsibilities.
    feature : int or str
        Column of X on the x axis, by its number or name; after `moe` a column of the frame, by its name.
    output : int
        Column of y.
    labels : (str, str), optional
        Axis labels, with units; default: the name of the column, and after `moe` that of the response.
    palette : sequence of int, optional
        Index of the colour, line style and marker of each leaf.
    legend : bool

    Returns
    -------
    Axes

    Examples
    --------
    >>> from gatewise import MixtureOfExpertsRegressor
    >>> from gatewise.data import load
    >>> from gatewise.plots import expert_curves
    >>> tone = load("tone")
    >>> model = MixtureOfExpertsRegressor(n_experts=2, n_init=1, random_state=0).fit(tone.X, tone.y)
    >>> expert_curves(model, tone.X, tone.y, labels=("stretch ratio", "tuned")).get_xlabel()
    'stretch ratio'
    """
    rows = values.rows(fit, X, y, gate_X, groups)
    place = values.path(fit, X, gate_X, feature, output)
    grid, along, beside = place.grid, place.x, place.gate_x
    fit, ax = values.engine_fit(fit), style.canvas(ax)
    at = values.leaves(fit, along, beside, output)
    seen = values.observed(fit, rows.y, output)
    style.scatter(ax, place.seen, seen, values.shares(fit, *rows), palette)
    looks = style.palette_of(fit.mixture.n_leaves, palette)
    for leaf, name in enumerate(style.leaf_names(fit.mixture)):
        if fit.mixture.titles[leaf]:  # zeros and noise have no regression
            continue
        look: dict[str, Any] = {"color": style.colour(looks[leaf]), "linestyle": style.dash(looks[leaf]), "zorder": 3}
        ax.plot(grid, at.mean[leaf], linewidth=0.7, alpha=0.7, label=f"_{name}", **look)
        active = np.where(at.weight[leaf] >= ACTIVE, at.mean[leaf], np.nan)
        ax.plot(grid, active, linewidth=2.2, label=f"_{name}, active", **look)
    style.room(ax, seen)
    ax.set_xlim(grid[0], grid[-1])
    across, up = labels or (style.plain(place.name), style.plain(place.response))
    ax.set(xlabel=across, ylabel=up)
    if legend:
        ax.legend(handles=style.leaf_handles(fit.mixture, palette), fontsize=8, frameon=False)
    return ax


def gate_curves(
    fit: Any,
    X: Any = None,
    ax: Axes | None = None,
    *,
    feature: int | str = 0,
    label: str | None = None,
    palette: Sequence[int] | None = None,
    legend: bool = True,
) -> Axes:
    """Plot the weight of each leaf along one gate input, with the others at their medians.

    In a hierarchy, the weight of a leaf is the product of the gate weights on its path.

    Parameters
    ----------
    fit : Fit or fitted regressor
    X : array-like (n, g) or (n,)
        Gate inputs; after `moe` a data frame, or nothing for that of the fit.
    ax : Axes, optional
        Axes to draw on; default: a new figure.
    feature : int or str
        Column of X on the x axis, after `moe` of the inputs that the gate formula gives.
    label : str, optional
        Label of the x axis, with units; default: the name of the column.
    palette : sequence of int, optional
        Index of the colour, line style and marker of each leaf.
    legend : bool

    Returns
    -------
    Axes

    Examples
    --------
    >>> from gatewise import MixtureOfExpertsRegressor
    >>> from gatewise.data import load
    >>> from gatewise.plots import gate_curves
    >>> tone = load("tone")
    >>> model = MixtureOfExpertsRegressor(n_experts=2, n_init=1, random_state=0).fit(tone.X, tone.y)
    >>> gate_curves(model, tone.X, label="stretch ratio").get_xlabel()
    'stretch ratio'
    """
    X = values.gate_rows(fit, X)
    fit, ax, column = values.engine_fit(fit), style.canvas(ax), values.place(X, feature)
    grid, along = values.section(X, column)
    label = style.plain(values.title(X, column, "x")) if label is None else label
    weights = values.leaf_weights(fit, along)
    names = style.leaf_names(fit.mixture)
    for weight, look, name in zip(weights, style.palette_of(len(names), palette), names, strict=True):
        ax.plot(grid, weight, color=style.colour(look), linestyle=style.dash(look), linewidth=1.8, label=name)
    ax.set_xlim(grid[0], grid[-1])
    ax.set(ylim=(-0.04, 1.04), yticks=(0.0, 0.5, 1.0), xlabel=label, ylabel="gate weight")
    if legend:
        ax.legend(fontsize=8, frameon=False)
    return ax
