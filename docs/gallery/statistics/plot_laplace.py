"""
Laplace gates: experts that live near a center
==============================================

What a Laplace gate estimates, why its sharpness may need a temperature (``scaled-laplace``), and what a softmax gate
makes of the same data.
"""

# %%
# The score of a Laplace gate is minus the distance from a center, so that an expert is responsible in a
# neighbourhood. Here the first of four experts rules around the origin of three inputs, and three others around it.

import matplotlib.pyplot as plt
import numpy as np

from gatewise import MixtureOfExpertsRegressor, compare
from gatewise.plots import gate_surface

rng = np.random.default_rng(1)
n = 1000
X = rng.normal(size=(n, 3))
centers = np.array([[0.0, 0.0, 0.0], [1.6, 0.0, 0.0], [-0.8, 1.4, 0.0], [-0.8, -1.4, 0.0]])
score = ([0.1, 0.0, 0.0, 0.0] - np.linalg.norm(X[:, None] - centers, axis=2)) / 0.2
expert = (score + rng.gumbel(size=score.shape)).argmax(1)  # a draw from the softmax of the scores
means = np.stack([4 + X[:, 0], 2 - X[:, 1], 0 - 1.5 * X[:, 2], -2 - 2 * X[:, 0]], 1)
y = means[np.arange(n), expert] + 0.4 * rng.normal(size=n)

models = {}
for gate in ("laplace", "scaled-laplace", "softmax"):
    model = MixtureOfExpertsRegressor(4, gate, n_init=20, random_state=0).fit(X, y)
    models[gate] = model.relabel(np.argsort(-model.intercept_))  # the largest intercept first, as in the truth
print(compare(*models.values(), names=list(models))[["log_likelihood", "df", "bic", "status"]].round(1).to_string())

# %%
# The score of the plain Laplace gate changes by no more than the distance between two centers, so its borders are
# soft. The temperature of the scaled gate divides the distances. Distances are measured in standard deviations of the
# inputs, which are near one here.

gate = models["scaled-laplace"].gate_params_[0]
print("temperature", gate["temperature"].round(3), "(true value 0.2)")
print("estimated centers, then true ones:")
print(np.hstack([gate["center"], centers]).round(2))

# %%
# Weight of the expert around the origin, at the median of the third input; contours are labelled with the weight.

figure, axes = plt.subplots(1, 3, figsize=(9.5, 3.2), sharey=True, layout="constrained")
for ax, (name, model) in zip(axes, models.items(), strict=True):
    gate_surface(model, X, ax, columns=(0, 1), expert=0)
    ax.set_title(name, fontsize=10)
plt.show()
assert min(models, key=lambda name: models[name].bic()) == "scaled-laplace"

# %%
# **Conclusion.** The scaled Laplace gate has the lowest BIC and finds the centers: where experts live in
# neighbourhoods, it needs a center and a bias for each. The plain gate has the right shape with borders that are too
# soft. A softmax gate approximates the neighbourhood by planes.
