"""The one pipeline of all estimators: prepare, draw starts, improve them in one batch, move, polish the best, certify.

An estimator is a `Method`: a loss, how a batch of starts is improved, and what it adds to starts and moves.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import ceil
from typing import Final, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gatewise.core.mixture import Measure, Mixture
from gatewise.fit.ends import Ends, distinct_optima, ends_of, polish_best, ranking_key
from gatewise.fit.finalize import evaluated, finalize
from gatewise.fit.given import Start, point_of
from gatewise.fit.model import PreparedModel, prepare
from gatewise.fit.problem import SQUARES, Criterion, Problem, evaluate, hessian_seconds, matrix_seconds, problem_of
from gatewise.fit.result import SAME, Fit, width
from gatewise.fit.search.moves import moves
from gatewise.fit.search.starts import draw_starts, given_starts, seeds, subsample
from gatewise.fit.spec import FitSpec
from gatewise.objective.rows import Rows
from gatewise.optim import OnIter, late

Progress = Callable[[str, int, int], None]
Starting = int | Literal["auto"] | Sequence[Measure]

AUTO: Final = "auto"  # number of starts: some, then rounds of more, until enough agree
FIRST, FRESH = 20, 8  # starts of a default search, and further ones of a round
THOROUGH = 10  # starts from which optima are moved on
MOVES, BASES = 64, 4  # moves of a round, and different optima that they begin at
ROUNDS, PATIENCE, HOPELESS = 10, 2, 3  # rounds; those in turn that find nothing better; those without a sound end
WORK = 6e7  # rows times squared parameters of points that are improved together
SHARE = 0.08  # of a round that is carried on: the most promising
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
        Fits another model to the same rows by the same method, in half of the time left; sums of squares unpolished.
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
    rough : callable (problem, free (S, P), clock) -> Ends without kinds, optional
        Where points lead in a few iterations, by which the most promising are chosen.
    improve : callable as `rough`
        Where these lead.
    polished : int
        Different ends that are polished by Newton's method where all rows were searched; 0: ends are left as they are.
    more : callable FitTask -> Points
        Starts besides those that are drawn.
    moves : bool
        Whether the best ends are moved on.
    """

    loss: Criterion
    rough: Improve | None
    improve: Improve
    polished: int
    more: Callable[[FitTask], Points]
    moves: bool


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
    task = task._replace(clock=clock.keeping(hessian_seconds(task.whole)))  # for the certificate
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
    ends = _improved(task, method, points, 1.0)
    if not task.drawn or task.model.parameterization.mixture.n_leaves < 2:
        return ends, ends
    fresh, moved = FRESH if starts == AUTO else 0, MOVES if method.moves and task.drawn >= THOROUGH else 0
    return _searched_on(task, method, ends, fresh, moved)


def _searched_on(task: FitTask, method: Method, ends: Ends, fresh: int, moved: int) -> tuple[Ends, Ends]:
    """Search in rounds of fresh starts and of moves from the best optima, until some in turn find none better.

    These are `PATIENCE` times the share of starts that missed the best, so none where nearly all starts agree. What
    moves find is no start: it counts for the best, not for the evidence.
    """
    found, failed = ends, 0
    for made in range(ROUNDS if fresh + moved else 0):
        unsound = not bool(found.sound.any())
        if (
            (unsound and made == HOPELESS)
            or failed >= round(PATIENCE * (1.0 - _reached(task, ends, found)))
            or task.clock.late()
        ):
            break
        task.clock.progress("rounds of moves", made, ROUNDS)
        lost = fresh > 0 and unsound  # unsound optima lead to others: begin elsewhere
        drawn = drawn_points(task.model, task.sketch, fresh + moved if lost else fresh, task.drawing, task.clock)
        points = drawn.and_(Points(*moves(task.part, found.best(BASES).points, 0 if lost else moved, task.drawing)))
        trial, before = _improved(task, method, points, SHARE), _least(found)
        ends, found = ends.with_more(trial.first(len(drawn.kinds))), found.with_more(trial.best(BASES))
        failed = 0 if _least(found) < before - SAME / task.part.total else failed + 1
    return ends._replace(n_iter=found.n_iter), found


def _improved(task: FitTask, method: Method, points: Points, share: float) -> Ends:
    """Return where points lead, the most promising share of them all the way.

    A few run at a time where a pass is long, as many as there is time for, at least the first. A pass of few rows costs
    the same for one point and for many; one of many rows, or parameters, costs each its part.
    """
    size = max(1, int(WORK / (task.part.rows.n * task.model.parameterization.size**2)))
    ends: Ends | None = None
    for start in range(0, len(points.kinds), size):
        if ends is not None and task.clock.late():
            break
        part = slice(start, start + size)
        found = _raced(task, method, points.free[part], share)._replace(kinds=points.kinds[part])
        ends = found if ends is None else ends.with_more(found)
    if ends is None:
        raise RuntimeError("a search without starts")
    return ends


def _raced(task: FitTask, method: Method, free: Tensor, share: float) -> Ends:
    """Return where points (S, P) lead: all of them roughly, the most promising share all the way.

    Where there is no time for a single matrix of all coordinates, they stay where they are.
    """
    if task.clock.late(matrix_seconds(task.part, len(free))):
        return ends_of(task.part, free, evaluate(task.part, free, 0)[0])
    if method.rough is None:
        return method.improve(task.part, free, task.clock)
    ends = method.rough(task.part, free, task.clock)
    if task.clock.late():
        return ends
    best = torch.argsort(ranking_key(ends.value, ends.sound), stable=True)
    chosen = best[: ceil(share * len(best))].sort().values
    return ends.with_new(chosen, method.improve(task.part, ends.points[chosen], task.clock))


def _reached(task: FitTask, ends: Ends, found: Ends) -> float:
    """Return the share of starts that reached the best value."""
    best, total = _least(found), task.part.total
    return float((ends.sound & (ends.value <= best + width(total * best) / total)).to(torch.float64).mean())


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
    drawn = FIRST if isinstance(starts, str) else starts if isinstance(starts, int) else 0
    sketch = subsample(model.rows, thinning) if drawn else model.rows
    whole = problem_of(model, model.rows, method.loss)
    part = replace(whole, rows=sketch) if model.rows.n_units > SEARCHED and drawn else whole

    def nested(other: Mixture, its: FitSpec, count: int, its_seed: int | None) -> Fit:
        how = method._replace(polished=0) if method.loss is SQUARES else method
        return estimate(other, rows, its, how, count, its_seed, clock.half())

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
        return polish_best(task.whole, ends.points, key, count, task.clock.deadline, more=CARRIED, keep_up=pace)
    if not task.large:
        return ends.points[int(key.argmin())], 0
    chosen = distinct_optima(key, CARRIED, SAME / task.part.total)
    task.clock.progress("all rows", 0, len(chosen))
    after = method.improve(task.whole, ends.points[chosen], task.clock)
    return after.points[int(ranking_key(after.value, after.sound).argmin())], after.n_iter
