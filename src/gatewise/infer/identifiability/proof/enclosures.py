"""Intervals: numbers with 256 binary digits behind the point, and a bound of their error that holds in any case."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import cache, partial, reduce
from typing import Any, NamedTuple

import numpy as np

BITS = 256
FARTHEST = 400  # terms of the series of erf
SHIFT, SERIES = 256, 16  # where Stirling's series is used, and its terms
ONE = 1 << BITS
Whole = Any  # an array of whole numbers


class Enclosure(NamedTuple):
    """Numbers within ``radius`` of ``middle``, one per point, in units of 2^-256."""

    middle: Whole
    radius: Whole


class Enclosures:
    """Interval arithmetic at some points."""

    def __init__(self, points: int) -> None:
        self.points = points

    def constant(self, value: Fraction) -> Enclosure:
        """Return a rational number."""
        scaled = value * ONE
        middle = scaled.numerator // scaled.denominator
        radius = 0 if scaled.denominator == 1 else 1
        return Enclosure(np.full(self.points, middle, object), np.full(self.points, radius, object))

    def exactly(self, values: list[Fraction]) -> Enclosure:
        """Return one rational number per point."""
        each = [Enclosures(1).constant(value) for value in values]
        return Enclosure(np.concatenate([b.middle for b in each]), np.concatenate([b.radius for b in each]))

    def add(self, a: Enclosure, b: Enclosure) -> Enclosure:
        """Return ``a + b``."""
        return Enclosure(a.middle + b.middle, a.radius + b.radius)

    def mul(self, a: Enclosure, b: Enclosure) -> Enclosure:
        """Return ``a b``."""
        middle = (a.middle * b.middle) >> BITS
        error = abs(a.middle) * b.radius + abs(b.middle) * a.radius + a.radius * b.radius
        return Enclosure(middle, (error >> BITS) + 2)

    def value(self, kind: str, a: Enclosure) -> Enclosure:
        """Return a function. Raises ZeroDivisionError or ValueError where an interval holds a singular point."""
        if kind in TOGETHER:
            return TOGETHER[kind](self, a)
        if kind in GAMMAS:
            return _gamma(self, kind, a)
        one = EACH[kind]
        pairs = [one(m, r) for m, r in zip(a.middle.tolist(), a.radius.tolist(), strict=True)]
        return Enclosure(np.array([m for m, _ in pairs], object), np.array([r for _, r in pairs], object))


def _inverse(middle: int, radius: int) -> tuple[int, int]:
    low = abs(middle) - radius
    if low <= 0:
        raise ZeroDivisionError("an interval that is divided by holds zero")
    found = (ONE * ONE) // middle
    return found, (radius * ONE * ONE) // (low * abs(middle)) + 2


@cache
def _library() -> Any:
    """Return the interval arithmetic of mpmath, with more digits than are kept, apart from the one that users see."""
    from mpmath.ctx_iv import MPIntervalContext

    context = MPIntervalContext()
    context.prec = BITS + 128
    return context


def _by_library(name: str, middle: int, radius: int) -> tuple[int, int]:
    """Return a function by the interval arithmetic of mpmath."""
    from mpmath.libmp import from_man_exp

    iv = _library()
    ends = (from_man_exp(middle - radius, -BITS), from_man_exp(middle + radius, -BITS))
    found = getattr(iv, name)(iv.make_mpf(ends))
    a, b = (_scaled(end) for end in (found.a, found.b))
    return (a + b) // 2, (b - a) // 2 + 2


def _scaled(end: Any) -> int:
    """Return a number of mpmath in units of 2^-256, rounded down."""
    sign, mantissa, exponent, _ = end._mpi_[0]
    if not mantissa and exponent:
        raise ValueError("a function is not finite on an interval")
    whole = -int(mantissa) if sign else int(mantissa)
    shift = exponent + BITS
    return whole << shift if shift >= 0 else whole >> -shift


def _root(middle: int, radius: int) -> tuple[int, int]:
    if middle - radius <= 0:
        raise ValueError("a root is taken where it is not smooth")
    return _by_library("sqrt", middle, radius)


def _step(middle: int, radius: int) -> tuple[int, int]:
    if abs(middle) <= radius:
        raise ValueError("a point lies on a kink")
    return (ONE if middle > 0 else 0), 0


def _sigmoid(middle: int, radius: int) -> tuple[int, int]:
    low, spread = _by_library("exp", -middle, radius)
    return _inverse(low + ONE, spread)


def _logsigmoid(middle: int, radius: int) -> tuple[int, int]:
    return _by_library("log", *_sigmoid(middle, radius))


def _tanh(middle: int, radius: int) -> tuple[int, int]:
    value, spread = _sigmoid(2 * middle, 2 * radius)
    return 2 * value - ONE, 2 * spread


@cache
def _constant(name: str) -> tuple[int, int]:
    """Return ``2 / sqrt(pi)``, or the root of one half."""
    if name == "root_half":
        return _by_library("sqrt", ONE // 2, 0)
    iv = _library()
    found = 2 / iv.sqrt(iv.pi)
    a, b = _scaled(found.a), _scaled(found.b)
    return (a + b) // 2, (b - a) // 2 + 2


def _repeated(name: str, points: int) -> Enclosure:
    middle, radius = _constant(name)
    return Enclosure(np.full(points, middle, object), np.full(points, radius, object))


def _erf(at: Enclosures, z: Enclosure) -> Enclosure:
    """Return erf by its series ``2 / sqrt(pi) sum_n (-1)^n z^(2n+1) / (n! (2n+1))``, whose terms alternate.

    From the n-th term on, n the largest z^2, terms fall in size, so the next one bounds what is left out.
    """
    square = at.mul(z, z)
    largest = max((square.middle + square.radius).tolist())
    power, total = z, z
    for n in range(1, FARTHEST):
        power = at.mul(at.mul(power, square), at.constant(Fraction(-1, n)))
        total = at.add(total, at.mul(power, at.constant(Fraction(1, 2 * n + 1))))
        if n * ONE > largest and bool((abs(power.middle) <= power.radius).all()):
            break
    else:
        raise ValueError("erf is evaluated too far out")
    rest = abs(power.middle) + power.radius
    return at.mul(Enclosure(total.middle, total.radius + rest), _repeated("two_over_root_pi", at.points))


def _ndtr(at: Enclosures, z: Enclosure) -> Enclosure:
    value = _erf(at, at.mul(z, _repeated("root_half", at.points)))
    return at.mul(at.add(value, at.constant(Fraction(1))), at.constant(Fraction(1, 2)))


def _bell(at: Enclosures, z: Enclosure) -> Enclosure:
    """Return ``exp(-z^2 / 2) / sqrt(2 pi)``; the factor is half of the two constants' product."""
    value = at.value("exp", at.mul(at.mul(z, z), at.constant(Fraction(-1, 2))))
    factor = at.mul(_repeated("two_over_root_pi", at.points), _repeated("root_half", at.points))
    return at.mul(at.mul(value, factor), at.constant(Fraction(1, 2)))


def _gamma(at: Enclosures, kind: str, z: Enclosure) -> Enclosure:
    """Return log Gamma or one of its first two derivatives at positive z, by Stirling's series at ``w = z + 256``.

    For positive w what is left out is smaller than the first term that is left out (DLMF 5.11(ii)).
    """
    from mpmath import bernfrac

    if bool((z.middle <= z.radius).any()):
        raise ValueError("the gamma function is evaluated at a number that is not positive")
    far = at.add(z, at.constant(Fraction(SHIFT)))
    inverse = at.value("inverse", far)
    square = at.mul(inverse, inverse)
    power = {"lgamma": inverse, "digamma": square, "trigamma": at.mul(square, inverse)}[kind]
    total = at.constant(Fraction(0))
    for k in range(1, SERIES + 1):
        size = Fraction(*map(int, bernfrac(2 * k)))
        factor = {"lgamma": size / (2 * k * (2 * k - 1)), "digamma": -size / (2 * k), "trigamma": size}[kind]
        last = at.mul(power, at.constant(factor))
        total, power = at.add(total, last), at.mul(power, square)
    total = Enclosure(total.middle, total.radius + abs(last.middle) + last.radius)  # terms still fall in size here
    return at.add(total, _gamma_head(at, kind, z, far, inverse))


def _gamma_head(at: Enclosures, kind: str, z: Enclosure, far: Enclosure, inverse: Enclosure) -> Enclosure:
    """Return what stands before the series, and the steps from w back to z."""
    steps = [at.add(z, at.constant(Fraction(k))) for k in range(SHIFT)]
    half, minus = at.constant(Fraction(1, 2)), at.constant(Fraction(-1))
    if kind == "lgamma":
        root = at.value("log", at.value("bell", at.constant(Fraction(0))))  # -log(2 pi) / 2
        product = reduce(at.mul, steps)
        head = at.mul(at.add(far, at.mul(minus, half)), at.value("log", far))
        rest = at.add(at.add(far, root), at.value("log", product))
    elif kind == "digamma":
        head = at.add(at.value("log", far), at.mul(minus, at.mul(half, inverse)))
        rest = reduce(at.add, [at.value("inverse", one) for one in steps])
    else:
        head = at.add(inverse, at.mul(half, at.mul(inverse, inverse)))
        inverses = [at.value("inverse", one) for one in steps]
        return at.add(head, reduce(at.add, [at.mul(one, one) for one in inverses]))
    return at.add(head, at.mul(minus, rest))


GAMMAS = ("lgamma", "digamma", "trigamma")
EACH: dict[str, Callable[[int, int], tuple[int, int]]] = {
    "inverse": _inverse,
    "sqrt": _root,
    "step": _step,
    "sigmoid": _sigmoid,
    "logsigmoid": _logsigmoid,
    "tanh": _tanh,
    **{name: partial(_by_library, name) for name in ("exp", "log", "sin", "cos")},
}
TOGETHER: dict[str, Callable[[Enclosures, Enclosure], Enclosure]] = {
    "erf": _erf,
    "ndtr": _ndtr,
    "bell": _bell,
    "two_over_root_pi": lambda at, _: _repeated("two_over_root_pi", at.points),
}
