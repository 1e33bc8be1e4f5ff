"""Thousands of certified fits: replicates x starts in blocks, blocks over processes."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from benchmarks import problems
from benchmarks.timing import table
from gatewise.fit.many import Plan, fit_block, many_fits
from gatewise.objective.rows import Rows, make_rows
from gatewise.theory import STUDIES
from gatewise.theory.records import draw, plan_of

WORKERS = min(2, os.cpu_count() or 1)
ARMS = {  # of studies with one expert too many, and about how many rows: starts are searched on 2000 of them
    ("softmax-over", "one too many"): 16_000,
    ("laplace-over", "laplace, d=3"): 16_000,
    ("laplace-over", "softmax, d=3"): 16_000,
    ("normalised-sigmoid", "dense, ax + b, d=3"): 11_700,
    ("temperature-rates", "gelu, over"): 26_700,
}
ENDS = (2, 4, 8, 16)
SIZES, REPEATS = 200, 40  # of the published study with three experts fitted to two


def small(replicate: int) -> Rows:
    """Draw n = 1000 rows of three experts, one covariate."""
    truth = problems.draw_truth(np.random.default_rng(0), 1, 3)
    x, y = problems.draw_rows(np.random.default_rng([7, replicate]), truth, (1000,))
    return make_rows(x, y[:, None])


def published(replicate: int) -> Rows:
    """Draw from the two experts of 2305.03288: fixed inputs on [0, 1], n = 10 000 .. 100 000."""
    n = int(np.linspace(1e4, 1e5, SIZES)[replicate % SIZES])
    rng = np.random.default_rng([11, replicate])
    x = np.linspace(0.0, 1.0, n)
    first = rng.random(n) < 1.0 / (1.0 + np.exp(8.0 - 25.0 * x))
    mean = np.where(first, 15.0 - 20.0 * x, -5.0 + 20.0 * x)
    return make_rows(x[:, None], (mean + np.where(first, 0.3, 0.4) * rng.normal(size=n))[:, None])


def measured(name: str, plan: Plan, draw: Callable[[int], Rows], replicates: Sequence[int]) -> dict[str, Any]:
    """Fit and return wall seconds and statuses."""
    begin = time.perf_counter()
    fits = [fit for _, fit in many_fits(plan, draw, replicates, workers=WORKERS)]
    seconds = time.perf_counter() - begin
    statuses = Counter(str(fit.status) for fit in fits)
    line = {
        "fits": len(fits),
        "n": f"{min(f.n for f in fits):.0f} .. {max(f.n for f in fits):.0f}",
        "wall s": seconds,
        "ms per fit": 1e3 * seconds / len(fits),
        "certified %": 100 * sum(f.certificate.passed for f in fits) / len(fits),
        "converged %": 100 * statuses["converged"] / len(fits),
        "statuses": ", ".join(f"{k} {v}" for k, v in sorted(statuses.items())),
    }
    table(f"{name}, {WORKERS} processes", [line])
    return line


def replicates(**_: Any) -> dict[str, Any]:
    """Fit 2000 data sets of 1000 rows, three experts, five starts each."""
    plan = Plan(problems.softmax_mixture(3))
    return measured("2000 data sets of 1000 rows, three experts, five starts", plan, small, range(2000))


def over_fitted(sets: int = 100, **_: Any) -> dict[str, Any]:
    """Fit three experts to two as the published study does: `sets` of its 8000 fits, spread over all sizes."""
    total = SIZES * REPEATS
    chosen = np.linspace(0, total - 1, min(sets, total)).astype(int).tolist()
    plan = Plan(problems.softmax_mixture(3))
    line = measured("three experts fitted to two (2305.03288), five subsampled starts", plan, published, chosen)
    return line | {"seconds for all": line["wall s"] * total / len(chosen)}


def ends(sets: int = 100, **_: Any) -> dict[str, Any]:
    """Compare fits that polish few different ends of a search on all rows with those that polish sixteen."""
    lines = []
    for (name, arm_name), size in ARMS.items():
        study = STUDIES[name]
        arm = study.arm(arm_name)
        level = min(arm.levels(), key=lambda one: abs(one.n - size))
        found, seconds = {}, {}
        for count in ENDS:
            plan = plan_of(study, arm, level)._replace(kept=count)
            begin = time.process_time()
            fits = fit_block(plan, partial(draw, study, arm, level), range(min(sets, 12)))
            found[count], seconds[count] = np.array([fit.log_likelihood for fit in fits]), time.process_time() - begin
        most = max(ENDS)
        for count in ENDS[:-1]:
            gain = found[most] - found[count]
            lines.append(
                {
                    "study": name,
                    "arm": arm_name,
                    "n": level.n,
                    "ends": count,
                    "fits": len(gain),
                    f"{most} ends are higher": int((gain > 1e-4).sum()),
                    "lower": int((gain < -1e-4).sum()),
                    "largest gain, nats": float(gain.max()),
                    f"CPU of {most} ends, ratio": seconds[most] / seconds[count],
                }
            )
    table("ends that are polished on all rows: few of them against sixteen", lines)
    short = [line for line in lines if line["ends"] == ENDS[0]]
    return {"lines": lines, "share": sum(x[f"{most} ends are higher"] for x in short) / sum(x["fits"] for x in short)}
