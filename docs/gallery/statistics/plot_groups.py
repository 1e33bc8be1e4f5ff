"""
Repeated measurements: rows of a person share an expert
=======================================================

How to fit growth curves whose rows belong to people, not to rows, and what goes wrong when the groups are ignored.
"""

# %%
# Sixty children, measured six times. Two patterns of growth; which one a child follows depends on a covariate of the
# child. Noise is large, so that a single row says little, and six rows say much.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from gatewise import moe
from gatewise.plots import COLOURS, rootogram

rng = np.random.default_rng(3)
children, visits = 60, 6
child = np.repeat(np.arange(children), visits)
diet = rng.normal(size=children)
fast = rng.random(children) < 1 / (1 + np.exp(-1.5 * diet))
data = pd.DataFrame({"child": child, "age": np.tile(np.arange(visits) + 2.0, children), "diet": diet[child]})
data["gain"] = np.where(fast[child], 3 + 1.2 * data.age, 4 + 0.6 * data.age) + 1.2 * rng.normal(size=len(data))

# %%
# With ``groups``, the gate chooses once for each child, and the likelihood of a child is that of all its rows.

options = {"gate_formula": "~ diet", "n_init": 10, "random_state": 0}
grouped = moe("gain ~ age", data, groups="child", **options).relabel("age")
rowwise = moe("gain ~ age", data, **options).relabel("age")
for name, model in (("groups", grouped), ("single rows", rowwise)):
    sure = (model.responsibilities().max(1) > 0.9).mean()
    print(f"{name:12} slopes {model.coef_[:, 0].round(2)} (true: 0.6, 1.2); rows told apart with 90 %: {sure:.0%}")

# %%
# Posterior probabilities: rows decide little, children nearly everything.

figure, (left, middle, right) = plt.subplots(1, 3, figsize=(9.5, 3.6), layout="constrained")
share = grouped.responsibilities()[:, 1].reshape(children, visits)[:, 0]
for one in range(children):
    own = data[data.child == one]
    left.plot(own.age, own.gain, color=COLOURS[int(share[one] > 0.5)], lw=0.7, alpha=0.6)
left.set(xlabel="age (years)", ylabel="gain (kg)", title="children, by their probable expert")
for ax, model, title in ((middle, grouped, "groups"), (right, rowwise, "single rows")):
    rootogram(model, ax=ax)
    ax.set_title(title, fontsize=10, pad=22)
plt.show()

# %%
# **Conclusion.** Rows of one child share what decides about them. With ``groups`` almost every child can be assigned;
# without it the two lines are told apart by single noisy rows, their posterior probabilities are undecided, and the
# standard errors would count a child six times.
