"""How even the load of the experts is in training from scratch, by the shares that the balancing loss knows.

The loss needs shares of the experts in a step before the step is over. Two ways are trained on two toy problems:

- ``last``: those of the step before;
- ``line``: the straight line through those of the two steps before, the default of layers.

Every figure is a mean over eight seeds, two for every pair of gate and experts per token. Loads are told by their
squared coefficient of variation: in the batches of all steps but the first 20, and at the end, in a batch of its own
that is seen ten times in the last 40 steps. A linear model of the feedback gives the gain from which on loads swing
ever wider, for gradient descent with momentum; there ``same`` are the shares of the step itself, which no layer knows.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from statistics import mean
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.timing import table
from gatewise.nn import MoE, observe
from gatewise.nn.balance.shares import cv_squared, shares_by_level

DIM, TOKENS, SYMBOLS, LENGTH = 32, 256, 48, 32
STEPS, FIRST, LAST, EVERY = 150, 20, 40, 4
GATES, KEPT, SEEDS = ("softmax", "laplace"), (1, 2), 8
WAYS = ("last", "line")
LAGS: dict[str, tuple[int, ...]] = {"last": (0, 1), "line": (0, 2, -1), "same": (1,)}  # weights of shares, newest first


class Clusters(nn.Module):
    """Regression: five clusters of inputs, rare ones among them, each with a linear map of its own."""

    def __init__(self, layer: MoE, generator: torch.Generator) -> None:
        super().__init__()
        self.layer, self.generator = layer, generator
        self.centres = torch.randn(5, DIM, generator=generator)
        self.maps = torch.randn(5, DIM, DIM, generator=generator) / DIM**0.5

    def batch(self, tokens: int) -> tuple[Tensor, Tensor]:
        kind = torch.multinomial(torch.tensor([0.4, 0.25, 0.15, 0.12, 0.08]), tokens, True, generator=self.generator)
        x = self.centres[kind] + 0.5 * torch.randn(tokens, DIM, generator=self.generator)
        return x, torch.einsum("nd,nde->ne", x, self.maps[kind])

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        return (x + self.layer(x) - y).square().mean()


class Text(nn.Module):
    """The next symbol of a text: four topics, each with chances of its own that one symbol follows another."""

    def __init__(self, layer: MoE, generator: torch.Generator) -> None:
        super().__init__()
        self.layer, self.generator = layer, generator
        self.chances = torch.softmax(2.5 * torch.randn(4, SYMBOLS, SYMBOLS, generator=generator), -1).cumsum(-1)
        self.symbol, self.before = nn.Embedding(SYMBOLS, DIM), nn.Embedding(SYMBOLS, DIM)
        self.norm, self.last_norm, self.head = nn.LayerNorm(DIM), nn.LayerNorm(DIM), nn.Linear(DIM, SYMBOLS)

    def batch(self, tokens: int) -> tuple[Tensor]:
        topic = torch.randint(4, (tokens // LENGTH,), generator=self.generator)
        text = [torch.randint(SYMBOLS, topic.shape, generator=self.generator)]
        for drawn in torch.rand(LENGTH + 1, len(topic), 1, generator=self.generator):
            text.append((self.chances[topic, text[-1]] < drawn).sum(-1).clamp_max(SYMBOLS - 1))
        return (torch.stack(text, 1),)

    def loss(self, text: Tensor) -> Tensor:
        x = self.symbol(text[:, 1:-1]) + self.before(text[:, :-2])
        x = x + self.layer(self.norm(x))
        return F.cross_entropy(self.head(self.last_norm(x)).flatten(0, 1), text[:, 2:].flatten())


class Optimiser(NamedTuple):
    """A torch optimiser and the rates at which it is tried."""

    make: Callable[..., torch.optim.Optimizer]
    options: dict[str, float]
    rates: tuple[float, ...]


PROBLEMS: dict[str, type[Clusters | Text]] = {"clusters": Clusters, "text": Text}
LAYERS: tuple[tuple[str, int | tuple[int, int]], ...] = (("clusters", 8), ("clusters", (4, 4)), ("text", (4, 4)))
OPTIMISERS = {
    "Adam": Optimiser(torch.optim.Adam, {}, (0.003, 0.01, 0.03)),
    "SGD, momentum .9": Optimiser(torch.optim.SGD, {"momentum": 0.9}, (0.1,)),
    "SGD": Optimiser(torch.optim.SGD, {}, (1.0,)),
}


class Outcome(NamedTuple):
    """Squared coefficients of variation of the loads, the part of the experts without a token, and the task's loss."""

    over_time: float
    at_the_end: float
    idle: float
    loss: float


def run(**_: Any) -> dict[str, Any]:
    """Train toy layers with every optimiser, and find the gains at which the feedback turns unstable."""
    limits = [
        {"momentum": momentum, **{way: _largest_gain(momentum, lags) for way, lags in LAGS.items()}}
        for momentum in (0.0, 0.5, 0.9, 0.95)
    ]
    table("gain of the feedback per step from which on loads swing ever wider, in a linear model", limits)
    found: dict[str, Any] = {"limits": limits}
    for name, optimiser in OPTIMISERS.items():
        rows = [
            {"rate": rate, "problem": problem, "experts": str(shape)} | _compared(problem, shape, optimiser, rate)
            for rate, (problem, shape) in product(optimiser.rates, LAYERS)
        ]
        table(f"{name}: experts after {STEPS} steps from scratch, {TOKENS} tokens a step, d={DIM}", rows)
        found[name] = rows
    return found


def _compared(problem: str, shape: Any, optimiser: Optimiser, rate: float) -> dict[str, float]:
    found = {}
    for way in WAYS:
        outcomes = [
            train(problem, way, optimiser, rate, seed, n_experts=shape, gate=GATES[seed % 2], top_k=KEPT[seed // 2 % 2])
            for seed in range(SEEDS)
        ]
        found[way] = Outcome(*(mean(values) for values in zip(*outcomes, strict=True)))
    return {
        f"{field.replace('_', ' ')}, {way}": round(getattr(found[way], field), 3)
        for field, way in product(Outcome._fields, WAYS)
    }


def train(
    problem: str, way: str, optimiser: Optimiser, rate: float, seed: int, steps: int = STEPS, **options: Any
) -> Outcome:
    """Train a layer from scratch in one of WAYS and return how its last steps were."""
    torch.manual_seed(seed)
    model = PROBLEMS[problem](MoE(DIM, DIM, **options), torch.Generator().manual_seed(seed))
    updates = optimiser.make(model.parameters(), rate, **optimiser.options)
    balancer, loads, seen = model.layer.balancer, [], []
    for step in range(steps):
        if way == "last":
            balancer.earlier.zero_()
        updates.zero_grad()
        model.loss(*model.batch(TOKENS)).backward()
        updates.step()
        if step >= FIRST:
            loads.append(balancer.values()["load"])
        if step >= steps - LAST and step % EVERY == 0:
            seen.append(_state(model))
    return Outcome(mean(loads), *(mean(values) for values in zip(*seen, strict=True)))


@torch.no_grad()
def _state(model: Clusters | Text) -> tuple[float, float, float]:
    """Return the variation of the loads, the idle experts and the loss in a batch of its own."""
    with observe(model) as seen:
        loss = model.loss(*model.batch(4 * TOKENS))
    (tally,) = seen.tallies.values()
    variation = cv_squared(shares_by_level(tally.load, model.layer.router.branching))
    return float(variation), float((tally.load == 0).float().mean()), float(loss)


def _largest_gain(momentum: float, lags: tuple[int, ...]) -> float:
    """Return the gain g from which on ``v = m v - g sum_i lag_i z_(t-i)``, ``z = z + v`` grows, to one per cent."""
    gains = np.geomspace(1e-3, 10, 928)
    for gain in gains:
        equation = np.zeros(max(len(lags), 2) + 1)
        equation[:3] = 1, -1 - momentum, momentum
        equation[1 : len(lags) + 1] += gain * np.array(lags)
        if np.abs(np.roots(equation)).max() > 1 + 1e-9:
            return float(gain)
    return float("inf")
