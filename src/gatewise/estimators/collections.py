"""Data on a Dask cluster: data frames, series and arrays of Dask, and tables that a client's workers read."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from gatewise.data.parquet import ParquetTable

MISSING = (
    "X is a Dask collection, and there is no client: connect to a cluster first, client = distributed.Client(address), "
    "or distributed.Client() for processes on this machine"
)


class LabelledResponse(NamedTuple):
    """Labels of classes that lie on a cluster: a collection or the name of a column, and the classes, sorted."""

    y: Any
    classes: np.ndarray


def is_collection(value: Any) -> bool:
    """Return whether a value is a data frame, series or array of Dask.

    Examples
    --------
    >>> is_collection([[1.0], [2.0]])
    False
    """
    return is_frame(value) or is_array(value)


def is_frame(value: Any) -> bool:
    """Return whether a value is a data frame or a series of Dask."""
    frames = sys.modules.get("dask.dataframe")  # who passes one has imported it
    return frames is not None and isinstance(value, frames.DataFrame | frames.Series)


def is_array(value: Any) -> bool:
    """Return whether a value is an array of Dask."""
    arrays = sys.modules.get("dask.array")
    return arrays is not None and isinstance(value, arrays.Array)


def on_cluster(value: Any) -> bool:
    """Return whether a value's rows are worked on by a cluster."""
    return is_collection(value) or (isinstance(value, ParquetTable) and value.client is not None)


def client_of(value: Any) -> Any:
    """Return the client whose workers have the rows.

    Raises
    ------
    ValueError
        If there is none.
    """
    if isinstance(value, ParquetTable):
        return value.client
    from distributed import default_client

    try:
        return default_client()
    except ValueError:
        raise ValueError(MISSING) from None


def blocks_of(name: str, value: Any) -> list[Any]:
    """Return the partitions of a frame, or the blocks of rows of an array, as delayed values.

    Raises
    ------
    ValueError
        For an array of more than two dimensions.
    """
    if is_frame(value):
        return list(value.to_delayed())
    if value.ndim > 2:
        raise ValueError(f"{name} has {value.ndim} dimensions: give one row per observation")
    whole = value if value.ndim == 1 else value.rechunk({1: -1})
    return list(whole.to_delayed().reshape(-1))


def aligned(name: str, value: Any, x: Any) -> Any:
    """Return a collection with the blocks of X.

    Raises
    ------
    ValueError
        For another number of rows or partitions, and for what is no collection.
    """
    if not is_collection(value):
        raise TypeError(
            f"{name} is a {type(value).__name__}, and X a Dask collection: give the name of a column of X, or a Dask "
            "collection with the partitions of X"
        )
    if is_array(value) and is_array(x) and not _unknown(value) and not _unknown(x):
        if value.shape[0] != x.shape[0]:
            raise ValueError(f"{name} has {value.shape[0]} rows, X has {x.shape[0]}: pass one per observation")
        value = value.rechunk({0: x.chunks[0]})
    parts, wanted = _count(value), _count(x)
    if parts != wanted:
        raise ValueError(
            f"{name} has {parts} partitions, X has {wanted}: give both the same, as columns of one data frame have"
        )
    return value


def _count(value: Any) -> int:
    return int(value.npartitions) if is_frame(value) else int(value.numblocks[0])


def _unknown(value: Any) -> bool:
    """Return whether the sizes of blocks are not known."""
    return any(size != size for size in value.chunks[0])


def names_of(value: Any) -> tuple[str, ...]:
    """Return the names of the columns of a frame."""
    return tuple(str(name) for name in getattr(value, "columns", ()))


def several(value: Any) -> tuple[str, ...]:
    """Return names that were given, alone or in a list; none where something else was."""
    if isinstance(value, str):
        return (value,)
    named = isinstance(value, Sequence) and bool(value) and all(isinstance(one, str) for one in value)
    return tuple(value) if named else ()
