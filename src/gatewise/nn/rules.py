"""Rules of choice: which branches of a node serve a token, given their ranks; the dict CHOICE_RULES of their names.

A rule gives as many slots to every token, and says which of them serve it: an expert in a slot that does not serve has
the weight zero and is not computed. A rule of your own is one class with the methods of `ChoiceRule`.

Suffixes of names: T tokens, m nodes that a token has reached, K branches of a node.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import inf
from typing import ClassVar

import torch
from torch import Tensor

Slots = tuple[Tensor, Tensor | None]  # branches (T, m, S), and which of them serve; None: all


@dataclass(frozen=True)
class ChoiceRule(ABC):
    """Which branches of a node serve a token.

    Attributes
    ----------
    depends_on_batch : bool
        Whether the experts of a token depend on the other tokens of a call. Outputs then do too: those of a causal
        model would depend on later tokens, and decoding token by token is refused.
    training_only : bool
        Whether that is so in training only.
    varies : bool
        Whether the number of experts differs from token to token.

    Examples
    --------
    >>> import torch
    >>> from dataclasses import dataclass
    >>> from gatewise.nn import ChoiceRule, MoE
    >>> @dataclass(frozen=True)
    ... class AtLeast(ChoiceRule):
    ...     least: float = 0.2
    ...     varies = True  # the number of experts, from token to token
    ...
    ...     def chosen(self, rank, share, kept, real):
    ...         return torch.arange(rank.shape[-1]).expand(rank.shape), share >= self.least
    ...
    ...     def threshold(self, rank, share, kept, real):
    ...         return rank + torch.log(self.least / share)
    >>> MoE(8, 16, 4, choice=AtLeast())(torch.randn(5, 8)).shape
    torch.Size([5, 8])
    """

    depends_on_batch: ClassVar[bool] = False
    training_only: ClassVar[bool] = False
    varies: ClassVar[bool] = False

    @abstractmethod
    def chosen(self, rank: Tensor, share: Tensor, kept: int, real: Tensor | None) -> Slots:
        """Return branches ``(T, m, S)`` and which of them serve.

        Parameters
        ----------
        rank : Tensor (T, m, K)
            With offsets and noise; -inf where a branch is never chosen.
        share : Tensor (T, m, K)
            Weights of the gate, divided by their sum.
        kept : int
            The `top_k` of the router in a node.
        real : Tensor (T,), optional
            False for padding.
        """

    @abstractmethod
    def threshold(self, rank: Tensor, share: Tensor, kept: int, real: Tensor | None) -> Tensor:
        """Return the rank ``(T, m, K)`` above which a branch serves, all others as they are; -inf: it does anyway."""

    def shift(self, rank: Tensor, real: Tensor | None) -> Tensor | None:
        """Return what the tokens of a call add to the ranks of the branches, ``(1, m, K)``."""
        return None


@dataclass(frozen=True)
class Largest(ChoiceRule):
    """The `top_k` branches of the largest ranks (1701.06538).

    Examples
    --------
    >>> import torch
    >>> from gatewise.nn import Largest, MoE
    >>> MoE(8, 16, 4, top_k=2, choice=Largest()).router(torch.randn(5, 8)).index.shape
    torch.Size([5, 2])
    """

    def chosen(self, rank: Tensor, share: Tensor, kept: int, real: Tensor | None) -> Slots:
        if kept < rank.shape[-1]:
            return torch.topk(rank, kept, dim=-1).indices, None
        return torch.arange(kept, device=rank.device).expand(rank.shape), None

    def threshold(self, rank: Tensor, share: Tensor, kept: int, real: Tensor | None) -> Tensor:
        return _next_best(rank, kept)


@dataclass(frozen=True)
class TopP(ChoiceRule):
    """As few branches as have the share `p` of the weights together, the largest ranks first (2403.07652).

    With shares sorted by rank, ``s_(1), s_(2), ...``, branch (i) serves if ``s_(1) + ... + s_(i-1) < p``. The `top_k`
    of the router is the most that a token has; `top_k=None` sets no limit.

    Attributes
    ----------
    p : float
        Above zero, at most one.

    Examples
    --------
    >>> share = torch.tensor([[[0.2, 0.5, 0.3]]])
    >>> TopP(0.6).chosen(share.log(), share, 3, None)
    (tensor([[[1, 2, 0]]]), tensor([[[ True,  True, False]]]))
    """

    p: float = 0.5
    varies = True

    def __post_init__(self) -> None:
        if not 0 < self.p <= 1:
            raise ValueError(f"{self}: p is a share of the weights, above zero and at most one")

    def chosen(self, rank: Tensor, share: Tensor, kept: int, real: Tensor | None) -> Slots:
        best = torch.topk(rank, kept, dim=-1)
        own = share.gather(-1, best.indices)
        return best.indices, (own.cumsum(-1) - own < self.p) & (best.values > -inf)

    def threshold(self, rank: Tensor, share: Tensor, kept: int, real: Tensor | None) -> Tensor:
        best = torch.sort(rank, dim=-1, descending=True, stable=True)
        own = share.gather(-1, best.indices)
        total = own.cumsum(-1)
        serves = total - own < self.p  # for these the sum of the others must reach p without them
        place = torch.searchsorted(total, torch.where(serves, self.p + own, self.p).contiguous())
        ends = torch.cat([best.values, torch.full_like(best.values[..., :1], -inf)], -1).gather(-1, place)
        by_share = torch.empty_like(rank).scatter(-1, best.indices, ends)
        return torch.maximum(by_share, _next_best(rank, kept))


@dataclass(frozen=True)
class ExpertChoice(ChoiceRule):
    """Every expert chooses its tokens: those of a call for which its rank is largest (2202.09368).

    Of n real tokens each of L experts serves ``ceil(n top_k / L)``, so that all have the same load, and a token has
    `top_k` experts on average, maybe none. The paper uses the weights as they are, ``normalise="before"``. Padding is
    served by no expert.

    Examples
    --------
    >>> import torch
    >>> from gatewise.nn import ExpertChoice, MoE
    >>> layer = MoE(8, 16, 4, choice=ExpertChoice(), normalise="before", balance="none")
    >>> served = layer.router(torch.randn(12, 8)).weight > 0
    >>> int(served.sum())  # twelve tokens with two experts on average
    24
    """

    depends_on_batch = True
    varies = True

    def chosen(self, rank: Tensor, share: Tensor, kept: int, real: Tensor | None) -> Slots:
        rank = _real_only(rank, real)
        best = torch.topk(rank, _room(rank, kept), dim=0)
        places = torch.arange(best.indices.shape[0], device=rank.device)[:, None, None]
        serve = (places < _room_of_real(rank, kept, real)) & (best.values > -inf)
        taken = torch.zeros_like(rank, dtype=torch.bool).scatter(0, best.indices, serve)
        return torch.arange(rank.shape[-1], device=rank.device).expand(rank.shape), taken

    def threshold(self, rank: Tensor, share: Tensor, kept: int, real: Tensor | None) -> Tensor:
        rank = _real_only(rank, real)
        room = _room_of_real(rank, kept, real)
        ordered = torch.sort(rank, dim=0, descending=True).values
        ordered = torch.cat([ordered, torch.full_like(ordered[:1], -inf)])  # where all tokens have room
        last, after = (
            ordered.index_select(0, place) for place in ((room - 1).clamp_min(0).reshape(1), room.reshape(1))
        )
        return torch.where(rank >= last, after, last)


@dataclass(frozen=True)
class Sinkhorn(ChoiceRule):
    """In training, the largest entries of a plan that gives all branches the same load (S-BASE, 2202.01169).

    The plan maximises ``sum_tk P_tk rank_tk + temperature H(P)`` with the same sum for every token and the same for
    every branch: ``log P_tk = u_t + (rank_tk / temperature) + v_k``, found by alternating between both constraints.
    Among the branches of a token only ``temperature v_k`` matters, which is added to the ranks. Weights are those of
    the gate. In evaluation there is no plan, so tokens do not depend on each other.

    Attributes
    ----------
    temperature : float
        Of the entropy H, in the units of the ranks. The smaller, the more even the load, the more rounds it takes.
    rounds : int

    Examples
    --------
    >>> import torch
    >>> from gatewise.nn import MoE, Sinkhorn
    >>> layer = MoE(8, 16, 4, top_k=1, choice=Sinkhorn(), balance="none")
    >>> layer(torch.randn(12, 8)).shape, layer.router.depends_on_batch, layer.eval().router.depends_on_batch
    (torch.Size([12, 8]), True, False)
    """

    temperature: float = 1.0
    rounds: int = 8
    depends_on_batch = True
    training_only = True

    def __post_init__(self) -> None:
        if not (0 < self.temperature < inf and self.rounds >= 1):
            raise ValueError(f"{self}: give a positive temperature and at least one round")

    def shift(self, rank: Tensor, real: Tensor | None) -> Tensor | None:
        value = _real_only(rank, real) / self.temperature
        branch = torch.zeros_like(value[:1])
        for _ in range(self.rounds):
            token = -_finite(torch.logsumexp(value + branch, -1, keepdim=True))
            branch = -_finite(torch.logsumexp(value + token, 0, keepdim=True))
        return self.temperature * branch

    def chosen(self, rank: Tensor, share: Tensor, kept: int, real: Tensor | None) -> Slots:
        return Largest().chosen(rank, share, kept, real)

    def threshold(self, rank: Tensor, share: Tensor, kept: int, real: Tensor | None) -> Tensor:
        return Largest().threshold(rank, share, kept, real)


CHOICE_RULES: dict[str, type[ChoiceRule]] = {
    "top-k": Largest,
    "top-p": TopP,
    "expert choice": ExpertChoice,
    "sinkhorn": Sinkhorn,
}


def _next_best(rank: Tensor, kept: int) -> Tensor:
    """Return the k-th largest rank of the other branches of a node, ``(T, m, K)``."""
    if kept == rank.shape[-1]:
        return torch.full_like(rank, -inf)
    best = torch.topk(rank, kept + 1, -1).values
    last, after = best.narrow(-1, kept - 1, 1), best.narrow(-1, kept, 1)
    return torch.where(rank >= last, after, last)


def _real_only(rank: Tensor, real: Tensor | None) -> Tensor:
    """Return ranks that padding has none of."""
    return rank if real is None else rank.masked_fill(~real[:, None, None], -inf)


def _room(rank: Tensor, kept: int) -> int:
    """Return how many tokens an expert serves if none is padding; all where an exporter leaves their number open."""
    tokens = rank.shape[0]
    return tokens if torch.compiler.is_exporting() else -(-tokens * kept // rank.shape[-1])


def _room_of_real(rank: Tensor, kept: int, real: Tensor | None) -> Tensor:
    """Return how many tokens an expert serves, as a tensor: no shape depends on the padding."""
    tokens = torch.full((), rank.shape[0], device=rank.device) if real is None else real.sum()
    return -(-tokens * kept // rank.shape[-1])


def _finite(value: Tensor) -> Tensor:
    """Return values with zero for what has no finite entry to be scaled."""
    return torch.where(value.isfinite(), value, 0.0)
