"""
Which experts a token gets: top-k, top-p, expert choice
=======================================================

Three rules of choice behind one gate: how many experts serve a token, and how many tokens an expert.
"""

# %%
# A gate weighs all experts; ``top_k`` and ``choice`` say which of them serve. Top-k takes the k largest weights.
# Top-p takes as few as have a share p together, so that easy tokens cost less (arXiv 2403.07652). With expert choice
# the experts take tokens, all the same number (arXiv 2202.09368). Tokens here are clear (near a center) or unclear
# (between two).

import matplotlib.pyplot as plt
import numpy as np
import torch

from gatewise.nn import ExpertChoice, MoE, TopP
from gatewise.plots import COLOURS

generator = torch.Generator().manual_seed(0)
places = 2 * torch.randn(6, 8, generator=generator)
first, second = torch.randint(6, (2, 1200), generator=generator)
share = torch.where(torch.arange(1200) < 600, 0.0, 0.5)[:, None]  # the first half is clear
tokens = (1 - share) * places[first] + share * places[second] + 0.3 * torch.randn(1200, 8, generator=generator)

rules = {
    "top-2": {"top_k": 2},
    "top-p": {"choice": TopP(0.8), "top_k": None, "normalise": "before"},
    "expert choice": {"choice": ExpertChoice(), "top_k": 2, "normalise": "before", "balance": "none"},
}
served = {}
for name, options in rules.items():
    torch.manual_seed(0)
    layer = MoE(8, 16, 6, gate="laplace", **options).eval()
    with torch.no_grad():
        layer.router.gates[0].center.copy_(places)  # a gate that knows the places, instead of training
        routing = layer.router(tokens)
    chosen = routing.weight > 0
    served[name] = torch.zeros(1200, 6).scatter_add_(1, routing.index.clamp_min(0), chosen.float())
    each = served[name].sum(1)
    print(f"{name:14} experts per token: clear {each[:600].mean():.2f}, unclear {each[600:].mean():.2f};",
          f"depends on the batch: {layer.router.depends_on_batch}")  # fmt: skip

# %%
# Left: how many experts serve a token. Right: the load of every expert.

figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.5), layout="constrained")
for k, (name, table) in enumerate(served.items()):
    each = table.sum(1).numpy()
    counts = [np.mean(each == number) for number in range(5)]
    left.bar(np.arange(5) + 0.27 * (k - 1), counts, width=0.25, color=COLOURS[k + 2], label=name)
    right.bar(np.arange(6) + 0.27 * (k - 1), table.sum(0).numpy(), width=0.25, color=COLOURS[k + 2])
left.set(xlabel="experts that serve a token", ylabel="share of the tokens")
right.set(xlabel="expert", ylabel="tokens served")
figure.legend(loc="outside upper center", ncols=3, frameon=False)
plt.show()
load = {name: table.sum(0) for name, table in served.items()}
assert served["top-p"].sum(1)[600:].mean() > served["top-p"].sum(1)[:600].mean()
assert load["expert choice"].max() == load["expert choice"].min()

# %%
# **Conclusion.** Top-k gives every token the same number of experts, top-p more to unclear tokens than to clear ones,
# and expert choice gives every expert the same load, at the price that tokens compete: outputs depend on the batch,
# so a causal model cannot decode with it.
