"""The one pipeline of all estimators: prepare, draw starts, improve them in one batch, move, polish the best, certify.

An estimator is a `Method`: a loss, how a batch of starts is improved, and what it adds to starts and moves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Literal

import numpy as np
from torch import Tensor

from gatewise.core.mixture import Measure, Mixture
from gatewise.fit.clock import Clock
from gatewise.fit.ends import Ends, distinct_optima, polish_best, ranking_key
from gatewise.fit.finalize import evaluated, finalize
from gatewise.fit.given import Start, point_of
from gatewise.fit.model import PreparedModel, prepare
from gatewise.fit.problem import SQUARES, hessian_seconds, problem_of
from gatewise.fit.result import SAME, Fit
from gatewise.fit.rounds import LONG, LONG_PASSES, SHORT_PASSES, improved, search_on
from gatewise.fit.search.starts import given_starts, seeds, subsample
from gatewise.fit.spec import FitSpec
from gatewise.fit.task import FitTask, Method, Points, drawn_points
from gatewise.objective.rows import Rows

Starting = int | Literal["auto"] | Sequence[Measure]

AUTO: Final = "auto"  # number of starts: some, then rounds of more, until enough agree
FIRST, FRESH = 20, 8  # starts of a default search, and further ones of a round
THOROUGH = 10  # starts from which optima are moved on
SEARCHED = 20000  # units up to which starts are searched on all of them
CARRIED = 4  # different optima carried from a subsample to all rows


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
    points, spent = _best(task, method, found)
    return finalize(task.model, task.whole, points, ends, ends.n_iter + spent, method.polished > 0, clock.end)


def _searched(task: FitTask, method: Method, starts: Starting, start: Start | None) -> tuple[Ends, Ends]:
    """Return where starts end, and the ends among which the best is chosen."""
    first = task.drawn if isinstance(starts, str) else starts
    points = first_points(task.model, task.sketch, first, task.drawing, start, task.clock)
    points = points.and_(method.more(task)) if task.drawn else points
    ends = improved(task, method, points)
    if not task.drawn or task.model.parameterization.mixture.n_leaves < 2:
        return ends, ends
    effort = LONG_PASSES if task.part.rows.n >= LONG else SHORT_PASSES
    if not (method.moves and task.drawn >= THOROUGH):
        effort = effort._replace(moves=0, resampled=0)
    return search_on(task, method, ends, FRESH if starts == AUTO else 0, effort)


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


def _best(task: FitTask, method: Method, ends: Ends) -> tuple[Tensor, int]:
    """Return the best points (C, P) on all rows, best first, and the iterations spent on them."""
    key = ranking_key(ends.value, ends.sound)
    if task.clock.late() and not task.large:
        return ends.points[key.argmin()[None]], 0
    if method.polished:
        count = CARRIED if task.large else method.polished
        pace = method.loss is SQUARES
        return polish_best(task.whole, ends.points, key, count, task.clock.deadline, more=CARRIED, keep_up=pace)
    if not task.large:
        return ends.points[key.argmin()[None]], 0
    chosen = distinct_optima(key, CARRIED, SAME / task.part.total)
    task.clock.progress("all rows", 0, len(chosen))
    after = method.improve(task.whole, ends.points[chosen], task.clock, None)
    return after.points[ranking_key(after.value, after.sound).argmin()[None]], after.n_iter
