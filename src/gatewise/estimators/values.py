"""What arrays may come in: tensors with gradients, masked arrays, labels of any type; what hides in them is refused."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from scipy import sparse


def plain(name: str, value: Any) -> Any:
    """Return tensors and masked arrays as plain arrays, and anything else as it is.

    Raises
    ------
    ValueError
        For a masked array with masked values.
    TypeError
        For sparse matrices and tensors.
    """
    if sparse.issparse(value) or (isinstance(value, torch.Tensor) and value.layout is not torch.strided):
        raise TypeError(
            f"{name} is sparse, but dense data are required: pass {name}.toarray(), or a memory-mapped array or a "
            "Parquet file where that does not fit into memory"
        )
    if isinstance(value, np.ma.MaskedArray):
        if np.ma.is_masked(value):
            raise ValueError(
                f"{name} is a masked array with {np.ma.count_masked(value)} masked values: leave their rows out, or "
                f"fill them in, {name}.filled(...)"
            )
        return value.data
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        return (value.double() if value.is_floating_point() else value).numpy()
    return value


def reject_dates(name: str, value: Any) -> None:
    """Raise for dates and durations in an array or a frame, which would count as numbers of nanoseconds."""
    found = getattr(value, "dtypes", getattr(value, "dtype", None))  # of a frame, one per column
    kinds = [getattr(one, "kind", "") for one in (found if isinstance(found, Iterable) else [found])]
    if {"m", "M"}.intersection(kinds):
        raise ValueError(f"{name} holds dates or durations: give numbers, such as the days since a date")


def reject_complex(name: str, value: Any) -> None:
    """Raise for complex numbers in an array or a frame, whose imaginary parts would be lost."""
    found = getattr(value, "dtypes", getattr(value, "dtype", None))  # of a frame, one per column
    if "c" in [getattr(one, "kind", "") for one in (found if isinstance(found, Iterable) else [found])]:
        raise ValueError(f"Complex data not supported: {name} holds complex numbers; give real ones")


def reject_double_names(name: str, value: Any) -> None:
    """Raise for a frame in which two columns have one name: which of them is meant cannot be told."""
    names = [str(one) for one in getattr(value, "columns", ())] if hasattr(value, "dtypes") else []
    twice = sorted({one for one in names if names.count(one) > 1})
    if twice:
        raise ValueError(
            f"{name} has more than one column called {', '.join(map(repr, twice))}: give each its own name"
        )


def shape_in_words(name: str, value: Any, cause: Exception) -> ValueError | None:
    """Return scikit-learn's error about a number of dimensions other than two in words; None for another error."""
    if not str(cause).startswith(("Expected 2D array", "Expected a 2-dimensional", "Found array with dim")):
        return None
    shape = np.shape(value)
    if len(shape) == 2:
        return None
    given = f"{name} has the shape {shape}, and two dimensions are needed, (rows, columns)"
    if len(shape) != 1:
        return ValueError(f"{given}: give one row per observation")
    series = hasattr(value, "to_frame")
    column, row = ("to_frame()", "to_frame().T") if series else ("reshape(-1, 1)", "reshape(1, -1)")
    return ValueError(f"{given}. Reshape your data: {name}.{column} if it is one column, {name}.{row} if it is one row")


def text_columns(value: Any) -> str:
    """Return " in the column ..." for the columns of a frame without numbers; an empty text where none is known."""
    found = zip(getattr(value, "columns", ()), getattr(value, "dtypes", ()), strict=False)
    names = [str(one) for one, kind in found if getattr(kind, "kind", "O") not in "iufb"]
    return f" in the column{'s' * (len(names) > 1)} {', '.join(names)}" if names else ""


def labels(name: str, value: Any, n: int) -> np.ndarray:
    """Return a number for every row ``(n,)`` that is the same for equal labels, counted from 0 in sorted order.

    Parameters
    ----------
    name : str
        What the labels are of, such as ``groups``.
    value : array-like (n,)
        Labels of any type that can be sorted.

    Raises
    ------
    ValueError
        If a label is missing (None, NaN, NaT, NA) or infinite, or there is not one for every row.
    """
    from pandas import isna

    value = plain(name, value)
    values = np.asarray(value)
    if values.dtype.kind in "US" and isinstance(value, list | tuple):
        values = np.array(value, dtype=object)  # numpy would write the numbers among text as text
    if values.shape != (n,):
        raise ValueError(
            f"{name} has shape {values.shape}, X has {n} rows: pass one {name.removesuffix('s')} label per observation"
        )
    if isna(values).any() or (values.dtype.kind == "f" and np.isinf(values).any()):
        raise ValueError(
            f"{name} has labels that are missing, NaN or infinite: every row needs a {name.removesuffix('s')}"
        )
    try:
        return np.unique(values, return_inverse=True)[1].reshape(-1)
    except TypeError:
        raise ValueError(f"{name} mixes labels of types that cannot be compared: give labels of one type") from None
