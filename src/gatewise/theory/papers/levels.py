"""Three levels of gates, of which no paper has a theorem; 2602.01468 reads gated attention as such a mixture."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from gatewise.core.gates import GATES
from gatewise.core.mixture import Measure, Mixture
from gatewise.theory.arms import Arm, Data, NearTruth
from gatewise.theory.claims import Claim, Probe
from gatewise.theory.papers.hierarchical import LOCATION, NAME
from gatewise.theory.papers.parts import (
    OWN,
    Box,
    box,
    equal,
    law,
    likelihood,
    split_probes,
    tensor,
)
from gatewise.theory.paths import COEF, INTERCEPT, VARIANCE
from gatewise.theory.study import Study

SIZES = (1000, 3200, 10_000, 32_000)
PLACES = {  # of the three gates along their directions, for softmax weights and centers
    "S": ([1.2, -1.2], [[1.5, -1.5], [-1.5, 1.5]], [[[1.0, -1.0], [-1.0, 1.0]], [[1.5, -0.5], [-0.5, 1.5]]]),
    "L": ([-1.0, 1.0], [[-1.5, 0.5], [-0.5, 1.5]], [[[-1.0, 0.5], [-1.6, 0.2]], [[1.2, -0.4], [0.3, 1.6]]]),
}
BIASES = ([0.2, 0.0], [[0.2, 0.0], [0.0, 0.3]], [[[0.1, 0.0], [0.0, 0.2]], [[0.2, 0.0], [0.0, 0.1]]])
SLOPE = [[[1.5, -1.0], [0.5, -2.0]], [[-0.5, 1.0], [2.0, -1.5]]]
SHIFT = [[[[7.0], [5.0]], [[3.0], [1.0]]], [[[-1.0], [-3.0]], [[-5.0], [-7.0]]]]
SCALE = [[[[0.4], [0.5]], [[0.45], [0.35]]], [[[0.5], [0.4]], [[0.35], [0.45]]]]
ACROSS = {
    1: ([1.0], [1.0], [1.0], [1.0]),
    3: ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.5, -0.5]),
}
AROUND = NearTruth(0.1)
ARMS = (("SSS", 1, 3), ("SSS", 3, 2))
SPLIT = {COEF: (2.0, 0.2), INTERCEPT: (4.0, 0.4), VARIANCE: (2.0, 0.2)}


def _along(values: list[float] | list[list[float]] | list[list[list[float]]], direction: list[float]) -> Tensor:
    return tensor(values)[..., None] * tensor(direction)


def _data(kind: str, d: int) -> Data:
    *directions, slope = ACROSS[d]
    gates = tuple(
        {LOCATION[letter]: _along(PLACES[letter][level], directions[level]), "bias": tensor(BIASES[level])}
        for level, letter in enumerate(kind)
    )
    experts = {"coef": _along(SLOPE, slope).unsqueeze(3), "intercept": tensor(SHIFT)}
    truth = Measure(gates, experts, {"scale": tensor(SCALE)})
    return Data(Mixture(tuple(GATES[NAME[letter]] for letter in kind), (2, 2, 2)), truth, law(d))


def _limits(kind: str) -> Box:
    limits = box(coef=4.0, intercept=9.0)
    for level, letter in enumerate(kind):
        width = {"S": 5.0, "L": 2.0}[letter]
        limits |= {f"gates.{level}.{LOCATION[letter]}": (-width, width), f"gates.{level}.bias": (-2.0, 2.0)}
    return limits


def _name(kind: str, d: int, k: int) -> str:
    return f"{kind}, d={d}, {'exact' if k == 2 else 'over'}"


def _arm(kind: str, d: int, k: int) -> Arm:
    data = _data(kind, d)
    return Arm(_name(kind, d, k), data, likelihood(data, k, _limits(kind)), SIZES, 40, AROUND, ())


def _claims(kind: str, d: int, k: int) -> tuple[Claim, ...]:
    return (equal(_name(kind, d, k), "hellinger", -0.5, 0.05, OWN, "derived"),)


def _probes() -> tuple[Probe, ...]:
    """Return the population exponents of one of four leaves of three Laplace levels that is split in two."""
    data = _data("LLL", 1)
    truth = data.at(1)
    *outer, inner = truth.gates
    first = {name: value[:, :, :1] for name, value in inner.items()}
    parts = ({name: value[:, :, :1] for name, value in room.items()} for room in (truth.experts, truth.family))
    four = replace(data, mixture=replace(data.mixture, branching=(2, 2, 1)), truth=Measure((*outer, first), *parts))
    found = split_probes("LLL, d=1", four, likelihood(four, 2, _limits("LLL")), SPLIT, (0, 0, 1, 1, 2, 2, 3, 3))
    return tuple(replace(probe, eps=probe.eps[:3], starts=2) for probe in found)


THREE_LEVELS = Study(
    "three-levels",
    "Three levels of softmax and Laplace gates",
    "Two groups of two groups of two experts, as many fitted, or with softmax gates and one input three in every "
    "innermost group. No theorem is about three levels; that the density has -1/2 follows from its entropy as with "
    "fewer, and is what the arms claim. No Voronoi loss exists for three levels, so that errors of parameters are not "
    "claimed: population exponents of one of four leaves, each of which an innermost Laplace gate splits in two, say "
    "what they would be, 2 for slope and variance and 4 for the intercept, if the heat equation is the only relation, "
    "as with two levels. Laplace gates have too many kinks on three levels for fits of this number: arms have softmax "
    "gates. One and three inputs uniform on [-2, 2]^d; in three dimensions every level of gates and the experts look "
    "along directions of their own. Experts are far apart, so that eight of them can be told apart. Boxes: softmax "
    "weights within 5, centers in the support of the inputs, biases within 2 of the last one, slopes within 4, "
    "intercepts within 9, standard deviations from .1 to 2. One start at the truth plus noise of .1, whatever n is: "
    "blind starts seldom find the maximum among so many leaves. The window is 1.5 decades in four steps, 40 "
    "replicates.",
    tuple(_arm(*one) for one in ARMS),
    tuple(claim for one in ARMS for claim in _claims(*one)),
    probes=_probes(),
)
