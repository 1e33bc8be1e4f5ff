"""Pictures of experiments: a measure by gate with its interval, curves by x, tables of routing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from gatewise.experiments.compare import interval, values
from gatewise.experiments.experiment import Curves, Metric, Table
from gatewise.experiments.store import Record
from gatewise.plots import style
from gatewise.plots.routing import routing_table


def by_gate(
    records: Sequence[Record], variant: str, name: str, measure: Metric, gates: Sequence[str], ax: Axes | None = None
) -> Axes:
    """Draw a measure of every gate: one dot per seed, the mean and its 95 % interval.

    Parameters
    ----------
    records : sequence of Record
    variant, name : str
        The variant, and the name of the measure.
    measure : Metric
    gates : sequence of str
        From top to bottom.
    ax : Axes, optional
    """
    ax = style.canvas(ax)
    for row, gate in enumerate(gates):
        found = list(values(records, variant, gate, name).values())
        if not found:
            continue
        ax.plot(found, np.full(len(found), row), "o", color=style.GREY, markersize=3, alpha=0.6)
        mean = interval(found)
        ax.plot([mean.low, mean.high], [row, row], color=style.colour(0), linewidth=2)
        ax.plot([mean.mean], [row], "D", color=style.colour(0), markersize=5)
    ax.set_yticks(range(len(gates)), gates)
    ax.set_ylim(len(gates) - 0.5, -0.5)
    unit = f", {measure.unit}" if measure.unit else ""
    better = {True: " (more is better)", False: " (less is better)", None: ""}[measure.more]
    ax.set_xlabel(f"{measure.title}{unit}{better}")
    return ax


def curves(
    records: Sequence[Record], variant: str, figure: Curves, gates: Sequence[str], ax: Axes | None = None
) -> Axes:
    """Draw the mean over seeds of a list in the outcomes by x, one line per gate."""
    ax = style.canvas(ax)
    for i, gate in enumerate(gates):
        found = [r.outcome[figure.key] for r in _of(records, variant, gate) if figure.key in r.outcome]
        if found:
            look: dict[str, Any] = {"color": style.colour(i), "linestyle": style.dash(i), "marker": style.marker(i)}
            ax.plot(
                figure.x, np.mean(np.asarray(found, dtype=float), 0), markersize=3.5, linewidth=1.2, label=gate, **look
            )
    ax.set_xlabel(figure.x_title)
    ax.set_ylabel(figure.y_title)
    ax.legend(fontsize=7, frameon=False, ncols=2)
    return ax


def table(
    records: Sequence[Record],
    variant: str,
    figure: Table,
    gate: str,
    ax: Axes | None = None,
    branching: tuple[int, ...] | None = None,
) -> Axes:
    """Draw the assignments of groups to experts for a gate, of its first seed: names of experts differ by seed."""
    found = [r.outcome[figure.key] for r in _of(records, variant, gate) if figure.key in r.outcome]
    if not found:
        raise ValueError(f"{gate} has no table {figure.key!r} in the variant {variant!r}")
    ax = routing_table(np.asarray(found[0]), ax, groups=figure.groups or None, by=figure.by, branching=branching)
    ax.set_title(gate, fontsize=10)
    return ax


def _of(records: Sequence[Record], variant: str, gate: str) -> list[Record]:
    return [r for r in records if r.variant == variant and r.gate == gate and not r.tuning]
