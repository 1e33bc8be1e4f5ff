"""Fitted measures against one truth: differences of all pairs of atoms, cells and loss at given shifts."""

from __future__ import annotations

from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

TIE = 1e-12  # relative difference of distances that counts as none


class PairsOfCell(NamedTuple):
    """One parameter of all pairs of a fitted and a true atom.

    Attributes
    ----------
    path : str
    gap : Tensor (N, k, k*, p)
        Fitted minus true. Length p = 1 and nonnegative values hold a norm as well.
    power, counts : Tensor (k + 1,)
        Power in cells of 0, 1, ..., k atoms, and whether the parameter is in the loss there.
    place : slice or None
        Where the shift t has the entries that are subtracted from the gap, None if it does not move.
    metric : bool
        Whether it is a part of the distance that defines the cells.
    """

    path: str
    gap: Tensor
    power: Tensor
    counts: Tensor
    place: slice | None
    metric: bool


class Pairs(NamedTuple):
    """Fitted measures against one truth.

    Attributes
    ----------
    mass : Tensor (N, k)
    target : Tensor (k*,)
        Masses of the true atoms.
    mass_cells : Tensor (k + 1,)
        Whether a cell of 0, 1, ..., k atoms has a mass term.
    blocks : tuple of Block
    size : int
        Entries of the shift t.
    factor : bool
        Whether the masses are known up to a factor u.
    weighted : bool
    summed : bool
        Whether the distance of two atoms is the sum of the norms of the parameters, not the norm of all entries.
    """

    mass: Tensor
    target: Tensor
    mass_cells: Tensor
    blocks: tuple[PairsOfCell, ...]
    size: int
    factor: bool
    weighted: bool
    summed: bool

    def take(self, index: Tensor | slice) -> Pairs:
        """Return some of the measures."""
        return self._replace(mass=self.mass[index], blocks=tuple(b._replace(gap=b.gap[index]) for b in self.blocks))


class Trial(NamedTuple):
    """The loss at shifts ``(N, C)``.

    Attributes
    ----------
    value, factor : Tensor (N, C)
        Loss at the best factor of the masses, and that factor.
    cells : LongTensor (N, C, k)
        True atom of every fitted one.
    ties : LongTensor (N, C)
        Fitted atoms that are equally close to several true ones; the first of these is taken.
    floor : Tensor (N, C)
        The loss without the parameters that move: no shift with the same cells has a smaller one.
    """

    value: Tensor
    factor: Tensor
    cells: Tensor
    ties: Tensor
    floor: Tensor


def norms(block: PairsOfCell, t: Tensor) -> Tensor:
    """Return the norms of the differences of a block after the shifts t ``(N, C, D)``: ``(N, C, k, k*)``."""
    gap = block.gap.unsqueeze(1)
    if block.place is None:
        return torch.linalg.vector_norm(gap, dim=-1).expand(-1, t.shape[1], -1, -1)
    return torch.linalg.vector_norm(gap - t[:, :, None, None, block.place], dim=-1)


def _cells(pairs: Pairs, distances: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the closest true atom of every fitted one, the first of equals, and the number of such ties."""
    if pairs.summed:
        total, width = sum(distances[1:], distances[0]), TIE
    else:
        total, width = sum((d * d for d in distances[1:]), distances[0] ** 2), 2 * TIE
    # over few true atoms, one after the other is several times faster than a reduction along the last dimension
    columns = total.unbind(-1)
    bound = reduce(torch.minimum, columns) * (1 + width)
    near = [column <= bound for column in columns]
    cells = torch.zeros_like(bound, dtype=torch.long)
    for j in range(len(near) - 1, -1, -1):
        cells = torch.where(near[j], j, cells)
    return cells, (torch.stack(near).sum(0) > 1).sum(-1)


def try_shifts(pairs: Pairs, t: Tensor) -> Trial:
    """Return the loss at shifts t ``(N, C, D)`` of the gate locations, masses at their best factor."""
    found = [norms(block, t) for block in pairs.blocks]
    metric = [norm for norm, block in zip(found, pairs.blocks, strict=True) if block.metric]
    zero = pairs.mass.new_zeros(t.shape[:2] + (pairs.mass.shape[1], len(pairs.target)))
    cells, ties = _cells(pairs, metric or [zero])
    members = torch.nn.functional.one_hot(cells, len(pairs.target)).to(zero.dtype)
    sizes = members.sum(-2).long()
    size = sizes.gather(-1, cells)
    still, moving = torch.zeros_like(zero[..., 0]), torch.zeros_like(zero[..., 0])
    for block, norm in zip(pairs.blocks, found, strict=True):
        own = norm.gather(-1, cells.unsqueeze(-1))[..., 0]
        term = block.counts[size] * own ** block.power[size]
        still, moving = (still + term, moving) if block.place is None else (still, moving + term)
    mass, counted = pairs.mass.unsqueeze(1), pairs.mass_cells[sizes]
    inside = (mass.unsqueeze(-1) * members).sum(-2)
    weight = mass if pairs.weighted else torch.ones_like(mass)
    value, factor = _best_factor(pairs, inside, (weight * (still + moving)).sum(-1), counted)
    floor, _ = _best_factor(pairs, inside, (weight * still).sum(-1), counted)
    return Trial(value, factor, cells, ties, floor)


def _best_factor(pairs: Pairs, inside: Tensor, spread: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
    """Minimise ``u spread + sum_j counted_j |u S_j - T_j|`` (spread without u if unweighted) over ``u = T_j / S_j``.

    Smaller factors are left out: there every cell would lack mass, and the loss could be lowered by letting all mass
    vanish.
    """
    u = torch.ones_like(inside[..., :1])
    if pairs.factor:
        u = torch.where(inside > 0, pairs.target / inside, torch.inf)
    lacking = (counted.unsqueeze(-2) * (u[..., None] * inside.unsqueeze(-2) - pairs.target).abs()).sum(-1)
    weighted = u * spread[..., None] if pairs.weighted else spread[..., None]
    values = torch.nan_to_num(lacking + weighted, nan=torch.inf, posinf=torch.inf)
    best = values.argmin(-1, keepdim=True)
    return values.gather(-1, best)[..., 0], u.expand_as(values).gather(-1, best)[..., 0]


def weights(pairs: Pairs) -> Tensor:
    """Return the weights ``(N, k)`` of the differences of the fitted atoms."""
    return pairs.mass if pairs.weighted else torch.ones_like(pairs.mass)
