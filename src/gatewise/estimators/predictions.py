"""What a fitted estimator says of rows: inputs checked as in fit, weights, responsibilities and densities."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from gatewise.core.mixture import Mixture, require_density
from gatewise.data.stream import StreamPart
from gatewise.estimators.framed import framed
from gatewise.estimators.gate_inputs import as_native, gates_read_rows
from gatewise.estimators.inputs import VARY, Given, read_inputs, reject_text
from gatewise.estimators.known import (
    Grouped,
    KnownValues,
    by_number,
    counts_trials,
    read_offset,
    read_trials,
    require_trials_fit,
    with_trials,
)
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


def inputs_of(estimator: Any, X: Any) -> Columns:
    """Check inputs of a prediction and return those of the experts."""
    check_is_fitted(estimator, "fit_")
    X, _, _ = by_name(estimator, plain("X", X), None, None)
    return columns(read_inputs(estimator, X, reset=False), hold=False)


def evaluate(estimator: Any, function: Any, width: int, X: Any, gate_X: Any) -> np.ndarray:
    """Return ``function(mixture, measure, x, gate_x)`` for all rows, with rows first."""
    check_is_fitted(estimator, "fit_")
    given = framed(estimator, Given(X, None, gate_x=gate_X))
    return _evaluated(estimator, function, width, estimator.mixture_, *columns_of(estimator, given.x, given.gate_x))


def evaluate_law(
    estimator: Any, function: Any, width: int, X: Any, gate_X: Any, known: KnownValues, counts: bool = True
) -> np.ndarray:
    """Return ``function(mixture, measure, x, gate_x, offset=...)`` of the law of y for all rows, with rows first.

    `counts` says whether the function needs the number of trials of every row, where it differs by row.
    """
    check_is_fitted(estimator, "fit_")
    wanted = ("offset", "trials") if counts else ("offset",)
    X, _, _, gate_X, _, known = framed(estimator, Given(X, None, gate_x=gate_X, known=known), wanted)
    return law_of_rows(estimator, function, width, X, gate_X, known, counts)


def law_of_rows(
    estimator: Any, function: Any, width: int, X: Any, gate_X: Any, known: KnownValues, counts: bool
) -> np.ndarray:
    """Return what `evaluate_law` does, of inputs and roles that no formula is to read."""
    known, mixture = known.of(X), estimator.mixture_
    x, gates = columns_of(estimator, X, gate_X)
    parts = [x, gates]
    if (offset := offset_of(estimator, known.offset, x.shape[0])) is not None:
        parts.append(offset)
    require_trials_fit(mixture, known.trials)
    if not (counts and counts_trials(mixture)) or (known.trials is None and not needs_trials(estimator)):
        return _evaluated(estimator, function, width, mixture, *parts)
    if known.trials is None:
        require_trials(estimator)
    out: np.ndarray | None = None
    for number, rows in by_number(read_trials(known.trials, x.shape[0])):
        some = [Columns(part.take(rows)) for part in parts]
        found = _evaluated(estimator, function, width, with_trials(mixture, number), *some)
        out = np.empty((x.shape[0], *found.shape[1:])) if out is None else out
        out[rows.numpy()] = found
    assert out is not None  # X has rows
    return out


def _evaluated(estimator: Any, function: Any, width: int, mixture: Mixture, *parts: Columns) -> np.ndarray:
    def block(x: torch.Tensor, gate_x: torch.Tensor, *known: torch.Tensor) -> torch.Tensor:
        return function(mixture, estimator.measure_, x, gate_x, **({"offset": known[0]} if known else {}))

    size = mixture.n_leaves * estimator.n_outputs_ * width
    return np.moveaxis(in_blocks(block, size, *parts).numpy(), -1, 0)


def require_offset(estimator: Any, offset: Any) -> None:
    """Raise unless an offset is given to a fit with one, and to no other.

    Raises
    ------
    ValueError
        With the cause and the remedy.
    """
    if offset is None and estimator._offset:
        raise ValueError("offset is missing: fit was given one; pass the offset of these rows, 0 where there is none")
    if offset is not None and not estimator._offset:
        raise ValueError("offset is given here but was not given to fit: leave it out, or fit with offset")


def offset_of(estimator: Any, offset: Any, n: int) -> Columns | None:
    """Return the offset of new rows, checked; None for a fit without."""
    require_offset(estimator, offset)
    values = read_offset(offset, n, estimator.n_outputs_)
    return None if values is None else columns(values, hold=False)


def needs_trials(estimator: Any) -> bool:
    """Return whether fit was given trials: y then has as many columns as outputs, not one more for each."""
    return counts_trials(estimator.mixture_) and bool(estimator._flat)


def require_trials(estimator: Any) -> None:
    """Raise where the number of trials of every row is needed, and missing.

    Raises
    ------
    ValueError
        With the cause and the remedy.
    """
    if needs_trials(estimator):
        raise ValueError("trials is missing: fit was given the number of trials of every row; pass that of these rows")


def require_same_roles(estimator: Any, known: KnownValues) -> None:
    """Raise unless offset and trials are given exactly where they were given to fit."""
    require_offset(estimator, known.offset)
    require_trials_fit(estimator.mixture_, known.trials)
    if known.trials is None:
        require_trials(estimator)


def response_of(estimator: Any, y: Any, trials: Any = None) -> Columns:
    """Check a response like that of fit; with trials, y counts the successes among them."""
    require_trials_fit(estimator.mixture_, trials)
    if trials is not None:
        hits = _response(y, estimator.n_outputs_)
        return columns(Grouped(hits, read_trials(trials, hits.shape[0])), hold=False)
    wanted = estimator.mixture_.family.columns(estimator.n_outputs_)
    require_trials(estimator)
    return columns(_response(y, wanted), hold=False)


def _response(y: Any, wanted: int) -> Any:
    """Return a response ``(n, wanted)`` of finite numbers."""
    if isinstance(y, StreamPart):
        if y.shape[1] != wanted:
            raise ValueError(f"y has the columns {', '.join(y.names)}: give {wanted} as in fit")
        return y
    y = plain("y", y)
    reject_text(y)
    y = as_native(np.asarray(y, dtype=np.float64))
    y = y[:, None] if y.ndim == 1 else y
    if y.ndim != 2 or y.shape[1] != wanted or not np.isfinite(y).all():
        raise ValueError(f"y has the shape {y.shape}: give finite numbers, {wanted} per row as in fit")
    return y


def rows_of(
    estimator: Any, X: Any, y: Any, gate_X: Any, groups: Any, known: KnownValues
) -> tuple[Rows, np.ndarray | None]:
    """Return checked rows with the rows of a group side by side, and their order (None: that given)."""
    check_is_fitted(estimator, "fit_")
    given = framed(estimator, Given(X, y, None, gate_X, groups, known), ("response", "offset", "trials", "groups"))
    X, y, _, gate_X, groups, known = given
    groups, known = group_labels(X, groups), known.of(X)
    X, y, gate_X = by_name(estimator, plain("X", X), y, gate_X)
    x, gates = columns_of(estimator, X, gate_X)
    response, n = response_of(estimator, y, known.trials), x.shape[0]
    offset = offset_of(estimator, known.offset, n)
    if response.shape[0] != n:
        raise ValueError(f"y has {response.shape[0]} rows, X has {n}: pass one response per observation")
    label = None if groups is None else labels("groups", groups, n)
    order = None  # groups are read side by side
    if label is not None and bool((np.diff(label) < 0).any()):
        order = np.argsort(label, kind="stable")
    ends = None if label is None else np.cumsum(np.bincount(label))
    parts = [
        None if part is None else part.source if order is None else part.source[order.tolist()]
        for part in (x, response, gates, offset)
    ]
    if (
        ends is not None
        and gates_read_rows(estimator.mixture_.gates, estimator.mixture_.branching)
        and vary_inside(parts[2], ends)
    ):
        raise ValueError(VARY)
    kept = None if ends is None else torch.from_numpy(ends)
    return make_rows(*parts[:2], gate_x=parts[2], ends=kept, offset=parts[3], hold=False), order


def responsibilities(estimator: Any, X: Any, y: Any, gate_X: Any, groups: Any, known: KnownValues) -> np.ndarray:
    """Return the posterior probability ``(n, L)`` of every expert given X and y."""
    rows, order = rows_of(estimator, X, y, gate_X, groups, known)
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


def score_samples(estimator: Any, X: Any, y: Any, gate_X: Any, groups: Any, known: KnownValues) -> np.ndarray:
    """Return the log density of every row, or of every group of rows."""
    check_is_fitted(estimator, "fit_")
    if y is None and estimator._design is None:
        raise TypeError(
            "score_samples needs y: it returns the density of y given X. Pass y; in a pipeline or a search, which "
            "pass X alone, use scoring=gatewise.log_likelihood_scorer"
        )
    rows, _ = rows_of(estimator, X, y, gate_X, groups, known)
    mixture, measure = estimator.mixture_, estimator.measure_
    require_density(mixture)
    return torch.cat([terms.unit_log_density(mixture, measure, block) for block in rows.blocks(MOST)]).numpy()
