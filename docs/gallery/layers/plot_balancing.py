"""
Balancing the load of experts
=============================

What happens to a sparse layer without balancing, and how three methods keep its experts busy.
"""

# %%
# A layer that sends every token to one of eight experts. The tokens come from a few clusters of very different sizes.
# An expert that wins early gets more gradients and wins more: without balancing some experts end up with nothing to
# do.

import matplotlib.pyplot as plt
import torch
from torch import nn

from gatewise.nn import History, MoE, collapse, diagnostics
from gatewise.plots import load_by_step

METHODS = {"none": {}, "switch": {}, "importance+load": {}, "bias": {"bias_rate": 0.1}}
rotations = torch.linalg.qr(torch.randn(6, 16, 16, generator=torch.Generator().manual_seed(1)))[0]
centers = 0.7 * torch.randn(6, 16, generator=torch.Generator().manual_seed(2))
sizes = torch.tensor([0.4, 0.25, 0.15, 0.1, 0.06, 0.04])


def draw(n, generator):
    """Return tokens (n, 16) of six clusters, and what should become of them."""
    kind = torch.multinomial(sizes, n, replacement=True, generator=generator)
    x = torch.randn(n, 16, generator=generator)
    return centers[kind] + x, torch.einsum("nij,nj->ni", rotations[kind], x)


def train(balance, options):
    """Return the layer, its history and the error of the last steps."""
    torch.manual_seed(0)
    layer = MoE(16, 32, 8, top_k=1, bias=True, balance=balance, **options)
    model, generator = nn.Sequential(layer), torch.Generator().manual_seed(0)
    history, optimizer, losses = History(model), torch.optim.AdamW(model.parameters(), 5e-3), []
    for _ in range(120):
        x, y = draw(256, generator)
        optimizer.zero_grad()
        loss = (model(x) - y).square().mean()
        loss.backward()
        optimizer.step()
        history.add()
        losses.append(loss.item())
    return model, history, sum(losses[-20:]) / 20


found = {name: train(name, options) for name, options in METHODS.items()}
for name, (model, _, error) in found.items():
    statistics = {key: round(value, 2) for key, value in diagnostics(model)["0"].items() if key != "mutual information"}
    print(f"{name:16} error {error:.3f}  {statistics}")
    print(f"{'':16} {collapse(model) or 'not collapsed'}")

# %%
# Share of the tokens of every expert over the steps. Dotted lines are equal shares.

figure, axes = plt.subplots(2, 2, figsize=(9, 6.2), sharex=True, layout="constrained")
for ax, (name, (_, history, _)) in zip(axes.flat, found.items(), strict=True):
    load_by_step(history.load("0"), ax)
    ax.set_title(f'balance="{name}"', fontsize=10)
plt.show()
assert collapse(found["none"][0])
assert not any(collapse(found[name][0]) for name in found if name != "none")

# %%
# **Conclusion.** Without balancing some experts never serve a token, and ``collapse`` says so. All three methods mend
# that. Equal loads are not an end in itself: the clusters here have unequal sizes, and the errors printed above show
# what evenness costs or saves. Balance as much as the hardware needs, not more.
