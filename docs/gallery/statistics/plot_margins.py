"""
Margins and effects
===================

What a column does to the mean of the mixture, through the experts and through the gate, and why its coefficients
alone do not say so.
"""

# %%
# Costs of insured people: two classes of risk. Age acts in one of the classes only, but it also makes that class more
# probable.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from gatewise import moe
from gatewise.plots import COLOURS, coefficients, marginal_effects

rng = np.random.default_rng(7)
n = 700
people = pd.DataFrame(
    {
        "age": rng.uniform(20, 80, n),
        "visits": rng.poisson(2, n).astype(float),
        "plan": rng.choice(["basic", "plus"], n),
    }
)
ill = rng.random(n) < 1 / (1 + np.exp(-(people.age - 55) / 7))
people["cost"] = np.where(ill, 12 + 0.08 * (people.age - 50) + 1.0 * people.visits, 3 + 0.3 * people.visits)
people["cost"] += 1.5 * (people.plan == "plus") + 1.2 * rng.normal(size=n)
model = moe("cost ~ age + visits + plan", people, gate_formula="~ age", n_init=5, random_state=0).relabel("age")

# %%
# Coefficients of the experts, and the mean of each expert along age.

figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.6), layout="constrained")
coefficients(model, left)
marginal_effects(model, "age", ax=right, label="mean cost (1000 €)")
right.set_xlabel("age (years)")
plt.show()

# %%
# ``margins`` is the average effect on the mean of the *mixture*, gates included, with errors by the delta method;
# with ``at`` at values of your choice. A factor is compared with its first level.

print("average effect of one year:")
print(model.margins("age").round(3).to_string())
print("at ages:")
ages = list(range(25, 80, 5))
at = model.margins("age", at={"age": ages})
print(at.round(3).to_string())
print("plan:")
print(model.margins("plan").round(2).to_string())

# %%
# The effect of one more year at every age, with 95 % intervals, beside the slopes of the two experts: where people
# move from one class to the other, a year costs far more than either expert says.

figure, ax = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
ax.errorbar(ages, at["estimate"], [at["estimate"] - at["lower"], at["upper"] - at["estimate"]], fmt="ko-", ms=4, lw=1,
            capsize=2, label="mixture")  # fmt: skip
for expert, slope in enumerate(model.coef_[:, list(model.feature_names_in_).index("age")]):
    ax.axhline(slope, color=COLOURS[expert], ls=("-", "--")[expert], label=f"slope of expert {expert}")
ax.set(xlabel="age (years)", ylabel="effect of one year\n(1000 €)", ylim=(-0.05, None))
ax.legend(frameon=False)
plt.show()

# %%
# **Conclusion.** Coefficients describe the experts; margins describe the people. Here most of the effect of age comes
# from the gate, and no expert's slope shows it.
