"""
A gate of one's own
===================

How to write a gate that the library does not have in a dozen lines, check it, fit it, and ask what it identifies.
"""

# %%
# A gate is a score and a link. This score has heavy tails: it falls with the logarithm of the squared distance from a
# center, so that an expert keeps some weight far away. Roles say what a parameter is; derivatives come from automatic
# differentiation.

from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import torch

from gatewise import Gate, MixtureOfExpertsRegressor, Parameter, Score, compare, identify
from gatewise.plots import gate_curves
from gatewise.testing import GATE_LAWS, SCORE_LAWS


@dataclass(frozen=True)
class Cauchy(Score):
    """``bias - 2 log(1 + ||x - center||^2)``."""

    def parameters(self, d):
        return {"center": Parameter((d,), "location"), "bias": Parameter((), "intercept")}

    def __call__(self, params, x):
        difference = params["center"][..., None] - x.unsqueeze(-3)
        return params["bias"][..., None] - 2 * torch.log1p((difference**2).sum(-2))


gate = Gate(Cauchy())

# %%
# Laws that every score and gate must obey: shapes, batches, derivatives, translations. ``check_gate`` runs these and
# many more, through estimators and files to neural layers; it takes longer than an example may.

for law in SCORE_LAWS:
    law(gate.score)
for law in GATE_LAWS:
    law(gate)
print(f"{len(SCORE_LAWS) + len(GATE_LAWS)} laws hold:", ", ".join(law.__name__ for law in SCORE_LAWS + GATE_LAWS))

# %%
# It works wherever a gate is asked for. Three inputs; the first expert is responsible near a point and, with some
# probability, everywhere.

rng = np.random.default_rng(4)
X = rng.normal(size=(500, 3))
near, away = (2 * np.log1p(((X - center) ** 2).sum(1)) for center in ((0.5, 0, 0), (-1.5, 1, 0)))
first = rng.random(500) < 1 / (1 + np.exp(near - away))
y = np.where(first, 2 + X[:, 1], -2 + X[:, 2]) + 0.5 * rng.normal(size=500)
models = {
    name: MixtureOfExpertsRegressor(2, one, n_init=6, random_state=0).fit(X, y).relabel("size")
    for name, one in (("own gate", gate), ("laplace", "laplace"), ("softmax", "softmax"))
}
print(compare(*models.values(), names=list(models))[["log_likelihood", "df", "bic", "status"]].round(1).to_string())
print("centers of the own gate:", models["own gate"].gate_params_[0]["center"].round(2).tolist())

# %%
# Weights along the first input, the others at their medians.

figure, axes = plt.subplots(1, 3, figsize=(9.5, 3), sharey=True, layout="constrained")
for ax, (name, model) in zip(axes, models.items(), strict=True):
    gate_curves(model, X, ax, label="x0", legend=ax is axes[0])
    ax.set_title(name, fontsize=10)
plt.show()

# %%
# What does it identify? The relations are found for own gates as for those of the library.

print(identify(gate, "linear").text())

# %%
# **Conclusion.** A score of a few lines is a gate of the library: fitted with exact derivatives and a certificate, in
# tables, plots and layers. ``identify`` finds for it what the theory would have to prove.
