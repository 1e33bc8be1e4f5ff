"""How a router ranks the branches that it chooses from: by weight or score, and in a few groups of experts only."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import NamedTuple

import torch
from torch import Tensor

from gatewise.core.gates import Gate
from gatewise.core.names import require_one_of

BY = ("log weights", "weights", "scores")


class Choice(NamedTuple):
    """What is ranked to choose the experts of a token; weights are not touched. For routers of one level.

    Attributes
    ----------
    by : {"log weights", "weights", "scores"}
        To what the offsets of the choice are added: the log weights, the weights (2412.19437, equation 16), or the
        scores before the link. Without offsets and groups the choice is the same.
    groups, kept : int
        Experts are chosen from `kept` of `groups` groups of equal size, which follow each other: node- or group-limited
        routing (2405.04434, device-limited routing). The default is one group, no limit.
    best : int
        A group ranks by the sum of its `best` largest ranks (2412.19437: 2; 2405.04434: 1).
    closed : float, optional
        The rank of experts in other groups; None: they are never chosen.

    Examples
    --------
    >>> Choice("weights", groups=2, kept=1).limited(torch.tensor([[0.9, 0.1, 0.0, 0.6, 0.5, 0.0]]))
    tensor([[  -inf,   -inf,   -inf, 0.6000, 0.5000, 0.0000]])
    """

    by: str = "log weights"
    groups: int = 1
    kept: int = 1
    best: int = 2
    closed: float | None = None

    def check(self, branching: tuple[int, ...], top_k: tuple[int, ...]) -> None:
        """Raise if no router of this shape can choose so."""
        require_one_of("by", self.by, BY)
        if len(branching) > 1:
            raise ValueError(f"{self} with the branching {branching}: it ranks the experts of one level")
        size, rest = divmod(branching[0], max(self.groups, 1))
        limits = self.kept < self.groups
        if rest or not 1 <= self.kept <= self.groups or (limits and not 1 <= self.best <= size):
            raise ValueError(
                f"{self} with {branching[0]} experts: groups must divide them, kept lies between 1 and groups, best "
                "between 1 and the experts of a group"
            )
        if top_k[0] > self.kept * size:
            raise ValueError(f"{self}: {self.kept * size} experts in the kept groups, fewer than top_k={top_k[0]}")

    def ranks(self, log: Tensor, score: Tensor, offset: Tensor) -> Tensor:
        """Return the ranks ``(T, nodes, K)`` from log weights, scores and the offsets ``(nodes, K)``."""
        base = {"log weights": log, "scores": score}.get(self.by)
        return self.limited((log.exp() if base is None else base) + offset.to(log.dtype))

    def limited(self, rank: Tensor) -> Tensor:
        """Return ranks ``(*, K)`` with those outside the kept groups closed."""
        if self.kept == self.groups:
            return rank
        inside = rank.unflatten(-1, (self.groups, -1))
        value = inside.topk(self.best, -1).values.sum(-1)
        opened = torch.zeros_like(value, dtype=torch.bool).scatter(-1, value.topk(self.kept, -1).indices, True)
        return inside.where(opened[..., None], -inf if self.closed is None else self.closed).flatten(-2)


def usual_choice(gates: Sequence[Gate]) -> Choice:
    """Return by what routers with these gates, one per level, choose unless told otherwise."""
    return Choice("weights" if len(gates) == 1 and not gates[0].link.normalised else "log weights")
