"""Router: core gates on a tree of experts choose the leaves of every token and weigh them.

Suffixes of names: T tokens, K branches of a node, L leaves (experts), S slots (experts kept per token).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gatewise.core.gates import Gate, describe
from gatewise.core.gates import gates as gates_of
from gatewise.core.names import require_one_of, whole
from gatewise.core.tree import along_paths, expand_nodes
from gatewise.nn.choice import Choice, choice_of, usual_choice
from gatewise.nn.dispatch import transformed
from gatewise.nn.noise import NoiseScale, check_noise, jittered
from gatewise.nn.params import GateParameters, Schedule
from gatewise.nn.rules import ChoiceRule
from gatewise.nn.weights import kept_weights, node_log_shares, node_shares

NORMALISE = ("before", "after", "always")


class Routing(NamedTuple):
    """Where each token goes.

    Attributes
    ----------
    index : Tensor (T, S)
        Selected leaves. Leaves are numbered row by row over the tree: leaf ``i K_2 + j`` is branch j of group i.
    weight : Tensor (T, S)
        Their weights, in float32 or wider. Where the number of experts differs from token to token, zero in slots
        whose leaf does not serve.
    log_weights, scores : tuple of Tensor (T, nodes, K)
        Log weights and scores of the gates at each level, before top-k.
    ranks : tuple of Tensor (T, nodes, K)
        The values by which branches were selected, including noise, one per selection; () where experts were given.
    clean : tuple of Tensor (T, nodes, K)
        The ranks without noise, differentiable.
    widths : tuple of Tensor (T, nodes, K)
        Standard deviations of learned noise, in log weight, one per selection; () without it.

    Examples
    --------
    >>> import torch
    >>> from gatewise.nn import Router
    >>> routing = Router(8, (2, 4), gate="laplace", top_k=2)(torch.randn(5, 8))
    >>> routing.index.shape, routing.weight.shape, [tuple(scores.shape) for scores in routing.scores]
    (torch.Size([5, 2]), torch.Size([5, 2]), [(5, 1, 2), (5, 2, 4)])
    """

    index: Tensor  # type: ignore[assignment]  # no method of a tuple here
    weight: Tensor
    log_weights: tuple[Tensor, ...]
    scores: tuple[Tensor, ...]
    ranks: tuple[Tensor, ...]
    clean: tuple[Tensor, ...] = ()
    widths: tuple[Tensor, ...] = ()


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
        None: all leaves (dense). Some choices take it for the mean number of a token's experts, or for the most.
    normalise : {"after", "before", "always"}
        "after": divide the selected weights by their sum (for a softmax: the softmax of the selected scores). "before":
        use the weights of the gate. A single selected branch keeps its weight in both cases; otherwise the gate would
        get no gradient. "always": as "after", but a single branch has weight one too, and its gradient is that of the
        log weight (straight-through, 1308.3432). Where the number of branches differs from token to token, the rule for
        a single one holds for each token.
    temperature : "learned", float or callable
        For gates with a temperature: trained, fixed, or a function of the number of optimiser steps such as `Anneal`.
    noise : float or "learned"
        Standard deviation of Gaussian noise on the log weights used for the selection, in training only; the weights
        have none. "learned": of noise on the log weights that select and on those of the selected branches,
        ``softplus(x W_noise)`` with one row of W_noise per branch; weights that sum to one do with noise too. With a
        softmax and ``normalise="after"`` these are equations 3 to 5 of 1701.06538.
    choice : Choice or ChoiceRule, optional
        By what branches are ranked, in which groups, and by which rule they are chosen. Default: the largest log
        weights; the largest weights if the link of a single level is not normalised.
    jitter : float
        In training, every feature that the gates read is multiplied by a uniform factor between ``1 - jitter`` and
        ``1 + jitter`` (2101.03961, input jitter); experts read the features as they are.

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
        noise: float | str = 0.0,
        choice: Choice | ChoiceRule | None = None,
        jitter: float = 0.0,
    ) -> None:
        super().__init__()
        self.dim, self.branching = whole("dim", dim), _branching(branching)
        if self.dim < 1:
            raise ValueError(f"dim={self.dim}: a token has at least one feature")
        self.kinds = _kinds(gate, self.branching)
        self.top_k = _kept(top_k, self.branching)
        self.choice = choice_of(choice, self.kinds)
        self.choice.check(self.branching, self.top_k)
        require_one_of("normalise", normalise, NORMALISE)
        check_noise(noise, jitter)
        self.normalise, self.jitter = normalise, jitter
        self.noise = noise if isinstance(noise, str) else float(noise)
        _check_temperature(temperature, self.kinds)
        self.gates = nn.ModuleList(  # type: ignore[assignment]  # its elements have no type of their own
            GateParameters(kind, self.branching[:level], branches, dim, temperature)
            for level, (kind, branches) in enumerate(zip(self.kinds, self.branching, strict=True))
        )
        self.noises: Sequence[NoiseScale] = ()
        if noise == "learned":
            levels = enumerate(self.branching)
            scales = (NoiseScale(self.branching[:level], branches, dim) for level, branches in levels)
            self.noises = nn.ModuleList(scales)  # type: ignore[assignment]  # as the gates
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
        """Number of experts that serve a token; the mean or the most where that differs from token to token."""
        return prod(self.top_k)

    @property
    def noisy(self) -> bool:
        """Whether noise takes part in the choice now."""
        return self.training and self.noise != 0

    @property
    def fixed_noise(self) -> float:
        """The standard deviation of the noise where it is not learned, in log weight."""
        return 0.0 if isinstance(self.noise, str) else self.noise

    @property
    def depends_on_batch(self) -> bool:
        """Whether the experts of a token depend on the other tokens of a call, in the present mode."""
        rule = self.choice.rule
        return rule.depends_on_batch and (self.training or not rule.training_only)

    @property
    def partial(self) -> bool:
        """Whether slots may have weight zero, so that the number of experts differs from token to token."""
        return self.choice.rule.varies or any(kind.link.sparse for kind in self.kinds)

    @property
    def unit(self) -> float:
        """What a log weight of one is worth in the values that choose: the steepest slope of a sigmoid, or one."""
        return 0.25 if self.choice.by == "weights" else 1.0

    @property
    def selection_bias(self) -> list[Tensor]:
        """What is added to the log weights when leaves are chosen, never to the weights: one per level, (nodes, K)."""
        return [getattr(self, f"offset_{level}") for level in range(len(self.branching))]

    def forward(self, x: Tensor, real: Tensor | None = None, experts: Tensor | None = None) -> Routing:
        """Route tokens x ``(T, d)``.

        Parameters
        ----------
        x : Tensor (T, d)
        real : Tensor (T,), optional
            False for padding, which choices that depend on the batch pass over.
        experts : Tensor (T, S) of int, optional
            The leaves of every token, in the place of a choice; -1 for none. Their weights are those of the gates.
        """
        if x.ndim != 2 or x.shape[-1] != self.dim:
            raise ValueError(f"x has the shape {tuple(x.shape)}: a router takes tokens (T, {self.dim})")
        dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
        with without_autocast(x.device.type):
            rows = (x if x.dtype == dtype else x.to(dtype)).mT
            rows = jittered(rows, self.jitter) if self.training and self.jitter else rows
            scores, logs = [], []
            for level, (kind, gate) in enumerate(zip(self.kinds, self.gates, strict=True)):
                score = gate(expand_nodes(rows, level))
                scores.append(_rows_first(score, level))
                logs.append(_rows_first(kind.link.log_weights(score), level).contiguous())
            if experts is not None:
                return Routing(*self._given(logs, experts), tuple(logs), tuple(scores), ())
            clean = self._shifted(self.ranks(logs, scores), real)
            ranks, among, widths = [rank.detach() for rank in clean], self.candidates(logs), []
            if self.noisy:
                widths = self._widths(rows)
                ranks, among = self._disturbed(ranks, among, widths)
            index, weight = self.select(among, ranks, real)
        return Routing(index, weight, tuple(logs), tuple(scores), tuple(ranks), tuple(clean), tuple(widths))

    def select(
        self, logs: Sequence[Tensor], ranks: Sequence[Tensor], real: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the leaves in the slots of a token and their weights ``(T, S)``: by `ranks`, from the log weights.

        Both have one entry ``(T, nodes, K)`` per selection: per level, or one for the leaves.
        """
        node: Tensor | None = None  # at the root there is one
        weight, rule, partial = logs[0], self.choice.rule, self.partial
        for level, rank, kept in zip(logs, ranks, self.top_k, strict=True):
            log = _at(level, node)
            share = node_shares(log.detach()) if rule.varies else log
            branch, serves = rule.chosen(_at(rank, node), share, kept, real)
            log_chosen = log.gather(-1, branch)
            own = kept_weights(log_chosen, _or_nan(serves, log_chosen, real), self.normalise, partial)
            weight = (own if node is None else weight[..., None] * own).flatten(1)
            node = (branch if node is None else node[..., None] * log.shape[-1] + branch).flatten(1)
        assert node is not None
        return node, weight

    def _given(self, logs: Sequence[Tensor], experts: Tensor) -> tuple[Tensor, Tensor]:
        """Return given leaves ``(T, S)``, and their weights."""
        if experts.shape[:1] != logs[0].shape[:1] or experts.ndim != 2 or experts.is_floating_point():
            raise ValueError(
                f"experts has the shape {tuple(experts.shape)} and the dtype {experts.dtype}: give whole numbers "
                f"({len(logs[0])}, S), the experts of every token"
            )
        known = experts.device.type == "cpu" and experts.numel() > 0 and not torch.compiler.is_compiling()
        for worst in (int(experts.max()), int(experts.min())) if known and not transformed() else ():
            if not -1 <= worst < self.n_leaves:
                raise ValueError(
                    f"experts holds {worst} of {self.n_leaves} experts: count from 0, and give -1 for none"
                )
        index = experts.long().clamp_min(0)
        log = _leaves(logs)[:, 0].gather(-1, index)
        return index, kept_weights(log, experts >= 0, self.normalise, True)

    def candidates(self, logs: Sequence[Tensor]) -> list[Tensor]:
        """Return the log weights among which branches are selected: of every level, or of the leaves."""
        return [_leaves(logs)] if len(self.top_k) < len(logs) else list(logs)

    def _widths(self, rows: Tensor) -> list[Tensor]:
        """Return the standard deviations of learned noise for every selection, none without it."""
        found = [_rows_first(one(expand_nodes(rows, level)), level) for level, one in enumerate(self.noises)]
        flat = len(self.top_k) < len(found)  # the noise of a leaf is the sum of independent ones along its path
        return [_leaves([width.square() for width in found]).sqrt()] if flat else found

    def _disturbed(
        self, ranks: list[Tensor], logs: list[Tensor], widths: list[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return ranks with noise, and log weights with the same noise where its width is learned."""
        noise = [torch.randn_like(rank) for rank in ranks]
        if not widths:
            return [rank + self.fixed_noise * self.unit * z for rank, z in zip(ranks, noise, strict=True)], logs
        noise = [width * z for width, z in zip(widths, noise, strict=True)]
        ranks = [rank + self.unit * by.detach() for rank, by in zip(ranks, noise, strict=True)]
        normalised = [kind.link.normalised for kind in self.kinds]
        sums = normalised if len(logs) == len(normalised) else [all(normalised)]  # to one, also with noise
        parts = zip(logs, noise, sums, strict=True)
        return ranks, [node_log_shares(log + by) if one else log + by for log, by, one in parts]

    def _shifted(self, ranks: list[Tensor], real: Tensor | None) -> list[Tensor]:
        """Return ranks with what the tokens of a call add to them."""
        if not self.depends_on_batch:
            return ranks
        shifts = [self.choice.rule.shift(rank.detach(), real) for rank in ranks]
        return [rank if by is None else rank + by for rank, by in zip(ranks, shifts, strict=True)]

    def ranks(self, logs: Sequence[Tensor], scores: Sequence[Tensor]) -> list[Tensor]:
        """Return the values by which branches are chosen, ``(T, nodes, K)`` per choice: one per level, or the leaves'.

        The log weights plus the offsets, or what the `choice` of a single level says.
        """
        if len(self.branching) == 1:
            return [self.choice.ranks(logs[0], scores[0], self.offset_0)]
        return self.candidates([log + by.to(log.dtype) for log, by in zip(logs, self.selection_bias, strict=True)])

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
            + ("" if self.choice == usual_choice(self.kinds) else f", {self.choice}")
        )


def without_autocast(device: str) -> AbstractContextManager[Any]:
    """Return a context without autocast; the meta device knows none."""
    active = device != "meta" and torch.is_autocast_enabled(device)
    return torch.autocast(device, enabled=False) if active else nullcontext()


def leaf_probabilities(routing: Routing) -> Tensor:
    """Return the weights of all leaves ``(T, L)`` before top-k, those of every node divided by their sum."""
    return _leaves([node_log_shares(log) for log in routing.log_weights])[:, 0].exp()


def leaf_weights(routing: Routing) -> Tensor:
    """Return the weights of all leaves ``(T, L)`` before top-k, as the gates compute them."""
    return _leaves(routing.log_weights)[:, 0].exp()


def _leaves(logs: Sequence[Tensor]) -> Tensor:
    """Add up the log weights on the path to every leaf: ``(T, nodes, K)`` per level -> ``(T, 1, L)``."""
    return along_paths([log[..., None] for log in logs], torch.add).mT


def _rows_first(value: Tensor, level: int) -> Tensor:
    """Turn ``(K_1, ..., K_{l+1}, T)`` into ``(T, nodes, K)``."""
    return value.mT.unsqueeze(1) if level == 0 else value.flatten(0, level - 1).movedim(-1, 0)


def _or_nan(serves: Tensor | None, log: Tensor, real: Tensor | None) -> Tensor | None:
    """Return which branches serve, and those of real tokens whose log weight is nan: their output is nan, not zero."""
    if serves is None:
        return None
    return serves | (log.isnan() if real is None else log.isnan() & real[:, None, None])


def _at(value: Tensor, node: Tensor | None) -> Tensor:
    """Return the branches of the given nodes: ``(T, nodes, K)``, ``(T, m)`` -> ``(T, m, K)``; None: of the root."""
    if node is None or value.shape[1] == 1:
        return value
    return value.gather(1, node[..., None].expand(-1, -1, value.shape[-1]))


def _branching(given: int | Sequence[int]) -> tuple[int, ...]:
    """Return the number of branches of every level."""
    levels = given if isinstance(given, Sequence) and not isinstance(given, str) else (given,)
    return tuple(whole("n_experts", one) for one in levels)


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
        limits, kept = branching, tuple(whole("top_k", k) for k in top_k)
    else:
        limits, kept = (prod(branching),), (whole("top_k", top_k),)
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
