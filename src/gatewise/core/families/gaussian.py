"""Gaussian families: independent outputs, or a full covariance."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf, log, pi

import torch
from torch import Tensor

from gatewise.core.families.base import Family, LeafDerivatives, diagonal_blocks
from gatewise.core.predictors import AffineTransform, Parameter, Params, as_tuple

LARGE = 1e100  # residuals beyond this are scaled down before they are multiplied


@dataclass(frozen=True)
class Gaussian(Family):
    """``N(eta, scale^2)`` for each output, independent given the leaf; `scale` is the standard deviation."""

    location_scale = True
    has_closed_form_scale = True

    def parameters(self, q: int) -> dict[str, Parameter]:
        return {"scale": Parameter((q,), "scale", transform="log", bounds=(0.0, inf), initial=1.0)}

    def log_prob(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        scale = params["scale"][..., None]
        z = (y - eta) / scale
        return (-0.5 * z * z - torch.log(scale) - 0.5 * log(2 * pi)).sum(-2)

    def value_and_derivatives(self, params: Params, y: Tensor, eta: Tensor, order: int = 2) -> LeafDerivatives:
        inverse = 1.0 / params["scale"][..., None]
        z = (y - eta) * inverse
        square = z * z
        value = torch.sub(torch.log(inverse) - 0.5 * log(2 * pi), square, alpha=0.5).sum(-2)
        first = torch.cat([z * inverse, (square - 1) * inverse], -2)
        if order < 2:
            return LeafDerivatives(value, first, None)
        v = inverse * inverse
        mixed = z * (-2 * v)
        blocks = torch.stack([(-v).expand_as(z), mixed, mixed, torch.addcmul(v, square, v, value=-3)], -3)
        return LeafDerivatives(value, first, diagonal_blocks(blocks.unflatten(-3, (2, 2)), eta.shape[-2]))

    def with_full_covariance(self) -> FullGaussian:
        return FullGaussian()

    def mean(self, params: Params, eta: Tensor) -> Tensor:
        return eta

    def variance(self, params: Params, eta: Tensor) -> Tensor:
        return (params["scale"] ** 2)[..., None].expand_as(eta)

    def cdf(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        return torch.special.ndtr((y - eta) / params["scale"][..., None])

    def sample(self, params: Params, eta: Tensor, generator: torch.Generator) -> Tensor:
        noise = torch.randn(eta.shape, generator=generator, dtype=eta.dtype)
        return eta + params["scale"][..., None] * noise


@dataclass(frozen=True)
class FullGaussian(Family):
    """Multivariate ``N(eta, diag(floor)^2 + L L')`` with `cholesky` the rows of the lower triangle of L, packed.

    Attributes
    ----------
    floor : tuple of float, optional
        Standard deviation per output that the covariance never falls below; None: no floor.
    """

    floor: tuple[float, ...] | None = None
    location_scale = True

    def parameters(self, q: int) -> dict[str, Parameter]:
        kinds = tuple("log" if i == j else "identity" for i in range(q) for j in range(i + 1))
        return {"cholesky": Parameter((len(kinds),), "covariance", transform=kinds, initial=1.0)}

    def factor(self, params: Params, q: int) -> Tensor:
        """Return L ``(*B, L, q, q)``."""
        packed = params["cholesky"]
        i, j = torch.tril_indices(q, q)
        lower = packed.new_zeros(packed.shape[:-1] + (q, q))
        lower[..., i, j] = packed
        return lower

    def covariance(self, params: Params, q: int) -> Tensor:
        """Return the covariance ``(*B, L, q, q)``."""
        lower = self.factor(params, q)
        product = lower @ lower.mT
        return product if self.floor is None else product + torch.diag(lower.new_tensor(self.floor) ** 2)

    def with_full_covariance(self) -> FullGaussian:
        return self

    def marginal(self) -> Gaussian:
        return Gaussian()

    def root(self, params: Params, q: int) -> Tensor:
        """Return the triangular root of the covariance ``(*B, L, q, q)``; no entry of the covariance need exist."""
        lower = self.factor(params, q)
        if self.floor is None:
            return lower
        floor = torch.diag(lower.new_tensor(self.floor)).expand(lower.shape)
        rows = torch.cat([lower, floor], -1)  # rows rows' is the covariance
        size = rows.detach().abs().amax(-1, keepdim=True)
        rows = rows / size
        return size * torch.linalg.cholesky_ex(rows @ rows.mT)[0]

    def log_prob(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        q = eta.shape[-2]
        root = self.root(params, q)
        residual = y - eta
        size = residual.detach().abs().amax(-2, keepdim=True)
        size = torch.where(size > LARGE, size, 1.0)  # so that nothing overflows before the square does
        z = size * torch.linalg.solve_triangular(root, residual / size, upper=False)
        size = torch.log(root.diagonal(dim1=-2, dim2=-1).abs()).sum(-1)[..., None]
        value = -0.5 * (z * z).sum(-2) - size - 0.5 * q * log(2 * pi)
        return torch.where(value.isnan() & ~residual.isnan().any(-2), -inf, value)  # infinities that met

    def with_scale_floor(self, floor: Tensor) -> tuple[Family, dict[str, tuple[Tensor, float]]]:
        q = len(floor)
        i, j = torch.tril_indices(q, q)
        lower = torch.where(i == j, 1e-3 * floor[i], -inf)
        return replace(self, floor=as_tuple(floor)), {"cholesky": (lower, inf)}

    def start(self, spread: Tensor) -> dict[str, Tensor]:
        q = spread.shape[-1]
        i, j = torch.tril_indices(q, q)
        return {"cholesky": torch.where(i == j, spread[..., i], 0.0)}

    def mean(self, params: Params, eta: Tensor) -> Tensor:
        return eta

    def variance(self, params: Params, eta: Tensor) -> Tensor:
        diagonal = self.covariance(params, eta.shape[-2]).diagonal(dim1=-2, dim2=-1)
        return diagonal[..., None].expand_as(eta)

    def cdf(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        """Return the marginal distribution function of every output."""
        root = self.root(params, eta.shape[-2])
        size = root.abs().amax(-1, keepdim=True)
        return torch.special.ndtr((y - eta) / (size * (root / size).norm(dim=-1, keepdim=True)))

    def sample(self, params: Params, eta: Tensor, generator: torch.Generator) -> Tensor:
        return eta + self.root(params, eta.shape[-2]) @ torch.randn(eta.shape, generator=generator, dtype=eta.dtype)

    def rescale_response(self, params: Params, frame: AffineTransform) -> tuple[Family, dict[str, Tensor]]:
        q = len(frame.scale)
        rows = frame.scale[torch.tril_indices(q, q)[0]]
        floor = None if self.floor is None else as_tuple(frame.scale.new_tensor(self.floor) / frame.scale)
        return replace(self, floor=floor), {**params, "cholesky": params["cholesky"] / rows}
