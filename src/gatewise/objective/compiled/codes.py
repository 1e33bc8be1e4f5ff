"""The instructions of a program by number, and what their arguments mean.

An instruction is a row of integers ``[code, count, ...]``; it does the same to `count` neighbouring rows of the work
array. Rows are given by the first one, `step` (0 or 1) says whether the next owner uses the next row. Parameters are
given by place and stride in a member's vector, constants by place.
"""

from __future__ import annotations

from gatewise.core.activations import ACTIVATIONS

WIDTH = 14

(
    AFFINE,  # to, features, columns, parameter, stride
    DISTANCE,  # to, slopes, inverse, rests, features, columns, parameter, stride, metric, radius, order
    DIVIDE,  # to, from, step, parameter, stride, factor
    SHIFT,  # to, from, step, parameter, stride
    SCALE,  # to, from, step, parameter or -1, stride, factor, constant
    LOG_SIGMOID,  # to, first, second, from, order
    MULTIPLY,  # to, a, step, b, step: a b
    MULTIPLY_ADD,  # to, a, step, b, step: added
    TWO_PRODUCTS,  # to, a, step, b, step, c, step, d, step: a b + c d
    ADD,  # to, a, step, b, step, sign: a + sign b
    NEGATE,  # to, a, step
    SOFTMAX,  # count nodes; branches, from, to, largest, log of the rest, scratch, infinite
    PATH,  # count nodes; branches, above or -1, logits, largest, log of the rest, to, added
    SUM_UP,  # count nodes; branches, from, to
    PULL,  # count nodes; branches, to, children, nodes, weights
    GAUSSIAN,  # y, predictor, to, first, second, parameter, stride, order
    POISSON,  # y, base, predictor, to, first, second
    BINOMIAL,  # y, base, predictor, to, first, second, trials, order
    DOTS,  # rows, other rows, their number, to, length of a line
    LOG_FACTORIAL,  # to, y, trials or -1
    SIGMOID,  # to, first, second, from, order
    ACTIVATE,  # to, first, second, from, radius, order; plus the place of the function below
) = range(22)

FUNCTIONS = (*ACTIVATIONS, "rounded relu")
