"""Columns of a table as float64 numbers, decoded once per batch for all who read them side by side."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gatewise.buffers import buffer
from gatewise.data.columns import require_names
from gatewise.data.parquet import ParquetTable, opened

if TYPE_CHECKING:
    from gatewise.data.batches import Batch, RowSource

MOST, FEWEST = 16384, 1024  # rows of a batch: larger ones are not faster, and take more memory
CELLS = 1 << 20  # numbers of a batch, when it has more than FEWEST rows: 8 MiB


def batch_size(columns: int) -> int:
    """Return how many rows of so many columns are read at once."""
    return max(FEWEST, min(MOST, CELLS // columns))


class Stream:
    """Chosen columns of a table, read forward in batches; earlier rows are reached by beginning anew.

    Parameters
    ----------
    source : Source
    names : sequence of str
    table : str
        What messages call the table.
    missing : bool
        True: missing values come as NaN. False: they are an error, like every value that is not finite.

    Raises
    ------
    ValueError
        For a column that does not exist or does not hold numbers.
    """

    def __init__(self, source: RowSource, names: Sequence[str], table: str, missing: bool = False) -> None:
        require_names(source.schema.names, names, table)
        require_numbers(source, names)
        self.source, self.names, self.table, self.missing = source, tuple(names), table, missing
        self.size = batch_size(len(names))
        self._batches: Iterator[Batch] = iter(())
        self._pieces: deque[tuple[int, np.ndarray]] = deque()
        self._low = self._high = source.rows  # the rows that the pieces cover
        self._asked: Any = None
        self._given = np.empty(0)

    def __deepcopy__(self, memo: dict[int, Any]) -> Stream:
        """Return a stream of the same table that has read nothing."""
        return Stream(self.source, self.names, self.table, self.missing)

    def __reduce__(self) -> Any:
        return Stream, (self.source, self.names, self.table, self.missing)

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Return rows start..stop as ``(c, stop - start)``; the same request again costs nothing."""
        if self._asked is None or isinstance(self._asked, np.ndarray) or self._asked != (start, stop):
            self._cover(start, stop)
            reached = [piece for piece in self._pieces if piece[0] < stop]
            parts = [values[:, max(start - first, 0) : stop - first] for first, values in reached]
            self._given = parts[0] if len(parts) == 1 else self._joined(parts)
            self._asked = start, stop
        return self._given

    def _joined(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        out = buffer(len(self.names), sum(part.shape[1] for part in parts))
        return np.concatenate(parts, 1, out=out) if parts else out

    def take(self, index: np.ndarray) -> np.ndarray:
        """Return the rows at increasing positions as ``(c, len(index))``, in one pass over the table."""
        if not isinstance(self._asked, np.ndarray) or not np.array_equal(self._asked, index):
            self._given, self._asked = self._picked(index), index
        return self._given

    def _picked(self, index: np.ndarray) -> np.ndarray:
        out = np.empty((len(self.names), len(index)))
        at = 0
        while at < len(index):
            row = int(index[at])
            self._cover(row, row + 1)
            first, values = self._pieces[0]
            end = at + int(np.searchsorted(index[at:], first + values.shape[1]))
            out[:, at:end] = values[:, index[at:end] - first]
            at = end
        return out

    def _cover(self, start: int, stop: int) -> None:
        """Hold the pieces of rows start..stop: read on, or begin anew where these rows are behind or far ahead."""
        if start < self._low or self.source.jump(start) > self._high:
            self._pieces.clear()
            self._low = self._high = self.source.jump(start)
            self._batches = self.source.batches(self.names, self.size, start)
        while self._pieces and self._pieces[0][0] + self._pieces[0][1].shape[1] <= start:
            self._pieces.popleft()
        while self._high < stop:
            batch = next(self._batches, None)
            if batch is None:
                raise ValueError(
                    f"{self.table} ends after {self._high} rows and had {self.source.rows}: do not change it while it "
                    "is read"
                )
            self._high = batch.first + batch.rows
            if self._high > start:
                self._pieces.append((batch.first, decode(batch, self.names, self.table, self.missing)))
        self._low = self._pieces[0][0] if self._pieces else self._high


class StreamPart:
    """Columns of a stream as an array ``(n, d)`` that is read when it is sliced by rows.

    Attributes
    ----------
    stream : Stream
    names : tuple of str
    shape : tuple of int
    """

    def __init__(self, stream: Stream, names: Sequence[str]) -> None:
        self.stream, self.names = stream, tuple(names)
        self.shape = stream.source.rows, len(self.names)
        places = [stream.names.index(name) for name in self.names]
        together = places == list(range(places[0], places[0] + len(places)))
        self._places: Any = slice(places[0], places[-1] + 1) if together else places

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: slice | Sequence[int]) -> np.ndarray:
        if isinstance(index, slice):
            start, stop, _ = index.indices(self.shape[0])
            values = self.stream.rows(start, max(start, stop))
        else:
            values = self.stream.take(np.asarray(index))
        return values[self._places].T


def read_column(table: ParquetTable, name: str) -> np.ndarray:
    """Return one column of numbers as an array ``(n,)``, held in memory."""
    stream = Stream(opened(table), (name,), table.name)
    out = np.empty(stream.source.rows)
    for start in range(0, len(out), MOST):
        out[start : start + MOST] = stream.rows(start, min(start + MOST, len(out)))[0]
    return out


def validate(source: RowSource, names: Sequence[str], table: str) -> None:
    """Read the columns whose statistics leave something open, once, and raise for the first value that is no number."""
    unsure = [name for name in dict.fromkeys(names) if not source.certain(name)]
    if unsure:
        for batch in source.batches(unsure, batch_size(len(unsure)), 0):
            decode(batch, unsure, table, False)


def decode(batch: Batch, names: Sequence[str], table: str, missing: bool) -> np.ndarray:
    """Return columns of a batch as float64 ``(c, m)``.

    Raises
    ------
    ValueError
        For missing values, NaN and infinite ones, unless `missing` allows them.
    """
    out = buffer(len(names), batch.rows)
    for values, name in zip(out, names, strict=True):
        column = _plain(batch.columns[name])
        if column.null_count and not missing:
            raise ValueError(_fault(name, "missing values", batch.first + _first(column.is_null()), table))
        values[:] = column.to_numpy(zero_copy_only=False)
    with np.errstate(over="ignore", invalid="ignore"):
        clear = missing or bool(np.isfinite(out.sum()))  # a sum that is not finite may be one of finite values
    if not clear and not np.isfinite(out).all():
        bad = ~np.isfinite(out)
        place = int(bad.any(1).argmax())
        row = int(bad[place].argmax())
        kind = "NaN" if np.isnan(out[place, row]) else "infinite values"
        raise ValueError(_fault(names[place], kind, batch.first + row, table))
    return out


def _plain(column: Any) -> Any:
    """Return an Arrow column without dictionary, decimals as floats."""
    import pyarrow as pa

    column = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
    return column.cast(pa.float64()) if pa.types.is_decimal(column.type) else column


def _first(truth: Any) -> int:
    return int(truth.to_numpy(zero_copy_only=False).argmax())


def _fault(name: str, kind: str, row: int, table: str) -> str:
    return (
        f"column {name!r} of {table} has {kind}, first in row {row} (counted from 0): leave such rows out, as in "
        f"pyarrow.dataset.dataset(...).filter(pyarrow.compute.is_finite(pyarrow.compute.field({name!r}))), or "
        "leave out the column by naming the features (gatewise.data.ParquetTable(path, columns=[...]), or --features)"
    )


def _words(kind: Any, pa: Any) -> str:
    text = (pa.types.is_string, pa.types.is_large_string)
    return "text" if any(check(kind) for check in text) else f"values of type {kind}"


def require_numbers(source: RowSource, names: Sequence[str]) -> None:
    """Raise unless columns hold numbers or truth values; the message names the column and the remedy."""
    import pyarrow as pa

    allowed = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal)
    for name in names:
        for kind in source.types(name):
            held = kind.value_type if pa.types.is_dictionary(kind) else kind
            if not any(check(held) for check in allowed):
                raise ValueError(
                    f"column {name!r} holds {_words(held, pa)}, and numbers are needed: leave it out by naming the "
                    "features (gatewise.data.ParquetTable(path, columns=[...]), or --features), or encode it as numbers"
                )
