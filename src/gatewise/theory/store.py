"""The records of a study on disk: appended, checked line by line, and never used when damaged.

A folder holds `study.json` (what decides the records), `records*.jsonl` (one line per fit, deterministic, one file per
shard) and `log*.jsonl` (times, which are not). A torn last line and damaged lines are left out and named; their fits
are run again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from gatewise.files import append_lines, plain_file, write_text
from gatewise.runs.folders import lock, make_folder, read_header
from gatewise.runs.records import cut, line_of, read_lines
from gatewise.theory.fingerprint import describe, fingerprint
from gatewise.theory.migration import migrated
from gatewise.theory.study import Study

Key = tuple[str, int, int]  # arm, axis of the level, replicate
Record = dict[str, Any]


class Contents(NamedTuple):
    """What a folder holds.

    Attributes
    ----------
    records : dict key -> record
    faults : tuple of str
        Lines that are not used, in words: torn, damaged, or at odds with another record of the same fit.
    """

    records: dict[Key, Record]
    faults: tuple[str, ...]

    def __repr__(self) -> str:
        return f"<Contents: {len(self.records)} records, {len(self.faults)} lines not used>"


def open_folder(folder: Path, study: Study, resume: bool, origin: Mapping[str, str]) -> None:
    """Make the folder of a study, or check that it holds this one; keep the claims as they stood at the first run.

    Raises
    ------
    ValueError
        If there are records and `resume` is False or no header, or the folder is that of a study with another
        fingerprint.
    """
    make_folder(folder)
    path, mine = folder / "study.json", {"fingerprint": fingerprint(study), **describe(study)}
    if not path.exists():
        if any(one.stat().st_size for one in folder.glob("records*.jsonl")):
            raise ValueError(
                f"{folder} has records but no {path.name} to say of which study: put it back, or give another folder"
            )
        claims = [asdict(claim) for claim in study.claims]
        counts = {"claims": claims, "replicates": _counts(study), "origin": dict(origin)}
        write_text(path, json.dumps({**mine, **counts}, indent=1))
        return
    held = header(folder)
    if resume and held.get("schema", 1) != study.schema:
        held = migrated(folder, held, plain(mine), study)
    if held["fingerprint"] != mine["fingerprint"]:
        raise ValueError(
            f"{folder} holds the study {held['study']!r} ({held['fingerprint']}), not this {study.name!r} "
            f"({mine['fingerprint']}); different: {', '.join(differences(held, mine))}. {_remedy(held, mine)}"
        )
    if not resume and any(folder.glob("records*.jsonl")):
        raise ValueError(f"{folder} holds records of this study: resume it, or give another folder")
    if origin and held["origin"] != origin:  # a page that is written again is of what was run last, such as --long
        write_text(path, json.dumps({**held, "origin": dict(origin)}, indent=1))


def differences(held: Mapping[str, Any], mine: Mapping[str, Any]) -> list[str]:
    """Return what two descriptions differ in, in words: the arms by name, the engine by what was and is."""
    words = [k for k in sorted(mine) if k not in ("fingerprint", "arms", "engine", "code") and held.get(k) != mine[k]]
    code, now_code = held.get("code", {}), mine.get("code", {})
    changed = [name for name in sorted({**code, **now_code}) if code.get(name) != now_code.get(name)]
    words += [f"code of your own ({', '.join(changed)})"] if changed else []
    old, new = held["arms"], plain(mine["arms"])
    arms = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    words += [f"arms ({', '.join(arms)})"] if arms else []
    was, now = held["engine"], mine["engine"]
    return words + [f"{k} ({was.get(k)} there, {now[k]} here)" for k in now if was.get(k) != now[k]]


def _remedy(held: Mapping[str, Any], mine: Mapping[str, Any]) -> str:
    """Return what to do about two descriptions that differ."""
    different = differences(held, mine)
    if len(different) == 1 and different[0].startswith("instructions"):
        return (
            "Sums round differently with other instructions: start the study with those that all its machines have, "
            "ATEN_CPU_CAPABILITY=avx2 before every command, or give another folder"
        )
    return "Give another folder"


def require_same(folder: Path, study: Study) -> None:
    """Raise unless the records of a folder were made with the arms of this study, by whatever engine.

    Raises
    ------
    ValueError
        If the seed or an arm that has been run was another one.
    """
    held, mine = header(folder), plain(describe(study))
    same = {name: arm for name, arm in mine["arms"].items() if name in held["arms"]}
    changed = [f"arm {name!r}" for name, arm in same.items() if held["arms"][name] != arm]
    changed += [name for name in ("seed", "record") if held.get(name) != mine[name]]
    changed += ["schema"] if held.get("schema", 1) != study.schema else []
    code = {name: text for name, text in mine.get("code", {}).items() if name in held.get("code", {})}
    changed += [f"the code of {name}" for name, text in code.items() if held["code"][name] != text]
    if changed:
        raise ValueError(
            f"{folder} holds records of another study than this {study.name!r}: {', '.join(changed)} changed after "
            "the run. Judge it with the study that was run, run this one into another folder, or, if its losses alone "
            "changed, raise its schema and declare migrations"
        )


def plain(values: dict[str, Any]) -> dict[str, Any]:
    """Return values as JSON gives them back."""
    return dict(json.loads(json.dumps(values)))


HEADER = {"fingerprint": str, "study": str, "arms": dict, "engine": dict, "claims": list, "replicates": dict}
HEADER |= {"origin": dict}


def header(folder: Path) -> dict[str, Any]:
    """Return what `study.json` holds.

    Raises
    ------
    ValueError
        If it is missing or damaged.
    """
    path = folder / "study.json"
    held = read_header(path, HEADER, f"{folder} is no folder of a study: it has no study.json")
    if not all(isinstance(claim, dict) and {"arm", "series"} <= set(claim) for claim in held["claims"]):
        raise ValueError(f"{path} is damaged: its claims have no arm and series; run the study into another folder")
    if not {"gatewise", "torch"} <= set(held["engine"]):
        raise ValueError(f"{path} is damaged: its engine has no versions; run the study into another folder")
    return held


def _counts(study: Study) -> dict[str, Any]:
    return {arm.name: [arm.replicates, [level.axis for level in arm.levels()]] for arm in study.arms}


def declared(folder: Path, study: Study) -> tuple[str, ...]:
    """Return, in words, what was changed since the first run that may not change unseen: claims, sizes, replicates."""
    held = header(folder)
    old, new = ([_bare(claim) for claim in claims] for claims in (held["claims"], map(asdict, study.claims)))
    odd = [claim for claim in (*old, *new) if claim not in old or claim not in new]
    about = list(dict.fromkeys(f"{claim['arm']}, {claim['series']}" for claim in odd))
    words = [f"the claims were changed after the first run: {_few(about)}"] if odd else []
    counts, were = plain(_counts(study)), held["replicates"]
    if names := [name for name in {**were, **counts} if were.get(name) != counts.get(name)]:
        words.append(f"sizes or replicates were changed after the first run: {_few(names)}")
    return tuple(words)


def _bare(claim: Mapping[str, Any]) -> dict[str, Any]:
    """Return a claim without what it leaves empty: a folder may be older than a field."""
    return {name: value for name, value in claim.items() if value != ""}


def _few(names: Sequence[str], most: int = 3) -> str:
    """Return names, the first few of many."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return "; ".join(names[:most]) + more


class Writer:
    """Appends the records and times of blocks to the files of one shard, each call in one write."""

    def __init__(self, records: Any, log: Any) -> None:
        self._records, self._log = records, log

    def append(self, records: Sequence[Record], *times: Record) -> None:
        """Write records with the times of their blocks, and wait until they are on disk."""
        append_lines(self._records, "".join(map(line_of, records)))
        append_lines(self._log, "".join(json.dumps(one) + "\n" for one in times))


@contextmanager
def writing(folder: Path, shard: str) -> Iterator[Writer]:
    """Open the files of one shard ("" or such as "-1-of-4") for appending; a torn last line is cut off first.

    Raises
    ------
    ValueError
        If another process writes to the same files.
    OSError
        If the disk is full.
    """
    path, log_path = (plain_file(folder / f"{name}{shard}.jsonl") for name in ("records", "log"))
    with path.open("ab") as records, log_path.open("ab") as log:
        lock(records, path)
        cut(path)
        cut(log_path)
        yield Writer(records, log)


def read(folder: Path) -> Contents:
    """Read all records of a folder; what is torn or damaged is named and not used."""
    records: dict[Key, Record] = {}
    faults: list[str] = []
    for path in sorted(folder.glob("records*.jsonl")):
        for number, _, record, fault in read_lines(path):
            fault = fault or ("" if _sound(record) else "no record of a fit")
            if fault:
                faults.append(f"{path.name}, line {number}: {fault}, not used")
                continue
            key = tuple(record["key"])
            if key in records and records[key] != record:
                faults.append(f"{path.name}, line {number}: differs from an earlier record of {key}, which is used")
                continue
            records[key] = record
    return Contents(records, tuple(faults))


def _sound(record: Any) -> bool:
    """Return whether a line holds what is used of the record of a fit, in the right types."""
    if not isinstance(record, dict) or not isinstance(record.get("key"), list) or len(record["key"]) != 3:
        return False
    arm, *place = record["key"]
    series, active = record.get("series"), record.get("active")
    numbers = series.values() if isinstance(series, dict) else ["none"]
    return (
        isinstance(arm, str)
        and all(type(number) is int for number in (*place, record.get("block")))
        and all(type(value) in (int, float, type(None)) for value in numbers)
        and isinstance(active, list)
        and isinstance(record.get("certified"), bool)
        and isinstance(record.get("status"), str)
    )


def seconds(folder: Path) -> float:
    """Return the CPU seconds that the blocks of a folder took, as far as its logs can be read."""
    return sum(float(times["cpu"]) for _, times in logged(folder))


def unknown_records(folder: Path) -> tuple[str, ...]:
    """Return, in words, the logs that another study wrote: files of several folders may have been put into one."""
    mine = header(folder)["fingerprint"]
    names = {path.name for path, times in logged(folder) if times.get("study", mine) != mine}
    return tuple(
        f"{name} was written by another study, or by other versions or instructions, than study.json says: the records "
        "beside it may not belong here"
        for name in sorted(names)
    )


def logged(folder: Path) -> Iterator[tuple[Path, Record]]:
    """Yield the times of the blocks of a folder, with the file that each stands in."""
    for path in map(plain_file, folder.glob("log*.jsonl")):
        for line in path.read_text("utf-8", errors="replace").splitlines():
            try:
                times = json.loads(line)
                float(times["cpu"])
            except (ValueError, TypeError, KeyError, RecursionError):  # torn or damaged: it holds no records
                continue
            yield path, times


def lines_of(folder: Path) -> list[str]:
    """Return the records of a folder as sorted lines, to compare two stores with."""
    found = read(folder).records
    return [line_of(found[key]) for key in sorted(found)]
