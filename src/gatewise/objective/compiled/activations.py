"""Kernels of activation functions over the rows of a block."""

from __future__ import annotations

import math

from gatewise.core.activations import CUBIC, SLOPE
from gatewise.objective.compiled import scalar
from gatewise.objective.compiled.scalar import exact
from gatewise.objective.compiled.sums import kernel


def _over_rows(function):
    """Return a kernel that writes a function's value, and its derivatives, of the n numbers in row u."""
    function = exact(function)

    @kernel
    def write(w, u, value, f, s, order, n, radius):
        for t in range(n):
            z, slope, curvature = function(w[u, t], radius)
            w[value, t] = z
            if order > 0:
                w[f, t] = slope
                w[s, t] = curvature

    return write


@_over_rows
def _identity(z, radius):
    return z, 1.0, 0.0


@_over_rows
def _square(z, radius):
    return z * z, 2.0 * z, 2.0


@_over_rows
def _cube(z, radius):
    return z * z * z, 3.0 * z * z, 6.0 * z


@_over_rows
def _relu(z, radius):
    return 0.0 if z <= 0.0 else z, 1.0 if z > 0.0 else 0.0, 0.0


@_over_rows
def _rounded_relu(z, radius):
    square = radius * radius
    root = math.sqrt(z * z + square)
    return 0.5 * (z + root), 0.5 * (1.0 + z / root), 0.5 * square / (root * root * root)


@_over_rows
def _sigmoid(z, radius):
    p = scalar.sigmoid(z)
    slope = p * scalar.sigmoid(-z)
    return p, slope, slope * (1.0 - 2.0 * p)


@_over_rows
def _tanh(z, radius):
    p = scalar.tanh(z)
    slope = 1.0 - p * p
    return p, slope, -2.0 * p * slope


@_over_rows
def _gelu(z, radius):
    below, density = scalar.normal(z)
    return z * below, below + z * density, (2.0 - z * z) * density


@_over_rows
def _gelu_tanh(z, radius):
    square = z * z
    p = scalar.tanh(SLOPE * (z + CUBIC * square * z))
    slope, rest = SLOPE * (1.0 + 3.0 * CUBIC * square), 1.0 - p * p
    curvature = rest * (SLOPE * (1.0 + 6.0 * CUBIC * square) - z * p * slope * slope)
    return 0.5 * z * (1.0 + p), 0.5 * (1.0 + p) + 0.5 * z * rest * slope, curvature


@_over_rows
def _silu(z, radius):
    p = scalar.sigmoid(z)
    slope = p * scalar.sigmoid(-z)
    return z * p, p + z * slope, 2.0 * slope + z * (slope * (1.0 - 2.0 * p))


@_over_rows
def _softplus(z, radius):
    p = scalar.sigmoid(z)
    return scalar.softplus(z), p, p * scalar.sigmoid(-z)


@kernel
def activate(w, to, first, second, source, count, function, radius, order, n):
    """Write an activation of rows from `source` on, and its derivatives; `function` is a place in `FUNCTIONS`."""
    for k in range(count):
        u, value, f, s = source + k, to + k, first + k, second + k
        if function == 0:
            _identity(w, u, value, f, s, order, n, radius)
        elif function == 1:
            _square(w, u, value, f, s, order, n, radius)
        elif function == 2:
            _cube(w, u, value, f, s, order, n, radius)
        elif function == 3:
            _relu(w, u, value, f, s, order, n, radius)
        elif function == 4:
            _sigmoid(w, u, value, f, s, order, n, radius)
        elif function == 5:
            _tanh(w, u, value, f, s, order, n, radius)
        elif function == 6:
            _gelu(w, u, value, f, s, order, n, radius)
        elif function == 7:
            _gelu_tanh(w, u, value, f, s, order, n, radius)
        elif function == 8:
            _silu(w, u, value, f, s, order, n, radius)
        elif function == 9:
            _softplus(w, u, value, f, s, order, n, radius)
        else:
            _rounded_relu(w, u, value, f, s, order, n, radius)
