"""What torch's operations make of expressions: one rule for each that gates, experts and families use."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import isfinite
from typing import Any

import numpy as np
from torch import Tensor

from gatewise.infer.identifiability.proof.nodes import Graph, Node, NotProvableError, number, positive

Nodes = Any  # an array of Node objects, shaped as the tensor
FRESH = (
    "new_ones new_zeros new_full zeros ones full zeros_like ones_like full_like scalar_tensor arange triu_indices isnan"
)
MOVES = (
    "cat stack view _unsafe_view reshape permute transpose t expand select slice index index_select unsqueeze squeeze "
    "split split_with_sizes unbind clone alias detach lift_fresh contiguous repeat flip diagonal narrow unfold gather "
    "_to_copy _reshape_alias"
)
SIGNS = {"gt": 1, "ge": 1, "lt": -1, "le": -1}
GUARD = 100  # bounds of this size and more guard against overflow; nothing is proved beyond them
UNARY = {
    "exp": "exp", "log": "log", "sqrt": "sqrt", "reciprocal": "inverse", "tanh": "tanh", "sigmoid": "sigmoid",
    "relu": "relu", "erf": "erf", "special_ndtr": "ndtr", "sin": "sin", "cos": "cos",
    "log_sigmoid_forward": "logsigmoid", "lgamma": "lgamma",
}  # fmt: skip


def numbers_of(value: Any) -> Nodes:
    """Return the numbers of a tensor that was not traced."""
    return np.asarray(value.detach().numpy() if isinstance(value, Tensor) else value).astype(object)


def rational_of(value: Any) -> Fraction:
    """Return a number as it is written in decimals, which is what stands in a formula."""
    if isinstance(value, bool | np.bool_ | int | np.integer):
        return Fraction(int(value))
    if not isfinite(value):
        raise NotProvableError(f"the code computes with {value}")
    return Fraction(repr(float(value)))


def lifted(rule: Callable[..., Node]) -> Callable[..., Nodes]:
    """Return a rule for entries as one for arrays of them, and for numbers."""

    def apply(graph: Graph, *values: Any) -> Nodes:
        arrays = np.broadcast_arrays(*(np.asarray(value, object) for value in values))
        found = np.empty(arrays[0].shape, object)
        for at in np.ndindex(found.shape):
            entries = (array[at] for array in arrays)
            found[at] = rule(graph, *(e if isinstance(e, Node) else graph.constant(rational_of(e)) for e in entries))
        return found

    return apply


def _add(g: Graph, a: Nodes, b: Nodes, alpha: float = 1) -> Nodes:
    return lifted(lambda g, a, b: g.add(a, g.mul(g.constant(rational_of(alpha)), b)))(g, a, b)


def _sub(g: Graph, a: Nodes, b: Nodes, alpha: float = 1) -> Nodes:
    return _add(g, a, b, -alpha)


def _mul(g: Graph, a: Nodes, b: Nodes) -> Nodes:
    return lifted(lambda g, a, b: g.mul(a, b))(g, a, b)


def _div(g: Graph, a: Nodes, b: Nodes) -> Nodes:
    return lifted(lambda g, a, b: g.mul(a, g.apply("inverse", b)))(g, a, b)


def _pow(g: Graph, a: Nodes, exponent: Nodes) -> Nodes:
    def one(g: Graph, a: Node, exponent: Node) -> Node:
        if exponent.kind != "constant":
            raise NotProvableError("a power whose exponent is no number has no rule here")
        return g.power(a, number(exponent))

    return lifted(one)(g, a, exponent)


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
        raise NotProvableError("gelu in its approximation by tanh has no rule here")
    return lifted(lambda g, a: g.mul(a, g.apply("ndtr", a)))(g, a)


def _where(g: Graph, condition: Nodes, a: Nodes, b: Nodes) -> Nodes:
    """Choose; what is not chosen by a condition that is decided may be infinite."""

    def one(g: Graph, condition: Node, a: Node, b: Node) -> Node:
        other = g.add(g.constant(1), g.mul(g.constant(-1), condition))
        return g.add(g.mul(condition, a), g.mul(other, b))

    flat = condition.ravel()
    if len(flat) and all(c is flat[0] and c.kind == "constant" for c in flat):
        return a if number(flat[0]) else b
    return lifted(one)(g, condition, a, b)


def step(g: Graph, a: Node, b: Node, sign: int) -> Node:
    """Return one where ``sign (a - b) > 0``, and zero elsewhere; ties are left out, they fill no volume."""
    difference = g.add(a, g.mul(g.constant(-1), b))
    if positive(difference):
        return g.constant(int(sign > 0))
    found = g.apply("step", difference)
    return found if sign > 0 else g.add(g.constant(1), g.mul(g.constant(-1), found))


def _clamp(g: Graph, a: Nodes, low: float | None = None, high: float | None = None) -> Nodes:
    for bound, sign in ((low, 1), (high, -1)):
        if bound is not None and abs(bound) < GUARD:  # max(a, c) = c + relu(a - c), min(a, c) = c - relu(c - a)
            a = _add(g, bound, _unary("relu")(g, _mul(g, sign, _sub(g, a, bound))), sign)
    return a


def _solve_triangular(
    g: Graph, matrix: Nodes, right: Nodes, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Nodes:
    if not left or unitriangular:
        raise NotProvableError("this way to solve a triangular system has no rule here")
    size = matrix.shape[-1]
    shape = np.broadcast_shapes(matrix.shape[:-2], right.shape[:-2])
    matrix = np.broadcast_to(matrix, shape + matrix.shape[-2:])
    right = np.broadcast_to(right, shape + right.shape[-2:])
    found: dict[int, Nodes] = {}
    for i in range(size)[:: -1 if upper else 1]:
        rest = right[..., i, :]
        for j, known in found.items():
            rest = _sub(g, rest, _mul(g, matrix[..., i, j, None], known))
        found[i] = _div(g, rest, matrix[..., i, i, None])
    return np.stack([found[i] for i in range(size)], -2)


def _unary(kind: str) -> Callable[..., Nodes]:
    return lifted(lambda g, a: g.apply(kind, a))


def _abs(g: Graph, a: Nodes) -> Nodes:
    return lifted(lambda g, a: g.add(g.mul(g.constant(2), g.apply("relu", a)), g.mul(g.constant(-1), a)))(g, a)


def _amax(g: Graph, a: Nodes, dim: Any = None, keepdim: bool = False) -> Nodes:
    """Return the largest entry: ``max(a, b) = a + relu(b - a)``."""
    axes = tuple(range(a.ndim)) if dim is None or dim == [] else tuple(np.atleast_1d(dim) % max(a.ndim, 1))
    moved = np.moveaxis(a, axes, range(len(axes))).reshape(-1, *(n for k, n in enumerate(a.shape) if k not in axes))
    found = moved[0]
    for more in moved[1:]:
        found = _add(g, found, _unary("relu")(g, _sub(g, more, found)))
    return np.expand_dims(found, axes) if keepdim else found


def _norm(g: Graph, a: Nodes, order: Any = 2, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Nodes:
    if order != 2:
        raise NotProvableError("a norm other than the Euclidean one has no rule here")
    return _unary("sqrt")(g, _sum(g, _mul(g, a, a), dim, keepdim))


def _softplus(g: Graph, a: Nodes, beta: float = 1, threshold: float = 20) -> Nodes:
    if beta != 1:
        raise NotProvableError("a softplus with a sharpness of its own has no rule here")
    return lifted(lambda g, a: g.add(a, g.mul(g.constant(-1), g.apply("logsigmoid", a))))(g, a)


def _logsumexp(g: Graph, a: Nodes, dim: Any, keepdim: bool = False) -> Nodes:
    return _unary("log")(g, _sum(g, _unary("exp")(g, a), dim, keepdim))


RULES: dict[str, Callable[..., Nodes]] = {
    **{name: _unary(kind) for name, kind in UNARY.items()},
    "add": _add,
    "sub": _sub,
    "rsub": lambda g, a, b, alpha=1: _sub(g, b, a, alpha),
    "mul": _mul,
    "div": _div,
    "neg": lambda g, a: lifted(lambda g, a: g.mul(g.constant(-1), a))(g, a),
    "square": lambda g, a: _mul(g, a, a),
    "pow": _pow,
    "rsqrt": lambda g, a: lifted(lambda g, a: g.apply("inverse", g.apply("sqrt", a)))(g, a),
    "log1p": lambda g, a: lifted(lambda g, a: g.apply("log", g.add(g.constant(1), a)))(g, a),
    "expm1": lambda g, a: lifted(lambda g, a: g.add(g.apply("exp", a), g.constant(-1)))(g, a),
    "silu": lambda g, a: lifted(lambda g, a: g.mul(a, g.apply("sigmoid", a)))(g, a),
    "abs": _abs,
    "gelu": _gelu,
    "softplus": _softplus,
    "logsumexp": _logsumexp,
    "linalg_vector_norm": _norm,
    "sum": _sum,
    "amax": _amax,
    "mm": _matmul,
    "bmm": _matmul,
    "mv": lambda g, a, b: _sum(g, _mul(g, a, b), [-1]),
    "dot": lambda g, a, b: _sum(g, _mul(g, a, b), [-1]),
    "where": _where,
    "clamp": _clamp,
    "clamp_min": lambda g, a, low: _clamp(g, a, low),
    "clamp_max": lambda g, a, high: _clamp(g, a, None, high),
    "linalg_solve_triangular": _solve_triangular,
}
