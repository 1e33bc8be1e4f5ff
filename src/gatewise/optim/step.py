"""The trust-region step in a box: a regularised Newton step bent at the bounds, or the best of its rivals."""

from __future__ import annotations

import torch
from torch import Tensor

from .box import Box, project
from .spectrum import EPS, Spectrum, curved, solvable, spectrum
from .trial import TrialPoint, dot

__all__ = ["fall_of_model", "regularised_step", "trust_region_step"]

ROUNDS = 10


def fall_of_model(point: TrialPoint, step: Tensor) -> Tensor:
    """-(g's + s'Hs / 2), the fall the quadratic model promises: (..., s) for steps (..., s, P)."""
    bent = (point.hessian @ step[..., None])[..., 0]
    return torch.neg(dot(point.gradient + 0.5 * bent, step))


def regularised_step(spec: Spectrum, gradient: Tensor, radius: Tensor, noise: float) -> Tensor:
    """-Q (|lambda| + mu)^-1 Q'g with the least mu >= 0 such that its length is at most `radius`: (s, P)."""
    component, modulus = solvable(spec, gradient, noise)
    size = torch.linalg.vector_norm(component, dim=-1)
    modulus = torch.maximum(modulus, (EPS * size / radius)[:, None]).clamp(min=torch.finfo(radius.dtype).tiny)
    scaled = component / (modulus + _shift(component, modulus, radius)[:, None])
    length = torch.linalg.vector_norm(scaled, dim=-1)
    scaled = scaled * (radius / length.clamp(min=torch.finfo(radius.dtype).tiny)).clamp(max=1.0)[:, None]
    return torch.neg((spec.vectors @ scaled[..., None])[..., 0])


def _shift(component: Tensor, modulus: Tensor, radius: Tensor) -> Tensor:
    """Newton's iteration for 1/||p(mu)|| = 1/radius: monotone from mu = 0, so a few rounds do."""
    shift = torch.zeros_like(radius)
    tiny = torch.finfo(radius.dtype).tiny
    for _ in range(6):
        total = modulus + shift[:, None]
        square = (component / total).square()
        cubic = (square / total).sum(-1).clamp(min=tiny)
        square = square.sum(-1)
        shift = (shift + square / cubic * (square.sqrt() / radius - 1.0)).clamp(min=0.0)
    return shift


def trust_region_step(
    point: TrialPoint, box: Box, free: Tensor, spec: Spectrum, radius: Tensor, noise: float
) -> Tensor:
    """The next trial position, (s, P), inside the box.

    Where no bound is hit and no curvature is negative the regularised step minimises the model. Elsewhere
    it competes under the model with the steepest descent, the truncated step, and both steps along the most
    negative curvature.
    """
    plain = regularised_step(spec, point.gradient, radius, noise) * free
    room = Box(box.lower - point.x, box.upper - point.x)
    hit = ((plain < room.lower) | (plain > room.upper)).any(-1)
    step, rivalled = plain, hit | curved(spec)
    if rivalled.any():
        bent = _bend(point, room, free, plain, radius, noise) if hit.any() else plain
        rivals = [
            bent,
            plain,
            _truncate(plain, room),
            *_steepest(point, free, radius),
            *_escape(plain, spec, radius),
        ]
        steps = project(torch.stack(rivals), room)
        best = fall_of_model(point, steps).argmax(0)
        chosen = steps[best, torch.arange(len(best), device=best.device)]
        step = torch.where(rivalled[:, None], chosen, plain)
    return project(point.x + step, box)


def _bend(point: TrialPoint, room: Box, free: Tensor, step: Tensor, radius: Tensor, noise: float) -> Tensor:
    """Hold the coordinates that cross a bound there and solve for the others again, until none crosses."""
    held = torch.zeros_like(step)
    for _ in range(ROUNDS):
        cross = free & ((step < room.lower) | (step > room.upper))
        if not cross.any():
            break
        held = torch.where(cross, project(step, room), held)
        free = free & ~cross
        slope = point.gradient + (point.hessian @ held[..., None])[..., 0]
        step = held + free * regularised_step(spectrum(point.hessian, free), slope, radius, noise)
    return step


def _truncate(step: Tensor, room: Box) -> Tensor:
    """The step shortened to the first bound it meets."""
    ratio = torch.where(step > 0, room.upper, room.lower) / step
    share = torch.where(step == 0, torch.inf, ratio).amin(-1, keepdim=True)
    return step * share.clamp(max=1.0)


def _steepest(point: TrialPoint, free: Tensor, radius: Tensor) -> list[Tensor]:
    """The Cauchy step of the free coordinates and a tenth of it."""
    slope = point.gradient * free
    bent = (point.hessian @ slope[..., None])[..., 0]
    curvature, square = dot(slope, bent), dot(slope, slope)
    edge = radius / square.sqrt()
    length = torch.where(curvature > 0, torch.minimum(square / curvature, edge), edge)
    step = -slope * torch.where(square > 0, length, 0.0)[:, None]
    return [step, 0.1 * step]


def _escape(step: Tensor, spec: Spectrum, radius: Tensor) -> list[Tensor]:
    """From the end of `step`, both ways along the least eigenvector to the edge of the trust region."""
    axis = spec.vectors[:, :, 0] * spec.live[:, :1]
    along = dot(step, axis)
    reach = (along.square() + (radius.square() - dot(step, step)).clamp(min=0.0)).sqrt()
    return [step + (sign * reach - along)[:, None] * axis for sign in (1.0, -1.0)]
