"""Tables in Parquet files and Arrow data sets: what is read, and by which way. pyarrow is imported at the first use."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gatewise.data.batches import RowSource

ENDINGS = (".parquet", ".pq")


@dataclass(frozen=True)
class ParquetTable:
    """Data in Parquet files or an Arrow data set, with a selection of features. Read in batches, never loaded whole.

    Parameters
    ----------
    source : str, Path, list of these, pyarrow.dataset.Dataset, pyarrow.Table or pyarrow.RecordBatch
        A file, or several in their order; a folder, meaning its ``*.parquet`` files at any depth in the order of their
        paths, with folder names such as ``year=2024`` as columns; or a data set of any kind, including a filtered one.
    columns : sequence of str, optional
        The features; default: all columns without another role.
    client : distributed.Client, optional
        Of a Dask cluster, whose workers read the files: they must lie where all of them can read.

    Notes
    -----
    Parquet files are read in bounded memory, whatever the size of their row groups. A filtered data set needs memory
    for whole row groups, and every pass reads it from the beginning.

    Examples
    --------
    >>> ParquetTable("rows.parquet", columns=["age", "dose"]).columns
    ('age', 'dose')
    """

    source: Any
    columns: Sequence[str] | None = None
    client: Any = None

    def __post_init__(self) -> None:
        if self.columns is None:
            return
        names = (self.columns,) if isinstance(self.columns, str) else tuple(self.columns)
        if not names or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
            raise ValueError(f"columns={self.columns!r}: give at least one name, and each one once")
        object.__setattr__(self, "columns", names)

    @property
    def name(self) -> str:
        """What messages call the table."""
        if isinstance(self.source, list | tuple) and self.source:
            return f"{self.source[0]} and {len(self.source) - 1} more" if len(self.source) > 1 else str(self.source[0])
        return str(self.source) if isinstance(self.source, str | os.PathLike) else "the data set"


def is_table(value: Any) -> bool:
    """Return whether a value names rows to be read from files: a path, a ParquetTable or a pyarrow data set.

    Examples
    --------
    >>> is_table("rows.parquet"), is_table([[1.0], [2.0]])
    (True, False)
    """
    arrow = sys.modules.get("pyarrow.dataset")  # who passes a data set has imported it
    kinds = (str, os.PathLike, ParquetTable, *(() if arrow is None else (arrow.Dataset,)))
    return isinstance(value, kinds)


def is_parquet(path: str | Path) -> bool:
    """Return whether a path ends as Parquet files do, or is a folder with such files."""
    path = Path(path)
    return path.suffix.lower() in ENDINGS or (path.is_dir() and bool(_files(path)))


def as_table(value: Any) -> ParquetTable:
    """Return a path or data set as a table of all its columns, and a table as it is."""
    return value if isinstance(value, ParquetTable) else ParquetTable(value)


def opened(table: ParquetTable) -> RowSource:
    """Return the way to read a table in batches.

    Raises
    ------
    ModuleNotFoundError
        If pyarrow is not installed.
    OSError, ValueError
        For a path without readable Parquet files, and for a table without rows.
    """
    try:
        import pyarrow.dataset as arrow
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            f"reading {table.name} needs pyarrow, which is not installed: pip install 'gatewise[parquet]'"
        ) from None
    from gatewise.data.batches import Scan, files_of

    dataset = _dataset(table, arrow)
    twice = sorted({name for name in dataset.schema.names if dataset.schema.names.count(name) > 1})
    if twice:
        raise ValueError(f"{table.name} has two columns {twice[0]!r}: give them different names")
    try:
        fragments = list(dataset.get_fragments())
    except ValueError:  # a filter is set, which fragments would not know of
        fragments = []
    plain = bool(fragments) and all(isinstance(one, arrow.ParquetFileFragment) for one in fragments)
    source = files_of(fragments, dataset.schema, table.name) if plain else Scan(dataset, dataset.count_rows())
    if not source.rows:
        raise ValueError(f"{table.name} has no rows: give a table with one row per observation")
    return source


def _dataset(table: ParquetTable, arrow: Any) -> Any:
    """Return the pyarrow data set of a table."""
    import pyarrow as pa

    if isinstance(table.source, arrow.Dataset):
        return table.source
    if isinstance(table.source, pa.Table | pa.RecordBatch):
        return arrow.dataset(table.source)
    if isinstance(table.source, list | tuple) and table.source:
        return _several(table.source, arrow)
    if not isinstance(table.source, str | os.PathLike):
        kind = type(table.source).__name__
        raise TypeError(
            f"the source of a table is a {kind}: give a path, a pyarrow table, or pyarrow.dataset.dataset(...)"
        )
    path = Path(table.source)
    if not path.exists():
        raise FileNotFoundError(
            f"there is no file {path}: check the path; for other places than disks pass pyarrow.dataset.dataset(...)"
        )
    found = _files(path) if path.is_dir() else [str(path)]
    if not found:
        raise ValueError(f"the folder {path} has no files *.parquet: check the path")
    return _read(found, path, arrow)


def _several(paths: Sequence[Any], arrow: Any) -> Any:
    """Return files one after the other as a data set, folder names such as ``year=2024`` as columns."""
    wrong = next((one for one in paths if not isinstance(one, str | os.PathLike)), None)
    if wrong is not None:
        raise TypeError(f"the source of a table is a list with a {type(wrong).__name__}: give paths of files")
    missing = next((one for one in paths if not Path(one).is_file()), None)
    if missing is not None:
        raise FileNotFoundError(f"there is no file {missing}: check the path; of a folder give it alone")
    names = [str(one) for one in paths]
    return _read(names, Path(os.path.commonpath(names)), arrow)


def _read(found: list[str], path: Path, arrow: Any) -> Any:
    try:
        return arrow.dataset(found, format="parquet", partitioning="hive", partition_base_dir=str(path))
    except (OSError, ValueError) as cause:
        detail = str(cause).strip().splitlines()[0]
        raise ValueError(
            f"{path} cannot be read as Parquet ({detail}): text is read with pandas.read_csv, or by gatewise fit"
        ) from cause


def _files(folder: Path) -> list[str]:
    """Return the Parquet files of a folder in the order of their paths, without those that start with . or _."""
    found = sorted(path for ending in ENDINGS for path in folder.rglob(f"*{ending}") if path.is_file())
    return [str(path) for path in found if not any(p.startswith((".", "_")) for p in path.relative_to(folder).parts)]
