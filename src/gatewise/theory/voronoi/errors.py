"""Errors of single parameters: by cell of the true atoms, and over the exactly filled and the over-filled cells."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gatewise.theory.voronoi.result import Voronoi


class CellErrors(NamedTuple):
    """Distances of the fitted atoms of every cell from its true atom, ``(*B, k*)``; NaN where a cell is empty.

    Attributes
    ----------
    mean, max : Tensor (*B, k*)
    """

    mean: Tensor
    max: Tensor


class ParameterErrors(NamedTuple):
    """Distances of fitted from true atoms over all cells of a kind, ``(*B,)``; NaN where no cell is of the kind.

    Attributes
    ----------
    exact_mean, exact_max : Tensor
        Over the exactly filled cells.
    over_mean, over_max : Tensor
        Over the atoms of over-filled cells.
    """

    exact_mean: Tensor
    exact_max: Tensor
    over_mean: Tensor
    over_max: Tensor


def cell_errors(found: Voronoi) -> dict[str, CellErrors]:
    """Return the errors by path and cell, translation taken off; also of ``bias``, and of ``mass`` for whole cells."""
    inside = torch.nn.functional.one_hot(found.cells, found.sizes.shape[-1]).bool()
    out = {}
    for path, norm in found.differences.items():
        held = torch.where(inside, norm.unsqueeze(-1), torch.nan)
        out[path] = CellErrors(held.nanmean(-2), _largest(held, -2))
    return out | {"mass": CellErrors(found.mass, found.mass)}


def errors(found: Voronoi) -> dict[str, ParameterErrors]:
    """Return the errors by path, over exactly filled and over-filled cells; ``mass`` is averaged over cells.

    Examples
    --------
    >>> import torch
    >>> from gatewise.theory.voronoi.result import Shift
    >>> some = torch.zeros(())
    >>> shift = Shift(some, {}, some.bool())
    >>> norm = {"experts.coef": torch.tensor([0.5, 0.1, 0.3])}
    >>> cells, sizes = torch.tensor([0, 1, 1]), torch.tensor([1, 2])
    >>> found = Voronoi(some, some, cells, sizes, some, shift, norm, torch.zeros(2), some.bool())
    >>> [round(float(value), 3) for value in errors(found)["experts.coef"]]
    [0.5, 0.5, 0.2, 0.3]
    """
    size = found.sizes.gather(-1, found.cells)
    series = {path: (norm, size) for path, norm in found.differences.items()}
    series["mass"] = (found.mass, found.sizes)
    out = {}
    for path, (norm, count) in series.items():
        exact = torch.where(count == 1, norm, torch.nan)
        over = torch.where(count > 1, norm, torch.nan)
        out[path] = ParameterErrors(exact.nanmean(-1), _largest(exact, -1), over.nanmean(-1), _largest(over, -1))
    return out


def _largest(values: Tensor, dim: int) -> Tensor:
    """Return the maximum of what is not NaN, NaN where nothing is."""
    top = torch.where(values.isnan(), -torch.inf, values).amax(dim)
    return torch.where(values.isnan().all(dim), torch.nan, top)
