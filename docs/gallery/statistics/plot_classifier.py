"""
A classifier whose rule differs by region
=========================================

How a mixture of logistic regressions classifies data that no single one can, and what its gate shows.
"""

# %%
# Three classes of cells, from three measurements. For young cells (small age) the size tells the classes apart, for
# old ones the density.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from gatewise import MixtureOfExpertsClassifier
from gatewise.plots import COLOURS

rng = np.random.default_rng(0)


def draw(n):
    """Return measurements, in standard deviations, and classes."""
    X = pd.DataFrame(rng.normal(size=(n, 3)), columns=["age", "size", "density"])
    young = rng.random(n) < 1 / (1 + np.exp(4 * X.age))
    leading = np.where(young, 4 * X["size"], -4 * X["density"])
    odds = np.stack([0 * leading, leading, 1 + 0.5 * leading], 1) + rng.gumbel(size=(n, 3))
    return X, np.array(["A", "B", "C"])[odds.argmax(1)]


X, kind = draw(1500)
new, truth = draw(4000)

# %%
# Fitted with one expert (multinomial logistic regression) and with two, and compared on new data. scikit-learn's
# regression without a penalty is the same as one expert.

models = {
    f"{k} expert{'s' * (k > 1)}": MixtureOfExpertsClassifier(k, n_init=10, random_state=0).fit(X, kind) for k in (1, 2)
}
models["scikit-learn"] = LogisticRegression(C=np.inf, max_iter=1000).fit(X, kind)
for name, model in models.items():
    probability = model.predict_proba(new)
    print(f"{name:13} accuracy on new data {model.score(new, truth):.3f}   log loss {log_loss(truth, probability):.3f}")

# %%
# The most probable class in the plane of size and density, for young, median and old cells. The rule turns by a right
# angle, while the experts are the same two in all panels.

mixture = models["2 experts"]
grid = np.linspace(-3, 3, 121)
figure, axes = plt.subplots(1, 3, figsize=(9.5, 3.6), sharey=True, layout="constrained")
for ax, age in zip(axes, (-1.5, 0.0, 1.5), strict=True):
    size, density = (part.ravel() for part in np.meshgrid(grid, grid))
    plane = pd.DataFrame({"age": age, "size": size, "density": density})
    chosen = mixture.predict_proba(plane)
    weight = mixture.gate_proba(plane[:1])[0]
    ax.contourf(
        grid, grid, chosen.argmax(1).reshape(121, 121), levels=[-0.5, 0.5, 1.5, 2.5], colors=COLOURS[3:6], alpha=0.55
    )
    near = (X.age - age).abs() < 0.5
    for k, (name, mark) in enumerate(zip(mixture.classes_, "osX", strict=True)):
        own = near & (kind == name)
        ax.scatter(
            X["size"][own],
            X["density"][own],
            s=14,
            marker=mark,
            color=COLOURS[3 + k],
            edgecolors="black",
            lw=0.4,
            label=name,
        )
    ax.set(
        title=f"age {age:g} sd: gate {weight[0]:.2f} / {weight[1]:.2f}", xlabel="size (sd)", xlim=(-3, 3), ylim=(-3, 3)
    )
axes[0].set_ylabel("density (sd)")
axes[0].legend(title="class", loc="upper right", fontsize=8, title_fontsize=8)
plt.show()
assert models["2 experts"].score(new, truth) > models["1 expert"].score(new, truth) + 0.05

# %%
# **Conclusion.** Two experts classify new data better than one, because the rule differs between young and old cells;
# the gate reports where it changes. One expert agrees with scikit-learn's multinomial regression.
