"""Do 95 % Wald intervals hold the truth in 95 % of data sets, for other families and for shared coefficients?

Every fit starts at the true values and ends at the optimum next to them, so that coverage is that of the intervals and
not of the search. The data are drawn by numpy, apart from the package.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.stats import beta

from benchmarks.timing import cpu_seconds, table
from gatewise.core.experts import EXPERTS
from gatewise.core.families import FAMILIES
from gatewise.core.gates import GATES
from gatewise.core.mixture import Measure, Mixture
from gatewise.fit.many import Plan, many_fits
from gatewise.fit.spec import FitSpec
from gatewise.infer.covariance.information import information
from gatewise.infer.intervals import wald
from gatewise.objective.rows import Rows, make_rows

LEVEL = 0.95
GATE = {"weight": [[1.0, -0.5, 0.0], [0.0, 0.0, 0.0]], "bias": [0.3, 0.0]}
COEF = np.array([[[0.6, 0.0, -0.3]], [[-0.4, 0.5, -0.3]]])  # experts, outputs, inputs
INTERCEPT = np.array([[1.8], [0.2]])


class Problem(NamedTuple):
    """A true mixture of two experts of three inputs, how its responses are drawn, and what its fits estimate."""

    family: str
    coef: np.ndarray
    intercept: np.ndarray
    own: dict[str, list[list[float]]]
    draw: Callable[[np.random.Generator, np.ndarray, np.ndarray], np.ndarray]  # from predictors (n, q) and leaves (n,)
    spec: FitSpec = FitSpec()
    rows_each: int = 1000

    def truth(self) -> Measure:
        """Return the true measure."""
        gate = {name: torch.tensor(value, dtype=torch.float64) for name, value in GATE.items()}
        experts = {"coef": torch.as_tensor(self.coef), "intercept": torch.as_tensor(self.intercept)}
        own = {name: torch.tensor(value, dtype=torch.float64) for name, value in self.own.items()}
        return Measure((gate,), experts, own)

    def rows(self, replicate: int) -> Rows:
        """Draw a data set."""
        rng = np.random.default_rng([96, replicate])
        x = rng.normal(size=(self.rows_each, 3))
        logit = x @ np.array(GATE["weight"][0]) + GATE["bias"][0]
        leaf = (rng.random(self.rows_each) > 1 / (1 + np.exp(-logit))).astype(int)
        eta = np.einsum("nqd,nd->nq", self.coef[leaf], x) + self.intercept[leaf]
        return make_rows(x, self.draw(rng, eta, leaf))


SHAPE, SIZE, SCALE = np.array([4.0, 2.0]), np.array([6.0, 3.0]), np.array([0.5, 0.7])


def gamma(rng: np.random.Generator, eta: np.ndarray, leaf: np.ndarray) -> np.ndarray:
    """Draw Gamma responses with the mean exp(eta)."""
    return rng.gamma(SHAPE[leaf, None], np.exp(eta) / SHAPE[leaf, None])


def negative_binomial(rng: np.random.Generator, eta: np.ndarray, leaf: np.ndarray) -> np.ndarray:
    """Draw counts as Poisson mixed by a Gamma."""
    return rng.poisson(rng.gamma(SIZE[leaf, None], np.exp(eta) / SIZE[leaf, None])).astype(float)


def gaussian(rng: np.random.Generator, eta: np.ndarray, leaf: np.ndarray) -> np.ndarray:
    """Draw normal responses."""
    return eta + SCALE[leaf, None] * rng.normal(size=eta.shape)


def categorical(rng: np.random.Generator, eta: np.ndarray, leaf: np.ndarray) -> np.ndarray:
    """Draw one of three classes, as columns of 0 and 1; the first is the reference."""
    odds = np.column_stack([np.zeros(len(eta)), eta])
    return np.eye(3)[(odds + rng.gumbel(size=odds.shape)).argmax(1)]


OF_CLASSES = np.array([[[2.5, 0.0, 1.0], [0.0, 1.5, -1.0]], [[-2.0, 1.0, 0.0], [0.5, -2.0, 1.0]]])
LEVELS = np.array([[1.0, -0.5], [-1.0, 0.5]])
TIED = FitSpec(ties=(("experts.coef[0,0,2]", "experts.coef[1,0,2]"),))
PROBLEMS = {
    "gamma": Problem("gamma", COEF, INTERCEPT, {"shape": SHAPE[:, None].tolist()}, gamma),
    "negative binomial": Problem(
        "negative-binomial", COEF, INTERCEPT, {"size": SIZE[:, None].tolist()}, negative_binomial, rows_each=2000
    ),
    "categorical": Problem("categorical", OF_CLASSES, LEVELS, {}, categorical, rows_each=16_000),
    "shared coefficient": Problem("gaussian", COEF, INTERCEPT, {"scale": SCALE[:, None].tolist()}, gaussian, TIED),
}


def covered(problem: Problem, sets: int) -> tuple[list[str], np.ndarray, Counter[str]]:
    """Return the parameters, how often the interval of each held the truth, and how the fits ended.

    A data set without standard errors counts as one that no interval holds.
    """
    truth = problem.truth()
    mixture = Mixture((GATES["softmax"],), (2,), EXPERTS["linear"], FAMILIES[problem.family])
    plan = Plan(mixture, lambda _: [truth], spec=problem.spec)
    flat = torch.cat([value.flatten() for value in truth.paths().values()])
    ended: Counter[str] = Counter()
    names: tuple[str, ...] = ()
    hits, estimated = torch.zeros(len(flat)), torch.zeros(len(flat), dtype=torch.bool)
    for replicate, fit in many_fits(plan, problem.rows, range(sets)):
        found = information(fit, problem.rows(replicate))
        ended[str(fit.status)] += 1
        if found.refused:
            ended["without errors"] += 1
            continue
        intervals = wald(found, LEVEL)  # of a point where the estimate is the limit of its range
        hits += (intervals.lower <= flat) & (flat <= intervals.upper)
        names, estimated = found.names, estimated | ~found.held
    kept = estimated.nonzero()[:, 0].tolist()
    return [names[i] for i in kept], hits[kept].numpy(), ended


def bounds(hits: int, sets: int, intervals: int) -> tuple[float, float]:
    """Return exact bounds of a chance that hold for several intervals at once (Clopper, Pearson, Bonferroni)."""
    tail = 0.05 / (2 * intervals)
    low = beta.ppf(tail, hits, sets - hits + 1) if hits else 0.0
    high = beta.ppf(1 - tail, hits + 1, sets - hits) if hits < sets else 1.0
    return float(low), float(high)


def run(sets: int = 500, **_: Any) -> dict[str, Any]:
    """Print the coverage of every parameter of the four problems."""
    begin, everything = cpu_seconds(), []
    for name, problem in PROBLEMS.items():
        names, hits, ended = covered(problem, sets)
        lines = []
        for parameter, count in zip(names, hits.astype(int).tolist(), strict=True):
            low, high = bounds(count, sets, len(names))
            lines.append(
                {"parameter": parameter, "coverage %": 100 * count / sets, "from %": 100 * low, "to %": 100 * high}
            )
        table(
            f"{name}: coverage of 95 % Wald intervals, n = {problem.rows_each}, {sets} sets, bounds for all of them",
            lines,
        )
        print(f"statuses {dict(ended)}")
        everything.append({"problem": name, "rows": problem.rows_each, "lines": lines, "statuses": dict(ended)})
    worst = [min(line["coverage %"] for one in everything for line in one["lines"])]
    worst.append(max(line["coverage %"] for one in everything for line in one["lines"]))
    spent = cpu_seconds() - begin
    print(f"\nfrom {worst[0]:.1f} to {worst[1]:.1f} % in {sets} data sets each; {spent:.0f} CPU s")
    return {"sets": sets, "problems": everything, "least": worst[0], "most": worst[1], "CPU s": spent}
