"""Activation functions with their first two derivatives; the dict ACTIVATIONS."""

from __future__ import annotations

from collections.abc import Callable
from math import pi, sqrt
from typing import NamedTuple

import torch
from torch import Tensor

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
    """

    value: Elementwise
    first: Elementwise
    second: Elementwise
    power: int = 0
    kink: bool = False

    @property
    def homogeneous(self) -> bool:
        """Whether s(c z) = c^q s(z) for c > 0 and some q.

        A temperature behind it is then not identified (2401.13875; derivation: the scale can be moved between
        temperature and slope).
        """
        return self.power > 0


def _gelu_first(z: Tensor) -> Tensor:
    return 0.5 * (1 + torch.erf(z / sqrt(2))) + z * torch.exp(-0.5 * z * z) / sqrt(2 * pi)


def _gelu_second(z: Tensor) -> Tensor:
    return (2 - z * z) * torch.exp(-0.5 * z * z) / sqrt(2 * pi)


def _sigmoid_first(z: Tensor) -> Tensor:
    return torch.sigmoid(z) * torch.sigmoid(-z)


def _sigmoid_second(z: Tensor) -> Tensor:
    return _sigmoid_first(z) * (1 - 2 * torch.sigmoid(z))


def _tanh_first(z: Tensor) -> Tensor:
    return 1 - torch.tanh(z) ** 2


def _tanh_second(z: Tensor) -> Tensor:
    return -2 * torch.tanh(z) * _tanh_first(z)


def _silu_first(z: Tensor) -> Tensor:
    return torch.sigmoid(z) + z * _sigmoid_first(z)


def _silu_second(z: Tensor) -> Tensor:
    return 2 * _sigmoid_first(z) + z * _sigmoid_second(z)


def _step(z: Tensor) -> Tensor:
    return (z > 0).to(z.dtype)


ACTIVATIONS: dict[str, ActivationFunction] = {
    "identity": ActivationFunction(lambda z: z, torch.ones_like, torch.zeros_like, power=1),
    "square": ActivationFunction(lambda z: z * z, lambda z: 2 * z, lambda z: torch.full_like(z, 2.0), power=2),
    "cube": ActivationFunction(lambda z: z**3, lambda z: 3 * z * z, lambda z: 6 * z, power=3),
    "relu": ActivationFunction(torch.relu, _step, torch.zeros_like, power=1, kink=True),
    "sigmoid": ActivationFunction(torch.sigmoid, _sigmoid_first, _sigmoid_second),
    "tanh": ActivationFunction(torch.tanh, _tanh_first, _tanh_second),
    "gelu": ActivationFunction(torch.nn.functional.gelu, _gelu_first, _gelu_second),
    "silu": ActivationFunction(torch.nn.functional.silu, _silu_first, _silu_second),
    "softplus": ActivationFunction(torch.nn.functional.softplus, torch.sigmoid, _sigmoid_first),
}


def activation(name: str, radius: float = 0.0) -> ActivationFunction:
    """Return the activation called `name`; a positive `radius` rounds the kink of ReLU over that width.

    Raises
    ------
    ValueError
        If the name is unknown.

    Examples
    --------
    >>> activation("tanh").homogeneous
    False
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"activation {name!r} is unknown: choose one of {', '.join(ACTIVATIONS)}")
    chosen = ACTIVATIONS[name]
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
