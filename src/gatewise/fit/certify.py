"""The certificate: local optimality, soundness, and what cannot be estimated."""

from __future__ import annotations

from operator import add
from typing import NamedTuple

import torch
from torch import Tensor

from gatewise.core.families import Family
from gatewise.core.mixture import Measure
from gatewise.core.names import path_of
from gatewise.fit.directions import spectrum
from gatewise.fit.flat import Neighbourhood, classify_flat_directions, explore
from gatewise.fit.floor import Scales, relative_scales, rows_beyond_chance, rows_needed
from gatewise.fit.problem import Problem, evaluate
from gatewise.fit.result import GAIN, Certificate
from gatewise.fit.status import Status
from gatewise.objective.accumulate import accumulate
from gatewise.objective.parameterization import Parameterization
from gatewise.objective.rows import MOST, Rows
from gatewise.optim import decrement, projected_gradient

GRADIENT = 1e-8  # projected gradient of the weighted-mean objective, in units of its curvature where that exceeds 1
DECREMENT = 1e-8  # Newton decrement times n
CURVATURE = -1e-8  # least eigenvalue in units of the diagonal
NULL = 1e-11  # eigenvalues below this, in units of the diagonal, are zero


class Soundness(NamedTuple):
    """Per member: scales on their floor (S, P), leaves with too few observations (S, L), and which are sound (S,)."""

    floor: Tensor
    starved: Tensor
    sound: Tensor


def soundness(problem: Problem, free: Tensor) -> Soundness:
    """Return what is unsound about free coordinates (S, P).

    A scale within 1e-6 (relative) of its floor is on it, and so is a shape at an end at which its law has no noise. A
    leaf is starved whose total responsibility (in least squares: weight) is below its number of parameters per output
    plus one; of responses with many trials each trial counts. A small scale needs more (`rows_needed`). A starved leaf
    is unsound only where few rows can make the likelihood as large as they like, which a leaf without parameters never
    does.
    """
    parameterization = problem.parameterization
    if not parameterization.size:  # nothing is estimated
        nothing = torch.zeros(len(free), 0, dtype=torch.bool)
        starved = nothing.new_zeros(len(free), parameterization.mixture.n_leaves)
        return Soundness(nothing, starved, nothing.new_ones(len(free)))
    lower, upper = parameterization.lower, parameterization.upper
    floor = torch.zeros_like(free, dtype=torch.bool)
    if problem.floor is not None:
        away = torch.where(problem.floor < 0, free - lower, upper - free)
        floor = (away < 1e-6) & (problem.floor != 0) & (upper > lower)
    measure, family = parameterization.measure(free), parameterization.mixture.family
    rows, own = _rows_of_leaves(problem, measure), leaf_parameters(parameterization)
    least = own / family.outputs(problem.rows.y.shape[1]) + 1
    starved = rows < rows_needed(
        parameterization.mixture, measure, Scales(problem.tiny, problem.narrow), least, problem.total
    )
    return Soundness(floor, starved, ~floor.any(-1) & (~(starved & (own > 0)).any(-1) | family.bounded))


def _rows_of_leaves(problem: Problem, measure: Measure) -> Tensor:
    """Return the total responsibility (S, L) of every leaf, in rows."""
    mixture = problem.parameterization.mixture
    q = mixture.family.outputs(problem.rows.y.shape[1])
    width = measure.members * 2 * mixture.n_leaves
    (mass,) = accumulate(problem.loss.mass, mixture, measure, problem.rows, width)
    if not mixture.family.has_density:  # the optimum of a sum of squares does not depend on the size of weights
        mass = mass * (q * problem.rows.n / problem.total)
    return mass / q


def chance_leaves(problem: Problem, free: Tensor) -> tuple[int, ...]:
    """Return the leaves at free coordinates (P,) whose small scale rests on rows that chance places so close."""
    parameterization = problem.parameterization
    mixture, measure = parameterization.mixture, parameterization.measure(free[None])
    if mixture.family.bounded or not mixture.family.has_density:
        return ()
    rows = _rows_of_leaves(problem, measure)[0].tolist()
    share = relative_scales(mixture, measure, Scales(problem.tiny, problem.narrow))[0].tolist()
    own = (leaf_parameters(parameterization) / mixture.family.outputs(problem.rows.y.shape[1])).tolist()
    needed = [rows_beyond_chance(*each, problem.total) for each in zip(share, own, strict=True)]
    return tuple(leaf for leaf, (found, least) in enumerate(zip(rows, needed, strict=True)) if found < least)


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
    return problem.rows.fold(_responses, add, problem.parameterization.mixture.family)


def _responses(rows: Rows, family: Family) -> float:
    return sum(float(family.responses(block.y).sum()) for block in rows.blocks(MOST))


class Optimality(NamedTuple):
    """Projected gradient, Newton decrement in nats and least curvature, and whether all are within their tolerances."""

    gradient: float
    decrement: float
    curvature: float

    @property
    def passed(self) -> bool:
        """Whether the point is a local optimum, flat directions aside."""
        return self.gradient <= GRADIENT and self.decrement <= DECREMENT and self.curvature >= CURVATURE


def optimality(problem: Problem, free: Tensor, here: Neighbourhood, pinned: Tensor | None) -> Optimality:
    """Return what the derivatives at a point (P,) say, coordinates that are `pinned` (P,) left out."""
    at = here.at
    lower, upper = problem.parameterization.lower, problem.parameterization.upper
    open_ = at.open if pinned is None else at.open & ~pinned
    residual = projected_gradient(free[None], at.gradient[None], lower[None], upper[None])[0]
    residual = residual / at.hessian.diagonal().clamp_min(1.0).sqrt()
    gradient = max((residual if pinned is None else residual[~pinned]).abs().tolist(), default=0.0)
    values, _ = spectrum(at.hessian, open_, here.gauge)
    flat = values.abs() < NULL
    curvature = float(values[~flat].min()) if bool((~flat).any()) else 0.0
    spent = problem.total * float(decrement(at.gradient[None], at.hessian[None], open_[None])[0])
    return Optimality(gradient, spent, curvature)


def certify(
    problem: Problem,
    free: Tensor,
    kinks: tuple[str, ...] = (),
    pinned: Tensor | None = None,
    gain: float = 0.0,
    here: Neighbourhood | None = None,
    deadline: float | None = None,
) -> tuple[Certificate, tuple[str, ...]]:
    """Certify one point (P,), and return the paths of all parameters along its null directions too.

    Parameters
    ----------
    kinks : names of parameters that sit on a kink and passed the test for a local optimum there
    pinned : mask (P,) of their coordinates, which are left out of gradient and curvature
    gain : what further steps still gained, in nats
    here : what is known of the point already
    """
    parameterization = problem.parameterization
    if not parameterization.size:  # nothing is estimated, so nothing can be better
        known = bool(evaluate(problem, free[None], 0)[0].isfinite())
        return Certificate(gradient=0.0, decrement=0.0, curvature=0.0, rank=0, passed=known), ()
    state = soundness(problem, free[None])
    on_floor = state.floor[0]
    seen = Certificate(
        gradient=torch.inf,
        decrement=torch.inf,
        curvature=-torch.inf,
        rank=parameterization.size,
        floor=tuple(parameterization.names[i] for i in on_floor.nonzero()[:, 0].tolist()),
        starved=tuple(state.starved[0].nonzero()[:, 0].tolist()),
        kinks=kinks,
        gain=gain,
    )
    here = here or explore(problem, free, pinned, deadline)
    if here is None:
        return seen, ()
    local = optimality(problem, free, here, pinned)
    flat = classify_flat_directions(problem, free, here.weak, deadline)
    bound = ~here.at.open & ~on_floor & (parameterization.upper > parameterization.lower)
    names = [parameterization.names[i] for i in bound.nonzero()[:, 0].tolist()]
    given = [name for name in names if path_of(name) in problem.bounded]
    limits = tuple(name for name in names if name not in given and parameterization.end(name, free)[2])
    active = tuple(name for name in names if name not in limits)
    rank = int((parameterization.upper > parameterization.lower).sum())
    rank -= here.gauge.shape[1] + flat.lost + len(limits)
    found = seen._replace(
        **local._asdict(),
        rank=rank,
        null=flat.null,
        separated=flat.separated,
        active=active,
        limits=limits,
        crowded=responses(problem) < rank,
        passed=local.passed and gain <= GAIN and flat.complete,
        classified=flat.complete,
    )
    return found, flat.moved


def flags(certificate: Certificate, parameterization: Parameterization) -> tuple[Status, ...]:
    """Return every status that holds, by precedence."""
    few, mixture = bool(certificate.starved), parameterization.mixture
    own = leaf_parameters(parameterization)
    unsound = any(own[leaf] > 0 for leaf in certificate.starved) and not mixture.family.bounded
    held = {
        Status.unsound: bool(certificate.floor) or unsound,
        Status.separated: bool(certificate.separated),
        Status.unidentified: bool(certificate.null or parameterization.held) or certificate.crowded or few,
        Status.at_kink: bool(certificate.kinks),
        Status.at_bound: bool(certificate.active),
        Status.stalled: not certificate.passed,
    }
    found = tuple(status for status, holds in held.items() if holds)
    return found or (Status.converged,)
