"""Rows needed where more experts are fitted than there are: by simulation, because errors fall at no known multiple.

By theory the errors of experts that share a true one fall like n^(-1/4) or more slowly, without a known constant; those
of a sample of moderate size need not follow it yet. Pilot sizes give exponent and constant.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gatewise.core.mixture import Measure, Mixture, leaf_predictors, leaf_weights
from gatewise.fit.arguments import positive
from gatewise.fit.least_squares import grown, mean_of
from gatewise.fit.many import Plan, many_fits
from gatewise.fit.spec import FitSpec
from gatewise.infer.covariance.expected import Truth, data_set
from gatewise.infer.planning.value import Pilot, SampleSize, no_rows

SIZES = (1, 2, 4, 8)  # pilot sizes, in units of the smallest
PER_NUMBER, FEWEST = 20, 500  # rows per number of the measure, and rows, of the smallest
SPLITS = 2  # starts for every expert of the truth
WITHIN = 1.2  # of a wanted error, which a simulated one may be
ROUNDS = 4  # numbers of rows that are tried
MOST, LARGEST = 100_000, 1e15  # rows of a data set that is simulated, and that is named
FLATTEST, STEEPEST = -0.05, -0.5  # exponents of errors that are extrapolated


Progress = Callable[[str, int, int], Any]


class PlanAttempt(NamedTuple):
    """Rows that were tried, what every path needs, errors there (None: not simulated), and where they come from."""

    rows: int
    needed: Tensor
    simulated: Tensor | None
    pilot: Pilot


def rows_for_larger(
    truth: Truth, target: Mapping[str, Any], experts: int, sets: int, seed: int, progress: Progress | None = None
) -> SampleSize:
    """Return the rows needed so that a model with more experts than there are has errors below a target.

    The error of a parameter is ``(sum_i w_i (theta_i - theta*_i)^2)^(1/2)`` over the fitted experts i, with the mean
    weight w_i of each and the parameters theta*_i of the true expert whose predictor is nearest to its own. The target
    is for the median of `sets` simulated data sets. Of the rows that are tried, the fewest that reach it within 20 %
    are returned.

    Parameters
    ----------
    truth : Truth
    target : mapping path -> float
        Paths of parameters of the experts and families.
    experts : int
        Number of branches at the innermost level of the model.
    sets, seed : int
    progress : callable (stage, done, total), optional
        Called after every data set, with the number of its rows as the stage.

    Raises
    ------
    ValueError
        If the model is not larger than the truth, the truth has bounds, fixed or tied values, or a path is unknown.
    """
    larger = _larger(truth, experts)
    paths, wanted = _wanted(truth, target)
    errors = partial(median_errors, truth, larger, paths, sets, seed, progress=progress)
    least = max(FEWEST, PER_NUMBER * sum(value.numel() for value in truth.measure.paths().values()))
    sizes = [least * size for size in SIZES]
    found = torch.stack([errors(n) for n in sizes])
    enough: PlanAttempt | None = None
    for _ in range(ROUNDS):
        needed, pilot = extrapolated(wanted, Pilot(experts, tuple(sizes), found, found[0], sets))
        rows = int(needed.max())
        if rows > MOST:
            return _plan(paths, wanted, PlanAttempt(rows, needed, None, pilot))
        sizes, found = [*sizes, rows], torch.cat([found, errors(rows)[None]])
        worst = float((found[-1] / wanted).max())
        if worst <= WITHIN and (enough is None or rows < enough.rows):
            enough = PlanAttempt(rows, needed, found[-1], pilot)
        if 1.0 / WITHIN <= worst <= WITHIN:
            break
    if enough is None:
        words = f"{sets} simulated data sets of {sizes[-1]} rows had errors up to {worst:.3g} times those wanted"
        return no_rows(f"{words}: errors do not fall as those of smaller data sets promised")
    return _plan(paths, wanted, enough)


def _larger(truth: Truth, experts: int) -> Mixture:
    mixture, spec = truth.mixture, truth.spec
    inner = mixture.branching[-1]
    if isinstance(experts, bool) or not isinstance(experts, int) or experts <= inner:
        raise ValueError(f"experts={experts!r}: give more than the {inner} that the truth has (at its innermost level)")
    if spec.bounds or spec.fixed or spec.ties or not mixture.exchangeable:
        raise ValueError(
            f"experts={experts} adds experts to the truth, and its bounds, fixed or tied values, or experts of several "
            "kinds, do not say what holds for them: give a truth without, as (mixture, measure)"
        )
    return replace(mixture, branching=(*mixture.branching[:-1], experts))


def _wanted(truth: Truth, target: Mapping[str, Any]) -> tuple[list[str], Tensor]:
    known = list(_by_leaf(truth.mixture, truth.measure))
    unknown = [path for path in target if path not in known]
    if unknown or not target:
        raise ValueError(
            f"target has {', '.join(unknown) or 'nothing'}: with experts=, give paths of parameters that every expert "
            f"has its own of: {', '.join(known)}"
        )
    hint = "give the wanted error, a number above 0"
    goals = [float(positive(f"target[{path!r}]", goal, (), hint)) for path, goal in target.items()]
    return list(target), torch.tensor(goals, dtype=torch.float64)


def _by_leaf(mixture: Mixture, measure: Measure) -> dict[str, Tensor]:
    """Return the parameters of every leaf (L, m), by path."""
    shape = mixture.branching
    return {
        path: value.reshape(mixture.n_leaves, -1)
        for path, value in measure.paths().items()
        if not path.startswith("gates.") and tuple(value.shape[: len(shape)]) == shape
    }


def median_errors(
    truth: Truth,
    larger: Mixture,
    paths: Sequence[str],
    sets: int,
    seed: int,
    rows: int,
    progress: Progress | None = None,
) -> Tensor:
    """Return the median errors (m,) of data sets of some rows, fitted from the truth with an expert split."""
    likelihood = truth.variance is None
    plan = Plan(
        larger if likelihood else mean_of(larger),
        starts=lambda number: _split(truth, larger, np.random.default_rng([seed, number])),
        method="ml" if likelihood else "ls",
        spec=FitSpec(gauge=truth.spec.gauge),
        subsample=None,
    )
    each = []
    for _, fit in many_fits(plan, partial(data_set, truth, rows, seed), range(sets)):
        each.append(error_of(truth, larger, fit.measure, paths))
        if progress is not None:
            progress(f"{rows} rows", len(each), sets)
    return torch.stack(each).median(0).values


def _split(truth: Truth, larger: Mixture, generator: np.random.Generator) -> list[Measure]:
    """Return starts: the truth with experts split until there are enough."""
    mixture = truth.mixture
    starts = [truth.measure] * (SPLITS * mixture.branching[-1])
    while mixture.branching != larger.branching:
        starts = [grown(mixture, one, 1.0, generator) for one in starts]
        mixture = replace(mixture, branching=(*mixture.branching[:-1], mixture.branching[-1] + 1))
    return starts


def error_of(truth: Truth, larger: Mixture, measure: Measure, paths: Sequence[str]) -> Tensor:
    """Return the errors of parameters (m,) of a measure of the larger model."""
    x, gates = truth.x.T, truth.gates.T
    batch = [one.map(lambda value: value[None]) for one in (truth.measure, measure)]
    true, fitted = (
        leaf_predictors(mixture, one, x)[0] for mixture, one in zip((truth.mixture, larger), batch, strict=True)
    )
    weight = leaf_weights(larger, batch[1], gates)[0].mean(-1)
    owner = torch.cdist(fitted.flatten(1), true.flatten(1)).argmin(1)
    values, own = _by_leaf(truth.mixture, truth.measure), _by_leaf(larger, measure)
    squares = [(own[path] - values[path][owner]).square().mean(1) for path in paths]
    return torch.stack([(weight * square).sum().sqrt() for square in squares])


def extrapolated(wanted: Tensor, pilot: Pilot) -> tuple[Tensor, Pilot]:
    """Return the rows from which the line of log errors on log n is below the wanted ones (m,), and its slopes."""
    log_n, log_error = torch.tensor(pilot.sizes, dtype=torch.float64).log(), pilot.errors.log()
    middle = log_n.mean()
    slope = ((log_n - middle) @ log_error / (log_n - middle).square().sum()).clamp(STEEPEST, FLATTEST)
    needed = torch.exp(middle + (wanted.log() - log_error.mean(0)) / slope).clamp(2.0, LARGEST)
    return torch.ceil(needed), pilot._replace(slope=slope)


def _plan(paths: Sequence[str], wanted: Tensor, trial: PlanAttempt) -> SampleSize:
    none = torch.full_like(wanted, torch.nan)
    sizes, simulated = trial.pilot.sizes, trial.simulated
    notes = () if simulated is not None else (f"extrapolated from {max(sizes)} rows, and not simulated",)
    shown = none if simulated is None else simulated
    return SampleSize(
        trial.rows, tuple(paths), none, wanted, none, none, trial.needed, shown, notes=notes, pilot=trial.pilot
    )
