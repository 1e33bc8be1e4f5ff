"""Data of an estimator in Parquet files or Arrow data sets: every role is the name of a column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from gatewise.data.columns import require_names
from gatewise.data.parquet import as_table, is_table, opened
from gatewise.data.stream import MOST, Stream, StreamPart, read_column, require_numbers, validate
from gatewise.estimators.arrow import as_source, in_memory, label_column

GIVEN = "with a table in files or of pyarrow, give the name of a column"


class Sides(NamedTuple):
    """The rows of a table by their roles, checked.

    Attributes
    ----------
    x, y : Part
    gate_x : Part or None
        When the gates have inputs of their own.
    weight : ndarray (n,) or None
    ends : ndarray (m,) or None
        One past the last row of every group.
    flat : bool
        True when y was given as one name.
    """

    x: StreamPart
    y: StreamPart
    gate_x: StreamPart | None
    weight: np.ndarray | None
    ends: np.ndarray | None
    flat: bool


def read_sides(x: Any, y: Any, sample_weight: Any, gate_x: Any, groups: Any, known: tuple[str, ...] = ()) -> Sides:
    """Return the roles of a table for a fit, after one pass over the columns that could hold what is no number.

    `known` are the columns of offset and trials, which are inputs only where they are named as such.

    Raises
    ------
    TypeError, ValueError
        For a role that is not a name, a column that does not exist, has two roles or does not hold finite numbers, and
        for groups whose rows are not neighbours.
    """
    table = as_table(x)
    targets, gates = _several("y", y), () if gate_x is None else _several("gate_X", gate_x)
    weight, group = _one("sample_weight", sample_weight), _one("groups", groups)
    source = opened(table)
    special = (*targets, *weight, *group)
    require_names(source.schema.names, (*special, *gates, *known, *(table.columns or ())), table.name)
    apart = {*special, *gates, *known}
    features = table.columns or tuple(n for n in source.schema.names if n not in apart) or gates
    _require_one_role(special, {*features, *gates}, table.name)
    require_numbers(source, (*weight, *known))
    streamed = tuple(dict.fromkeys((*features, *gates, *targets)))
    stream = Stream(source, streamed, table.name)
    validate(source, (*streamed, *weight, *known), table.name)
    return Sides(
        StreamPart(stream, features),
        StreamPart(stream, targets),
        StreamPart(stream, gates) if gates else None,
        read_column(table, weight[0]) if weight else None,
        group_ends(source, group[0], table.name) if group else None,
        isinstance(y, str),
    )


def _several(role: str, names: Any) -> tuple[str, ...]:
    """Return the names of a role that may have several columns."""
    found = (names,) if isinstance(names, str) else tuple(names) if isinstance(names, list | tuple) else ()
    if not found or not all(isinstance(name, str) for name in found) or len(set(found)) < len(found):
        raise TypeError(f"{role} is a {type(names).__name__}: {GIVEN}, or a list of different names")
    return found


def _one(role: str, name: Any) -> tuple[str, ...]:
    """Return the name of a role with one column, if any."""
    if name is not None and not isinstance(name, str):
        raise TypeError(f"{role} is a {type(name).__name__}: {GIVEN}")
    return () if name is None else (name,)


def _require_one_role(special: Sequence[str], inputs: set[str], table: str) -> None:
    """Raise unless target, weights and groups are different columns and none of them is an input."""
    twice = [name for name in special if name in inputs or special.count(name) > 1]
    if twice:
        raise ValueError(f"column {twice[0]!r} has two roles: give every column one")
    if not inputs:
        raise ValueError(f"{table} has no column besides {', '.join(map(repr, special))}: give it features")


def group_ends(source: Any, name: str, table: str) -> np.ndarray:
    """Return one past the last row of every group ``(m,)``: neighbouring rows with equal labels of any type.

    Raises
    ------
    ValueError
        For missing labels, and for a label that comes back after others.
    """
    import pyarrow as pa
    import pyarrow.compute as compute

    starts, labels, last = [], [], None
    for batch in source.batches((name,), MOST, 0):
        column = label_column(batch.columns[name], name, table)
        if not batch.rows:
            continue
        new = compute.not_equal(column[1:], column[:-1]).to_numpy(zero_copy_only=False)
        new = np.flatnonzero(np.concatenate([[column[0].as_py() != last], new]))
        starts.append(new + batch.first)
        labels.append(column.take(pa.array(new)))
        last = column[-1].as_py()
    counts = pa.chunked_array(labels).value_counts()
    again = compute.greater(counts.field("counts"), 1)
    if compute.any(again).as_py():
        label = counts.field("values").filter(again)[0].as_py()
        raise ValueError(
            f"the rows of group {label!r} of column {name!r} are not neighbours: sort {table} by {name!r} first"
        )
    return np.append(np.concatenate(starts)[1:], source.rows)


def keep(ends: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Return the ends of groups of which only some rows, at increasing positions, are kept.

    Examples
    --------
    >>> keep(np.array([2, 4, 6]), np.array([1, 4, 5]))
    array([1, 3])
    """
    sizes = np.bincount(np.searchsorted(ends, kept, side="right"), minlength=len(ends))
    return np.cumsum(sizes[sizes > 0])


def vary_inside(values: Any, ends: np.ndarray) -> bool:
    """Return whether the rows ``(n, d)`` of any group differ, read block by block.

    Examples
    --------
    >>> rows = np.array([[1.0], [1.0], [2.0]])
    >>> vary_inside(rows, np.array([2, 3])), vary_inside(rows, np.array([1, 3]))
    (False, True)
    """
    n = values.shape[0]
    for start in range(0, n, MOST):
        before = max(start - 1, 0)
        part = values[before : min(start + MOST, n)]
        changed = before + 1 + np.flatnonzero((part[1:] != part[:-1]).any(1))
        if not np.isin(changed, ends).all():
            return True
    return False


def by_name(estimator: Any, x: Any, y: Any, gate_x: Any) -> tuple[Any, Any, Any]:
    """Return the data of a prediction: a table's columns by the names of the fit, anything else as it is given.

    Raises
    ------
    ValueError
        If the fit had no names, or the table has no such columns of numbers.
    """
    features = [str(name) for name in getattr(estimator, "feature_names_in_", ())]
    x = as_source(x) if features else x
    if not is_table(x):
        return x, y, gate_x
    table, reader = as_table(x), estimator._reader
    if not features:
        raise ValueError("the model was fitted without column names: a table in files is read by the names of the fit")
    gates = list(reader.names or ()) if reader.given and gate_x is None else []
    if gate_x is not None and reader.given and _names(gate_x):
        gates = list(_several("gate_X", gate_x))
        if reader.names is not None and tuple(gates) != tuple(reader.names):
            raise ValueError(f"gate_X has the columns {', '.join(gates)}, fit was given {', '.join(reader.names)}")
    targets = list(_several("y", y)) if _names(y) else []
    stream = Stream(opened(table), tuple(dict.fromkeys([*features, *gates, *targets])), table.name)
    response = StreamPart(stream, targets) if targets else y
    return StreamPart(stream, features), response, StreamPart(stream, gates) if gates else gate_x


def _names(value: Any) -> bool:
    """Return whether a value is a name or a list of names."""
    return isinstance(value, str) or (isinstance(value, list | tuple) and all(isinstance(one, str) for one in value))


def group_labels(x: Any, groups: Any) -> Any:
    """Return a number per row for the groups that a column of a table names, and anything else as it is given."""
    x = as_source(x)
    if not is_table(x) or not isinstance(groups, str):
        return groups
    table = as_table(x)
    source = opened(table)
    require_names(source.schema.names, (groups,), table.name)
    sizes = np.diff(group_ends(source, groups, table.name), prepend=0)
    return np.repeat(np.arange(len(sizes)), sizes)


def column_of(x: Any, name: Any) -> Any:
    """Return a column of a table by its name ``(n,)``, and anything else as it is given."""
    x = as_source(x)
    return read_column(as_table(x), name) if is_table(x) and isinstance(name, str) else name


def of_training(x: Any, y: Any) -> Any:
    """Return a table in memory as a data set where y is the name of a column, else as a frame of its columns."""
    if not in_memory(x):
        return x
    return as_source(x) if _names(y) else x.to_pandas()
