"""The one loop all minimisers share: judge, drop the finished members, advance the others."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from .box import Box, make_box, project
from .result import Objective, OnIter, Reason, Result
from .trial import TrialPoint, evaluate

__all__ = ["RUNNING", "Walk", "descend", "pick", "take"]

RUNNING = -1
T = TypeVar("T")
M = TypeVar("M")


class Walk(NamedTuple, Generic[M]):
    """The members still running: where they are and what their method remembers, (s, ...) all of it."""

    members: Tensor
    box: Box
    point: TrialPoint
    n_iter: Tensor
    n_pass: Tensor
    memory: M


def take(tree: T, rows: Tensor) -> T:
    """Rows of every tensor of a tree of tuples."""
    taken: T = _each(lambda leaf: leaf[rows], tree)
    return taken


def pick(mask: Tensor, yes: T, no: T) -> T:
    """Per member, the tree `yes` where `mask` (s,) holds, else `no`."""
    picked: T = _each(lambda a, b: torch.where(mask.reshape(-1, *(1,) * (a.ndim - 1)), a, b), yes, no)
    return picked


def _each(function: Callable[..., Tensor], *trees: Any) -> Any:
    if isinstance(trees[0], Tensor):
        return function(*trees)
    return type(trees[0])(*(_each(function, *leaves) for leaves in zip(*trees, strict=True)))


def descend(
    fun: Objective,
    x0: Tensor,
    lower: Tensor | float | None,
    upper: Tensor | float | None,
    order: int,
    begin: Callable[[TrialPoint, Box], M],
    judge: Callable[[Walk[M]], Tensor],
    advance: Callable[[Walk[M], Objective], Walk[M]],
    max_iter: int,
    deadline: float | None,
    on_iter: OnIter | None,
) -> Result:
    """Run the method given by `begin`, `judge` (a reason or `RUNNING`) and `advance` from `x0` to its end."""
    if x0.ndim != 2 or x0.dtype != torch.float64:
        raise ValueError(f"x0 has shape {tuple(x0.shape)} and dtype {x0.dtype}: pass float64 of shape (S, P)")
    box, members = make_box(lower, upper, x0), torch.arange(len(x0), device=x0.device)
    point = evaluate(fun, project(x0.detach(), box), members, order)
    count = torch.zeros_like(members)
    reason = torch.where(torch.isinf(point.value), int(Reason.stalled), int(Reason.converged))
    result = Result(point.x.clone(), point.value.clone(), point.gradient.clone(), count, count + 1, reason)
    if not x0.shape[1]:
        return result
    walk = Walk(members, box, point, count.clone(), count + 1, begin(point, box))
    iteration = 0
    while len(walk.members):
        late = deadline is not None and time.monotonic() >= deadline
        reason = _limits(walk, judge(walk), max_iter, late)
        done = reason != RUNNING
        if done.any():
            _record(result, take(walk, done), reason[done])
            walk = take(walk, ~done)
            if not len(walk.members):
                break
        walk = advance(walk, fun)
        iteration += 1
        if on_iter is not None:
            on_iter(iteration, walk.members, walk.point.value)
    return result


def _limits(walk: Walk[M], reason: Tensor, max_iter: int, late: bool) -> Tensor:
    """The method's verdict, then what ends a walk whatever its method."""
    running = reason == RUNNING
    reason = reason.masked_fill(running & (walk.n_iter >= max_iter), Reason.max_iter)
    if late:
        reason = reason.masked_fill(reason == RUNNING, Reason.time)
    return reason.masked_fill(torch.isinf(walk.point.value), Reason.stalled)


def _record(result: Result, walk: Walk[M], reason: Tensor) -> None:
    point = walk.point
    ends = (point.x, point.value, point.gradient, walk.n_iter, walk.n_pass, reason)
    for whole, part in zip(result, ends, strict=True):
        whole[walk.members] = part
