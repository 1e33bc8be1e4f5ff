"""Sigmoid and softmax gates in least squares: 2405.13997, every expert, exactly and over-specified."""

from __future__ import annotations

from math import inf

import torch

from gatewise.core.experts import EXPERTS
from gatewise.core.families import MeanOnly
from gatewise.core.mixture import Measure, Mixture, regression
from gatewise.theory.arms import Arm, Data, DataDrivenStarts, Model
from gatewise.theory.claims import Claim, Probe, Standing
from gatewise.theory.inputs import Uniform
from gatewise.theory.papers.parts import (
    EXACT,
    OWN,
    WIDE,
    Box,
    Numbers,
    bound,
    box,
    decided,
    equal,
    exact,
    exponent,
    flat,
    mean,
    measure,
    over,
    regular_probes,
    slow,
)
from gatewise.theory.paths import COEF, INTERCEPT, LOSS
from gatewise.theory.study import Study

PAPER = "2405.13997"
LINE = Uniform()
ROWS = 1000
STEPS = (0.1, 0.1 * 10**-0.5, 0.01, 0.01 * 10**-0.5, 0.001)  # noise over signal: four decades of effective size
SIZES = (1000, 2400, 5700, 13_500, 32_000)
GATE: dict[str, Numbers] = {"one": [[0.0], [-1.0]], "two": [[1.5], [-1.0]]}
SLOPE: Numbers = [[[2.0]], [[-1.5]]]
SHIFT: Numbers = [[0.5], [1.0]]
TRUE: dict[str, dict[str, Numbers]] = {
    "gelu-no-bias": {"coef": SLOPE},
    "tanh-no-bias": {"coef": SLOPE},
    "relu-no-bias": {"coef": SLOPE},
    "bare-gelu": {"coef": SLOPE, "intercept": SHIFT},
    "square": {"coef": [[[2.0]], [[1.5]]], "intercept": [[0.5], [-1.0]]},
    "linear": {"coef": SLOPE, "intercept": SHIFT},
    "constant": {"intercept": [[2.0], [-1.5]]},
}
TITLE = {
    "gelu-no-bias": "GELU(ax)",
    "tanh-no-bias": "tanh(ax)",
    "relu-no-bias": "ReLU(ax)",
    "bare-gelu": "GELU(ax + b)",
}
TITLE |= {"square": "(ax + b)^2", "linear": "ax + b", "constant": "b"}
UNITS = ("gelu-no-bias", "tanh-no-bias", "relu-no-bias", "bare-gelu")  # of feed-forward networks
SHORT = tuple(0.1 * 10 ** (-(2 + i) / 4) for i in range(4))  # from where boxes are wide enough to where fits stall
LATE = tuple(0.1 * 10 ** (-(3 + i) / 4) for i in range(4))
OVER_STEPS = {
    "gelu-no-bias": STEPS[1:],
    "tanh-no-bias": SHORT,
    "relu-no-bias": SHORT,
    "bare-gelu": LATE,
    "square": SHORT,
    "linear": LATE,
    "constant": LATE,
}
HEADLINE = ("gelu-no-bias", "relu-no-bias")  # exact fits with narrower intervals
MISSED = ("tanh-no-bias", "square", "linear")  # with the sigmoid gate ten starts did not always find the minimum
CURVED = ("gelu-no-bias", "tanh-no-bias", "bare-gelu")  # others that share a gate can move and keep their mean
FLIPPED = ("linear", "constant")  # sigma(z) h = h - sigma(-z) h: three atoms in other ways than two and a zero


def line(gate: str, expert: str, k: int) -> Mixture:
    """Return a mixture for least squares."""
    return flat(gate, k, EXPERTS[expert], MeanOnly())


def truth(expert: str, regime: str) -> Measure:
    """Return the true measure, the same for both gates."""
    return measure({"weight": GATE[regime], "bias": [0.3, 0.0]}, TRUE[expert])


def limits(expert: str) -> Box:
    """Return the box; a square has one sign only, for (a, b) and (-a, -b) are the same expert."""
    slope = {"square": (0.0, 5.0), "constant": None}.get(expert, (-5.0, 5.0))
    out = box(weight=5.0, bias=3.0) | (box(coef=slope) if slope else {})
    return out | (box(intercept=4.0) if "intercept" in TRUE[expert] else {})


def signal(gate: str, expert: str, true: Measure) -> float:
    """Return the standard deviation of the regression function over the inputs, in three digits."""
    nodes = LINE.nodes()
    value = regression(line(gate, expert, 2), true, nodes.x, nodes.x)[0]
    centred = value - (nodes.weight * value).sum()
    return float(f"{float(torch.sqrt((nodes.weight * centred * centred).sum())):.3g}")


def _over(gate: str, expert: str, regime: str) -> Arm:
    true = truth(expert, regime)
    unit = signal(gate, expert, true)
    noise = tuple(unit * step for step in OVER_STEPS[expert])
    losses = (f"sigmoid-regime-{'1' if regime == 'one' else '2'}",) if gate == "sigmoid" else ("softmax-strong",)
    model = Model(line(gate, expert, 3), "ls", limits(expert))
    data = Data(line(gate, expert, 2), true, LINE, noise)
    replicates = 160 if (gate, expert, regime) == ("sigmoid", "gelu-no-bias", "two") else 40
    starts = DataDrivenStarts(10, more=40)
    return Arm(_name(gate, expert, f"regime {regime}"), data, model, (ROWS,), replicates, starts, losses)


def _exact(gate: str, expert: str) -> Arm:
    true = truth(expert, "two")
    share = 0.1 if expert in UNITS else 0.001
    data = Data(line(gate, expert, 2), true, LINE, share * signal(gate, expert, true))
    losses = ("sigmoid-regime-1",) if gate == "sigmoid" else ("exact",)
    model = Model(line(gate, expert, 2), "ls", limits(expert))
    replicates = 120 if expert in HEADLINE else 80
    starts = DataDrivenStarts(40 if gate == "sigmoid" and expert in MISSED else 10, more=40)
    return Arm(_name(gate, expert, "exact"), data, model, SIZES, replicates, starts, losses)


def _name(gate: str, expert: str, what: str) -> str:
    return f"{gate}, {TITLE[expert]}, {what}"


def _paths(expert: str) -> tuple[str, ...]:
    return tuple(path for path in (COEF, INTERCEPT) if path.rpartition(".")[2] in TRUE[expert])


def _exact_claims(gate: str, expert: str) -> tuple[Claim, ...]:
    name = _name(gate, expert, "exact")
    known = gate == "sigmoid"
    source, loss = (PAPER, "loss sigmoid-regime-1") if known else (OWN, "loss exact")
    standing: Standing = "recalled" if known else "derived"
    series = (loss, *(exact(path) for path in _paths(expert)))
    room = EXACT if expert in HEADLINE else WIDE
    claims = [equal(name, s, -0.5, room, source, standing) for s in series]
    return *decided(claims, name, line(gate, expert, 2)), mean(name, PAPER, room)


def _over_claims(gate: str, expert: str, regime: str) -> tuple[Claim, ...]:
    name = _name(gate, expert, f"regime {regime}")
    split, matched = ([cell(path) for path in _paths(expert)] for cell in (over, exact))
    error = mean(name, PAPER)
    if gate == "sigmoid" and regime == "two":
        if expert == "constant":
            return *(slow(name, series, PAPER) for series in matched), error
        doubted = (slow(name, series, OWN, "own") for series in matched if expert in FLIPPED)
        return *(bound(name, series, -0.5, PAPER) for series in matched), *doubted, error
    claims = [bound(name, s, -1 / 4, PAPER) if expert in UNITS else slow(name, s, PAPER) for s in split]
    return *decided(claims, name), error


def _probes(gate: str, expert: str, regime: str) -> tuple[Probe, ...]:
    """Return the population exponents of an expert that two atoms share; in regime 2 none of the sigmoid gate do."""
    arm = _over(gate, expert, regime)
    value = 2.0 if expert in CURVED else inf
    starts = 12 if expert == "square" else 6  # descents along the ridge of squares stall
    return tuple(
        Probe(exponent(arm.name, path), arm.data, arm.model, path, (0, 0, 1), value, 0.2, OWN, "derived", starts=starts)
        for path in _paths(expert)
    )


GATES_COMPARED = ("sigmoid", "softmax")


def _compared(expert: str) -> tuple[tuple[str, str, str], ...]:
    """Return whose errors are compared in rows: of shared atoms in regime 1, of single ones elsewhere.

    In regime 2 an atom of the sigmoid gate becomes a zero expert that has no error of its own; the cell that holds one
    atom is measured alike for both gates.
    """
    path = _paths(expert)[0]
    series = {"regime one": over(path), "regime two": exact(path), "exact": exact(path)}
    return tuple((_name("sigmoid", expert, what), _name("softmax", expert, what), s) for what, s in series.items())


SIGMOID_RATES = Study(
    "sigmoid-rates",
    "Sigmoid against softmax gates in least squares",
    "Two experts of one input uniform on [-2, 2], the same parameters for both gates: biases .3 and 0, slopes 2 and "
    "-1.5, intercepts .5 and 1; gate weights 0 and -1 (regime 1: the expert that two atoms can share has a constant "
    "gate) or 1.5 and -1 (regime 2). The softmax gate has no regimes: it is run on both. Noise is a share of the "
    "signal, the same for both gates, so that their rows can be compared: errors of slopes (of the constant where "
    "there is none), in the cell that two atoms share in regime 1, in the cell with one atom otherwise. "
    "Over-specified arms keep 1000 rows and lower the noise in four steps: from .03 of the signal to .001 with "
    "GELU(ax), three decades of effective sizes; to .006 with tanh(ax), ReLU(ax) and squares, and from .018 to .003 "
    "with the others, 1.5 decades. With more noise many trial fits ended at bounds of the boxes, with less many "
    "had no certificate. No window can show that a rate is slower than every power of n: population exponents decide "
    "that. This is local asymptotics with a design of fixed size and not a study of sample sizes; 40 "
    "replicates, 160 with GELU(ax) and the sigmoid gate in regime 2 (40 gave +- .11). Exact arms have 1000 to 32000 "
    "rows (1.5 decades), 120 replicates for GELU(ax) and ReLU(ax), 80 and the tolerance .1 for others, noise .1 of the "
    "signal for feed-forward units and .001 for others, whose curves bend until the effective size is about 1e6; what "
    "their slopes leave open is decided by standard errors by the information at the truth. "
    "Boxes, the same for every leaf: gate weights within 5, biases within 3, slopes within 5 (of a square: from 0 to "
    "5, for its sign is free), intercepts within 4. They hold experts that are zero, so that in regime 2 the truth is "
    "attained by two exact atoms and a zero one: distances are to the truth, in cells with one atom. With linear and "
    "constant experts sigma(z) h = h - sigma(-z) h gives further representations by three atoms, so that errors of "
    "parameters need not fall although that of the mean does. In regime 1 with ReLU, square, linear and constant "
    "experts bias and size of the shared expert cannot be told apart at all. Starts know nothing of the truth: ten "
    "and the best ten of eighty random points, four times as many in exact arms of the sigmoid gate with tanh, square "
    "and linear experts, where some fits were worse than the truth; wherever one is, it gets forty more. Experts "
    "without bias come first: those with one are not strongly identifiable. Population exponents (added after the "
    "first run) decide what slopes leave open: 2 where curved units share a cell, infinite with ReLU(ax), square, "
    "linear and constant experts: two that share a gate move apart and keep their mean.",
    (
        *(_over(gate, e, regime) for e in TRUE for regime in ("one", "two") for gate in GATES_COMPARED),
        *(_exact(gate, e) for e in TRUE for gate in GATES_COMPARED),
    ),
    (
        *(
            c
            for e in TRUE
            for regime in ("one", "two")
            for gate in GATES_COMPARED
            for c in _over_claims(gate, e, regime)
        ),
        *(c for e in TRUE for gate in GATES_COMPARED for c in _exact_claims(gate, e)),
    ),
    comparisons=tuple(pair for e in TRUE for pair in _compared(e)),
    probes=tuple(
        probe
        for e in TRUE
        for gate, regime in (("sigmoid", "one"), ("softmax", "one"), ("softmax", "two"))
        for probe in _probes(gate, e, regime)
    )
    + tuple(
        probe for e in TRUE for gate in GATES_COMPARED for probe in regular_probes(_exact(gate, e), (*_paths(e), LOSS))
    ),
)
