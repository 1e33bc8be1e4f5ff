"""Proofs of the order rbar(m) = 2 m of the polynomial systems behind rates, in one level and in two.

Take m fitted atoms of one true atom with weights ``c_i^2 > 0`` and displacements ``a_i`` of the intercept and ``b_i``
of half the variance. The equations of the system are the coefficients of ``t^l`` in

    M(t) = sum_i c_i^2 exp(a_i t + b_i t^2),   l = 1, ..., r.

**At order 2m there is no solution but a = b = 0.** Choose s so large that all ``s + 2 b_i > 0``. ``exp(s t^2 / 2)
M(t)`` is the moment generating function of the mixture of the Gaussians ``N(a_i, s + 2 b_i)``, so the equations 1 to
r say that this mixture and ``N(0, s)`` of the same mass have equal moments 0 to r. Let f be the difference of the two
densities: a sum of at most m + 1 Gaussian densities with factors, and suppose that it does not vanish.

1. If f is orthogonal to all polynomials of degree 2m, it changes its sign at 2m + 1 places at least: otherwise the
   polynomial that changes sign where f does, of degree 2m or less, would have a product with f of one sign.
2. A sum of k Gaussian densities with factors, not identically zero, changes its sign at most 2 (k - 1) times. For k =
   1 it never does. For more, note that sign changes persist when means, variances and factors move a little: so let
   the variances differ, let g, the sum of all terms but the one of the smallest variance v, each with its variance
   less v, have simple zeros only, and none at the mean of that term (almost all values are of this kind). f is the
   convolution with ``N(0, v - e)`` of g_e, in which variances are less by v - e only; this does not raise the number
   of sign changes (step 3). For small e, g_e is g, which has its bound by induction, and a narrow peak where g has
   one sign and is nearly constant, which adds none or two. (Kalai, Moitra and Valiant 2010, Proposition 7.)
3. Convolution: ``int exp(-(x - y)^2 / (2 v)) g(y) dy`` has the sign of ``F(x) = int exp(x y / v) h(y) dy`` with h of
   the signs of g. If g changes its sign n times, first at y1, then ``exp(-x y1 / v) F(x)`` has a derivative of the
   same form with n - 1 sign changes, since ``(y - y1) h(y)`` has these. By induction and Rolle's theorem, F has n
   zeros at most.

So f has at most 2m sign changes and at least 2m + 1: it vanishes, and, Gaussian densities being linearly independent,
all ``a_i = b_i = 0``.

**At order 2m - 1 there is one.** Let ``b_i = -1/2``, ``a_i`` the m nodes of Gauss-Hermite quadrature and ``c_i^2``
its weights. Quadrature is exact up to degree 2m - 1, so the nodes have the moments of N(0, 1), ``sum c_i^2 exp(a_i t)
= exp(t^2 / 2) + O(t^(2m))``, and ``M(t) = 1 + O(t^(2m))``.

**Gates.** A softmax gate adds displacements of its slopes, and so does each level of two; the slopes of the experts
add theirs. The equations with no power of x are those above, and the others vanish when these displacements are zero.
So a solution without them is one of the larger system, and a solution of the larger system has ``a = b = 0``: the
order is the same. Atoms of one group share the displacement of the outer gate, which only adds conditions that zero
fulfils. What the program verifies are these statements about the equations, as identities between polynomials, and
the solution, in exact numbers; steps 1 to 3 are the argument.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

from gatewise.markup import lines, page, verbatim

if TYPE_CHECKING:
    from sympy import Expr

GATES: dict[str, int] = {"laplace": 0, "softmax": 1, "ll": 0, "sl": 1, "ls": 1, "ss": 2}  # levels that are softmax
Key = tuple[int, int]


class OrderProof(NamedTuple):
    """A proof of the order of one system.

    Attributes
    ----------
    gate : str
        ``laplace`` or ``softmax``, or two letters for two levels, outer first.
    m : int
        Fitted atoms of one true atom.
    order : int
    equations : int
        Number of equations up to this order.
    checks : tuple of (str, bool)
        The statements that were verified, and whether they hold.
    solution : tuple of str
        Weights and displacements that solve the system of one order less.
    """

    gate: str
    m: int
    order: int
    equations: int
    checks: tuple[tuple[str, bool], ...]
    solution: tuple[str, ...]

    @property
    def proved(self) -> bool:
        """Whether all statements hold."""
        return all(holds for _, holds in self.checks)

    def text(self) -> str:
        """Return the statements as plain text."""
        head = f"{self.gate}, {self.m} fitted atoms: the order of the system is {self.order}"
        marks = [f"  {'verified' if holds else 'FAILS'}: {what}" for what, holds in self.checks]
        return "\n".join([head, *marks, f"  a solution of order {self.order - 1}: {'; '.join(self.solution)}"])

    def __repr__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        head, *rest = self.text().split("\n")
        return page(head, verbatim(rest), lines([]))


class Unknowns(NamedTuple):
    """The unknowns of a system, one symbol per fitted atom; `gates` has a tuple per softmax level."""

    c: tuple[Expr, ...]
    gates: tuple[tuple[Expr, ...], ...]
    slope: tuple[Expr, ...]
    a: tuple[Expr, ...]
    b: tuple[Expr, ...]


def unknowns(m: int, softmax_levels: int = 0) -> Unknowns:
    """Return symbols for the unknowns: weights, and displacements of gates, slopes, intercepts and half variances."""
    import sympy

    def symbols(letter: str) -> tuple[Expr, ...]:
        return tuple(sympy.symbols(f"{letter}1:{m + 1}", real=True))

    return Unknowns(
        symbols("c"), tuple(symbols(f"g{k}_") for k in range(softmax_levels)), symbols("s"), symbols("a"), symbols("b")
    )


def order_system(m: int, order: int, softmax_levels: int = 0) -> dict[Key, Expr]:
    """Return the polynomials of a system, which a solution puts to zero.

    The polynomial of ``(l1, l2)`` is the coefficient of ``x^l1 d^l2 N`` in the Taylor expansion of the m fitted atoms:

    ``sum_i c_i^2 sum prod_k g_ki^alpha_k s_i^beta a_i^n1 b_i^n2 / (alpha! beta! n1! n2!)`` over all exponents with
    ``sum alpha + beta = l1`` and ``n1 + 2 n2 = l2 - beta``, for ``1 <= l1 + l2 <= order`` (2305.03288; one feature,
    more of them only add equations with ``l1 != 0``).

    Parameters
    ----------
    m : int
    order : int
    softmax_levels : {0, 1, 2}
        0 for distance gates, whose displacements make no power of x; 2 for two levels of softmax gates.

    Examples
    --------
    >>> for key, equation in order_system(1, 2).items():
    ...     print(key, equation)
    (0, 1) a1*c1**2
    (0, 2) a1**2*c1**2/2 + b1*c1**2
    (1, 1) c1**2*s1
    """
    import sympy

    own = unknowns(m, softmax_levels)
    found: dict[Key, Expr] = {}
    for l1, l2 in product(range(order + 1), repeat=2):
        if not 1 <= l1 + l2 <= order:
            continue
        terms = [
            own.c[i] ** 2 * _monomial([*(g[i] for g in own.gates), own.slope[i], own.a[i], own.b[i]], exponents)
            for exponents in _exponents(l1, l2, softmax_levels)
            for i in range(m)
        ]
        if terms:
            found[l1, l2] = sympy.expand(sympy.Add(*terms))
    return found


def prove_order(gate: str, m: int) -> OrderProof:
    """Prove that the system of a gate with linear Gaussian experts has order 2m, for m >= 2.

    Raises
    ------
    ValueError
        If the gate has no such system, or m < 2.

    Examples
    --------
    >>> print(prove_order("softmax", 2).text())
    softmax, 2 fitted atoms: the order of the system is 4
      verified: the equations without a power of x are those of intercepts and variances alone
      verified: the other equations vanish when gates and slopes are not displaced
      verified: equations 1 to 4 are equal moments of a mixture of 2 Gaussians and of one
      verified: Gauss-Hermite quadrature solves equations 1 to 3
      verified: it does not solve equation 4
      a solution of order 3: c^2 = (1/2, 1/2); a = (-1, 1); b = (-1/2, -1/2)
    """
    if gate not in GATES:
        raise ValueError(f"gate={gate!r}: the systems are written for {', '.join(GATES)}")
    if m < 2:
        raise ValueError(f"m={m}: a cell with fewer than two fitted atoms has no system; give 2 or more")
    own, order = unknowns(m, GATES[gate]), 2 * m
    system, plain = order_system(m, order, GATES[gate]), _plain(m, order)
    still = dict.fromkeys((*own.slope, *(symbol for level in own.gates for symbol in level)), 0)
    weights, nodes = quadrature(m)
    checks = (
        (
            "the equations without a power of x are those of intercepts and variances alone",
            all(_vanishes(system[0, k] - plain[k]) for k in plain),
        ),
        (
            "the other equations vanish when gates and slopes are not displaced",
            all(equation.subs(still) == 0 for (l1, _), equation in system.items() if l1),
        ),
        (
            f"equations 1 to {order} are equal moments of a mixture of {m} Gaussians and of one",
            all(_vanishes(_moments(own, plain, k)) for k in plain),
        ),
        (
            f"Gauss-Hermite quadrature solves equations 1 to {order - 1}",
            all(residual(k, weights, nodes) == 0 for k in range(1, order)),
        ),
        (f"it does not solve equation {order}", residual(order, weights, nodes) != 0),
    )
    shown = (f"c^2 = {_tuple(weights)}", f"a = {_tuple(nodes)}", f"b = {_tuple(['-1/2'] * m)}")
    return OrderProof(gate, m, order, len(system), checks, shown)


def quadrature(m: int) -> tuple[list[Expr], list[Expr]]:
    """Return the weights and nodes of Gauss-Hermite quadrature for N(0, 1), in radicals.

    The nodes are the roots of the Hermite polynomial ``He_m``; weights are ``(m-1)! / (m He_(m-1)(a)^2)``.

    Examples
    --------
    >>> quadrature(3)
    ([1/6, 2/3, 1/6], [-sqrt(3), 0, sqrt(3)])
    """
    import sympy

    x = sympy.Symbol("x")
    nodes = sorted(sympy.roots(sympy.hermite_prob_poly(m, x, polys=True)), key=float)
    before = sympy.hermite_prob(m - 1, x)
    weights = [sympy.radsimp(sympy.factorial(m - 1) / (m * sympy.expand(before.subs(x, node) ** 2))) for node in nodes]
    return weights, nodes


def residual(order: int, weights: Sequence[Any], nodes: Sequence[Any], b: Any = None) -> Expr:
    """Return equation number `order` at weights and displacements of intercepts, all half variances moved by `b`.

    `b` is -1/2 when left out.

    Examples
    --------
    >>> [residual(order, *quadrature(2)) for order in (1, 2, 3, 4)]
    [0, 0, 0, -1/12]
    """
    import sympy

    half = sympy.Rational(-1, 2) if b is None else b
    total = sympy.Add(
        *(
            weight * _monomial([node, half], exponents[-2:])
            for exponents in _exponents(0, order, 0)
            for weight, node in zip(weights, nodes, strict=True)
        )
    )
    return sympy.simplify(sympy.expand(total))


def prove_orders(sizes: Sequence[int] = (2, 3, 4)) -> list[OrderProof]:
    """Return the proofs of all gates, for some numbers of fitted atoms."""
    return [prove_order(gate, m) for gate in GATES for m in sizes]


def _plain(m: int, order: int) -> dict[int, Expr]:
    """Return the equations of Ho and Nguyen (2016): ``sum_i c_i^2 a_i^n1 b_i^n2 / (n1! n2!)``, ``n1 + 2 n2 = l``."""
    import sympy

    own = unknowns(m)
    return {
        k: sympy.Add(
            *(
                own.c[i] ** 2 * _monomial([own.a[i], own.b[i]], (k - 2 * n2, n2))
                for i in range(m)
                for n2 in range(k // 2 + 1)
            )
        )
        for k in range(1, order + 1)
    }


def _moments(own: Unknowns, plain: dict[int, Expr], order: int) -> Expr:
    """Return moment minus moment, over the factorial, minus what the equations say; zero when they are the same.

    The coefficient of ``t^order`` in ``exp(s t^2 / 2) (M(t) - M(0))`` is a sum of the equations with positive factors,
    with one for the last, so equations up to an order vanish if and only if differences of moments do.
    """
    import sympy

    s = sympy.Symbol("s", positive=True)
    mixture = sympy.Add(*(c**2 * _moment(a, s + 2 * b, order) for c, a, b in zip(own.c, own.a, own.b, strict=True)))
    single = sympy.Add(*(c**2 for c in own.c)) * _moment(sympy.Integer(0), s, order)
    told = sympy.Add(
        *((s / 2) ** k / sympy.factorial(k) * plain[order - 2 * k] for k in range((order + 1) // 2) if order > 2 * k)
    )
    return (mixture - single) / sympy.factorial(order) - told


def _moment(mean: Expr, variance: Expr, order: int) -> Expr:
    """Return a moment of a Gaussian, by ``E X^(k+1) = mean E X^k + k variance E X^(k-1)``."""
    import sympy

    before, now = sympy.Integer(0), sympy.Integer(1)
    for k in range(order):
        before, now = now, sympy.expand(mean * now + k * variance * before)
    return now


def _exponents(l1: int, l2: int, softmax_levels: int) -> list[tuple[int, ...]]:
    """Return the exponents of gates, slope, intercept and half variance in one equation."""
    found = []
    for powers in product(range(l1 + 1), repeat=softmax_levels + 1):
        rest = l2 - powers[-1]
        if sum(powers) == l1 and rest >= 0:
            found += [(*powers, rest - 2 * n2, n2) for n2 in range(rest // 2 + 1)]
    return found


def _monomial(values: Sequence[Any], exponents: Sequence[int]) -> Expr:
    import sympy

    factors = (v**e / sympy.factorial(e) for v, e in zip(values, exponents, strict=True))
    return sympy.Mul(*factors)


def _vanishes(expression: Expr) -> bool:
    import sympy

    return bool(sympy.expand(expression) == 0)


def _tuple(values: Sequence[Any]) -> str:
    return f"({', '.join(map(str, values))})"
