"""Rows of Arrow data sets, in order and in batches: Parquet files by row groups, anything else by a scan."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple, Protocol

import pyarrow as pa
import pyarrow.dataset as arrow
import pyarrow.parquet as parquet

from gatewise.data.parquet import require_names

BUFFER = 1 << 16  # bytes of a column that are read ahead


class Batch(NamedTuple):
    """Some neighbouring rows: the position of the first one, their number, and their columns as Arrow arrays."""

    first: int
    rows: int
    columns: Mapping[str, Any]


class RowSource(Protocol):
    """Rows that can be read in order from any of them."""

    @property
    def rows(self) -> int:
        """Number of rows."""

    @property
    def schema(self) -> Any:
        """Names and types of the columns."""

    def batches(self, names: Sequence[str], size: int, start: int) -> Iterator[Batch]:
        """Yield batches of at most `size` rows from `jump(start)` on."""

    def jump(self, row: int) -> int:
        """Return where reading may begin that has to reach a row: the nearest such place before it."""

    def certain(self, name: str) -> bool:
        """Return whether the statistics of a column say that no value is missing or not finite."""

    def types(self, name: str) -> set[Any]:
        """Return the types of a column: those of its files may differ."""


@dataclass(frozen=True)
class Scan:
    """A data set of any kind, read by its own scanner from the beginning.

    Attributes
    ----------
    dataset : pyarrow.dataset.Dataset
    rows : int
    """

    dataset: Any
    rows: int

    @property
    def schema(self) -> Any:
        """Names and types of the columns."""
        return self.dataset.schema

    def batches(self, names: Sequence[str], size: int, start: int) -> Iterator[Batch]:
        """Yield batches from the first row on."""
        options = {"batch_size": size, "batch_readahead": 0, "fragment_readahead": 0, "use_threads": False}
        first = 0
        for batch in self.dataset.scanner(columns=list(names), **options).to_batches():
            yield Batch(first, batch.num_rows, {name: batch.column(name) for name in names})
            first += batch.num_rows

    def jump(self, row: int) -> int:
        """Return 0: a scan has no other beginning."""
        return 0

    def certain(self, name: str) -> bool:
        """Return False: a scan has no statistics."""
        return False

    def types(self, name: str) -> set[Any]:
        """Return the type of a column."""
        return {self.schema.field(name).type}


class RowGroup(NamedTuple):
    """A row group: the number of its file, its own number there, and its first row in the table."""

    file: int
    number: int
    first: int


@dataclass(frozen=True)
class Files:
    """Parquet files one after another, in memory that does not grow with their row groups.

    Attributes
    ----------
    fragments : tuple of pyarrow.dataset.ParquetFileFragment
    constants : tuple of dict
        Columns that the path of each file gives.
    groups : tuple of Group
    rows : int
    schema : pyarrow.Schema
    name : str
    """

    fragments: tuple[Any, ...]
    constants: tuple[Mapping[str, Any], ...]
    groups: tuple[RowGroup, ...]
    rows: int
    schema: Any
    name: str

    def batches(self, names: Sequence[str], size: int, start: int) -> Iterator[Batch]:
        """Yield batches from the beginning of the row group of a row on.

        Columns are decoded page by page: without the buffered stream a whole row group would be read at once.
        """
        left = self.groups[self._group(start) :]
        for file, some in groupby(left, key=lambda group: group.file):
            groups = list(some)
            first, fragment, constants = groups[0].first, self.fragments[file], self.constants[file]
            held = [name for name in names if name not in constants]
            require_names(fragment.physical_schema.names, held, fragment.path or self.name)
            options = {"metadata": fragment.metadata, "buffer_size": BUFFER, "pre_buffer": False}
            with parquet.ParquetFile(fragment.open(), **options) as reader:
                numbers = [group.number for group in groups]
                for batch in reader.iter_batches(size, row_groups=numbers, columns=held, use_threads=False):
                    count = batch.num_rows
                    columns = {name: batch.column(name) for name in held}
                    same = {name: pa.repeat(pa.scalar(constants[name]), count) for name in names if name in constants}
                    yield Batch(first, count, columns | same)
                    first += count

    def _group(self, row: int) -> int:
        return bisect_right(self.groups, row, key=lambda group: group.first) - 1

    def jump(self, row: int) -> int:
        """Return the first row of the row group of a row."""
        return self.groups[self._group(row)].first

    def certain(self, name: str) -> bool:
        """Return whether a column holds whole numbers or truth values, none of them missing.

        The statistics of other numbers do not count NaN.
        """
        exact = (pa.types.is_integer, pa.types.is_boolean)
        if not all(any(check(kind) for check in exact) for kind in self.types(name)):
            return False
        held = (file for file, constants in enumerate(self.constants) if name not in constants)
        return all(_complete(self.fragments[file].metadata, name) for file in held)

    def types(self, name: str) -> set[Any]:
        """Return the types of a column in all files."""
        both = zip(self.fragments, self.constants, strict=True)
        return {
            pa.scalar(constants[name]).type if name in constants else fragment.physical_schema.field(name).type
            for fragment, constants in both
            if name in constants or name in fragment.physical_schema.names
        }


def _complete(metadata: Any, name: str) -> bool:
    """Return whether the statistics of every row group of a file count no missing value in a column."""
    place = [metadata.schema.column(i).path for i in range(metadata.num_columns)].index(name)
    for number in range(metadata.num_row_groups):
        found = metadata.row_group(number).column(place).statistics
        if found is None or not found.has_null_count or found.null_count:
            return False
    return True


def files_of(fragments: Sequence[Any], schema: Any, name: str) -> Files:
    """Return Parquet fragments as one run of rows; their footers are read, nothing else."""
    groups, first = [], 0
    for file, fragment in enumerate(fragments):
        for group in fragment.row_groups:
            groups.append(RowGroup(file, group.id, first))
            first += group.num_rows
    constants = tuple(arrow.get_partition_keys(one.partition_expression) for one in fragments)
    return Files(tuple(fragments), constants, tuple(groups), first, schema, name)
