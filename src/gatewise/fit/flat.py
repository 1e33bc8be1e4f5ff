"""Directions at an optimum along which the objective is flat: what they move, and whether they lead to infinity."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from gatewise.fit.directions import direction_name, gauge_directions, paths_along, spectrum
from gatewise.fit.problem import Problem, evaluate, hessian_seconds
from gatewise.objective.rows import members_at_once
from gatewise.objective.terms import at_leaves, broadcast_design, one_node_dimension
from gatewise.optim import free_set, late

POOR = 1.0  # information about one unit of a predictor, in nats, up to which a direction is weak
FLAT = 1e-2  # ... up to which it may be flat
BENT = 1e-8  # with less per row than this, the Hessian is null even where the ridge bends away from the straight line
STILL = 1e-4  # a predictor that changes less than this along a direction of unit length does not move
ROUNDING = 1e-15  # curvature below this share of the largest is rounding
SAME = 1e-6  # change of the log-likelihood that counts as none
SATURATED = 15.0  # logits beyond which a weight is 0 or 1
SAMPLE = 512  # units that set the length of a walk
WALK = (-20.0, -5.0, 5.0, 20.0)  # units of a predictor
TOGETHER = 16  # directions that are walked along at once


class Expansion(NamedTuple):
    """Value, gradient and Hessian at one point with the coordinates that may move."""

    value: float
    gradient: Tensor
    hessian: Tensor
    open: Tensor


class WeakDirections(NamedTuple):
    """Directions about which the data hold little information, one after the other: W of them.

    Attributes
    ----------
    values : Tensor (W,)
        Curvature of the objective along each.
    vectors : Tensor (P, W)
        Of unit length where every coordinate is measured in `unit`.
    information : Tensor (W,)
        In nats, about one unit of change in the predictor that each moves most.
    rates : Tensor (W,)
        Largest rate at which one moves a predictor, at some rows.
    unit : Tensor (P,)
    complete : bool
        Whether there was time to look at every direction.
    """

    values: Tensor
    vectors: Tensor
    information: Tensor
    rates: Tensor
    unit: Tensor
    complete: bool = True

    @property
    def still(self) -> Tensor:
        """Which (W,) move no predictor."""
        return (self.rates < STILL) & (self.values.abs() <= BENT)

    @property
    def flat(self) -> Tensor:
        """Which (W,) may be flat: they move no predictor, or the data hold nearly nothing about what they move."""
        return self.still | (self.information <= FLAT)

    def some(self, chosen: Tensor) -> WeakDirections:
        """Return some of them."""
        parts = self.values[chosen], self.vectors[:, chosen], self.information[chosen], self.rates[chosen]
        return WeakDirections(*parts, self.unit, self.complete)


class FlatDirections(NamedTuple):
    """The names of null and of separated directions, and whether there was time to tell of every direction.

    `lost` null directions are no parameter that the data determine: the others move weights that they do determine.
    `moved` are the paths of all parameters that null directions move; the names are of the largest entries of each.
    """

    null: tuple[str, ...]
    separated: tuple[str, ...]
    complete: bool = True
    lost: int = 0
    moved: tuple[str, ...] = ()


class Moved(NamedTuple):
    """Values (owners, K, n) of one set of predictors, and their rates (owners, K, n, V) along V directions."""

    values: Tensor
    rates: Tensor


class Neighbourhood(NamedTuple):
    """What second-order information says about a point.

    Attributes
    ----------
    at : Expansion
        Its open coordinates without those that are pinned.
    gauge : Tensor (P, g)
        Directions that move no weight and no expert.
    weak : WeakDirections
    """

    at: Expansion
    gauge: Tensor
    weak: WeakDirections


def explore(problem: Problem, free: Tensor, pinned: Tensor | None, deadline: float | None) -> Neighbourhood | None:
    """Evaluate a point (P,) to second order and find its weak directions.

    None where something is not finite, and where there is no time for a Hessian.

    Parameters
    ----------
    pinned : mask (P,) of coordinates that stay where they are
    """
    if late(deadline, hessian_seconds(problem)):
        return None
    value, gradient, hessian = (part[0] for part in evaluate(problem, free[None], 2))
    if not bool(gradient.isfinite().all() & hessian.isfinite().all()):
        return None
    parameterization = problem.parameterization
    open_ = free_set(free[None], gradient[None], parameterization.lower[None], parameterization.upper[None], 1e-9)[0]
    at = Expansion(float(value), gradient, hessian, open_)
    gauge = gauge_directions(parameterization, free)
    moving = open_ if pinned is None else open_ & ~pinned
    return Neighbourhood(at, gauge, weak_directions(problem, free, hessian, moving, gauge, deadline))


def weak_directions(
    problem: Problem, free: Tensor, hessian: Tensor, open_: Tensor, gauge: Tensor, deadline: float | None
) -> WeakDirections:
    """Return the directions with no more than `POOR` information about one unit of change in any predictor."""
    unit = free.abs().clamp_min(1.0)  # of parameters that have grown large, shares count
    values, vectors = spectrum(hessian, open_, gauge, unit)
    values = torch.where(values.abs() > ROUNDING * values.abs().amax(), values, 0.0) if len(values) else values
    rates, known = torch.full_like(values, torch.nan), 0
    for some, parts in predictor_moves(problem, free, vectors):
        rates[some] = torch.stack([part.rates.abs().amax((0, 1, 2)) for part in parts]).amax(0).clamp_min(1e-300)
        known = some.stop
        if late(deadline):
            break
    # Small weights make a sum of squares no less certain.
    least = 0 if problem.parameterization.mixture.family.has_density else problem.rows.n
    information = max(problem.total, least) * values
    still = (rates < STILL) & (values.abs() <= BENT)
    weak = still | (information <= POOR * rates.square())
    each = information / rates.square()
    return WeakDirections(values[weak], vectors[:, weak], each[weak], rates[weak], unit, known >= len(values))


def classify_flat_directions(
    problem: Problem, free: Tensor, weak: WeakDirections, deadline: float | None
) -> FlatDirections:
    """Walk along the directions that may be flat and tell null from separated ones, in names.

    Null: no predictor moves, or the log-likelihood is the same 5 and 20 units away, or the Hessian holds no information
    at all while the ridge bends away from the line (a mixture of two Bernoulli laws). Separated: the same, where the
    predictors that move are large.
    """
    null: list[str] = []
    separated: list[str] = []
    weak, lost = weak.some(weak.flat), 0
    moves = ~weak.still
    straight, away = torch.zeros_like(moves), torch.zeros_like(moves)
    for some in moves.nonzero()[:, 0].split(TOGETHER):
        if late(deadline):
            return FlatDirections((), (), False)
        straight[some] = _straight(problem, free, weak.vectors[:, some] / weak.rates[some])
        away[some] = _sizes(problem, free, weak.vectors[:, some], weak.rates[some]) > SATURATED
    apart = _by_differences(problem, free, weak)
    bent = weak.values.abs() > BENT * weak.rates.square()
    found = ~moves | straight | ~bent
    for k in found.nonzero()[:, 0].tolist():
        name = direction_name(problem.parameterization, weak.vectors[:, k] / weak.unit)
        (separated if bool(away[k]) else null).append(name)
        lost += bool(apart.flat[k] & ~away[k])
    moved = paths_along(problem.parameterization, weak.vectors[:, found & ~away] / weak.unit[:, None])
    return FlatDirections(tuple(dict.fromkeys(null)), tuple(dict.fromkeys(separated)), weak.complete, lost, moved)


def _by_differences(problem: Problem, free: Tensor, weak: WeakDirections) -> WeakDirections:
    """Return directions with the rates of scores below the leading one, where the link of a gate sees no more of them.

    Beside centers far away a direction of an expert's slopes moves all scores a long way together and no weight: by the
    scores themselves the data would seem to hold nothing about it.
    """
    gates, rates = problem.parameterization.mixture.gates, weak.rates.clone()
    for some, (outputs, *scores) in predictor_moves(problem, free, weak.vectors):
        differences = [
            _below_leading(part) if gate.link.translation_invariant else part
            for gate, part in zip(gates, scores, strict=True)
        ]
        moved = [part.rates.abs().amax((0, 1, 2)) for part in (outputs, *differences)]
        rates[some] = torch.stack(moved).amax(0).clamp_min(1e-300)
    return weak._replace(rates=rates, information=weak.information * (weak.rates / rates).square())


def _straight(problem: Problem, free: Tensor, directions: Tensor) -> Tensor:
    """Return along which directions (P, V) the log-likelihood stays the same on one side of the point."""
    steps = torch.tensor(WALK, dtype=torch.float64)
    points = problem.parameterization.inside(free + steps[:, None, None] * directions.T)
    least = 0 if problem.parameterization.mixture.family.has_density else problem.rows.n
    values = evaluate(problem, torch.cat([free[None], points.flatten(0, 1)]), 0)[0]
    change = max(problem.total, least) * (values[1:].unflatten(0, points.shape[:2]) - values[0])
    change = torch.nan_to_num(change, nan=torch.inf)
    return torch.minimum(change[:2].amax(0), change[2:].amax(0)) <= SAME


def _sizes(problem: Problem, free: Tensor, directions: Tensor, rates: Tensor) -> Tensor:
    """Return the largest size (V,) of the predictors that each direction moves: large ones have run away.

    The outputs of location-scale families do not count: they do not saturate. A direction that moves no weight is a
    ridge, and reaches nothing.
    """
    sizes = torch.zeros_like(rates)
    for some, (outputs, *scores) in predictor_moves(problem, free, directions):
        parts = [_below_leading(part) for part in scores]
        parts += [] if problem.parameterization.mixture.family.location_scale else [outputs]
        moved = [part.rates.abs() / rates[some] for part in parts]
        most = torch.stack([each.amax((0, 1, 2)) for each in moved]).amax(0)
        for part, each in zip(parts, moved, strict=True):
            moving = (each > 0.1 * most) & (most >= STILL)
            size = torch.where(moving, part.values.abs().unsqueeze(-1), 0.0).amax((0, 1, 2))
            sizes[some] = torch.maximum(sizes[some], size)
    return sizes


def _below_leading(part: Moved) -> Moved:
    """Return scores and their rates below those of the leading branch."""
    lead = part.values.argmax(-2, keepdim=True)
    rates = part.rates - part.rates.gather(1, lead.unsqueeze(-1).expand(-1, -1, -1, part.rates.shape[-1]))
    return Moved(part.values - part.values.gather(1, lead), rates)


def predictor_moves(problem: Problem, free: Tensor, directions: Tensor) -> Iterator[tuple[slice, list[Moved]]]:
    """Yield some of the directions (P, V) at a time, and what they move: expert outputs, then scores of every level.

    Rates are exact, at no more than `SAMPLE` units, equal steps apart.
    """
    parameterization = problem.parameterization
    mixture, measure = parameterization.mixture, parameterization.measure(free[None])
    block = problem.rows.thinned(SAMPLE)
    experts = at_leaves(mixture, measure, block._replace(offset=None))
    parts, at = [], 0
    for level, gate in enumerate(mixture.gates):
        params = one_node_dimension(measure.gates[level], level)
        local = broadcast_design(gate.score.value_and_derivatives(params, block.gate_x))
        count = mixture.nodes(level) * mixture.branching[level]
        parts.append((local.value[0], local.jacobian[0], torch.arange(at, at + count * local.jacobian.shape[-2])))
        at += len(parts[-1][2])
    q, columns = experts.value.shape[-2], experts.jacobian.shape[-2]
    own = (len(parameterization.local) - at) // mixture.n_leaves
    places = at + own * torch.arange(mixture.n_leaves)[:, None] + torch.arange(q * columns)
    parts.insert(0, (experts.value[0], experts.jacobian[0], places.flatten()))
    local_slopes = parameterization.slopes(free)[parameterization.local]
    size = members_at_once(max(value.numel() for value, _, _ in parts))
    for first in range(0, directions.shape[1], size):
        some = slice(first, min(first + size, directions.shape[1]))
        moved = local_slopes @ directions[:, some]
        yield (
            some,
            [
                Moved(value, jacobian.mT @ moved[index].reshape(*value.shape[:2], jacobian.shape[-2], -1))
                for value, jacobian, index in parts
            ],
        )
