"""Sums over the tokens of a call that a loss and a tally both read, and their derivative.

The derivative is written by hand: a node of autograd for every operator would take longer than a small layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import pi, sqrt
from typing import NamedTuple

import torch
from torch import Tensor

from gatewise.nn.balance.kept import along_selections, fixed_widths, normal_probability, shortfall, thresholds
from gatewise.nn.router import Router, Routing
from gatewise.nn.weights import node_shares


class SumInputs(NamedTuple):
    """What sums over tokens are made of, beside their `values`.

    These, ``(T, nodes, K)``, have a derivative: log weights by level, then ranks by selection and the widths of their
    noise if learned.

    Attributes
    ----------
    sparse : sequence of bool
        Of every level: whether its weights may be zero.
    weight : Tensor (T,), optional
        One for every token that counts; None: all do.
    least : sequence of Tensor (T, nodes, K)
        The threshold of every selection.
    widths : sequence of float
        Of the noise of every selection, in log weight, where it is not learned.
    unit : float
        What a log weight of one is worth in ranks.
    """

    sparse: Sequence[bool]
    weight: Tensor | None
    least: Sequence[Tensor] = ()
    widths: Sequence[float] = ()
    unit: float = 1.0

    def all_widths(self, values: Sequence[Tensor]) -> list[Tensor | float]:
        """Return the widths of all selections in ranks."""
        return [self.unit * width for width in self.widths or values[len(self.sparse) + len(self.least) :]]


class TokenSums(NamedTuple):
    """Sums over the tokens of a call.

    Attributes
    ----------
    sums : list of Tensor (1, nodes K)
        The importance of the branches by level, and the expected load ``(1, L)`` if there are thresholds. The
        importance sums the shares of a node's branches, times the share of the token that reaches the node, which has
        no derivative; the expected load sums the probabilities of being kept, `kept_probability`.
    leaves : Tensor (T, L)
        The shares of all leaves, zero for tokens that do not count.
    tokens : Tensor (1, 1)
        The number of tokens that count.
    inputs : SumInputs
    values : sequence of Tensor (T, nodes, K)
        See `SumInputs`.
    parts : list of Tensor (T, nodes, K)
        The shares of the branches by level, and by selection how far they fall short of being kept.
    """

    sums: list[Tensor]
    leaves: Tensor
    tokens: Tensor
    inputs: SumInputs
    values: Sequence[Tensor]
    parts: list[Tensor]

    @property
    def weight(self) -> Tensor:
        """One for every token that counts, ``(T,)``."""
        given = self.inputs.weight
        return self.leaves.new_ones(self.leaves.shape[0]) if given is None else given


def token_sums(router: Router, routing: Routing, real: Tensor | None = None, expected: bool = False) -> TokenSums:
    """Return the sums over the tokens of a routing, with the expected load if the router chose the experts.

    Parameters
    ----------
    router : Router
    routing : Routing
    real : Tensor (T,), optional
        False for padding.
    expected : bool
        Whether the expected load is wanted.
    """
    first, sparse = routing.log_weights[0], [kind.link.sparse for kind in router.kinds]
    weight = None if real is None else real.to(first.dtype)
    values, inputs = routing.log_weights, SumInputs(sparse, weight)
    if expected and routing.ranks:
        values = (*values, *routing.clean, *routing.widths)
        fixed = () if routing.widths else fixed_widths(router, routing)
        inputs = SumInputs(sparse, weight, thresholds(router, routing, real), fixed, router.unit)
    tokens = first.new_full((1, 1), first.shape[0]) if weight is None else weight.sum().view(1, 1)
    sums, leaves, parts = sums_of(inputs, values)
    return TokenSums(sums, leaves, tokens, inputs, values, parts)


def sums_of(inputs: SumInputs, values: Sequence[Tensor]) -> tuple[list[Tensor], Tensor, list[Tensor]]:
    """Return the sums, the shares of the leaves and the parts of `TokenSums`."""
    logs, ranks = values[: len(inputs.sparse)], values[len(inputs.sparse) :]
    shares = [node_shares(log, sparse) for log, sparse in zip(logs, inputs.sparse, strict=True)]
    weight = None if inputs.weight is None else inputs.weight.unsqueeze(-1)
    leaves = _reaching(shares[0], weight)
    sums = [leaves.sum(0, keepdim=True)]
    for share in shares[1:]:
        leaves = _reaching(share, leaves.detach())
        sums.append(leaves.sum(0, keepdim=True))
    widths = inputs.all_widths(values)
    short = [shortfall(*one) for one in zip(ranks, inputs.least, widths, strict=False)]
    if short:
        kept = along_selections([normal_probability(one) for one in short])[-1]
        sums.append((kept if weight is None else weight * kept).sum(0, keepdim=True))
    return sums, leaves, [*shares, *short]


def pull_back(
    inputs: SumInputs, values: Sequence[Tensor], parts: Sequence[Tensor], slopes: Sequence[Tensor]
) -> list[Tensor]:
    """Return the gradients in the values from those in the sums, ``(nodes, K)``, given the parts of `TokenSums`."""
    levels = len(inputs.sparse)
    shares, short = parts[:levels], parts[levels:]
    weight = None if inputs.weight is None else inputs.weight.unsqueeze(-1)
    found, reach = [], weight
    for share, slope in zip(shares, slopes, strict=False):
        inside = torch._softmax_backward_data(slope.expand_as(share), share, -1, share.dtype)
        found.append(inside if reach is None else reach.unsqueeze(-1) * inside)
        reach = _reaching(share, reach) if levels > 1 else None
    if short:
        slope = slopes[levels] if weight is None else weight.unsqueeze(-1) * slopes[levels]
        by_rank, by_width = _pull_back_load(short, inputs.all_widths(values), slope)
        found += by_rank + [inputs.unit * one for one in by_width]
    return found


def _pull_back_load(
    short: Sequence[Tensor], widths: Sequence[Tensor | float], slope: Tensor
) -> tuple[list[Tensor], list[Tensor]]:
    """Return the gradients in ranks and in learned widths from that in the probabilities of the leaves.

    That is ``(T, nodes, K)`` or, if it is the same for all tokens, ``(nodes, K)``.

    The probability of a leaf is a product along its path. A factor is multiplied by the product of those above it and
    by what those below make of the slopes.
    """
    kept = [normal_probability(one) for one in short] if len(short) > 1 else []
    above = along_selections(kept) if kept else []
    by_rank: list[Tensor] = []
    by_width: list[Tensor] = []
    for s in reversed(range(len(short))):
        own = slope if s == 0 else above[s - 1].unsqueeze(-1) * slope
        by_rank.insert(0, short[s].square().neg_().exp_().mul_(own / (sqrt(2 * pi) * widths[s])))
        if isinstance(widths[s], Tensor):
            by_width.insert(0, by_rank[0] * short[s] * sqrt(2))
        slope = (kept[s] * slope).sum(-1).view_as(short[s - 1]) if s else slope
    return by_rank, by_width


def _reaching(value: Tensor, reach: Tensor | None) -> Tensor:
    """Return values of the branches ``(T, nodes K)``, times the shares of the tokens that reach their nodes, if any."""
    return (value if reach is None else reach.unsqueeze(-1) * value).flatten(1)
