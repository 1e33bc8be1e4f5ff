"""Polynomials in variables and values of functions, with the rules that these fulfil; identities are proved in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

from gatewise.infer.identifiability.proof.nodes import NotProvableError

Monomial = tuple[tuple[int, int], ...]  # (generator, exponent), in the order of the generators
MOST_TERMS = 20_000  # of one polynomial; more would take minutes


class LaurentPolynomial(dict[Monomial, Fraction]):
    """A sum of monomials; no coefficient is zero."""

    def key(self) -> frozenset[tuple[Monomial, Fraction]]:
        """Return what equal polynomials have in common."""
        return frozenset(self.items())


class Generator(NamedTuple):
    """A variable, or the value of a function of a polynomial.

    Attributes
    ----------
    name : str
        As it is printed.
    kind : str
        ``variable``, or the name of the function.
    argument : LaurentPolynomial
    varies : bool
        Whether it depends on the data: on x or y, not on parameters alone.
    """

    name: str
    kind: str
    argument: LaurentPolynomial
    varies: bool


@dataclass
class Ring:
    """The polynomials of one proof. Generators are added as functions are met.

    The rules: a square root squared is its argument, a step squared is itself, ``cos^2 = 1 - sin^2``, and an inverse
    times its argument is one, which `cleared` applies. Every identity between polynomials that follows from them holds
    for the functions.
    """

    generators: list[Generator] = field(default_factory=list)
    _known: dict[tuple[object, ...], int] = field(default_factory=dict)
    _squares: dict[int, LaurentPolynomial] = field(default_factory=dict)

    def constant(self, value: Fraction) -> LaurentPolynomial:
        """Return a rational number."""
        return LaurentPolynomial({(): Fraction(value)} if value else {})

    def variable(self, name: str, *, varies: bool) -> LaurentPolynomial:
        """Return a variable."""
        return self._single(self._generator(name, "variable", LaurentPolynomial(), varies))

    def add(self, a: LaurentPolynomial, b: LaurentPolynomial) -> LaurentPolynomial:
        """Return ``a + b``."""
        found = LaurentPolynomial(a)
        for monomial, coefficient in b.items():
            total = found.get(monomial, 0) + coefficient
            if total:
                found[monomial] = total
            else:
                del found[monomial]
        return found

    def mul(self, a: LaurentPolynomial, b: LaurentPolynomial) -> LaurentPolynomial:
        """Return ``a b``, reduced by the rules for squares."""
        found: dict[Monomial, Fraction] = {}
        for one, p in a.items():
            for other, q in b.items():
                monomial = _product(one, other)
                found[monomial] = found.get(monomial, Fraction(0)) + p * q
        if len(found) > MOST_TERMS:
            raise NotProvableError(f"a derivative has more than {MOST_TERMS} terms")
        return self._reduced(LaurentPolynomial({m: c for m, c in found.items() if c}))

    def value(self, kind: str, a: LaurentPolynomial) -> LaurentPolynomial:
        """Return a function of a polynomial."""
        if kind == "inverse":
            return self._inverse(a)
        if kind == "two_over_root_pi":
            return self._single(self._generator(kind, kind, a, False))
        if kind == "sqrt" and (root := self._root(a)) is not None:
            return root
        name = f"{kind}({self.text(a)})"
        place = self._generator(name, kind, a, self.varies(a))
        if kind == "sqrt":
            self._squares.setdefault(place, a)
        if kind == "step":
            self._squares.setdefault(place, self._single(place))
        if kind == "cos":
            sine = self.value("sin", a)
            self._squares.setdefault(place, self.add(self.constant(Fraction(1)), self.scale(-1, self.mul(sine, sine))))
        return self._single(place)

    def scale(self, factor: int | Fraction, a: LaurentPolynomial) -> LaurentPolynomial:
        """Return a multiple."""
        return LaurentPolynomial({m: factor * c for m, c in a.items()} if factor else {})

    def varies(self, a: LaurentPolynomial) -> bool:
        """Return whether a polynomial depends on the data."""
        return any(self.generators[place].varies for monomial in a for place, _ in monomial)

    def cleared(self, polynomials: Sequence[LaurentPolynomial]) -> list[LaurentPolynomial]:
        """Return the polynomials times one common denominator, without inverses.

        The denominator vanishes nowhere that the functions are defined, so linear relations stay the same. Negative
        exponents remain: those of single variables and of values of functions.
        """
        found = list(polynomials)
        for place in reversed(range(len(self.generators))):
            if self.generators[place].kind == "inverse":
                found = self._without(found, place)
        return found

    def _without(self, polynomials: Sequence[LaurentPolynomial], place: int) -> list[LaurentPolynomial]:
        parts = [_by_power(one, place) for one in polynomials]
        most = max((power for part in parts for power in part), default=0)
        if not most:
            return list(polynomials)
        powers = [self.constant(Fraction(1))]
        for _ in range(most):
            powers.append(self.mul(powers[-1], self.generators[place].argument))
        return [self.sum(self.mul(p, powers[most - power]) for power, p in part.items()) for part in parts]

    def sum(self, polynomials: Iterable[LaurentPolynomial]) -> LaurentPolynomial:
        """Return the sum."""
        total = LaurentPolynomial()
        for one in polynomials:
            total = self.add(total, one)
        return total

    def by_data(self, a: LaurentPolynomial) -> dict[Monomial, LaurentPolynomial]:
        """Return the coefficients, polynomials in parameters alone, of the monomials in what varies with the data."""
        found: dict[Monomial, LaurentPolynomial] = {}
        for monomial, coefficient in a.items():
            data = tuple(one for one in monomial if self.generators[one[0]].varies)
            rest = tuple(one for one in monomial if not self.generators[one[0]].varies)
            found.setdefault(data, LaurentPolynomial())[rest] = coefficient
        return found

    def text(self, a: LaurentPolynomial) -> str:
        """Return a polynomial as text, to tell functions apart."""
        terms = sorted((m, c) for m, c in a.items())
        return " + ".join(f"{c}" + "".join(f" {self.generators[g].name}^{e}" for g, e in m) for m, c in terms)

    def _inverse(self, a: LaurentPolynomial) -> LaurentPolynomial:
        """Return ``1 / a``: negative exponents for a monomial, and of a root the root over its argument."""
        if not a:
            raise NotProvableError("the code divides by zero at these parameters")
        if len(a) > 1:
            return self._single(self._generator(f"1/({self.text(a)})", "inverse", a, self.varies(a)))
        ((monomial, coefficient),) = a.items()
        found = self.constant(1 / coefficient)
        for place, exponent in monomial:
            own = self.generators[place]
            if own.kind == "inverse" and exponent > 0:
                one = own.argument
            elif own.kind == "sqrt":
                one = self.mul(self._single(place), self._inverse(own.argument))
            elif place in self._squares:
                alone = self._single(place)
                one = self._single(self._generator(f"1/{own.name}", "inverse", alone, own.varies))
            else:
                found = self.mul(found, LaurentPolynomial({((place, -exponent),): Fraction(1)}))
                continue
            for _ in range(exponent):
                found = self.mul(found, one)
        return found

    def _root(self, a: LaurentPolynomial) -> LaurentPolynomial | None:
        """Return the root of the square of a positive parameter."""
        if len(a) != 1:
            return None
        ((monomial, coefficient),) = a.items()
        if coefficient != 1 or len(monomial) != 1 or monomial[0][1] != 2:
            return None
        own = self.generators[monomial[0][0]]
        return self._single(monomial[0][0]) if own.kind == "variable" and not own.varies else None

    def _generator(self, name: str, kind: str, argument: LaurentPolynomial, varies: bool) -> int:
        key = (kind, name if kind == "variable" else argument.key())
        if key not in self._known:
            self._known[key] = len(self.generators)
            self.generators.append(Generator(name, kind, argument, varies))
        return self._known[key]

    def _single(self, place: int) -> LaurentPolynomial:
        return LaurentPolynomial({((place, 1),): Fraction(1)})

    def _reduced(self, a: LaurentPolynomial) -> LaurentPolynomial:
        """Apply the rules for squares until none applies."""
        high = {m for m in a if any(e > 1 and g in self._squares for g, e in m)}
        if not high:
            return a
        kept = LaurentPolynomial({m: c for m, c in a.items() if m not in high})
        for monomial in high:
            place = next(g for g, e in monomial if e > 1 and g in self._squares)
            rest = tuple((g, e) if g != place else (g, e - 2) for g, e in monomial if g != place or e > 2)
            kept = self.add(kept, self.mul(LaurentPolynomial({rest: a[monomial]}), self._squares[place]))
        return kept


def _by_power(a: LaurentPolynomial, place: int) -> dict[int, LaurentPolynomial]:
    """Return a polynomial by the powers of one generator."""
    found: dict[int, LaurentPolynomial] = {}
    for monomial, coefficient in a.items():
        power = dict(monomial).get(place, 0)
        rest = tuple(one for one in monomial if one[0] != place)
        found.setdefault(power, LaurentPolynomial())[rest] = coefficient
    return found


def _product(a: Monomial, b: Monomial) -> Monomial:
    if not a or not b:
        return a or b
    powers = dict(a)
    for place, exponent in b:
        powers[place] = powers.get(place, 0) + exponent
    return tuple(sorted((place, exponent) for place, exponent in powers.items() if exponent))
