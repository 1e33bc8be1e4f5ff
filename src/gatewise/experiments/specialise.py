"""How specialised experts are: information about classes, disagreement, and stability over seeds."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import torch
from sklearn.metrics import adjusted_rand_score
from torch import Tensor

from gatewise.nn.layer import MoE
from gatewise.nn.measures import domain_table, expert_similarity, mutual_information


def information(index: Tensor, label: Tensor, experts: int) -> float:
    """Return the mutual information of a token's label and its experts, in nats: ``index (T, S)``, ``label (T,)``."""
    return mutual_information(domain_table(index, label, experts))


@torch.no_grad()
def disagreement(layer: MoE, x: Tensor, draw: int = 256) -> float:
    """Return one minus the mean cosine similarity of two experts' outputs at the same token of x ``(T, d)``."""
    return 1.0 - expert_similarity(layer, x[:draw], draws=2).mean


def stability(choices: list[np.ndarray]) -> float:
    """Return the mean adjusted Rand index of the first choices of the same tokens over pairs of seeds.

    1: seeds route alike up to the names of the experts; 0: as alike as by chance.
    """
    if len(choices) < 2:
        return float("nan")
    return float(np.mean([adjusted_rand_score(one, two) for one, two in combinations(choices, 2)]))
