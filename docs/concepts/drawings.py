"""Draw the pictures of the concepts: `python docs/concepts/drawings.py`, from anywhere, writes the SVG files beside it.

They have a light ground of their own, so that they can be read on light and on dark pages.
"""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure

from gatewise import GATES, MixtureOfExpertsRegressor
from gatewise.data import load
from gatewise.plots import expert_curves, gate_curves

HERE = Path(__file__).parent
BLUE, ORANGE, GREEN, GREY = "#0b559f", "#b34a00", "#2a6f2a", "#555555"  # told apart by colour-blind readers
COLOURS, STYLES = (BLUE, ORANGE, GREEN), ("-", "--", "-.")
GROUND = "#fbfbf8"
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "gatewise",
    "font.family": "sans-serif",
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": GROUND,
    "figure.facecolor": GROUND,
}


def figure(rows, columns, width=7.6, height=2.9):
    made = Figure(figsize=(width, height), layout="constrained")
    return made, np.atleast_1d(made.subplots(rows, columns)).ravel()


def mixture():
    """Four experts and their gate: the head of a motorcyclist in a crash."""
    made, (left, right) = figure(1, 2, width=9, height=3.2)
    crash = load("mcycle")
    fit = MixtureOfExpertsRegressor(4, "softmax", alpha=0.1, random_state=0).fit(crash.X, crash.y)
    fit = fit.relabel(np.argsort(fit.gate_proba(crash.X).argmax(0)))  # in the order of time
    expert_curves(fit, crash.X, crash.y, left, labels=("time in ms", "acceleration in g"), legend=False)
    gate_curves(fit, crash.X, right, label="time in ms")
    return made


def gate():
    """Scores and weights of a softmax and of a Laplace gate with three branches."""
    made, axes = figure(2, 2, height=4.6)
    x = torch.linspace(-3, 3, 301, dtype=torch.float64)[None]
    bias = torch.tensor([0.0, 0.8, 0.0]).double()
    params = {
        "softmax": {"weight": torch.tensor([[-1.5], [0.0], [1.5]]).double(), "bias": bias},
        "laplace": {"center": torch.tensor([[-1.5], [0.0], [1.5]]).double(), "bias": bias - 0.8 * (bias > 0)},
    }
    for row, (name, values) in enumerate(params.items()):
        score = GATES[name].score(values, x)
        for ax, curves, title in ((axes[2 * row], score, "scores"), (axes[2 * row + 1], score.softmax(0), "weights")):
            for k, curve in enumerate(curves):
                ax.plot(x[0], curve, color=COLOURS[k], linestyle=STYLES[k], linewidth=2, label=f"branch {k}")
            ax.set_title(f"{name}: {title}", fontsize=11)
            ax.set_xlabel("x")
    axes[1].legend(frameon=False, fontsize=9, loc="upper center")
    return made


def hierarchy():
    """A tree of two levels with the weights at one x, multiplied along the paths."""
    made, (ax,) = figure(1, 1, height=3.2)
    ax.set(xlim=(0, 8), ylim=(-0.2, 3.4))
    ax.axis("off")
    root, groups, leaves = (4, 3), ((2, 1.75), (6, 1.75)), ((1, 0.4), (3, 0.4), (5, 0.4), (7, 0.4))
    outer, inner = (0.7, 0.3), ((0.2, 0.8), (0.5, 0.5))

    def edge(start, end, weight, colour):
        ax.plot(*zip(start, end, strict=True), color=colour, linewidth=1 + 4 * weight, zorder=1)
        middle = (np.array(start) + np.array(end)) / 2
        ax.text(*middle, f"{weight:.1f}", ha="center", va="center", backgroundcolor=GROUND, zorder=2)

    def node(at, words, colour):
        box = {"boxstyle": "round,pad=.35", "facecolor": "white", "edgecolor": colour, "linewidth": 1.5}
        ax.text(*at, words, ha="center", va="center", bbox=box, zorder=3)

    for g, group in enumerate(groups):
        edge(root, group, outer[g], COLOURS[g])
        for k in range(2):
            leaf = leaves[2 * g + k]
            edge(group, leaf, inner[g][k], COLOURS[g])
            node(
                leaf,
                f"expert {2 * g + k}\n{outer[g]:.1f} x {inner[g][k]:.1f} = {outer[g] * inner[g][k]:.2f}",
                COLOURS[g],
            )
        node(group, f"gate of group {g}", COLOURS[g])
    node(root, "outer gate", GREY)
    return made


def certificate():
    """Three log-likelihoods: one with an optimum, one that is flat, one that rises without end."""
    made, axes = figure(1, 3)
    x = np.linspace(-3, 3, 200)
    flat = -(np.clip(np.abs(x) - 1.2, 0, None) ** 2)
    curves = (-(x**2) / 2, flat, -np.log1p(np.exp(-1.5 * x)))
    words = ("converged", "unidentified", "separated")
    stops = (0.0, 0.6, 2.6)
    for ax, curve, word, stop, colour in zip(axes, curves, words, stops, COLOURS, strict=True):
        ax.plot(x, curve, color=colour, linewidth=2)
        ax.plot(stop, np.interp(stop, x, curve), "o", color=colour, markersize=8)
        ax.set_title(word, fontsize=11)
        ax.set_xlabel("parameter")
        ax.set(xticks=[], yticks=[])
    axes[0].set_ylabel("log-likelihood")
    return made


def identifiability():
    """A ridge on which only a ratio matters, and a minimum that is flatter where two experts share one."""
    made, (left, right) = figure(1, 2, height=3.2)
    weight, temperature = np.meshgrid(np.linspace(0.1, 3, 80), np.linspace(0.1, 3, 80))
    left.contourf(weight, temperature, -np.abs(np.log(weight / temperature)), levels=12, cmap="Blues")
    left.plot([0.1, 3], [0.1, 3], color=ORANGE, linewidth=2)
    left.set(xlabel="weight", ylabel="temperature", title="only weight / temperature matters")
    eps = np.linspace(-1, 1, 200)
    right.plot(eps, eps**2, color=BLUE, linewidth=2, label="one expert: error n^(-1/2)")
    right.plot(eps, eps**4, color=ORANGE, linestyle="--", linewidth=2, label="two experts on one: n^(-1/4)")
    right.set(xlabel="error of a coefficient", ylabel="loss in log-likelihood", yticks=[], ylim=(-0.02, 1.5))
    right.set_title("how flat the optimum is", fontsize=11)
    right.legend(frameon=False, fontsize=9, loc="upper center")
    left.title.set_fontsize(11)
    return made


def evidence():
    """Where the starts of a fit ended, and what agreement says about one more start."""
    made, (left, right) = figure(1, 2, height=3.2)
    tone = load("tone")
    starts = MixtureOfExpertsRegressor(2, random_state=0).fit(tone.X, tone.y).fit_.starts
    ends = np.sort(starts.log_likelihood[starts.sound].numpy())[::-1]
    left.plot(np.arange(1, len(ends) + 1), ends, "o", color=BLUE, markersize=5)
    left.axhline(ends[0], color=ORANGE, linewidth=1.5, linestyle="--")
    left.set(xlabel="starts, the best first", ylabel="log-likelihood")
    left.set_title("where starts ended", fontsize=11)
    m = np.arange(3, 121)
    right.plot(m, 1 - 0.05 ** (1 / m), color=BLUE, linewidth=2)
    right.set(xlabel="independent starts m", ylabel="chance", ylim=(0, 0.7))
    right.set_title("a better end is rarer than (95 %)", fontsize=11)
    return made


def write(draw):
    path = HERE / f"{draw.__name__}.svg"
    with mpl.rc_context(STYLE):
        draw().savefig(path, metadata={"Date": None, "Creator": None})
    path.write_text("\n".join(line.rstrip() for line in path.read_text("utf-8").splitlines()) + "\n", "utf-8")


if __name__ == "__main__":
    for drawing in (mixture, gate, hierarchy, certificate, identifiability, evidence):
        write(drawing)
