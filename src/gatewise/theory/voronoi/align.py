"""The translation of the gate that brings a fitted measure closest to the truth, for many measures at once.

For a given shift t of the gate locations the cells follow, and the shift of the biases enters as the factor u of all
fitted masses: the loss is convex and piecewise linear in u, with its minimum at some ``T_j / S_j`` (true and fitted
mass of a cell). For given cells the best t does not depend on u and minimises a convex sum of powers of distances. So
the search takes the shifts that match a fitted atom to a true one, moves each of the best ones to the optimum for its
cells, or as far as the cells last, and repeats until no cell changes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gatewise.theory.voronoi.candidates import best_of_their_cells, candidates, room
from gatewise.theory.voronoi.median import power_median
from gatewise.theory.voronoi.pairs import Pairs, PairsOfCell, try_shifts, weights

REFINED = 16  # candidates that are refined
ROUNDS = 8
BISECTIONS = 45
NUDGE = 1e-9  # off the edge, lest rounding puts a step along it on the wrong side
POLLS = 160  # of a pattern search for optima on the edge of cells
CHUNK = 3_000_000  # numbers held at once


def best_shift(pairs: Pairs) -> Tensor:
    """Return the shift of the gate locations with the smallest loss that was found, ``(N, D)``.

    It is the minimiser for one entry and the Euclidean distance, and for measures near the truth. For more entries, an
    optimum on the edge of cells (with an empty cell, as a rule) is searched for along the edges and may be missed.
    """
    count = len(pairs.mass)
    if pairs.size == 0:
        return pairs.mass.new_zeros(count, 0)
    chunk = max(1, CHUNK // room(pairs))
    return torch.cat([_search(pairs.take(slice(at, at + chunk))) for at in range(0, count, chunk)])


def _search(pairs: Pairs) -> Tensor:
    t = candidates(pairs)
    trial = try_shifts(pairs, t)
    value = best_of_their_cells(trial.value, trial.cells, len(pairs.target))
    hopeless = trial.floor > trial.value.amin(1, keepdim=True)
    best, chosen = value.masked_fill(hopeless, torch.inf).topk(min(REFINED, value.shape[1]), dim=1, largest=False)
    tried = torch.isfinite(best)
    tried[:, 0] = True  # a measure that is not finite goes on to a loss that is not
    row, column = tried.nonzero(as_tuple=True)
    end, reached, settled = _refine(pairs.take(row), t[row, chosen[row, column]])
    place = torch.full(best.shape, torch.inf, dtype=best.dtype).index_put((row, column), reached)
    number = torch.zeros(best.shape, dtype=torch.long).index_put((row, column), torch.arange(len(row)))
    winner = number.gather(1, place.argmin(1, keepdim=True))[:, 0]
    best_t, settled = end[winner], settled[winner]
    edge = (~settled).nonzero()[:, 0]
    if len(edge):
        best_t[edge] = _poll(pairs.take(edge), best_t[edge])
    return best_t


def _poll(pairs: Pairs, t: Tensor) -> Tensor:
    """Improve shifts ``(N, D)`` on the edge of cells by trying points along the edges, closer while none is better.

    Edges are orthogonal to the differences of the locations of two true atoms.
    """
    generator = torch.Generator().manual_seed(1)
    gaps = torch.cat([b.gap for b in pairs.blocks if b.place is not None], -1)
    first, second = torch.triu_indices(len(pairs.target), len(pairs.target), 1)
    normals = gaps[0, 0, second] - gaps[0, 0, first]
    value = try_shifts(pairs, t[:, None]).value[:, 0]
    length = 0.5 * gaps.flatten(1, 2).std(1).amax(-1)
    row = torch.arange(len(t))
    for i in range(POLLS):
        drawn = torch.randn(pairs.size, pairs.size, generator=generator, dtype=t.dtype)
        drawn[:, 0] = normals[i % len(normals)]
        frame = torch.linalg.qr(drawn).Q.mT
        along, off = frame[1:], NUDGE * frame[:1]
        steps = torch.cat([frame, -frame, along + off, along - off, off - along, -along - off])
        tried = t[:, None] + length[:, None, None] * steps
        reached = try_shifts(pairs, tried).value
        best = reached.argmin(1)
        lower = reached[row, best] < value
        t = torch.where(lower[:, None], tried[row, best], t)
        value = torch.where(lower, reached[row, best], value)
        length = torch.where(lower, 1.3 * length, 0.75 * length)
    return t


def _own(block: PairsOfCell, cells: Tensor) -> Tensor:
    """Return the gaps of every fitted atom to its true one, cells ``(N, k)`` -> ``(N, k, p)``."""
    index = cells[..., None, None].expand(-1, -1, 1, block.gap.shape[-1])
    return block.gap.gather(2, index)[:, :, 0]


def _best_for_cells(pairs: Pairs, cells: Tensor) -> Tensor:
    """Return the shift ``(N, D)`` that minimises the loss as if the cells ``(N, k)`` did not depend on it."""
    size = torch.nn.functional.one_hot(cells, len(pairs.target)).sum(1).gather(-1, cells)
    weight = weights(pairs)
    moved = [b for b in pairs.blocks if b.place is not None]
    return torch.cat([power_median(_own(b, cells), weight * b.counts[size], b.power[size]) for b in moved], -1)


def _refine(pairs: Pairs, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Move shifts ``(N, D)`` to the optimum of their cells until these stay.

    Returns shifts, losses, and whether the optimum lies inside the region of its cells.
    """
    t = t.clone()
    now = try_shifts(pairs, t[:, None])
    value, cells = now.value[:, 0], now.cells[:, 0]
    active = torch.arange(len(t))
    settled = torch.zeros(len(t), dtype=torch.bool)
    for _ in range(ROUNDS):
        some = pairs.take(active)
        goal = _best_for_cells(some, cells[active])
        ends = _toward(some, t[active], goal, cells[active])
        trial = try_shifts(some, ends)
        best = trial.value.argmin(1)
        row = torch.arange(len(active))
        lower = trial.value[row, best] < value[active]
        settled[active] = (trial.cells[:, 0] == cells[active]).all(-1)
        changed = lower & (trial.cells[row, best] != cells[active]).any(-1)
        kept = active[lower]
        t[kept], value[kept] = ends[row, best][lower], trial.value[row, best][lower]
        cells[kept] = trial.cells[row, best][lower]
        active = active[changed]
        if not len(active):
            break
    return t, value, settled


def _toward(pairs: Pairs, t: Tensor, goal: Tensor, cells: Tensor) -> Tensor:
    """Return the goal and the last shift before and the first after a change of cells, ``(N, 3, D)``."""
    low = torch.zeros_like(t[:, :1])
    high = torch.ones_like(low)
    same = (try_shifts(pairs, goal[:, None]).cells[:, 0] == cells).all(-1)
    open_ = (~same).nonzero()[:, 0]
    if len(open_):
        part, own = pairs.take(open_), cells[open_]
        a, b = low[open_], high[open_]
        for _ in range(BISECTIONS):
            middle = 0.5 * (a + b)
            tried = t[open_] + middle * (goal[open_] - t[open_])
            stays = (try_shifts(part, tried[:, None]).cells[:, 0] == own).all(-1, keepdim=True)
            a, b = torch.where(stays, middle, a), torch.where(stays, b, middle)
        low[open_], high[open_] = a, b
    low = torch.where(same[:, None], 1.0, low)
    return torch.stack([goal, t + low * (goal - t), t + high * (goal - t)], 1)
