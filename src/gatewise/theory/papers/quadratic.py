"""Quadratic gates in least squares, with and without a linear term: 2410.11222."""

from __future__ import annotations

from dataclasses import replace

from gatewise.core.experts import EXPERTS
from gatewise.core.families import MeanOnly
from gatewise.core.mixture import Measure
from gatewise.theory.arms import Arm, Data, DataDrivenStarts, Model
from gatewise.theory.claims import Claim, Probe, slope_of
from gatewise.theory.error_parts import every_part
from gatewise.theory.papers.parts import (
    OWN,
    Numbers,
    bound,
    box,
    decided,
    flat,
    law,
    mean,
    measure,
    over,
    same,
    split_probes,
)
from gatewise.theory.paths import COEF, WEIGHT
from gatewise.theory.population.rules import Cube
from gatewise.theory.study import Study

PAPER = "2410.11222"
ROWS = 1000
STEPS = tuple(0.017 * 10 ** (-i / 4) for i in range(4))  # noise: 1.5 decades of effective sizes
EXPERT = EXPERTS["gelu-no-bias"]
MONOMIAL, POLYNOMIAL = "quadratic-monomial", "quadratic"
(SQUARE,) = flat(MONOMIAL, 2).paths("gates.0", "quadratic")
PRODUCTS: dict[int, Numbers] = {1: [[0.8], [0.0]], 3: [[0.8, 0.2, 0.0, -0.4, 0.2, 0.3], [0.0] * 6]}
WEIGHTS: dict[int, Numbers] = {1: [[1.0], [0.0]], 3: [[1.0, -0.5, 0.5], [0.0, 0.0, 0.0]]}
SLOPES: dict[int, Numbers] = {1: [[[2.0]], [[-1.5]]], 3: [[[2.0, 0.5, -0.5]], [[-1.5, 0.5, 1.0]]]}
PAIRS = tuple((gate, d) for d in (1, 3) for gate in (MONOMIAL, POLYNOMIAL))


def _truth(gate: str, d: int) -> Measure:
    linear = {"weight": WEIGHTS[d]} if gate == POLYNOMIAL else {}
    return measure({"quadratic": PRODUCTS[d], **linear, "bias": [-0.5, 0.0]}, {"coef": SLOPES[d]})


def _name(gate: str, d: int) -> str:
    return f"{gate}, d={d}"


def _arm(gate: str, d: int) -> Arm:
    data = Data(flat(gate, 2, EXPERT, MeanOnly()), _truth(gate, d), law(d), STEPS)
    linear = box(weight=4.0) if gate == POLYNOMIAL else {}
    limits = box(quadratic=3.0, bias=3.0, coef=5.0) | linear
    model = Model(flat(gate, 3, EXPERT, MeanOnly()), "ls", limits)
    return Arm(_name(gate, d), data, model, (ROWS,), 40, DataDrivenStarts(4, more=40), ("softmax-strong",))


def _exponents(gate: str) -> dict[str, tuple[float, float]]:
    smooth = {COEF: (2.0, 0.2), SQUARE: (2.0, 0.2)}
    return smooth if gate == MONOMIAL else {**smooth, WEIGHT: (4.0, 0.4)}


def _claims(gate: str, d: int) -> tuple[Claim, ...]:
    name = _name(gate, d)
    if gate == MONOMIAL:
        return *decided([bound(name, over(COEF), -1 / 4, PAPER)], name), mean(name, PAPER)
    slower = Claim(name, over(COEF), "at_least", 0.05, 0.01, PAPER, "published", _name(MONOMIAL, d))
    ours = (bound(name, over(path), slope_of(e), OWN, "derived") for path, (e, _) in _exponents(gate).items())
    return slower, same(name, _name(MONOMIAL, d), over(COEF)), *decided(ours, name), mean(name, PAPER)


def _probes(gate: str, d: int) -> tuple[Probe, ...]:
    """Return the population exponents of a shared cell; six nodes along every of three inputs are too few for them."""
    arm = _arm(gate, d)
    found = split_probes(arm.name, arm.data, arm.model, _exponents(gate))
    if d == 1:
        return tuple(
            replace(probe, starts=10, eps=(0.4, 0.2, 0.1)) if probe.path == WEIGHT else probe for probe in found
        )
    return tuple(replace(probe, inputs=Cube(d=d, panels=2), starts=6) for probe in found)


QUADRATIC_RATES = Study(
    "quadratic-rates",
    "Quadratic gates in least squares: scores with and without a linear term",
    "Two experts GELU(ax), three fitted. Scores are x'Ax + c (monomial) or x'Ax + w.x + c (polynomial). The paper "
    "says that experts are slower with the polynomial gate, and gives -1/4 with the monomial one: a whole order above "
    "4 is 5 at least, -1/5 or slower against -1/4, a difference of .05 at least. We derive another order of "
    "parameters: the second derivative in w is the first one in A (the heat equation of a Gaussian expert, with w and "
    "A in place of intercept and variance), which leaves -1/8 for w and -1/4 for A; but the square of a displacement "
    "of the expert's slope comes with the second derivative of GELU, which nothing else has, so that experts have "
    "-1/4 with both gates. One and three inputs uniform on [-2, 2]^d. Least squares, 1000 rows, noise from .017 to "
    ".003 (1.5 decades of effective sizes in four steps; from .1 on, a third of the fits of a first confirmatory run "
    "ended at bounds of the boxes), 40 replicates. Boxes hold the truth in any order: entries of A within 3, weights "
    "within 4, biases within 3 of the last one, slopes within 5. Starts know nothing of the truth, four of them "
    "beside as many random points, and forty more for a fit that is worse than the truth. Population exponents decide "
    "what slopes leave open; with three inputs they take twelve nodes along each, for in a first run "
    "six left changes of up to 27 % on finer nodes.",
    tuple(_arm(*one) for one in PAIRS),
    tuple(claim for one in PAIRS for claim in _claims(*one)),
    probes=tuple(probe for one in PAIRS for probe in every_part(_probes(*one))),
)
