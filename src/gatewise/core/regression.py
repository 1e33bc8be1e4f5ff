"""Weighted least squares of many weightings at once."""

from __future__ import annotations

import torch
from torch import Tensor


def regress(design: Tensor, y: Tensor, weight: Tensor, ridge: float = 1e-6) -> Tensor:
    """Return the coefficients ``(C, q, P)`` of y on a design, for each weighting; a small ridge keeps them finite.

    Parameters
    ----------
    design : Tensor (P, n)
    y : Tensor (q, n)
    weight : Tensor (C, n)
    ridge : float
        Share of the mean diagonal of ``design diag(w) design'`` that is added to it.

    Examples
    --------
    >>> x = torch.arange(4.0, dtype=torch.float64)
    >>> print(regress(torch.stack([x, torch.ones_like(x)]), (1 + 2 * x)[None], torch.ones_like(x)[None], 0.0))
    tensor([[[2.0000, 1.0000]]], dtype=torch.float64)
    """
    gram, right = _moments(design, y, weight)
    size = gram.diagonal(dim1=-2, dim2=-1).mean(-1)[:, None, None]
    eye = torch.eye(gram.shape[-1], dtype=gram.dtype)
    return torch.linalg.solve(gram + (ridge * size + 1e-3 * ridge) * eye, right.mT).mT


def _moments(design: Tensor, y: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``design diag(w) design'`` (C, P, P) and ``y diag(w) design'`` (C, q, P).

    One product with the squares of the design serves many weightings; of few, each has its own.
    """
    size = len(design)
    if len(weight) <= size:
        return (design * weight.unsqueeze(-2)) @ design.mT, (y * weight.unsqueeze(-2)) @ design.mT
    i, j = torch.triu_indices(size, size)
    packed = weight @ (design[i] * design[j]).T
    gram = packed.new_empty(len(weight), size, size)
    gram[:, i, j] = packed
    gram[:, j, i] = packed
    return gram, torch.stack([weight @ (design * row).T for row in y], 1)


def residual_spread(design: Tensor, y: Tensor, weight: Tensor, coefficients: Tensor) -> Tensor:
    """Return the weighted standard deviations ``(C, q)`` of the residuals of coefficients of `regress`."""
    square = (y - coefficients @ design) ** 2
    return torch.sqrt((square * weight.unsqueeze(-2)).sum(-1) / weight.sum(-1, keepdim=True).clamp_min(1e-12))
