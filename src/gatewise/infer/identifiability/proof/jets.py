"""First and second derivatives of an expression, in any arithmetic: modulo a prime, of polynomials, of intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple, Protocol

from gatewise.infer.identifiability.proof.nodes import Node, needed, number

Element = Any  # an element of an arithmetic


class Arithmetic(Protocol):
    """What derivatives are computed in: a ring with values of functions."""

    def constant(self, value: Fraction) -> Element:
        """Return a rational number."""

    def add(self, a: Element, b: Element) -> Element:
        """Return ``a + b``."""

    def mul(self, a: Element, b: Element) -> Element:
        """Return ``a b``."""

    def value(self, kind: str, a: Element) -> Element:
        """Return ``kind(a)``: one of the names in `FUNCTIONS`, or ``bell`` for ``exp(-a^2 / 2) / sqrt(2 pi)``."""


class Jet(NamedTuple):
    """A value with its first and second derivatives; those that vanish are left out."""

    value: Element
    first: Mapping[int, Element]
    second: Mapping[tuple[int, int], Element]


Rule = Callable[[Arithmetic, Element], tuple[Element, Element, Element | None]]


def _exp(at: Arithmetic, a: Element) -> tuple[Element, Element, Element]:
    value = at.value("exp", a)
    return value, value, value


def _inverse(at: Arithmetic, a: Element) -> tuple[Element, Element, Element]:
    value = at.value("inverse", a)
    square = at.mul(value, value)
    return value, _times(at, -1, square), _times(at, 2, at.mul(square, value))


def _log(at: Arithmetic, a: Element) -> tuple[Element, Element, Element]:
    inverse = at.value("inverse", a)
    return at.value("log", a), inverse, _times(at, -1, at.mul(inverse, inverse))


def _sqrt(at: Arithmetic, a: Element) -> tuple[Element, Element, Element]:
    value = at.value("sqrt", a)
    inverse = at.value("inverse", value)
    cube = at.mul(inverse, at.mul(inverse, inverse))
    return value, _times(at, Fraction(1, 2), inverse), _times(at, Fraction(-1, 4), cube)


def _tanh(at: Arithmetic, a: Element) -> tuple[Element, Element, Element]:
    value = at.value("tanh", a)
    first = at.add(at.constant(Fraction(1)), _times(at, -1, at.mul(value, value)))
    return value, first, _times(at, -2, at.mul(value, first))


def _sigmoid(at: Arithmetic, a: Element) -> tuple[Element, Element, Element]:
    value = at.value("sigmoid", a)
    other = at.add(at.constant(Fraction(1)), _times(at, -1, value))
    first = at.mul(value, other)
    return value, first, at.mul(first, at.add(other, _times(at, -1, value)))


def _logsigmoid(at: Arithmetic, a: Element) -> tuple[Element, Element, Element]:
    value, first, _ = _sigmoid(at, a)
    return at.value("logsigmoid", a), at.add(at.constant(Fraction(1)), _times(at, -1, value)), _times(at, -1, first)


def _ndtr(at: Arithmetic, a: Element) -> tuple[Element, Element, Element]:
    bell = at.value("bell", a)
    return at.value("ndtr", a), bell, _times(at, -1, at.mul(a, bell))


def _erf(at: Arithmetic, a: Element) -> tuple[Element, Element, Element]:
    square = _times(at, -1, at.mul(a, a))
    bell = at.mul(at.value("two_over_root_pi", at.constant(Fraction(1))), at.value("exp", square))
    return at.value("erf", a), bell, _times(at, -2, at.mul(a, bell))


def _relu(at: Arithmetic, a: Element) -> tuple[Element, Element, None]:
    step = at.value("step", a)
    return at.mul(a, step), step, None


def _step(at: Arithmetic, a: Element) -> tuple[Element, None, None]:
    return at.value("step", a), None, None


def _sin(at: Arithmetic, a: Element) -> tuple[Element, Element, Element]:
    value = at.value("sin", a)
    return value, at.value("cos", a), _times(at, -1, value)


def _cos(at: Arithmetic, a: Element) -> tuple[Element, Element, Element]:
    value = at.value("cos", a)
    return value, _times(at, -1, at.value("sin", a)), _times(at, -1, value)


def _lgamma(at: Arithmetic, a: Element) -> tuple[Element, Element, Element]:
    return at.value("lgamma", a), at.value("digamma", a), at.value("trigamma", a)


FUNCTIONS: dict[str, Callable[..., tuple[Element, Element | None, Element | None]]] = {
    "exp": _exp,
    "inverse": _inverse,
    "log": _log,
    "sqrt": _sqrt,
    "tanh": _tanh,
    "sigmoid": _sigmoid,
    "logsigmoid": _logsigmoid,
    "ndtr": _ndtr,
    "erf": _erf,
    "relu": _relu,
    "step": _step,
    "sin": _sin,
    "cos": _cos,
    "lgamma": _lgamma,
}


def jets(at: Arithmetic, output: Node, values: Mapping[str, Element], places: Mapping[str, int], order: int) -> Jet:
    """Return an expression with its derivatives.

    Parameters
    ----------
    at : Arithmetic
    output : Node
    values : mapping
        Value of every variable.
    places : mapping
        Variables in which derivatives are taken, with their number.
    order : {1, 2}
    """
    found: dict[int, Jet] = {}
    for node in needed([output]):
        arguments = [found[a.place] for a in node.arguments]
        if node.kind == "constant":
            jet = Jet(at.constant(number(node)), {}, {})
        elif node.kind == "variable":
            name = str(node.value)
            own = {places[name]: at.constant(Fraction(1))} if name in places else {}
            jet = Jet(values[name], own, {})
        elif node.kind == "add":
            jet = _sum(at, arguments[0], arguments[1])
        elif node.kind == "mul":
            jet = _product(at, arguments[0], arguments[1], order)
        else:
            jet = _chain(at, node.kind, arguments[0], order)
        found[node.place] = jet
    return found[output.place]


def columns(jet: Jet, names: Sequence[int], order: int) -> list[Element | None]:
    """Return the derivatives in the order of `columns_of`: first ones, then pairs; None where they vanish."""
    firsts = [jet.first.get(i) for i in names]
    if order == 1:
        return firsts
    return firsts + [jet.second.get((i, j)) for k, i in enumerate(names) for j in names[k:]]


def _times(at: Arithmetic, factor: int | Fraction, a: Element) -> Element:
    return at.mul(at.constant(Fraction(factor)), a)


def _sum(at: Arithmetic, a: Jet, b: Jet) -> Jet:
    return Jet(at.add(a.value, b.value), _merged(at, a.first, b.first), _merged(at, a.second, b.second))


def _merged(at: Arithmetic, a: Mapping[Any, Element], b: Mapping[Any, Element]) -> dict[Any, Element]:
    found = dict(a)
    for key, value in b.items():
        found[key] = at.add(found[key], value) if key in found else value
    return found


def _scaled(at: Arithmetic, factor: Element, a: Mapping[Any, Element]) -> dict[Any, Element]:
    return {key: at.mul(factor, value) for key, value in a.items()}


def _pairs(at: Arithmetic, a: Mapping[int, Element], b: Mapping[int, Element]) -> dict[tuple[int, int], Element]:
    """Return ``a_i b_j + a_j b_i`` for i <= j."""
    found: dict[tuple[int, int], Element] = {}
    for i, one in a.items():
        for j, other in b.items():
            key = (min(i, j), max(i, j))
            product = at.mul(one, other)
            product = _times(at, 2, product) if i == j else product
            found[key] = at.add(found[key], product) if key in found else product
    return found


def _product(at: Arithmetic, a: Jet, b: Jet, order: int) -> Jet:
    first = _merged(at, _scaled(at, b.value, a.first), _scaled(at, a.value, b.first))
    second: Mapping[tuple[int, int], Element] = {}
    if order == 2:
        second = _merged(at, _scaled(at, b.value, a.second), _scaled(at, a.value, b.second))
        second = _merged(at, second, _pairs(at, a.first, b.first))
    return Jet(at.mul(a.value, b.value), first, second)


def _chain(at: Arithmetic, kind: str, a: Jet, order: int) -> Jet:
    value, slope, bend = FUNCTIONS[kind](at, a.value)
    first = {} if slope is None else _scaled(at, slope, a.first)
    second: Mapping[tuple[int, int], Element] = {}
    if order == 2 and slope is not None:
        second = _scaled(at, slope, a.second)
        if bend is not None:
            second = _merged(at, second, _outer(at, bend, a.first))
    return Jet(value, first, second)


def _outer(at: Arithmetic, bend: Element, a: Mapping[int, Element]) -> dict[tuple[int, int], Element]:
    pulled = _scaled(at, bend, a)
    return {(i, j): at.mul(pulled[i], a[j]) for i in a for j in a if i <= j}
