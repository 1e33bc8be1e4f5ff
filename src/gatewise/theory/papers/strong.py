"""Softmax gate with strongly identifiable experts by maximum likelihood: 2505.10860."""

from __future__ import annotations

from gatewise.core.experts import EXPERTS
from gatewise.theory.arms import Arm, Data, DataDrivenStarts
from gatewise.theory.claims import Claim, Probe
from gatewise.theory.completion import REGULAR
from gatewise.theory.error_parts import every_part
from gatewise.theory.papers.parts import (
    OVER,
    Numbers,
    alone,
    bound,
    box,
    decided,
    density,
    equal,
    exact,
    flat,
    law,
    likelihood,
    measure,
    over,
    split_probes,
)
from gatewise.theory.paths import COEF, VARIANCE, WEIGHT
from gatewise.theory.study import Study

PAPER = "2505.10860"
SIZES = {"GELU(ax)": (1000, 2500, 6300, 16_000, 40_000), "tanh(ax)": (6300, 20_000, 63_000, 200_000)}
UNITS = {"GELU(ax)": "gelu-no-bias", "tanh(ax)": "tanh-no-bias"}
WEIGHTS: dict[int, Numbers] = {1: [[1.5], [0.0]], 3: [[1.5, -0.5, 0.5], [0.0, 0.0, 0.0]]}
SLOPES: dict[int, Numbers] = {1: [[[2.0]], [[-1.5]]], 3: [[[1.5, 0.5, -0.5]], [[-1.0, 0.5, 1.0]]]}
SCALE: Numbers = [[0.3], [0.4]]
LIMITS = box(weight=4.0, bias=2.0, coef=4.0)
SPLIT = {WEIGHT: (2.0, 0.2), COEF: (2.0, 0.2), VARIANCE: (2.0, 0.2)}
PAIRS = (("GELU(ax)", 1), ("tanh(ax)", 1), ("GELU(ax)", 3))


def _data(unit: str, d: int) -> Data:
    truth = measure({"weight": WEIGHTS[d], "bias": [0.3, 0.0]}, {"coef": SLOPES[d]}, SCALE)
    return Data(flat("softmax", 2, EXPERTS[UNITS[unit]]), truth, law(d))


def _name(unit: str, d: int) -> str:
    return f"{unit}, d={d}"


def _claims(name: str) -> tuple[Claim, ...]:
    bounds = (bound(name, over(path), -1 / 4, PAPER) for path in SPLIT)
    single = (equal(name, exact(path), -0.5, OVER, PAPER, "published") for path in (COEF, VARIANCE))
    loss = bound(name, "loss softmax-strong", -0.5, PAPER)
    return loss, *decided(bounds, name), *decided(single, alone(name)), density(name, PAPER)


def _probes(unit: str, d: int) -> tuple[Probe, ...]:
    """Return the population exponents of a cell that two atoms share, and of the one with one atom."""
    name, data = _name(unit, d), _data(unit, d)
    model = likelihood(data, 3, LIMITS)
    lone = split_probes(alone(name), data, model, {COEF: REGULAR, VARIANCE: REGULAR}, atom=2)
    return every_part((*split_probes(name, data, model, SPLIT), *lone))


SOFTMAX_STRONG = Study(
    "softmax-strong",
    "Softmax gate, strongly identifiable experts by maximum likelihood, one too many",
    "Two experts GELU(ax) or tanh(ax) without bias and with Gaussian noise, three fitted. Such experts have no heat "
    "equation between intercept and variance, for they have no intercept, and derivatives in gate and expert are "
    "independent: everything in a cell that two atoms share has the exponent 2, the variance too. One and three "
    "inputs uniform on [-2, 2]^d; in three dimensions gate and experts look along different directions. Standard "
    "deviations .3 and .4, so that two halves of an expert are told apart from noise. Boxes hold the truth in any "
    "order: gate differences within 4, biases within 2 of the last one, slopes within 4, standard deviations from .1 "
    "to 2. Ten starts know nothing of the truth; a fit that is worse than the truth gets forty more, for in a first "
    "confirmatory run of 40 replicates up to 10 % at n = 40000 ended 3 to 18 nats below it, with an expert of little "
    "weight between the others, and most claims stayed open. The window is 1.6 decades, with tanh 1.5 decades from "
    "6300 rows on, for with fewer up to 12 % of the fits ended at bounds of the slopes; 160 replicates; population "
    "exponents, of exact cells too and of every part of an error, decide what slopes leave open (displacements of "
    "slopes were halved, and starts in three dimensions doubled, after a first look at them). Bounds are those of the "
    "paper; it does not say that they are sharp.",
    tuple(
        Arm(
            _name(unit, d),
            _data(unit, d),
            likelihood(_data(unit, d), 3, LIMITS),
            SIZES[unit],
            160,
            DataDrivenStarts(10, more=40),
            ("softmax-strong",),
        )
        for unit, d in PAIRS
    ),
    tuple(claim for unit, d in PAIRS for claim in _claims(_name(unit, d))),
    probes=tuple(probe for unit, d in PAIRS for probe in _probes(unit, d)),
)
