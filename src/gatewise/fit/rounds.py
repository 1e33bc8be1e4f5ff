"""The search: points race in one batch, then rounds of fresh starts and of moves from the best optima."""

from __future__ import annotations

from math import inf
from typing import NamedTuple

import torch
from torch import Tensor

from gatewise.fit.ends import Ends, ends_of, most_promising, ranking_key
from gatewise.fit.problem import evaluate, matrix_seconds
from gatewise.fit.result import SAME, width
from gatewise.fit.search.moves import moves
from gatewise.fit.search.resampled import resampled
from gatewise.fit.task import FitTask, Method, Points, drawn_points

BASES = 16  # different optima that the points of a round begin at
MOVED, OFTEN = 4, 0.25  # of these, those that moves begin at; chance that an optimum is resampled, if no better one is
ROUNDS, HOPELESS = 10, 3  # rounds, and rounds without a sound end
HALFWAY = 0.4  # share of a round that takes the first steps to their end, the others a part of them
LEGS = (10, 15, 25, 50, 60)  # iterations after each of which those that fall behind are left
PACE = 3.0  # falls of the last leg by which an end may be above the best
LONG = 5000  # rows from which passes count as long
WORK = 6e7  # rows times squared parameters of points that are improved together


class Effort(NamedTuple):
    """How rounds are made.

    Attributes
    ----------
    moves : int
        Moves of a round.
    resampled : int
        Points of a round that took first steps on bootstrap samples of the rows.
    share : float
        Share of a round that is carried on: the most promising.
    patience : int
        Rounds in turn that find nothing better until the search ends, times the share of starts that missed the best.
    """

    moves: int
    resampled: int
    share: float
    patience: int


SHORT_PASSES, LONG_PASSES = Effort(48, 24, 0.12, 3), Effort(32, 8, 0.25, 3)


def search_on(task: FitTask, method: Method, ends: Ends, fresh: int, effort: Effort) -> tuple[Ends, Ends]:
    """Search in rounds of fresh starts and of moves from the best optima, until some in turn find none better.

    These are `effort.patience` times the share of starts that missed the best, so none where nearly all starts agree.
    What moves find is no start: it counts for the best, not for the evidence.
    """
    found, failed, moved, anew = ends, 0, effort.moves, effort.resampled
    for made in range(ROUNDS if fresh + moved else 0):
        unsound = not bool(found.sound.any())
        if (
            (unsound and made == HOPELESS)
            or failed >= round(effort.patience * (1.0 - _reached(task, ends, found)))
            or task.clock.late()
        ):
            break
        task.clock.progress("rounds of moves", made, ROUNDS)
        lost = fresh > 0 and unsound  # unsound optima lead to others: begin elsewhere
        drawn = drawn_points(task.model, task.sketch, fresh + moved if lost else fresh, task.drawing, task.clock)
        bases = found.best(BASES).points
        points = drawn.and_(Points(*moves(task.part, bases[:MOVED], 0 if lost else moved, task.drawing)))
        points = points if lost else points.and_(resample(task, method, bases, anew))
        trial, before = improved(task, method, points, effort.share, _least(found)), _least(found)
        ends, found = ends.with_more(trial.first(len(drawn.kinds))), found.with_more(trial.best(BASES))
        failed = 0 if _least(found) < before - SAME / task.part.total else failed + 1
    return ends._replace(n_iter=found.n_iter), found


def resample(task: FitTask, method: Method, bases: Tensor, count: int) -> Points:
    """Return where first steps on bootstrap samples lead from optima (K, P), from the best of them most often."""
    count = min(count, _at_once(task))
    if not count or method.rough is None or task.clock.late(matrix_seconds(task.part, count)):
        return Points(bases[:0], ())
    first = torch.from_numpy(task.drawing.geometric(OFTEN, count)).clamp_max(len(bases)) - 1
    problem = resampled(task.part, count, task.drawing)
    return Points(method.rough(problem, bases[first], task.clock, 1.0).points, ("resampled",) * count)


def improved(task: FitTask, method: Method, points: Points, share: float = 1.0, rival: float = inf) -> Ends:
    """Return where points lead, the most promising share of them all the way, unless they fall behind a `rival` value.

    A few run at a time where a pass is long, as many as there is time for, at least the first. A pass of few rows costs
    the same for one point and for many; one of many rows, or parameters, costs each its part.
    """
    size, ends = _at_once(task), None
    for start in range(0, len(points.kinds), size):
        if ends is not None and task.clock.late():
            break
        part = slice(start, start + size)
        found = _raced(task, method, points.free[part], share, rival)._replace(kinds=points.kinds[part])
        ends = found if ends is None else ends.with_more(found)
    if ends is None:
        raise RuntimeError("a search without starts")
    return ends


def _at_once(task: FitTask) -> int:
    """Return how many points are improved together."""
    return max(1, int(WORK / (task.part.rows.n * task.model.parameterization.size**2)))


def _raced(task: FitTask, method: Method, free: Tensor, share: float, rival: float) -> Ends:
    """Return where points (S, P) lead: all of them roughly, the most promising share all the way.

    Where there is no time for a single matrix of all coordinates, they stay where they are.
    """
    if task.clock.late(matrix_seconds(task.part, len(free))):
        return ends_of(task.part, free, evaluate(task.part, free, 0)[0])
    if method.rough is None:
        return method.improve(task.part, free, task.clock, None)
    ends = method.rough(task.part, free, task.clock, max(share, HALFWAY))
    if task.clock.late():
        return ends
    chosen = most_promising(ends, share)
    if share < 1.0:
        return _overtaking(task, method, ends, chosen, rival)
    return ends.with_new(chosen, method.improve(task.part, ends.points[chosen], task.clock, None))


def _overtaking(task: FitTask, method: Method, ends: Ends, chosen: Tensor, rival: float) -> Ends:
    """Carry some ends on in legs, and leave those that fall too slowly to overtake the best of them or a rival."""
    for iterations in LEGS:
        before = ends.value[chosen]
        ends = ends.with_new(chosen, method.improve(task.part, ends.points[chosen], task.clock, iterations))
        if task.clock.late():
            break
        fall, key = before - ends.value[chosen], ranking_key(ends.value, ends.sound)
        chosen = chosen[(fall > 0) & (key[chosen] - min(rival, float(key.min())) <= PACE * fall)]
        if not len(chosen):
            break
    return ends


def _reached(task: FitTask, ends: Ends, found: Ends) -> float:
    """Return the share of starts that reached the best value."""
    best, total = _least(found), task.part.total
    return float((ends.sound & (ends.value <= best + width(total * best) / total)).to(torch.float64).mean())


def _least(found: Ends) -> float:
    return float(ranking_key(found.value, found.sound).min())
