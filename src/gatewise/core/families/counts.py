"""Families of counts: Poisson and Binomial."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from numbers import Integral

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from gatewise.core.families.base import Family, LeafDerivatives, diagonal_blocks
from gatewise.core.families.incomplete_beta import incomplete_beta
from gatewise.core.families.special import finite_exp
from gatewise.core.predictors import Params

NORMAL = 1e12  # mean from which Poisson counts are drawn from the normal law, rounded
OVERFLOW = 710.0  # log of a mean that is larger than any float
MOST = 2**53  # whole numbers above this are not told apart


@dataclass(frozen=True)
class Poisson(Family):
    """Poisson family for counts with log link: mean ``exp(eta)``, outputs independent given the leaf.

    Examples
    --------
    >>> import torch
    >>> from gatewise import Poisson
    >>> y, eta = torch.tensor([[0.0, 1.0, 2.0]]), torch.zeros(1, 3)  # one output, three rows, means of one
    >>> print(Poisson().log_prob({}, y, eta).exp().numpy().round(4))
    [0.3679 0.3679 0.1839]
    """

    discrete = True
    mean_range = (0.0, inf)

    def log_prob(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        return (y * eta.clamp(max=OVERFLOW) - torch.exp(eta) - torch.lgamma(y + 1)).sum(-2)

    def value_and_derivatives(self, params: Params, y: Tensor, eta: Tensor, order: int = 2) -> LeafDerivatives:
        mean = torch.exp(eta)
        value = (y * eta.clamp(max=OVERFLOW) - mean - torch.lgamma(y + 1)).sum(-2)
        return LeafDerivatives(value, y - mean, diagonal_blocks(-mean[..., None, None, :, :], eta.shape[-2]))

    def mean(self, params: Params, eta: Tensor) -> Tensor:
        return finite_exp(eta)

    def variance(self, params: Params, eta: Tensor) -> Tensor:
        return torch.exp(eta)

    def cdf(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        below = torch.special.gammaincc(torch.floor(y).clamp_min(0.0) + 1.0, torch.exp(eta))
        return torch.where(y < 0, 0.0, below)

    def sample(self, params: Params, eta: Tensor, generator: torch.Generator) -> Tensor:
        mean = torch.exp(eta)
        drawn = torch.poisson(mean.clamp(max=NORMAL), generator=generator)
        if not bool((mean > NORMAL).any()):
            return drawn
        noise = torch.randn(eta.shape, generator=generator, dtype=eta.dtype)
        return torch.where(mean > NORMAL, torch.round(mean + torch.sqrt(mean) * noise).nan_to_num(inf, inf), drawn)

    def validate(self, y: Tensor) -> str | None:
        return count_fault(y, "Poisson")

    def working_response(self, y: Tensor) -> Tensor:
        return torch.log(y + 0.5)


@dataclass(frozen=True)
class Binomial(Family):
    """Binomial family for counts with logit link: success probability ``1 / (1 + exp(-eta))``.

    Attributes
    ----------
    trials : int or None
        Number of trials (1: Bernoulli). None: it differs by row, and a response with q outputs has 2 q columns, the
        successes of all outputs followed by the failures of all outputs. The mean is then the success probability, a
        sample is a single trial, and there is no distribution function, because the trials of a new row are unknown.

    Raises
    ------
    TypeError, ValueError
        If `trials` is neither None nor an integer from 1 to 2^53.

    Examples
    --------
    >>> import torch
    >>> from gatewise import Binomial
    >>> y, eta = torch.tensor([[0.0, 1.0, 2.0]]), torch.zeros(1, 3)  # one output, three rows, chances of one half
    >>> print(Binomial(trials=2).log_prob({}, y, eta).exp().numpy().round(4))
    [0.25 0.5  0.25]
    """

    trials: int | None = 1
    discrete = True

    def __post_init__(self) -> None:
        if self.trials is None:
            return
        words = (
            f"trials={self.trials!r}: give the number of trials of every row, a whole number from 1 to 2^53, or None "
            "where y has a column of successes and one of failures"
        )
        if isinstance(self.trials, bool) or not isinstance(self.trials, Integral):
            raise TypeError(words)
        if not 1 <= self.trials <= MOST:
            raise ValueError(words)
        object.__setattr__(self, "trials", int(self.trials))

    @property
    def mean_range(self) -> tuple[float, float]:  # type: ignore[override]
        """From no success to one success per trial."""
        return 0.0, float(self.trials or 1)

    @property
    def given(self) -> str:  # type: ignore[override]
        """The trials, where they differ by row."""
        return "number of trials" if self.trials is None else ""

    def outputs(self, columns: int) -> int:
        return columns if self.trials is not None else columns // 2

    def columns(self, outputs: int) -> int:
        return outputs if self.trials is not None else 2 * outputs

    def observed(self, y: Tensor) -> Tensor:
        """Return the counts; the shares of successes when the number of trials differs by row, 0 without a trial."""
        hits, trials = self._counts(y)
        return hits if self.trials is not None else hits / (trials + (trials == 0))

    def responses(self, y: Tensor) -> Tensor:
        hits, trials = self._counts(y)
        return (trials + 0.0 * hits).sum(-2)

    def _counts(self, y: Tensor) -> tuple[Tensor, Tensor | float]:
        if self.trials is not None:
            return y, float(self.trials)
        half = y.shape[-2] // 2
        return y[..., :half, :], y[..., :half, :] + y[..., half:, :]

    def log_prob(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        hits, trials = self._counts(y)
        found = hits * logsigmoid(eta) + (trials - hits) * logsigmoid(-eta)
        return (found + _log_choose(trials, hits)).sum(-2)

    def value_and_derivatives(self, params: Params, y: Tensor, eta: Tensor, order: int = 2) -> LeafDerivatives:
        hits, trials = self._counts(y)
        p = torch.sigmoid(eta)
        curvature = -trials * p * torch.sigmoid(-eta)
        second = diagonal_blocks(curvature[..., None, None, :, :], eta.shape[-2])
        return LeafDerivatives(self.log_prob(params, y, eta), hits - trials * p, second)

    def mean(self, params: Params, eta: Tensor) -> Tensor:
        """Return the mean count; the probability when the number of trials differs by row."""
        return (self.trials or 1) * torch.sigmoid(eta)

    def variance(self, params: Params, eta: Tensor) -> Tensor:
        return (self.trials or 1) * torch.sigmoid(eta) * torch.sigmoid(-eta)

    def cdf(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        """Return ``P(Y <= y) = I_{1 - p}(trials - y, y + 1)``; needs a fixed number of trials."""
        if self.trials is None:
            raise NotImplementedError(
                "Binomial(trials=None) has no cdf, since the number of trials of a new row is not known: fit "
                "Binomial(trials=m) where every row has m trials, or use the mean, the probability of success"
            )
        return _binomial_cdf(y, y.new_tensor(float(self.trials)), eta)

    def cdf_ends(self, params: Params, y: Tensor, eta: Tensor) -> tuple[Tensor, Tensor]:
        hits, trials = self._counts(y)
        total = torch.as_tensor(trials, dtype=eta.dtype)
        return _binomial_cdf(hits - 1.0, total, eta), _binomial_cdf(hits, total, eta)

    def observed_variance(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        variance = self.variance(params, eta)
        return variance if self.trials is not None else variance / self._counts(y)[1]

    def sample(self, params: Params, eta: Tensor, generator: torch.Generator) -> Tensor:
        """Draw counts; without a number of trials, one trial in rows of successes and failures ``(*B, L, 2 q, n)``."""
        count = torch.full_like(eta, float(self.trials or 1))
        hits = torch.binomial(count, torch.sigmoid(eta), generator=generator)
        return hits if self.trials is not None else torch.cat([hits, count - hits], -2)

    def sample_like(self, params: Params, y: Tensor, eta: Tensor, generator: torch.Generator) -> Tensor:
        if self.trials is not None:
            return self.sample(params, eta, generator)
        count = torch.as_tensor(self._counts(y)[1], dtype=eta.dtype).expand(eta.shape).contiguous()
        hits = torch.binomial(count, torch.sigmoid(eta), generator=generator)
        return torch.cat([hits, count - hits], -2)

    def validate(self, y: Tensor) -> str | None:
        fault = count_fault(y, "Binomial")
        if fault or self.trials is None:
            odd = self.trials is None and y.shape[-2] % 2
            return fault or ("an odd number of columns: give successes, then failures" if odd else None)
        if bool((y > self.trials).any()):
            most, how = float(y.max()), "give the number of trials, Binomial(trials=...), or use 'poisson' for counts"
            return f"a value of {most:g}, above trials={self.trials}: {how}"
        return None

    def working_response(self, y: Tensor) -> Tensor:
        hits, trials = self._counts(y)
        return torch.log((hits + 0.5) / (trials - hits + 0.5))


def _binomial_cdf(y: Tensor, trials: Tensor, eta: Tensor) -> Tensor:
    """Return ``P(Y <= y) = I_{1 - p}(trials - y, y + 1)`` with ``p = 1 / (1 + exp(-eta))``."""
    count = torch.floor(y)
    inside = (count >= 0) & (count < trials)
    hits = torch.where(inside, count, 0.0)
    below = incomplete_beta((trials - hits).clamp_min(1.0), hits + 1.0, torch.sigmoid(-eta), torch.sigmoid(eta))
    return torch.where(inside, below, (count >= trials).to(below.dtype))


def _log_choose(trials: Tensor | float, hits: Tensor) -> Tensor:
    total = torch.as_tensor(trials, dtype=hits.dtype)
    return torch.lgamma(total + 1) - torch.lgamma(hits + 1) - torch.lgamma(total - hits + 1)


def count_fault(y: Tensor, family: str) -> str | None:
    """Return what is wrong with responses that have to be counts, or None."""
    if bool((y < 0).any()):
        return f"a negative value ({float(y.min()):g}): {family} counts start at 0"
    if bool((y != y.round()).any()):
        first = float(y[y != y.round()][0])
        return (
            f"a value that is not whole ({first:g}): {family} needs counts; of shares give the successes with trials=, "
            "of rates the counts with offset="
        )
    return None
