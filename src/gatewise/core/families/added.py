"""Laws of branches that are added to ordinary experts: a point mass at zero, and noise. They read no inputs."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor

from gatewise.core.families.base import Family, LeafDerivatives
from gatewise.core.predictors import AffineTransform, Params

LEAST, MOST = 0.1, 0.95  # share of the zeros that a start gives to the point mass
FEW = 0.05  # share of all rows that a start gives to noise
SLACK = 1e-9  # of the range of noise, by which rounding may put a row outside it


@dataclass(frozen=True)
class WithoutPredictor(Family):
    """Abstract: a law without parameters that does not depend on the predictor."""

    def value_and_derivatives(self, params: Params, y: Tensor, eta: Tensor, order: int = 2) -> LeafDerivatives:
        zero = torch.zeros_like(eta)
        return LeafDerivatives(self.log_prob(params, y, eta), zero, zero.unsqueeze(-3) + zero.unsqueeze(-2))


@dataclass(frozen=True)
class Zero(WithoutPredictor):
    """Point mass at zero in every output, the branch of zero-inflated counts (Lambert 1992, Technometrics 34).

    ``P(y = 0) = 1``. Of counts among trials that differ by row the first columns, the successes, are zero.

    Examples
    --------
    >>> y = torch.tensor([[0.0, 2.0]], dtype=torch.float64)
    >>> Zero().log_prob({}, y, torch.zeros(1, 1, 2, dtype=torch.float64)).tolist()
    [[0.0, -inf]]
    """

    discrete = True
    title = "zeros"

    def log_prob(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        possible = (y[..., : eta.shape[-2], :] == 0).all(-2)
        return torch.where(possible, 0.0, -torch.inf).to(eta).expand(eta.shape[:-2] + eta.shape[-1:])

    def mean(self, params: Params, eta: Tensor) -> Tensor:
        return torch.zeros_like(eta)

    def variance(self, params: Params, eta: Tensor) -> Tensor:
        return torch.zeros_like(eta)

    def cdf(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        return (y >= 0).to(eta) + torch.zeros_like(eta)

    def sample(self, params: Params, eta: Tensor, generator: torch.Generator) -> Tensor:
        return torch.zeros_like(eta)

    def start_share(self, y: Tensor, weight: Tensor) -> Tensor:
        """Return the excess of zeros over those of a Poisson law with the mean of the other rows, in rows of zeros."""
        total = y.sum(0)
        zero = (y == 0).all(0)
        zeros, others = float(weight[zero].sum()), weight * ~zero
        mean = float((total * others).sum()) / max(float(others.sum()), 1e-300)
        expected = float(others.sum()) / torch.expm1(torch.tensor(mean, dtype=y.dtype)).clamp_min(1e-300)
        excess = (1 - expected / max(zeros, 1e-300)).clamp(LEAST, MOST)
        return torch.where(zero, excess, 0.0)


@dataclass(frozen=True)
class UniformNoise(WithoutPredictor):
    """Uniform law on a box, for observations that belong to no expert (Banfield and Raftery 1993, Biometrics 49).

    ``f(y) = 1 / prod_j (high_j - low_j)`` where every ``low_j <= y_j <= high_j``, else zero. A row beyond an end by
    less than 1e-9 of the range lies inside: the ends are moved to other units and back.

    Attributes
    ----------
    low, high : tuple of float
        The ends of every output.

    Raises
    ------
    ValueError
        Unless there is a finite range from `low` to `high` for every output.

    Examples
    --------
    >>> y = torch.tensor([[1.0, 5.0]], dtype=torch.float64)
    >>> UniformNoise((0.0,), (4.0,)).log_prob({}, y, torch.zeros(1, 1, 2, dtype=torch.float64)).exp().tolist()
    [[0.25, 0.0]]
    """

    low: tuple[float, ...] = (0.0,)
    high: tuple[float, ...] = (1.0,)
    location_scale = True
    title = "noise"

    def __post_init__(self) -> None:
        pairs = list(zip(self.low, self.high, strict=False))
        if len(self.low) != len(self.high) or not pairs or not all(low < high for low, high in pairs):
            raise ValueError(
                f"UniformNoise from {self.low} to {self.high}: give every output a lower end below its upper one"
            )
        if not all(isfinite(end) and isfinite(high - low) for low, high in pairs for end in (low, high)):
            raise ValueError(f"UniformNoise from {self.low} to {self.high}: give finite ends, and a finite range")

    def log_prob(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        low, high = self._ends_of(eta)
        slack = SLACK * (high - low)
        inside = ((y >= low - slack) & (y <= high + slack)).all(-2)
        value = -torch.log(high - low).sum()
        return torch.where(inside, value, -torch.inf).expand(eta.shape[:-2] + eta.shape[-1:])

    def beyond(self, rows: float) -> UniformNoise:
        """Return the law with unbiased ends, where these ones are the smallest and the largest of so many rows.

        Every end lies ``(high - low) / (rows - 1)`` further out, at least two rows being counted: the smallest row then
        has the place ``1 / (rows + 1)``, as it has on average among draws of a uniform law (Lehmann and Casella 1998,
        Theory of Point Estimation, chapter 2).

        Examples
        --------
        >>> UniformNoise((0.0,), (4.0,)).beyond(5.0)
        UniformNoise(low=(-1.0,), high=(5.0,))
        """
        steps = [(high - low) / (max(rows, 2.0) - 1.0) for low, high in zip(self.low, self.high, strict=True)]
        low = tuple(end - step for end, step in zip(self.low, steps, strict=True))
        return UniformNoise(low, tuple(end + step for end, step in zip(self.high, steps, strict=True)))

    def _ends_of(self, eta: Tensor) -> tuple[Tensor, Tensor]:
        q, own = eta.shape[-2], torch.float64
        low, high = torch.tensor(self.low, dtype=own), torch.tensor(self.high, dtype=own)
        return low.expand(q)[:, None].to(eta), high.expand(q)[:, None].to(eta)

    def mean(self, params: Params, eta: Tensor) -> Tensor:
        low, high = self._ends_of(eta)
        return (0.5 * low + 0.5 * high).expand_as(eta)

    def variance(self, params: Params, eta: Tensor) -> Tensor:
        low, high = self._ends_of(eta)
        return ((high - low) ** 2 / 12.0).expand_as(eta)

    def cdf(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        low, high = self._ends_of(eta)
        return ((y - low) / (high - low)).clamp(0.0, 1.0) + torch.zeros_like(eta)

    def sample(self, params: Params, eta: Tensor, generator: torch.Generator) -> Tensor:
        low, high = self._ends_of(eta)
        return low + (high - low) * torch.rand(eta.shape, generator=generator, dtype=eta.dtype)

    def start_share(self, y: Tensor, weight: Tensor) -> Tensor:
        return torch.full_like(weight, FEW)

    def rescale_response(self, params: Params, frame: AffineTransform) -> tuple[Family, dict[str, Tensor]]:
        q = len(frame.scale)
        ends = (torch.tensor(end, dtype=torch.float64).expand(q) for end in (self.low, self.high))
        low, high = (tuple(((end - frame.shift) / frame.scale).tolist()) for end in ends)
        return UniformNoise(low, high), dict(params)
