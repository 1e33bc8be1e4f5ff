"""What balancing and diagnostics need to know of a step: sums over its tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from gatewise.nn.router import Router, Routing
from gatewise.nn.weights import LOWEST, node_shares

FAR = 40.0  # standard deviations from which on a normal probability is zero or one in every precision
WIDTH = 0.3  # noise of `kept_probability` where none is drawn, in log weight: the spread of the scores at the start


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


def unpacked(vector: Tensor) -> RoutingStatistics:
    """Return the tally that a vector ``(3 L + 4,)`` holds."""
    leaves = (len(vector) - 4) // 3
    return RoutingStatistics(*vector[: 3 * leaves].split(leaves), *vector[3 * leaves :].unbind())


class TokenSums(NamedTuple):
    """Sums over the tokens of a call that a loss and a tally both read, with their gradients.

    Attributes
    ----------
    weight : Tensor (T,)
        One for every token that counts.
    importance : list of Tensor (nodes, K)
        Per level, sums of the shares of a node's branches, times the share of the token that reaches the node, which
        has no gradient.
    leaves : Tensor (T, L)
        The shares of all leaves, zero for tokens that do not count, without gradient.
    expected_load : Tensor (L,) or None
        Sums of the probabilities of being kept, `kept_probability`.
    """

    weight: Tensor
    importance: list[Tensor]
    leaves: Tensor
    expected_load: Tensor | None


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
    weight = torch.ones_like(routing.weight[:, 0]) if real is None else real.to(routing.weight.dtype)
    importance, reach = [], weight[:, None]
    for kind, log in zip(router.kinds, routing.log_weights, strict=True):
        part = reach[..., None] * node_shares(log, kind.link.sparse)
        importance.append(part.sum(0))
        reach = part.detach().flatten(1)
    load = weight @ kept_probability(router, routing, real) if expected and routing.ranks else None
    return TokenSums(weight, importance, reach, load)


@torch.no_grad()
def count(router: Router, routing: Routing, sums: TokenSums, served: Tensor | None = None) -> RoutingStatistics:
    """Return the tally of a routing.

    Parameters
    ----------
    router : Router
    routing : Routing
    sums : TokenSums
    served : Tensor (T, S), optional
        False for assignments that found no room.
    """
    taken = sums.weight[:, None].expand_as(routing.index)
    taken = taken * (routing.weight != 0) if router.partial or not routing.ranks else taken
    load = taken.new_zeros(router.n_leaves).index_add_(0, routing.index.flatten(), taken.flatten())
    kept = load if sums.expected_load is None else sums.expected_load.detach()
    entropy = -torch.xlogy(sums.leaves, sums.leaves).sum()
    offered = taken.sum()
    found = offered if served is None else (taken * served).sum()
    importance = sums.importance[-1].detach().flatten()
    return RoutingStatistics(load, importance, kept, entropy, sums.weight.sum(), offered, found)


def kept_probability(router: Router, routing: Routing, real: Tensor | None = None) -> Tensor:
    """Return the probability ``(T, L)`` that a leaf is kept when its own noise is drawn anew.

    ``Phi((r_i - t_i) / width)`` at every level of choice, with r the ranking values, t_i the `threshold` of the rule
    of choice, all others with the noise that chose, and the standard deviation of the noise, multiplied along the path
    (1701.06538, equations 8 and 9, where t_i is the k-th largest rank of the others). Differentiable in r and in
    learned widths; under noise its expectation is the probability of being kept. Without noise it is a smooth stand-in
    for the choice, `WIDTH` wide.
    """
    rule = router.choice.rule
    fixed = router.fixed_noise if router.noisy else WIDTH
    widths: Sequence[Tensor | float] = routing.widths or [fixed] * len(routing.clean)
    logs = router.candidates([log.detach() for log in routing.log_weights])
    total = None
    for rank, noisy, log, width, kept in zip(routing.clean, routing.ranks, logs, widths, router.top_k, strict=True):
        if routing.widths:  # the weights had the noise too
            log = log + torch.nan_to_num(noisy - rank.detach()) / router.unit
        share = node_shares(log) if rule.varies else log
        least = rule.threshold(noisy, share, kept, real).clamp_min(LOWEST)
        above = rank.clamp_min(2 * LOWEST) - least  # a branch that is never chosen lies below any threshold
        scale = width * router.unit
        if isinstance(scale, Tensor):  # the derivative in a scale divides by its square
            above = above.clamp(-FAR * scale.detach(), FAR * scale.detach())
        part = torch.special.ndtr(above / scale)
        total = part.flatten(1) if total is None else (total[..., None] * part).flatten(1)
    assert total is not None
    return total
