"""How many rows tell a truth from a simpler mixture: BIC prefers it with a given probability."""

from __future__ import annotations

from dataclasses import replace
from math import ceil, log

import torch

from gatewise.core.mixture import Mixture, log_density
from gatewise.fit.maximum_likelihood import maximum_likelihood
from gatewise.fit.spec import FitSpec
from gatewise.infer.covariance.expected import Truth
from gatewise.infer.planning.value import Telling
from gatewise.objective.rows import Rows

CLEAR = 3.0  # standard errors from which a simulated divergence is no zero


def tell_apart(truth: Truth, rows: Rows, against: int | Mixture, rank: int, chance: float, seed: int) -> Telling:
    """Return the rows needed to tell the truth from the best simpler mixture."""
    if truth.variance is not None:
        raise ValueError("against compares densities, and least squares has none: fit by maximum likelihood")
    simpler = _simpler(truth.mixture, against)
    fit = maximum_likelihood(simpler, rows, FitSpec(gauge=truth.spec.gauge), seed=seed)
    block, df = rows.read(0, rows.n), rank - fit.df
    if df <= 0:
        raise ValueError(f"against has {fit.df} parameters, the truth {rank}: give a simpler mixture")
    parts = (block.x, block.gate_x, block.y)
    ratio = log_density(truth.mixture, truth.measure, *parts) - log_density(fit.mixture, fit.measure, *parts)
    divergence = float(ratio.mean()) + fit.df / (2 * rows.n)  # what fitting these rows gains for the simpler one
    variance = float(ratio.var())
    noise = (variance / rows.n) ** 0.5
    needed = rows_to_tell(divergence, variance, df, chance, rank + 1) if divergence > CLEAR * noise else None
    return Telling(simpler, divergence, noise, variance, df, chance, needed)


def _simpler(mixture: Mixture, against: int | Mixture) -> Mixture:
    """Return the mixture with fewer branches at its innermost level, or the one that was given."""
    if isinstance(against, Mixture):
        return against
    *outer, inner = mixture.branching
    words = f"against={against!r}: give a number of experts below {inner}" + " at the innermost level" * bool(outer)
    if isinstance(against, bool) or not isinstance(against, int) or not 1 <= against < inner:
        raise ValueError(f"{words}, or a simpler Mixture")
    if not mixture.exchangeable:
        raise ValueError(f"against={against}: the experts are of several kinds; give the Mixture that is meant")
    return replace(mixture, branching=(*outer, against))


def rows_to_tell(divergence: float, variance: float, df: int, chance: float, least: int) -> int:
    """Return from how many rows on ``2 log(L / L') > df log(n)`` has at least this probability.

    ``log(L / L')`` is taken as normal with mean ``n divergence + df / 2`` and variance ``n variance + df / 2``: the
    moments of the log-likelihood ratio far from the simpler mixture, and of its noncentral chi-square law near to it.

    Examples
    --------
    >>> rows_to_tell(0.05, 0.1, 4, 0.9, 8), rows_to_tell(0.005, 0.01, 4, 0.9, 8)
    (351, 4804)
    """
    quantile = float(torch.special.ndtri(torch.tensor(chance, dtype=torch.float64)))

    def enough(n: int) -> bool:
        ahead = n * divergence + 0.5 * df * (1 - log(n))
        return ahead >= quantile * (n * variance + 0.5 * df) ** 0.5

    low = max(least, ceil(df / (2 * divergence)))  # where log(n) gains on n no longer
    if enough(low):
        return low
    high = 2 * low
    while not enough(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
