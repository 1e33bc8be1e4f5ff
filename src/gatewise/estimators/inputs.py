"""Data of an estimator: checked without copying it, and handed on as Rows or Columns."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.utils.validation import validate_data

from gatewise.data.parquet import is_table
from gatewise.data.stream import StreamPart
from gatewise.estimators.collections import is_collection
from gatewise.estimators.gate_inputs import GateReader, View, as_native, check_gate_x, choose_columns, column_names
from gatewise.estimators.kinds import families_of
from gatewise.estimators.known import Grouped, KnownValues, read_offset, read_trials
from gatewise.estimators.tables import by_name, keep, of_training, read_sides, vary_inside
from gatewise.estimators.values import (
    labels,
    plain,
    reject_complex,
    reject_dates,
    reject_double_names,
    shape_in_words,
    text_columns,
)
from gatewise.fit.arguments import numbers
from gatewise.objective.rows import Rows, make_rows

VARY = (
    "the gate inputs differ within a group: rows of a group share one responsibility, so pass gate_X (or "
    "gate_features, gate_formula) that is constant within groups, or use the gate 'constant'"
)


class Given(NamedTuple):
    """The data of a fit as the user gave them: inputs, responses, weights, gate inputs, groups, offset and trials."""

    x: Any
    y: Any
    sample_weight: Any = None
    gate_x: Any = None
    groups: Any = None
    known: KnownValues = KnownValues()


class Training(NamedTuple):
    """Rows of a fit and what is needed to read later ones.

    Attributes
    ----------
    rows : Rows
    reader : GateReader
    flat : bool
        True when y was given with one dimension.
    order : ndarray or None
        Positions of the rows in the data that were given; None: all, in their order.
    """

    rows: Rows
    reader: GateReader
    flat: bool
    order: np.ndarray | None = None

    def ordered(self, values: np.ndarray) -> np.ndarray:
        """Return values ``(n, ...)`` of all rows that were given, in the order of the rows that are fitted."""
        fits = self.order is not None and len(values) > self.order.max()
        return values[self.order] if fits else values


def read_here(estimator: Any, given: Given, gated: bool) -> Training:
    """Check the data of a fit and return them as rows, those of weight zero left out and groups side by side.

    A memory-mapped X of float64 is read block by block, in place. `gated` says whether a gate looks at its inputs.
    """
    y, gate_x = given.y, given.gate_x
    x = of_training(plain("X", given.x), y)
    if is_table(x):
        return _read_table(estimator, given._replace(x=x), gated)
    known = given.known.of(x)
    mapped = isinstance(x, np.memmap) and x.dtype == np.float64
    y = plain("y", y)
    reject_text(y)
    x, y = read_inputs(estimator, x, y, multi_output=True, y_numeric=True)
    y = as_native(np.asarray(y, dtype=np.float64))
    flat = y.ndim == 1
    y = y[:, None] if flat else y
    reader, gates = _gate_reader(estimator, x, gate_x, mapped)
    weight = of_kind(estimator.weight_kind, read_weights(given.sample_weight, len(x)))
    y, offset = _known(estimator, y, known)
    y = y[:] if isinstance(y, Grouped) else y
    order, ends = _order(weight, given.groups, len(x))
    if order is not None:
        parts = (x, gates, y, offset)
        x, gates, y, offset = (None if part is None else _take(part, order, None, mapped) for part in parts)
        weight = None if weight is None or (weight[order] == 1).all() else weight[order]
    if ends is not None:
        weight = _of_groups(weight, ends, (x if gates is None else gates) if gated else None)
    rows = make_rows(
        x,
        y,
        gate_x=gates,
        weight=None if weight is None else torch.from_numpy(weight),
        ends=None if ends is None else torch.from_numpy(ends),
        offset=offset,
        hold=not mapped,
    )
    return Training(rows, reader, flat, order)


def _known(estimator: Any, y: Any, known: KnownValues) -> tuple[Any, np.ndarray | None]:
    """Return the response, with trials as successes and failures, and the offset ``(n, q)``."""
    n, q = y.shape
    if known.trials is not None:
        return Grouped(y, read_trials(known.trials, n)), read_offset(known.offset, n, q)
    if known.offset is not None and estimator.method != "ls":
        q = families_of(estimator.family)[0].outputs(q)
    return y, read_offset(known.offset, n, q)


def _read_table(estimator: Any, given: Given, gated: bool) -> Training:
    """Return the rows of a table in files, where every role is the name of a column and groups are neighbours."""
    if given.gate_x is not None and estimator.gate_features is not None:
        raise ValueError("gate_X and gate_features are both given: the gates read one or the other")
    sides = read_sides(given.x, given.y, given.sample_weight, given.gate_x, given.groups, given.known.names)
    estimator.feature_names_in_ = np.array(sides.x.names, dtype=object)
    estimator.n_features_in_ = sides.x.shape[1]
    reader, gates = _gate_reader(estimator, sides.x, None, True)
    if sides.gate_x is not None:
        reader, gates = GateReader(True, None, sides.gate_x.shape[1], sides.gate_x.names), sides.gate_x
    weight, ends = of_kind(estimator.weight_kind, read_weights(sides.weight, len(sides.x))), sides.ends
    y, offset = _known(estimator, sides.y, given.known.of(given.x))
    parts: tuple[Any, ...] = (sides.x, gates, y, offset)
    kept = None
    if weight is not None and not (weight > 0).all():
        kept = np.flatnonzero(weight)
        parts = tuple(None if part is None else View(part, kept) for part in parts)
        ends = None if ends is None else keep(ends, kept)
        weight = None if (weight[kept] == 1).all() else weight[kept]
    if ends is not None:
        weight = _of_groups(weight, ends, None)
        if gated and vary_inside(parts[0] if gates is None else parts[1], ends):
            raise ValueError(VARY)
    held = [None if one is None else torch.from_numpy(one) for one in (weight, ends)]
    rows = make_rows(parts[0], parts[2], gate_x=parts[1], weight=held[0], ends=held[1], offset=parts[3], hold=False)
    return Training(rows, reader, sides.flat, kept)


def read_inputs(estimator: Any, x: Any, y: Any = "no_validation", **options: Any) -> Any:
    """Return X ``(n, d)``, and y when given, as checked by scikit-learn against the estimator's earlier X."""
    if is_collection(x):
        raise TypeError(
            "X is a Dask collection, of which fit, predict, predict_proba, gate_proba and inference know: for another "
            "method give X.compute(), or let X.map_partitions(...) call it"
        )
    x = by_name(estimator, x, None, None)[0]
    if isinstance(x, StreamPart):
        return x
    reject_dates("X", x)
    reject_double_names("X", x)
    reject_complex("X", x)
    try:
        found = validate_data(estimator, x, y, dtype=np.float64, **options)
    except (ValueError, TypeError) as cause:
        if (told := shape_in_words("X", x, cause) or _in_words(x, y, cause)) is None:
            raise
        raise told from cause
    except OverflowError as cause:
        raise ValueError("X or y holds an integer that is too large for a float: give it in larger units") from cause
    return (as_native(found[0]), found[1]) if isinstance(found, tuple) else as_native(found)


NO_NUMBERS = ("could not convert string", "Cannot cast", "setting an array element", "must be a string or a real")


def _in_words(x: Any, y: Any, cause: ValueError | TypeError) -> ValueError | TypeError | None:
    """Return an error of scikit-learn's check of X with a remedy; None where it has one."""
    words = str(cause)
    if "inconsistent numbers of samples" in words:
        return ValueError(f"y has {len(y)} rows, X has {len(x)}: pass one response per observation")
    if words.startswith("Found array with dim"):
        return ValueError(f"y has the shape {np.shape(y)}: give one response per observation, (n,) or (n, q)")
    if words.startswith("Feature names are only supported"):
        names = {type(one): one for one in reversed(list(x.columns))}
        shown = " and ".join(map(repr, reversed(names.values())))
        return TypeError(
            f"X has columns with names of several types, such as {shown}: give all of them text, X.columns = "
            "X.columns.astype(str)"
        )
    if any(one in words for one in NO_NUMBERS):
        what = "text" if "string to float" in words else "what is no number"
        kind = TypeError if isinstance(cause, TypeError) else ValueError
        return kind(f"X holds {what}{text_columns(x)} ({words}): give numbers, encoding categories first")
    if words.startswith(("Input X contains NaN", "Input y contains NaN")):
        first = words.split(".")[0].splitlines()[0]
        return ValueError(f"{first}: leave rows with missing values out, as moe does, or fill them in")
    if "contains infinity" in words or words.startswith("Input y contains"):
        return ValueError(f"{words.rstrip('.')}: leave such rows out, or give the values in other units")
    return None


def reject_text(y: Any) -> None:
    """Raise for a response of text, dates or sparse type, which would otherwise fail late or be converted."""
    reject_complex("y", y)
    kind = np.asarray(y).dtype.kind
    if kind in "USMm" or (kind == "O" and any(isinstance(v, str) for v in np.asarray(y).flat)):
        raise ValueError("y holds text or dates: regression needs numbers")


def _take(values: Any, rows: np.ndarray | None, chosen: list[int] | None, mapped: bool) -> Any:
    """Return rows and columns of an array: a view that copies nothing where it is memory-mapped."""
    if mapped:
        return View(values, rows, chosen)
    part = values if rows is None else values[rows]
    return part if chosen is None else part[:, chosen]


def _gate_reader(estimator: Any, x: np.ndarray | StreamPart, gate_x: Any, mapped: bool) -> tuple[GateReader, Any]:
    if gate_x is not None and estimator.gate_features is not None:
        raise ValueError("gate_X and gate_features are both given: the gates read one or the other")
    if gate_x is not None:
        values = check_gate_x(gate_x, len(x))
        return GateReader(True, None, values.shape[1], column_names(gate_x)), values
    names = getattr(estimator, "feature_names_in_", None)
    names = None if names is None else tuple(names)
    if estimator.gate_features is None:
        return GateReader(False, None, x.shape[1], names), None
    chosen = choose_columns(estimator.gate_features, x.shape[1], names)
    picked = None if names is None else tuple(names[i] for i in chosen)
    return GateReader(False, chosen, len(chosen), picked), _take(x, None, list(chosen), mapped)


def read_weights(sample_weight: Any, n: int) -> np.ndarray | None:
    """Return frequency weights ``(n,)``, or None when all are one."""
    if sample_weight is None:
        return None
    weight = np.asarray(plain("sample_weight", sample_weight))
    if weight.dtype.kind not in "biufO":
        raise ValueError(f"sample_weight has the type {weight.dtype}: give numbers from 0")
    weight = numbers("sample_weight", weight) if weight.dtype.kind == "O" else weight.astype(np.float64)
    weight = np.full(n, float(weight)) if weight.ndim == 0 else weight
    if weight.shape != (n,):
        raise ValueError(f"sample_weight.shape == {weight.shape}, expected {(n,)}: pass one weight per row of X")
    if not np.isfinite(weight).all():
        raise ValueError("sample_weight has values that are NaN or infinite: give numbers from 0")
    if (weight < 0).any():
        raise ValueError(f"sample_weight has negative values ({weight.min():g}): give weights from 0")
    if not (weight > 0).any():
        raise ValueError("sample_weight is zero for every row: nothing to fit; at least one weight must be positive")
    return None if (weight == 1).all() else weight


def of_kind(kind: str, weight: np.ndarray | None) -> np.ndarray | None:
    """Return weights as they count: frequencies as they are, others with the mean one over the rows that have any."""
    if weight is None or kind == "frequency":
        return weight
    return weight * (np.count_nonzero(weight) / weight.sum())


def _order(weight: np.ndarray | None, groups: Any, n: int) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return which rows to read in which order (None: all as they are), and where groups end."""
    kept = None if weight is None or (weight > 0).all() else np.flatnonzero(weight)
    if groups is None:
        return kept, None
    label = labels("groups", groups, n)
    kept = np.arange(n) if kept is None else kept
    order = kept[np.argsort(label[kept], kind="stable")]
    _, sizes = np.unique(label[kept], return_counts=True)
    return order, np.cumsum(sizes)


def _of_groups(weight: np.ndarray | None, ends: np.ndarray, gates: Any) -> np.ndarray | None:
    """Check that gate inputs and weights are the same within every group; return the weight of each group."""
    start = np.concatenate([[0], ends[:-1]])
    first = np.repeat(start, np.diff(ends, prepend=0))
    if gates is not None and (gates[slice(None)] != gates[slice(None)][first]).any():
        raise ValueError(VARY)
    if weight is None:
        return None
    if (weight != weight[first]).any():
        raise ValueError("sample_weight differs within a group: give the rows of a group one weight")
    return weight[start]
