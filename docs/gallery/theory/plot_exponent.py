"""
Fast and slow directions: population exponents
==============================================

How to compute, without any data, how far a parameter can move before the distribution notices, and the rate that
follows.
"""

# %%
# Move one parameter by eps from the truth, and minimise the Hellinger distance to the true distribution over all
# others. If the least distance is of order eps to the power e, the error of the parameter is of order n to the power
# ``-1 / (2 e)``. Three cases: as many fitted experts as there are, and one more, of which two share the first true
# one.

import matplotlib.pyplot as plt
import pandas as pd
import torch

from gatewise import GATES, Measure, Mixture
from gatewise.plots import COLOURS
from gatewise.theory import Cube, population_exponent


def tensor(values):
    """Return numbers as the engine takes them."""
    return torch.tensor(values, dtype=torch.float64)


two, three = (Mixture((GATES["softmax"],), (k,)) for k in (2, 3))
truth = Measure(
    gates=({"weight": tensor([[1.5], [0.0]]), "bias": tensor([0.3, 0.0])},),
    experts={"coef": tensor([[[1.5]], [[-1.0]]]), "intercept": tensor([[1.0], [-1.0]])},
    family={"scale": tensor([[0.5], [0.7]])},
)
cases = {
    "two experts, slope": (two, (0, 1), "experts.coef"),
    "three experts, slope": (three, (0, 0, 1), "experts.coef"),
    "three experts, intercept": (three, (0, 0, 1), "experts.intercept"),
}
common = {"eps": (0.2, 0.1, 0.05), "starts": 1, "inputs": Cube(-2, 2)}
found = {
    name: population_exponent(two, truth, model, path, cells=cells, **common)
    for name, (model, cells, path) in cases.items()
}
exponents = {name: result.local[-1] for name, result in found.items()}
table = pd.DataFrame({"exponent": exponents})
table["rate of the error"] = [f"n^(-1/{2 * round(value)})" for value in exponents.values()]
table["certified"] = [all(result.certified) for result in found.values()]
print(table.round(3).to_string())

# %%
# Both axes are logarithmic, so the exponent is the slope.

figure, ax = plt.subplots(figsize=(6.4, 4), layout="constrained")
for colour, mark, (name, result) in zip(COLOURS[2:], "os^", found.items(), strict=False):
    ax.loglog(result.eps, result.distance, marker=mark, color=colour, label=f"{name}: {exponents[name]:.2f}")
ax.set_xticks(common["eps"], [f"{eps:g}" for eps in common["eps"]])
ax.minorticks_off()
ax.set(xlabel="shift of the parameter", ylabel="least Hellinger distance from the truth")
ax.legend(frameon=False, title="exponent", fontsize=9)
plt.show()
assert [round(value) for value in exponents.values()] == [1, 2, 4]

# %%
# **Conclusion.** With as many experts as there are, a shift is noticed in proportion. Of two experts that share a
# true one, slopes may move so that only the second order is left, and intercepts so that only the fourth is: the
# relations that ``identify`` finds make it possible. Data could only suggest such rates; the exponent computes them.
