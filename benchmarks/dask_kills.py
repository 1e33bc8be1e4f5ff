"""Fits on a cluster whose worker, and then whose scheduler, is killed in a pass drawn at random.

Each round: two workers, one of which is killed with SIGKILL in some pass: the fit has to end as in memory. Then the
scheduler is killed in another pass: one error in words, and a fit on a new cluster goes on from the checkpoint and ends
as in memory, after no pass that was made before. ``python -m benchmarks dask_kills --rounds 50``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd

N, D = 30_000, 3
FEATURES = [f"x{i}" for i in range(D)]


def frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, D))
    first = rng.random(N) < 1 / (1 + np.exp(-2 * x[:, 0]))
    y = np.where(first, 1 + x.sum(1), -1 - x[:, 1]) + 0.3 * rng.normal(size=N)
    return pd.DataFrame({**dict(zip(FEATURES, x.T, strict=True)), "y": y})


def start(*command: str) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = (sys.executable, "-m", "dask", *command)
    return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)


@contextmanager
def cluster(folder: Path) -> Iterator[tuple[Path, list[subprocess.Popen[bytes]]]]:
    """Yield the file of a scheduler, and the processes: two workers, then the scheduler."""
    file = folder / "scheduler.json"
    file.unlink(missing_ok=True)
    scheduler = start("scheduler", "--scheduler-file", str(file), "--port", "0", "--no-dashboard")
    options = ("--scheduler-file", str(file), "--nthreads", "1", "--no-nanny", "--no-dashboard")
    processes = [start("worker", *options, "--local-directory", str(folder)) for _ in range(2)] + [scheduler]
    try:
        yield file, processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def fit(data: Any, **given: Any) -> Any:
    from gatewise import MixtureOfExpertsRegressor

    return MixtureOfExpertsRegressor(2, n_init=3, random_state=0).fit(data, "y", **given)


@contextmanager
def counted(kill_at: int | None = None, process: subprocess.Popen[bytes] | None = None) -> Iterator[list[int]]:
    """Count passes while the block runs, and kill a process at the beginning of one."""
    from gatewise.runs.cluster import ClusterLanes

    passes, plain = [0], ClusterLanes._submitted

    def fold(self: Any, work: Callable[..., Any], join: Callable[..., Any]) -> Any:
        passes[0] += 1
        return folded(self, work, join)

    def submitted(self: Any, lane: Any, *rest: Any) -> Any:
        found = plain(self, lane, *rest)
        if process is not None and passes[0] == kill_at and process.poll() is None:
            process.kill()
        return found

    folded = ClusterLanes.fold
    with patch.object(ClusterLanes, "fold", fold), patch.object(ClusterLanes, "_submitted", submitted):
        yield passes


def same(one: Any, other: Any) -> bool:
    """Return whether two fits have one status, and parameters that agree to 1e-10."""
    pairs = zip(one.measure_.paths().values(), other.measure_.paths().values(), strict=True)
    close = all(np.allclose(left, right, rtol=1e-10, atol=1e-10) for left, right in pairs)
    return close and one.status_ == other.status_


def survived(folder: Path, near: Any, total: int, rng: np.random.Generator) -> dict[str, bool]:
    """Return what one round shows."""
    import dask.dataframe as dd
    from distributed import Client

    data, first, second = frame(), *(int(one) for one in rng.integers(2, total, 2))
    checkpoint, found = folder / "fit.journal", {}
    with cluster(folder) as (file, processes), Client(scheduler_file=str(file), timeout=120) as client:
        client.wait_for_workers(2, timeout=120)
        with counted(first, processes[0]):
            found["worker"] = same(near, fit(dd.from_pandas(data, npartitions=6)))
        found["worker killed"] = processes[0].poll() is not None
        with counted(second, processes[2]) as made:
            found["one clear error"] = False
            try:
                fit(dd.from_pandas(data, npartitions=6), checkpoint=checkpoint)
            except ConnectionError as cause:
                found["one clear error"] = "fit again" in str(cause)
    with cluster(folder) as (file, _), Client(scheduler_file=str(file), timeout=120) as client:
        client.wait_for_workers(1, timeout=120)
        with counted() as left:
            again = fit(dd.from_pandas(data, npartitions=6), checkpoint=checkpoint)
    found["resumed"] = same(near, again)
    found["nothing lost"] = made[0] - 1 + left[0] == total + 1  # the sums that data are known by are taken each time
    return found


def run(rounds: int = 5, **_: Any) -> dict[str, Any]:
    import dask.dataframe as dd
    from distributed import Client

    from benchmarks.timing import table

    warnings.simplefilter("ignore")
    near, rng = fit_in_memory(), np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Client(processes=False, dashboard_address=":0"), counted() as passes:
            fit(dd.from_pandas(frame(), npartitions=6), checkpoint=folder / "first.journal")
        lines = []
        for number in range(rounds):
            (folder / "fit.journal").unlink(missing_ok=True)
            lines.append({"round": number, **survived(folder, near, passes[0], rng)})
            print(lines[-1], flush=True)
    table(f"kills in passes drawn among {passes[0]}", lines)
    good = sum(all(value for name, value in line.items() if name != "round") for line in lines)
    print(f"{good} of {rounds} rounds")
    return {"rounds": lines, "good": good, "holds": good == rounds}


def fit_in_memory() -> Any:
    from gatewise import MixtureOfExpertsRegressor

    data = frame()
    return MixtureOfExpertsRegressor(2, n_init=3, random_state=0).fit(data[FEATURES], data["y"])
