"""Choice of a mixture: does BIC take the true number of experts, and does the bootstrap test hold its level?"""

from __future__ import annotations

import time
import warnings
from typing import Any

import joblib
import numpy as np

from benchmarks.timing import cpu_seconds, table
from gatewise import FitWarning, MixtureOfExpertsRegressor, bootstrap_test, select

PROCESSES = 2
LEVEL = 0.05
DRAWN = 19  # data sets of a test in the simulation of its level: 5 % are rejected if the ratio is the largest of 20
TRUE = ((1, 400), (2, 400), (3, 600))  # experts, rows


def well_separated(k: int, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw three inputs and a response of k lines that lie six standard deviations apart at the mean of the inputs."""
    rng = np.random.default_rng([61, k, seed])
    x = rng.normal(size=(n, 3))
    leaf = (rng.random((n, 1)) > np.cumsum(np.full(k, 1.0 / k))[:-1]).sum(1)
    slope = np.random.default_rng([62, k]).normal(size=(k, 3))
    return x, 3.0 * leaf + (slope[leaf] * x).sum(1) + 0.5 * rng.normal(size=n)


def model(k: int, **options: Any) -> MixtureOfExpertsRegressor:
    return MixtureOfExpertsRegressor(k, gate="constant", random_state=0, **options)


def chosen(k: int, n: int, seed: int) -> int:
    """Return the number of experts that BIC takes among one to two more than the true number."""
    return select(model(1), *well_separated(k, n, seed), n_experts=range(1, k + 3)).best_estimator_.n_experts


def p_value(seed: int) -> float:
    """Return the p-value of two experts against three, where two are true; NaN where the test refuses."""
    x, y = well_separated(2, 200, 1000 + seed)
    options = {"scale": "shared", "n_init": 10}
    try:
        found = bootstrap_test(model(2, **options), model(3, **options), x, y, n_boot=DRAWN, n_init=10)
    except ValueError:
        return float("nan")
    return found.p_value


def run(sets: int = 100, **_: Any) -> dict[str, Any]:
    """Print how often BIC takes the true number, how often a true null is rejected, and how long a test takes.

    The data sets are divided between the true numbers; twice as many tests are made.
    """
    warnings.simplefilter("ignore", FitWarning)
    begin, pool = cpu_seconds(), joblib.Parallel(n_jobs=PROCESSES)
    drawn = [(*TRUE[seed % len(TRUE)], seed) for seed in range(sets)]
    taken = pool(joblib.delayed(chosen)(*one) for one in drawn)
    lines = []
    for k, n in TRUE:
        found = [number for (true, _, _), number in zip(drawn, taken, strict=True) if true == k]
        lines.append({"true": k, "rows": n, "taken": found.count(k), "sets": len(found)})
    table("number of experts by BIC", lines)
    p = np.array(pool(joblib.delayed(p_value)(seed) for seed in range(2 * sets)))
    level = [{"sets": len(p), "rejected at 5 %": float((p <= LEVEL + 1e-12).mean()), "refused": int(np.isnan(p).sum())}]
    table("bootstrap test of two experts against three, two being true", level)
    x, y = well_separated(2, 500, 1)
    start = time.perf_counter()
    found = bootstrap_test(model(2), model(3), x, y, n_boot=99, n_jobs=PROCESSES)
    speed = [{"rows": 500, "drawn": 99, "processes": PROCESSES, "seconds": time.perf_counter() - start}]
    speed[0] |= {"p": found.p_value, "unsound": found.unsound}
    table("one test", speed)
    return {"bic": lines, "level": level, "time": speed, "cpu": cpu_seconds() - begin}
