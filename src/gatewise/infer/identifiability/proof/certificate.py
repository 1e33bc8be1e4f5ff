"""Certificates that derivatives are independent: a matrix of their values at rational points is not singular."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import ceil, log10
from typing import NamedTuple

import numpy as np

from gatewise.infer.identifiability.proof.enclosures import BITS, Enclosure, Whole
from gatewise.infer.identifiability.proof.nodes import NotProvableError

DIGITS = 220  # binary digits behind the point of an approximate inverse


class Independence(NamedTuple):
    """Why the derivatives of one proof are linearly independent.

    Attributes
    ----------
    rank : int
        How many there are.
    exact : bool
        True: they are rational functions, and a determinant of their values at whole numbers is not zero modulo
        2^61 - 1. False: their values at rational points, in intervals, make a matrix M with an approximate inverse B
        such that ``||1 - B M|| < 1`` in the norm of largest row sums.
    distance : float
        An upper bound of ``||1 - B M||``; 0 for exact ones.
    at : tuple of (str, Fraction)
        The parameters of the point, by name; empty for exact ones, which take numbers of nineteen digits.
    """

    rank: int
    exact: bool
    distance: float = 0.0
    at: tuple[tuple[str, Fraction], ...] = ()

    @property
    def kind(self) -> str:
        """Whether it is by exact numbers or by intervals."""
        return "exact numbers" if self.exact else "intervals"

    @property
    def words(self) -> str:
        """The certificate as a sentence."""
        if not self.rank:
            return "no derivative is left"
        if self.exact:
            return (
                f"a determinant of the {self.rank} derivatives at {self.rank} points, whole numbers all, is not zero "
                "modulo 2^61 - 1, so it is not zero"
            )
        at = ", ".join(f"{name} = {value}" for name, value in self.at)
        return (
            f"their values M at {self.rank} rational points and {at}, as intervals of {BITS} binary digits, have an "
            f"approximate inverse B with ||1 - B M|| < 1e{ceil(log10(self.distance))}, so M is not singular"
        )


def by_intervals(columns: Sequence[Enclosure], at: Mapping[str, Fraction]) -> Independence:
    """Return a certificate from the values of r derivatives at r points.

    Raises
    ------
    NotProvableError
        If the matrix may be singular.

    Examples
    --------
    >>> one, two = (np.array([k * 2**BITS, 3 * 2**BITS], object) for k in (1, 2))
    >>> none = np.array([0, 0], object)
    >>> by_intervals([Enclosure(one, none), Enclosure(two, none)], {}).distance < 1e-15
    True
    """
    middle = np.array([one.middle for one in columns], object).T
    radius = np.array([one.radius for one in columns], object).T
    powers = [max(int(v).bit_length() for v in abs(column).tolist()) for column in middle.T]
    guess = _approximate_inverse(middle, powers)
    rows = guess @ middle
    errors = abs(guess) @ radius
    worst = Fraction(0)
    for i in range(len(powers)):
        total = Fraction(0)
        for j, power in enumerate(powers):
            unit = 2 ** (DIGITS + power)
            total += Fraction(abs(int(rows[i, j]) - (unit if i == j else 0)) + int(errors[i, j]), unit)
        worst = max(worst, total)
    if worst >= 1:
        raise NotProvableError("the values of the derivatives are too nearly dependent for a certificate")
    return Independence(len(powers), False, max(float(worst), 1e-300), tuple(at.items()))


def _approximate_inverse(middle: Whole, powers: Sequence[int]) -> Whole:
    """Return an inverse of ``middle / 2^powers`` by elimination in whole numbers, in units of 2^-DIGITS."""
    size = len(powers)
    unit = 1 << DIGITS
    left = np.array([[(int(v) << DIGITS) >> p for v, p in zip(row, powers, strict=True)] for row in middle], object)
    table = np.concatenate([left, unit * np.eye(size, dtype=int).astype(object)], 1)
    for k in range(size):
        best = k + max(range(size - k), key=lambda i: abs(int(table[k + i, k])))
        if not table[best, k]:
            raise NotProvableError("the values of the derivatives make a matrix that looks singular")
        table[[k, best]] = table[[best, k]]
        table[k] = (table[k] << DIGITS) // int(table[k, k])
        others = table[:, k].copy()
        others[k] = 0
        table -= (others[:, None] * table[k]) >> DIGITS
    return table[:, size:]
