"""Population exponents of over-filled atoms: two true experts, three fitted, one parameter held off the truth."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.timing import table
from gatewise.core.experts import EXPERTS
from gatewise.core.gates import GATES
from gatewise.core.mixture import Measure, Mixture
from gatewise.theory.population.exponent import Population, population_exponent
from gatewise.theory.population.rules import Ball, Cube, Region

HALVED = (0.2, 0.1, 0.05, 0.025, 0.0125)
FINE = (*HALVED, 0.00625, 0.003125)


class Truth(NamedTuple):
    """Two experts behind one gate, their inputs, and the box of the fitted measure."""

    gate: str
    measure: Measure
    inputs: Region
    reach: float
    step: float = 0.5
    expert: str = "linear"
    distance: str = "hellinger"


class Case(NamedTuple):
    """One parameter of the split atom and the exponent that theory says: a value and how far off it may be."""

    truth: str
    path: str
    claim: float
    tolerance: float
    eps: tuple[float, ...] = HALVED
    starts: int = 8


def _of(values: list[Any]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _measure(location: str, places: list[Any], coef: list[Any], scale: list[Any]) -> Measure:
    gate = {location: _of(places), "bias": _of([0.3, 0.0])}
    return Measure((gate,), {"coef": _of(coef), "intercept": _of([[1.0], [-1.0]])}, {"scale": _of(scale)})


LINES, SCALES = [[[1.5]], [[-1.0]]], [[0.5], [0.7]]
PLANE = _measure("center", [[0.0, 0.0], [0.8, 0.3]], [[[1.0, -0.5]], [[-1.0, 0.4]]], [[0.5], [0.5]])
SPACE = _measure(
    "center", [[0.0, 0.0, 0.0], [0.8, 0.3, -0.2]], [[[1.0, -0.5, 0.3]], [[-1.0, 0.4, 0.2]]], [[0.5], [0.5]]
)
TRUTHS = {
    "softmax d=1": Truth("softmax", _measure("weight", [[1.5], [0.0]], LINES, SCALES), Cube(-2.0, 2.0), 6.0),
    "softmax gelu": Truth(
        "softmax", _measure("weight", [[1.5], [0.0]], LINES, SCALES), Cube(-2.0, 2.0), 6.0, 0.5, "bare-gelu", "l2"
    ),
    "laplace d=1": Truth("laplace", _measure("center", [[-0.5], [0.8]], LINES, SCALES), Cube(-2.0, 2.0), 1.8),
    "laplace d=2": Truth("laplace", PLANE, Ball((0.0, 0.0), 1.5), 1.5, 0.7),
    "laplace d=3": Truth("laplace", SPACE, Ball((0.0, 0.0, 0.0), 1.5), 1.5, 0.7),
}
CASES = (
    Case("softmax d=1", "experts.intercept", 4.0, 0.4),
    Case("softmax d=1", "experts.coef", 2.0, 0.2),
    Case("softmax d=1", "gates.0.weight", 2.0, 0.2),
    Case("softmax d=1", "family.variance", 2.0, 0.2),
    Case("softmax gelu", "experts.intercept", 2.0, 0.2, HALVED[:4]),
    Case("softmax gelu", "experts.coef", 2.0, 0.2, HALVED[:4]),
    Case("laplace d=1", "experts.intercept", 4.0, 0.4),
    Case("laplace d=1", "experts.coef", 2.0, 0.2),
    Case("laplace d=1", "gates.0.center", 1.5, 0.15, FINE),
    Case("laplace d=1", "family.variance", 2.0, 0.2),
    Case("laplace d=2", "gates.0.center", 2.0, 0.3, HALVED[:4], 3),
    Case("laplace d=3", "gates.0.center", 2.0, 0.3, HALVED[:4], 3),
)


def measured(case: Case) -> Population:
    """Return the population exponent of a case."""
    truth = TRUTHS[case.truth]
    true, fitted = (Mixture((GATES[truth.gate],), (k,), EXPERTS[truth.expert]) for k in (2, 3))
    place = next(iter(truth.measure.gates[0]))
    box = {
        f"gates.0.{place}": (-truth.reach, truth.reach),
        "gates.0.bias": (-4.0, 4.0),
        "experts.coef": (-5.0, 5.0),
        "experts.intercept": (-5.0, 5.0),
    }
    if truth.distance == "hellinger":
        box["family.scale"] = (0.1, 2.0)
    return population_exponent(
        true,
        truth.measure,
        fitted,
        case.path,
        cells=(0, 0, 1),
        eps=case.eps,
        box=box,
        inputs=truth.inputs,
        starts=case.starts,
        step=truth.step,
        distance=truth.distance,
    )


def run(**_: Any) -> dict[str, Any]:
    """Measure every case; about a quarter of an hour."""
    rows = []
    for case in CASES:
        start = time.perf_counter()
        found = measured(case)
        print(f"\n{case.truth}, {found.text()}", flush=True)
        close = abs(found.local[-1] - case.claim) <= case.tolerance
        rows.append(
            {
                "truth": case.truth,
                "parameter": case.path,
                "claim": case.claim,
                "exponent": found.local[-1],
                "trend": found.trend,
                "certified": found.certified[-1],
                "within": close,
                "local": " ".join(f"{e:.3f}" for e in found.local),
                "seconds": round(time.perf_counter() - start, 1),
            }
        )
    table("Population exponents, last pair of displacements", rows)
    return {"rows": rows}
