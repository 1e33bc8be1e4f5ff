"""Activations of the built-in experts, elementwise or gated, by name."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gatewise.core.activations import ACTIVATIONS, ActivationFunction
from gatewise.core.names import look_up


class Unit(NamedTuple):
    """An elementwise activation, and whether half of its inputs gate the others."""

    fn: ActivationFunction
    gated: bool = False

    def apply(self, pre: Tensor) -> Tensor:
        """Return the hidden units ``(n, H)`` of ``pre (n, H)``, or ``(n, 2 H)`` when gated."""
        if not self.gated:
            return self.fn.value(pre)
        first, second = pre.chunk(2, -1)
        return self.fn.value(first) * second

    def pull_back(self, gradient: Tensor, pre: Tensor) -> Tensor:
        """Return the gradient in `pre` from that in the hidden units."""
        if not self.gated:
            return self.fn.pull_back(gradient, pre)
        first, second = pre.chunk(2, -1)
        return torch.cat([self.fn.pull_back(gradient * second, first), gradient * self.fn.value(first)], -1)


UNITS = {name: Unit(fn) for name, fn in ACTIVATIONS.items()} | {"swiglu": Unit(ACTIVATIONS["silu"], gated=True)}


def unit(name: str) -> Unit:
    """Return the activation called `name`."""
    return look_up("activation", name, UNITS)
