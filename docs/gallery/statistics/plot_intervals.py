"""
Standard errors and intervals: normal, profile, bootstrap
=========================================================

Three kinds of intervals for the same parameters, when they agree, and what a function of parameters costs.
"""

# %%
# A small sample with three inputs, so that the approximations can be seen to differ.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from gatewise import MixtureOfExpertsRegressor, bootstrap
from gatewise.plots import COLOURS

rng = np.random.default_rng(6)
n = 80
X = pd.DataFrame(rng.normal(size=(n, 3)), columns=["dose", "age", "weight"])
first = rng.random(n) < 1 / (1 + np.exp(-2 * X.age))
y = np.where(first, 2 + X.dose, -2 - X.weight) + 0.8 * rng.normal(size=n)
model = MixtureOfExpertsRegressor(2, n_init=10, random_state=0).fit(X, y)
model = model.relabel("dose")
errors = model.inference(X, y)
table = errors.confint()
print(table.round(2).to_string())

# %%
# Normal intervals are the estimate plus and minus two standard errors, nearly, from exact second derivatives. A
# profile interval contains the values at which the best log-likelihood of the other parameters lies less than half
# the chi-square quantile below the maximum. The bootstrap refits the model to samples of the rows; the experts of
# every refit are put into the order of the fit.

refits = bootstrap(model, X, y, n_boot=99)
percentile = refits.confint()
names = [f"gate weight {name}[branch 0]" for name in X]
names += [f"{name}[expert {k}]" for k in (0, 1) for name in X] + [f"scale[expert {k}]" for k in (0, 1)]
profiles = {name: errors.profile(name) for name in names}

# %%
# Most intervals agree. The profile and bootstrap intervals of the gate's weights are longer on the side away from
# zero, which an interval of a symmetric law cannot show.

figure, ax = plt.subplots(figsize=(7, 5), layout="constrained")
for place, (name, profile) in enumerate(profiles.items()):
    kinds = {
        "normal": (table.loc[name, "lower"], table.loc[name, "upper"]),
        "profile": (profile.lower, profile.upper),
        "bootstrap": (percentile.loc[name, "lower"], percentile.loc[name, "upper"]),
    }
    for k, (kind, ends) in enumerate(kinds.items()):
        height = place + 0.22 * (k - 1)
        ax.plot(ends, [height, height], color=COLOURS[k + 2], lw=2, label=kind if place == 0 else None)
    ax.plot(table.loc[name, "estimate"], place, "o", color="black", ms=4)
ax.axvline(0, color="0.6", lw=1, zorder=0)
ax.set_yticks(range(len(profiles)), list(profiles))
ax.invert_yaxis()
ax.set_xlabel("estimate, 95 % intervals")
figure.legend(loc="outside upper center", ncols=3, frameon=False)
plt.show()

# %%
# Functions of parameters have errors by the delta method, and hypotheses in names have tests.

print(errors.delta(lambda measure: measure.experts["coef"][1, 0, 0] / measure.experts["coef"][0, 0, 2]))
print(errors.test("age[0] = age[1]"))

# %%
# **Conclusion.** With few rows, take profile or bootstrap intervals for gates and scales: a gate's weight may be much
# steeper than its estimate, but hardly flatter. For the slopes of experts the normal interval serves, at no cost.
gate = profiles["gate weight age[branch 0]"]
assert gate.estimate - gate.lower > gate.upper - gate.estimate  # the longer arm points away from zero
