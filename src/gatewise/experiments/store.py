"""Records of an experiment: one line of JSON per job, appended when it ends, so that a run can go on where it stood."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

RECORDS = "records.jsonl"
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


def append(folder: Path, record: Record) -> None:
    """Add a record and wait until it is on the disk; a torn last line of a killed run is ended first."""
    path = folder / RECORDS
    line = json.dumps(record._asdict(), sort_keys=True) + "\n"
    with open(path, "ab+") as file:
        file.seek(0, os.SEEK_END)
        if file.tell():
            file.seek(-1, os.SEEK_END)
            line = line if file.read(1) == b"\n" else "\n" + line
        file.write(line.encode())
        file.flush()
        os.fsync(file.fileno())


def lines(folder: Path) -> Iterator[str]:
    """Return the stored lines, sorted: equal for equal runs whatever their order."""
    yield from sorted((folder / RECORDS).read_text("utf-8").splitlines())
