"""
When a fit is not converged
===========================

What ``separated``, ``unidentified`` and ``unsound`` look like, and what to do about each.
"""

# %%
# A fit always returns, and says by its status and by a warning what the data could not determine. Three small data
# sets cause the three most frequent cases. Warnings are caught and printed.

import warnings

import matplotlib.pyplot as plt
import numpy as np

from gatewise import FitWarning, MixtureOfExpertsRegressor
from gatewise.plots import expert_curves, gate_curves


def fit(X, y, **options):
    """Return a fitted model, its warning printed."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", FitWarning)
        model = MixtureOfExpertsRegressor(**{"n_init": 5, "random_state": 0} | options).fit(X, y)
    print(f"status: {model.status_}")
    for one in caught:
        print(f"  {type(one.message).__name__}: {one.message}")
    return model


# %%
# **Separated.** To the left of zero one line, to the right another: the border is sharp, and the slope of a softmax
# gate grows without limit. Predictions are fine; the slope has no estimate. A ridge penalty on the slopes of the gate
# (``alpha``) gives a finite one.

rng = np.random.default_rng(0)
x = rng.uniform(-2, 2, size=(120, 1))
y = np.where(x[:, 0] < 0, 1 + x[:, 0], 3 - x[:, 0]) + 0.2 * rng.normal(size=120)
sharp = fit(x, y)
ridge = fit(x, y, alpha=0.01)
print(
    "slope of the gate",
    sharp.gate_params_[0]["weight"][0].round(1),
    "; with the penalty",
    ridge.gate_params_[0]["weight"][0].round(1),
)

figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
expert_curves(sharp, x, y, axes[0], labels=("x", "y"))
gate_curves(sharp, x, axes[1], legend=False)
gate_curves(ridge, x, axes[1], legend=False, palette=[2, 3])
axes[1].set_title("green and pink: with the penalty", fontsize=10)
plt.show()

# %%
# **Unidentified.** Some direction of the parameters changes nothing: here the temperature of a dense-to-sparse gate,
# which multiplies what the weights could do alone. Predictions are unaffected. The remedy is the simpler model, whose
# likelihood is the same.

soft = 1 / (1 + np.exp(-2 * x[:, 0]))
z = np.where(rng.random(120) < soft, 2 + x[:, 0], -1.0) + 0.3 * rng.normal(size=120)
tempered = fit(x, z, gate="dense-to-sparse")
plain = fit(x, z, gate="softmax")
print("difference of the log-likelihoods", abs(round(tempered.log_likelihood_ - plain.log_likelihood_, 6)))
print("intervals of the simpler model:")
print(plain.confint(x, z).round(2).to_string())

# %%
# **Unsound.** Three experts with three inputs have more parameters than fourteen rows can determine: an expert that
# passes through a handful of rows makes the likelihood as large as it likes. The remedy is a smaller model: fewer
# experts, one scale for all, or fewer columns.

few = rng.normal(size=(14, 3))
w = np.where(few[:, 0] < 0, 2 + few[:, 1], -2 - few[:, 2]) + 0.5 * rng.normal(size=14)
crowded = fit(few, w, n_experts=3)

# %%
# **Unsound, by a floor.** A third of the responses lie below the limit of detection and are recorded as that limit.
# An expert that passes through them exactly would have an infinite likelihood, so its scale ends on a floor, far
# below real noise. The remedy is a model that says what happened: one for *whether* a value is above the limit, one
# for the values.

limited = np.maximum(np.where(x[:, 0] < -0.6, 0.0, 1 + 0.5 * x[:, 0] + 0.3 * rng.normal(size=120)), 0.0)
kept = fit(x, limited)
above = limited > 0
fit(x[above], limited[above], n_experts=1, n_init=1)
figure, ax = plt.subplots(figsize=(6, 3.2), layout="constrained")
expert_curves(kept, x, limited, ax, labels=("x", "response"))
plt.show()
assert (sharp.status_, tempered.status_, crowded.status_) == ("separated", "unidentified", "unsound")
assert kept.status_ == "unsound"

# %%
# **Conclusion.** ``separated`` and ``unidentified`` concern parameters, not predictions: leave them or simplify.
# ``unsound`` concerns the fit itself: its likelihood means nothing, and criteria never choose it. The certificate
# behind a status is ``model.fit_.certificate``.
