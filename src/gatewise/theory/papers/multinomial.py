"""Softmax gate with multinomial logistic experts: 2310.14188."""

from __future__ import annotations

from gatewise.core.families import Categorical
from gatewise.theory.arms import Arm, Data, DataDrivenStarts, Model
from gatewise.theory.claims import Claim
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
CLASSES = Categorical()
WEIGHTS: dict[int, Numbers] = {1: [[1.5], [0.0]], 3: [[1.5, -0.5, 0.5], [0.0, 0.0, 0.0]]}
SLOPES: dict[int, Numbers] = {
    1: [[[2.0], [-1.0]], [[-1.5], [1.0]]],
    3: [[[2.0, 0.0, 0.5], [-1.0, 1.5, 0.5]], [[-1.5, 1.0, 0.0], [1.0, -2.0, 1.0]]],
}
SHIFT: Numbers = [[1.0, -1.0], [-1.0, 1.0]]
LIMITS = box(weight=4.0, bias=2.0, coef=4.0, intercept=3.0)
EXACT, ONE_MORE, ONE_INPUT, CONSTANT = ("as many, d=3", "one more, d=3", "one more, d=1", "one more, no slopes, d=3")
PATHS = (WEIGHT, COEF, INTERCEPT)


def _arm(name: str, d: int, experts: int, slopes: Numbers) -> Arm:
    truth = measure({"weight": WEIGHTS[d], "bias": [0.3, 0.0]}, {"coef": slopes, "intercept": SHIFT}, None)
    data = Data(flat("softmax", 2, family=CLASSES), truth, law(d))
    model = Model(flat("softmax", experts, family=CLASSES), box=LIMITS, min_scale=0.1)
    return Arm(name, data, model, SIZES, 40, DataDrivenStarts(6), ("exact",))


def _bounds(name: str) -> tuple[Claim, ...]:
    single = (equal(name, exact(path), -0.5, WIDE, PAPER, "recalled") for path in PATHS)
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
    "to be slower than every power would take four. Inputs uniform on [-2, 2]^d. Boxes hold the truth in any order: "
    "gate differences within 4, biases within 2 of the last one, slopes within 4, intercepts within 3. Starts know "
    "nothing of the truth. The window is 1.5 decades in four steps, 40 replicates, the tolerance .1: a class tells "
    "less than a number, so that sizes begin at 2000.",
    (
        _arm(EXACT, 3, 2, SLOPES[3]),
        _arm(ONE_MORE, 3, 3, SLOPES[3]),
        _arm(ONE_INPUT, 1, 3, SLOPES[1]),
        _arm(CONSTANT, 3, 3, [[[0.0] * 3] * 2] * 2),
    ),
    (
        *(equal(EXACT, exact(path), -0.5, WIDE, PAPER, "recalled") for path in PATHS),
        density(EXACT, PAPER),
        *_bounds(ONE_MORE),
        *_bounds(ONE_INPUT),
        *(Claim(CONSTANT, over(path), "at_least", -1 / 8, OVER, PAPER, "recalled") for path in (COEF, WEIGHT)),
        density(CONSTANT, PAPER),
    ),
)
