"""Layers with fewer or more experts: some left out, some merged into one, some split into copies."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from math import log
from operator import index
from typing import Any

import torch
from torch import Tensor

from gatewise.core.gates import Gate
from gatewise.nn.balance import unpacked
from gatewise.nn.experts import FFN
from gatewise.nn.finding import require_layer
from gatewise.nn.layer import MoE
from gatewise.nn.params import GateParameters

Rows = list[list[tuple[int, float]]]  # of every new expert: old ones, and their shares in it


def prune_experts(layer: MoE, keep: int | Sequence[int]) -> MoE:
    """Return a layer with some of the experts, and with their rows of the gate.

    Tokens whose experts are all kept get the same output, if the kept weights are divided by their sum
    (``normalise="after"``) or those of the gate do not depend on each other (sigmoid).

    Parameters
    ----------
    layer : MoE
        Of one level, with built-in experts.
    keep : int or sequence of int
        The experts to keep, in their new order, or how many: those with the largest load in the last finished step.

    Returns
    -------
    MoE
        With ``top_k`` no larger than the number of its experts, and without statistics of earlier steps.

    Raises
    ------
    TypeError
        If `layer` is a model that contains layers.
    ValueError
        If the layer has several levels or experts of its own, or an expert is not there or named twice.

    Examples
    --------
    >>> layer = MoE(8, 16, 6)
    >>> prune_experts(layer, [0, 2, 5]).router.branching
    (3,)
    """
    experts = _require_flat(layer)
    kept = [index(e) for e in keep] if isinstance(keep, Sequence) else sorted(_by_load(layer)[: index(keep)])
    if not kept or len(set(kept)) < len(kept) or not set(kept) <= set(range(experts.n_experts)):
        raise ValueError(f"keep={keep!r} of {experts.n_experts} experts: give some of them, each once, or their number")
    return _resized(layer, [[(e, 1.0)] for e in kept], [1] * len(kept))


def merge_experts(layer: MoE, groups: Sequence[Sequence[int]]) -> MoE:
    """Return a layer in which every group of experts is one: the mean of their weights and rows of the gate.

    The mean is weighted by the load of the last finished step, if there is one (2310.01334, without its
    permutation of hidden units, which copies of one network do not need). Where a softmax shares its weights among
    the members of a group, the score grows by the logarithm of their number. Experts that are copies of each other,
    with equal gates, are merged without a change of the output where all experts serve a token (``top_k=None``).

    Parameters
    ----------
    layer : MoE
        Of one level, with built-in experts.
    groups : sequence of sequences of int
        Every expert in one of them; a group of one stays as it is.

    Returns
    -------
    MoE
        With ``top_k`` no larger than the number of its experts, and without statistics of earlier steps.

    Raises
    ------
    TypeError
        If `layer` is a model that contains layers.
    ValueError
        If the layer has several levels or experts of its own, or the groups do not hold every expert once.

    Examples
    --------
    >>> merge_experts(MoE(8, 16, 6), [[0, 1], [2], [3, 4, 5]]).router.branching
    (3,)
    """
    experts = _require_flat(layer)
    members = sorted(index(e) for group in groups for e in group)
    if members != list(range(experts.n_experts)) or not all(groups):
        raise ValueError(f"groups={groups!r}: every one of {experts.n_experts} experts stands in one group")
    load = unpacked(layer.balancer.recent).load.tolist()
    rows: Rows = []
    for group in groups:
        total = sum(load[e] for e in group)
        rows.append([(e, load[e] / total if total > 0 else 1 / len(group)) for e in group])
    return _resized(layer, rows, [len(group) for group in groups])


def add_experts(layer: MoE, sources: int | Sequence[int], jitter: float = 0.0) -> MoE:
    """Return a layer with more experts: copies of some, behind the others.

    Where a softmax shares its weights among them, the scores of a source and its copies fall by the logarithm of
    their number, so that the output does not change where all experts serve a token (``top_k=None``); with a smaller
    `top_k` a copy takes the place of another expert.

    Parameters
    ----------
    layer : MoE
        Of one level, with built-in experts.
    sources : int or sequence of int
        The experts to copy, or how many copies to make: of those with the largest load in the last finished step.
    jitter : float
        Multiply every weight of every copy, and its row of the gate, by ``1 + jitter z`` with z standard normal.

    Returns
    -------
    MoE
        Without statistics of earlier steps.

    Raises
    ------
    TypeError
        If `layer` is a model that contains layers.
    ValueError
        If the layer has several levels or experts of its own, or a source is not there.

    Examples
    --------
    >>> layer, x = MoE(8, 16, 6, top_k=None), torch.randn(5, 8)
    >>> more = add_experts(layer, [0, 0, 3])
    >>> more.router.branching, bool((more(x) - layer(x)).abs().max() < 1e-5)
    ((9,), True)
    """
    experts = _require_flat(layer)
    n = experts.n_experts
    if isinstance(sources, Sequence):
        chosen = [index(e) for e in sources]
    else:
        order = _by_load(layer)
        chosen = [order[i % n] for i in range(index(sources))]
    if not chosen or not set(chosen) <= set(range(n)):
        raise ValueError(f"sources={sources!r} of {n} experts: give experts to copy, or a number of copies")
    rows = [*range(n), *chosen]
    made = _resized(layer, [[(e, 1.0)] for e in rows], [1 / rows.count(e) for e in rows])
    if jitter:
        _shake(made, n, jitter)
    return made


def _require_flat(layer: MoE) -> FFN:
    """Return the experts of a layer of one level; raise for others."""
    experts = require_layer(layer).experts
    if len(layer.router.branching) > 1 or not isinstance(experts, FFN) or layer.ranks is not None:
        raise ValueError(
            f"the layer has the branching {layer.router.branching} and experts in {type(experts).__name__}"
            f"{'' if layer.ranks is None else ' on several processes'}: this needs one level of built-in experts, FFN, "
            "in one process, with adapters merged"
        )
    gate = layer.router.gates[0]
    if not isinstance(gate, GateParameters):
        raise ValueError(
            f"the gate of the layer is wrapped by {type(gate).__name__}: put the gate itself back into "
            "layer.router.gates, with what wraps it merged"
        )
    if layer.networks < layer.router.n_leaves:
        raise ValueError(
            f"identity_experts={layer.identity_experts}, null_experts={layer.null_experts}: experts without weights "
            "cannot be moved; build a layer without them"
        )
    if layer.router.choice.groups > 1:
        raise ValueError(f"the layer has {layer.router.choice}: its groups would not be equal any more")
    return experts


def _by_load(layer: MoE) -> list[int]:
    """Return the experts by their load in the last finished step, filled up where it was short, the largest first."""
    known = unpacked(layer.balancer.recent)
    if not float(known.tokens):
        raise ValueError("no step has been finished, so no expert has a load: name the experts instead of their number")
    return torch.argsort(known.load, descending=True, stable=True).tolist()


@torch.no_grad()
def _resized(layer: MoE, rows: Rows, members: Sequence[float]) -> MoE:
    """Return a layer whose experts are means of old ones; `members` divides the weight of a softmax among them."""
    experts = _require_flat(layer)
    made = _empty(layer, len(rows))
    assert isinstance(made.experts, FFN)
    for own, given in zip(made.experts.weights(), experts.weights(), strict=True):
        if own is not None and given is not None:
            own.copy_(_means(given, rows))
    old, new = layer.router.gates[0], made.router.gates[0]
    per_branch = [name for name, spec in old.specs.items() if spec.per == "branch"]
    values = {name: _means(value, rows) if name in per_branch else value for name, value in old.values().items()}
    shares = torch.tensor([log(m) for m in members], dtype=torch.float64)
    new.assign(_shifted(made.router.kinds[0], values, shares, layer.dim))
    made.router.offset_0.copy_(_means(layer.router.offset_0.T, rows).T)
    for scale, other in zip(made.router.noises, layer.router.noises, strict=True):
        scale.weight.copy_(_means(other.weight, rows))
    made.balancer.steps.copy_(layer.balancer.steps)  # a temperature goes on where it was
    if layer.balancer.rule.adapts:
        made.balancer.loss_factor.copy_(layer.balancer.loss_factor)
    trains = {name: value.requires_grad for name, value in layer.named_parameters()}
    for name, value in made.named_parameters():
        value.requires_grad_(trains.get(name, True))  # parametrized weights have other names
    return made.train(layer.training)


def _shifted(gate: Gate, values: dict[str, Tensor], by: Tensor, dim: int) -> dict[str, Tensor]:
    """Return parameters whose scores are larger by `by`, one number per branch, where an intercept can do that.

    Weights that do not share a sum, and scores without an intercept, stay as they are.
    """
    names = gate.score.names("intercept")
    if not gate.link.translation_invariant or not names:
        return values
    like = values[names[0]]
    rows = torch.randn(dim, 16, generator=torch.Generator().manual_seed(0), device="cpu").to(like)
    slope = gate.score(values | {names[0]: like + 1}, rows) - gate.score(values, rows)  # of a score in its intercept
    constant = bool((slope.std(-1) <= 1e-4 * slope.abs().mean(-1)).all())
    return values | {names[0]: like + by.to(like) / slope.mean(-1)} if constant else values


def _means(value: Tensor, rows: Rows) -> Tensor:
    """Return the weighted means of rows of a tensor."""
    return torch.stack([torch.stack([share * value[e] for e, share in row]).sum(0) for row in rows])


def _empty(layer: MoE, n_experts: int) -> MoE:
    """Return a layer with the settings of another, and another number of experts."""
    router, balancer, experts = layer.router, layer.balancer, _require_flat(layer)
    gate = router.gates[0]
    options: dict[str, Any] = {
        "dim_out": layer.dim_out,
        "activation": experts.activation,
        "gate": router.kinds[0],
        "top_k": None if router.slots == router.n_leaves else min(router.slots, n_experts),
        "normalise": router.normalise,
        "noise": router.noise,
        "choice": router.choice,
        "jitter": router.jitter,
        "balance": balancer.rule,
        "balance_weight": balancer.weight,
        "bias_rate": balancer.rate,
        "z_weight": balancer.z_weight,
        "token_entropy_weight": balancer.token_entropy_weight,
        "shared": 0 if layer.shared is None else copy.deepcopy(layer.shared),
        "backend": layer.backend,
        "capacity": layer.capacity,
        "weigh_inputs": layer.weigh_inputs,
    }
    warmth = gate.temperature if gate.tempered else "learned"
    made = MoE(layer.dim, experts.hidden, n_experts, temperature=warmth, **options)
    if experts.b_in is not None:
        made.experts = FFN(n_experts, experts.dim, experts.hidden, experts.dim_out, experts.activation, True)
    made.scale = layer.scale
    made.to(experts.w_in.device, experts.w_in.dtype)
    made.router.to(next(iter(gate.values().values())).dtype)
    return made


@torch.no_grad()
def _shake(layer: MoE, first: int, jitter: float) -> None:
    """Multiply the weights of the experts from `first` on, and their rows of the gate, by ``1 + jitter z``."""
    for weight in layer.experts.parameters():
        weight[first:] *= 1 + jitter * torch.randn_like(weight[first:])
    gate = layer.router.gates[0]
    values = gate.values()
    for name, value in values.items():
        if gate.specs[name].per == "branch" and gate.specs[name].free:
            values[name] = torch.cat([value[:first], value[first:] * (1 + jitter * torch.randn_like(value[first:]))])
    gate.assign(values)
