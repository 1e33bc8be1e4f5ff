"""Expressions of the functions that are proved about: sums, products and functions of variables and rationals."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from math import isqrt


class NotProvableError(Exception):
    """A proof that cannot be made, with the reason; the finding is then "not decided"."""


@dataclass(frozen=True, eq=False, slots=True)
class Node:
    """One expression: ``constant``, ``variable``, ``add``, ``mul``, or a function of one expression.

    It varies if it depends on the data, on x or y. Equal expressions of one graph are one object, so that functions of
    equal arguments are recognised.
    """

    place: int
    kind: str
    arguments: tuple[Node, ...] = ()
    value: Fraction | str = ""
    varies: bool = False


@dataclass
class Graph:
    """Builds expressions; every argument stands before what is made of it."""

    nodes: list[Node] = field(default_factory=list)
    _known: dict[tuple[object, ...], Node] = field(default_factory=dict)

    def constant(self, value: Fraction | int) -> Node:
        """Return a rational number."""
        return self._node("constant", (), Fraction(value))

    def variable(self, name: str, *, varies: bool = False) -> Node:
        """Return the variable of this name."""
        return self._node("variable", (), name, varies)

    def add(self, a: Node, b: Node) -> Node:
        """Return ``a + b``."""
        if a.kind == b.kind == "constant":
            return self.constant(number(a) + number(b))
        for one, other in ((a, b), (b, a)):
            if one.kind == "constant" and number(one) == 0:
                return other
        return self._node("add", _ordered(a, b))

    def mul(self, a: Node, b: Node) -> Node:
        """Return ``a b``."""
        if a.kind == b.kind == "constant":
            return self.constant(number(a) * number(b))
        for one, other in ((a, b), (b, a)):
            if one.kind == "constant" and number(one) in (0, 1):
                return one if number(one) == 0 else other
        return self._node("mul", _ordered(a, b))

    def apply(self, kind: str, a: Node) -> Node:
        """Return a function of one argument, such as ``exp``; see `jets.FUNCTIONS`."""
        if a.kind == "constant":
            value, root = number(a), _exact_root(number(a)) if kind == "sqrt" else None
            if kind == "inverse" and value:
                return self.constant(1 / value)
            if kind == "step":
                return self.constant(int(value > 0))
            if root is not None:
                return self.constant(root)
            if value == 0 and kind in ZEROS:
                return self.constant(ZEROS[kind])
        return self._node(kind, (a,))

    def power(self, a: Node, exponent: Fraction) -> Node:
        """Return a power; the exponent is a multiple of 1/2."""
        if exponent.denominator > 2:
            raise NotProvableError(f"a power {exponent} has no rule here")
        if exponent < 0:
            return self.apply("inverse", self.power(a, -exponent))
        if exponent.denominator == 2:
            return self.power(self.apply("sqrt", a), 2 * exponent)
        found = self.constant(1)
        for _ in range(int(exponent)):
            found = self.mul(found, a)
        return found

    def _node(self, kind: str, arguments: tuple[Node, ...], value: Fraction | str = "", varies: bool = False) -> Node:
        key = (kind, *(a.place for a in arguments), value)
        if key not in self._known:
            depends = varies or any(a.varies for a in arguments)
            self._known[key] = Node(len(self.nodes), kind, arguments, value, depends)
            self.nodes.append(self._known[key])
        return self._known[key]


ZEROS = {"exp": 1, "log1p": 0, "tanh": 0, "erf": 0, "sin": 0, "cos": 1, "relu": 0}  # values at zero


def number(node: Node) -> Fraction:
    """Return the value of a constant."""
    assert isinstance(node.value, Fraction)
    return node.value


def positive(node: Node) -> bool:
    """Return whether an expression is positive nearly everywhere: a sum of squares, or of what is built of these."""
    if node.kind == "constant":
        return number(node) > 0
    if node.kind == "mul":
        return node.arguments[0] is node.arguments[1] or all(map(positive, node.arguments))
    if node.kind == "add":
        return all(map(positive, node.arguments))
    return node.kind in ("exp", "sqrt", "sigmoid")


def needed(outputs: list[Node]) -> list[Node]:
    """Return what some expressions are made of, arguments first.

    Examples
    --------
    >>> graph = Graph()
    >>> x = graph.variable("x")
    >>> [node.kind for node in needed([graph.mul(x, graph.apply("exp", x))])]
    ['variable', 'exp', 'mul']
    """
    found: dict[int, Node] = {}
    stack = list(outputs)
    while stack:
        node = stack.pop()
        if node.place not in found:
            found[node.place] = node
            stack.extend(node.arguments)
    return [found[place] for place in sorted(found)]


def _ordered(a: Node, b: Node) -> tuple[Node, Node]:
    return (a, b) if a.place <= b.place else (b, a)


def _exact_root(value: Fraction) -> Fraction | None:
    if value < 0:
        return None
    root = Fraction(isqrt(value.numerator), isqrt(value.denominator))
    return root if root**2 == value else None
