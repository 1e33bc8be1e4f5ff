"""Experts with an activation function: Activation, the bare forms of the papers, and HiddenUnit, free in its units."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gatewise.core.activations import activation
from gatewise.core.experts.base import Expert
from gatewise.core.parameters import Parameter
from gatewise.core.predictors import (
    AffineTransform,
    Derivatives,
    Params,
    affine,
    as_tuple,
    move_origin,
    ones_like_rows,
    shifted,
    weighted_gram,
    with_constant,
)


@dataclass(frozen=True)
class Activation(Expert):
    """Expert without a free height.

    ``h(x) = output * fn(coef . (x - origin) + intercept)``. The experts of the papers (``bare-...``, ``...-no-bias``)
    and powers of an affine map are of this form.

    Attributes
    ----------
    fn : str
        Name of the activation, such as ``gelu``, ``relu``, ``tanh``, ``sigmoid``, ``square`` or ``cube``.
    bias : bool
        Whether an intercept is added inside the activation.
    output : bool
        Whether the value is multiplied by an output weight; otherwise by 1.
    origin : tuple of float, optional
        Point from which inputs are counted; None: zero. Fits on standardised inputs set it.
    radius : float
        Width over which a kink of the activation is smoothed during the search; 0: the model itself.
    location, spread : tuple of float, optional
        Per output: the value is ``(value - location) / spread``, as for a standardised response. None: as it is.

    Examples
    --------
    >>> import torch
    >>> from gatewise import Activation
    >>> params = {"coef": torch.tensor([[2.0]]), "intercept": torch.tensor([-1.0])}
    >>> Activation("relu")(params, torch.tensor([[0.0, 1.0, 2.0]])).tolist()  # one output, three rows
    [[0.0, 1.0, 3.0]]
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

    def value_and_derivatives(self, params: Params, x: Tensor) -> Derivatives:
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

        return Derivatives(self(params, x), jacobian, curvature)

    def kinked(self) -> bool:
        return activation(self.fn, self.radius).kink

    def relu_kink(self, params: Params, x: Tensor) -> Derivatives | None:
        if not self.kinked():
            return None
        v = shifted(x, self.origin)
        design = with_constant(v) if self.bias else v.unsqueeze(-3)
        if self.output:
            design = torch.cat([design, torch.zeros_like(design[..., :1, :])], -2)
        return Derivatives(self._inside(params, x), design)

    def plain(self) -> Activation:
        return replace(self, origin=None, location=None, spread=None)

    def smoothed(self, radius: float) -> Activation:
        return replace(self, radius=self.radius or radius)

    def rescale(self, params: Params, frame: AffineTransform) -> tuple[Expert, dict[str, Tensor]]:
        coef = params["coef"]
        moved = {**params, "coef": coef * frame.scale}
        if not self.bias:
            return replace(self, origin=move_origin(self.origin, frame)), moved
        start = torch.zeros_like(frame.shift) if self.origin is None else frame.shift.new_tensor(self.origin)
        moved["intercept"] = params["intercept"] + coef @ (frame.shift - start)
        return replace(self, origin=None), moved

    def standardised(self, inputs: AffineTransform) -> Expert:
        return self if self.bias else replace(self, origin=move_origin(self.origin, inputs.inverse()))

    def rescale_response(self, params: Params, frame: AffineTransform) -> tuple[Expert, dict[str, Tensor]]:
        """Move `location` and `spread`; the parameters stay."""
        location = torch.zeros_like(frame.shift) if self.location is None else frame.shift.new_tensor(self.location)
        spread = torch.ones_like(frame.scale) if self.spread is None else frame.scale.new_tensor(self.spread)
        moved = (location - frame.shift) / frame.scale
        return replace(self, location=as_tuple(moved), spread=as_tuple(spread / frame.scale)), dict(params)


@dataclass(frozen=True)
class HiddenUnit(Expert):
    """Hidden-unit expert, for x and y in any units.

    ``h(x) = output * fn(coef . x + bias) + intercept``. If ``fn(c z) = c^p fn(z)`` for c > 0 (relu, square, cube), the
    parameters ``(c coef, c bias, output / c^p)`` give the same function for every c. Fits report the solution with
    ``|output| = 1``, and standard errors are conditional on it.

    Attributes
    ----------
    fn : str
        Name of the activation.
    radius : float
        Width over which a kink of the activation is smoothed during the search; 0: the model itself.

    Examples
    --------
    >>> import torch
    >>> params = {"coef": torch.tensor([[2.0]]), "bias": torch.tensor([-1.0])}
    >>> params |= {"output": torch.tensor([3.0]), "intercept": torch.tensor([10.0])}
    >>> HiddenUnit("relu")(params, torch.tensor([[0.0, 1.0, 2.0]])).tolist()
    [[10.0, 13.0, 19.0]]
    """

    fn: str = "gelu"
    radius: float = 0.0

    def __post_init__(self) -> None:
        activation(self.fn)

    def parameters(self, d: int) -> dict[str, Parameter]:
        return {
            "coef": Parameter((d,), "slope"),
            "bias": Parameter((), "threshold"),
            "output": Parameter((), "output", initial=1.0),
            "intercept": Parameter((), "intercept"),
        }

    @property
    def unit(self) -> Activation:
        """The unit without the constant outside."""
        return Activation(self.fn, output=True, radius=self.radius)

    def _inside(self, params: Params) -> dict[str, Tensor]:
        return {"coef": params["coef"], "intercept": params["bias"], "output": params["output"]}

    def __call__(self, params: Params, x: Tensor) -> Tensor:
        return self.unit(self._inside(params), x) + params["intercept"][..., None]

    def value_and_derivatives(self, params: Params, x: Tensor) -> Derivatives:
        value, jacobian, inner = self.unit.value_and_derivatives(self._inside(params), x)
        assert inner is not None
        constant = ones_like_rows(x).unsqueeze(-3).expand(*jacobian.shape[:-2], 1, jacobian.shape[-1])

        def curvature(weights: Tensor) -> Tensor:
            return torch.nn.functional.pad(inner(weights), (0, 1, 0, 1))

        return Derivatives(value + params["intercept"][..., None], torch.cat([jacobian, constant], -2), curvature)

    def kinked(self) -> bool:
        return self.unit.kinked()

    def relu_kink(self, params: Params, x: Tensor) -> Derivatives | None:
        found = self.unit.relu_kink(self._inside(params), x)
        return found and Derivatives(found.value, torch.nn.functional.pad(found.jacobian, (0, 0, 0, 1)))

    def smoothed(self, radius: float) -> HiddenUnit:
        return replace(self, radius=self.radius or radius)

    def rescale(self, params: Params, frame: AffineTransform) -> tuple[Expert, dict[str, Tensor]]:
        coef = params["coef"]
        return self, {**params, "coef": coef * frame.scale, "bias": params["bias"] + coef @ frame.shift}

    def rescale_response(self, params: Params, frame: AffineTransform) -> tuple[Expert, dict[str, Tensor]]:
        outside = {"output": params["output"], "intercept": params["intercept"] - frame.shift}
        return self, {**params, **{name: value / frame.scale for name, value in outside.items()}}

    @property
    def _power(self) -> int:
        """Power p of ``fn(c z) = c^p fn(z)``; 0 where there is none."""
        return activation(self.fn).power if self.radius == 0 else 0

    def held(self) -> tuple[str, ...]:
        return ("output",) if self._power else ()

    def tangents(self, params: Params) -> dict[str, Tensor]:
        moved = {"coef": params["coef"], "bias": params["bias"], "output": -self._power * params["output"]}
        return {name: value.unsqueeze(0) for name, value in moved.items()} if self._power else {}

    def canonical(self, params: Params) -> dict[str, Tensor]:
        if not self._power:
            return dict(params)
        size = params["output"].abs()
        size = torch.where(size > 0, size, 1.0)
        factor = size ** (1 / self._power)
        moved = {"coef": params["coef"] * factor[..., None], "bias": params["bias"] * factor}
        return {**params, **moved, "output": params["output"] / size}
