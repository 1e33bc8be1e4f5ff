"""Do fits end on the best kink nearby? Two levels of Laplace gates at n=3000, where every row near a center is a cusp.

The reference of each data set is the best value of sixty starts of another seed and of the fit itself.
"""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np

from benchmarks.timing import table
from gatewise import MixtureOfExpertsRegressor

SETS = 10
ROWS = 3000
STARTS = 60
NOISE = (0.3, 0.6)
SAME = 1e-4  # nats


def drawn(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw inputs (n, 1) and responses (n,) from the model that is fitted, with gates of ``-|x - center|``."""
    rng = np.random.default_rng([18, number])
    x = rng.normal(size=(ROWS, 1))
    outer = np.array([-0.6, 0.6]) + rng.uniform(-0.3, 0.3, 2)
    inner = outer[:, None] + np.array([-1.0, 1.0]) * rng.uniform(0.2, 0.8, (2, 2))
    group = _chosen(rng, x, np.broadcast_to(outer, (ROWS, 2)))
    leaf = 2 * group + _chosen(rng, x, inner[group])
    slope, level = rng.normal(size=4), 1.5 * rng.permutation(np.arange(-1.5, 2.0))
    return x, slope[leaf] * x[:, 0] + level[leaf] + NOISE[number % 2] * rng.normal(size=ROWS)


def _chosen(rng: np.random.Generator, x: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """Return which of two branches, with centers (n, 2), draws each row."""
    return (-np.abs(x - centers) + rng.gumbel(size=centers.shape)).argmax(1)


def fitted(number: int, **options: Any) -> tuple[float, str, float]:
    """Return log-likelihood, status and processor seconds of a fit to one data set."""
    x, y = drawn(number)
    begin = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = MixtureOfExpertsRegressor((2, 2), gate="laplace", **{"random_state": 0, **options}).fit(x, y)
    return float(model.log_likelihood_), str(model.status_), time.process_time() - begin


def run(sets: int = SETS, **_: Any) -> dict[str, Any]:
    """Fit the data sets by default settings, and compare with the best optimum known."""
    lines = []
    for number in range(min(SETS, sets)):
        value, status, seconds = fitted(number)
        best, _, of_best = fitted(number, n_init=STARTS, random_state=77)
        known = max(value, best)
        lines.append(
            {
                "data set": number,
                "status": status,
                "log-likelihood": value,
                "below the best known": known - value,
                "reached": known - value <= SAME,
                "CPU s": seconds,
                "CPU s of sixty starts": of_best,
            }
        )
        print(lines[-1], flush=True)
    table("default fits of two levels of Laplace gates against the best known", lines)
    return {"fits": lines, "reached": sum(line["reached"] for line in lines)}
