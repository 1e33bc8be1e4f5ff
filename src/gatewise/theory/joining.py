"""Records of one study that were made in several folders, such as those of several machines, put into one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gatewise.runs.folders import make_folder
from gatewise.theory.store import Contents, Key, Record, differences, header, logged, read, writing

SHARD = "-joined"


def join_folders(folders: Sequence[Path], into: Path) -> Contents:
    """Put the records of several folders of one study into one folder, which may hold some of them already.

    The folders stay as they are. A fit that several folders hold is taken once. Claims, sizes and replicates are those
    of `into`, or of the first folder if `into` is new.

    Parameters
    ----------
    folders : sequence of Path
    into : Path
        Made when missing.

    Returns
    -------
    Contents
        Of the joined folder; its faults are also those of the lines that were left behind.

    Raises
    ------
    ValueError
        If there are no folders, `into` is one of them, the studies differ, two folders hold different records of one
        fit, or another process writes to `into`.
    OSError
        If a folder cannot be read or written.

    Examples
    --------
    >>> import tempfile
    >>> from dataclasses import replace
    >>> from gatewise.theory import STUDIES, NearTruth, Study, join_folders, run_study
    >>> arm = replace(STUDIES["softmax-exact"].arms[0], sizes=(100, 200), replicates=2, starts=NearTruth(0.1))
    >>> study = Study("tiny", "Two sizes", "Shows the calls.", (arm,))
    >>> folder = tempfile.mkdtemp()
    >>> _ = run_study(study, folder)
    >>> from pathlib import Path
    >>> joined = join_folders([Path(folder)], Path(tempfile.mkdtemp()))
    >>> len(joined.records)
    4
    """
    sources, into = [Path(folder) for folder in folders], Path(into)
    if not sources:
        raise ValueError("no folders to join: give at least one")
    if into.resolve() in [folder.resolve() for folder in sources]:
        raise ValueError(f"{into} is one of the folders to join: give another folder to join them into")
    first = into if (into / "study.json").exists() else sources[0]
    for folder in sources:
        _require_one_study(first, folder)
    parts = {folder: read(folder) for folder in sources}
    held = read(into).records
    new = _new_records(held, into, {folder: part.records for folder, part in parts.items()})
    make_folder(into)
    if first is not into:
        shutil.copyfile(first / "study.json", into / "study.json")
    with writing(into, SHARD) as writer:
        writer.append([new[key] for key in sorted(new)], *_new_times(into, sources))
    left = tuple(f"{folder}: {fault}" for folder, part in parts.items() for fault in part.faults)
    return Contents({**held, **new}, left)


def _require_one_study(first: Path, other: Path) -> None:
    mine, its = header(first), header(other)
    if mine["fingerprint"] != its["fingerprint"]:
        words = ", ".join(differences(its, mine)) or "the fingerprint"
        raise ValueError(
            f"{other} holds the study {its['study']!r} ({its['fingerprint']}), {first} the study {mine['study']!r} "
            f"({mine['fingerprint']}); different: {words}. Join folders of one study that was run by one version"
        )


def _new_records(
    held: Mapping[Key, Record], into: Path, parts: Mapping[Path, Mapping[Key, Record]]
) -> dict[Key, Record]:
    """Return the records of folders that are not held yet."""
    known, owner = dict(held), dict.fromkeys(held, into)
    for folder, records in parts.items():
        for key, record in records.items():
            if known.setdefault(key, record) != record:
                raise ValueError(
                    f"{owner[key]} and {folder} hold different records of the fit {key}: run the study anew in the "
                    "folder that is wrong, with --resume after taking its records away, and join again"
                )
            owner.setdefault(key, folder)
    return {key: record for key, record in known.items() if key not in held}


def _new_times(into: Path, sources: Sequence[Path]) -> list[dict[str, Any]]:
    """Return the times of blocks that are not held yet."""
    known = {json.dumps(times.get("block")) for _, times in logged(into)}
    new = {json.dumps(times.get("block")): times for folder in sources for _, times in logged(folder)}
    return [times for block, times in new.items() if block not in known]
