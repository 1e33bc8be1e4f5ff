"""Expressions read from torch code: every operation that torch carries out is noted down, on one row.

No formula of a gate, an expert or a family is written twice: what is proved is proved of the code that is fitted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from math import isfinite
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from gatewise.infer.identifiability.proof.nodes import Graph, Node, NotProvableError, number, positive

Nodes = Any  # an array of Node objects, shaped as the tensor
FRESH = "new_ones new_zeros new_full zeros ones full zeros_like ones_like full_like scalar_tensor arange triu_indices"
MOVES = (
    "cat stack view _unsafe_view reshape permute transpose t expand select slice index index_select unsqueeze squeeze "
    "split split_with_sizes unbind clone alias detach lift_fresh contiguous repeat flip diagonal narrow unfold gather "
    "_to_copy _reshape_alias"
)
UNARY = {
    "exp": "exp", "log": "log", "sqrt": "sqrt", "reciprocal": "inverse", "tanh": "tanh", "sigmoid": "sigmoid",
    "relu": "relu", "erf": "erf", "special_ndtr": "ndtr", "sin": "sin", "cos": "cos", "log_sigmoid_forward": "logsigmoid",
}  # fmt: skip


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
        array = value.detach().numpy() if isinstance(value, Tensor) else np.asarray(value)
        found = np.empty(array.shape, object)
        for place in np.ndindex(array.shape):
            found[place] = self.graph.constant(_rational(array[place]))
        return found

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if not any(map(self.follows, _tensors(args))) or name in FRESH.split():
            return found
        if name in MOVES.split():
            return self._moved(func, args, kwargs or {}, found)
        rule = RULES.get(name)
        if rule is None:
            raise NotProvableError(f"torch's {name} has no rule here")
        entries = rule(self.graph, *(self.of(one) if isinstance(one, Tensor) else one for one in args), **(kwargs or {}))
        first = found[0] if isinstance(found, tuple) else found
        self.note(first, np.broadcast_to(entries, tuple(first.shape)))
        return found

    def _moved(self, func: Any, args: Any, kwargs: Any, found: Any) -> Any:
        """Follow an operation that only moves entries: it is applied to their numbers."""
        pool: list[Node] = []

        def numbered(value: Any) -> Any:
            if isinstance(value, list | tuple):
                return type(value)(numbered(one) for one in value)
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


def traced(
    graph: Graph, function: Callable[..., Tensor], inputs: Sequence[tuple[Tensor, Sequence[str] | Nodes]]
) -> Node:
    """Return the expression of the only entry of ``function(*inputs)``.

    Parameters
    ----------
    graph : Graph
    function : callable
    inputs : sequence of (tensor, names)
        Values, and the names of their entries in the same order.

    Raises
    ------
    NotProvableError
        If the function uses an operation without a rule, or looks at values.

    Examples
    --------
    >>> x, theta = torch.ones(1, 1), torch.ones(2)
    >>> found = traced(Graph(), lambda x, theta: torch.exp(theta[0] * x[0]), [(x, ["x[0]"]), (theta, ["a", "b"])])
    >>> found.kind, found.arguments[0].kind
    ('exp', 'mul')
    """
    tracer = Tracer(graph)
    tensors = []
    for tensor, names in inputs:
        entries = np.empty(len(names), object)
        entries[:] = [graph.variable(name) for name in names]
        tensors.append(tracer.note(tensor.clone(), entries.reshape(tuple(tensor.shape))))
    with torch.no_grad(), tracer:
        found = function(*tensors)
    return tracer.of(found).item()


def _tensors(values: Any) -> list[Tensor]:
    found = []
    for value in values:
        if isinstance(value, list | tuple):
            found += _tensors(value)
        elif isinstance(value, Tensor):
            found.append(value)
    return found


def _rational(value: Any) -> Fraction:
    """Return a number as it is written in decimals, which is what stands in a formula."""
    if isinstance(value, bool | np.bool_ | int | np.integer):
        return Fraction(int(value))
    if not isfinite(value):
        raise NotProvableError(f"the code computes with {value}")
    return Fraction(repr(float(value)))


def _lift(rule: Callable[..., Node]) -> Callable[..., Nodes]:
    """Return a rule for entries as one for arrays of them, and for numbers."""

    def lifted(graph: Graph, *values: Any) -> Nodes:
        arrays = np.broadcast_arrays(*(np.asarray(value, object) for value in values))
        found = np.empty(arrays[0].shape, object)
        for at in np.ndindex(found.shape):
            entries = (array[at] for array in arrays)
            found[at] = rule(graph, *(e if isinstance(e, Node) else graph.constant(_rational(e)) for e in entries))
        return found

    return lifted


def _add(g: Graph, a: Nodes, b: Nodes, alpha: float = 1) -> Nodes:
    return _lift(lambda g, a, b: g.add(a, g.mul(g.constant(_rational(alpha)), b)))(g, a, b)


def _sub(g: Graph, a: Nodes, b: Nodes, alpha: float = 1) -> Nodes:
    return _add(g, a, b, -alpha)


def _mul(g: Graph, a: Nodes, b: Nodes) -> Nodes:
    return _lift(lambda g, a, b: g.mul(a, b))(g, a, b)


def _div(g: Graph, a: Nodes, b: Nodes) -> Nodes:
    return _lift(lambda g, a, b: g.mul(a, g.apply("inverse", b)))(g, a, b)


def _pow(g: Graph, a: Nodes, exponent: Nodes) -> Nodes:
    def one(g: Graph, a: Node, exponent: Node) -> Node:
        if exponent.kind != "constant":
            raise NotProvableError("a power whose exponent is no number has no rule here")
        return g.power(a, number(exponent))

    return _lift(one)(g, a, exponent)


def _sum(g: Graph, a: Nodes, dim: Nodes = None, keepdim: bool = False, dtype: Any = None) -> Nodes:
    axes = tuple(range(a.ndim)) if dim is None or dim == [] else tuple(np.atleast_1d(dim).tolist())
    axes = tuple(axis % max(a.ndim, 1) for axis in axes)
    moved = np.moveaxis(a, axes, range(len(axes))).reshape(-1, *(n for k, n in enumerate(a.shape) if k not in axes))
    found = moved[0] if len(moved) else np.full(moved.shape[1:], g.constant(0), object)
    for more in moved[1:]:
        found = _add(g, found, more)
    return np.expand_dims(found, axes) if keepdim else found


def _matmul(g: Graph, a: Nodes, b: Nodes) -> Nodes:
    return _sum(g, _mul(g, a[..., :, :, None], b[..., None, :, :]), [-2])


def _gelu(g: Graph, a: Nodes, approximate: str = "none") -> Nodes:
    if approximate != "none":
        raise NotProvableError("gelu in the approximation by tanh is not decided: its constants are rounded numbers")
    return _lift(lambda g, a: g.mul(a, g.apply("ndtr", a)))(g, a)


def _where(g: Graph, condition: Nodes, a: Nodes, b: Nodes) -> Nodes:
    def one(g: Graph, condition: Node, a: Node, b: Node) -> Node:
        other = g.add(g.constant(1), g.mul(g.constant(-1), condition))
        return g.add(g.mul(condition, a), g.mul(other, b))

    return _lift(one)(g, condition, a, b)


def _step(g: Graph, a: Node, b: Node, sign: int) -> Node:
    """Return one where ``sign (a - b) > 0``, and zero elsewhere; ties are left out, they fill no volume."""
    difference = g.add(a, g.mul(g.constant(-1), b))
    if positive(difference):
        return g.constant(int(sign > 0))
    step = g.apply("step", difference)
    return step if sign > 0 else g.add(g.constant(1), g.mul(g.constant(-1), step))


def _unary(kind: str) -> Callable[..., Nodes]:
    return _lift(lambda g, a: g.apply(kind, a))


def _abs(g: Graph, a: Nodes) -> Nodes:
    return _lift(lambda g, a: g.add(g.mul(g.constant(2), g.apply("relu", a)), g.mul(g.constant(-1), a)))(g, a)


def _norm(g: Graph, a: Nodes, order: Any = 2, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Nodes:
    if order != 2:
        raise NotProvableError("a norm other than the Euclidean one has no rule here")
    return _unary("sqrt")(g, _sum(g, _mul(g, a, a), dim, keepdim))


def _softplus(g: Graph, a: Nodes, beta: float = 1, threshold: float = 20) -> Nodes:
    if beta != 1:
        raise NotProvableError("a softplus with a sharpness of its own has no rule here")
    return _lift(lambda g, a: g.add(a, g.mul(g.constant(-1), g.apply("logsigmoid", a))))(g, a)


def _logsumexp(g: Graph, a: Nodes, dim: Any, keepdim: bool = False) -> Nodes:
    return _unary("log")(g, _sum(g, _unary("exp")(g, a), dim, keepdim))


RULES: dict[str, Callable[..., Nodes]] = {
    **{name: _unary(kind) for name, kind in UNARY.items()},
    "add": _add,
    "sub": _sub,
    "rsub": lambda g, a, b, alpha=1: _sub(g, b, a, alpha),
    "mul": _mul,
    "div": _div,
    "neg": lambda g, a: _lift(lambda g, a: g.mul(g.constant(-1), a))(g, a),
    "square": lambda g, a: _mul(g, a, a),
    "pow": _pow,
    "rsqrt": lambda g, a: _lift(lambda g, a: g.apply("inverse", g.apply("sqrt", a)))(g, a),
    "log1p": lambda g, a: _lift(lambda g, a: g.apply("log", g.add(g.constant(1), a)))(g, a),
    "expm1": lambda g, a: _lift(lambda g, a: g.add(g.apply("exp", a), g.constant(-1)))(g, a),
    "silu": lambda g, a: _lift(lambda g, a: g.mul(a, g.apply("sigmoid", a)))(g, a),
    "abs": _abs,
    "gelu": _gelu,
    "softplus": _softplus,
    "logsumexp": _logsumexp,
    "linalg_vector_norm": _norm,
    "sum": _sum,
    "mm": _matmul,
    "bmm": _matmul,
    "mv": lambda g, a, b: _sum(g, _mul(g, a, b), [-1]),
    "dot": lambda g, a, b: _sum(g, _mul(g, a, b), [-1]),
    "where": _where,
    "gt": lambda g, a, b: _lift(lambda g, a, b: _step(g, a, b, 1))(g, a, b),
    "ge": lambda g, a, b: _lift(lambda g, a, b: _step(g, a, b, 1))(g, a, b),
    "lt": lambda g, a, b: _lift(lambda g, a, b: _step(g, a, b, -1))(g, a, b),
    "le": lambda g, a, b: _lift(lambda g, a, b: _step(g, a, b, -1))(g, a, b),
}
