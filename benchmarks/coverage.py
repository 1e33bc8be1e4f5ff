"""Do 95 % intervals hold the truth in 95 % of data sets?"""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import torch

from benchmarks import problems
from benchmarks.timing import cpu_seconds, table
from gatewise.core.mixture import Measure
from gatewise.fit import maximum_likelihood
from gatewise.fit.result import Fit
from gatewise.infer.covariance.information import information
from gatewise.infer.delta import delta
from gatewise.objective.rows import make_rows

ROWS = 1000
STARTS = 5
TRUTH = {  # design A, the second expert as reference of the gate
    "gate slope": 1.5,
    "gate bias": 0.3,
    "slope 0": 1.5,
    "slope 1": -1.0,
    "intercept 0": 1.0,
    "intercept 1": -1.0,
    "log scale 0": np.log(0.5),
    "log scale 1": np.log(0.7),
}
KINDS = ("observed", "sandwich")


def quantities(measure: Measure, order: tuple[int, ...]) -> torch.Tensor:
    """Return the parameters in the order of TRUTH, the fitted experts taken in `order`, its last one the reference."""
    first, last = order
    gate, experts = measure.gates[0], measure.experts
    parts = [gate["weight"][first, 0] - gate["weight"][last, 0], gate["bias"][first] - gate["bias"][last]]
    parts += [experts["coef"][i, 0, 0] for i in order] + [experts["intercept"][i, 0] for i in order]
    parts += [measure.family["scale"][i, 0].log() for i in order]
    return torch.stack(parts)


def nearest(fit: Fit) -> tuple[int, ...]:
    """Return the order of the fitted experts in which their lines are closest to the true ones."""
    truth = torch.tensor([TRUTH[f"{name} {i}"] for name in ("slope", "intercept") for i in (0, 1)])
    orders = permutations(range(2))
    return min(orders, key=lambda order: float((quantities(fit.measure, order)[2:6] - truth).abs().sum()))


def run(sets: int = 1000, **_: Any) -> dict[str, Any]:
    """Fit design A (n = 1000) with its own two experts; a set without errors counts as a miss of every interval."""
    mixture, truth = problems.softmax_mixture(2), torch.tensor(list(TRUTH.values()), dtype=torch.float64)
    hits = {kind: np.zeros(len(TRUTH)) for kind in KINDS}
    errors = {kind: [] for kind in KINDS}
    estimates, refused, statuses, begin = [], 0, {}, cpu_seconds()
    for number in range(sets):
        x, y = problems.design_a(np.random.default_rng([95, number]), ROWS)
        rows = make_rows(x, y[:, None])
        fit = maximum_likelihood(mixture, rows, starts=STARTS, seed=number)
        statuses[str(fit.status)] = statuses.get(str(fit.status), 0) + 1
        order = nearest(fit)
        for kind in KINDS:
            found = information(fit, rows, kind)
            if found.refused:
                refused += kind == KINDS[0]
                continue
            derived = delta(found, lambda measure, order=order: quantities(measure, order))
            hits[kind] += ((derived.lower <= truth) & (truth <= derived.upper)).numpy()
            errors[kind].append(derived.error.numpy())
        estimates.append(quantities(fit.measure, order).numpy())
    spent = cpu_seconds() - begin
    spread = np.std(estimates, axis=0, ddof=1)
    lines = []
    for i, name in enumerate(TRUTH):
        line = {"parameter": name, "sd of estimates": spread[i]}
        for kind in KINDS:
            line |= {f"{kind} %": 100 * hits[kind][i] / sets, f"{kind} error": np.mean([e[i] for e in errors[kind]])}
        lines.append(line)
    noise = 100 * np.sqrt(0.95 * 0.05 / sets)
    table(f"coverage of 95 % Wald intervals, design A, n = {ROWS}, {sets} sets, {STARTS} starts each", lines)
    print(f"statuses {statuses}; sets without errors {refused}; simulation error {noise:.2f} %; {spent:.0f} CPU s")
    return {"sets": sets, "rows": ROWS, "lines": lines, "statuses": statuses, "refused": refused, "CPU s": spent}
