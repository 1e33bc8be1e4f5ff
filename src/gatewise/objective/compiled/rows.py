"""Elementwise kernels on rows of the work array; `step` 0 keeps an operand's row for all owners."""

from __future__ import annotations

import math

from gatewise.objective.compiled import scalar
from gatewise.objective.compiled.sums import kernel


@kernel
def multiply(w, to, count, a, step_a, b, step_b, n):
    """Write ``a b``."""
    for k in range(count):
        r, x, y = to + k, a + k * step_a, b + k * step_b
        for t in range(n):
            w[r, t] = w[x, t] * w[y, t]


@kernel
def multiply_add(w, to, count, a, step_a, b, step_b, n):
    """Add ``a b``."""
    for k in range(count):
        r, x, y = to + k, a + k * step_a, b + k * step_b
        for t in range(n):
            w[r, t] += w[x, t] * w[y, t]


@kernel
def two_products(w, to, count, a, step_a, b, step_b, c, step_c, d, step_d, n):
    """Write ``a b + c d``."""
    for k in range(count):
        r, x, y, u, v = to + k, a + k * step_a, b + k * step_b, c + k * step_c, d + k * step_d
        for t in range(n):
            w[r, t] = w[x, t] * w[y, t] + w[u, t] * w[v, t]


@kernel
def combine(w, to, count, a, step_a, b, step_b, sign, n):
    """Write ``a + sign b``."""
    for k in range(count):
        r, x, y = to + k, a + k * step_a, b + k * step_b
        for t in range(n):
            w[r, t] = w[x, t] + sign * w[y, t]


@kernel
def negate(w, to, count, a, step, n):
    """Write ``-a``."""
    for k in range(count):
        r, x = to + k, a + k * step
        for t in range(n):
            w[r, t] = -w[x, t]


@kernel
def linear(w, to, count, a, step, factor, stride, theta, at, constant, divide, n):
    """Write ``factor p a + constant`` or ``factor a / p + constant`` with p = theta[at + k stride]; p = 1 if at < 0."""
    for k in range(count):
        r, x = to + k, a + k * step
        p = theta[at + k * stride] if at >= 0 else 1.0
        if divide:
            for t in range(n):
                w[r, t] = factor * w[x, t] / p + constant
        else:
            p *= factor
            for t in range(n):
                w[r, t] = p * w[x, t] + constant


@kernel
def shift(w, to, count, a, step, theta, at, stride, n):
    """Write ``a + theta[at + k stride]``."""
    for k in range(count):
        r, x, p = to + k, a + k * step, theta[at + k * stride]
        for t in range(n):
            w[r, t] = w[x, t] + p


@kernel
def sum_up(w, nodes, branches, source, to, n):
    """Write the sum over the branches of every node."""
    for v in range(nodes):
        _sum(w, branches, source + v * branches, to + v, n)


@kernel
def _sum(w, count, source, to, n):
    for t in range(n):
        w[to, t] = w[source, t]
    for row in range(source + 1, source + count):
        for t in range(n):
            w[to, t] += w[row, t]


@kernel
def softmax(w, nodes, branches, source, to, tops, logs, scratch, infinite, n):
    """Write the softmax over the branches of every node; its log normaliser is row ``tops + v`` plus ``logs + v``.

    The largest value and the log of the rest stay apart: a large one would swallow the other. `infinite`: a node whose
    largest value is infinite has that value as its log normaliser, instead of NaN.
    """
    for v in range(nodes):
        top, log, first = tops + v, logs + v, source + v * branches
        if branches == 1:
            for t in range(n):
                w[top, t] = w[first, t]
        else:
            for t in range(n):
                w[top, t] = w[first, t] if w[first, t] > w[first + 1, t] else w[first + 1, t]
        for c in range(2, branches):
            for t in range(n):
                w[top, t] = w[first + c, t] if w[first + c, t] > w[top, t] else w[top, t]
        if infinite:
            for t in range(n):
                w[top, t] = 0.0 if abs(w[top, t]) == math.inf else w[top, t]
        for c in range(branches):
            row, share = first + c, to + v * branches + c
            for t in range(n):
                w[share, t] = scalar.exp_below(w[row, t] - w[top, t])
        _sum(w, branches, to + v * branches, scratch, n)
        for t in range(n):
            total = w[scratch, t]
            w[log, t] = scalar.log(total)
            w[scratch, t] = 1.0 / total
        multiply(w, to + v * branches, branches, to + v * branches, 1, scratch, 0, n)


@kernel
def path(w, nodes, branches, above, logits, tops, logs, to, added, n):
    """Write (or add) the log weight of every branch plus that of its node, row ``above + v`` if above >= 0."""
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


@kernel
def logit_gradients(w, nodes, branches, to, children, above, weights, n):
    """Write ``R_c - R_v pi_c`` for every branch c of every node v."""
    for v in range(nodes):
        for c in range(branches):
            k = v * branches + c
            for t in range(n):
                w[to + k, t] = w[children + k, t] - w[above + v, t] * w[weights + k, t]
