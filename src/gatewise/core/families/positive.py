"""Families of positive responses with log link: Gamma, InverseGaussian and LogNormal."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, log, pi

import torch
from torch import Tensor

from gatewise.core.families.base import Family, LeafDerivatives, diagonal_blocks
from gatewise.core.families.gaussian import Gaussian, log_normal
from gatewise.core.families.incomplete_beta import stirling
from gatewise.core.families.special import finite_exp, log_less_digamma
from gatewise.core.parameters import Parameter
from gatewise.core.predictors import Params

MOST = 1e8  # shape: relative deviations below 1e-4 are no longer told from none
TINY = torch.finfo(torch.float64).tiny
WIDE = 1e100  # scales of logarithms beyond this are told as this


def own_shape(q: int, name: str = "shape", initial: float = 1.0, most: float = MOST) -> dict[str, Parameter]:
    """Return the description of a positive parameter of every output that is large where the response varies little."""
    return {name: Parameter((q,), "shape", transform="log", bounds=(0.0, most), initial=initial)}


def positive_fault(y: Tensor, family: str, what: str = "value") -> str | None:
    """Return what is wrong with responses that have to be positive, or None."""
    if bool((y > 0).all()):
        return None
    return (
        f"a {what} that is not positive ({float(y[~(y > 0)][0]):g}): {family} is a law of positive numbers; fit the "
        "zeros apart (family='binomial' of y > 0) and this family to the positive rows, or choose one that has them"
    )


def blocks_of_two(first: Tensor, mixed: Tensor, second: Tensor) -> Tensor:
    """Return second derivatives in the outputs and one own parameter of each, ``(*B, L, 2 q, 2 q, n)``."""
    parts = torch.stack(torch.broadcast_tensors(first, mixed, mixed, second), -3)
    return diagonal_blocks(parts.unflatten(-3, (2, 2)), first.shape[-2])


@dataclass(frozen=True)
class Gamma(Family):
    """Gamma family with log link: mean ``exp(eta)``, variance ``mean^2 / shape``, independent outputs given the leaf.

    The density is ``(shape / mean)^shape y^(shape - 1) exp(-shape y / mean) / Gamma(shape)`` (McCullagh and Nelder
    1989, chapter 8). The shape is at most 1e8: an expert there passes through its rows, and its fit is unsound.

    Examples
    --------
    >>> one = torch.ones(1, 1, dtype=torch.float64)
    >>> round(float(Gamma().log_prob({"shape": one}, one, 0 * one[None])), 12)
    -1.0
    """

    mean_range = (0.0, inf)

    def parameters(self, q: int) -> dict[str, Parameter]:
        return own_shape(q)

    def relative_spread(self, params: Params) -> Tensor:
        return torch.rsqrt(params["shape"])

    def exact_ends(self) -> dict[str, bool]:
        return {"shape": True}

    def log_prob(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        shape, log_y = params["shape"][..., None], torch.log(y)
        ratio = log_y - eta
        size = 0.5 * torch.log(shape / (2 * pi)) - stirling(shape)  # shape log shape - shape - log Gamma(shape)
        return (size - shape * (torch.expm1(ratio) - ratio) - log_y).sum(-2)

    def value_and_derivatives(self, params: Params, y: Tensor, eta: Tensor, order: int = 2) -> LeafDerivatives:
        shape, ratio = params["shape"][..., None], torch.log(y) - eta
        away = torch.expm1(ratio)
        slope, curvature = log_less_digamma(shape)
        value, first = self.log_prob(params, y, eta), torch.cat([shape * away, slope - (away - ratio)], -2)
        if order < 2:
            return LeafDerivatives(value, first, None)
        return LeafDerivatives(value, first, blocks_of_two(-shape * torch.exp(ratio), away, curvature))

    def mean(self, params: Params, eta: Tensor) -> Tensor:
        return finite_exp(eta)

    def variance(self, params: Params, eta: Tensor) -> Tensor:
        return torch.exp(2 * eta) / params["shape"][..., None]

    def cdf(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        """Return the regularised incomplete gamma function ``P(shape, shape y / mean)``."""
        shape = params["shape"][..., None]
        ratio = torch.exp(torch.log(y.clamp_min(TINY)) - eta)
        below = torch.special.gammainc(shape, (shape * ratio).clamp(max=1e300))
        return torch.where(y > 0, below, 0.0)

    def sample(self, params: Params, eta: Tensor, generator: torch.Generator) -> Tensor:
        shape = params["shape"][..., None].expand_as(eta)
        drawn = torch._standard_gamma(shape, generator=generator) / shape
        return (drawn.clamp_min(TINY) * torch.exp(eta)).clamp_min(TINY)

    def validate(self, y: Tensor) -> str | None:
        return positive_fault(y, "Gamma")

    def start(self, spread: Tensor) -> dict[str, Tensor]:
        return {"shape": (1 / spread**2).clamp(0.01, 1e6)}

    def working_response(self, y: Tensor) -> Tensor:
        return torch.log(y)


@dataclass(frozen=True)
class InverseGaussian(Family):
    """Inverse Gaussian family with log link: mean ``exp(eta)``, variance ``mean^3 / shape``, independent outputs.

    The density is ``sqrt(shape / (2 pi y^3)) exp(-shape (y - mean)^2 / (2 mean^2 y))`` (Tweedie 1957). The shape has
    the units of the response; it is at most 1e12, so divide responses of more than a million million by a constant.

    Examples
    --------
    >>> import torch
    >>> from gatewise import InverseGaussian
    >>> params, eta = {"shape": torch.tensor([4.0])}, torch.log(torch.tensor([[2.0]]))  # one output, one row
    >>> float(InverseGaussian().mean(params, eta)), float(InverseGaussian().variance(params, eta))
    (2.0, 2.0)
    """

    mean_range = (0.0, inf)

    def parameters(self, q: int) -> dict[str, Parameter]:
        return {"shape": Parameter((q,), "", transform="log", bounds=(0.0, 1e12), initial=100.0)}

    def exact_ends(self) -> dict[str, bool]:
        return {"shape": True}

    def log_prob(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        shape, log_y = params["shape"][..., None], torch.log(y)
        gap = torch.exp(0.5 * log_y - eta) - torch.exp(-0.5 * log_y)  # (y - mean) / (mean sqrt(y))
        return (0.5 * torch.log(shape) - 0.5 * log(2 * pi) - 1.5 * log_y - 0.5 * shape * gap**2).sum(-2)

    def value_and_derivatives(self, params: Params, y: Tensor, eta: Tensor, order: int = 2) -> LeafDerivatives:
        shape, half = params["shape"][..., None], 0.5 * torch.log(y)
        over, under = torch.exp(half - eta), torch.exp(-half)
        gap = over - under
        first = torch.cat([shape * gap * over, 0.5 / shape - 0.5 * gap**2], -2)
        value = self.log_prob(params, y, eta)
        if order < 2:
            return LeafDerivatives(value, first, None)
        second = blocks_of_two(-shape * over * (gap + over), gap * over, -0.5 / shape**2)
        return LeafDerivatives(value, first, second)

    def mean(self, params: Params, eta: Tensor) -> Tensor:
        return finite_exp(eta)

    def variance(self, params: Params, eta: Tensor) -> Tensor:
        return torch.exp(3 * eta) / params["shape"][..., None]

    def cdf(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        """Return the distribution function (Shuster 1968), by the scaled complementary error function."""
        half = 0.5 * torch.log(y.clamp_min(TINY))
        root = torch.sqrt(params["shape"][..., None])
        over, under = root * torch.exp(half - eta), root * torch.exp(-half)
        gap = over - under
        far = 0.5 * torch.exp(-0.5 * gap**2) * torch.special.erfcx((over + under) * 0.5**0.5)
        return torch.where(y > 0, torch.special.ndtr(gap) + torch.nan_to_num(far), 0.0).clamp(0.0, 1.0)

    def sample(self, params: Params, eta: Tensor, generator: torch.Generator) -> Tensor:
        """Draw by the transformation with two roots (Michael, Schucany and Haas 1976)."""
        normal = torch.randn(eta.shape, generator=generator, dtype=eta.dtype)
        choice = torch.rand(eta.shape, generator=generator, dtype=eta.dtype)
        part = 0.5 * normal**2 * torch.exp(eta) / params["shape"][..., None]
        larger = 1 + part + torch.sqrt(part) * torch.sqrt(2 + part)
        ratio = torch.where(choice * (1 + 1 / larger) <= 1, 1 / larger, larger)
        return (ratio * torch.exp(eta)).nan_to_num(inf, inf).clamp_min(TINY)

    def validate(self, y: Tensor) -> str | None:
        return positive_fault(y, "InverseGaussian")

    def start(self, spread: Tensor) -> dict[str, Tensor]:
        return {"shape": (1 / spread**2).clamp(0.01, 1e6)}

    def working_response(self, y: Tensor) -> Tensor:
        return torch.log(y)


@dataclass(frozen=True)
class LogNormal(Family):
    """Log-normal family: ``log y ~ N(eta, scale^2)``, independent outputs given the leaf.

    The median is ``exp(eta)``, the mean ``exp(eta + scale^2 / 2)``; `scale` is the standard deviation of ``log y``.

    Examples
    --------
    >>> import torch
    >>> from gatewise import LogNormal
    >>> params, eta = {"scale": torch.tensor([0.5]).double()}, torch.tensor([[1.0]]).double()  # one output, one row
    >>> round(float(LogNormal().mean(params, eta)), 4)  # exp(1 + 0.5^2 / 2)
    3.0802
    """

    mean_range = (0.0, inf)

    def parameters(self, q: int) -> dict[str, Parameter]:
        return {"scale": Parameter((q,), "scale", transform="log", bounds=(1e-8, inf), initial=0.5)}

    def relative_spread(self, params: Params) -> Tensor:
        return params["scale"]

    def exact_ends(self) -> dict[str, bool]:
        return {"scale": False}

    def log_prob(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        scale, log_y = params["scale"][..., None], torch.log(y)
        return (log_normal(((log_y - eta) / scale) ** 2, torch.log(scale)) - log_y).sum(-2)

    def value_and_derivatives(self, params: Params, y: Tensor, eta: Tensor, order: int = 2) -> LeafDerivatives:
        log_y = torch.log(y)
        inside = Gaussian().value_and_derivatives(params, log_y, eta, order)
        return inside._replace(value=inside.value - log_y.sum(-2))

    def mean(self, params: Params, eta: Tensor) -> Tensor:
        return finite_exp(eta + 0.5 * self._square(params))

    def variance(self, params: Params, eta: Tensor) -> Tensor:
        square = self._square(params)
        return torch.exp(2 * (eta.clamp(-1e300, 1e300) + square) + torch.log(-torch.expm1(-square)))

    def _square(self, params: Params) -> Tensor:
        return params["scale"][..., None].clamp(max=WIDE) ** 2

    def cdf(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        below = torch.special.ndtr((torch.log(y.clamp_min(TINY)) - eta) / params["scale"][..., None])
        return torch.where(y > 0, below, 0.0)

    def sample(self, params: Params, eta: Tensor, generator: torch.Generator) -> Tensor:
        return torch.exp(Gaussian().sample(params, eta, generator)).clamp_min(TINY)

    def validate(self, y: Tensor) -> str | None:
        return positive_fault(y, "LogNormal")

    def working_response(self, y: Tensor) -> Tensor:
        return torch.log(y)
