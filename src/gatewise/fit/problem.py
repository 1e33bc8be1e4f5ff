"""A problem: rows, mixture and free coordinates; the one seam through which every fit sums over the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor

from gatewise.fit.model import PreparedModel
from gatewise.objective import likelihood, squares
from gatewise.objective.accumulate import accumulate
from gatewise.objective.parameterization import Parameterization
from gatewise.objective.rows import Rows
from gatewise.objective.terms import Statistic
from gatewise.optim import Objective, OnIter, Reason, Result, late, lbfgs, newton, unmoved

SMALLEST = 1e-24  # residual variance, of the variance of y, that counts as none
ENTRY, CUBE, PRODUCT = 2e-6, 7e-10, 2e-10  # rough seconds: of an entry of a Hessian, of P^3, of an entry and row
NOISE = 1e-9  # relative rounding of an objective with large terms that cancel


class Criterion(NamedTuple):
    """What is summed over the rows and maximised.

    Attributes
    ----------
    value, gradient, hessian : Statistic
        Sums (S,), (S, M), (S, M, M) in local coordinates; each gives those before it too.
    mass : Statistic
        What every leaf has to be estimated from, (S, L): responses, of squares the weight of rows.
    """

    value: Statistic
    gradient: Statistic
    hessian: Statistic
    mass: Statistic


LIKELIHOOD = Criterion(likelihood.value, likelihood.gradient, likelihood.hessian, likelihood.mass)
SQUARES = Criterion(squares.value, squares.gradient, squares.hessian, squares.mass)
GAUSS_NEWTON = SQUARES._replace(hessian=squares.gauss_newton)


@dataclass(frozen=True, eq=False)
class Problem:
    """What is minimised: the weighted mean of minus the loss plus a ridge on centred gate slopes.

    Attributes
    ----------
    parameterization : Parameterization
    rows : Rows
    ridge : Tensor (P, P) or None
        Quadratic form of the penalty in the free coordinates, on the scale of the log-likelihood.
    linear : Tensor (P,) or None
        Its linear part, which held slopes bring in.
    floor : Tensor (P,) of int or None
        -1 where the lower bound is the floor of a scale, not a bound that was given, or an end at which the law has no
        noise; 1 where the upper one is such an end; else 0.
    tiny : mapping path -> Tensor
        Below this an entry of a scale needs many rows.
    narrow : Tensor (q,) or None
        Below this an expert's spread on the scale of the predictor needs many rows.
    bounded : frozenset of str
        Paths with bounds that were given; other bounds are the limits of a family.
    loss : Criterion
    unit : float
        What the objective is divided by: the residual variance in least squares, so that differences of the objective
        times the number of rows are those of a log-likelihood.
    """

    parameterization: Parameterization
    rows: Rows
    ridge: Tensor | None = None
    linear: Tensor | None = None
    floor: Tensor | None = None
    tiny: Mapping[str, Tensor] = field(default_factory=dict)
    narrow: Tensor | None = None
    bounded: frozenset[str] = frozenset()
    loss: Criterion = LIKELIHOOD
    unit: float = 1.0

    @property
    def total(self) -> float:
        """Sum of the weights."""
        return self.rows.total

    def of(self, members: Tensor) -> Problem:
        """Return the problem of some members of a batch: itself unless each has rows of its own."""
        return replace(self, rows=self.rows.of(members)) if self.rows.batched else self

    def penalty(self, free: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return value (S,), gradient (S, P) and Hessian (P, P) of the penalty on the log-likelihood scale."""
        if self.ridge is None or self.linear is None:
            zero = torch.zeros_like(free)
            return zero.sum(-1), zero, free.new_zeros(free.shape[-1], free.shape[-1])
        slope = free @ self.ridge
        return 0.5 * (slope * free).sum(-1) + free @ self.linear, slope + self.linear, self.ridge


def evaluate(problem: Problem, free: Tensor, order: int) -> tuple[Tensor, ...]:
    """Return the objective (S,) and, by `order`, its gradient (S, P) and Hessian (S, P, P) at free (S, P)."""
    parameterization, total = problem.parameterization, problem.total * problem.unit
    natural = parameterization.constrained(free)
    measure = parameterization.unflatten(natural)
    stat = problem.loss[order]
    width = len(free) * (len(parameterization.local) if order else 2 * parameterization.mixture.n_leaves)
    sums = accumulate(stat, parameterization.mixture, measure, problem.rows, width)
    value, slope, curvature = problem.penalty(free)
    out = [(value - sums[0]) / total]
    if order > 0:
        out.append((slope - parameterization.pull_gradient(natural, sums[1])) / total)
    if order > 1:
        out.append((curvature - parameterization.pull_hessian(natural, sums[1], sums[2])) / total)
    return tuple(out)


def matrix_seconds(problem: Problem, points: int = 1) -> float:
    """Return about how long square matrices of all coordinates take, whatever the rows: nothing interrupts that."""
    size = problem.parameterization.size
    return ENTRY * size**2 + points * CUBE * size**3


def hessian_seconds(problem: Problem, points: int = 1) -> float:
    """Return about how long the first Hessians of some points take, with their eigenvalues."""
    sums = PRODUCT * problem.rows.n * problem.parameterization.size**2
    return matrix_seconds(problem, points) + points * sums


def box_of(parameterization: Parameterization, point: Tensor, pinned: Tensor | None) -> tuple[Tensor, Tensor] | None:
    """Return the box (1, P) of a parameterization with pinned coordinates held at a point (P,); None when none is."""
    if pinned is None:
        return None
    lower, upper = (torch.where(pinned, point, end)[None] for end in (parameterization.lower, parameterization.upper))
    return lower, upper


def newton_polish(
    problem: Problem,
    free: Tensor,
    max_iter: int,
    deadline: float | None = None,
    box: tuple[Tensor, Tensor] | None = None,
    on_iter: OnIter | None = None,
) -> Result:
    """Run Newton's method from free coordinates (S, P), each coordinate in units of its own curvature at the start.

    Points stay where they are if there is no time for their Hessians.

    Parameters
    ----------
    box : (lower, upper), optional
        Bounds of each member (S, P) instead of the parameterization's.
    """
    lower, upper = box or (problem.parameterization.lower, problem.parameterization.upper)
    free = torch.maximum(torch.minimum(free, upper), lower)
    if late(deadline, hessian_seconds(problem, len(free))):
        return unmoved(free, *evaluate(problem, free, 1))
    first = evaluate(problem, free, 2)
    unit = _units(first[2])
    fun = _in_units(problem, unit, free, first)
    done = newton(
        fun,
        free / unit,
        lower / unit,
        upper / unit,
        tol_gradient=1e-9,
        tol_decrement=1e-9,
        scale=problem.total,
        max_iter=max_iter,
        deadline=deadline,
        on_iter=on_iter,
    )
    # back through the box: a bound times and over a unit is the bound up to rounding
    point = torch.maximum(torch.minimum(done.x * unit, upper), lower)
    stuck = (done.reason == Reason.stalled).nonzero()[:, 0]
    for member in stuck.tolist():
        bounds = lower.expand_as(point)[member], upper.expand_as(point)[member]
        alone = problem.of(torch.tensor([member], dtype=torch.long))
        point[member] = _sharpened(alone, point[member], *bounds)
    return done._replace(x=point, gradient=done.gradient / unit)


def _units(hessian: Tensor) -> Tensor:
    """Return the lengths (S, P) over which coordinates change the objective alike, by the diagonal of its Hessian."""
    return 1.0 / torch.nan_to_num(hessian.diagonal(dim1=-2, dim2=-1).abs(), 1.0, 1.0, 1.0).clamp(1e-4, 1e12).sqrt()


def _in_units(problem: Problem, unit: Tensor, free: Tensor, first: tuple[Tensor, ...]) -> Objective:
    """Return the objective of coordinates in units (S, P), which knows its value and derivatives `first` at `free`."""
    origin = free / unit

    def fun(x: Tensor, members: Tensor, order: int) -> tuple[Tensor, ...]:
        d = unit[members]
        begun = order < len(first) and len(x) == len(free) and torch.equal(x, origin)
        parts = first[: order + 1] if begun else evaluate(problem.of(members), x * d, order)
        return (parts[0], *(p * d for p in parts[1:2]), *(p * d[:, None] * d[..., None] for p in parts[2:]))

    return fun


def quasi_newton(
    problem: Problem,
    free: Tensor,
    tol: float,
    max_iter: int,
    deadline: float | None = None,
    on_iter: OnIter | None = None,
) -> tuple[Tensor, Tensor, int]:
    """Run L-BFGS from free coordinates (S, P), each in units of its own curvature at the start.

    Slopes, biases and logarithms of scales bend differently: without units it takes more iterations.

    Returns
    -------
    (points, value, n_iter) : Tensor (S, P), Tensor (S,), int
    """
    lower, upper = problem.parameterization.lower, problem.parameterization.upper
    free = torch.maximum(torch.minimum(free, upper), lower)
    first = evaluate(problem, free, 2)
    unit = _units(first[2])
    fun = _in_units(problem, unit, free, first)
    done = lbfgs(
        fun, free / unit, lower / unit, upper / unit, tol=tol, max_iter=max_iter, deadline=deadline, on_iter=on_iter
    )
    return torch.maximum(torch.minimum(done.x * unit, upper), lower), done.value.clone(), int(done.n_iter.max())


def _sharpened(problem: Problem, free: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """Take plain Newton steps where rounding in the objective hides its fall: as long as the gradient halves.

    Large counts leave the value with fewer digits than the gradient. A step that would raise the value by more than
    that noise, or leave the box, is not taken.
    """
    value, slope, curvature = (part[0] for part in evaluate(problem, free[None], 2))
    for _ in range(5):
        inside = (free > lower) & (free < upper)
        index = inside.nonzero()[:, 0]
        factor, info = torch.linalg.cholesky_ex(curvature[index][:, index])
        if int(info) or not len(index):
            return free
        trial = free.clone()
        trial[index] -= torch.cholesky_solve(slope[index][:, None], factor)[:, 0]
        if bool(((trial < lower) | (trial > upper)).any()):
            return free
        new_value, new_slope, new_curvature = (part[0] for part in evaluate(problem, trial[None], 2))
        unit = curvature.diagonal()[index].clamp_min(1.0).sqrt()  # narrow experts have large slopes, and more rounding
        calmer = (new_slope[index] / unit).abs().amax() < 0.5 * (slope[index] / unit).abs().amax()
        if not (bool(calmer) and float(new_value - value) <= NOISE * max(1.0, abs(float(value)))):
            return free
        free, value, slope, curvature = trial, new_value, new_slope, new_curvature
    return free


def in_units_of_variance(problem: Problem, point: Tensor) -> Problem:
    """Divide a sum of squares by the residual variance at a point (P,), so that differences are log-likelihoods."""
    if problem.parameterization.mixture.family.has_density:
        return problem
    variance = 2.0 * float(evaluate(replace(problem, unit=1.0), point[None], 0)[0][0])
    return replace(problem, unit=max(variance, SMALLEST))


def ridge_of(parameterization: Parameterization, alpha: float) -> tuple[Tensor, Tensor] | tuple[None, None]:
    """Return the quadratic form and linear part of ``alpha / 2 sum ||w_k - mean w||^2`` over the gate slopes."""
    slopes = parameterization.mixture.paths("gates", "slope")
    if alpha == 0 or not slopes:
        return None, None
    matrices, held = [], []
    for index in map(parameterization.entries_of, slopes):
        block, offset = parameterization.matrix[index], parameterization.offset[index]
        axis = index.ndim - 2  # branches
        matrices.append((block - block.mean(axis, keepdim=True)).reshape(index.numel(), -1))
        held.append((offset - offset.mean(axis, keepdim=True)).flatten())
    matrix = torch.cat(matrices)
    return alpha * matrix.mT @ matrix, alpha * torch.cat(held) @ matrix


def problem_of(model: PreparedModel, rows: Rows, loss: Criterion = LIKELIHOOD) -> Problem:
    """Return the problem of fitting a model to rows."""
    ridge, linear = ridge_of(model.parameterization, model.spec.alpha)
    return Problem(
        model.parameterization,
        rows,
        ridge,
        linear,
        model.floor,
        model.tiny,
        model.narrow,
        frozenset(model.spec.bounds),
        loss,
    )
