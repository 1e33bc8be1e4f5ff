"""Scores of a distance or an angle: Distance (the Laplace gate), SquaredDistance and Cosine."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gatewise.core.parameters import Parameter
from gatewise.core.predictors import (
    AffineTransform,
    Derivatives,
    Params,
    affine,
    as_tuple,
    move_origin,
    one_matrix,
    shifted,
    weighted_gram,
)
from gatewise.core.scores.base import Score
from gatewise.core.transforms import batched_by_vmap


@dataclass(frozen=True)
class Distance(Score):
    """Negative Euclidean distance: ``s_k(x) = bias_k - ||metric * (x - center_k)||_2`` (2402.03226, 2410.02935).

    With a softmax link this is the Laplace gate; the norm is not squared.

    Attributes
    ----------
    metric : tuple of float, optional
        Positive weight of each feature inside the norm. The reciprocals of the standard deviations give the gate on
        standardised inputs. None: all weights are one.
    radius : float
        The norm is computed as ``sqrt(r^2 + radius^2)``. Zero gives the model; a positive value smooths the kink at the
        center during the search.

    Examples
    --------
    >>> import torch
    >>> from gatewise import Distance
    >>> params = {"center": torch.tensor([[0.0, 0.0], [3.0, 4.0]]), "bias": torch.tensor([0.0, 1.0])}
    >>> Distance()(params, torch.tensor([[0.0, 3.0], [0.0, 4.0]])).tolist()  # two branches, two rows
    [[0.0, -5.0], [-4.0, 1.0]]
    """

    metric: tuple[float, ...] | None = None
    radius: float = 0.0

    def parameters(self, d: int) -> dict[str, Parameter]:
        return {"center": Parameter((d,), "location"), "bias": Parameter((), "intercept")}

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

    def value_and_derivatives(self, params: Params, x: Tensor) -> Derivatives:
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

        return Derivatives(params["bias"][..., None] - norm, jacobian, curvature)

    def kinked(self) -> bool:
        return self.radius == 0

    def smoothed(self, radius: float) -> Distance:
        return replace(self, radius=self.radius or radius)

    def rescale(self, params: Params, frame: AffineTransform) -> tuple[Score, dict[str, Tensor]]:
        old = torch.ones_like(frame.scale) if self.metric is None else frame.scale.new_tensor(self.metric)
        metric = old * frame.scale
        plain = bool(((metric - 1).abs() < 1e-12).all())
        center = (params["center"] - frame.shift) / frame.scale
        return replace(self, metric=None if plain else as_tuple(metric)), {**params, "center": center}

    def standardised(self, frame: AffineTransform) -> Score:
        old = torch.ones_like(frame.scale) if self.metric is None else frame.scale.new_tensor(self.metric)
        return replace(self, metric=as_tuple(old / frame.scale))

    def plain(self) -> Distance:
        return replace(self, metric=None)


def expanded_square(center: Tensor, x: Tensor, metric: tuple[float, ...] | None) -> Tensor:
    """Return ``||metric * (x - center)||^2 (*B, K, n)`` by ``|x|^2 + |c|^2 - 2 c.x`` about the mean of the centers.

    About zero where a batch of centers shares x, of which every member would need a copy of its own. Entries that
    cancel badly are computed again from differences: on the CPU, outside compiled graphs and vmap, where looking for
    them does not make the device wait.
    """
    c, z = center, x
    if center.ndim == 2 or x.shape[:-2].numel() > 1:
        middle = center.detach().mean(-2, keepdim=True)  # distances do not depend on it
        c, z = center - middle, x - middle.mT
    if metric is not None:
        factor = x.new_tensor(metric)
        c, z = c * factor, z * factor[:, None]
    sizes = c.square().sum(-1)[..., None] + z.square().sum(-2).unsqueeze(-2)
    squared = (sizes - 2 * (c @ one_matrix(z, c.ndim))).clamp_min(0.0)
    if torch.compiler.is_compiling() or squared.device.type != "cpu" or batched_by_vmap(squared):
        return squared
    close = (squared.detach() < 1e-4 * sizes.detach()).nonzero(as_tuple=True)
    if not len(close[0]):
        return squared
    rows = x.expand(squared.shape[:-2] + x.shape[-2:]).movedim(-1, -2)[close[:-2] + (close[-1],)]
    gaps = center.expand(squared.shape[:-2] + center.shape[-2:])[close[:-1]] - rows
    exact = ((gaps if metric is None else gaps * x.new_tensor(metric)) ** 2).sum(-1)
    return squared.index_put(close, exact)


@dataclass(frozen=True)
class SquaredDistance(Score):
    """Negative squared distance: ``s_k(x) = bias_k - ||x - center_k||^2``, the score of a Gaussian density gate.

    With a softmax link this is a softmax gate in disguise: ``||x||^2`` cancels, and ``weight_k = 2 center_k`` with the
    bias ``bias_k - ||center_k||^2`` gives the same weights. So centers are known up to a common shift, which moves
    every bias by ``2 center_k . shift``: fix one center, or fit the softmax gate.

    Examples
    --------
    >>> import torch
    >>> params = {"center": torch.tensor([[0.0, 1.0, 0.0]]), "bias": torch.tensor([1.0])}
    >>> SquaredDistance()(params, torch.tensor([[2.0], [1.0], [2.0]])).tolist()
    [[-7.0]]
    """

    def parameters(self, d: int) -> dict[str, Parameter]:
        return {"center": Parameter((d,), "location"), "bias": Parameter((), "intercept")}

    def __call__(self, params: Params, x: Tensor) -> Tensor:
        return params["bias"][..., None] - ((params["center"][..., None] - x.unsqueeze(-3)) ** 2).sum(-2)

    def value_and_derivatives(self, params: Params, x: Tensor) -> Derivatives:
        slope = 2.0 * (x.unsqueeze(-3) - params["center"][..., None])
        jacobian = torch.cat([slope, torch.ones_like(slope[..., :1, :])], -2)

        def curvature(weights: Tensor) -> Tensor:
            block = -2.0 * torch.eye(x.shape[-2], dtype=x.dtype) * weights.sum(-1)[..., None, None]
            return torch.nn.functional.pad(block, (0, 1, 0, 1))

        return Derivatives(self(params, x), jacobian, curvature)

    def tangents(self, params: Params, common: bool) -> dict[str, Tensor]:
        """Return the common shifts of the centers, with the biases that undo them."""
        center = params["center"]
        if not common:
            return {}
        d = center.shape[-1]
        shift = torch.eye(d, dtype=center.dtype).reshape((d,) + (1,) * (center.ndim - 1) + (d,))
        from_last = center - center[..., -1:, :]  # so that the bias of the last branch, the reference, stays
        return {"center": shift.expand((d, *center.shape)), "bias": 2.0 * (shift * from_last).sum(-1)}


@dataclass(frozen=True)
class Cosine(Score):
    """Cosine score (2405.14131).

    ``s_k(x) = weight_k . v / ((||weight_k|| + floor)(||v|| + floor)) + bias_k``. Here ``v = metric * (x - origin)``.
    With ``floor > 0`` this is the perturbed cosine router. With ``floor = 0`` the score does not depend on the length
    of `weight`, which is then not identified.

    Attributes
    ----------
    floor : float
        Added to both norms; ``perturbed-cosine`` has 0.1.
    origin : tuple of float, optional
        Point from which inputs are counted; None: zero. Fits on standardised inputs set it.
    metric : tuple of float, optional
        Positive weight of each feature; None: all weights are one. Fits on standardised inputs set it.

    Examples
    --------
    >>> import torch
    >>> from gatewise import Cosine
    >>> params = {"weight": torch.tensor([[1.0, 0.0], [0.0, 1.0]]), "bias": torch.tensor([0.0, 0.0])}
    >>> Cosine()(params, torch.tensor([[3.0, 0.0], [0.0, 5.0]])).tolist()  # two branches, two rows
    [[1.0, 0.0], [0.0, 1.0]]
    """

    floor: float = 0.0
    origin: tuple[float, ...] | None = None
    metric: tuple[float, ...] | None = None

    def parameters(self, d: int) -> dict[str, Parameter]:
        return {"weight": Parameter((d,), "direction"), "bias": Parameter((), "intercept")}

    def _direction(self, x: Tensor) -> Tensor:
        v = shifted(x, self.origin)
        v = v if self.metric is None else v * x.new_tensor(self.metric)[:, None]
        return v / (_safe_norm(v, -2) + self.floor)

    def __call__(self, params: Params, x: Tensor) -> Tensor:
        weight = params["weight"]
        unit = weight / (_safe_norm(weight, -1) + self.floor)
        return affine(unit, params["bias"], self._direction(x))

    def value_and_derivatives(self, params: Params, x: Tensor) -> Derivatives:
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

        return Derivatives(product[..., 0, :] + params["bias"][..., None], jacobian, curvature)

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

    def rescale(self, params: Params, frame: AffineTransform) -> tuple[Score, dict[str, Tensor]]:
        old = torch.ones_like(frame.scale) if self.metric is None else frame.scale.new_tensor(self.metric)
        moved = replace(self, origin=move_origin(self.origin, frame), metric=as_tuple(old * frame.scale))
        return moved, dict(params)

    def standardised(self, frame: AffineTransform) -> Score:
        old = torch.ones_like(frame.scale) if self.metric is None else frame.scale.new_tensor(self.metric)
        origin = move_origin(self.origin, frame.inverse())
        return replace(self, origin=origin, metric=as_tuple(old / frame.scale))

    def plain(self) -> Cosine:
        return replace(self, origin=None, metric=None)


def _safe_norm(v: Tensor, dim: int) -> Tensor:
    squared = (v * v).sum(dim, keepdim=True)
    positive = squared > 0
    return torch.where(positive, torch.where(positive, squared, 1.0).sqrt(), 1.0)
