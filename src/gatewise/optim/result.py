"""What a minimiser is given and what it hands back."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import IntEnum
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

__all__ = ["Objective", "OnIter", "Reason", "Result", "late"]


class Objective(Protocol):
    """A batch of functions of `P` coordinates, one function per member.

    ``fun(x, members, order)`` takes `x` of shape (s, P) and the original row numbers `members`, shape (s,),
    of the members still running. It returns ``(value,)`` for order 0, ``(value, gradient)`` for order 1 and
    ``(value, gradient, hessian)`` for order 2, of shapes (s,), (s, P), (s, P, P). Anything not finite marks
    the point as infeasible: it counts as +inf and is never accepted.
    """

    def __call__(self, x: Tensor, members: Tensor, order: int, /) -> tuple[Tensor, ...]: ...


OnIter = Callable[[int, Tensor, Tensor], None]
"""``on_iter(iteration, members, value)``, called after each iteration with the members still running."""


def late(deadline: float | None, needed: float = 0.0) -> bool:
    """Return whether an instant of `time.monotonic` comes before `needed` seconds have passed; None never does."""
    return deadline is not None and time.monotonic() + needed >= deadline


class Reason(IntEnum):
    """Why a member stopped. Only `converged` certifies a stationary point."""

    converged = 0
    max_iter = 1
    stalled = 2
    time = 3


class Result(NamedTuple):
    """The end of every member of a batch.

    Attributes
    ----------
    x, gradient : Tensor, shape (S, P)
    value : Tensor, shape (S,)
        +inf where the start itself was infeasible.
    n_iter, n_pass : Tensor of int64, shape (S,)
        Iterations, and evaluations of the objective (the start included).
    reason : Tensor of int64, shape (S,)
        Codes of `Reason`.
    """

    x: Tensor
    value: Tensor
    gradient: Tensor
    n_iter: Tensor
    n_pass: Tensor
    reason: Tensor

    @property
    def converged(self) -> Tensor:
        """Which members converged: bool, shape (S,)."""
        return torch.eq(self.reason, Reason.converged)


def unmoved(x: Tensor, value: Tensor, gradient: Tensor) -> Result:
    """Return the result of a method that had no time to begin."""
    none = torch.zeros(len(x), dtype=torch.int64)
    return Result(x, value, gradient, none, none + 1, none + Reason.time)
