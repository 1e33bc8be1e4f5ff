"""Parts whose parameters have other names and everything else alike: nothing may depend on what a parameter is called.

``renamed(part)`` is a score, gate, expert, family or whole mixture of its own class; a fit of it is that of the part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, TypeVar

import torch
from torch import Tensor

from gatewise.core.experts import Expert
from gatewise.core.experts.base import Draw
from gatewise.core.families import Family, LeafDerivatives
from gatewise.core.families.base import SummedSecond
from gatewise.core.mixture import Measure, Mixture
from gatewise.core.parameters import Parameter
from gatewise.core.predictors import AffineTransform, Derivatives, Params, Predictor
from gatewise.core.scores import Score

V = TypeVar("V")
PREFIX = "q_"


def named(values: Mapping[str, V]) -> dict[str, V]:
    """Return the values under the new names."""
    return {PREFIX + name: value for name, value in values.items()}


def unnamed(values: Mapping[str, V]) -> dict[str, V]:
    """Return the values under the names of the part."""
    return {name.removeprefix(PREFIX): value for name, value in values.items()}


def _names(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(PREFIX + name for name in names)


@dataclass(frozen=True)
class _Renamed(Predictor):
    """A score or an expert with other names: what both have."""

    part: Any

    def parameters(self, d: int) -> dict[str, Parameter]:
        return named(self.part.parameters(d))

    def __call__(self, params: Params, x: Tensor) -> Tensor:
        return self.part(unnamed(params), x)

    def value_and_derivatives(self, params: Params, x: Tensor) -> Derivatives:
        return self.part.value_and_derivatives(unnamed(params), x)

    def reference(self) -> tuple[float, ...] | None:
        return self.part.reference()

    def relu_kink(self, params: Params, x: Tensor) -> Derivatives | None:
        return self.part.relu_kink(unnamed(params), x)

    def plain(self) -> Self:
        return replace(self, part=self.part.plain())

    def smoothed(self, radius: float) -> Self:
        return replace(self, part=self.part.smoothed(radius))

    def rescale(self, params: Params, frame: AffineTransform) -> tuple[Self, dict[str, Tensor]] | None:
        return self._moved(self.part.rescale(unnamed(params), frame))

    def kinked(self) -> bool:
        return self.part.kinked()

    def _moved(self, found: tuple[Any, Params] | None) -> tuple[Self, dict[str, Tensor]] | None:
        """Return a part in other units, and its parameters, under the new names."""
        return None if found is None else (replace(self, part=found[0]), named(found[1]))


@dataclass(frozen=True)
class RenamedScore(_Renamed, Score):
    """A score with other names."""

    part: Score

    def standardised(self, frame: AffineTransform) -> Score:
        return replace(self, part=self.part.standardised(frame))

    def translation(self) -> tuple[str, ...]:
        return _names(self.part.translation())

    def tangents(self, params: Params, common: bool) -> dict[str, Tensor]:
        return named(self.part.tangents(unnamed(params), common))

    def homogeneous(self) -> bool:
        return self.part.homogeneous()

    def held(self) -> tuple[str, ...]:
        return _names(self.part.held())

    def bias(self) -> str | None:
        name = self.part.bias()
        return None if name is None else PREFIX + name

    def start(self, x: Tensor, share: Tensor) -> dict[str, Tensor]:
        return named(self.part.start(x, share))

    def bias_rate(self, params: Params) -> Tensor:
        return self.part.bias_rate(unnamed(params))


@dataclass(frozen=True)
class RenamedExpert(_Renamed, Expert):
    """An expert with other names."""

    part: Expert

    @property
    def linear(self) -> bool:  # type: ignore[override]
        return self.part.linear

    @property
    def by_leaf(self) -> bool:  # type: ignore[override]
        return self.part.by_leaf

    def kinds(self) -> tuple[Expert, ...]:
        return tuple(replace(self, part=one) for one in self.part.kinds())

    def entries(self, name: str, inputs: Sequence[str]) -> tuple[str, ...]:
        return self.part.entries(name.removeprefix(PREFIX), inputs)

    def standardised(self, inputs: AffineTransform) -> Expert:
        return replace(self, part=self.part.standardised(inputs))

    def design(self, x: Tensor) -> Tensor:
        return self.part.design(x)

    def start(self, x: Tensor, y: Tensor, weight: Tensor, coefficients: Tensor, draw: Draw) -> dict[str, Tensor]:
        return named(self.part.start(x, y, weight, coefficients, draw))

    def held(self) -> tuple[str, ...]:
        return _names(self.part.held())

    def tangents(self, params: Params) -> dict[str, Tensor]:
        return named(self.part.tangents(unnamed(params)))

    def canonical(self, params: Params) -> dict[str, Tensor]:
        return named(self.part.canonical(unnamed(params)))

    def rescale_response(self, params: Params, frame: AffineTransform) -> tuple[Expert, dict[str, Tensor]] | None:
        return self._moved(self.part.rescale_response(unnamed(params), frame))


@dataclass(frozen=True)
class RenamedFamily(Family):
    """A family with other names."""

    part: Family

    @property
    def location_scale(self) -> bool:  # type: ignore[override]
        return self.part.location_scale

    @property
    def has_closed_form_scale(self) -> bool:  # type: ignore[override]
        return self.part.has_closed_form_scale

    @property
    def discrete(self) -> bool:  # type: ignore[override]
        return self.part.discrete

    @property
    def robust(self) -> bool:  # type: ignore[override]
        return self.part.robust

    @property
    def has_density(self) -> bool:  # type: ignore[override]
        return self.part.has_density

    @property
    def by_leaf(self) -> bool:  # type: ignore[override]
        return self.part.by_leaf

    @property
    def mean_range(self) -> tuple[float, float]:  # type: ignore[override]
        return self.part.mean_range

    @property
    def given(self) -> str:  # type: ignore[override]
        return self.part.given

    @property
    def title(self) -> str:  # type: ignore[override]
        return self.part.title

    def kinds(self) -> tuple[Family, ...]:
        return tuple(replace(self, part=one) for one in self.part.kinds())

    def start_share(self, y: Tensor, weight: Tensor) -> Tensor | None:
        return self.part.start_share(y, weight)

    @property
    def bounded(self) -> bool:
        return self.part.bounded

    def outputs(self, columns: int) -> int:
        return self.part.outputs(columns)

    def columns(self, outputs: int) -> int:
        return self.part.columns(outputs)

    def support(self, outputs: int) -> Tensor | None:
        return self.part.support(outputs)

    def observed(self, y: Tensor) -> Tensor:
        return self.part.observed(y)

    def events(self, y: Tensor) -> Tensor | None:
        return self.part.events(y)

    def responses(self, y: Tensor) -> Tensor:
        return self.part.responses(y)

    def parameters(self, q: int) -> dict[str, Parameter]:
        return named(self.part.parameters(q))

    def log_prob(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        return self.part.log_prob(unnamed(params), y, eta)

    def value_and_derivatives(self, params: Params, y: Tensor, eta: Tensor, order: int = 2) -> LeafDerivatives:
        return self.part.value_and_derivatives(unnamed(params), y, eta, order)

    def summed_second(self, params: Params, y: Tensor, eta: Tensor) -> SummedSecond | None:
        return self.part.summed_second(unnamed(params), y, eta)

    def mean(self, params: Params, eta: Tensor) -> Tensor:
        return self.part.mean(unnamed(params), eta)

    def variance(self, params: Params, eta: Tensor) -> Tensor:
        return self.part.variance(unnamed(params), eta)

    def covariance(self, params: Params, q: int) -> Tensor | None:
        return self.part.covariance(unnamed(params), q)

    def with_full_covariance(self) -> Family | None:
        full = self.part.with_full_covariance()
        return None if full is None else replace(self, part=full)

    def marginal(self) -> Family:
        return replace(self, part=self.part.marginal())

    def cdf(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        return self.part.cdf(unnamed(params), y, eta)

    def cdf_ends(self, params: Params, y: Tensor, eta: Tensor) -> tuple[Tensor, Tensor]:
        return self.part.cdf_ends(unnamed(params), y, eta)

    def observed_variance(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        return self.part.observed_variance(unnamed(params), y, eta)

    def relative_spread(self, params: Params) -> Tensor | None:
        return self.part.relative_spread(unnamed(params))

    def exact_ends(self) -> dict[str, bool]:
        return named(self.part.exact_ends())

    def sample(self, params: Params, eta: Tensor, generator: torch.Generator) -> Tensor:
        return self.part.sample(unnamed(params), eta, generator)

    def sample_like(self, params: Params, y: Tensor, eta: Tensor, generator: torch.Generator) -> Tensor:
        return self.part.sample_like(unnamed(params), y, eta, generator)

    def validate(self, y: Tensor) -> str | None:
        return self.part.validate(y)

    def with_scale_floor(self, floor: Tensor) -> tuple[Family, dict[str, tuple[Tensor, float]]]:
        part, limits = self.part.with_scale_floor(floor)
        return replace(self, part=part), named(limits)

    def start(self, spread: Tensor) -> dict[str, Tensor]:
        return named(self.part.start(spread))

    def working_response(self, y: Tensor) -> Tensor:
        return self.part.working_response(y)

    def rescale_response(self, params: Params, frame: AffineTransform) -> tuple[Family, dict[str, Tensor]]:
        part, moved = self.part.rescale_response(unnamed(params), frame)
        return replace(self, part=part), named(moved)


def renamed(mixture: Mixture) -> Mixture:
    """Return a mixture all of whose parameters have other names."""
    gates = tuple(replace(gate, score=RenamedScore(gate.score)) for gate in mixture.gates)
    shared = tuple(f"{room}.{PREFIX}{name}" for room, _, name in (path.rpartition(".") for path in mixture.shared))
    return Mixture(gates, mixture.branching, RenamedExpert(mixture.expert), RenamedFamily(mixture.family), shared)


def original(measure: Measure) -> Measure:
    """Return a measure of a renamed mixture as one of the mixture."""
    return Measure(tuple(map(unnamed, measure.gates)), unnamed(measure.experts), unnamed(measure.family))
