"""
A convergence study in small
============================

How to declare a study of rates, run it, and read its log-log curves: two experts fitted where there are two, and
three where there are two.
"""

# %%
# A study fixes everything before it runs: the truth, the fitted models, the box of the parameters, sizes, replicates
# and the claims with their sources. Estimates of as many experts as there are converge like one over the root of n.
# With one expert too many, two fitted ones share a true one and approach it more slowly, while the distance between
# the *distributions* keeps its rate (arXiv 2305.03288).

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import torch

from gatewise import GATES, Measure, Mixture
from gatewise.plots import rates
from gatewise.theory import Arm, Claim, Data, DataDrivenStarts, Model, Study, Uniform, check, collect, run_study


def tensor(values):
    """Return numbers as the engine takes them."""
    return torch.tensor(values, dtype=torch.float64)


two, three = (Mixture((GATES["softmax"],), (k,)) for k in (2, 3))
truth = Measure(
    gates=({"weight": tensor([[1.5], [0.0]]), "bias": tensor([0.3, 0.0])},),
    experts={"coef": tensor([[[1.5]], [[-1.0]]]), "intercept": tensor([[1.0], [-1.0]])},
    family={"scale": tensor([[0.5], [0.7]])},
)
box = {"gates.0.weight": (-4.0, 4.0), "gates.0.bias": (-3.0, 3.0)}
box |= {"experts.coef": (-4.0, 4.0), "experts.intercept": (-4.0, 4.0)}
data, sizes = Data(two, truth, Uniform(-2, 2)), (100, 300, 900, 2700)
few = {"replicates": 8, "starts": DataDrivenStarts(1)}
arms = (
    Arm("two experts", data, Model(two, box=box, min_scale=0.05), sizes, **few),
    Arm("three experts", data, Model(three, box=box, min_scale=0.05), sizes, **few),
)
source = {"source": "arXiv 2305.03288", "standing": "published"}
claims = (
    Claim("two experts", "hellinger", "equal", -0.5, 0.04, **source),
    Claim("two experts", "experts.coef exact mean", "equal", -0.5, 0.04, **source),
    Claim("three experts", "hellinger", "equal", -0.5, 0.04, **source),
    Claim("three experts", "experts.coef over mean", "at_least", -0.25, 0.04, **source),
)
why = "Four sizes and eight replicates show how a study works; they are far too few to decide anything."
study = Study("in-small", "Two or three experts for two", why=why, arms=arms, claims=claims)
check(study)

# %%
# A run writes one record per fit into a folder, and can be interrupted and resumed. Verdicts are computed from the
# folder.

with tempfile.TemporaryDirectory() as folder:
    run_study(study, Path(folder) / study.name)
    result = collect(study, Path(folder) / study.name)
print(result.text())

# %%
# Errors against n with both axes logarithmic. ``exact`` are experts in cells with one fitted expert, ``over`` those
# that share a true one. Dotted lines have the claimed slope.

figure, axes = plt.subplots(1, 2, figsize=(9.5, 4.2), layout="constrained")
for ax, arm in zip(axes, ("two experts", "three experts"), strict=True):
    rates(result, arm, ax=ax)
    ax.text(0.03, 0.04, arm, transform=ax.transAxes, fontsize=11)
plt.show()
assert {row.verdict for row in result.to_frame().itertuples()} == {"unresolved"}

# %%
# **Conclusion.** The picture has the shape of the theory: parallel lines on the left; on the right the distributions
# converge as before, and the shared experts more slowly. The verdict is *unresolved* all the same, as it must be: so
# few sizes and replicates cannot decide between rates, and a study says so instead of reading a slope off a picture.
