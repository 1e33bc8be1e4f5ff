"""Scores made of another score: Activated and Tempered. Whatever they add to its parameters has a name of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import pad

from gatewise.core.activations import activation
from gatewise.core.parameters import Parameter, fresh_name
from gatewise.core.predictors import AffineTransform, Derivatives, Params, move_origin, shifted, weighted_gram
from gatewise.core.scores.base import Affine, Score


@dataclass(frozen=True)
class Activated(Score):
    """Score with an activation: ``s_k(x) = fn(inner_k(x)) + bias_k`` (2401.13875).

    For an affine inner score this is ``fn(weight_k . (x - origin)) + bias_k``: the bias lies outside the activation.

    Attributes
    ----------
    inner : Score
        The score inside the activation; its bias, if it has one, is moved outside.
    fn : str
        Name of the activation, such as ``sigmoid``, ``tanh``, ``gelu`` or ``relu``.
    origin : tuple of float, optional
        Point from which inputs are counted; None: zero. Fits on standardised inputs set it.
    radius : float
        Width over which a kink of the activation is smoothed during the search; 0: the model itself.

    Examples
    --------
    >>> import torch
    >>> from gatewise import Activated, Affine
    >>> params = {"weight": torch.tensor([[2.0], [0.0]]), "bias": torch.tensor([1.0, 0.0])}
    >>> Activated(Affine(), "relu")(params, torch.tensor([[-1.0, 0.0, 1.0]])).tolist()  # two branches, three rows
    [[1.0, 1.0, 3.0], [0.0, 0.0, 0.0]]
    """

    inner: Score = Affine()
    fn: str = "sigmoid"
    origin: tuple[float, ...] | None = None
    radius: float = 0.0

    def __post_init__(self) -> None:
        activation(self.fn)

    def bias(self) -> str:
        return self.inner.bias() or fresh_name("bias", self.inner.parameters(1))

    def parameters(self, d: int) -> dict[str, Parameter]:
        found = self.inner.parameters(d)
        return found if self.inner.bias() else {**found, self.bias(): Parameter((), "intercept")}

    def _inside(self, params: Params) -> dict[str, Tensor]:
        """Return the parameters of the inner score, its bias at zero."""
        inside = {name: params[name] for name in self.inner.parameters(1)}
        name = self.inner.bias()
        return inside if name is None else {**inside, name: torch.zeros_like(params[name])}

    def _column(self, d: int) -> int:
        """Return the column of the bias among those of all parameters."""
        specs = self.parameters(d)
        return sum(specs[name].size for name in list(specs)[: list(specs).index(self.bias())])

    def _without_bias(self, jacobian: Tensor, d: int) -> tuple[Tensor, Tensor]:
        """Return the inner Jacobian with zeros in the column of the bias, and one there ``(P, 1)``, zero elsewhere."""
        if self.inner.bias() is None:
            jacobian = pad(jacobian, (0, 0, 0, 1))
        outside = jacobian.new_zeros(jacobian.shape[-2], 1)
        outside[self._column(d)] = 1.0
        return jacobian * (1 - outside), outside

    def __call__(self, params: Params, x: Tensor) -> Tensor:
        u = self.inner(self._inside(params), shifted(x, self.origin))
        return activation(self.fn, self.radius).value(u) + params[self.bias()][..., None]

    def value_and_derivatives(self, params: Params, x: Tensor) -> Derivatives:
        fn = activation(self.fn, self.radius)
        u, design, inner = self.inner.value_and_derivatives(self._inside(params), shifted(x, self.origin))
        inside, outside = self._without_bias(design, x.shape[-2])
        first = fn.first(u)
        jacobian = inside * first.unsqueeze(-2) + outside

        def curvature(weights: Tensor) -> Tensor:
            block = weighted_gram(inside, weights * fn.second(u))
            if inner is None:
                return block
            curved = inner(weights * first)
            more = block.shape[-1] - curved.shape[-1]
            return block + pad(curved, (0, more, 0, more)) * (1 - outside) * (1 - outside.mT)

        return Derivatives(fn.value(u) + params[self.bias()][..., None], jacobian, curvature)

    def translation(self) -> tuple[str, ...]:
        return self.inner.translation() if self.fn == "identity" and self.inner.bias() else (self.bias(),)

    def tangents(self, params: Params, common: bool) -> dict[str, Tensor]:
        return self.inner.tangents(self._inside(params), common and self.fn == "identity")

    def homogeneous(self) -> bool:
        return activation(self.fn).homogeneous and self.inner.homogeneous()

    def held(self) -> tuple[str, ...]:
        return self.inner.held()

    def kinked(self) -> bool:
        return activation(self.fn, self.radius).kink or self.inner.kinked()

    def relu_kink(self, params: Params, x: Tensor) -> Derivatives | None:
        if not activation(self.fn, self.radius).kink:
            return None
        value, design, _ = self.inner.value_and_derivatives(self._inside(params), shifted(x, self.origin))
        return Derivatives(value, self._without_bias(design, x.shape[-2])[0])

    def smoothed(self, radius: float) -> Activated:
        return replace(self, inner=cast(Score, self.inner.smoothed(radius)), radius=self.radius or radius)

    def rescale(self, params: Params, frame: AffineTransform) -> tuple[Score, dict[str, Tensor]] | None:
        """Move the origin of the inner score: only its slopes change, the outside bias stays."""
        still = AffineTransform(torch.zeros_like(frame.shift), frame.scale)
        moved = self.inner.rescale(self._inside(params), still)
        if moved is None:
            return None
        inner, inside = cast(tuple[Score, dict[str, Tensor]], moved)
        origin = move_origin(self.origin, frame)
        return replace(self, inner=inner, origin=origin), {**inside, self.bias(): params[self.bias()]}

    def standardised(self, frame: AffineTransform) -> Score:
        still = AffineTransform(torch.zeros_like(frame.shift), frame.scale)
        origin = move_origin(self.origin, frame.inverse())
        return replace(self, inner=self.inner.standardised(still), origin=origin)

    def plain(self) -> Activated:
        return replace(self, inner=cast(Score, self.inner.plain()), origin=None)


@dataclass(frozen=True)
class Tempered(Score):
    """Score divided by a temperature: ``s_k(x) = inner_k(x) / temperature`` (2401.13875).

    Each node of the gate has one positive temperature, which is estimated.

    Attributes
    ----------
    inner : Score
        The score that is divided.

    Examples
    --------
    >>> import torch
    >>> from gatewise import Affine, Tempered
    >>> params = {"weight": torch.tensor([[2.0], [0.0]]), "bias": torch.tensor([1.0, 0.0])}
    >>> params |= {"temperature": torch.tensor(0.5)}
    >>> Tempered(Affine())(params, torch.tensor([[0.0, 1.0]])).tolist()  # two branches, two rows
    [[2.0, 6.0], [0.0, 0.0]]
    """

    inner: Score = Affine()

    def temperature(self) -> str:
        """Return the name of the temperature; a tempered score that is tempered again has two."""
        return fresh_name("temperature", self.inner.parameters(1))

    def parameters(self, d: int) -> dict[str, Parameter]:
        temperature = Parameter((), "temperature", "node", "log", (0.0, float("inf")), initial=1.0)
        return {**self.inner.parameters(d), self.temperature(): temperature}

    def _inside(self, params: Params) -> dict[str, Tensor]:
        """Return the parameters of the inner score."""
        return {name: params[name] for name in self.inner.parameters(1)}

    def __call__(self, params: Params, x: Tensor) -> Tensor:
        return self.inner(self._inside(params), x) / params[self.temperature()][..., None, None]

    def value_and_derivatives(self, params: Params, x: Tensor) -> Derivatives:
        u, design, inner = self.inner.value_and_derivatives(self._inside(params), x)
        t = params[self.temperature()][..., None, None]
        value = u / t
        columns = design.shape[-2]
        shape = torch.broadcast_shapes(design.shape[:-2], value.shape[:-1]) + (columns, value.shape[-1])
        inside = (design / t[..., None]).expand(shape)
        jacobian = torch.cat([inside, (-value / t).unsqueeze(-2)], -2)

        def curvature(weights: Tensor) -> Tensor:
            cross = -(inside * weights.unsqueeze(-2)).sum(-1) / t
            block = weights.new_zeros(cross.shape[:-1] + (columns + 1, columns + 1))
            if inner is not None:
                block[..., :columns, :columns] = inner(weights / t)
            block[..., :columns, columns] = cross
            block[..., columns, :columns] = cross
            block[..., columns, columns] = (2 * weights * value).sum(-1) / t[..., 0] ** 2
            return block

        return Derivatives(value, jacobian, curvature)

    def bias(self) -> str | None:
        return self.inner.bias()

    def bias_rate(self, params: Params) -> Tensor:
        return self.inner.bias_rate(self._inside(params)) / params[self.temperature()]

    def translation(self) -> tuple[str, ...]:
        return self.inner.translation()

    def tangents(self, params: Params, common: bool) -> dict[str, Tensor]:
        return self.inner.tangents(self._inside(params), common)

    def homogeneous(self) -> bool:
        return True

    def held(self) -> tuple[str, ...]:
        return (*self.inner.held(), *((self.temperature(),) if self.inner.homogeneous() else ()))

    def kinked(self) -> bool:
        return self.inner.kinked()

    def relu_kink(self, params: Params, x: Tensor) -> Derivatives | None:
        found = self.inner.relu_kink(self._inside(params), x)
        return None if found is None else Derivatives(found.value, pad(found.jacobian, (0, 0, 0, 1)))

    def smoothed(self, radius: float) -> Tempered:
        return replace(self, inner=cast(Score, self.inner.smoothed(radius)))

    def rescale(self, params: Params, frame: AffineTransform) -> tuple[Score, dict[str, Tensor]] | None:
        moved = self.inner.rescale(self._inside(params), frame)
        if moved is None:
            return None
        return replace(self, inner=cast(Score, moved[0])), {**moved[1], self.temperature(): params[self.temperature()]}

    def standardised(self, frame: AffineTransform) -> Score:
        return replace(self, inner=self.inner.standardised(frame))

    def plain(self) -> Tempered:
        return replace(self, inner=cast(Score, self.inner.plain()))
