"""Labels of classes: one per row, none missing, and one column for each class."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from gatewise.data.parquet import is_table
from gatewise.estimators.tables import column_of
from gatewise.estimators.values import plain

MANY = 20  # classes; few rows of a handful of classes are a small problem, not a mistake


def classes_of(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the classes of labels ``(n,)``, sorted, and one column for each ``(n, K)``: 1 in that of the row.

    Raises
    ------
    ValueError
        For one class, for numbers that are no classes, and for many classes with fewer than two rows each.
    """
    if labels.dtype.kind == "f":  # continuous numbers are told as such before their classes are counted
        check_classification_targets(labels)
    try:
        classes, place = np.unique(labels, return_inverse=True)
    except TypeError:
        raise ValueError("y mixes labels of types that cannot be compared: give labels of one type") from None
    if len(classes) < 2:
        raise ValueError(f"y has one class, {classes.tolist()}: give rows of at least two classes")
    if len(classes) > MANY and len(labels) < 2 * len(classes):
        raise ValueError(
            f"y has {len(classes)} classes in {len(labels)} rows, fewer than two rows a class, so that most cannot be "
            "learned: merge rare classes, or, if y is a quantity or a date, make numbers of it and use "
            "MixtureOfExpertsRegressor"
        )
    check_classification_targets(labels)
    return classes, np.eye(len(classes))[place]


def read_labels(X: Any, y: Any) -> np.ndarray:
    """Return labels ``(n,)``; y may be the name of a column of a table.

    Raises
    ------
    ValueError
        For labels that are missing or not one per row.
    """
    if y is None:
        raise ValueError("y is None: this estimator requires y to be passed, but the target y is None")
    given = column_of(X, y) if isinstance(y, str) else y
    if isinstance(given, str):
        kind = "a column's name is for a table" if not is_table(X) else "read its labels first"
        raise ValueError(f"y={y!r}: give labels, one per row ({kind})")
    values = column_or_1d(plain("y", given), warn=True)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ValueError("y has values that are NaN or infinite: give the class of every row")
    if values.dtype.kind == "O" and any(one is None or one != one for one in values):
        raise ValueError("y has labels that are missing: leave such rows out")
    return values
