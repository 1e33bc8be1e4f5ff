"""Do experts collapse? Every balancing method from benign and hostile starts, by gate.

A layer learns a piecewise linear function of clustered inputs. The hostile start sends 95 % of the gate's weight to one
expert; the question is how soon the busiest expert serves at most twice its even part of the assignments.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from benchmarks.timing import table
from gatewise.nn import History, MoE
from gatewise.nn.balance import BALANCE_METHODS
from gatewise.nn.router import leaf_probabilities

EXPERTS, KEPT, DIM = 8, 2, 16
STEPS, BATCH, RATE = 400, 512, 1e-2
GATES = ("softmax", "sigmoid", "laplace")


def run(plot: str | None = None, **_: Any) -> dict[str, Any]:
    """Train every gate with every method from both starts, three seeds; report the step from which load is fair."""
    rows, curves = [], {}
    for gate in GATES:
        for start in ("benign", "hostile"):
            for method in BALANCE_METHODS:
                shares, dead = zip(*(_train(gate, start, method, seed) for seed in range(3)), strict=True)
                fair = [_since(share) for share in shares]
                curves[f"{gate}, {start}, {method}"] = {"maximum share": shares, "dead fraction": dead}
                rows.append(
                    {
                        "gate": gate,
                        "start": start,
                        "method": method,
                        "first max share": max(share[0] for share in shares),
                        "last max share": max(share[-1] for share in shares),
                        "last dead": max(part[-1] for part in dead),
                        "fair from step": "never" if None in fair else max(int(step) for step in fair if step),
                    }
                )
    table(f"{EXPERTS} experts, top-{KEPT}, Adam {RATE}: worst of 3 seeds; fair: max share at most {2 / EXPERTS}", rows)
    if plot:
        _draw(curves, plot)
    return {"rows": rows, "curves": curves, "fair": 2 / EXPERTS}


def _train(gate: str, start: str, method: str, seed: int) -> tuple[list[float], list[float]]:
    """Return the maximum share of the assignments and the dead fraction by step."""
    torch.manual_seed(seed)
    centers, slopes = 2 * torch.randn(EXPERTS, DIM), torch.randn(EXPERTS, DIM, DIM) / DIM**0.5
    layer = MoE(DIM, 32, EXPERTS, gate, KEPT, balance=method)
    if start == "hostile":
        _capture(layer, _draw_inputs(centers)[0])
    optimizer, history = torch.optim.Adam(layer.parameters(), RATE), History(layer)
    for _ in range(STEPS):
        x, cluster = _draw_inputs(centers)
        y = torch.einsum("nd,nde->ne", x, slopes[cluster])
        optimizer.zero_grad()
        (layer(x) - y).square().mean().backward()
        optimizer.step()
        history.add()
    return history.figure("", "maximum share"), history.figure("", "dead fraction")


def _draw_inputs(centers: Tensor) -> tuple[Tensor, Tensor]:
    cluster = torch.randint(EXPERTS, (BATCH,))
    return centers[cluster] + torch.randn(BATCH, DIM), cluster


@torch.no_grad()
def _capture(layer: MoE, x: Tensor) -> None:
    """Raise the bias of expert 0 until it has 95 % of the weight of all."""
    low, high = 0.0, 60.0
    bias = layer.router.gates[0].bias
    for _ in range(40):
        middle = (low + high) / 2
        bias.copy_(torch.full_like(bias, -middle / 2))
        bias[0] = middle / 2
        share = leaf_probabilities(layer.router(x)).mean(0)[0]
        low, high = (middle, high) if share < 0.95 else (low, middle)


def _since(share: list[float]) -> int | None:
    """Return the first step from which the busiest expert stays at most at twice its even part."""
    late = [i for i, value in enumerate(share) if value > 2 / EXPERTS]
    first = late[-1] + 2 if late else 1
    return first if first <= len(share) else None


def _draw(curves: dict[str, Any], path: str) -> None:
    from matplotlib.figure import Figure

    from gatewise.plots import style

    figure = Figure(figsize=(10, 5.4), layout="constrained")
    axes = figure.subplots(2, len(GATES), sharex=True, sharey=True)
    for row, start in zip(axes, ("benign", "hostile"), strict=True):
        for ax, gate in zip(row, GATES, strict=True):
            style.canvas(ax)
            for i, method in enumerate(BALANCE_METHODS):
                values = curves[f"{gate}, {start}, {method}"]["maximum share"][0]
                ax.plot(range(1, len(values) + 1), values, color=style.colour(i), linestyle=style.dash(i), label=method)
            ax.axhline(2 / EXPERTS, color=style.INK, linewidth=0.8)
            ax.set_title(f"{gate}, {start} start", fontsize=10)
    for ax in axes[1]:
        ax.set_xlabel("optimiser step")
    for ax in axes[:, 0]:
        ax.set_ylabel("maximum share of assignments")
    axes[0, 0].legend(title="balance", fontsize=8, frameon=False)
    figure.savefig(path)
