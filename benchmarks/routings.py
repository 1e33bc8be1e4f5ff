"""What a choice of experts costs, against top-2 with as many networks: one thread, fp32, forward + backward."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.nn import interleaved, ratio
from benchmarks.timing import table
from gatewise import Affine, Gate, ReLU
from gatewise.nn import Choice, ExpertChoice, MoE, Sinkhorn, TopP, finish_step

DIM, HIDDEN, EXPERTS, TOKENS = 256, 512, 16, 2048
ALL: dict[str, Any] = {"top_k": None, "normalise": "before"}
ROUTINGS: dict[str, dict[str, Any]] = {
    "top-2": {},
    "all experts": ALL,
    "in two of four groups": {"choice": Choice(groups=4, kept=2)},
    "learned noise": {"noise": "learned"},
    "top-p": {"choice": TopP(0.12), **ALL},
    "rectified": {"gate": Gate(Affine(), ReLU()), **ALL},
    "null experts": {"n_experts": EXPERTS + 8, "null_experts": 8},
    "expert choice": {"choice": ExpertChoice(), "normalise": "before"},
    "sinkhorn": {"choice": Sinkhorn()},
    "given": {"gate": "equal"},
}


def _both(layer: MoE, x: Tensor, gradient: Tensor, experts: Tensor | None) -> None:
    layer(x, experts=experts).backward(gradient)


def run(rounds: int = 7, **_: Any) -> dict[str, Any]:
    """Time forward + backward in training; the ratio per expert divides by the networks that serve a token."""
    torch.manual_seed(0)
    layers = {name: MoE(DIM, HIDDEN, **{"n_experts": EXPERTS, **own}) for name, own in ROUTINGS.items()}
    x, gradient = torch.randn(TOKENS, DIM, requires_grad=True), torch.randn(TOKENS, DIM)
    given = {"given": torch.rand(TOKENS, EXPERTS).argsort(1)[:, :2]}
    tasks = {name: partial(_both, layer, x, gradient, given.get(name)) for name, layer in layers.items()}
    seconds, rows = interleaved(tasks, max(rounds, 7)), []
    for name, layer in layers.items():
        finish_step(layer)
        tally = layer.tally()
        served = float(tally.load[: layer.networks].sum() / tally.tokens)
        middle, low, high = ratio(seconds[name], seconds["top-2"])
        found = {"ratio to top-2": middle, "low": low, "high": high, "ratio per expert": middle * 2 / served}
        rows.append({"routing": name, "experts per token": served, **found})
    table(f"choices of {EXPERTS} experts, d={DIM}, h={HIDDEN}, T={TOKENS}: CPU seconds / those of top-2", rows)
    return {"rows": rows}
