"""How starts are improved and what is told of them: shared by all estimators."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gatewise.core.mixture import Measure
from gatewise.core.rows import Rows
from gatewise.fit import frames
from gatewise.fit.certify import flags, soundness
from gatewise.fit.em import expectation_maximisation
from gatewise.fit.model import Model, shortest
from gatewise.fit.problem import Problem, newton_polish, objective
from gatewise.fit.result import Certificate, Fit, Starts
from gatewise.fit.starts import draw_starts, given_starts
from gatewise.optim import OnIter, Reason, lbfgs

Progress = Callable[[str, int, int], None]

SAME = 1e-3  # log-likelihoods closer than this (times a millionth of their size, if larger) are one value
SEARCHED = 20000  # units up to which starts are drawn from and searched on all of them
CARRIED = 4  # different optima carried from a subsample to all rows


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


def first_points(
    model: Model, small: Rows, starts: int | Sequence[Measure], generator: np.random.Generator
) -> tuple[Tensor, tuple[str, ...]]:
    """Return the free coordinates (S, P) that a search begins at, drawn from `small` or given, and their kinds."""
    if isinstance(starts, int):
        if starts < 1:
            raise ValueError(f"starts={starts}: give at least one start")
        return draw_starts(model.chart, small, starts, generator)
    moved = [frames.reframe(model.given, measure, model.framing)[1] for measure in starts]
    return given_starts(model.chart, moved), ("given",) * len(moved)


def finish(
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


class Ending(NamedTuple):
    """The numbers of a fit in the units of the data: objective, log-likelihood, penalty, and sum of squares if any."""

    objective: float
    log_likelihood: float
    penalty: float
    sse: float | None = None


def conclude(
    model: Model, problem: Problem, point: Tensor, ending: Ending, certificate: Certificate, starts: Starts, n_iter: int
) -> Fit:
    """Return the fit at a certified point, in the units of the data."""
    working = shortest(model, model.chart.measure(point))
    measure = frames.reframe(model.chart.mixture, working, model.framing.inverse())[1]
    held = flags(certificate, model.chart)
    return Fit(
        mixture=model.given,
        measure=measure,
        objective=ending.objective,
        log_likelihood=ending.log_likelihood,
        penalty=ending.penalty,
        sse=ending.sse,
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
    flat = [f"{name} leaves the objective unchanged" for name in certificate.null]
    flat += [f"{name} is at the limit of its family (Gaussian tails) and not counted" for name in certificate.limits]
    units = model.rows.n_units
    crowd = [f"{units} rows for {certificate.rank} parameters: they are not determined"] if certificate.crowded else []
    return (*held, *flat, *crowd)
