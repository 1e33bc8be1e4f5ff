"""pyarrow tables in memory, and columns of labels of any type. pyarrow is imported at the first use."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from gatewise.data.columns import require_names
from gatewise.data.parquet import as_table, opened
from gatewise.data.stream import MOST


def in_memory(value: Any) -> bool:
    """Return whether a value is a pyarrow table or record batch.

    Examples
    --------
    >>> in_memory([[1.0], [2.0]])
    False
    """
    arrow = sys.modules.get("pyarrow")  # who passes a table has imported it
    return arrow is not None and isinstance(value, arrow.Table | arrow.RecordBatch)


def as_source(value: Any) -> Any:
    """Return a table in memory as a data set, whose columns go by their names, and anything else as it is."""
    if not in_memory(value):
        return value
    import pyarrow.dataset as arrow

    return arrow.dataset(value)


def label_column(column: Any, name: str, table: str) -> Any:
    """Return a column of labels without dictionary.

    Raises
    ------
    ValueError
        For missing labels.
    """
    import pyarrow as pa
    import pyarrow.compute as compute

    column = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
    if column.null_count or (pa.types.is_floating(column.type) and compute.any(compute.is_nan(column)).as_py()):
        raise ValueError(f"column {name!r} of {table} has labels that are missing: every row needs one")
    return column


def labels_of(x: Any, name: str) -> np.ndarray:
    """Return a number ``(n,)`` for the label of every row in a column of any type of a table.

    Raises
    ------
    ValueError
        If there is no such column, or a label is missing.
    """
    return _labels(x, name).combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)


def label_values(x: Any, name: str) -> np.ndarray:
    """Return the different labels of a column of any type of a table."""
    return _labels(x, name).unique().to_numpy(zero_copy_only=False)


def _labels(x: Any, name: str) -> Any:
    import pyarrow as pa

    table = as_table(x)
    source = opened(table)
    require_names(source.schema.names, (name,), table.name)
    batches = source.batches((name,), MOST, 0)
    return pa.chunked_array([label_column(one.columns[name], name, table.name) for one in batches if one.rows])
