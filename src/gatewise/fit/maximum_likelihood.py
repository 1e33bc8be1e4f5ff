"""Maximum likelihood: many starts in one batch, then the best polished on all rows and certified."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from gatewise.core.chart import Chart
from gatewise.core.mixture import Measure, Mixture
from gatewise.core.rows import Rows
from gatewise.fit import frames
from gatewise.fit.arguments import floor, held, limits, penalty, seconds, seed_number, whole
from gatewise.fit.certify import soundness
from gatewise.fit.conclude import Searched, conclude, evaluated
from gatewise.fit.given import Start, count_of
from gatewise.fit.model import prepare
from gatewise.fit.problem import Problem, problem_of
from gatewise.fit.relocate import applies, relocations, with_spare
from gatewise.fit.result import SAME, Fit
from gatewise.fit.search import SEARCHED, Progress, Search, finish, first_points
from gatewise.fit.starts import given_starts, seeds, thin
from gatewise.fit.torch_state import standard_torch_for_rows

THOROUGH = 10  # starts from which experts are moved too
ROUNDS = 4


@standard_torch_for_rows
def maximum_likelihood(
    mixture: Mixture,
    rows: Rows,
    *,
    starts: int | Sequence[Measure] = 20,
    start: Start | None = None,
    bounds: Mapping[str, tuple[float | Tensor, float | Tensor]] | None = None,
    fixed: Mapping[str, Tensor] | None = None,
    alpha: float = 0.0,
    gauge: str = "fixed",
    min_scale: float | Tensor | None = None,
    seed: int | None = 0,
    max_time: float | None = None,
    method: str = "newton",
    max_iter: int = 1000,
    progress: Progress | None = None,
) -> Fit:
    """Fit a mixture by maximum likelihood and certify the result.

    Minimises ``-(1/n) sum_i w_i log p_G(y_i | x_i) + alpha / (2 n) sum_k ||slope_k - mean slope||^2``.
    Many starts run in one batch, on at most 2000 units: a few EM steps, L-BFGS in the box, Newton with the exact
    Hessian; the best are polished on all rows. Results are bitwise repeatable for a seed.

    Parameters
    ----------
    mixture : Mixture
    rows : Rows
    starts : int or sequence of Measure
        Number of starts, or measures (in the units of the data) to start from.
    start : Fit, Measure or Tensor (n, L), optional
        Where the first of the `starts` begins, the others being drawn: a fit or a measure of the same mixture, or
        responsibilities, the probability of every leaf at every row.
    bounds : mapping path -> (lower, upper), optional
        Box in natural units, such as ``{"family.scale": (0.1, 2.0)}``.
    fixed : mapping path -> Tensor, optional
        Parts that are not estimated; NaN entries stay free.
    alpha : float
        Ridge on centred gate slopes, in working (standardised) units.
    gauge : {"fixed", "none"}
        ``none`` also estimates what no data can identify, such as the temperature of a dense-to-sparse gate.
    min_scale : float or Tensor (q,), optional
        Floor of standard deviations; default .01 of the standard deviation of y.
    seed : int, optional
    max_time : float, optional
        Seconds after which the best so far is returned.
    method : {"newton", "em"}
        ``em``: EM alone to the gradient tolerance, with `max_iter` passes.
    progress : callable, optional
        Called with (stage, done, total): the starts that have ended, of all, as each stage goes on.

    Returns
    -------
    Fit

    Raises
    ------
    ValueError
        For a gate without a density, an unknown path, impossible bounds, a start of another size or family, fewer rows
        than leaves, values that are not finite, or a response that the family does not allow.
    """
    max_iter, min_scale = whole("max_iter", max_iter, 1), floor(min_scale, rows.y.shape[1])
    alpha, max_time, bounds, fixed = penalty(alpha), seconds(max_time), limits(bounds), held(fixed)
    starts, seed = count_of(starts, start), seed_number(seed)
    deadline = None if max_time is None else time.monotonic() + max_time
    model = prepare(mixture, rows, bounds=bounds, fixed=fixed, gauge=gauge, min_scale=min_scale, alpha=alpha)
    if method not in ("newton", "em"):
        raise ValueError(f"method={method!r}: choose 'newton' or 'em'")
    search = Search(method, max_iter, deadline, progress or (lambda stage, done, total: None))
    thinning, drawing = seeds(seed, 2)
    everything = problem_of(model, model.rows, alpha)
    if not model.chart.size:
        return evaluated(model, everything)
    drawn = isinstance(starts, int)
    sketch = thin(model.rows, thinning) if drawn else model.rows
    small = sketch if model.rows.n_units > SEARCHED else model.rows
    first = everything if small is model.rows else problem_of(model, small, alpha)
    free, kinds = first_points(model, sketch, starts, drawing, start)
    again = partial(
        maximum_likelihood, alpha=alpha, gauge=gauge, min_scale=min_scale, progress=progress, max_time=search.half()
    )
    tempered = _free_temperatures(model.chart)
    if tempered and isinstance(starts, int) and starts > 1 and method == "newton":
        # the mixture without temperatures is nested: its optimum is one of the starts
        ones = {path: torch.ones(model.chart.shapes[path]) for path in tempered}
        plain = again(mixture, rows, starts=starts, bounds=bounds, fixed={**(fixed or {}), **ones}, seed=seed)
        nested = frames.reframe(model.given, plain.measure, model.framing)[1]
        free, kinds = torch.cat([free, given_starts(model.chart, [nested])]), (*kinds, "untempered")
    found, value, n_iter = search.run(first, free)
    sound = soundness(first, found).sound & value.isfinite()
    point, more = finish(everything, first, found, value, sound, search)
    if isinstance(starts, int) and starts >= THOROUGH and method == "newton" and moves(everything):
        spare = None
        if len(mixture.branching) == 1 and mixture.branching[0] > 2 and not (bounds or fixed):
            # one expert fewer: its optimum is found reliably, and shows where a spare expert helps most
            fewer = again(replace(mixture, branching=(mixture.branching[0] - 1,)), rows, starts=THOROUGH - 1, seed=0)
            spare = frames.reframe(model.given, with_spare(fewer.measure), model.framing)[1]
        point, moved = _relocate(everything, point, search, spare)
        more += moved
    searched = Searched(first, found, kinds, sound)
    return conclude(model, everything, point, searched, n_iter + more, method == "newton", deadline)


def _free_temperatures(chart: Chart) -> tuple[str, ...]:
    """Return the paths of the temperatures that are estimated."""
    return tuple({name.partition("[")[0]: None for name in chart.names if ".temperature" in name})


def moves(problem: Problem) -> bool:
    """Return whether experts are moved: there are not too many rows, and the parts allow it."""
    return problem.rows.n_units <= SEARCHED and applies(problem)


def _relocate(problem: Problem, point: Tensor, search: Search, spare: Measure | None) -> tuple[Tensor, int]:
    """Move one expert at a time to better places, until none is better.

    The first round also places the spare expert of `spare`, the optimum with one expert fewer.
    """
    spent = 0
    for _ in range(ROUNDS):
        if search.late():
            break
        search.progress("moving experts", 0, 1)
        candidates = relocations(problem, point)
        if spare is not None:
            placed = relocations(problem, problem.chart.free(spare), [problem.chart.mixture.n_leaves - 1])
            candidates, spare = torch.cat([candidates, placed]), None
        if not len(candidates):
            break
        found, value, n_iter = search.run(problem, torch.cat([point[None], candidates]), rough_iter=40, keep=8)
        spent += n_iter
        good = soundness(problem, found).sound & value.isfinite()
        if not bool(good.any()):
            break
        best = int(torch.where(good, value, torch.inf).argmin())
        gain = problem.total * float(value[0] - value[best])
        if bool(good[0]) and gain <= SAME * 1e-3:
            break
        point = search.polish(problem, found[best : best + 1], 80)[0][0]
    return point, spent
