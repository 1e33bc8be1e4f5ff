"""When a fit has to end, and whom it tells how far it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from gatewise.optim import OnIter, late

Progress = Callable[[str, int, int], None]

GRACE = 0.25  # share of its time that a fit may take beyond it, to come to rest and be certified


def silent(stage: str, done: int, total: int) -> None:
    """Report nothing."""


class Clock(NamedTuple):
    """When a fit has to end (an instant of `time.monotonic`), and whom it tells how far it is."""

    deadline: float | None = None
    progress: Progress = silent
    seconds: float = 0.0

    @classmethod
    def of(cls, seconds: float | None, progress: Progress | None) -> Clock:
        """Return a clock that runs out in so many seconds."""
        deadline = None if seconds is None else time.monotonic() + seconds
        return cls(deadline, progress or silent, seconds or 0.0)

    @property
    def end(self) -> float | None:
        """The instant at which a certificate is given up too."""
        return None if self.deadline is None else self.deadline + GRACE * self.seconds

    def late(self, needed: float = 0.0) -> bool:
        """Return whether the time is up before so many seconds have passed."""
        return late(self.deadline, needed)

    def keeping(self, seconds: float) -> Clock:
        """Return a clock that runs out earlier by so many seconds, at most by half of its time."""
        if self.deadline is None:
            return self
        return self._replace(deadline=self.deadline - min(seconds, 0.5 * self.seconds))

    def half(self) -> Clock:
        """Return a clock with half of the time that is left, for a fit within a fit."""
        if self.deadline is None:
            return self
        return Clock.of(0.5 * max(0.0, self.deadline - time.monotonic()), self.progress)

    def counted(self, stage: str, total: int) -> OnIter:
        """Return a callback that reports how many of `total` members have ended."""

        def on_iter(iteration: int, members: Tensor, value: Tensor) -> None:
            self.progress(stage, total - len(members), total)

        return on_iter
