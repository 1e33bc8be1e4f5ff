"""Sums over the tokens of a call that a loss and a tally both read, and their derivative.

The derivative is written by hand: a node of autograd for every operator would take longer than a small layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import pi, sqrt
from typing import NamedTuple

import torch
from torch import Tensor

from gatewise.nn.balance.kept import along_selections, normal_probability, shortfall, thresholds, widths_of
from gatewise.nn.router import Router, Routing
from gatewise.nn.weights import node_shares


class SumInputs(NamedTuple):
    """What sums over tokens are made of.

    Attributes
    ----------
    values : sequence of Tensor (T, nodes, K)
        Those with a derivative: log weights by level, then ranks by selection and the widths of their noise if learned.
    sparse : sequence of bool
        Of every level: whether its weights may be zero.
    least : sequence of Tensor (T, nodes, K)
        The threshold of every selection.
    widths : sequence of float
        Of the noise of every selection, in log weight, where it is not learned.
    unit : float
        What a log weight of one is worth in ranks.
    weight : Tensor (T,), optional
        One for every token that counts; None: all do.
    """

    values: Sequence[Tensor]
    sparse: Sequence[bool]
    least: Sequence[Tensor] = ()
    widths: Sequence[float] = ()
    unit: float = 1.0
    weight: Tensor | None = None

    @property
    def logs(self) -> Sequence[Tensor]:
        """Log weights by level."""
        return self.values[: len(self.sparse)]

    @property
    def selections(self) -> list[tuple[Tensor, Tensor, Tensor | float]]:
        """Ranks, thresholds and widths by selection, all in ranks."""
        ranks = self.values[len(self.sparse) :]
        widths = [self.unit * width for width in ranks[len(self.least) :] or self.widths]
        return list(zip(ranks, self.least, widths, strict=False))


class TokenSums(NamedTuple):
    """Sums over the tokens of a call.

    Attributes
    ----------
    sums : Tensor
        The importance of the branches, level by level, and the expected load ``(L,)`` if there are thresholds. The
        importance sums the shares of a node's branches, times the share of the token that reaches the node, which has
        no derivative; the expected load sums the probabilities of being kept, `kept_probability`.
    leaves : Tensor (T, L)
        The shares of all leaves, zero for tokens that do not count.
    tokens : Tensor ()
        The number of tokens that count.
    inputs : SumInputs
    parts : list of Tensor (T, nodes, K)
        The shares of the branches by level, and by selection how far they fall short of being kept.
    """

    sums: Tensor
    leaves: Tensor
    tokens: Tensor
    inputs: SumInputs
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
    first = routing.log_weights[0]
    weight = None if real is None else real.to(first.dtype)
    inputs = SumInputs(routing.log_weights, [kind.link.sparse for kind in router.kinds], weight=weight)
    if expected and routing.ranks:
        widths = widths_of(router, routing)
        learned = [one for one in widths if isinstance(one, Tensor)]
        inputs = inputs._replace(
            values=(*routing.log_weights, *routing.clean, *learned),
            least=thresholds(router, routing, real),
            widths=[one for one in widths if not isinstance(one, Tensor)],
            unit=router.unit,
        )
    tokens = first.new_full((), first.shape[0]) if weight is None else weight.sum()
    sums, leaves, parts = sums_of(inputs)
    return TokenSums(sums, leaves, tokens, inputs, parts)


def sums_of(inputs: SumInputs) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Return the sums, the shares of the leaves and the parts of `TokenSums`."""
    shares = [node_shares(log, sparse) for log, sparse in zip(inputs.logs, inputs.sparse, strict=True)]
    sums, reach = [], None if inputs.weight is None else inputs.weight.unsqueeze(-1)
    for share in shares:
        reach = _reaching(share, reach).flatten(1)
        sums.append(reach.sum(0))
        reach = reach.detach()
    short = [shortfall(*one) for one in inputs.selections]
    if short:
        kept = along_selections([normal_probability(one) for one in short])[-1]
        sums.append((kept if inputs.weight is None else inputs.weight.unsqueeze(-1) * kept).sum(0))
    assert reach is not None
    return torch.cat(sums), reach, [*shares, *short]


def pull_back(inputs: SumInputs, parts: Sequence[Tensor], slopes: Tensor) -> list[Tensor]:
    """Return the gradients in the inputs from those in the sums, given the parts of `TokenSums`."""
    levels = len(inputs.sparse)
    shares, short = parts[:levels], parts[levels:]
    sizes = [share.shape[1] * share.shape[2] for share in shares]
    *by_level, rest = slopes.split([*sizes, len(slopes) - sum(sizes)])
    found, reach = [], None if inputs.weight is None else inputs.weight.unsqueeze(-1)
    for share, slope in zip(shares, by_level, strict=True):
        slope = slope.view(share.shape[1:]).expand_as(share)
        found.append(_reaching(torch._softmax_backward_data(slope, share, -1, share.dtype), reach))
        reach = _reaching(share, reach).flatten(1) if levels > 1 else None
    if short:
        rest = rest.unsqueeze(0) if inputs.weight is None else inputs.weight.unsqueeze(-1) * rest
        by_rank, by_width = _pull_back_load(short, [width for _, _, width in inputs.selections], rest)
        found += by_rank + [inputs.unit * one for one in by_width]
    return found


def _pull_back_load(
    short: Sequence[Tensor], widths: Sequence[Tensor | float], slope: Tensor
) -> tuple[list[Tensor], list[Tensor]]:
    """Return the gradients in ranks and in learned widths from that in the probabilities of the leaves, ``(T, L)``.

    The probability of a leaf is a product along its path. A factor is multiplied by the product of those above it and
    by what those below make of the slopes.
    """
    kept = [normal_probability(one) for one in short] if len(short) > 1 else []
    above = along_selections(kept) if kept else []
    by_rank: list[Tensor] = []
    by_width: list[Tensor] = []
    for s in reversed(range(len(short))):
        slope = slope.reshape(-1, *short[s].shape[1:])
        own = slope if s == 0 else above[s - 1].unsqueeze(-1) * slope
        by_rank.insert(0, own * torch.exp(-short[s].square()) / (sqrt(2 * pi) * widths[s]))
        if isinstance(widths[s], Tensor):
            by_width.insert(0, by_rank[0] * short[s] * sqrt(2))
        slope = (kept[s] * slope).sum(-1) if s else slope
    return by_rank, by_width


def _reaching(value: Tensor, reach: Tensor | None) -> Tensor:
    """Return values of the branches, times the shares of the tokens that reach their nodes; None: all do."""
    return value if reach is None else reach.unsqueeze(-1) * value
