"""Variable projection: experts that are linear in their parameters are solved for, and the gates alone are searched.

For given gates ``f_G`` is a linear model; its coefficients follow from the normal equations, which are the Gauss-Newton
product and gradient of the experts at zero. The objective that is left has the gradient of the whole one, and the
Hessian ``H_gg - H_ge H_ee^+ H_eg`` (Golub and Pereyra 1973; with Gauss-Newton products that of Kaufman 1975). What
rounding leaves of the experts' gradient is taken off by the same equations.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from gatewise.fit.problem import GAUSS_NEWTON, Problem, evaluate
from gatewise.optim import Result, newton

RIDGE = 1e-12  # added to normal equations with a diagonal of ones: what is smaller than this is not solved for


class LinearSplit(NamedTuple):
    """Free coordinates of the experts ``(L, q, P)``, linear ones, and all the others ``(R,)``."""

    linear: Tensor
    rest: Tensor


def split(problem: Problem) -> LinearSplit | None:
    """Return which coordinates can be solved for; None when experts are not linear, tied, held or bounded."""
    parameterization = problem.parameterization
    mixture = parameterization.mixture
    if not mixture.expert.linear:
        return None
    paths = [path for path in parameterization.shapes if path.startswith("experts.")]
    q = parameterization.shapes[paths[0]][mixture.depth]
    linear = torch.cat([parameterization.columns(path).reshape(mixture.n_leaves, q, -1) for path in paths], -1)
    flat = linear.flatten()
    unbounded = bool((parameterization.lower[flat].isinf() & parameterization.upper[flat].isinf()).all())
    if bool((flat < 0).any()) or len(flat.unique()) < len(flat) or not unbounded:
        return None
    others = torch.ones(parameterization.size, dtype=torch.bool)
    others[flat] = False
    return LinearSplit(linear, others.nonzero()[:, 0])


class NormalEquations(NamedTuple):
    """Factors (S, E, E) of the experts' blocks of the Hessian, scaled to a diagonal of ones, and its roots (S, E)."""

    factor: Tensor
    size: Tensor

    @classmethod
    def of(cls, block: Tensor) -> NormalEquations:
        """Factor blocks (S, E, E); those that are not finite give what is not finite."""
        size = block.diagonal(dim1=-2, dim2=-1).clamp_min(1e-300).sqrt()
        scaled = block / size.unsqueeze(-1) / size.unsqueeze(-2)
        factor, info = torch.linalg.cholesky_ex(scaled + RIDGE * torch.eye(block.shape[-1], dtype=block.dtype))
        return cls(torch.where((info == 0)[:, None, None], factor, torch.nan), size)

    def half(self, right: Tensor) -> Tensor:
        """Return the factor's inverse times what belongs to the experts, (S, E, k)."""
        return torch.linalg.solve_triangular(self.factor, right / self.size.unsqueeze(-1), upper=False)

    def solve(self, right: Tensor) -> Tensor:
        """Return the block's inverse times (S, E)."""
        found = torch.cholesky_solve((right / self.size).unsqueeze(-1), self.factor)
        return found.squeeze(-1) / self.size


def projected(problem: Problem, parts: LinearSplit, free: Tensor) -> tuple[Tensor, NormalEquations]:
    """Return free coordinates (S, P) with the least-squares experts up to rounding, and the equations they solve."""
    linear = parts.linear.flatten()
    out = free.clone()
    out[:, linear] = 0.0
    _, slope, curvature = evaluate(replace(problem, loss=GAUSS_NEWTON), out, 2)
    equations = NormalEquations.of(curvature[:, linear][:, :, linear])
    out[:, linear] = -equations.solve(slope[:, linear])
    return out, equations


def solved(problem: Problem, parts: LinearSplit, free: Tensor) -> Tensor:
    """Return free coordinates (S, P) with the least-squares experts, corrected once for rounding and the ridge."""
    out, equations = projected(problem, parts, free)
    linear = parts.linear.flatten()
    out[:, linear] -= equations.solve(evaluate(problem, out, 1)[1][:, linear])
    return out


def search(problem: Problem, parts: LinearSplit, free: Tensor, max_iter: int, deadline: float | None) -> Tensor:
    """Search over the gates alone from free coordinates (S, P); return where it ends with the experts solved for."""
    rest, linear = parts.rest, parts.linear.flatten()

    def whole(gates: Tensor) -> Tensor:
        full = gates.new_zeros(len(gates), problem.parameterization.size)
        full[:, rest] = gates
        return full

    def fun(gates: Tensor, members: Tensor, order: int) -> tuple[Tensor, ...]:
        full, equations = projected(problem, parts, whole(gates))
        value, gradient, curvature = evaluate(problem, full, 2)
        left = equations.half(gradient[:, linear].unsqueeze(-1))
        cross = equations.half(curvature[:, linear][:, :, rest])
        value = value - 0.5 * left.square().sum((-1, -2))
        slope = gradient[:, rest] - (cross.mT @ left).squeeze(-1)
        return value, slope, curvature[:, rest][:, :, rest] - cross.mT @ cross

    bounds = problem.parameterization.lower[rest], problem.parameterization.upper[rest]
    done: Result = newton(
        fun, free[:, rest], *bounds, tol_gradient=1e-8, scale=problem.total, max_iter=max_iter, deadline=deadline
    )
    return solved(problem, parts, whole(done.x))
