"""Kernels of scores and links over the rows of a block."""

from __future__ import annotations

import math

from gatewise.objective.compiled import codes, scalar
from gatewise.objective.compiled.kernels import kernel


@kernel(codes.DISTANCE)
def distance(p, w, n, theta, out, constants, table):
    """Write ``-||m (x - center)||`` to row ``to + k``, its slopes in the center, and one over the norm.

    Slopes are rows ``slopes + k d + i``. Second derivatives are ``slope_i slope_j / norm`` for i != j and minus the
    row ``rests + k d + i`` for i = j: formed without the difference of squares. All are zero where the norm is.
    """
    count, to, slopes, inverses, rests, features, d, at, stride, metric, radius, order = p[:12]
    square = constants[radius] * constants[radius]
    for k in range(count):
        centers, row, inverse = at + k * stride, to + k, inverses + k
        for t in range(n):
            w[row, t] = 0.0
        for i in range(d):
            c, m = theta[centers + i], constants[metric + i]
            for t in range(n):
                delta = (c - w[features + i, t]) * m
                w[row, t] += delta * delta
        for t in range(n):
            squared = w[row, t]
            norm = math.sqrt(squared + square if square > 0.0 else (squared if squared > 0.0 else 0.0))
            w[row, t] = -norm
            if order > 0:
                w[inverse, t] = 1.0 / (norm if norm > 0.0 else 1.0) if norm > 0.0 else 0.0
        if order > 0:
            for i in range(d):
                c, m, slope = theta[centers + i], constants[metric + i], slopes + k * d + i
                for t in range(n):
                    w[slope, t] = (w[features + i, t] - c) * m * w[inverse, t] * m
        if order > 1:
            for i in range(d):
                rest, m = rests + k * d + i, constants[metric + i]
                for t in range(n):
                    w[rest, t] = square
                for j in range(d):
                    c, other = theta[centers + j], constants[metric + j] if j != i else 0.0
                    for t in range(n):
                        delta = (c - w[features + j, t]) * other
                        w[rest, t] += delta * delta
                for t in range(n):
                    h = w[inverse, t]
                    w[rest, t] = w[rest, t] * h * h * h * (m * m)


@kernel(codes.LOG_SIGMOID)
def log_sigmoid(p, w, n, theta, out, constants, table):
    """Write ``log sigmoid`` of rows from `source` on, and its derivatives."""
    count, to, first, second, source, order = p[:6]
    for k in range(count):
        for t in range(n):
            w[to + k, t] = scalar.log_sigmoid(w[source + k, t])
        if order > 0:
            for t in range(n):
                down = scalar.sigmoid(-w[source + k, t])
                w[first + k, t] = down
                w[second + k, t] = -down * (1.0 - down)


@kernel(codes.SIGMOID)
def sigmoid_weight(p, w, n, theta, out, constants, table):
    """Write ``sigmoid`` of rows from `source` on, and the derivatives of its logarithm."""
    count, to, first, second, source, order = p[:6]
    for k in range(count):
        for t in range(n):
            z = w[source + k, t]
            small = scalar.exp(-abs(z))
            large = 1.0 / (1.0 + small)
            small *= large
            up, down = (large, small) if z > 0.0 else (small, large)
            w[to + k, t] = up
            if order > 0:
                w[first + k, t] = down
                w[second + k, t] = -down * up
