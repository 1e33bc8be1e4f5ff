"""A temperature that falls while a layer learns: how soon few experts are left, plain and activated."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from gatewise.experiments.experiment import Curves, Experiment, Job, Metric, Outcome
from gatewise.experiments.specialise import information
from gatewise.experiments.train import seeded, split_rows, train
from gatewise.nn import Anneal, MoE
from gatewise.nn.router import leaf_probabilities

EXPERTS, HIDDEN, EPOCHS, LOOKS = 8, 16, 30, 15
HOT, COLD = 2.0, 0.05
GATES = (
    "dense-to-sparse",
    "activation-dense-to-sparse",
    "tanh-dense-to-sparse",
    "gelu-dense-to-sparse",
    "softmax",
)


class Classifier(nn.Module):
    """Normalised pixels, a dense layer of experts, ten classes; the temperature follows a schedule if there is one."""

    def __init__(self, gate: str, steps: int) -> None:
        super().__init__()
        cools = gate.endswith("dense-to-sparse")
        self.norm = nn.LayerNorm(64, elementwise_affine=False)
        options: dict[str, Any] = {"temperature": Anneal(HOT, COLD, steps)} if cools else {}
        self.experts = MoE(64, HIDDEN, EXPERTS, gate, top_k=None, dim_out=10, bias=True, balance="none", **options)

    def forward(self, x: Tensor) -> Tensor:
        return self.experts(self.norm(x))

    def weights(self, x: Tensor) -> Tensor:
        """Return the weights of the experts ``(n, L)``."""
        return leaf_probabilities(self.experts.router(self.norm(x)))


def run(job: Job) -> Outcome:
    """Train one classifier and return its accuracy, and the experts in use by epoch."""
    generator = seeded(job.seed, 0)
    digits = load_digits()
    x = torch.tensor(digits.data, dtype=torch.float32, device=job.device)
    y = torch.tensor(digits.target, device=job.device)
    rows = split_rows(len(x), job.seed)
    epochs = 3 if job.quick else EPOCHS
    steps = epochs * -(-len(rows.train) // 64)
    model = Classifier(job.gate, steps).to(job.device)
    looked = {round(epoch) for epoch in np.linspace(0, epochs - 1, LOOKS)}
    seen: list[Tensor] = []

    def look(epoch: int) -> None:
        if epoch in looked:
            with torch.no_grad():
                share = model.weights(x[rows.validation])
            seen.append(-torch.xlogy(share, share).sum(-1).mean())

    fit = train(
        model,
        lambda part: nn.functional.cross_entropy(model(x[part]), y[part]),
        rows.train,
        epochs=epochs,
        rate=job.rate,
        generator=generator,
        at_epoch=look,
    )
    with torch.no_grad():
        right = {name: float((model(x[part]).argmax(-1) == y[part]).float().mean()) for name, part in _held(rows)}
        best = model.weights(x[rows.test]).argmax(-1, keepdim=True)
    entropy = [float(value) for value in seen]
    found = {} if job.quick else {"entropy_by_epoch": entropy, "active_by_epoch": np.exp(entropy)}
    return {
        "validation": right["validation"],
        "accuracy": right["test"],
        "active": float(np.exp(entropy[-1])),
        "information": information(best.cpu(), y[rows.test].cpu(), EXPERTS),
        "moved": fit.moved,
        **found,
    }


def _held(rows: Any) -> list[tuple[str, Tensor]]:
    return [("validation", rows.validation), ("test", rows.test)]


_ROWS = 1797 - 2 * round(0.15 * 1797)  # that train
_PLACES = tuple(float((round(epoch) + 1) * -(-_ROWS // 64)) for epoch in np.linspace(0, EPOCHS - 1, LOOKS))
TEMPERATURE = Experiment(
    "temperature",
    "A temperature that falls while a layer learns: plain against activated gates",
    "The digits of scikit-learn (1797 images of 8 x 8 pixels, BSD; 15 % for selecting the learning rate, 15 % for "
    "testing) and a dense layer of eight experts with 16 hidden units. The temperature falls from 2 to .05 by a "
    "constant factor per step. In 2401.13875 the temperature moves the gate from many experts to few, and the "
    "scores should pass through an activation first. An activation bounds the scores; without it, scores can grow "
    "and make the gate sparse at any temperature. A softmax gate without a temperature is included for comparison. "
    "The figures of full runs show, by step and on the validation rows, the entropy of the weights and the "
    "effective number of experts, exp(entropy).",
    ("digits, dense layer",),
    GATES,
    {
        "accuracy": Metric("test accuracy"),
        "active": Metric("experts in use at the end", "exp(entropy)", more=None),
        "information": Metric("information of class and first expert", "nats"),
    },
    run,
    rates=(3e-3, 1e-2, 3e-2, 1e-1, 3e-1),
    claim=(
        "activation-dense-to-sparse",
        "dense-to-sparse",
        "An activation before the temperature makes the layer better",
    ),
    figures={
        "experts in use": Curves("active_by_epoch", _PLACES, "step", "experts in use, exp(entropy)"),
        "entropy of the weights": Curves("entropy_by_epoch", _PLACES, "step", "entropy [nats]"),
    },
)
