"""The one pipeline of all estimators: prepare, draw starts, improve them in one batch, move, polish the best, certify.

An estimator is a `Method`: a loss, how a batch of starts is improved, and what it adds to starts and moves.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gatewise.core.mixture import Measure, Mixture
from gatewise.fit.ends import Ends, distinct_optima, polish_best, ranking_key
from gatewise.fit.finalize import evaluated, finalize
from gatewise.fit.given import Start, point_of
from gatewise.fit.model import PreparedModel, prepare
from gatewise.fit.problem import SQUARES, Criterion, Problem, problem_of
from gatewise.fit.result import AGREE, SAME, Fit, width
from gatewise.fit.search.moves import moves
from gatewise.fit.search.starts import draw_starts, given_starts, seeds, subsample
from gatewise.fit.spec import FitSpec
from gatewise.objective.rows import Rows
from gatewise.optim import OnIter

Progress = Callable[[str, int, int], None]
Starting = int | Literal["auto"] | Sequence[Measure]

AUTO: Final = "auto"  # number of starts: batches of them, until enough agree
BATCH, MOST_BATCHES = 20, 3
THOROUGH = 10  # starts from which the best end is moved on
ROUNDS, PATIENCE, MOVES = 12, 2, 16  # rounds of moves; those in turn that find nothing better; moves of a round
WORK = 6e7  # rows times squared parameters of points that are improved together
SEARCHED = 20000  # units up to which starts are searched on all of them
CARRIED = 4  # different optima carried from a subsample to all rows
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

    def late(self) -> bool:
        """Return whether the time is up."""
        return self.deadline is not None and time.monotonic() > self.deadline

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


Improve = Callable[[Problem, Tensor, Clock], Ends]


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
    brief : callable as `improve`, optional
        Where moves from the best end lead; None: nothing is moved.
    """

    loss: Criterion
    improve: Improve
    polished: int
    more: Callable[[FitTask], Points]
    brief: Improve | None


def estimate(
    mixture: Mixture,
    rows: Rows,
    spec: FitSpec,
    method: Method,
    starts: Starting,
    seed: int | None,
    clock: Clock,
    start: Start | None = None,
) -> Fit:
    """Fit a mixture to rows; see `maximum_likelihood` and `least_squares`."""
    task = begin(mixture, rows, spec, method, starts, seed, clock)
    if not task.model.parameterization.size:
        return evaluated(task.model, task.whole)
    ends, found = _searched(task, method, starts, start)
    best, spent = _best(task, method, found)
    return finalize(task.model, task.whole, best, ends, ends.n_iter + spent, method.polished > 0, clock.end)


def _searched(task: FitTask, method: Method, starts: Starting, start: Start | None) -> tuple[Ends, Ends]:
    """Return where starts end, and the ends among which the best is chosen."""
    first = task.drawn if isinstance(starts, str) else starts
    points = first_points(task.model, task.sketch, first, task.drawing, start, task.clock)
    points = points.and_(method.more(task)) if task.drawn else points
    ends = _improved(task, method.improve, points)
    if not task.drawn:
        return ends, ends
    found = _move_on(task, method, ends, ends)
    for batch in range(1, MOST_BATCHES if starts == AUTO else 1):
        if _agree(task, ends, found) or task.clock.late():
            break
        task.clock.progress("further starts", batch * task.drawn, MOST_BATCHES * task.drawn)
        points = drawn_points(task.model, task.sketch, task.drawn, task.drawing, task.clock)
        more = _improved(task, method.improve, points)
        before, ends = _least(found), ends.with_more(more)
        found = _move_on(task, method, ends, found.with_more(more))
        if _least(found) >= before - SAME / task.part.total:
            break
    return ends._replace(n_iter=found.n_iter), found


def _move_on(task: FitTask, method: Method, ends: Ends, found: Ends) -> Ends:
    """Move from the best end to better ones until `PATIENCE` rounds in turn find none, or one where starts agree.

    What moves find is no start: it counts for the best, not for the evidence.
    """
    if method.brief is None or task.drawn < THOROUGH or task.model.parameterization.mixture.n_leaves < 2:
        return found
    failed = 0
    for _ in range(ROUNDS):
        if failed == (1 if _agree(task, ends, found) else PATIENCE) or task.clock.late():
            break
        task.clock.progress("moves", 0, MOVES)
        best = found.best(1)
        trial = _improved(task, method.brief, Points(*moves(task.part, best.points[0], MOVES, task.drawing)))
        better = _least(trial) < _least(best) - SAME / task.part.total
        failed = 0 if better else failed + 1
        found = found.with_more(trial.best(1)) if better else found._replace(n_iter=found.n_iter + trial.n_iter)
    return found


def _improved(task: FitTask, improve: Improve, points: Points) -> Ends:
    """Return where points lead: a few at a time where a pass is long, as many as there is time for, at least the first.

    A pass of few rows costs the same for one point and for many; one of many rows, or parameters, costs each its part.
    """
    size = max(1, int(WORK / (task.part.rows.n * task.model.parameterization.size**2)))
    ends: Ends | None = None
    for start in range(0, len(points.kinds), size):
        if ends is not None and task.clock.late():
            break
        part = slice(start, start + size)
        found = improve(task.part, points.free[part], task.clock)._replace(kinds=points.kinds[part])
        ends = found if ends is None else ends.with_more(found)
    if ends is None:
        raise RuntimeError("a search without starts")
    return ends


def _agree(task: FitTask, ends: Ends, found: Ends) -> bool:
    """Return whether enough starts reached the best value."""
    best, total = _least(found), task.part.total
    near = width(total * best) / total
    return int((ends.sound & (ends.value <= best + near)).sum()) >= AGREE


def _least(found: Ends) -> float:
    return float(ranking_key(found.value, found.sound).min())


def begin(
    mixture: Mixture,
    rows: Rows,
    spec: FitSpec,
    method: Method,
    starts: Starting,
    seed: int | None,
    clock: Clock,
) -> FitTask:
    """Prepare model and rows."""
    model = prepare(mixture, rows, spec)
    thinning, drawing = seeds(seed, 2)
    drawn = BATCH if isinstance(starts, str) else starts if isinstance(starts, int) else 0
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
    clock: Clock = Clock(),  # noqa: B008 (frozen)
) -> Points:
    """Return where a search begins: drawn from some rows, or given in the units of the data."""
    if isinstance(starts, int):
        if starts < 1:
            raise ValueError(f"starts={starts}: give at least one start")
        if start is None:
            return drawn_points(model, sketch, starts, generator, clock)
        given = Points(point_of(model, start, generator)[None], ("given",))
        return given.and_(drawn_points(model, sketch, starts - 1, generator, clock)) if starts > 1 else given
    moved = given_starts(model.parameterization, list(map(model.working, starts)))
    return Points(moved, ("given",) * len(moved))


def drawn_points(
    model: PreparedModel, sketch: Rows, count: int, generator: np.random.Generator, clock: Clock
) -> Points:
    """Return starts drawn from some rows: as many as there is time for, at least one."""
    return Points(*draw_starts(model.parameterization, sketch, count, generator, late=clock.late))


def _best(task: FitTask, method: Method, ends: Ends) -> tuple[Tensor, int]:
    """Return the best point (P,) on all rows, and the iterations spent on it."""
    key = ranking_key(ends.value, ends.sound)
    if task.clock.late() and not task.large:
        return ends.points[int(key.argmin())], 0
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
