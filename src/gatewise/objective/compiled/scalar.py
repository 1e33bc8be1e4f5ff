"""Functions of one number in a form that compilers vectorise: no branches, no tables, no calls.

They keep the rounding of every operation (no reassociation), so that splitting an argument into parts stays exact.
Errors are at most 3 units in the last place, those of `normal` 2e-15 of the value; 0, infinities, NaN and denormals
give what the C library gives.
"""

from __future__ import annotations

import math

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

ROUND = 6755399441055744.0  # 1.5 2^52: adding it rounds to a whole number, which stands in the low bits
ROUND_BITS = 0x4338000000000000
LOG2_E = 1.4426950408889634
LN2_HIGH, LN2_LOW = 0.6931471805598903, 5.497923018708371e-14  # the first has 11 trailing zero bits
HALF_ROOT = 0x3FE6A09E667F3BCD  # bits of sqrt(1/2)
FRACTION = 0x000FFFFFFFFFFFFF
LEAST_LOG = -708.0
LEAST_NORMAL = 2.2250738585072014e-308
TWO_54 = 18014398509481984.0
DENSITY = 0.3989422804014327  # of the standard normal law at zero

exact = njit(
    fastmath={"contract"}, error_model="numpy", forceinline=True, no_cpython_wrapper=True, no_cfunc_wrapper=True
)


@intrinsic
def bits(typingctx, x):
    """Return the bits of a float64 as an int64."""

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.IntType(64))

    return types.int64(types.float64), generate


@intrinsic
def number(typingctx, x):
    """Return the float64 with the bits of an int64."""

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.DoubleType())

    return types.float64(types.int64), generate


@exact
def _tail(r):
    """Return ``(exp(r) - 1 - r) / r^2`` for ``|r| <= log(2) / 2``: the polynomial through its Chebyshev points."""
    p = 2.510038549551032e-08
    p = p * r + 2.7620088445409746e-07
    p = p * r + 2.7557268459997064e-06
    p = p * r + 2.4801521295954376e-05
    p = p * r + 0.00019841269863053618
    p = p * r + 0.0013888888917213717
    p = p * r + 0.008333333333330062
    p = p * r + 0.04166666666662413
    p = p * r + 0.16666666666666669
    return p * r + 0.5


@exact
def exp(x):
    """Return ``e^x``: ``x = k log 2 + r``, a polynomial in r, and 2^k in two factors, which may leave the range."""
    x = 710.0 if x > 710.0 else x
    x = -746.0 if x < -746.0 else x
    shifted = x * LOG2_E + ROUND
    k = shifted - ROUND
    r = (x - k * LN2_HIGH) - k * LN2_LOW
    power = bits(shifted) - ROUND_BITS
    half = power >> 1
    return (1.0 + (r + r * r * _tail(r))) * number((half + 1023) << 52) * number((power - half + 1023) << 52)


@exact
def exp_below(x):
    """Return ``e^x`` for x <= 0, zero where it would be a denormal."""
    shifted = x * LOG2_E + ROUND
    k = shifted - ROUND
    r = (x - k * LN2_HIGH) - k * LN2_LOW
    scale = number((bits(shifted) + 1023) << 52)
    out = (1.0 + (r + r * r * _tail(r))) * scale
    return 0.0 if x < LEAST_LOG else out


@exact
def expm1_below(x):
    """Return ``e^x - 1`` for x <= 0."""
    x = -100.0 if x < -100.0 else x
    shifted = x * LOG2_E + ROUND
    k = shifted - ROUND
    r = (x - k * LN2_HIGH) - k * LN2_LOW
    scale = number((bits(shifted) + 1023) << 52)
    return scale * (r + r * r * _tail(r)) + (scale - 1.0)


@exact
def log(x):
    """Return the natural logarithm: ``x = 2^k m`` with m about 1, and the series of ``2 atanh((m - 1) / (m + 1))``."""
    small = x < LEAST_NORMAL
    word = bits(x * TWO_54 if small else x)
    over = word - HALF_ROOT
    m = number((over & FRACTION) + HALF_ROOT)
    k = number((over >> 52) + ROUND_BITS) - ROUND - (54.0 if small else 0.0)
    f = m - 1.0
    s = f / (2.0 + f)
    z = s * s
    p = 0.14616576421644387  # through the Chebyshev points of the series 2/3 + 2/5 z + 2/7 z^2 + ...
    p = p * z + 0.15331711346672997
    p = p * z + 0.18182889433757515
    p = p * z + 0.22222211130560726
    p = p * z + 0.28571428626001427
    p = p * z + 0.3999999999989945
    p = p * z + 0.666666666666667
    square = 0.5 * f * f  # log(1 + f) = f - square + s (square + z p)
    out = k * LN2_HIGH + (f - (square - (s * (square + z * p) + k * LN2_LOW)))
    out = x if x == math.inf else out
    out = -math.inf if x == 0.0 else out
    return out if x >= 0.0 else math.nan


@exact
def log1p_small(u):
    """Return ``log(1 + u)`` for u >= 0, the rounding of 1 + u put back."""
    w = 1.0 + u
    out = log(w) + (u - (w - 1.0)) / w
    return u if w == math.inf else out


@exact
def sigmoid(z):
    """Return ``1 / (1 + e^-z)``."""
    return 1.0 / (1.0 + exp(-z))


@exact
def log_sigmoid(z):
    """Return ``log sigmoid(z)`` without overflow."""
    return (z if z < 0.0 else 0.0) - log1p_small(exp(-abs(z)))


@exact
def softplus(z):
    """Return ``log(1 + e^z)``, z itself above 20 as the reference does."""
    return z if z > 20.0 else log1p_small(exp(z))


@exact
def tanh(z):
    """Return the hyperbolic tangent."""
    e = expm1_below(-2.0 * abs(z))
    out = -e / (2.0 + e)
    return -out if z < 0.0 else out


@exact
def _mills(s):
    """Return ``e^(a^2/2) Phi(-a)``, ``s = (a - 5) / (a + 5)``, 0 <= a <= 39: a polynomial through Chebyshev points."""
    p = -2.3268023885828378e-10
    p = p * s - 5.71149353021903e-10
    p = p * s + 1.8275640179465206e-09
    p = p * s + 5.693048494157474e-09
    p = p * s - 1.0996025308962263e-08
    p = p * s - 3.9171833889817e-08
    p = p * s + 7.710670867344227e-08
    p = p * s + 2.4334840048040954e-07
    p = p * s - 6.750775653713419e-07
    p = p * s - 1.2700759093822703e-06
    p = p * s + 6.64442065958085e-06
    p = p * s + 9.61305968607504e-07
    p = p * s - 6.042748263130746e-05
    p = p * s + 0.00013427684339324653
    p = p * s + 0.00021955073759614478
    p = p * s - 0.002378844356688347
    p = p * s + 0.008991370550592294
    p = p * s - 0.02341390048769248
    p = p * s + 0.04785535228416992
    p = p * s - 0.08088387726412741
    p = p * s + 0.11606881188600329
    p = p * s - 0.14345755526401197
    return p * s + 0.07691930497500629


@exact
def normal(z):
    """Return distribution function and density of the standard normal law, within 2e-15 of each, tails included."""
    a = abs(z)
    a = 39.0 if a > 39.0 else a
    e = exp_below(-0.5 * a * a)
    tail = e * _mills((a - 5.0) / (a + 5.0))
    return 1.0 - tail if z > 0.0 else tail, e * DENSITY
