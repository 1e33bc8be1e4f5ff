"""Rows on a Dask cluster: a fit from Parquet files with one worker process and with two, each on one thread.

Seconds, memory of a worker above one that rests, bytes of a pass. ``python -m benchmarks dask_rows --rows 1e8`` for
more rows than the ten million by default; it needs 50 bytes of disk for each.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.memory import Watch, anonymous

ROWS = 10_000_000
D, K = 5, 3
FILE = 5_000_000  # rows of a file
GROUP = 2**18  # rows of a row group
STARTS = 20
IDLE = 5.0  # seconds in which a worker that rests is watched
LIMIT, BYTES, GAIN = 400.0, 100_000, 1.7  # MB above a resting worker; bytes of a pass and worker; of two workers
WATCH: list[Watch] = []  # of a worker process


def write(folder: Path, rows: int) -> None:
    """Write rows of planes in regions that overlap to Parquet files."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    rng = np.random.default_rng(0)
    planes = rng.normal(size=(K, D))
    names = [*(f"x{i}" for i in range(D)), "y"]
    schema = pa.schema([(name, pa.float64()) for name in names])
    for number, first in enumerate(range(0, rows, FILE)):
        last = min(first + FILE, rows)
        with parquet.ParquetWriter(folder / f"{number:04d}.parquet", schema) as writer:
            for start in range(first, last, GROUP):
                n = min(GROUP, last - start)
                x = rng.normal(size=(n, D))
                odds = -1.5 * x[:, 0] - 0.3 * rng.logistic(size=n)
                owner = np.floor(K / (1 + np.exp(odds))).astype(int).clip(0, K - 1)
                y = 3.0 * owner + (planes[owner] * x).sum(1) + 0.5 * rng.normal(size=n)
                writer.write_table(pa.table(dict(zip(names, [*x.T, y], strict=True))), row_group_size=GROUP)


def rest() -> tuple[float, float]:
    """Import what a worker needs, compile what it runs, and watch its memory from now on; return MB and seconds."""
    import pyarrow.dataset
    import pyarrow.parquet  # noqa: F401

    from gatewise.estimators.cost import _first_fit

    _first_fit(D, K, "softmax")
    base = anonymous()
    WATCH.append(Watch())
    return base, time.process_time()


def spent() -> tuple[float, float]:
    """Return the highest memory since `rest` in MB, and the seconds of the processor so far."""
    return WATCH.pop().stop(), time.process_time()


def measure(folder: Path, workers: int, starts: int | str = STARTS) -> dict[str, Any]:
    """Fit the files with so many worker processes of one thread."""
    from distributed import Client, LocalCluster

    from gatewise import MixtureOfExpertsRegressor
    from gatewise.data import ParquetTable
    from gatewise.estimators.cluster import read_cluster
    from gatewise.estimators.inputs import Given
    from gatewise.estimators.options import mixture_of
    from gatewise.fit.maximum_likelihood import maximum_likelihood
    from gatewise.infer.covariance.information import information
    from gatewise.infer.predict import shares
    from gatewise.infer.proportions import proportions

    options = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": ":0", "memory_limit": 0}
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        before = client.run(rest)
        time.sleep(IDLE)
        rested = client.run(time.process_time)
        begin = time.perf_counter()
        model = MixtureOfExpertsRegressor(K, random_state=0)
        rows = read_cluster(model, Given(ParquetTable(folder, client=client), "y"), True).rows
        read = time.perf_counter() - begin
        fit = maximum_likelihood(mixture_of(model, rows, False), rows, starts=starts)
        proportions(information(fit, rows), rows)
        shares(fit.mixture, fit.measure, rows)
        wall = time.perf_counter() - begin
        after = client.run(spent)
        passes, out, back = rows.elsewhere.lanes.lanes.traffic
    idle = {worker: (rested[worker] - before[worker][1]) / IDLE for worker in after}  # heartbeats, and the watch
    spent_by = [after[worker][1] - rested[worker] - idle[worker] * wall for worker in after]
    memory = max(after[worker][0] - before[worker][0] for worker in after)
    return {
        "rows": rows.n,
        "workers": workers,
        "s": wall,
        "s to check": read,
        "CPU s of workers": sum(spent_by),
        "CPU s of the busiest": max(spent_by),
        "passes": passes,
        "bytes a pass and worker": (out + back) / workers / passes,
        "MB of a worker above rest": memory,
        "status": str(fit.status),
        "log-likelihood": fit.log_likelihood,
    }


def run(rows: float = ROWS, **_: Any) -> dict[str, Any]:
    from benchmarks.timing import table

    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), int(rows))
        found = [measure(Path(folder), workers) for workers in (1, 2)]
    one, two = found
    gain = one["s"] / two["s"]
    free = one["CPU s of the busiest"] / two["CPU s of the busiest"]  # where every worker has a core of its own
    table(f"{int(rows)} rows, d = {D}, k = {K}, from Parquet files", found)
    memory, sent = max(f["MB of a worker above rest"] for f in found), max(f["bytes a pass and worker"] for f in found)
    print(f"two workers / one: {gain:.2f} by the clock, {free:.2f} by the busiest processor (at least {GAIN})")
    print(f"{memory:.0f} MB (at most {LIMIT:.0f}); {sent:.0f} bytes a pass and worker (at most {BYTES})")
    same = abs(one["log-likelihood"] - two["log-likelihood"]) <= 1e-10 * abs(one["log-likelihood"])
    holds = gain >= GAIN and memory <= LIMIT and sent <= BYTES and same
    return {
        "fits": found,
        "gain of two workers": gain,
        "gain with free cores": free,
        "same log-likelihood": same,
        "holds": holds,
    }
