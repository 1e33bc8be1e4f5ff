"""Safeguarded EM: one pass over the data per iteration, and the likelihood never falls.

The M-step is one Newton step on the expected complete log-likelihood, whose Hessian is negative definite for softmax
gates and linear experts: exact for the coefficients of Gaussian experts, whose scales then follow in closed form;
one Newton step for the gates of every score and for generalised linear experts. A step that lowers the likelihood
at the next pass is taken back by half, and half again.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gatewise.core.names import path_of
from gatewise.fit.problem import Problem
from gatewise.objective import likelihood
from gatewise.objective.accumulate import accumulate
from gatewise.objective.entries import LOG
from gatewise.objective.parameterization import Parameterization
from gatewise.optim import late, projected_gradient

LOG_REACH = 20.0  # by which one pass raises the logarithm of a scale or another positive number at most
REACH = 1e3  # times its size or one, in working units, by which it changes any other number at most
EMPTY = 1e-100  # information about a coordinate, as a share of the largest, that is none


class Path(NamedTuple):
    """Where EM stands: free coordinates, objective, gradient, passes, and the objective after every pass."""

    free: Tensor
    value: Tensor
    gradient: Tensor
    n_iter: int
    trace: tuple[Tensor, ...]


class _Step(NamedTuple):
    value: Tensor
    gradient: Tensor
    aim: Tensor


def expectation_maximisation(
    problem: Problem,
    free: Tensor,
    *,
    max_iter: int = 10,
    tol_gradient: float = 0.0,
    deadline: float | None = None,
) -> Path:
    """Run safeguarded EM from several points. The objective never increases, up to rounding.

    Parameters
    ----------
    problem : Problem
        Mixture, data and parameterization (`gatewise.fit.problem`).
    free : Tensor (S, P)
        Unconstrained coordinates of S starting points.
    max_iter : int
        Largest number of passes over the data.
    tol_gradient : float
        Stop when the largest entry of the projected gradient of the mean objective is within this tolerance for every
        starting point.
    deadline : float, optional
        Time at which to stop, on the clock of `time.monotonic`.

    Returns
    -------
    Path
        The best point of every start, its objective and gradient, and the objective after each pass.

    Examples
    --------
    >>> import torch
    >>> from gatewise import GATES, Mixture, expectation_maximisation
    >>> from gatewise.fit.problem import Problem
    >>> from gatewise.objective.parameterization import make_parameterization
    >>> from gatewise.testing import make_problem, rows_of
    >>> drawn = make_problem(Mixture((GATES["softmax"],), (2,)), d=3, gate_d=3, n=100)
    >>> parameterization = make_parameterization(drawn.mixture, 3, 3, 1)
    >>> start = parameterization.free(drawn.measure)[None]  # one start
    >>> path = expectation_maximisation(Problem(parameterization, rows_of(drawn)), start, max_iter=5)
    >>> bool(path.trace[-1] < path.trace[0])
    True
    """
    at = _expect(problem, free)
    held = at.value
    trace = [held]
    fraction = torch.ones_like(held)
    n_iter = 1
    lower, upper = problem.parameterization.lower, problem.parameterization.upper
    while n_iter < max_iter and not late(deadline):
        residual = projected_gradient(free, at.gradient, lower.expand_as(free), upper.expand_as(free)).abs().amax(-1)
        if bool((residual <= tol_gradient).all()):
            break
        trial_free = torch.clamp(free + fraction[:, None] * (at.aim - free), lower, upper)
        trial = _expect(problem, trial_free)
        n_iter += 1
        better = trial.value <= held + 1e-14 * held.abs()
        free = torch.where(better[:, None], trial_free, free)
        keep = better.unsqueeze(-1)
        at = _Step(
            torch.where(better, trial.value, at.value),
            torch.where(keep, trial.gradient, at.gradient),
            torch.where(keep, trial.aim, at.aim),
        )
        held = at.value
        trace.append(held)
        fraction = torch.where(better, 1.0, 0.5 * fraction)
        if bool((fraction < 1e-12).all()):
            break
    return Path(free, at.value, at.gradient, n_iter, tuple(trace))


def _expect(problem: Problem, free: Tensor) -> _Step:
    """One pass: value and gradient at free, and where the M-step leads."""
    parameterization = problem.parameterization
    natural = parameterization.constrained(free)
    measure = parameterization.unflatten(natural)
    width = len(free) * len(parameterization.local)
    value, slope, curvature = accumulate(
        likelihood.expected_complete_hessian, parameterization.mixture, measure, problem.rows, width
    )
    penalty, penalty_slope, penalty_curvature = problem.penalty(free)
    gradient = parameterization.pull_gradient(natural, slope) - penalty_slope
    information = penalty_curvature - parameterization.pull_hessian(natural, slope, curvature)
    closed = _closed_scales(parameterization)
    room = parameterization.lower - free, parameterization.upper - free
    if closed is None:
        step = solve_in_box(information, gradient, *room)
    else:
        step = _gaussian_step(parameterization, closed, gradient, information, slope, curvature, room)
    value = (penalty - value) / problem.total
    usable = value.isfinite() & gradient.isfinite().all(-1) & information.isfinite().all(-1).all(-1)
    value = torch.where(usable, value, torch.inf)
    return _Step(value, -gradient / problem.total, free + _within_reach(parameterization, free, torch.nan_to_num(step)))


def _within_reach(parameterization: Parameterization, free: Tensor, step: Tensor) -> Tensor:
    """Return a step (S, P) cut to what one pass may change: an expert that nearly no row belongs to would run away.

    Scales may fall by any factor: there the floor below them decides.
    """
    log = parameterization.kind[parameterization.matrix.argmax(0)] == LOG
    most = REACH * free.abs().clamp_min(1.0)
    return torch.where(log, step.clamp(max=LOG_REACH), torch.maximum(torch.minimum(step, most), -most))


def solve_positive(matrix: Tensor, right: Tensor) -> Tensor:
    """Solve ``matrix x = right`` for symmetric matrices (S, P, P), with |eigenvalues| where one is not positive.

    Entries that are not finite, or larger than their diagonal allows a thousandfold, belong to points that the
    likelihood will refuse: they are cut, so that a decomposition always exists. A coordinate stays where it is when the
    matrix says nothing about it next to the others: those of an expert that no row belongs to would run away.
    """
    if not right.shape[-1]:
        return right
    diagonal = matrix.diagonal(dim1=-2, dim2=-1).abs()
    size = diagonal.clamp(1e-300, 1e300).sqrt()
    empty = torch.nan_to_num(diagonal) <= EMPTY * torch.nan_to_num(diagonal).amax(-1, keepdim=True)
    matrix = torch.where(empty.unsqueeze(-1) | empty.unsqueeze(-2), torch.diag_embed(diagonal), matrix)
    right = torch.where(empty, 0.0, right)
    scaled = torch.nan_to_num(matrix / size.unsqueeze(-1) / size.unsqueeze(-2), 0.0, 0.0, 0.0).clamp(-1e3, 1e3)
    right = torch.nan_to_num(right / size, 0.0, 0.0, 0.0)
    factor, info = torch.linalg.cholesky_ex(scaled)
    out = torch.cholesky_solve(right.unsqueeze(-1), factor)[..., 0]
    weak = (info > 0) | (factor.diagonal(dim1=-2, dim2=-1).amin(-1) < 1e-6)
    if bool(weak.any()):
        values, vectors = torch.linalg.eigh(scaled[weak])
        turned = (vectors.mT @ right[weak].unsqueeze(-1))[..., 0]
        bounded = values.abs().clamp_min(1e-10 * values.abs().amax(-1, keepdim=True).clamp_min(1e-300))
        out[weak] = (vectors @ (turned / bounded).unsqueeze(-1))[..., 0]
    return out / size


def solve_in_box(matrix: Tensor, right: Tensor, least: Tensor, most: Tensor) -> Tensor:
    """Solve as `solve_positive` for a step between `least` and `most` (S, P), which are not of one sign.

    A coordinate that would leave is held at its end, and the others are solved for again. Where that step would not
    ascend, which coordinates held together can cause, every coordinate takes its own.
    """
    step, held = solve_positive(matrix, right), torch.zeros_like(right, dtype=torch.bool)
    diagonal = matrix.diagonal(dim1=-2, dim2=-1)
    while bool((out := ~held & ((step < least) | (step > most))).any()):
        held = held | out
        end = torch.where(held, torch.clamp(step, least, most), 0.0)
        rest = torch.where(held, end * diagonal, right - (matrix @ end.unsqueeze(-1))[..., 0])
        inside = torch.where(held.unsqueeze(-1) | held.unsqueeze(-2), torch.diag_embed(diagonal), matrix)
        step = torch.where(held, end, solve_positive(inside, rest))
    descends = held.any(-1, keepdim=True) & ~((right * step).sum(-1, keepdim=True) >= 0)
    return torch.where(~descends, step, torch.clamp(right / diagonal.abs().clamp_min(1e-300), least, most))


def _closed_scales(parameterization: Parameterization) -> Tensor | None:
    """Return the free columns of Gaussian scales when their M-step is closed-form, else None."""
    mixture = parameterization.mixture
    if not (mixture.family.has_closed_form_scale and mixture.expert.linear):
        return None
    paths = mixture.paths("family", "scale")
    mine = [i for i, name in enumerate(parameterization.names) if path_of(name) in paths]
    return torch.tensor(mine, dtype=torch.long)


def _gaussian_step(
    parameterization: Parameterization,
    scales: Tensor,
    gradient: Tensor,
    information: Tensor,
    slope: Tensor,
    curvature: Tensor,
    room: tuple[Tensor, Tensor],
) -> Tensor:
    """Newton step on everything but the scales inside its room, then the scales at the new residuals.

    In ``phi = log scale``: gradient ``s / scale^2 - R`` and information ``2 s / scale^2`` with R the responsibility and
    s the residual sum of squares, which falls by ``scale^2 (2 g'delta - delta' G delta)`` for coefficients moved by
    delta, with g and G their gradient and information.
    """
    rest = torch.ones(parameterization.size, dtype=torch.bool)
    rest[scales] = False
    keep = rest.nonzero()[:, 0]
    step = torch.zeros_like(gradient)
    least, most = (side[:, keep] for side in room)
    step[:, keep] = solve_in_box(information[:, keep][:, :, keep], gradient[:, keep], least, most)
    squares = 0.5 * information[:, scales, scales]
    mass = squares - gradient[:, scales]
    local = (step @ parameterization.matrix.mT)[:, parameterization.local]
    moved = 2 * slope * local + local * (curvature @ local.unsqueeze(-1))[..., 0]
    fall = moved @ _scale_of_coefficient(parameterization, scales)
    ratio = ((squares - fall) / mass.clamp_min(1e-300)).clamp_min(1e-300)
    step[:, scales] = 0.5 * torch.log(ratio)
    return step


def _scale_of_coefficient(parameterization: Parameterization, scales: Tensor) -> Tensor:
    """Return the 0/1 matrix (M, number of scales) from expert coefficients to the scale of their output."""
    (scale,) = parameterization.mixture.paths("family", "scale")
    own = parameterization.matrix[parameterization.entries_of(scale)][..., None, scales]  # of leaves and outputs
    entries = own.new_zeros(len(parameterization.kind), len(scales))
    for path in parameterization.shapes:
        if path.startswith("experts."):
            entries[parameterization.entries_of(path).reshape(*own.shape[:-2], -1)] = own
    return entries[parameterization.local]
