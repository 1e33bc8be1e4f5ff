"""Coefficients of a relation between derivatives, as functions of the parameters, and whether it is an identity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import cache
from typing import Any, NamedTuple

from gatewise.infer.identifiability.proof.nodes import NotProvableError
from gatewise.infer.identifiability.proof.polynomials import LaurentPolynomial, Monomial, Ring

MOST = 20  # derivatives in one relation


class Coefficient(NamedTuple):
    """A coefficient in front of a derivative: its sign and the rest as text, ``1`` for none."""

    negative: bool
    text: str


def identity(ring: Ring, columns: Sequence[LaurentPolynomial], coefficients: Sequence[LaurentPolynomial]) -> bool:
    """Return whether ``sum_c coefficients[c] columns[c] = 0`` follows from the rules of the ring.

    Then it holds at every x, y and parameter at which the functions are defined.

    Examples
    --------
    >>> ring = Ring()
    >>> x, b = ring.variable("x", varies=True), ring.variable("b", varies=False)
    >>> wave = ring.value("exp", ring.mul(b, x))
    >>> minus = ring.scale(-1, b)
    >>> identity(ring, [ring.mul(b, wave), wave], [ring.constant(Fraction(1)), minus])
    True
    >>> identity(ring, [ring.mul(b, wave), wave], [ring.constant(Fraction(1)), b])
    False
    """
    products = [ring.mul(a, b) for a, b in zip(coefficients, columns, strict=True)]
    return not any(_zero_test(ring, products))


def _zero_test(ring: Ring, parts: Sequence[LaurentPolynomial]) -> LaurentPolynomial:
    return ring.sum(ring.cleared(parts))


def solved(ring: Ring, columns: Sequence[LaurentPolynomial], residues: Mapping[int, int]) -> list[LaurentPolynomial]:
    """Return the coefficients, polynomials in the parameters, of the only relation between some columns.

    The relation is a null vector of the matrix of coefficients of the monomials in x and y; it is written by minors.

    Parameters
    ----------
    ring : Ring
    columns : the derivatives that take part
    residues : value of every generator that does not vary, modulo the prime; rows are chosen by these

    Raises
    ------
    NotProvableError
        If too many derivatives take part, or the guess has no solution.
    """
    if len(columns) > MOST:
        raise NotProvableError(f"a relation between {len(columns)} derivatives is longer than is solved for ({MOST})")
    parts = [ring.by_data(one) for one in ring.cleared(columns)]
    monomials = {monomial for part in parts for monomial in part}
    rows = [[part.get(monomial, LaurentPolynomial()) for part in parts] for monomial in monomials]
    chosen = [_without_common(ring, row) for row in _independent(rows, residues, len(columns) - 1)]
    return _without_common(ring, [ring.scale((-1) ** c, one) for c, one in enumerate(_minors(ring, chosen))])


def _independent(
    rows: Sequence[Sequence[LaurentPolynomial]], residues: Mapping[int, int], count: int
) -> list[Sequence[LaurentPolynomial]]:
    """Choose rows that are independent modulo the prime, short ones first."""
    from gatewise.infer.identifiability.proof.modular import PRIME

    ordered = sorted(rows, key=lambda row: (sum(map(bool, row)), sum(map(len, row)), str(row)))
    echelon: list[tuple[int, list[int]]] = []
    chosen: list[Sequence[LaurentPolynomial]] = []
    for row in ordered:
        values = [residue(one, residues) for one in row]
        for pivot, other in echelon:
            factor = values[pivot]
            values = [(v - factor * o) % PRIME for v, o in zip(values, other, strict=True)]
        lead = next((k for k, v in enumerate(values) if v), None)
        if lead is None:
            continue
        scale = pow(values[lead], -1, PRIME)
        echelon.append((lead, [v * scale % PRIME for v in values]))
        chosen.append(row)
        if len(chosen) == count:
            return chosen
    raise NotProvableError("a guessed relation is not the only one between its derivatives")


def residue(a: LaurentPolynomial, values: Mapping[int, int]) -> int:
    """Return a polynomial modulo the prime."""
    from gatewise.infer.identifiability.proof.modular import PRIME

    total = 0
    for monomial, coefficient in a.items():
        term = coefficient.numerator * pow(coefficient.denominator, -1, PRIME)
        for place, exponent in monomial:
            term = term * pow(values[place], exponent, PRIME) % PRIME
        total += term
    return total % PRIME


def _minors(ring: Ring, rows: Sequence[Sequence[LaurentPolynomial]]) -> list[LaurentPolynomial]:
    """Return the determinants of all columns but one, expanded row by row; nothing is divided."""
    count = len(rows)

    @cache
    def minor(at: int, left: tuple[int, ...]) -> LaurentPolynomial:
        if at == count:
            return ring.constant(Fraction(1))
        parts = []
        for k, column in enumerate(left):
            if rows[at][column]:
                rest = minor(at + 1, left[:k] + left[k + 1 :])
                parts.append(ring.scale((-1) ** k, ring.mul(rows[at][column], rest)))
        return ring.sum(parts)

    every = tuple(range(count + 1))
    return [minor(0, every[:c] + every[c + 1 :]) for c in every]


def _without_common(ring: Ring, coefficients: Sequence[LaurentPolynomial]) -> list[LaurentPolynomial]:
    """Return coefficients without their greatest common divisor, and without negative exponents."""
    whole, domain = _in_sympy(ring, coefficients)
    if domain is None:
        return list(coefficients)
    common = whole[0]
    for one in whole[1:]:
        common = common.gcd(one)
    if not common:
        raise NotProvableError("a guessed relation has no solution")
    names = [int(str(symbol)[1:]) for symbol in domain.symbols]
    return [_from_sympy(one.exquo(common), names) for one in whole]


def _in_sympy(ring: Ring, polynomials: Sequence[LaurentPolynomial]) -> tuple[list[Any], Any]:
    """Return the polynomials as sympy's, times a monomial that makes all exponents whole; its symbols are numbered."""
    import sympy

    places = sorted({place for one in polynomials for monomial in one for place, _ in monomial})
    if not places:
        return list(polynomials), None
    lowest = {p: min(0, *(dict(m).get(p, 0) for one in polynomials for m in one)) for p in places}
    domain, *_ = sympy.ring([f"g{p}" for p in places], sympy.QQ)
    found = []
    for one in polynomials:
        terms = {}
        for monomial, coefficient in one.items():
            powers = dict(monomial)
            exponents = tuple(powers.get(p, 0) - lowest[p] for p in places)
            terms[exponents] = sympy.QQ(coefficient.numerator, coefficient.denominator)
        found.append(domain.from_dict(terms))
    return found, domain


def _from_sympy(one: Any, places: Sequence[int]) -> LaurentPolynomial:
    found = LaurentPolynomial()
    for exponents, coefficient in one.terms():
        if coefficient:
            monomial: Monomial = tuple((p, e) for p, e in zip(places, exponents, strict=True) if e)
            found[monomial] = Fraction(int(coefficient.numerator), int(coefficient.denominator))
    return found


def ratio(ring: Ring, above: LaurentPolynomial, below: LaurentPolynomial) -> Coefficient:
    """Return a quotient of coefficients as text.

    Examples
    --------
    >>> ring = Ring()
    >>> a, b = (ring.variable(name, varies=False) for name in "ab")
    >>> ratio(ring, ring.scale(-3, ring.mul(a, a)), ring.mul(a, b))
    Coefficient(negative=True, text='3 a/b')
    """
    import sympy

    whole, domain = _in_sympy(ring, [above, below])
    if domain is None:
        value = above[()] / below[()]
        return Coefficient(value < 0, str(abs(value)))
    top, bottom = whole[0].cancel(whole[1])
    negative = _mostly_negative(top.terms()) != _mostly_negative(bottom.terms())
    names = {symbol: _symbol(ring, int(str(symbol)[1:])) for symbol in domain.symbols}
    parts = [sympy.factor(-p.as_expr() if _mostly_negative(p.terms()) else p.as_expr()) for p in (top, bottom)]
    text = str((parts[0] / parts[1]).subs(names, simultaneous=True))
    return Coefficient(negative, text.replace("**", "^").replace("*", " "))


def _mostly_negative(terms: Sequence[tuple[Any, Any]]) -> bool:
    """Return whether more terms of a sum are negative than positive, the last one deciding between equal numbers."""
    signs = [coefficient < 0 for _, coefficient in terms]
    return 2 * sum(signs) > len(signs) or (2 * sum(signs) == len(signs) and signs[-1])


def _parts(value: Fraction) -> tuple[int, int]:
    return value.numerator, value.denominator


def _symbol(ring: Ring, place: int) -> Any:
    """Return a generator as an expression of sympy in the parameters."""
    import sympy

    own = ring.generators[place]
    if own.kind == "variable":
        root = own.name.startswith("sqrt(")
        return sympy.sqrt(sympy.Symbol(own.name[5:-1], positive=True)) if root else sympy.Symbol(own.name)
    argument = sum(
        (
            sympy.Rational(*_parts(coefficient))
            * sympy.Mul(*(_symbol(ring, g) ** exponent for g, exponent in monomial))
            for monomial, coefficient in own.argument.items()
        ),
        sympy.Integer(0),
    )
    if own.kind == "inverse":
        return 1 / argument
    known = {"exp": sympy.exp, "sqrt": sympy.sqrt, "log": sympy.log, "tanh": sympy.tanh, "sin": sympy.sin}
    return known.get(own.kind, sympy.Function(own.kind))(argument)
