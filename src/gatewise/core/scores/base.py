"""What every score is, and the scores that are linear in their parameters: Bias, Affine, Quadratic."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gatewise.core.parameters import Parameter
from gatewise.core.predictors import (
    AffineTransform,
    Derivatives,
    Params,
    Predictor,
    affine,
    move_origin,
    ones_like_rows,
    shifted,
    with_constant,
)


@dataclass(frozen=True)
class Score(Predictor):
    """Base class of scores: functions ``s_k(x)``, one per branch of a gate.

    A new score needs `parameters` (name -> Parameter) and `__call__`, which maps parameters ``(*B, K, *shape)`` and
    inputs ``(*B, d, n)`` to scores ``(*B, K, n)``. Derivatives come from automatic differentiation unless
    `value_and_derivatives` is overridden.

    Examples
    --------
    >>> import torch
    >>> from gatewise import Gate, Parameter, Score
    >>> class Nearness(Score):
    ...     def parameters(self, d):
    ...         return {"center": Parameter((d,), "location"), "bias": Parameter((), "intercept")}
    ...
    ...     def __call__(self, params, x):
    ...         difference = params["center"][..., None] - x.unsqueeze(-3)
    ...         return params["bias"][..., None] - torch.log1p((difference**2).sum(-2))
    >>> Gate(Nearness()).score.names("location")
    ('center',)
    """

    def translation(self) -> tuple[str, ...]:
        """Return the parameters whose common shift over the branches adds the same function of x to all scores.

        Those with the role ``intercept``, unless a score says more.
        """
        return self.names("intercept")

    def tangents(self, params: Params, common: bool) -> dict[str, Tensor]:
        """Return the directions at `params` that no weight depends on, besides the shifts of `translation`.

        Parameters
        ----------
        params : tensors ``(*B, K, *shape)``
        common : bool
            Whether a change of all scores by the same function of x counts as none, as it does behind a softmax.

        Returns
        -------
        dict name -> Tensor ``(G, *B, K, *shape)``
            G directions in every node; parameters that do not move are left out.
        """
        return {}

    def homogeneous(self) -> bool:
        """Return whether any multiple of the score is again a score of the same family."""
        return False

    def held(self) -> tuple[str, ...]:
        """Return the parameters that are not identified and are held at their initial value by the gauge."""
        return ()

    def bias(self) -> str | None:
        """Return the parameter of each branch that is added to its score outside everything else; None: none."""
        specs = self.parameters(1)
        found = (name for name in self.names("intercept") if specs[name].per == "branch" and not specs[name].shape)
        return next(found, None)

    def required_bias(self) -> str:
        """Return the name of the `bias`.

        Raises
        ------
        ValueError
            If the score has none.
        """
        name = self.bias()
        if name is None:
            raise ValueError(
                f"the score {self} has no bias, and none of its parameters can stand for one: add a parameter with the "
                "role 'intercept', one number per branch"
            )
        return name

    def bias_rate(self, params: Params) -> Tensor:
        """Return the derivative of a score in its bias, one number per node ``(*B,)``.

        Raises
        ------
        ValueError
            If the score has no bias.
        """
        return torch.ones_like(params[self.required_bias()][..., 0])

    def start(self, x: Tensor, share: Tensor) -> dict[str, Tensor]:
        """Return parameters to start from, given the wanted share ``(*B, K, n)`` of each branch at x ``(d, n)``.

        Every parameter with one entry per feature starts at the branch's mean input, the bias at its log share.
        """
        mass = share.sum(-1).clamp_min(1e-12)
        means = (share @ x.mT) / mass[..., None]
        out = {}
        for name, spec in self.parameters(x.shape[-2]).items():
            each = spec.per == "branch"
            shape = (mass.shape if each else mass.shape[:-1]) + spec.shape
            if each and spec.free and name == self.bias():
                out[name] = torch.log(mass / mass.sum(-1, keepdim=True))
            elif each and spec.free and spec.shape == (x.shape[-2],):
                out[name] = means
            else:
                out[name] = torch.full(shape, spec.initial, dtype=x.dtype)
        return out

    def kinked(self) -> bool:
        """Return whether the first derivative jumps somewhere."""
        return False

    def standardised(self, frame: AffineTransform) -> Score:
        """Return the score defined on standardised inputs, as a score of the inputs in their own units."""
        return self


@dataclass(frozen=True)
class Bias(Score):
    """Constant scores: ``s_k = bias_k`` (gate ``constant``), or zero if not `free` (gate ``equal``).

    Attributes
    ----------
    free : bool
        True: the scores are estimated. False: they are zero, so that all branches have the same weight.

    Examples
    --------
    >>> import torch
    >>> from gatewise import Bias
    >>> Bias()({"bias": torch.tensor([1.0, 0.0])}, torch.zeros(3, 2)).tolist()  # two branches, two rows
    [[1.0, 1.0], [0.0, 0.0]]
    """

    free: bool = True

    def parameters(self, d: int) -> dict[str, Parameter]:
        return {"bias": Parameter(role="intercept", free=self.free)}

    def __call__(self, params: Params, x: Tensor) -> Tensor:
        return params["bias"][..., None] + torch.zeros_like(x[..., :1, :])

    def value_and_derivatives(self, params: Params, x: Tensor) -> Derivatives:
        return Derivatives(self(params, x), ones_like_rows(x).unsqueeze(-3))

    def rescale(self, params: Params, frame: AffineTransform) -> tuple[Score, dict[str, Tensor]]:
        return self, dict(params)

    def homogeneous(self) -> bool:
        return True


@dataclass(frozen=True)
class Affine(Score):
    """Affine score, used by softmax, sigmoid and dense-to-sparse gates.

    ``s_k(x) = weight_k . x + bias_k``.

    Examples
    --------
    >>> import torch
    >>> from gatewise import Affine
    >>> params = {"weight": torch.tensor([[2.0, 1.0], [0.0, 0.0]]), "bias": torch.tensor([1.0, 0.0])}
    >>> Affine()(params, torch.tensor([[0.0, 1.0, 2.0], [0.0, 0.0, 1.0]])).tolist()  # two branches, three rows
    [[1.0, 3.0, 6.0], [0.0, 0.0, 0.0]]
    """

    def parameters(self, d: int) -> dict[str, Parameter]:
        return {"weight": Parameter((d,), "slope"), "bias": Parameter((), "intercept")}

    def __call__(self, params: Params, x: Tensor) -> Tensor:
        return affine(params["weight"], params["bias"], x)

    def value_and_derivatives(self, params: Params, x: Tensor) -> Derivatives:
        return Derivatives(self(params, x), with_constant(x))

    def translation(self) -> tuple[str, ...]:
        return ("weight", "bias")

    def homogeneous(self) -> bool:
        return True

    def rescale(self, params: Params, frame: AffineTransform) -> tuple[Score, dict[str, Tensor]]:
        weight = params["weight"]
        return self, {"weight": weight * frame.scale, "bias": params["bias"] + weight @ frame.shift}


@dataclass(frozen=True)
class Quadratic(Score):
    """Quadratic score (2410.11222).

    ``s_k(x) = v' A_k v + weight_k . v + bias_k`` with ``v = x - origin``. With `monomial`, the linear term is omitted.

    Attributes
    ----------
    monomial : bool
        True: without the linear term.
    origin : tuple of float, optional
        Point from which inputs are counted; None: zero. Fits on standardised inputs set it.

    Examples
    --------
    >>> import torch
    >>> from gatewise import Quadratic
    >>> params = {"quadratic": torch.tensor([[1.0], [0.0]]), "weight": torch.tensor([[0.0], [1.0]])}
    >>> params |= {"bias": torch.zeros(2)}
    >>> Quadratic()(params, torch.tensor([[1.0, 2.0, 3.0]])).tolist()  # two branches, three rows
    [[1.0, 4.0, 9.0], [1.0, 2.0, 3.0]]
    """

    monomial: bool = False
    origin: tuple[float, ...] | None = None

    def parameters(self, d: int) -> dict[str, Parameter]:
        linear = {} if self.monomial else {"weight": Parameter((d,), "slope")}
        quadratic = Parameter((d * (d + 1) // 2,), "quadratic")
        return {"quadratic": quadratic, **linear, "bias": Parameter((), "intercept")}

    def _features(self, x: Tensor) -> Tensor:
        v = shifted(x, self.origin)
        i, j = torch.triu_indices(x.shape[-2], x.shape[-2])
        products = v[..., i, :] * v[..., j, :]
        return torch.cat([products, ones_like_rows(x)] if self.monomial else [products, v, ones_like_rows(x)], -2)

    def __call__(self, params: Params, x: Tensor) -> Tensor:
        names = self.parameters(x.shape[-2])
        flat = torch.cat([params[name] for name in names if name != "bias"], -1)
        return affine(flat, params["bias"], self._features(x)[..., :-1, :])

    def value_and_derivatives(self, params: Params, x: Tensor) -> Derivatives:
        return Derivatives(self(params, x), self._features(x).unsqueeze(-3))

    def translation(self) -> tuple[str, ...]:
        return ("quadratic", "bias") if self.monomial else ("quadratic", "weight", "bias")

    def homogeneous(self) -> bool:
        return True

    def rescale(self, params: Params, frame: AffineTransform) -> tuple[Score, dict[str, Tensor]]:
        d = len(frame.scale)
        i, j = torch.triu_indices(d, d)
        packed = params["quadratic"]
        moved = {**params, "quadratic": packed * frame.scale[i] * frame.scale[j]}
        if self.monomial:
            return replace(self, origin=move_origin(self.origin, frame)), moved
        offset = frame.shift - (0 if self.origin is None else frame.shift.new_tensor(self.origin))
        full = packed.new_zeros(packed.shape[:-1] + (d, d))
        full[..., i, j] = packed
        slope = (full + full.mT) @ offset
        moved["weight"] = (params["weight"] + slope) * frame.scale
        moved["bias"] = params["bias"] + params["weight"] @ offset + (offset @ full * offset).sum(-1)
        return replace(self, origin=None), moved

    def standardised(self, frame: AffineTransform) -> Score:
        return replace(self, origin=move_origin(self.origin, frame.inverse())) if self.monomial else self

    def plain(self) -> Quadratic:
        return replace(self, origin=None)
