"""Slopes that come from where a fit starts or stops, beside honest ones."""

from __future__ import annotations

from dataclasses import replace

from gatewise.theory.arms import Arm, Data, DataDrivenStarts, Model, NearTruth
from gatewise.theory.claims import Claim
from gatewise.theory.papers.gaussian import LINE, SIZES, SOFTMAX_1, SOFTMAX_BOX, split_probe
from gatewise.theory.papers.parts import (
    EXACT,
    FLOOR,
    OVER,
    OWN,
    SCALES,
    box,
    decided,
    density,
    equal,
    exact,
    flat,
    mean,
    measure,
    over,
    raw,
)
from gatewise.theory.papers.sigmoid import line
from gatewise.theory.papers.temperature import LIMITS, TRUTH_2
from gatewise.theory.paths import COEF, TEMPERATURE, WEIGHT
from gatewise.theory.study import Study

NEAR = NearTruth(0.005, 0.083)  # as in public simulation code
_SPLIT = Data(flat("softmax", 2), SOFTMAX_1, LINE)
_HONEST = Model(flat("softmax", 3), box={**SOFTMAX_BOX, **SCALES}, min_scale=FLOOR)
_STOPPED = replace(_HONEST, method="em", max_iter=100)
_LOSSES = ("exact", "softmax-sharp")


def _split(name: str, path: str) -> Claim:
    """Return the claim about the atoms of a split expert; of maxima, a population exponent decides it if need be."""
    claim = equal(name, over(path), -1 / 4, OVER, OWN, "derived")
    return claim if name == "stopped" else decided([claim], "maximum")[0]


TRAP_EARLY_STOP = Study(
    "trap-early-stop",
    "EM from near the truth, stopped after 100 passes, beside the maximum of the likelihood",
    "Data, boxes and window of softmax-over with one expert too many, 40 replicates of the stopped fits and 200 of "
    "the others (40 gave intervals of +- .07 in a first run). The stopped fits start at the truth plus noise of .005 "
    "n^-.083 and end on the way, the sooner the larger n is in terms of what is left to gain: their errors are those "
    "of the start. They have no certificate, so that no claim about them is ever decided. Population exponents decide "
    "what slopes of the others leave open (added after the first run).",
    (
        Arm("stopped", _SPLIT, _STOPPED, SIZES, 40, NEAR, _LOSSES),
        Arm("maximum, near", _SPLIT, _HONEST, SIZES, 200, NEAR, _LOSSES),
        Arm("maximum, blind", _SPLIT, _HONEST, SIZES, 200, DataDrivenStarts(10, more=40), _LOSSES),
    ),
    tuple(
        claim
        for name in ("stopped", "maximum, near", "maximum, blind")
        for claim in (
            *(_split(name, path) for path in (COEF, WEIGHT)),
            density(name, "2305.03288"),
        )
    ),
    probes=tuple(
        split_probe("maximum", (_SPLIT.mixture, SOFTMAX_1), SOFTMAX_BOX, path, 2.0, 0.2) for path in (COEF, WEIGHT)
    ),
)

_UNITS = measure(
    {"weight": [[1.5], [-1.0]], "bias": [0.3, 0.0]},
    {"coef": [[[2.0]], [[-1.5]]], "intercept": [[0.5], [1.0]], "output": [[1.5], [-1.0]]},
)
_UNIT_DATA = Data(line("sigmoid", "relu-unit", 2), _UNITS, LINE, 0.1)
_UNIT_MODEL = Model(
    line("sigmoid", "relu-unit", 2), "ls", box(weight=5.0, bias=3.0, coef=6.0, intercept=6.0, output=6.0), gauge="none"
)
_UNIT_STARTS: dict[str, DataDrivenStarts | NearTruth] = {
    "near, noise shrinks": NearTruth(0.5, 0.25),
    "near, noise stays": NearTruth(0.1),
    "blind": DataDrivenStarts(10, more=40),
}
_UNIT_SIZES = (1000, 2400, 5700, 13_500, 32_000)

TRAP_NEAR_START = Study(
    "trap-near-start",
    "Starts near the truth that shrink with n, on parameters that no data identify",
    "Experts c ReLU(ax + b) with a sigmoid gate: c, a and b lie on the ridge (c / s, s a, s b), s > 0, of equal mean. "
    "An optimiser leaves a start on the ridge about where it is, so that the error inherits a slope from the start: up "
    "to -1/4 from noise of .5 n^-.25, none from noise of .1; blind starts leave errors of the size of the box. Public "
    "simulations have such experts and such starts. Least squares, noise .1, 1.5 decades, 40 replicates; weights "
    "within 5, biases within 3, experts within 6.",
    tuple(
        Arm(name, _UNIT_DATA, _UNIT_MODEL, _UNIT_SIZES, 40, starts, ("sigmoid-regime-1",))
        for name, starts in _UNIT_STARTS.items()
    ),
    tuple(
        claim
        for name in _UNIT_STARTS
        for claim in (
            equal(name, exact(COEF), -0.5, EXACT, "2405.13997", "recalled"),
            equal(name, exact("experts.output"), -0.5, EXACT, "2405.13997", "recalled"),
            mean(name, "2405.13997"),
        )
    ),
)

_PLAIN = Data(flat("dense-to-sparse", 2), TRUTH_2, LINE)
_FREE = Model(flat("dense-to-sparse", 2), box=LIMITS, min_scale=FLOOR, gauge="none")

TRAP_TEMPERATURE = Study(
    "trap-temperature",
    "The slope of a temperature that has no rate",
    "Plain dense-to-sparse gate, as many experts as there are, temperature free: (c w, c bias, c temperature) is the "
    "same gate for every c > 0. From starts near the truth (noise .005 n^-.083) the temperature seems to converge, "
    "for a fit ends at the point of the ridge close by, and that approaches the truth as the ridge does; from blind "
    "starts it does not. The error is that of the temperature as it stands; those of weights are of weights over "
    "temperature and keep their rate. Truth and boxes of temperature-rates, 1.6 decades, 600 replicates (40 gave "
    "intervals of +- .05 in a first run, and 120 of +- .03).",
    (
        Arm("near", _PLAIN, _FREE, SIZES, 600, NEAR, ("exact",)),
        Arm("blind", _PLAIN, _FREE, SIZES, 600, DataDrivenStarts(10, more=40), ("exact",)),
    ),
    tuple(
        claim
        for name in ("near", "blind")
        for claim in (
            equal(name, raw(TEMPERATURE), -0.5, EXACT, OWN, "own"),
            equal(name, exact(COEF), -0.5, EXACT, "2401.13875", "recalled"),
            density(name, "2401.13875", EXACT),
        )
    ),
)
