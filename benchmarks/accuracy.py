"""Are the fits what they claim to be: the best optimum found, or a status that says otherwise?"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import problems
from benchmarks.timing import cpu_seconds, table
from gatewise.core.mixture import Mixture
from gatewise.fit import maximum_likelihood
from gatewise.fit.clock import Clock
from gatewise.fit.maximum_likelihood import improve
from gatewise.fit.model import prepare
from gatewise.fit.problem import problem_of
from gatewise.fit.search.starts import draw_starts
from gatewise.fit.spec import FitSpec
from gatewise.fit.status import Status
from gatewise.objective.rows import Rows, make_rows

RELATIVE = 1e-8


def over_specified(sets: int = 100, **_: Any) -> dict[str, Any]:
    """Fit three experts to data of two (design A, n = 10 000) and compare with the best sound of 60 starts.

    The 60 starts run on all rows, each to its own optimum; experts are not moved afterwards as in a fit.
    """
    mixture = problems.softmax_mixture(3)
    reached, honest, above, silent, gaps, seconds = 0, 0, 0, [], [], 0.0
    statuses: dict[str, int] = {}
    for number in range(sets):
        x, y = problems.design_a(np.random.default_rng([14, number]), 10_000)
        rows = make_rows(x, y[:, None])
        begin = cpu_seconds()
        fit = maximum_likelihood(mixture, rows, seed=number)
        seconds += cpu_seconds() - begin
        best = best_of_starts(mixture, rows, 60, 1000 + number)
        gap = (best - fit.log_likelihood) / abs(best)
        above += gap < -RELATIVE and fit.status is not Status.unsound
        statuses[str(fit.status)] = statuses.get(str(fit.status), 0) + 1
        if gap <= RELATIVE and fit.status is not Status.unsound:
            reached += 1
        elif fit.status is not Status.converged:
            honest += 1
        else:
            silent.append(number)
        gaps.append(gap)
    line = {
        "sets": sets,
        "within 1e-8 %": 100 * reached / sets,
        "of these above it": above,
        "others with another status": honest,
        "others called converged": len(silent),
        "largest gap": max(gaps),
        "CPU s per fit": seconds / sets,
    }
    table("two experts fitted with three, n = 10 000: against the best sound of 60 starts", [line])
    print(f"statuses {statuses}; converged elsewhere: {silent}")
    return {**line, "statuses": statuses, "converged elsewhere": silent, "relative gaps": gaps}


def best_of_starts(mixture: Mixture, rows: Rows, count: int, seed: int) -> float:
    """Return the best log-likelihood of the sound optima that `count` starts end in."""
    model = prepare(mixture, rows, FitSpec())
    problem = problem_of(model, model.rows)
    free, _ = draw_starts(model.parameterization, model.rows, count, np.random.default_rng(seed))
    ends = improve(problem, free, Clock())
    return float(((model.jacobian - ends.value[ends.sound]) * problem.total).max())


def many_seeds(**_: Any) -> dict[str, Any]:
    """Fit sg_d5_k5 at n = 1000 with the default starts under 20 seeds."""
    x, y = problems.synthetic(5, 5, 1000)
    return _seeds("sg_d5_k5, n = 1000, default starts", x, y, 5, -1064.08977, 0.001, {})


def false_convergence(**_: Any) -> dict[str, Any]:
    """Fit sg_d1_k2 at n = 100 000 from a single start under 20 seeds."""
    x, y = problems.synthetic(1, 2, 100_000)
    return _seeds("sg_d1_k2, n = 100 000, one start", x, y, 2, -50596.77445, 1.0, {"starts": 1})


def _seeds(
    title: str, x: np.ndarray, y: np.ndarray, k: int, best: float, within: float, options: dict[str, Any]
) -> dict[str, Any]:
    gaps, hits, statuses, begin = [], [], [], cpu_seconds()
    for seed in range(20):
        fit = maximum_likelihood(problems.softmax_mixture(k), make_rows(x, y[:, None]), seed=seed, **options)
        gaps.append(best - fit.log_likelihood)
        hits.append(fit.starts.hits)
        statuses.append(str(fit.status))
    line = {
        f"within {within}": sum(gap <= within for gap in gaps),
        "of": len(gaps),
        "wrong but converged": sum(g > within and s == "converged" for g, s in zip(gaps, statuses, strict=True)),
        "largest gap": max(gaps),
        "fewest hits": min(hits),
        "CPU s per fit": (cpu_seconds() - begin) / len(gaps),
    }
    table(f"{title}: gap to {best}", [line])
    return {**line, "gaps": gaps, "hits": hits, "statuses": statuses}
