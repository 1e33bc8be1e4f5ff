"""Finished studies in one compressed file, with check sums, and back; and a sample of their fits run again."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from importlib.metadata import version
from itertools import groupby
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from gatewise.files import atomic_write, plain_file, require_there
from gatewise.runs.folders import make_folder
from gatewise.theory.probes import FILE as PROBES
from gatewise.theory.records import FitBatch, work
from gatewise.theory.runner import blocks, cost
from gatewise.theory.store import header, plain, read, require_same, seconds
from gatewise.theory.study import Study

INDEX, FORM = "index.json", 1
PARTS = ("study.json", "records*.jsonl", "log*.jsonl", PROBES)
LARGEST = 2 * 2**30  # bytes of a file that is unpacked


def pack(folders: Sequence[str | Path], path: str | Path) -> dict[str, Any]:
    """Write the records of studies, their times and population exponents to one ``.tar.xz``, and return its index.

    The index holds, for each folder: study, seed, fingerprint, versions, number of fits, processor
    seconds, and the SHA-256 of every file. Equal folders give equal files.

    Parameters
    ----------
    folders : sequence of path
        Folders of studies, with different names.
    path : path
        Of the file; it is written whole or not at all.

    Returns
    -------
    dict
        The index.

    Raises
    ------
    ValueError
        Without folders, if two have one name, or if a folder holds no records.
    OSError
        If a file cannot be read or written.

    Examples
    --------
    >>> import tempfile
    >>> from dataclasses import replace
    >>> from pathlib import Path
    >>> from gatewise.theory import STUDIES, NearTruth, Study, pack, run_study, unpack
    >>> arm = replace(STUDIES["softmax-exact"].arms[0], sizes=(100, 200), replicates=2, starts=NearTruth(0.1))
    >>> home = Path(tempfile.mkdtemp())
    >>> _ = run_study(Study("tiny", "Two sizes", "Shows the calls.", (arm,)), home / "tiny")
    >>> pack([home / "tiny"], home / "all.tar.xz")["studies"]["tiny"]["fits"]
    4
    >>> [folder.name for folder in unpack(home / "all.tar.xz", home / "again")]
    ['tiny']
    """
    places = {Path(folder).resolve().name: Path(folder) for folder in folders}
    if len(places) < len(folders) or not folders:
        raise ValueError(f"{len(folders)} folders with {len(places)} names: give folders of different names")
    contents = {name: _parts(place) for name, place in sorted(places.items())}
    index = {
        "form": FORM,
        "gatewise": version("gatewise"),
        "studies": {name: _about(places[name], parts) for name, parts in contents.items()},
    }
    with atomic_write(plain_file(Path(path))) as scratch, tarfile.open(scratch, "w:xz", preset=6) as archive:
        _add(archive, INDEX, json.dumps(index, indent=1, sort_keys=True).encode())
        for name, parts in contents.items():
            for part, data in parts.items():
                _add(archive, f"{name}/{part}", data)
    return index


def _parts(folder: Path) -> dict[str, bytes]:
    """Return the files of a study's folder by name."""
    if not read(folder).records:
        raise ValueError(f"{folder} has no records of a study: run the study first, or give another folder")
    found = sorted({path for pattern in PARTS for path in folder.glob(pattern)})
    return {path.name: plain_file(path).read_bytes() for path in found}


def _about(folder: Path, parts: dict[str, bytes]) -> dict[str, Any]:
    held = header(folder)
    return {
        **{name: held[name] for name in ("study", "fingerprint", "engine", "origin")},
        "seed": held.get("seed"),
        "fits": len(read(folder).records),
        "cpu": seconds(folder),
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in parts.items()},
    }


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    """Add a file without owner or time, so that equal contents give equal archives."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), 0o644
    archive.addfile(entry, io.BytesIO(data))


def unpack(path: str | Path, into: str | Path) -> list[Path]:
    """Write the folders of a packed file below a folder, and return them.

    Every file is compared with its check sum before anything is written; what the index does not name is left out.

    Parameters
    ----------
    path : path
    into : path
        Made when missing. Folders of studies that are there already are refused.

    Returns
    -------
    list of Path

    Raises
    ------
    ValueError
        If the file is not one of `pack`, is damaged, or a folder is there already.
    OSError
        If it cannot be read, or a folder cannot be written.

    Examples
    --------
    See `pack`.
    """
    home = Path(into)
    require_there(Path(path))
    contents = _read(Path(path))
    for name in contents:
        if (home / name).exists():
            raise ValueError(f"{home / name} is there already: move it away, or give another folder")
    for name, parts in contents.items():
        make_folder(home / name)
        for part, data in parts.items():
            with atomic_write(home / name / part) as scratch:
                scratch.write_bytes(data)
    return [home / name for name in contents]


def _read(path: Path) -> dict[str, dict[str, bytes]]:
    """Return the files of a packed file, by folder and name, each with the check sum that the index has."""
    try:
        with tarfile.open(path, "r:xz") as archive:
            index = json.loads(_member(archive, INDEX))
            listed = {name: dict(about["sha256"]) for name, about in index["studies"].items()}
            form = index["form"]
            known = {name: {part: _member(archive, f"{name}/{part}") for part in sums} for name, sums in listed.items()}
    except (tarfile.TarError, EOFError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path} is damaged or was not written by gatewise study pack ({error})") from None
    if form != FORM:
        raise ValueError(f"{path} has the form {form}, this version reads {FORM}: use the gatewise that wrote it")
    for name, sums in listed.items():
        plain = Path(name).name == name and name not in ("", ".", "..")
        if not plain or any(not _named(part) for part in sums):
            raise ValueError(f"{path} names files outside the folders of its studies: it is not used")
        wrong = [part for part, total in sums.items() if hashlib.sha256(known[name][part]).hexdigest() != total]
        if wrong:
            raise ValueError(f"{path} is damaged: {name}/{wrong[0]} has another check sum than the index says")
    return known


def _named(part: str) -> bool:
    """Return whether a name is that of a file of a study's folder."""
    return Path(part).name == part and any(Path(part).match(pattern) for pattern in PARTS)


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    entry = archive.getmember(name)
    file = archive.extractfile(entry)
    if file is None or entry.size > LARGEST:
        raise ValueError(f"{name} is no file, or larger than {LARGEST} bytes")
    return file.read()


class Replay(NamedTuple):
    """What came out of fits that were run again.

    Attributes
    ----------
    fits : int
        How many were run again.
    differing : tuple of (arm, axis, replicate)
        Those whose records are not the same to the last bit.

    Examples
    --------
    >>> Replay(20, ()).differing
    ()
    """

    fits: int
    differing: tuple[tuple[str, int, int], ...]


def replay(study: Study, folder: str | Path, count: int = 1) -> Replay:
    """Run some blocks of a finished study again, the cheapest of every curve first, and compare with its records.

    Parameters
    ----------
    study : Study
        The one whose records the folder holds.
    folder : path
    count : int
        Number of blocks; other blocks would round differently, so that a block is run whole.

    Returns
    -------
    Replay

    Raises
    ------
    ValueError
        If the folder holds another study, or no whole block.

    Examples
    --------
    >>> import tempfile
    >>> from dataclasses import replace
    >>> from gatewise.theory import STUDIES, NearTruth, Study, replay, run_study
    >>> arm = replace(STUDIES["softmax-exact"].arms[0], sizes=(100, 200), replicates=2, starts=NearTruth(0.1))
    >>> study = Study("tiny", "Two sizes", "Shows the calls.", (arm,))
    >>> folder = tempfile.mkdtemp()
    >>> _ = run_study(study, folder)
    >>> replay(study, folder)
    Replay(fits=2, differing=())
    """
    require_same(Path(folder), study)
    held = read(Path(folder)).records
    whole = [block for block in blocks(study) if all(key in held for key in _keys(block))]
    if not whole or count < 1:
        raise ValueError(f"{folder} has {len(whole)} whole blocks, and {count} are to be run again: give one or more")
    by_curve = groupby(sorted(whole, key=lambda block: (block.arm, cost(block))), key=attrgetter("arm"))
    ranked = [(place, cost(block), block) for _, mine in by_curve for place, block in enumerate(mine)]
    chosen = [block for *_, block in sorted(ranked, key=itemgetter(0, 1))[:count]]
    again = {tuple(record["key"]): record for block in chosen for record in work(study, block)}
    return Replay(len(again), tuple(key for key, record in again.items() if plain(record) != held[key]))


def _keys(block: FitBatch) -> list[tuple[str, int, int]]:
    return [(block.arm, block.level.axis, replicate) for replicate in block.replicates]
