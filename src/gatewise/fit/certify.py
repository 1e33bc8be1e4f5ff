"""The certificate: local optimality, soundness, and what cannot be estimated."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gatewise.core.mixture import leaf_predictors
from gatewise.core.names import path_of
from gatewise.core.tree import expand_nodes
from gatewise.fit.directions import direction_name, gauge_directions, spectrum
from gatewise.fit.floor import rows_needed
from gatewise.fit.problem import Problem, evaluate
from gatewise.fit.result import Certificate
from gatewise.fit.status import Status
from gatewise.objective.accumulate import accumulate
from gatewise.objective.parameterization import Parameterization
from gatewise.objective.rows import MOST
from gatewise.optim import decrement, free_set, projected_gradient

GRADIENT = 1e-8  # projected gradient of the weighted-mean objective, in units of its curvature where that exceeds 1
DECREMENT = 1e-8  # Newton decrement times n
CURVATURE = -1e-8  # least eigenvalue in units of the diagonal
NULL = 1e-11  # eigenvalues below this, in units of the diagonal, are zero
WEAK = 1e-2  # directions with less information than this about one unit of a predictor are walked along
BENT = 1e-8  # with less per row than this, the Hessian is null even where the ridge bends away from the straight line
STILL = 1e-4  # a predictor that changes less than this along a direction of unit length does not move
STEP = 1e-6  # of differences along such a direction
FLAT = 1e-6  # change of the log-likelihood that counts as none
FAR = 1e3  # coordinates beyond this, in working units, have run away
SATURATED = 15.0  # logits beyond which a weight is 0 or 1
SAMPLE = 512  # units that set the length of a walk


class Soundness(NamedTuple):
    """Per member: scales on their floor (S, P), leaves with too few observations (S, L), and which are sound (S,)."""

    floor: Tensor
    starved: Tensor
    sound: Tensor


def soundness(problem: Problem, free: Tensor) -> Soundness:
    """Return what is unsound about free coordinates (S, P).

    A scale within 1e-6 (relative) of its floor is on it. A leaf is starved whose total responsibility (in least
    squares: weight) is below its number of parameters per output plus one; of responses with many trials each trial
    counts. A small scale needs more (`rows_needed`). A starved leaf is unsound only where few rows can make the
    likelihood as large as they like.
    """
    parameterization = problem.parameterization
    if not parameterization.size:  # nothing is estimated
        nothing = torch.zeros(len(free), 0, dtype=torch.bool)
        starved = nothing.new_zeros(len(free), parameterization.mixture.n_leaves)
        return Soundness(nothing, starved, nothing.new_ones(len(free)))
    near = (free - parameterization.lower < 1e-6) & (parameterization.upper > parameterization.lower)
    floor = torch.zeros_like(near) if problem.floor is None else near & problem.floor
    width = len(free) * 2 * parameterization.mixture.n_leaves
    measure, family = parameterization.measure(free), parameterization.mixture.family
    (mass,) = accumulate(problem.loss.mass, parameterization.mixture, measure, problem.rows, width)
    q = family.outputs(problem.rows.y.shape[1])
    if not family.has_density:  # the optimum of a sum of squares does not depend on the size of weights
        mass = mass * (q * problem.rows.n / problem.total)
    least = leaf_parameters(parameterization) / q + 1
    starved = mass / q < rows_needed(parameterization.mixture, measure, problem.tiny, least, problem.total)
    return Soundness(floor, starved, ~floor.any(-1) & (~starved.any(-1) | family.bounded))


def leaf_parameters(parameterization: Parameterization) -> Tensor:
    """Return the number of parameters of every leaf ``(L,)``, of expert and family."""
    total = torch.zeros(parameterization.mixture.branching, dtype=torch.float64)
    for path, spec in parameterization.mixture.parameters().items():
        if not path.startswith("gates."):
            each = torch.Size(parameterization.shapes[path]).numel() // parameterization.mixture.n_leaves
            total[..., slice(None) if spec.only is None else list(spec.only)] += each
    return total.flatten()


def responses(problem: Problem) -> float:
    """Return the number of single responses in the data: outputs, or trials, of all rows."""
    family = problem.parameterization.mixture.family
    return sum(float(family.responses(block.y).sum()) for block in problem.rows.blocks(MOST))


class Expansion(NamedTuple):
    """Value, gradient and Hessian at one point with the coordinates that may move."""

    value: float
    gradient: Tensor
    hessian: Tensor
    open: Tensor


def evaluate_at(problem: Problem, free: Tensor) -> Expansion:
    """Evaluate one point (P,) to second order."""
    value, gradient, hessian = (part[0] for part in evaluate(problem, free[None], 2))
    parameterization = problem.parameterization
    open_ = free_set(free[None], gradient[None], parameterization.lower[None], parameterization.upper[None], 1e-9)[0]
    return Expansion(float(value), gradient, hessian, open_)


def certify(problem: Problem, free: Tensor, kinks: tuple[str, ...] = (), pinned: Tensor | None = None) -> Certificate:
    """Certify one point (P,).

    Parameters
    ----------
    kinks : names of parameters that sit on a kink and passed the test for a local optimum there
    pinned : mask (P,) of their coordinates, which are left out of gradient and curvature
    """
    parameterization = problem.parameterization
    if not parameterization.size:  # nothing is estimated, so nothing can be better
        known = bool(evaluate(problem, free[None], 0)[0].isfinite())
        return Certificate(gradient=0.0, decrement=0.0, curvature=0.0, rank=0, passed=known)
    at = evaluate_at(problem, free)
    if not bool(at.gradient.isfinite().all() & at.hessian.isfinite().all()):
        return Certificate(gradient=torch.inf, decrement=torch.inf, curvature=-torch.inf, rank=parameterization.size)
    open_ = at.open if pinned is None else at.open & ~pinned
    residual = projected_gradient(
        free[None], at.gradient[None], parameterization.lower[None], parameterization.upper[None]
    )[0]
    residual = residual / at.hessian.diagonal().clamp_min(1.0).sqrt()
    gradient = max((residual if pinned is None else residual[~pinned]).abs().tolist(), default=0.0)
    gauge = gauge_directions(parameterization, free)
    values, _ = spectrum(at.hessian, open_, gauge)
    null, separated = classify_flat_directions(problem, free, at, open_, gauge)
    flat = values.abs() < NULL
    curvature = float(values[~flat].min()) if bool((~flat).any()) else 0.0
    spent = problem.total * float(decrement(at.gradient[None], at.hessian[None], open_[None])[0])
    state = soundness(problem, free[None])
    on_floor = state.floor[0]
    bound = ~at.open & ~on_floor & (parameterization.upper > parameterization.lower)
    names = [parameterization.names[i] for i in bound.nonzero()[:, 0].tolist()]
    given = [name for name in names if path_of(name) in problem.bounded]
    limits = tuple(name for name in names if name not in given and parameterization.end(name, free)[2])
    active = tuple(name for name in names if name not in limits)
    rank = int((parameterization.upper > parameterization.lower).sum()) - gauge.shape[1] - len(null) - len(limits)
    return Certificate(
        gradient=gradient,
        decrement=spent,
        curvature=curvature,
        rank=rank,
        null=null,
        separated=separated,
        active=active,
        limits=limits,
        floor=tuple(parameterization.names[i] for i in on_floor.nonzero()[:, 0].tolist()),
        starved=tuple(state.starved[0].nonzero()[:, 0].tolist()),
        kinks=kinks,
        crowded=responses(problem) < rank,
        passed=gradient <= GRADIENT and spent <= DECREMENT and curvature >= CURVATURE,
    )


def classify_flat_directions(
    problem: Problem, free: Tensor, at: Expansion, open_: Tensor, gauge: Tensor
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Walk along the weak directions and tell null from separated ones, in names.

    A direction is weak when the data hold less than `WEAK` information about one unit of change in any predictor. Null:
    no predictor moves, or the log-likelihood is the same 5 and 20 units away, or the Hessian holds no information at
    all while the ridge bends away from the line (a mixture of two Bernoulli laws). Separated: the same, where the
    predictors that move are large.
    """
    null: list[str] = []
    separated: list[str] = []
    unit = free.abs().clamp_min(1.0)  # of parameters that have grown large, shares count
    # Small weights make a sum of squares no less certain.
    least = 0 if problem.parameterization.mixture.family.has_density else problem.rows.n
    total = max(problem.total, least)
    values, vectors = spectrum(at.hessian, open_, gauge, unit)
    rates = predictor_rates(problem, free, vectors.T).tolist()
    for k, rate in enumerate(rates):
        if rate < STILL and abs(float(values[k])) <= BENT:
            null.append(direction_name(problem.parameterization, vectors[:, k] / unit))
            continue
        if total * float(values[k]) > WEAK * rate * rate:  # rate**2 would raise where it overflows
            continue
        direction = vectors[:, k] / rate
        steps = torch.tensor([-20.0, -5.0, 5.0, 20.0], dtype=torch.float64)
        points = problem.parameterization.inside(free + steps[:, None] * direction)
        change = total * (evaluate(problem, points, 0)[0] - at.value)
        change = torch.nan_to_num(change, nan=torch.inf)
        left, right = float(change[:2].max()), float(change[2:].max())
        straight = min(left, right) <= FLAT
        if not straight and abs(float(values[k])) > BENT * rate * rate:
            continue
        away = predictor_size(problem, free, vectors[:, k], rate) > SATURATED
        (separated if away else null).append(direction_name(problem.parameterization, vectors[:, k] / unit))
    return tuple(dict.fromkeys(null)), tuple(dict.fromkeys(separated))


def sampled(problem: Problem, points: Tensor) -> list[Tensor]:
    """Return expert outputs, and gate scores of every level, at no more than `SAMPLE` units, equal steps apart."""
    mixture, measure = problem.parameterization.mixture, problem.parameterization.measure(points)
    block = problem.rows.thinned(SAMPLE)
    scores = [
        gate.score(measure.gates[level], expand_nodes(block.gate_x, level)) for level, gate in enumerate(mixture.gates)
    ]
    return [leaf_predictors(mixture, measure, block.x), *scores]


def predictors(problem: Problem, points: Tensor) -> list[Tensor]:
    """Return gate scores below that of the leading branch, and expert outputs, at sampled rows."""
    outputs, *scores = sampled(problem, points)
    out = [(score - score.amax(-2, keepdim=True)).flatten(1, -2) for score in scores]
    return [*out, outputs.flatten(1, -2)[..., : out[0].shape[-1]]]


def predictor_size(problem: Problem, free: Tensor, direction: Tensor, rate: float) -> float:
    """Return the largest size of the predictors that a direction moves at `rate`: large ones have run away.

    The outputs of location-scale families do not count: they do not saturate. A direction that moves no weight is a
    ridge, and reaches nothing.
    """
    values = predictors(problem, torch.stack([free, free + STEP * direction]))
    if problem.parameterization.mixture.family.location_scale:
        values = values[:-1]
    rates = [(part[1] - part[0]).abs() / (STEP * rate) for part in values]
    most = max(float(each.max()) for each in rates)
    if most < STILL:
        return 0.0
    moved = [part[0].abs()[each > 0.1 * most] for part, each in zip(values, rates, strict=True)]
    return max((float(part.max()) for part in moved if part.numel()), default=0.0)


def predictor_rates(problem: Problem, free: Tensor, directions: Tensor) -> Tensor:
    """Return the largest rate of change (V,) of scores and expert outputs along directions (V, P), at some rows."""
    moved = sampled(problem, torch.cat([free - STEP * directions, free + STEP * directions]))
    away = [(after - before).abs().flatten(1).amax(1) for before, after in (values.chunk(2) for values in moved)]
    return (torch.stack(away).amax(0) / (2 * STEP)).clamp_min(1e-300)


def flags(certificate: Certificate, parameterization: Parameterization) -> tuple[Status, ...]:
    """Return every status that holds, by precedence."""
    few = bool(certificate.starved)
    held = {
        Status.unsound: bool(certificate.floor) or (few and not parameterization.mixture.family.bounded),
        Status.separated: bool(certificate.separated),
        Status.unidentified: bool(certificate.null or parameterization.held) or certificate.crowded or few,
        Status.at_kink: bool(certificate.kinks),
        Status.at_bound: bool(certificate.active),
        Status.stalled: not certificate.passed,
    }
    found = tuple(status for status, holds in held.items() if holds)
    return found or (Status.converged,)
