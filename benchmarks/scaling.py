"""Cost of a pass over the rows as a function of their number, of the experts and of the covariates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

from benchmarks import problems
from benchmarks.timing import best_of, table
from gatewise.fit.problem import Problem, evaluate
from gatewise.objective import compiled as fused
from gatewise.objective import likelihood
from gatewise.objective.accumulate import accumulate
from gatewise.plots.style import GREY, canvas, colour, dash, marker

PASSES = ("EM", "gradient", "Newton")
NAMES = {"EM": "EM pass", "gradient": "value and gradient", "Newton": "Newton (Hessian)"}
FIXED = {"n": 20_000, "k": 4, "d": 5}
VALUES = {
    "n": (1000, 3000, 10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000),
    "k": (2, 4, 8, 16, 32),
    "d": (1, 2, 4, 8, 16, 32),
}
FIRST = {"n": 100_000, "k": 8, "d": 8}  # of the values that the exponent is taken from; the fixed cost bends fewer rows
HIGHEST = {"k": {"EM": 2.0, "gradient": 1.0, "Newton": 2.0}, "d": {"EM": 2.0, "gradient": 2.0, "Newton": 2.0}}
WITHIN = 0.03  # of one, the exponent of n
LEAST = 20_000  # rows in one measured piece: a short pass is repeated
NOISY = 0.10  # relative difference between the minima of two halves of the rounds

Task = Callable[[], Any]


def run(rounds: int = 5, plot: str | None = None, **_: Any) -> dict[str, Any]:
    """Measure along n, k and d in interleaved rounds; draw to `plot` when it is given."""
    points = {axis: measured(axis, rounds) for axis in VALUES}
    compiled = kernels()
    lines = [_line(axis, name, points[axis]) for axis in points for name in PASSES]
    for axis, found in points.items():
        table(f"CPU ns per row against {axis}, {_others(axis)}; compiled kernels: {compiled}", found)
    table(f"exponents of CPU time (n: 1 within {WITHIN})", lines)
    fixed = _fixed(points["n"])
    table("microseconds of a pass that do not depend on n", [fixed])
    noisy = [f"{axis} = {p[axis]}" for axis in points for p in points[axis] if p["noise %"] > 100 * NOISY]
    if noisy:
        print(f"two halves of the rounds differ by more than {100 * NOISY:.0f} % at {', '.join(noisy)}: measure again")
    if plot:
        figure(points, compiled).savefig(plot, dpi=160)
        print(f"drawn to {Path(plot).name}")
    return {"points": points, "exponents": lines, "fixed us": fixed, "noisy": noisy, "compiled kernels": compiled}


def kernels() -> bool:
    """Return whether the passes are compiled: the compiler is there, and the sums over rows ask for it."""
    task = passes(1000, 3, 2)["gradient"]
    with patch.object(fused, "available", wraps=fused.available) as asked:
        task()
    return fused.available() and asked.called


def passes(n: int, k: int, d: int) -> dict[str, Task]:
    """Return one pass of each kind over n rows."""
    rng = np.random.default_rng(0)
    truth = problems.draw_truth(rng, d, k)
    rows = problems.replicated_rows(*problems.draw_rows(rng, truth, (1, n)))
    mixture = problems.softmax_mixture(k)
    parameterization = problems.parameterization_of(mixture, d)
    free = problems.free_of(parameterization, problems.scattered(rng, truth, 1))
    problem = Problem(parameterization, rows)
    return {
        "EM": lambda: accumulate(
            likelihood.expected_complete_hessian,
            mixture,
            parameterization.measure(free),
            rows,
            len(parameterization.local),
        ),
        "gradient": lambda: evaluate(problem, free, 1),
        "Newton": lambda: evaluate(problem, free, 2),
    }


def measured(axis: str, rounds: int) -> list[dict[str, Any]]:
    """Return CPU ns per row of every pass at every value of one axis: the least of two halves of interleaved rounds.

    The halves show the noise: the largest relative difference between their minima.
    """
    tasks: dict[str, Task] = {}
    count: dict[str, int] = {}
    for value in VALUES[axis]:
        sizes = {**FIXED, axis: value}
        repeats = ceil(LEAST / sizes["n"])
        for name, task in passes(**sizes).items():
            tasks[f"{value} {name}"] = partial(_times, task, repeats)
            count[f"{value} {name}"] = repeats * sizes["n"]
    halves = [best_of(tasks, rounds) for _half in range(2)]
    points = []
    for value in VALUES[axis]:
        both = {name: [1e9 * half[f"{value} {name}"] / count[f"{value} {name}"] for half in halves] for name in PASSES}
        noise = max(100 * (max(pair) / min(pair) - 1) for pair in both.values())
        points.append({axis: value, **{name: min(pair) for name, pair in both.items()}, "noise %": noise})
    return points


def _times(task: Task, repeats: int) -> None:
    for _ in range(repeats):
        task()


def exponent(values: Sequence[float], costs: Sequence[float]) -> tuple[float, float]:
    """Return the least-squares slope of log cost against log value, and its standard error."""
    x, y = np.log(values) - np.log(values).mean(), np.log(costs) - np.log(costs).mean()
    slope = float(x @ y / (x @ x))
    left = float(((y - slope * x) ** 2).sum())
    return slope, float(np.sqrt(left / (len(x) - 2) / (x @ x)))


def _line(axis: str, name: str, points: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return a line of the table of exponents."""
    used = [point for point in points if point[axis] >= FIRST[axis]]
    values = [point[axis] for point in used]
    slope, error = exponent(values, [point[name] * (point["n"] if axis == "n" else 1) for point in used])
    bound = HIGHEST[axis][name] if axis in HIGHEST else 1.0
    holds = slope <= bound if axis in HIGHEST else abs(slope - bound) <= WITHIN
    required = f"at most {bound:.0f}" if axis in HIGHEST else f"{bound:.0f} +- {WITHIN}"
    over = f"{values[0]} .. {values[-1]}"
    return {
        "in": axis,
        "over": over,
        "pass": name,
        "exponent": slope,
        "error": error,
        "required": required,
        "holds": holds,
    }


def _fixed(points: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return the microseconds of the shortest pass beyond its rows at the longest's price: they bend exponents."""
    few, many = points[0], points[-1]
    return {name: 1e-3 * few["n"] * (few[name] - many[name]) for name in PASSES}


def _others(axis: str) -> str:
    return ", ".join(f"{name} = {value}" for name, value in FIXED.items() if name != axis)


def figure(points: dict[str, list[dict[str, Any]]], compiled: bool) -> Figure:
    """Draw cost against n, k and d on logarithmic axes, with slopes for reference."""
    out = Figure(figsize=(11.0, 4.2), layout="constrained")
    axes = out.subplots(1, 3)
    labels = {"n": "rows n", "k": "experts k", "d": "covariates d"}
    for ax, axis in zip(axes, points, strict=True):
        values = np.array([point[axis] for point in points[axis]], dtype=float)
        scale = 1e-6 * values if axis == "n" else np.ones_like(values)
        for number, name in enumerate(PASSES):
            cost = np.array([point[name] for point in points[axis]]) * scale
            ax.plot(values, cost, color=colour(number), linestyle=dash(number), marker=marker(number), ms=5,
                    lw=1.6, label=NAMES[name])  # fmt: skip
        last = {name: points[axis][-1][name] * scale[-1] for name in PASSES}
        high = max(point[name] for point in points[axis] if point[axis] == FIRST[axis] for name in PASSES)
        _slopes(ax, axis, values, last, high)
        _dress(ax, values, labels[axis], "CPU time of a pass (ms)" if axis == "n" else "CPU time per row (ns)")
        ax.set_title(_others(axis), fontsize=9.5)
    handles, names = axes[0].get_legend_handles_labels()
    out.legend(handles, names, loc="outside lower center", ncols=4, frameon=False, fontsize=9.5)
    by = "compiled kernels" if compiled else "torch"
    out.suptitle(f"Cost of one pass, softmax gate, linear Gaussian experts, one thread, {by}", fontsize=10.5)
    return out


def _slopes(ax: Axes, axis: str, values: np.ndarray, last: dict[str, float], high: float) -> None:
    """Draw reference slopes: one, which ends below the lowest of `last`, and two, which begins above `high`."""
    span = np.array([FIRST[axis], values[-1]])
    low = 0.6 * min(last.values())
    lines = [(1, low)] if axis == "n" else [(1, low), (2, 1.6 * high * (span[1] / span[0]) ** 2)]
    for power, end in lines:
        ax.plot(span, end * (span / span[-1]) ** power, color=GREY, lw=1.0, zorder=1, label="_reference")
        middle = np.sqrt(span[0] * span[1])
        below: dict[str, Any] = {"xytext": (4, -4), "ha": "left", "va": "top"}
        beside = below if power == 1 else {"xytext": (-4, 4), "ha": "right", "va": "bottom"}
        at = (middle, end * (middle / span[-1]) ** power)
        ax.annotate(f"slope {power}", at, textcoords="offset points", fontsize=8.5, color=GREY, **beside)


def _dress(ax: Axes, values: np.ndarray, across: str, up: str) -> None:
    """Set logarithmic axes with the measured values as ticks where they are few enough to read."""
    ax.set(xscale="log", yscale="log", xlabel=across, ylabel=up)
    canvas(ax)
    if values[-1] <= 100:
        ax.xaxis.set_major_locator(FixedLocator(list(values)))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(lambda value, _position: f"{value:.0f}")
    else:
        ax.xaxis.set_minor_formatter(NullFormatter())
