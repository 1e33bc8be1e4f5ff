"""Kernels of activation functions over the rows of a block."""

from __future__ import annotations

import math

from gatewise.objective.compiled import scalar
from gatewise.objective.compiled.sums import kernel


@kernel
def activate(w, to, first, second, source, count, function, radius, order, n):
    """Write an activation of rows from `source` on, and its derivatives; `function` is a place in `FUNCTIONS`."""
    for k in range(count):
        u, value, f, s = source + k, to + k, first + k, second + k
        if function == 0:
            _identity(w, u, value, f, s, order, n)
        elif function == 1:
            _square(w, u, value, f, s, order, n)
        elif function == 2:
            _cube(w, u, value, f, s, order, n)
        elif function == 3:
            _relu(w, u, value, f, s, order, n)
        elif function == 4:
            _sigmoid(w, u, value, f, s, order, n)
        elif function == 5:
            _tanh(w, u, value, f, s, order, n)
        elif function == 6:
            _gelu(w, u, value, f, s, order, n)
        elif function == 7:
            _silu(w, u, value, f, s, order, n)
        elif function == 8:
            _softplus(w, u, value, f, s, order, n)
        else:
            _rounded_relu(w, u, value, f, s, order, n, radius)


@kernel
def _identity(w, u, value, f, s, order, n):
    for t in range(n):
        w[value, t] = w[u, t]
    if order > 0:
        for t in range(n):
            w[f, t] = 1.0
            w[s, t] = 0.0


@kernel
def _square(w, u, value, f, s, order, n):
    for t in range(n):
        w[value, t] = w[u, t] * w[u, t]
    if order > 0:
        for t in range(n):
            w[f, t] = 2.0 * w[u, t]
            w[s, t] = 2.0


@kernel
def _cube(w, u, value, f, s, order, n):
    for t in range(n):
        z = w[u, t]
        w[value, t] = z * z * z
    if order > 0:
        for t in range(n):
            z = w[u, t]
            w[f, t] = 3.0 * z * z
            w[s, t] = 6.0 * z


@kernel
def _relu(w, u, value, f, s, order, n):
    for t in range(n):
        z = w[u, t]
        w[value, t] = 0.0 if z <= 0.0 else z
    if order > 0:
        for t in range(n):
            w[f, t] = 1.0 if w[u, t] > 0.0 else 0.0
            w[s, t] = 0.0


@kernel
def _rounded_relu(w, u, value, f, s, order, n, radius):
    square = radius * radius
    for t in range(n):
        z = w[u, t]
        root = math.sqrt(z * z + square)
        w[value, t] = 0.5 * (z + root)
        if order > 0:
            w[f, t] = 0.5 * (1.0 + z / root)
            w[s, t] = 0.5 * square / (root * root * root)


@kernel
def _sigmoid(w, u, value, f, s, order, n):
    for t in range(n):
        p = scalar.sigmoid(w[u, t])
        w[value, t] = p
        if order > 0:
            slope = p * scalar.sigmoid(-w[u, t])
            w[f, t] = slope
            w[s, t] = slope * (1.0 - 2.0 * p)


@kernel
def _tanh(w, u, value, f, s, order, n):
    for t in range(n):
        p = scalar.tanh(w[u, t])
        w[value, t] = p
        if order > 0:
            slope = 1.0 - p * p
            w[f, t] = slope
            w[s, t] = -2.0 * p * slope


@kernel
def _gelu(w, u, value, f, s, order, n):
    for t in range(n):
        z = w[u, t]
        below, density = scalar.normal(z)
        w[value, t] = z * below
        if order > 0:
            w[f, t] = below + z * density
            w[s, t] = (2.0 - z * z) * density


@kernel
def _silu(w, u, value, f, s, order, n):
    for t in range(n):
        z = w[u, t]
        p = scalar.sigmoid(z)
        w[value, t] = z * p
        if order > 0:
            slope = p * scalar.sigmoid(-z)
            w[f, t] = p + z * slope
            w[s, t] = 2.0 * slope + z * (slope * (1.0 - 2.0 * p))


@kernel
def _softplus(w, u, value, f, s, order, n):
    for t in range(n):
        w[value, t] = scalar.softplus(w[u, t])
    if order > 0:
        for t in range(n):
            p = scalar.sigmoid(w[u, t])
            w[f, t] = p
            w[s, t] = p * scalar.sigmoid(-w[u, t])
