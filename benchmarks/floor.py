"""One EM pass against the time that its counted operations alone would take on this machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks import problems
from benchmarks.numpy_engine import Pass, em_pass
from benchmarks.timing import best_of, table
from gatewise.core import derivatives
from gatewise.fit.problem import accumulate

SHARE = 0.06


def rate_tasks() -> tuple[dict[str, Callable[[], None]], dict[str, float]]:
    """Return tasks that do one kind of operation in cache, by torch and by numpy, and how many each does."""
    size, repeats, side, products = 4096, 400, 512, 5
    x = torch.rand(size, dtype=torch.float64) + 0.5
    out, array = torch.empty_like(x), x.numpy().copy()
    into = np.empty_like(array)
    a, b = torch.rand(side, side, dtype=torch.float64), torch.rand(side, side, dtype=torch.float64)
    c = torch.empty_like(a)

    def many(task: Callable[[], Any], times: int) -> Callable[[], None]:
        def run() -> None:
            for _ in range(times):
                task()

        return run

    tasks = {
        "exp torch": many(lambda: torch.exp(x, out=out), repeats),
        "exp numpy": many(lambda: np.exp(array, out=into), repeats),
        "log torch": many(lambda: torch.log(x, out=out), repeats),
        "log numpy": many(lambda: np.log(array, out=into), repeats),
        "multiply-add torch": many(lambda: torch.mm(a, b, out=c), products),
        "multiply-add numpy": many(lambda: np.matmul(a.numpy(), b.numpy(), out=c.numpy()), products),
    }
    work = {name: products * side**3 if name.startswith("multiply") else repeats * size for name in tasks}
    return tasks, work


def rates(seconds: dict[str, float], work: dict[str, float]) -> dict[str, float]:
    """Return the better of torch and numpy for each kind, in operations per ns."""
    found: dict[str, float] = {}
    for name, number in work.items():
        kind = name.split()[0]
        found[kind] = max(found.get(kind, 0.0), 1e-9 * number / seconds[name])
    return found


def counted(d: int, k: int) -> dict[str, float]:
    """Return the operations per row of one pass: exponentials, logarithms, multiply-adds."""
    p = d + 1
    pairs = p * (p + 1) // 2
    adds = 2 * k * p + 3 * k + k * pairs + k * p + k + pairs + (k - 1) * p + pairs * k * (k - 1) / 2
    return {"exp": 2 * k, "log": 1, "multiply-add": adds}


def floor_of(d: int, k: int, rate: dict[str, float]) -> float:
    """Return the ns per row that the counted operations take, one after the other."""
    return sum(number / rate[kind] for kind, number in counted(d, k).items())


def prepared(case: problems.Case, seed: int = 0) -> tuple[Callable[[], Any], Callable[[], Pass], problems.Truth]:
    """Return the pass of gatewise, that of the reference engine, and the parameters of both."""
    rng = np.random.default_rng(seed)
    truth = problems.draw_truth(rng, case.d, case.k)
    x, y = problems.draw_rows(rng, truth, (case.replicates, case.n))
    at = problems.scattered(rng, truth, case.replicates)
    rows = problems.replicated_rows(x, y)
    mixture = problems.softmax_mixture(case.k)
    measure = problems.measure_of(at)
    width = case.replicates * len(problems.chart_of(mixture, case.d).local)
    turned = np.ascontiguousarray(x.transpose(0, 2, 1))

    def ours() -> tuple[torch.Tensor, ...]:
        return accumulate(derivatives.complete, mixture, measure, rows, width)

    return ours, lambda: em_pass(turned, y, at), at


def difference(ours: tuple[torch.Tensor, ...], reference: Pass, at: problems.Truth) -> float:
    """Return the largest relative difference between the two engines in value, gate and experts' statistics."""
    k, p = at["experts"].shape[-2:]
    value, slope, bend = (part.numpy() for part in ours)
    gate = slope[:, : (k - 1) * p].reshape(-1, k - 1, p)
    i, j = np.triu_indices(p)
    a, b = np.triu_indices(k - 1)
    blocks = bend[:, : k * p, : k * p].reshape(-1, k, p, k, p)
    packed = blocks[:, a[:, None], i, b[:, None], j]
    leaves = slope[:, k * p :].reshape(-1, k, p + 1)
    inner = bend[:, k * p :, k * p :].reshape(-1, k, p + 1, k, p + 1)
    gram = np.stack([inner[:, c, i, c, j] for c in range(k)], 1)
    variance = at["variance"][..., None]
    full = np.zeros((*reference.gram.shape[:-1], p, p))
    full[..., i, j] = full[..., j, i] = reference.gram
    pulled = (reference.cross - (full @ at["experts"][..., None])[..., 0]) / variance
    pairs = (
        (value, reference.value),
        (gate, reference.gate_gradient),
        (packed, reference.gate_hessian),
        (leaves[..., :p], pulled),
        (gram, -reference.gram / variance),
    )
    return max(float(np.abs(left - right).max() / np.abs(right).max()) for left, right in pairs)


def run(rounds: int = 5, **_: Any) -> dict[str, Any]:
    """Measure rates, then both engines in the four cases, in interleaved rounds."""
    tasks, work = rate_tasks()
    lines, measured = [], []
    for case in problems.CASES:
        ours, reference, at = prepared(case)
        apart = difference(ours(), reference(), at)
        seconds = best_of({"gatewise": ours, "numpy": reference, **tasks}, rounds)
        rate = rates(seconds, work)
        measured.append({"case": case.name, **rate})
        rows = case.replicates * case.n
        floor = floor_of(case.d, case.k, rate)
        spent = {name: 1e9 * value / rows for name, value in seconds.items() if name not in work}
        lines.append(
            {
                "case": case.name,
                "B, n, d, k": f"{case.replicates}, {case.n}, {case.d}, {case.k}",
                "floor ns": floor,
                "gatewise ns": spent["gatewise"],
                "share %": 100 * floor / spent["gatewise"],
                "numpy ns": spent["numpy"],
                "numpy share %": 100 * floor / spent["numpy"],
                "ratio": spent["gatewise"] / spent["numpy"],
                "difference": apart,
                "holds": floor >= SHARE * spent["gatewise"],
            }
        )
    table("one EM pass, CPU ns per row and share of the counted floor", lines)
    table("rates in the same rounds, operations per ns, one thread", measured)
    return {"rates": measured, "cases": lines}
