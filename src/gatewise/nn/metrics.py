"""Measures of routing and of experts, as functions of choices, weights and outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gatewise.nn.diagnostics import layers
from gatewise.nn.experts import FFN
from gatewise.nn.layer import MoE
from gatewise.nn.router import Routing


def gate_state(model: nn.Module) -> dict[str, Tensor]:
    """Return a copy of all gate parameters of a model by name, to compare with later."""
    return {
        f"{name}.{key}" if name else key: value.detach().clone()
        for name, layer in layers(model).items()
        for key, value in layer.router.named_parameters(prefix="router")
    }


def gate_movement(model: nn.Module, start: Mapping[str, Tensor]) -> dict[str, float]:
    """Return how far every gate parameter went, ``||theta - theta_0|| / ||theta_0||``; absolute where it began at 0.

    Parameters
    ----------
    model : Module
    start : mapping of str to Tensor
        From `gate_state` earlier.
    """
    now = gate_state(model)
    if set(now) != set(start):
        raise ValueError(f"the gates {sorted(set(now) ^ set(start))} are in one of model and start only")
    return {
        name: float((value - start[name]).norm()) / (float(start[name].norm()) or 1.0) for name, value in now.items()
    }


def logit_norm(routing: Routing) -> list[float]:
    """Return the mean over tokens and nodes of the norm of the scores, one per level."""
    return [float(scores.detach().norm(dim=-1).mean()) for scores in routing.scores]


class Similarity(NamedTuple):
    """Mean cosine similarity of the outputs of two experts at the same token.

    Attributes
    ----------
    pairs : Tensor (L, L)
    mean, low, high : float
        Over all pairs of different experts, with a 95 % bootstrap interval over tokens.
    """

    pairs: Tensor
    mean: float
    low: float
    high: float


@torch.no_grad()
def expert_similarity(layer: MoE, x: Tensor, draws: int = 500, seed: int = 0) -> Similarity:
    """Return how alike the experts of a layer answer the tokens x ``(*, d)``: 1 when all give the same direction."""
    x = x.flatten(0, -2)
    experts = layer.experts.singles() if isinstance(layer.experts, FFN) else list(layer.experts)
    if len(experts) < 2 or len(x) < 2:
        raise ValueError(f"{len(experts)} experts and {len(x)} tokens: a similarity needs two of each")
    outputs = torch.stack([torch.nn.functional.normalize(expert(x).float(), dim=-1) for expert in experts])
    by_token = torch.einsum("itd,jtd->tij", outputs, outputs)
    i, j = torch.triu_indices(len(experts), len(experts), 1)
    each = by_token[:, i, j].mean(-1).cpu()
    generator = torch.Generator().manual_seed(seed)
    drawn = each[torch.randint(len(each), (draws, len(each)), generator=generator)].mean(-1)
    low, high = torch.quantile(drawn, torch.tensor([0.025, 0.975])).tolist()
    return Similarity(by_token.mean(0), float(each.mean()), low, high)


def overlap(first: Tensor, second: Tensor) -> Tensor:
    """Return the share ``(T,)`` of the slots of `first (T, S)` whose expert is also in `second (T, S)`.

    Choices are those of a `Routing`, or ``torch.cat(seen.index[name])`` of ``observe(model, keep=True)``.
    """
    if first.shape != second.shape:
        raise ValueError(
            f"choices of shapes {tuple(first.shape)} and {tuple(second.shape)}: give the same tokens twice"
        )
    return (first[:, :, None] == second[:, None, :]).any(-1).float().mean(-1)


def saturation(index: Tensor, final: Tensor) -> float:
    """Return the mean share of a token's experts that it has at the end of training too (2505.10860).

    Choices as in `overlap`; tokens with negative entries (padding) are left out.
    """
    return float(overlap(index, final)[_real(index, final)].mean())


def change_rate(before: Tensor, after: Tensor) -> float:
    """Return the mean share of a token's experts that are new since the last checkpoint (2505.10860).

    Choices as in `overlap`; tokens with negative entries (padding) are left out.
    """
    return 1.0 - float(overlap(after, before)[_real(after, before)].mean())


def _real(first: Tensor, second: Tensor) -> Tensor:
    """Return which tokens ``(T,)`` are padding in neither of two choices."""
    return ((first >= 0) & (second >= 0)).all(-1)


def jain(load: Tensor) -> float:
    """Return Jain's fairness ``(sum r)^2 / (L sum r^2)`` of loads ``(L,)``: 1 when even, 1/L when one has all.

    Examples
    --------
    >>> jain(torch.tensor([2.0, 0.0]))
    0.5
    """
    return float(load.sum() ** 2 / (len(load) * load.square().sum()))


def domain_table(index: Tensor, domain: Tensor, n_experts: int) -> Tensor:
    """Return how many assignments every expert got from every domain, ``(domains, L)``.

    Parameters
    ----------
    index : Tensor (T, S)
        Chosen experts; negative entries (padding) are left out.
    domain : Tensor (T,) of int
        From 0.
    n_experts : int
    """
    if len(domain) != len(index):
        raise ValueError(f"{len(domain)} domains for {len(index)} tokens: give one per token")
    real = index >= 0
    cell = (domain[:, None] * n_experts + index)[real]
    domains = int(domain.max()) + 1
    return torch.bincount(cell, minlength=domains * n_experts).reshape(domains, n_experts)


def mutual_information(table: Tensor) -> float:
    """Return the mutual information of rows and columns of a table of counts, in nats."""
    joint = table.double() / table.sum()
    rows, columns = joint.sum(1, keepdim=True), joint.sum(0, keepdim=True)
    return float(torch.xlogy(joint, joint / (rows * columns).clamp_min(1e-300)).sum())
