"""Layers against the dense network of the same matrix shapes on T k rows, and against the peers that are installed.

Peers are imported if they are there (their names are part of the result): ``mixture_of_experts`` and ``st_moe_pytorch``
from the package index, ``moe`` as the file moe.py of github.com/davidmrau/mixture-of-experts on the path, and
``transformers``. Layers with a capacity serve at most 1.25 / 2 of the assignments: their ratio per served assignment
stands beside.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.timing import table
from gatewise.nn import MoE

TOKENS, DIM, HIDDEN, KEPT = 4096, 512, 1024, 2
LIMITS = {8: (1.12, 1.15), 64: (1.45, 1.60)}  # of forward, of forward and backward
CAPACITY = 1.25 / 2
Pass = Callable[[], object]


class Dense(nn.Module):
    """The feed-forward network of one expert on all T k rows: the time that no dispatch can beat by much."""

    def __init__(self, gated: bool) -> None:
        super().__init__()
        self.up = nn.Linear(DIM, HIDDEN * (2 if gated else 1), bias=False)
        self.down = nn.Linear(HIDDEN, DIM, bias=False)
        self.gated = gated

    def forward(self, x: Tensor) -> Tensor:
        pre = self.up(x)
        if not self.gated:
            return self.down(F.gelu(pre))
        first, second = pre.chunk(2, -1)
        return self.down(F.silu(first) * second)


def _own(experts: int | tuple[int, int], gate: str, **options: Any) -> Callable[[], nn.Module]:
    return lambda: MoE(DIM, HIDDEN, experts, gate, KEPT, **options)


def _davidmrau(experts: int) -> nn.Module:
    layer = import_module("moe").MoE(DIM, DIM, experts, HIDDEN, noisy_gating=True, k=KEPT)
    nn.init.normal_(layer.w_gate, std=0.3 * DIM**-0.5)  # zeros would send every token to the same two experts
    return _First(layer)


def lucidrains(experts: int, dim: int = DIM, hidden: int = HIDDEN) -> nn.Module:
    return import_module("mixture_of_experts").MoE(dim, experts, hidden)


def _two_level(experts: int) -> nn.Module:
    return _In3D(import_module("mixture_of_experts").HeirarchicalMoE(DIM, (8, experts // 8), HIDDEN))


def st_moe(experts: int, dim: int = DIM, hidden: int = HIDDEN) -> nn.Module:
    # its gated experts have 2/3 of the multiple as hidden units
    return import_module("st_moe_pytorch").MoE(dim, experts, hidden * 3 / (2 * dim), gating_top_n=KEPT)


def mixtral(experts: int, how: str, dim: int = DIM, hidden: int = HIDDEN) -> nn.Module:
    from transformers import MixtralConfig
    from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock

    config = MixtralConfig(
        hidden_size=dim, intermediate_size=hidden, num_local_experts=experts, num_experts_per_tok=KEPT
    )
    config._experts_implementation = how
    block = MixtralSparseMoeBlock(config)
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.02)
    return block


class _In3D(nn.Module):
    """Give tokens ``(T, d)`` as one sequence to a layer that wants ``(batch, length, d)``."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = _First(inner)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x.view(8, -1, x.shape[-1])).reshape(x.shape[0], -1)


class _First(nn.Module):
    """Return the output of a layer that returns its losses too."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        out = self.inner(x)
        return out if isinstance(out, Tensor) else out[0]


PEERS: dict[str, tuple[str, Callable[[int], nn.Module], bool, float, int]] = {
    # module, layer, three matrices, most of the assignments served, most experts (HF eager: minutes at 64)
    "davidmrau": ("moe", _davidmrau, False, 1.0, 64),
    "mixture-of-experts": ("mixture_of_experts", lambda e: _In3D(lucidrains(e)), False, CAPACITY, 64),
    "mixture-of-experts, two levels": ("mixture_of_experts", _two_level, False, CAPACITY, 64),
    "st-moe-pytorch": ("st_moe_pytorch", lambda e: _In3D(st_moe(e)), True, CAPACITY, 64),
    "transformers, eager": ("transformers", lambda e: _In3D(mixtral(e, "eager")), True, 1.0, 8),
    "transformers, grouped_mm": ("transformers", lambda e: _In3D(mixtral(e, "grouped_mm")), True, 1.0, 64),
}


def layers(rounds: int = 7, **_: Any) -> dict[str, Any]:
    """Time forward and forward + backward at 8 and 64 experts; one thread, fp32."""
    return {str(experts): _layers(experts, max(rounds, 7)) for experts in LIMITS}


def _layers(experts: int, rounds: int) -> dict[str, Any]:
    makers: dict[str, tuple[Callable[[], nn.Module], bool, float]] = {
        "softmax": (_own(experts, "softmax"), False, 1.0),
        "laplace": (_own(experts, "laplace"), False, 1.0),
        "sigmoid": (_own(experts, "sigmoid"), False, 1.0),
        "softmax, swiglu": (_own(experts, "softmax", activation="swiglu"), True, 1.0),
        "softmax, relu": (_own(experts, "softmax", activation="relu"), False, 1.0),
        "softmax, loop": (_own(experts, "softmax", backend="loop"), False, 1.0),
    }
    if experts == 64:
        makers["softmax-softmax 8x8"] = (_own((8, 8), "softmax"), False, 1.0)
        makers["laplace-laplace 8x8"] = (_own((8, 8), "laplace"), False, 1.0)
    absent = [name for name, peer in PEERS.items() if find_spec(peer[0]) is None]
    for name, (module, make, gated, served, most) in PEERS.items():
        if find_spec(module) is not None and experts <= most:
            makers[name] = ((lambda make=make: make(experts)), gated, served)
    rows = []
    for kind in ("forward", "forward + backward"):
        tasks = {f"dense {g}": _pass(Dense(g), TOKENS * KEPT, kind) for g in (False, True)}
        tasks |= {name: _pass(make(), TOKENS, kind) for name, (make, _, _) in makers.items()}
        seconds = interleaved(tasks, rounds)
        for name, (_, gated, served) in makers.items():
            middle, low, high = ratio(seconds[name], seconds[f"dense {gated}"])
            rows.append(
                {"layer": name, "pass": kind, "ratio": middle, "low": low, "high": high, "per served": middle / served}
            )
    table(f"{experts} experts, T={TOKENS}, d={DIM}, h={HIDDEN}, top-2: CPU seconds / dense network on T k rows", rows)
    print(f"limits: {LIMITS[experts]}; not there: {', '.join(absent) or 'none'}")
    return {"rows": rows, "absent": absent, "limits": LIMITS[experts]}


def _pass(layer: nn.Module, tokens: int, kind: str, dtype: torch.dtype = torch.float32) -> Pass:
    """Return a function that runs a layer once; the backward pass includes the gradient in the input."""
    torch.manual_seed(0)
    layer = layer.to(dtype)
    x = torch.randn(tokens, DIM, dtype=dtype, requires_grad=True)
    gradient = torch.randn(tokens, DIM, dtype=dtype)

    def forward() -> Tensor:
        with torch.no_grad():
            return layer(x)

    def both() -> None:
        layer.zero_grad(set_to_none=True)
        x.grad = None
        layer(x).backward(gradient)

    layer.train(kind != "forward")
    return forward if kind == "forward" else both


def interleaved(tasks: dict[str, Pass], rounds: int) -> dict[str, list[float]]:
    """Return the process seconds of every task by round, after one unmeasured round."""
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for number in range(rounds + 1):
        for name, task in tasks.items():
            start = time.process_time()
            task()
            if number:
                seconds[name].append(time.process_time() - start)
    return seconds


def ratio(first: list[float], second: list[float], draws: int = 2000) -> tuple[float, float, float]:
    """Return the median over rounds of first / second with a 95 % bootstrap interval over rounds."""
    each = np.array(first) / np.array(second)
    drawn = np.median(np.random.default_rng(0).choice(each, (draws, len(each))), 1)
    return float(np.median(each)), *(float(v) for v in np.quantile(drawn, (0.025, 0.975)))


def half(rounds: int = 7, **_: Any) -> dict[str, Any]:
    """Time bf16 layers against the dense bf16 network: the fraction of that limit."""
    rows = []
    for kind in ("forward", "forward + backward"):
        tasks = {"dense": _pass(Dense(False), TOKENS * KEPT, kind, torch.bfloat16)}
        for experts in LIMITS:
            for gate in ("softmax", "laplace"):
                tasks[f"{gate} {experts}"] = _pass(_own(experts, gate)(), TOKENS, kind, torch.bfloat16)
        seconds = interleaved(tasks, max(rounds, 7))
        for name in list(tasks)[1:]:
            middle, low, high = ratio(seconds["dense"], seconds[name])
            rows.append({"layer": name, "pass": kind, "fraction of the limit": middle, "low": low, "high": high})
    table("bf16, one thread: dense network / layer", rows)
    return {"rows": rows}


def gates(rounds: int = 7, **_: Any) -> dict[str, Any]:
    """Time Laplace against softmax, and two levels against one, in the whole layer, forward + backward."""
    pairs = {
        "laplace / softmax, 8": ("laplace 8", "softmax 8"),
        "laplace / softmax, 64": ("laplace 64", "softmax 64"),
        "8x8 / 64, softmax": ("softmax 8x8", "softmax 64"),
        "8x8 / 64, laplace": ("laplace 8x8", "laplace 64"),
    }
    sizes: dict[str, int | tuple[int, int]] = {"8": 8, "64": 64, "8x8": (8, 8)}
    rows = []
    for dtype in (torch.float32, torch.bfloat16):
        tasks = {
            f"{gate} {name}": _pass(_own(size, gate)(), TOKENS, "both", dtype)
            for gate in ("softmax", "laplace")
            for name, size in sizes.items()
        }
        seconds = interleaved(tasks, max(rounds, 7))
        for name, (first, second) in pairs.items():
            middle, low, high = ratio(seconds[first], seconds[second])
            rows.append({"ratio of": name, "dtype": str(dtype)[6:], "ratio": middle, "low": low, "high": high})
    table("whole layer, forward + backward: at most 1.10", rows)
    return {"rows": rows, "limit": 1.10}


def token(rounds: int = 7, **_: Any) -> dict[str, Any]:
    """Time one token through 64 experts of 256 hidden units, in milliseconds of wall time."""
    rows = []
    x = torch.randn(1, DIM)
    for gate, experts in (("softmax", 64), ("laplace", 64), ("laplace", (8, 8))):
        layer = MoE(DIM, 256, experts, gate, KEPT).eval()
        with torch.inference_mode():
            spent = []
            for _ in range(200 * max(rounds, 7)):
                start = time.perf_counter()
                layer(x)
                spent.append(1e3 * (time.perf_counter() - start))
        rows.append({"gate": gate, "experts": str(experts), "median ms": float(np.median(spent[100:])), "limit": 1.0})
    table("one token, E=64, h=256", rows)
    return {"rows": rows}


def memory(**_: Any) -> dict[str, Any]:
    """Measure the peak resident memory of forward + backward above the layer, each in a process of its own."""
    rows = []
    for experts in LIMITS:
        command = [sys.executable, "-m", "benchmarks.nn", str(experts)]
        found = subprocess.run(command, capture_output=True, text=True, check=True)
        peak, gradients = (float(part) for part in found.stdout.split())
        rows.append({"experts": experts, "peak MiB": peak, "gradients MiB": gradients, "rest MiB": peak - gradients})
    table("peak memory of forward + backward above the layer: the rest at most 160 MiB", rows)
    return {"rows": rows, "limit": 160}


def _peak(experts: int) -> None:
    """Print the peak above the layer and the size of the gradients, in MiB."""
    torch.set_num_threads(1)
    layer = MoE(DIM, HIDDEN, experts, "softmax", KEPT)
    x, gradient = torch.randn(TOKENS, DIM, requires_grad=True), torch.randn(TOKENS, DIM)
    layer(x[:8]).sum().backward()  # code and small buffers
    layer.zero_grad(set_to_none=True)
    x.grad = None
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak starts again from here
    before = _status("VmRSS")
    layer(x).backward(gradient)
    peak = _status("VmHWM") - before
    print(peak / 1024, sum(p.numel() for p in layer.parameters()) * 4 / 2**20)


def _status(name: str) -> float:
    """Return a figure of this process in KiB; the peak since the start where the system does not tell."""
    try:
        with open("/proc/self/status") as file:
            lines = dict(line.split(":", 1) for line in file)
        return float(lines[name].split()[0])
    except OSError:
        return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


if __name__ == "__main__":
    _peak(int(sys.argv[1]))
