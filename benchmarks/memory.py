"""Out of core: ten million rows from a memory map, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

SIZES = (1_000_000, 3_000_000, 10_000_000)
D, K = 5, 5
LIMIT = 150.0  # MB of anonymous memory above the imports


def anonymous() -> float:
    """Return the anonymous resident memory of this process in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1000
    return float("nan")


class Watch:
    """Keeps the highest anonymous memory seen by a thread that looks every 5 ms."""

    def __init__(self) -> None:
        self.peak, self._done = anonymous(), threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._done.wait(0.005):
            self.peak = max(self.peak, anonymous())

    def stop(self) -> float:
        self._done.set()
        self._thread.join()
        return max(self.peak, anonymous())


def write(path: Path, n: int) -> None:
    """Write n rows of x and y to a .npy file, block by block."""
    from benchmarks import problems

    rng = np.random.default_rng(0)
    truth = problems.draw_truth(rng, D, K)
    out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float64, shape=(n, D + 1))
    for start in range(0, n, 500_000):
        x, y = problems.draw_rows(rng, truth, (min(500_000, n - start),))
        out[start : start + len(x), :D], out[start : start + len(x), D] = x, y
    out.flush()


def child(path: str, n: int, seconds: float) -> dict[str, Any]:
    """Time a pass and fit for a few passes on the first n rows; run in a fresh process."""
    import torch

    from benchmarks import problems
    from gatewise.fit import maximum_likelihood
    from gatewise.objective import likelihood
    from gatewise.objective.accumulate import accumulate
    from gatewise.objective.rows import make_rows

    torch.set_num_threads(1)
    base = anonymous()  # the imports, before any data or pass
    data = np.load(path, mmap_mode="r")[:n]
    rows = make_rows(data[:, :D], data[:, D:], hold=False)
    mixture = problems.softmax_mixture(K)
    width = len(problems.parameterization_of(mixture, D).local)
    rng = np.random.default_rng(0)
    start = problems.scattered(rng, problems.draw_truth(rng, D, K), 1)
    measure = problems.measure_of(start)
    accumulate(
        likelihood.expected_complete_hessian, mixture, measure, rows.take(torch.arange(10_000)), width
    )  # first calls
    watch = Watch()
    begin = time.process_time()
    accumulate(likelihood.expected_complete_hessian, mixture, measure, rows, width)
    one = time.process_time() - begin
    in_pass = watch.stop() - base
    watch = Watch()
    fit = maximum_likelihood(mixture, rows, starts=4, max_time=seconds)
    in_fit = watch.stop() - base
    return {
        "n": n,
        "CPU s per pass": one,
        "ns per row": 1e9 * one / n,
        "MB in a pass": in_pass,
        "MB in the fit": in_fit,
        "fit status": str(fit.status),
        "log-likelihood per row": fit.log_likelihood / n,
        "holds": in_fit <= LIMIT,
    }


def run(**_: Any) -> dict[str, Any]:
    """Write the data to a temporary folder, run each size in a fresh process, delete the data."""
    from benchmarks.timing import table

    lines = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npy"
        write(path, max(SIZES))
        for n in SIZES:
            command = [sys.executable, "-m", "benchmarks.memory", str(path), str(n), str(30.0)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"the process for {n} rows failed: {done.stderr[-2000:]}")
            lines.append(json.loads(done.stdout.splitlines()[-1]))
    table(f"d = {D}, k = {K} from a memory map: anonymous memory above the imports (at most {LIMIT:.0f} MB)", lines)
    slowest = max(line["ns per row"] for line in lines) / min(line["ns per row"] for line in lines)
    print(f"time per row, slowest over fastest size: {slowest:.2f}")
    return {"limit MB": LIMIT, "sizes": lines, "spread of time per row": slowest}


if __name__ == "__main__":
    print(json.dumps(child(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))))
