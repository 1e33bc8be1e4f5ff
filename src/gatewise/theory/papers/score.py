"""Scores of squared distances: the gate that FuseMoE calls Gaussian, a softmax gate in disguise (2402.03226)."""

from __future__ import annotations

from dataclasses import replace
from math import nan

from gatewise.core.gates import GATES, Gate
from gatewise.core.mixture import Mixture
from gatewise.core.scores import SquaredDistance
from gatewise.theory.arms import Arm, Data, Model, NearTruth
from gatewise.theory.claims import Claim, Probe
from gatewise.theory.completion import REGULAR
from gatewise.theory.error_parts import every_part
from gatewise.theory.papers.parts import (
    OVER,
    OWN,
    WIDE,
    Numbers,
    bound,
    box,
    decided,
    density,
    equal,
    exact,
    law,
    likelihood,
    measure,
    over,
    same,
    split_probes,
    tensor,
)
from gatewise.theory.paths import CENTER, COEF, INTERCEPT, VARIANCE
from gatewise.theory.study import Study

SIZES = (1500, 4800, 15_000, 48_000)
SCORE = Gate(SquaredDistance())
CENTERS: dict[int, Numbers] = {1: [[0.0], [-0.75]], 3: [[0.0, 0.0, 0.0], [-0.75, 0.25, -0.25]]}
WEIGHTS: dict[int, Numbers] = {1: [[0.0], [-1.5]], 3: [[0.0, 0.0, 0.0], [-1.5, 0.5, -0.5]]}  # twice the centers
SQUARES = {1: 0.5625, 3: 0.6875}  # of the second center, which its bias makes up for
SLOPES: dict[int, Numbers] = {1: [[[1.5]], [[-1.0]]], 3: [[[1.5, 0.5, -0.5]], [[-1.0, 0.5, 1.0]]]}
SHIFT: Numbers = [[1.0], [-1.0]]
SCALE: Numbers = [[0.5], [0.7]]
BIAS = 0.3
DIMENSIONS = (1, 3)
AROUND = NearTruth(0.2, 0.0, 2)
SPLIT = {COEF: (2.0, 0.2), INTERCEPT: (4.0, 0.4), VARIANCE: (2.0, 0.2)}


def _data(gate: str, d: int) -> Data:
    softmax = gate == "softmax"
    places = {"weight": WEIGHTS[d]} if softmax else {"center": CENTERS[d]}
    truth = measure(
        {**places, "bias": [BIAS, 0.0 if softmax else SQUARES[d]]}, {"coef": SLOPES[d], "intercept": SHIFT}, SCALE
    )
    return Data(Mixture((GATES["softmax"] if softmax else SCORE,), (2,)), truth, law(d))


def _model(gate: str, d: int, k: int) -> Model:
    if gate == "softmax":
        return likelihood(_data(gate, d), k, box(weight=4.0, bias=2.0, coef=4.0, intercept=4.0))
    first = {CENTER: tensor([[0.0] * d] + [[nan] * d] * (k - 1))}
    limits = box(center=2.0, bias=2.5, coef=4.0, intercept=4.0)
    return replace(likelihood(_data(gate, d), k, limits), fixed=first)


def _name(gate: str, d: int, k: int) -> str:
    return f"{gate}, d={d}, {'exact' if k == 2 else 'over'}"


def _arm(gate: str, d: int, k: int) -> Arm:
    return Arm(_name(gate, d, k), _data(gate, d), _model(gate, d, k), SIZES, 160, AROUND, ("exact",))


def _claims(d: int) -> tuple[Claim, ...]:
    single, split, soft = _name("score", d, 2), _name("score", d, 3), _name("softmax", d, 3)
    leaves = {COEF: -1 / 4, INTERCEPT: -1 / 8, VARIANCE: -1 / 4}
    places = {**leaves, CENTER: -1 / 4}
    paths = (CENTER, COEF, INTERCEPT, VARIANCE)
    return (
        *decided((equal(single, exact(path), -0.5, WIDE, OWN, "derived") for path in paths), single),
        density(single, OWN),
        *decided((bound(split, over(path), value, OWN, "derived") for path, value in places.items()), split),
        bound(split, over(CENTER), -1 / 8, OWN, "derived"),  # the rate of the table, which is that of a bound
        *(same(split, soft, over(path), standing="derived") for path in leaves),
        density(split, OWN),
        *decided((equal(soft, over(path), value, OVER, OWN, "derived") for path, value in leaves.items()), soft),
        density(soft, "2305.03288"),
    )


def _probes(d: int) -> tuple[Probe, ...]:
    """Return the population exponents of an atom alone in its cell, and of one of two, with either gate."""
    data, places = _data("score", d), {**SPLIT, CENTER: (2.0, 0.2)}
    regular = dict.fromkeys((CENTER, *SPLIT), REGULAR)
    return (
        *split_probes(_name("score", d, 2), data, _model("score", d, 2), regular, (0, 1), 1),
        *split_probes(_name("score", d, 3), data, _model("score", d, 3), places, (0, 1, 1), 1),
        *split_probes(_name("softmax", d, 3), _data("softmax", d), _model("softmax", d, 3), SPLIT),
    )


GAUSSIAN_SCORE = Study(
    "gaussian-score",
    "Squared distances as scores: a softmax gate in disguise",
    "The gate that is called Gaussian beside the Laplace gate has the scores bias - ||x - center||^2. The square of x "
    "cancels in the softmax, so that it is the softmax gate with weights 2 center and biases bias - ||center||^2: the "
    "same laws, the same fits, the same rates. The truths of both gates are one law. A common shift of the centers "
    "changes nothing once biases follow; the fit is told that its first center is that of the truth, at zero, as "
    "softmax gates hold their last weight. Claims: as many experts as there are have -1/2; in a cell that two atoms "
    "share slopes, variances and centers have -1/4 at least and intercepts -1/8, and the slopes of errors are those "
    "of the softmax gate. One and three inputs uniform on [-2, 2]^d. Boxes: centers within 2, biases within 2.5 of "
    "the last one, softmax weights within 4 and biases within 2, slopes and intercepts within 4, standard deviations "
    "from .1 to 2. A first atom that is known by its center must be that of the truth, so that starts are the truth "
    "plus noise of .2, whatever n is, two of them, for both gates. The window is 1.5 decades in four steps, 160 "
    "replicates (40 left intervals of up to +- .1 in a first confirmatory run); exact cells have the tolerance .1. "
    "Population exponents, of exact cells too, decide what slopes leave open.",
    tuple(_arm(gate, d, k) for d in DIMENSIONS for gate, k in (("score", 2), ("score", 3), ("softmax", 3))),
    tuple(claim for d in DIMENSIONS for claim in _claims(d)),
    probes=tuple(probe for d in DIMENSIONS for probe in every_part(_probes(d))),
)
