"""Families of times to an event, some of them censored: Weibull."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

from gatewise.core.families.base import Family, LeafDerivatives
from gatewise.core.families.positive import TINY, blocks_of_two, own_shape, positive_fault
from gatewise.core.families.special import finite_exp
from gatewise.core.parameters import Parameter
from gatewise.core.predictors import Params

MEAN, SPREAD = -0.5772156649015329, 1.2825498301618641  # of the logarithm of an exponential time
MOST = 1e4  # shape: the spread of the logarithm is then about 1e-4, as that of a Gamma response is at most
FAR = 300.0  # logarithm of a cumulative hazard that no time survives; its square is a number still
ZETA = 1.6449340668482264, 1.2020569031595943, 1.0823232337111382, 1.0369277551433699  # of Riemann, at 2, 3, 4, 5


@dataclass(frozen=True)
class Weibull(Family):
    """Weibull family of times to an event with log link, right censored: ``P(T > t) = exp(-(t / exp(eta))^shape)``.

    A response with q outputs has 2 q columns: the times of all outputs, then their events, 1 where the time is that of
    the event and 0 where it is only known to be later (censored). The predictor is the logarithm of the scale, outputs
    are independent given the leaf, and the mean is ``exp(eta) Gamma(1 + 1 / shape)`` (Kalbfleisch and Prentice 2002).
    The shape is at most 1e4: an expert there passes through its rows, and its fit is unsound.
    Samples are times without censoring; a row that is censored tells of no response, so an expert needs events.

    Examples
    --------
    >>> one, y = torch.ones(1, 1, dtype=torch.float64), torch.ones(2, 1, dtype=torch.float64)
    >>> round(float(Weibull().log_prob({"shape": one}, y, 0 * one[None])), 12)
    -1.0
    """

    mean_range = (0.0, inf)
    given = "time of censoring"

    def outputs(self, columns: int) -> int:
        return columns // 2

    def columns(self, outputs: int) -> int:
        return 2 * outputs

    def observed(self, y: Tensor) -> Tensor:
        """Return the times, those of censoring where there is no event."""
        return _halves(y)[0]

    def events(self, y: Tensor) -> Tensor:
        return _halves(y)[1]

    def responses(self, y: Tensor) -> Tensor:
        """Return the number of events of every row."""
        return _halves(y)[1].sum(-2)

    def parameters(self, q: int) -> dict[str, Parameter]:
        return own_shape(q, initial=2.0, most=MOST)

    def relative_spread(self, params: Params) -> Tensor:
        return SPREAD / params["shape"]

    def exact_ends(self) -> dict[str, bool]:
        return {"shape": True}

    def log_prob(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        shape, (time, event) = params["shape"][..., None], _halves(y)
        log_time = torch.log(time)
        z = shape * (log_time - eta)
        known = torch.where(event > 0, torch.log(shape) + z - log_time, 0.0)
        return torch.where(z > FAR, -inf, known - torch.exp(z.clamp(max=FAR))).sum(-2)

    def value_and_derivatives(self, params: Params, y: Tensor, eta: Tensor, order: int = 2) -> LeafDerivatives:
        shape, (time, event) = params["shape"][..., None], _halves(y)
        away = torch.log(time) - eta
        hazard = torch.exp((shape * away).clamp(max=FAR))  # cumulative; finite, for leaves of weight zero
        value = self.log_prob(params, y, eta)
        first = torch.cat([shape * (hazard - event), event / shape + away * (event - hazard)], -2)
        if order < 2:
            return LeafDerivatives(value, first, None)
        mixed = hazard - event + shape * away * hazard
        second = blocks_of_two(-(shape**2) * hazard, mixed, -event / shape**2 - away**2 * hazard)
        return LeafDerivatives(value, first, second)

    def mean(self, params: Params, eta: Tensor) -> Tensor:
        return finite_exp(eta + torch.lgamma(1 + 1 / params["shape"][..., None]))

    def variance(self, params: Params, eta: Tensor) -> Tensor:
        inverse = 1 / params["shape"][..., None]
        ratio = _log_square_ratio(inverse)
        size = 2 * (eta.clamp(-1e300, 1e300) + torch.lgamma(1 + inverse)) + ratio
        return torch.exp(size + torch.log(-torch.expm1(-ratio)))

    def cdf(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        hazard = torch.exp(params["shape"][..., None] * (torch.log(y.clamp_min(TINY)) - eta))
        return torch.where(y > 0, -torch.expm1(-hazard), 0.0)

    def cdf_ends(self, params: Params, y: Tensor, eta: Tensor) -> tuple[Tensor, Tensor]:
        """Return both at the time of an event; a censored time lies anywhere from there on."""
        time, event = _halves(y)
        below = self.cdf(params, time, eta)
        return below, torch.where(event > 0, below, 1.0)

    def sample(self, params: Params, eta: Tensor, generator: torch.Generator) -> Tensor:
        """Draw times and events, all of them 1, ``(*B, L, 2 q, n)``."""
        drawn = torch.empty_like(eta).exponential_(generator=generator).clamp_min(TINY)
        time = torch.exp(eta + torch.log(drawn) / params["shape"][..., None]).clamp_min(TINY)
        return torch.cat([time, torch.ones_like(time)], -2)

    def validate(self, y: Tensor) -> str | None:
        if y.shape[-2] % 2:
            return (
                f"an odd number of columns ({y.shape[-2]}): give times, then events (1: at this time, 0: later); "
                "without censoring add a column of ones"
            )
        time, event = _halves(y)
        if not bool(((event == 0) | (event == 1)).all()):
            wrong = float(event[(event != 0) & (event != 1)][0])
            return f"an event of {wrong:g}: give 1 where the event was at this time and 0 where it was later (censored)"
        return positive_fault(time, "Weibull", "time")

    def start(self, spread: Tensor) -> dict[str, Tensor]:
        return {"shape": (SPREAD / spread).clamp(0.1, 1e3)}

    def working_response(self, y: Tensor) -> Tensor:
        """Return the logarithms of the times, later by one where they are censored, less their mean at the scale."""
        time, event = _halves(y)
        return torch.log(time) + (1 - event) - MEAN


def _log_square_ratio(v: Tensor) -> Tensor:
    """Return ``log Gamma(1 + 2 v) - 2 log Gamma(1 + v)``, by its series where v is small."""
    series = v * v * (ZETA[0] - v * (2 * ZETA[1] - v * (3.5 * ZETA[2] - 6 * v * ZETA[3])))
    return torch.where(v < 1e-3, series, torch.lgamma(1 + 2 * v) - 2 * torch.lgamma(1 + v))


def _halves(y: Tensor) -> tuple[Tensor, Tensor]:
    half = y.shape[-2] // 2
    return y[..., :half, :], y[..., half:, :]
