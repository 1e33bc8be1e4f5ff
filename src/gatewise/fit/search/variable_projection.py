"""Variable projection: experts that are linear in their parameters are solved for, and the gates alone are searched.

For given gates ``f_G`` is a linear model with the columns ``W_l design``; its coefficients follow from an orthogonal
factor that is updated block by block. The objective that is left has the gradient of the whole one, and the Hessian
``H_gg - H_ge H_ee^+ H_eg`` (Golub and Pereyra 1973; with Gauss-Newton products that of Kaufman 1975).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gatewise.core.mixture import leaf_weights
from gatewise.fit.problem import Problem, evaluate
from gatewise.objective.rows import block_size
from gatewise.objective.squares import ungrouped
from gatewise.optim import Result, newton

RANK = 1e-11  # singular values below this, of columns of unit length, are zero


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


def solved(problem: Problem, parts: LinearSplit, free: Tensor) -> Tensor:
    """Return free coordinates (S, P) with the least-squares experts, of least norm where these are not unique."""
    parameterization = problem.parameterization
    mixture = parameterization.mixture
    measure = parameterization.measure(free)
    leaves, q, columns = parts.linear.shape
    width = leaves * columns
    size = block_size(len(free) * (width + q))
    factor = free.new_zeros(len(free), 0, width + q)
    for block in map(ungrouped, problem.rows.blocks(size)):
        params = {name: value.flatten(1, mixture.depth)[:1] for name, value in measure.experts.items()}
        design = mixture.expert.value_and_derivatives(params, block.x).jacobian.reshape(columns, -1)
        weights = leaf_weights(mixture, measure, block.gate_x)
        left = (weights.unsqueeze(-2) * design).flatten(1, 2)
        known = 0.0 if block.offset is None else block.offset * weights.sum(-2, keepdim=True)
        both = torch.cat([left, (block.y - known).expand(len(free), -1, -1)], 1)
        both = both if block.weight is None else both * block.weight.sqrt()
        factor = torch.linalg.qr(torch.cat([factor, both.mT], 1), mode="r").R
    coefficients = _least_norm(factor[:, :width, :width], factor[:, :width, width:])
    out = free.clone()
    out[:, parts.linear.flatten()] = coefficients.unflatten(1, (leaves, columns)).permute(0, 1, 3, 2).flatten(1)
    return out


def _least_norm(matrix: Tensor, right: Tensor) -> Tensor:
    """Solve ``matrix x = right`` for triangular factors (S, p, p), leaving null directions of scaled columns at 0."""
    matrix, right = torch.nan_to_num(matrix, 0.0, 0.0, 0.0), torch.nan_to_num(right, 0.0, 0.0, 0.0)
    if matrix.shape[-2] < matrix.shape[-1]:  # fewer rows than columns
        short = matrix.shape[-1] - matrix.shape[-2]
        matrix = torch.nn.functional.pad(matrix, (0, 0, 0, short))
        right = torch.nn.functional.pad(right, (0, 0, 0, short))
    length = matrix.norm(dim=-2, keepdim=True).clamp_min(1e-300)
    left, sizes, turned = torch.linalg.svd(matrix / length)
    inverse = torch.where(sizes > RANK * sizes[:, :1].clamp_min(1e-300), 1.0 / sizes, 0.0)
    return (turned.mT @ (inverse.unsqueeze(-1) * (left.mT @ right))) / length.mT


def search(problem: Problem, parts: LinearSplit, free: Tensor, max_iter: int, deadline: float | None) -> Tensor:
    """Search over the gates alone from free coordinates (S, P); return where it ends with the experts solved for."""
    rest, linear = parts.rest, parts.linear.flatten()

    def whole(gates: Tensor) -> Tensor:
        full = gates.new_zeros(len(gates), problem.parameterization.size)
        full[:, rest] = gates
        return solved(problem, parts, full)

    def fun(gates: Tensor, members: Tensor, order: int) -> tuple[Tensor, ...]:
        value, gradient, curvature = evaluate(problem, whole(gates), 2)
        cross = curvature[:, rest][:, :, linear]
        inner = torch.nan_to_num(curvature[:, linear][:, :, linear], 0.0, 0.0, 0.0)
        reduced = (
            curvature[:, rest][:, :, rest] - cross @ torch.linalg.pinv(inner, rtol=1e-12, hermitian=True) @ cross.mT
        )
        return value, gradient[:, rest], reduced

    bounds = problem.parameterization.lower[rest], problem.parameterization.upper[rest]
    done: Result = newton(
        fun, free[:, rest], *bounds, tol_gradient=1e-8, scale=problem.total, max_iter=max_iter, deadline=deadline
    )
    return whole(done.x)
