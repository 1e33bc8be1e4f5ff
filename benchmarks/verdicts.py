"""How often is a claim of a study judged wrongly? True and false claims about errors whose law is known.

Errors are a known rate times noise: half-normal (of an ordinary estimate), heavy-tailed (Student t with three degrees
of freedom), bimodal (two optima), or a sum of two powers, whose slope is still on its way. A claim is true or false of
the rate as n grows; a verdict is wrong if it supports a false claim or contradicts a true one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch

from benchmarks.timing import table
from gatewise import GATES, Measure, Mixture
from gatewise.theory import Arm, Claim, Data, Model, Study
from gatewise.theory.claims import VerdictKind
from gatewise.theory.inputs import Uniform
from gatewise.theory.verdict import judge

SIZES, REPLICATES = (1000, 2500, 6300, 16_000, 40_000), 100
Noise = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]
NOISES: dict[str, Noise] = {
    "half-normal": lambda rng, shape: np.abs(rng.standard_normal(shape)),
    "heavy-tailed": lambda rng, shape: np.abs(rng.standard_t(3, shape)),
    "bimodal": lambda rng, shape: np.abs(rng.standard_normal(shape)) * np.where(rng.random(shape) < 0.1, 5.0, 1.0),
}
RATES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], float | None]] = {
    # name: size of the error at n, the power it ends as (None: slower than every power)
    "n^(-1/2)": (lambda n: n**-0.5, -0.5),
    "n^(-1/4)": (lambda n: n**-0.25, -0.25),
    "n^(-1/8)": (lambda n: n**-0.125, -0.125),
    "n^(-1/12)": (lambda n: n ** (-1 / 12), -1 / 12),
    "1 / log n": (lambda n: 1 / np.log(n), None),
    "n^(-1/2) + 2 n^(-1)": (lambda n: n**-0.5 + 2.0 / n, -0.5),
    "n^(-1/2) + 10 n^(-1)": (lambda n: n**-0.5 + 10.0 / n, -0.5),
    "n^(-1/2) + .02 n^(-1/4)": (lambda n: n**-0.5 + 0.02 * n**-0.25, -0.25),
    "n^(-1/2) + .2 n^(-1/4)": (lambda n: n**-0.5 + 0.2 * n**-0.25, -0.25),
    "min(.02, n^(-1/4))": (lambda n: np.minimum(0.02 * n**0.02, n**-0.25), -0.25),
}
CLAIMED = (("equal", -0.5), ("equal", -0.25), ("at_most", -0.25), ("at_least", -0.25), ("slower_than_polynomial", 0.0))
TOLERANCE = 0.06


def _study(claims: tuple[Claim, ...]) -> Study:
    gate = {"weight": torch.tensor([[1.5, 0.0, 0.5], [0.0, 0.0, 0.0]]).double(), "bias": torch.zeros(2).double()}
    experts = {"coef": torch.tensor([[[1.0, 0.0, 1.0]], [[-1.0, 1.0, 0.0]]]).double()}
    experts["intercept"] = torch.zeros(2, 1).double()
    truth = Measure((gate,), experts, {"scale": torch.ones(2, 1).double()})
    mixture = Mixture((GATES["softmax"],), (2,))
    arm = Arm("drawn", Data(mixture, truth, Uniform(d=3)), Model(mixture, min_scale=0.1), SIZES, REPLICATES)
    return Study("drawn", "Drawn errors", "", (arm,), claims)


def holds(claim: Claim, power: float | None) -> bool:
    """Return whether a claim is true of an error that ends as a power of n, or falls slower than each (None)."""
    if claim.kind == "slower_than_polynomial":
        return power is None
    end = 0.0 if power is None else power
    if claim.kind == "at_most":
        return end <= claim.value + 1e-12
    if claim.kind == "at_least":
        return end >= claim.value - 1e-12
    return abs(end - claim.value) < 1e-12


def _frame(size: np.ndarray, noise: Noise, rng: np.random.Generator) -> pd.DataFrame:
    errors = size[:, None] * noise(rng, (len(SIZES), REPLICATES))
    axis, replicate = np.meshgrid(SIZES, np.arange(REPLICATES), indexing="ij")
    columns = {"axis": axis.ravel(), "replicate": replicate.ravel(), "error": errors.ravel()}
    return pd.DataFrame({"arm": "drawn", **columns, "certified": True})


def run(sets: int = 100, seed: int = 0, **_: Any) -> dict[str, Any]:
    """Judge every claim of every law of errors `sets` times, and count wrong and open verdicts."""
    claims = tuple(
        Claim("drawn", "error", kind, value, TOLERANCE, "drawn", "own")  # type: ignore[arg-type]
        for kind, value in CLAIMED
    )
    study, lines = _study(claims), []
    for rate, (size, power) in RATES.items():
        for noise, draw in NOISES.items():
            counts = {True: [0, 0, 0], False: [0, 0, 0]}  # of true and false claims: all, wrong, open
            for number in range(sets):
                frame = _frame(size(np.array(SIZES, dtype=float)), draw, np.random.default_rng([seed, number]))
                for claim in claims:
                    word, true = judge(study, frame, claim).word, holds(claim, power)
                    counts[true][0] += 1
                    counts[true][1] += word is (VerdictKind.contradicted if true else VerdictKind.supported)
                    counts[true][2] += word is VerdictKind.unresolved
            line: dict[str, Any] = {"error": rate, "noise": noise}
            for true, name in ((True, "true"), (False, "false")):
                total = max(1, counts[true][0])
                line[f"{name} claims"] = counts[true][0]
                line[f"{name}: wrong %"] = 100 * counts[true][1] / total
                line[f"{name}: open %"] = 100 * counts[true][2] / total
            lines.append(line)
    straight = [line for line in lines if "+" not in line["error"] and "min" not in line["error"]]
    for name, some in (("powers and 1 / log n", straight), ("sums of powers", [x for x in lines if x not in straight])):
        table(f"verdicts on errors that are {name}, {sets} studies each", some)
    return {"lines": lines}
