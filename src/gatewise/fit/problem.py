"""A problem: rows, mixture and free coordinates; the one seam through which every fit sums over the data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gatewise.core import derivatives
from gatewise.core.chart import Chart
from gatewise.core.mixture import Measure, Mixture
from gatewise.core.rows import Block, Rows

Stat = Callable[[Mixture, Measure, Block], tuple[Tensor, ...]]

CELLS = 2**20  # numbers in the largest temporary of a block: 8 MiB
FEWEST, MOST = 256, 16384  # rows of a block


@dataclass(frozen=True, eq=False)
class Problem:
    """What is minimised: the weighted mean of minus log density plus a ridge on centred gate slopes.

    Attributes
    ----------
    chart : Chart
    rows : Rows
    ridge : Tensor (P, P) or None
        Quadratic form of the penalty in the free coordinates, on the scale of the log-likelihood.
    pull : Tensor (P,) or None
        Its linear part, which held slopes bring in.
    """

    chart: Chart
    rows: Rows
    ridge: Tensor | None = None
    pull: Tensor | None = None

    @property
    def total(self) -> float:
        """Sum of the weights."""
        return self.rows.total

    def penalty(self, free: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return value (S,), gradient (S, P) and Hessian (P, P) of the penalty on the log-likelihood scale."""
        if self.ridge is None or self.pull is None:
            zero = torch.zeros_like(free)
            return zero.sum(-1), zero, free.new_zeros(free.shape[-1], free.shape[-1])
        slope = free @ self.ridge
        return 0.5 * (slope * free).sum(-1) + free @ self.pull, slope + self.pull, self.ridge


def accumulate(stat: Stat, mixture: Mixture, measure: Measure, rows: Rows, width: int) -> tuple[Tensor, ...]:
    """Sum `stat` over the blocks of the rows, in fixed order.

    Parameters
    ----------
    stat : callable ``(mixture, measure, block) -> tensors`` to be summed
    width : int
        Numbers per row in the largest temporary of `stat`, batch included; it sets the block size only.
    """
    size = max(FEWEST, min(MOST, CELLS // max(width, 1)))
    total: list[Tensor] = []
    for block in rows.blocks(size):
        parts = stat(mixture, measure, block)
        if not total:
            total = [part.clone() for part in parts]
        else:
            for whole, part in zip(total, parts, strict=True):
                whole += part
    return tuple(total)


def _value(mixture: Mixture, measure: Measure, block: Block) -> tuple[Tensor, ...]:
    log_density = derivatives.unit_log_density(mixture, measure, block)
    return (log_density.sum(-1) if block.weight is None else log_density @ block.weight,)


def evaluate(problem: Problem, free: Tensor, order: int) -> tuple[Tensor, ...]:
    """Return the objective (S,) and, by `order`, its gradient (S, P) and Hessian (S, P, P) at free (S, P)."""
    chart, total = problem.chart, problem.total
    natural = chart.natural(free)
    measure = chart.unflatten(natural)
    stat = (_value, derivatives.gradient, derivatives.hessian)[order]
    width = len(free) * (len(chart.local) if order else 2 * chart.mixture.n_leaves)
    sums = accumulate(stat, chart.mixture, measure, problem.rows, width)
    value, slope, bend = problem.penalty(free)
    out = [(value - sums[0]) / total]
    if order > 0:
        out.append((slope - chart.pull_gradient(natural, sums[1])) / total)
    if order > 1:
        out.append((bend - chart.pull_hessian(natural, sums[1], sums[2])) / total)
    return tuple(out)


def objective(problem: Problem) -> Callable[[Tensor, Tensor, int], tuple[Tensor, ...]]:
    """Return the objective in the form the minimisers take: ``(x, members, order)``."""

    def fun(x: Tensor, members: Tensor, order: int) -> tuple[Tensor, ...]:
        return evaluate(problem, x, order)

    return fun


def ridge_of(chart: Chart, alpha: float) -> tuple[Tensor, Tensor] | tuple[None, None]:
    """Return the quadratic form and linear part of ``alpha / 2 sum ||w_k - mean w||^2`` over the gate slopes."""
    slopes = {f"gates.{i}.{name}" for i, gate in enumerate(chart.mixture.gates) for name in gate.score.slopes()}
    if alpha == 0 or not slopes:
        return None, None
    matrices, held, at = [], [], 0
    for path, shape in chart.shapes.items():
        size = torch.Size(shape).numel()
        if path in slopes:
            index = torch.arange(at, at + size).reshape(shape)
            block, offset = chart.matrix[index], chart.offset[index]
            axis = index.ndim - 2  # branches
            matrices.append((block - block.mean(axis, keepdim=True)).reshape(size, -1))
            held.append((offset - offset.mean(axis, keepdim=True)).reshape(size))
        at += size
    matrix = torch.cat(matrices)
    return alpha * matrix.mT @ matrix, alpha * torch.cat(held) @ matrix
