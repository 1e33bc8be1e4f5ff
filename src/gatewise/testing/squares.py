"""The law of a sum of squares: its value and derivatives, for any link."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from gatewise.core.families import MeanOnly
from gatewise.core.mixture import regression
from gatewise.objective import squares
from gatewise.objective.parameterization import make_parameterization
from gatewise.objective.rows import Block
from gatewise.testing.compare import assert_close, batched_derivatives
from gatewise.testing.mixtures import blocks_with_units
from gatewise.testing.problems import ExampleProblem, generator, sizes


def law_squares(problem: ExampleProblem) -> None:
    """Value, gradient and Hessian of ``-1/2 sum_i w_i ||y_i - f_G(x_i)||^2`` in free coordinates are automatic ones.

    For rows, weighted rows and units, whose rows count one by one; the Gauss-Newton product is minus ``sum w df df'``.
    Gates with jumps (top-k) are left out.

    Parameters
    ----------
    problem : ExampleProblem

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import law_squares, make_problem
    >>> problem = make_problem(Mixture((GATES["softmax"],), (2,)), d=3)
    >>> law_squares(problem)
    """
    if not all(gate.link.smooth for gate in problem.mixture.gates):
        return
    q = sizes(problem)[2]
    mixture = replace(problem.mixture, family=MeanOnly(), shared=())
    parameterization = make_parameterization(mixture, *sizes(problem), gauge="none")
    free = parameterization.free(problem.measure._replace(family={}))
    noise = torch.randn(q, problem.x.shape[-1], generator=generator(problem.seed + 30), dtype=torch.float64)
    for where, given in blocks_with_units(problem).items():
        y = noise[:, : given.x.shape[-1]]
        block = given._replace(y=y)
        unit = torch.arange(y.shape[-1]) if block.unit is None else block.unit
        rows = Block(block.x, block.gate_x[:, unit], y, None if block.weight is None else block.weight[unit])

        def residual(at: Tensor, rows: Block = rows) -> Tensor:
            return rows.y - regression(mixture, parameterization.measure(at), rows.x, rows.gate_x)

        def slow(at: Tensor, rows: Block = rows) -> Tensor:
            weight = torch.ones(rows.x.shape[-1], dtype=torch.float64) if rows.weight is None else rows.weight
            return -0.5 * (residual(at, rows) ** 2 * weight).sum((-1, -2))

        measure, natural = parameterization.measure(free[None]), parameterization.constrained(free[None])
        expected = batched_derivatives(slow, free)
        assert_close(squares.value(mixture, measure, block)[0][0], expected[0], f"squares of {where}: value", 1e-9)
        first = squares.gradient(mixture, measure, block)
        assert_close(
            parameterization.pull_gradient(natural, first[1])[0], expected[1], f"squares of {where}: gradient", 1e-9
        )
        value, local, curvature = squares.hessian(mixture, measure, block)
        hessian = parameterization.pull_hessian(natural, local, curvature)[0]
        assert_close(value[0], expected[0], f"squares of {where}: value with the Hessian", 1e-9)
        assert_close(local, first[1], f"squares of {where}: gradient with the Hessian")
        assert_close(hessian, expected[2], f"squares of {where}: Hessian", 1e-9)
        slopes = torch.func.jacrev(lambda at, rows=rows: residual(at[None], rows)[0])(free)
        weighed = slopes if rows.weight is None else slopes * rows.weight[:, None]
        product = torch.einsum("qnp,qnr->pr", weighed, slopes)
        _, local, curvature = squares.gauss_newton(mixture, measure, block)
        near = parameterization.pull_hessian(natural, torch.zeros_like(local), curvature)[0]
        assert_close(near, -product, f"squares of {where}: Gauss-Newton product", 1e-9)
