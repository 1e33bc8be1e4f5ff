"""Scores: what a gate compares. ``(params, x) -> (*B, K, n)`` for K branches and n rows.

THEORY 1.2 lists the gates of the literature; each is one of these scores with one link of `links`.
"""

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
class Score(Predictor):
    """A predictor whose children are the branches of a gate.

    A new score needs `parameters` and `__call__`; override the rest where a closed form exists.
    """

    def translation(self) -> tuple[str, ...]:
        """Return the parameters whose common shift over the branches adds the same function of x to all scores."""
        return ("bias",)

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

    def slopes(self) -> tuple[str, ...]:
        """Return the parameters that multiply the inputs: not unique when these are collinear, shrunk by a ridge."""
        return ()

    def start(self, x: Tensor, share: Tensor) -> dict[str, Tensor]:
        """Return parameters to start from, given the wanted share ``(*B, K, n)`` of each branch at x ``(d, n)``.

        Every parameter with one entry per feature starts at the branch's mean input, `bias` at its log share.
        """
        mass = share.sum(-1).clamp_min(1e-12)
        means = (share @ x.mT) / mass[..., None]
        out = {}
        for name, spec in self.parameters(x.shape[-2]).items():
            owners = mass.shape if spec.owner == "child" else mass.shape[:-1]
            value = torch.full(owners + spec.shape, spec.initial, dtype=x.dtype)
            out[name] = means if spec.owner == "child" and spec.shape == (x.shape[-2],) else value
        if "bias" in out and self.parameters(1)["bias"].free:
            out["bias"] = torch.log(mass / mass.sum(-1, keepdim=True))
        return out

    def kinked(self) -> bool:
        """Return whether the first derivative jumps somewhere."""
        return False

    def standardised(self, frame: Frame) -> Score:
        """Return the score defined on standardised inputs, as a score of the inputs in their own units."""
        return self


@dataclass(frozen=True)
class Bias(Score):
    """Scores that ignore the inputs: ``bias`` (gate ``constant``), or zero when not `free` (gate ``equal``)."""

    free: bool = True

    def parameters(self, d: int) -> dict[str, Parameter]:
        return {"bias": Parameter(free=self.free)}

    def __call__(self, params: Params, x: Tensor) -> Tensor:
        return params["bias"][..., None] + torch.zeros_like(x[..., :1, :])

    def local(self, params: Params, x: Tensor) -> Local:
        return Local(self(params, x), ones_like_rows(x).unsqueeze(-3))

    def rescale(self, params: Params, frame: Frame) -> tuple[Score, dict[str, Tensor]]:
        return self, dict(params)

    def homogeneous(self) -> bool:
        return True


@dataclass(frozen=True)
class Affine(Score):
    """``weight . x + bias``: the score of softmax, sigmoid and dense-to-sparse gates."""

    def parameters(self, d: int) -> dict[str, Parameter]:
        return {"weight": Parameter((d,)), "bias": Parameter()}

    def __call__(self, params: Params, x: Tensor) -> Tensor:
        return affine(params["weight"], params["bias"], x)

    def local(self, params: Params, x: Tensor) -> Local:
        return Local(self(params, x), with_constant(x))

    def translation(self) -> tuple[str, ...]:
        return ("weight", "bias")

    def slopes(self) -> tuple[str, ...]:
        return ("weight",)

    def homogeneous(self) -> bool:
        return True

    def rescale(self, params: Params, frame: Frame) -> tuple[Score, dict[str, Tensor]]:
        weight = params["weight"]
        return self, {"weight": weight * frame.scale, "bias": params["bias"] + weight @ frame.shift}


@dataclass(frozen=True)
class Distance(Score):
    """``bias - ||metric * (x - center)||_2``, unsquared: the Laplace gate (2402.03226, 2410.02935).

    Attributes
    ----------
    metric : tuple of float, optional
        Positive weight of each feature inside the norm; one over the standard deviation makes the gate the one of
        standardised inputs. None: all one.
    radius : float
        The norm is ``sqrt(r^2 + radius^2)``; zero is the model, a positive value rounds the tip off while searching.
    """

    metric: tuple[float, ...] | None = None
    radius: float = 0.0

    def parameters(self, d: int) -> dict[str, Parameter]:
        return {"center": Parameter((d,)), "bias": Parameter()}

    def _differences(self, center: Tensor, x: Tensor) -> Tensor:
        delta = center[..., None] - x.unsqueeze(-3)
        return delta if self.metric is None else delta * x.new_tensor(self.metric)[:, None]

    def _norm(self, squared: Tensor) -> Tensor:
        if self.radius:
            return torch.sqrt(squared + self.radius**2)
        positive = squared > 0
        return torch.where(positive, torch.where(positive, squared, 1.0).sqrt(), 0.0)

    def __call__(self, params: Params, x: Tensor) -> Tensor:
        center = params["center"]
        squared = (
            (self._differences(center, x) ** 2).sum(-2)
            if x.shape[-2] <= 16
            else expanded_square(center, x, self.metric)
        )
        return params["bias"][..., None] - self._norm(squared)

    def local(self, params: Params, x: Tensor) -> Local:
        delta = self._differences(params["center"], x)
        norm = self._norm((delta**2).sum(-2))
        inverse = torch.where(norm > 0, 1.0 / torch.where(norm > 0, norm, 1.0), 0.0)
        metric = x.new_ones(x.shape[-2]) if self.metric is None else x.new_tensor(self.metric)
        slope = -delta * inverse.unsqueeze(-2) * metric[:, None]
        jacobian = torch.cat([slope, torch.ones_like(slope[..., :1, :])], -2)

        def curvature(weights: Tensor) -> Tensor:
            pull = weights * inverse
            block = weighted_gram(slope, pull) - torch.diag(metric**2) * pull.sum(-1)[..., None, None]
            return torch.nn.functional.pad(block, (0, 1, 0, 1))

        return Local(params["bias"][..., None] - norm, jacobian, curvature)

    def kinked(self) -> bool:
        return self.radius == 0

    def smoothed(self, radius: float) -> Distance:
        return replace(self, radius=self.radius or radius)

    def rescale(self, params: Params, frame: Frame) -> tuple[Score, dict[str, Tensor]]:
        old = torch.ones_like(frame.scale) if self.metric is None else frame.scale.new_tensor(self.metric)
        metric = old * frame.scale
        plain = bool(((metric - 1).abs() < 1e-12).all())
        center = (params["center"] - frame.shift) / frame.scale
        return replace(self, metric=None if plain else as_tuple(metric)), {**params, "center": center}

    def standardised(self, frame: Frame) -> Score:
        old = torch.ones_like(frame.scale) if self.metric is None else frame.scale.new_tensor(self.metric)
        return replace(self, metric=as_tuple(old / frame.scale))


def expanded_square(center: Tensor, x: Tensor, metric: tuple[float, ...] | None) -> Tensor:
    """Return ``||metric * (x - center)||^2 (*B, K, n)`` by ``|x|^2 + |c|^2 - 2 c.x`` about the mean of the centers.

    Entries that cancel badly are computed again from differences (outside compiled graphs).
    """
    middle = center.mean(-2, keepdim=True)
    c, z = center - middle, x - middle.transpose(-1, -2)
    if metric is not None:
        factor = x.new_tensor(metric)
        c, z = c * factor, z * factor[:, None]
    sizes = (c * c).sum(-1)[..., None] + (z * z).sum(-2).unsqueeze(-2)
    squared = (sizes - 2 * (c @ z)).clamp_min(0.0)
    if torch.compiler.is_compiling():
        return squared
    close = (squared.detach() < 1e-4 * sizes.detach()).nonzero(as_tuple=True)
    if not len(close[0]):
        return squared
    rows = z.expand(squared.shape[:-2] + z.shape[-2:]).movedim(-1, -2)[close[:-2] + (close[-1],)]
    exact = ((c[close[:-1]] - rows) ** 2).sum(-1)
    return squared.index_put(close, exact)


@dataclass(frozen=True)
class Cosine(Score):
    """``weight . v / ((||weight|| + floor)(||v|| + floor)) + bias`` with ``v = metric * (x - origin)`` (2405.14131).

    ``floor > 0`` is the perturbed cosine router; with ``floor = 0`` the length of `weight` does not matter.
    """

    floor: float = 0.0
    origin: tuple[float, ...] | None = None
    metric: tuple[float, ...] | None = None

    def parameters(self, d: int) -> dict[str, Parameter]:
        return {"weight": Parameter((d,)), "bias": Parameter()}

    def _direction(self, x: Tensor) -> Tensor:
        v = shifted(x, self.origin)
        v = v if self.metric is None else v * x.new_tensor(self.metric)[:, None]
        return v / (_safe_norm(v, -2) + self.floor)

    def __call__(self, params: Params, x: Tensor) -> Tensor:
        weight = params["weight"]
        unit = weight / (_safe_norm(weight, -1) + self.floor)
        return affine(unit, params["bias"], self._direction(x))

    def local(self, params: Params, x: Tensor) -> Local:
        weight = params["weight"]
        v = self._direction(x)
        length = _safe_norm(weight, -1)
        size = length + self.floor
        unit, along = weight / size, weight / length
        product = (unit @ v)[..., None, :]  # (*B, K, 1, n)
        slope = (v.unsqueeze(-3) - product * along[..., None]) / size[..., None]
        jacobian = torch.cat([slope, torch.ones_like(product)], -2)

        def curvature(weights: Tensor) -> Tensor:
            pulled = (v.unsqueeze(-3) * weights.unsqueeze(-2)).sum(-1)  # (*B, K, d)
            inner = (pulled * unit).sum(-1)[..., None, None]
            column = along[..., :, None]
            cross = pulled[..., :, None] * along[..., None, :]
            outer = column * along[..., None, :]
            eye = torch.eye(weight.shape[-1], dtype=x.dtype)
            s, r = size[..., None], length[..., None]
            block = -(cross + cross.mT) / s**2 + 2 * inner * outer / s**2 - inner * (eye - outer) / (s * r)
            return torch.nn.functional.pad(block, (0, 1, 0, 1))

        return Local(product[..., 0, :] + params["bias"][..., None], jacobian, curvature)

    def tangents(self, params: Params, common: bool) -> dict[str, Tensor]:
        """Return the lengths without a floor; with one, the common shifts of ``weight / (||weight|| + floor)``."""
        weight = params["weight"]
        branches, d = weight.shape[-2:]
        if self.floor == 0:
            eye = torch.eye(branches, dtype=weight.dtype)
            return {"weight": eye.reshape((branches,) + (1,) * (weight.ndim - 2) + (branches, 1)) * weight}
        if not common:
            return {}
        length = _safe_norm(weight, -1)
        size = length + self.floor
        shift = torch.eye(d, dtype=weight.dtype).reshape((d,) + (1,) * (weight.ndim - 1) + (d,))
        along = (weight * shift).sum(-1, keepdim=True) * weight / length**2
        return {"weight": size * (shift - along) + size**2 / self.floor * along}

    def rescale(self, params: Params, frame: Frame) -> tuple[Score, dict[str, Tensor]]:
        old = torch.ones_like(frame.scale) if self.metric is None else frame.scale.new_tensor(self.metric)
        moved = replace(self, origin=move_origin(self.origin, frame), metric=as_tuple(old * frame.scale))
        return moved, dict(params)

    def standardised(self, frame: Frame) -> Score:
        old = torch.ones_like(frame.scale) if self.metric is None else frame.scale.new_tensor(self.metric)
        origin = move_origin(self.origin, frame.inverse())
        return replace(self, origin=origin, metric=as_tuple(old / frame.scale))


def _safe_norm(v: Tensor, dim: int) -> Tensor:
    squared = (v * v).sum(dim, keepdim=True)
    positive = squared > 0
    return torch.where(positive, torch.where(positive, squared, 1.0).sqrt(), 1.0)


@dataclass(frozen=True)
class Quadratic(Score):
    """``v' A v + weight . v + bias`` with ``v = x - origin`` (2410.11222); `monomial` leaves the linear part out.

    ``quadratic (d (d + 1) / 2,)`` holds the coefficients of ``v_i v_j`` for i <= j, row by row.
    """

    monomial: bool = False
    origin: tuple[float, ...] | None = None

    def parameters(self, d: int) -> dict[str, Parameter]:
        linear = {} if self.monomial else {"weight": Parameter((d,))}
        return {"quadratic": Parameter((d * (d + 1) // 2,)), **linear, "bias": Parameter()}

    def _features(self, x: Tensor) -> Tensor:
        v = shifted(x, self.origin)
        i, j = torch.triu_indices(x.shape[-2], x.shape[-2])
        products = v[..., i, :] * v[..., j, :]
        return torch.cat([products, ones_like_rows(x)] if self.monomial else [products, v, ones_like_rows(x)], -2)

    def __call__(self, params: Params, x: Tensor) -> Tensor:
        names = self.parameters(x.shape[-2])
        flat = torch.cat([params[name] for name in names if name != "bias"], -1)
        return affine(flat, params["bias"], self._features(x)[..., :-1, :])

    def local(self, params: Params, x: Tensor) -> Local:
        return Local(self(params, x), self._features(x).unsqueeze(-3))

    def translation(self) -> tuple[str, ...]:
        return ("quadratic", "bias") if self.monomial else ("quadratic", "weight", "bias")

    def homogeneous(self) -> bool:
        return True

    def rescale(self, params: Params, frame: Frame) -> tuple[Score, dict[str, Tensor]]:
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

    def standardised(self, frame: Frame) -> Score:
        return replace(self, origin=move_origin(self.origin, frame.inverse())) if self.monomial else self


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
        temperature = Parameter((), "node", "log", (0.0, float("inf")), initial=1.0)
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
