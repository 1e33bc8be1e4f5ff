"""Student's t."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, pi

import torch
from torch import Tensor

from gatewise.core.families.base import Family
from gatewise.core.predictors import Frame, Parameter, Params


@dataclass(frozen=True)
class StudentT(Family):
    """Student's t with location eta, `scale` and `dof` degrees of freedom; 1 / dof = 0 is the Gaussian."""

    location_scale = True

    def parameters(self, q: int) -> dict[str, Parameter]:
        return {
            "scale": Parameter((q,), "scale", transform="log", bounds=(0.0, inf), initial=1.0),
            "dof": Parameter((q,), "shape", transform="reciprocal", bounds=(1.0, 1e8), initial=8.0),
        }

    def log_prob(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        scale, dof = params["scale"][..., None], params["dof"][..., None]
        z = (y - eta) / scale
        power = 0.5 * (dof + 1) * torch.log1p(z * z / dof)
        return (_half_gamma_ratio(0.5 * dof) - 0.5 * torch.log(pi * dof) - torch.log(scale) - power).sum(-2)

    def floored(self, floor: Tensor) -> tuple[Family, dict[str, tuple[Tensor, float]]]:
        return self, {"scale": (floor, inf)}

    def start(self, spread: Tensor) -> dict[str, Tensor]:
        return {"scale": spread, "dof": torch.full_like(spread, 8.0)}

    def mean(self, params: Params, eta: Tensor) -> Tensor:
        defined = params["dof"][..., None] > 1
        return torch.where(defined, eta, torch.nan)

    def variance(self, params: Params, eta: Tensor) -> Tensor:
        dof = params["dof"]
        factor = torch.where(dof > 2, dof / (dof - 2).clamp_min(1e-300), inf)
        return (params["scale"] ** 2 * factor)[..., None].expand_as(eta)

    def cdf(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        return _student_cdf((y - eta) / params["scale"][..., None], params["dof"][..., None])

    def sample(self, params: Params, eta: Tensor, generator: torch.Generator) -> Tensor:
        dof = params["dof"][..., None].expand_as(eta)
        normal = torch.randn(eta.shape, generator=generator, dtype=eta.dtype)
        chi2 = 2 * torch._standard_gamma(0.5 * dof, generator=generator)
        return eta + params["scale"][..., None] * normal * torch.sqrt(dof / chi2)

    def rescale_response(self, params: Params, frame: Frame) -> tuple[Family, dict[str, Tensor]]:
        return self, {**params, "scale": params["scale"] / frame.scale}


def _half_gamma_ratio(a: Tensor) -> Tensor:
    """Return ``log Gamma(a + 1/2) - log Gamma(a)``, by its asymptotic series where the difference cancels."""
    large = a > 100
    safe = torch.where(large, 1.0, a)
    far = torch.where(large, a, 100.0)
    series = 0.5 * torch.log(far) - 1 / (8 * far) + 1 / (192 * far**3) - 1 / (640 * far**5)
    return torch.where(large, series, torch.lgamma(safe + 0.5) - torch.lgamma(safe))


def _student_cdf(z: Tensor, dof: Tensor) -> Tensor:
    """Return the distribution function of Student's t.

    With ``a = dof / 2``, ``x = dof / (dof + z^2)`` and ``y = 1 - x`` the lower tail at -|z| is ``I_x(a, 1/2) / 2`` and
    also ``(1 - I_y(1/2, a)) / 2``. Both have power series of positive terms; that in the smaller of x and y is summed.
    """
    z, dof = torch.broadcast_tensors(z, dof)
    size = torch.where(dof > 200, z.abs().clamp(max=12.0), z.abs())  # beyond, the tail is below 1e-20
    a, square = 0.5 * dof, size * size
    x, y = 1.0 / (1.0 + square / dof), 1.0 / (1.0 + dof / square)
    far = x <= y
    log_factor = _half_gamma_ratio(a) - a * torch.log1p(square / dof) + 0.5 * torch.log(y)
    term = torch.exp(log_factor) / (pi**0.5 * torch.where(far, a, 0.5))
    base, ratio = torch.where(far, a + 1.0, 1.5), torch.where(far, x, y)
    total = term.clone()
    for n in range(600):
        term = term * ratio * (a + 0.5 + n) / (base + n)
        total = total + term
        if n % 16 == 15 and bool((term <= 1e-17 * total).all()):
            break
    tail = 0.5 * torch.where(far, total, 1.0 - total)
    return torch.where(z > 0, 1.0 - tail, tail)
