"""Where tokens go: load by step, a table of groups and experts, gate figures over the steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from gatewise.plots import style


def load_by_step(load: np.ndarray, ax: Axes | None = None, *, steps: Sequence[float] | None = None) -> Axes:
    """Draw the share of the assignments of every expert by optimiser step, experts stacked from below.

    Parameters
    ----------
    load : array (steps, L)
        From ``History.load``; rows sum to one.
    ax : Axes, optional
    steps : sequence, optional
        The steps of the rows; 1, 2, ... when None.

    Returns
    -------
    Axes
        Experts in the order of their leaves, with white lines between them and a rule at every even share.
    """
    load = np.asarray(load, dtype=float)
    if load.ndim != 2 or not len(load):
        raise ValueError(f"load has the shape {load.shape}: give one row per step and one column per expert")
    ax = style.canvas(ax)
    ax.grid(visible=False)
    x = np.arange(1, len(load) + 1) if steps is None else np.asarray(steps, dtype=float)
    colours = [style.colour(leaf) for leaf in range(load.shape[1])]
    ax.stackplot(x, load.T, colors=colours, edgecolor="white", linewidth=0.6)
    middles = np.cumsum(load[-1]) - load[-1] / 2
    for leaf, (middle, share) in enumerate(zip(middles, load[-1], strict=True)):
        if share > 0.04:
            ax.annotate(str(leaf), (x[-1], middle), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8)
    ax.set(xlim=(x[0], x[-1] if len(x) > 1 else x[0] + 1), ylim=(0, 1))
    ax.set_xlabel("optimiser step")
    ax.set_ylabel("share of assignments, by expert")
    return ax


def routing_table(
    table: np.ndarray,
    ax: Axes | None = None,
    *,
    groups: Sequence[str] | None = None,
    by: str = "group",
    branching: tuple[int, ...] | None = None,
) -> Axes:
    """Draw a table of assignments as shares of every group's tokens by expert, darker where there are more.

    Parameters
    ----------
    table : array (groups, L)
        Counts, such as those of ``domain_table``.
    ax : Axes, optional
    groups : sequence of str, optional
        Names of the rows.
    by : str
        What a row is: domain, modality, class.
    branching : tuple of int, optional
        Of two levels: a line stands between the groups of experts.

    Returns
    -------
    Axes
    """
    counts = np.asarray(table, dtype=float)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    ax = style.canvas(ax)
    ax.grid(visible=False)
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=max(float(shares.max()), 1e-9), aspect="auto")
    for (row, leaf), share in np.ndenumerate(shares):
        dark = share > 0.6 * shares.max()
        ax.text(leaf, row, f"{share:.0%}", ha="center", va="center", fontsize=7, color="white" if dark else style.INK)
    if branching is not None and len(branching) > 1:
        for edge in range(branching[-1], shares.shape[1], branching[-1]):
            ax.axvline(edge - 0.5, color=style.INK, linewidth=1.2)
    names = [str(i) for i in range(len(shares))] if groups is None else [style.plain(name, 20) for name in groups]
    ax.set_yticks(range(len(shares)), names)
    ax.set_xticks(range(shares.shape[1]))
    ax.set_xlabel("expert (share of the row's assignments)")
    ax.set_ylabel(by)
    return ax


def figures_by_step(figures: Mapping[str, Sequence[float]], ax: Axes | None = None) -> Axes:
    """Draw figures between zero and one by optimiser step, such as normalised entropy and dead fraction.

    Parameters
    ----------
    figures : mapping of str to sequence
        From ``History.figure``.
    ax : Axes, optional

    Returns
    -------
    Axes
    """
    ax = style.canvas(ax)
    for i, (name, values) in enumerate(figures.items()):
        steps = np.arange(1, len(values) + 1)
        ax.plot(steps, values, color=style.colour(i), linestyle=style.dash(i), label=name)
    ax.set_ylim(-0.02, 1.02)
    ax.set_xlabel("optimiser step")
    ax.set_ylabel("figure of the layer (0 to 1)")
    ax.legend(fontsize=8, frameon=False)
    return ax
