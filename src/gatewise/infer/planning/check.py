"""Are standard errors reached? Data sets of the number of rows that theory asks for, fitted from the truth."""

from __future__ import annotations

from functools import partial
from math import ceil

import torch
from torch import Tensor

from gatewise.fit.many import Plan, many_fits
from gatewise.infer.covariance.expected import Truth, data_set
from gatewise.infer.planning.value import SampleSize
from gatewise.objective.parameterization import specifications

WITHIN = 1.2  # of a wanted standard error, which a simulated one may be
ROUNDS = 5  # numbers of rows that are tried
MIDDLE = (0.15865, 0.84135)  # of a normal law, one standard deviation on both sides of its median


def checked(truth: Truth, out: SampleSize, places: Tensor, sets: int, seed: int) -> SampleSize:
    """Raise the rows of a plan until the simulated errors are within 20 % of those wanted.

    Fits begin at the truth, so that what a search may miss is not part of the errors. The middle of the estimates is
    judged, because a separated gate among many fits has no standard deviation.

    Parameters
    ----------
    truth : Truth
    out : SampleSize
        By the expected information.
    places : LongTensor (m,)
        Of its names among the numbers of the measure.
    sets : int
        Data sets of each number of rows.
    seed : int
    """
    rows = out.rows or 0
    for _ in range(ROUNDS):
        estimates = _estimates(truth, rows, sets, seed)[:, places]
        low, high = torch.quantile(estimates, torch.tensor(MIDDLE, dtype=torch.float64), 0)
        out = out._replace(rows=rows, simulated=0.5 * (high - low))
        worst = float((out.simulated / out.target).max())
        if worst <= WITHIN:
            return out
        rows = ceil(rows * min(worst, 2.0) ** 2)
    words = f"{sets} simulated data sets of {out.rows} rows had errors up to {worst:.3g} times those wanted"
    return out._replace(rows=None, refused=words)


def _estimates(truth: Truth, rows: int, sets: int, seed: int) -> Tensor:
    """Return the estimates (sets, F) of data sets, each fitted from the truth."""
    plan = Plan(
        truth.mixture,
        starts=lambda _: [truth.measure],
        method="ml" if truth.variance is None else "ls",
        spec=truth.spec,
        subsample=None,
    )
    found = [fit.measure.paths() for _, fit in many_fits(plan, partial(data_set, truth, rows, seed), range(sets))]
    paths = specifications(truth.mixture, truth.x.shape[1], truth.gates.shape[1], truth.mixture.outputs(truth.measure))
    return torch.stack([torch.cat([one[path].reshape(-1) for path in paths]) for one in found])
