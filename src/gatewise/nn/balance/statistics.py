"""What balancing and diagnostics need to know of a step: sums over its tokens."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gatewise.nn.balance.token_sums import TokenSums
from gatewise.nn.router import Router, Routing
from gatewise.nn.weights import LOWEST


class RoutingStatistics(NamedTuple):
    """Sums over the tokens that are not masked: what balancing and diagnostics need to know of a step.

    Attributes
    ----------
    load : Tensor (L,)
        Assignments to every expert; slots of weight zero are none.
    importance : Tensor (L,)
        Sum of the weights before top-k, normalised at every node.
    smooth : Tensor (L,)
        Sum of the probabilities of being kept, `kept_probability`; the load if they were not asked for.
    entropy : Tensor ()
        Sum over tokens of the entropy of the weights of all leaves, in nats.
    tokens, offered, served : Tensor ()
        Number of tokens, of their assignments, and of those for which an expert had room.

    Examples
    --------
    >>> import torch
    >>> from gatewise.nn import MoE, observe
    >>> layer = MoE(8, 16, 4)
    >>> with observe(layer) as seen:
    ...     _ = layer(torch.randn(5, 8))
    >>> statistics = seen.tallies[""]
    >>> int(statistics.tokens), int(statistics.load.sum())
    (5, 10)
    """

    load: Tensor
    importance: Tensor
    smooth: Tensor
    entropy: Tensor
    tokens: Tensor
    offered: Tensor
    served: Tensor

    def packed(self) -> Tensor:
        """Return all sums as one vector ``(3 L + 4,)`` of float32."""
        return torch.cat([part.reshape(-1) for part in self]).float()


TOKENS = RoutingStatistics._fields.index("tokens") - len(RoutingStatistics._fields)  # place in the vector of a tally


def unpacked(vector: Tensor) -> RoutingStatistics:
    """Return the tally that a vector ``(3 L + 4,)`` holds."""
    leaves = (len(vector) - 4) // 3
    return RoutingStatistics(*vector[: 3 * leaves].split(leaves), *vector[3 * leaves :].unbind())


def count(router: Router, routing: Routing, sums: TokenSums, served: Tensor | None = None) -> Tensor:
    """Return the tally of a routing as one vector ``(3 L + 4,)`` of float32, see `RoutingStatistics`.

    Parameters
    ----------
    router : Router
    routing : Routing
    sums : TokenSums
    served : Tensor (T, S), optional
        False for assignments that found no room.
    """
    index, weight = routing.index, sums.inputs.weight
    importance = sums.sums[len(sums.inputs.sparse) - 1]
    taken = None if weight is None else weight.unsqueeze(-1).expand_as(index)
    if router.partial or not routing.ranks:  # slots may be empty
        there = (routing.weight != 0).to(importance.dtype)
        taken = there if taken is None else taken * there
    each = importance.new_ones(1, index.numel()) if taken is None else taken.reshape(1, -1)
    load = torch.zeros_like(importance).index_add_(1, index.flatten(), each)
    entropy, offered = _entropy(router, routing, sums), load.sum(1, keepdim=True)
    found = offered if served is None else (each * served.reshape(1, -1)).sum(1, keepdim=True)
    smooth = sums.sums[-1] if sums.inputs.least else load
    return torch.cat([load, importance, smooth, entropy, sums.tokens, offered, found], 1).flatten().float().detach()


def _entropy(router: Router, routing: Routing, sums: TokenSums) -> Tensor:
    """Return the sum over tokens of the entropy of the weights of all leaves, ``(1, 1)``."""
    (first, *others), log = router.kinds, routing.log_weights[0]
    if others or first.link.sparse or not first.link.normalised:
        return torch.special.entr(sums.leaves).sum((0, 1), keepdim=True)
    return -torch.dot(sums.leaves.flatten(), log.clamp_min(LOWEST).flatten()).view(1, 1)  # without a logarithm
