"""Softmax gate with multinomial logistic experts: 2310.14188."""

from __future__ import annotations

from gatewise.core.families import Categorical
from gatewise.theory.arms import Arm, Data, DataDrivenStarts, Model
from gatewise.theory.claims import Claim
from gatewise.theory.inputs import Lattice
from gatewise.theory.papers.parts import (
    OVER,
    WIDE,
    Numbers,
    bound,
    box,
    density,
    equal,
    exact,
    flat,
    law,
    measure,
    over,
)
from gatewise.theory.paths import COEF, INTERCEPT, WEIGHT
from gatewise.theory.study import Study

PAPER = "2310.14188"
SIZES = (2000, 6400, 20_000, 64_000)
LATER = (5_000_000, 16_000_000, 50_000_000, 160_000_000)  # with one expert more
POINTS = {2: 13, 3: 6}  # of a lattice, along every axis
CLASSES = Categorical()
WEIGHTS: dict[int, Numbers] = {2: [[1.5, -0.5], [0.0, 0.0]], 3: [[1.5, -0.5, 0.5], [0.0, 0.0, 0.0]]}
SLOPES: dict[int, Numbers] = {
    2: [[[2.0, 0.5], [-1.0, 1.5]], [[-1.5, 1.0], [1.0, -2.0]]],
    3: [[[2.0, 0.0, 0.5], [-1.0, 1.5, 0.5]], [[-1.5, 1.0, 0.0], [1.0, -2.0, 1.0]]],
}
SHIFT: Numbers = [[1.0, -1.0], [-1.0, 1.0]]
LIMITS = box(weight=5.0, bias=2.0, coef=5.0, intercept=4.0)
EXACT, ONE_MORE, TWO_INPUTS, CONSTANT = ("as many, d=3", "one more, d=3", "one more, d=2", "one more, no slopes, d=3")
PATHS = (WEIGHT, COEF, INTERCEPT)


def _arm(name: str, d: int, experts: int, slopes: Numbers) -> Arm:
    truth = measure({"weight": WEIGHTS[d], "bias": [0.3, 0.0]}, {"coef": slopes, "intercept": SHIFT}, None)
    more = experts > 2
    data = Data(flat("softmax", 2, family=CLASSES), truth, Lattice(POINTS[d], d=d) if more else law(d))
    model = Model(flat("softmax", experts, family=CLASSES), box=LIMITS, min_scale=0.1)
    return Arm(name, data, model, LATER if more else SIZES, 40, DataDrivenStarts(10, more=40), ("exact",))


def _bounds(name: str) -> tuple[Claim, ...]:
    single = (equal(name, exact(path), -0.5, WIDE, PAPER, "recalled") for path in (COEF, INTERCEPT))
    return *(bound(name, over(path), -1 / 4, PAPER, "recalled") for path in PATHS), *single, density(name, PAPER)


MULTINOMIAL_LOGIT = Study(
    "multinomial-logit",
    "Softmax gate with multinomial logistic experts, as many as there are and one too many",
    "Three classes, whose log odds against the first are linear in the inputs in every expert; two experts. The "
    "abstract of the paper says that rates are slower than every power of n when part of the parameters of the experts "
    "vanish, by an interaction with the gate; its theorems were not at hand, so that all rates are recalled: -1/2 "
    "where a cell has one atom, at most -1/4 where it has two and slopes do not vanish. Truths have slopes that point "
    "in different directions, or none at all in the last curve, in which every cell that two atoms share is one of "
    "vanishing slopes; of that is claimed that nothing falls faster than n^-1/8, for which 1.5 decades are enough, and "
    "to be slower than every power would take four. A class tells much less of an expert than a number does: in a "
    "first version, with up to 64,000 rows and inputs uniform on [-2, 2]^d, most fits with one expert too many ended "
    "at bounds of their box. Now their inputs are on a lattice on this cube, six points along each of three axes or 13 "
    "along each of two, where rows are counted, and sizes go from 5 to 160 million. With one input bounds were met "
    "still, so that there are two. With two experts of which one is shared, the shift that changes nothing takes all "
    "of the error of the other's gate: nothing is claimed of it. Boxes hold the truth in any order: gate differences "
    "within 5, biases within 2 of the last one, slopes within 5, intercepts within 4. Starts know nothing of the "
    "truth; there are ten, and forty more where the fit is worse than the truth. Windows are 1.5 decades in four "
    "steps, from 2000 rows on with as many experts as there are; 40 replicates, the tolerance .1.",
    (
        _arm(EXACT, 3, 2, SLOPES[3]),
        _arm(ONE_MORE, 3, 3, SLOPES[3]),
        _arm(TWO_INPUTS, 2, 3, SLOPES[2]),
        _arm(CONSTANT, 3, 3, [[[0.0] * 3] * 2] * 2),
    ),
    (
        *(equal(EXACT, exact(path), -0.5, WIDE, PAPER, "recalled") for path in PATHS),
        density(EXACT, PAPER),
        *_bounds(ONE_MORE),
        *_bounds(TWO_INPUTS),
        *(Claim(CONSTANT, over(path), "at_least", -1 / 8, OVER, PAPER, "recalled") for path in (COEF, WEIGHT)),
        density(CONSTANT, PAPER),
    ),
)
