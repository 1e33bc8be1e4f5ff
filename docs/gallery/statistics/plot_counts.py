"""
Counts: exposure, structural zeros, extra variance
==================================================

How to fit counts that were observed for different times, that have more zeros than any count law allows, or more
variance than Poisson's.
"""

# %%
# Visits to a park during hours of observation. Some people cannot come at all (distance decides), the others come at
# a rate that depends on three inputs, and rates differ between people.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from gatewise import compare, moe
from gatewise.plots import COLOURS, residual_quantiles

rng = np.random.default_rng(0)
n = 800
people = pd.DataFrame(
    {
        "distance": rng.uniform(0, 10, n),
        "dog": rng.integers(0, 2, n),
        "age": rng.uniform(18, 80, n),
        "hours": rng.uniform(20, 200, n),
    }
)
cannot = rng.random(n) < 1 / (1 + np.exp(6 - people.distance))
rate = np.exp(-3 + 0.8 * people.dog - 0.01 * (people.age - 50) - 0.1 * people.distance)
people["visits"] = np.where(cannot, 0, rng.poisson(people.hours * rate * rng.gamma(2, 0.5, n)))

# %%
# ``offset`` is the log of the exposure: the experts then model the rate of one hour. ``zero_inflated=True`` adds a
# branch of zeros, and its gate reads the distance.

formula, common = "visits ~ dog + age + distance", {"n_experts": 1, "offset": "np.log(hours)", "random_state": 0}
inflated = {"gate_formula": "~ distance", "zero_inflated": True, "n_init": 5}
models = {
    "Poisson": moe(formula, people, family="poisson", **common),
    "Poisson and zeros": moe(formula, people, family="poisson", **common, **inflated),
    "negative binomial": moe(formula, people, family="negative-binomial", **common),
    "negative binomial and zeros": moe(formula, people, family="negative-binomial", **common, **inflated),
}
table = compare(*models.values(), names=list(models))[["log_likelihood", "df", "bic", "status"]]
print(table.round(1).to_string())

# %%
# Randomised quantile residuals are standard normal if the law is right, for counts too. Those of the winner lie on
# the line; the grey band holds each point with probability 95 %.

figure, axes = plt.subplots(2, 2, figsize=(8, 6.4), sharex=True, sharey=True, layout="constrained")
for ax, (name, model) in zip(axes.flat, models.items(), strict=True):
    residual_quantiles(model, ax=ax)
    ax.set_title(name, fontsize=10)
plt.show()

# %%
# The rate of one hour (``offset=0``) and the probability that someone cannot come at all, with the truth.

best = models["negative binomial and zeros"]
near = pd.DataFrame({"distance": np.linspace(0, 10, 101), "dog": 1, "age": 50.0})
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
left.plot(near.distance, 1000 * best.predict_experts(near, offset=0.0)[:, 0], color=COLOURS[0], label="estimate")
left.plot(near.distance, 1000 * np.exp(-2.2 - 0.1 * near.distance), "k:", label="truth")
left.set(xlabel="distance (km)", ylabel="visits per 1000 hours,\nof those who can come", ylim=(0, None))
right.plot(near.distance, best.gate_proba(near)[:, 1], color=COLOURS[1], label="estimate")
right.plot(near.distance, 1 / (1 + np.exp(6 - near.distance)), "k:", label="truth")
right.set(xlabel="distance (km)", ylabel="probability of a structural zero", ylim=(-0.03, 1.03))
left.legend(frameon=False)
plt.show()
assert table["bic"].idxmin() == "negative binomial and zeros"

# %%
# **Conclusion.** Both parts are needed: zeros alone leave too much variance in the counts, and extra variance alone
# explains the zeros by the wrong law. Residuals show it before any criterion does.
