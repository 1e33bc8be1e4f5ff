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
    >>> x = torch.arange(4, dtype=torch.float64)
    >>> regress(torch.stack([x, torch.ones(4)]), (1 + 2 * x)[None], torch.ones(1, 4), 0.0).tolist()
    [[[2.0, 1.0]]]
    """
    gram = (design * weight.unsqueeze(-2)) @ design.mT
    right = (y * weight.unsqueeze(-2)) @ design.mT
    size = gram.diagonal(dim1=-2, dim2=-1).mean(-1)[:, None, None]
    eye = torch.eye(gram.shape[-1], dtype=gram.dtype)
    return torch.linalg.solve(gram + (ridge * size + 1e-3 * ridge) * eye, right.mT).mT
