"""Points, their evaluation, and the test whether a trial is better: shared by all minimisers."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .result import Objective

__all__ = ["TrialPoint", "decrease", "dot", "evaluate", "largest", "shrinkage"]


class TrialPoint(NamedTuple):
    """Positions (s, P), values (s,), gradients (s, P) and Hessians (s, P, P), or (s, 0, 0) below order 2."""

    x: Tensor
    value: Tensor
    gradient: Tensor
    hessian: Tensor


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner product over the last dimension."""
    return (a * b).sum(-1)


def largest(a: Tensor) -> Tensor:
    """Largest modulus over the last dimension, (s,); 0 when it is empty."""
    return torch.linalg.vector_norm(a, torch.inf, -1) if a.shape[-1] else a.sum(-1)


def evaluate(fun: Objective, x: Tensor, members: Tensor, order: int) -> TrialPoint:
    """Value and derivatives at `x`; members with anything not finite get value +inf and zero derivatives."""
    parts = [part.detach() for part in fun(x, members, order)]
    hessian = parts[2] if order == 2 else x.new_empty(len(x), 0, 0)
    # A sum is finite only if all its terms are, and infinite times zero is not zero.
    finite = ((parts[0] + parts[1].sum(-1) + hessian.sum((-1, -2))) * 0).eq(0)
    if finite.all():
        return TrialPoint(x, parts[0], parts[1], hessian)
    return TrialPoint(
        x,
        parts[0].masked_fill(~finite, torch.inf),
        parts[1].masked_fill(~finite[:, None], 0.0),
        hessian.masked_fill(~finite[:, None, None], 0.0),
    )


def decrease(old: TrialPoint, new: TrialPoint) -> tuple[Tensor, Tensor]:
    """How far the value fell from `old` to `new`, (s,), and the rounding error of that difference, (s,).

    A difference of values within rounding says nothing; there the trapezoid rule -(g_old + g_new)'s / 2,
    which does not cancel, replaces it.
    """
    fall = old.value - new.value
    rounding = 1e-14 * old.value.abs() + 1e-15
    trapezoid = -0.5 * dot(old.gradient + new.gradient, new.x - old.x)
    return torch.where(fall.abs() <= rounding, trapezoid, fall), rounding


def shrinkage(slope: Tensor, fall: Tensor) -> Tensor:
    """Factor in [.1, .25] by which to shorten a step, (s,): the minimiser of the parabola through its ends.

    Parameters
    ----------
    slope : Tensor, shape (s,)
        Inner product of gradient and step.
    fall : Tensor, shape (s,)
        Old value less new value; -inf for an infeasible trial.
    """
    return torch.nan_to_num(0.5 * slope / (slope + fall), nan=0.1).clamp(0.1, 0.25)
