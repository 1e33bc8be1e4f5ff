"""A predictor: a function of one row's inputs with parameters of its own. Scores and experts are predictors.

Layout everywhere in `core`: rows come last. Inputs are ``x (*B, d, n)``, a predictor with children returns
``(*B, K, n)``, and every leading dimension is batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from gatewise.core.parameters import Parameter, named_by_role

Params = Mapping[str, Tensor]


class Derivatives(NamedTuple):
    """A predictor over a block of rows with its derivatives in its own parameters, one column set per child.

    Attributes
    ----------
    value : Tensor (*B, K, n)
    jacobian : Tensor (*B, K, P, n)
        First derivatives; a predictor that is linear in its parameters may return its design ``(*B, 1, P, n)``.
        The columns follow `parameters`, entries of one parameter in row-major order.
    curvature : callable or None
        ``weights (*B, K, n) -> (*B, K, P, P)``, the row sum of weights x second derivatives; None when linear.
    """

    value: Tensor
    jacobian: Tensor
    curvature: Callable[[Tensor], Tensor] | None = None


class AffineTransform(NamedTuple):
    """The affine change of inputs ``z = (x - shift) / scale`` with ``shift, scale (d,)``."""

    shift: Tensor
    scale: Tensor

    def inverse(self) -> AffineTransform:
        """Return the frame that leads from z back to x."""
        return AffineTransform(-self.shift / self.scale, 1.0 / self.scale)


@dataclass(frozen=True)
class Predictor(ABC):
    """A function of one row with its own parameters: subclasses give `parameters` and `__call__`.

    `value_and_derivatives` is derived by automatic differentiation when a subclass does not write it down, and
    `rescale` says how the parameters move when the inputs change their units.
    """

    @abstractmethod
    def parameters(self, d: int) -> dict[str, Parameter]:
        """Return the parameters by name for inputs with d features."""

    def names(self, *roles: str) -> tuple[str, ...]:
        """Return the names of the parameters that have one of the roles."""
        return named_by_role(self.parameters(1), *roles)

    @abstractmethod
    def __call__(self, params: Params, x: Tensor) -> Tensor:
        """Evaluate: params with shapes ``(*B, K, *shape)``, x ``(*B, d, n)`` -> ``(*B, K, n)``."""

    def value_and_derivatives(self, params: Params, x: Tensor) -> Derivatives:
        """Return value, Jacobian and curvature over a block of rows (automatic differentiation by default)."""
        return autograd_local(self, params, x)

    def rescale(self, params: Params, frame: AffineTransform) -> tuple[Predictor, dict[str, Tensor]] | None:
        """Return a predictor and parameters with the same values on ``z = (x - shift) / scale``, or None."""
        return None

    def reference(self) -> tuple[float, ...] | None:
        """Return the point of the inputs that the parameters refer to; None: zero."""
        return None

    def relu_kink(self, params: Params, x: Tensor) -> Derivatives | None:
        """Return the affine map at whose zeros the value bends, with its derivatives in all parameters; None: none."""
        return None

    def plain(self) -> Predictor:
        """Return a copy without centers and scales of single features, which takes any number of features."""
        return self

    def smoothed(self, radius: float) -> Predictor:
        """Return a copy whose kinks are rounded off over `radius`; itself when there is no kink."""
        return self


def as_tuple(value: Tensor) -> tuple[float, ...]:
    """Return a one-dimensional tensor as a tuple of floats."""
    return tuple(float(v) for v in value)


def shifted(x: Tensor, origin: tuple[float, ...] | None) -> Tensor:
    """Return ``x - origin`` for x ``(*B, d, n)``; x itself when there is no origin."""
    return x if origin is None else x - x.new_tensor(origin)[:, None]


def move_origin(origin: tuple[float, ...] | None, frame: AffineTransform) -> tuple[float, ...]:
    """Return the origin, given in x, in the coordinates of the frame."""
    start = torch.zeros_like(frame.shift) if origin is None else frame.shift.new_tensor(origin)
    return as_tuple((start - frame.shift) / frame.scale)


def ones_like_rows(x: Tensor) -> Tensor:
    """Return the constant feature ``(*B, 1, n)`` that belongs to x ``(*B, d, n)``."""
    return torch.ones_like(x[..., :1, :])


def with_constant(x: Tensor) -> Tensor:
    """Return the design of an affine function, ``(*B, 1, d + 1, n)``."""
    return torch.cat([x, torch.ones(x.shape[:-2] + (1, x.shape[-1]), dtype=x.dtype)], -2).unsqueeze(-3)


def affine(weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    """Compute an affine function of every branch at every row.

    ``weight . x + bias``.

    Parameters
    ----------
    weight : Tensor
        Slopes, ``(*B, K, d)``.
    bias : Tensor
        Intercepts, ``(*B, K)``.
    x : Tensor
        Inputs, ``(*B, d, n)``.

    Returns
    -------
    Tensor
        Values, ``(*B, K, n)``.

    Examples
    --------
    >>> import torch
    >>> from gatewise import affine
    >>> affine(torch.tensor([[2.0, 1.0]]), torch.tensor([0.5]), torch.tensor([[1.0, 2.0], [3.0, 4.0]])).tolist()
    [[5.5, 8.5]]
    """
    return weight @ one_matrix(x, weight.ndim) + bias.unsqueeze(-1)


def one_matrix(x: Tensor, rank: int) -> Tensor:
    """Return x ``(*B, d, n)`` as ``(d, n)`` where every member of a product of that rank shares it: one product.

    Of few features x stays as it is, so that sums keep their order.
    """
    shared = 2 < x.ndim <= rank and x.shape[:-2].numel() == 1
    return x.reshape(x.shape[-2:]) if shared and x.shape[-2] > 16 else x


def row_sum(rows: Tensor, weights: Tensor) -> Tensor:
    """Return ``sum_n w_n v_n``: rows ``(S, ..., K, P, n)``, weights ``(S, ..., K, n)`` -> ``(S, ..., K, P)``."""
    if rows.shape[1:-2].numel() > 1:
        return (rows @ weights.unsqueeze(-1))[..., 0]
    design = rows.reshape(rows.shape[:1] + rows.shape[-2:]) if len(rows) > 1 else rows.reshape(rows.shape[-2:])
    return (weights.flatten(1, -2) @ design.mT).unflatten(1, weights.shape[1:-1])


def weighted_gram(rows: Tensor, weights: Tensor) -> Tensor:
    """Return ``sum_n w_n v_n v_n'``: rows ``(*B, K, P, n)``, weights ``(*B, K, n)`` -> ``(*B, K, P, P)``.

    A design shared by all children is multiplied out once, so that the sum is one matrix product.
    """
    size = rows.shape[-2]
    if rows.shape[-3] > 1 or size > 12:
        return (rows * weights.unsqueeze(-2)) @ rows.mT
    i, j, place = _triangle(size, rows.device)
    design = _one_design(rows)
    packed = weights @ (design.index_select(-2, i) * design.index_select(-2, j)).mT
    return packed.index_select(-1, place).unflatten(-1, (size, size))


@cache
def _triangle(size: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return rows and columns of the upper triangle, and the place in it of every entry of a symmetric matrix."""
    i, j = torch.triu_indices(size, size, device=device)
    place = torch.empty(size, size, dtype=torch.long, device=device)
    place[i, j] = place[j, i] = torch.arange(len(i), device=device)
    return i, j, place.flatten()


def _one_design(rows: Tensor) -> Tensor:
    """Return the design ``(*B, P, n)`` that all children share, ``(P, n)`` when the batch shares it too."""
    return rows.reshape(rows.shape[-2:]) if rows.shape[:-2].numel() == 1 else rows.squeeze(-3)


def per_child(predictor: Predictor, params: Params, d: int, children: int) -> dict[str, Tensor]:
    """Give every child its own copy of every parameter: shapes ``(*B, K, 1, *shape)`` or ``(*B, K, *shape)``."""
    out = {}
    for name, spec in predictor.parameters(d).items():
        value = params[name]
        r = len(spec.shape)
        if spec.per == "branch":
            out[name] = value.unsqueeze(value.ndim - r)
        else:
            position = value.ndim - r
            shape = value.shape[:position] + (children,) + value.shape[position:]
            out[name] = value.unsqueeze(position).expand(shape)
    return out


def autograd_local(predictor: Predictor, params: Params, x: Tensor) -> Derivatives:
    """Differentiate a predictor at every row by automatic differentiation; the oracle of the closed forms."""
    d = x.shape[-2]
    value = predictor(params, x)
    children = value.shape[-2]
    specs = predictor.parameters(d)
    sizes = [spec.size for spec in specs.values()]
    if not specs:
        return Derivatives(value, value.new_zeros(value.shape[:-1] + (0, value.shape[-1])))
    single = per_child(predictor, params, d, children)
    n = x.shape[-1]

    def flat(gradients: tuple[Tensor | None, ...], leaves: list[Tensor], lead: int) -> Tensor:
        parts = [torch.zeros_like(leaf) if g is None else g for g, leaf in zip(gradients, leaves, strict=True)]
        return torch.cat([p.reshape(p.shape[:lead] + (-1,)) for p in parts], -1)

    lead = value.ndim  # rows first, then *B, K
    by_row = [v.detach().unsqueeze(0).expand((n,) + v.shape).clone().requires_grad_(True) for v in single.values()]
    # (n, *B, 1, d, 1), with a batch dimension of one wherever x has none
    x_rows = x.movedim(-1, 0).reshape((n,) + (1,) * (value.ndim - x.ndim) + x.shape[:-2] + (1, d, 1))
    with torch.enable_grad():
        total = predictor(dict(zip(specs, by_row, strict=True)), x_rows).sum()
        first = torch.autograd.grad(total, by_row, allow_unused=True)
    jacobian = flat(first, by_row, lead).movedim(0, -1)

    def curvature(weights: Tensor) -> Tensor:
        leaves = [v.detach().clone().requires_grad_(True) for v in single.values()]
        with torch.enable_grad():
            out = predictor(dict(zip(specs, leaves, strict=True)), x.unsqueeze(-3))
            weighted = (out * weights.unsqueeze(-2)).sum()
            grads = torch.autograd.grad(weighted, leaves, create_graph=True, allow_unused=True)
            gradient = flat(grads, leaves, lead - 1)
            columns = []
            for p in range(sum(sizes)):
                entry = gradient[..., p].sum()
                second = (
                    torch.autograd.grad(entry, leaves, retain_graph=True, allow_unused=True)
                    if entry.requires_grad
                    else (None,) * len(leaves)
                )
                columns.append(flat(second, leaves, lead - 1))
        return torch.stack(columns, -1)

    return Derivatives(value.detach(), jacobian, curvature)
