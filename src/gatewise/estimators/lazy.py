"""Predictions of Dask collections: lazy, partition by partition, nothing is computed before it is asked for."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, NamedTuple, ParamSpec, TypeVar, cast

import numpy as np
from pandas import DataFrame, Series

from gatewise.estimators.collections import aligned, is_array, is_collection, is_frame, several
from gatewise.runs.journal import digest

P = ParamSpec("P")
R = TypeVar("R")


def lazy(method: Callable[P, R]) -> Callable[P, R]:
    """Let a method of X return a collection where X is one: a series or frame for a frame, an array for an array.

    A frame may have other columns beside those of the fit. What else the method takes of rows is the name of columns
    of the frame, or a collection with the partitions of X.
    """
    signature = inspect.signature(method)

    @wraps(method)
    def run(*args: P.args, **given: P.kwargs) -> R:
        asked = dict(signature.bind(*args, **given).arguments)
        estimator, x = asked.pop("self"), asked.pop("X")
        if not is_collection(x):
            return method(*args, **given)
        known = {name: one for name, one in asked.items() if one is not None}
        return cast(R, _lazily(estimator, method.__name__, x, known))

    return run


def _lazily(estimator: Any, name: str, x: Any, known: dict[str, Any]) -> Any:
    """Return a method of every partition of X as a collection."""
    names = {role: several(one) for role, one in known.items() if several(one)}
    reader = estimator._reader
    if is_frame(x) and reader.given and reader.names and "gate_X" not in known:
        names["gate_X"] = tuple(reader.names)
    others = {role: aligned(role, one, x) for role, one in known.items() if role not in names}
    if names and not is_frame(x):
        role, given = next(iter(names.items()))
        raise TypeError(f"{role}={given[0]!r}, and X is no data frame: give a Dask collection with the partitions of X")
    seen = getattr(estimator, "feature_names_in_", None)
    features = tuple(seen) if seen is not None and is_frame(x) and getattr(x, "ndim", 0) == 2 else None
    example = _example(estimator, name, features, {**dict.fromkeys(others), **dict.fromkeys(names)})
    work = PartitionMethod(estimator, name, features, names, tuple(others), example)
    if is_array(x):
        return _of_array(work, x, list(others.values()), example)
    meta = _meta(example, x)
    return x.map_partitions(work, *others.values(), meta=meta)


def _of_array(work: PartitionMethod, x: Any, others: list[Any], example: np.ndarray) -> Any:
    import dask.array as da

    whole = x.rechunk({1: -1})
    wide = [one if one.ndim == 2 else one[:, None] for one in others]
    if example.ndim == 1:
        return da.map_blocks(work, whole, *wide, dtype=example.dtype, drop_axis=1)
    chunks = (whole.chunks[0], (example.shape[1],))
    return da.map_blocks(work, whole, *wide, dtype=example.dtype, chunks=chunks)


class PartitionMethod(NamedTuple):
    """A method of a fitted model, called with the inputs of a partition.

    Attributes
    ----------
    model : fitted estimator
    name : str
        Of the method.
    features : tuple of str or None
        Columns of the inputs in a frame.
    named : mapping role -> names of columns
    roles : tuple of str
        What the other partitions are.
    example : ndarray
        What the method says of one row.
    """

    model: Any
    name: str
    features: tuple[str, ...] | None
    named: Mapping[str, tuple[str, ...]]
    roles: tuple[str, ...]
    example: np.ndarray

    def __dask_tokenize__(self) -> str:
        """Return what the same predictions are known by."""
        return digest((self.model.mixture_, self.model.measure_, *self[1:]))

    def __call__(self, x: Any, *others: Any) -> Any:
        """Return what the method says of a partition, with the index of a frame."""
        known = dict(zip(self.roles, others, strict=True))
        known |= {role: x[list(names)] for role, names in self.named.items()}
        known = {role: _flat(role, one) for role, one in known.items()}
        inputs = x if self.features is None else x[list(self.features)]
        found = getattr(self.model, self.name)(inputs, **known) if len(x) else self.example[:0]
        return _indexed(found, x.index) if isinstance(x, DataFrame | Series) else found


def _flat(role: str, values: Any) -> Any:
    """Return one column of an offset as it is given in memory."""
    return np.asarray(values)[:, 0] if role == "offset" and np.ndim(values) == 2 and values.shape[1] == 1 else values


def _indexed(found: np.ndarray, index: Any) -> Any:
    return Series(found, index=index) if found.ndim == 1 else DataFrame(found, index=index)


def _example(estimator: Any, name: str, features: tuple[str, ...] | None, roles: Mapping[str, Any]) -> np.ndarray:
    """Return what a method says of one row of zeros: its type and shape."""
    row = np.zeros((1, estimator.n_features_in_))
    x = row if features is None else DataFrame(row, columns=list(features))
    known: dict[str, Any] = {}
    for role in roles:
        zeros = np.zeros((1, estimator._reader.count if role == "gate_X" else 1))
        gated = role == "gate_X" and estimator._reader.names
        known[role] = DataFrame(zeros, columns=list(estimator._reader.names)) if gated else zeros
    return getattr(estimator, name)(x, **known)


def _meta(example: np.ndarray, x: Any) -> Any:
    return _indexed(example[:0], x._meta.index[:0])
