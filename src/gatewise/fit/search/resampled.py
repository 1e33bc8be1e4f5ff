"""Bootstrap samples of the rows, on which a search leaves local optima that depend on a few observations.

Such an optimum need not exist on another sample. (Perturbing the data to leave local optima: Elidan and others 2002,
AAAI-02.)
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from gatewise.fit.problem import Problem
from gatewise.objective.rows import stacked


def bootstrapped(problem: Problem, count: int, generator: np.random.Generator) -> Problem:
    """Return the problem on `count` bootstrap samples of its rows, one for each member of a batch.

    Units of several rows differ in size: there all members share one sample.
    """
    rows = problem.rows
    size = rows.n_units
    chance = None if rows.weight is None else (rows.weight / rows.weight.sum()).numpy()
    drawn = [generator.choice(size, size, p=chance) for _ in range(count if rows.ends is None else 1)]
    if rows.ends is not None:
        times = torch.from_numpy(np.bincount(drawn[0], minlength=size)).to(torch.float64)
        return replace(problem, rows=replace(rows, weight=times))
    plain = replace(rows, weight=None)
    return replace(problem, rows=stacked([plain.take(torch.from_numpy(np.sort(one))) for one in drawn]))
