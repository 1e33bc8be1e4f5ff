"""
Two levels of gates: a regression surface in two covariates
===========================================================

How to fit a hierarchy with Laplace gates on both levels, look at its surface, and see which level divides what.
"""

# %%
# Four crops grow on two soils. The outer gate says how probable each soil is at a place, an inner gate for each soil
# which crop stands there; nearness to a center decides on both levels (arXiv 2410.02935). Distances are in standard
# deviations of the coordinates.

import warnings

import matplotlib.pyplot as plt
import numpy as np

from gatewise import FitWarning, MixtureOfExpertsRegressor, compare
from gatewise.plots import gating_regions

rng = np.random.default_rng(0)
n = 1200


def nearer(one, other, at):
    """Return the probability of the first of two centers."""
    far = [np.linalg.norm(at - np.array(center), axis=1) / 2.9 for center in (one, other)]
    return 1 / (1 + np.exp(far[0] - far[1]))


def parts(at):
    """Return the probability of every crop at places (n, 2), and its mean yield in t/ha."""
    west = nearer((2.5, 5), (7.5, 5), at)
    first, second = nearer((2, 2), (3, 7), at), nearer((8, 3), (7, 8), at)
    share = np.stack([west * first, west * (1 - first), (1 - west) * second, (1 - west) * (1 - second)], 1)
    x, y = at.T
    return share, np.stack([6 - 0.4 * y, 1 + 0.5 * x, 4 + 0.3 * y - 0.3 * x, 9 - 0.5 * x + 0.1 * y], 1)


def draw(n):
    """Return places (n, 2) and the yields there."""
    at = rng.uniform(0, 10, size=(n, 2))
    share, mean = parts(at)
    crop = (rng.random((n, 1)) > share.cumsum(1)[:, :-1]).sum(1)
    return at, mean[np.arange(n), crop] + 0.3 * rng.normal(size=n)


places, harvest = draw(n)
fresh = draw(5000)

# %%
# ``n_experts=(2, 2)`` are two groups of two experts, and ``gate`` names the gate of each level. Starts of such fits
# often disagree: the warning ``StartsDisagreeWarning`` is kept back, and the counts are printed instead.

models = {}
for name in ("softmax", "laplace"):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        models[name] = MixtureOfExpertsRegressor((2, 2), (name, name), n_init=6, random_state=0).fit(places, harvest)
    starts = models[name].fit_.starts
    held_out = models[name].score_samples(*fresh).mean()
    print(f"{name}: {starts.hits} of {len(starts.kind)} starts reached the best value")
    print(f"  mean log density of fresh rows {held_out:.4f}")
print(compare(*models.values(), names=list(models))[["log_likelihood", "df", "bic", "status"]].round(1).to_string())

# %%
# The regression surface, true and fitted, on one scale.

grid = np.linspace(0, 10, 61)
plane = np.stack([part.ravel() for part in np.meshgrid(grid, grid)], 1)
share, mean = parts(plane)
surfaces = {"true mean": (share * mean).sum(1), "Laplace over Laplace": models["laplace"].predict(plane)}
surfaces["softmax over softmax"] = models["softmax"].predict(plane)
figure, axes = plt.subplots(1, 3, figsize=(9.5, 3.3), sharey=True, layout="constrained")
levels = np.linspace(min(map(np.min, surfaces.values())), max(map(np.max, surfaces.values())), 13)
for ax, (name, values) in zip(axes, surfaces.items(), strict=True):
    drawn = ax.contourf(grid, grid, values.reshape(61, 61), levels=levels, cmap="cividis")
    ax.set(title=name, xlabel="east (km)")
axes[0].set_ylabel("north (km)")
figure.colorbar(drawn, ax=axes, label="mean yield (t/ha)", format="%.1f")
plt.show()
for name, values in list(surfaces.items())[1:]:
    distance = np.sqrt(np.mean((values - surfaces["true mean"]) ** 2))
    print(f"{name}: root mean squared distance from the true mean {distance:.3f}")

# %%
# Which crop is the most probable at a place: a leaf's weight is the product of the gates on its path. Colours are
# pale where no crop has a clear majority.

figure, ax = plt.subplots(figsize=(5.2, 4.4), layout="constrained")
gating_regions(models["laplace"], places, ax, labels=("east (km)", "north (km)"))
plt.show()

# %%
# **Conclusion.** Where nearness decides on both levels, the surface of Laplace gates is nearer to the true one, and
# fresh rows are more probable. The differences in the likelihood are small all the same, and BIC, which charges for
# every center, need not see them at this number of rows. The order of groups, and of experts in a group, has no
# meaning.
