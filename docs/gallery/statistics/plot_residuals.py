"""
Does the model fit? Residuals and posterior probabilities
=========================================================

How randomised quantile residuals find a wrong law or a missing expert, and what a rootogram says about the experts.
"""

# %%
# Two experts over three inputs; the response is skewed, which a normal law does not know.

import matplotlib.pyplot as plt
import numpy as np

from gatewise import MixtureOfExpertsRegressor
from gatewise.plots import COLOURS, residual_quantiles, rootogram

rng = np.random.default_rng(8)
n = 600
X = rng.normal(size=(n, 3))
first = rng.random(n) < 1 / (1 + np.exp(-2 * X[:, 0]))
mean = np.exp(np.where(first, 2 + 0.5 * X[:, 1], 1 - 0.5 * X[:, 1] + 0.3 * X[:, 2]))
y = mean * rng.gamma(3, 1 / 3, n)

models = {
    "normal, 2 experts": MixtureOfExpertsRegressor(2, family="gaussian", n_init=8, random_state=0),
    "gamma, 1 expert": MixtureOfExpertsRegressor(1, family="gamma", n_init=1, random_state=0),
    "gamma, 2 experts": MixtureOfExpertsRegressor(2, family="gamma", n_init=8, random_state=0),
}
for name, model in models.items():
    model.fit(X, y)
    print(f"{name:18} {model.status_:10} BIC {model.bic():.1f}")

# %%
# If the model is true, its residuals are standard normal, whatever the law: ``Phi^-1(F(y))``. The grey band holds
# each point with probability 95 %.

figure, axes = plt.subplots(1, 3, figsize=(9.5, 3.6), sharey=True, layout="constrained")
for ax, (name, model) in zip(axes, models.items(), strict=True):
    residual_quantiles(model, X, y, ax)
    ax.set_title(name, fontsize=10)
plt.show()
outside = {name: np.mean(np.abs(model.residuals(X, y)) > 2.58) for name, model in models.items()}
for name, share in outside.items():
    print(f"{name:18} residuals beyond 2.58: {share:.2%} (1 % if the model is true)")

# %%
# Which part is missing? Residuals against the inputs show it. Those of one expert rise with x1 where x0 is large, and
# fall where it is small: the effect of x1 differs between regions. (Lines: least squares on each side.)

figure, axes = plt.subplots(1, 2, figsize=(8.5, 3.4), sharey=True, layout="constrained")
for ax, name in zip(axes, ("gamma, 1 expert", "gamma, 2 experts"), strict=True):
    residual = models[name].residuals(X, y)
    for colour, style, side, label in zip(
        COLOURS[2:4], ("-", "--"), (X[:, 0] < 0, X[:, 0] > 0), ("x0 < 0", "x0 > 0"), strict=True
    ):
        ax.plot(X[side, 1], residual[side], ".", color=colour, ms=3, alpha=0.6)
        ends = np.array([-3.0, 3.0])
        ax.plot(
            ends, np.polyval(np.polyfit(X[side, 1], residual[side], 1), ends), style, color=colour, lw=2, label=label
        )
    ax.set(title=name, xlabel="x1")
axes[0].set_ylabel("quantile residual")
axes[0].legend(frameon=False)
plt.show()

# %%
# The rootogram is about something else: not whether the model is true, but whether it tells rows apart. Bars between
# 0 and 1 are rows that either expert may have made.

figure, ax = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
rootogram(models["gamma, 2 experts"], X, y, ax)
plt.show()
print(models["gamma, 2 experts"].classification(X, y))

# %%
# **Conclusion.** Only the residuals of two gamma experts stay near the line. Those of the normal law bend at the
# ends, those of a single expert have slopes that differ by region. A rootogram cannot see either: it can look sharp
# for a wrong model.
