"""What the second regime of 2405.13997 hides, and each gate on the data of the other."""

from __future__ import annotations

from gatewise.core.mixture import Measure
from gatewise.theory.arms import Arm, Data, DataDrivenStarts, Model
from gatewise.theory.papers.parts import OWN, Box, box, equal, measure, slow
from gatewise.theory.papers.sigmoid import LINE, PAPER, ROWS, STEPS, TITLE, limits, line, signal, truth
from gatewise.theory.study import Study

POSITIVE = measure(
    {"weight": [[1.0], [-0.5]], "bias": [0.3, 0.1]}, {"coef": [[[1.0]], [[0.5]]], "intercept": [[1.1], [1.3]]}
)
AWAY = box(weight=2.0, bias=(0.0, 2.0), coef=2.0, intercept=(1.0, 3.0))  # three atoms exceed the truth at 0
NEAR_ZERO = ("gelu-no-bias", "relu-no-bias", "linear")


def _sweep(
    name: str,
    true: tuple[str, Measure],
    fitted: str,
    expert: str,
    k: int,
    within: Box,
    losses: tuple[str, ...],
    steps: tuple[float, ...] = STEPS,
) -> Arm:
    gate, drawn = true
    noise = tuple(signal(gate, expert, drawn) * step for step in steps)
    data = Data(line(gate, expert, 2), drawn, LINE, noise)
    return Arm(name, data, Model(line(fitted, expert, k), "ls", within), (ROWS,), 40, DataDrivenStarts(10), losses)


def _allowed(expert: str) -> Arm:
    own, losses = ("sigmoid", truth(expert, "two")), ("sigmoid-regime-2",)
    name = f"{TITLE[expert]}, zero allowed"
    return _sweep(name, own, "sigmoid", expert, 3, limits(expert), losses, STEPS[:-1])


REGIME_2_ATTAINED = Study(
    "regime-2-attained",
    "Regime 2: a near-zero expert attains the truth unless the parameter set excludes it",
    "In regime 2 the theory measures distances to the best regression function with exactly k experts, because two "
    "sigmoids cannot add up to one. But an expert that is zero may be added for nothing: with boxes that hold zero the "
    "error to the truth itself must fall as n^(-1/2). A last arm has a parameter set that excludes it: biases from 0 "
    "to 2, intercepts from 1 to 3, so that at x = 0 every atom gives .42 or more, and three of them more than the "
    "truth; there the error must level off. 1000 rows, noise from .1 of the signal to .001 (four decades of effective "
    "sizes) there and to .003 (three decades) elsewhere, for beyond up to a fifth of the fits of a first "
    "confirmatory run had no certificate; 40 replicates; starts know nothing of the truth.",
    (
        *(_allowed(expert) for expert in NEAR_ZERO),
        _sweep(
            "GELU(ax + b), zero excluded",
            ("sigmoid", POSITIVE),
            "sigmoid",
            "bare-gelu",
            3,
            AWAY,
            ("sigmoid-regime-2",),
        ),
    ),
    (
        *(equal(f"{TITLE[expert]}, zero allowed", "mean", -0.5, 0.05, OWN, "own") for expert in NEAR_ZERO),
        slow("GELU(ax + b), zero excluded", "mean", PAPER),
    ),
)

RIGHT, WRONG = ("sigmoid on sigmoid", "softmax on softmax", "sigmoid on softmax"), ("softmax on sigmoid",)


def _crossed(name: str) -> Arm:
    fitted, _, drawn = name.split(" ")
    losses = {"sigmoid": "sigmoid-regime-1", "softmax": "exact"}
    own = (losses[fitted],) if fitted == drawn else ()
    expert = "gelu-no-bias"
    return _sweep(name, (drawn, truth(expert, "two")), fitted, expert, 2, limits(expert), own)


CROSSED_GATES = Study(
    "crossed-gates",
    "Sigmoid and softmax gates, each on its own data and on those of the other",
    "Two experts GELU(ax), as many fitted. A gate has an advantage on data of its own, so that a comparison on one "
    "kind of data is none. Two weights of a softmax are sigma(z) and sigma(-z): the sigmoid gate holds the softmax "
    "gate of two experts and must attain its data too, at the price of more parameters; the softmax gate does not "
    "hold the sigmoid gate, and its error on those data must level off. Noise is the same share of the signal in all "
    "arms: .1 to .001, four decades of effective sizes with 1000 rows; 40 replicates; boxes and starts as in "
    "sigmoid-rates. No parameters are compared across gates.",
    tuple(_crossed(name) for name in (*RIGHT, *WRONG)),
    (
        *(equal(name, "mean", -0.5, 0.05, OWN, "derived") for name in RIGHT),
        *(slow(name, "mean", OWN, "own") for name in WRONG),
    ),
    comparisons=(
        ("sigmoid on sigmoid", "softmax on sigmoid", "mean"),
        ("softmax on softmax", "sigmoid on softmax", "mean"),
    ),
)
