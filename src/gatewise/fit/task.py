"""A fit under way, what an estimator is to it, and the points that it begins from. Values only."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gatewise.core.mixture import Mixture
from gatewise.fit.clock import Clock
from gatewise.fit.ends import Ends
from gatewise.fit.model import PreparedModel
from gatewise.fit.problem import Criterion, Problem
from gatewise.fit.result import Fit
from gatewise.fit.search.starts import draw_starts
from gatewise.fit.spec import FitSpec
from gatewise.objective.rows import Rows


class Points(NamedTuple):
    """Free coordinates (S, P) to begin from, and the kind of each."""

    free: Tensor
    kinds: tuple[str, ...]

    def and_(self, other: Points) -> Points:
        """Return both, one after the other."""
        return Points(torch.cat([self.free, other.free]), (*self.kinds, *other.kinds))


class FitTask(NamedTuple):
    """A fit under way.

    Attributes
    ----------
    model : PreparedModel
    whole, part : Problem
        On all rows, and on those that starts are searched on: the same where rows are few.
    sketch : Rows
        From which starts are drawn.
    drawn : int
        Number of starts that were asked for; 0 when they were given.
    seed : int or None
    drawing : Generator
    clock : Clock
    nested : callable (mixture, spec, starts, seed) -> Fit
        Fits another model to the same rows by the same method, in half of the time left; sums of squares unpolished.
    """

    model: PreparedModel
    whole: Problem
    part: Problem
    sketch: Rows
    drawn: int
    seed: int | None
    drawing: np.random.Generator
    clock: Clock
    nested: Callable[[Mixture, FitSpec, int, int | None], Fit]

    @property
    def large(self) -> bool:
        """Whether starts are searched on a part of the rows."""
        return self.part is not self.whole


Rough = Callable[[Problem, Tensor, Clock, float], Ends]
Improve = Callable[[Problem, Tensor, Clock, int | None], Ends]


class Method(NamedTuple):
    """What an estimator is to the pipeline.

    Attributes
    ----------
    loss : Criterion
    rough : callable (problem, free (S, P), clock, share) -> Ends without kinds, optional
        Where points lead in a few iterations, by which the most promising are chosen. All but that share of them may
        end earlier.
    improve : callable (problem, free, clock, iterations) -> Ends without kinds
        Where these lead, in so many iterations at most; None: to their end.
    polished : int
        Different ends that are polished by Newton's method where all rows were searched; 0: ends are left as they are.
    more : callable FitTask -> Points
        Starts besides those that are drawn.
    moves : bool
        Whether the best ends are moved on.
    """

    loss: Criterion
    rough: Rough | None
    improve: Improve
    polished: int
    more: Callable[[FitTask], Points]
    moves: bool


def drawn_points(
    model: PreparedModel, sketch: Rows, count: int, generator: np.random.Generator, clock: Clock
) -> Points:
    """Return starts drawn from some rows: as many as there is time for, at least one."""
    return Points(*draw_starts(model.parameterization, sketch, count, generator, late=clock.late))
