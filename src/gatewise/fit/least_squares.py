"""Least squares: many starts in one batch, variable projection or Levenberg-Marquardt, full Newton, a certificate."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from math import log

import numpy as np
import torch
from torch import Tensor

from gatewise.core.chart import Chart, from_paths
from gatewise.core.families import MeanOnly
from gatewise.core.mixture import Measure, Mixture
from gatewise.core.rows import Rows
from gatewise.fit import frames, projection
from gatewise.fit.arguments import held, limits, penalty, seconds, seed_number
from gatewise.fit.certify import soundness
from gatewise.fit.conclude import Searched, conclude, evaluated
from gatewise.fit.ends import different, polished, worth
from gatewise.fit.given import Start, count_of
from gatewise.fit.model import prepare
from gatewise.fit.problem import GAUSS_NEWTON, SQUARES, Problem, evaluate, newton_polish, problem_of
from gatewise.fit.result import Fit
from gatewise.fit.search import CARRIED, SEARCHED, Progress, first_points
from gatewise.fit.starts import given_starts, seeds, thin
from gatewise.fit.torch_state import standard_torch_for_rows

NESTED = 10  # starts from which the mixture with one expert fewer is fitted too
GROWN = 5  # starts of each kind grown from it
ROUNDS, BASES = 3, 4  # in which one expert of the best different ends is drawn anew
POLISHED = 12  # different ends of the search that are polished
ROUGH = 60  # iterations of the search
CANDIDATES = 8  # random points for each that is kept
SCREENED, SCREENING = 1000, 8  # rows and iterations that choose them
STEEPNESS = (-1.0, 3.5)  # of log slopes of random gates


def mean_of(mixture: Mixture) -> Mixture:
    """Return the mixture without a law around its mean."""
    return replace(mixture, family=MeanOnly(), shared=tuple(p for p in mixture.shared if p.startswith("experts.")))


@standard_torch_for_rows
def least_squares(
    mixture: Mixture,
    rows: Rows,
    *,
    starts: int | Sequence[Measure] = 20,
    start: Start | None = None,
    bounds: Mapping[str, tuple[float | Tensor, float | Tensor]] | None = None,
    fixed: Mapping[str, Tensor] | None = None,
    alpha: float = 0.0,
    gauge: str = "fixed",
    seed: int | None = 0,
    max_time: float | None = None,
    progress: Progress | None = None,
) -> Fit:
    """Fit the mean ``f_G(x) = sum_l W_l(x) h_l(x)`` of a mixture by least squares and certify the result.

    Minimises ``(1/2n) sum_i w_i ||y_i - f_G(x_i)||^2 + alpha / (2 n) sum_k ||slope_k - mean slope||^2`` (2405.13997).
    Any gate, the unnormalised sigmoid too, any expert, any depth. Experts that are linear in their parameters, without
    bounds or ties, are eliminated by variable projection; otherwise Levenberg-Marquardt searches over all parameters.
    The best ends are polished by Newton's method with the exact Hessian. Starts are regions and planes of the data,
    random points, and the mixture with one expert fewer with an expert split or a near-zero one added.

    Parameters
    ----------
    mixture : Mixture
        Its family is not used: the fit has that of a mean alone.
    rows : Rows
    starts : int or sequence of Measure
        Number of starts, or measures (in the units of the data) to start from.
    start : Fit, Measure or Tensor (n, L), optional
        Where the first of the `starts` begins, as in `maximum_likelihood`; a fit is one of least squares.
    bounds, fixed, alpha, gauge, seed, max_time, progress
        As in `maximum_likelihood`.

    Returns
    -------
    Fit
        With `sse`; its log-likelihood is that of a Gaussian law with the residual variance that fits best.

    Raises
    ------
    ValueError
        For a gate with jumps (top-k), an unknown path, impossible bounds, fewer rows than leaves, or values that are
        not finite.
    """
    alpha, max_time, bounds, fixed = penalty(alpha), seconds(max_time), limits(bounds), held(fixed)
    starts, seed = count_of(starts, start), seed_number(seed)
    deadline = None if max_time is None else time.monotonic() + max_time
    mixture = mean_of(mixture)
    model = prepare(mixture, rows, bounds=bounds, fixed=fixed, gauge=gauge, alpha=alpha)

    def late() -> bool:
        return deadline is not None and time.monotonic() > deadline

    tell = progress or (lambda stage, done, total: None)
    thinning, drawing = seeds(seed, 2)
    everything = problem_of(model, model.rows, alpha, SQUARES)
    if not model.chart.size:
        return evaluated(model, everything)
    sketch = thin(model.rows, thinning) if isinstance(starts, int) else model.rows
    small = sketch if rows.n_units > SEARCHED else model.rows
    first = everything if small is model.rows else replace(everything, rows=small)
    free, kinds = first_points(model, sketch, starts, drawing, start)
    if isinstance(starts, int):
        random = free[:0] if late() else scattered(first, 2 * starts, drawing, deadline)
        free, kinds = torch.cat([free, random]), (*kinds, *("random",) * len(random))
        if starts >= NESTED and mixture.branching[-1] > 1 and not (bounds or fixed) and not late():
            less = replace(mixture, branching=(*mixture.branching[:-1], mixture.branching[-1] - 1))
            left = None if deadline is None else max(0.0, 0.5 * (deadline - time.monotonic()))
            fewer = least_squares(less, rows, starts=NESTED - 1, alpha=alpha, gauge=gauge, seed=0, max_time=left)
            inner = frames.reframe(less, fewer.measure, model.framing)[1]
            for kind, shrink in (("split", 1.0), ("near-zero", 0.02)):
                more = given_starts(model.chart, [grown(inner, mixture.depth, shrink, drawing) for _ in range(GROWN)])
                free, kinds = torch.cat([free, more]), (*kinds, *(kind,) * GROWN)
    tell("least squares", 0, len(free))
    found = search(first, free, deadline, ROUGH)
    if isinstance(starts, int) and starts >= NESTED and mixture.n_leaves > 1:
        for _ in range(ROUNDS):
            if late():
                break
            bases = found[different(worth(evaluate(first, found, 0)[0], soundness(first, found).sound), BASES)]
            trials = search(first, _replaced(first, bases, 2 * starts, drawing), deadline, ROUGH)
            found, kinds = torch.cat([found, trials]), (*kinds, *("replaced",) * len(trials))
    value = evaluate(first, found, 0)[0]
    sound = soundness(first, found).sound & value.isfinite()
    tell("Newton", 0, POLISHED)
    count = POLISHED if first is everything else CARRIED
    point, spent = polished(everything, found, worth(value, sound), count, deadline)
    return conclude(model, everything, point, Searched(first, found, kinds, sound), spent, True, deadline)


def scattered(problem: Problem, count: int, generator: np.random.Generator, deadline: float | None) -> Tensor:
    """Return the best `count` of many random points (S, P), after a few iterations on at most `SCREENED` rows.

    Sums of weighted means need no regions of the data: gates are steps of any steepness through a row, or centers on
    one, and experts are scattered.
    """
    chart = problem.chart
    rows = thin(problem.rows, generator, SCREENED)
    inputs = rows.gate_x.read(0, rows.n)
    points = [chart.free(_random(chart, inputs, generator)) for _ in range(CANDIDATES * count)]
    free = torch.clamp(torch.stack(points), chart.lower, chart.upper)
    small = replace(problem, rows=rows)
    ended = search(small, free, deadline, SCREENING)
    value = torch.nan_to_num(evaluate(small, ended, 0)[0], nan=torch.inf)
    chosen: list[int] = []
    for i in torch.argsort(value, stable=True).tolist():
        if not chosen or float(value[i]) > (1 + 1e-4) * float(value[chosen[-1]]):
            chosen.append(i)
    return ended[chosen[:count]]


def _random(chart: Chart, inputs: Tensor, generator: np.random.Generator) -> Measure:
    """Draw a measure: gates through rows of `inputs` (g, n), experts around zero."""
    values = {}
    for path, shape in chart.shapes.items():
        scatter = torch.from_numpy(generator.standard_normal(shape))
        values[path] = torch.exp(0.3 * scatter) if path.endswith(".temperature") else 1.5 * scatter
    for level in range(chart.mixture.depth):
        path = f"gates.{level}."
        owners = chart.mixture.branching[: level + 1]
        rows = inputs[:, torch.from_numpy(generator.integers(inputs.shape[-1], size=owners))].movedim(0, -1)
        if f"{path}center" in values:
            values[f"{path}center"] = rows
        if f"{path}weight" in values and f"{path}bias" in values:
            steep = torch.from_numpy(np.exp(generator.uniform(*STEEPNESS, size=(*owners, 1))))
            values[f"{path}weight"] = values[f"{path}weight"] * steep
            values[f"{path}bias"] = -(values[f"{path}weight"] * rows).sum(-1)
    return from_paths(values, chart.mixture.depth)


def _replaced(problem: Problem, bases: Tensor, count: int, generator: np.random.Generator) -> Tensor:
    """Return points (S, P): one of `bases` with one expert, and its branch of the gate, drawn anew, `count` of them.

    An unnormalised sigmoid gate has two sides, ``sigmoid(-z) = 1 - sigmoid(z)``: every branch of every base is also
    turned to its other side.
    """
    chart = problem.chart
    depth, branching = chart.mixture.depth, chart.mixture.branching
    rows = thin(problem.rows, generator, SCREENED)
    inputs = rows.gate_x.read(0, rows.n)
    points = []
    for i in range(count):
        paths = chart.measure(bases[i % len(bases)]).paths()
        fresh = _random(chart, inputs, generator).paths()
        leaf = tuple(int(generator.integers(k)) for k in branching)
        for path, value in paths.items():
            if value.shape[:depth] == branching and path.startswith((f"gates.{depth - 1}.", "experts.")):
                value[leaf] = fresh[path][leaf]
        points.append(chart.free(from_paths(paths, depth)))
    if not chart.mixture.gates[-1].link.normalised:
        points += [_turned(chart, base, leaf) for base in bases for leaf in product(*map(range, branching))]
    return torch.clamp(torch.stack(points), chart.lower, chart.upper)


def _turned(chart: Chart, base: Tensor, leaf: tuple[int, ...]) -> Tensor:
    """Return a point with the last gate of one leaf on its other side."""
    depth = chart.mixture.depth
    paths = {path: value.clone() for path, value in chart.measure(base).paths().items()}
    for path in (f"gates.{depth - 1}.weight", f"gates.{depth - 1}.bias"):
        if path in paths:
            paths[path][leaf] *= -1.0
    return chart.free(from_paths(paths, depth))


def grown(measure: Measure, depth: int, shrink: float, generator: np.random.Generator) -> Measure:
    """Return a measure with one more branch per lowest gate: a copy of a sibling, moved at random.

    Parameters
    ----------
    shrink : float
        What the parameters of the new experts are multiplied by; near 0 the mean hardly changes.
    """
    branches = next(iter(measure.experts.values())).shape[depth - 1]
    host = int(generator.integers(branches))

    def copied(value: Tensor, factor: float, noise: float) -> Tensor:
        extra = value.narrow(depth - 1, host, 1)
        moved = factor * extra + noise * torch.from_numpy(generator.standard_normal(tuple(extra.shape)))
        return torch.cat([value, moved], depth - 1)

    gates = list(measure.gates)
    level = {name: copied(v, 1.0, 0.5) if v.ndim >= depth else v for name, v in gates[-1].items()}
    if shrink == 1.0 and "bias" in level:  # both halves together weigh what the one did
        for branch in (host, branches):
            level["bias"].narrow(depth - 1, branch, 1).sub_(log(2.0))
    gates[-1] = level
    experts = {name: copied(v, shrink, 0.3 * shrink) for name, v in measure.experts.items()}
    return Measure(tuple(gates), experts, dict(measure.family))


def search(problem: Problem, free: Tensor, deadline: float | None, max_iter: int) -> Tensor:
    """Return where the starts (S, P) lead, with Gauss-Newton products for the Hessian."""
    rough = replace(problem, loss=GAUSS_NEWTON)
    parts = None if problem.rows.batched else projection.split(problem)
    if parts is not None:
        return projection.search(rough, parts, free, max_iter, deadline)
    return newton_polish(rough, free, max_iter, deadline).x
