"""How well experts are told apart, and whether the law fits: posterior rootogram, quantiles of residuals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from scipy import stats

from gatewise.plots import style, values

NOTHING = 1e-4  # posterior probability below which a row says nothing of an expert
BINS = 10
MOST = 4000  # points of a plot of quantiles


def rootogram(
    model: Any,
    X: Any = None,
    y: Any = None,
    ax: Axes | None = None,
    *,
    palette: Sequence[int] | None = None,
    legend: bool = True,
    **given: Any,
) -> Axes:
    """Plot how often every expert has which posterior probability: the rootogram of Leisch (2004).

    Peaks at 0 and 1 and nothing between mean that the expert is told apart from the others. Heights are square roots of
    counts. Probabilities below 0.0001 are left out, since a peak at zero would hide the rest. Rows count as often as
    their weights say, those of a formula or `sample_weight`; the rows of a group are one group.

    Parameters
    ----------
    model : fitted estimator
    X, y : array-like
        The rows; after `moe` a data frame, or nothing for that of the fit.
    ax : Axes, optional
        Axes to draw on; default: a new figure.
    palette : sequence of int, optional
        Index of the colour of each leaf.
    legend : bool
    **given
        Other arguments of `classification`: gate_X, groups, offset, trials, and the sample_weight of the fit, which a
        model without a formula does not keep.

    Returns
    -------
    Axes

    Examples
    --------
    >>> from gatewise import MixtureOfExpertsRegressor
    >>> from gatewise.data import load
    >>> from gatewise.plots import rootogram
    >>> tone = load("tone")
    >>> model = MixtureOfExpertsRegressor(n_experts=2, n_init=1, random_state=0).fit(tone.X, tone.y)
    >>> rootogram(model, tone.X, tone.y).get_xlabel()
    'posterior probability'
    """
    found = model.classification(X, y, **given)
    posterior, weight = found.posterior, np.ones(len(found.posterior)) if found.weight is None else found.weight
    count = posterior.shape[1]
    looks, names = style.palette_of(count, palette), style.leaf_names(model.mixture_)
    ax = style.canvas(ax if ax is not None else style.own_axes(5.2, 3.2))
    ax.grid(visible=False, axis="x")
    edges = np.linspace(0.0, 1.0, BINS + 1)
    width = 0.84 * (edges[1] - edges[0]) / count
    counted = [np.histogram(own, edges, weights=weight * (own >= NOTHING))[0] for own in posterior.T]
    for leaf, (look, name, heights) in enumerate(zip(looks, names, counted, strict=True)):
        left = edges[:-1] + 0.08 * (edges[1] - edges[0]) + leaf * width
        ax.bar(
            left, heights, width, align="edge", color=style.colour(look), edgecolor="white", linewidth=0.4, label=name,
            hatch=style.hatch(look),
        )  # fmt: skip
    ax.set_yscale("function", functions=(lambda v: np.sqrt(np.maximum(v, 0.0)), np.square))
    ax.set_yticks(_counts(float(np.max(counted))))
    ax.set(xlim=(0.0, 1.0), xticks=np.linspace(0, 1, 6), xlabel="posterior probability")
    ax.set_ylabel(f"{found.unit} (root scale)")
    if legend:
        style.legend_above(ax, ax.get_legend_handles_labels()[0])
    return ax


def _counts(most: float) -> list[float]:
    """Return ticks for counts on a scale of square roots, none too close to the next.

    Examples
    --------
    >>> _counts(130.0), _counts(0.0)
    ([0.0, 10.0, 50.0, 100.0], [0.0])
    """
    steps = [0.0, *(lead * 10.0**power for power in range(9) for lead in (1, 2, 5))]
    kept = [0.0]
    for step in (one for one in steps[1:] if one <= most):
        if np.sqrt(step) - np.sqrt(kept[-1]) >= 0.2 * np.sqrt(most):
            kept.append(step)
    return kept


def residual_quantiles(
    model: Any,
    X: Any = None,
    y: Any = None,
    ax: Axes | None = None,
    *,
    output: int = 0,
    level: float = 0.95,
    random_state: Any = 0,
    **given: Any,
) -> Axes:
    """Plot the sorted quantile residuals of the mixture against normal quantiles.

    They are standard normal if the model is true, whatever its family: the points then lie at the line, and each of
    them within the grey band with probability `level`. Every row counts once, whatever its weight in the fit.

    Parameters
    ----------
    model : fitted regressor
    X, y : array-like
        The rows; after `moe` a data frame, or nothing for that of the fit.
    ax : Axes, optional
        Axes to draw on; default: a new figure.
    output : int
        Column of y.
    level : float
        Of the pointwise band.
    random_state : int, numpy generator or None
        Of the residuals of counts.
    **given
        Other arguments of `residuals`, such as gate_X, offset or trials.

    Returns
    -------
    Axes

    Examples
    --------
    >>> from gatewise import MixtureOfExpertsRegressor
    >>> from gatewise.data import load
    >>> from gatewise.plots import residual_quantiles
    >>> tone = load("tone")
    >>> model = MixtureOfExpertsRegressor(n_experts=2, n_init=1, random_state=0).fit(tone.X, tone.y)
    >>> residual_quantiles(model, tone.X, tone.y).get_xlabel()
    'normal quantile'
    """
    values.require_mean(model)
    found = model.residuals(X, y, random_state=random_state, **given)
    found = np.sort(found[:, output] if found.ndim == 2 else found)
    n = len(found)
    place = np.arange(1, n + 1)
    normal = stats.norm.ppf((place - 0.5) / n)
    kept = np.unique(np.linspace(0, n - 1, min(n, MOST)).round().astype(int))
    ax = style.canvas(ax if ax is not None else style.own_axes(4.2, 3.6))
    tails = [stats.norm.ppf(stats.beta.ppf(p, place, n + 1 - place)) for p in ((1 - level) / 2, (1 + level) / 2)]
    ax.fill_between(
        normal[kept], tails[0][kept], tails[1][kept], color=style.RULE, linewidth=0, label="_band", zorder=1
    )
    ax.plot(normal[[0, -1]], normal[[0, -1]], color=style.INK, linewidth=1, linestyle=(0, (4, 2)), label="_equal")
    ax.plot(
        normal[kept], found[kept], "o", color=style.colour(0), markersize=3, markeredgewidth=0, label="_rows",
        rasterized=n > 2000,
    )  # fmt: skip
    ax.set(xlabel="normal quantile", ylabel="quantile residual")
    return ax
