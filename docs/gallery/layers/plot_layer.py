"""
A mixture-of-experts layer in a small network
=============================================

How to put a layer with a gate into a network of torch, train it as usual, and see which expert serves what.
"""

# %%
# Handwritten digits of scikit-learn, eight by eight pixels. ``MoE`` maps vectors to vectors like a feed-forward
# network; each image goes to two of six experts, chosen by a Laplace gate.

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch import nn

from gatewise.nn import History, MoE, collapse, diagnostics, domain_table, observe
from gatewise.plots import figures_by_step, load_by_step, routing_table

digits = load_digits()
pixels = torch.tensor(digits.data, dtype=torch.float32) / 16
label = torch.tensor(digits.target)
order = torch.randperm(len(label), generator=torch.Generator().manual_seed(0))
train, test = order[:1300], order[1300:]

torch.manual_seed(0)
layer = MoE(dim=32, hidden=32, n_experts=6, gate="laplace", top_k=2)
model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), layer, nn.Linear(32, 10))
print(layer)

# %%
# The training loop does not change: the gradient of the balancing loss is added during the backward pass.

optimizer, history = torch.optim.AdamW(model.parameters(), 5e-3), History(model)
for step in range(120):
    batch = train[torch.randint(len(train), (128,), generator=torch.Generator().manual_seed(step))]
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(pixels[batch]), label[batch]).backward()
    optimizer.step()
    history.add()
model.eval()
with torch.no_grad(), observe(model, keep=True) as seen:
    accuracy = (model(pixels[test]).argmax(1) == label[test]).float().mean()
print(f"accuracy on {len(test)} new images: {accuracy:.3f}")
print(collapse(model) or "no layer has collapsed")
print({name: round(float(value), 3) for name, value in diagnostics(model)["2"].items()})

# %%
# The load of every expert over the steps, and two statistics of the routing: the normalised entropy of the loads is
# one if all experts have the same.

figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.6), layout="constrained")
load_by_step(history.load("2"), left)
figures_by_step({key: history.figure("2", key) for key in ("normalised entropy", "dead fraction")}, right)
right.set_ylabel("share")
plt.show()

# %%
# Which digits go where: every row is a digit, and its numbers are the shares of its assignments.

table = domain_table(torch.cat(seen.index["2"]), label[test], n_experts=6)
figure, ax = plt.subplots(figsize=(6, 4.2), layout="constrained")
routing_table(table, ax, groups=[str(digit) for digit in range(10)], by="digit")
plt.show()
assert accuracy > 0.9

# %%
# **Conclusion.** The layer is an ordinary module: no term is added to the loss and no step to the loop. Experts share
# the images nearly evenly and specialise all the same: the rows of the table differ.
