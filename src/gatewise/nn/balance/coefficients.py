"""What a token adds to the loss of shares, known once a step has ended: the coefficients of its own values."""

from __future__ import annotations

from math import inf
from typing import NamedTuple

import torch
from torch import Tensor

from gatewise.nn.balance.methods import BalanceMethod, ExpertShares, ShareSlopes
from gatewise.nn.balance.shares import FLOOR, shares_by_level, sums_by_level
from gatewise.nn.balance.statistics import unpacked


class LossCoefficients(NamedTuple):
    """Coefficients of a loss that is linear in the sums over tokens, and by what their sum is divided.

    Attributes
    ----------
    tokens : Tensor ()
        Number of tokens of the last step; inf before a first step, when no loss acts.
    sums : list of Tensor (1, nodes K), or None
        Of the importance by level and of the expected load, see `TokenSums`; None for a loss that reads neither.
    weights : Tensor (L,) or None
        Of the sums of the weights of the leaves as the gates compute them.
    """

    tokens: Tensor
    sums: list[Tensor] | None
    weights: Tensor | None


@torch.no_grad()
def loss_coefficients(
    method: BalanceMethod, last: Tensor, branching: tuple[int, ...], earlier: Tensor | None = None
) -> LossCoefficients:
    """Return the coefficients of a method's loss, linear in the tokens by the shares of the last steps.

    A token's share in a node counts over the node's mean share, its load over the node's mean load; the loss is the
    mean over the nodes of a level, summed over levels. The coefficients of the expected load are the derivatives of the
    loss in the mean loads of the leaves: an uneven node does not push tokens out of itself.

    Parameters
    ----------
    method : BalanceMethod
    last : Tensor (3 L + 4,)
        The tally of the last step, see `RoutingStatistics.packed`.
    branching : tuple of int
    earlier : Tensor (3 L + 4,), optional
        The tally of the step before that one; zeros or None: not known.
    """
    tally = unpacked(last)
    tokens = tally.tokens.masked_fill(tally.tokens == 0, inf)
    if method.of_sequences:  # their shares are of this call
        return LossCoefficients(tokens, None, None)
    shares = shares_of(last, branching)
    slopes = method.loss(shares)
    if earlier is not None:
        slopes = _extrapolated(slopes, method.loss(shares_of(earlier, branching)), unpacked(earlier).tokens > 0)
    if slopes.importance is None and slopes.expected_load is None:
        return LossCoefficients(tokens, None, slopes.weights)
    zero = [torch.zeros_like(share) for share in shares.importance]
    parts, mean = [], last.new_ones(1)
    for slope, share in zip(slopes.importance or zero, shares.importance, strict=True):
        parts.append((slope / (len(slope) * mean.clamp_min(FLOOR)[:, None])).reshape(1, -1))
        mean = (mean[:, None] * share).flatten()
    means, load = sums_by_level(tally.smooth / tokens, branching), last.new_zeros(1)
    for slope, part in zip(slopes.expected_load or zero, means, strict=True):
        total = part.sum(-1, keepdim=True).clamp_min(FLOOR)
        centred = slope - (slope * part).sum(-1, keepdim=True) / total  # shares stay if all loads of a node rise alike
        load = (load[:, None] + centred / (len(slope) * total)).flatten()
    return LossCoefficients(tokens, [*parts, load[None]], slopes.weights)


def _extrapolated(last: ShareSlopes, earlier: ShareSlopes, known: Tensor) -> ShareSlopes:
    """Return the derivatives in the shares that a straight line through those of two steps gives for the next one.

    The last ones alone are a step late: experts that have already lost their tokens would be pushed further away.
    """

    def line(new: list[Tensor] | None, old: list[Tensor] | None) -> list[Tensor] | None:
        if new is None or old is None:
            return new
        return [n + torch.where(known, n - o, 0.0) for n, o in zip(new, old, strict=True)]

    importance, expected_load = (line(new, old) for new, old in zip(last[:2], earlier[:2], strict=True))
    return last._replace(importance=importance, expected_load=expected_load)


def shares_of(last: Tensor, branching: tuple[int, ...]) -> ExpertShares:
    """Return the shares of the experts in the step whose tally is `last (3 L + 4,)`."""
    tally = unpacked(last)
    load, importance, expected = (shares_by_level(part, branching) for part in tally[:3])
    return ExpertShares(load, importance, expected, tally.load.sum() / tally.tokens.clamp_min(1))
