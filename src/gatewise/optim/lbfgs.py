"""Batched limited-memory BFGS in a box, by two-metric projection."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from .batch import RUNNING, Walk, descend, pick
from .box import Box, free_set, project, projected_gradient
from .result import Objective, OnIter, Reason, Result
from .trial import TrialPoint, decrease, dot, evaluate, largest, shrinkage

__all__ = ["lbfgs"]

BACKTRACKS = 10
ARMIJO = 1e-4


class LbfgsMemory(NamedTuple):
    """What a member remembers.

    steps, changes : (s, history, P), of position and of gradient, oldest first, zero where there is none;
    direction : (s, P);  share : (s,), of the direction to try;  tries : (s,), trials refused since the last
    accepted.
    """

    steps: Tensor
    changes: Tensor
    direction: Tensor
    share: Tensor
    tries: Tensor


def lbfgs(
    fun: Objective,
    x0: Tensor,
    lower: Tensor | float | None,
    upper: Tensor | float | None,
    *,
    tol: float = 1e-6,
    max_iter: int = 200,
    history: int = 10,
    deadline: float | None = None,
    on_iter: OnIter | None = None,
) -> Result:
    """Minimise a batch of smooth functions in a box by L-BFGS with projected backtracking.

    Members are independent: each has its own curvature pairs, step and free set, and none waits for
    another's line search. After ten refused trials a member starts again from the steepest descent; after
    ten more it ends as `stalled`.

    Parameters
    ----------
    fun : Objective
        Called at order 1.
    x0 : Tensor, shape (S, P)
        Starts, projected onto the box.
    lower, upper : Tensor that broadcasts to (S, P), float or None
    tol : float
        A member has converged when no modulus of its projected gradient exceeds this. Nothing else decides
        it.
    max_iter : int
        Accepted steps per member.
    history : int
        Curvature pairs kept.
    deadline : float, optional
        Instant of `time.monotonic` after which running members end with reason `time`.
    on_iter : callable, optional

    References
    ----------
    Bertsekas (1982), Projected Newton methods for optimization problems with simple constraints.
    """
    begin, judge = partial(_begin, history=history), partial(_judge, tol=tol)
    return descend(fun, x0, lower, upper, 1, begin, judge, _advance, max_iter, deadline, on_iter)


def _begin(point: TrialPoint, box: Box, history: int) -> LbfgsMemory:
    pairs = point.x.new_zeros(len(point.x), history, point.x.shape[1])
    tries = torch.zeros_like(point.value)
    return LbfgsMemory(pairs, pairs, -point.gradient, _first_share(point), tries)


def _first_share(point: TrialPoint) -> Tensor:
    return torch.clamp(1.0 / torch.linalg.vector_norm(point.gradient, dim=-1), max=1.0)


def _judge(walk: Walk[LbfgsMemory], tol: float) -> Tensor:
    point = walk.point
    flat = largest(projected_gradient(point.x, point.gradient, *walk.box)) <= tol
    reason = torch.full_like(walk.members, RUNNING)
    reason = reason.masked_fill(walk.memory.tries >= 2 * BACKTRACKS, Reason.stalled)
    return reason.masked_fill(flat, Reason.converged)


def _advance(walk: Walk[LbfgsMemory], fun: Objective) -> Walk[LbfgsMemory]:
    point, memory, box = walk.point, walk.memory, walk.box
    aim = project(point.x + memory.share[:, None] * memory.direction, box)
    trial = evaluate(fun, aim, walk.members, 1)
    slope = dot(point.gradient, trial.x - point.x)
    fall, _ = decrease(point, trial)
    accepted = (slope < 0) & (fall >= -ARMIJO * slope) & torch.isfinite(trial.value)
    moved = pick(accepted, trial, point)
    ahead = _aim(moved, box, _learn(point, trial, memory))
    memory = pick(accepted, ahead, _back(point, memory, shrinkage(slope, point.value - trial.value)))
    return Walk(walk.members, box, moved, walk.n_iter + accepted, walk.n_pass + 1, memory)


def _learn(old: TrialPoint, new: TrialPoint, memory: LbfgsMemory) -> LbfgsMemory:
    """After an accepted trial: its curvature pair kept if positive, and the share to set out with."""
    step, change = new.x - old.x, new.gradient - old.gradient
    keep = _positive(dot(step, change), step, change)
    push = keep[:, None, None]
    steps = torch.where(push, torch.cat([memory.steps[:, 1:], step[:, None]], 1), memory.steps)
    changes = torch.where(push, torch.cat([memory.changes[:, 1:], change[:, None]], 1), memory.changes)
    # Without positive curvature the step was short: set out four times as far.
    share = torch.where(keep, 1.0, (4.0 * memory.share).clamp(min=1.0))
    return LbfgsMemory(steps, changes, memory.direction, share, torch.zeros_like(memory.tries))


def _positive(inner: Tensor, step: Tensor, change: Tensor) -> Tensor:
    """Whether s'y > eps ||s|| ||y||."""
    norms = torch.linalg.vector_norm(step, dim=-1) * torch.linalg.vector_norm(change, dim=-1)
    return torch.gt(inner, torch.finfo(inner.dtype).eps * norms)


def _back(point: TrialPoint, memory: LbfgsMemory, factor: Tensor) -> LbfgsMemory:
    """After a refused trial: a shorter one, or, when enough were refused, steepest descent without pairs."""
    tries = memory.tries + 1
    blank = torch.zeros_like(memory.steps)
    fresh = LbfgsMemory(blank, blank, -point.gradient, _first_share(point), tries)
    return pick(tries == BACKTRACKS, fresh, memory._replace(share=memory.share * factor, tries=tries))


def _aim(point: TrialPoint, box: Box, memory: LbfgsMemory) -> LbfgsMemory:
    """A new direction at `point`: quasi-Newton on the free coordinates, steepest descent on the others."""
    gradient = point.gradient
    slope = largest(projected_gradient(point.x, gradient, *box))[:, None]
    # Coordinates about to reach a bound follow the plain gradient: a bent quasi-Newton path need not descend.
    margin = torch.minimum(slope.clamp(max=1e-3), 0.01 * (box.upper - box.lower))
    free = free_set(point.x, gradient, *box, margin)
    steps, changes = memory.steps * free[:, None], memory.changes * free[:, None]
    direction, scaling = _quasi_newton(gradient * free, steps, changes)
    descends = _positive(-1e-6 * dot(direction, gradient), direction, gradient * free)
    good = descends & (scaling > 0)
    scaling = torch.where(good, scaling, 1.0)[:, None]
    direction = torch.where(free & good[:, None], direction, -scaling * gradient)
    share = memory.share * torch.where(good, 1.0, _first_share(point))
    return memory._replace(direction=direction, share=share)


def _quasi_newton(gradient: Tensor, steps: Tensor, changes: Tensor) -> tuple[Tensor, Tensor]:
    """Quasi-Newton direction, (s, P), and the scaling of its initial matrix, (s,), 0 without any pair.

    The compact form of Byrd, Nocedal and Schnabel (1994, theorem 2.2) takes a dozen products of matrices where the
    recursion takes several for every pair.
    """
    inner = dot(steps, changes)
    usable = _positive(inner, steps, changes)
    steps, changes = steps * usable[..., None], changes * usable[..., None]
    squares = changes @ changes.mT
    newest = usable & (usable.flip(-1).cumsum(-1).flip(-1) == 1)
    scaling = torch.where(newest, inner / squares.diagonal(dim1=-2, dim2=-1), 0.0).sum(-1)
    start = torch.where(scaling > 0, scaling, 1.0)[:, None, None]
    right = (steps @ changes.mT).triu() + torch.diag_embed((~usable).to(steps))
    column = gradient[..., None]
    share = torch.linalg.solve_triangular(right, steps @ column, upper=True)
    middle = torch.where(usable, inner, 0.0)[..., None] * share + start * (squares @ share - changes @ column)
    back = torch.linalg.solve_triangular(right.mT, middle, upper=False)
    direction = start * (changes.mT @ share - column) - steps.mT @ back
    return direction[..., 0], scaling
