"""Scores made of another score: Activated and Tempered."""

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
    move_origin,
    shifted,
    weighted_gram,
)
from gatewise.core.scores.base import Affine, Score


@dataclass(frozen=True)
class Activated(Score):
    """``fn(inner) + bias`` with the bias outside the activation (2401.13875): ``fn(weight . (x - origin)) + bias``."""

    inner: Score = Affine()
    fn: str = "sigmoid"
    origin: tuple[float, ...] | None = None
    radius: float = 0.0

    def __post_init__(self) -> None:
        activation(self.fn)
        names = list(self.inner.parameters(1))
        if names[-1:] != ["bias"]:
            raise ValueError(
                f"Activated got an inner score with parameters {names}: the last one must be 'bias', which is moved "
                "outside the activation; write Tempered(Activated(...)) for a temperature"
            )

    def parameters(self, d: int) -> dict[str, Parameter]:
        return self.inner.parameters(d)

    def _inside(self, params: Params, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        return {**params, "bias": torch.zeros_like(params["bias"])}, shifted(x, self.origin)

    def __call__(self, params: Params, x: Tensor) -> Tensor:
        u = self.inner(*self._inside(params, x))
        return activation(self.fn, self.radius).value(u) + params["bias"][..., None]

    def local(self, params: Params, x: Tensor) -> Local:
        fn = activation(self.fn, self.radius)
        u, design, bend = self.inner.local(*self._inside(params, x))
        outside = torch.zeros(design.shape[-2], dtype=x.dtype)
        outside[-1] = 1.0  # the bias is the last column
        inside = design * (1 - outside)[:, None]
        first = fn.first(u)
        jacobian = inside * first.unsqueeze(-2) + outside[:, None]

        def curvature(weights: Tensor) -> Tensor:
            block = weighted_gram(inside, weights * fn.second(u))
            if bend is None:
                return block
            mask = (1 - outside)[:, None] * (1 - outside)
            return block + bend(weights * first) * mask

        return Local(fn.value(u) + params["bias"][..., None], jacobian, curvature)

    def translation(self) -> tuple[str, ...]:
        return self.inner.translation() if self.fn == "identity" else ("bias",)

    def slopes(self) -> tuple[str, ...]:
        return self.inner.slopes()

    def tangents(self, params: Params, common: bool) -> dict[str, Tensor]:
        inside = {**params, "bias": torch.zeros_like(params["bias"])}
        return self.inner.tangents(inside, common and self.fn == "identity")

    def homogeneous(self) -> bool:
        return activation(self.fn).homogeneous and self.inner.homogeneous()

    def kinked(self) -> bool:
        return activation(self.fn, self.radius).kink or self.inner.kinked()

    def hinge(self, params: Params, x: Tensor) -> Local | None:
        if not activation(self.fn, self.radius).kink:
            return None
        value, design, _ = self.inner.local(*self._inside(params, x))
        return Local(value, torch.cat([design[..., :-1, :], torch.zeros_like(design[..., -1:, :])], -2))

    def smoothed(self, radius: float) -> Activated:
        return replace(self, inner=cast(Score, self.inner.smoothed(radius)), radius=self.radius or radius)

    def rescale(self, params: Params, frame: Frame) -> tuple[Score, dict[str, Tensor]] | None:
        """Move the origin of the inner score: only its slopes change, the outside bias stays."""
        still = Frame(torch.zeros_like(frame.shift), frame.scale)
        moved = self.inner.rescale({**params, "bias": torch.zeros_like(params["bias"])}, still)
        if moved is None:
            return None
        inner, inside = cast(tuple[Score, dict[str, Tensor]], moved)
        origin = move_origin(self.origin, frame)
        return replace(self, inner=inner, origin=origin), {**inside, "bias": params["bias"]}

    def standardised(self, frame: Frame) -> Score:
        still = Frame(torch.zeros_like(frame.shift), frame.scale)
        origin = move_origin(self.origin, frame.inverse())
        return replace(self, inner=self.inner.standardised(still), origin=origin)


@dataclass(frozen=True)
class Tempered(Score):
    """``inner / temperature`` with one positive temperature per node, estimated (2401.13875)."""

    inner: Score = Affine()

    def parameters(self, d: int) -> dict[str, Parameter]:
        temperature = Parameter((), "temperature", "node", "log", (0.0, float("inf")), initial=1.0)
        return {**self.inner.parameters(d), "temperature": temperature}

    def __call__(self, params: Params, x: Tensor) -> Tensor:
        return self.inner(params, x) / params["temperature"][..., None, None]

    def local(self, params: Params, x: Tensor) -> Local:
        u, design, bend = self.inner.local(params, x)
        t = params["temperature"][..., None, None]
        value = u / t
        columns = design.shape[-2]
        shape = torch.broadcast_shapes(design.shape[:-2], value.shape[:-1]) + (columns, value.shape[-1])
        inside = (design / t[..., None]).expand(shape)
        jacobian = torch.cat([inside, (-value / t).unsqueeze(-2)], -2)

        def curvature(weights: Tensor) -> Tensor:
            cross = -(inside * weights.unsqueeze(-2)).sum(-1) / t
            block = weights.new_zeros(cross.shape[:-1] + (columns + 1, columns + 1))
            if bend is not None:
                block[..., :columns, :columns] = bend(weights / t)
            block[..., :columns, columns] = cross
            block[..., columns, :columns] = cross
            block[..., columns, columns] = (2 * weights * value).sum(-1) / t[..., 0] ** 2
            return block

        return Local(value, jacobian, curvature)

    def translation(self) -> tuple[str, ...]:
        return self.inner.translation()

    def slopes(self) -> tuple[str, ...]:
        return self.inner.slopes()

    def tangents(self, params: Params, common: bool) -> dict[str, Tensor]:
        return self.inner.tangents({name: value for name, value in params.items() if name != "temperature"}, common)

    def homogeneous(self) -> bool:
        return self.inner.homogeneous()

    def held(self) -> tuple[str, ...]:
        return (*self.inner.held(), *(("temperature",) if self.inner.homogeneous() else ()))

    def kinked(self) -> bool:
        return self.inner.kinked()

    def hinge(self, params: Params, x: Tensor) -> Local | None:
        found = self.inner.hinge({name: value for name, value in params.items() if name != "temperature"}, x)
        if found is None:
            return None
        return Local(found.value, torch.cat([found.jacobian, torch.zeros_like(found.jacobian[..., :1, :])], -2))

    def smoothed(self, radius: float) -> Tempered:
        return replace(self, inner=cast(Score, self.inner.smoothed(radius)))

    def rescale(self, params: Params, frame: Frame) -> tuple[Score, dict[str, Tensor]] | None:
        inside = {name: value for name, value in params.items() if name != "temperature"}
        moved = self.inner.rescale(inside, frame)
        if moved is None:
            return None
        return replace(self, inner=cast(Score, moved[0])), {**moved[1], "temperature": params["temperature"]}

    def standardised(self, frame: Frame) -> Score:
        return replace(self, inner=self.inner.standardised(frame))
