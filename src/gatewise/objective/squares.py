"""Derivatives of half the sum of squares of ``y - f_G(x)``, at the predictors; the signs are those of a log-likelihood.

``f_G(x) = sum_l W_l(x) h_l(x)`` with the product W of the gate weights on the path to leaf l and the expert's output h.
With the residual r held, ``r . f_G`` is a sum of contributions ``W_l (r . h_l)``, which take the place of the
responsibilities of `likelihood`: the same first and second derivatives in logits and outputs apply. What is added to
them is minus the outer product of ``df``. Any link does, the unnormalised sigmoid too (2405.13997, least squares).
"""

from __future__ import annotations

import torch
from torch import Tensor

from gatewise.core.mixture import Measure, Mixture, leaf_weights, mixed
from gatewise.core.predictors import Derivatives
from gatewise.core.tree import along_paths
from gatewise.objective.likelihood import add_curvatures, gradients_at_logits, scores, weighted_gradient
from gatewise.objective.rows import Block
from gatewise.objective.terms import (
    MixtureTerms,
    apply_weights,
    at_leaves,
    below_batch,
    below_branches,
    broadcast_design,
    by_unit,
    one_node_dimension,
    with_offset,
)


def ungrouped(block: Block) -> Block:
    """Return the block with the gate inputs and weight of every row: units mean nothing to a sum of squares."""
    if block.unit is None:
        return block
    return block._replace(gate_x=block.gate_x[..., block.unit], weight=block.row_weight, unit=None)


def _gates(
    mixture: Mixture, measure: Measure, gate_x: Tensor
) -> tuple[list[Derivatives], list[Tensor], list[Tensor | None]]:
    """Return scores (logits where normalised) with derivatives, weights, and slopes of unnormalised log weights."""
    gates: list[Derivatives] = []
    weights: list[Tensor] = []
    per_branch_slopes: list[Tensor | None] = []
    for level, (gate, params) in enumerate(zip(mixture.gates, measure.gates, strict=True)):
        here = one_node_dimension(params, level)
        if gate.link.normalised:
            local = broadcast_design(gate.logits(here, gate_x))
            weights.append(torch.softmax(local.value, -2))
            per_branch_slopes.append(None)
        else:
            local = broadcast_design(gate.score.value_and_derivatives(here, gate_x))
            weights.append(gate.link.weights(local.value))
            per_branch_slopes.append(gate.link.slopes(local.value))
        gates.append(local)
    return gates, weights, per_branch_slopes


def mean_terms(mixture: Mixture, measure: Measure, block: Block) -> tuple[MixtureTerms, Tensor]:
    """Evaluate a batch of measures on a block; return the terms, with W for responsibilities, and W h (S, L, q, n)."""
    gates, weights, per_branch_slopes = _gates(mixture, measure, below_batch(block.gate_x))
    expert = at_leaves(mixture, measure, block)
    path = along_paths(weights, torch.mul)
    parts = path.unsqueeze(-2) * expert.value
    residual = block.y - parts.sum(1)
    pulled = (parts * residual.unsqueeze(1)).sum(-2)
    first = residual.unsqueeze(1).expand(parts.shape)
    value = -0.5 * (residual * residual).sum(-2)
    children = below_branches(mixture, pulled)
    return MixtureTerms(value, path, weights, children, gates, expert, first, None, tuple(per_branch_slopes)), parts


def slopes_of_mean(mixture: Mixture, t: MixtureTerms, parts: Tensor, block: Block) -> list[Tensor]:
    """Return the derivatives of every output of f in local coordinates, one tensor (S, M, n) per output."""
    q = parts.shape[-2]
    rows = []
    for k in range(q):
        unit = torch.zeros(q, 1, dtype=parts.dtype)
        unit[k] = 1.0
        alone = t._replace(children=below_branches(mixture, parts[..., k, :]), first=unit.expand(parts.shape))
        rows.append(scores(alone, block).rows())
    return rows


def mean(mixture: Mixture, measure: Measure, block: Block) -> Tensor:
    """Return ``f_G`` (S, q, n) of a batch of measures on an ungrouped block."""
    expert = mixture.expert({k: v.flatten(1, mixture.depth) for k, v in measure.experts.items()}, below_batch(block.x))
    return mixed(leaf_weights(mixture, measure, block.gate_x), with_offset(expert, block))


def value(mixture: Mixture, measure: Measure, block: Block) -> tuple[Tensor, ...]:
    """Return minus half the weighted sum of squares, (S,)."""
    block = ungrouped(block)
    residual = block.y - mean(mixture, measure, block)
    return (apply_weights(-0.5 * (residual * residual).sum(-2), block.weight).sum(-1),)


def gradient(mixture: Mixture, measure: Measure, block: Block) -> tuple[Tensor, Tensor]:
    """Return the weighted sums of minus half the squares (S,) and of its gradient in local coordinates (S, M)."""
    block = ungrouped(block)
    t, _ = mean_terms(mixture, measure, block)
    return apply_weights(t.log_density, block.weight).sum(-1), weighted_gradient(t, gradients_at_logits(t), block)


def gauss_newton(mixture: Mixture, measure: Measure, block: Block) -> tuple[Tensor, Tensor, Tensor]:
    """Return value (S,), gradient (S, M) and ``- sum_n w df df'`` (S, M, M), the Hessian where residuals vanish."""
    block = ungrouped(block)
    t, parts = mean_terms(mixture, measure, block)
    total = _outer(slopes_of_mean(mixture, t, parts, block), block.weight)
    return (
        apply_weights(t.log_density, block.weight).sum(-1),
        weighted_gradient(t, gradients_at_logits(t), block),
        total,
    )


def hessian(mixture: Mixture, measure: Measure, block: Block) -> tuple[Tensor, Tensor, Tensor]:
    """Return value (S,), gradient (S, M) and Hessian (S, M, M) of minus half the weighted sum of squares."""
    block = ungrouped(block)
    t, parts = mean_terms(mixture, measure, block)
    s = scores(t, block)
    total = _outer(slopes_of_mean(mixture, t, parts, block), block.weight)
    add_curvatures(total, t, s, block, None)
    return apply_weights(t.log_density, block.weight).sum(-1), apply_weights(s.rows(), block.weight).sum(-1), total


def unit_scores(mixture: Mixture, measure: Measure, block: Block) -> Tensor:
    """Return the derivatives (S, M, m) of minus half the squares, ``sum r df`` over the rows of every unit."""
    rows = ungrouped(block)
    t, parts = mean_terms(mixture, measure, rows)
    slopes = torch.stack(slopes_of_mean(mixture, t, parts, rows), 1)
    return by_unit((slopes * t.first[:, 0].unsqueeze(-2)).sum(1), block)  # residuals, the same for every leaf


def _outer(rows: list[Tensor], weight: Tensor | None) -> Tensor:
    total = rows[0].new_zeros(())
    for slope in rows:
        total = total - apply_weights(slope, weight) @ slope.mT
    return total


def mass(mixture: Mixture, measure: Measure, block: Block) -> tuple[Tensor, ...]:
    """Return the weighted sum of the weight of every leaf, (S, L): what a leaf has to be estimated from."""
    block = ungrouped(block)
    return (apply_weights(leaf_weights(mixture, measure, block.gate_x), block.weight).sum(-1),)
