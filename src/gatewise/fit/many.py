"""Many fits: replicates x starts in one batch, replicates in blocks, blocks over processes or a cluster.

A block of replicates of one size is searched as one batch with rows of its own for every member, then each replicate is
polished and certified alone. Blocks depend on sizes only and every replicate has a seed of its own, so the results are
bitwise the same for any number of workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from math import log
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gatewise.core.mixture import Measure, Mixture
from gatewise.fit.arguments import workers as workers_of
from gatewise.fit.clock import Clock, Progress
from gatewise.fit.ends import ends_of, polish_best, ranking_key
from gatewise.fit.finalize import finalize
from gatewise.fit.floor import Floor, least_floor
from gatewise.fit.frames import Framing
from gatewise.fit.least_squares import LEAST_SQUARES, mean_of, scattered
from gatewise.fit.least_squares import rough as gauss_newton
from gatewise.fit.maximum_likelihood import LONG, em_alone, rough
from gatewise.fit.model import PreparedModel, prepare
from gatewise.fit.pipeline import first_points
from gatewise.fit.problem import LIKELIHOOD, SQUARES, Criterion, Problem, problem_of
from gatewise.fit.result import Fit
from gatewise.fit.search.starts import subsample
from gatewise.fit.spec import FitSpec
from gatewise.fit.task import Points
from gatewise.fit.torch_state import standard_torch
from gatewise.objective.parameterization import Parameterization
from gatewise.objective.rows import Rows, stacked
from gatewise.runs.workers import spread

if TYPE_CHECKING:
    from distributed import Client

CELLS = 2**19  # rows of all members of a block together
SUBSAMPLE = 2000  # rows that starts are searched on
SEARCH = 3  # the version of the search: other versions find other optima
KEPT = 16  # different ends of each replicate that are polished on all rows: few rows order optima badly


class Plan(NamedTuple):
    """How `many_fits` fits each data set.

    Attributes
    ----------
    mixture : Mixture
    starts : int, or callable replicate -> measures
        Number of starts, or starting values for each replicate. Least squares adds as many random points, each the best
        of many.
    method : {"ml", "ls", "em"}
        Maximum likelihood, least squares, or at most `max_iter` passes of EM on all observations, without refinement.
    seed : int
    spec : FitSpec
        Without `min_scale`, the floor is that of the smallest spread in the block.
    subsample : int or None
        Number of observations used in the search if a data set has more; None: all.
    max_iter : int
        Largest number of passes for "em".
    kept : int
        Largest number of different ends of the search that are polished on all observations.

    Examples
    --------
    >>> from gatewise import GATES, Mixture, Plan
    >>> Plan(Mixture((GATES["softmax"],), (2,)), starts=3, seed=1).starts
    3
    """

    mixture: Mixture
    starts: int | Callable[[int], Sequence[Measure]] = 5
    method: str = "ml"
    seed: int = 0
    spec: FitSpec = FitSpec()
    subsample: int | None = SUBSAMPLE
    max_iter: int = 1000
    kept: int = KEPT


def many_fits(
    plan: Plan,
    draw: Callable[[int], Rows],
    replicates: Sequence[int],
    *,
    workers: int | Client = 1,
    progress: Progress | None = None,
) -> Iterator[tuple[int, Fit]]:
    """Fit a mixture to many data sets, and yield ``(replicate, fit)`` in order as blocks of replicates finish.

    Every fit is certified. Results are bitwise equal for any number of workers. All data sets must have the same size,
    or more than ``plan.subsample`` observations each; weights and units are not supported.

    Parameters
    ----------
    plan : Plan
    draw : callable replicate -> Rows
        Generates a data set. Called in the process that fits it; must return the same data for the same replicate.
    replicates : sequence of int
        Numbers of the data sets.
    workers : int or distributed.Client
        Number of processes, with one thread each, or a client whose workers fit.
    progress : callable (stage, done, total), optional

    Yields
    ------
    (int, Fit)

    Raises
    ------
    ValueError
        As `maximum_likelihood` or `least_squares`, for an unknown method, or for workers that are neither.

    Examples
    --------
    >>> from gatewise.core.gates import GATES
    >>> from gatewise.objective.rows import make_rows
    >>> def draw(replicate):
    ...     rng = np.random.default_rng(replicate)
    ...     x = rng.uniform(-1, 1, (50, 1))
    ...     return make_rows(x, 2 * x + 0.1 * rng.standard_normal((50, 1)))
    >>> plan = Plan(Mixture((GATES["constant"],), (1,)), starts=1)
    >>> [(replicate, str(fit.status)) for replicate, fit in many_fits(plan, draw, range(2))]
    [(0, 'converged'), (1, 'converged')]
    """
    if plan.method not in ("ml", "ls", "em"):
        raise ValueError(f"method={plan.method!r}: choose 'ml' (maximum likelihood), 'ls' (least squares) or 'em'")
    whose = workers_of("workers", workers)
    if not len(replicates):
        return
    with standard_torch():
        blocks = in_blocks(plan, draw(replicates[0]).n, replicates)
    ended = 0
    found = spread(partial(fit_block, plan, draw), blocks, whose, ordered=True)
    for block, fits in zip(blocks, found, strict=True):
        ended += len(block)
        if progress is not None:
            progress("fits", ended, len(replicates))
        yield from zip(block, fits, strict=True)


def in_blocks(plan: Plan, n: int, replicates: Sequence[int]) -> list[Sequence[int]]:
    """Return the replicates in the blocks that `fit_block` takes, for data sets of n rows."""
    count = plan.starts if isinstance(plan.starts, int) else 1
    searched = n if plan.subsample is None else min(n, plan.subsample)
    size = max(1, min(CELLS // max(searched * count, 1), CELLS // n + 1))
    return [replicates[i : i + size] for i in range(0, len(replicates), size)]


def fit_block(plan: Plan, draw: Callable[[int], Rows], block: Sequence[int]) -> list[Fit]:
    """Fit the replicates of one block: starts of all of them in one batch, then each polished and certified."""
    with standard_torch():
        sets = [draw(replicate) for replicate in block]
        loss = SQUARES if plan.method == "ls" else LIKELIHOOD
        jobs = [_job(plan, replicate, model, loss) for replicate, model in zip(block, _models(plan, sets), strict=True)]
        counts = [len(job.free) for job in jobs]
        owner = torch.repeat_interleave(torch.arange(len(jobs)), torch.tensor(counts, dtype=torch.long))
        plain = all(job.part.rows.offset is None and job.part.rows.weight is None for job in jobs)
        if plain and all(_alike(job.model.parameterization, jobs[0].model.parameterization) for job in jobs):
            batch = replace(jobs[0].part, rows=stacked([job.part.rows for job in jobs]).of(owner))
            found, value = _ends(plan, batch, torch.cat([job.free for job in jobs]))
        else:
            ends = [_ends(plan, job.part, job.free) for job in jobs]
            found, value = (torch.cat(part) for part in zip(*ends, strict=True))
        parts = zip(jobs, found.split(counts), value.split(counts), strict=True)
        return [_fit(plan, job, points, values) for job, points, values in parts]


class _Job(NamedTuple):
    """One replicate: its problem on all rows and on those that are searched, starts (S, P) and their kinds."""

    model: PreparedModel
    whole: Problem
    part: Problem
    free: Tensor
    kinds: tuple[str, ...]


def _job(plan: Plan, replicate: int, model: PreparedModel, loss: Criterion) -> _Job:
    generator = np.random.default_rng(np.random.SeedSequence(plan.seed, spawn_key=(replicate,)))
    whole = problem_of(model, model.rows, loss)
    part = whole
    if plan.method != "em" and plan.subsample is not None and model.rows.n > plan.subsample:
        part = replace(whole, rows=subsample(model.rows, generator, plan.subsample))
    given = plan.starts if isinstance(plan.starts, int) else plan.starts(replicate)
    points = first_points(model, part.rows, given, generator)
    if loss is SQUARES and isinstance(given, int):
        random = scattered(part, given, generator, None)
        points = points.and_(Points(random, ("random",) * len(random)))
    return _Job(model, whole, part, *points)


def _ends(plan: Plan, batch: Problem, free: Tensor) -> tuple[Tensor, Tensor]:
    """Return where all starts of a block end, before Newton's method, and their objectives."""
    if plan.method == "ml":
        ends = rough(batch, free, Clock(), iterations=LONG)
    elif plan.method == "ls":
        ends = LEAST_SQUARES.improve(batch, gauss_newton(batch, free, Clock()).points, Clock(), None)
    else:
        ends = em_alone(plan.max_iter).improve(batch, free, Clock(), None)
    return ends.points, ends.value


def _fit(plan: Plan, job: _Job, found: Tensor, value: Tensor) -> Fit:
    """Polish the best different ends of a replicate on all its rows, and certify; EM is left where it stands."""
    ends = ends_of(job.part, found, value, kinds=job.kinds)
    key = ranking_key(value, ends.sound)
    if plan.method == "em":
        return finalize(job.model, job.whole, found[key.argmin()[None]], ends, plan.max_iter, False, None)
    points, spent = polish_best(job.whole, found, key, plan.kept, None, more=plan.kept, keep_up=plan.method == "ls")
    return finalize(job.model, job.whole, points, ends, spent, True, None)


def _alike(parameterization: Parameterization, other: Parameterization) -> bool:
    """Return whether two parameterizations read free coordinates alike, so that their members fit into one batch."""
    pairs = (
        (parameterization.lower, other.lower),
        (parameterization.upper, other.upper),
        (parameterization.offset, other.offset),
        (parameterization.matrix, other.matrix),  # ties hold in the units of the data
    )
    return parameterization.mixture == other.mixture and all(torch.equal(a, b) for a, b in pairs)


def _near(framing: Framing, other: Framing) -> bool:
    """Return whether the working units of two data sets are within a factor of two."""
    return all(bool(((a.scale / b.scale).log().abs() < log(2.0)).all()) for a, b in zip(framing, other, strict=True))


def _models(plan: Plan, sets: Sequence[Rows]) -> list[PreparedModel]:
    """Prepare all replicates, in working units of their own or, where these are about the same, of the first."""
    mixture = mean_of(plan.mixture) if plan.method == "ls" else plan.mixture
    models = [prepare(mixture, rows, plan.spec) for rows in sets]
    first = models[0].parameterization
    if all(_alike(m.parameterization, first) for m in models) or not all(
        _near(m.framing, models[0].framing) for m in models
    ):
        return models
    floors = [model.spec.min_scale for model in models if isinstance(model.spec.min_scale, Floor)]
    spec = replace(plan.spec, min_scale=least_floor(floors)) if floors else plan.spec
    return [prepare(mixture, rows, spec, models[0].framing) for rows in sets]
