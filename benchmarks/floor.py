"""One EM pass against the time that its counted operations alone would take on this machine, and other passes."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from benchmarks import fused_c, problems
from benchmarks.numpy_engine import Pass, em_pass
from benchmarks.timing import best_of, table
from gatewise.objective import compiled as fused
from gatewise.objective import likelihood
from gatewise.objective.accumulate import accumulate
from gatewise.objective.compiled import machine
from gatewise.objective.compiled import run as compiled_run

SHARE, SHARE_COMPILED = 0.06, 0.22  # of the counted floor, at least
TIMES_C, SPEEDUP = 2.0, 1.7  # against C at most, by a second thread at least
QUIET = 1.1  # seconds of the clock, of those of the processor, on a machine that does nothing else


@contextmanager
def uncompiled() -> Iterator[None]:
    """Leave every statistic to torch."""
    with patch.object(fused, "available", lambda: False):
        yield


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


class Data:
    """Rows, mixture and parameters of a case."""

    def __init__(self, case: problems.Case, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        truth = problems.draw_truth(rng, case.d, case.k)
        self.x, self.y = problems.draw_rows(rng, truth, (case.replicates, case.n))
        self.at = problems.scattered(rng, truth, case.replicates)
        self.rows = problems.replicated_rows(self.x, self.y)
        self.mixture = problems.softmax_mixture(case.k)
        self.measure = problems.measure_of(self.at)
        self.width = case.replicates * len(problems.parameterization_of(self.mixture, case.d).local)

    def torch(self, stat: Callable[..., Any]) -> Callable[[], tuple[torch.Tensor, ...]]:
        """Return a pass by torch."""

        def run() -> tuple[torch.Tensor, ...]:
            with uncompiled():
                return accumulate(stat, self.mixture, self.measure, self.rows, self.width)

        return run

    def compiled(self, stat: Callable[..., Any]) -> Callable[[], tuple[torch.Tensor, ...]]:
        """Return a pass by the compiled kernels."""

        def run() -> tuple[torch.Tensor, ...]:
            sums = fused.accumulate(stat, self.mixture, self.measure, self.rows)
            if sums is None:
                raise RuntimeError("the compiled kernels are missing: numba cannot be imported")
            return sums

        return run


def passes(case: problems.Case) -> dict[str, Callable[[], tuple[torch.Tensor, ...]]]:
    """Return the compiled passes of a case by name."""
    data = Data(case)
    return {stat.__name__: data.compiled(stat) for stat in fused.OF_LIKELIHOOD[1:]}


def engines(data: Data) -> dict[str, Callable[[], Any]]:
    """Return one EM pass by every engine there is."""
    turned = np.ascontiguousarray(data.x.transpose(0, 2, 1))
    out: dict[str, Callable[[], Any]] = {"torch": data.torch(likelihood.expected_complete_hessian)}
    if fused.available():
        out["compiled"] = data.compiled(likelihood.expected_complete_hessian)
    out["numpy"] = lambda: em_pass(turned, data.y, data.at)
    native = fused_c.em_pass(turned, data.y, data.at)
    return out if native is None else {**out, "C": native}


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


def em_line(case: problems.Case, data: Data, spent: dict[str, float], floor: float) -> dict[str, Any]:
    """Return a line of the table of EM passes, from ns per row."""
    reference = em_pass(np.ascontiguousarray(data.x.transpose(0, 2, 1)), data.y, data.at)
    apart = difference(data.torch(likelihood.expected_complete_hessian)(), reference, data.at)
    line = {"case": case.name, "B, n, d, k": f"{case.replicates}, {case.n}, {case.d}, {case.k}", "floor ns": floor}
    line |= {f"{name} ns": value for name, value in spent.items()}
    line |= {f"{name} %": 100 * floor / value for name, value in spent.items()}
    line |= {"difference": apart, "holds": floor >= SHARE * spent["torch"]}
    if "compiled" in spent:
        line["times C"] = spent["compiled"] / spent["C"] if "C" in spent else "no compiler"
        line["compiled holds"] = floor >= SHARE_COMPILED * spent["compiled"]
        line["C holds"] = "C" not in spent or spent["compiled"] <= TIMES_C * spent["C"]
    return line


def other_line(case: problems.Case, data: Data, rounds: int) -> dict[str, Any]:
    """Return ns per row of value with gradient, and of the pass of Newton's method, by torch and compiled."""
    line: dict[str, Any] = {"case": case.name}
    for name, stat in (("gradient", likelihood.gradient), ("Newton", likelihood.hessian)):
        tasks = {"torch": data.torch(stat), "compiled": data.compiled(stat)}
        seconds = best_of(tasks, max(1, rounds // 2))
        line |= {f"{name}, {by}": 1e9 * value / (case.replicates * case.n) for by, value in seconds.items()}
        line[f"{name}, ratio"] = seconds["torch"] / seconds["compiled"]
    return line


def thread_line(data: Data, rounds: int) -> dict[str, Any]:
    """Return what a second thread gains in one EM pass: by the clock, best of interleaved rounds, and by its work.

    The clock says what a second thread gains where a second core is free. On a machine that does other work it is not:
    then the processor seconds of the busiest thread, which waiting for a core does not change, say what it would gain.
    """
    run, before = data.compiled(likelihood.expected_complete_hessian), torch.get_num_threads()
    clock = {1: float("inf"), 2: float("inf")}
    work = dict(clock)
    for _ in range(4 * rounds):
        for threads in clock:
            torch.set_num_threads(threads)
            start = time.perf_counter()
            run()
            clock[threads] = min(clock[threads], time.perf_counter() - start)
            work[threads] = min(work[threads], busiest_thread(run))
    torch.set_num_threads(before)
    gain, free, busy = clock[1] / clock[2], work[1] / work[2], clock[1] / work[1]
    found = {"1 thread s": clock[1], "2 threads s": clock[2], "gain": gain, "gain with two free cores": free}
    return {
        **found,
        "s waited for a core / s": busy - 1,
        "holds": free >= SPEEDUP and (gain >= SPEEDUP or busy > QUIET),
    }


def busiest_thread(run: Callable[[], Any]) -> float:
    """Return the processor seconds of the machine in the thread that has most of them."""
    spent: dict[int, float] = defaultdict(float)

    def timed(*arguments: Any) -> None:
        start = time.thread_time()
        machine.run(*arguments)
        spent[threading.get_ident()] += time.thread_time() - start

    with patch.object(compiled_run, "run", timed):
        run()
    return max(spent.values())


def run(rounds: int = 5, **_: Any) -> dict[str, Any]:
    """Measure rates, then every engine in the four cases, in interleaved rounds."""
    tasks, work = rate_tasks()
    lines, measured, others, threads = [], [], [], []
    for case in problems.CASES:
        data = Data(case)
        seconds = best_of({**engines(data), **tasks}, rounds)
        rate = rates(seconds, work)
        measured.append({"case": case.name, **rate})
        rows = case.replicates * case.n
        spent = {name: 1e9 * value / rows for name, value in seconds.items() if name not in work}
        lines.append(em_line(case, data, spent, floor_of(case.d, case.k, rate)))
        if fused.available():
            others.append(other_line(case, data, rounds))
            threads += [thread_line(data, rounds)] if case.name == "i" else []
    table("one EM pass, CPU ns per row and share of the counted floor", lines)
    table("value with gradient, and Newton's pass, CPU ns per row", others)
    table("case i on two threads", threads)
    table("rates in the same rounds, operations per ns, one thread", measured)
    return {"rates": measured, "cases": lines, "passes": others, "threads": threads}
