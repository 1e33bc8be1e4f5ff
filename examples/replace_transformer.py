"""Give a Hugging Face transformer experts that start as copies of its feed-forward networks.

Trains a tiny GPT-2 with random weights for some steps, upcycles its networks into mixtures without changing what it
computes, and trains on. Needs ``pip install transformers``; nothing is downloaded. About ten seconds on one core.

    python examples/replace_transformer.py [--steps 40] [--gate laplace] [--out replace_transformer.png]
"""

from __future__ import annotations

import argparse

import torch
from matplotlib.figure import Figure
from transformers import GPT2Config, GPT2LMHeadModel

from gatewise.nn import History, diagnostics, replace_ffn, upcycle
from gatewise.plots import figures_by_step, load_by_step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--gate", default="laplace")
    parser.add_argument("--out", default="replace_transformer.png")
    options = parser.parse_args()
    torch.set_num_threads(1)  # small matrices: threads would wait for each other
    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=64,
            n_positions=32,
            n_embd=48,
            n_layer=2,
            n_head=4,
            resid_pdrop=0.0,
            bos_token_id=0,
            eos_token_id=0,
        )
    )
    train(model, options.steps)
    text = batch()
    before = model.eval()(text).logits
    names = replace_ffn(
        model, match="transformer.h.*.mlp", to=lambda old: upcycle(old, 8, gate=options.gate, noise=0.0)
    )
    change = float((model.eval()(text).logits - before).abs().max().detach())
    print(f"replaced {', '.join(names)}: the logits moved by {change:.1e}")
    history = train(model, options.steps)
    for name, figures in diagnostics(model).items():
        print(name, ", ".join(f"{key} {value:.2f}" for key, value in figures.items()))
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    load_by_step(history.load(names[0]).numpy(), left)
    left.set_title(names[0], fontsize=10)
    figures_by_step({key: history.figure(names[0], key) for key in ("normalised entropy", "dead fraction")}, right)
    figure.savefig(options.out, dpi=120)
    print(f"wrote {options.out}")


def batch() -> torch.Tensor:
    """Return sequences that count upwards by a step of their own."""
    begin, step = torch.randint(64, (16, 1)), torch.randint(1, 6, (16, 1))
    return (begin + step * torch.arange(32)) % 64


def train(model: torch.nn.Module, steps: int) -> History:
    """Train for some steps and return the history of the layers."""
    model.train()
    optimizer, history = torch.optim.AdamW(model.parameters(), 3e-3), History(model)
    for number in range(steps):
        tokens = batch()
        loss = model(tokens, labels=tokens).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.add()
        if number % 20 == 0 or number == steps - 1:
            print(f"step {number:3d}: loss {float(loss.detach()):.3f}")
    return history


if __name__ == "__main__":
    main()
