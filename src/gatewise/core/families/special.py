"""Exponentials, logarithms and gamma functions that keep their digits, or stay finite, where arguments are large."""

from __future__ import annotations

from math import log

import torch
from torch import Tensor

LARGE = 100.0  # parameters from which asymptotic series are exact to the last digits


def finite_exp(eta: Tensor) -> Tensor:
    """Return ``exp(eta)``, at most the largest number of its type: a mean may overflow where its expert has no weight.

    Infinite means times weights of zero would be no number, nor would their derivatives.

    Examples
    --------
    >>> bool(finite_exp(torch.tensor([1e3], dtype=torch.float64)).isfinite())
    True
    """
    return torch.exp(eta.clamp(max=log(torch.finfo(eta.dtype).max) - 1e-5))


def trigamma(a: Tensor) -> Tensor:
    """Return the derivative of the digamma function of a positive number, to the last digits.

    Examples
    --------
    >>> round(float(6 * trigamma(torch.tensor(1.0, dtype=torch.float64)) / torch.pi**2), 14)
    1.0
    """
    v = 1 / (a + 15)
    square = v * v
    tail = square * (1 / 6 - square * (1 / 30 - square * (1 / 42 - square * (1 / 30 - square * 5 / 66))))
    steps = (a.unsqueeze(-1) + torch.arange(15, dtype=a.dtype)) ** -2.0
    return v * (1 + 0.5 * v + tail) + steps.sum(-1)


def log_less_digamma(a: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``log a - digamma(a)`` and its derivative ``1 / a - trigamma(a)``.

    Examples
    --------
    >>> slope, curvature = log_less_digamma(torch.tensor([1.0, 1e8], dtype=torch.float64))
    >>> [round(float(1e8 * slope[1]), 9), round(float(slope[0]), 9)]
    [0.500000001, 0.577215665]
    """
    large = a > LARGE
    near, far = torch.where(large, LARGE, a), torch.where(large, a, LARGE)
    v = 1 / far
    square = v * v
    series = v * (0.5 + v * (1 / 12 - square * (1 / 120 - square / 252)))
    slopes = -square * (0.5 + v * (1 / 6 - square * (1 / 30 - square / 42)))
    first = torch.where(large, series, torch.log(near) - torch.digamma(near))
    return first, torch.where(large, slopes, 1 / near - trigamma(near))


def log1p_less(v: Tensor) -> Tensor:
    """Return ``log(1 + v) - v``, by a series in ``w = v / (2 + v)`` where v is small.

    Examples
    --------
    >>> round(float(1e10 * log1p_less(torch.tensor(1e-5, dtype=torch.float64))), 6)
    -0.499997
    """
    small = v.abs() < 0.2
    near = torch.where(small, v, 0.1)
    w = near / (2 + near)
    square, total = w * w, torch.zeros_like(w)
    for power in reversed(range(1, 9)):
        total = 1 / (2 * power + 1) + square * total
    return torch.where(small, 2 * w * square * total - near * w, torch.log1p(v) - v)


def rising_slopes(y: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
    """Return both derivatives in a of ``log Gamma(y + a) - log Gamma(a) - y log a``, zero for y = 0 and y = 1.

    Examples
    --------
    >>> y, a = torch.tensor([2.0, 2.0], dtype=torch.float64), torch.tensor([1.0, 1e7], dtype=torch.float64)
    >>> [round(float(v), 9) for v in a**2 * rising_slopes(y, a)[0]]
    [-0.5, -0.9999999]
    """
    y, a = torch.broadcast_tensors(y, a)
    large = a > LARGE
    near, far = torch.where(large, LARGE, a), torch.where(large, a, LARGE)
    total, ratio = y + far, y / far
    part = 1 / (far * total)  # 1 / a - 1 / (a + y) = y part
    squares = y * (far + total) * part**2  # 1 / a^2 - 1 / (a + y)^2, and so on
    cubes = y * (far**2 + far * total + total**2) * part**3
    fourth, fifth = far**-4.0 - total**-4.0, far**-5.0 - total**-5.0
    sixth, seventh = far**-6.0 - total**-6.0, far**-7.0 - total**-7.0
    series = log1p_less(ratio) + 0.5 * y * part + squares / 12 - fourth / 120 + sixth / 252
    slopes = y * ratio * part - 0.5 * squares - cubes / 6 + fifth / 30 - seventh / 42
    first = torch.where(large, series, torch.digamma(y + near) - torch.digamma(near) - y / near)
    second = trigamma(y + near) - trigamma(near) + y / near**2
    return first, torch.where(large, slopes, second)
