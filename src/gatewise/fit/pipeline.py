"""The one pipeline of all estimators: prepare, draw starts, improve them in one batch, move, polish the best, certify.

An estimator is a `Method`: a loss, how a batch of starts is improved, and what it adds to starts and moves.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gatewise.core.mixture import Measure, Mixture
from gatewise.fit.ends import Ends, distinct_optima, polish_best, ranking_key
from gatewise.fit.finalize import evaluated, finalize
from gatewise.fit.given import Start, point_of
from gatewise.fit.model import PreparedModel, prepare
from gatewise.fit.problem import SQUARES, Criterion, Problem, problem_of
from gatewise.fit.result import SAME, Fit
from gatewise.fit.search.starts import draw_starts, given_starts, seeds, subsample
from gatewise.fit.spec import FitSpec
from gatewise.objective.rows import Rows
from gatewise.optim import OnIter

Progress = Callable[[str, int, int], None]

SEARCHED = 20000  # units up to which starts are searched on all of them
CARRIED = 4  # different optima carried from a subsample to all rows


def silent(stage: str, done: int, total: int) -> None:
    """Report nothing."""


class Clock(NamedTuple):
    """When a fit has to end (an instant of `time.monotonic`), and whom it tells how far it is."""

    deadline: float | None = None
    progress: Progress = silent

    @classmethod
    def of(cls, seconds: float | None, progress: Progress | None) -> Clock:
        """Return a clock that runs out in so many seconds."""
        return cls(None if seconds is None else time.monotonic() + seconds, progress or silent)

    def late(self) -> bool:
        """Return whether the time is up."""
        return self.deadline is not None and time.monotonic() > self.deadline

    def half(self) -> Clock:
        """Return a clock with half of the time that is left, for a fit within a fit."""
        now = time.monotonic()
        return self if self.deadline is None else self._replace(deadline=now + 0.5 * max(0.0, self.deadline - now))

    def counted(self, stage: str, total: int) -> OnIter:
        """Return a callback that reports how many of `total` members have ended."""

        def on_iter(iteration: int, members: Tensor, value: Tensor) -> None:
            self.progress(stage, total - len(members), total)

        return on_iter


class Points(NamedTuple):
    """Free coordinates (S, P) to begin from, and the kind of each."""

    free: Tensor
    kinds: tuple[str, ...]

    def and_(self, other: Points) -> Points:
        """Return both, one after the other."""
        return Points(torch.cat([self.free, other.free]), (*self.kinds, *other.kinds))


class FitTask(NamedTuple):
    """A fit under way.

    Attributes
    ----------
    model : PreparedModel
    whole, part : Problem
        On all rows, and on those that starts are searched on: the same where rows are few.
    sketch : Rows
        From which starts are drawn.
    drawn : int
        Number of starts that were asked for; 0 when they were given.
    seed : int or None
    drawing : Generator
    clock : Clock
    nested : callable (mixture, spec, starts, seed) -> Fit
        Fits another model to the same rows by the same method, in half of the time left.
    """

    model: PreparedModel
    whole: Problem
    part: Problem
    sketch: Rows
    drawn: int
    seed: int | None
    drawing: np.random.Generator
    clock: Clock
    nested: Callable[[Mixture, FitSpec, int, int | None], Fit]

    @property
    def large(self) -> bool:
        """Whether starts are searched on a part of the rows."""
        return self.part is not self.whole


class Method(NamedTuple):
    """What an estimator is to the pipeline.

    Attributes
    ----------
    loss : Criterion
    improve : callable (problem, free (S, P), clock) -> Ends without kinds
        Where a batch of starts leads.
    polished : int
        Different ends that are polished by Newton's method where all rows were searched; 0: ends are left as they are.
    more : callable FitTask -> Points
        Starts besides those that are drawn.
    move : callable (FitTask, Ends) -> (Ends, Ends)
        The ends with further ones that count as starts, and those among which the best is chosen.
    """

    loss: Criterion
    improve: Callable[[Problem, Tensor, Clock], Ends]
    polished: int
    more: Callable[[FitTask], Points]
    move: Callable[[FitTask, Ends], tuple[Ends, Ends]]


def estimate(
    mixture: Mixture,
    rows: Rows,
    spec: FitSpec,
    method: Method,
    starts: int | Sequence[Measure],
    seed: int | None,
    clock: Clock,
    start: Start | None = None,
) -> Fit:
    """Fit a mixture to rows; see `maximum_likelihood` and `least_squares`."""
    task = begin(mixture, rows, spec, method, starts, seed, clock)
    if not task.model.parameterization.size:
        return evaluated(task.model, task.whole)
    points = first_points(task.model, task.sketch, starts, task.drawing, start)
    points = points.and_(method.more(task)) if task.drawn else points
    ends = method.improve(task.part, points.free, clock)._replace(kinds=points.kinds)
    ends, moved = method.move(task, ends) if task.drawn else (ends, ends)
    best, spent = _best(task, method, moved)
    return finalize(task.model, task.whole, best, ends, ends.n_iter + spent, method.polished > 0, clock.deadline)


def begin(
    mixture: Mixture,
    rows: Rows,
    spec: FitSpec,
    method: Method,
    starts: int | Sequence[Measure],
    seed: int | None,
    clock: Clock,
) -> FitTask:
    """Prepare model and rows."""
    model = prepare(mixture, rows, spec)
    thinning, drawing = seeds(seed, 2)
    drawn = starts if isinstance(starts, int) else 0
    sketch = subsample(model.rows, thinning) if drawn else model.rows
    whole = problem_of(model, model.rows, method.loss)
    part = replace(whole, rows=sketch) if model.rows.n_units > SEARCHED and drawn else whole

    def nested(other: Mixture, its: FitSpec, count: int, its_seed: int | None) -> Fit:
        return estimate(other, rows, its, method, count, its_seed, clock.half())

    return FitTask(model, whole, part, sketch, drawn, seed, drawing, clock, nested)


def first_points(
    model: PreparedModel,
    sketch: Rows,
    starts: int | Sequence[Measure],
    generator: np.random.Generator,
    start: Start | None = None,
) -> Points:
    """Return where a search begins: drawn from some rows, or given in the units of the data."""
    if isinstance(starts, int):
        if starts < 1:
            raise ValueError(f"starts={starts}: give at least one start")
        if start is None:
            return Points(*draw_starts(model.parameterization, sketch, starts, generator))
        given = Points(point_of(model, start, generator)[None], ("given",))
        return (
            given
            if starts == 1
            else given.and_(Points(*draw_starts(model.parameterization, sketch, starts - 1, generator)))
        )
    moved = given_starts(model.parameterization, list(map(model.working, starts)))
    return Points(moved, ("given",) * len(moved))


def _best(task: FitTask, method: Method, ends: Ends) -> tuple[Tensor, int]:
    """Return the best point (P,) on all rows, and the iterations spent on it."""
    key = ranking_key(ends.value, ends.sound)
    if method.polished:
        count = CARRIED if task.large else method.polished
        pace = method.loss is SQUARES
        return polish_best(task.whole, ends.points, key, count, task.clock.deadline, keep_up=pace)
    if not task.large:
        return ends.points[int(key.argmin())], 0
    chosen = distinct_optima(key, CARRIED, SAME / task.part.total)
    task.clock.progress("all rows", 0, len(chosen))
    after = method.improve(task.whole, ends.points[chosen], task.clock)
    return after.points[int(ranking_key(after.value, after.sound).argmin())], after.n_iter
