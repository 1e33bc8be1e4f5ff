"""Columns of a data frame as formulas read them: present, without missing values, numbers or levels."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np
import pandas as pd

from gatewise.formulas.habits import instead_of_prefix
from gatewise.formulas.words import is_name

DATES = "column {!r} holds dates or durations: give numbers, such as the days since a date"


def require_frame(frame: Any) -> pd.DataFrame:
    """Return a data frame, or raise.

    Raises
    ------
    TypeError, ValueError
        For anything else, and for two columns of one name.
    """
    if not isinstance(frame, pd.DataFrame):
        raise TypeError(
            f"the data are a {type(frame).__name__}: a formula reads a pandas DataFrame; give "
            + ("data.to_pandas()" if hasattr(frame, "to_pandas") else "one with its columns")
        )
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise ValueError(f"the data have two columns called {twice!r}: give each its own name")
    return frame


def require_columns(frame: pd.DataFrame, names: Sequence[str]) -> None:
    """Raise unless a frame has columns of these names.

    Raises
    ------
    ValueError
        With the nearest name and the names that there are.
    """
    for name in names:
        if name not in frame.columns:
            known = [str(one) for one in frame.columns]
            if name in known:
                kind = type(frame.columns[known.index(name)]).__name__
                raise ValueError(
                    f"the name of column {name} is of the type {kind}, and a formula reads texts: rename it, as by "
                    "frame.rename(columns=str)"
                )
            near = get_close_matches(name, known, 1)
            guess = f"did you mean {near[0]!r}? " if near else ""
            listed = ", ".join(known[:30]) + (", ..." if len(known) > 30 else "")
            raise ValueError(f"there is no column {name!r}{instead_of_prefix(name)}: {guess}the columns are {listed}")


def complete(frame: pd.DataFrame, names: Sequence[str]) -> np.ndarray:
    """Return which rows ``(n,)`` have a value in every one of these columns."""
    require_columns(frame, names)
    return frame[list(names)].notna().all(axis=1).to_numpy() if names else np.ones(len(frame), dtype=bool)


def numbers(column: pd.Series, name: str, instead: str | None = None) -> np.ndarray:
    """Return a column of numbers or truth values in float64; `instead` is what else could be done, by default levels.

    Raises
    ------
    ValueError
        For text, dates and complex numbers.
    """
    kind = column.dtype
    if not pd.api.types.is_numeric_dtype(kind) or pd.api.types.is_complex_dtype(kind):
        try:
            held = column.to_numpy(dtype=object)
            if any(isinstance(one, str | bytes | complex) or not np.isscalar(one) for one in held):
                raise TypeError
            return held.astype(np.float64)
        except (TypeError, ValueError):
            if pd.api.types.is_datetime64_any_dtype(kind) or pd.api.types.is_timedelta64_dtype(kind):
                raise ValueError(DATES.format(name)) from None
            levels = f", or use C({name if is_name(name) else f'`{name}`'}) for levels"
            raise ValueError(
                f"column {name!r} holds {kind} values, and numbers are needed: convert it"
                + (levels if instead is None else instead)
            ) from None
    return column.to_numpy(dtype=np.float64)


def usable(frame: pd.DataFrame, names: Sequence[str], discrete: Collection[str]) -> pd.DataFrame:
    """Return columns as a formula computes with them: numbers in float64, levels as they are, unused ones left out."""
    out = {}
    for name in names:
        column = frame[name]
        if name not in discrete:
            out[name] = numbers(column, name)
        elif isinstance(column.dtype, pd.CategoricalDtype):
            out[name] = _categories(column, name)
        else:
            out[name] = _levels(column, name)
    return pd.DataFrame(out, index=pd.RangeIndex(len(frame)))


def is_text(column: pd.Series) -> bool:
    """Return whether a column holds levels: categories, texts, or anything else among which there is a text."""
    kind = column.dtype
    if isinstance(kind, pd.CategoricalDtype):
        return True
    if pd.api.types.is_numeric_dtype(kind):
        return False
    return any(isinstance(one, str) for one in column.to_numpy(dtype=object))


def _categories(column: pd.Series, name: str) -> Any:
    """Return a categorical column with the categories that occur, in their order."""
    found = column.cat.remove_unused_categories()
    _levels(pd.Series(found.cat.categories), name)
    return found.array


def _levels(column: pd.Series, name: str) -> Any:
    """Return a column of levels: whole numbers, other numbers, truth values or texts, of one kind."""
    kind = column.dtype
    if pd.api.types.is_datetime64_any_dtype(kind) or pd.api.types.is_timedelta64_dtype(kind):
        raise ValueError(DATES.format(name))
    if pd.api.types.is_bool_dtype(kind):
        return column.to_numpy(dtype=bool).astype(object)
    if pd.api.types.is_integer_dtype(kind):
        return column.to_numpy(dtype=np.int64)
    if pd.api.types.is_float_dtype(kind):
        values = column.to_numpy(dtype=np.float64)
        if np.isinf(values).any():
            row = int(np.isinf(values).argmax())
            raise ValueError(f"column {name!r} is {values[row]} in row {row}, which is no level: leave such rows out")
        return values
    held = column.to_numpy(dtype=object)
    odd = next((one for one in held if not isinstance(one, str | bool | int | float | np.generic)), None)
    kinds = {str if isinstance(one, str) else float for one in held}
    if odd is not None or len(kinds) > 1:
        what = f"a {type(odd).__name__}" if odd is not None else "texts and numbers"
        raise ValueError(f"column {name!r} holds {what}: give levels of one kind, all texts or all numbers")
    return held


def require_finite(text: str, matrix: pd.DataFrame, index: pd.Index) -> None:
    """Raise for values that are not finite, naming the column and the first row by its label."""
    wrong = ~np.isfinite(matrix.to_numpy())
    if wrong.any():
        row, place = np.argwhere(wrong)[0]
        raise ValueError(
            f"{text!r}: column {matrix.columns[place]!r} is {matrix.iloc[row, place]} in row {index[row]}: its terms "
            "must be finite numbers, such as logs of values above 0; leave out rows with infinite values"
        )
