"""Experts: what each leaf predicts. Outputs are the children: ``(*B, leaves.., q, n)``; the dict EXPERTS.

A short name is an expert that fits data of its kind in any units of y: ``gelu`` is ``output * gelu(coef . x + bias) +
intercept``, ``polynomial`` has all powers up to the second. The bare forms of the papers have names that say so:
``bare-gelu`` is ``gelu(coef . x + intercept)``, ``gelu-no-bias`` is ``gelu(coef . x)``, ``gelu-unit`` has an output
weight and nothing added outside, ``square`` and ``cube`` are powers of one affine map.
"""

from __future__ import annotations

from typing import Any

from gatewise.core.experts.base import Constant, Expert, Linear, NoExpert
from gatewise.core.experts.polynomial import Polynomial
from gatewise.core.experts.units import Activation, HiddenUnit
from gatewise.core.names import resolve

__all__ = ["EXPERTS", "Activation", "Constant", "Expert", "HiddenUnit", "Linear", "NoExpert", "Polynomial", "expert"]

EXPERTS: dict[str, Expert] = {
    "linear": Linear(),
    "constant": Constant(),
    "polynomial": Polynomial(),
    "cubic": Polynomial(3),
    "relu": HiddenUnit("relu"),
    "gelu": HiddenUnit("gelu"),
    "tanh": HiddenUnit("tanh"),
    "sigmoid": HiddenUnit("sigmoid"),
    "silu": HiddenUnit("silu"),
    "softplus": HiddenUnit("softplus"),
    "square": Activation("square"),
    "cube": Activation("cube"),
    "bare-relu": Activation("relu"),
    "bare-gelu": Activation("gelu"),
    "bare-tanh": Activation("tanh"),
    "bare-sigmoid": Activation("sigmoid"),
    "gelu-unit": Activation("gelu", output=True),
    "relu-unit": Activation("relu", output=True),
    "tanh-unit": Activation("tanh", output=True),
    "gelu-no-bias": Activation("gelu", bias=False),
    "relu-no-bias": Activation("relu", bias=False),
    "tanh-no-bias": Activation("tanh", bias=False),
}


def expert(choice: Any) -> Expert:
    """Return the expert called `choice`, or the expert itself; see `names.resolve`."""
    return resolve(choice, Expert, "EXPERTS", EXPERTS)
