"""A sample of a study's fits, run again and compared with its records bit by bit."""

from __future__ import annotations

from itertools import groupby
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import NamedTuple

from gatewise.theory.records import FitBatch, work
from gatewise.theory.runner import blocks, cost
from gatewise.theory.store import Record, plain, read, require_same
from gatewise.theory.study import Study

LATER = ("flat",)  # what records of older versions do not hold


class Replay(NamedTuple):
    """What came out of fits that were run again.

    Attributes
    ----------
    fits : int
        How many were run again.
    differing : tuple of (arm, axis, replicate)
        Those whose records are not the same to the last bit, what older records do not hold aside.

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
    return Replay(len(again), tuple(key for key, record in again.items() if _known(record, held[key]) != held[key]))


def _known(record: Record, held: Record) -> Record:
    """Return a record without what the one that is held is too old for."""
    return {name: value for name, value in plain(record).items() if name in held or name not in LATER}


def _keys(block: FitBatch) -> list[tuple[str, int, int]]:
    return [(block.arm, block.level.axis, replicate) for replicate in block.replicates]
