"""Measures of routing and of experts, as functions of choices, weights and outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gatewise.nn.finding import layers, require_layer
from gatewise.nn.layer import MoE
from gatewise.nn.router import Routing


def gate_state(model: nn.Module) -> dict[str, Tensor]:
    """Copy all gate parameters of a model, for a later `gate_movement`.

    Parameters
    ----------
    model : Module

    Returns
    -------
    dict of str to Tensor
        Detached copies, by parameter name.

    Examples
    --------
    >>> from gatewise.nn import MoE, gate_state
    >>> {name: tuple(value.shape) for name, value in gate_state(MoE(8, 16, 4)).items()}
    {'router.gates.0.weight': (4, 8), 'router.gates.0.bias': (4,)}
    """
    return {
        f"{name}.{key}" if name else key: value.detach().clone()
        for name, layer in layers(model).items()
        for key, value in layer.router.named_parameters(prefix="router")
    }


def gate_movement(model: nn.Module, start: Mapping[str, Tensor]) -> dict[str, float]:
    """Measure how far each gate parameter has moved: ``||theta - theta_0|| / ||theta_0||``.

    If ``theta_0`` is zero, the absolute distance is returned.

    Parameters
    ----------
    model : Module
    start : mapping of str to Tensor
        Earlier values, from `gate_state`.

    Returns
    -------
    dict of str to float

    Raises
    ------
    ValueError
        If the model and `start` have different gates.

    Examples
    --------
    >>> import torch
    >>> from gatewise.nn import MoE, gate_movement, gate_state
    >>> layer = MoE(8, 16, 4)
    >>> start = gate_state(layer)
    >>> gate_movement(layer, start)  # no step yet
    {'router.gates.0.weight': 0.0, 'router.gates.0.bias': 0.0}
    """
    now = gate_state(model)
    if set(now) != set(start):
        raise ValueError(f"the gates {sorted(set(now) ^ set(start))} are in only one of model and start")
    return {
        name: float((value - start[name]).norm()) / (float(start[name].norm()) or 1.0) for name, value in now.items()
    }


def logit_norm(routing: Routing) -> list[float]:
    """Compute the mean Euclidean norm of the gate scores of a node, one value per level.

    Parameters
    ----------
    routing : Routing

    Returns
    -------
    list of float
        Means over tokens and nodes, the root first.

    Examples
    --------
    >>> import torch
    >>> from gatewise.nn import Router, logit_norm
    >>> len(logit_norm(Router(8, (2, 4))(torch.randn(5, 8))))  # one per level
    2
    """
    return [float(scores.detach().norm(dim=-1).mean()) for scores in routing.scores]


class Similarity(NamedTuple):
    """Cosine similarity between the outputs of pairs of experts for the same token, averaged over tokens.

    Attributes
    ----------
    pairs : Tensor (L, L)
        Mean similarity of every pair of experts.
    mean, low, high : float
        Mean over all pairs of different experts, with a 95 % bootstrap interval over tokens.

    Examples
    --------
    >>> import torch
    >>> from gatewise.nn import MoE, expert_similarity
    >>> found = expert_similarity(MoE(8, 16, 4), torch.randn(32, 8))
    >>> found.pairs.shape, found.low <= found.mean <= found.high
    (torch.Size([4, 4]), True)
    """

    pairs: Tensor
    mean: float
    low: float
    high: float


@torch.no_grad()
def expert_similarity(layer: MoE, x: Tensor, draws: int = 500, seed: int = 0) -> Similarity:
    """Compute the cosine similarity between the outputs of a layer's experts; 1 if they all have the same direction.

    Parameters
    ----------
    layer : MoE
    x : Tensor ``(*, d)``
        Tokens; every expert is applied to all of them.
    draws : int
        Bootstrap samples of tokens for the interval.
    seed : int

    Returns
    -------
    Similarity

    Raises
    ------
    TypeError
        If `layer` is a model that contains layers.
    ValueError
        If there are fewer than two experts or tokens.

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> expert_similarity(MoE(8, 16, n_experts=4), torch.randn(20, 8)).pairs.shape
    torch.Size([4, 4])
    """
    x = x.flatten(0, -2)
    outputs = torch.nn.functional.normalize(require_layer(layer).expert_outputs(x).float(), dim=-1)
    experts = len(outputs)
    if experts < 2 or len(x) < 2:
        raise ValueError(f"{experts} experts and {len(x)} tokens: a similarity needs at least two of each")
    by_token = torch.einsum("itd,jtd->tij", outputs, outputs)
    i, j = torch.triu_indices(experts, experts, 1)
    each = by_token[:, i, j].mean(-1).cpu()
    generator = torch.Generator().manual_seed(seed)
    drawn = each[torch.randint(len(each), (draws, len(each)), generator=generator)].mean(-1)
    low, high = torch.quantile(drawn, torch.tensor([0.025, 0.975])).tolist()
    return Similarity(by_token.mean(0), float(each.mean()), low, high)


def overlap(first: Tensor, second: Tensor) -> Tensor:
    """Compute, for each token, the share of its experts in `first` that are also in `second`.

    Parameters
    ----------
    first, second : Tensor (T, S)
        Selected experts, such as `Routing.index`, or ``torch.cat(seen.index[name])`` after ``observe(model,
        keep=True)``; negative entries are none.

    Returns
    -------
    Tensor (T,)

    Raises
    ------
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> overlap(torch.tensor([[0, 1], [2, 3]]), torch.tensor([[1, 0], [3, 4]])).tolist()
    [1.0, 0.5]
    """
    if first.shape != second.shape:
        raise ValueError(
            f"choices of shapes {tuple(first.shape)} and {tuple(second.shape)}: give two selections for the same tokens"
        )
    there = first >= 0
    both = (first[:, :, None] == second[:, None, :]).any(-1) & there
    return both.sum(-1) / there.sum(-1).clamp_min(1)


def saturation(index: Tensor, final: Tensor) -> float:
    """Router saturation: the mean share of a token's experts that are also its experts at the end (2505.10860).

    Parameters
    ----------
    index, final : Tensor (T, S)
        Experts selected now and at the final checkpoint, for the same tokens. Negative entries are none; tokens with
        nothing else, such as padding, are left out.

    Returns
    -------
    float
        Between 0 and 1.

    Examples
    --------
    >>> import torch
    >>> from gatewise.nn import saturation
    >>> now, final = torch.tensor([[0, 1], [2, 3]]), torch.tensor([[0, 1], [2, 0]])  # two tokens with two experts
    >>> saturation(now, final)
    0.75
    """
    return float(overlap(index, final)[_real(index, final)].mean())


def change_rate(before: Tensor, after: Tensor) -> float:
    """Mean share of a token's experts that were not its experts at the previous checkpoint (2505.10860).

    Parameters
    ----------
    before, after : Tensor (T, S)
        Experts selected at two checkpoints, for the same tokens. Negative entries are none; tokens with nothing else,
        such as padding, are left out.

    Returns
    -------
    float
        Between 0 and 1.

    Examples
    --------
    >>> import torch
    >>> from gatewise.nn import change_rate
    >>> before, after = torch.tensor([[0, 1], [2, 3]]), torch.tensor([[0, 1], [2, 0]])  # two tokens with two experts
    >>> change_rate(before, after)
    0.25
    """
    return 1.0 - float(overlap(after, before)[_real(after, before)].mean())


def _real(first: Tensor, second: Tensor) -> Tensor:
    """Return which tokens ``(T,)`` have an expert in both of two choices."""
    return (first >= 0).any(-1) & (second >= 0).any(-1)


def jain(load: Tensor) -> float:
    """Jain's fairness index ``(sum r)^2 / (L sum r^2)`` of loads r: 1 if all are equal, 1/L if one expert has them all.

    Parameters
    ----------
    load : Tensor (L,)

    Returns
    -------
    float

    Examples
    --------
    >>> jain(torch.tensor([2.0, 0.0]))
    0.5
    """
    return float(load.sum() ** 2 / (len(load) * load.square().sum()))


def domain_table(index: Tensor, domain: Tensor, n_experts: int) -> Tensor:
    """Count the assignments from every domain to every expert.

    Parameters
    ----------
    index : Tensor (T, S)
        Selected experts; negative entries (padding) are left out.
    domain : Tensor (T,) of int
        Domain of each token, counted from 0.
    n_experts : int

    Returns
    -------
    Tensor (domains, L) of int

    Raises
    ------
    ValueError
        If `domain` does not have one entry per token.

    Examples
    --------
    >>> domain_table(torch.tensor([[0, 1], [1, 2]]), torch.tensor([0, 1]), 3).tolist()
    [[1, 1, 0], [0, 1, 1]]
    """
    if len(domain) != len(index):
        raise ValueError(f"{len(domain)} domains for {len(index)} tokens: give one per token")
    real = index >= 0
    cell = (domain[:, None] * n_experts + index)[real]
    domains = int(domain.max()) + 1
    return torch.bincount(cell, minlength=domains * n_experts).reshape(domains, n_experts)


def mutual_information(table: Tensor) -> float:
    """Mutual information between the rows and the columns of a contingency table, in nats.

    ``sum_ij p_ij log(p_ij / (p_i. p_.j))`` with p the table divided by its sum.

    Parameters
    ----------
    table : Tensor (R, C)
        Counts, such as `domain_table`.

    Returns
    -------
    float

    Examples
    --------
    >>> round(mutual_information(torch.tensor([[5, 0], [0, 5]])), 4)  # log 2
    0.6931
    """
    joint = table.double() / table.sum()
    rows, columns = joint.sum(1, keepdim=True), joint.sum(0, keepdim=True)
    return float(torch.xlogy(joint, joint / (rows * columns).clamp_min(1e-300)).sum())
