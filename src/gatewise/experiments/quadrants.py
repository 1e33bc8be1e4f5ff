"""Four functions on the quadrants of the unit square: four flat experts against two groups of two."""

from __future__ import annotations

from math import pi
from typing import Any

import torch
from torch import Tensor, nn

from gatewise.experiments.experiment import FLAT, PAIRS, Curves, Experiment, Job, Metric, Outcome, gates_of
from gatewise.experiments.specialise import disagreement, information
from gatewise.experiments.train import seeded, train
from gatewise.nn import MoE

NOISE = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3)  # standard deviations added to the inputs of the test rows
TRAINED, TESTED = 2000, 2000


def surface(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the response and the quadrant (0..3) of rows x ``(n, 2)`` of the unit square.

    ``sin(2 pi x0), cos(2 pi x1), x0^2, 2 (x1 - x0)`` on the quadrants (low, low), (low, high), (high, low), (high,
    high): the simulation of 2410.02935's public code.
    """
    first, second = x.unbind(-1)
    quadrant = 2 * (first >= 0.5).long() + (second >= 0.5).long()
    parts = torch.stack([(2 * pi * first).sin(), (2 * pi * second).cos(), first**2, 2 * (second - first)])
    return parts.gather(0, quadrant[None])[0], quadrant


class QuadrantModel(nn.Module):
    """Two layers of inputs, then experts with one hidden layer each, dense: every expert takes part everywhere."""

    def __init__(self, gates: tuple[str, ...]) -> None:
        super().__init__()
        branching = 4 if len(gates) == 1 else (2, 2)
        self.experts = MoE(2, 16, branching, gates, top_k=None, dim_out=1, activation="relu", bias=True, balance="none")

    def forward(self, x: Tensor) -> Tensor:
        return self.experts(4 * x - 2)[..., 0]


def run(job: Job) -> Outcome:
    """Train one model and return its errors."""
    generator = seeded(job.seed, 0)
    x = torch.rand(TRAINED + 2 * TESTED, 2, generator=generator)
    clean, quadrant = surface(x)
    y = clean + 0.1 * torch.randn(len(x), generator=generator)
    model = (dense() if job.gate == "dense" else QuadrantModel(gates_of(job.gate))).to(job.device)
    x, y, clean = (value.to(job.device) for value in (x, y, clean))
    rows = torch.arange(TRAINED, device=job.device)
    fit = train(
        model,
        lambda part: (model(x[part]).reshape(-1) - y[part]).square().mean(),
        rows,
        epochs=5 if job.quick else 60,
        rate=job.rate,
        generator=generator,
        batch=64,
    )
    held, test = slice(TRAINED, TRAINED + TESTED), slice(TRAINED + TESTED, None)
    with torch.no_grad():
        validation = -float((model(x[held]).reshape(-1) - clean[held]).square().mean())
        moved_inputs = [x[test] + noise * torch.randn(TESTED, 2, generator=generator).to(job.device) for noise in NOISE]
        errors = [float((model(rows).reshape(-1) - clean[test]).square().mean()) for rows in moved_inputs]
        out: dict[str, Any] = {"validation": validation, "error": errors[0], "by_noise": errors, "moved": fit.moved}
        if isinstance(model, QuadrantModel):
            routing = model.experts.router(4 * x[test] - 2)
            best = routing.index.gather(1, routing.weight.argmax(1, keepdim=True))
            out["information"] = information(best.cpu(), quadrant[test], 4)
            out["disagreement"] = disagreement(model.experts, 4 * x[test] - 2)
    return out


def dense() -> nn.Module:
    """Return one network with as many hidden units as all experts have."""
    return nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 1))


QUADRANTS = Experiment(
    "quadrants",
    "Four functions on the quadrants of the unit square",
    "The synthetic regression in the public code of 2410.02935: inputs uniform on the unit square, a different "
    "function on each quadrant, noise with standard deviation .1; 2000 rows for training, 2000 for selecting the "
    "learning rate and 2000 for testing. Dense layers of four experts with 16 ReLU units each, flat or in two "
    "groups of two, are compared with one network of 64 units. The gates are those of gatewise (linear scores or "
    "distances in the inputs); the public code uses small networks. The error is measured against the noise-free "
    "response. The figure adds noise to the test inputs.",
    ("unit square",),
    (*FLAT, *PAIRS),
    {
        "error": Metric("test error", "squared units of y", more=False),
        "information": Metric("information of quadrant and expert", "nats"),
        "disagreement": Metric("disagreement of experts", "1 - cosine", more=None),
    },
    run,
    baselines=("dense",),
    rates=(3e-3, 1e-2, 3e-2, 1e-1, 3e-1),
    figures={
        "error under noise": Curves(
            "by_noise",
            NOISE,
            "standard deviation of the noise on test inputs",
            "mean squared error against the noise-free response",
        )
    },
)
