"""The backends of small layers against each other: dense / grouped and loop / grouped, one thread, fp32."""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import Any

import torch
from torch import Tensor

from benchmarks.nn import interleaved, ratio
from benchmarks.timing import table
from gatewise.nn import MoE

SIZES = ((64, 128), (256, 512))  # features, hidden units
EXPERTS, TOKENS, KEPT = (4, 8, 64), (1, 16, 64, 256), 2
BACKENDS = ("grouped", "dense", "loop")


def _both(layer: MoE, x: Tensor, gradient: Tensor) -> None:
    layer(x).backward(gradient)


def run(rounds: int = 7, **_: Any) -> dict[str, Any]:
    """Time forward + backward in training, with statistics and an auxiliary loss."""
    rows = []
    for (dim, hidden), experts, tokens in product(SIZES, EXPERTS, TOKENS):
        torch.manual_seed(0)
        layers = {name: MoE(dim, hidden, experts, "softmax", KEPT, backend=name) for name in BACKENDS}
        x, gradient = torch.randn(tokens, dim, requires_grad=True), torch.randn(tokens, dim)
        tasks = {name: partial(_both, layer, x, gradient) for name, layer in layers.items()}
        seconds = interleaved(tasks, max(rounds, 7))
        for name in BACKENDS[1:]:
            middle, low, high = ratio(seconds[name], seconds["grouped"])
            size = {"d": dim, "h": hidden, "experts": experts, "tokens": tokens}
            rows.append({**size, "backend": name, "ratio to grouped": middle, "low": low, "high": high})
    table("small layers, forward + backward: CPU seconds / those of the grouped backend", rows)
    return {"rows": rows}
