"""What a layer costs beside its products: operators, calls of Python and nodes of autograd.

Counts do not depend on what else the machine does. They are those of one pass, beside the block of transformers if that
is installed. An operator is one that no other operator called.
"""

from __future__ import annotations

import cProfile
import pstats
from importlib.util import find_spec
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.nn import KEPT, mixtral
from benchmarks.sizes import Pass, Size, one_pass
from benchmarks.timing import table
from gatewise.nn import MoE

DIM, TOKENS, EXPERTS, PASSES = 64, (1, 64), (8, 64), 20


def run(**_: Any) -> dict[str, Any]:
    """Count for small inputs, forward in evaluation, and forward and backward in training."""
    rows = []
    for tokens, experts in product(TOKENS, EXPERTS):
        size = Size(DIM, tokens, experts, "swiglu")
        layers: dict[str, nn.Module] = {"gatewise": MoE(DIM, 2 * DIM, experts, "softmax", KEPT, activation="swiglu")}
        if find_spec("transformers"):
            layers["transformers"] = mixtral(experts, "grouped_mm", DIM, 2 * DIM)
        rows += [_row(name, layer, size, training) for training in (False, True) for name, layer in layers.items()]
    table(f"what one pass takes, d={DIM}, h={2 * DIM}, swiglu, top-{KEPT}", rows)
    return {"rows": rows}


def _row(name: str, layer: nn.Module, size: Size, training: bool) -> dict[str, Any]:
    task = one_pass(layer, size, 1, training)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.0)
    if training:  # a step, after which the auxiliary loss acts
        task()
        optimizer.step()
    return {
        "layer": name,
        "tokens": size.tokens,
        "experts": size.experts,
        "pass": "both" if training else "forward",
        "operators": operators(task),
        "Python calls": python_calls(task),
        "nodes": nodes(layer(torch.randn(1, size.tokens, size.dim, requires_grad=True))) if training else "",
    }


def operators(task: Pass) -> int:
    """Return how many operators a pass runs, those called by others not counted."""
    task()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        task()
    found = [event for event in profiler.events() if event.name.startswith("aten::")]
    return sum(1 for event in found if event.cpu_parent is None or not event.cpu_parent.name.startswith("aten::"))


def python_calls(task: Pass) -> int:
    """Return how many functions a pass calls, those written in C too."""
    task()
    profiler = cProfile.Profile()
    profiler.enable()
    for _ in range(PASSES):
        task()
    profiler.disable()
    return round(pstats.Stats(profiler).total_calls / PASSES)  # type: ignore[attr-defined]


def nodes(out: Tensor | tuple[Tensor, ...]) -> int:
    """Return how many nodes the backward pass of an output visits."""
    first = out if isinstance(out, Tensor) else out[0]
    seen: set[Any] = set()
    waiting: list[Any] = [first.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting += [before for before, _ in node.next_functions]
    return len(seen)
