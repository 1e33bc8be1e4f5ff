"""
Voronoi losses: how far is a fit with too many experts
======================================================

How fitted experts are matched to true ones when there are more of them, and what a Voronoi loss adds up.
"""

# %%
# Two true experts, three fitted ones. Every fitted expert belongs to the true one that is nearest in all its
# parameters: its Voronoi cell. The loss adds up the distances in cells, with a power of one where a cell has one
# fitted expert, and a higher one where several share a true expert, because those converge more slowly (arXiv
# 2305.03288).

import matplotlib.pyplot as plt
import numpy as np
import torch

from gatewise import GATES, Measure, Mixture, make_rows, maximum_likelihood
from gatewise.plots import COLOURS
from gatewise.theory import TWO, Loss, voronoi_loss


def tensor(values):
    """Return numbers as the engine takes them."""
    return torch.tensor(values, dtype=torch.float64)


two, three = (Mixture((GATES["softmax"],), (k,)) for k in (2, 3))
truth = Measure(
    gates=({"weight": tensor([[1.5], [0.0]]), "bias": tensor([0.3, 0.0])},),
    experts={"coef": tensor([[[1.5]], [[-1.0]]]), "intercept": tensor([[1.0], [-1.0]])},
    family={"scale": tensor([[0.4], [0.5]])},
)


def draw(n, seed):
    """Return rows of the true mixture."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-2, 2, size=(n, 1))
    first = rng.random(n) < 1 / (1 + np.exp(-1.5 * x[:, 0] - 0.3))
    y = np.where(first, 1 + 1.5 * x[:, 0] + 0.4 * rng.normal(size=n), -1 - x[:, 0] + 0.5 * rng.normal(size=n))
    return make_rows(x, y[:, None])


# %%
# Fits with as many experts as there are, and with one more. ``TWO`` is the power two.

loss = Loss("split", rest=TWO)
sizes = (100, 400, 1600)
found, cells = {}, {}
for n in sizes:
    exact = maximum_likelihood(two, draw(n, n), starts=3)
    over = maximum_likelihood(three, draw(n, n), starts=3)
    found["exact", n] = float(voronoi_loss(loss, two, exact.measure, two, truth).unweighted)
    cells[n] = voronoi_loss(loss, three, over.measure, two, truth)
    found["over", n] = float(cells[n].unweighted)
    print(f"n = {n:4}: cells of the three fitted experts {cells[n].cells.tolist()}, loss {found['over', n]:.3f};",
          f"of two fitted experts {found['exact', n]:.3f}")  # fmt: skip

# %%
# The plane of slopes and intercepts, for the last fit of three experts. Crosses are true experts; fitted ones have
# the colour of their cell, and an area that grows with their share of the rows.

last = maximum_likelihood(three, draw(sizes[-1], sizes[-1]), starts=3)
slope, level = last.measure.experts["coef"][:, 0, 0], last.measure.experts["intercept"][:, 0]
figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.8), layout="constrained")
for true in (0, 1):
    own = (cells[sizes[-1]].cells == true).numpy()
    left.scatter(slope[own], level[own], s=70, color=COLOURS[true], label=f"fitted, cell {true}", zorder=3)
    at = float(truth.experts["coef"][true, 0, 0]), float(truth.experts["intercept"][true, 0])
    left.plot(*at, "x", color=COLOURS[true], ms=12, mew=2, label=f"true expert {true}")
left.set(xlabel="slope", ylabel="intercept", title="three fitted experts, two true ones")
left.legend(frameon=False, fontsize=8)
left.margins(0.3)
for kind, style in (("exact", "o-"), ("over", "s--")):
    right.loglog(
        sizes,
        [found[kind, n] for n in sizes],
        style,
        color="black",
        label={"exact": "two fitted", "over": "three fitted"}[kind],
    )
right.loglog(
    sizes, [found["exact", sizes[0]] * (sizes[0] / n) ** 0.5 for n in sizes], ":", color="0.5", label="$n^{-1/2}$"
)
right.set_xticks(sizes, sizes)
right.set_yticks([0.2, 0.5, 1, 2, 5], ["0.2", "0.5", "1", "2", "5"])
right.minorticks_off()
right.set(xlabel="rows", ylabel="Voronoi loss", title="one data set per size")
right.legend(frameon=False, fontsize=8)
plt.show()

# %%
# **Conclusion.** A Voronoi loss compares mixtures of different sizes without naming experts, and forgives a split:
# two fitted experts that surround a true one are near it. One data set per size shows a tendency, no rate; a study
# has replicates and intervals.
