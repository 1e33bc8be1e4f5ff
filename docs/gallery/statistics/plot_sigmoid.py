"""
Sigmoid gates: switches that need not sum to one
================================================

The sigmoid gate defines a mean but no density: how to fit it by least squares, and how the normalised sigmoid gate
differs.
"""

# %%
# Each expert has a switch of its own, the sigmoid of a linear score (arXiv 2405.13997). Both may be on, or both off.
# Of three inputs, the first opens one expert and the second closes the other.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from gatewise import MixtureOfExpertsRegressor
from gatewise.plots import gate_surface

rng = np.random.default_rng(0)
n = 600
X = rng.uniform(-2, 2, size=(n, 3))
on = 1 / (1 + np.exp(-np.stack([3 * X[:, 0], 1 - 3 * X[:, 1]], 1)))
y = on[:, 0] * (3 + X[:, 2]) + on[:, 1] * (-2 + X[:, 0]) + 0.2 * rng.normal(size=n)

options = {"method": "ls", "n_init": 10, "random_state": 0}
models = {
    gate: MixtureOfExpertsRegressor(2, gate, **options).fit(X, y)
    for gate in ("sigmoid", "normalised-sigmoid", "softmax")
}
rows = {
    gate: {
        "status": model.status_,
        "residual sd": np.sqrt(model.sse_ / n),
        "least sum of weights": model.gate_proba(X).sum(1).min(),
        "largest": model.gate_proba(X).sum(1).max(),
    }
    for gate, model in models.items()
}
print(pd.DataFrame(rows).T.to_string(float_format="{:.3f}".format))

# %%
# Only the sigmoid gate reaches the standard deviation of the noise, which the code above sets to a fifth. The others
# must divide one unit of weight up at every row. Its two switches:

switches = models["sigmoid"].relabel("x0")  # the expert with the smaller slope in x0 first
figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
for expert, ax in enumerate(axes):
    gate_surface(switches, X, ax, columns=(0, 1), expert=expert)
    ax.set_title(f"switch of expert {expert}", fontsize=10)
plt.show()

# %%
# **Conclusion.** Where effects add up instead of excluding one another, a sigmoid gate describes the mean and a
# normalised gate does not. The price is the method: without weights that sum to one there is no density, so there is
# least squares, with errors for its estimates, but no likelihood and no prediction interval.
