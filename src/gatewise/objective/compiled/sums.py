"""Sums over the rows of a block, and affine functions: small matrix products in registers."""

from __future__ import annotations

from gatewise.objective.compiled import codes
from gatewise.objective.compiled.kernels import SUMMING, kernel


@kernel(codes.DOTS, SUMMING)
def dots(p, w, n, theta, out, constants, table):
    """Add ``sum_n w[a + i, n] w[b + j, n]`` to ``out[at + i line + j]``, four rows by three at a time."""
    count_a, a, b, count_b, at, line = p[:6]
    whole_a, whole_b = count_a - count_a % 4, count_b - count_b % 3
    for i in range(a, a + whole_a, 4):
        to = at + (i - a) * line - b
        for j in range(b, b + whole_b, 3):
            s00 = s01 = s02 = s10 = s11 = s12 = s20 = s21 = s22 = s30 = s31 = s32 = 0.0
            for t in range(n):
                x0, x1, x2, x3 = w[i, t], w[i + 1, t], w[i + 2, t], w[i + 3, t]
                y0, y1, y2 = w[j, t], w[j + 1, t], w[j + 2, t]
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
            m = to + j
            out[m] += s00
            out[m + 1] += s01
            out[m + 2] += s02
            m += line
            out[m] += s10
            out[m + 1] += s11
            out[m + 2] += s12
            m += line
            out[m] += s20
            out[m + 1] += s21
            out[m + 2] += s22
            m += line
            out[m] += s30
            out[m + 1] += s31
            out[m + 2] += s32
        for j in range(b + whole_b, b + count_b):
            s0 = s1 = s2 = s3 = 0.0
            for t in range(n):
                y = w[j, t]
                s0 += w[i, t] * y
                s1 += w[i + 1, t] * y
                s2 += w[i + 2, t] * y
                s3 += w[i + 3, t] * y
            m = to + j
            out[m] += s0
            out[m + line] += s1
            out[m + 2 * line] += s2
            out[m + 3 * line] += s3
    for i in range(a + whole_a, a + count_a):
        to = at + (i - a) * line - b
        for j in range(b, b + whole_b, 3):
            s0 = s1 = s2 = 0.0
            for t in range(n):
                x = w[i, t]
                s0 += x * w[j, t]
                s1 += x * w[j + 1, t]
                s2 += x * w[j + 2, t]
            m = to + j
            out[m] += s0
            out[m + 1] += s1
            out[m + 2] += s2
        for j in range(b + whole_b, b + count_b):
            s = 0.0
            for t in range(n):
                s += w[i, t] * w[j, t]
            out[to + j] += s


@kernel(codes.AFFINE)
def affine(p, w, n, theta, out, constants, table):
    """Write ``sum_p theta[at + k stride + p] w[features + p]`` to row ``to + k`` for every k, three terms at a time."""
    count, to, features, columns, at, stride = p[:6]
    first = (columns - 1) % 3 + 1
    for k in range(count):
        r, c, f = to + k, at + k * stride, features
        c0 = theta[c]
        if first == 1:
            for t in range(n):
                w[r, t] = c0 * w[f, t]
        elif first == 2:
            c1 = theta[c + 1]
            for t in range(n):
                w[r, t] = c0 * w[f, t] + c1 * w[f + 1, t]
        else:
            c1, c2 = theta[c + 1], theta[c + 2]
            for t in range(n):
                w[r, t] = c0 * w[f, t] + c1 * w[f + 1, t] + c2 * w[f + 2, t]
        for j in range(first, columns, 3):
            c0, c1, c2 = theta[c + j], theta[c + j + 1], theta[c + j + 2]
            f = features + j
            for t in range(n):
                w[r, t] += c0 * w[f, t] + c1 * w[f + 1, t] + c2 * w[f + 2, t]
