"""Least squares: many starts in one batch, variable projection or Levenberg-Marquardt, full Newton, a certificate."""

from __future__ import annotations

from dataclasses import replace
from math import log

import numpy as np
import torch
from torch import Tensor

from gatewise.core.families import MeanOnly
from gatewise.core.mixture import Measure, Mixture
from gatewise.fit import frames
from gatewise.fit.arguments import seconds, seed_number
from gatewise.fit.clock import Clock, Progress
from gatewise.fit.ends import Ends, ends_of, most_promising
from gatewise.fit.given import Start, count_of
from gatewise.fit.pipeline import AUTO, Starting, estimate
from gatewise.fit.problem import GAUSS_NEWTON, SQUARES, Problem, evaluate, newton_polish
from gatewise.fit.result import Fit
from gatewise.fit.search import variable_projection
from gatewise.fit.search.starts import given_starts, subsample
from gatewise.fit.spec import FitSpec
from gatewise.fit.task import FitTask, Method, Points
from gatewise.fit.torch_state import standard_torch_for_rows
from gatewise.objective.parameterization import Parameterization, from_paths
from gatewise.objective.rows import Rows

NESTED = 10  # starts from which the mixture with one expert fewer is fitted too
GROWN = 5  # starts of each kind grown from it
POLISHED = 12  # different ends of the search that are polished
ROUGH, FIRST = 60, 15  # iterations of the search, and the first ones, with Gauss-Newton products
EARLY = 6  # of these, the iterations after which only the most promising go on
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
    spec: FitSpec = FitSpec(),  # noqa: B008 (frozen)
    *,
    starts: Starting = AUTO,
    start: Start | None = None,
    seed: int | None = 0,
    max_time: float | None = None,
    progress: Progress | None = None,
) -> Fit:
    """Fit the mean ``f_G(x) = sum_l W_l(x) h_l(x)`` of a mixture by least squares, and certify the result (2405.13997).

    Minimises ``(1/2n) sum_i w_i ||y_i - f_G(x_i)||^2 + alpha / (2 n) sum_k ||slope_k - mean slope||^2`` for any gate
    (including the unnormalised sigmoid), any expert and any depth. Experts that are linear in their parameters, without
    bounds or ties, are eliminated by variable projection; otherwise Levenberg-Marquardt searches over all parameters.
    After the first iterations the Hessian is exact.
    The best end points are refined by Newton's method with the exact Hessian. Starts come from regions and hyperplanes
    of the data, from random points, and from the mixture with one expert fewer, after splitting an expert or adding one
    close to zero.

    Parameters
    ----------
    mixture : Mixture
        Its family is ignored; the fit has only a mean.
    rows : Rows
    starts : "auto", int or sequence of Measure
        As in `maximum_likelihood`.
    start : Fit, Measure or Tensor (n, L), optional
        Starting point of the first of the `starts`, as in `maximum_likelihood`; a Fit must be one of least squares.
    spec, seed, max_time, progress
        As in `maximum_likelihood`; the floor of scales is not used.

    Returns
    -------
    Fit
        With `sse`. Its log-likelihood is that of Gaussian residuals with the best-fitting variance.

    Raises
    ------
    ValueError
        If a gate is discontinuous (top-k), a path is unknown, bounds are impossible, there are fewer observations than
        leaves, or values are not finite.

    Examples
    --------
    >>> import torch
    >>> from gatewise.core.gates import GATES
    >>> from gatewise.objective.rows import make_rows
    >>> x = torch.linspace(-1.0, 1.0, 50, dtype=torch.float64)[:, None]
    >>> fit = least_squares(Mixture((GATES["constant"],), (1,)), make_rows(x, 2 * x + torch.cos(40 * x)), starts=1)
    >>> str(fit.status), round(fit.sse, 3)
    ('converged', 24.976)
    """
    starts, seed = count_of(starts, start), seed_number(seed)
    clock = Clock.of(seconds(max_time), progress)
    return estimate(mean_of(mixture), rows, spec, LEAST_SQUARES, starts, seed, clock, start)


def rough(problem: Problem, free: Tensor, clock: Clock, share: float = 1.0) -> Ends:
    """Return where iterations with Gauss-Newton products lead, which do not mind saddles far from an optimum.

    After a few of them, the most promising share goes on.
    """
    clock.progress("least squares", 0, len(free))
    stage = replace(problem, loss=GAUSS_NEWTON)
    ends = _searched(stage, problem, free, clock, FIRST if share == 1.0 else EARLY)
    if share == 1.0:
        return ends
    chosen = most_promising(ends, share)
    return ends.with_new(chosen, _searched(stage, problem, ends.points[chosen], clock, FIRST - EARLY))


def improve(problem: Problem, free: Tensor, clock: Clock, iterations: int | None = None) -> Ends:
    """Return where further iterations with the exact Hessian lead, so many at most."""
    return _searched(problem, problem, free, clock, iterations or ROUGH - FIRST)


def _searched(stage: Problem, problem: Problem, free: Tensor, clock: Clock, iterations: int) -> Ends:
    points = search(stage, free, clock.deadline, iterations)
    return ends_of(problem, points, evaluate(problem, points, 0)[0])


def more_starts(task: FitTask) -> Points:
    """Return random points, and the mixture with one expert fewer with an expert split or a near-zero one added."""
    parameterization, given = task.model.parameterization, task.model.given
    if task.clock.late():
        return Points(torch.zeros(0, parameterization.size, dtype=torch.float64), ())
    random = scattered(task.part, 2 * task.drawn, task.drawing, task.clock.deadline)
    points = Points(random, ("random",) * len(random))
    smaller = given.branching[-1] > 1 and given.exchangeable and not task.model.spec.determined
    if task.drawn < NESTED or not smaller or task.clock.late():
        return points
    less = replace(given, branching=(*given.branching[:-1], given.branching[-1] - 1))
    fewer = task.nested(less, task.model.spec, NESTED - 1, 0)
    inner = frames.in_other_units(less, fewer.measure, task.model.framing)[1]
    for kind, shrink in (("split", 1.0), ("near-zero", 0.02)):
        more = given_starts(parameterization, [grown(less, inner, shrink, task.drawing) for _ in range(GROWN)])
        points = points.and_(Points(more, (kind,) * GROWN))
    return points


LEAST_SQUARES = Method(SQUARES, rough, improve, POLISHED, more_starts, True)


def scattered(problem: Problem, count: int, generator: np.random.Generator, deadline: float | None) -> Tensor:
    """Return the best `count` of many random points (S, P), after a few iterations on at most `SCREENED` rows.

    Sums of weighted means need no regions of the data: gates are steps of any steepness through a row, or centers on
    one, and experts are scattered.
    """
    parameterization = problem.parameterization
    rows = subsample(problem.rows, generator, SCREENED)
    inputs = rows.gate_x.read(0, rows.n)
    free = parameterization.inside(
        parameterization.free(_random(parameterization, inputs, CANDIDATES * count, generator))
    )
    small = replace(problem, rows=rows)
    ended = search(replace(small, loss=GAUSS_NEWTON), free, deadline, SCREENING)
    value = torch.nan_to_num(evaluate(small, ended, 0)[0], nan=torch.inf)
    chosen: list[int] = []
    for i in torch.argsort(value, stable=True).tolist():
        if not chosen or float(value[i]) > (1 + 1e-4) * float(value[chosen[-1]]):
            chosen.append(i)
    return ended[chosen[:count]]


def _random(parameterization: Parameterization, inputs: Tensor, count: int, generator: np.random.Generator) -> Measure:
    """Draw a batch of measures: gates through rows of `inputs` (g, n), experts around zero."""
    values: dict[str, Tensor] = {}
    specs = parameterization.mixture.parameters()
    for path, shape in parameterization.shapes.items():
        scatter = torch.from_numpy(generator.standard_normal((count, *shape)))
        values[path] = torch.exp(0.3 * scatter) if specs[path].transform == "log" else 1.5 * scatter
    for level, gate in enumerate(parameterization.mixture.gates):
        room, bias, slopes = f"gates.{level}", gate.score.bias(), gate.score.names("slope")
        owners = (count, *parameterization.mixture.branching[: level + 1])
        rows = inputs[:, torch.from_numpy(generator.integers(inputs.shape[-1], size=owners))].movedim(0, -1)
        values |= dict.fromkeys(parameterization.mixture.paths(room, "location"), rows)
        for name in slopes[:1] if bias else ():
            steep = torch.from_numpy(np.exp(generator.uniform(*STEEPNESS, size=(*owners, 1))))
            values[f"{room}.{name}"] = values[f"{room}.{name}"] * steep
            values[f"{room}.{bias}"] = -(values[f"{room}.{name}"] * rows).sum(-1)
    return from_paths(values, parameterization.mixture.depth)


def grown(mixture: Mixture, measure: Measure, shrink: float, generator: np.random.Generator) -> Measure:
    """Return a measure with one more branch per lowest gate: a copy of a sibling, moved at random.

    Parameters
    ----------
    mixture : Mixture
        Of the measure.
    shrink : float
        What the parameters of the new experts are multiplied by; near 0 the mean hardly changes.
    """
    depth, branches, score = mixture.depth, mixture.branching[-1], mixture.gates[-1].score
    host = int(generator.integers(branches))

    def copied(value: Tensor, factor: float, noise: float) -> Tensor:
        extra = value.narrow(depth - 1, host, 1)
        moved = factor * extra + noise * torch.from_numpy(generator.standard_normal(tuple(extra.shape)))
        return torch.cat([value, moved], depth - 1)

    gates = list(measure.gates)
    level = {name: copied(v, 1.0, 0.5) if v.ndim >= depth else v for name, v in gates[-1].items()}
    bias = score.bias()
    if shrink == 1.0 and bias is not None:  # both halves together weigh what the one did
        half = log(2.0) / score.bias_rate(level)[..., None]
        for branch in (host, branches):
            level[bias].narrow(depth - 1, branch, 1).sub_(half)
    gates[-1] = level
    experts = {name: copied(v, shrink, 0.3 * shrink) for name, v in measure.experts.items()}
    leaves = mixture.branching
    family = {
        name: copied(v, 1.0, 0.0) if tuple(v.shape[:depth]) == leaves else v for name, v in measure.family.items()
    }
    return Measure(tuple(gates), experts, family)


def search(problem: Problem, free: Tensor, deadline: float | None, max_iter: int) -> Tensor:
    """Return where the starts (S, P) lead by variable projection or, where it does not apply, Newton's method."""
    parts = None if problem.rows.batched else variable_projection.split(problem)
    if parts is None:
        return newton_polish(problem, free, max_iter, deadline).x
    return variable_projection.search(problem, parts, free, max_iter, deadline)
