"""Expressions read from torch code: every operation that torch carries out is noted down, on one row.

No formula of a gate, an expert or a family is written twice: what is proved is proved of the code that is fitted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from gatewise.infer.identifiability.proof.nodes import Graph, Node, NotProvableError, number
from gatewise.infer.identifiability.proof.operations import (
    FRESH,
    GUARD,
    MOVES,
    RULES,
    SIGNS,
    Nodes,
    lifted,
    numbers_of,
    rational_of,
    step,
)


class Tracer(TorchDispatchMode):
    """Carries the expression of every entry of every tensor along while torch computes."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph
        self.known: dict[int, tuple[Tensor, Nodes]] = {}  # tensors are kept, so that their numbers stay theirs

    def note(self, tensor: Tensor, entries: Nodes) -> Tensor:
        """Remember the expressions of a tensor."""
        self.known[id(tensor)] = (tensor, entries)
        return tensor

    def follows(self, value: Any) -> bool:
        """Return whether the expressions of a tensor are known."""
        return isinstance(value, Tensor) and id(value) in self.known

    def of(self, value: Any) -> Nodes:
        """Return the expressions of a tensor or a number; those of what was not traced are constants."""
        if self.follows(value):
            return self.known[id(value)][1]
        numbers = numbers_of(value)
        found = np.empty(numbers.shape, object)
        for place in np.ndindex(numbers.shape):
            found[place] = self.graph.constant(rational_of(numbers[place]))
        return found

    def _operand(self, value: Any) -> Any:
        """Return a tensor as expressions, or as numbers where it was not traced."""
        if not isinstance(value, Tensor):
            return value
        return self.of(value) if self.follows(value) or value.dtype == torch.bool else numbers_of(value)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if not any(map(self.follows, _tensors(args))) or name in FRESH.split():
            return found
        if name in MOVES.split():
            return self._moved(func, args, kwargs or {}, found)
        if name in SIGNS:
            return self.note(found, self._compared(SIGNS[name], found, *args))
        if name == "index_put_":
            return self._put(func, *args)
        rule = RULES.get(name)
        if rule is None:
            raise NotProvableError(f"torch's {name} has no rule here")
        entries = rule(self.graph, *(self._operand(one) for one in args), **(kwargs or {}))
        first = found[0] if isinstance(found, tuple) else found
        whole = lifted(lambda graph, entry: entry)(self.graph, np.broadcast_to(entries, tuple(first.shape)))
        self.note(first, whole)
        return found

    def _moved(self, func: Any, args: Any, kwargs: Any, found: Any) -> Any:
        """Follow an operation that only moves entries: it is applied to their numbers."""
        pool: list[Node] = []

        def numbered(value: Any) -> Any:
            if isinstance(value, list | tuple):
                return [numbered(one) for one in value]
            if not self.follows(value) and not (isinstance(value, Tensor) and value.is_floating_point()):
                return value
            entries = self.of(value)
            pool.extend(entries.ravel().tolist())
            start = len(pool) - entries.size
            return torch.arange(start, len(pool)).reshape(tuple(value.shape))

        moved = func(*numbered(args), **{k: v for k, v in kwargs.items() if k != "dtype"})
        pairs = zip(found, moved, strict=True) if isinstance(found, list | tuple) else [(found, moved)]
        for tensor, places in pairs:
            entries = np.empty(tuple(places.shape), object)
            for at in np.ndindex(entries.shape):
                entries[at] = pool[int(places[at])]
            self.note(tensor, entries)
        return found

    def _compared(self, sign: int, found: Tensor, a: Any, b: Any) -> Nodes:
        """Follow a comparison; what it decides for all data nearby is taken as it is."""
        a, b = (self.of(one) if isinstance(one, Tensor) else np.asarray(one, object) for one in (a, b))
        entries = np.empty(tuple(found.shape), object)
        sides = [np.broadcast_to(side, entries.shape) for side in (a, b)]
        for at in np.ndindex(entries.shape):
            pair = [e if isinstance(e, Node) else self.graph.constant(rational_of(e)) for e in (s[at] for s in sides)]
            guard = any(e.kind == "constant" and abs(number(e)) >= GUARD for e in pair)
            known = guard or not any(e.varies for e in pair)
            entries[at] = self.graph.constant(int(found[at])) if known else step(self.graph, pair[0], pair[1], sign)
        return entries

    def _put(self, func: Any, target: Tensor, places: Any, values: Tensor) -> Tensor:
        """Follow entries that are put into a new tensor."""
        if self.follows(target):
            raise NotProvableError("entries that are overwritten have no rule here")
        own, more = self.of(target), self.of(values)
        pool = [*own.ravel().tolist(), *more.ravel().tolist()]
        numbers = torch.arange(len(pool))
        moved = numbers[: own.size].reshape(tuple(target.shape))
        func(moved, places, numbers[own.size :].reshape(tuple(values.shape)))
        entries = np.empty(own.shape, object)
        for at in np.ndindex(entries.shape):
            entries[at] = pool[int(moved[at])]
        return self.note(func(target, places, values), entries)


def traced(
    graph: Graph,
    function: Callable[..., Tensor],
    data: Sequence[tuple[Tensor, Sequence[str]]],
    theta: tuple[Tensor, Sequence[str]],
) -> Node:
    """Return the expression of the only entry of ``function(*data, theta)``.

    A condition on parameters alone, or on how data compare with a number of 100 and more (a guard against overflow), is
    decided as it is at the given values: the expression holds near them.

    Parameters
    ----------
    graph : Graph
    function : callable
    data : sequence of (tensor, names)
        Values of x and y, and the names of their entries in the same order.
    theta : (tensor, names)

    Raises
    ------
    NotProvableError
        If the function uses an operation without a rule.

    Examples
    --------
    >>> x, theta = torch.ones(1, 1), torch.ones(2)
    >>> wave = lambda x, theta: torch.exp(theta[0] * x[0])
    >>> found = traced(Graph(), wave, [(x, ["x[0]"])], (theta, ["a", "b"]))
    >>> found.kind, found.arguments[0].kind, found.varies
    ('exp', 'mul', True)
    """
    tracer = Tracer(graph)
    tensors = []
    for tensor, names in (*data, theta):
        entries = np.empty(len(names), object)
        entries[:] = [graph.variable(name, varies=names is not theta[1]) for name in names]
        tensors.append(tracer.note(tensor.clone(), entries.reshape(tuple(tensor.shape))))
    with torch.no_grad(), tracer:
        found = function(*tensors)
    entry: Node = tracer.of(found).item()
    return entry


def _tensors(values: Any) -> list[Tensor]:
    found = []
    for value in values:
        if isinstance(value, list | tuple):
            found += _tensors(value)
        elif isinstance(value, Tensor):
            found.append(value)
    return found
