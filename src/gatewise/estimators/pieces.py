"""Pieces of a fit's rows: partitions of Dask collections, and runs of row groups of Parquet files, read by workers.

Every piece is read by the reader of rows in memory, on the worker that has it, so that it is checked alike. What the
client learns of it are sizes, names and, with groups, a digest of every label.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any, NamedTuple

import numpy as np

from gatewise.data.parquet import ParquetTable
from gatewise.data.stream import read_column
from gatewise.estimators.arrow import label_values
from gatewise.estimators.gate_inputs import GateReader
from gatewise.estimators.inputs import Given, Training, read_here
from gatewise.estimators.known import KnownValues
from gatewise.objective.elsewhere import PieceSize, size_of
from gatewise.objective.rows import Rows

ROLES = ("y", "sample_weight", "gate_X", "groups", "offset", "trials")


class PieceRoles(NamedTuple):
    """How a piece is read: an unfitted estimator, the names of columns by their role, classes of labels.

    Attributes
    ----------
    estimator : estimator
    names : mapping role -> name, or tuple of names
        Of the columns of X; ``X`` has those of the features.
    gated : bool
        Whether a gate looks at its inputs.
    classes : ndarray or None
        Of a classifier.
    """

    estimator: Any
    names: Mapping[str, Any]
    gated: bool
    classes: np.ndarray | None


class PieceFacts(NamedTuple):
    """What is known of a piece without its rows.

    Attributes
    ----------
    size : PieceSize
    labels : ndarray of uint64
        Digest of the label of every group.
    columns : mapping from ``x``, ``gate_x``, ``y`` and ``offset`` to numbers of columns
    same : bool
        Whether the gates read the inputs of the experts.
    weighted, grouped : bool
    reader : GateReader
    flat : bool
    names : tuple of str or None
        Of the features.
    """

    size: PieceSize
    labels: np.ndarray
    columns: Mapping[str, int]
    same: bool
    weighted: bool
    grouped: bool
    reader: GateReader
    flat: bool
    names: tuple[str, ...] | None


class Fault(NamedTuple):
    """Why a piece cannot be read: the class of the error and its text."""

    kind: type[Exception]
    words: str


class BuiltPiece(NamedTuple):
    """A piece and what is known of it; None for one without rows. Faults are values: they end no worker's task."""

    rows: Rows | None
    facts: PieceFacts | Fault | None


def built(place: str, roles: PieceRoles, parts: Mapping[str, Any]) -> BuiltPiece:
    """Read a piece where it lies.

    Parameters
    ----------
    place : str
        What messages call it, such as ``partition 3``.
    roles : PieceRoles
    parts : mapping role -> array or frame of the piece, ``X`` among them
    """
    try:
        return _built(roles, dict(parts))
    except (ValueError, TypeError, OSError) as cause:
        kind = next(one for one in (ValueError, TypeError, OSError) if isinstance(cause, one))
        return BuiltPiece(None, Fault(kind, f"{place}: {cause}"))


def _built(roles: PieceRoles, parts: dict[str, Any]) -> BuiltPiece:
    estimator = copy(roles.estimator)
    weight_kind, estimator.weight_kind = estimator.weight_kind, "frequency"  # means are taken over all pieces
    table = isinstance(parts["X"], ParquetTable)
    given = _of_table(parts["X"], roles.names) if table else _of_frame(roles, parts)
    if given is None:
        return BuiltPiece(None, None)
    training = read_here(estimator, given, roles.gated)
    estimator.weight_kind = weight_kind
    labels = label_values(given.x, given.groups) if table and given.groups is not None else given.groups
    return BuiltPiece(training.rows, _facts(estimator, training, labels))


def _of_table(table: ParquetTable, names: Mapping[str, Any]) -> Given | None:
    """Return the roles of a table; None where every weight is zero."""
    weight = names.get("sample_weight")
    if weight is not None and not read_column(table, weight).any():
        return None
    known = KnownValues(names.get("offset"), names.get("trials"))
    return Given(table, names["y"], weight, names.get("gate_X"), names.get("groups"), known)


def _of_frame(roles: PieceRoles, parts: dict[str, Any]) -> Given | None:
    """Return the data of a partition; None where no row has a weight."""
    x, names = parts["X"], roles.names
    if not len(x):
        return None
    values: dict[str, Any] = {role: parts.get(role) for role in ROLES}
    values |= {role: x[list(name) if isinstance(name, tuple) else name] for role, name in names.items() if role != "X"}
    x = x[list(names["X"])] if "X" in names else x
    short = next((role for role in ROLES if values[role] is not None and len(values[role]) != len(x)), None)
    if short is not None:
        raise ValueError(f"{short} has {len(values[short])} rows, X has {len(x)}: give both the same partitions")
    weight = values["sample_weight"]
    if weight is not None and not (np.asarray(weight) != 0).any():
        return None
    y = values["y"] if roles.classes is None else _one_hot(values["y"], roles.classes)
    known = KnownValues(values["offset"], values["trials"])
    return Given(x, y, weight, values["gate_X"], values["groups"], known)


def _one_hot(labels: Any, classes: np.ndarray) -> np.ndarray:
    return np.eye(len(classes))[np.searchsorted(classes, np.asarray(labels))]


def _facts(estimator: Any, training: Training, groups: Any) -> PieceFacts:
    rows, names = training.rows, getattr(estimator, "feature_names_in_", None)
    parts = {"x": rows.x, "gate_x": rows.gate_x, "y": rows.y, "offset": rows.offset}
    return PieceFacts(
        size_of(rows),
        np.zeros(0, dtype=np.uint64) if groups is None else _digests(groups),
        {name: part.shape[1] for name, part in parts.items() if part is not None},
        rows.gate_x is rows.x,
        rows.weight is not None,
        rows.ends is not None,
        training.reader,
        training.flat,
        None if names is None else tuple(names),
    )


def _digests(groups: Any) -> np.ndarray:
    from pandas import unique
    from pandas.util import hash_array

    return hash_array(np.asarray(unique(np.asarray(groups))))


def rows_of_piece(piece: BuiltPiece) -> Rows | None:
    """Return the rows of a piece."""
    return piece.rows


def facts_of_piece(piece: BuiltPiece) -> PieceFacts | Fault | None:
    """Return what is known of a piece."""
    return piece.facts


def require_readable(facts: Sequence[PieceFacts | Fault | None]) -> dict[int, PieceFacts]:
    """Return what is known of the pieces that have rows, by their number.

    Raises
    ------
    ValueError, TypeError, OSError
        For the first piece that cannot be read, and where none has rows.
    """
    fault = next((one for one in facts if isinstance(one, Fault)), None)
    if fault is not None:
        raise fault.kind(fault.words)
    found = {i: one for i, one in enumerate(facts) if isinstance(one, PieceFacts)}
    if not found:
        raise ValueError("X has no rows, or no weight is positive: nothing to fit")
    return found


def require_whole_groups(labels: Sequence[np.ndarray], places: Sequence[str], column: Any) -> None:
    """Raise where a group has rows in two pieces.

    Raises
    ------
    ValueError
        With the pieces and the remedy.
    """
    every = np.concatenate(labels)
    owner = np.repeat(np.arange(len(labels)), [len(one) for one in labels])
    order = np.argsort(every, kind="stable")
    again = np.flatnonzero(every[order][1:] == every[order][:-1])
    if len(again):
        first, second = (places[int(owner[order[again[0] + step]])] for step in (0, 1))
        name = repr(column) if isinstance(column, str) else "the column of groups"
        raise ValueError(
            f"a group has rows in {first} and in {second}: rows of a group share their responsibility, so that they "
            f"must lie in one partition; move them together with ddf.shuffle(on={name}), and fit again"
        )
