"""The rows of a fit, wherever its data are: in memory, in files, or on a cluster."""

from __future__ import annotations

from typing import Any

from gatewise.estimators.cluster import read_cluster
from gatewise.estimators.collections import on_cluster
from gatewise.estimators.inputs import Given, Training, read_here


def read_training(estimator: Any, given: Given, gated: bool, checkpoint: Any = None) -> Training:
    """Check the data of a fit and return them as rows; `checkpoint` is for those on a cluster.

    Raises
    ------
    ValueError, TypeError
        For data that cannot be used, and for a checkpoint of a fit in memory.
    """
    if on_cluster(given.x):
        return read_cluster(estimator, given, gated, checkpoint)
    if checkpoint is not None:
        raise ValueError(
            "checkpoint is given, and X is not on a Dask cluster: leave it out, or give a Dask collection or "
            "ParquetTable(path, client=client)"
        )
    return read_here(estimator, given, gated)
