"""
Outliers: Student's t, or a branch of noise
===========================================

What a few wild observations do to a mixture of regressions, and two ways to keep them from doing it.
"""

# %%
# Two planes over three inputs, with errors of heavy tails: now and then one is twenty times the usual size.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from gatewise import MixtureOfExpertsRegressor, compare
from gatewise.plots import expert_curves

rng = np.random.default_rng(5)
n = 400
X = pd.DataFrame(rng.normal(size=(n, 3)), columns=["x", "u", "v"])
first = rng.random(n) < 1 / (1 + np.exp(-1.5 * X.u))
y = np.where(first, 4 + 2 * X.x, -4 + X.v) + 0.6 * rng.standard_t(1.7, size=n)

options = {"n_init": 20, "random_state": 0}
models = {
    "normal": MixtureOfExpertsRegressor(2, **options),
    "Student's t": MixtureOfExpertsRegressor(2, family="student-t", **options),
    "normal and noise": MixtureOfExpertsRegressor(2, noise=True, **options),
}
for model in models.values():
    model.fit(X, y)
print(compare(*models.values(), names=list(models))[["log_likelihood", "df", "bic", "status"]].round(1).to_string())

# %%
# Distance of every model's two regressions from the true ones (root mean square over the rows), best match.

truth = np.stack([4 + 2 * X.x, -4 + X.v], 1)
error = {}
for name, model in models.items():
    found = model.predict_experts(X)[:, :2]
    error[name] = min(np.sqrt(np.mean((found[:, list(order)] - truth) ** 2)) for order in ((0, 1), (1, 0)))
    print(f"{name:17} {error[name]:.3f}")

# %%
# Experts along x, the other inputs at their medians. Points are cut off at ±20.

figure, axes = plt.subplots(1, 3, figsize=(9.5, 3.6), sharey=True, layout="constrained")
for ax, (name, model) in zip(axes, models.items(), strict=True):
    ordered = model if name == "normal and noise" else model.relabel(np.argsort(-model.coef_[:, 0]))
    expert_curves(ordered, X, y, ax, labels=("x", "y" if ax is axes[0] else ""))
    ax.set(title=name, ylim=(-20, 20))
plt.show()
assert error["Student's t"] < error["normal and noise"] < error["normal"]

# %%
# **Conclusion.** A few outliers can draw a normal mixture far from both regressions. Heavy tails and a branch of
# noise come nearer. Noise also says *which* rows it takes (their responsibilities); heavy tails are the better law
# where errors of every size occur, as here.
