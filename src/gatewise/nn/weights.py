"""Weights of the branches of a node: their shares before a choice, and what the chosen ones get.

A node may have no weight at all for a token, as behind rectified scores; its shares are zero then.
"""

from __future__ import annotations

from math import inf

import torch
from torch import Tensor

LOWEST = -1e30  # in place of a log weight or a rank of -inf, where a difference of two is taken


def node_log_shares(log: Tensor) -> Tensor:
    """Return the log of weights divided by their sum over a node ``(*, K)``; -inf where there is no weight."""
    nothing = (log == -inf).all(-1, keepdim=True)
    return torch.log_softmax(log.masked_fill(nothing, 0.0), -1).masked_fill(nothing, -inf)


def node_shares(log: Tensor, sparse: bool = True) -> Tensor:
    """Return weights divided by their sum over a node ``(*, K)``; zero where there is none, if the link is `sparse`."""
    if not sparse:
        return torch.softmax(log, -1)
    nothing = (log == -inf).all(-1, keepdim=True)
    return torch.softmax(log.masked_fill(nothing, 0.0), -1).masked_fill(nothing, 0.0)


def kept_weights(log: Tensor, serves: Tensor | None, normalise: str, partial: bool) -> Tensor:
    """Return the weights of the chosen branches of a node from their log weights ``(T, m, k)``.

    Parameters
    ----------
    log : Tensor (T, m, k)
    serves : Tensor (T, m, k), optional
        False for branches that do not serve, whose weight is zero.
    normalise : {"after", "before", "always"}
        See `Router`.
    partial : bool
        Whether some may not serve, so that their number differs from token to token.
    """
    log = log if serves is None else log.masked_fill(~serves, -inf)
    if normalise == "before":
        return log.exp()
    if not partial:
        return torch.softmax(log, -1) if log.shape[-1] > 1 else _single(log, normalise)
    there = log != -inf  # a nan stays one
    single = _single(log.masked_fill(~there, LOWEST), normalise) * there
    return torch.where(there.sum(-1, keepdim=True) == 1, single, node_shares(log))


def _single(log: Tensor, normalise: str) -> Tensor:
    """Return the weight of a node's only branch: that of the gate, or one with the gradient of the log weight."""
    return log.exp() if normalise == "after" else (log - log.detach()).exp()
