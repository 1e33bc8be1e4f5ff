"""Slopes of standard errors where the truth moves with n: contaminated mixtures, by the information and not by fits.

Estimates whose errors are small against the distance of both experts have the standard errors of the information at the
truth of each size, so that their slopes are known at sizes that nobody can run.
"""

from __future__ import annotations

from itertools import pairwise
from math import log
from typing import Any

import numpy as np

from benchmarks.timing import table
from gatewise.fit.spec import FitSpec
from gatewise.infer.covariance.expected import Truth, expected_information, simulate
from gatewise.infer.covariance.value import flat_errors
from gatewise.infer.delta import places_of
from gatewise.theory import STUDIES
from gatewise.theory.arms import Arm

POWERS = (3, 5, 7, 9, 11, 13, 15)  # of ten: from sizes that are run to those where the slopes are those of the limit
PARTS = ("gates.0.bias", "gates.0.weight", "experts.coef", "family.scale")


def run(rows: int = 400_000, **_: Any) -> dict[str, Any]:
    """Print the slopes of standard errors between neighbouring powers of ten, by arm and parameter."""
    arms = [arm for arm in STUDIES["contaminated"].arms if arm.name.startswith("approaching")]
    found = [row for arm in arms for row in _slopes(arm, rows)]
    table("slopes of standard errors at a truth that moves with n, by the information", found)
    return {"rows": found}


def _slopes(arm: Arm, rows: int) -> list[dict[str, Any]]:
    errors = [_errors(arm, 10**power, rows) for power in POWERS]
    return [
        {"arm": arm.name, "parameter": part}
        | {
            f"1e{first} to 1e{last}": log(two[part] / one[part]) / (last - first) / log(10)
            for (first, one), (last, two) in pairwise(zip(POWERS, errors, strict=True))
        }
        for part in PARTS
    ]


def _errors(arm: Arm, n: int, rows: int) -> dict[str, float]:
    """Return the root of the sum of squared standard errors of every part at n rows."""
    x = arm.data.inputs.draw(rows, np.random.default_rng(0))
    spec = FitSpec(bounds=dict(arm.model.box or {}), fixed=dict(arm.model.fixed or {}))
    truth = Truth(arm.data.mixture, arm.data.at(n), x, spec=spec)
    information = expected_information(truth, simulate(truth, rows, 0)).information
    if information.refused:
        raise ValueError(f"{arm.name} at n = {n:g}: {information.refused}")
    own = flat_errors(information)
    return {part: float(own[places_of(information, part)].nan_to_num().norm()) / n**0.5 for part in PARTS}
