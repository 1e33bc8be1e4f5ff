"""A small vision transformer on the 8 x 8 digits of scikit-learn, its feed-forward networks replaced by experts.

Builds a plain transformer, replaces the networks by mixtures with one call, trains it for a quarter of a minute on one
core, prints the accuracy and which digits go to which experts, and saves both pictures to vit_digits.png.

    python examples/vit_digits.py [--epochs 12] [--gate laplace] [--out vit_digits.png]
"""

from __future__ import annotations

import argparse

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from torch import Tensor, nn

from gatewise.nn import History, MoE, diagnostics, domain_table, mutual_information, observe, replace_ffn
from gatewise.plots import load_by_step, routing_table

DIM = 48


class Block(nn.Module):
    """Attention over patches, then a feed-forward network."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(DIM), nn.LayerNorm(DIM)
        self.attention = nn.MultiheadAttention(DIM, 4, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(DIM, 96), nn.GELU(), nn.Linear(96, DIM))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))


class Transformer(nn.Module):
    """Sixteen patches of 2 x 2 pixels, two blocks, the mean of the tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.place = nn.Linear(4, DIM), nn.Parameter(0.02 * torch.randn(16, DIM))
        self.blocks = nn.Sequential(Block(), Block())
        self.head = nn.Linear(DIM, 10)

    def forward(self, images: Tensor) -> Tensor:
        patches = images.unfold(1, 2, 2).unfold(2, 2, 2).flatten(3).flatten(1, 2)
        return self.head(self.blocks(self.patch(patches) + self.place).mean(1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--gate", default="laplace")
    parser.add_argument("--out", default="vit_digits.png")
    options = parser.parse_args()
    torch.set_num_threads(1)  # small matrices: threads would wait for each other
    torch.manual_seed(0)
    digits = load_digits()
    images, labels = torch.tensor(digits.images, dtype=torch.float32) / 16, torch.tensor(digits.target)
    order = torch.randperm(len(images))
    train, test = order[:1400], order[1400:]
    model = Transformer()
    names = replace_ffn(model, match="blocks.*.mlp", to=lambda old: MoE(DIM, 96, n_experts=6, gate=options.gate))
    print("replaced", ", ".join(names))
    optimizer, history = torch.optim.AdamW(model.parameters(), 2e-3), History(model)
    for epoch in range(options.epochs):
        for batch in train[torch.randperm(len(train))].split(100):
            optimizer.zero_grad()
            F.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()
            history.add()
        with torch.no_grad():
            right = (model.eval()(images[test]).argmax(-1) == labels[test]).float().mean()
        model.train()
        print(f"epoch {epoch + 1:2d}: test accuracy {float(right):.3f}")
    for name, figures in diagnostics(model).items():
        print(name, ", ".join(f"{key} {value:.2f}" for key, value in figures.items()))
    with observe(model.eval(), keep=True) as seen, torch.no_grad():
        model(images[test])
    name = names[-1]
    table = domain_table(torch.cat(seen.index[name]), labels[test].repeat_interleave(16), 6)
    print(f"{name}: mutual information of digit and expert {mutual_information(table):.3f} nats")
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    left, right_ax = figure.subplots(1, 2)
    load_by_step(history.load(name).numpy(), left)
    left.set_title(name, fontsize=10)
    routing_table(table.numpy(), right_ax, by="digit")
    figure.savefig(options.out, dpi=120)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
