"""Records of an experiment: one line of JSON per job, appended when it ends, so that a run can go on where it stood.

Processor times stand beside them, in a file of their own: records of equal runs are equal, times are not.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

RECORDS = "records.jsonl"
TIMES = "times.jsonl"
HEADER = "experiment.json"


class Record(NamedTuple):
    """A finished job: its fields and what came out."""

    variant: str
    gate: str
    seed: int
    rate: float
    tuning: bool
    key: str
    outcome: dict[str, Any]


def read(folder: Path) -> tuple[list[Record], list[str]]:
    """Return the records of a folder in the order of their keys, and words about lines that are not used."""
    found: dict[str, Record] = {}
    faults = []
    path = folder / RECORDS
    for number, line in enumerate(path.read_text("utf-8").splitlines() if path.exists() else [], 1):
        try:
            record = Record(**json.loads(line))
        except (ValueError, TypeError) as fault:
            faults.append(f"{RECORDS}, line {number}: not used ({fault})")
            continue
        found[record.key] = record
    return [found[key] for key in sorted(found)], faults


def append(folder: Path, record: Record, seconds: float) -> None:
    """Add a record and the processor time of its job, and wait until they are on the disk."""
    _add(folder / RECORDS, record._asdict())
    _add(folder / TIMES, {"key": record.key, "seconds": seconds})


def _add(path: Path, values: dict[str, Any]) -> None:
    """Add a line; a torn last one of a killed run is ended first."""
    line = json.dumps(values, sort_keys=True) + "\n"
    with open(path, "ab+") as file:
        file.seek(0, os.SEEK_END)
        if file.tell():
            file.seek(-1, os.SEEK_END)
            line = line if file.read(1) == b"\n" else "\n" + line
        file.write(line.encode())
        file.flush()
        os.fsync(file.fileno())


def seconds(folder: Path) -> float:
    """Return the processor time of all jobs whose time can be read; of a job that was run twice, both."""
    path, total = folder / TIMES, 0.0
    for line in path.read_text("utf-8").splitlines() if path.exists() else []:
        try:
            total += float(json.loads(line)["seconds"])
        except (ValueError, TypeError, KeyError):
            continue
    return total


def lines(folder: Path) -> Iterator[str]:
    """Return the stored lines, sorted: equal for equal runs whatever their order."""
    yield from sorted((folder / RECORDS).read_text("utf-8").splitlines())
