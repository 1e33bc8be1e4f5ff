"""A fit taken back to the working units of its rows, and the way from there to the units of the data.

Information is computed where the fit was certified, in working units, and carried to the reported parameters by the
exact derivative of that change of units.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import isfinite
from typing import NamedTuple

import torch
from torch import Tensor

from gatewise.core.mixture import Measure, Mixture
from gatewise.fit import frames
from gatewise.fit.directions import expert_directions
from gatewise.fit.model import PreparedModel, Slopes, prepare, shortest
from gatewise.fit.problem import LIKELIHOOD, SMALLEST, SQUARES, Problem, evaluate, problem_of
from gatewise.fit.result import Fit
from gatewise.fit.spec import FitSpec
from gatewise.infer.covariance.loss import MEANINGS, residual_variance
from gatewise.objective.accumulate import accumulate
from gatewise.objective.parameterization import Parameterization, from_paths
from gatewise.objective.rows import Block, Rows, block_size
from gatewise.objective.terms import apply_weights

ROUNDING = 1e-7  # entries of unit directions below this are rounding
RELATIVE = 1e-8  # rounding of the sum over the rows through the change of units
NEAR = 1e-3  # log-likelihood from the optimum that is still the same point
UnitScores = Callable[[Mixture, Measure, Block], Tensor]


class InformationPoint(NamedTuple):
    """A fit in working units: model, problem and free coordinates (P,)."""

    model: PreparedModel
    problem: Problem
    free: Tensor

    @property
    def parameterization(self) -> Parameterization:
        """The parameterization of the working mixture."""
        return self.problem.parameterization

    @property
    def conventions(self) -> Tensor:
        """The free coordinates of experts whose values are a convention: one for each direction of no effect."""
        paths = (f"experts.{name}" for name in self.parameterization.mixture.expert.held())
        columns = [self.parameterization.columns(path).flatten() for path in paths]
        found = torch.cat([torch.full((1,), -1, dtype=torch.long), *columns]).unique()
        found = found[found >= 0]
        directions = expert_directions(self.parameterization, self.parameterization.measure(self.free))
        return found if directions.shape[1] == len(found) else found[:0]


def locate(fit: Fit, rows: Rows, spec: FitSpec | None = None) -> InformationPoint:
    """Return where a fit lies in working units.

    The objective of least squares is in units of the residual variance ``SSE / (n q - rank)``, so that it is minus a
    log-likelihood with this variance, as information, profiles and tolerances take it.

    Parameters
    ----------
    fit : Fit
    rows : Rows
        Those of the fit.
    spec : FitSpec, optional
        Another one than that of the fit, of the same model.

    Raises
    ------
    ValueError
        For rows that no fit could have had.
    """
    variance = residual_variance(fit)
    if fit.sse is not None and variance is not None and not isfinite(variance):
        variance = fit.sse / fit.n  # without degrees of freedom any unit will do
    return located(fit.mixture, fit.measure, rows, spec or fit.spec, variance)


def located(mixture: Mixture, measure: Measure, rows: Rows, spec: FitSpec, variance: float | None) -> InformationPoint:
    """Return where a measure lies in working units, of squares with a residual variance or (None) of a likelihood."""
    model = prepare(mixture, rows, spec)
    free = model.parameterization.inside(model.parameterization.free(_kept_columns(model, model.working(measure))))
    problem = problem_of(model, model.rows, LIKELIHOOD if variance is None else SQUARES)
    scale = float(model.framing.y.scale[0])
    unit = 1.0 if variance is None else max(variance / scale / scale, SMALLEST)
    return InformationPoint(model, replace(problem, unit=unit), free)


def _kept_columns(model: PreparedModel, measure: Measure) -> Measure:
    """Return the measure with zero slopes on the columns that depend on others, with the same values on the data."""
    changed = measure.paths()
    for slopes in model.redundant:
        kept = [j for j in range(len(slopes.seen)) if j not in slopes.extra]
        for path in slopes.paths:
            value = changed[path]
            if not kept:  # every column is constant: no slope is left
                changed[path] = torch.zeros_like(value)
                continue
            target = (value @ slopes.seen).reshape(-1, slopes.seen.shape[1]).T
            found = torch.linalg.lstsq(slopes.seen[kept].T, target).solution.T
            changed[path] = torch.zeros_like(value)
            changed[path][..., kept] = found.reshape(value.shape[:-1] + (len(kept),))
    return from_paths(changed, model.parameterization.mixture.depth)


def other_rows(fit: Fit, point: InformationPoint, value: float) -> str | None:
    """Return why the rows are not those of the fit, or None; `value` is their objective at the point."""
    problem, meaning = point.problem, MEANINGS[point.problem.loss]
    penalty = float(problem.penalty(point.free[None])[0][0])
    here, there, unit = penalty + (point.model.jacobian - value) * problem.total, fit.log_likelihood, 1.0
    if fit.sse is not None:
        square = float(point.model.framing.y.scale[0].square())
        here = 2.0 * square * (value * problem.total * problem.unit - penalty)
        there, unit = fit.sse, 2.0 * square * problem.unit
    if not abs(here - there) <= NEAR * unit + RELATIVE * abs(there):
        return (
            f"these rows have the {meaning.name} {_digits(here)}, those of the fit had {_digits(there)}: give the data "
            "of the fit, with the same weights and groups"
        )
    return None


def _digits(value: float) -> str:
    return f"{value:.6f}" if abs(value) >= 1 else f"{value:.6g}"


def to_data_units(point: InformationPoint, project: bool = True) -> Tensor:
    """Return the derivative (F, F) of the reported parameters in the natural values of the working mixture.

    Parameters
    ----------
    project : bool
        Whether slopes on collinear columns are made the shortest, as reported ones are.
    """
    model = point.model
    natural = point.parameterization.constrained(point.free)
    batch = natural.expand(len(natural), -1).clone().requires_grad_(True)  # one copy for every entry of the result
    measure = point.parameterization.unflatten(batch)
    measure = shortest(model, measure) if project else measure
    moved = frames.in_other_units(point.parameterization.mixture, measure, frames.home(model.given, model.framing))[1]
    return torch.autograd.grad(point.parameterization.flatten(moved).diagonal().sum(), batch)[0]


def unseen_directions(point: InformationPoint) -> Tensor:
    """Return the directions (F, l), in working values, of slopes that collinear columns leave open."""
    parameterization = point.parameterization
    out = [parameterization.matrix.new_zeros(len(parameterization.kind), 0)]
    for path in parameterization.shapes:
        for slopes in point.model.redundant:
            if path in slopes.paths:
                out.append(_of_every_owner(slopes, parameterization.entries_of(path).flatten(), len(out[0])))
    return torch.cat(out, -1)


def _of_every_owner(slopes: Slopes, places: Tensor, entries: int) -> Tensor:
    d, r = slopes.seen.shape
    left = torch.linalg.qr(slopes.seen, mode="complete")[0][:, r:]
    left = torch.where(left.abs() < ROUNDING, 0.0, left)
    block = torch.block_diag(*[left] * (len(places) // d))
    out = block.new_zeros(entries, block.shape[1])
    out[places] = block
    return out


def score_squares(point: InformationPoint) -> Tensor:
    """Return the weighted sums (P,) over units of the squares of scores.

    They are those of the log-likelihood, or of minus half the squares divided by the residual variance.
    """
    return _sum_of_scores(point, _squares)


def score_products(point: InformationPoint, clusters: Tensor | None) -> Tensor:
    """Return the sum (P, P) of outer products of weighted scores, of units or of clusters.

    Parameters
    ----------
    clusters : LongTensor (m,), optional
        Number of the cluster of every unit, counted from zero; scores are summed over clusters first.
    """
    if clusters is None:
        return _sum_of_scores(point, _products)
    measure, slopes = point.parameterization.measure(point.free[None]), _slopes(point)
    of, mixture = MEANINGS[point.problem.loss].scores, point.parameterization.mixture
    sums = point.free.new_zeros(int(clusters.max()) + 1, len(point.free))
    at = 0
    for block in point.problem.rows.blocks(block_size(len(slopes))):
        scores = _weighted(of, slopes, mixture, measure, block)[0]
        sums.index_add_(0, clusters[at : at + scores.shape[1]], scores.T.contiguous())
        at += scores.shape[1]
    return sums.T @ sums


def _slopes(point: InformationPoint) -> Tensor:
    """Return the derivative (M, P) of local coordinates in the free ones, over the unit of the objective."""
    return point.parameterization.slopes(point.free)[point.parameterization.local] / point.problem.unit


def _sum_of_scores(point: InformationPoint, of: Callable[..., tuple[Tensor, ...]]) -> Tensor:
    """Return the sum over all rows of a function of the scores of a block."""
    measure, slopes = point.parameterization.measure(point.free[None]), _slopes(point)
    stat = partial(of, MEANINGS[point.problem.loss].scores, slopes)
    return accumulate(stat, point.parameterization.mixture, measure, point.problem.rows, len(slopes))[0][0]


def _scores(of: UnitScores, slopes: Tensor, mixture: Mixture, measure: Measure, block: Block) -> Tensor:
    """Return the scores (S, P, m) of the units of a block in the free coordinates."""
    return slopes.T.to(block.x.device) @ of(mixture, measure, block)


def _weighted(of: UnitScores, slopes: Tensor, mixture: Mixture, measure: Measure, block: Block) -> Tensor:
    return apply_weights(_scores(of, slopes, mixture, measure, block), block.weight)


def _squares(of: UnitScores, slopes: Tensor, mixture: Mixture, measure: Measure, block: Block) -> tuple[Tensor, ...]:
    return (apply_weights(_scores(of, slopes, mixture, measure, block) ** 2, block.weight).sum(-1),)


def _products(of: UnitScores, slopes: Tensor, mixture: Mixture, measure: Measure, block: Block) -> tuple[Tensor, ...]:
    scores = _weighted(of, slopes, mixture, measure, block)
    return (scores @ scores.mT,)


def second_order(point: InformationPoint) -> tuple[float, Tensor, Tensor]:
    """Return objective, gradient (P,) and Hessian (P, P) at the point."""
    value, gradient, hessian = (part[0] for part in evaluate(point.problem, point.free[None], 2))
    return float(value), gradient, hessian
