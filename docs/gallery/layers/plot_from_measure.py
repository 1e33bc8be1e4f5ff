"""
A fitted regression becomes a layer
===================================

How to turn a mixture that was fitted by maximum likelihood into a layer of torch with the same gate and the same
mean, and train it on.
"""

# %%
# A mixture of experts with three inputs, fitted with certificates and standard errors.

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

from gatewise import MixtureOfExpertsRegressor
from gatewise.nn import from_measure
from gatewise.plots import COLOURS

rng = np.random.default_rng(0)


def draw(n, bend):
    """Return inputs (n, 3), responses, curved where bend is not zero, and their true mean."""
    X = rng.uniform(-2, 2, size=(n, 3))
    share = 1 / (1 + np.exp(-2 * X[:, 0]))
    one, other = 2 + X[:, 1] + bend * X[:, 1] ** 2, -1 - X[:, 2]
    y = np.where(rng.random(n) < share, one, other) + 0.3 * rng.normal(size=n)
    return X, y, share * one + (1 - share) * other


X, y, _ = draw(600, bend=0.0)
model = MixtureOfExpertsRegressor(2, n_init=5, random_state=0).fit(X, y).relabel("x1")
layer = from_measure(model.mixture_, model.measure_)
print(layer)
with torch.no_grad():
    difference = np.abs(layer(torch.tensor(X))[:, 0].numpy() - model.predict(X)).max()
print("largest difference of the means:", f"{difference:.1e}")

# %%
# New data have a curve that the regression does not know. The layer is trained on them inside a larger model: its
# output plus a small network.

inputs, targets, _ = (torch.tensor(part) for part in draw(1500, bend=0.5))
points, _, truth = (torch.tensor(part) for part in draw(2000, bend=0.5))


class Corrected(nn.Module):
    """A fitted mixture and a correction that is learned beside it."""

    def __init__(self, mixture):
        super().__init__()
        torch.manual_seed(0)
        self.mixture = mixture
        self.correction = nn.Sequential(nn.Linear(3, 16), nn.GELU(), nn.Linear(16, 1)).double()
        nn.init.zeros_(self.correction[2].weight), nn.init.zeros_(self.correction[2].bias)

    def forward(self, x):
        return self.mixture(x) + self.correction(x)


def error(network):
    """Return the root mean squared distance from the true mean, on other points."""
    with torch.no_grad():
        return (network(points)[:, 0] - truth).square().mean().sqrt().item()


network = Corrected(layer)
optimizer, errors = torch.optim.Adam(network.parameters(), 1e-2), [error(network)]
for step in range(100):
    optimizer.zero_grad()
    (network(inputs)[:, 0] - targets).square().mean().backward()
    optimizer.step()
    if step % 5 == 4:
        errors.append(error(network))
print(f"distance from the true mean: the fit {errors[0]:.3f}, after training {errors[-1]:.3f}")

# %%
# Left: the distance from the true mean on other points. Right: both means along x1 where the first expert rules (x0
# is large).

figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.5), layout="constrained")
left.plot(range(0, 101, 5), errors, color=COLOURS[2])
left.set(xlabel="optimiser step", ylabel="distance from the true mean", ylim=(0, None))
line = torch.zeros(101, 3, dtype=torch.float64)
line[:, 0], line[:, 1] = 2.0, torch.linspace(-2, 2, 101)
with torch.no_grad():
    right.plot(line[:, 1], network(line)[:, 0], color=COLOURS[2], label="trained layer")
right.plot(line[:, 1], model.predict(line.numpy()), "--", color=COLOURS[3], label="fit")
right.plot(line[:, 1], 2 + line[:, 1] + 0.5 * line[:, 1] ** 2, ":", color="black", label="truth of an expert")
right.set(xlabel="x1 (x0 = 2, x2 = 0)", ylabel="mean of y")
right.legend(frameon=False)
plt.show()
assert errors[-1] < errors[0]

# %%
# **Conclusion.** The layer begins at the maximum-likelihood estimates, to the last digit, and learns on from there
# beside other modules. What the fit knew about its estimates (bounds, fixed values, standard errors) does not go with
# it.
