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
from gatewise.fit.certify import soundness
from gatewise.fit.em import expectation_maximisation
from gatewise.fit.ends import different, worth
from gatewise.fit.given import Start, point_of
from gatewise.fit.model import Model
from gatewise.fit.problem import Problem, newton_polish, objective
from gatewise.fit.result import SAME
from gatewise.fit.starts import draw_starts, given_starts
from gatewise.optim import OnIter, Reason, lbfgs

Progress = Callable[[str, int, int], None]

SEARCHED = 20000  # units up to which starts are searched on all of them
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
        if keep == 0:
            return point, value, path.n_iter + int(rough.n_iter.max())
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
    model: Model,
    small: Rows,
    starts: int | Sequence[Measure],
    generator: np.random.Generator,
    start: Start | None = None,
) -> tuple[Tensor, tuple[str, ...]]:
    """Return the free coordinates (S, P) that a search begins at, drawn from some rows or given, and their kinds."""
    if isinstance(starts, int):
        if start is None:
            return draw_starts(model.chart, small, starts, generator)
        given = point_of(model, start, generator)[None]
        if starts == 1:
            return given, ("given",)
        drawn, kinds = draw_starts(model.chart, small, starts - 1, generator)
        return torch.cat([given, drawn]), ("given", *kinds)
    moved = [frames.reframe(model.given, measure, model.framing)[1] for measure in starts]
    return given_starts(model.chart, moved), ("given",) * len(moved)


def finish(
    everything: Problem, first: Problem, found: Tensor, value: Tensor, sound: Tensor, search: Search
) -> tuple[Tensor, int]:
    """Choose the best sound point; carry the best different ones to all rows first where starts were subsampled."""
    ranked = worth(value, sound)
    if first is everything:
        return found[int(ranked.argmin())], 0
    chosen = different(ranked, CARRIED, SAME / first.total)
    search.progress("all rows", 0, len(chosen))
    if search.method == "em":
        moved, after, spent = search.run(everything, found[chosen])
    else:
        moved, after, spent = search.polish(everything, found[chosen], 100)
    best = int(worth(after, soundness(everything, moved).sound).argmin())
    return moved[best], spent
