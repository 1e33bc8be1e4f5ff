"""Batched Newton's method in a box: exact Hessian, active set, trust region."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from .batch import RUNNING, Walk, descend, pick
from .box import Box, free_set, projected_gradient
from .result import Objective, OnIter, Reason, Result
from .spectrum import Spectrum, curved, decrement_of, spectrum
from .step import fall_of_model, trust_region_step
from .trial import TrialPoint, decrease, dot, evaluate, largest, shrinkage

__all__ = ["newton"]

# Gradient components below this share of the tolerance count as rounding in null directions.
NOISE = 1e-5
# Trials in a row, within rounding of the value and without halving the gradient, before a member has stalled.
PATIENCE = 5


class NewtonMemory(NamedTuple):
    """What a member remembers; `vain` counts its trials in a row that rounding made worthless."""

    radius: Tensor
    vain: Tensor
    free: Tensor
    spectrum: Spectrum


def newton(
    fun: Objective,
    x0: Tensor,
    lower: Tensor | float | None,
    upper: Tensor | float | None,
    *,
    tol_gradient: float = 1e-8,
    tol_decrement: float = 1e-8,
    scale: Tensor | float = 1.0,
    max_iter: int = 100,
    deadline: float | None = None,
    on_iter: OnIter | None = None,
) -> Result:
    r"""Minimise a batch of smooth functions in a box by Newton's method with a trust region.

    On the free coordinates the step is :math:`-Q (|\Lambda| + \mu)^{-1} Q'g` with the least
    :math:`\mu \ge 0` that keeps it within the radius. Coordinates that reach a bound are held there and the
    others solved for again; negative curvature is followed to the edge of the trust region. Each iteration
    evaluates the objective once, at order 2. Convergence is quadratic at a regular minimum.

    Parameters
    ----------
    fun : Objective
    x0 : Tensor, shape (S, P)
        Starts, projected onto the box.
    lower, upper : Tensor that broadcasts to (S, P), float or None
    tol_gradient, tol_decrement : float
        A member has converged when the largest modulus of its projected gradient and ``scale`` times its
        Newton decrement are within these, and no eigenvalue of its free block is below -1e-9 max(1, largest
        modulus).
    scale : float or Tensor, shape (S,)
        Multiplies the decrement: the number of rows when the objective is a mean.
    max_iter : int
        Trials per member.
    deadline : float, optional
        Instant of `time.monotonic` after which running members end with reason `time`.
    on_iter : callable, optional

    Returns
    -------
    Result
        Reason `stalled`: no decrease beyond rounding is possible, yet the criteria do not hold (a kink,
        noise).

    References
    ----------
    Conn, Gould, Toint, Trust-Region Methods (2000), chapters 7 and 12; Dauphin et al. (2014) for the moduli.
    """
    factor = torch.as_tensor(scale, dtype=x0.dtype, device=x0.device).expand(len(x0))
    judge = partial(_judge, tol_gradient=tol_gradient, tol_decrement=tol_decrement, scale=factor)
    advance = partial(_advance, noise=NOISE * tol_gradient)
    return descend(fun, x0, lower, upper, 2, _begin, judge, advance, max_iter, deadline, on_iter)


def _begin(point: TrialPoint, box: Box) -> NewtonMemory:
    free = free_set(point.x, point.gradient, *box)
    radius = torch.linalg.vector_norm(point.x, dim=-1).clamp(min=1.0)
    return NewtonMemory(radius, torch.zeros_like(radius), free, spectrum(point.hessian, free))


def _judge(walk: Walk[NewtonMemory], tol_gradient: float, tol_decrement: float, scale: Tensor) -> Tensor:
    point, memory = walk.point, walk.memory
    spec = memory.spectrum
    flat = largest(projected_gradient(point.x, point.gradient, *walk.box)) <= tol_gradient
    spent = scale[walk.members] * decrement_of(spec, point.gradient, NOISE * tol_gradient) <= tol_decrement
    stuck = (memory.vain >= PATIENCE) | (memory.radius <= 1e-14 * largest(point.x).clamp(min=1.0))
    reason = torch.full_like(walk.members, RUNNING).masked_fill(stuck, Reason.stalled)
    return reason.masked_fill(flat & spent & ~curved(spec), Reason.converged)


def _advance(walk: Walk[NewtonMemory], fun: Objective, noise: float) -> Walk[NewtonMemory]:
    point, memory, box = walk.point, walk.memory, walk.box
    wanted = trust_region_step(point, box, memory.free, memory.spectrum, memory.radius, noise)
    trial = evaluate(fun, wanted, walk.members, 2)
    step = trial.x - point.x
    promised = fall_of_model(point, step)
    fall, rounding = decrease(point, trial)
    slopes = [largest(projected_gradient(p.x, p.gradient, *box)) for p in (point, trial)]
    within = (point.value - trial.value).abs() <= rounding
    accepted = (promised > 0) & torch.isfinite(trial.value)
    accepted &= (fall > 1e-4 * promised) | (within & (slopes[1] < slopes[0]))
    paid = accepted & (slopes[1] <= 0.5 * slopes[0])
    vain = torch.where((promised <= rounding) & ~paid, memory.vain + 1, 0.0)
    vain = torch.where(promised > 0, vain, torch.inf)
    radius = _radius(point, step, memory.radius, fall, promised, accepted & within)
    moved = pick(accepted, trial, point)
    memory = _look(moved, box, memory, accepted, radius, vain)
    return Walk(walk.members, box, moved, walk.n_iter + 1, walk.n_pass + 1, memory)


def _radius(point: TrialPoint, step: Tensor, radius: Tensor, fall: Tensor, promised: Tensor, keep: Tensor) -> Tensor:
    """Shorter where the model promised too much, longer where it held to the edge of the region."""
    length = torch.linalg.vector_norm(step, dim=-1)
    shorter = length * shrinkage(dot(point.gradient, step), fall)
    longer = torch.where((fall > 0.75 * promised) & (length > 0.7 * radius), 2.5 * length, radius)
    return torch.where((fall < 0.25 * promised) & ~keep, shorter, torch.maximum(longer, radius))


def _look(
    point: TrialPoint, box: Box, memory: NewtonMemory, accepted: Tensor, radius: Tensor, vain: Tensor
) -> NewtonMemory:
    """Free set and spectrum anew for the members that moved."""
    if not accepted.any():
        return memory._replace(radius=radius, vain=vain)
    free = free_set(point.x, point.gradient, *box)
    if accepted.all():
        return NewtonMemory(radius, vain, free, spectrum(point.hessian, free))
    rows = accepted.nonzero()[:, 0]
    new = spectrum(point.hessian[rows], free[rows])
    parts = (old.index_copy(0, rows, part) for old, part in zip(memory.spectrum, new, strict=True))
    return NewtonMemory(radius, vain, free, Spectrum(*parts))
