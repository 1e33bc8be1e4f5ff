"""Parts about an origin: predictors of ``x - origin``, for inputs so far from zero that their own units lose digits.

Parameters at inputs near 1e8 multiply numbers that cancel. Those of the same part about an origin among the data do
not. `rescale` leads back to the part itself: fits never see these wrappers, only their results carry them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor

from gatewise.core.experts import Expert
from gatewise.core.gates import Gate
from gatewise.core.mixture import Mixture
from gatewise.core.predictors import AffineTransform, Derivatives, Parameter, Params, Predictor, as_tuple, shifted
from gatewise.core.scores import Score


def _about(frame: AffineTransform, origin: tuple[float, ...]) -> AffineTransform:
    """Return the frame, given for x, for ``x - origin``."""
    return AffineTransform(frame.shift - frame.shift.new_tensor(origin), frame.scale)


@dataclass(frozen=True)
class ScoreAbout(Score):
    """The `score` of ``x - origin``."""

    score: Score
    origin: tuple[float, ...]

    def parameters(self, d: int) -> dict[str, Parameter]:
        return self.score.parameters(d)

    def __call__(self, params: Params, x: Tensor) -> Tensor:
        return self.score(params, shifted(x, self.origin))

    def value_and_derivatives(self, params: Params, x: Tensor) -> Derivatives:
        return self.score.value_and_derivatives(params, shifted(x, self.origin))

    def relu_kink(self, params: Params, x: Tensor) -> Derivatives | None:
        return self.score.relu_kink(params, shifted(x, self.origin))

    def reference(self) -> tuple[float, ...] | None:
        return self.origin

    def rescale(self, params: Params, frame: AffineTransform) -> tuple[Predictor, dict[str, Tensor]] | None:
        return self.score.rescale(params, _about(frame, self.origin))

    def smoothed(self, radius: float) -> Predictor:
        return replace(self, score=cast(Score, self.score.smoothed(radius)))

    def standardised(self, frame: AffineTransform) -> Score:
        return replace(self, score=self.score.standardised(_about(frame, self.origin)))

    def translation(self) -> tuple[str, ...]:
        return self.score.translation()

    def tangents(self, params: Params, common: bool) -> dict[str, Tensor]:
        return self.score.tangents(params, common)

    def homogeneous(self) -> bool:
        return self.score.homogeneous()

    def held(self) -> tuple[str, ...]:
        return self.score.held()

    def bias(self) -> str | None:
        return self.score.bias()

    def bias_rate(self, params: Params) -> Tensor:
        return self.score.bias_rate(params)

    def plain(self) -> Predictor:
        return self.score.plain()

    def kinked(self) -> bool:
        return self.score.kinked()


@dataclass(frozen=True)
class ExpertAbout(Expert):
    """The `expert` of ``x - origin``."""

    expert: Expert
    origin: tuple[float, ...]

    def parameters(self, d: int) -> dict[str, Parameter]:
        return self.expert.parameters(d)

    def __call__(self, params: Params, x: Tensor) -> Tensor:
        return self.expert(params, shifted(x, self.origin))

    def value_and_derivatives(self, params: Params, x: Tensor) -> Derivatives:
        return self.expert.value_and_derivatives(params, shifted(x, self.origin))

    def relu_kink(self, params: Params, x: Tensor) -> Derivatives | None:
        return self.expert.relu_kink(params, shifted(x, self.origin))

    def reference(self) -> tuple[float, ...] | None:
        return self.origin

    def rescale(self, params: Params, frame: AffineTransform) -> tuple[Predictor, dict[str, Tensor]] | None:
        return self.expert.rescale(params, _about(frame, self.origin))

    def rescale_response(self, params: Params, frame: AffineTransform) -> tuple[Expert, dict[str, Tensor]] | None:
        moved = self.expert.rescale_response(params, frame)
        return None if moved is None else (replace(self, expert=moved[0]), moved[1])

    def smoothed(self, radius: float) -> Predictor:
        return replace(self, expert=cast(Expert, self.expert.smoothed(radius)))

    def standardised(self, inputs: AffineTransform) -> Expert:
        return replace(self, expert=self.expert.standardised(_about(inputs, self.origin)))

    def entries(self, name: str, inputs: Sequence[str]) -> tuple[str, ...]:
        return self.expert.entries(name, inputs)

    def held(self) -> tuple[str, ...]:
        return self.expert.held()

    def tangents(self, params: Params) -> dict[str, Tensor]:
        return self.expert.tangents(params)

    def canonical(self, params: Params) -> dict[str, Tensor]:
        return self.expert.canonical(params)

    def plain(self) -> Predictor:
        return self.expert.plain()

    def kinked(self) -> bool:
        return self.expert.kinked()


def about(mixture: Mixture, x: Tensor, gate_x: Tensor) -> Mixture:
    """Return the mixture with every part that reads inputs about the origins x (d,) and gate_x (g,).

    Raises
    ------
    ValueError
        If a part has no exact form about another origin.
    """
    gates = tuple(_gate_about(gate, gate_x) for gate in mixture.gates)
    expert = cast(Expert, _moved(mixture.expert, x))
    reads = any(spec.shape for spec in expert.parameters(2).values())
    return replace(mixture, gates=gates, expert=ExpertAbout(expert, as_tuple(x)) if reads else expert)


def _gate_about(gate: Gate, origin: Tensor) -> Gate:
    score = cast(Score, _moved(gate.score, origin))
    reads = any(spec.shape for spec in score.parameters(2).values())
    return replace(gate, score=ScoreAbout(score, as_tuple(origin)) if reads else score)


def _moved(part: Predictor, origin: Tensor) -> Predictor:
    """Return a part, without a wrapper, in coordinates about an origin."""
    neutral = {
        name: torch.full((1,) * (spec.per == "branch") + spec.shape, spec.initial, dtype=torch.float64)
        for name, spec in part.parameters(len(origin)).items()
    }
    moved = part.rescale(neutral, AffineTransform(origin, torch.ones_like(origin)))
    if moved is None:
        raise ValueError(f"{part} has no exact form about another origin")
    return moved[0]
