"""Contaminated mixtures: a known law beside one expert that is estimated: 2505.18455."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from math import nan

from gatewise.core.experts import EXPERTS
from gatewise.core.mixture import Measure
from gatewise.theory.arms import Arm, Data, NearTruth
from gatewise.theory.claims import Claim, Probe
from gatewise.theory.papers.parts import (
    OVER,
    OWN,
    Numbers,
    bound,
    box,
    density,
    equal,
    exact,
    exponent,
    flat,
    law,
    likelihood,
    measure,
    tensor,
)
from gatewise.theory.paths import COEF, VARIANCE, WEIGHT
from gatewise.theory.population.rules import Cube
from gatewise.theory.study import Study

PAPER = "2505.18455"
SIZES = (1000, 2500, 6300, 16_000, 40_000)
EXPERT = EXPERTS["gelu-no-bias"]
KNOWN: dict[int, list[float]] = {1: [2.0], 3: [1.5, 0.5, -0.5]}  # slope of the known expert
AWAY: dict[int, list[float]] = {1: [-1.5], 3: [-1.0, 0.5, 1.0]}  # of another one
TOWARDS: dict[int, list[float]] = {1: [-3.0], 3: [-3.0, 0.0, 0.0]}
WEIGHTS: dict[int, Numbers] = {1: [[1.0], [0.0]], 3: [[1.0, -0.5, 0.5], [0.0, 0.0, 0.0]]}
SPREAD = 0.3
LIMITS = box(weight=4.0, bias=3.0, coef=4.0)
AROUND = NearTruth(0.2, 0.0, 4)
DIMENSIONS = (1, 3)


def _truth(name: str, d: int, n: int) -> Measure:
    """Return the truth at n rows; where it approaches, the estimated expert is 3 n^(-1/8) from the known one."""
    near = [a + b * n**-0.125 for a, b in zip(KNOWN[d], TOWARDS[d], strict=True)]
    away = name == "distinguishable"
    weight = [[0.0] * d] * 2 if name == "approaching, constant weights" else WEIGHTS[d]
    coef = [[AWAY[d] if away else near], [KNOWN[d]]]
    scale = [[0.5], [SPREAD]] if away else [[SPREAD], [SPREAD]]
    return measure({"weight": weight, "bias": [0.3, 0.0]}, {"coef": coef}, scale)


def _arm(name: str, d: int) -> Arm:
    truth = _truth(name, d, 1) if name == "distinguishable" else partial(_truth, name, d)
    data = Data(flat("softmax", 2, EXPERT), truth, law(d))
    known = {COEF: tensor([[[nan] * d], [KNOWN[d]]]), "family.scale": tensor([[nan], [SPREAD]])}
    model = replace(likelihood(data, 2, LIMITS), fixed=known)
    return Arm(f"{name}, d={d}", data, model, SIZES, 240, AROUND, ("exact",))


SLOPES_OF: dict[str, tuple[float, float, float, float]] = {  # of the mass, the gate's weight, the slope, the variance
    "distinguishable": (-1 / 2, -1 / 2, -1 / 2, -1 / 2),
    "approaching": (-3 / 8, -3 / 8, -1 / 2, -1 / 2),
    "approaching, constant weights": (-1 / 4, -3 / 8, -3 / 8, -1 / 2),
}
PATHS = ("gates.0.bias", WEIGHT, COEF, VARIANCE)
FAR = tuple(10**power for power in (6, 9, 12, 15, 18, 21, 24))  # where slopes of standard errors are those of the limit
ARMS = tuple((name, d) for name in SLOPES_OF for d in DIMENSIONS)


def _claims(name: str, d: int) -> tuple[Claim, ...]:
    arm = f"{name}, d={d}"
    series = ("mass exact mean", exact(WEIGHT), exact(COEF), exact(VARIANCE))
    probes = tuple(exponent(arm, path) for path in PATHS)

    def stated(claims: Iterable[Claim]) -> tuple[Claim, ...]:
        return tuple(replace(claim, probe=probe) for claim, probe in zip(claims, probes, strict=True))

    if name == "distinguishable":
        return *stated(equal(arm, one, -0.5, OVER, PAPER, "published") for one in series), density(arm, PAPER)
    bounds = zip(series, (-1 / 4, -3 / 8, -3 / 8, -3 / 8), strict=True)
    paper = stated(bound(arm, one, value, PAPER) for one, value in bounds)
    sharp = zip(series, SLOPES_OF[name], strict=True)
    ours = stated(equal(arm, one, value, OVER, OWN, "derived") for one, value in sharp)
    return *paper, *ours, density(arm, PAPER)


def _probes(name: str, d: int) -> tuple[Probe, ...]:
    """Return the exponents of standard errors: the distance falls to a hundredth in twelve decades of n."""
    arm = _arm(name, d)
    inputs = Cube(d=d, panels=8 if d == 1 else 2)
    return tuple(
        Probe(
            *(exponent(arm.name, path), arm.data, arm.model, path, (0, 1), -1 / (2 * slope), 0.05, OWN, "derived"),
            inputs=inputs,
            sizes=FAR,
        )
        for path, slope in zip(PATHS, SLOPES_OF[name], strict=True)
    )


CONTAMINATED = Study(
    "contaminated",
    "Contaminated mixtures: a known expert beside an estimated one that may approach it",
    "The law is (1 - g) f0 + g N(GELU(ax), nu), g a sigmoid, which is the softmax gate of two branches; f0, here a "
    "Gaussian expert GELU(ax) with slope 2 (1.5, .5, -.5 in three dimensions) and standard deviation .3, is known: "
    "its parameters are told to the fit. Where the estimated expert is another one (distinguishable), everything has "
    "-1/2. Where it approaches f0 at the distance 3 n^(-1/8), a power as in the simulations of the paper, the paper "
    "bounds the exponential of the gate's bias by n^(-1/2) over the square of the distance, -1/4, and everything else "
    "by n^(-1/2) over the distance, -3/8, uniformly over all truths. We derive what is sharp: with a gate that does "
    "not depend on the inputs the bias and the expert can make up for each other to the first order, and the bounds "
    "of the bias and of the slope are attained; with one that does they cannot, and the bias has -3/8 like the weight "
    "of the gate, the slope -1/2. The variance has -1/2 either way. At sizes that can be run, the experts are still "
    "well separated, and slopes are steeper; exponents of standard errors, by the information at the truth of up to "
    "1e24 rows, decide what slopes leave open (they, and the rate of the variance, were added after a first "
    "confirmatory run). The paper has tanh "
    "experts and eight standard normal inputs; here one and three inputs uniform on [-2, 2]^d and GELU, whose slopes "
    "are far better determined. Boxes: gate weights within 4, biases within 3, slopes within 4, standard deviations "
    "from .1 to 2. Starts are the truth plus noise of .2, whatever n is, four of them, for the known expert must be "
    "that of the truth. The window is 1.6 decades, 240 replicates, tolerance .06: half of the distance between -1/4 "
    "and -3/8. Errors are averages over both experts, the known one without error.",
    tuple(_arm(*one) for one in ARMS),
    tuple(claim for one in ARMS for claim in _claims(*one)),
    probes=tuple(probe for one in ARMS for probe in _probes(*one)),
)
