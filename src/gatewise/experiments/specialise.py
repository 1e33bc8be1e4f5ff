"""How specialised experts are: information about classes, and disagreement."""

from __future__ import annotations

import torch
from torch import Tensor

from gatewise.nn.layer import MoE
from gatewise.nn.metrics import domain_table, expert_similarity, mutual_information


def information(index: Tensor, label: Tensor, experts: int) -> float:
    """Return the mutual information of a token's label and its experts, in nats: ``index (T, S)``, ``label (T,)``."""
    return mutual_information(domain_table(index, label, experts))


@torch.no_grad()
def disagreement(layer: MoE, x: Tensor, draw: int = 256) -> float:
    """Return one minus the mean cosine similarity of two experts' outputs at the same token of x ``(T, d)``."""
    return 1.0 - expert_similarity(layer, x[:draw], draws=2).mean
