"""Where starts ended: which come first, which differ, and the best of them polished on all rows."""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

import torch
from torch import Tensor

from gatewise.fit.certify import soundness
from gatewise.fit.flat import SAMPLE
from gatewise.fit.problem import Problem, evaluate, in_units_of_variance, newton_polish
from gatewise.objective.squares import mean, ungrouped
from gatewise.optim import Reason

FIRST, ROUND, MOST_ROUNDS = 25, 100, 30  # iterations of Newton's method in the first round and in others, and rounds
PACE = 3.0  # falls of the last round, times its number, that an end may be above the best
ALIKE = 0.01  # means that differ by less, as a log-likelihood, are one
BUDGET = 3e6  # rows times iterations that are spent on rounds after the first
FOR_THE_BEST = 10  # rounds for the best end, however many the rows
LAST = 1e6  # added to the objective of unsound ends, so that every sound one comes first


class Ends(NamedTuple):
    """Where starts ended.

    Attributes
    ----------
    problem : Problem
        That they were searched on, on all rows or a part of them.
    points : Tensor (S, P)
    value : Tensor (S,)
        Objective.
    sound : Tensor (S,) of bool
        Whether a point is sound and its objective finite.
    n_iter : int
        Iterations spent.
    kinds : tuple of str
    """

    problem: Problem
    points: Tensor
    value: Tensor
    sound: Tensor
    n_iter: int = 0
    kinds: tuple[str, ...] = ()

    def with_more(self, other: Ends) -> Ends:
        """Return the ends of two searches of one problem."""
        return Ends(
            self.problem,
            torch.cat([self.points, other.points]),
            torch.cat([self.value, other.value]),
            torch.cat([self.sound, other.sound]),
            self.n_iter + other.n_iter,
            (*self.kinds, *other.kinds),
        )

    def first(self, count: int) -> Ends:
        """Return the first `count` ends."""
        return Ends(
            self.problem, self.points[:count], self.value[:count], self.sound[:count], self.n_iter, self.kinds[:count]
        )

    def with_new(self, which: Tensor, other: Ends) -> Ends:
        """Return the ends with those of a further search in the place of some (S',), kinds as they are."""
        parts = ((self.points, other.points), (self.value, other.value), (self.sound, other.sound))
        points, value, sound = (old.index_copy(0, which, new) for old, new in parts)
        return Ends(self.problem, points, value, sound, self.n_iter + other.n_iter, self.kinds)

    def best(self, count: int) -> Ends:
        """Return the best `count` ends that differ, sound ones first."""
        chosen = distinct_optima(ranking_key(self.value, self.sound), count)
        kinds = tuple(self.kinds[i] for i in chosen) if self.kinds else ()
        return self._replace(
            points=self.points[chosen], value=self.value[chosen], sound=self.sound[chosen], kinds=kinds
        )


def ends_of(problem: Problem, points: Tensor, value: Tensor, n_iter: int = 0, kinds: tuple[str, ...] = ()) -> Ends:
    """Return points (S, P) with objectives (S,) as ends of a search."""
    return Ends(problem, points, value, soundness(problem, points).sound & value.isfinite(), n_iter, kinds)


def ranking_key(value: Tensor, sound: Tensor) -> Tensor:
    """Return objectives (S,) to rank ends by: unsound ones after all sound ones, infinite what is not finite."""
    value = torch.where(value.isfinite(), value, torch.inf)
    return torch.where(sound, value, value + LAST)


def most_promising(ends: Ends, share: float) -> Tensor:
    """Return the places of the best `share` of some ends, in their order: at least one."""
    best = torch.argsort(ranking_key(ends.value, ends.sound), stable=True)
    return best[: ceil(share * len(best))].sort().values


def distinct_optima(value: Tensor, count: int, width: float | None = None) -> list[int]:
    """Return the best `count` members whose values (S,) differ, best first; the first one of those with equal values.

    Parameters
    ----------
    width : float, optional
        Values closer than this are one; default 1e-9 of their size.
    """
    chosen: list[int] = []
    for i in torch.argsort(torch.nan_to_num(value, nan=torch.inf), stable=True).tolist():
        near = 1e-9 * abs(float(value[i])) if width is None else width
        if all(abs(float(value[i]) - float(value[j])) > near for j in chosen):
            same = (value - value[i]).abs() <= near
            chosen.append(int(same.nonzero()[0, 0]) if bool(same.any()) else i)
        if len(chosen) == count:
            break
    return chosen


def polish_best(
    problem: Problem,
    found: Tensor,
    key: Tensor,
    count: int,
    deadline: float | None,
    more: int = 0,
    keep_up: bool = False,
) -> tuple[Tensor, int]:
    """Polish the best `count` different ends (S, P) on all rows; return them (C, P), best first, and the iterations.

    Parameters
    ----------
    key : Tensor (S,)
        By which they are ranked, see `ranking_key`.
    more : int
        Further ends that are polished where all of those turn out unsound.
    keep_up : bool
        Leave an end where it is once the pace of its last round would not take it to the best one in the rounds left.
    """
    order = distinct_optima(key, count + more)
    first = _polish(problem, found[order[:count]], deadline, keep_up)
    if bool(first.value.min() < LAST) or len(order) <= count:
        return first.points[distinct_optima(first.value, count)], first.n_iter
    second = _polish(problem, found[order[count:]], deadline, keep_up)
    points, value = torch.cat([first.points, second.points]), torch.cat([first.value, second.value])
    return points[distinct_optima(value, len(value))], first.n_iter + second.n_iter


class _Polished(NamedTuple):
    """Points (S, P), the objectives (S,) they are ranked by, and the iterations spent."""

    points: Tensor
    value: Tensor
    n_iter: int


def _polish(problem: Problem, points: Tensor, deadline: float | None, keep_up: bool) -> _Polished:
    """Run Newton's method on all rows, in rounds with units anew; a sum of squares is divided by the residual variance.

    Ends of over-fitted mixtures lie far along curved valleys: where rows are few, thousands of iterations are cheap.
    """
    affordable = max(1, min(MOST_ROUNDS, int(BUDGET / (ROUND * problem.rows.n))))
    kinked = problem.parameterization.mixture.kinked  # kinks have a search of their own
    rounds = 1 if kinked else affordable
    if problem.parameterization.mixture.family.has_density:  # of one unit
        done = newton_polish(problem, points, ROUND, deadline)
        sound = soundness(problem, done.x).sound
        value, spent, left = done.value, int(done.n_iter.max()), (done.reason == Reason.max_iter) & sound
        for more, alone in ((rounds - 1, False), (0 if kinked else FOR_THE_BEST - rounds, True)):
            some = left & (value == ranking_key(value, sound).min()) if alone else left
            if more > 0 and bool(some.any()):  # an unsound end is not worth more
                further = newton_polish(problem, done.x[some], ROUND * more, deadline)
                done.x[some], value[some] = further.x, further.value
                sound, spent = soundness(problem, done.x).sound, spent + int(further.n_iter.max())
        return _Polished(done.x, ranking_key(value, sound), spent)
    points, spent, unit = points.clone(), 0, 0.0
    left, last = torch.arange(len(points)), points.new_full((len(points),), torch.inf)
    for i in range(rounds + 1):  # the first is short
        value = _ranked(problem, points)
        best = points[int(value.argmin())]
        fine = in_units_of_variance(problem, best)
        if fine.unit < 0.9 * unit or fine.unit > unit:  # the units of residuals have moved, or the best became unsound
            left = torch.arange(len(points))
            last = torch.full_like(last, torch.inf) if fine.unit > unit else last
        unit = fine.unit
        if keep_up:
            left = left[_keeping_up(value, last, i, rounds + 1)[left]]
            left = left[_unlike(fine, points[left], value[left])]
            last = value
        if not len(left):
            break
        done = newton_polish(fine, points[left], ROUND if i else FIRST, deadline)
        points[left], spent = done.x, spent + int(done.n_iter.max())
        left = left[done.reason == Reason.max_iter]
        if not len(left) and in_units_of_variance(problem, best).unit >= 0.9 * unit:
            break
    return _Polished(points, _ranked(fine, points), spent)


def _ranked(problem: Problem, points: Tensor) -> Tensor:
    """Return the objectives (S,) that points are ranked by."""
    return ranking_key(evaluate(problem, points, 0)[0], soundness(problem, points).sound)


def _keeping_up(value: Tensor, last: Tensor, number: int, rounds: int) -> Tensor:
    """Return which ends (S,) may still reach the best, given their objectives now and a round before.

    Along a curved valley the fall of a round goes like the inverse square of its number: what is still to come amounts
    to about `number` times the last fall.
    """
    if not number:
        return torch.ones_like(value, dtype=torch.bool)
    return value - value.min() <= min(PACE * number, rounds - number) * (last - value)


def _unlike(problem: Problem, points: Tensor, value: Tensor) -> Tensor:
    """Return the places of the ends (S, P) whose means differ; of those with one mean, that of the best."""
    block = ungrouped(problem.rows.thinned(SAMPLE))
    f = mean(problem.parameterization.mixture, problem.parameterization.measure(points), block).movedim(-1, -2)
    f = f if block.weight is None else f * block.weight.sqrt().unsqueeze(-1)
    nats = torch.cdist(f.flatten(1), f.flatten(1)).square() * (problem.rows.n / (2.0 * problem.unit * f.shape[1]))
    chosen: list[int] = []
    for i in torch.argsort(value, stable=True).tolist():
        if bool((nats[i, chosen] > ALIKE).all()):
            chosen.append(i)
    return torch.tensor(sorted(chosen), dtype=torch.long)
