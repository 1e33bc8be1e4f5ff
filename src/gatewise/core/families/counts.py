"""Families of counts: Poisson and Binomial."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

from gatewise.core.families.base import Family, LeafLocal, diagonal_blocks
from gatewise.core.predictors import Params


@dataclass(frozen=True)
class Poisson(Family):
    """Poisson counts with log link: mean ``exp(eta)``, outputs independent given the leaf."""

    discrete = True

    def log_prob(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        return (y * eta - torch.exp(eta) - torch.lgamma(y + 1)).sum(-2)

    def local(self, params: Params, y: Tensor, eta: Tensor, order: int = 2) -> LeafLocal:
        mean = torch.exp(eta)
        value = (y * eta - mean - torch.lgamma(y + 1)).sum(-2)
        return LeafLocal(value, y - mean, diagonal_blocks(-mean[..., None, None, :, :], eta.shape[-2]))

    def mean(self, params: Params, eta: Tensor) -> Tensor:
        return torch.exp(eta)

    def variance(self, params: Params, eta: Tensor) -> Tensor:
        return torch.exp(eta)

    def cdf(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        below = torch.special.gammaincc(torch.floor(y).clamp_min(0.0) + 1.0, torch.exp(eta))
        return torch.where(y < 0, 0.0, below)

    def sample(self, params: Params, eta: Tensor, generator: torch.Generator) -> Tensor:
        return torch.poisson(torch.exp(eta), generator=generator)

    def invalid(self, y: Tensor) -> str | None:
        return _count_fault(y, "Poisson")

    def link_start(self, y: Tensor) -> Tensor:
        return torch.log(y + 0.5)


@dataclass(frozen=True)
class Binomial(Family):
    """Binomial counts with logit link.

    Attributes
    ----------
    trials : int or None
        Number of trials of every row (1: Bernoulli). None: the response has two columns, successes and failures.
    """

    trials: int | None = 1
    discrete = True

    def outputs(self, columns: int) -> int:
        return columns if self.trials is not None else columns // 2

    def _counts(self, y: Tensor) -> tuple[Tensor, Tensor | float]:
        if self.trials is not None:
            return y, float(self.trials)
        half = y.shape[-2] // 2
        return y[..., :half, :], y[..., :half, :] + y[..., half:, :]

    def log_prob(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        hits, trials = self._counts(y)
        return (hits * eta - trials * softplus(eta) + _log_choose(trials, hits)).sum(-2)

    def local(self, params: Params, y: Tensor, eta: Tensor, order: int = 2) -> LeafLocal:
        hits, trials = self._counts(y)
        p = torch.sigmoid(eta)
        bend = -trials * p * torch.sigmoid(-eta)
        second = diagonal_blocks(bend[..., None, None, :, :], eta.shape[-2])
        return LeafLocal(self.log_prob(params, y, eta), hits - trials * p, second)

    def mean(self, params: Params, eta: Tensor) -> Tensor:
        """Return the mean count; the probability when the number of trials differs by row."""
        return (self.trials or 1) * torch.sigmoid(eta)

    def variance(self, params: Params, eta: Tensor) -> Tensor:
        return (self.trials or 1) * torch.sigmoid(eta) * torch.sigmoid(-eta)

    def cdf(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        """Return the sum of the probabilities of 0, ..., y successes; needs a fixed number of trials."""
        if self.trials is None:
            raise NotImplementedError(
                "Binomial(trials=None) has no cdf: the number of trials of a new row is not known"
            )
        count = torch.arange(self.trials + 1, dtype=eta.dtype)
        choose = _log_choose(float(self.trials), count)
        total = torch.zeros(torch.broadcast_shapes(y.shape, eta.shape), dtype=eta.dtype)
        for j, log_ways in zip(range(self.trials + 1), choose, strict=True):
            chance = torch.exp(log_ways + j * eta - self.trials * softplus(eta))
            total = total + torch.where(y >= j, chance, 0.0)
        return total.clamp(max=1.0)

    def sample(self, params: Params, eta: Tensor, generator: torch.Generator) -> Tensor:
        """Draw counts; without a number of trials, one trial in rows of successes and failures ``(*B, L, 2 q, n)``."""
        count = torch.full_like(eta, float(self.trials or 1))
        hits = torch.binomial(count, torch.sigmoid(eta), generator=generator)
        return hits if self.trials is not None else torch.cat([hits, count - hits], -2)

    def invalid(self, y: Tensor) -> str | None:
        fault = _count_fault(y, "Binomial")
        if fault or self.trials is None:
            odd = self.trials is None and y.shape[-2] % 2
            return fault or ("an odd number of columns: give successes, then failures" if odd else None)
        if bool((y > self.trials).any()):
            return f"a value of {float(y.max()):g}, above trials={self.trials}"
        return None

    def link_start(self, y: Tensor) -> Tensor:
        hits, trials = self._counts(y)
        return torch.log((hits + 0.5) / (trials - hits + 0.5))


def _log_choose(trials: Tensor | float, hits: Tensor) -> Tensor:
    total = torch.as_tensor(trials, dtype=hits.dtype)
    return torch.lgamma(total + 1) - torch.lgamma(hits + 1) - torch.lgamma(total - hits + 1)


def _count_fault(y: Tensor, family: str) -> str | None:
    if bool((y < 0).any()):
        return f"a negative value ({float(y.min()):g}): {family} counts start at 0"
    if bool((y != y.round()).any()):
        first = float(y[y != y.round()][0])
        return f"a value that is not whole ({first:g}): {family} needs counts"
    return None
