"""
Upcycling: a trained network becomes a mixture of experts
=========================================================

How to replace a feed-forward network by experts that begin as its copies, without changing the output, and what
training on makes of it.
"""

# %%
# A small network is trained on the handwritten digits of scikit-learn.

import copy

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch import nn

from gatewise.nn import expert_similarity, replace_ffn
from gatewise.plots import COLOURS

digits = load_digits()
pixels, label = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
order = torch.randperm(len(label), generator=torch.Generator().manual_seed(0))
train, test = order[:1300], order[1300:]


class Network(nn.Module):
    """An embedding, a feed-forward network with a residual connection, and a head."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Linear(64, 16), nn.Linear(16, 10)
        self.mlp = nn.Sequential(nn.Linear(16, 16), nn.GELU(), nn.Linear(16, 16))

    def forward(self, x):
        x = self.embed(x)
        return self.head(x + self.mlp(x))


def fit(model, steps, seed):
    """Train, and return the losses on the test images at every tenth step."""
    optimizer, generator, losses = torch.optim.AdamW(model.parameters(), 3e-3), torch.Generator().manual_seed(seed), []
    for step in range(steps):
        batch = train[torch.randint(len(train), (128,), generator=generator)]
        optimizer.zero_grad()
        nn.functional.cross_entropy(model.train()(pixels[batch]), label[batch]).backward()
        optimizer.step()
        if step % 10 == 9:
            with torch.no_grad():
                losses.append(float(nn.functional.cross_entropy(model.eval()(pixels[test]), label[test])))
    return losses


torch.manual_seed(0)
dense = Network()
before = fit(dense, 100, seed=0)
print(f"dense network: loss on test images {before[-1]:.3f}")

# %%
# ``replace_ffn`` finds the network by its name and makes every expert a copy. The output does not change. ``jitter``
# makes the copies differ a little, for otherwise they would get the same gradients; here it is left out to show the
# equality.

sparse = copy.deepcopy(dense)
replace_ffn(sparse, "mlp", {"n_experts": 8, "gate": "softmax", "top_k": 2})
with torch.no_grad():
    gap = (sparse.eval()(pixels) - dense.eval()(pixels)).abs().max()
print(f"largest difference of the outputs after the replacement {gap:.1e}")

upcycled = copy.deepcopy(dense)
replace_ffn(upcycled, "mlp", {"n_experts": 8, "gate": "softmax", "top_k": 2, "jitter": 0.02})
torch.manual_seed(1)
fresh = copy.deepcopy(dense)
fresh.embed.reset_parameters(), fresh.head.reset_parameters()
replace_ffn(fresh, "mlp", {"n_experts": 8, "gate": "softmax", "top_k": 2, "jitter": 1.0})

# %%
# All are trained for as long: the dense network goes on, the upcycled one begins where it was, and a mixture with a
# new embedding, a new head and scrambled experts begins from nothing.

with torch.no_grad():
    alike = float(expert_similarity(upcycled.mlp, upcycled.embed(pixels[test])).mean)
later = {"dense, trained on": dense, "upcycled": upcycled, "from nothing": fresh}
losses = {name: fit(model, 150, seed=1) for name, model in later.items()}
with torch.no_grad():
    after = float(expert_similarity(upcycled.mlp, upcycled.embed(pixels[test])).mean)
print(f"mean cosine similarity of the experts: {alike:.3f} at first, {after:.3f} after training")
for name, found in losses.items():
    print(f"{name:18} loss on test images {found[-1]:.3f}")

figure, ax = plt.subplots(figsize=(6.6, 3.8), layout="constrained")
ax.plot(range(10, 101, 10), before, color="black", label="dense")
for k, (name, found) in enumerate(losses.items()):
    ax.plot(range(110, 251, 10), found, ("--", "-", ":")[k], color=COLOURS[k + 2], label=name)
ax.axvline(100, color="0.6", lw=1)
ax.set(xlabel="optimiser step", ylabel="loss on test images", yscale="log")
ax.set_yticks([0.1, 0.2, 0.5, 1, 2], ["0.1", "0.2", "0.5", "1", "2"])
ax.minorticks_off()
ax.legend(frameon=False)
plt.show()
assert gap < 1e-4
assert losses["upcycled"][0] < losses["from nothing"][0]

# %%
# **Conclusion.** The mixture starts with the loss of the network that it replaces, and nothing that was learned is
# lost. Training makes the copies differ, slowly: experts that begin alike stay similar for long.
