"""The regularised incomplete beta function, from which several distribution functions follow.

The size of the parameters does not matter: a continued fraction where one of them is small, elsewhere quadrature over
the peak of the density, each with a fixed number of steps. The factor in front has no terms that cancel (Loader 2000,
"Fast and accurate computation of binomial probabilities").
"""

from __future__ import annotations

from functools import cache
from math import log, pi

import torch
from torch import Tensor

SMALL = 1000.0  # least parameter up to which the continued fraction converges in `STEPS`
STEPS = 160
LEAST = 0.5  # of the parameters for the continued fraction
NODES = 64  # of Gauss and Legendre over half of the peak
REACH = 13.0  # standard deviations beyond which nothing is left of the peak


def incomplete_beta(a: Tensor, b: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return ``I_x(a, b)``, the distribution function at x of the beta law, for ``y = 1 - x`` given beside x.

    Parameters
    ----------
    a, b : Tensor
        Positive.
    x, y : Tensor
        From 0 to 1. Both are given so that neither loses digits next to 0 or 1.

    Examples
    --------
    >>> one = torch.ones(1, dtype=torch.float64)
    >>> round(float(incomplete_beta(2 * one, 3 * one, 0.4 * one, 0.6 * one)), 12)
    0.5248
    """
    a, b, x, y = torch.broadcast_tensors(a, b, x, y)
    low = torch.minimum(a, b) < LEAST
    if not bool(low.any()):
        return _from_half(a, b, x, y)
    first = a <= b  # I_x(a, b) is I_x(a + 1, b) + w / a, and I_x(a, b + 1) - w / b, with w = x^a y^b / B(a, b)
    inside = (x > 0) & (y > 0)
    safe = (torch.where(inside, part, 0.5) for part in (x, y))
    step = torch.where(inside & low, torch.exp(log_beta_weight(a, b, *safe)) / torch.minimum(a, b), 0.0)
    raised = torch.where(low & first, a + 1, a), torch.where(low & ~first, b + 1, b)
    return (_from_half(*raised, x, y) + torch.where(first, step, -step)).clamp(0.0, 1.0)


def _from_half(a: Tensor, b: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return ``I_x(a, b)`` where the smaller parameter is 1 / 2 or more, or the other one is small too."""
    swap = x * b > y * a  # above the mean the other tail is the smaller one
    a, b, x, y = torch.where(swap, b, a), torch.where(swap, a, b), torch.where(swap, y, x), torch.where(swap, x, y)
    inside = (x > 0) & (y > 0)
    x, y = torch.where(inside, x, 0.5), torch.where(inside, y, 0.5)
    small = torch.minimum(a, b) <= SMALL
    tail = torch.where(small, _fraction(*(torch.where(small, part, 0.5) for part in (a, b, x, y))), 0.0)
    if not bool(small.all()):
        tail[~small] = _quadrature(*(part[~small] for part in (a, b, x, y)))
    tail = torch.where(inside, tail.clamp(max=1.0), 0.0)
    return torch.where(swap, 1.0 - tail, tail)


def _fraction(a: Tensor, b: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return ``I_x(a, b)`` below its mean by a continued fraction without terms that cancel (TOMS 708, `bfrac`)."""
    above = 1.0 + torch.where(x <= y, a - (a + b) * x, (a + b) * y - b)  # 1 + (a + b) (mean - x)
    over, under = (torch.zeros_like(x), torch.ones_like(x)), (torch.ones_like(x), above / (1.0 + 1.0 / a))
    value = over[1] / under[1]
    for n in range(1, STEPS):
        t, rest, size = n / a, n * (b - n) * x, a + 2 * n - 1.0
        p = 1.0 + (n - 1) / a
        alpha = p * (p + b / a) * (a / size) ** 2 * rest * x
        beta = n + rest / size + (1.0 + t) / (1.0 + 1.0 / a + 2 * t) * (above + n * (y + 1.0))
        tops, bottoms = (alpha * part[0] + beta * part[1] for part in (over, under))
        before, value = value, tops / bottoms
        over, under = (over[1] / bottoms, value), (under[1] / bottoms, torch.ones_like(x))
        if n % 8 == 0 and bool(((value - before).abs() <= 1e-14 * value.abs()).all()):
            break
    return torch.exp(log_beta_weight(a, b, x, y)) * value


def _quadrature(a: Tensor, b: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return ``I_x(a, b)`` below its mean, both parameters large: the density summed over the peak's lower half.

    In ``u = log(t / (1 - t))``, where the density is ``t^a (1 - t)^b / B(a, b)`` and close to normal.
    """
    width = REACH * torch.sqrt(1.0 / a + 1.0 / b)  # of u, up to which the density at x still falls
    end = torch.log(x) - torch.log(y)
    away = torch.log(a) - torch.log(b) - end  # of x from the mode
    low = -(width * width / (away + torch.sqrt(away * away + width * width)))  # its square falls by REACH^2 / 2
    points, weights = _nodes()
    u = end.unsqueeze(-1) + low.unsqueeze(-1) * 0.5 * (1.0 + points)
    value = torch.exp(log_beta_weight(a[..., None], b[..., None], torch.sigmoid(u), torch.sigmoid(-u)))
    return -0.5 * low * (value * weights).sum(-1)


@cache
def _nodes() -> tuple[Tensor, Tensor]:
    """Return the points and weights of Gauss and Legendre on (-1, 1) (Golub and Welsch 1969)."""
    k = torch.arange(1, NODES, dtype=torch.float64)
    side = torch.diag(k / torch.sqrt(4 * k * k - 1), 1)
    points, vectors = torch.linalg.eigh(side + side.T)
    return points, 2 * vectors[0] ** 2


def log_beta_weight(a: Tensor, b: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return ``log(x^a y^b / B(a, b))``."""
    n = a + b
    rest = stirling(n) - stirling(a) - stirling(b)
    return rest - _deviance(a, n * x) - _deviance(b, n * y) + 0.5 * (torch.log(a) + torch.log(b / n) - log(2 * pi))


def stirling(a: Tensor) -> Tensor:
    """Return ``log Gamma(a) - (a - 1/2) log a + a - log(2 pi) / 2``, the error of Stirling's formula.

    Its series from 15 on, below by ``s(a) = s(a + 1) + (a + 1/2) log(1 + 1 / a) - 1``, smooth to the last digits.
    """
    large = a > 15.0
    near, far = torch.where(large, 1.0, a), torch.where(large, a, a + 15.0)
    square = 1.0 / (far * far)
    series = (1 / 12 - (1 / 360 - (1 / 1260 - (1 / 1680 - square / 1188) * square) * square) * square) / far
    steps = (near.unsqueeze(-1) + torch.arange(15, dtype=near.dtype)).movedim(-1, 0)  # up to where the series holds
    return torch.where(large, 0.0, ((steps + 0.5) * torch.log1p(1.0 / steps) - 1.0).sum(0)) + series


def _deviance(a: Tensor, mean: Tensor) -> Tensor:
    """Return ``a log(a / mean) + mean - a``, by its series where a is close to the mean."""
    v = (a - mean) / (a + mean)
    close = v.abs() < 0.1
    small = torch.where(close, v, 0.0)
    square, total = small * small, torch.zeros_like(small)
    for power in reversed(range(1, 9)):
        total = square * (total + 1.0 / (2 * power + 1))
    series = (a - mean) * small + 2 * a * small * total
    return torch.where(close, series, a * (torch.log(a) - torch.log(mean)) + mean - a)


def half_gamma_ratio(a: Tensor) -> Tensor:
    """Return ``log Gamma(a + 1/2) - log Gamma(a)``, by its asymptotic series where the difference cancels."""
    large = a > 100
    safe = torch.where(large, 1.0, a)
    far = torch.where(large, a, 100.0)
    series = 0.5 * torch.log(far) - 1 / (8 * far) + 1 / (192 * far**3) - 1 / (640 * far**5)
    return torch.where(large, series, torch.lgamma(safe + 0.5) - torch.lgamma(safe))
