"""Kernels of families over the rows of a block: log density and derivatives in a leaf's predictors."""

from __future__ import annotations

import math

from gatewise.core.families.counts import OVERFLOW
from gatewise.objective.compiled import codes, scalar
from gatewise.objective.compiled.kernels import helper, kernel

HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


@kernel(codes.GAUSSIAN)
def gaussian(p, w, n, theta, out, constants, table):
    """Write ``log N(y; eta, scale^2)`` for every leaf k, and its derivatives in eta and scale.

    Rows ``first + k`` and ``first + count + k``; ``second + k`` (eta eta), ``+ count`` (eta scale), ``+ 2 count``.
    """
    count, y, eta, to, first, second, at, stride, order = p[:9]
    for k in range(count):
        scale, e, value = theta[at + k * stride], eta + k, to + k
        if order == 0:
            size = math.log(scale) + HALF_LOG_TWO_PI
            for t in range(n):
                z = (w[y, t] - w[e, t]) / scale
                w[value, t] = -0.5 * z * z - size
        else:
            inverse = 1.0 / scale
            size = math.log(inverse) - HALF_LOG_TWO_PI
            fe, fs = first + k, first + count + k
            for t in range(n):
                z = (w[y, t] - w[e, t]) * inverse
                w[value, t] = size - 0.5 * z * z
                w[fe, t] = z * inverse
                w[fs, t] = (z * z - 1.0) * inverse
        if order > 1:
            inverse = 1.0 / scale
            v = inverse * inverse
            ee, es, ss = second + k, second + count + k, second + 2 * count + k
            for t in range(n):
                z = (w[y, t] - w[e, t]) * inverse
                w[ee, t] = -v
                w[es, t] = z * (-2.0 * v)
                w[ss, t] = v - 3.0 * v * (z * z)


@kernel(codes.POISSON)
def poisson(p, w, n, theta, out, constants, table):
    """Write ``y eta - e^eta - log y!`` for every leaf, and its derivatives in eta; `base` is ``-log y!``."""
    count, y, base, eta, to, first, second = p[:7]
    for k in range(count):
        e, value, f, s = eta + k, to + k, first + k, second + k
        for t in range(n):
            mean = scalar.exp(w[e, t])
            w[value, t] = w[y, t] * min(w[e, t], OVERFLOW) - mean + w[base, t]
            w[f, t] = w[y, t] - mean
            w[s, t] = -mean


@kernel(codes.BINOMIAL)
def binomial(p, w, n, theta, out, constants, table):
    """Write the binomial log density with logit eta for every leaf, and its derivatives in eta."""
    count, y, base, eta, to, first, second, place, order = p[:9]
    trials = constants[place]
    for k in range(count):
        e, value, f, s = eta + k, to + k, first + k, second + k
        for t in range(n):
            z = w[e, t]
            tail = scalar.softplus(-abs(z))
            w[value, t] = w[y, t] * (min(z, 0.0) - tail) + (trials - w[y, t]) * (min(-z, 0.0) - tail) + w[base, t]
        if order > 0:
            for t in range(n):
                p = scalar.sigmoid(w[e, t])
                w[f, t] = w[y, t] - trials * p
                w[s, t] = -trials * p * scalar.sigmoid(-w[e, t])


@kernel(codes.LOG_FACTORIAL)
def log_factorial(p, w, n, theta, out, constants, table):
    """Write ``-log y!``, or the log of ``trials over y`` when trials >= 0; whole numbers are looked up."""
    to, y, trials = p[1], p[2], constants[p[3]]
    for t in range(n):
        w[to, t] = -_log_factorial(w[y, t], table)
    if trials >= 0.0:
        ways = _log_factorial(trials, table)
        for t in range(n):
            w[to, t] = ways + w[to, t] - _log_factorial(trials - w[y, t], table)


@helper
def _log_factorial(count, table):
    if 0.0 <= count < len(table) and count == math.floor(count):
        return table[int(count)]
    return math.lgamma(count + 1.0)
