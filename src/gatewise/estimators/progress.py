"""Where a fit stands, while it runs: a bar on a terminal or in a notebook, lines of the log elsewhere."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from gatewise.estimators.declarations import Verbose

Progress = Callable[[str, int, int], Any]
logger = logging.getLogger("gatewise")


@contextmanager
def following(verbose: Verbose) -> Iterator[Progress | None]:
    """Give what a fit reports to while the block runs: (stage, starts ended, starts).

    Parameters
    ----------
    verbose : bool, int or callable
        A callable is reported to itself. Otherwise true means a bar that vanishes at the end, and one message of the
        logger ``gatewise`` (level INFO) for every stage; where the error stream is neither a terminal nor a notebook's
        there is no bar.
    """
    if callable(verbose) or not verbose:
        yield verbose if callable(verbose) else None
        return
    from tqdm.auto import tqdm

    with tqdm(leave=False, unit="start", disable=not _shown()) as bar:
        yield _Follower(bar)


def _shown() -> bool:
    """Return whether somebody looks: the error stream is a terminal, or that of a notebook's kernel."""
    return sys.stderr.isatty() or type(sys.stderr).__module__.startswith("ipykernel")


class _Follower:
    """Moves a bar, and logs every stage once."""

    def __init__(self, bar: Any) -> None:
        self.bar, self.stage = bar, ""

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage != self.stage:
            self.stage = stage
            logger.info("%s: %d of %d starts have ended", stage, done, total)
            self.bar.total, self.bar.n = total, done
            self.bar.set_description(stage)
        self.bar.total = total
        self.bar.update(done - self.bar.n)
