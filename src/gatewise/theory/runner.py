"""Runs a study: blocks of fits over processes or a cluster, appended to a folder, resumed where they are missing."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gatewise.fit.arguments import workers as workers_of
from gatewise.fit.many import in_blocks
from gatewise.runs.user_file import from_file
from gatewise.runs.workers import spread
from gatewise.theory.arms import Arm, Level
from gatewise.theory.checks import check
from gatewise.theory.fingerprint import fingerprint
from gatewise.theory.records import FitBatch, plan_of, work
from gatewise.theory.store import Contents, Record, open_folder, read, writing
from gatewise.theory.study import Study

if TYPE_CHECKING:
    from distributed import Client

SIZES = (20, 10, 5, 4, 2, 1)  # replicates of a block: the same however many replicates there are in all
FIXED = 3000  # rows that the fixed cost of a fit is worth

Progress = Callable[[float, float], None]


class _Ended(NamedTuple):
    """A block that has been fitted, and the CPU seconds it took."""

    block: FitBatch
    records: list[Record]
    cpu: float


def blocks(study: Study) -> list[FitBatch]:
    """Return the blocks of a study, the dearest first; they depend on nothing but the study."""
    found = []
    for arm in study.arms:
        for level in arm.levels():
            size = _size(study, arm, level)
            starts = range(0, arm.replicates, size)
            found += [FitBatch(arm.name, level, tuple(range(i, i + size))) for i in starts]
    return sorted(found, key=lambda block: (-cost(block), block.arm, block.replicates))


def _size(study: Study, arm: Arm, level: Level) -> int:
    fitting = len(in_blocks(plan_of(study, arm, level), level.rows, range(SIZES[0]))[0])
    return next(size for size in SIZES if size <= fitting and arm.replicates % size == 0)


def cost(block: FitBatch) -> float:
    """Return what a block costs, in rows; progress and time left are counted in it."""
    return float(len(block.replicates) * (block.level.rows + FIXED))


def run_study(
    study: Study,
    folder: str | Path,
    *,
    workers: int | Client = 1,
    shard: tuple[int, int] = (1, 1),
    resume: bool = False,
    progress: Progress | None = None,
    origin: Mapping[str, str] | None = None,
) -> Contents:
    """Run the missing fits of a study, and return all records of its folder.

    Fits run in blocks, and each block is written atomically when it finishes. An interruption loses only the blocks
    that are running.

    Parameters
    ----------
    study : Study
    folder : path
        Created if missing.
    workers : int or distributed.Client
        Number of processes, with one thread each, or a client whose workers run the blocks.
    shard : (i, N)
        Run only part i of N, ``1 <= i <= N``; the parts may share the folder.
    resume : bool
        Whether to continue a folder that has records.
    progress : callable (done, total), optional
        In units of `cost`.
    origin : mapping, optional
        Where the study was loaded from; stored in the folder.

    Returns
    -------
    Contents

    Raises
    ------
    ValueError
        If the folder holds another study, has records and `resume` is False, has blocks of another size, or is in use;
        if the shard does not exist; or if `check` finds an error in the study.

    Examples
    --------
    >>> import tempfile
    >>> from dataclasses import replace
    >>> from gatewise.theory import STUDIES, NearTruth, Study, collect, run_study
    >>> arm = replace(STUDIES["softmax-exact"].arms[0], sizes=(100, 200), replicates=2, starts=NearTruth(0.1))
    >>> study = Study("tiny", "Two sizes", "Shows the calls.", (arm,))
    >>> folder = tempfile.mkdtemp()
    >>> _ = run_study(study, folder)
    >>> len(collect(study, folder).frame)
    4
    """
    if not 1 <= shard[0] <= shard[1]:
        raise ValueError(f"shard {shard[0]}/{shard[1]}: give i/N with 1 <= i <= N")
    whose = workers_of("workers", workers)
    check(study)
    folder = Path(folder)
    open_folder(folder, study, resume or shard[1] > 1, origin or {})
    name = "" if shard[1] == 1 else f"-{shard[0]}-of-{shard[1]}"
    mine = fingerprint(study)
    with writing(folder, name) as writer:
        wanted = _missing(blocks(study)[shard[0] - 1 :: shard[1]], read(folder).records)
        total, done = sum(map(cost, wanted)), 0.0
        for block, records, cpu in spread(partial(_timed, study), wanted, whose):
            writer.append(records, {"block": list(block), "cpu": cpu, "study": mine})
            done += cost(block)
            if progress is not None:
                progress(done, total)
    return read(folder)


def _missing(wanted: Sequence[FitBatch], held: dict[Any, Record]) -> list[FitBatch]:
    missing = []
    for block in wanted:
        found = [held.get((block.arm, block.level.axis, r)) for r in block.replicates]
        for record in found:
            if record is not None and record["block"] != len(block.replicates):
                raise ValueError(
                    f"arm {block.arm!r} at n={block.level.axis} was run in blocks of {record['block']}, this study has "
                    f"blocks of {len(block.replicates)}, and other blocks round differently: extend a study to a "
                    f"multiple of {SIZES[0]} replicates from such a multiple, or give another folder"
                )
        if any(record is None for record in found):
            missing.append(block)
    return missing


def _timed(study: Study, block: FitBatch) -> _Ended:
    begin = time.process_time()
    return _Ended(block, work(study, block), time.process_time() - begin)


def load_study(where: str) -> Study:
    r"""Load a study from a Python file. The file is executed.

    The file may import other files from its folder. Classes and functions of all of them are sent to workers by value,
    so the workers need not have the files.

    Parameters
    ----------
    where : str
        ``my_study.py:study``, the path and the name.

    Returns
    -------
    Study

    Raises
    ------
    ValueError
        If the file or the name does not exist, or the value is not a Study.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from gatewise.theory import load_study
    >>> path = Path(tempfile.mkdtemp(), "my_study.py")
    >>> _ = path.write_text("from gatewise.theory import STUDIES\nstudy = STUDIES['softmax-exact']")
    >>> load_study(f"{path}:study").name
    'softmax-exact'
    """
    return from_file(where, Study)
