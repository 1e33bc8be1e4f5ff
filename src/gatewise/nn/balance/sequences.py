"""Balance inside every sequence: shares of its own experts, and the loss of a method in them.

Suffixes of names: B sequences, N tokens of a sequence, K branches of a node.
"""

from __future__ import annotations

from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from gatewise.nn.balance.methods import BalanceMethod, ExpertShares
from gatewise.nn.balance.shares import FLOOR
from gatewise.nn.router import Router, Routing
from gatewise.nn.weights import node_shares


class SequenceShares(NamedTuple):
    """Shares of the branches in every sequence, one ``(B, nodes, K)`` per level; those of the weights with gradients.

    Attributes
    ----------
    load, importance : list of Tensor (B, nodes, K)
    tokens : Tensor (B,)
        Number of tokens that are not masked.
    """

    load: list[Tensor]
    importance: list[Tensor]
    tokens: Tensor


def sequence_shares(router: Router, routing: Routing, weight: Tensor, length: int) -> SequenceShares:
    """Return the shares of the branches in every sequence of `length` tokens; tokens count by their `weight (T,)`."""
    taken = (weight[:, None] * (routing.weight != 0)).detach()
    load = weight.new_zeros(weight.shape[0], router.n_leaves).scatter_add(1, routing.index, taken)
    load = load.unflatten(0, (-1, length)).sum(1)
    loads, importances, reach = [], [], weight[:, None]
    for level, log in enumerate(routing.log_weights):
        nodes, branches = prod(router.branching[:level]), router.branching[level]
        inside = node_shares(log)
        mass = (reach[..., None] * inside).unflatten(0, (-1, length)).sum(1)
        importances.append(mass / reach.unflatten(0, (-1, length)).sum(1)[..., None].clamp_min(FLOOR))
        below = load.reshape(load.shape[0], nodes, branches, -1).sum(-1)
        loads.append(below / below.sum(-1, keepdim=True).clamp_min(FLOOR))
        reach = (reach[..., None] * inside.detach()).flatten(1)
    return SequenceShares(loads, importances, weight.unflatten(0, (-1, length)).sum(1))


def sequence_loss(method: BalanceMethod, shares: SequenceShares) -> Tensor:
    """Return a loss with the gradient of a method's loss in every sequence, summed over tokens.

    The loss of a sequence is the mean over the nodes of a level, summed over levels, as that of a step.
    """
    known = [part.detach() for part in shares.importance]
    slopes = method.loss(ExpertShares(shares.load, known, shares.load)).importance or []
    parts = zip(slopes, shares.importance, strict=True)
    each = [(slope * part).sum(-1).mean(-1) for slope, part in parts]
    return shares.tokens @ torch.stack(each).sum(0) if each else shares.tokens.new_zeros(())
