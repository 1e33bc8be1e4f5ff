"""Records of an experiment: one line of JSON per job, appended when it ends, so that a run can go on where it stood.

Processor times stand beside them, in a file of their own: records of equal runs are equal, times are not.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from gatewise.files import append_lines, plain_file, write_text
from gatewise.runs.folders import lock, make_folder, read_header

RECORDS = "records.jsonl"
TIMES = "times.jsonl"
HEADER = "experiment.json"


class Record(NamedTuple):
    """A finished job: its settings (variant, gate, seed, learning rate) and its outcome."""

    variant: str
    gate: str
    seed: int
    rate: float
    tuning: bool
    key: str
    outcome: dict[str, Any]


def header(folder: Path) -> dict[str, Any]:
    """Return what the header of a folder says: "experiment", "quick", "origin" and what else decides its records.

    Raises
    ------
    ValueError
        If it is missing or damaged.
    """
    missing = f"{folder} holds no experiment: it has no {HEADER}; give a folder of `gatewise experiment run`"
    return read_header(folder / HEADER, {"experiment": str, "quick": bool, "origin": str}, missing)


def open_folder(folder: Path, mine: Mapping[str, Any], resume: bool) -> None:
    """Write the header of an experiment's folder, or check that it holds this one; the origin may move.

    Raises
    ------
    ValueError
        If there are records and `resume` is False, or the header differs.
    """
    begun = any(path.exists() and path.stat().st_size for path in (folder / RECORDS, folder / TIMES))
    if not begun and not (folder / HEADER).exists():
        if (folder / "index.html").exists():
            raise ValueError(f"{folder} holds another page, index.html: give another folder with --out")
    elif begun:
        held = header(folder)
        if not resume:
            raise ValueError(f"{folder} has records: continue with --resume, or give another folder with --out")
        same = {name: held.get(name) == mine[name] for name in mine}
        same["origin"] = bool(held["origin"]) == bool(mine["origin"])  # the file may have moved
        if different := [_told(name, held.get(name), mine[name]) for name in mine if not same[name]]:
            raise ValueError(
                f"{folder} holds {held['experiment']!r} of {held['origin'] or 'gatewise itself'} with other settings: "
                f"{', '.join(different)}. These cannot be combined: give another folder with --out"
            )
    write_text(plain_file(folder / HEADER), json.dumps(dict(mine), indent=1))


def _told(name: str, was: Any, now: Any) -> str:
    there, here = ("none" if value in (None, "") else value for value in (was, now))
    return f"{name} ({there} there, {here} here)"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make a folder, and keep other processes from running into it.

    Raises
    ------
    ValueError
        If one does, or a file stands in its place.
    """
    make_folder(folder)
    with plain_file(folder / RECORDS).open("ab") as file:
        lock(file, folder / RECORDS)
        yield


def read(folder: Path) -> tuple[list[Record], list[str]]:
    """Read the records of a folder.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    (list of Record, list of str)
        The records in the order of their keys, and sentences about lines that could not be used.
    """
    found: dict[str, Record] = {}
    faults = []
    for number, line in enumerate(_lines(folder / RECORDS), 1):
        if not line.strip():
            continue
        try:
            record = Record(**json.loads(line))
        except (ValueError, TypeError, RecursionError) as fault:
            faults.append(f"{RECORDS}, line {number}: not used ({fault})")
            continue
        if not _sound(record):
            faults.append(f"{RECORDS}, line {number}: not used (it is no record)")
            continue
        found[record.key] = record
    return [found[key] for key in sorted(found)], faults


def _sound(record: Record) -> bool:
    texts = isinstance(record.variant, str) and isinstance(record.gate, str) and isinstance(record.key, str)
    numbers = isinstance(record.seed, int) and isinstance(record.rate, float | int) and isinstance(record.tuning, bool)
    return texts and numbers and isinstance(record.outcome, dict)


def _lines(path: Path) -> list[str]:
    return plain_file(path).read_bytes().decode("utf-8", errors="replace").splitlines() if path.exists() else []


def append(folder: Path, record: Record, seconds: float) -> None:
    """Add a record and the processor time of its job, and wait until they are on the disk."""
    _add(folder / RECORDS, record._asdict())
    _add(folder / TIMES, {"key": record.key, "seconds": seconds})


def _add(path: Path, values: dict[str, Any]) -> None:
    """Add a line; a torn last one of a killed run is ended first."""
    line = json.dumps(values, sort_keys=True) + "\n"
    with plain_file(path).open("ab+") as file:
        file.seek(0, os.SEEK_END)
        if file.tell():
            file.seek(-1, os.SEEK_END)
            line = line if file.read(1) == b"\n" else "\n" + line
        append_lines(file, line)


def seconds(folder: Path) -> float:
    """Return the processor time of all jobs whose time can be read; of a job that was run twice, both."""
    total = 0.0
    for line in _lines(folder / TIMES):
        try:
            total += float(json.loads(line)["seconds"])
        except (ValueError, TypeError, KeyError, RecursionError):
            continue
    return total


def lines(folder: Path) -> Iterator[str]:
    """Return the stored lines, sorted: equal for equal runs whatever their order."""
    yield from sorted(_lines(folder / RECORDS))
