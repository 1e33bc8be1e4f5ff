"""A table in a text file, CSV as spreadsheets write it: read with its separator and decimal mark, faults in words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from gatewise.files import require_there

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
WORDS = {"tab": "\t", "\\t": "\t"}  # what is hard to type in a shell
RAGGED = re.compile(r"Expected (\d+) fields in line (\d+), saw (\d+)")
DECIMAL_COMMA = r"\s*[+-]?\d+,\d+(?:[eE][+-]?\d+)?\s*"
NUMBER = rf"{DECIMAL_COMMA}|\s*[+-]?\d+(?:[eE][+-]?\d+)?\s*"
UTF16 = (b"\xff\xfe", b"\xfe\xff")
ZIP = b"PK\x03\x04"  # which spreadsheets are


class TextFormat(NamedTuple):
    """How a text file writes a table.

    Attributes
    ----------
    sep : str
        Character between columns; also ``tab``.
    decimal : str
        Decimal mark of numbers.
    """

    sep: str = ","
    decimal: str = "."

    def check(self) -> TextFormat:
        r"""Return the format with characters for words.

        Raises
        ------
        ValueError
            For marks that cannot be meant.

        Examples
        --------
        >>> TextFormat("tab").check()
        TextFormat(sep='\t', decimal='.')
        """
        sep = WORDS.get(self.sep, self.sep)
        if len(sep) != 1 or sep.isalnum() or sep in "\"'\r\n":
            raise ValueError(f"--sep {self.sep}: give the one character between the columns, such as ';', or tab")
        if self.decimal not in (".", ","):
            raise ValueError(f"--decimal {self.decimal}: give ',' or '.'")
        return TextFormat(sep, self.decimal)

    @property
    def options(self) -> dict[str, str]:
        """Those arguments of `pandas.read_csv` that are not its own."""
        usual = TextFormat()
        return {name: one for name, one in self._asdict().items() if one != getattr(usual, name)}

    def code(self, path: str | Path) -> str:
        """Return Python that reads the table.

        Examples
        --------
        >>> TextFormat(";").code("data.csv")
        "pd.read_csv('data.csv', skipinitialspace=True, sep=';')"
        """
        more = "".join(f", {name}={one!r}" for name, one in self.options.items())
        return f"pd.read_csv({str(path)!r}, skipinitialspace=True{more})"


COMMAS = TextFormat()


def read_table(path: str | Path, form: TextFormat = COMMAS) -> pd.DataFrame:
    """Read a text file with a header line.

    Raises
    ------
    OSError, ValueError
        With the cause and the remedy.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a directory: give the path of a CSV file")
    require_there(path)
    try:
        for rows in (1, 2):  # the header line alone, and with a row that may have more fields
            first = pd.read_csv(path, skipinitialspace=True, header=None, nrows=rows, dtype=str, **form.options)
            _require_separated(path, list(map(str, first.iloc[0])), form)
        frame = pd.read_csv(path, skipinitialspace=True, **form.options)
    except pd.errors.EmptyDataError:
        raise ValueError(f"{path} is empty: a CSV file with a header line is needed") from None
    except UnicodeDecodeError as cause:
        raise ValueError(_not_utf8(path, cause)) from None
    except pd.errors.ParserError as cause:
        raise ValueError(_not_a_table(path, str(cause), form)) from None
    if not len(frame):
        raise ValueError(f"{path} has a header line but no rows")
    if form.decimal == "." and form.sep != ",":
        _require_points(path, frame)
    return frame.rename(columns=str)


def decimal_commas(values: pd.Series) -> bool:
    """Return whether texts are all numbers, some of them with a comma that could be decimal.

    Examples
    --------
    >>> decimal_commas(pd.Series(["1,5", "2"])), decimal_commas(pd.Series(["a", "1,5"]))
    (True, False)
    """
    texts = values.dropna().astype(str)
    return bool(texts.str.fullmatch(NUMBER).all() and texts.str.fullmatch(DECIMAL_COMMA).any())


def _require_separated(path: Path, header: list[str], form: TextFormat) -> None:
    """Raise where all names of the header line come as one, with another separator in it."""
    marks = [mark for mark in SEPARATORS if len(header) == 1 and mark in header[0]]
    if marks:
        mark = max(marks, key=header[0].count)
        shown = "tab" if mark == "\t" else f"'{mark}'"
        between = SEPARATORS.get(form.sep, repr(form.sep))
        raise ValueError(
            f"the header line of {path} is {header[0]!r}: its columns seem to be separated by {SEPARATORS[mark]}, and "
            f"not by {between}; give --sep {shown}"
        )


def _require_points(path: Path, frame: pd.DataFrame) -> None:
    """Raise where a column holds numbers with decimal commas, which were read as text, and none has decimal points."""
    if any((frame[name].dropna() % 1 != 0).any() for name in frame.select_dtypes("floating").columns):
        return
    for name in frame.columns:
        if not pd.api.types.is_numeric_dtype(frame[name]) and decimal_commas(frame[name]):
            value = next(one for one in frame[name].dropna().astype(str) if "," in one)
            raise ValueError(
                f"column {str(name)!r} of {path} holds {value!r}, which is text: where commas are decimal, give "
                "--decimal ,"
            )


def _not_utf8(path: Path, cause: UnicodeDecodeError) -> str:
    with path.open("rb") as file:
        start = file.read(4)
    if start[:2] in UTF16:
        return f"{path} is UTF-16 text, as spreadsheets write 'Unicode text': save it as UTF-8 ('CSV UTF-8')"
    if start == ZIP:
        return f"{path} is a workbook or an archive, and no text: save the sheet as a CSV file"
    byte = cause.object[cause.start]
    return (
        f"{path} holds the byte 0x{byte:02x}, which no UTF-8 text has there; text in Latin-1 or Windows-1252 does: "
        "save it as UTF-8 ('CSV UTF-8')"
    )


def _not_a_table(path: Path, words: str, form: TextFormat) -> str:
    """Return what keeps a text from being a table, in place of the words of pandas."""
    if (ragged := RAGGED.search(words)) is not None:
        expected, line, seen = ragged.groups()
        mark = SEPARATORS.get(form.sep, repr(form.sep))
        before, remedy = "the lines before it", "put quotes around text that holds the separator"
        if line == "2":  # pandas would take the first fields for names of rows
            before, remedy = "its header line", "give every column a name"
        apart = (
            "; where commas are decimal, columns need another separator, or numbers quotes" if form.sep == "," else ""
        )
        return (
            f"line {line} of {path} has {seen} fields and {before} {expected}, with columns separated by {mark}: "
            f"{remedy}, or give another separator with --sep{apart}"
        )
    if "EOF inside string" in words:
        return f"{path} has a quote that is opened and never closed: close it, or double a quote inside of text"
    detail = words.strip().splitlines()[0]
    return f"{path} cannot be read as CSV ({detail}): save it as comma-separated UTF-8 text"
