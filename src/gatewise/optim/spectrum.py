"""Eigenvalues of the free block of a Hessian, and what is read off them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Spectrum", "curved", "decrement", "decrement_of", "least_eigenvalue", "solvable", "spectrum"]

NULL = 1e-14
CURVATURE = 1e-9
EPS = torch.finfo(torch.float64).eps


class Spectrum(NamedTuple):
    """Eigenpairs of the free block, ascending; those with `live` False stand for coordinates that are held.

    values, live : (s, P);  vectors : (s, P, P), in columns;  top : (s,), the largest modulus.
    """

    values: Tensor
    vectors: Tensor
    live: Tensor
    top: Tensor


def spectrum(hessian: Tensor, free: Tensor) -> Spectrum:
    """Eigendecomposition of ``hessian`` (s, P, P) restricted to ``free`` (s, P).

    The block is scaled to unit Frobenius norm and the held coordinates get the eigenvalue 2 of their own,
    so that they come last and never mix with the block.
    """
    block = (hessian + hessian.mT) * 0.5 * (free[:, :, None] & free[:, None, :])
    size = torch.linalg.matrix_norm(block)
    size = torch.where(size > 0, size, 1.0)[:, None]
    values, vectors = torch.linalg.eigh(block / size[..., None] + torch.diag_embed(2 * (~free).to(block)))
    live = torch.arange(free.shape[1], device=free.device) < free.sum(1, keepdim=True)
    values = torch.where(live, values * size, 0.0)
    return Spectrum(values, vectors, live, torch.linalg.vector_norm(values, torch.inf, -1))


def curved(spec: Spectrum) -> Tensor:
    """Whether the least eigenvalue is negative beyond rounding, (s,): below -1e-9 max(1, largest modulus)."""
    return spec.values.amin(-1) < -CURVATURE * spec.top.clamp(min=1.0)


def solvable(spec: Spectrum, gradient: Tensor, noise: float) -> tuple[Tensor, Tensor]:
    """Gradient in the eigenbasis and the moduli to divide it by, both (s, P).

    A null direction (modulus below 1e-14 of the largest, or of 1) whose gradient component is rounding
    (within `noise`, or within machine precision of the whole gradient) gets component 0, so that nothing
    moves along it. With a gradient it is kept, at a modulus of at least machine precision.
    """
    component = (spec.vectors.mT @ gradient[..., None])[..., 0].masked_fill(~spec.live, 0.0)
    modulus, top = spec.values.abs(), spec.top[:, None]
    negligible = (4 * EPS * torch.linalg.vector_norm(component, dim=-1)).clamp(min=noise)
    null = (modulus < NULL * top.clamp(min=1.0)) & (component.abs() <= negligible[:, None])
    return component.masked_fill(null, 0.0), torch.maximum(modulus, EPS * top)


def decrement_of(spec: Spectrum, gradient: Tensor, noise: float) -> Tensor:
    """`decrement` from a spectrum already at hand."""
    component, modulus = solvable(spec, gradient, noise)
    terms = component * (component / modulus)
    return 0.5 * torch.where(component == 0, 0.0, terms).sum(-1)


def decrement(gradient: Tensor, hessian: Tensor, free: Tensor, noise: float = 0.0) -> Tensor:
    """Newton decrement g' |H|^+ g / 2 on the free coordinates, (s,): the fall a Newton step promises.

    Null directions whose gradient component is within `noise` do not count. Infinite where the block is
    zero and the gradient is not.
    """
    return decrement_of(spectrum(hessian, free), gradient, noise)


def least_eigenvalue(hessian: Tensor, free: Tensor) -> tuple[Tensor, Tensor]:
    """Least eigenvalue of the free block, (s,), and its unit vector, (s, P); zeros where nothing is free."""
    spec = spectrum(hessian, free)
    return spec.values[:, 0], spec.vectors[:, :, 0] * (free & spec.live[:, :1])
