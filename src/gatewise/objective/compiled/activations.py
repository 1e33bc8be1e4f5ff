"""Kernels of activation functions over the rows of a block."""

from __future__ import annotations

import math
from types import FunctionType

from gatewise.core.activations import CUBIC, SLOPE
from gatewise.objective.compiled import codes, scalar
from gatewise.objective.compiled.kernels import kernel
from gatewise.objective.compiled.scalar import exact


def _over_rows(p, w, n, theta, out, constants, table):
    """Write an activation of rows from `source` on, and its derivatives: what `function` gives for z and the radius."""
    count, to, first, second, source, place, order = p[:7]
    radius = constants[place]
    for k in range(count):
        for t in range(n):
            z, slope, curvature = function(w[source + k, t], radius)  # noqa: F821 - see below
            w[to + k, t] = z
            if order > 0:
                w[first + k, t] = slope
                w[second + k, t] = curvature


def _activation(name):
    """Return a decorator that makes a function, of z and the radius, the kernel of an activation.

    The kernel finds the function among its globals: the compiler's cache does not recognise a function in a closure.
    """

    def register(function):
        own = {"__name__": __name__, "function": exact(function)}
        code = codes.ACTIVATE + codes.FUNCTIONS.index(name)
        kernel(code)(FunctionType(_over_rows.__code__, own, function.__name__))
        return function

    return register


@_activation("identity")
def _identity(z, radius):
    return z, 1.0, 0.0


@_activation("square")
def _square(z, radius):
    return z * z, 2.0 * z, 2.0


@_activation("cube")
def _cube(z, radius):
    return z * z * z, 3.0 * z * z, 6.0 * z


@_activation("relu")
def _relu(z, radius):
    return 0.0 if z <= 0.0 else z, 1.0 if z > 0.0 else 0.0, 0.0


@_activation("rounded relu")
def _rounded_relu(z, radius):
    square = radius * radius
    root = math.sqrt(z * z + square)
    return 0.5 * (z + root), 0.5 * (1.0 + z / root), 0.5 * square / (root * root * root)


@_activation("sigmoid")
def _sigmoid(z, radius):
    p = scalar.sigmoid(z)
    slope = p * scalar.sigmoid(-z)
    return p, slope, slope * (1.0 - 2.0 * p)


@_activation("tanh")
def _tanh(z, radius):
    p = scalar.tanh(z)
    slope = 1.0 - p * p
    return p, slope, -2.0 * p * slope


@_activation("gelu")
def _gelu(z, radius):
    below, density = scalar.normal(z)
    return z * below, below + z * density, (2.0 - z * z) * density


@_activation("gelu-tanh")
def _gelu_tanh(z, radius):
    square = z * z
    p = scalar.tanh(SLOPE * (z + CUBIC * square * z))
    slope, rest = SLOPE * (1.0 + 3.0 * CUBIC * square), 1.0 - p * p
    curvature = rest * (SLOPE * (1.0 + 6.0 * CUBIC * square) - z * p * slope * slope)
    return 0.5 * z * (1.0 + p), 0.5 * (1.0 + p) + 0.5 * z * rest * slope, curvature


@_activation("silu")
def _silu(z, radius):
    p = scalar.sigmoid(z)
    slope = p * scalar.sigmoid(-z)
    return z * p, p + z * slope, 2.0 * slope + z * (slope * (1.0 - 2.0 * p))


@_activation("softplus")
def _softplus(z, radius):
    p = scalar.sigmoid(z)
    return scalar.softplus(z), p, p * scalar.sigmoid(-z)
