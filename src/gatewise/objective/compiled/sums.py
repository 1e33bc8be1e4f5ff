"""Sums over the rows of a block, and affine functions: small matrix products in registers."""

from __future__ import annotations

from numba import njit

# Parts of the machine, which alone is called from outside and cached. Terms may be summed in any order, but only in
# `summing`: elsewhere small numbers would be lost in large ones that cancel. NaN and infinities stay what they are.
PART = {"error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
summing = njit(fastmath={"reassoc", "contract", "nsz"}, **PART)
kernel = njit(fastmath={"contract", "nsz"}, **PART)


@kernel
def dots(w, a, count_a, b, count_b, n, out, at, line):
    """Add ``sum_n w[a + i, n] w[b + j, n]`` to ``out[at + i line + j]``, four rows by three at a time."""
    whole_a, whole_b = count_a - count_a % 4, count_b - count_b % 3
    for i in range(0, whole_a, 4):
        for j in range(0, whole_b, 3):
            _four_by_three(w, a + i, b + j, n, out, at + i * line + j, line)
        for j in range(whole_b, count_b):
            _four_by_one(w, a + i, b + j, n, out, at + i * line + j, line)
    for i in range(whole_a, count_a):
        for j in range(0, whole_b, 3):
            _one_by_three(w, a + i, b + j, n, out, at + i * line + j)
        for j in range(whole_b, count_b):
            _one_by_one(w, a + i, b + j, n, out, at + i * line + j)


@summing
def _four_by_three(w, a, b, n, out, at, line):
    s00 = s01 = s02 = s10 = s11 = s12 = s20 = s21 = s22 = s30 = s31 = s32 = 0.0
    for t in range(n):
        x0, x1, x2, x3 = w[a, t], w[a + 1, t], w[a + 2, t], w[a + 3, t]
        y0, y1, y2 = w[b, t], w[b + 1, t], w[b + 2, t]
        s00 += x0 * y0
        s01 += x0 * y1
        s02 += x0 * y2
        s10 += x1 * y0
        s11 += x1 * y1
        s12 += x1 * y2
        s20 += x2 * y0
        s21 += x2 * y1
        s22 += x2 * y2
        s30 += x3 * y0
        s31 += x3 * y1
        s32 += x3 * y2
    _add_three(out, at, s00, s01, s02)
    _add_three(out, at + line, s10, s11, s12)
    _add_three(out, at + 2 * line, s20, s21, s22)
    _add_three(out, at + 3 * line, s30, s31, s32)


@kernel
def _add_three(out, at, s0, s1, s2):
    out[at] += s0
    out[at + 1] += s1
    out[at + 2] += s2


@summing
def _four_by_one(w, a, b, n, out, at, line):
    s0 = s1 = s2 = s3 = 0.0
    for t in range(n):
        y = w[b, t]
        s0 += w[a, t] * y
        s1 += w[a + 1, t] * y
        s2 += w[a + 2, t] * y
        s3 += w[a + 3, t] * y
    out[at] += s0
    out[at + line] += s1
    out[at + 2 * line] += s2
    out[at + 3 * line] += s3


@summing
def _one_by_three(w, a, b, n, out, at):
    s0 = s1 = s2 = 0.0
    for t in range(n):
        x = w[a, t]
        s0 += x * w[b, t]
        s1 += x * w[b + 1, t]
        s2 += x * w[b + 2, t]
    _add_three(out, at, s0, s1, s2)


@summing
def _one_by_one(w, a, b, n, out, at):
    s = 0.0
    for t in range(n):
        s += w[a, t] * w[b, t]
    out[at] += s


@kernel
def affine(w, to, count, features, columns, theta, at, stride, n):
    """Write ``sum_p theta[at + k stride + p] w[features + p]`` to row ``to + k`` for every k, three terms at a time."""
    first = (columns - 1) % 3 + 1
    for k in range(count):
        p = at + k * stride
        _begin(w, to + k, features, first, theta, p, n)
        for j in range(first, columns, 3):
            c0, c1, c2 = theta[p + j], theta[p + j + 1], theta[p + j + 2]
            f = features + j
            for t in range(n):
                w[to + k, t] += c0 * w[f, t] + c1 * w[f + 1, t] + c2 * w[f + 2, t]


@kernel
def _begin(w, to, f, count, theta, p, n):
    c0 = theta[p]
    if count == 1:
        for t in range(n):
            w[to, t] = c0 * w[f, t]
    elif count == 2:
        c1 = theta[p + 1]
        for t in range(n):
            w[to, t] = c0 * w[f, t] + c1 * w[f + 1, t]
    else:
        c1, c2 = theta[p + 1], theta[p + 2]
        for t in range(n):
            w[to, t] = c0 * w[f, t] + c1 * w[f + 1, t] + c2 * w[f + 2, t]


@kernel
def load(x, member, d, start, n, center, at, products, w, to):
    """Copy rows ``start .. start + n`` of x ``(S, d, n)`` less a center, and form the products of the features.

    From row `to` on stand ``v_i v_j`` for i <= j < d column by column, if `products`, then v, then ones: so products
    of the first features, of all features with one, and of all features are neighbours. The ones stand there already.
    """
    triangle = d * (d + 1) // 2 if products else 0
    first = to + triangle
    for i in range(d):
        c = center[at + i] if at >= 0 else 0.0
        for t in range(n):
            w[first + i, t] = x[member, i, start + t] - c
    if products:
        k = to
        for j in range(d):
            for i in range(j + 1):
                for t in range(n):
                    w[k, t] = w[first + i, t] * w[first + j, t]
                k += 1
