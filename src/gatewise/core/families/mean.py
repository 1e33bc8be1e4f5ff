"""MeanOnly: no law at all, for least squares."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gatewise.core.families.base import Family
from gatewise.core.predictors import Params


@dataclass(frozen=True)
class MeanOnly(Family):
    """A mean ``eta`` and nothing else: the model of least squares, which has no density and draws no sample."""

    location_scale = True
    has_density = False

    def log_prob(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        raise TypeError("a least-squares fit has a mean but no density: use maximum likelihood")

    def mean(self, params: Params, eta: Tensor) -> Tensor:
        return eta

    def cdf(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        raise TypeError("a least-squares fit has no distribution, so no quantiles or intervals: use maximum likelihood")

    def variance(self, params: Params, eta: Tensor) -> Tensor:
        raise TypeError("a least-squares fit has no variance per expert: use maximum likelihood")

    def sample(self, params: Params, eta: Tensor, generator: torch.Generator) -> Tensor:
        raise TypeError("a least-squares fit has no distribution to draw from: use maximum likelihood")
