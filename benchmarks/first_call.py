"""What the compiler costs a fresh process, without and with its cache, and from which size on a fit repays it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from typing import Any

from benchmarks.timing import table
from gatewise.objective import compiled

SECONDS = 4.0  # of the processor, for the first fit without a cache, at most
GATES = (("softmax", "linear"), ("laplace", "linear"), ("dense-to-sparse", "tanh-unit"))
PARAMETERS = 3 * 3 + 3 * 4  # of three gates and three experts with two features, as `compiled.pays` counts them
SIZES = (50, 150, 500, 1000, 2000, 5000)
FIRST = """
import json, sys, time
import torch
from gatewise.core.experts import EXPERTS
from gatewise.core.gates import GATES
from gatewise.core.mixture import Mixture
from gatewise.objective import compiled
from gatewise.objective.rows import make_rows
from gatewise.testing.problems import draw_measure, generator

torch.set_num_threads(1)
gate, expert = sys.argv[1:]
mixture = Mixture((GATES[gate],), (3,), expert=EXPERTS[expert])
measure = draw_measure(mixture, 2, 2, 1, generator(0)).map(lambda part: part.unsqueeze(0))
draws = torch.randn(1000, 3, generator=generator(1), dtype=torch.float64)
rows = make_rows(draws[:, :2], draws[:, 2:])
begin = time.process_time(), time.perf_counter()
for statistic in compiled.OF_LIKELIHOOD:
    assert compiled.accumulate(statistic, mixture, measure, rows) is not None
print(json.dumps([time.process_time() - begin[0], time.perf_counter() - begin[1]]))
"""
FIT = """
import json, sys, time, warnings
import numpy as np
import torch
from gatewise import MixtureOfExpertsRegressor
from gatewise.objective import compiled

torch.set_num_threads(1)
warnings.simplefilter("ignore")
size, pays = int(sys.argv[1]), sys.argv[2] == "compiled"
compiled.pays = lambda measure, rows: pays


def fit(n):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 2))
    which = (X @ [[2, -1, 0], [0, 2, -1]] + rng.gumbel(size=(n, 3))).argmax(1)
    y = (X @ [[2, -1, 0], [1, 1, -3]] + [1, -1, 0])[np.arange(n), which] + rng.normal(size=n)
    begin = time.process_time()
    MixtureOfExpertsRegressor(n_experts=3, random_state=0).fit(X, y)
    return time.process_time() - begin


first = fit(40)  # loads what any first fit loads, and the compiled sums
print(json.dumps([first, fit(size)]))
"""


def measured(code: str, folder: str, *arguments: str) -> list[float]:
    """Return what a program prints in a process of its own, whose compiler keeps its results in a folder."""
    paths = os.pathsep.join([os.getcwd(), *sys.path])
    environment = {**os.environ, "NUMBA_CACHE_DIR": folder, "PYTHONPATH": paths}
    command = [sys.executable, "-c", code, *arguments]
    return json.loads(subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout)


def first_line(gate: str, expert: str) -> dict[str, Any]:
    """Return seconds of the first sums of a likelihood and its derivatives, without and with the cache."""
    with tempfile.TemporaryDirectory() as folder:
        (cold, cold_wall), (warm, warm_wall) = (measured(FIRST, folder, gate, expert) for _ in range(2))
    line = {"gate": gate, "expert": expert, "cold, CPU s": cold, "cold, wall s": cold_wall}
    return line | {"warm, CPU s": warm, "warm, wall s": warm_wall, "holds": cold < SECONDS}


def fit_line(size: int, folder: str, warm: float) -> dict[str, Any]:
    """Return CPU seconds of a default fit by either engine, and whether the compiled sums repay their loading."""
    seconds = {engine: measured(FIT, folder, str(size), engine)[1] for engine in ("reference", "compiled")}
    line = {
        "n": size,
        "rows x parameters": PARAMETERS * size,
        **{f"{name}, CPU s": value for name, value in seconds.items()},
    }
    return line | {
        "repaid": seconds["reference"] - seconds["compiled"] > warm,
        "chosen": PARAMETERS * size >= compiled.LEAST,
    }


def run(**_: Any) -> dict[str, Any]:
    """Measure first calls in fresh processes, and default fits with three experts and two features."""
    first = [first_line(gate, expert) for gate, expert in GATES]
    table(
        "the first likelihood, gradient, EM pass and Hessian in a fresh process: cold without, warm with a cache", first
    )
    with tempfile.TemporaryDirectory() as folder:
        measured(FIT, folder, "40", "compiled")
        fits = [fit_line(size, folder, first[0]["warm, CPU s"]) for size in SIZES]
    table("MixtureOfExpertsRegressor(n_experts=3).fit with two features, everything loaded", fits)
    return {"first": first, "fits": fits}
