"""The point closest to given points in weighted sums of powers of distances, many problems at once."""

from __future__ import annotations

import torch
from torch import Tensor

LEVELS = (1e-1, 1e-3, 1e-5, 1e-7, 1e-9)  # rounding of the tips, relative to the spread of the points
NEWTON_STEPS = 8
LENGTHS = (1.0, 0.5, 0.25, 0.1, 0.03, 0.0)


def cost(t: Tensor, points: Tensor, weight: Tensor, power: Tensor) -> Tensor:
    """Return ``sum_i weight_i ||points_i - t||^power_i``: t ``(M, S, p)``, points ``(M, k, p)`` -> ``(M, S)``."""
    norm = torch.linalg.vector_norm(points.unsqueeze(1) - t.unsqueeze(2), dim=-1)
    return (weight.unsqueeze(1) * norm ** power.unsqueeze(1)).sum(-1)


def power_median(points: Tensor, weight: Tensor, power: Tensor) -> Tensor:
    """Return ``argmin_t sum_i weight_i ||points_i - t||^power_i``, convex since the powers are at least one.

    Newton's method with a search along the step on norms ``sqrt(r^2 + e^2)``, e falling, compared at the end with the
    points themselves, where the tips of powers of one lie.

    Parameters
    ----------
    points : Tensor (M, k, p)
    weight, power : Tensor (M, k)

    Returns
    -------
    Tensor (M, p)
    """
    weight = weight / weight.amax(-1, keepdim=True).clamp_min(1e-300)
    total = weight.sum(-1, keepdim=True).clamp_min(1e-300)
    t = (weight[..., None] * points).sum(-2) / total
    spread = torch.linalg.vector_norm(points - t.unsqueeze(-2), dim=-1).amax(-1)
    lengths = points.new_tensor(LENGTHS)
    for level in LEVELS:
        rounding = (level * spread)[:, None]
        for _ in range(NEWTON_STEPS):
            step = _newton_step(t, points, weight, power, rounding)
            tried = t.unsqueeze(1) - lengths[:, None] * step.unsqueeze(1)
            norm2 = ((points.unsqueeze(1) - tried.unsqueeze(2)) ** 2).sum(-1) + (rounding**2).unsqueeze(-1)
            values = (weight.unsqueeze(1) * norm2 ** (0.5 * power.unsqueeze(1))).sum(-1)
            t = _pick(tried, values)
    tried = torch.cat([t.unsqueeze(1), points], 1)
    return _pick(tried, cost(tried, points, weight, power))


def _pick(tried: Tensor, values: Tensor) -> Tensor:
    best = torch.nan_to_num(values, nan=torch.inf).argmin(1)
    return tried[torch.arange(len(tried)), best]


def _newton_step(t: Tensor, points: Tensor, weight: Tensor, power: Tensor, rounding: Tensor) -> Tensor:
    delta = t.unsqueeze(1) - points
    norm2 = ((delta * delta).sum(-1) + rounding**2).clamp_min(1e-300)
    pull = weight * power * norm2 ** (0.5 * power - 1)
    gradient = (pull[..., None] * delta).sum(1)
    curvature = (pull * (power - 2) / norm2)[..., None, None] * delta[..., :, None] * delta[..., None, :]
    eye = torch.eye(t.shape[-1], dtype=t.dtype)
    hessian = pull.sum(1)[:, None, None] * eye + curvature.sum(1)
    size = hessian.diagonal(dim1=-2, dim2=-1).sum(-1)[:, None, None]
    solved, _ = torch.linalg.solve_ex(hessian + (1e-14 * size + 1e-300) * eye, gradient)
    return torch.nan_to_num(solved)
