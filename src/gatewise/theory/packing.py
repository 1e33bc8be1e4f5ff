"""Finished studies in one compressed file, with check sums, and back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gatewise.runs.archive import Kind, write_archive, write_folders
from gatewise.theory.probes import FILE as PROBES
from gatewise.theory.store import header, read, seconds

KIND = Kind("study", "gatewise study pack", ("study.json", "records*.jsonl", "log*.jsonl", PROBES))


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
    >>> pack([home / "tiny"], home / "all.tar.xz")["folders"]["tiny"]["fits"]
    4
    >>> [folder.name for folder in unpack(home / "all.tar.xz", home / "again")]
    ['tiny']
    """
    return write_archive(KIND, folders, _about, path)


def _about(folder: Path) -> dict[str, Any]:
    records = read(folder).records
    if not records:
        raise ValueError(f"{folder} has no records of a study: run the study first, or give another folder")
    held = header(folder)
    told = {name: held[name] for name in ("study", "fingerprint", "engine", "origin")}
    return {**told, "seed": held.get("seed"), "fits": len(records), "cpu": seconds(folder)}


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
    return write_folders(KIND, path, into)
