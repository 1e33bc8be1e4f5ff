"""Dense-to-sparse gates, plain and activated: 2401.13875."""

from __future__ import annotations

from gatewise.core.mixture import Measure
from gatewise.theory.papers.parts import (
    COEF,
    EXACT,
    INTERCEPT,
    OVER,
    OWN,
    TEMPERATURE,
    VARIANCE,
    WEIGHT,
    bound,
    box,
    density,
    equal,
    exact,
    exact_leaves,
    flat,
    measure,
    over,
    raw,
    slow,
)
from gatewise.theory.study import Arm, Blind, Claim, Data, Model, Study

PAPER = "2401.13875"
PLAIN = {"identity": "dense-to-sparse", "relu": "relu-dense-to-sparse"}
ACTIVATED = {
    "sigmoid": "activation-dense-to-sparse",
    "tanh": "tanh-dense-to-sparse",
    "gelu": "gelu-dense-to-sparse",
}
GATE_OF = PLAIN | ACTIVATED
SIZES = (2000, 4700, 11_200, 26_700, 64_000)
LIMITS = box(weight=6.0, bias=3.0, temperature=(0.2, 3.0), coef=4.0, intercept=4.0)
TRUTH_2 = measure(
    {"weight": [[2.0], [-1.0]], "bias": [0.3, 0.0], "temperature": 0.7},
    {"coef": [[[1.5]], [[-1.0]]], "intercept": [[1.0], [-1.0]]},
    [[0.5], [0.7]],
)
TRUTH_3 = measure(
    {"weight": [[2.0], [-1.0], [0.5]], "bias": [0.3, 0.0, -0.2], "temperature": 0.7},
    {"coef": [[[1.5]], [[-1.0]], [[0.3]]], "intercept": [[1.0], [-1.0], [3.0]]},
    [[0.5], [0.7], [0.6]],
)


def _arm(fn: str, truth: Measure, k: int, name: str, replicates: int) -> Arm:
    mixture = flat(GATE_OF[fn], len(truth.experts["coef"]))
    fitted = flat(GATE_OF[fn], k)
    loss = ("exact", "activation-dense-to-sparse") if k > mixture.n_leaves else ("exact",)
    model = Model(fitted, box=LIMITS, min_scale=0.1, gauge="none")
    return Arm(f"{fn}, {name}", Data(mixture, truth), model, SIZES, replicates, Blind(10), loss)


def _exact(fn: str, name: str) -> tuple[Claim, ...]:
    title = f"{fn}, {name}"
    common = (*exact_leaves(title, PAPER, "recalled"), density(title, PAPER, EXACT))
    if fn in PLAIN:
        ridge = slow(title, exact(WEIGHT), PAPER), slow(title, raw(TEMPERATURE), PAPER)
        return *common, *ridge, equal(title, "loss exact", -0.5, EXACT, OWN, "derived")
    gate = tuple(equal(title, exact(path), -0.5, OVER, PAPER, "recalled") for path in (WEIGHT, TEMPERATURE))
    return *common, *gate, equal(title, "loss exact", -0.5, EXACT, PAPER, "recalled")


def _over(fn: str) -> tuple[Claim, ...]:
    title = f"{fn}, over"
    heat = {INTERCEPT: -1 / 8, VARIANCE: -1 / 4}
    common = tuple(bound(title, over(path), value, PAPER, "recalled") for path, value in heat.items())
    if fn in PLAIN:
        ridge = slow(title, over(WEIGHT), PAPER, "recalled"), slow(title, raw(TEMPERATURE), PAPER, "recalled")
        slopes = (
            slow(title, over(COEF), PAPER, "recalled"),
            equal(title, over(COEF), -1 / 4, OVER, OWN, "derived"),
        )
        return *common, *ridge, *slopes, density(title, PAPER)
    quarter = tuple(bound(title, over(path), -1 / 4, PAPER, "recalled") for path in (WEIGHT, COEF))
    warm = bound(title, over(TEMPERATURE), -1 / 2, PAPER, "recalled")
    loss = bound(title, "loss activation-dense-to-sparse", -0.5, PAPER, "recalled")
    return *common, *quarter, warm, loss, density(title, PAPER)


TEMPERATURE_RATES = Study(
    "temperature-rates",
    "Dense-to-sparse gates: which activations make the temperature estimable",
    "Two experts, inputs uniform on [-2, 2], gate weights 2 and -1, temperature .7, standard deviations .5 and .7; a "
    "variant with three experts, for which an odd activation has no mirror image. Identity and ReLU are controls that "
    "must fail: their temperature is left free (no gauge), lies on an exact ridge, and has no rate; losses and errors "
    "fix the scale of the gate first, so that what is identified keeps its rate; the temperature is shown as it "
    "stands. With the scale fixed the plain gate is the softmax gate, so that -1/4 is derived for the slopes of an "
    "over-filled cell, against the recollection 'slower than polynomial', which 1.5 decades cannot support. Boxes hold "
    "the truth in any order: gate weights within 6, biases within 3, temperature from .2 to 3, slopes and intercepts "
    "within 4, standard deviations from .1. Starts know nothing of the truth. The window 2000..64000 (1.5 decades) "
    "begins where activated gates, whose scores differ by 1.4 at most, are estimated at all; the gate is reported with "
    "the wider tolerance .06. 60 replicates for two experts exactly, 40 otherwise.",
    (
        *(_arm(fn, TRUTH_2, 2, "exact", 60) for fn in GATE_OF),
        *(_arm(fn, TRUTH_3, 3, "three experts", 40) for fn in GATE_OF),
        *(_arm(fn, TRUTH_2, 3, "over", 40) for fn in GATE_OF),
    ),
    (
        *(claim for fn in GATE_OF for claim in _exact(fn, "exact")),
        *(claim for fn in GATE_OF for claim in _exact(fn, "three experts")),
        *(claim for fn in GATE_OF for claim in _over(fn)),
    ),
    comparisons=tuple(
        (f"{fn}, {name}", f"identity, {name}", series)
        for name, series in (("exact", exact(COEF)), ("three experts", exact(COEF)), ("over", over(COEF)))
        for fn in ACTIVATED
    ),
)
