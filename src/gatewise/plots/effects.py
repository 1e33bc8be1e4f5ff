"""Coefficients with their intervals, and the means of the experts along one column with confidence bands."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from gatewise.core.mixture import Mixture
from gatewise.estimators.inference import Inference
from gatewise.estimators.names import labels_of
from gatewise.estimators.terms import REFERENCE, SummaryTerms, Term, TermGroup
from gatewise.plots import style, values

FOREST, ROW, DODGE = 1.0, 0.17, 0.62  # inches around the rows, per row, and the share of a name that its rows take
POINTS = 101


def coefficients(
    model: Any,
    ax: Axes | None = None,
    *,
    part: str = "experts",
    columns: Sequence[str] | None = None,
    palette: Sequence[int] | None = None,
    legend: bool = True,
) -> Axes:
    """Plot the coefficients of the experts, or of the gates, with their 95 % intervals.

    Hollow markers have no standard error; those beyond the picture stand at its edge. Coefficients that all experts
    share are black.

    Parameters
    ----------
    model : fitted estimator
    ax : Axes, optional
        Axes to draw on; default: a new figure.
    part : {"experts", "gates"}
        Parameters of the family, such as scales, are left out.
    columns : sequence of str, optional
        Names of the summary, such as ``"x0"`` or ``"weight x0"``. Default: all but intercepts and biases, whose size
        hides the others, unless there is nothing else.
    palette : sequence of int, optional
        Index of the colour and marker of each leaf.
    legend : bool

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        For another part, a name that is not there, and gates without parameters.

    Examples
    --------
    >>> import numpy as np
    >>> from gatewise import MixtureOfExpertsRegressor
    >>> from gatewise.plots import coefficients
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(200, 3))
    >>> y = np.where(X[:, 0] + rng.normal(size=200) > 0, 3 + X[:, 1], -3 - X[:, 2]) + 0.5 * rng.normal(size=200)
    >>> model = MixtureOfExpertsRegressor(n_experts=2, n_init=1, random_state=0).fit(X, y)
    >>> coefficients(model).get_xlabel()
    'estimate, 95 % interval'
    """
    groups = _groups(model, part)
    names = _chosen(model.mixture_, groups, columns, part)
    branching = model.mixture_.branching
    owners = list(dict.fromkeys(group.owner for group, _ in groups))
    looks = {owner: _look(owner, branching, palette) for owner in owners}
    ax = style.canvas(ax if ax is not None else style.own_axes(5.2, FOREST + ROW * len(names) * max(len(owners), 2)))
    late: list[tuple[float, float, int | None]] = []
    for place, name in enumerate(names):
        own = [(group.owner, term) for group, term in groups if term.name == name]
        for turn, (owner, term) in enumerate(own):
            height = place + DODGE / len(own) * (turn - (len(own) - 1) / 2)
            if not _draw(ax, term, height, looks[owner]):
                late.append((term.estimate, height, looks[owner]))
    ax.axvline(0.0, color=style.GREY, linewidth=0.9, zorder=1)
    _at_edges(ax, late)
    ax.set_yticks(range(len(names)), [style.shortened(name, 28) for name in names])
    ax.grid(visible=False, axis="y")
    ax.set_ylim(len(names) - 0.5, -0.5)
    drawn = any(line.get_label() == "_interval" for line in ax.lines)
    ax.set_xlabel("estimate, 95 % interval" if drawn else f"estimate; no intervals: the fit is {model.status_}")
    if legend:
        kind = "expert" if part == "experts" else "branch"
        handles = [_handle(looks[owner], _owner(kind, owner)) for owner in owners]
        style.legend_above(ax, handles)
    return ax


def _groups(model: Any, part: str) -> list[tuple[TermGroup, Term]]:
    """Return the terms of a part with the groups they belong to, references left out."""
    if part not in ("experts", "gates"):
        raise ValueError(f"part={part!r}: choose 'experts' or 'gates'")
    terms = SummaryTerms(model.fit_, model._errors, *labels_of(model))
    if part == "experts":
        common = terms.common()
        groups = terms.coefficients() + ([common] if common.terms else [])
    else:
        groups = [group for level in range(model.mixture_.depth) for group in terms.gate(level, "branch")]
    found = [(group, term) for group in groups for term in group.terms if term.word != REFERENCE]
    if not found:
        raise ValueError(f"part={part!r}: this model has no parameters there")
    return found


def _chosen(
    mixture: Mixture, groups: Sequence[tuple[TermGroup, Term]], columns: Sequence[str] | None, part: str
) -> list[str]:
    """Return the names to draw, in the order of the summary."""
    names = list(dict.fromkeys(term.name for _, term in groups))
    if columns is None:
        constant = {path.rpartition(".")[2] for path in mixture.paths(part, "intercept", "threshold")}
        slopes = [name for name in names if name.rpartition(" ")[2] not in constant]
        return slopes or names
    wanted = [columns] if isinstance(columns, str) else list(columns)
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise ValueError(f"columns has {unknown[0]!r}, which the {part} have not: there are {', '.join(names)}")
    return wanted


def _look(owner: tuple[int, ...], branching: Sequence[int], palette: Sequence[int] | None) -> int | None:
    """Return colour and marker of an owner; None: all of them."""
    if not owner:
        return None
    looks = style.palette_of(int(np.prod(branching)), palette)
    return looks[int(np.ravel_multi_index(owner, tuple(branching[: len(owner)])))]


def _owner(kind: str, owner: tuple[int, ...]) -> str:
    return f"{kind} {'/'.join(map(str, owner))}" if owner else "all experts"


def _colour(look: int | None) -> str:
    return style.INK if look is None else style.colour(look)


def _handle(look: int | None, label: str) -> Line2D:
    shape = "d" if look is None else style.marker(look)
    return Line2D([], [], color=_colour(look), marker=shape, markersize=5, linewidth=1.4, label=label)


def _draw(ax: Axes, term: Term, height: float, look: int | None) -> bool:
    """Draw an estimate with its interval; False: it has none."""
    if not term.numbers or not isfinite(term.numbers[3]):
        return False
    ax.plot(term.numbers[3:], [height, height], color=_colour(look), linewidth=1.4, label="_interval", zorder=2)
    shape = "d" if look is None else style.marker(look)
    ax.plot([term.estimate], [height], color=_colour(look), marker=shape, markersize=5, label="_estimate", zorder=3)
    return True


def _at_edges(ax: Axes, late: Sequence[tuple[float, float, int | None]]) -> None:
    """Draw what has no interval, within the range of the rest."""
    if not late:
        return
    if ax.lines and any(line.get_label() == "_interval" for line in ax.lines):
        low, high = ax.get_xlim()
    else:
        ends = [0.0, *(estimate for estimate, _, _ in late)]
        spare = 0.06 * (max(ends) - min(ends)) or 1.0
        low, high = min(ends) - spare, max(ends) + spare
    for estimate, height, look in late:
        shape = "<" if estimate < low else ">" if estimate > high else "d" if look is None else style.marker(look)
        at = min(max(estimate, low), high)
        ax.plot(
            [at], [height], marker=shape, markersize=6, markerfacecolor="none", markeredgecolor=_colour(look),
            clip_on=False, label="_without error",
        )  # fmt: skip
    ax.set_xlim(low, high)


def marginal_effects(
    found: Any,
    column: int | str = 0,
    X: Any = None,
    ax: Axes | None = None,
    *,
    level: float = 0.95,
    output: int = 0,
    label: str | None = None,
    palette: Sequence[int] | None = None,
    legend: bool = True,
) -> Axes:
    """Plot the mean of every expert along one column, with pointwise confidence bands.

    Other columns are held at their medians, those without numbers at the most frequent value; an offset is zero. A
    column without numbers (text, categories) has points with intervals. Branches of zeros and of noise have no curve.
    Where the fit has no standard errors the curves are drawn alone, and the title says why.

    Parameters
    ----------
    found : Inference, or a model fitted by `moe`
        ``model.inference(X, y)``: the bands are those of its errors.
    column : int or str
        Of X, or of the frame of a formula.
    X : array-like (n, d), optional
        The rows whose range is drawn; after `moe` by default those of the fit.
    ax : Axes, optional
        Axes to draw on; default: a new figure.
    level : float
    output : int
        Column of y.
    label : str, optional
        Of the y axis. Default: ``mean of y``.
    palette : sequence of int, optional
        Index of the colour and line style of each leaf.
    legend : bool

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If there is no such column, and for classes, which have no mean.

    Examples
    --------
    >>> import numpy as np
    >>> from gatewise import MixtureOfExpertsRegressor
    >>> from gatewise.plots import marginal_effects
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(200, 3))
    >>> y = np.where(rng.random(200) < 0.5, 4 + X[:, 0], -4 - X[:, 1]) + 0.5 * rng.normal(size=200)
    >>> model = MixtureOfExpertsRegressor(2, gate="constant", n_init=3, random_state=0).fit(X, y)
    >>> marginal_effects(model.inference(X, y), "x1", X).get_xlabel()
    'x1'
    """
    found = found if isinstance(found, Inference) else found.inference()
    model = found.estimator
    values.require_mean(model)
    along = values.rows_along(values.inputs(model, X), [column], POINTS)
    offset = {"offset": 0.0} if model._offset else {}
    rows = along.rows if model._design is not None or hasattr(model, "feature_names_in_") else along.rows.to_numpy()
    mean = _several(model.predict_experts(rows, **offset, **_gates(model, len(along.rows))), output)
    ends = None if found.refused else _several(found.expert_interval(rows, level, **offset), output, True)
    ax = style.canvas(ax)
    names = style.leaf_names(model.mixture_)
    looks = style.palette_of(len(names), palette)
    kept = [leaf for leaf, title in enumerate(model.mixture_.titles) if not title]
    grid = along.values[0]
    for turn, leaf in enumerate(kept):
        band = None if ends is None else ends[:, leaf]
        if grid.dtype.kind == "f":
            _curve(ax, grid, mean[:, leaf], band, looks[leaf], names[leaf])
        else:
            shift = 0.16 * (turn - (len(kept) - 1) / 2)
            _points(ax, np.arange(len(grid)) + shift, mean[:, leaf], band, looks[leaf], names[leaf])
    if grid.dtype.kind == "f":
        ax.set_xlim(grid[0], grid[-1])
    else:
        ax.set_xticks(range(len(grid)), [style.plain(str(one), 16) for one in grid])
        ax.set_xlim(-0.5, len(grid) - 0.5)
    response = labels_of(model).outputs[output] if model.n_outputs_ > 1 else _response(model)
    ax.set(xlabel=style.plain(along.names[0]), ylabel=label or f"mean of {style.plain(response)}")
    why = f"no bands: the fit is {model.status_}" if found.refused else ""
    if legend:
        style.legend_above(ax, ax.get_legend_handles_labels()[0], why)
    elif why:
        ax.set_title(why, fontsize=9)
    return ax


def _several(values: np.ndarray, output: int, ends: bool = False) -> np.ndarray:
    """Return what belongs to one output of values ``(n, L)``, ``(n, L, q)``, or with ends as the last axis."""
    return values[:, :, output] if values.ndim == 3 + ends else values


def _gates(model: Any, n: int) -> dict[str, Any]:
    """Return gate inputs, at which experts do not look, where a method wants some."""
    needed = model._reader.given and model._design is None
    return {"gate_X": _blank(model, n)} if needed else {}


def _blank(model: Any, n: int) -> Any:
    import pandas as pd

    names = model._reader.names
    blank = np.zeros((n, model._reader.count))
    return blank if names is None else pd.DataFrame(blank, columns=list(names))


def _response(model: Any) -> str:
    return "y" if model._design is None else model._design.responses[0]


def _curve(ax: Axes, grid: np.ndarray, mean: np.ndarray, ends: np.ndarray | None, look: int, name: str) -> None:
    tint: dict[str, Any] = {"color": style.colour(look), "linestyle": style.dash(look)}
    ax.plot(grid, mean, linewidth=1.8, label=name, zorder=3, **tint)
    if ends is not None:
        ax.fill_between(
            grid, ends[:, 0], ends[:, 1], color=style.colour(look), alpha=0.18, linewidth=0, label="_band", zorder=2
        )


def _points(ax: Axes, place: np.ndarray, mean: np.ndarray, ends: np.ndarray | None, look: int, name: str) -> None:
    tint = style.colour(look)
    ax.plot(place, mean, style.marker(look), color=tint, markersize=5.5, label=name, zorder=3)
    if ends is not None:
        ax.vlines(place, ends[:, 0], ends[:, 1], color=tint, linewidth=1.4, label="_interval", zorder=2)
