"""Normalised sigmoids of distances with a temperature, beside those of affine scores: 2602.01466."""

from __future__ import annotations

from dataclasses import replace

from gatewise.core.gates import GATES, Gate
from gatewise.core.links import NormalisedSigmoid
from gatewise.core.mixture import Mixture
from gatewise.core.scores import Affine, Tempered
from gatewise.theory.arms import Arm, Data, DataDrivenStarts
from gatewise.theory.claims import Claim, Probe
from gatewise.theory.papers.parts import (
    OWN,
    WIDE,
    Numbers,
    box,
    decided,
    density,
    equal,
    exact,
    exact_leaves,
    law,
    likelihood,
    measure,
    raw,
    regular_probes,
    slow,
)
from gatewise.theory.paths import CENTER, COEF, INTERCEPT, TEMPERATURE, VARIANCE, WEIGHT
from gatewise.theory.study import Study

PAPER = "2602.01466"
SIZES = (5000, 16_000, 50_000, 160_000)
EUCLIDEAN, AFFINE = GATES["euclidean-sigmoid"], Gate(Tempered(Affine()), NormalisedSigmoid())
CENTERS: dict[int, Numbers] = {1: [[-0.8], [0.9]], 3: [[-0.8, 0.4, 0.2], [0.9, -0.4, 0.0]]}
WEIGHTS: dict[int, Numbers] = {1: [[1.2], [-0.9]], 3: [[1.2, -0.3, 0.3], [-0.9, 0.3, 0.3]]}
SLOPES: dict[int, Numbers] = {1: [[[1.5]], [[-1.0]]], 3: [[[1.5, 0.5, -0.5]], [[-1.0, 0.5, 1.0]]]}
SHIFT: Numbers = [[2.0], [-2.0]]
SCALE: Numbers = [[0.3], [0.4]]
HEAT = 0.3
ARMS = tuple((score, d) for score in ("euclidean", "affine") for d in (1, 3))


def _name(score: str, d: int) -> str:
    return f"{score}, d={d}"


def _arm(score: str, d: int) -> Arm:
    places = {"center": CENTERS[d]} if score == "euclidean" else {"weight": WEIGHTS[d]}
    truth = measure({**places, "bias": [0.8, 0.6], "temperature": HEAT}, {"coef": SLOPES[d], "intercept": SHIFT}, SCALE)
    gate, width = (EUCLIDEAN, box(center=2.0)) if score == "euclidean" else (AFFINE, box(weight=6.0))
    data = Data(Mixture((gate,), (2,)), truth, law(d))
    limits = width | box(bias=4.0, temperature=(0.05, 2.0), coef=4.0, intercept=5.0)
    model = replace(likelihood(data, 2, limits), gauge="none")
    return Arm(_name(score, d), data, model, SIZES, 80, DataDrivenStarts(4, more=40), ("exact",))


def _claims(score: str, d: int) -> tuple[Claim, ...]:
    name = _name(score, d)
    leaves = exact_leaves(name, OWN, "derived", WIDE)
    if score == "affine":
        return (
            *leaves,
            slow(name, raw(TEMPERATURE), PAPER, "recalled"),
            slow(name, exact(WEIGHT), PAPER, "recalled"),
            density(name, OWN),
        )
    gate = (equal(name, exact(path), -0.5, WIDE, OWN, "derived") for path in (CENTER, TEMPERATURE))
    return *decided((*leaves, *gate), name), density(name, OWN)


def _probes(d: int) -> tuple[Probe, ...]:
    """Return the exponents of the standard errors of the Euclidean gate, whose score bends around its centers."""
    return regular_probes(_arm("euclidean", d), (COEF, INTERCEPT, VARIANCE, CENTER, TEMPERATURE), 24 if d == 1 else 1)


EUCLIDEAN_SIGMOID = Study(
    "euclidean-sigmoid",
    "Sigmoids with a temperature: scores of distances against affine ones",
    "The paper is about classification: with a temperature inside an affine sigmoid exponentially many rows are "
    "needed, with a Euclidean score polynomially many. There is no law of classes among the families yet, so that the "
    "gates are tried with linear Gaussian experts, as many as there are, normalised, by maximum likelihood: what "
    "decides is the gate. Derivatives say why: (c w, c bias, c temperature) is the same affine gate for every c > 0, "
    "and the temperature has no rate at all (not identified), while a distance has a scale of its own, so that center "
    "and temperature have -1/2, which is derived and not the rate of a theorem. The sign of the score, bias - ||x - "
    "center||, is that of the Laplace gate. One and three inputs uniform on [-2, 2]^d; the temperature is free in all "
    "arms and is shown as it stands where it has no rate. Boxes hold the truth in any order: centers within the "
    "support of the inputs, affine weights within 6, biases within 4, temperature from .05 to 2, slopes within 4, "
    "intercepts within 5, standard deviations from .1 to 2. Starts know nothing of the truth, four of them; a fit "
    "that is worse than the truth gets forty more, as a fifth of those with one affine input was in a first "
    "confirmatory run. The window is 1.5 decades in four steps, 80 replicates, the tolerance .1; it begins at 5000 "
    "rows, for with 2000 a fifth of the fits with one input did not identify their centers. Standard errors by the "
    "information at the truth decide what slopes of the Euclidean gate leave open (added after a first confirmatory "
    "run).",
    tuple(_arm(*one) for one in ARMS),
    tuple(claim for one in ARMS for claim in _claims(*one)),
    probes=tuple(probe for d in (1, 3) for probe in _probes(d)),
)
