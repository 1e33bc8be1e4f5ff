"""Derivatives of the log-likelihood, by hand once, at the predictors of a mixture: gate logits, expert outputs, scales.

With leaf responsibilities r, node v of the tree, branch c, gate weights pi, R_c the responsibility below c and R_v that
of v, and f', f'' the derivatives of a leaf's log density:

* gradient: ``g_vc = R_c - R_v pi_c`` at a logit, ``r f'`` at a leaf predictor;
* Hessian of log p = E_r[second + first first'] - g g', where for two logits of one node the expectation is
  ``delta_cc' g_c - g_c pi_c' - pi_c g_c'``, for a logit and any predictor w below branch c0 of its node
  ``(delta_c,c0 - pi_c) g_w``, and ``r (f'' + f' f'^T)`` inside a leaf.

Parameters enter through the Jacobians and curvatures of `Derivatives`. Local coordinates list, for every gate level,
node, branch and column, then for every leaf the columns of its outputs and of its family; `Parameterization` maps them
to free ones.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from gatewise.core.mixture import Measure, Mixture
from gatewise.core.predictors import Derivatives, row_sum, weighted_gram
from gatewise.objective.rows import Block
from gatewise.objective.terms import (
    MixtureTerms,
    apply_weights,
    by_unit,
    mixture_terms,
    rows_from_units,
    unit_log_density,
    unit_responsibilities,
)


class UnitGradients(NamedTuple):
    """Derivatives of each unit's log density in the local coordinates, by group.

    Attributes
    ----------
    gates : list of Tensor (S, N_l, K, P, m)
    at_leaf : Tensor (S, L, P_leaf, m)
        Derivative of the leaf's log density, before the responsibility.
    leaves : Tensor (S, L, P_leaf, m)
        Times the responsibility.
    logit_gradients : list of Tensor (S, N_l, K, m)
        Derivative in the logits.
    """

    gates: list[Tensor]
    at_leaf: Tensor
    leaves: Tensor
    logit_gradients: list[Tensor]

    def rows(self) -> Tensor:
        """Return all local coordinates in order, ``(S, M, m)``."""
        return torch.cat([part.flatten(1, -2) for part in (*self.gates, self.leaves)], 1)


def scores(t: MixtureTerms, block: Block) -> UnitGradients:
    """Return the derivatives of each unit's log density in the local coordinates."""
    logit_gradients = gradients_at_logits(t)
    gates = [local.jacobian * g.unsqueeze(-2) for local, g in zip(t.gates, logit_gradients, strict=True)]
    q = t.expert.value.shape[-2]
    outputs = t.expert.jacobian * t.first[..., :q, :].unsqueeze(-2)
    at_leaf = by_unit(torch.cat([outputs.flatten(2, 3), t.first[..., q:, :]], -2), block)
    return UnitGradients(gates, at_leaf, at_leaf * t.leaf.unsqueeze(-2), logit_gradients)


def gradients_at_logits(t: MixtureTerms) -> list[Tensor]:
    """Return the derivatives of each unit's log density in the logits, per level."""
    return [
        c - c.sum(-2, keepdim=True) * w if slope is None else c * slope
        for c, w, slope in zip(t.children, t.weights, t.per_branch_slopes, strict=True)
    ]


def weighted_gradient(t: MixtureTerms, logit_gradients: list[Tensor], block: Block) -> Tensor:
    """Return the weighted sum over units of `scores`, (S, M), without forming them."""
    gates = [
        row_sum(local.jacobian, apply_weights(g, block.weight)).flatten(1)
        for local, g in zip(t.gates, logit_gradients, strict=True)
    ]
    q = t.expert.value.shape[-2]
    pulled = t.first * rows_from_units(apply_weights(t.leaf, block.weight), block).unsqueeze(-2)
    outputs = row_sum(t.expert.jacobian, pulled[..., :q, :])
    leaves = torch.cat([outputs.flatten(2), pulled[..., q:, :].sum(-1)], -1)
    return torch.cat([*gates, leaves.flatten(1)], -1)


def value(mixture: Mixture, measure: Measure, block: Block) -> tuple[Tensor, ...]:
    """Return the weighted sum of log density, (S,)."""
    return (apply_weights(unit_log_density(mixture, measure, block), block.weight).sum(-1),)


def gradient(mixture: Mixture, measure: Measure, block: Block) -> tuple[Tensor, Tensor]:
    """Return the weighted sums of log density (S,) and of its gradient in local coordinates (S, M)."""
    t = mixture_terms(mixture, measure, block, 1)
    return apply_weights(t.log_density, block.weight).sum(-1), weighted_gradient(t, gradients_at_logits(t), block)


def hessian(mixture: Mixture, measure: Measure, block: Block) -> tuple[Tensor, Tensor, Tensor]:
    """Return the weighted sums of log density (S,), gradient (S, M) and Hessian (S, M, M) in local coordinates."""
    t = mixture_terms(mixture, measure, block, 2)
    s = scores(t, block)
    rows = s.rows()
    weight = block.weight
    weighed = apply_weights(rows, weight)
    total = -(weighed @ rows.mT)
    add_curvatures(total, t, s, block, s.at_leaf)
    return apply_weights(t.log_density, weight).sum(-1), weighed.sum(-1), total


def unit_scores(mixture: Mixture, measure: Measure, block: Block) -> Tensor:
    """Return the derivatives (S, M, m) of the log density of every unit in local coordinates."""
    return scores(mixture_terms(mixture, measure, block, 1), block).rows()


def mass(mixture: Mixture, measure: Measure, block: Block) -> tuple[Tensor, ...]:
    """Return the weighted sum of the responsibility for every leaf, times responses, (S, L)."""
    leaf = rows_from_units(apply_weights(unit_responsibilities(mixture, measure, block), block.weight), block)
    return ((leaf * mixture.family.responses(block.y).unsqueeze(-2)).sum(-1),)


def add_curvatures(total: Tensor, t: MixtureTerms, s: UnitGradients, block: Block, at_leaf: Tensor | None) -> None:
    """Add ``E_r[second + first first']`` to a matrix (S, M, M): gate levels, then leaves.

    Parameters
    ----------
    at_leaf : derivatives of the leaf log densities, whose squares belong to the expectation; None leaves them out
    """
    at = 0
    for level, part in enumerate(s.gates):
        _add_gate(total, at, t, s, level, block.weight)
        at += part.shape[1] * part.shape[2] * part.shape[3]
    _add_leaves(total, at, t, block, at_leaf)


def expected_complete_hessian(mixture: Mixture, measure: Measure, block: Block) -> tuple[Tensor, Tensor, Tensor]:
    """Return value (S,), gradient (S, M) and the Hessian (S, M, M) of the expected complete log-likelihood.

    The Hessian is that of the EM objective at the current responsibilities: one block per gate node,
    ``-R_v (diag pi - pi pi')``, and one per leaf, ``r f''``.
    """
    t = mixture_terms(mixture, measure, block, 2)
    logit_gradients = gradients_at_logits(t)
    slope = weighted_gradient(t, logit_gradients, block)
    total = slope.new_zeros(slope.shape + slope.shape[-1:])
    at = 0
    for level, local in enumerate(t.gates):
        at = _add_node_information(total, at, t, level, local, logit_gradients[level], block.weight)
    _add_leaves(total, at, t, block)
    return apply_weights(t.log_density, block.weight).sum(-1), slope, total


def _add_node_information(
    total: Tensor,
    at: int,
    t: MixtureTerms,
    level: int,
    local: Derivatives,
    logit_gradients: Tensor,
    weight: Tensor | None,
) -> int:
    """Subtract ``R_v (diag pi - pi pi')`` at the logits of one level; return where the next group starts."""
    share = t.weights[level]
    mass = share * apply_weights(t.children[level].sum(-2, keepdim=True), weight)
    nodes, branches, columns = share.shape[1], share.shape[2], local.jacobian.shape[-2]
    if local.jacobian.shape[-3] == 1:
        blocks = _shared_information(local.jacobian, share, mass)
    else:
        blocks = pair_gram(local.jacobian, share, mass)
        _diagonal(blocks.flatten(0, 1), branches, columns).sub_(weighted_gram(local.jacobian, mass).flatten(0, 1))
    if local.curvature is not None:
        curved = local.curvature(apply_weights(logit_gradients, weight))
        _diagonal(blocks.flatten(0, 1), branches, columns).add_(curved.flatten(0, 1))
    _diagonal(total[:, at:, at:], nodes, branches * columns).add_(blocks)
    return at + nodes * branches * columns


def _shared_information(design: Tensor, share: Tensor, mass: Tensor) -> Tensor:
    """Return ``-R (diag pi - pi pi')`` with one design for all branches, ``(S, N_l, K P, K P)``.

    Only the pairs of different branches are summed over the rows: the matrix is minus the sum of
    ``R pi_a pi_b (e_a - e_b)(e_a - e_b)'`` over them.
    """
    branches, columns = share.shape[-2], design.shape[-2]
    i, j, signs = _pairs(branches, design.device)
    pairs = weighted_gram(design, share.index_select(-2, i) * mass.index_select(-2, j))
    blocks = (signs.to(pairs.dtype) @ pairs.flatten(-2)).unflatten(-1, (columns, columns))
    return blocks.unflatten(2, (branches, branches)).transpose(3, 4).flatten(4, 5).flatten(2, 3)


@cache
def _pairs(branches: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return the pairs a < b of branches and the entries of ``-(e_a - e_b)(e_a - e_b)'``, ``(K K, pairs)``."""
    i, j = torch.triu_indices(branches, branches, 1, device=device)
    one = torch.eye(branches, dtype=torch.float64, device=device)
    edges = one[i] - one[j]
    return i, j, -(edges[:, :, None] * edges[:, None, :]).flatten(1).T


def _diagonal(matrix: Tensor, count: int, width: int) -> Tensor:
    """Return the first `count` diagonal blocks of ``(S, M, M)`` as a view ``(S, count, width, width)``."""
    part = matrix[:, : count * width, : count * width]
    return part.unflatten(2, (count, width)).unflatten(1, (count, width)).diagonal(dim1=1, dim2=3).movedim(-1, 1)


def pair_gram(rows: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Return ``sum_n (left_c J_c)(right_c' J_c')'``, ``(*B, K P, K P)``."""
    return (rows * left.unsqueeze(-2)).flatten(-3, -2) @ (rows * right.unsqueeze(-2)).flatten(-3, -2).mT


def _add_gate(total: Tensor, at: int, t: MixtureTerms, s: UnitGradients, level: int, weight: Tensor | None) -> None:
    """Add the expectation part of one level: its own blocks, then those with everything below it."""
    local, own, slope = t.gates[level], s.gates[level], t.per_branch_slopes[level]
    size, nodes, branches, columns, units = own.shape
    jacobian = local.jacobian
    step = branches * columns
    weighted = apply_weights(s.logit_gradients[level], weight)
    share = (
        None if slope is not None else apply_weights((jacobian * t.weights[level].unsqueeze(-2)), weight).flatten(2, 3)
    )
    if share is not None:
        cross = share @ own.flatten(2, 3).mT
        _diagonal(total[:, at:, at:], nodes, step).sub_(cross + cross.mT)
    curved = weighted_gram(jacobian, weighted if slope is None else weighted * (2 * slope - 1))
    if local.curvature is not None:
        curved = curved + local.curvature(weighted)
    _diagonal(total[:, at:, at:], nodes * branches, columns).add_(curved.flatten(1, 2))
    start = at + nodes * step
    weighed = apply_weights(jacobian if slope is None else jacobian * slope.unsqueeze(-2), weight)
    for below in (*s.gates[level + 1 :], s.leaves):
        under = below.reshape(size, nodes, branches, -1, units)  # rows below each branch
        width = under.shape[3]
        direct = weighed @ under.mT
        mixed = direct.new_zeros(size, nodes, step, branches * width)
        if share is not None:
            mixed = -(share @ under.flatten(2, 3).mT)
        for node in range(nodes):
            i, j = at + node * step, start + node * branches * width
            block = mixed[:, node]
            for c in range(branches):
                block[:, c * columns : (c + 1) * columns, c * width : (c + 1) * width] += direct[:, node, c]
            total[:, i : i + step, j : j + branches * width] += block
            total[:, j : j + branches * width, i : i + step] += block.mT
        start += nodes * branches * width


def _add_leaves(total: Tensor, at: int, t: MixtureTerms, block: Block, at_leaf: Tensor | None = None) -> None:
    """Add ``r f''`` of every leaf, and ``r f' f'^T`` where the scores f' of the leaves are given."""
    jacobian = t.expert.jacobian
    q, columns = t.expert.value.shape[-2], jacobian.shape[-2]
    size, leaves, parts = t.first.shape[:3]
    width = q * columns + parts - q
    leaf = apply_weights(t.leaf, block.weight)
    by = rows_from_units(leaf, block)
    if at_leaf is None:
        blocks = t.first.new_zeros((size, leaves, width, width))
    else:
        blocks = (at_leaf * leaf.unsqueeze(-2)) @ at_leaf.mT
    if t.summed_second is not None:
        blocks += t.summed_second(by, jacobian)
    elif t.second is not None:
        _add_second(blocks, t.second, by, jacobian, q)
    if t.expert.curvature is not None:
        curved = t.expert.curvature(t.first[..., :q, :] * by.unsqueeze(-2))
        _diagonal(blocks.flatten(0, 1), q, columns).add_(curved.flatten(0, 1))
    _diagonal(total[:, at:, at:], leaves, width).add_(blocks)


def _add_second(blocks: Tensor, second: Tensor, weight: Tensor, jacobian: Tensor, q: int) -> None:
    """Add the weighted sums of second derivatives ``(S, L, t, t, n)``: q outputs in their columns, then the others."""
    columns, parts = jacobian.shape[-2], second.shape[-2]
    slices = [slice(k * columns, (k + 1) * columns) for k in range(q)]
    slices += [slice(q * columns + k, q * columns + k + 1) for k in range(parts - q)]

    def side(k: int) -> Tensor:
        return jacobian[:, :, min(k, jacobian.shape[2] - 1)]

    for a, rows_a in enumerate(slices):
        for b, rows_b in enumerate(slices[: a + 1]):
            each = second[:, :, a, b] * weight
            if b >= q:
                part = each.sum(-1)[..., None, None]
            elif a >= q:
                part = row_sum(side(b), each).unsqueeze(-2)
            elif a == b or jacobian.shape[2] == 1:
                part = weighted_gram(side(a), each)
            else:
                part = (side(a) * each.unsqueeze(-2)) @ side(b).mT
            blocks[:, :, rows_a, rows_b] += part
            if a != b:
                blocks[:, :, rows_b, rows_a] += part.mT
