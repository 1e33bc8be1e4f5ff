"""What a proof is about: the expressions of one or two atoms, their variables, and the derivatives in question."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import reduce
from math import floor
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gatewise.infer.identifiability.atoms import points
from gatewise.infer.identifiability.columns import free_entries
from gatewise.infer.identifiability.draws import DrawPlan, common_entries, generator_of, thetas_of
from gatewise.infer.identifiability.proof.jets import Arithmetic, Element, columns, jets
from gatewise.infer.identifiability.proof.modular import Modular
from gatewise.infer.identifiability.proof.nodes import Graph, Node, needed
from gatewise.infer.identifiability.proof.polynomials import Ring
from gatewise.infer.identifiability.proof.trace import traced

DRAWS = 5  # parameters at which independence may be shown; with kinks, not all will do
STEPS = 32  # parameters are multiples of one over this
FINE = 512  # points are odd multiples of one over twice this


class Subject(NamedTuple):
    """Expressions of the atoms of a plan.

    Attributes
    ----------
    plan : DrawPlan
    graph : Graph
    outputs : tuple of Node
        One per atom.
    names : tuple of tuple of str
        The variable behind every entry of theta, per atom; what atoms share has one variable.
    zero : frozenset of str
        Variables that are zero at every draw, such as the slopes in regime 1.
    roots : frozenset of str
        Positive parameters whose roots are taken: such a parameter is the square of a variable.
    data : tuple of str
        Variables of x, then of y.
    thetas : tuple of mappings
        Parameters at which independence may be shown, by variable: those of draws, rounded to multiples of 1/32.
    """

    plan: DrawPlan
    graph: Graph
    outputs: tuple[Node, ...]
    names: tuple[tuple[str, ...], ...]
    zero: frozenset[str]
    roots: frozenset[str]
    data: tuple[str, ...]
    thetas: tuple[Mapping[str, Fraction], ...]

    @property
    def parameters(self) -> tuple[str, ...]:
        """The variables that are parameters, each once."""
        return tuple(dict.fromkeys(name for names in self.names for name in names))

    @property
    def kinks(self) -> int:
        """The number of functions with two pieces; the distance on a line is one."""
        kinds = [node.kind for node in needed(list(self.outputs)) if node.varies]
        return sum(kind in ("relu", "step") or (kind == "sqrt" and self.plan.atom.d == 1) for kind in kinds)

    def derivatives(self, at: Arithmetic, values: Mapping[str, Element]) -> list[Element | None]:
        """Return the derivatives that `plan.columns` names; None where they vanish for every x and y."""
        found: list[Element | None] = []
        free = free_entries(self.plan.atom)
        for output, names in zip(self.outputs, self.names, strict=True):
            places = {names[i]: i for i in free}
            found += columns(jets(at, output, values, places, self.plan.order), free, self.plan.order)
        place = {column: c for c, column in enumerate(self.plan.every)}
        kept = [[found[place[column]]] for column in self.plan.columns]
        own = {column: c for c, column in enumerate(self.plan.columns)}
        for column in place.keys() - own.keys():  # those of the second atom in what both share
            kept[own[column._replace(mark="1")]].append(found[place[column]])
        return [_total(at, parts) for parts in kept]

    def modular(self, count: int, seed: int) -> tuple[Modular, list[Element | None]]:
        """Return the derivatives modulo a prime at so many random points at which all roots exist."""
        roots = [node for node in needed(list(self.outputs)) if node.kind == "sqrt"]
        count *= 2 ** min(self.kinks, 3)  # so that every piece has its points
        drawn = Modular(count * 2 ** min(len(roots), 4) + 8 * len(roots), seed)
        values = self.variables(drawn, drawn.draw)
        good = np.ones(drawn.points, bool)
        for root in roots:
            inside = jets(drawn, root.arguments[0], values, {}, 1).value
            good &= drawn.has_roots(inside)
        some = np.flatnonzero(good)[:count]
        at = Modular(len(some), seed)
        return at, self.derivatives(at, {name: value[some] for name, value in values.items()})

    def variables(self, at: Arithmetic, draw: Callable[..., Element]) -> dict[str, Element]:
        """Return a value for every variable, as an arithmetic draws it."""
        found = {name: draw(name, vary=True) for name in self.data}
        for name in self.parameters:
            if name in self.zero:
                found[name] = at.constant(Fraction(0))
            elif name in self.roots:
                root = draw(f"sqrt({name})", vary=False)
                found[name] = at.mul(root, root)
            else:
                found[name] = draw(name, vary=False)
        return found

    def polynomials(self) -> tuple[Ring, list[Element | None]]:
        """Return the derivatives as polynomials, with their ring."""
        ring = Ring()
        values = self.variables(ring, lambda name, vary: ring.variable(name, varies=vary))
        return ring, self.derivatives(ring, values)


def subject_of(plan: DrawPlan) -> Subject:
    """Trace the atoms of a plan.

    Raises
    ------
    NotProvableError
        If the code of an atom uses an operation without a rule.
    """
    atom = plan.atom
    several = [thetas_of(plan, generator_of(plan.seed, 3, t)) for t in range(DRAWS)]
    common = common_entries(plan).tolist()
    names = tuple(
        tuple(
            name if plan.atoms == 1 or shared else f"{name} of u{k + 1}"
            for name, shared in zip(atom.names, common, strict=True)
        )
        for k in range(plan.atoms)
    )
    generator = generator_of(plan.seed, 4)
    x, y = points(generator, atom.d, 1), atom.response(generator, 1)
    data = [f"x[{i}]" for i in range(atom.d)], [f"y[{i}]" for i in range(y.numel())]
    graph = Graph()
    outputs = tuple(
        traced(graph, atom.function, [(x, data[0]), (y, data[1])], (theta, own))
        for theta, own in zip(several[0], names, strict=True)
    )
    zero = {
        name
        for k, own in enumerate(names)
        for i, name in enumerate(own)
        if all(bool(thetas[k][i] == 0) for thetas in several)
    }
    held = [name in atom.held for name in atom.names]
    thetas = tuple(
        {
            name: _rounded(float(value), given)
            for own, values in zip(names, drawn, strict=True)
            for name, value, given in zip(own, values, held, strict=True)
        }
        for drawn in several
    )
    everything = (*data[0], *data[1])
    found = Subject(plan, graph, outputs, names, frozenset(zero), frozenset(), everything, thetas)
    parameters = set(found.parameters) - zero
    roots = {
        str(node.arguments[0].value)
        for node in needed(list(outputs))
        if node.kind == "sqrt" and node.arguments[0].kind == "variable" and node.arguments[0].value in parameters
    }
    return found._replace(roots=frozenset(roots))


def rational(values: Tensor) -> list[Fraction]:
    """Return numbers near to these, odd multiples of 1/1024, which are no parameters; whole ones as they are.

    Examples
    --------
    >>> rational(torch.tensor([0.3, 0.0])), rational(torch.tensor([2.0, 0.0]))
    ([Fraction(307, 1024), Fraction(1, 1024)], [Fraction(2, 1), Fraction(0, 1)])
    """
    given = values.tolist()
    if all(v == round(v) for v in given):
        return [Fraction(round(v)) for v in given]
    return [Fraction(2 * floor(v * FINE) + 1, 2 * FINE) for v in given]


def as_tensor(values: Sequence[Fraction]) -> Tensor:
    """Return rational numbers as a tensor."""
    return torch.tensor([float(v) for v in values], dtype=torch.float64)


def _rounded(value: float, held: bool) -> Fraction:
    """Return a value that is given as it is, and one that was drawn rounded, but not to zero."""
    near = Fraction(round(value * STEPS), STEPS)
    return Fraction(repr(value)) if held or (value and not near) else near


def _total(at: Arithmetic, parts: Sequence[Any]) -> Element | None:
    some = [part for part in parts if part is not None]
    return reduce(at.add, some) if some else None
