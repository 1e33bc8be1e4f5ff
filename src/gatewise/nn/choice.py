"""How a router chooses branches: what it ranks them by, in which groups of experts, and by which rule."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, prod
from typing import NamedTuple

import torch
from torch import Tensor

from gatewise.core.gates import Gate
from gatewise.core.names import require_one_of
from gatewise.nn.rules import ChoiceRule, Largest

BY = ("log weights", "weights", "scores")


class Choice(NamedTuple):
    """How the experts of a token are chosen; weights are those of the gate whatever is chosen.

    Attributes
    ----------
    by : {"log weights", "weights", "scores"}
        To what the offsets of the choice are added: the log weights, the weights (2412.19437, equation 16), or the
        scores before the link. Without offsets and groups the choice is the same. On a tree: log weights.
    groups, kept : int
        Experts are chosen from `kept` of `groups` groups of equal size, which follow each other: node- or group-limited
        routing (2405.04434, device-limited routing). The default is one group, no limit. For routers of one level.
    best : int
        A group ranks by the sum of its `best` largest ranks (2412.19437: 2; 2405.04434: 1).
    closed : float, optional
        The rank of experts in other groups; None: they are never chosen.
    rule : ChoiceRule
        `Largest()`: the `top_k` largest ranks. `TopP(p)`, `ExpertChoice()`, `Sinkhorn()`, or your own.

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
    rule: ChoiceRule = Largest()

    def check(self, branching: tuple[int, ...], top_k: tuple[int, ...]) -> None:
        """Raise if no router of this shape can choose so."""
        require_one_of("by", self.by, BY)
        if not isinstance(self.rule, ChoiceRule):
            raise ValueError(f"rule={self.rule!r}: give an instance of a rule, such as TopP(0.5) or ExpertChoice()")
        if self.rule.depends_on_batch and len(top_k) > 1:
            raise ValueError(
                f"{self.rule} with top_k={top_k}, a number for every level: it chooses among all tokens, which a group "
                f"has not; give one top_k for the leaves, such as top_k={prod(top_k)}"
            )
        if len(branching) > 1:
            if self._replace(rule=Largest()) != Choice():
                raise ValueError(f"{self} with the branching {branching}: it ranks the experts of one level")
            return
        size, rest = divmod(branching[0], max(self.groups, 1))
        limits = self.kept < self.groups
        if rest or not 1 <= self.kept <= self.groups or (limits and not 1 <= self.best <= size):
            raise ValueError(
                f"{self} with {branching[0]} experts: groups must divide them, kept lies between 1 and groups, best "
                "between 1 and the experts of a group"
            )
        if top_k[0] > self.kept * size and not self.rule.varies:
            raise ValueError(f"{self}: {self.kept * size} experts in the kept groups, fewer than top_k={top_k[0]}")

    def ranks(self, log: Tensor, score: Tensor, offset: Tensor) -> Tensor:
        """Return the ranks ``(T, nodes, K)`` from log weights, scores and the offsets ``(nodes, K)``."""
        base = log.exp() if self.by == "weights" else score if self.by == "scores" else log
        return self.limited(base + (offset if offset.dtype == log.dtype else offset.to(log.dtype)))

    def limited(self, rank: Tensor) -> Tensor:
        """Return ranks ``(*, K)`` with those outside the kept groups closed."""
        if self.kept == self.groups:
            return rank
        inside = rank.unflatten(-1, (self.groups, -1))
        value = inside.topk(self.best, -1).values.sum(-1)
        opened = torch.zeros_like(value, dtype=torch.bool).scatter(-1, value.topk(self.kept, -1).indices, True)
        return inside.where(opened[..., None], -inf if self.closed is None else self.closed).flatten(-2)


def usual_choice(gates: Sequence[Gate], rule: ChoiceRule | None = None) -> Choice:
    """Return how routers with these gates, one per level, choose unless told otherwise; by another rule if given."""
    by = "weights" if len(gates) == 1 and not gates[0].link.normalised else "log weights"
    return Choice(by, rule=rule or Largest())


def choice_of(given: Choice | ChoiceRule | None, gates: Sequence[Gate]) -> Choice:
    """Return the choice that is given, by itself or by its rule alone."""
    return given if isinstance(given, Choice) else usual_choice(gates, given)
