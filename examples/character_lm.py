"""A character language model whose feed-forward networks are two-level mixtures with Laplace gates.

Learns the source code of gatewise itself for about a quarter of a minute on one core, prints the loss, the five
figures of every layer and a sample (like code from afar only: the model is tiny), and saves the load of the experts by
step to character_lm.png.

    python examples/character_lm.py [--steps 150] [--gate laplace] [--out character_lm.png]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor, nn

import gatewise
from gatewise.nn import History, HMoE, collapse, diagnostics
from gatewise.plots import load_by_step

LENGTH, DIM, HEADS = 64, 64, 4


class Block(nn.Module):
    """Causal attention, then the experts."""

    def __init__(self, gate: str) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(DIM), nn.LayerNorm(DIM)
        self.mix, self.out = nn.Linear(DIM, 3 * DIM), nn.Linear(DIM, DIM)
        self.experts = HMoE(DIM, 128, n_experts=(2, 4), gate=gate, top_k=2)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.mix(self.first(x)).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(*parts, is_causal=True).transpose(1, 2).flatten(-2)
        x = x + self.out(seen)
        return x + self.experts(self.second(x))


class Model(nn.Module):
    """Embedding, two blocks, logits of the next character."""

    def __init__(self, characters: int, gate: str) -> None:
        super().__init__()
        self.token, self.place = nn.Embedding(characters, DIM), nn.Embedding(LENGTH, DIM)
        self.blocks = nn.Sequential(Block(gate), Block(gate))
        self.head = nn.Sequential(nn.LayerNorm(DIM), nn.Linear(DIM, characters))

    def forward(self, index: Tensor) -> Tensor:
        return self.head(self.blocks(self.token(index) + self.place.weight[: index.shape[1]]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--gate", default="laplace")
    parser.add_argument("--out", default="character_lm.png")
    options = parser.parse_args()
    torch.set_num_threads(1)  # small matrices: threads would wait for each other
    torch.manual_seed(0)
    text = "\n".join(path.read_text("utf-8") for path in sorted(Path(gatewise.__file__).parent.rglob("*.py")))
    alphabet = sorted(set(text))
    data = torch.tensor([alphabet.index(character) for character in text[:400_000]])
    model = Model(len(alphabet), options.gate)
    optimizer, history = torch.optim.AdamW(model.parameters(), 3e-3), History(model)
    for step in range(options.steps):
        begin = torch.randint(len(data) - LENGTH - 1, (32,))
        window = torch.stack([data[b : b + LENGTH + 1] for b in begin])
        loss = F.cross_entropy(model(window[:, :-1]).flatten(0, 1), window[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.add()
        if step % 25 == 0 or step == options.steps - 1:
            print(f"step {step:4d}: {loss.item():.3f} nats a character")
    for name, figures in diagnostics(model).items():
        print(name, ", ".join(f"{key} {value:.2f}" for key, value in figures.items()))
    print(*collapse(model) or ["no layer has collapsed"], sep="\n")
    print(sample(model.eval(), alphabet))
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    for ax, name in zip(figure.subplots(1, 2), history.layers, strict=True):
        load_by_step(history.load(name).numpy(), ax, branching=(2, 4))
        ax.set_title(name, fontsize=10)
    figure.savefig(options.out, dpi=120)
    print(f"wrote {options.out}")


@torch.no_grad()
def sample(model: Model, alphabet: list[str], characters: int = 120) -> str:
    """Return text drawn from the model, from a line break on."""
    index = torch.tensor([[alphabet.index("\n")]])
    for _ in range(characters):
        logits = model(index[:, -LENGTH:])[:, -1] / 0.8
        index = torch.cat([index, torch.multinomial(logits.softmax(-1), 1)], 1)
    return "".join(alphabet[i] for i in index[0])


if __name__ == "__main__":
    main()
