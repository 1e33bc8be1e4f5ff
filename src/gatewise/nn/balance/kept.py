"""The probability that an expert is kept when its own noise is drawn anew: the smooth stand-in for its load.

``Phi((r_i - t_i) / width)`` at every selection, with r the ranking values, t_i the `threshold` of the rule of choice,
all others with the noise that chose, and the standard deviation of the noise, multiplied along the path (1701.06538,
equations 8 and 9, where t_i is the k-th largest rank of the others). Differentiable in r and in learned widths; under
noise its expectation is the probability of being kept. Without noise it is a smooth stand-in for the choice, `WIDTH`
wide.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import torch
from torch import Tensor

from gatewise.nn.router import Router, Routing
from gatewise.nn.weights import LOWEST, node_shares

FAR = 40.0  # standard deviations from which on a normal probability is zero or one in every precision
WIDTH = 0.3  # noise where none is drawn, in log weight: the spread of the scores at the start


def kept_probability(router: Router, routing: Routing, real: Tensor | None = None) -> Tensor:
    """Return the probability ``(T, L)`` that a leaf is kept when its own noise is drawn anew."""
    widths = [router.unit * width for width in routing.widths or fixed_widths(router, routing)]
    given = zip(routing.clean, thresholds(router, routing, real), widths, strict=True)
    return along_selections([normal_probability(shortfall(*one)) for one in given])[-1]


@torch.no_grad()
def thresholds(router: Router, routing: Routing, real: Tensor | None = None) -> list[Tensor]:
    """Return above which rank a branch serves, ``(T, nodes, K)`` per selection."""
    rule, found = router.choice.rule, []
    logs = router.candidates(routing.log_weights)
    for rank, noisy, log, kept in zip(routing.clean, routing.ranks, logs, router.top_k, strict=True):
        if routing.widths:  # the weights had the noise too
            log = log + torch.nan_to_num(noisy - rank) / router.unit
        share = node_shares(log) if rule.varies else log
        found.append(rule.threshold(noisy, share, kept, real).clamp_min(LOWEST))
    return found


def fixed_widths(router: Router, routing: Routing) -> list[float]:
    """Return the standard deviation of the noise of every selection, in log weight, where it is not learned."""
    return [router.fixed_noise if router.noisy else WIDTH] * len(routing.clean)


def shortfall(rank: Tensor, least: Tensor, width: Tensor | float) -> Tensor:
    """Return by how many standard deviations, over the root of two, ranks lie below their thresholds."""
    below = least - rank  # a branch that is never chosen lies below any threshold, which is finite
    if not isinstance(width, Tensor):
        return below.mul_(1 / (sqrt(2) * width))
    below = below.clamp(-FAR * width.detach(), FAR * width.detach())  # a derivative divides by the square of the width
    return below / (sqrt(2) * width)


def normal_probability(shortfall: Tensor) -> Tensor:
    """Return the probability that a normal variable makes up for a shortfall."""
    return torch.erfc(shortfall).mul_(0.5)


def along_selections(parts: Sequence[Tensor]) -> list[Tensor]:
    """Return the products along the path to every branch, ``(T, nodes K)`` per selection."""
    found = [parts[0].flatten(1)]
    for part in parts[1:]:
        found.append((found[-1].unsqueeze(-1) * part).flatten(1))
    return found
