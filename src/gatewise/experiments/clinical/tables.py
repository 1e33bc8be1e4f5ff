"""Clinical stays from a folder of CSV files, as one exports them from MIMIC-IV or the eICU database.

Every file has one line of names; text is UTF-8 with commas; ``.csv.gz`` serves as well.

``stays.csv``: one row per stay.
    ``stay_id``; ``split``, one of train, validation, test; every other column is a label, 0 or 1.
``events.csv``: one row per observation, in any order.
    ``stay_id``; ``time``, in hours since admission; ``variable``, its name; ``value``, a number. A variable that was
    observed twice at one time has the mean of both. Give only what the task may know, such as the first 48 hours.
``notes.csv``, ``images.csv``: at most one row per stay, both files optional.
    ``stay_id``; every other column is a number of an embedding, made by a model of yours.

A modality is missing for a stay without rows in its file. In MIMIC-IV stay_id is that of ``icustays``, times are
``charttime - intime`` and values the ``valuenum`` of ``chartevents`` and ``labevents``; in eICU stay_id is
``patientunitstayid`` and times are ``observationoffset`` or ``labresultoffset``, in minutes, over 60.
"""

from __future__ import annotations

import gzip
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from torch import Tensor, as_tensor

PARTS = ("train", "validation", "test")
STAYS, EVENTS, EMBEDDINGS = "stays.csv", "events.csv", ("notes.csv", "images.csv")
CHUNK = 200_000  # rows read at a time
LARGEST = 1e18  # the square of a number twenty times as large overflows a float32


class Series(NamedTuple):
    """Observations at irregular times of n stays, one after the other: P points of V variables in all.

    Attributes
    ----------
    values : ndarray (P, V) of float32
        NaN where a variable was not observed.
    times : ndarray (P,) of float32
        In hours, ascending within a stay.
    start : ndarray (n + 1,) of int64
        Stay i has the points ``start[i]`` up to ``start[i + 1]``.
    variables : tuple of str
    """

    values: np.ndarray
    times: np.ndarray
    start: np.ndarray
    variables: tuple[str, ...]

    def padded(self, rows: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """Return values ``(b, T, V)``, times ``(b, T)`` and mask ``(b, T, V)`` of some stays, T points at most.

        The mask is true where a variable was observed; elsewhere values are zero.
        """
        count = self.start[rows + 1] - self.start[rows]
        place = np.arange(max(int(count.max(initial=0)), 1))
        real = place < count[:, None]
        point = np.where(real, self.start[rows][:, None] + place, 0)
        values, times = self.values[point], np.where(real, self.times[point], np.float32(0))
        seen = ~np.isnan(values) & real[..., None]
        return as_tensor(np.where(seen, values, np.float32(0))), as_tensor(times), as_tensor(seen)


class Embedding(NamedTuple):
    """One vector per stay: ``values (n, d)`` of float32, zero where ``there (n,)`` is false."""

    values: np.ndarray
    there: np.ndarray


class Stays(NamedTuple):
    """Clinical stays.

    Attributes
    ----------
    stay : Index (n,)
        As text.
    split : ndarray (n,) of int
        0 train, 1 validation, 2 test.
    labels : ndarray (n, L) of float32
    names : tuple of str
        Of the labels.
    series : Series
    embeddings : dict of str to Embedding
        By name of file, without ``.csv``; those that are in the folder.
    """

    stay: pd.Index
    split: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]
    series: Series
    embeddings: dict[str, Embedding]


def read_stays(folder: Path | None) -> Stays:
    """Read the stays of a folder; the files are described at the top of this module.

    Raises
    ------
    FileNotFoundError
        Without a folder, or without ``stays.csv`` or ``events.csv`` in it.
    ValueError
        For a missing column, an unknown or repeated stay, an empty part, or what is no number; the message names the
        file, the line and a remedy.
    """
    path, events = (_needed(folder, name) for name in (STAYS, EVENTS))
    table = pd.concat([pd.DataFrame(), *chunks(path, ("stay_id", "split"))])
    names = tuple(str(name) for name in table.columns if name not in ("stay_id", "split"))
    if not names:
        raise ValueError(f"{path} has no column of labels: add one column of 0 and 1 for every label")
    stay = pd.Index(table["stay_id"])
    refuse(path, table, stay.duplicated(), "stay_id", "occurs twice", "keep one row per stay")
    split = pd.Index(PARTS).get_indexer(table["split"])
    refuse(path, table, split < 0, "split", "is no part", f"write one of {', '.join(PARTS)}")
    if empty := [name for number, name in enumerate(PARTS) if not (split == number).any()]:
        raise ValueError(f"{path} has no stay with split {empty[0]}: give some to each of {', '.join(PARTS)}")
    labels = numbers(path, table, names)
    for place, name in enumerate(names):
        wrong = ~np.isin(labels[:, place], (0, 1))
        refuse(path, table, wrong, name, "is no label", "write 0 or 1, and drop stays whose label is unknown")
    found = {name: _place(folder, name) for name in EMBEDDINGS}
    embeddings = {name.removesuffix(".csv"): read_embedding(at, stay) for name, at in found.items() if at is not None}
    series = read_events(events, stay)
    blank = (np.diff(series.start) == 0) & ~np.any([one.there for one in embeddings.values()], axis=0)
    refuse(path, table, blank, "stay_id", "has neither events nor an embedding", "leave the stay out")
    return Stays(stay, split, labels.astype(np.float32), names, series, embeddings)


def _place(folder: Path | None, name: str) -> Path | None:
    """Return the file of a name in a folder, packed or not, or None."""
    places = [] if folder is None else [Path(folder) / name, Path(folder) / f"{name}.gz"]
    return next((path for path in places if path.is_file()), None)


def _needed(folder: Path | None, name: str) -> Path:
    found = _place(folder, name)
    if found is None:
        raise FileNotFoundError(_absent(folder, name))
    return found


def _absent(folder: Path | None, name: str) -> str:
    where = "no folder was given" if folder is None else f"{folder} has no {name}"
    return (
        f"{where}: give by --data-dir a folder with stays.csv (stay_id, split, and a column of 0 and 1 per label), "
        "events.csv (stay_id, time in hours, variable, value) and, if there are any, notes.csv and images.csv (stay_id "
        "and the columns of an embedding). Clinical records are for credentialed users: MIMIC-IV from "
        "https://physionet.org/content/mimiciv/ and eICU from https://physionet.org/content/eicu-crd/, exported to "
        "these files by you"
    )


def chunks(path: Path, needed: tuple[str, ...]) -> Iterator[pd.DataFrame]:
    """Read a file as text, some rows at a time; the index is the line.

    Raises
    ------
    ValueError
        If a needed column is missing, one is there twice, or the file is no such table.
    """
    options = {"dtype": str, "keep_default_na": False, "skip_blank_lines": False, "index_col": False}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # lines that are longer than the first one
            header = pd.read_csv(path, header=None, nrows=1, **options).iloc[0].tolist()
            _check_header(path, header, needed)
            read = pd.read_csv(path, names=header, header=0, chunksize=CHUNK, **options)
            with read as parts:
                for part in parts:
                    part.index = part.index + 2
                    blank = (part["stay_id"].str.strip() == "").to_numpy()
                    refuse(path, part, blank, "stay_id", "names no stay", "name it, or leave the line out")
                    yield part
    except (EOFError, zlib.error, gzip.BadGzipFile) as cause:
        raise ValueError(
            f"{path} is incomplete or not gzip-compressed ({cause}): compress or export it again"
        ) from cause
    except (pd.errors.ParserError, pd.errors.ParserWarning, pd.errors.EmptyDataError, UnicodeDecodeError) as cause:
        raise ValueError(
            f"{path} is not a UTF-8 table with a header line and commas ({cause}): export it again"
        ) from cause


def _check_header(path: Path, header: list[str], needed: tuple[str, ...]) -> None:
    for name in needed:
        if name not in header:
            raise ValueError(f"{path}, line 1: no column {name}, but {', '.join(header)}: rename or add the column")
    if twice := [name for name in header if header.count(name) > 1 or not name.strip()]:
        raise ValueError(f"{path}, line 1: the column {twice[0]!r} occurs twice or has no name: rename one")


def refuse(path: Path, table: pd.DataFrame, wrong: np.ndarray, column: str, said: str, remedy: str) -> None:
    """Raise an error for the first wrong row, if there is one."""
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(f"{path}, line {table.index[row]}: {column} {table[column].iloc[row]!r} {said}; {remedy}")


def numbers(path: Path, table: pd.DataFrame, names: tuple[str, ...]) -> np.ndarray:
    """Return columns as finite numbers ``(n, len(names))``, or an error that says which cell is none."""
    out = np.empty((len(table), len(names)))
    for place, name in enumerate(names):
        out[:, place] = pd.to_numeric(table[name], errors="coerce").to_numpy(dtype=float)
        wrong = ~(np.abs(out[:, place]) < LARGEST)
        refuse(path, table, wrong, name, f"is no finite number below {LARGEST:g}", "correct it, or leave the row out")
    return out


def stay_rows(path: Path, table: pd.DataFrame, stay: pd.Index) -> np.ndarray:
    """Return the places of a table's stays, or an error that names an unknown one."""
    rows = stay.get_indexer(table["stay_id"])
    refuse(path, table, rows < 0, "stay_id", f"is not in {STAYS}", "add it there, or leave its rows out")
    return rows


def read_embedding(path: Path, stay: pd.Index) -> Embedding:
    """Read one vector per stay."""
    values, there = None, np.zeros(len(stay), dtype=bool)
    for part in chunks(path, ("stay_id",)):
        names = tuple(str(name) for name in part.columns if name != "stay_id")
        if not names:
            raise ValueError(f"{path} has no column but stay_id: add those of the embedding")
        rows = stay_rows(path, part, stay)
        again = there[rows] | part["stay_id"].duplicated().to_numpy()
        refuse(path, part, again, "stay_id", "occurs twice", "keep one row per stay")
        values = np.zeros((len(stay), len(names)), dtype=np.float32) if values is None else values
        values[rows], there[rows] = numbers(path, part, names), True
    if values is None or not there.any():
        raise ValueError(f"{path} has no rows: fill it, or remove it")
    return Embedding(values, there)


def read_events(path: Path, stay: pd.Index) -> Series:
    """Read the observations, some rows at a time: 20 bytes per row are kept until all are sorted."""
    code: dict[str, int] = {}
    found: list[tuple[np.ndarray, ...]] = []
    for part in chunks(path, ("stay_id", "time", "variable", "value")):
        unnamed = (part["variable"].str.strip() == "").to_numpy()
        refuse(path, part, unnamed, "variable", "is no name", "name the variable, or leave the row out")
        rows, cells = stay_rows(path, part, stay), numbers(path, part, ("time", "value"))
        local, names = pd.factorize(part["variable"])
        codes = np.array([code.setdefault(str(name), len(code)) for name in names], dtype=np.int32)
        found.append((rows.astype(np.int32), cells[:, 0], codes[local], cells[:, 1].astype(np.float32)))
    if not code:
        raise ValueError(f"{path} has no rows: give at least one observation")
    variables = tuple(sorted(code))
    place = np.argsort(np.argsort(list(code)))  # names in alphabetical order, whatever the order of the rows
    row, time, variable, value = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return _series(row, time, place[variable], value, len(stay), variables)


def _series(
    row: np.ndarray, time: np.ndarray, variable: np.ndarray, value: np.ndarray, n: int, variables: tuple[str, ...]
) -> Series:
    """Return observations in order of stay and time, those at one time side by side."""
    order = np.lexsort((value, variable, time, row))
    row, time, variable, value = (part[order] for part in (row, time, variable, value))
    new = np.r_[True, (row[1:] != row[:-1]) | (time[1:] != time[:-1])]
    first = np.flatnonzero(new | np.r_[True, variable[1:] != variable[:-1]])
    mean = np.add.reduceat(value.astype(float), first) / np.diff(np.r_[first, len(value)])
    values = np.full((int(new.sum()), len(variables)), np.nan, dtype=np.float32)
    values[(np.cumsum(new) - 1)[first], variable[first]] = mean
    start = np.searchsorted(row[new], np.arange(n + 1))
    return Series(values, time[new].astype(np.float32), start, variables)
