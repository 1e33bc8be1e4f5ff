"""The order rbar of the polynomial system behind rates, and powers that depend on it."""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

KNOWN_ORDERS = {1: 1, 2: 4, 3: 6}
LEAST_ORDER = 7  # rbar(m) >= 7 for m >= 4 is what is published; `order_proofs` proves rbar(m) = 2 m


def rbar(m: int, default: float | None = None) -> float:
    """Return the order of the polynomial system of a cell with m fitted atoms.

    The smallest r such that ``sum_i sum_{n1 + 2 n2 = l} c_i^2 a_i^n1 b_i^n2 / (n1! n2!) = 0`` for l = 1..r, with m
    terms, has no real solution with all ``c_i != 0`` and some ``a_i != 0`` (Ho and Nguyen 2016). The order of the
    system of 2305.03288 (rtilde) is the same number for m >= 2.

    Parameters
    ----------
    m : int
        Fitted atoms of one true atom.
    default : float, optional
        Value for m >= 4, where only ``rbar(m) >= 7`` is published; `order_proofs` proves ``rbar(m) = 2 m``.

    Raises
    ------
    ValueError
        For m < 1, for m >= 4 without a value, and for a value below 7.

    Examples
    --------
    >>> [rbar(m) for m in (1, 2, 3)]
    [1, 4, 6]
    """
    if m < 1:
        raise ValueError(f"rbar({m}): a cell with an order has at least one fitted atom")
    if m in KNOWN_ORDERS:
        return KNOWN_ORDERS[m]
    if default is None:
        raise ValueError(
            f"rbar({m}) is not published: the literature has 1, 4, 6 for m = 1, 2, 3 and rbar(m) >= 7 beyond. Give a "
            f"value: rbar={2 * m}, which theory/order_proofs.py proves, or rbar=7 for the lower bound"
        )
    if default < LEAST_ORDER:
        raise ValueError(f"rbar({m}) = {default:g} contradicts rbar(m) >= 7 for m >= 4: give 7 or more")
    return default


class Power(NamedTuple):
    """The power with which a parameter enters a loss: ``constant + order * rbar(m)`` in a cell with m fitted atoms.

    Attributes
    ----------
    constant, order : Fraction

    Examples
    --------
    >>> Power(order=Fraction(1, 2)).at(2), Power(order=Fraction(1, 2)).rate(2)
    (Fraction(2, 1), Fraction(-1, 4))
    """

    constant: Fraction = Fraction(0)
    order: Fraction = Fraction(0)

    def at(self, m: int, default: float | None = None) -> Fraction:
        """Return the power in a cell with m fitted atoms; `default` is rbar for m >= 4."""
        return self.constant + (self.order * Fraction(rbar(m, default)) if self.order else 0)

    def rate(self, m: int, default: float | None = None) -> Fraction:
        """Return s such that the parameter converges at ``n^s`` when the loss converges at ``n^(-1/2)``."""
        return -1 / (2 * self.at(m, default))

    def text(self) -> str:
        """Return the rate as text, with r for rbar(m).

        Examples
        --------
        >>> Power(constant=Fraction(2)).text(), Power(order=Fraction(1, 2)).text(), R.text()
        ('n^-1/4', 'n^-1/r', 'n^-1/(2r)')
        """
        if not self.order:
            return f"n^{self.rate(1)}"
        twice = 2 * self.order
        return "n^-1/r" if twice == 1 else f"n^-1/({twice}r)"


ONE, TWO = Power(Fraction(1)), Power(Fraction(2))
R, HALF_R = Power(order=Fraction(1)), Power(order=Fraction(1, 2))
