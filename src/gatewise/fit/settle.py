"""Where the best point comes to rest: on the kinks of the model, and as high as steps along flat directions lead."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from gatewise.fit.certify import soundness
from gatewise.fit.climb import climb, gained, spoilt
from gatewise.fit.flat import Neighbourhood
from gatewise.fit.problem import Problem, box_of, evaluate, in_units_of_variance, newton_polish
from gatewise.fit.result import GAIN
from gatewise.fit.search.kinks import refine_at_kinks
from gatewise.fit.search.relu_kinks import refine_at_relu_kinks
from gatewise.optim import late

AGAIN = 4  # times that a point is put on kinks, after climbing away from those before


class Rest(NamedTuple):
    """A point at rest, in a problem whose coordinates on hinges are solved for.

    Attributes
    ----------
    problem : Problem
    point : Tensor (P,)
    kinks, hinged : tuple of str
        Names of what lies on kinks, and of what lies on hinges.
    pinned : Tensor (P,) of bool or None
        Coordinates on kinks.
    gain : float
        What further steps still gained, in nats.
    here : Neighbourhood or None
        What is known of the point.
    spoilt : bool
        Whether the way up from here leads to unsound points.
    """

    problem: Problem
    point: Tensor
    kinks: tuple[str, ...] = ()
    hinged: tuple[str, ...] = ()
    pinned: Tensor | None = None
    gain: float = 0.0
    here: Neighbourhood | None = None
    spoilt: bool = False


def settle_best(problem: Problem, points: Tensor, deadline: float | None) -> Rest:
    """Settle the first of some points (C, P), best first, from which the way up stays sound; if none does, the first.

    The best end of a search may lie on the flank of a degenerate optimum: then the best sound optimum is another one.
    """
    first = rest = settle(problem, points[0], deadline)
    for point in points[1:]:
        if not rest.spoilt or late(deadline):
            break
        if bool(soundness(problem, point[None]).sound[0]):
            rest = settle(problem, point, deadline)
    return first if rest.spoilt else rest


def settle(problem: Problem, point: Tensor, deadline: float | None) -> Rest:
    """Put a point (P,) on kinks and climb from there, in turn, until climbing leads no further.

    An unsound point is not put on kinks: it is not worth that.
    """
    kinked = problem.parameterization.mixture.kinked and bool(soundness(problem, point[None]).sound[0])
    for _ in range(AGAIN):
        rest = _on_kinks(problem, point, deadline) if kinked else Rest(problem, point)
        rest = _in_units(rest, deadline)
        up = climb(rest.problem, rest.point, rest.pinned, deadline)
        before = float(evaluate(rest.problem, rest.point[None], 0)[0][0])
        rise = gained(rest.problem, before, up.point)
        rest = rest._replace(point=up.point, gain=up.gain, here=up.here, spoilt=rest.spoilt or up.spoilt)
        if (
            not kinked
            or rise <= GAIN
            or up.gain > GAIN
            or rest.hinged
            or not bool(soundness(rest.problem, up.point[None]).sound[0])
        ):
            break
        problem, point = rest.problem, rest.point
    return rest


def unsettled(problem: Problem, point: Tensor, deadline: float | None) -> Rest:
    """Return a point (P,) where it is, with what further steps would gain."""
    problem = in_units_of_variance(problem, point)
    return Rest(problem, point, gain=climb(problem, point, None, deadline).gain)


def _on_kinks(problem: Problem, point: Tensor, deadline: float | None) -> Rest:
    start, (point, names, pinned) = point, refine_at_kinks(in_units_of_variance(problem, point), point, deadline)
    if spoilt(problem, start, point):
        return Rest(problem, start, spoilt=True)
    problem = in_units_of_variance(problem, point)
    polished = newton_polish(problem, point[None], 60, deadline, box_of(problem.parameterization, point, pinned)).x[0]
    leads_away = spoilt(problem, point, polished)
    point = point if leads_away else polished
    problem, point, hinged, pinned = refine_at_relu_kinks(problem, point, pinned, deadline)
    return Rest(problem, point, names, hinged, pinned, spoilt=leads_away)


def _in_units(rest: Rest, deadline: float | None) -> Rest:
    """Polish a sum of squares in units of its residual variance, which has moved, and with it every tolerance."""
    if rest.problem.parameterization.mixture.family.has_density:
        return rest
    problem, point = in_units_of_variance(rest.problem, rest.point), rest.point
    if problem.parameterization.size:
        box = box_of(problem.parameterization, point, rest.pinned)
        point = newton_polish(problem, point[None], 60, deadline, box).x[0]
    return rest._replace(problem=problem, point=point)
