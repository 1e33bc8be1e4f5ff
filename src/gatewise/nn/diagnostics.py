"""Diagnostics of routing: five figures per layer, and functions of routings, weights and outputs."""

from __future__ import annotations

from math import log

import torch

from gatewise.nn.balance import Tally

KEYS = ("load ratio", "normalised entropy", "dead fraction", "maximum share", "mutual information")


def summarise(tally: Tally) -> dict[str, float]:
    """Return the five figures of a tally; empty if it saw no token.

    With load shares s over L experts and the gate's weights p(x):
    "load ratio" ``L max_j s_j``, the busiest expert's load over the mean load;
    "normalised entropy" ``mean_x H(p(x)) / log L``, 1 when every token is routed evenly;
    "dead fraction" the share of experts without an assignment;
    "maximum share" ``max_j s_j``;
    "mutual information" ``H(mean_x p(x)) - mean_x H(p(x))`` of token and expert, in nats.
    """
    if not bool(tally.tokens > 0):
        return {}
    leaves = len(tally.load)
    share = tally.load / tally.load.sum()
    mean = tally.importance / tally.importance.sum()
    inside = float(tally.entropy / tally.tokens)
    figures = (
        float(leaves * share.max()),
        inside / log(leaves) if leaves > 1 else 1.0,
        float((tally.load == 0).float().mean()),
        float(share.max()),
        max(float(-torch.xlogy(mean, mean).sum()) - inside, 0.0),
    )
    return dict(zip(KEYS, figures, strict=True))
