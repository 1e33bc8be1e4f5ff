"""Shares of the branches inside every node, and the measures of imbalance that balancing lowers."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor

FLOOR = 1e-6  # smallest share of a group by which the statistics inside it are divided


def sums_by_level(leaves: Tensor, branching: tuple[int, ...]) -> list[Tensor]:
    """Return the sums over the leaves below every branch: ``(L,)`` -> one ``(nodes, K)`` per level."""
    parts = [(prod(branching[: level + 1]), branches) for level, branches in enumerate(branching)]
    return [leaves.reshape(below, -1).sum(-1).reshape(-1, branches) for below, branches in parts]


def shares_by_level(leaves: Tensor, branching: tuple[int, ...]) -> list[Tensor]:
    """Return the shares of the branches inside every node: ``(L,)`` -> one ``(nodes, K)`` per level."""
    return [part / part.sum(-1, keepdim=True).clamp_min(FLOOR) for part in sums_by_level(leaves, branching)]


def cv_squared(shares: list[Tensor]) -> Tensor:
    """Return the squared coefficient of variation ``K sum_j (s_j - 1/K)^2``, mean over nodes, summed over levels."""
    return torch.stack([(s.shape[-1] * ((s - 1 / s.shape[-1]) ** 2).sum(-1)).mean() for s in shares]).sum()


def cv_slopes(shares: list[Tensor]) -> list[Tensor]:
    """Return the derivatives of `cv_squared` in the shares of a node, ``2 K (s_j - 1/K)``."""
    return [2 * s.shape[-1] * (s - 1 / s.shape[-1]) for s in shares]


def switch_value(load: list[Tensor], importance: list[Tensor]) -> Tensor:
    """Return ``K sum_j f_j P_j`` (2101.03961, equation 4), mean over nodes, summed over levels."""
    pairs = zip(load, importance, strict=True)
    return torch.stack([(f.shape[-1] * (f * p).sum(-1)).mean() for f, p in pairs]).sum()
