"""
How many rows a study needs
===========================

Planning for given standard errors, and for telling two experts from one, from a small pilot.
"""

# %%
# A pilot with three inputs gives a truth to plan with; its rows stand for the law of the inputs.

import matplotlib.pyplot as plt
import numpy as np

from gatewise import MixtureOfExpertsRegressor, sample_size
from gatewise.plots import COLOURS

rng = np.random.default_rng(0)


def draw(n):
    """Return inputs (n, 3) and responses."""
    X = rng.normal(size=(n, 3))
    left = rng.random(n) < 1 / (1 + np.exp(-2 * X[:, 0]))
    return X, np.where(left, 1 + X[:, 1], -1 - X[:, 2]) + 0.5 * rng.normal(size=n)


X, y = draw(150)
pilot = MixtureOfExpertsRegressor(2, n_init=5, random_state=0).fit(X, y)
target = {"experts.coef": 0.05, "gate weight x0[branch 0]": 0.2}
needed = sample_size(pilot, target, X=X, against=1)
print(needed)

# %%
# Errors come from the expected information of one row, so they fall like the root of n. The picture checks the plan
# against the errors that fits to new data report (points).

plan = needed.to_frame()
names = {"gate weight x0[branch 0]": "weight of the gate", "x2[expert 0]": "a slope of an expert"}
sizes = np.array([200, 400, 800, 1600])
reported = {name: [] for name in names}
for n in sizes:
    new = draw(n)
    model = MixtureOfExpertsRegressor(2, n_init=3, random_state=0).fit(*new)
    model = model.relabel("x2")  # the expert with the negative slope of x2 first, as in the pilot
    errors = model.inference(*new).confint()
    for name in names:
        reported[name].append(errors.loc[name, "std. error"])

figure, ax = plt.subplots(figsize=(7.4, 4), layout="constrained")
for colour, (name, words) in zip(COLOURS[2:], names.items(), strict=False):
    ax.loglog(sizes, plan.loc[name, "se sqrt(n)"] / np.sqrt(sizes), color=colour, label=f"{words}: plan")
    ax.loglog(sizes, reported[name], "o", color=colour, label=f"{words}: new data")
    ax.axhline(plan.loc[name, "target"], color=colour, lw=0.8, ls=":")
ax.axvline(needed.rows, color="black", lw=1, ls="--", label="rows needed")
ax.set_xticks(sizes, sizes)
ax.set_yticks([0.02, 0.05, 0.1, 0.2, 0.4], ["0.02", "0.05", "0.1", "0.2", "0.4"])
ax.minorticks_off()
ax.set(xlabel="rows", ylabel="standard error (dotted: wanted)")
figure.legend(loc="outside right upper", frameon=False, fontsize=8)
plt.show()
assert plan["rows"].idxmax() == "gate weight x0[branch 0]"
assert needed.telling.rows < needed.rows

# %%
# **Conclusion.** The parameter that needs most rows decides, and here it is the gate's weight, not a slope: gates are
# estimated less precisely than experts. Telling two experts from one needs far fewer rows than estimating them.
# ``check=100`` simulates the plan, and ``experts=3`` plans for a model with superfluous experts.
