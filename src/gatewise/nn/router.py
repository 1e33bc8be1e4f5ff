"""Router: core gates on a tree of experts choose the leaves of every token and weigh them.

Suffixes of names: T tokens, K branches of a node, L leaves (experts), S slots (experts kept per token).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from math import inf, prod
from operator import index as whole
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gatewise.core.gates import Gate, describe
from gatewise.core.gates import gates as gates_of
from gatewise.core.names import require_one_of
from gatewise.core.tree import along_paths, expand_nodes
from gatewise.nn.choice import Choice, usual_choice
from gatewise.nn.params import GateParameters, Schedule

NORMALISE = ("before", "after", "always")


class Routing(NamedTuple):
    """Where each token goes.

    Attributes
    ----------
    index : Tensor (T, S)
        Selected leaves. Leaves are numbered row by row over the tree: leaf ``i K_2 + j`` is branch j of group i.
    weight : Tensor (T, S)
        Their weights, in float32 or wider.
    log_weights, scores : tuple of Tensor (T, nodes, K)
        Log weights and scores of the gates at each level, before top-k.
    ranks : tuple of Tensor (T, nodes, K)
        The values by which branches were selected, including noise, one per selection.
    """

    index: Tensor  # type: ignore[assignment]  # no method of a tuple here
    weight: Tensor
    log_weights: tuple[Tensor, ...]
    scores: tuple[Tensor, ...]
    ranks: tuple[Tensor, ...]


class Router(nn.Module):
    """Route tokens ``(T, d)`` through one gate per level, and select the `top_k` leaves.

    Parameters
    ----------
    dim : int
        Features d of a token.
    branching : int or tuple of int
        Branches at each level; ``(4, 8)`` is four groups of eight experts.
    gate : str, Gate, or a sequence of them
        A name of GATES or a Gate: one for all levels, or one per level. Each node has its own parameters.
    top_k : int, tuple of int or None
        Number of leaves to select by the product of weights along their paths, or of branches to select at each level.
        None: all leaves (dense).
    normalise : {"after", "before", "always"}
        "after": divide the selected weights by their sum (for a softmax: the softmax of the selected scores). "before":
        use the weights of the gate. A single selected branch keeps its weight in both cases; otherwise the gate would
        get no gradient. "always": as "after", but a single branch has weight one too, and its gradient is that of the
        log weight (straight-through, 1308.3432).
    temperature : "learned", float or callable
        For gates with a temperature: trained, fixed, or a function of the number of optimiser steps such as `Anneal`.
    noise : float
        Standard deviation of Gaussian noise on the log weights used for the selection, in training only (1701.06538
        adds it to the scores). The weights themselves have no noise.
    choice : Choice, optional
        By what the experts of one level are ranked, and in which groups. Default: by log weight; by weight if the link
        of a single level is not normalised.

    Notes
    -----
    Gates compute in float32 or wider, also under autocast (2101.03961, section 2.4).

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> router = Router(16, (2, 3), gate=("laplace", "softmax"), top_k=2)
    >>> router(torch.randn(5, 16)).index.shape
    torch.Size([5, 2])
    """

    gates: Sequence[GateParameters]
    offset_0: Tensor

    def __init__(
        self,
        dim: int,
        branching: int | Sequence[int],
        gate: str | Gate | Sequence[str | Gate] = "softmax",
        top_k: int | Sequence[int] | None = 2,
        normalise: str = "after",
        temperature: str | float | Schedule = "learned",
        noise: float = 0.0,
        choice: Choice | None = None,
    ) -> None:
        super().__init__()
        self.dim = whole(dim)
        self.branching = tuple(map(whole, branching)) if isinstance(branching, Sequence) else (whole(branching),)
        self.kinds = _kinds(gate, self.branching)
        self.top_k = _kept(top_k, self.branching)
        if choice is not None:
            choice.check(self.branching, self.top_k)
        self.choice = choice or usual_choice(self.kinds)
        require_one_of("normalise", normalise, NORMALISE)
        if isinstance(noise, str):
            raise ValueError(f"noise={noise!r}: give a standard deviation, zero or more; a learned one is not offered")
        if not 0 <= noise < inf:
            raise ValueError(f"noise={noise}: a standard deviation, zero or more")
        self.normalise, self.noise = normalise, float(noise)
        _check_temperature(temperature, self.kinds)
        self.gates = nn.ModuleList(  # type: ignore[assignment]  # its elements have no type of their own
            GateParameters(kind, self.branching[:level], branches, dim, temperature)
            for level, (kind, branches) in enumerate(zip(self.kinds, self.branching, strict=True))
        )
        for level, branches in enumerate(self.branching):
            nodes = prod(self.branching[:level])
            self.register_buffer(f"offset_{level}", torch.zeros(nodes, branches, dtype=torch.float32))

    @property
    def levels(self) -> list[GateParameters]:
        """The parameters of the levels, also where a module such as an adapter wraps them."""
        return [one for one in self.gates.modules() if isinstance(one, GateParameters)]  # type: ignore[attr-defined]

    @property
    def n_leaves(self) -> int:
        """Number of experts."""
        return prod(self.branching)

    @property
    def slots(self) -> int:
        """Number of experts that serve a token."""
        return prod(self.top_k)

    @property
    def noisy(self) -> bool:
        """Whether noise takes part in the choice now."""
        return self.training and self.noise > 0

    @property
    def unit(self) -> float:
        """What a log weight of one is worth in the values that choose: the steepest slope of a sigmoid, or one."""
        return 0.25 if self.choice.by == "weights" else 1.0

    @property
    def selection_bias(self) -> list[Tensor]:
        """What is added to the log weights when leaves are chosen, never to the weights: one per level, (nodes, K)."""
        return [getattr(self, f"offset_{level}") for level in range(len(self.branching))]

    def forward(self, x: Tensor) -> Routing:
        """Route tokens x ``(T, d)``."""
        if x.ndim != 2 or x.shape[-1] != self.dim:
            raise ValueError(f"x has the shape {tuple(x.shape)}: a router takes tokens (T, {self.dim})")
        dtype = torch.promote_types(x.dtype, torch.float32)
        with without_autocast(x.device.type):
            rows = x.to(dtype).mT
            scores, logs = [], []
            for level, (kind, gate) in enumerate(zip(self.kinds, self.gates, strict=True)):
                score = gate(expand_nodes(rows, level))
                scores.append(_rows_first(score, level))
                logs.append(_rows_first(kind.link.log_weights(score), level))
            ranks = [rank.detach() for rank in self.ranks(logs, scores)]
            if self.noisy:
                ranks = [rank + self.noise * self.unit * torch.randn_like(rank) for rank in ranks]
            index, weight = self.select(logs, ranks)
        return Routing(index, weight, tuple(logs), tuple(scores), tuple(ranks))

    def select(self, logs: Sequence[Tensor], ranks: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the kept leaves ``(T, S)`` and their weights: by `ranks`, from the log weights of every level."""
        flat = len(self.top_k) < len(logs)
        logs = [_leaves(logs)] if flat else logs
        tokens = logs[0].shape[0]
        node = torch.zeros(tokens, 1, dtype=torch.long, device=logs[0].device)
        weight = logs[0].new_ones(tokens, 1)
        for log, rank, kept in zip(logs, ranks, self.top_k, strict=True):
            branches = log.shape[-1]
            if kept < branches:
                choice = torch.topk(_at(rank, node), kept, dim=-1).indices
            else:
                choice = torch.arange(branches, device=log.device).expand(tokens, node.shape[1], branches)
            taken = _at(log, node).gather(-1, choice)
            share = self._shares(taken)
            weight = (weight[..., None] * share).flatten(1)
            node = (node[..., None] * branches + choice).flatten(1)
        return node, weight

    def _shares(self, log: Tensor) -> Tensor:
        """Return the weights of the kept branches of a node from their log weights ``(T, m, k)``."""
        if self.normalise == "before" or (self.normalise == "after" and log.shape[-1] == 1):
            return log.exp()
        return torch.softmax(log, -1) if log.shape[-1] > 1 else (log - log.detach()).exp()

    def ranks(self, logs: Sequence[Tensor], scores: Sequence[Tensor]) -> list[Tensor]:
        """Return the values by which branches are chosen, ``(T, nodes, K)`` per choice: one per level, or the leaves'.

        The log weights plus the offsets, or what the `choice` of a single level says.
        """
        if len(self.branching) == 1:
            return [self.choice.ranks(logs[0], scores[0], self.offset_0)]
        moved = [log + offset.to(log.dtype) for log, offset in zip(logs, self.selection_bias, strict=True)]
        return [_leaves(moved)] if len(self.top_k) < len(moved) else moved

    def reset_parameters(self) -> None:
        """Set the offsets to zero, as after ``to_empty``; the gates reset their own parameters."""
        for offset in self.selection_bias:
            offset.zero_()

    def _apply(self, fn: Any, recurse: bool = True) -> Router:
        """Move, but keep the offsets in float32: their small steps do not fit half precision."""
        super()._apply(fn, recurse)
        for level, offset in enumerate(self.selection_bias):
            setattr(self, f"offset_{level}", offset.float())
        return self

    def extra_repr(self) -> str:
        names = ", ".join(describe(kind) for kind in self.kinds)
        return (
            f"dim={self.dim}, branching={self.branching}, gates=({names}), top_k={self.top_k}, {self.normalise} top-k"
        )


def without_autocast(device: str) -> AbstractContextManager[Any]:
    """Return a context without autocast; the meta device knows none."""
    return nullcontext() if device == "meta" else torch.autocast(device, enabled=False)


def leaf_probabilities(routing: Routing) -> Tensor:
    """Return the weights of all leaves ``(T, L)`` before top-k, those of every node divided by their sum."""
    return _leaves([torch.log_softmax(log, -1) for log in routing.log_weights])[:, 0].exp()


def _leaves(logs: Sequence[Tensor]) -> Tensor:
    """Add up the log weights on the path to every leaf: ``(T, nodes, K)`` per level -> ``(T, 1, L)``."""
    return along_paths([log[..., None] for log in logs], torch.add).mT


def _rows_first(value: Tensor, level: int) -> Tensor:
    """Turn ``(K_1, ..., K_{l+1}, T)`` into ``(T, nodes, K)``, contiguous."""
    value = value[None] if level == 0 else value.flatten(0, level - 1)
    return value.movedim(-1, 0).contiguous()


def _at(value: Tensor, node: Tensor) -> Tensor:
    """Return the branches of the given nodes: ``(T, nodes, K)``, ``(T, m)`` -> ``(T, m, K)``."""
    if value.shape[1] == 1:
        return value
    return value.gather(1, node[..., None].expand(-1, -1, value.shape[-1]))


def _kinds(gate: str | Gate | Sequence[str | Gate], branching: tuple[int, ...]) -> tuple[Gate, ...]:
    """Return one gate per level."""
    if min(branching, default=0) < 1:
        raise ValueError(f"branching {branching}: every level needs at least one branch")
    return gates_of(gate, len(branching))


def _kept(top_k: int | Sequence[int] | None, branching: tuple[int, ...]) -> tuple[int, ...]:
    """Return how many leaves are kept, or how many branches at every level."""
    if top_k is None:
        return branching
    if isinstance(top_k, Sequence):
        limits, kept = branching, tuple(map(whole, top_k))
    else:
        limits, kept = (prod(branching),), (whole(top_k),)
    if len(kept) != len(limits) or any(not 1 <= k <= limit for k, limit in zip(kept, limits, strict=False)):
        raise ValueError(
            f"top_k={top_k} with the branching {branching}: give a number of leaves from 1 to {prod(branching)}, "
            "one number per level no larger than its branches, or None for all"
        )
    return kept


def _check_temperature(temperature: str | float | Schedule, kinds: Sequence[Gate]) -> None:
    """Raise for a temperature that no gate has or that is not positive."""
    if temperature == "learned":
        return
    if isinstance(temperature, str) or (not callable(temperature) and not temperature > 0):
        raise ValueError(f"temperature={temperature!r}: give 'learned', a positive number, or a function of the step")
    if not any(kind.score.names("temperature") for kind in kinds):
        raise ValueError(
            f"temperature={temperature!r}, but the gates {', '.join(describe(kind) for kind in kinds)} have none: "
            "use 'dense-to-sparse', 'activation-dense-to-sparse' or Gate(Tempered(score))"
        )
