"""
Coefficients that experts share
===============================

How to give all experts one coefficient, test whether that is justified, and gain precision by it.
"""

# %%
# A treatment acts alike in two groups of patients that differ in everything else. Three inputs: dose and age act
# differently in the groups, the treatment does not.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from gatewise import compare, moe
from gatewise.plots import coefficients

rng = np.random.default_rng(2)
n = 300
trial = pd.DataFrame(
    {
        "dose": rng.uniform(0, 4, n),
        "age": rng.normal(50, 10, n),
        "treated": rng.integers(0, 2, n),
    }
)
responder = rng.random(n) < 1 / (1 + np.exp(-(trial.age - 50) / 5))
trial["score"] = np.where(responder, 2 + 1.5 * trial.dose, 4 - 0.05 * (trial.age - 50)) + 0.8 * trial.treated
trial["score"] += 0.7 * rng.normal(size=n)

options = {"gate_formula": "~ age", "n_init": 5, "random_state": 0}
free = moe("score ~ dose + age + treated", trial, **options).relabel("dose")
shared = moe("score ~ dose + age + treated", trial, shared="treated", **options).relabel("dose")

# %%
# Wald and likelihood-ratio tests of equal effects. The second fits the mixture under the hypothesis.

print(free.test("treated[0] = treated[1]"))
print(free.test("treated[0] = treated[1]", kind="lr"))
print(compare(free, shared, names=["free", "shared"])[["log_likelihood", "df", "bic", "status"]].round(1).to_string())

# %%
# The same coefficients in both models: what all experts share is black.

figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), sharex=True, layout="constrained")
for ax, model, title in zip(axes, (free, shared), ("every expert its own", "one effect of the treatment"), strict=True):
    coefficients(model, ax)
    ax.set_title(title, fontsize=10, pad=24)
plt.show()
assert shared.bic() < free.bic()
assert free.test("treated[0] = treated[1]").p_value > 0.05

# %%
# **Conclusion.** Neither test rejects equal effects, and BIC is lower with one effect for all. Its interval is
# narrower than either of the two, because all patients estimate it, and it is the one to report. Tests of equal
# coefficients have their usual chi-square law here; those of the *number* of experts have not, see
# ``bootstrap_test``.
