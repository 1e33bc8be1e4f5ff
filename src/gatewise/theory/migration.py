"""Records of an earlier version of a study, carried on by functions that the study declares."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gatewise.files import write_text
from gatewise.runs.records import line_of, read_lines
from gatewise.theory.fingerprint import without_losses
from gatewise.theory.study import Study


def migrated(folder: Path, held: Mapping[str, Any], mine: Mapping[str, Any], study: Study) -> dict[str, Any]:
    """Carry the records of a folder to the version that a study declares, and return the folder's new header.

    The files as they were are kept in ``schema-<version>`` within the folder. An interruption loses nothing: the next
    call begins again from these.

    Parameters
    ----------
    folder : Path
    held, mine : mapping
        The folder's header, and what it would be for the study.
    study : Study

    Returns
    -------
    dict
        The header, as it now stands in ``study.json``.

    Raises
    ------
    ValueError
        If the study knows no way from the folder's version to its own, the fits were others, or a function returns
        something that is not a record of the same fit.
    """
    old = int(held.get("schema", 1))
    missing = [step for step in range(old, study.schema) if step not in study.migrations]
    if old > study.schema or missing:
        steps = f"give migrations={{{missing[0]}: function}}" if missing else "use the study that made them"
        raise ValueError(
            f"{folder} holds records of version {old}, the study {study.name!r} declares schema={study.schema} and "
            f"does not know how to get there: {steps}, or give another folder"
        )
    if changed := _other_fits(held, mine):
        raise ValueError(
            f"{folder} holds records of version {old} of {held['study']!r} that cannot be carried on to version "
            f"{study.schema}: not only their losses changed, but also {', '.join(changed)}. Give another folder"
        )
    kept = _kept(folder, old)
    for path in sorted(kept.glob("records*.jsonl")):
        lines = [line.record for line in read_lines(path) if not line.fault]
        write_text(folder / path.name, "".join(line_of(_carried(record, old, study)) for record in lines))
    header = {**mine, **{name: held[name] for name in ("claims", "replicates", "origin")}}
    write_text(folder / "study.json", json.dumps(header, indent=1))
    return header


def _other_fits(held: Mapping[str, Any], mine: Mapping[str, Any]) -> list[str]:
    """Return what decides the fits, beside the losses measured on them, and differs."""
    plain = json.loads(json.dumps(mine))
    old, new = ({name: without_losses(arm) for name, arm in one["arms"].items()} for one in (held, plain))
    changed = [f"arm {name!r}" for name in {**old, **new} if old.get(name) != new.get(name)]
    return changed + [name for name in ("study", "seed", "record", "engine") if held.get(name) != plain[name]]


def _kept(folder: Path, version: int) -> Path:
    """Return the folder that holds the files as they were, made whole before it has its name."""
    kept, scratch = folder / f"schema-{version}", folder / f".schema-{version}"
    if not kept.exists():
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        for path in (*folder.glob("records*.jsonl"), *folder.glob("log*.jsonl"), folder / "study.json"):
            shutil.copy2(path, scratch / path.name)
        scratch.rename(kept)
    return kept


def _carried(record: dict[str, Any], version: int, study: Study) -> dict[str, Any]:
    """Return a record at the version of a study."""
    after = dict(record)
    for step in range(version, study.schema):
        after = study.migrations[step](dict(after))
        if not isinstance(after, dict) or after.get("key") != record["key"]:
            raise ValueError(
                f"migrations[{step}] of {study.name!r} gives {after!r:.80} for the record {record['key']}: return the "
                "record, with its key as it is"
            )
    return after
