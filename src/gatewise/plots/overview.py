"""One figure per fit: the data with the experts, the gate below, and where the starts ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from gatewise.plots import style, values
from gatewise.plots.agreement import predicted_observed
from gatewise.plots.curves import expert_curves, gate_curves
from gatewise.plots.starts import objective_per_start


def overview(
    fit: Any,
    X: Any = None,
    y: Any = None,
    *,
    gate_X: Any = None,
    groups: Any = None,
    names: Sequence[str] | None = None,
    gate_names: Sequence[str] | None = None,
    target: str = "y",
    palette: Sequence[int] | None = None,
    figsize: tuple[float, float] = (4.4, 5.6),
) -> Figure:
    """Plot a fit in three panels: experts over the data, gate weights, and the value reached by each start.

    With one feature, the two upper panels share their x axis. With several, the top panel shows observed against
    predicted responses, and the middle panel the gate along the input that changes it most.

    Parameters
    ----------
    fit : Fit or fitted regressor
    X, y, gate_X, groups
        As in `expert_curves`.
    names, gate_names : sequence of str, optional
        Labels of the columns of X and gate_X, with units; default: their names.
    target : str
        Label of y, with units.
    palette : sequence of int, optional
        Index of the colour, line style and marker of each leaf.
    figsize : (float, float)
        Size in inches.

    Returns
    -------
    Figure

    Examples
    --------
    >>> from gatewise import MixtureOfExpertsRegressor
    >>> from gatewise.data import load
    >>> from gatewise.plots import overview
    >>> tone = load("tone")
    >>> model = MixtureOfExpertsRegressor(n_experts=2, n_init=1, random_state=0).fit(tone.X, tone.y)
    >>> len(overview(model, tone.X, tone.y).axes)
    3
    """
    rows = values.rows(fit, X, y, gate_X, groups)
    shown = rows.gate_x if getattr(fit, "_design", None) is not None else gate_X
    names = list(names or map(style.plain, values.column_labels(fit, rows.x, values.table(rows.x).shape[1])))
    gate_names = gate_names or [style.plain(str(name)) for name in getattr(shown, "columns", ())]
    X, y, gate_X, groups = rows
    fit, inputs = values.engine_fit(fit), values.table(X)
    gate_inputs, gate_names = (inputs, names) if gate_X is None else (values.table(gate_X), list(gate_names or []))
    gate_names = gate_names or [f"gate input {j}" for j in range(gate_inputs.shape[1])]
    figure = style.Picture(figsize=figsize, layout="constrained")
    upper, middle, lower = figure.subplots(3, 1, height_ratios=(3.0, 1.5, 1.7))
    common = {"gate_X": gate_X, "groups": groups, "palette": palette, "legend": False}
    aligned = inputs.shape[1] == 1 and gate_X is None
    if inputs.shape[1] == 1:
        expert_curves(fit, X, y, upper, labels=(names[0], target), **common)
    else:
        predicted_observed(fit, X, y, upper, label=target, **common)
    mover = liveliest(fit, gate_inputs)
    gate_curves(fit, gate_inputs, middle, feature=mover, label=gate_names[mover], palette=palette, legend=False)
    if aligned:
        middle.sharex(upper)
        upper.set_xlabel("")
        upper.tick_params(labelbottom=False)
    objective_per_start(fit, lower)
    figure.legend(
        handles=style.leaf_handles(fit.mixture, palette), loc="outside upper center", frameon=False,
        ncols=style.per_row(fit.mixture.n_leaves), fontsize=8.5, handlelength=3, columnspacing=1.5,
    )  # fmt: skip
    figure.align_ylabels()
    return figure


def liveliest(fit: Any, gate_X: Any) -> int:
    """Return the gate input along which the weights vary most, the others at their medians."""
    inputs = values.table(gate_X)
    moves = [
        np.ptp(values.leaf_weights(values.engine_fit(fit), values.section(inputs, j, 41)[1]), axis=1).sum()
        for j in range(inputs.shape[1])
    ]
    return int(np.argmax(moves))
