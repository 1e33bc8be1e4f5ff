"""The simulations of 2305.03288, 2402.03226 and 2510.12744: their truths, from their starts and from blind ones."""

from __future__ import annotations

from dataclasses import replace

from gatewise.theory.arms import Arm, Data, DataDrivenStarts, Model, NearTruth
from gatewise.theory.claims import Claim
from gatewise.theory.inputs import Uniform
from gatewise.theory.papers.gaussian import LAPLACE, SOFTMAX
from gatewise.theory.papers.parts import LEAF, OVER, OWN, WIDE, bound, box, density, equal, exact, flat, measure, same
from gatewise.theory.study import Study

SIZES = (1000, 3000, 9000, 27_000, 81_000)
GRID = Uniform(0.0, 1.0, grid=True)
UNIT = Uniform(0.0, 1.0)
STEEP = measure(
    {"weight": [[25.0], [0.0]], "bias": [-8.0, 0.0]},
    {"coef": [[[-20.0]], [[20.0]]], "intercept": [[15.0], [-5.0]]},
    [[0.3], [0.4]],
)
STEEP_BOX = box(weight=30.0, bias=10.0, coef=30.0, intercept=20.0)
FAINT = measure(
    {"center": [[0.08], [-0.05]], "bias": [0.11, -0.02]},
    {"coef": [[[0.9]], [[-1.2]]], "intercept": [[-0.6], [0.7]]},
    [[0.6], [0.9]],
)
FAINT_BOX = box(center=(-0.5, 1.5), bias=2.0, coef=5.0, intercept=5.0)
NEAR = NearTruth(0.005, 0.083)
STARTS: dict[str, DataDrivenStarts | NearTruth] = {"blind": DataDrivenStarts(10, more=40), "near": NEAR}
MERGING = "2510.12744"
LINES = {"softmax": ("softmax", STEEP, STEEP_BOX, GRID, 0.05), "laplace": ("laplace", FAINT, FAINT_BOX, UNIT, 0.1)}


def _pair(name: str, which: str, k: int, losses: tuple[str, ...], replicates: int = 40) -> tuple[Arm, ...]:
    """Return the arms from blind starts and from those of the paper."""
    gate, truth, limits, inputs, floor = LINES[which]
    data, model = Data(flat(gate, 2), truth, inputs), Model(flat(gate, k), box=limits, min_scale=floor)
    return tuple(
        Arm(f"{name}, {word}", data, model, SIZES, replicates, policy, losses, merged=k > 3)
        for word, policy in STARTS.items()
    )


def _claims(name: str, loss: str, paper: str) -> tuple[Claim, ...]:
    arms = (f"{name}, blind", f"{name}, near")
    if loss == "loss exact":
        rates = tuple(equal(arm, loss, -0.5, WIDE, paper, "published") for arm in arms)
    else:
        rates = tuple(bound(arm, loss, -0.5, paper) for arm in arms)
    return *rates, same(arms[1], arms[0], loss), *(density(arm, paper) for arm in arms)


PUBLISHED_SOFTMAX = Study(
    "published-softmax",
    "The simulation of 2305.03288, from near the truth and from blind starts",
    "Truth and fixed design of the paper: gate (-8, 25), experts 15 - 20 x and -5 + 20 x, standard deviations .3 and "
    ".4, x equally spaced on [0, 1]. Starts of the paper: the truth plus noise of standard deviation .005 n^-.083, one "
    "of them; blind starts beside it, ten. Fits here are maxima of the likelihood and not where EM stops at a relative "
    "change of 1e-6. The paper has 200 sizes to 1e5 and drops small ones after the fact; here five from 1000 to 81000, "
    "1.9 decades, 40 replicates as there, 120 with one expert too many at most (40 gave intervals of +- .06 or more in "
    "a first run). Boxes: gate weights within 30, biases within 10 of the last, slopes within "
    "30, intercepts within 20, standard deviations from .05. Biases that hold the true -8 also let an extra atom lose "
    "all its weight, and powers of errors above 1 are large: means of the loss may be ruled by few replicates. The "
    "loss takes the best translation, which the paper's code does not. With two experts too many the atoms are also "
    "merged two by two as in 2510.12744, which has this truth and four experts: merged ones must have the rate of an "
    "exact fit.",
    (
        *_pair("exact", "softmax", 2, ("exact",), 120),
        *_pair("one too many", "softmax", 3, ("softmax", "softmax-sharp"), 120),
        *_pair("two too many", "softmax", 4, ("softmax", "exact")),
    ),
    (
        *_claims("exact", "loss exact", SOFTMAX),
        *_claims("one too many", "loss softmax", SOFTMAX),
        *_claims("two too many", "loss softmax", SOFTMAX),
        *(equal(f"two too many, {word}", "merged loss exact", -0.5, WIDE, MERGING, "recalled") for word in STARTS),
    ),
)

MOST = Arm(
    "four atoms",
    Data(flat("softmax", 2), STEEP, GRID),
    Model(flat("softmax", 4), box=STEEP_BOX, min_scale=0.05),
    (10_000, 32_000, 100_000, 320_000),
    40,
    DataDrivenStarts(10, more=40),
    ("exact", "softmax"),
    merged=True,
)
TWO = replace(MOST, name="two atoms", model=replace(MOST.model, mixture=flat("softmax", 2)), merged=False)

PUBLISHED_DENDROGRAM = Study(
    "published-dendrogram",
    "The simulation of 2510.12744: four atoms fitted to two, and merged again",
    "Truth and fixed design of 2305.03288, as in published-softmax; four atoms, the most that the paper allows, from "
    "ten blind starts, where the paper starts near the truth. Four sizes from 10000 to 320000, where the paper has "
    "200 from 100 to 100000: in a first confirmatory run from 100 on, up to 8 % of the fits of four atoms with fewer "
    "rows had one on the least standard deviation, which neither a higher floor nor starts near the truth made rarer, "
    "and such fits have no certificate. 40 replicates; slopes by least squares, where the paper has a robust fit. "
    "Boxes are those of published-softmax. Merging two by two is recalled from the paper. Three curves of one loss, "
    "all powers 1, are compared: of the four atoms, where the intercept of a shared atom is the slowest term, so that "
    "-1/4 is the fastest slope there can be (unless extra atoms lose all their weight, which these boxes allow); of "
    "the four atoms merged to two; and of two atoms fitted to the same data. Merged atoms must have the slope of the "
    "latter without knowing how many there are. How often the dendrogram criterion selects two stands in the table of "
    "sizes.",
    (MOST, TWO),
    (
        equal("four atoms", "merged loss exact", -0.5, WIDE, MERGING, "recalled"),
        equal("two atoms", "loss exact", -0.5, WIDE, SOFTMAX, "published"),
        same("four atoms", "two atoms", "merged loss exact", MERGING, "recalled", "loss exact"),
        Claim("four atoms", "loss exact", "at_least", -0.25, OVER, OWN, "derived"),
        bound("four atoms", "loss softmax", -0.5, SOFTMAX),
        *(equal("four atoms", f"merged {exact(path)}", -0.5, WIDE, MERGING, "recalled") for path in LEAF),
        *(density(arm, SOFTMAX) for arm in ("four atoms", "two atoms")),
    ),
)

PUBLISHED_LAPLACE = Study(
    "published-laplace",
    "The simulation of 2402.03226, from near the truth and from blind starts",
    "The paper draws gates from N(0, .01 / d) and experts and variances from N(0, 1 / d), inputs uniform on [0, 1]; d "
    "is not stated. Here d = 1 and one such truth with rounded numbers. Its centers lie at the edge of the support and "
    "differ by .13, so that weights hardly depend on the input and centers are poorly estimated: the slopes of a loss "
    "at these n may be far from their limit. Ten sizes and five replicates there, five sizes and 40 replicates here. "
    "Starts near the truth and blind ones as in the simulation of the softmax gate. Boxes: centers from -.5 to 1.5, "
    "biases within 2 of the last, slopes and intercepts within 5, standard deviations from .1.",
    (*_pair("exact", "laplace", 2, ("exact",)), *_pair("one too many", "laplace", 3, ("laplace",))),
    (*_claims("exact", "loss exact", LAPLACE), *_claims("one too many", "loss laplace", LAPLACE)),
)
