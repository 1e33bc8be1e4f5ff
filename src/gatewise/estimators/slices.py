"""A table in Parquet files as runs of row groups, each a table of its own that a worker reads."""

from __future__ import annotations

from typing import Any

from gatewise.data.parquet import ParquetTable

SHORT = 2**18  # rows of a run at most, unless a row group has more, or few threads share very many rows
PIECES = 32  # runs of a thread then, about: each is opened in every pass, and workers may come and go


def slices_of(
    table: ParquetTable, source: Any, whole_files: bool = False, threads: int | None = None
) -> dict[str, ParquetTable]:
    """Return runs of row groups of a table as tables, by what messages call them.

    Parameters
    ----------
    table : ParquetTable
    source : opened table
    whole_files : bool
        Whether files must not be cut.
    threads : int, optional
        That share the runs: fewer and longer ones. Default: the runs depend on the files alone.

    Raises
    ------
    ValueError
        For a table that is not made of Parquet files.
    """
    from gatewise.data.batches import Files

    if not isinstance(source, Files):
        raise ValueError(
            f"{table.name} is no plain set of Parquet files, which the workers of a cluster could share: write it to "
            "files, or leave the client out"
        )
    longest = SHORT if threads is None else max(SHORT, source.rows // (PIECES * max(threads, 1)))
    found: dict[str, ParquetTable] = {}
    for file, fragment in enumerate(source.fragments):
        sizes = [group.num_rows for group in fragment.row_groups]
        for first, last in [(0, len(sizes))] if whole_files else _runs(sizes, longest):
            if not sum(sizes[first:last]):
                continue
            numbers = [group.id for group in fragment.row_groups[first:last]]
            name = f"{fragment.path or table.name} (file {file}), row groups {numbers[0]} to {numbers[-1]}"
            found[name] = ParquetTable(_part(source, fragment, numbers), table.columns)
    return found


def _runs(sizes: list[int], longest: int) -> list[tuple[int, int]]:
    """Return the ends of runs of row groups with at most so many rows, or of one row group.

    Examples
    --------
    >>> _runs([150_000, 100_000, 80_000, 500_000], 260_000)
    [(0, 2), (2, 3), (3, 4)]
    """
    runs, first, rows = [], 0, 0
    for i, size in enumerate(sizes):
        if rows and rows + size > longest:
            runs.append((first, i))
            first, rows = i, 0
        rows += size
    return [*runs, (first, len(sizes))]


def _part(source: Any, fragment: Any, numbers: list[int]) -> Any:
    """Return some row groups of a file as a data set."""
    import pyarrow.dataset as arrow

    part = fragment.subset(row_group_ids=numbers)
    return arrow.FileSystemDataset([part], source.schema, fragment.format, fragment.filesystem)
