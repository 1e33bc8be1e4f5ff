"""A criterion against the number of experts: how many does the data ask for?"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from gatewise.plots import style

LABELS = {"bic": "BIC", "aic": "AIC", "icl": "ICL", "cv": "held-out log density per row"}


def criteria(selection: Any, criterion: str | None = None, ax: Axes | None = None) -> Axes:
    """Plot a criterion against the number of experts, one line per gate and kind of expert.

    A ring marks the choice. Unsound fits are hollow triangles and joined to no line.

    Parameters
    ----------
    selection : Selection
    criterion : {"bic", "aic", "icl", "cv"}, optional
        Default: that of the selection.
    ax : Axes, optional
        Axes to draw on; default: a new figure.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If the criterion is unknown or was not computed.

    Examples
    --------
    >>> from gatewise import MixtureOfExpertsRegressor, select
    >>> from gatewise.data import load
    >>> from gatewise.plots import criteria
    >>> tone = load("tone")
    >>> model = MixtureOfExpertsRegressor(n_experts=2, n_init=1, random_state=0).fit(tone.X, tone.y)
    >>> criteria(select(model, tone.X, tone.y, n_experts=(1, 2))).get_xlabel()
    'number of experts'
    """
    criterion = criterion or selection.criterion
    if criterion not in LABELS:
        raise ValueError(f"criterion={criterion!r}: choose one of {', '.join(LABELS)}")
    table = selection.table
    if not np.isfinite(table[criterion]).any():
        raise ValueError(f"criterion={criterion!r} was not computed: select with criterion={criterion!r}")
    ax = style.canvas(ax)
    sizes = [int(np.prod(size)) for size in table["n_experts"]]
    table = table.assign(size=sizes, sound=table["status"] != "unsound")
    alone = table[table["gate"] == "-"]  # one expert, whatever the gate
    many = table[table["gate"] != "-"]
    lines = list(many.groupby(["gate", "expert"], sort=False)) or list(table.groupby(["gate", "expert"], sort=False))
    for look, ((gate, expert), own) in enumerate(lines):
        first = alone[alone["expert"] == expert] if len(many) else alone.iloc[:0]
        _line(ax, look, style.plain(_name(table, gate, expert)), [*first.itertuples(), *own.itertuples()], criterion)
    _ring(ax, selection, table, criterion)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    ax.set(xlabel="number of experts", ylabel=LABELS[criterion])
    ax.legend(fontsize=8, frameon=False)
    return ax


def _line(ax: Axes, look: int, label: str, rows: list[Any], criterion: str) -> None:
    """Draw the fits of one gate and expert."""
    sound = sorted((row.size, getattr(row, criterion)) for row in rows if row.sound)
    lost = [(row.size, getattr(row, criterion)) for row in rows if not row.sound]
    x, y = zip(*sound, strict=True) if sound else ((), ())
    ax.plot(
        x, y, color=style.colour(look), linestyle=style.dash(look), marker=style.marker(look), markersize=5, label=label
    )  # fmt: skip
    if lost:
        x, y = zip(*lost, strict=True)
        ax.scatter(x, y, marker="v", facecolors="none", edgecolors=style.colour(look), s=30)


def _name(table: Any, gate: str, expert: str) -> str:
    """Return what tells a line from the others."""
    several = [name for name, column in ((gate, "gate"), (expert, "expert")) if table[column].nunique() > 1]
    return ", ".join(several) or gate


def _ring(ax: Axes, selection: Any, table: Any, criterion: str) -> None:
    """Mark the choice, where it is one of this criterion."""
    if criterion != selection.criterion or not table["sound"].any():
        return
    best = table.iloc[selection.best_index_]
    ax.scatter(
        [best["size"]], [best[criterion]], s=140, facecolors="none", edgecolors=style.INK, linewidths=1.3, zorder=4,
        label="chosen",
    )  # fmt: skip
