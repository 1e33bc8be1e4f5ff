"""What the likelihood can still gain from where Newton's method ended, and the climb until that is nothing.

A Newton decrement bounds the gain where the Hessian is regular. Along flat directions it says nothing: there the gain
is measured, by further steps of L-BFGS and Newton's method, and by lines that reach far along every direction that the
data know little of. Valleys that bend are crossed: points far along their tangents, each led down to the floor.
"""

from __future__ import annotations

from math import inf
from typing import NamedTuple

import torch
from torch import Tensor

from gatewise.core.mixture import Measure, Mixture, leaf_family, leaf_predictors
from gatewise.fit.certify import optimality, soundness
from gatewise.fit.flat import Neighbourhood, WeakDirections, explore
from gatewise.fit.problem import Problem, box_of, evaluate, hessian_seconds, newton_polish
from gatewise.fit.result import GAIN
from gatewise.objective.rows import READ, Rows
from gatewise.optim import late, lbfgs

ROUNDS = 20
CRAWL, FALL, LITTLE = 3, 0.1, 0.2  # rounds in which a gain of so few nats has to fall to a tenth, or it is a crawl
SETTLED = 0.1 * GAIN  # gain of a round after which no other is made
STEPS, FEWEST = 150, 5  # iterations of each method in a round
BUDGET = 1e6  # rows times iterations of a round
SLOPE = 1e-7  # nats per unit of a coordinate at which L-BFGS ends
REACH = tuple(sign * 2.0**k for k in range(-4, 7) for sign in (1, -1))  # units of a predictor: exp(-64) is nothing
HUGE = 1e300  # of a mean: what may overflow in other units
TOGETHER = 64  # points of a line that are evaluated at once
LEAPS = tuple(sign * 2.0**k for k in range(-2, 5) for sign in (1, -1))  # units of a predictor, along a tangent
TANGENTS = 4  # directions that are followed: the weakest
DOWN, FOLLOWED = (10, 20), 8  # steps of Newton's method to the floor, the later ones from so many points, the lowest
WIDE = 2e7  # rows times first steps of all points, at most


class Climbed(NamedTuple):
    """Where a climb ended.

    Attributes
    ----------
    point : Tensor (P,)
    gain : float
        By how many nats the last round of steps raised the log-likelihood; infinite where there was no time to look.
    here : Neighbourhood or None
        What is known of the point.
    spoilt : bool
        Whether the way up from here leads to unsound points.
    """

    point: Tensor
    gain: float
    here: Neighbourhood | None = None
    spoilt: bool = False


def climb(problem: Problem, free: Tensor, pinned: Tensor | None, deadline: float | None) -> Climbed:
    """Go on from a point (P,) until a round of further steps gains less than 1e-7 nats. A sound point stays sound.

    From an unsound one a single round is made: it is not worth more. Where a round was not enough, the next ones cross
    valleys too. A climb that gains little, and round by round hardly less, would take thousands of rounds: it is given
    up.

    Parameters
    ----------
    pinned : mask (P,) of coordinates that stay where they are
    """
    if not problem.parameterization.size:
        return Climbed(free, 0.0)
    point, gain, gains = free, inf, list[float]()
    for _ in range(ROUNDS if bool(soundness(problem, free[None]).sound[0]) else 1):
        here = explore(problem, point, pinned, deadline)
        if here is None:
            return Climbed(point, inf)
        optimal = optimality(problem, point, here, pinned).passed
        if optimal and bool(here.weak.still[here.weak.flat].all()):
            return Climbed(point, 0.0, here)
        if _crawling(gains) or late(deadline, hessian_seconds(problem)):
            return Climbed(point, gain, here)
        further = _further(problem, point, here.weak, pinned, deadline, bool(gains))
        gain = gained(problem, here.at.value, further)
        if spoilt(problem, point, further):
            return Climbed(point, gain, here, spoilt=True)
        if gain <= SETTLED and (optimal or gain == 0.0):
            return Climbed(point, gain, here)
        point = further
        gains.append(gain)
        if gain <= SETTLED:
            break
    return Climbed(point, gain)


def gained(problem: Problem, before: float, free: Tensor) -> float:
    """Return by how many nats a point (P,) is better than an objective."""
    return max(0.0, problem.total * (before - float(evaluate(problem, free[None], 0)[0][0])))


def _crawling(gains: list[float]) -> bool:
    """Return whether the last rounds gained little, the last less than one before, yet hardly less than the first."""
    last = gains[-1 - CRAWL :]
    return len(last) > CRAWL and FALL * last[0] < last[-1] < max(last) < LITTLE


def spoilt(problem: Problem, before: Tensor, after: Tensor) -> bool:
    """Return whether a sound point was left for one that is not, or means for larger ones that nearly overflow."""
    sound = soundness(problem, torch.stack([before, after])).sound
    if bool(sound[0] & ~sound[1]):
        return True
    largest = _largest_mean(problem, after)
    return not (largest <= HUGE or largest <= _largest_mean(problem, before))


def _largest_mean(problem: Problem, free: Tensor) -> float:
    """Return the largest mean of any leaf at any row, where it weighs nothing too."""
    mixture, measure = problem.parameterization.mixture, problem.parameterization.measure(free)
    return problem.rows.fold(_largest, max, mixture, measure)


def _largest(rows: Rows, mixture: Mixture, measure: Measure) -> float:
    family = leaf_family(mixture, measure)
    return max(
        float(mixture.family.mean(family, leaf_predictors(mixture, measure, block.x, block.offset)).abs().max())
        for block in rows.blocks(READ)
    )


def _further(
    problem: Problem, free: Tensor, weak: WeakDirections, pinned: Tensor | None, deadline: float | None, across: bool
) -> Tensor:
    """Return where steps from a point (P,) lead, and from there the best sound point along its weak directions."""
    first = _onwards(problem, free, pinned, deadline)
    moving = ~weak.still
    directions = weak.vectors[:, moving] / weak.rates[moving]
    far = _along(problem, first, directions, deadline)
    if far is None and across:
        far = _across(problem, first, directions, pinned, deadline)
    if far is None or spoilt(problem, first, far):
        return first
    second = _onwards(problem, far, pinned, deadline)
    return far if spoilt(problem, far, second) else second


def _far(problem: Problem, free: Tensor, directions: Tensor, reach: tuple[float, ...]) -> Tensor:
    """Return points (S, P) along directions (P, V) from a point (P,), as far as each `reach`, inside the box."""
    steps = torch.tensor(reach, dtype=torch.float64)
    return problem.parameterization.inside(free + steps[:, None, None] * directions.T).flatten(0, 1)


def _along(problem: Problem, free: Tensor, directions: Tensor, deadline: float | None) -> Tensor | None:
    """Return the best of points far along directions (P, V) from a point (P,); None if none is better by `SETTLED`."""
    points = _far(problem, free, directions, REACH)
    best, least = None, float(evaluate(problem, free[None], 0)[0][0]) - SETTLED / problem.total
    for some in points.split(TOGETHER) if len(points) else ():
        if late(deadline):
            break
        value = torch.nan_to_num(evaluate(problem, some, 0)[0], nan=inf)
        if float(value.min()) < least:
            best, least = some[int(value.argmin())], float(value.min())
    return best


def _across(
    problem: Problem, free: Tensor, directions: Tensor, pinned: Tensor | None, deadline: float | None
) -> Tensor | None:
    """Return the best sound end of descents from points far along directions (P, V), the weakest first.

    None if none is better by `SETTLED` than the point (P,) itself, or where rows are too many. In a valley that bends a
    point on the tangent lies high on its side: what counts is the point on the floor below.
    """
    count = min(TANGENTS, int(WIDE / (problem.rows.n * DOWN[0] * len(LEAPS))))
    points = _far(problem, free, directions[:, :count], LEAPS)
    box, least = box_of(problem.parameterization, free, pinned), float(evaluate(problem, free[None], 0)[0][0])
    for iterations in DOWN if len(points) else ():
        done = newton_polish(problem, points, iterations, deadline, box)
        value = torch.nan_to_num(done.value, nan=inf).masked_fill(~soundness(problem, done.x).sound, inf)
        points = done.x[value.argsort()[:FOLLOWED]]
    if not len(points) or float(value.min()) >= least - SETTLED / problem.total:
        return None
    return points[0]


def _onwards(problem: Problem, free: Tensor, pinned: Tensor | None, deadline: float | None) -> Tensor:
    """Return where L-BFGS and Newton's method lead from a point (P,), in units of its curvature."""
    steps = int(min(max(BUDGET / problem.rows.n, FEWEST), STEPS))
    parameterization, total = problem.parameterization, problem.total
    curvature = total * evaluate(problem, free[None], 2)[2][0].diagonal().abs()
    unit = 1.0 / torch.nan_to_num(curvature, 1.0, 1.0, 1.0).clamp(1e-6, 1e12).sqrt()
    lower, upper = box_of(parameterization, free, pinned) or (parameterization.lower, parameterization.upper)

    def nats(x: Tensor, members: Tensor, order: int) -> tuple[Tensor, ...]:
        value, slope = evaluate(problem, x * unit, 1)
        return total * value, total * slope * unit

    done = lbfgs(nats, (free / unit)[None], lower / unit, upper / unit, tol=SLOPE, max_iter=steps, deadline=deadline)
    point = torch.maximum(torch.minimum(done.x * unit, upper), lower)
    done = newton_polish(problem, point, steps, deadline, box_of(parameterization, free, pinned))
    return done.x[0]
