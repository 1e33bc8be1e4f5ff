"""Layers of every size against the experts of transformers and against a dense network of equal work; one thread, fp32.

Each cell is measured until the 95 % intervals of its ratios are within 3 % of them, or its time is over. Cells whose
weights and gradients need more than 4 GiB a layer are left out and counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.util import find_spec
from itertools import product
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.nn import KEPT, mixtral, ratio
from benchmarks.timing import table
from gatewise.nn import MoE

DIMS, TOKENS, EXPERTS, ACTIVATIONS = (64, 256, 512, 1024), (1, 64, 512, 4096), (8, 64, 256), ("gelu", "swiglu")
MEMORY, LEAST = 4 * 2**30, 0.02  # bytes; seconds of a measurement
ROUNDS, SECONDS, WIDTH = 7, 15.0, 0.03
AHEAD = 1.05  # a ratio that is not slower
Pass = Callable[[], object]


class Size(NamedTuple):
    """A cell of the table; experts have twice as many hidden units as the layer has features."""

    dim: int
    tokens: int
    experts: int
    activation: str

    @property
    def matrices(self) -> int:
        return 3 if self.activation == "swiglu" else 2

    @property
    def memory(self) -> int:
        """Bytes of the weights of the experts and their gradients."""
        return 2 * 4 * self.experts * self.matrices * self.dim * 2 * self.dim


class Dense(nn.Module):
    """One expert on T k rows."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.gated, hidden = size.activation == "swiglu", 2 * size.dim
        self.up = nn.Linear(size.dim, hidden * (2 if self.gated else 1), bias=False)
        self.down = nn.Linear(hidden, size.dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        pre = self.up(x)
        if not self.gated:
            return self.down(F.gelu(pre))
        first, second = pre.chunk(2, -1)
        return self.down(F.silu(first) * second)


def run(features: int | None = None, **_: Any) -> dict[str, Any]:
    """Time all cells, or those of so many features, forward in evaluation, and forward and backward in training."""
    torch.manual_seed(0)
    dims = DIMS if features is None else (features,)
    sizes = [Size(*values) for values in product(dims, TOKENS, EXPERTS, ACTIVATIONS)]
    kept = [size for size in sizes if size.memory <= MEMORY]
    rows = [row for size in kept for row in _cell(size)]
    table("CPU seconds of a layer / those of the peers", rows)
    rivals = [row for row in rows if row["/ transformers"] != ""]
    slower = [row for row in rivals if row["/ transformers"] > AHEAD and row["low"] > 1.0]
    print(f"{len(sizes) - len(kept)} of {len(sizes)} sizes left out: more than {MEMORY / 2**30:.0f} GiB")
    most = max((row["/ transformers"] for row in slower), default=1.0)
    print(f"slower than transformers: {len(slower)} of {len(rivals)}, at most {most:.2f} times")
    return {"rows": rows, "left out": len(sizes) - len(kept), "slower": len(slower)}


def _cell(size: Size) -> list[dict[str, Any]]:
    layers: dict[str, nn.Module] = {
        "own": MoE(size.dim, 2 * size.dim, size.experts, "softmax", KEPT, activation=size.activation),
        "dense": Dense(size),
    }
    if size.activation == "swiglu" and find_spec("transformers"):
        layers["transformers"] = mixtral(size.experts, "grouped_mm", size.dim, 2 * size.dim)
    return [_row(size, layers, training) for training in (False, True)]


def _row(size: Size, layers: dict[str, nn.Module], training: bool) -> dict[str, Any]:
    tasks = {name: one_pass(layer, size, KEPT if name == "dense" else 1, training) for name, layer in layers.items()}
    seconds = measured(tasks)
    rival = ratio(seconds["own"], seconds["transformers"]) if "transformers" in seconds else ("", "", "")
    dense = ratio(seconds["own"], seconds["dense"])
    own = min(seconds["own"]) * 1000
    return {
        "d": size.dim,
        "tokens": size.tokens,
        "experts": size.experts,
        "units": size.activation,
        "pass": "both" if training else "forward",
        "ms": own,
        **dict(zip(("/ transformers", "low", "high"), rival, strict=True)),
        **dict(zip(("/ dense", "dense low", "dense high"), dense, strict=True)),
        "rounds": len(seconds["own"]),
    }


def one_pass(layer: nn.Module, size: Size, times: int, training: bool) -> Pass:
    """Return a function that runs a layer once on one sequence of tokens."""
    layer.train(training)
    x = torch.randn(1, size.tokens * times, size.dim, requires_grad=training)
    gradient = torch.randn_like(x)

    def forward() -> None:
        with torch.no_grad():
            layer(x)

    def both() -> None:
        layer.zero_grad(set_to_none=True)
        x.grad = None
        out = layer(x)
        (out if isinstance(out, Tensor) else out[0]).backward(gradient)

    return both if training else forward


def measured(tasks: dict[str, Pass], limit: float = SECONDS) -> dict[str, list[float]]:
    """Return the process seconds of every task by round, in rounds until the ratios are sure."""
    times = {name: _repeats(task) for name, task in tasks.items()}
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    end = time.perf_counter() + limit
    while True:
        for name, task in tasks.items():
            start = time.process_time()
            for _ in range(times[name]):
                task()
            seconds[name].append((time.process_time() - start) / times[name])
        done = len(seconds["own"])
        if done >= ROUNDS and (time.perf_counter() > end or _sure(seconds)):
            return seconds


def _repeats(task: Pass) -> int:
    """Return how often a task runs in one measurement, after it has been warmed up."""
    task()
    start = time.process_time()
    task()
    return max(1, int(LEAST / max(time.process_time() - start, 1e-9)))


def _sure(seconds: dict[str, list[float]]) -> bool:
    intervals = [ratio(seconds["own"], other) for name, other in seconds.items() if name != "own"]
    return all(high - low <= 2 * WIDTH * middle for middle, low, high in intervals)
