"""Maximum likelihood: many starts in one batch, then the best polished on all rows and certified."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gatewise.core.chart import Chart
from gatewise.core.mixture import Measure, Mixture
from gatewise.core.rows import Rows
from gatewise.fit import frames
from gatewise.fit.certify import certify, flags, soundness
from gatewise.fit.em import expectation_maximisation
from gatewise.fit.kinks import settle_on_kinks
from gatewise.fit.model import Model, prepare, shortest
from gatewise.fit.problem import Problem, evaluate, newton_polish, objective, ridge_of
from gatewise.fit.relocate import applies, relocations, with_spare
from gatewise.fit.result import Certificate, Fit, Starts
from gatewise.fit.starts import draw_starts, given_starts, seeds, thin
from gatewise.fit.threads import few_threads
from gatewise.optim import OnIter, Reason, lbfgs

Progress = Callable[[str, int, int], None]

SAME = 1e-3  # log-likelihoods closer than this (times a millionth of their size, if larger) are one value
THOROUGH = 10  # starts from which experts are moved too
LARGEST = 20000  # units up to which they are
ROUNDS = 4
CARRIED = 4  # different optima carried from a subsample to all rows


@few_threads
def maximum_likelihood(
    mixture: Mixture,
    rows: Rows,
    *,
    starts: int | Sequence[Measure] = 20,
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
        For a gate without a density, an unknown path, impossible bounds, fewer rows than leaves, values that are not
        finite, or a response that the family does not allow.
    """
    deadline = None if max_time is None else time.monotonic() + max_time
    model = prepare(mixture, rows, bounds=bounds, fixed=fixed, gauge=gauge, min_scale=min_scale, alpha=alpha)
    if method not in ("newton", "em"):
        raise ValueError(f"method={method!r}: choose 'newton' or 'em'")
    search = Search(method, max_iter, deadline, progress or (lambda stage, done, total: None))
    thinning, drawing = seeds(seed, 2)
    everything = problem_of(model, model.rows, alpha)
    drawn = isinstance(starts, int)
    small = thin(model.rows, thinning) if drawn and model.rows.n_units > LARGEST else model.rows
    first = everything if small is model.rows else problem_of(model, small, alpha)
    free, kinds = _starts(model, small, starts, drawing)
    tempered = _free_temperatures(model.chart)
    if tempered and isinstance(starts, int) and starts > 1 and method == "newton":
        # the mixture without temperatures is nested: its optimum is one of the starts
        plain = maximum_likelihood(
            mixture,
            rows,
            starts=starts,
            bounds=bounds,
            fixed={**(fixed or {}), **{path: torch.ones(model.chart.shapes[path]) for path in tempered}},
            alpha=alpha,
            gauge=gauge,
            min_scale=min_scale,
            seed=seed,
            max_time=search.half(),
            progress=progress,
        )
        nested = frames.reframe(model.given, plain.measure, model.framing)[1]
        free, kinds = torch.cat([free, given_starts(model.chart, [nested])]), (*kinds, "untempered")
    found, value, n_iter = search.run(first, free)
    sound = soundness(first, found).sound & value.isfinite()
    point, more = _finish(everything, first, found, value, sound, search)
    if isinstance(starts, int) and starts >= THOROUGH and method == "newton" and moves(everything):
        spare = None
        if len(mixture.branching) == 1 and mixture.branching[0] > 2 and not (bounds or fixed):
            # one expert fewer: its optimum is found reliably, and shows where a spare expert helps most
            fewer = maximum_likelihood(
                replace(mixture, branching=(mixture.branching[0] - 1,)),
                rows,
                starts=THOROUGH - 1,
                alpha=alpha,
                gauge=gauge,
                min_scale=min_scale,
                seed=0,
                max_time=search.half(),
                progress=progress,
            )
            spare = frames.reframe(model.given, with_spare(fewer.measure), model.framing)[1]
        point, moved = _relocate(everything, point, search, spare)
        more += moved
    kinked: tuple[str, ...] = ()
    pinned: Tensor | None = None
    if model.chart.mixture.kinked and method == "newton":
        point, kinked, pinned = settle_on_kinks(everything, point, deadline)
    taken = evaluate(everything, point[None], 0)[0] if first is everything else None
    ended = (model.jacobian - (value if taken is None else torch.cat([value, taken]))) * first.total
    summary = summarise(ended[: len(value)], kinds, sound, None if taken is None else float(ended[-1]))
    return conclude(model, everything, point, certify(everything, point, kinked, pinned), summary, n_iter + more)


def conclude(
    model: Model, problem: Problem, point: Tensor, certificate: Certificate, starts: Starts, n_iter: int
) -> Fit:
    """Return the fit at a certified point, in the units of the data."""
    value = float(evaluate(problem, point[None], 0)[0][0])
    penalty = float(problem.penalty(point[None])[0][0])
    working = shortest(model, model.chart.measure(point))
    measure = frames.reframe(model.chart.mixture, working, model.framing.inverse())[1]
    held = flags(certificate, model.chart)
    return Fit(
        mixture=model.given,
        measure=measure,
        objective=value - model.jacobian,
        log_likelihood=penalty + (model.jacobian - value) * problem.total,
        penalty=penalty,
        n=problem.total,
        status=held[0],
        flags=held,
        certificate=certificate,
        starts=starts,
        n_iter=n_iter,
        collinear=tuple((slopes.room, tuple(slopes.extra)) for slopes in model.redundant),
        notes=model.notes + _notes(model, certificate),
    )


def _notes(model: Model, certificate: Certificate) -> tuple[str, ...]:
    held = [f"{path} is not identified with this score and is held at 1" for path in model.chart.held]
    flat = [f"{name} leaves the likelihood unchanged" for name in certificate.null]
    flat += [f"{name} is at the limit of its family (Gaussian tails) and not counted" for name in certificate.limits]
    units = model.rows.n_units
    crowd = [f"{units} rows for {certificate.rank} parameters: they are not determined"] if certificate.crowded else []
    return (*held, *flat, *crowd)


class Search(NamedTuple):
    """How starts are improved."""

    method: str
    max_iter: int
    deadline: float | None
    progress: Progress

    def counted(self, stage: str, total: int) -> OnIter:
        """Return a callback that reports how many of `total` members have ended."""

        def on_iter(iteration: int, members: Tensor, value: Tensor) -> None:
            self.progress(stage, total - len(members), total)

        return on_iter

    def late(self) -> bool:
        """Return whether the time is up."""
        return self.deadline is not None and time.monotonic() > self.deadline

    def half(self) -> float | None:
        """Return half of the seconds left."""
        return None if self.deadline is None else 0.5 * max(0.0, self.deadline - time.monotonic())

    def run(
        self, problem: Problem, free: Tensor, rough_iter: int = 150, keep: int | None = None
    ) -> tuple[Tensor, Tensor, int]:
        """Return where each start ended (S, P), its objective (S,), and the iterations spent.

        Parameters
        ----------
        rough_iter : int
            Iterations of L-BFGS.
        keep : int, optional
            How many of the best are carried through Newton's method; the others are left where L-BFGS ends.
        """
        lower, upper = problem.chart.lower, problem.chart.upper
        passes = self.max_iter if self.method == "em" else 10
        self.progress("EM", 0, len(free))
        path = expectation_maximisation(problem, free, max_iter=passes, tol_gradient=1e-9, deadline=self.deadline)
        if self.method == "em":
            return path.free, path.value, path.n_iter
        if len(free) == 1:  # nothing to choose from: Newton's method at once takes the fewest passes
            point, value, spent = self.polish(problem, path.free, 100)
            return point, value, path.n_iter + spent
        self.progress("L-BFGS", 0, len(free))
        rough = lbfgs(
            objective(problem),
            path.free,
            lower,
            upper,
            tol=1e-4,
            max_iter=rough_iter,
            deadline=self.deadline,
            on_iter=self.counted("L-BFGS", len(free)),
        )
        point, value = rough.x.clone(), rough.value.clone()
        chosen = torch.argsort(torch.nan_to_num(value, nan=torch.inf), stable=True)[:keep].sort().values
        self.progress("Newton", 0, len(chosen))
        point[chosen], value[chosen], spent = self.polish(problem, point[chosen], 80)
        return point, value, path.n_iter + int(rough.n_iter.max()) + spent

    def polish(self, problem: Problem, free: Tensor, max_iter: int) -> tuple[Tensor, Tensor, int]:
        """Run Newton's method with the exact Hessian from free coordinates (S, P)."""
        done = newton_polish(problem, free, max_iter, self.deadline, on_iter=self.counted("Newton", len(free)))
        late = done.reason == Reason.max_iter
        spent = int(done.n_iter.max())
        if bool(late.any()):
            again = newton_polish(problem, done.x[late], max_iter, self.deadline)
            done.x[late], done.value[late] = again.x, again.value
            spent += int(again.n_iter.max())
        return done.x, done.value, spent


def _starts(
    model: Model, small: Rows, starts: int | Sequence[Measure], generator: np.random.Generator
) -> tuple[Tensor, tuple[str, ...]]:
    if isinstance(starts, int):
        if starts < 1:
            raise ValueError(f"starts={starts}: give at least one start")
        return draw_starts(model.chart, small, starts, generator)
    moved = [frames.reframe(model.given, measure, model.framing)[1] for measure in starts]
    return given_starts(model.chart, moved), ("given",) * len(moved)


def _free_temperatures(chart: Chart) -> tuple[str, ...]:
    """Return the paths of the temperatures that are estimated."""
    return tuple({name.partition("[")[0]: None for name in chart.names if ".temperature" in name})


def _finish(
    everything: Problem, first: Problem, found: Tensor, value: Tensor, sound: Tensor, search: Search
) -> tuple[Tensor, int]:
    """Choose the best sound point; carry the best different ones to all rows first where starts were subsampled."""
    order = torch.argsort(torch.where(sound, value, torch.where(value.isfinite(), value + 1e6, torch.inf)), stable=True)
    if first is everything:
        return found[order[0]], 0
    chosen: list[int] = []
    for i in order.tolist():
        if all(abs(float(value[i] - value[j])) * first.total > SAME for j in chosen):
            chosen.append(i)
        if len(chosen) == CARRIED:
            break
    search.progress("all rows", 0, len(chosen))
    if search.method == "em":
        moved, worth, spent = search.run(everything, found[chosen])
    else:
        moved, worth, spent = search.polish(everything, found[chosen], 100)
    good = soundness(everything, moved).sound & worth.isfinite()
    ranked = torch.argsort(torch.where(good, worth, torch.where(worth.isfinite(), worth + 1e6, torch.inf)), stable=True)
    return moved[ranked[0]], spent


def moves(problem: Problem) -> bool:
    """Return whether experts are moved: there are not too many rows, and the parts allow it."""
    return problem.rows.n_units <= LARGEST and applies(problem)


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


def summarise(log_likelihood: Tensor, kinds: tuple[str, ...], sound: Tensor, taken: float | None) -> Starts:
    """Describe where the starts ended, against the value that was taken (None: it was found on other rows)."""
    best = float(log_likelihood[sound].max() if bool(sound.any()) else log_likelihood.nan_to_num(-torch.inf).max())
    best = best if taken is None else taken
    width = max(SAME, 1e-6 * abs(best)) if np.isfinite(best) else SAME
    hit = sound & ((log_likelihood - best).abs() <= width)
    below = log_likelihood[sound & (log_likelihood < best - width)]
    groups = torch.unique(torch.round(log_likelihood[log_likelihood.isfinite()] / width), return_counts=True)[1]
    return Starts(
        log_likelihood=log_likelihood,
        kind=kinds,
        sound=sound,
        hits=int(hit.sum()),
        gap=best - float(below.max()) if len(below) else float("inf"),
        unseen=float((groups == 1).sum()) / len(log_likelihood),
        better_unsound=tuple(sorted(log_likelihood[~sound & (log_likelihood > best + width)].tolist(), reverse=True)),
        moved=taken is not None and not bool(hit.any()),
        subsampled=taken is None,
    )


def problem_of(model: Model, rows: Rows, alpha: float) -> Problem:
    """Return the problem of fitting a model to rows, with a ridge of strength alpha."""
    if not alpha >= 0:
        raise ValueError(f"alpha={alpha}: the ridge penalty is a number from 0")
    ridge, pull = ridge_of(model.chart, alpha)
    return Problem(model.chart, rows, ridge, pull, model.floor, model.bounded)
