"""Levenberg-Marquardt in a box with geodesic acceleration, for nearly singular sums of squares of few coordinates.

Over-filled atoms make curved valleys: along them the Jacobian is small and turns quickly. The second directional
derivative along the step, from one more evaluation, bends the step into the valley (Transtrum and Sethna, 2012).
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf, isfinite
from typing import NamedTuple

import torch
from torch import Tensor

Residuals = Callable[[Tensor], Tensor]
Derivatives = Callable[[Tensor], tuple[Tensor, Tensor]]
RANK = 1e-11  # least singular value, of scaled columns, that counts
RELEASE = 1e-3  # cosine between the residual and what a coordinate adds to the span, that frees it from its bound
NEARLY = 1e-6  # relative offset below which a descent stops when rounding hides what it gains
CLOSE = 1e-6  # distance to a limit of the box that counts as being there
PROBE = 0.1  # part of the step at which the second derivative is taken
BENT = 0.75  # largest ratio of twice the correction to the step
STIFFER, SOFTER = 4.0, 6.0
SAME = 1e-4  # relative difference of norms that are the same
BEND = 0.1  # norm of second differences of the residuals, relative to theirs, from which derivatives are taken
FAR, SHORTER = 1e3, 40  # largest change of a coordinate in these differences; times that it is divided by four
CERTIFIED = 1e-3  # relative offset inside the box at which an end counts as an optimum
CREEPS, OFTEN = 1e-6, 25  # relative fall of the norm, and steps that it took, at which a descent may end at an optimum
ARRIVED, BEATEN = 1e-2, 1e-3  # relative offsets at which a descent ends at the norm of a known optimum, and above it


class DescentEnd(NamedTuple):
    """Where a descent ended.

    Attributes
    ----------
    point : Tensor (P,)
    norm : float
        Of the residuals.
    offset : float
        Part of the residuals' norm that a step no longer than the box is wide takes off, by the Jacobian of the free
        coordinates and, where that is nearly singular, by second derivatives of the residuals: zero at an optimum.
        Where the box is wide and the residuals are straight it is the relative offset of Bates and Watts (1981).
    bound : Tensor (P,) bool
        Coordinates held by the box.
    steps : int
    """

    point: Tensor
    norm: float
    offset: float
    bound: Tensor
    steps: int


class _Span(NamedTuple):
    """Singular value decomposition of the scaled free columns, and the residuals in its coordinates."""

    free: Tensor
    scale: Tensor
    basis: Tensor
    values: Tensor
    turn: Tensor
    pull: Tensor

    def damped(self, pull: Tensor, damping: float) -> Tensor:
        """Return the scaled step against `pull`."""
        return -(self.turn.T @ (self.values / (self.values**2 + damping) * pull))

    def offset(self, norm: float, width: Tensor, bends: Tensor | None = None) -> float:
        """Return the part of the residuals' norm that steps along the singular directions take off inside a box.

        Along a direction that changes nearly nothing, the whole of the residuals' part in it would take a step far
        out of the box, and what is left is rounding. In an endless box it is the part inside the span.

        Parameters
        ----------
        bends : Tensor (P,), optional
            What the second derivatives of the residuals add to the squared singular values: more makes steps shorter.
        """
        if not len(self.values):
            return 0.0
        counts = self.values > RANK * self.values.amax()
        pull = self.pull.abs()
        if bends is not None:
            pull = pull / (1 + bends.clamp_min(0.0) / self.values.square()).sqrt()
        pull, fall = pull[counts], (self.values * self.longest(width))[counts]
        return float((pull.square() - (pull - fall).clamp_min(0.0).square()).sum().sqrt()) / norm

    def longest(self, width: Tensor) -> Tensor:
        """Return how long (P,) a step along each singular direction is in a box of this width."""
        return (width[self.free] * self.scale / self.turn.abs()).nan_to_num(nan=inf).amin(-1)


def _span(residual: Tensor, jacobian: Tensor, free: Tensor) -> _Span:
    columns = jacobian[:, free]
    scale = columns.norm(dim=0).clamp_min(1e-300)
    q, r = torch.linalg.qr(columns / scale)
    left, values, turn = torch.linalg.svd(r)
    basis = q @ left
    return _Span(free, scale, basis, values, turn, basis.T @ residual)


def _released(residual: Tensor, jacobian: Tensor, z: Tensor, lower: Tensor, upper: Tensor) -> _Span:
    """Return the span of the coordinates inside the box and of those at its ends that descend into it."""
    at_lower, at_upper = z <= lower + CLOSE, z >= upper - CLOSE
    held = at_lower | at_upper
    span = _span(residual, jacobian, ~held)
    columns = jacobian[:, held]
    new = columns - span.basis @ (span.basis.T @ columns)
    size = new.norm(dim=0)
    cosine = new.T @ residual / (size * residual.norm()).clamp_min(1e-300)
    inward = torch.where(at_lower[held], -cosine, cosine)
    open_ = (inward > RELEASE) & (size > RANK * columns.norm(dim=0)) & (lower < upper)[held]
    if not bool(open_.any()):
        return span
    free = ~held
    free[held.nonzero()[:, 0][open_]] = True
    return _span(residual, jacobian, free)


def descend(
    residuals: Residuals,
    derivatives: Derivatives,
    z: Tensor,
    lower: Tensor,
    upper: Tensor,
    limit: int,
    small: float,
    known: float = 0.0,
) -> DescentEnd:
    """Minimise the norm of residuals (n,) over the box from z; where derivatives are no numbers the offset is infinite.

    Parameters
    ----------
    derivatives : callable
        Returns residuals (n,) and Jacobian (n, P).
    limit : int
        Steps at most.
    small : float
        Relative offset at which to stop.
    known : float
        Norm of an optimum that is known, zero if none is. A descent that comes as low, or ends above it, only counts:
        it need not be as exact.

    Examples
    --------
    >>> t = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64)
    >>> model = lambda z: (torch.exp(z * t) - torch.exp(0.5 * t)).flatten()
    >>> both = lambda z: (model(z), (t * torch.exp(z * t))[:, None])
    >>> start, box = torch.ones(1, dtype=torch.float64), torch.full((1,), 2.0, dtype=torch.float64)
    >>> round(float(descend(model, both, start, -box, box, 50, 1e-9).point[0]), 8)
    0.5
    """
    z, damping, step, before, earlier = torch.clamp(z, lower, upper), 1e-3, 0, inf, inf
    endless, box = torch.full_like(z, inf), (lower, upper)
    residual, jacobian = derivatives(z)
    while True:
        norm = float(residual.norm())
        if not bool(torch.isfinite(residual).all() and torch.isfinite(jacobian).all()):
            return DescentEnd(z, norm if isfinite(norm) else inf, inf, torch.zeros_like(z, dtype=torch.bool), step)
        span = _released(residual, jacobian, z, lower, upper)
        offset = span.offset(norm, endless) if norm else 0.0
        still = offset <= _wanted(norm, known, small) or (offset <= NEARLY and norm >= before * (1 - 1e-13))
        if still or step == limit:
            break
        if step % OFTEN == 0:
            if norm > earlier * (1 - CREEPS) and _left(residuals, residual, z, box, span, small) < CERTIFIED:
                break
            earlier = norm
        before = norm
        damping, found = _lower(residuals, (residual, jacobian), z, box, span, damping)
        if found is None:
            break
        z, step, damping = found, step + 1, max(damping / SOFTER, 1e-16)
        residual, jacobian = derivatives(z)
    return DescentEnd(z, norm, _left(residuals, residual, z, box, span, small), ~span.free, step)


def _left(
    residuals: Residuals, residual: Tensor, z: Tensor, box: tuple[Tensor, Tensor], span: _Span, small: float
) -> float:
    """Return the relative offset inside the box; second derivatives are taken where it is more than `small`."""
    norm, width = float(residual.norm()), box[1] - box[0]
    within = span.offset(norm, width) if norm else 0.0
    if within <= small:
        return within
    return span.offset(norm, width, _bends(residuals, residual, z, box, span, small))


def _bends(
    residuals: Residuals, residual: Tensor, z: Tensor, box: tuple[Tensor, Tensor], span: _Span, small: float
) -> Tensor:
    """Return what the second derivatives of the residuals add to the squared singular values (P,), where it matters.

    Where the Jacobian is nearly singular they are most of the curvature. They are second differences at the longest
    distance inside the box at which these are small beside the residuals.
    """
    norm, bends = float(residual.norm()), torch.zeros_like(span.values)
    room = torch.minimum(z - box[0], box[1] - z)
    for place in (span.pull.abs() > small * norm).nonzero()[:, 0].tolist():
        way = torch.zeros_like(z)
        way[span.free] = span.turn[place] / span.scale
        length = float((room.clamp_max(FAR) / way.abs()).nan_to_num(nan=inf).amin())
        for _ in range(SHORTER if length else 0):
            second = residuals(z + length * way) - 2 * residual + residuals(z - length * way)
            if float(second.norm()) <= BEND * norm:
                bends[place] = float(residual @ second) / length**2
                break
            length /= 4
    return bends


def _wanted(norm: float, known: float, small: float) -> float:
    """Return the relative offset at which to stop, beside an optimum that is known."""
    if norm < known * (1 - SAME) or not known:
        return small
    return ARRIVED if norm <= known * (1 + SAME / 10) else BEATEN


def _lower(
    residuals: Residuals,
    here: tuple[Tensor, Tensor],
    z: Tensor,
    box: tuple[Tensor, Tensor],
    span: _Span,
    damping: float,
) -> tuple[float, Tensor | None]:
    """Return the damping and a point of the box with a smaller norm, or None where rounding leaves none."""
    residual, jacobian = here
    norm = float(residual.norm())
    while damping < 1e12:
        velocity = span.damped(span.pull, damping)
        step = torch.zeros_like(z)
        step[span.free] = velocity / span.scale
        probe = (residuals(z + PROBE * step) - residual) / PROBE
        second = 2 / PROBE * (probe - jacobian @ step)
        curvature = span.damped(span.basis.T @ second, damping)
        if bool(2 * curvature.norm() <= BENT * velocity.norm()):
            step[span.free] = (velocity + curvature / 2) / span.scale
            new = torch.clamp(z + step, *box)
            if bool(residuals(new).norm() < norm):
                return damping, new
        damping = max(STIFFER * damping, 1e-12)
    return damping, None
