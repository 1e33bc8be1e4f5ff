"""
What a gate can identify, as equations
======================================

How to find the linear relations between the derivatives of a model that slow its estimates down or leave them
undetermined, and what a relation looks like in the likelihood.
"""

# %%
# ``identify`` takes any gate and expert, also your own. A relation between *first* derivatives is a ridge: moving
# some parameters together changes nothing. One between second derivatives slows down experts that share a true one.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from gatewise import MixtureOfExpertsRegressor, identify
from gatewise.plots import COLOURS

print(identify("softmax", "linear").text())

# %%
# The temperature of a dense-to-sparse gate. ``proof=True`` verifies the relation as an identity in the inputs, the
# response and the parameters, and that there is no other.

found = identify("dense-to-sparse", "linear", order=1, proof=True)
print(found.proof)
print("verdict:", found.verdict)

# %%
# Seven gates with two kinds of experts, at a glance: the number of relations of first order (ridges), and of both
# orders.

gates = ["constant", "softmax", "laplace", "dense-to-sparse", "activation-dense-to-sparse", "cosine", "quadratic"]
kinds = ["linear", "tanh"]
both = {(gate, kind): identify(gate, kind) for gate in gates for kind in kinds}
ridges = pd.DataFrame([[both[gate, kind].first_nullity for kind in kinds] for gate in gates], gates, kinds)
every = pd.DataFrame([[both[gate, kind].nullity for kind in kinds] for gate in gates], gates, kinds)

figure, axes = plt.subplots(1, 2, figsize=(8, 3.6), sharey=True, layout="constrained")
for ax, table, title in zip(axes, (ridges, every), ("of first order", "of first and second order"), strict=True):
    ax.imshow(np.log1p(table), cmap="Blues", aspect="auto", vmax=3.5)
    for (row, column), count in np.ndenumerate(table.to_numpy()):
        ax.text(column, row, count, ha="center", va="center", color="white" if count > 8 else "black")
    ax.set_xticks(range(len(kinds)), [f"{kind} expert" for kind in kinds])
    ax.set_yticks(range(len(gates)), gates)
    ax.set_title(f"relations {title}", fontsize=10)
plt.show()

# %%
# A relation in the likelihood: the best log-likelihood of a dense-to-sparse gate when its weight and its temperature
# are held. Against the weight, every temperature has a curve of its own; against their ratio there is one curve.
# ``start`` gives the posterior probabilities of a fit, so that one start is enough.

rng = np.random.default_rng(0)
x = rng.normal(size=(150, 1))
y = np.where(rng.random(150) < 1 / (1 + np.exp(-2 * x[:, 0])), 1.5 + x[:, 0], -1.5) + 0.5 * rng.normal(size=150)
softmax = MixtureOfExpertsRegressor(2, "softmax", n_init=5, random_state=0).fit(x, y).relabel("size")
begin = softmax.responsibilities(x, y)
sign = np.sign(softmax.gate_params_[0]["weight"][0, 0])
temperatures, ratios = (0.5, 1.0, 2.0), np.linspace(0.5, 4, 7)
figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True, layout="constrained")
for colour, style, temperature in zip(COLOURS[2:], ("-", "--", ":"), temperatures, strict=False):
    heights = []
    for ratio in ratios:
        held = {"gates.0.weight": [[sign * ratio * temperature], [0.0]], "gates.0.temperature": temperature}
        options = {"gauge": "none", "fixed": held, "n_init": 1, "random_state": 0}
        model = MixtureOfExpertsRegressor(2, "dense-to-sparse", **options).fit(x, y, start=begin)
        heights.append(model.log_likelihood_)
    look = {"color": colour, "ls": style, "lw": 1.5 / temperature**0.7 + 1, "label": f"temperature {temperature:g}"}
    axes[0].plot(ratios * temperature, heights, **look)
    axes[1].plot(ratios, heights, **look)
axes[0].set(xlabel="weight", ylabel="log-likelihood")
axes[1].set(xlabel="weight / temperature")
axes[0].legend(frameon=False)
plt.show()
assert ridges.loc["dense-to-sparse"].min() > 0
assert ridges.loc[["softmax", "laplace", "quadratic"]].max().max() == 0
assert every.min().min() > 0

# %%
# **Conclusion.** First derivatives of most gates are independent: their parameters are identified, and experts that
# match one true expert each converge at the usual rate. A temperature and the length of a cosine are ridges, whatever
# the expert. Every gate has relations of second order with both kinds of experts, some of them from the normal law
# alone: the source of slow rates where experts are superfluous.
