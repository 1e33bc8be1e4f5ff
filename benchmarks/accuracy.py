"""Are the fits what they claim to be: the best optimum found, or a status that says otherwise?"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import problems
from benchmarks.timing import cpu_seconds, table
from gatewise.core.rows import make_rows
from gatewise.fit import maximum_likelihood
from gatewise.fit.status import Status

RELATIVE = 1e-8


def over_specified(sets: int = 100, **_: Any) -> dict[str, Any]:
    """Fit three experts to data of two (design A, n = 10 000) and compare with the best of 60 starts."""
    mixture = problems.softmax_mixture(3)
    reached, honest, silent, gaps, seconds = 0, 0, [], [], 0.0
    statuses: dict[str, int] = {}
    for number in range(sets):
        x, y = problems.design_a(np.random.default_rng([14, number]), 10_000)
        rows = make_rows(x, y[:, None])
        begin = cpu_seconds()
        fit = maximum_likelihood(mixture, rows, seed=number)
        seconds += cpu_seconds() - begin
        wide = maximum_likelihood(mixture, rows, starts=60, seed=1000 + number)
        sound = [f.log_likelihood for f in (fit, wide) if f.status is not Status.unsound]
        best = max(sound, default=float("nan"))
        gap = (best - fit.log_likelihood) / abs(best)
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
        "others with another status": honest,
        "others called converged": len(silent),
        "largest gap": max(gaps),
        "CPU s per fit": seconds / sets,
    }
    table("two experts fitted with three, n = 10 000: against the best sound of 60 starts", [line])
    print(f"statuses {statuses}; converged elsewhere: {silent}")
    return {**line, "statuses": statuses, "converged elsewhere": silent, "relative gaps": gaps}


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
