"""One thing changed at a time: how many experts, how many of them serve a token, what balances them."""

from __future__ import annotations

from gatewise.experiments.experiment import PAIRS, Experiment, Job, Outcome
from gatewise.experiments.vision.images import DIGITS_SETTING, MEASURES, ONE
from gatewise.experiments.vision.images import run as run_images
from gatewise.experiments.vision.models import TokenRouting

BASE = "2 groups of 4, 2 serve"
ROUTINGS = {
    BASE: TokenRouting(),
    "2 groups of 2": TokenRouting((2, 2)),
    "2 groups of 8": TokenRouting((2, 8)),
    "4 groups of 2": TokenRouting((4, 2)),
    "4 groups of 4": TokenRouting((4, 4)),
    "8 groups of 2": TokenRouting((8, 2)),
    "1 serves": TokenRouting(kept=1),
    "4 serve": TokenRouting(kept=4),
    "all serve": TokenRouting(kept=None),
    "1 group, 2 in it": TokenRouting(kept=(1, 2)),
    "2 groups, 1 in each": TokenRouting(kept=(2, 1)),
    "2 groups, 2 in each": TokenRouting(kept=(2, 2)),
    "balance: importance": TokenRouting(balance="importance"),
    "balance: switch": TokenRouting(balance="switch"),
    "balance: bias": TokenRouting(balance="bias"),
    "balance: none": TokenRouting(balance="none"),
}


def run(job: Job) -> Outcome:
    """Train the one layer on digits with the routing of a variant, and measure it as the vision experiment does."""
    setting = DIGITS_SETTING._replace(routing=ROUTINGS[job.variant])
    return run_images(setting, job._replace(variant=ONE))


ABLATIONS = Experiment(
    "ablations",
    "Digits, one layer: experts, top-k and balancing changed one at a time",
    "The one-layer model of the vision experiment on the digits of scikit-learn: 64 pixels, experts with 64 GELU "
    "units, and the same rows, batches, epochs and learning rates. The base has two groups of four experts, selects "
    "two experts per token by the product of both gates, and uses the balancing loss of importance and load with "
    "weight .1. Every variant changes one thing: the number of groups and of experts per group (larger models have "
    "more experts); the number of selected experts, by the product or by level (outer, inner, as in 2410.02935); or "
    "the balancing method. Every model nearly learns the digits, so differences in accuracy are small. The share of "
    "unused experts and the information about the class differ more.",
    tuple(ROUTINGS),
    PAIRS,
    {name: MEASURES[name] for name in ("accuracy", "information", "disagreement", "entropy", "dead")},
    run,
    rates=(3e-3, 1e-2, 3e-2),
    base=BASE,
)
