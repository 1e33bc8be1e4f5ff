"""Shifts of the gate locations from which the search for the best one starts."""

from __future__ import annotations

import torch
from torch import Tensor

from gatewise.theory.voronoi.pairs import Pairs, try_shifts, weights

MORE_LINES = 6


def candidates(pairs: Pairs) -> Tensor:
    """Return shifts ``(N, C, D)``: matches of atoms, means of their cells, and points on lines through the best."""
    t = _matches(pairs)
    trial = try_shifts(pairs, t)
    best = t[torch.arange(len(t)), trial.value.argmin(1)]
    on_lines = [_on_line(pairs, best, direction) for direction in _lines(pairs)]
    return torch.cat([t, _weighted_means(pairs, trial.cells, t), *on_lines], 1)


def room(pairs: Pairs) -> int:
    """Return how many numbers the candidates of one measure take while they are tried."""
    matches = pairs.mass.shape[1] * len(pairs.target)
    lines = 1 if pairs.size == 1 else pairs.size + MORE_LINES
    return matches * matches * (2 + lines) * (pairs.size + 2)


def _matches(pairs: Pairs) -> Tensor:
    """Return the shifts that match a fitted atom to a true one, ``(N, k k*, D)``."""
    return torch.cat([b.gap.flatten(1, 2) for b in pairs.blocks if b.place is not None], -1)


def _lines(pairs: Pairs) -> Tensor:
    """Return directions ``(V, D)`` in which cells are visited: the axes and some others."""
    axes = torch.eye(pairs.size, dtype=torch.float64)
    if pairs.size == 1:
        return axes
    generator = torch.Generator().manual_seed(1)
    return torch.cat([axes, torch.randn(MORE_LINES, pairs.size, generator=generator, dtype=torch.float64)])


def _on_line(pairs: Pairs, base: Tensor, direction: Tensor) -> Tensor:
    """Return a shift in every interval of the line ``base + s direction`` with the same cells, ``(N, C, D)``.

    Squared distances of an atom to two true ones differ by a linear function of s. (Intervals are those of the
    Euclidean distance; for the sum of norms they are candidates like any others.)
    """
    square, slope = torch.zeros(()), torch.zeros(())
    for block in pairs.blocks:
        gap = block.gap
        if block.place is not None:
            gap = gap - base[:, None, None, block.place]
            slope = slope + 2 * (gap * direction[block.place]).sum(-1)
        if block.metric:
            square = square + (gap * gap).sum(-1)
    i, j = torch.triu_indices(len(pairs.target), len(pairs.target), 1)
    apart = slope[..., i] - slope[..., j]
    equal = (square[..., i] - square[..., j]) / torch.where(apart == 0, torch.nan, apart)
    edges = torch.nn.functional.pad(equal.flatten(1).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0), (0, 1))
    edges = edges.sort(dim=-1).values
    s = torch.cat([edges[:, :1] - 1, 0.5 * (edges[:, 1:] + edges[:, :-1]), edges[:, -1:] + 1], -1)
    return base[:, None] + s[..., None] * direction


def _weighted_means(pairs: Pairs, cells: Tensor, t: Tensor) -> Tensor:
    """Return the shifts that are best for the cells ``(N, C, k)`` of shifts t if every power is two."""
    weight = weights(pairs)
    weight = weight / weight.sum(-1, keepdim=True).clamp_min(1e-300)
    out = []
    for block in pairs.blocks:
        if block.place is not None:
            gap = block.gap.unsqueeze(1).expand(-1, t.shape[1], -1, -1, -1)
            index = cells[..., None, None].expand(-1, -1, -1, 1, gap.shape[-1])
            own = gap.gather(3, index)[:, :, :, 0]
            out.append((weight[:, None, :, None] * own).sum(-2))
    return torch.cat(out, -1)


def best_of_their_cells(value: Tensor, cells: Tensor, count: int) -> Tensor:
    """Return the values ``(N, C)``, infinite where another candidate with the same cells has a smaller one."""
    digits = torch.arange(cells.shape[-1], dtype=torch.float64)
    code = (cells * torch.pow(float(count), digits)).sum(-1)
    order = value.sort(dim=1, stable=True).indices
    grouped = code.gather(1, order).sort(dim=1, stable=True)
    order = order.gather(1, grouped.indices)
    again = torch.zeros_like(order, dtype=torch.bool)
    again[:, 1:] = grouped.values[:, 1:] == grouped.values[:, :-1]
    return value.masked_fill(torch.zeros_like(again).scatter(1, order, again), torch.inf)
