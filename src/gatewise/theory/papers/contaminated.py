"""Contaminated mixtures: a known law beside one expert that is estimated: 2505.18455."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from math import nan

from gatewise.core.experts import EXPERTS
from gatewise.core.mixture import Measure
from gatewise.theory.arms import Arm, Data, NearTruth
from gatewise.theory.claims import Claim
from gatewise.theory.papers.parts import (
    OVER,
    OWN,
    Numbers,
    bound,
    box,
    density,
    equal,
    exact,
    flat,
    law,
    likelihood,
    measure,
    tensor,
)
from gatewise.theory.paths import COEF, VARIANCE, WEIGHT
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


SLOPES_OF: dict[str, tuple[float, float, float]] = {  # of the mass, the gate's weight, the expert
    "distinguishable": (-1 / 2, -1 / 2, -1 / 2),
    "approaching": (-3 / 8, -3 / 8, -1 / 2),
    "approaching, constant weights": (-1 / 4, -3 / 8, -3 / 8),
}
ARMS = tuple((name, d) for name in SLOPES_OF for d in DIMENSIONS)


def _claims(name: str, d: int) -> tuple[Claim, ...]:
    arm = f"{name}, d={d}"
    series = ("mass exact mean", exact(WEIGHT), exact(COEF), exact(VARIANCE))
    mass, weight, expert = SLOPES_OF[name]
    if name == "distinguishable":
        known = (equal(arm, one, -0.5, OVER, PAPER, "published") for one in series)
        return *known, density(arm, PAPER)
    bounds = (-1 / 4, -3 / 8, -3 / 8, -3 / 8)
    paper = (bound(arm, one, value, PAPER) for one, value in zip(series, bounds, strict=True))
    sharp = zip(series, (mass, weight, expert, expert), strict=True)
    ours = (equal(arm, one, value, OVER, OWN, "derived") for one, value in sharp)
    return *paper, *ours, density(arm, PAPER)


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
    "are attained; with one that does they cannot, and the bias has -3/8 like the weight of the gate, the expert "
    "-1/2. The paper has tanh experts and eight standard normal inputs; here one and three inputs uniform on [-2, "
    "2]^d and GELU, whose slopes are far better determined. Boxes: gate weights within 4, biases within 3, slopes "
    "within 4, standard deviations from .1 to 2. Starts are the truth plus noise of .2, whatever n is, four of them, "
    "for the known expert must be that of the truth. The window is 1.6 decades, 240 replicates, tolerance .06: half "
    "of the distance between -1/4 and -3/8. Errors are averages over both experts, the known one without error.",
    tuple(_arm(*one) for one in ARMS),
    tuple(claim for one in ARMS for claim in _claims(*one)),
)
