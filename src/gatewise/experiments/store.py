"""Records of an experiment: one line of JSON per job, appended when it ends, so that a run can go on where it stood.

Processor times stand beside them, in a file of their own: records of equal runs are equal, times are not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from gatewise.files import plain_file, write_text
from gatewise.runs.folders import lock, make_folder, read_header
from gatewise.runs.records import Line, append, read_lines

RECORDS = "records.jsonl"
TIMES = "times.jsonl"
HEADER = "experiment.json"


class Record(NamedTuple):
    """A finished job: its settings (variant, gate, seed, learning rate) and its outcome.

    Attributes
    ----------
    variant, gate : str
    seed : int
    rate : float
        Learning rate.
    tuning : bool
        Whether the job only scored the learning rate.
    key : str
        Name of the job, by which it is found again.
    outcome : dict
        Metrics, and what the figures draw.

    Examples
    --------
    >>> from gatewise.experiments import Record
    >>> Record("only", "ss", 0, 0.001, False, "only-ss-0", {"accuracy": 0.9}).outcome["accuracy"]
    0.9
    """

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

    Raises
    ------
    ValueError
        For two different records of one job: which of them is right cannot be told.

    Examples
    --------
    >>> from gatewise.experiments import Experiment, Metric, read_records, run_experiment
    >>> def run(job):
    ...     score = 0.8 + 0.01 * job.seed + (0.1 if job.gate == "ll" else 0.0)
    ...     return {"accuracy": score, "validation": score, "moved": True}
    >>> words, metrics = ("task", "A made-up task", "Shows the calls."), {"accuracy": Metric("accuracy")}
    >>> task = Experiment(*words, variants=("only",), gates=("ss", "ll"), measures=metrics, run=run)
    >>> import tempfile
    >>> from pathlib import Path
    >>> folder = Path(tempfile.mkdtemp(), "task")
    >>> run_experiment(task, folder, seeds=5)
    >>> records, faults = read_records(folder)
    >>> len(records), faults  # with those that chose the learning rates
    (22, [])
    """
    found: dict[str, Record] = {}
    place: dict[str, int] = {}
    faults = []
    for number, _, values, fault in _values(folder / RECORDS):
        record = _record(values)
        if record is None:
            faults.append(f"{RECORDS}, line {number}: {fault or 'no record of a job'}, not used")
            continue
        if found.get(record.key, record) != record:
            raise ValueError(
                f"{folder / RECORDS} has two different records of the job {record.key!r}, in the lines "
                f"{place[record.key]} and {number}: remove the wrong line, or both and continue with --resume"
            )
        found[record.key], place[record.key] = record, number
    return [found[key] for key in sorted(found)], faults


def _record(values: Any) -> Record | None:
    """Return the record of a job; None where values are none."""
    if not isinstance(values, dict) or set(values) != set(Record._fields):
        return None
    record = Record(**values)
    return record if _sound(record) else None


def _sound(record: Record) -> bool:
    texts = isinstance(record.variant, str) and isinstance(record.gate, str) and isinstance(record.key, str)
    numbers = isinstance(record.seed, int) and isinstance(record.rate, float | int) and isinstance(record.tuning, bool)
    return texts and numbers and isinstance(record.outcome, dict)


def _values(path: Path) -> Iterator[Line]:
    """Yield the lines of a file; those of the first release have no check sum."""
    for line in read_lines(path):
        bare = line.fault == "damaged" and line.text.startswith("{")
        yield line._replace(record=_bare(line.text)) if bare else line


def _bare(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def store(folder: Path, record: Record, seconds: float) -> None:
    """Add a record and the processor time of its job, and wait until they are on the disk."""
    append(folder / RECORDS, [record._asdict()])
    append(folder / TIMES, [{"key": record.key, "seconds": seconds}])


def seconds(folder: Path) -> float:
    """Return the processor time of all jobs whose time can be read; of a job that was run twice, both."""
    times: list[Any] = [line.record.get("seconds") for line in _values(folder / TIMES) if isinstance(line.record, dict)]
    return sum((float(one) for one in times if type(one) in (int, float)), 0.0)


def lines(folder: Path) -> Iterator[str]:
    """Return the stored lines, sorted: equal for equal runs whatever their order."""
    yield from sorted(line.text for line in read_lines(folder / RECORDS))
