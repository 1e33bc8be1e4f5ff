"""Parquet files out of core: ten million rows fitted with the default starts, in a process of its own.

Ten million rows of five inputs come from a file with row groups of 1e6 rows; the time of one pass is compared with that
over the same rows in a memory-mapped .npy file.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import warnings
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.memory import Watch, anonymous, write

ROWS = 10_000_000
D, K = 5, 5
GROUP = 1_000_000  # rows of a row group
LIMIT, SECONDS = 200.0, 600.0  # MB of anonymous memory above the imports; wall time of the fit


def convert(array: Path, table: Path) -> None:
    """Write the rows of a .npy file to a Parquet file, one row group after another."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = [*(f"x{i}" for i in range(D)), "y"]
    data = np.load(array, mmap_mode="r")
    with pq.ParquetWriter(table, pa.schema([(name, pa.float64()) for name in names])) as writer:
        for start in range(0, len(data), GROUP):
            part = np.array(data[start : start + GROUP])
            writer.write_table(pa.table(dict(zip(names, part.T, strict=True))), row_group_size=GROUP)


def passes(array: str, table: str, rounds: int = 2) -> dict[str, Any]:
    """Return CPU seconds of one pass of sums over the rows, and of reading alone, for both files."""
    import torch

    from benchmarks import problems
    from benchmarks.timing import best_of
    from gatewise.data import ParquetTable
    from gatewise.data.parquet import opened
    from gatewise.data.stream import Stream, StreamPart
    from gatewise.objective import likelihood
    from gatewise.objective.accumulate import accumulate
    from gatewise.objective.rows import Rows, make_rows

    torch.set_num_threads(1)
    data = np.load(array, mmap_mode="r")
    stream = Stream(opened(ParquetTable(table)), [*(f"x{i}" for i in range(D)), "y"], table)
    parts = StreamPart(stream, stream.names[:D]), StreamPart(stream, stream.names[D:])
    both = {"npy": make_rows(data[:, :D], data[:, D:], hold=False), "Parquet": make_rows(*parts, hold=False)}
    mixture = problems.softmax_mixture(K)
    width = len(problems.parameterization_of(mixture, D).local)
    rng = np.random.default_rng(0)
    measure = problems.measure_of(problems.scattered(rng, problems.draw_truth(rng, D, K), 1))

    def read(rows: Rows) -> None:
        for _ in rows.blocks(16384):
            pass

    def once(rows: Rows) -> float:
        return float(accumulate(likelihood.expected_complete_hessian, mixture, measure, rows, width)[0].sum())

    values = {name: once(rows) for name, rows in both.items()}  # not measured: the files come into the cache
    found: dict[str, Any] = {"same value": values["npy"] == values["Parquet"]}
    for kind, task in (("read", read), ("pass", once)):
        tasks = {f"s to {kind}, {name}": partial(task, rows) for name, rows in both.items()}
        found |= best_of(tasks, rounds)
        found[f"{kind}, Parquet / npy"] = found[f"s to {kind}, Parquet"] / found[f"s to {kind}, npy"]
    return found


def fit(table: str) -> dict[str, Any]:
    """Fit all rows with the default starts; run in a fresh process, whose imports are the baseline."""
    import torch

    from gatewise import MixtureOfExpertsRegressor

    torch.set_num_threads(1)
    for name in ("pyarrow.dataset", "pyarrow.parquet"):
        import_module(name)
    base = anonymous()
    watch, begin, cpu = Watch(), time.perf_counter(), time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = MixtureOfExpertsRegressor(n_experts=K, random_state=0).fit(table, "y")
    wall, cpu = time.perf_counter() - begin, time.process_time() - cpu
    memory = watch.stop() - base
    rows = model.fit_.n
    return {
        "n": rows,
        "threads": torch.get_num_threads(),
        "baseline MB": base,
        "MB above": memory,
        "wall s": wall,
        "CPU s": cpu,
        "status": str(model.status_),
        "log-likelihood per row": model.log_likelihood_ / rows,
        "holds": memory <= LIMIT and wall <= SECONDS,
    }


def _child(*arguments: Any) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.parquet", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the process failed: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def run(rows: int = ROWS, **_: Any) -> dict[str, Any]:
    """Write the data to a temporary folder, time passes, fit in a fresh process, delete the data."""
    from benchmarks.timing import table

    with tempfile.TemporaryDirectory() as folder:
        array, parquet = Path(folder) / "rows.npy", Path(folder) / "rows.parquet"
        write(array, rows)
        convert(array, parquet)
        sizes = {"MB of .npy": array.stat().st_size / 1e6, "MB of Parquet": parquet.stat().st_size / 1e6}
        timed = _child("passes", array, parquet)
        array.unlink()
        found = _child("fit", parquet)
    table(f"{rows} rows, d = {D}, k = {K}: one pass", [{**sizes, **timed}])
    table(f"full fit from Parquet (at most {LIMIT:.0f} MB above the imports, {SECONDS:.0f} s)", [found])
    return {"limit MB": LIMIT, "limit s": SECONDS, "passes": {**sizes, **timed}, "fit": found}


if __name__ == "__main__":
    print(json.dumps(passes(*sys.argv[2:]) if sys.argv[1] == "passes" else fit(*sys.argv[2:])))
