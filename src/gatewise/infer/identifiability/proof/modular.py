"""Derivatives and linear algebra modulo a prime: a quick and exact guess of which relations there are."""

from __future__ import annotations

import random
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

PRIME = 2**61 - 1

Row = Any  # an array of whole numbers below the prime


class Modular:
    """Numbers modulo 2^61 - 1, one per point; functions are drawn at random for every argument.

    So different functions are independent, and the relations found are those that hold whatever the functions are,
    but for their derivatives. They are proved later, and so is that there are no others.
    """

    def __init__(self, points: int, seed: int = 0) -> None:
        self.points, self.seed = points, seed

    def constant(self, value: Fraction) -> Row:
        """Return a rational number."""
        residue = value.numerator * pow(value.denominator, -1, PRIME) % PRIME
        return np.full(self.points, residue, object)

    def draw(self, name: str, *, vary: bool) -> Row:
        """Draw a variable: one value, or one per point."""
        own = random.Random(f"{self.seed} {name}")
        count = self.points if vary else 1
        found = np.array([own.randrange(2, PRIME) for _ in range(count)], object)
        return found if vary else np.repeat(found, self.points)

    def add(self, a: Row, b: Row) -> Row:
        """Return ``a + b``."""
        return (a + b) % PRIME

    def mul(self, a: Row, b: Row) -> Row:
        """Return ``a b``."""
        return (a * b) % PRIME

    def value(self, kind: str, a: Row) -> Row:
        """Return a function, with the algebra that it fulfils."""
        one = {"inverse": _inverse, "sqrt": _root}.get(kind)
        return np.array([self._drawn(kind, n) if one is None else one(n) for n in a.tolist()], object)

    def has_roots(self, a: Row) -> Any:
        """Return where a number has a square root, ``(points,)`` of bool."""
        return np.array([pow(n, (PRIME - 1) // 2, PRIME) in (0, 1) for n in a.tolist()])

    def _drawn(self, kind: str, a: int) -> int:
        if kind in ("sin", "cos"):
            t = random.Random(f"{self.seed} turn {a}").randrange(2, PRIME)
            scale = _inverse(1 + t * t)
            return (2 * t if kind == "sin" else 1 - t * t) * scale % PRIME
        own = random.Random(f"{self.seed} {kind} {a}")
        return own.randrange(2) if kind == "step" else own.randrange(2, PRIME)


def _inverse(a: int) -> int:
    return pow(a, -1, PRIME)


def _root(a: int) -> int:
    """Return a square root; the prime is 3 modulo 4. Raises ValueError where there is none."""
    found = pow(a, (PRIME + 1) // 4, PRIME)
    if found * found % PRIME != a % PRIME:
        raise ValueError(f"{a} is no square modulo {PRIME}")
    return found


def null_space(matrix: Sequence[Row], order: Sequence[int]) -> dict[int, dict[int, int]]:
    """Return the relations between columns, ``sum_c found[c] column_c = 0``, by the column that each is solved for.

    Parameters
    ----------
    matrix : columns, each with one entry per point
    order : sequence of int
        The columns that relations are solved for first stand first. A later one is solved for only where no earlier
        one takes part, so a relation among late columns alone stays one.

    Examples
    --------
    >>> one, two = np.array([1, 2, 3], object), np.array([2, 4, 6], object)
    >>> null_space([one, two], [1, 0])
    {1: {1: 1, 0: 2305843009213693949}}
    """
    rows = np.array(list(matrix), object).T.copy()  # points by columns
    pivots: list[int] = []
    for column in reversed(order):  # late columns are the independent ones
        at = len(pivots)
        live: Any = np.flatnonzero(rows[at:, column]) if at < len(rows) else []
        if not len(live):
            continue
        best = at + int(live[0])
        rows[[at, best]] = rows[[best, at]]
        rows[at] = rows[at] * _inverse(int(rows[at, column])) % PRIME
        factors = rows[:, column].copy()
        factors[at] = 0
        touched = np.flatnonzero(factors)
        rows[touched] = (rows[touched] - factors[touched, None] * rows[at]) % PRIME
        pivots.append(column)
    free = [column for column in order if column not in pivots]
    return {
        column: {column: 1} | {p: int(-rows[k, column] % PRIME) for k, p in enumerate(pivots) if rows[k, column]}
        for column in free
    }
