"""Gaussian families: independent outputs, or a full covariance."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from math import inf, log, pi

import torch
from torch import Tensor

from gatewise.core.families.base import Family, LeafDerivatives, SummedSecond, diagonal_blocks
from gatewise.core.parameters import Parameter
from gatewise.core.predictors import AffineTransform, Params, as_tuple, weighted_gram

LARGE = 1e100  # residuals beyond this are scaled down before they are multiplied


def log_normal(square: Tensor, log_scale: Tensor) -> Tensor:
    """Return ``log N``: ``-square / 2 - log scale - log(2 pi) / 2`` for the squared distance in units of the scale."""
    return torch.sub(-log_scale - 0.5 * log(2 * pi), square, alpha=0.5)


@dataclass(frozen=True)
class Gaussian(Family):
    """Gaussian family: ``y ~ N(eta, scale^2)``, independent outputs given the leaf; `scale` is a standard deviation.

    Examples
    --------
    >>> import torch
    >>> from gatewise import Gaussian
    >>> y, eta = torch.tensor([[1.0]]), torch.tensor([[0.0]])  # one output, one row
    >>> round(float(Gaussian().log_prob({"scale": torch.tensor([2.0])}, y, eta)), 4)
    -1.7371
    """

    location_scale = True
    has_closed_form_scale = True

    def parameters(self, q: int) -> dict[str, Parameter]:
        return {"scale": Parameter((q,), "scale", transform="log", bounds=(0.0, inf), initial=1.0)}

    def log_prob(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        scale = params["scale"][..., None]
        return log_normal(((y - eta) / scale) ** 2, torch.log(scale)).sum(-2)

    def value_and_derivatives(self, params: Params, y: Tensor, eta: Tensor, order: int = 2) -> LeafDerivatives:
        inverse = 1.0 / params["scale"][..., None]
        z = (y - eta) * inverse
        square = z * z
        value = log_normal(square, -torch.log(inverse)).sum(-2)
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


SPREAD = "family.scale"  # under which standard deviations of a full covariance, which are no parameters, are told


def _full_second(precision: Tensor, lower: Tensor, u: Tensor, along: Tensor) -> Tensor:
    """Return the second derivatives of `FullGaussian` in the outputs and the entries of L, ``(*B, L, t, t, n)``.

    By the entry (k, l) of L, ``u`` changes by ``-P S_a u`` with P the precision. The derivative in the entry (i, j) is
    ``u_i (L'u)_j - (P L)_ij``, and so moves by the product rule; `along` is ``L'u``.
    """
    q = u.shape[-2]
    i, j = torch.tril_indices(q, q)
    turned = precision @ lower
    here, there = u[..., i, :], along[..., j, :]
    of_u = -precision[..., i].unsqueeze(-1) * there.unsqueeze(-3) - turned[..., j].unsqueeze(-1) * here.unsqueeze(-3)
    of_along = (lower.mT @ of_u.flatten(-2)).unflatten(-1, of_u.shape[-2:])
    of_along = of_along + torch.eye(q, dtype=u.dtype)[:, j].unsqueeze(-1) * here.unsqueeze(-3)
    entries = of_u[..., i, :, :] * there.unsqueeze(-2) + here.unsqueeze(-2) * of_along[..., j, :, :]
    entries = entries - _turned_slopes(precision, lower, turned).unsqueeze(-1)
    outputs = torch.cat([(-precision).unsqueeze(-1).expand(*of_u.shape[:-2], q, u.shape[-1]), of_u], -2)
    return torch.cat([outputs, torch.cat([of_u.transpose(-3, -2), entries], -2)], -3)


def _summed_second(precision: Tensor, lower: Tensor, u: Tensor, weight: Tensor, jacobian: Tensor) -> Tensor:
    """Return the sum over the rows of `_full_second`, in the columns of the outputs: from second moments alone.

    The second derivatives are linear in ``u`` for an output and an entry of L, and quadratic for two entries.
    """
    q = u.shape[-2]
    i, j = torch.tril_indices(q, q)
    turned, weighed = precision @ lower, weight.unsqueeze(-2) * u
    squares = weighed @ u.mT
    half, whole = squares @ lower, lower.mT @ squares @ lower  # of u and L'u, of L'u
    pairs = turned[..., i[:, None], j] * half[..., i, j[:, None]]
    same = lower.mT @ turned - torch.eye(q, dtype=u.dtype)
    entries = -precision[..., i[:, None], i] * whole[..., j[:, None], j] - pairs - pairs.mT
    entries = entries - same[..., j[:, None], j] * squares[..., i[:, None], i]
    entries = entries - weight.sum(-1)[..., None, None] * _turned_slopes(precision, lower, turned)
    design = jacobian.expand(*jacobian.shape[:-3], q, *jacobian.shape[-2:])
    columns = design.shape[-2]
    of_u = design @ weighed.unsqueeze(-3).mT  # (*B, L, q, C, q)
    mixed = -precision[..., i].unsqueeze(-2) * (of_u @ lower.unsqueeze(-3))[..., j]
    mixed = (mixed - turned[..., j].unsqueeze(-2) * of_u[..., i]).flatten(-3, -2)
    if jacobian.shape[-3] == 1:
        gram = weighted_gram(jacobian[..., 0, :, :], weight).unsqueeze(-2).unsqueeze(-4)
    else:
        rows = design.flatten(-3, -2)
        gram = ((rows * weight.unsqueeze(-2)) @ rows.mT).unflatten(-1, (q, columns)).unflatten(-3, (q, columns))
    outputs = (-precision[..., :, None, :, None] * gram).flatten(-2).flatten(-3, -2)
    return torch.cat([torch.cat([outputs, mixed], -1), torch.cat([mixed.mT, entries], -1)], -2)


def _turned_slopes(precision: Tensor, lower: Tensor, turned: Tensor) -> Tensor:
    """Return the derivative of every entry (i, j) of ``P L`` in every entry of L, ``(*B, L, T, T)``."""
    i, j = torch.tril_indices(*lower.shape[-2:])
    same = (j[:, None] == j).to(lower.dtype)
    inside = (lower.mT @ turned)[..., j[:, None], j]
    return precision[..., i[:, None], i] * (same - inside) - turned[..., i[:, None], j] * turned[..., i[:, None], j].mT


@dataclass(frozen=True)
class FullGaussian(Family):
    """Multivariate Gaussian family: ``y ~ N(eta, diag(floor)^2 + L L')``.

    The parameter `cholesky` holds the lower triangle of L, row by row.

    Attributes
    ----------
    floor : tuple of float, optional
        Lower bound of the standard deviation of each output; None: zero.

    Examples
    --------
    >>> import torch
    >>> from gatewise import FullGaussian
    >>> FullGaussian().covariance({"cholesky": torch.tensor([1.0, 0.5, 2.0])}, q=2).tolist()
    [[1.0, 0.5], [0.5, 4.25]]
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
        value = log_normal(z * z, torch.log(root.diagonal(dim1=-2, dim2=-1).abs())[..., None]).sum(-2)
        return torch.where(value.isnan() & ~residual.isnan().any(-2), -inf, value)  # infinities that met

    def value_and_derivatives(self, params: Params, y: Tensor, eta: Tensor, order: int = 2) -> LeafDerivatives:
        """Differentiate ``-r'u / 2 - log det(S) / 2`` with ``S = floor^2 + L L'``, ``r = y - eta``, ``u = S^-1 r``.

        By an entry of L, S changes by ``S_a = E_a L' + L E_a'`` with E_a one there, and the value by the entry of
        ``(u u' - S^-1) L``.
        """
        q = eta.shape[-2]
        root, lower = self.root(params, q), self.factor(params, q)
        back = torch.linalg.solve_triangular(root, torch.eye(q, dtype=eta.dtype), upper=False)
        precision, u = back.mT @ back, back.mT @ (back @ (y - eta))
        i, j = torch.tril_indices(q, q)
        along = lower.mT @ u  # L'u
        own = u[..., i, :] * along[..., j, :] - (precision @ lower)[..., i, j].unsqueeze(-1)
        value, first = self.log_prob(params, y, eta), torch.cat([u, own], -2)
        return LeafDerivatives(value, first, None if order < 2 else _full_second(precision, lower, u, along))

    def summed_second(self, params: Params, y: Tensor, eta: Tensor) -> SummedSecond:
        """Sum from second moments of the residuals: t predictors take ``O(n q^2)``, not ``O(n t^2)``."""
        q = eta.shape[-2]
        root, lower = self.root(params, q), self.factor(params, q)
        back = torch.linalg.solve_triangular(root, torch.eye(q, dtype=eta.dtype), upper=False)
        return partial(_summed_second, back.mT @ back, lower, back.mT @ (back @ (y - eta)))

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
