"""CPU seconds of whole fits at 100 000 rows."""

from __future__ import annotations

from typing import Any

from benchmarks import problems
from benchmarks.timing import cpu_seconds, table
from gatewise.fit import maximum_likelihood
from gatewise.objective.rows import make_rows

BEST = -50596.77445  # maximum log-likelihood of sg_d1_k2, n = 100 000
GAP, SECONDS = 0.01, 2.0


def single_start(**_: Any) -> dict[str, Any]:
    """Fit sg_d1_k2 at n = 100 000 from one start and from the default ones, seeds 0 to 4."""
    x, y = problems.synthetic(1, 2, 100_000)
    mixture = problems.softmax_mixture(2)
    lines = []
    for seed in range(5):
        line: dict[str, Any] = {"seed": seed}
        for name, options in (("one start", {"starts": 1}), ("default", {})):
            begin = cpu_seconds()
            fit = maximum_likelihood(mixture, make_rows(x, y[:, None]), seed=seed, **options)
            line[f"{name} CPU s"] = cpu_seconds() - begin
            line[f"{name} gap"] = BEST - fit.log_likelihood
            line[f"{name} status"] = str(fit.status)
        line["holds"] = line["one start gap"] < GAP and line["one start CPU s"] < SECONDS
        lines.append(line)
    table(f"sg_d1_k2, n = 100 000: gap to {BEST} (below {GAP}) and CPU seconds (one start: below {SECONDS})", lines)
    return {"best": BEST, "fits": lines}
