"""Where tokens go: load by step, a table of groups and experts, gate figures over the steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes

from gatewise.plots import style

MANY = 16  # experts above which bands and cells are too narrow for words


def load_by_step(
    load: np.ndarray,
    ax: Axes | None = None,
    *,
    steps: Sequence[float] | None = None,
    branching: tuple[int, ...] | None = None,
) -> Axes:
    """Plot the load share of each expert over optimiser steps, as stacked areas.

    Parameters
    ----------
    load : array (steps, L)
        From ``History.load``; rows sum to one.
    ax : Axes, optional
    steps : sequence, optional
        Step numbers of the rows; default: 1, 2, ...
    branching : tuple of int, optional
        With two levels, a line separates the groups of experts.

    Returns
    -------
    Axes
        Experts in the order of their leaves. Dotted lines mark equal shares.

    Examples
    --------
    >>> import numpy as np
    >>> from gatewise.plots import load_by_step
    >>> load_by_step(np.array([[0.7, 0.1, 0.1, 0.1], [0.25, 0.25, 0.25, 0.25]]), branching=(2, 2)).get_xlabel()
    'optimiser step'
    """
    load = np.asarray(load, dtype=float)
    if load.ndim != 2 or not len(load):
        raise ValueError(f"load has the shape {load.shape}: give one row per step and one column per expert")
    ax = style.canvas(ax)
    ax.grid(visible=False)
    x = np.arange(1, len(load) + 1) if steps is None else np.asarray(steps, dtype=float)
    leaves = load.shape[1]
    ax.stackplot(x, load.T, colors=_bands(leaves), edgecolor="white", linewidth=0.6 if leaves <= MANY else 0.0)
    for edge in np.arange(1, leaves) / leaves if leaves <= MANY else ():
        ax.axhline(edge, color=style.INK, linewidth=0.5, linestyle=":")
    if branching is not None and len(branching) > 1:
        inner = leaves // branching[0]
        ax.plot(x, np.cumsum(load, 1)[:, inner - 1 : -1 : inner], color=style.INK, linewidth=1.4)
    middles = np.cumsum(load[-1]) - load[-1] / 2
    for leaf, (middle, share) in enumerate(zip(middles, load[-1], strict=True)):
        if share > 0.03 and leaves <= MANY:
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
    """Plot a table of assignments as a heat map: the share of each group's tokens that each expert receives.

    Parameters
    ----------
    table : array (groups, L)
        Counts, such as those of ``domain_table``.
    ax : Axes, optional
    groups : sequence of str, optional
        Names of the rows.
    by : str
        What a row represents: domain, modality, class.
    branching : tuple of int, optional
        With two levels, a line separates the groups of experts.

    Returns
    -------
    Axes

    Examples
    --------
    >>> import numpy as np
    >>> from gatewise.plots import routing_table
    >>> routing_table(np.array([[8, 1, 1], [1, 4, 5]]), groups=["code", "prose"], by="domain").get_ylabel()
    'domain'
    """
    counts = np.asarray(table, dtype=float)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    ax = style.canvas(ax)
    ax.grid(visible=False)
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=max(float(shares.max()), 1e-9), aspect="auto")
    wide = shares.shape[1] > MANY
    for (row, leaf), share in np.ndenumerate(shares) if not wide else ():
        dark = share > 0.6 * shares.max()
        ax.text(leaf, row, f"{share:.0%}", ha="center", va="center", fontsize=7, color="white" if dark else style.INK)
    if branching is not None and len(branching) > 1:
        for edge in range(branching[-1], shares.shape[1], branching[-1]):
            ax.axvline(edge - 0.5, color=style.INK, linewidth=1.2)
    names = [str(i) for i in range(len(shares))] if groups is None else [style.plain(name, 20) for name in groups]
    ax.set_yticks(range(len(shares)), names)
    ax.set_xticks(range(0, shares.shape[1], -(-shares.shape[1] // MANY)))
    ax.set_xlabel("expert (share of the row's assignments)")
    ax.set_ylabel(by)
    return ax


def figures_by_step(figures: Mapping[str, Sequence[float]], ax: Axes | None = None) -> Axes:
    """Plot routing statistics of a layer over optimiser steps, such as normalised entropy and dead fraction.

    Parameters
    ----------
    figures : mapping of str to sequence
        From ``History.figure``.
    ax : Axes, optional

    Returns
    -------
    Axes

    Examples
    --------
    >>> from gatewise.plots import figures_by_step
    >>> figures_by_step({"dead fraction": [0.5, 0.25, 0.0]}).get_xlabel()
    'optimiser step'
    """
    ax = style.canvas(ax)
    for i, (name, values) in enumerate(figures.items()):
        steps = np.arange(1, len(values) + 1)
        ax.plot(steps, values, color=style.colour(i), linestyle=style.dash(i), label=name)
    top = max((float(np.nanmax(values)) for values in figures.values() if len(values)), default=1.0)
    ax.set_ylim(-0.02 * max(top, 1.0), 1.02 * max(top, 1.0))
    ax.set_xlabel("optimiser step")
    ax.set_ylabel("figure of the layer")
    ax.legend(fontsize=8, frameon=False)
    return ax


def _bands(leaves: int) -> list[tuple[float, float, float]]:
    """Return a colour for every expert: a map that colour-blind readers can follow, lighter and darker in turns."""
    place = np.linspace(0.05, 0.95, leaves)
    shade = np.where(np.arange(leaves) % 2, 0.35, 0.0)[:, None]
    colours = matplotlib.colormaps["cividis"](place)[:, :3]
    return [(red, green, blue) for red, green, blue in colours + (1 - colours) * shade]
