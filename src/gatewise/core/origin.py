"""Parts about an origin: predictors of ``x - origin``, for inputs so far from zero that their own units lose digits.

Parameters at inputs near 1e8 multiply numbers that cancel. Those of the same part about an origin among the data do
not. `rescale` leads back to the part itself: fits never see these wrappers, only their results carry them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, cast

import torch
from torch import Tensor

from gatewise.core.by_leaf import ExpertsByLeaf
from gatewise.core.experts import Expert
from gatewise.core.gates import Gate
from gatewise.core.mixture import Mixture
from gatewise.core.parameters import Parameter
from gatewise.core.predictors import AffineTransform, Derivatives, Params, Predictor, as_tuple, shifted
from gatewise.core.scores import Score


def _about(frame: AffineTransform, origin: tuple[float, ...]) -> AffineTransform:
    """Return the frame, given for x, for ``x - origin``."""
    return AffineTransform(frame.shift - frame.shift.new_tensor(origin), frame.scale)


class _About(Predictor):
    """A part of ``x - origin``: what scores and experts have in common; `held_as` is the field with the part."""

    held_as: str
    origin: tuple[float, ...]

    @property
    def part(self) -> Any:
        """The part whose inputs are moved."""
        return getattr(self, self.held_as)

    def _with(self, part: Predictor) -> Self:
        return replace(self, **{self.held_as: part})

    def parameters(self, d: int) -> dict[str, Parameter]:
        return self.part.parameters(d)

    def __call__(self, params: Params, x: Tensor) -> Tensor:
        return self.part(params, shifted(x, self.origin))

    def value_and_derivatives(self, params: Params, x: Tensor) -> Derivatives:
        return self.part.value_and_derivatives(params, shifted(x, self.origin))

    def relu_kink(self, params: Params, x: Tensor) -> Derivatives | None:
        return self.part.relu_kink(params, shifted(x, self.origin))

    def reference(self) -> tuple[float, ...] | None:
        return self.origin

    def rescale(self, params: Params, frame: AffineTransform) -> tuple[Predictor, dict[str, Tensor]] | None:
        return self.part.rescale(params, _about(frame, self.origin))

    def smoothed(self, radius: float) -> Self:
        return self._with(self.part.smoothed(radius))

    def standardised(self, frame: AffineTransform) -> Self:
        return self._with(self.part.standardised(_about(frame, self.origin)))

    def tangents(self, *given: Any) -> dict[str, Tensor]:
        return self.part.tangents(*given)

    def held(self) -> tuple[str, ...]:
        return self.part.held()

    def plain(self) -> Predictor:
        return self.part.plain()

    def kinked(self) -> bool:
        return self.part.kinked()


@dataclass(frozen=True)
class ScoreAbout(_About, Score):
    """The `score` of ``x - origin``."""

    score: Score
    origin: tuple[float, ...]
    held_as = "score"

    def translation(self) -> tuple[str, ...]:
        return self.score.translation()

    def homogeneous(self) -> bool:
        return self.score.homogeneous()

    def bias(self) -> str | None:
        return self.score.bias()

    def bias_rate(self, params: Params) -> Tensor:
        return self.score.bias_rate(params)


@dataclass(frozen=True)
class ExpertAbout(_About, Expert):
    """The `expert` of ``x - origin``."""

    expert: Expert
    origin: tuple[float, ...]
    held_as = "expert"

    def rescale_response(self, params: Params, frame: AffineTransform) -> tuple[Expert, dict[str, Tensor]] | None:
        moved = self.expert.rescale_response(params, frame)
        return None if moved is None else (self._with(moved[0]), moved[1])

    def entries(self, name: str, inputs: Sequence[str]) -> tuple[str, ...]:
        return self.expert.entries(name, inputs)

    def canonical(self, params: Params) -> dict[str, Tensor]:
        return self.expert.canonical(params)


def about(mixture: Mixture, x: Tensor, gate_x: Tensor) -> Mixture | None:
    """Return the mixture with every part that reads inputs about the origins x (d,) and gate_x (g,).

    None where a part, such as one of a user's own, has no exact form about another origin.
    """
    gates = tuple(moved for gate in mixture.gates if (moved := _gate_about(gate, gate_x)) is not None)
    expert = _expert_about(mixture.expert, x)
    return None if expert is None or len(gates) < len(mixture.gates) else replace(mixture, gates=gates, expert=expert)


def _expert_about(expert: Expert, origin: Tensor) -> Expert | None:
    if isinstance(expert, ExpertsByLeaf):
        parts = tuple(moved for part in expert.parts if (moved := _expert_about(part, origin)) is not None)
        return replace(expert, parts=parts) if len(parts) == len(expert.parts) else None
    moved = cast("Expert | None", _moved(expert, origin))
    if moved is None:
        return None
    reads = any(spec.shape for spec in moved.parameters(2).values())
    return ExpertAbout(moved, as_tuple(origin)) if reads else moved


def _gate_about(gate: Gate, origin: Tensor) -> Gate | None:
    score = cast("Score | None", _moved(gate.score, origin))
    if score is None:
        return None
    reads = any(spec.shape for spec in score.parameters(2).values())
    return replace(gate, score=ScoreAbout(score, as_tuple(origin)) if reads else score)


def _moved(part: Predictor, origin: Tensor) -> Predictor | None:
    """Return a part, without a wrapper, in coordinates about an origin, or None."""
    neutral = {
        name: torch.full((1,) * (spec.per == "branch") + spec.shape, spec.initial, dtype=torch.float64)
        for name, spec in part.parameters(len(origin)).items()
    }
    moved = part.rescale(neutral, AffineTransform(origin, torch.ones_like(origin)))
    return None if moved is None else moved[0]
