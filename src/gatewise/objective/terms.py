"""What the sums over a block are made of: densities, responsibilities, predictors and their derivatives, row by row.

The log-likelihood and the sum of squares read the same terms; units are rows, or groups of rows that share their leaf.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from gatewise.core.families.base import SummedSecond
from gatewise.core.mixture import Measure, Mixture, leaf_family, leaf_log_weights, leaf_predictors, posterior, shrunk
from gatewise.core.predictors import Derivatives
from gatewise.core.tree import along_paths
from gatewise.objective.rows import Block

Statistic = Callable[[Mixture, Measure, Block], tuple[Tensor, ...]]


class MixtureTerms(NamedTuple):
    """Everything the sums over a block need. S batch members, m units, n rows, L leaves.

    Attributes
    ----------
    log_density : Tensor (S, m)
    leaf : Tensor (S, L, m)
        Responsibilities.
    weights, children : list of Tensor (S, N_l, K, m)
        Gate weights and responsibilities of the branches, per level.
    gates : list of Derivatives, values (S, N_l, K, m)
    expert : Derivatives, values (S, L, q, n)
    first, second : Tensor (S, L, t, n), (S, L, t, t, n)
        Derivatives of the leaf log densities in their t predictors; `second` is None where it is zero or not asked for.
    summed_second : SummedSecond or None
        The sum of second derivatives, instead of `second`, where the family has a cheaper way to it.
    per_branch_slopes : tuple of Tensor or None, (S, N_l, K, m)
        Per level, ``d log weight / d score`` where each branch has a weight of its own (an unnormalised link); None:
        the weights are a softmax of logits.
    """

    log_density: Tensor
    leaf: Tensor
    weights: list[Tensor]
    children: list[Tensor]
    gates: list[Derivatives]
    expert: Derivatives
    first: Tensor
    second: Tensor | None
    per_branch_slopes: tuple[Tensor | None, ...]
    summed_second: SummedSecond | None = None


def by_unit(values: Tensor, block: Block) -> Tensor:
    """Sum ``(..., n)`` over the rows of each unit, ``(..., m)``."""
    if block.unit is None:
        return values
    out = values.new_zeros(values.shape[:-1] + (block.gate_x.shape[-1],))
    return out.index_add_(-1, block.unit, values)


def rows_from_units(values: Tensor, block: Block) -> Tensor:
    """Give every row the value of its unit: ``(..., m) -> (..., n)``."""
    return values if block.unit is None else values[..., block.unit]


def mixture_terms(mixture: Mixture, measure: Measure, block: Block, order: int = 2) -> MixtureTerms:
    """Evaluate a batch of measures (one leading dimension S) on a block."""
    gates, weights, logs = [], [], []  # by level
    gate_x, y = below_batch(block.gate_x), below_batch(block.y)
    for level, (gate, params) in enumerate(zip(mixture.gates, measure.gates, strict=True)):
        local = broadcast_design(gate.logits(one_node_dimension(params, level), gate_x))
        share, normaliser = _softmax(local.value)
        gates.append(local)
        weights.append(share)
        logs.append(local.value - normaliser.unsqueeze(-2))
    expert = at_leaves(mixture, measure, block)
    own = leaf_family(mixture, measure)
    summed = mixture.family.summed_second(own, y, expert.value) if order > 1 else None
    at_leaf = mixture.family.value_and_derivatives(own, y, expert.value, order if summed is None else 1)
    leaf, log_density = _softmax(along_paths(logs, torch.add) + by_unit(at_leaf.value, block))
    children, per_branch_slopes = below_branches(mixture, leaf), (None,) * mixture.depth
    first, second = at_leaf.first, at_leaf.second
    return MixtureTerms(log_density, leaf, weights, children, gates, expert, first, second, per_branch_slopes, summed)


def at_leaves(mixture: Mixture, measure: Measure, block: Block) -> Derivatives:
    """Return the predictors of the leaves, expert plus offset, with their derivatives: values ``(S, L, q, n)``."""
    params = {k: v.flatten(1, mixture.depth) for k, v in measure.experts.items()}
    local = broadcast_design(mixture.expert.value_and_derivatives(params, below_batch(block.x)))
    return local._replace(value=with_offset(local.value, block))


def with_offset(eta: Tensor, block: Block) -> Tensor:
    """Return predictors ``(*B, L, q, n)`` with the offset of the rows, if there is one."""
    return eta if block.offset is None else eta + below_batch(block.offset)


def below_branches(mixture: Mixture, leaf: Tensor) -> list[Tensor]:
    """Sum a quantity of the leaves ``(S, L, m)`` below every branch, per level: ``(S, N_l, K, m)``."""
    children: list[Tensor] = []
    below = leaf
    for level in reversed(range(mixture.depth)):
        below = below.unflatten(1, (mixture.nodes(level), mixture.branching[level]))
        children.insert(0, below)
        below = below.sum(-2)
    return children


def below_batch(values: Tensor) -> Tensor:
    """Give data ``(S, d, n)`` that differ between batch members a dimension for nodes or leaves."""
    return values if values.ndim == 2 else values.unsqueeze(-3)


def _softmax(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the softmax of values ``(..., K, n)`` over K and the log of its normaliser ``(..., n)``.

    The largest value and its share, which is at least 1 / K, give the normaliser without a second exponential.
    """
    share = torch.softmax(values, -2)
    return share, values.amax(-2) - torch.log(share.amax(-2))


def one_node_dimension(params: Mapping[str, Tensor], level: int) -> dict[str, Tensor]:
    """Flatten the node dimensions of one level's parameters to one: ``(S, N_l, ...)``."""
    return {k: v.unsqueeze(1) if level == 0 else v.flatten(1, level) for k, v in params.items()}


def broadcast_design(local: Derivatives) -> Derivatives:
    """Give a design that is shared by batch and children its leading dimensions: ``(S, owners, K, P, n)``."""
    jacobian = local.jacobian
    return local._replace(jacobian=jacobian.reshape((1,) * (5 - jacobian.ndim) + jacobian.shape))


def unit_log_density(mixture: Mixture, measure: Measure, block: Block) -> Tensor:
    """Return the log density of every unit, ``(*B, m)``: its rows share one leaf."""
    return torch.logsumexp(_unit_log_joint(mixture, measure, block), -2)


def unit_responsibilities(mixture: Mixture, measure: Measure, block: Block) -> Tensor:
    """Return the posterior probability of every leaf for every unit, ``(*B, L, m)``."""
    own, y = leaf_family(mixture, measure), below_batch(block.y)
    eta = with_offset(leaf_predictors(mixture, measure, block.x), block)
    log_weights = leaf_log_weights(mixture, measure, block.gate_x)
    joint = log_weights + by_unit(mixture.family.log_prob(own, y, eta), block)
    if bool((joint.amax(-2) > -torch.inf).all()):
        return torch.softmax(joint, -2)
    nearer = log_weights + by_unit(mixture.family.log_prob(own, *shrunk(y, eta)), block)
    return posterior(log_weights, joint, nearer)


def unit_leaf_log_density(mixture: Mixture, measure: Measure, block: Block) -> Tensor:
    """Return the log density of every unit under every leaf alone, ``(*B, L, m)``."""
    eta = with_offset(leaf_predictors(mixture, measure, block.x), block)
    return by_unit(mixture.family.log_prob(leaf_family(mixture, measure), below_batch(block.y), eta), block)


def _unit_log_joint(mixture: Mixture, measure: Measure, block: Block) -> Tensor:
    return leaf_log_weights(mixture, measure, block.gate_x) + unit_leaf_log_density(mixture, measure, block)


def apply_weights(values: Tensor, weight: Tensor | None) -> Tensor:
    """Return values ``(..., m)`` times the weights (m,), if there are any."""
    return values if weight is None else values * weight
