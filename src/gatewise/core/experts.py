"""Experts: what each leaf predicts. Outputs are the children: ``(*B, leaves.., q, n)``; the dict EXPERTS."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor

from gatewise.core.activations import activation
from gatewise.core.predictors import (
    Frame,
    Local,
    Parameter,
    Params,
    Predictor,
    affine,
    as_tuple,
    move_origin,
    ones_like_rows,
    shifted,
    weighted_gram,
    with_constant,
)


@dataclass(frozen=True)
class Expert(Predictor):
    """A predictor with one child per output; what `response` says about changing the units of y.

    Attributes
    ----------
    linear : bool
        True when the value is ``coefficients . design(x)``, so that weighted least squares is closed-form.
    by_leaf : bool
        True when leaves differ in kind, so that they cannot change places.
    """

    linear = False
    by_leaf = False

    def rescale_response(self, params: Params, frame: Frame) -> tuple[Expert, dict[str, Tensor]] | None:
        """Return an expert and parameters with value ``(old value - shift) / scale`` per output, or None."""
        return None

    def kinked(self) -> bool:
        """Return whether the first derivative jumps somewhere."""
        return False

    def standardised(self, inputs: Frame, response: Frame) -> Expert:
        """Return the expert defined on standardised inputs and response, in the units of the data."""
        return self


@dataclass(frozen=True)
class Constant(Expert):
    """``intercept``: an expert that ignores the inputs."""

    linear = True

    def parameters(self, d: int) -> dict[str, Parameter]:
        return {"intercept": Parameter((), "intercept")}

    def __call__(self, params: Params, x: Tensor) -> Tensor:
        return params["intercept"][..., None] + torch.zeros_like(x[..., :1, :])

    def local(self, params: Params, x: Tensor) -> Local:
        return Local(self(params, x), ones_like_rows(x).unsqueeze(-3))

    def rescale(self, params: Params, frame: Frame) -> tuple[Expert, dict[str, Tensor]]:
        return self, dict(params)

    def rescale_response(self, params: Params, frame: Frame) -> tuple[Expert, dict[str, Tensor]]:
        return self, {"intercept": (params["intercept"] - frame.shift) / frame.scale}


@dataclass(frozen=True)
class Linear(Expert):
    """``coef . x + intercept``."""

    linear = True

    def parameters(self, d: int) -> dict[str, Parameter]:
        return {"coef": Parameter((d,), "slope"), "intercept": Parameter((), "intercept")}

    def __call__(self, params: Params, x: Tensor) -> Tensor:
        return affine(params["coef"], params["intercept"], x)

    def local(self, params: Params, x: Tensor) -> Local:
        return Local(self(params, x), with_constant(x))

    def rescale(self, params: Params, frame: Frame) -> tuple[Expert, dict[str, Tensor]]:
        coef = params["coef"]
        return self, {"coef": coef * frame.scale, "intercept": params["intercept"] + coef @ frame.shift}

    def rescale_response(self, params: Params, frame: Frame) -> tuple[Expert, dict[str, Tensor]]:
        coef = params["coef"] / frame.scale[:, None]
        return self, {"coef": coef, "intercept": (params["intercept"] - frame.shift) / frame.scale}


@dataclass(frozen=True)
class Activation(Expert):
    """``output * fn(coef . (x - origin) + intercept)``: a unit of a feed-forward network, or a power of an affine map.

    `bias` and `output` say whether intercept and output weight exist: the three forms differ in identifiability.
    `location` and `spread` move the value to the units of the response.
    """

    fn: str = "gelu"
    bias: bool = True
    output: bool = False
    origin: tuple[float, ...] | None = None
    radius: float = 0.0
    location: tuple[float, ...] | None = None
    spread: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        activation(self.fn)

    def parameters(self, d: int) -> dict[str, Parameter]:
        names = {"coef": Parameter((d,), "slope")}
        if self.bias:
            names["intercept"] = Parameter((), "threshold")
        if self.output:
            names["output"] = Parameter((), "output", initial=1.0)
        return names

    def _inside(self, params: Params, x: Tensor) -> Tensor:
        intercept = params["intercept"] if self.bias else torch.zeros_like(params["coef"][..., 0])
        return affine(params["coef"], intercept, shifted(x, self.origin))

    def _spread(self, x: Tensor) -> Tensor:
        return x.new_ones(1) if self.spread is None else x.new_tensor(self.spread)[:, None]

    def _outer(self, params: Params, x: Tensor) -> Tensor:
        return params["output"][..., None] * self._spread(x) if self.output else self._spread(x)

    def __call__(self, params: Params, x: Tensor) -> Tensor:
        value = self._outer(params, x) * activation(self.fn, self.radius).value(self._inside(params, x))
        return value if self.location is None else value + x.new_tensor(self.location)[:, None]

    def local(self, params: Params, x: Tensor) -> Local:
        fn = activation(self.fn, self.radius)
        u, outer = self._inside(params, x), self._outer(params, x)
        v = shifted(x, self.origin)
        design = with_constant(v) if self.bias else v.unsqueeze(-3)
        first, second = fn.first(u), fn.second(u)
        inside = design * (outer * first).unsqueeze(-2)
        value = fn.value(u) * self._spread(x)
        jacobian = torch.cat([inside, value.unsqueeze(-2)], -2) if self.output else inside
        shape = u.shape[:-1] + design.shape[-2:]

        def curvature(weights: Tensor) -> Tensor:
            block = weighted_gram(design.expand(shape), weights * outer * second)
            if not self.output:
                return block
            slope = first * self._spread(x)
            cross = (design * (weights * slope).unsqueeze(-2)).sum(-1)
            block = torch.nn.functional.pad(block, (0, 1, 0, 1))
            block[..., :-1, -1] = cross
            block[..., -1, :-1] = cross
            return block

        return Local(self(params, x), jacobian, curvature)

    def kinked(self) -> bool:
        return activation(self.fn, self.radius).kink

    def hinge(self, params: Params, x: Tensor) -> Local | None:
        if not self.kinked():
            return None
        v = shifted(x, self.origin)
        design = with_constant(v) if self.bias else v.unsqueeze(-3)
        if self.output:
            design = torch.cat([design, torch.zeros_like(design[..., :1, :])], -2)
        return Local(self._inside(params, x), design)

    def plain(self) -> Activation:
        return replace(self, origin=None, location=None, spread=None)

    def smoothed(self, radius: float) -> Activation:
        return replace(self, radius=self.radius or radius)

    def rescale(self, params: Params, frame: Frame) -> tuple[Expert, dict[str, Tensor]]:
        coef = params["coef"]
        moved = {**params, "coef": coef * frame.scale}
        if not self.bias:
            return replace(self, origin=move_origin(self.origin, frame)), moved
        start = torch.zeros_like(frame.shift) if self.origin is None else frame.shift.new_tensor(self.origin)
        moved["intercept"] = params["intercept"] + coef @ (frame.shift - start)
        return replace(self, origin=None), moved

    def standardised(self, inputs: Frame, response: Frame) -> Expert:
        origin = None if self.bias else move_origin(self.origin, inputs.inverse())
        moved, _ = self.rescale_response({}, response.inverse())
        return replace(cast(Activation, moved), origin=origin)

    def rescale_response(self, params: Params, frame: Frame) -> tuple[Expert, dict[str, Tensor]]:
        """Move `location` and `spread`; the parameters stay."""
        location = torch.zeros_like(frame.shift) if self.location is None else frame.shift.new_tensor(self.location)
        spread = torch.ones_like(frame.scale) if self.spread is None else frame.scale.new_tensor(self.spread)
        moved = (location - frame.shift) / frame.scale
        return replace(self, location=as_tuple(moved), spread=as_tuple(spread / frame.scale)), dict(params)


EXPERTS: dict[str, Expert] = {
    "linear": Linear(),
    "constant": Constant(),
    "polynomial": Activation("square"),
    "cubic": Activation("cube"),
    "relu": Activation("relu"),
    "gelu": Activation("gelu"),
    "tanh": Activation("tanh"),
    "sigmoid": Activation("sigmoid"),
    "gelu-unit": Activation("gelu", output=True),
    "relu-unit": Activation("relu", output=True),
    "tanh-unit": Activation("tanh", output=True),
    "gelu-no-bias": Activation("gelu", bias=False),
    "relu-no-bias": Activation("relu", bias=False),
    "tanh-no-bias": Activation("tanh", bias=False),
}


def expert(choice: str | Expert) -> Expert:
    """Return the expert called `choice`, or the expert itself.

    Raises
    ------
    ValueError
        If no expert has that name.
    TypeError
        If `choice` is neither a name nor an Expert.
    """
    if isinstance(choice, Expert):
        return choice
    if not isinstance(choice, str):
        raise TypeError(f"expert={choice!r} is a {type(choice).__name__}: give a name of EXPERTS or an Expert")
    if choice not in EXPERTS:
        raise ValueError(f"expert {choice!r} is unknown: the names are {', '.join(EXPERTS)}")
    return EXPERTS[choice]
