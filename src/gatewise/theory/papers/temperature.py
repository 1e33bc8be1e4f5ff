"""Dense-to-sparse gates, plain and activated: 2401.13875."""

from __future__ import annotations

from dataclasses import replace

from gatewise.core.gates import GATES
from gatewise.core.mixture import Measure
from gatewise.theory.arms import Arm, Data, DataDrivenStarts, Model
from gatewise.theory.claims import Claim, Probe
from gatewise.theory.completion import REGULAR
from gatewise.theory.error_parts import every_part
from gatewise.theory.papers.parts import (
    EXACT,
    FLOOR,
    LEAF,
    OVER,
    OWN,
    SCALES,
    WIDE,
    bound,
    box,
    decided,
    density,
    equal,
    exact,
    exact_leaves,
    exponent,
    flat,
    measure,
    over,
    raw,
    slow,
    split_probes,
)
from gatewise.theory.paths import COEF, INTERCEPT, TEMPERATURE, VARIANCE, WEIGHT
from gatewise.theory.population.rules import Cube
from gatewise.theory.study import Study
from gatewise.theory.voronoi.gauge import conventional

PAPER = "2401.13875"
PLAIN = {"identity": "dense-to-sparse", "relu": "relu-dense-to-sparse"}
ACTIVATED = {
    "sigmoid": "activation-dense-to-sparse",
    "tanh": "tanh-dense-to-sparse",
    "gelu": "gelu-dense-to-sparse",
}
GATE_OF = PLAIN | ACTIVATED
LATER = (5000, 11_900, 28_200, 66_900, 159_000)
THREE = (5000, 15_800, 50_000, 159_000)
SPLIT = (6000, 19_000, 60_000, 190_000)  # with one expert more
FALLING = (0.2, 0.1, 0.05, 0.025)
SHIFTS = {  # of population exponents: distances above rounding, and variances above zero
    COEF: FALLING,
    WEIGHT: FALLING,
    INTERCEPT: (0.4, 0.2, 0.1, 0.05),
    VARIANCE: (0.04, 0.02, 0.01, 0.005),
}
LIMITS = box(weight=6.0, bias=3.0, temperature=(0.02, 1.0), coef=4.0, intercept=8.0)
FURTHER = LIMITS | box(weight=12.0, bias=10.0, temperature=(0.01, 2.0))  # of activated gates with one expert more
TRUTH_2 = measure(
    {"weight": [[3.0], [0.5]], "bias": [-0.3, 0.0], "temperature": 0.1},
    {"coef": [[[1.5]], [[-1.0]]], "intercept": [[2.0], [-2.0]]},
    [[0.3], [0.4]],
)
TRUTH_3 = measure(
    {"weight": [[3.0], [1.0], [4.0]], "bias": [0.0, 0.3, 0.0], "temperature": 0.07},
    {"coef": [[[1.5]], [[-1.0]], [[0.3]]], "intercept": [[2.0], [-2.0], [5.0]]},
    [[0.3], [0.4], [0.35]],
)


def _arm(fn: str, truth: Measure, k: int, name: str) -> Arm:
    sizes = {"exact": LATER, "three experts": THREE, "over": SPLIT}[name]
    limits = FURTHER if name == "over" and fn in ACTIVATED else LIMITS
    replicates = 60 if name == "over" else 200 if name == "exact" and fn in ACTIVATED else 120
    mixture = flat(GATE_OF[fn], len(truth.experts["coef"]))
    fitted = flat(GATE_OF[fn], k)
    loss = ("exact", "activation-dense-to-sparse") if k > mixture.n_leaves else ("exact",)
    model = Model(fitted, box=limits | SCALES, min_scale=FLOOR, gauge="none")
    starts = DataDrivenStarts(40 if name == "three experts" and fn in ACTIVATED else 10, more=40)
    return Arm(f"{fn}, {name}", Data(mixture, truth), model, sizes, replicates, starts, loss)


def _exact(fn: str, name: str) -> tuple[Claim, ...]:
    title = f"{fn}, {name}"
    room = EXACT if name == "exact" and fn in ACTIVATED else WIDE
    leaves = exact_leaves(title, PAPER, "recalled", room)
    if fn in ACTIVATED:
        leaves = decided(leaves, title)
    common = (*leaves, density(title, PAPER, room))
    if fn in PLAIN:
        ridge = slow(title, exact(WEIGHT), PAPER), slow(title, raw(TEMPERATURE), PAPER)
        return *common, *ridge, equal(title, "loss exact", -0.5, room, OWN, "derived")
    (weight,) = decided([equal(title, exact(WEIGHT), -0.5, max(room, OVER), PAPER, "recalled")], title)
    warm = equal(title, exact(TEMPERATURE), -0.5, max(room, OVER), PAPER, "recalled")
    return *common, weight, warm, equal(title, "loss exact", -0.5, room, PAPER, "recalled")


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
        return *common, *slopes, *ridge, density(title, PAPER)
    quarter = tuple(bound(title, over(path), -1 / 4, PAPER, "recalled") for path in (WEIGHT, COEF))
    warm = bound(title, over(TEMPERATURE), -1 / 2, PAPER, "recalled")
    loss = bound(title, "loss activation-dense-to-sparse", -0.5, PAPER, "recalled")
    return *decided((*common, *quarter), title), warm, loss, density(title, PAPER)


def _probes(fn: str) -> tuple[Probe, ...]:
    """Return the population exponents of an expert that is split in two; plain gates have the temperature 1."""
    arm = _arm(fn, TRUTH_2, 3, "over")
    data, limits = arm.data, {**(arm.model.box or {})}
    claimed = {COEF: (2.0, 0.2), INTERCEPT: (4.0, 0.4), VARIANCE: (2.0, 0.2)}
    if fn in PLAIN:
        gate = conventional(GATES[GATE_OF[fn]], TRUTH_2.gates[0])
        data, limits = replace(data, truth=TRUTH_2._replace(gates=(gate,))), limits | box(weight=60.0, bias=30.0)
    else:
        claimed[WEIGHT] = (2.0, 0.2)
    model = replace(arm.model, box=limits)
    return tuple(
        Probe(
            *(exponent(arm.name, path), data, model, path, (0, 0, 1), *values, OWN, "derived"),
            eps=SHIFTS[path],
            starts=4,
        )
        for path, values in claimed.items()
    )


def _exact_probes(fn: str) -> tuple[Probe, ...]:
    """Return the population exponents of the first of two or three experts, each alone in its cell."""
    found: list[Probe] = []
    for name, truth in (("exact", TRUTH_2), ("three experts", TRUTH_3)):
        k = len(truth.experts["coef"])
        arm = _arm(fn, truth, k, name)
        claimed = dict.fromkeys((*LEAF, WEIGHT), REGULAR)
        found.extend(split_probes(arm.name, arm.data, arm.model, claimed, tuple(range(k))))
    return every_part(replace(probe, inputs=Cube(panels=24)) for probe in found)  # a sharp gate needs many nodes


TEMPERATURE_RATES = Study(
    "temperature-rates",
    "Dense-to-sparse gates: which activations make the temperature estimable",
    "Two experts, inputs uniform on [-2, 2], gate weights 3 and .5, temperature .1, standard deviations .3 and .4; a "
    "variant with three experts, for which an odd activation has no mirror image. Identity and ReLU are controls that "
    "must fail: their temperature is left free (no gauge), lies on an exact ridge, and has no rate; losses and errors "
    "fix the scale of the gate first, so that what is identified keeps its rate; the temperature is shown as it "
    "stands. With the scale fixed the plain gate is the softmax gate, so that -1/4 is derived for the slopes of an "
    "over-filled cell, against the recollection 'slower than polynomial', which 1.5 decades cannot support. Boxes "
    "hold the truth in any order: gate weights within 6, biases within 3, temperature from .02 to 1, slopes within 4, "
    "intercepts within 8, standard deviations from .1. Those of activated gates with one expert more are wider, "
    "because fits of an earlier run ended at their bounds: weights within 12, biases within 10, temperature from .01 "
    "to 2. Starts know nothing of the truth. There are ten, and forty for three experts and an activation, where ten "
    "left many fits worse than the truth; a fit that still is gets forty more. The truth is sharp because an "
    "activation bounds the scores: with gate weights 2 and -1 and temperature .7, the truth of an earlier version, "
    "the activated gates had not reached their rate at 64000 rows. Windows are 1.5 decades: 5000..159000 for as many "
    "experts as there are, and 6000..190000 for one more. There are 200 replicates for two experts with an activated "
    "gate, 120 for the other arms without a further expert, with the tolerance .1, and 60 for those with one. The "
    "tolerance of the gate is .06 at least. Population exponents of activated gates, of exact and of over-filled "
    "cells, decide what slopes leave open: two halves of an expert move far apart before the law does. Those of "
    "identity and ReLU are of the gate with the temperature 1, in another box, and decide no slope.",
    (
        *(_arm(fn, TRUTH_2, 2, "exact") for fn in GATE_OF),
        *(_arm(fn, TRUTH_3, 3, "three experts") for fn in GATE_OF),
        *(_arm(fn, TRUTH_2, 3, "over") for fn in GATE_OF),
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
    probes=(
        *(probe for fn in GATE_OF for probe in _probes(fn)),
        *(probe for fn in ACTIVATED for probe in _exact_probes(fn)),
    ),
)
