"""Elementwise kernels on rows of the work array; a step of 0 keeps an operand's row for all owners."""

from __future__ import annotations

import math

from gatewise.objective.compiled import codes, scalar
from gatewise.objective.compiled.kernels import kernel


@kernel(codes.MULTIPLY)
def multiply(p, w, n, theta, out, constants, table):
    """Write ``a b``."""
    count, to, a, step_a, b, step_b = p[:6]
    for k in range(count):
        r, x, y = to + k, a + k * step_a, b + k * step_b
        for t in range(n):
            w[r, t] = w[x, t] * w[y, t]


@kernel(codes.MULTIPLY_ADD)
def multiply_add(p, w, n, theta, out, constants, table):
    """Add ``a b``."""
    count, to, a, step_a, b, step_b = p[:6]
    for k in range(count):
        r, x, y = to + k, a + k * step_a, b + k * step_b
        for t in range(n):
            w[r, t] += w[x, t] * w[y, t]


@kernel(codes.TWO_PRODUCTS)
def two_products(p, w, n, theta, out, constants, table):
    """Write ``a b + c d``."""
    count, to, a, step_a, b, step_b, c, step_c, d, step_d = p[:10]
    for k in range(count):
        r, x, y, u, v = to + k, a + k * step_a, b + k * step_b, c + k * step_c, d + k * step_d
        for t in range(n):
            w[r, t] = w[x, t] * w[y, t] + w[u, t] * w[v, t]


@kernel(codes.ADD)
def add(p, w, n, theta, out, constants, table):
    """Write ``a + sign b``."""
    count, to, a, step_a, b, step_b, sign = p[:7]
    for k in range(count):
        r, x, y = to + k, a + k * step_a, b + k * step_b
        for t in range(n):
            w[r, t] = w[x, t] + sign * w[y, t]


@kernel(codes.NEGATE)
def negate(p, w, n, theta, out, constants, table):
    """Write ``-a``."""
    count, to, a, step = p[:4]
    for k in range(count):
        r, x = to + k, a + k * step
        for t in range(n):
            w[r, t] = -w[x, t]


@kernel(codes.SCALE)
def scale(p, w, n, theta, out, constants, table):
    """Write ``factor p a + constant`` with p = theta[at + k stride]; p = 1 if at < 0."""
    count, to, a, step, at, stride, factor, constant = p[:8]
    f, c = constants[factor], constants[constant]
    for k in range(count):
        r, x = to + k, a + k * step
        slope = f * theta[at + k * stride] if at >= 0 else f
        for t in range(n):
            w[r, t] = slope * w[x, t] + c


@kernel(codes.DIVIDE)
def divide(p, w, n, theta, out, constants, table):
    """Write ``factor a / p`` with p = theta[at + k stride]."""
    count, to, a, step, at, stride, factor = p[:7]
    f = constants[factor]
    for k in range(count):
        r, x, divisor = to + k, a + k * step, theta[at + k * stride]
        for t in range(n):
            w[r, t] = f * w[x, t] / divisor


@kernel(codes.SHIFT)
def shift(p, w, n, theta, out, constants, table):
    """Write ``a + theta[at + k stride]``."""
    count, to, a, step, at, stride = p[:6]
    for k in range(count):
        r, x, c = to + k, a + k * step, theta[at + k * stride]
        for t in range(n):
            w[r, t] = w[x, t] + c


@kernel(codes.SUM_UP)
def sum_up(p, w, n, theta, out, constants, table):
    """Write the sum over the branches of every node."""
    nodes, branches, source, to = p[:4]
    for v in range(nodes):
        first = source + v * branches
        for t in range(n):
            w[to + v, t] = w[first, t]
        for c in range(1, branches):
            for t in range(n):
                w[to + v, t] += w[first + c, t]


@kernel(codes.SOFTMAX)
def softmax(p, w, n, theta, out, constants, table):
    """Write the softmax over the branches of every node; its log normaliser is row ``tops + v`` plus ``logs + v``.

    The largest value and the log of the rest stay apart: a large one would swallow the other. `infinite`: a node whose
    largest value is infinite has that value as its log normaliser, instead of NaN.
    """
    nodes, branches, source, to, tops, logs, scratch, infinite = p[:8]
    for v in range(nodes):
        top, log, first, shares = tops + v, logs + v, source + v * branches, to + v * branches
        for t in range(n):
            w[top, t] = w[first, t]
            w[scratch, t] = 0.0
        for c in range(1, branches):
            for t in range(n):
                w[top, t] = w[first + c, t] if w[first + c, t] > w[top, t] else w[top, t]
        if infinite:
            for t in range(n):
                w[top, t] = 0.0 if abs(w[top, t]) == math.inf else w[top, t]
        for c in range(branches):
            for t in range(n):
                e = scalar.exp_below(w[first + c, t] - w[top, t])
                w[shares + c, t] = e
                w[scratch, t] += e
        for t in range(n):
            total = w[scratch, t]
            w[log, t] = scalar.log(total)
            w[scratch, t] = 1.0 / total
        for c in range(branches):
            for t in range(n):
                w[shares + c, t] *= w[scratch, t]


@kernel(codes.PATH)
def path(p, w, n, theta, out, constants, table):
    """Write (or add) the log weight of every branch plus that of its node, row ``above + v`` if above >= 0."""
    nodes, branches, above, logits, tops, logs, to, added = p[:8]
    for v in range(nodes):
        top, log = tops + v, logs + v
        for c in range(branches):
            r, x = to + v * branches + c, logits + v * branches + c
            if added:
                for t in range(n):
                    w[r, t] += (w[x, t] - w[top, t]) - w[log, t]
            else:
                for t in range(n):
                    w[r, t] = (w[x, t] - w[top, t]) - w[log, t]
            if above >= 0:
                for t in range(n):
                    w[r, t] += w[above + v, t]


@kernel(codes.PULL)
def logit_gradients(p, w, n, theta, out, constants, table):
    """Write ``R_c - R_v pi_c`` for every branch c of every node v."""
    nodes, branches, to, children, above, weights = p[:6]
    for v in range(nodes):
        for c in range(branches):
            k = v * branches + c
            for t in range(n):
                w[to + k, t] = w[children + k, t] - w[above + v, t] * w[weights + k, t]
