"""
How many experts
================

Choosing the number of experts by BIC, reading the criteria against each other, and asking by a bootstrap test whether
the larger mixture is needed.
"""

# %%
# Three inputs and two true experts. ``select`` fits every size with every gate; one expert needs no gate.

import matplotlib.pyplot as plt
import numpy as np

from gatewise import MixtureOfExpertsRegressor, bootstrap_test, select
from gatewise.plots import criteria

rng = np.random.default_rng(1)
X = rng.normal(size=(250, 3))
first = rng.random(250) < 0.4
y = np.where(first, 3 + X[:, 0], X @ [1.0, -1.0, 2.0]) + 0.5 * rng.normal(size=250)
options = MixtureOfExpertsRegressor(scale="shared", n_init=5, random_state=0)
found = select(options, X, y, n_experts=(1, 2, 3, 4), gates=("constant", "softmax"))
print(found.table[["n_experts", "gate", "log_likelihood", "df", "aic", "bic", "icl", "status"]].round(1).to_string())

# %%
# A ring marks the choice. Likelihoods grow with every expert; criteria charge for its parameters. Mixtures that are
# unsound are drawn as hollow triangles and never chosen.

figure, axes = plt.subplots(1, 3, figsize=(9.5, 3.2), layout="constrained")
for ax, name in zip(axes, ("bic", "icl", "aic"), strict=True):
    criteria(found, name, ax)
plt.show()

# %%
# The likelihood ratio of mixtures has no chi-square distribution. ``bootstrap_test`` draws responses from the smaller
# mixture and fits both sizes to each. Nineteen draws suffice for the 5 % level, no more; use 99 or more.

small = found.best_estimator_
one, larger = (MixtureOfExpertsRegressor(k, small.gate, scale="shared", n_init=5, random_state=0) for k in (1, 3))
tests = {
    "1 or 2 experts": bootstrap_test(one, small, X, y, n_boot=19, n_init=2),
    "2 or 3 experts": bootstrap_test(small, larger, X, y, n_boot=19, n_init=2),
}
for question, test in tests.items():
    print(f"{question}: twice the log-likelihood ratio {test.statistic:.1f}, p = {test.p_value:.2f}")

# %%
# The statistic (line) among those of data sets that the smaller mixture made (bars).

figure, axes = plt.subplots(1, 2, figsize=(8.5, 3), layout="constrained")
for ax, (question, test) in zip(axes, tests.items(), strict=True):
    ax.hist(test.drawn, bins=12, color="0.7", label="drawn from the smaller mixture")
    ax.axvline(test.statistic, color="black", label="data")
    ax.set(title=question, xlabel="twice the log-likelihood ratio", ylabel="data sets")
    ax.yaxis.get_major_locator().set_params(integer=True)
figure.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False, fontsize=9)
plt.show()
assert (small.n_experts, small.gate) == (2, "constant")
assert tests["1 or 2 experts"].p_value <= 0.05 < tests["2 or 3 experts"].p_value

# %%
# **Conclusion.** BIC and ICL choose two experts with constant proportions, which is the truth. The first test rejects
# one expert, the second does not reject two. AIC charges least and is the first to ask for more.
