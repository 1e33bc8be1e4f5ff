"""
Annealing the temperature of a gate
===================================

How a layer begins with soft weights for all experts and ends with hard ones, by a temperature that falls with the
steps.
"""

# %%
# ``Anneal(start, end, steps)`` sets the temperature of a ``dense-to-sparse`` gate at every optimiser step. The task
# is a mixture of four linear maps of three inputs.

import matplotlib.pyplot as plt
import torch

from gatewise.nn import Anneal, MoE
from gatewise.plots import COLOURS

STEPS = 200
maps = torch.randn(4, 3, generator=torch.Generator().manual_seed(1)) * 2


def draw(n, generator):
    """Return inputs (n, 3) and targets of the map of their quadrant."""
    x = torch.randn(n, 3, generator=generator)
    which = (x[:, 0] > 0).long() + 2 * (x[:, 1] > 0).long()
    return x, (maps[which] * x).sum(1, keepdim=True)


def train(temperature):
    """Return temperatures, mean largest weights and losses by step."""
    torch.manual_seed(0)
    layer = MoE(
        3, 8, 4, gate="dense-to-sparse", top_k=None, dim_out=1, temperature=temperature, balance="none", bias=True
    )
    optimizer, generator = torch.optim.Adam(layer.parameters(), 1e-2), torch.Generator().manual_seed(0)
    rows = []
    for _ in range(STEPS):
        x, y = draw(256, generator)
        optimizer.zero_grad()
        loss = (layer(x) - y).square().mean()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            largest = layer.router(x).weight.max(1).values.mean()
        rows.append((float(largest), loss.item()))
    return torch.tensor(rows)


schedules = {"annealed": Anneal(2.0, 0.1, steps=STEPS), "held at 2": 2.0, "held at 0.1": 0.1, "learned": "learned"}
found = {name: train(temperature) for name, temperature in schedules.items()}
for name, rows in found.items():
    print(
        f"{name:12} loss of the last steps {rows[-20:, 1].mean():.3f}, mean largest weight {rows[-20:, 0].mean():.2f}"
    )

# %%
# Left: how sure the gate is. Right: the loss.

figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.5), layout="constrained")
for k, (name, rows) in enumerate(found.items()):
    style = ("-", "--", ":", "-.")[k]
    smooth = rows[:, 1].unfold(0, 10, 1).mean(1)
    left.plot(rows[:, 0], style, color=COLOURS[k + 2], label=name)
    right.plot(torch.arange(10, STEPS + 1), smooth, style, color=COLOURS[k + 2])
left.set(xlabel="optimiser step", ylabel="mean largest weight of a token", ylim=(0.2, 1.02))
right.set(xlabel="optimiser step", ylabel="loss, mean of ten steps", yscale="log")
right.set_yticks([0.5, 1, 2, 5, 10], ["0.5", "1", "2", "5", "10"])
right.minorticks_off()
figure.legend(loc="outside upper center", ncols=4, frameon=False)
plt.show()
assert found["held at 2"][-20:, 1].mean() > max(
    rows[-20:, 1].mean() for name, rows in found.items() if name != "held at 2"
)

# %%
# **Conclusion.** The schedule does what it says: weights begin soft, so that all experts learn, and end hard, so that
# few need to be computed. Whether that lowers the loss depends on the task, and this is one seed: here a temperature
# that stays high is worst, and one that is low from the first step is no worse than annealing.
