"""One call on a machine with a GPU: ``python -m benchmarks.gpu [layers] [estimators] [--out FILE]``; default: both.

``layers``: bf16 layers against the dense limit. For 8, 64 and 128 experts at 16384 tokens and 4096 features: forward
and forward + backward of the grouped backend, of the plain loop over experts, and of the dense network of the same
matrix shapes on as many rows, in TFLOP/s and as the fraction of the latter; whether the grouped pass waits for the
device; and that both backends agree.

``estimators``: sums over many rows and whole fits against the compiled sums of the CPU (`gpu_estimators`).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import gpu_estimators
from benchmarks.timing import facts, table
from gatewise.nn import MoE

EXPERTS = (8, 64, 128)
KEPT = 2


def main(given: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], default=[], help="what is measured; default: all")
    parser.add_argument("--out", help="file for the results as JSON")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tokens", type=int, default=16384)
    parser.add_argument("--dim", type=int, default=4096)
    parser.add_argument(
        "--hidden", type=int, default=4096, help="of one expert (4096: 8 experts are a 32k-wide network)"
    )
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the estimators")
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args(given)
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error(
            "no GPU: torch.cuda.is_available() is false; --device cpu --tokens 64 --dim 64 --rows 5000 tries the code"
        )
    results: dict[str, Any] = {"machine": facts(), "device": _device(options.device)}
    for part in options.parts or PARTS:
        PARTS[part](options, results)
    if options.out:
        with open(options.out, "w") as file:
            json.dump(results, file, indent=1)


def _layers(options: argparse.Namespace, results: dict[str, Any]) -> None:
    shape = options.tokens, options.dim, options.hidden
    results["shape"] = shape
    results["rows"] = [row for experts in EXPERTS for row in _rows(experts, shape, options.device, options.rounds)]
    results["checks"] = _checks(options.device)
    table(f"bf16, tokens {shape[0]}, d {shape[1]}, h {shape[2]}, top-{KEPT}", results["rows"])
    print(results["checks"])


def _estimators(options: argparse.Namespace, results: dict[str, Any]) -> None:
    results["estimators"] = gpu_estimators.run(options.device, options.rows, options.rounds)
    table("sums over rows", results["estimators"]["sums"])
    table("whole fits", results["estimators"]["fits"])


PARTS: dict[str, Callable[[argparse.Namespace, dict[str, Any]], None]] = {
    "layers": _layers,
    "estimators": _estimators,
}


def _device(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else "cpu"


def _rows(experts: int, shape: tuple[int, int, int], device: str, rounds: int) -> list[dict[str, Any]]:
    tokens, dim, hidden = shape
    torch.manual_seed(0)
    x = torch.randn(tokens, dim, device=device, dtype=torch.bfloat16, requires_grad=True)
    wide = torch.randn(tokens * KEPT, dim, device=device, dtype=torch.bfloat16, requires_grad=True)
    first = (torch.randn(dim, hidden, device=device, dtype=torch.bfloat16) / dim**0.5).requires_grad_()
    second = (torch.randn(hidden, dim, device=device, dtype=torch.bfloat16) / hidden**0.5).requires_grad_()
    tasks: dict[str, tuple[Callable[[], Tensor], list[Tensor]]] = {
        "dense": (lambda: F.gelu(wide @ first) @ second, [wide, first, second])
    }
    for gate in ("softmax", "laplace"):
        for backend in ("grouped", "loop") if gate == "softmax" else ("grouped",):
            layer = MoE(dim, hidden, experts, gate, KEPT, backend=backend).to(device, torch.bfloat16)
            tasks[f"{gate}, {backend}"] = ((lambda layer=layer: layer(x)), [x, *layer.parameters()])
    work = 4 * tokens * KEPT * dim * hidden / 1e12  # TFLOP of a forward pass
    seconds = {
        kind: _interleaved({n: _pass(task, leaves, kind) for n, (task, leaves) in tasks.items()}, device, rounds)
        for kind in ("forward", "both")
    }
    return [
        {
            "experts": experts,
            "layer": name,
            "pass": kind,
            "TFLOP/s": work * (1 if kind == "forward" else 3) / found[name],
            "of the limit": found["dense"] / found[name],
        }
        for kind, found in seconds.items()
        for name in tasks
    ]


def _pass(task: Callable[[], Tensor], leaves: list[Tensor], kind: str) -> Callable[[], object]:
    def forward() -> Tensor:
        with torch.no_grad():
            return task()

    def both() -> None:
        for leaf in leaves:
            leaf.grad = None
        task().sum().backward()

    return forward if kind == "forward" else both


def _interleaved(tasks: dict[str, Callable[[], object]], device: str, rounds: int) -> dict[str, float]:
    """Return the median seconds of every task over interleaved rounds, after three unmeasured ones."""
    found: dict[str, list[float]] = {name: [] for name in tasks}
    for number in range(rounds + 3):
        for name, task in tasks.items():
            seconds = _timed(task, device)
            if number >= 3:
                found[name].append(seconds)
    return {name: float(np.median(values)) for name, values in found.items()}


def _timed(task: Callable[[], object], device: str) -> float:
    if device != "cuda":
        import time

        start = time.perf_counter()
        task()
        return time.perf_counter() - start
    start_event, end_event = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start_event.record()
    task()
    end_event.record()
    torch.cuda.synchronize()
    return start_event.elapsed_time(end_event) / 1e3


def _checks(device: str) -> dict[str, Any]:
    """Return that the backends agree, and whether the grouped pass ever waits for the device."""
    torch.manual_seed(0)
    out: dict[str, Any] = {}
    for dtype in (torch.float32, torch.bfloat16):
        layer = MoE(256, 512, 8, "laplace", KEPT, backend="auto").to(device, dtype)
        x = torch.randn(512, 256, device=device, dtype=dtype)
        mine = layer(x)
        layer.backend = "loop"
        other = layer(x)
        out[f"grouped - loop, {str(dtype)[6:]}"] = float(((mine - other).abs().max() / other.abs().max()).detach())
    if device == "cuda":
        layer = MoE(256, 512, 8, "laplace", KEPT).to(device, torch.bfloat16)
        x = torch.randn(512, 256, device=device, dtype=torch.bfloat16, requires_grad=True)
        layer(x).sum().backward()
        torch.cuda.set_sync_debug_mode("error")
        try:
            layer(x).sum().backward()
            out["waits for the device"] = False
        except RuntimeError as error:
            out["waits for the device"] = str(error)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return out


if __name__ == "__main__":
    main()
