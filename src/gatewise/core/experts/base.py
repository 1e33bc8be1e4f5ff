"""What every expert is, and the experts that are linear in the inputs: Constant, Linear; NoExpert, which is none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gatewise.core.parameters import Parameter
from gatewise.core.predictors import (
    AffineTransform,
    Derivatives,
    Params,
    Predictor,
    affine,
    ones_like_rows,
    with_constant,
)

Draw = Callable[[tuple[int, ...]], Tensor]
SCATTER = 0.5  # standard deviation of starts around a plane
CANDIDATES = 32  # hidden units that are drawn for one start of one leaf
TIE = 1e-9  # gains that differ by less than this share are equal
UNIT = ("slope", "threshold", "output", "intercept")  # roles of ``output * fn(slope . x + threshold) + intercept``


@dataclass(frozen=True)
class Expert(Predictor):
    """Base class of experts: functions ``h(x)`` that give the linear predictor of each output.

    A new expert needs `parameters` (name -> Parameter) and `__call__`, which maps parameters ``(*B, q, *shape)`` and
    inputs ``(*B, d, n)`` to values ``(*B, q, n)``. Override the other methods where a closed form exists.

    Attributes
    ----------
    linear : bool
        True if the value is ``coefficients . design(x)``, so that weighted least squares has a closed form.
    by_leaf : bool
        True if the leaves have different kinds of experts and are therefore not exchangeable.

    Examples
    --------
    >>> import torch
    >>> from gatewise import Expert, Parameter, affine
    >>> class Wave(Expert):
    ...     def parameters(self, d):
    ...         return {"coef": Parameter((d,), "slope"), "intercept": Parameter((), "threshold")}
    ...
    ...     def __call__(self, params, x):
    ...         return torch.sin(affine(params["coef"], params["intercept"], x))
    >>> Wave()({"coef": torch.ones(1, 2), "intercept": torch.zeros(1)}, torch.zeros(2, 3)).tolist()
    [[0.0, 0.0, 0.0]]
    """

    linear = False
    by_leaf = False

    def kinds(self) -> tuple[Expert, ...]:
        """Return the experts of the leaves: itself, or the different ones of `by_leaf`."""
        return (self,)

    def rescale_response(self, params: Params, frame: AffineTransform) -> tuple[Expert, dict[str, Tensor]] | None:
        """Return an expert and parameters with value ``(old value - shift) / scale`` per output, or None."""
        return None

    @property
    def is_hidden_unit(self) -> bool:
        """Whether the roles are those of ``output * fn(slope . x + threshold) + intercept``."""
        return not self.linear and all(self.names(role) for role in UNIT)

    def entries(self, name: str, inputs: Sequence[str]) -> tuple[str, ...]:
        """Return what the entries of a parameter belong to, in words made of the names of the inputs; (): in none."""
        return tuple(inputs) if name in self.names("slope") else ()

    def kinked(self) -> bool:
        """Return whether the first derivative jumps somewhere."""
        return False

    def standardised(self, inputs: AffineTransform) -> Expert:
        """Return the expert defined on standardised inputs, as an expert of the inputs in their own units."""
        return self

    def held(self) -> tuple[str, ...]:
        """Return the parameters whose values are a convention: with them held, the expert has no `tangents`."""
        return ()

    def tangents(self, params: Params) -> dict[str, Tensor]:
        """Return the directions at `params` that change no value.

        Parameters
        ----------
        params : tensors ``(*B, *shape)``

        Returns
        -------
        dict name -> Tensor ``(G, *B, *shape)``
            G directions in every output of every leaf; parameters that do not move are left out.
        """
        return {}

    def canonical(self, params: Params) -> dict[str, Tensor]:
        """Return the parameters ``(*B, *shape)`` with the same values at which `held` has its conventional size."""
        return dict(params)

    def design(self, x: Tensor) -> Tensor:
        """Return the columns ``(P, n)`` of the regressions that starts are drawn from, for x ``(d, n)``.

        Those of the expert where it is linear in its parameters, in their order; otherwise the inputs and a constant.
        """
        if not self.linear:
            return with_constant(x)[0]
        zero = {name: x.new_zeros((1, *spec.shape)) for name, spec in self.parameters(len(x)).items()}
        return self.value_and_derivatives(zero, x).jacobian.reshape(-1, x.shape[-1])

    def start(self, x: Tensor, y: Tensor, weight: Tensor, coefficients: Tensor, draw: Draw) -> dict[str, Tensor]:
        """Return parameters ``(L, q, *shape)`` to start from.

        An expert that is linear starts at the regression of its leaf. Another one with the roles of a hidden unit
        starts at the best of some drawn ones; any other near the regression, by the roles of its parameters.

        Parameters
        ----------
        x, y : Tensor (d, n), (q, n)
            Inputs, and the response on the scale of the predictors.
        weight : Tensor (L, n)
            How much each leaf should take of each row.
        coefficients : Tensor (L, q, P)
            Of the weighted regressions of y on `design` at x.
        draw : callable
            Shape -> standard normal numbers.
        """
        specs = self.parameters(len(x))
        if self.is_hidden_unit:
            return hidden_unit_start(self, x, y, weight, coefficients, draw)
        noise = {name: SCATTER * draw((*coefficients.shape[:2], *spec.shape)) for name, spec in specs.items()}
        if self.linear:
            parts = coefficients.split([spec.size for spec in specs.values()], -1)
            return {name: part.reshape(noise[name].shape) for name, part in zip(specs, parts, strict=True)}
        plane = {"slope": coefficients[..., :-1]} | dict.fromkeys(("intercept", "threshold"), coefficients[..., -1])
        near = {name: plane.get(spec.role, coefficients.new_empty(0)) for name, spec in specs.items()}
        fits = {name: value.shape == noise[name].shape for name, value in near.items()}
        return {name: (near[name] if fits[name] else specs[name].initial) + noise[name] for name in specs}


def hidden_unit_start(
    expert: Expert, x: Tensor, y: Tensor, weight: Tensor, plane: Tensor, draw: Draw
) -> dict[str, Tensor]:
    """Return the best of some ``output * fn(slope . x + threshold) + intercept`` for every leaf and output.

    Drawn are a direction near the slope of the plane, how steep the unit is along it, and the share of the leaf that
    lies before the row at which it bends; output weight and intercept are those of weighted least squares. Other
    parameters are at their initial values.
    """
    (slope, *_), (threshold, *_), (output, *_), (intercept, *_) = (expert.names(role) for role in UNIT)
    d, own = len(x), (CANDIDATES, *plane.shape[:2])
    way = torch.nn.functional.normalize(plane[..., :-1], dim=-1) + SCATTER / d**0.5 * draw((*own, d))
    steep = torch.exp(SCATTER * draw(own)) * draw(own).sign() * 1.5
    slopes = torch.nn.functional.normalize(way, dim=-1) * steep[..., None]
    along, order = (slopes @ x).sort(dim=-1, stable=True)
    mass = weight[:, None].expand_as(along).gather(-1, order).cumsum(-1)
    row = torch.searchsorted(mass, torch.special.ndtr(draw(own))[..., None] * mass[..., -1:])
    specs = expert.parameters(d)
    params = {name: plane.new_full((*own, *spec.shape), spec.initial) for name, spec in specs.items()}
    params |= {slope: slopes, threshold: -along.gather(-1, row.clamp(max=x.shape[-1] - 1))[..., 0]}
    params |= {output: plane.new_ones(own), intercept: plane.new_zeros(own)}
    value = expert(params, x)
    mass = weight / weight.sum(-1, keepdim=True).clamp_min(1e-300)
    mean, level = (value @ mass[:, :, None])[..., 0], mass @ y.mT
    value, response = value - mean[..., None], y - level[..., None]
    cross = (value * response * mass[:, None]).sum(-1)
    square = (value.square() * mass[:, None]).sum(-1)
    height = cross / square.clamp_min(1e-12)
    params |= {output: height, intercept: level - height * mean}
    gain = torch.nan_to_num(height * cross, -1.0, -1.0, -1.0)
    best = (gain >= (1 - TIE) * gain.amax(0)).to(torch.uint8).argmax(0)  # the first of equal ones, however they round
    return {name: _picked(v, best) for name, v in params.items()}


def _picked(candidates: Tensor, best: Tensor) -> Tensor:
    """Return for every leaf and output the candidate that is best: ``(C, L, q, *shape)`` -> ``(L, q, *shape)``."""
    leaf, output = torch.meshgrid(*map(torch.arange, best.shape), indexing="ij")
    return candidates[best, leaf, output]


@dataclass(frozen=True)
class Constant(Expert):
    """Constant expert: ``h(x) = intercept``.

    Examples
    --------
    >>> import torch
    >>> from gatewise import Constant
    >>> Constant()({"intercept": torch.tensor([2.0])}, torch.zeros(1, 3)).tolist()  # one output, three rows
    [[2.0, 2.0, 2.0]]
    """

    linear = True

    def parameters(self, d: int) -> dict[str, Parameter]:
        return {"intercept": Parameter((), "intercept")}

    def __call__(self, params: Params, x: Tensor) -> Tensor:
        return params["intercept"][..., None] + torch.zeros_like(x[..., :1, :])

    def value_and_derivatives(self, params: Params, x: Tensor) -> Derivatives:
        return Derivatives(self(params, x), ones_like_rows(x).unsqueeze(-3))

    def design(self, x: Tensor) -> Tensor:
        """Return those of a plane: the rows of a leaf are sought along planes."""
        return with_constant(x)[0]

    def start(self, x: Tensor, y: Tensor, weight: Tensor, coefficients: Tensor, draw: Draw) -> dict[str, Tensor]:
        return super().start(x, y, weight, coefficients[..., -1:], draw)

    def rescale(self, params: Params, frame: AffineTransform) -> tuple[Expert, dict[str, Tensor]]:
        return self, dict(params)

    def rescale_response(self, params: Params, frame: AffineTransform) -> tuple[Expert, dict[str, Tensor]]:
        return self, {"intercept": (params["intercept"] - frame.shift) / frame.scale}


@dataclass(frozen=True)
class NoExpert(Expert):
    """Nothing: a predictor that is zero and has no parameters, for a leaf whose law has none."""

    linear = True

    def parameters(self, d: int) -> dict[str, Parameter]:
        return {}

    def __call__(self, params: Params, x: Tensor) -> Tensor:
        return torch.zeros_like(x[..., :1, :])

    def value_and_derivatives(self, params: Params, x: Tensor) -> Derivatives:
        return Derivatives(self(params, x), torch.zeros_like(x[..., :0, :]).unsqueeze(-3))

    def design(self, x: Tensor) -> Tensor:
        """Return those of a plane: the rows of the leaves are sought along planes."""
        return with_constant(x)[0]

    def start(self, x: Tensor, y: Tensor, weight: Tensor, coefficients: Tensor, draw: Draw) -> dict[str, Tensor]:
        return {}

    def rescale(self, params: Params, frame: AffineTransform) -> tuple[Expert, dict[str, Tensor]]:
        return self, dict(params)

    def rescale_response(self, params: Params, frame: AffineTransform) -> tuple[Expert, dict[str, Tensor]]:
        return self, dict(params)


@dataclass(frozen=True)
class Linear(Expert):
    """Linear expert.

    ``h(x) = coef . x + intercept``.

    Examples
    --------
    >>> import torch
    >>> from gatewise import Linear
    >>> params = {"coef": torch.tensor([[2.0, 0.0]]), "intercept": torch.tensor([1.0])}
    >>> Linear()(params, torch.tensor([[0.0, 1.0, 2.0], [5.0, 5.0, 5.0]])).tolist()  # one output, three rows
    [[1.0, 3.0, 5.0]]
    """

    linear = True

    def parameters(self, d: int) -> dict[str, Parameter]:
        return {"coef": Parameter((d,), "slope"), "intercept": Parameter((), "intercept")}

    def __call__(self, params: Params, x: Tensor) -> Tensor:
        return affine(params["coef"], params["intercept"], x)

    def value_and_derivatives(self, params: Params, x: Tensor) -> Derivatives:
        return Derivatives(self(params, x), with_constant(x))

    def rescale(self, params: Params, frame: AffineTransform) -> tuple[Expert, dict[str, Tensor]]:
        coef = params["coef"]
        return self, {"coef": coef * frame.scale, "intercept": params["intercept"] + coef @ frame.shift}

    def rescale_response(self, params: Params, frame: AffineTransform) -> tuple[Expert, dict[str, Tensor]]:
        coef = params["coef"] / frame.scale[:, None]
        return self, {"coef": coef, "intercept": (params["intercept"] - frame.shift) / frame.scale}
