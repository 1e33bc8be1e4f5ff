"""Counts with more variance than Poisson's: NegativeBinomial."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from gatewise.core.families.base import Family, LeafDerivatives
from gatewise.core.families.counts import Poisson, count_fault
from gatewise.core.families.incomplete_beta import incomplete_beta, stirling
from gatewise.core.families.positive import TINY, blocks_of_two
from gatewise.core.families.special import finite_exp, log1p_less, rising_slopes
from gatewise.core.parameters import Parameter
from gatewise.core.predictors import Params


@dataclass(frozen=True)
class NegativeBinomial(Family):
    """Negative binomial family NB2 with log link: mean ``m = exp(eta)``, variance ``m + m^2 / size``.

    ``P(Y = y) = Gamma(y + size) / (Gamma(size) y!) (size / (size + m))^size (m / (size + m))^y`` (Lawless 1987),
    outputs independent given the leaf. `size` is estimated through its reciprocal, the dispersion alpha of other
    packages; ``1 / size = 0`` is the Poisson family.

    Examples
    --------
    >>> zero = torch.zeros(1, 1, dtype=torch.float64)
    >>> round(float(NegativeBinomial().log_prob({"size": zero + 1.0}, zero, zero[None]).exp()), 12)
    0.5
    """

    discrete = True
    mean_range = (0.0, inf)

    def parameters(self, q: int) -> dict[str, Parameter]:
        return {
            "size": Parameter(
                (q,),
                "shape",
                transform="reciprocal",
                bounds=(1e-3, 1e8),
                initial=4.0,
                at_least="with a smaller size nearly all counts would be zero",
                at_most="Poisson counts",
            )
        }

    def log_prob(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        size = params["size"][..., None]
        z = eta - torch.log(size)
        total = y + size
        # log Gamma(y + size) - log Gamma(size) - y log(size), without the terms that cancel for a large size
        rising = (total - 0.5) * torch.log1p(y / size) - y + stirling(total) - stirling(size)
        chance = y * (torch.log(size) + logsigmoid(z)) + size * logsigmoid(-z)
        return (rising - torch.lgamma(y + 1) + chance).sum(-2)

    def value_and_derivatives(self, params: Params, y: Tensor, eta: Tensor, order: int = 2) -> LeafDerivatives:
        size = params["size"][..., None]
        z = eta - torch.log(size)
        share, rest = torch.sigmoid(z), torch.sigmoid(-z)  # mean / (size + mean), size / (size + mean)
        slope, curvature = rising_slopes(y, size)
        of_eta = y * rest - size * share
        ratio = torch.exp(z)
        # log(1 + ratio) - ratio / (1 + ratio)
        excess = torch.where(z < 0, log1p_less(ratio) + ratio * share, -logsigmoid(-z) - share)
        value = self.log_prob(params, y, eta)
        first = torch.cat([of_eta, slope + y * share / size - excess], -2)
        if order < 2:
            return LeafDerivatives(value, first, None)
        of_size = curvature - y * share * (1 + rest) / size**2 + share**2 / size
        second = blocks_of_two(-share * rest * (size + y), of_eta * share / size, of_size)
        return LeafDerivatives(value, first, second)

    def mean(self, params: Params, eta: Tensor) -> Tensor:
        return finite_exp(eta)

    def variance(self, params: Params, eta: Tensor) -> Tensor:
        mean = torch.exp(eta)
        return mean + mean * mean / params["size"][..., None]

    def cdf(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        """Return ``P(Y <= y) = I_p(size, y + 1)`` with ``p = size / (size + mean)``."""
        size = params["size"][..., None]
        z = eta - torch.log(size)
        below = incomplete_beta(size, torch.floor(y).clamp_min(0.0) + 1.0, torch.sigmoid(-z), torch.sigmoid(z))
        return torch.where(y < 0, 0.0, below)

    def sample(self, params: Params, eta: Tensor, generator: torch.Generator) -> Tensor:
        """Draw Poisson counts whose mean is drawn from the gamma law."""
        size = params["size"][..., None].expand_as(eta)
        factor = torch._standard_gamma(size, generator=generator) / size
        return Poisson().sample({}, eta + torch.log(factor.clamp_min(TINY)), generator)

    def validate(self, y: Tensor) -> str | None:
        return count_fault(y, "NegativeBinomial")

    def working_response(self, y: Tensor) -> Tensor:
        return torch.log(y + 0.5)
