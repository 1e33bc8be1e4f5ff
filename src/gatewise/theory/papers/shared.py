"""Shared experts, whose weights do not depend on the inputs, alone and beside routed ones: 2505.10860."""

from __future__ import annotations

from dataclasses import replace
from math import nan

from gatewise.core.gates import GATES
from gatewise.core.mixture import Measure, Mixture
from gatewise.theory.arms import Arm, Data, DataDrivenStarts, NearTruth
from gatewise.theory.claims import Claim, Probe, slope_of
from gatewise.theory.completion import REGULAR
from gatewise.theory.papers.gaussian import EXPERTS, EXPERTS_3, SCALE
from gatewise.theory.papers.parts import (
    LEAF,
    OVER,
    OWN,
    alone,
    bound,
    box,
    decided,
    density,
    equal,
    exact_leaves,
    flat,
    law,
    likelihood,
    measure,
    over,
    split_probes,
    tensor,
)
from gatewise.theory.paths import COEF, INNER_WEIGHT, INTERCEPT, VARIANCE
from gatewise.theory.study import Study

PAPER = "2505.10860"
SIZES = (2500, 8000, 25_000, 80_000)
LIMITS = box(bias=2.0, coef=4.0, intercept=4.0)
HEAT = {COEF: (2.0, 0.2), INTERCEPT: (4.0, 0.4), VARIANCE: (2.0, 0.2)}
DIMENSIONS = (1, 3)
BOTH = "shared and routed"


def _data(d: int) -> Data:
    experts = {1: EXPERTS, 3: EXPERTS_3}[d]
    return Data(flat("constant", 2), measure({"bias": [0.3, 0.0]}, experts, SCALE), law(d))


def _arm(d: int) -> Arm:
    data = _data(d)
    losses = ("input-free",)
    return Arm(
        f"input-free, d={d}", data, likelihood(data, 3, LIMITS), SIZES, 240, DataDrivenStarts(10, more=40), losses
    )


def _both() -> Arm:
    """Return the model of the paper: half of the mass is shared, half routed by a softmax gate."""
    gates = (
        {"bias": tensor([0.0, 0.0])},
        {"weight": tensor([[[0.0], [0.0]], [[1.5], [0.0]]]), "bias": tensor([[0.3, 0.0], [0.2, 0.0]])},
    )
    experts = {
        "coef": tensor([[[[1.5]], [[-1.0]]], [[[0.5]], [[-2.0]]]]),
        "intercept": tensor([[[4.0], [1.5]], [[-1.5], [-4.0]]]),
    }
    truth = Measure(gates, experts, {"scale": tensor([[[0.4], [0.5]], [[0.45], [0.35]]])})
    data = Data(Mixture((GATES["equal"], GATES["softmax"]), (2, 2)), truth, law(1))
    limits = box(inner_weight=4.0, inner_bias=2.0, coef=4.0, intercept=6.0) | {"gates.0.bias": (-1.0, 1.0)}
    shared = {INNER_WEIGHT: tensor([[[0.0]] * 3, [[nan], [nan], [0.0]]])}
    model = replace(likelihood(data, 3, limits), fixed=shared)
    return Arm(BOTH, data, model, SIZES, 40, NearTruth(0.2, 0.0, 2), ())


def _halves(name: str, claimed: dict[str, tuple[float, float]], atom: int) -> tuple[Probe, ...]:
    """Return the population exponents of an expert of one half that is split in two, the other half split too."""
    arm = _both()
    found = split_probes(name, arm.data, arm.model, claimed, (0, 0, 1, 2, 2, 3), atom)
    return tuple(replace(probe, starts=3) for probe in found)


def _probes(d: int) -> tuple[Probe, ...]:
    name, data = f"input-free, d={d}", _data(d)
    model = likelihood(data, 3, LIMITS)
    lone = split_probes(alone(name), data, model, dict.fromkeys(LEAF, REGULAR), (0, 0, 1), 2)
    return *split_probes(name, data, model, HEAT), *lone


def _claims(d: int) -> tuple[Claim, ...]:
    name = f"input-free, d={d}"
    mass = bound(name, "mass over mean", -0.5, PAPER)
    split = (bound(name, over(path), slope_of(e), PAPER) for path, (e, _) in HEAT.items())
    sharp = (equal(name, over(path), slope_of(e), OVER, OWN, "derived") for path, (e, _) in HEAT.items())
    loss = bound(name, "loss input-free", -0.5, PAPER)
    return (
        loss,
        mass,
        *decided((*split, *sharp), name),
        *decided(exact_leaves(name, PAPER, "published", OVER), alone(name)),
        density(name, PAPER),
    )


INPUT_FREE = Study(
    "input-free",
    "Shared experts: weights that do not depend on the inputs, one expert too many",
    "The experts of softmax-over with constant weights, three fitted to two. Slopes of linear experts are independent "
    "of everything else once the weights are constant, and the heat equation alone is left: -1/4 for slope and "
    "variance, -1/8 for the intercept, as for the Laplace gate, and the mass of a cell as n^(-1/2). One and three "
    "inputs uniform on [-2, 2]^d. The arm 'shared and routed' is the model of the paper: half of the mass belongs to "
    "two shared experts, half to two that a softmax gate routes, one too many fitted in each half; it is a two-level "
    "mixture with equal outer weights whose first inner gate has the weight zero, which is told to the fit. No loss "
    "is about halves that differ in nothing but that, so that its density is claimed, and the population exponents of "
    "an expert of each half. Boxes: biases within 2 of the last one, gate weights within 4, slopes within 4, "
    "intercepts within 4 (6 in the last arm), standard deviations from .1 to 2. Starts know nothing of the truth; "
    "those of the last arm are the truth plus noise of .2, whatever n is. The window is 1.5 decades, 240 replicates "
    "(40 left intervals of up to +- .1 in a first confirmatory run) and 40 in the last arm; population exponents, "
    "of exact cells too, decide what slopes leave open.",
    (*(_arm(d) for d in DIMENSIONS), _both()),
    (
        *(claim for d in DIMENSIONS for claim in _claims(d)),
        density(BOTH, PAPER),
    ),
    probes=(
        *(probe for d in DIMENSIONS for probe in _probes(d)),
        *_halves("shared half", HEAT, 0),
        *_halves("routed half", HEAT | {INNER_WEIGHT: (2.0, 0.2)}, 3),
    ),
)
