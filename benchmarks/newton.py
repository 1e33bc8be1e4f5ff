"""What a Newton pass costs in EM passes, and what automatic differentiation would make of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from benchmarks import problems
from benchmarks.timing import best_of, table
from gatewise.core.mixture import log_density
from gatewise.fit.problem import Problem, evaluate
from gatewise.objective import likelihood
from gatewise.objective.accumulate import accumulate

SHAPES = ((3, 1, 10_000), (3, 1, 100_000), (5, 5, 10_000), (5, 5, 100_000))
LIMIT = 8.0
AUTOGRAD_ROWS = 10_000  # its graph holds all rows of a block


def run(rounds: int = 5, **_: Any) -> dict[str, Any]:
    """Time order 1, order 2 and the EM pass on the same rows, in interleaved rounds."""
    lines = []
    for k, d, n in SHAPES:
        rng = np.random.default_rng(0)
        truth = problems.draw_truth(rng, d, k)
        x, y = problems.draw_rows(rng, truth, (1, n))
        rows = problems.replicated_rows(x, y)
        mixture = problems.softmax_mixture(k)
        parameterization = problems.parameterization_of(mixture, d)
        free = problems.free_of(parameterization, problems.scattered(rng, truth, 1))
        problem = Problem(parameterization, rows)
        few = rows.read(0, min(n, AUTOGRAD_ROWS))
        width = len(parameterization.local)

        def automatic(parameterization=parameterization, few=few, free=free) -> torch.Tensor:
            def value(z: torch.Tensor) -> torch.Tensor:
                return log_density(
                    parameterization.mixture, parameterization.measure(z), few.x, few.gate_x, few.y
                ).sum()

            return torch.autograd.functional.hessian(value, free[0])

        def em(parameterization=parameterization, rows=rows, free=free, width=width) -> Any:
            return accumulate(
                likelihood.expected_complete_hessian,
                parameterization.mixture,
                parameterization.measure(free),
                rows,
                width,
            )

        tasks = {
            "gradient": lambda problem=problem, free=free: evaluate(problem, free, 1),
            "newton": lambda problem=problem, free=free: evaluate(problem, free, 2),
            "em": em,
            "autograd": automatic,
        }
        seconds = best_of(tasks, rounds)
        per_row = {name: 1e9 * spent / n for name, spent in seconds.items()}
        per_row["autograd"] *= n / few.x.shape[-1]
        lines.append(
            {
                "k, d, n": f"{k}, {d}, {n}",
                "parameters": parameterization.size,
                "em ns": per_row["em"],
                "gradient ns": per_row["gradient"],
                "newton ns": per_row["newton"],
                "autograd ns": per_row["autograd"],
                "newton / em": per_row["newton"] / per_row["em"],
                "autograd / em": per_row["autograd"] / per_row["em"],
                "holds": per_row["newton"] <= LIMIT * per_row["em"],
            }
        )
    table(f"a Newton pass in EM passes (at most {LIMIT:.0f}), CPU ns per row", lines)
    return {"limit": LIMIT, "shapes": lines}
