"""
Gates compared on a toy task, seed by seed
==========================================

How to compare layers with different gates fairly: the same data, the same start of the experts, several seeds, and
differences in pairs.
"""

# %%
# Tokens are points of a plane. In four discs the target is a linear function of the point, in each another one, and
# outside it is zero. Five linear experts could represent this exactly, if the gate finds the discs.

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

from gatewise.nn import MoE
from gatewise.plots import COLOURS

CENTERS = torch.tensor([[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]])
SLOPES = torch.tensor([[2.0, 0.0], [0.0, 2.0], [-2.0, 0.0], [0.0, -2.0]])


def draw(n, generator):
    """Return points (n, 2) and targets (n, 1)."""
    x = 4 * torch.rand(n, 2, generator=generator) - 2
    near = (x[:, None] - CENTERS).norm(dim=-1)
    inside, which = near.min(1)
    target = (SLOPES[which] * x).sum(1) * (inside < 0.9)
    return x, target[:, None]


def train(gate, seed):
    """Return a trained layer, and its mean squared error on new points."""
    torch.manual_seed(seed)
    layer = MoE(2, n_experts=5, gate=gate, top_k=None, experts=lambda: nn.Linear(2, 1), dim_out=1, balance="none")
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(layer.parameters(), 3e-2)
    for _ in range(80):
        x, y = draw(256, generator)
        optimizer.zero_grad()
        (layer(x) - y).square().mean().backward()
        optimizer.step()
    x, y = draw(4000, torch.Generator().manual_seed(1000))
    with torch.no_grad():
        return layer.eval(), float((layer(x) - y).square().mean())


# %%
# Five seeds. The seed sets the start and the data, so that the gates of one seed are a pair.

gates, seeds = ("softmax", "laplace", "quadratic"), range(5)
runs = {gate: [train(gate, seed) for seed in seeds] for gate in gates}
errors = {gate: np.array([error for _, error in found]) for gate, found in runs.items()}
for gate, found in errors.items():
    print(f"{gate:10} mean squared error {found.mean():.4f}, seeds {found.round(4).tolist()}")

# %%
# Differences within a seed, with a 95 % interval of Student's t for so few pairs. An interval that contains zero is a
# tie.

QUANTILE = 2.776  # of Student's t with four degrees of freedom
for first, second in (("softmax", "laplace"), ("laplace", "quadratic")):
    gap = errors[first] - errors[second]
    half = QUANTILE * gap.std(ddof=1) / np.sqrt(len(gap))
    print(f"{first} minus {second}: {gap.mean():.3f}, 95 % interval {gap.mean() - half:.3f} to {gap.mean() + half:.3f}")

# %%
# Errors of every seed, and which expert has the largest weight where (first seed; circles are the true discs).

figure, axes = plt.subplots(2, 2, figsize=(8, 6.8), layout="constrained")
axes = axes.ravel()
for seed in seeds:
    axes[0].plot(gates, [errors[gate][seed] for gate in gates], "o-", color="0.4", lw=0.8, ms=4)
axes[0].set(ylabel="mean squared error", title="a line per seed", ylim=(0, None))
grid = torch.linspace(-2, 2, 121)
plane = torch.cartesian_prod(grid, grid)
for ax, gate in zip(axes[1:], gates, strict=True):
    with torch.no_grad():
        routing = runs[gate][0][0].router(plane)
    best = routing.index.gather(1, routing.weight.argmax(1, keepdim=True))[:, 0].reshape(121, 121).T
    ax.contourf(grid, grid, best, levels=np.arange(6) - 0.5, colors=COLOURS[:5], alpha=0.6)
    for center in CENTERS:
        ax.add_patch(plt.Circle(center.tolist(), 0.9, fill=False, color="black", lw=1))
    ax.set(title=gate, xlabel="x0", ylabel="x1", aspect="equal")
plt.show()

# %%
# **Conclusion.** On a task made of discs, gates that can close a region win, and the pairs show it with a handful of
# seeds. The order says nothing about other tasks: repeat it on yours, with learning rates chosen alike for every gate
# (``gatewise.experiments`` does this).
