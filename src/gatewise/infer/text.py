"""Numbers and tables of inference as plain text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan
from typing import TYPE_CHECKING

from torch import Tensor

from gatewise.markup import table

if TYPE_CHECKING:
    from pandas import DataFrame

SHOWN = 40  # rows of a table before the rest is only counted
CELL, NARROW = 11, 7  # characters of a number; of z and p


def number(value: float) -> str:
    """Return a number in at most ten characters.

    Examples
    --------
    >>> number(0.5), number(-123456.789), number(1.23456e-7)
    ('0.5', '-123457', '1.235e-07')
    """
    text = f"{value:.6g}"
    return text if len(text) <= 10 else f"{value:.4g}"


def z_value(value: float) -> str:
    """Return a z value: two decimals, fewer for large ones."""
    size = abs(value)
    return f"{value:.2f}" if size < 100 else f"{value:.1f}" if size < 1000 else f"{value:.4g}"


def p_text(value: float) -> str:
    """Return a p-value; small ones are called so."""
    return "<0.001" if value < 0.001 else f"{value:.3f}"


SHORT = {"z": z_value, "p": p_text}


def percent(level: float) -> str:
    """Return a level such as ``95 %``."""
    return f"{100 * level:.6g} %"


def listing(names: Sequence[str], columns: Mapping[str, Tensor], error: Tensor) -> list[str]:
    r"""Return a table with one row per number; a word stands for what has no error.

    Parameters
    ----------
    names : of the rows
    columns : dict header -> Tensor (m,)
        The first holds the estimates.
    error : Tensor (m,)
        0: the number is fixed; NaN: it is not unique.

    Examples
    --------
    >>> import torch
    >>> one = torch.tensor([1.5, 0.0])
    >>> print("\n".join(listing(["slope", "bias"], {"estimate": one, "std. error": one / 10}, one / 10)))
             estimate std. error
      slope       1.5       0.15
      bias          0  fixed
    """
    wide = max((len(name) for name in names[:SHOWN]), default=0)
    lines = [f"  {'':{wide}}" + "".join(f"{header:>{_width(header)}}" for header in columns)]
    rows = zip(
        names[:SHOWN], zip(*(values.tolist() for values in columns.values()), strict=True), error.tolist(), strict=False
    )
    for name, values, spread in rows:
        word = word_for(spread)
        cells = [_cell(header, value) for header, value in zip(columns, values, strict=True)]
        shown = f"{cells[0]}  {word}" if word else "".join(cells)
        lines.append(f"  {name:{wide}}{shown}".rstrip())
    return lines + ([f"  and {len(names) - SHOWN} more"] if len(names) > SHOWN else [])


def word_for(error: float) -> str:
    """Return the word printed in place of a missing error: ``fixed`` or ``not unique``; otherwise an empty text."""
    return "fixed" if error == 0 else "not unique" if isnan(error) else ""


def html_listing(names: Sequence[str], columns: Mapping[str, Tensor], error: Tensor) -> str:
    """Return the table of `listing` as HTML."""
    words = [word_for(spread) for spread in error.tolist()]
    cells = {header: values.tolist() for header, values in columns.items()}
    return table({"parameter": names, **cells, **({"": words} if any(words) else {})})


def frame(names: Sequence[str], columns: Mapping[str, Tensor]) -> DataFrame:
    """Return columns of numbers as a data frame with a row per name."""
    import pandas as pd

    index = pd.Index(list(names), name="parameter")
    return pd.DataFrame({header: values.tolist() for header, values in columns.items()}, index=index)


def _width(header: str) -> int:
    return NARROW if header in SHORT else CELL


def _cell(header: str, value: float) -> str:
    text = "" if isnan(value) else SHORT.get(header, number)(value)
    return f"{text:>{_width(header)}}"
