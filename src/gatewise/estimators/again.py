"""The data of a fit, given once more: its rows, and the independent units that clusters make of them."""

from __future__ import annotations

from copy import copy
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from gatewise.data.parquet import as_table, is_table, opened
from gatewise.estimators.arrow import labels_of
from gatewise.estimators.collections import is_collection
from gatewise.estimators.gate_inputs import gates_read_rows
from gatewise.estimators.inputs import Given, Training, read_inputs, read_weights
from gatewise.estimators.predictions import require_same_roles
from gatewise.estimators.tables import column_of, group_labels, of_training
from gatewise.estimators.training import read_training
from gatewise.estimators.values import labels, plain


def rows_again(estimator: Any, roles: Given) -> Training:
    """Return the data of a fit, given once more, as its rows.

    Raises
    ------
    ValueError
        If they cannot be used, or the gates had other inputs.
    """
    check_is_fitted(estimator, "fit_")
    given = copy(estimator._given)  # the arguments of the fit; reading data notes the names of their columns
    gated = gates_read_rows(estimator.mixture_.gates, estimator.mixture_.branching)
    roles = roles._replace(x=plain("X", roles.x))
    if not is_collection(roles.x):
        read_inputs(estimator, roles.x, reset=False)
    data = read_training(given, roles, gated)
    seen, names = (getattr(one, "feature_names_in_", None) for one in (given, estimator))
    if seen is not None and names is not None and list(seen) != list(names):
        raise ValueError(f"X has the columns {', '.join(seen)}, fit was given {', '.join(names)}: give the same")
    require_same_roles(estimator, roles.known)
    if data.reader.given != estimator._reader.given or data.reader.count != estimator._reader.count:
        raise ValueError(f"fit was given {estimator._reader.count} gate inputs: give the gate_X of the fit again")
    return data


def units_again(roles: Given, clusters: Any) -> Tensor:
    """Return the cluster of every independent unit of the data of a fit.

    Raises
    ------
    ValueError
        If the labels are missing or not one per row, or a group has several.
    TypeError
        If the rows lie in a Dask collection.
    """
    x = of_training(plain("X", roles.x), roles.y)
    return unit_labels(*_by_row(x, roles.y, clusters, roles.sample_weight, roles.groups))


def _by_row(x: Any, y: Any, clusters: Any, sample_weight: Any, groups: Any) -> tuple[Any, Any, Any, int]:
    """Return clusters, weights and groups row by row, and the number of rows; a table has them as columns."""
    if is_collection(x):
        raise TypeError("clusters are for rows in one place, and X is a Dask collection: give a sample of the rows")
    if is_table(x):
        named = isinstance(clusters, str)
        n = opened(as_table(x)).rows
        return labels_of(x, clusters) if named else clusters, column_of(x, sample_weight), group_labels(x, groups), n
    if isinstance(clusters, str):
        raise ValueError(
            f"clusters={clusters!r}: a name is for pyarrow tables and Parquet files, whose columns have roles by name; "
            f"of a pandas frame give the column, data[{clusters!r}]"
        )
    return clusters, sample_weight, groups, len(np.asarray(plain("y", y)))


def unit_labels(clusters: Any, sample_weight: Any, groups: Any, n: int) -> Tensor:
    """Return the cluster of every independent unit from labels of rows, in the order in which rows are read.

    Raises
    ------
    ValueError
        If the labels are missing or not one per row, or a group has several.
    """
    label = labels("clusters", clusters, n)
    weight = read_weights(sample_weight, n)
    kept = np.arange(n) if weight is None else np.flatnonzero(weight)
    if groups is None:
        return torch.from_numpy(label[kept])
    unit = np.unique(labels("groups", groups, n)[kept], return_inverse=True)[1].reshape(-1)
    first = np.zeros(int(unit.max()) + 1, dtype=label.dtype)
    first[unit] = label[kept]
    if (first[unit] != label[kept]).any():
        raise ValueError("clusters differ within a group: rows of a group are one unit, so give them one cluster label")
    return torch.from_numpy(first)
