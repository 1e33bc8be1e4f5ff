"""How specialised experts are: information about classes, disagreement, and the measures of a model's layers."""

from __future__ import annotations

from functools import partial
from statistics import fmean as mean
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gatewise.nn.diagnostics import Observation
from gatewise.nn.finding import layers
from gatewise.nn.layer import MoE
from gatewise.nn.metrics import domain_table, expert_similarity, mutual_information


def information(index: Tensor, label: Tensor, experts: int) -> float:
    """Return the mutual information of a token's label and its experts, in nats: ``index (T, S)``, ``label (T,)``."""
    return mutual_information(domain_table(index, label, experts))


@torch.no_grad()
def disagreement(layer: MoE, x: Tensor, draw: int = 256) -> float:
    """Return one minus the mean cosine similarity of two experts' outputs at the same token of x ``(T, d)``."""
    return 1.0 - expert_similarity(layer, x[:draw], draws=2).mean


@torch.no_grad()
def layer_inputs(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Return the tokens ``(T, d)`` that every layer of a model gets for the inputs x."""
    found: dict[str, Tensor] = {}

    def keep(name: str, _: nn.Module, given: tuple[Tensor, ...]) -> None:
        found[name] = given[0].flatten(0, -2)

    hooks = [layer.register_forward_pre_hook(partial(keep, name)) for name, layer in layers(model).items()]
    model(x)
    for hook in hooks:
        hook.remove()
    return found


def spread_of_layers(model: nn.Module, found: Observation, x: Tensor) -> dict[str, float]:
    """Return entropy of the gates and disagreement of the experts at inputs x, means over the layers of a model."""
    given = layer_inputs(model, x)
    apart = [disagreement(layer, given[name]) for name, layer in layers(model).items()]
    entropy = [one["normalised entropy"] for one in found.figures().values()]
    return {"entropy": mean(entropy), "disagreement": mean(apart)}


def choices_of_layers(found: Observation, label: Tensor, experts: int, labels: int) -> dict[str, Any]:
    """Return what experts know of the labels ``(T,)`` and which are dead, means over layers, and the last one's table.

    The table counts the choices of tokens with each label, ``(labels, experts)``.
    """
    index = {name: torch.cat(calls).cpu() for name, calls in found.index.items()}
    table = domain_table(list(index.values())[-1], label, experts)
    return {
        "information": mean(information(one, label, experts) for one in index.values()),
        "dead": mean(one["dead fraction"] for one in found.figures().values()),
        "routing": F.pad(table, (0, 0, 0, labels - len(table))).tolist(),
    }
