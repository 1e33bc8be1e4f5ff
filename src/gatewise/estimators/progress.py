"""Where a fit stands, while it runs: a bar on a terminal or in a notebook, lines of the log elsewhere."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from gatewise.estimators.declarations import Verbose

Progress = Callable[[str, int, int], Any]
FORMAT = "{desc}{n_fmt} of {total_fmt} {unit} |{bar}| {elapsed}"
logger = logging.getLogger("gatewise")


@contextmanager
def following(verbose: Verbose, unit: str = "starts") -> Iterator[Progress | None]:
    """Give what a fit reports to while the block runs: (stage, units ended, units).

    Parameters
    ----------
    verbose : bool, int or callable
        A callable is reported to itself. Otherwise true means a bar that vanishes at the end, and one message of the
        logger ``gatewise`` (level INFO) for every stage; where the error stream is neither a terminal nor a notebook's
        there is no bar.
    unit : str
        What is counted.
    """
    if callable(verbose) or not verbose:
        yield verbose if callable(verbose) else None
        return
    with _bar(unit) as bar:
        yield _Follower(bar, unit)


def _bar(unit: str) -> Any:
    """Return a bar of tqdm: a widget in a notebook with ipywidgets, else a line of the error stream."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "IProgress not found")  # the line does without ipywidgets
        from tqdm.auto import tqdm
    return tqdm(leave=False, disable=not _shown(), dynamic_ncols=True, bar_format=FORMAT, unit=unit)


def _shown() -> bool:
    """Return whether somebody looks: the error stream is a terminal, or that of a notebook's kernel."""
    return sys.stderr.isatty() or type(sys.stderr).__module__.startswith("ipykernel")


class _Follower:
    """Moves a bar, and logs every stage once."""

    def __init__(self, bar: Any, unit: str) -> None:
        self.bar, self.unit, self.stage = bar, unit, ""

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage != self.stage:
            self.stage = stage
            logger.info("%s: %d of %d %s have ended", stage, done, total, self.unit)
            self.bar.total, self.bar.n = total, done
            self.bar.set_description(stage)
        self.bar.total = total
        self.bar.update(done - self.bar.n)
