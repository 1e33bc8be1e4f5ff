"""What a fitted estimator says of rows: inputs checked as in fit, weights, responsibilities and densities."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from gatewise.core.mixture import require_density
from gatewise.data.stream import StreamPart
from gatewise.estimators.gate_inputs import as_native, gates_read_rows
from gatewise.estimators.inputs import VARY, read_inputs, reject_text
from gatewise.estimators.tables import by_name, group_labels, vary_inside
from gatewise.estimators.values import labels, plain
from gatewise.infer.predict import in_blocks
from gatewise.objective import terms
from gatewise.objective.columns import Columns, columns
from gatewise.objective.rows import MOST, Rows, make_rows


def columns_of(estimator: Any, X: Any, gate_X: Any) -> tuple[Columns, Columns]:
    """Check inputs of a prediction and return those of experts and gates."""
    check_is_fitted(estimator, "fit_")
    X, _, gate_X = by_name(estimator, plain("X", X), None, gate_X)
    x = read_inputs(estimator, X, reset=False)
    gates = gate_X if isinstance(gate_X, StreamPart) else estimator._reader.read(x, gate_X)
    inputs = columns(x, hold=False)
    return inputs, inputs if gates is None else columns(gates, hold=False)


def evaluate(estimator: Any, function: Any, width: int, X: Any, gate_X: Any, *more: Columns) -> np.ndarray:
    """Return ``function(mixture, measure, x, gate_x, ...)`` for all rows, with rows first."""
    x, gates = columns_of(estimator, X, gate_X)
    for part in more:
        if part.shape[0] != x.shape[0]:
            raise ValueError(f"y has {part.shape[0]} rows, X has {x.shape[0]}: pass one response per observation")

    def block(*parts: torch.Tensor) -> torch.Tensor:
        return function(estimator.mixture_, estimator.measure_, *parts)

    size = estimator.mixture_.n_leaves * estimator.n_outputs_ * width
    return np.moveaxis(in_blocks(block, size, x, gates, *more).numpy(), -1, 0)


def response_of(estimator: Any, y: Any) -> Columns:
    """Check a response like that of fit."""
    wanted = estimator.mixture_.family.columns(estimator.n_outputs_)
    if isinstance(y, StreamPart):
        if y.shape[1] != wanted:
            raise ValueError(f"y has the columns {', '.join(y.names)}: give {wanted} as in fit")
        return columns(y, hold=False)
    y = plain("y", y)
    reject_text(y)
    y = as_native(np.asarray(y, dtype=np.float64))
    y = y[:, None] if y.ndim == 1 else y
    if y.ndim != 2 or y.shape[1] != wanted or not np.isfinite(y).all():
        raise ValueError(f"y has the shape {y.shape}: give finite numbers, {wanted} per row as in fit")
    return columns(y, hold=False)


def rows_of(estimator: Any, X: Any, y: Any, gate_X: Any, groups: Any) -> tuple[Rows, np.ndarray | None]:
    """Return checked rows with the rows of a group side by side, and their order (None: that given)."""
    check_is_fitted(estimator, "fit_")
    groups = group_labels(X, groups)
    X, y, gate_X = by_name(estimator, plain("X", X), y, gate_X)
    x, gates = columns_of(estimator, X, gate_X)
    response = response_of(estimator, y)
    n = x.shape[0]
    if response.shape[0] != n:
        raise ValueError(f"y has {response.shape[0]} rows, X has {n}: pass one response per observation")
    label = None if groups is None else labels("groups", groups, n)
    order = None  # groups are read side by side
    if label is not None and bool((np.diff(label) < 0).any()):
        order = np.argsort(label, kind="stable")
    ends = None if label is None else np.cumsum(np.bincount(label))
    parts = [part.source if order is None else part.source[order.tolist()] for part in (x, response, gates)]
    if (
        ends is not None
        and gates_read_rows(estimator.mixture_.gates, estimator.mixture_.branching)
        and vary_inside(parts[2], ends)
    ):
        raise ValueError(VARY)
    kept = None if ends is None else torch.from_numpy(ends)
    return make_rows(*parts[:2], gate_x=parts[2], ends=kept, hold=False), order


def responsibilities(estimator: Any, X: Any, y: Any, gate_X: Any, groups: Any) -> np.ndarray:
    """Return the posterior probability ``(n, L)`` of every expert given X and y."""
    rows, order = rows_of(estimator, X, y, gate_X, groups)
    out = np.empty((rows.n, estimator.mixture_.n_leaves))
    at = 0
    for block in rows.blocks(MOST):
        leaf = terms.unit_responsibilities(estimator.mixture_, estimator.measure_, block)
        part = terms.rows_from_units(leaf, block).T.numpy()
        here = slice(at, at + len(part))
        out[here if order is None else order[here]] = part
        at += len(part)
    lost = np.flatnonzero(~np.isfinite(out).all(1))
    if len(lost):
        raise ValueError(
            f"y of row {lost[0]} is so far from every expert that all densities are zero in floating point: it has "
            "no responsibilities; leave such rows out, or check the units of y"
        )
    return out


def score_samples(estimator: Any, X: Any, y: Any, gate_X: Any, groups: Any) -> np.ndarray:
    """Return the log density of every row, or of every group of rows."""
    if y is None:
        raise TypeError(
            "score_samples needs y: it returns the density of y given X. Pass y; in a pipeline or a search, which "
            "pass X alone, use scoring=gatewise.log_likelihood_scorer"
        )
    rows, _ = rows_of(estimator, X, y, gate_X, groups)
    mixture, measure = estimator.mixture_, estimator.measure_
    require_density(mixture)
    return torch.cat([terms.unit_log_density(mixture, measure, block) for block in rows.blocks(MOST)]).numpy()
