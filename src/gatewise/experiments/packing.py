"""Finished experiments in one compressed file, with check sums, and back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gatewise.experiments.store import HEADER, RECORDS, TIMES, header, read, seconds
from gatewise.runs.archive import Kind, write_archive, write_folders

KIND = Kind("experiment", "gatewise experiment pack", (HEADER, RECORDS, TIMES))


def pack_experiments(folders: Sequence[str | Path], path: str | Path) -> dict[str, Any]:
    """Write the records of experiments and their times to one ``.tar.xz``, and return its index.

    The index holds, for each folder: what its header says, number of runs, processor seconds, and the SHA-256 of
    every file. Equal folders give equal files.

    Parameters
    ----------
    folders : sequence of path
        Folders of experiments, with different names.
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
    >>> from gatewise.experiments import Experiment, Metric, pack_experiments, run_experiment, unpack_experiments
    >>> def run(job):
    ...     score = 0.8 + 0.01 * job.seed + (0.1 if job.gate == "ll" else 0.0)
    ...     return {"accuracy": score, "validation": score, "moved": True}
    >>> words, metrics = ("task", "A made-up task", "Shows the calls."), {"accuracy": Metric("accuracy")}
    >>> task = Experiment(*words, variants=("only",), gates=("ss", "ll"), measures=metrics, run=run)
    >>> import tempfile
    >>> from pathlib import Path
    >>> home = Path(tempfile.mkdtemp())
    >>> run_experiment(task, home / "task", seeds=5)
    >>> pack_experiments([home / "task"], home / "all.tar.xz")["folders"]["task"]["runs"]
    22
    >>> [folder.name for folder in unpack_experiments(home / "all.tar.xz", home / "again")]
    ['task']
    """
    return write_archive(KIND, folders, _about, path)


def _about(folder: Path) -> dict[str, Any]:
    held, (records, _) = header(folder), read(folder)
    if not records:
        raise ValueError(f"{folder} has no records of an experiment: run it first, or give another folder")
    return {**held, "runs": len(records), "cpu": seconds(folder)}


def unpack_experiments(path: str | Path, into: str | Path) -> list[Path]:
    """Write the folders of a packed file below a folder, and return them.

    Every file is compared with its check sum before anything is written; what the index does not name is left out.

    Parameters
    ----------
    path : path
    into : path
        Made when missing. Folders of experiments that are there already are refused.

    Returns
    -------
    list of Path

    Raises
    ------
    ValueError
        If the file is not one of `pack_experiments`, is damaged, or a folder is there already.
    OSError
        If it cannot be read, or a folder cannot be written.

    Examples
    --------
    See `pack_experiments`.
    """
    return write_folders(KIND, path, into)
