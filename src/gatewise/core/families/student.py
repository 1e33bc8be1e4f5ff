"""Student's t."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, pi

import torch
from torch import Tensor

from gatewise.core.families.base import Family, LeafDerivatives, diagonal_blocks
from gatewise.core.families.incomplete_beta import half_gamma_ratio, incomplete_beta
from gatewise.core.parameters import Parameter
from gatewise.core.predictors import Params

LEAST = 1.1  # degrees of freedom
CUT = 1e70  # distance in scales from which derivatives are those at this distance
LARGE = 1e100  # residuals beyond this, in scales, are squared through their logarithm


@dataclass(frozen=True)
class StudentT(Family):
    """Student's t family: ``y = eta + scale * t`` with `dof` degrees of freedom, outputs independent given the leaf.

    `dof` is estimated through its reciprocal; ``1 / dof = 0`` is the Gaussian family.

    Examples
    --------
    >>> import torch
    >>> from gatewise import StudentT
    >>> y, eta = torch.tensor([[10.0]]), torch.tensor([[0.0]])  # one output, one row, ten scales away
    >>> params = {"scale": torch.tensor([1.0]), "dof": torch.tensor([3.0])}
    >>> round(float(StudentT().log_prob(params, y, eta)), 4)  # -50.9189 under the normal law
    -8.0731
    """

    location_scale = True
    robust = True

    def parameters(self, q: int) -> dict[str, Parameter]:
        return {
            "scale": Parameter((q,), "scale", transform="log", bounds=(0.0, inf), initial=1.0),
            "dof": Parameter(
                (q,),
                "shape",
                transform="reciprocal",
                bounds=(LEAST, 1e8),
                initial=4.0,
                at_least="with heavier tails there would soon be no mean",
                at_most="Gaussian tails",
            ),
        }

    def log_prob(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        scale, dof = params["scale"][..., None], params["dof"][..., None]
        power = 0.5 * (dof + 1) * _log_distance(y - eta, scale, dof)
        return (half_gamma_ratio(0.5 * dof) - 0.5 * torch.log(pi * dof) - torch.log(scale) - power).sum(-2)

    def value_and_derivatives(self, params: Params, y: Tensor, eta: Tensor, order: int = 2) -> LeafDerivatives:
        scale, dof = params["scale"][..., None], params["dof"][..., None]
        z = ((y - eta) / scale).clamp(-CUT, CUT)
        square, inverse = z * z, 1.0 / scale
        total = dof + square
        pull = (dof + 1) * z / total
        share = square / (dof * total)
        slope, curvature = _size_slopes(dof)
        value = self.log_prob(params, y, eta)
        of_dof = slope - 0.5 * torch.log1p(square / dof) + 0.5 * (dof + 1) * share
        first = torch.cat([pull * inverse, (pull * z - 1) * inverse, of_dof], -2)
        if order < 2:
            return LeafDerivatives(value, first, None)
        steep = pull / total * (dof - square)  # z times the slope of `pull`
        weight = (square - 1) / (total * total) * inverse
        v = inverse * inverse
        eta_eta = -(dof + 1) * (dof - square) / (total * total) * v
        eta_scale, scale_scale = -(pull + steep) * v, (1 - (2 * pull + steep) * z) * v
        dof_dof = curvature + share * (dof * square - 2 * dof - square) / (2 * dof * total)
        mixed, last = z * weight, square * weight
        rows = (eta_eta, eta_scale, mixed, eta_scale, scale_scale, last, mixed, last, dof_dof)
        return LeafDerivatives(
            value, first, diagonal_blocks(torch.stack(rows, -3).unflatten(-3, (3, 3)), eta.shape[-2])
        )

    def mean(self, params: Params, eta: Tensor) -> Tensor:
        """Return the location; NaN where it is not the mean, with one degree of freedom or less."""
        defined = params["dof"][..., None] > 1
        return torch.where(defined, eta, torch.nan)

    def variance(self, params: Params, eta: Tensor) -> Tensor:
        dof = params["dof"]
        factor = torch.where(dof > 2, dof / (dof - 2).clamp_min(1e-300), inf)
        return ((params["scale"] * factor.sqrt()) ** 2)[..., None].expand_as(eta)

    def cdf(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        """Return the distribution function: ``I_x(dof / 2, 1 / 2) / 2`` with ``x = dof / (dof + z^2)`` for z < 0."""
        z, dof = (y - eta) / params["scale"][..., None], params["dof"][..., None]
        square = z * z / dof
        far = 1.0 / (1.0 + 1.0 / square)
        tail = 0.5 * incomplete_beta(0.5 * dof, torch.full_like(dof, 0.5), 1.0 / (1.0 + square), far)
        return torch.where(z > 0, 1.0 - tail, tail)

    def sample(self, params: Params, eta: Tensor, generator: torch.Generator) -> Tensor:
        dof = params["dof"][..., None].expand_as(eta)
        normal = torch.randn(eta.shape, generator=generator, dtype=eta.dtype)
        chi2 = 2 * torch._standard_gamma(0.5 * dof, generator=generator)
        return eta + params["scale"][..., None] * normal * torch.sqrt(dof / chi2)


def _size_slopes(dof: Tensor) -> tuple[Tensor, Tensor]:
    """Return first and second derivative of ``log Gamma((dof + 1) / 2) - log Gamma(dof / 2) - log(dof) / 2``."""
    large = dof > 200
    near, a = torch.where(large, 200.0, dof), 0.5 * torch.where(large, dof, 200.0)
    first = 0.5 * (torch.digamma(0.5 * near + 0.5) - torch.digamma(0.5 * near) - 1 / near)
    gamma = torch.special.polygamma
    second = 0.25 * (gamma(1, 0.5 * near + 0.5) - gamma(1, 0.5 * near)) + 0.5 / near**2
    first_far = 1 / (16 * a**2) - 1 / (128 * a**4) + 1 / (256 * a**6)
    second_far = -1 / (16 * a**3) + 1 / (64 * a**5) - 3 / (256 * a**7)
    return torch.where(large, first_far, first), torch.where(large, second_far, second)


def _log_distance(residual: Tensor, scale: Tensor, dof: Tensor) -> Tensor:
    """Return ``log(1 + z^2 / dof)`` with ``z = residual / scale``, whose square may be larger than any float."""
    z = residual / scale
    large = z.abs() > LARGE
    near = torch.log1p(torch.where(large, 0.0, z) ** 2 / dof)
    size = torch.where(large, residual.abs(), 1.0)
    return torch.where(large, 2 * (torch.log(size) - torch.log(scale)) - torch.log(dof), near)
