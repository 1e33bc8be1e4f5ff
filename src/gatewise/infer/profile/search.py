"""One end of a profile interval: the root of the likelihood ratio along one coordinate, the others at their best."""

from __future__ import annotations

from enum import StrEnum
from math import inf, nan, sqrt
from typing import NamedTuple

import torch
from torch import Tensor

from gatewise.fit.problem import Problem, evaluate, newton_polish
from gatewise.optim import projected_gradient

DOUBLINGS = 12  # of the first step before the profile is called flat: farther out rounding rules
ROUNDS = 60  # evaluations of the root search
FINE = 1e-8  # of the root of the likelihood ratio
STILL = 1e-7  # projected gradient at which the other parameters are optimal, where rounding hides more
RISE = 1e-3  # log-likelihood above the fit's own that counts as a better optimum


class ProfileEnd(StrEnum):
    """How the search for one end of a profile interval came out."""

    crossed = "crossed"
    flat = "the profile does not cross: the interval is open on this side"
    bound = "the parameter meets a bound before the profile crosses"
    stalled = "the other parameters could not be optimised"
    better = "a better optimum was found on the way: the fit is not the best one"
    refused = "refused"


class ProfileSide(NamedTuple):
    """One side of the estimate: the root of the likelihood ratio as a function of one free coordinate."""

    problem: Problem
    column: int
    best: float
    sign: int

    def height(self, at: float, start: Tensor) -> tuple[float, Tensor, ProfileEnd]:
        """Return ``sqrt(2 (l - max l))`` with the coordinate held at `at`, and where the others went.

        They start where they were, and from there moved along with the held one; the better end counts.
        """
        parameterization = self.problem.parameterization
        lower, upper = parameterization.lower.repeat(2, 1), parameterization.upper.repeat(2, 1)
        starts = torch.stack([start, start + (at - float(start[self.column])) * self.tangent(start)])
        starts[:, self.column] = lower[:, self.column] = upper[:, self.column] = at
        done = newton_polish(self.problem, starts, 100, box=(lower, upper))
        kept = int(done.value.argmin())
        fall = self.problem.total * (float(done.value[kept]) - self.best)
        left = projected_gradient(done.x, done.gradient, lower, upper)[kept].abs().max()
        state = ProfileEnd.crossed if bool(done.converged[kept]) or float(left) <= STILL else ProfileEnd.stalled
        return sqrt(2 * max(fall, 0.0)), done.x[kept], ProfileEnd.better if fall < -RISE else state

    def tangent(self, start: Tensor) -> Tensor:
        """Return the direction (P,) in which the optimum of the others moves as the held coordinate grows by one."""
        curvature = evaluate(self.problem, start[None], 2)[2][0]
        others = torch.ones(len(start), dtype=torch.bool)
        others[self.column] = False
        move = torch.zeros_like(start)
        inner = curvature[others][:, others]
        size = inner.diagonal().abs().sqrt().clamp_min(1e-150)  # a saturated gate has little curvature, but has it
        inverse = torch.linalg.pinv(inner / size / size[:, None], hermitian=True)
        move[others] = -(inverse @ (curvature[others, self.column] / size)) / size
        return move


def find_end(side: ProfileSide, free: Tensor, width: float, step: float) -> tuple[float, ProfileEnd]:
    """Return where the root of the likelihood ratio reaches `width` on one side."""
    parameterization, column = side.problem.parameterization, side.column
    limit = float((parameterization.upper if side.sign > 0 else parameterization.lower)[column])
    inside, low, where = float(free[column]), 0.0, free
    for doubling in range(DOUBLINGS):
        at = side.sign * min(side.sign * (float(free[column]) + side.sign * step * 2**doubling), side.sign * limit)
        high, there, state = side.height(at, where)
        if state is not ProfileEnd.crossed:
            return nan, state
        if high >= width:
            return _root(side, (inside, low), (at, high), where, width)
        if at == limit:
            return at, ProfileEnd.bound
        inside, low, where = at, high, there
    return side.sign * inf, ProfileEnd.flat


def _root(
    side: ProfileSide, inner: tuple[float, float], outer: tuple[float, float], where: Tensor, width: float
) -> tuple[float, ProfileEnd]:
    """Return the crossing between two coordinates by the Illinois method; the height is close to a straight line."""
    (a, fa), (b, fb) = (inner[0], inner[1] - width), (outer[0], outer[1] - width)
    at, moved = b, 0
    for _ in range(ROUNDS):
        at = (a * fb - b * fa) / (fb - fa)
        height, there, state = side.height(at, where)
        if state is not ProfileEnd.crossed:
            return nan, state
        f = height - width
        if abs(f) <= FINE or abs(b - a) <= 1e-14 * max(abs(a), abs(b)):
            break
        if f < 0:  # an end that stays twice in a row counts half
            fb = 0.5 * fb if moved < 0 else fb
            a, fa, where, moved = at, f, there, -1
        else:
            fa = 0.5 * fa if moved > 0 else fa
            b, fb, moved = at, f, 1
    return at, ProfileEnd.crossed
