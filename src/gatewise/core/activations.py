"""Activation functions with their first two derivatives; the dict ACTIVATIONS, for gates, experts and layers."""

from __future__ import annotations

from collections.abc import Callable
from math import pi, sqrt
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gatewise.core.names import look_up

aten = torch.ops.aten
SLOPE, CUBIC = sqrt(2 / pi), 0.044715  # of the approximation of gelu by tanh
Elementwise = Callable[[Tensor], Tensor]


class ActivationFunction(NamedTuple):
    """A scalar function applied elementwise, with what the theory asks of it.

    Attributes
    ----------
    value, first, second : callable
        The function and its derivatives, elementwise.
    power : int
        The q of s(c z) = c^q s(z) for all c > 0, 0 where there is none.
    kink : bool
        True when the first derivative jumps at zero.
    backward : callable, optional
        ``(gradient, z) -> gradient first(z)`` in one kernel of torch, where it has one; see `pull_back`.
    """

    value: Elementwise
    first: Elementwise
    second: Elementwise
    power: int = 0
    kink: bool = False
    backward: Callable[[Tensor, Tensor], Tensor] | None = None

    def pull_back(self, gradient: Tensor, z: Tensor) -> Tensor:
        """Return the gradient in z from that in the value."""
        return gradient * self.first(z) if self.backward is None else self.backward(gradient, z)

    @property
    def homogeneous(self) -> bool:
        """Whether s(c z) = c^q s(z) for c > 0 and some q.

        A temperature behind it is then not identified (2401.13875; derivation: the scale can be moved between
        temperature and slope).
        """
        return self.power > 0


def _bell(z: Tensor) -> Tensor:
    return torch.exp(-0.5 * z * z) / sqrt(2 * pi)


def _sigmoid_first(z: Tensor) -> Tensor:
    return torch.sigmoid(z) * torch.sigmoid(-z)


def _sigmoid_second(z: Tensor) -> Tensor:
    return _sigmoid_first(z) * (1 - 2 * torch.sigmoid(z))


def _gelu_tanh_first(z: Tensor) -> Tensor:
    t = torch.tanh(SLOPE * (z + CUBIC * z**3))
    return 0.5 * (1 + t) + 0.5 * SLOPE * z * (1 - t * t) * (1 + 3 * CUBIC * z * z)


def _gelu_tanh_second(z: Tensor) -> Tensor:
    t, square = torch.tanh(SLOPE * (z + CUBIC * z**3)), z * z
    slope = SLOPE * (1 + 3 * CUBIC * square)
    return (1 - t * t) * (SLOPE * (1 + 6 * CUBIC * square) - z * t * slope * slope)


ACTIVATIONS: dict[str, ActivationFunction] = {
    "identity": ActivationFunction(lambda z: z, torch.ones_like, torch.zeros_like, power=1),
    "square": ActivationFunction(lambda z: z * z, lambda z: 2 * z, lambda z: torch.full_like(z, 2.0), power=2),
    "cube": ActivationFunction(lambda z: z**3, lambda z: 3 * z * z, lambda z: 6 * z, power=3),
    "relu": ActivationFunction(
        torch.relu,
        lambda z: (z > 0).to(z.dtype),
        torch.zeros_like,
        power=1,
        kink=True,
        backward=lambda g, z: aten.threshold_backward(g, z, 0.0),
    ),
    "sigmoid": ActivationFunction(torch.sigmoid, _sigmoid_first, _sigmoid_second),
    "tanh": ActivationFunction(
        torch.tanh, lambda z: 1 - torch.tanh(z) ** 2, lambda z: -2 * torch.tanh(z) * (1 - torch.tanh(z) ** 2)
    ),
    "gelu": ActivationFunction(
        F.gelu,
        lambda z: 0.5 * (1 + torch.erf(z / sqrt(2))) + z * _bell(z),
        lambda z: (2 - z * z) * _bell(z),
        backward=lambda g, z: aten.gelu_backward(g, z),
    ),
    "gelu-tanh": ActivationFunction(
        lambda z: F.gelu(z, approximate="tanh"),
        _gelu_tanh_first,
        _gelu_tanh_second,
        backward=lambda g, z: aten.gelu_backward(g, z, approximate="tanh"),
    ),
    "silu": ActivationFunction(
        F.silu,
        lambda z: torch.sigmoid(z) + z * _sigmoid_first(z),
        lambda z: 2 * _sigmoid_first(z) + z * _sigmoid_second(z),
        backward=lambda g, z: aten.silu_backward(g, z),
    ),
    "softplus": ActivationFunction(F.softplus, torch.sigmoid, _sigmoid_first),
}


def activation(name: str, radius: float = 0.0) -> ActivationFunction:
    """Return the activation called `name`; a positive `radius` rounds the kink of ReLU over that width.

    Examples
    --------
    >>> activation("tanh").homogeneous
    False
    """
    chosen = look_up("activation", name, ACTIVATIONS)
    if not (chosen.kink and radius > 0):
        return chosen

    def root(z: Tensor) -> Tensor:
        return torch.sqrt(z * z + radius * radius)

    return ActivationFunction(
        lambda z: 0.5 * (z + root(z)),
        lambda z: 0.5 * (1 + z / root(z)),
        lambda z: 0.5 * radius * radius / root(z) ** 3,
        power=chosen.power,
    )
