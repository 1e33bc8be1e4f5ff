"""What a fit to many rows costs, predicted before it begins: constants measured here, and three formulas.

A fit searches its starts on a sample, which takes as long for any number of rows, and then makes passes over all rows.
``seconds = search + rows / threads (passes' arithmetic per row + passes (columns + 1) reading per number) + (passes +
samples) latency``; a worker holds one block of rows, or its share of them, and some square matrices of all parameters;
each pass sends the parameters to every worker and brings one set of sums back. A fit to simulated rows of the same
shape counts passes, samples, bytes and seconds.
"""

from __future__ import annotations

import pickle
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from gatewise.core.gates import gates
from gatewise.core.mixture import Mixture
from gatewise.fit.maximum_likelihood import maximum_likelihood
from gatewise.fit.memory import needed
from gatewise.infer.covariance.information import information
from gatewise.infer.predict import shares
from gatewise.infer.proportions import proportions
from gatewise.objective.compiled import ROWS
from gatewise.objective.elsewhere import Here, Pieces, rows_elsewhere, size_of
from gatewise.objective.rows import NUMBER, Rows, make_rows
from gatewise.runs.cluster import ClusterLanes
from gatewise.runs.journal import RememberingLanes
from gatewise.runs.threads import one_thread

T = TypeVar("T")
Work = Callable[[Any], T]
PILOT = 2**18  # simulated rows
WARM = 25_000  # of a first fit, which loads what the second needs
COPIES = 10  # of a block that a worker holds while it reads files: decoded, joined, turned, in working units
CHECKS = 2  # further readings of files: one that looks for what is no number, one for row counts
STEPS = 20  # passes that latency is measured by


class PilotLanes:
    """Lanes of this process that count passes, samples, seconds of the processor and bytes."""

    def __init__(self, pieces: tuple[Any, ...]) -> None:
        self.here = Here(pieces)
        self.passes, self.samples, self.seconds, self.out, self.back = 0, 0, 0.0, 0, 0

    def fold(self, work: Work[T], join: Callable[[T, T], T]) -> T:
        """Return what a work on every piece gives, joined."""
        begun = time.process_time()
        found = self.here.fold(work, join)
        self.seconds += time.process_time() - begun
        self.passes += 1
        self.out += len(pickle.dumps((work, join)))
        self.back += len(pickle.dumps(found))
        return found

    def each(self, works: Mapping[int, Work[T]]) -> list[T]:
        """Return what works on some pieces give."""
        self.samples += 1
        return self.here.each(works)


class CostConstants(NamedTuple):
    """What was measured on this machine.

    Attributes
    ----------
    search : float
        Seconds of the processor for what does not depend on the number of rows, loading of compiled sums included.
    passes, samples : int
        How often something is summed over all rows, and how often a sample of them is brought.
    per_row : float
        Seconds of the arithmetic of all passes, for a row.
    read : float
        Seconds to decode a number from a Parquet file and to put it in place.
    latency : float
        Seconds of a pass on a cluster besides its work.
    out, back : float
        Mean bytes of a pass to a worker, and from it.
    matrices : float
        Bytes of the derivatives of all parameters.
    """

    search: float
    passes: int
    samples: int
    per_row: float
    read: float
    latency: float
    out: float
    back: float
    matrices: float


class FitPlan(NamedTuple):
    """What a fit is expected to cost.

    Attributes
    ----------
    rows, features, experts, workers, threads : int
        Threads are those of every worker.
    constants : CostConstants
    seconds : float
        Of the clock, on processors like this one that do nothing else.
    processor : float
        Seconds of the processors of all workers.
    memory : float
        Bytes of a worker above a resting one, reading from files.
    held : float
        The same where workers keep their partitions of a frame in memory.
    traffic : float
        Bytes of a pass, to and from a worker.
    total_traffic : float
        Bytes of the whole fit, to and from all workers.
    """

    rows: int
    features: int
    experts: int
    workers: int
    threads: int
    constants: CostConstants
    seconds: float
    processor: float
    memory: float
    held: float
    traffic: float
    total_traffic: float


def plan_fit(
    rows: int,
    features: int,
    experts: int,
    workers: int,
    threads: int = 1,
    gate: str = "softmax",
    client: Any = None,
) -> FitPlan:
    """Measure constants on a worker and predict what a fit costs.

    Parameters
    ----------
    rows, features, experts, workers, threads : int
    gate : str
    client : distributed.Client, optional
        Of the cluster that is to fit. By default a worker process is started here.

    Raises
    ------
    ValueError
        For numbers below one.
    """
    numbers = {"rows": rows, "features": features, "experts": experts, "workers": workers, "threads": threads}
    for name, value in numbers.items():
        if value < 1:
            raise ValueError(f"{name}={value}: give a number from 1")
    where: Callable[[], Any] = _own_worker if client is None else partial(nullcontext, client)
    with where() as at:  # compiled sums are kept on the disk, for the next process too
        at.submit(_first_fit, features, experts, gate, pure=False).result()
    with where() as at:
        return predicted_cost(measured_at(at, features, experts, gate), rows, features, experts, workers, threads)


@contextmanager
def _own_worker() -> Iterator[Any]:
    """Start a worker process of one thread while the block runs."""
    from distributed import Client, LocalCluster

    options: dict[str, Any] = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": ":0"}
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        yield client


def measured_at(client: Any, features: int, experts: int, gate: str = "softmax") -> CostConstants:
    """Return the constants of a fit with so many features and experts, measured by a worker of a client."""
    found = client.submit(measured, features, experts, gate, pure=False).result()
    return found._replace(latency=_latency(client))


def predicted_cost(
    found: CostConstants, rows: int, features: int, experts: int, workers: int, threads: int = 1
) -> FitPlan:
    """Return what a fit costs, given constants."""
    columns, lanes = features + 1, workers * threads
    reading = (found.passes + CHECKS) * columns * found.read
    processor = rows * (found.per_row + reading)
    block = NUMBER * ROWS * columns * COPIES * threads + found.matrices
    traffic = found.out + found.back
    return FitPlan(
        rows,
        features,
        experts,
        workers,
        threads,
        found,
        found.search + processor / lanes + (found.passes + found.samples) * found.latency * max(1.0, lanes / 8),
        processor,
        block,
        block + NUMBER * columns * rows / workers,
        traffic,
        traffic * workers * found.passes,
    )


def measured(features: int, experts: int, gate: str = "softmax") -> CostConstants:
    """Return the constants of a fit with so many features and experts in this process, on one thread, no latency."""
    cold = _first_fit(features, experts, gate)
    loading = max(cold - _first_fit(features, experts, gate), 0.0)
    mixture = Mixture(gates(gate, 1), (experts,))
    with one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x, y = _simulated(PILOT, features, experts)
        begun = time.process_time()
        lanes = _pilot(mixture, x, y)
        spent = time.process_time() - begun
        read = _reading(np.column_stack([x, y]))
    small = make_rows(x[:1], y[:1])
    return CostConstants(
        spent - lanes.seconds + loading,
        lanes.passes,
        lanes.samples,
        lanes.seconds / PILOT,
        read,
        0.0,
        lanes.out / lanes.passes,
        lanes.back / lanes.passes,
        needed(mixture, small),
    )


def _first_fit(features: int, experts: int, gate: str) -> float:
    """Fit a few simulated rows; return the seconds of the processor. The first fit of a process loads compiled sums."""
    with one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        begun = time.process_time()
        _pilot(Mixture(gates(gate, 1), (experts,)), *_simulated(WARM, features, experts))
        return time.process_time() - begun


def _simulated(n: int, d: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw rows of planes that differ, in regions of the first feature that overlap."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, d))
    owner = np.floor(k / (1 + np.exp(-1.5 * x[:, 0] - 0.3 * rng.logistic(size=n)))).astype(int).clip(0, k - 1)
    planes = rng.normal(size=(k, d))
    y = 3.0 * owner + (planes[owner] * x).sum(1) + 0.5 * rng.normal(size=n)
    return x, y[:, None]


def _pilot(mixture: Mixture, x: np.ndarray, y: np.ndarray) -> PilotLanes:
    """Return the lanes of a fit and of what a facade asks after it."""
    lanes = PilotLanes((make_rows(x, y),))
    pieces = Pieces(RememberingLanes(lanes), tuple(map(size_of, lanes.here.pieces)), False, False)
    rows = rows_elsewhere(pieces, {"x": x.shape[1], "y": 1}, True)
    fit = maximum_likelihood(mixture, rows)
    proportions(information(fit, rows), rows)
    shares(fit.mixture, fit.measure, rows)
    return lanes


def _reading(values: np.ndarray) -> float:
    """Return the seconds that a number takes from a Parquet file, beyond those from memory."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as parquet
    except ModuleNotFoundError:
        return 0.0
    from gatewise.data.parquet import ParquetTable, opened
    from gatewise.data.stream import Stream, StreamPart

    names = [f"c{i}" for i in range(values.shape[1])]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.parquet"
        parquet.write_table(pa.table(dict(zip(names, values.T.copy(), strict=True))), path)
        stream = Stream(opened(ParquetTable(path)), names, "rows")
        parts = StreamPart(stream, names[:-1]), StreamPart(stream, names[-1:])
        streamed = min(_seconds_of(make_rows(*parts, hold=False)) for _ in range(3))
    held = min(_seconds_of(make_rows(values[:, :-1], values[:, -1:])) for _ in range(3))
    return max(streamed - held, 0.0) / values.size


def _seconds_of(rows: Rows) -> float:
    begun = time.process_time()
    for _ in rows.blocks(ROWS):
        pass
    return time.process_time() - begun


def _latency(client: Any) -> float:
    """Return the seconds of a pass that does nothing."""
    lanes = ClusterLanes(client, [client.submit(abs, -1, pure=False)], [1], True)
    lanes.fold(abs, max)
    begun = time.perf_counter()
    for _ in range(STEPS):
        lanes.fold(abs, max)
    return (time.perf_counter() - begun) / STEPS
