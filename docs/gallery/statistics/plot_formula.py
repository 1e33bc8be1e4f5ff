"""
Formulas with factors and splines
=================================

How to write a mixture of experts as a model formula, with factors, splines and gates that read other columns, and how
to predict from it.
"""

# %%
# Wages by age are curved and differ between sectors; whether someone is in the primary or the secondary labour market
# depends on schooling. ``bs`` are regression splines, text columns are factors.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from gatewise import moe
from gatewise.plots import COLOURS, marginal_effects

rng = np.random.default_rng(4)
n = 600
people = pd.DataFrame(
    {
        "age": rng.uniform(20, 64, n).round(1),
        "school": rng.normal(12, 2, n).round(),
        "sector": rng.choice(["industry", "public", "services"], n),
    }
)
primary = rng.random(n) < 1 / (1 + np.exp(-(people.school - 12)))
curve = 16 + 10 * np.sin((people.age - 20) / 44 * np.pi / 1.6)
people["wage"] = np.where(primary, curve, 11.0) + 1.5 * (people.sector == "public") + 0.8 * rng.normal(size=n)

model = moe("wage ~ bs(age, df=4) + sector", people, gate_formula="~ school", n_init=5, random_state=0)
model = model.relabel("size")  # the largest expert first
print(model.summary())

# %%
# Means of the experts along age, the sector at its most frequent value, with pointwise 95 % bands.

figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.8), layout="constrained")
marginal_effects(model, "age", ax=left, label="mean wage (€/h)")
left.set_xlabel("age (years)")
for expert in (0, 1):
    own = model.responsibilities()[:, expert] > 0.9
    left.plot(people.age[own], people.wage[own], ".", color=COLOURS[expert], ms=2.5, alpha=0.4, zorder=1)

schools = pd.DataFrame({"age": 40.0, "school": np.arange(6.0, 19), "sector": "services"})
share = model.gate_proba(schools)
for expert in (0, 1):
    right.plot(
        schools.school, share[:, expert], color=COLOURS[expert], ls=("-", "--")[expert], label=f"expert {expert}"
    )
right.set(xlabel="schooling (years)", ylabel="gate weight", ylim=(-0.03, 1.03))
right.legend(frameon=False)
plt.show()

# %%
# Predictions take data frames with the columns of the formula, and a saved model keeps its formula, with the knots of
# its splines and the levels of its factors.

new = pd.DataFrame({"age": [30.0, 50.0], "school": [9.0, 16.0], "sector": ["public", "services"]})
print(
    new.assign(
        mean=model.predict(new), low=model.predict_interval(new)[:, 0], high=model.predict_interval(new)[:, 1]
    ).round(1)
)

# %%
# **Conclusion.** One expert follows a curve in age, the other is flat, and schooling decides between them. The effect
# of the public sector is much the same in both; a shared coefficient would say so.
