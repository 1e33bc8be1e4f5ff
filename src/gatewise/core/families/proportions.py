"""Families of shares between 0 and 1: Beta."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gatewise.core.families.base import Family, LeafDerivatives
from gatewise.core.families.incomplete_beta import incomplete_beta, log_beta_weight
from gatewise.core.families.positive import TINY, blocks_of_two, own_shape
from gatewise.core.families.special import trigamma
from gatewise.core.parameters import Parameter
from gatewise.core.predictors import Params

ONE = 1 - 2.0**-53  # the largest share below one


@dataclass(frozen=True)
class Beta(Family):
    """Beta family with logit link: mean ``m = 1 / (1 + exp(-eta))``, variance ``m (1 - m) / (1 + precision)``.

    The density is that of a beta law with the parameters ``m precision`` and ``(1 - m) precision`` (Ferrari and
    Cribari-Neto 2004), outputs independent given the leaf. The precision is at most 1e8: an expert there passes through
    its rows, and its fit is unsound.

    Examples
    --------
    >>> half = torch.full((1, 1), 0.5, dtype=torch.float64)
    >>> abs(round(float(Beta().log_prob({"precision": 4 * half}, half, 0 * half[None])), 12))
    0.0
    """

    mean_range = (0.0, 1.0)

    def parameters(self, q: int) -> dict[str, Parameter]:
        return own_shape(q, "precision", initial=10.0)

    def _two(self, params: Params, eta: Tensor) -> tuple[Tensor, Tensor]:
        """Return the two parameters of the beta law."""
        precision = params["precision"][..., None]
        return (precision * torch.sigmoid(eta)).clamp_min(TINY), (precision * torch.sigmoid(-eta)).clamp_min(TINY)

    def relative_spread(self, params: Params) -> Tensor:
        """Return the standard deviation of the logit about the mean one half."""
        return 2.0 * torch.rsqrt(1.0 + params["precision"])

    def exact_ends(self) -> dict[str, bool]:
        return {"precision": True}

    def log_prob(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        a, b = self._two(params, eta)
        return (log_beta_weight(a, b, y, 1 - y) - torch.log(y) - torch.log1p(-y)).sum(-2)

    def value_and_derivatives(self, params: Params, y: Tensor, eta: Tensor, order: int = 2) -> LeafDerivatives:
        a, b = self._two(params, eta)
        precision, mean, rest = params["precision"][..., None], torch.sigmoid(eta), torch.sigmoid(-eta)
        each, steep = torch.digamma(a) - torch.digamma(b), mean * rest
        gap = torch.logit(y) - each
        own = mean * gap + torch.log1p(-y) - torch.digamma(b) + torch.digamma(precision)
        value, first = self.log_prob(params, y, eta), torch.cat([precision * steep * gap, own], -2)
        if order < 2:
            return LeafDerivatives(value, first, None)
        up, down = trigamma(a), trigamma(b)
        of_eta = precision * steep * ((rest - mean) * gap - precision * steep * (up + down))
        mixed = steep * (gap - precision * (mean * up - rest * down))
        of_own = trigamma(precision) - mean**2 * up - rest**2 * down
        return LeafDerivatives(value, first, blocks_of_two(of_eta, mixed, of_own))

    def mean(self, params: Params, eta: Tensor) -> Tensor:
        return torch.sigmoid(eta)

    def variance(self, params: Params, eta: Tensor) -> Tensor:
        return torch.sigmoid(eta) * torch.sigmoid(-eta) / (1 + params["precision"][..., None])

    def cdf(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        inside = y.clamp(0.0, 1.0)
        return incomplete_beta(*self._two(params, eta), inside, 1 - inside)

    def sample(self, params: Params, eta: Tensor, generator: torch.Generator) -> Tensor:
        a, b = (torch._standard_gamma(side, generator=generator).clamp_min(TINY) for side in self._two(params, eta))
        return (a / (a + b)).clamp(TINY, ONE)

    def validate(self, y: Tensor) -> str | None:
        outside = ~((y > 0) & (y < 1))
        if not bool(outside.any()):
            return None
        return (
            f"a value of {float(y[outside][0]):g}: Beta is a law of numbers strictly between 0 and 1; divide by the "
            "largest possible value, and move zeros and ones inside by (y (n - 1) + 0.5) / n for n rows"
        )

    def start(self, spread: Tensor) -> dict[str, Tensor]:
        return {"precision": (4 / spread**2).clamp(0.1, 1e6)}

    def working_response(self, y: Tensor) -> Tensor:
        return torch.logit(y)
