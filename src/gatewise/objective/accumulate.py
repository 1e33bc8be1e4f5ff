"""The one sum over rows: a statistic of the blocks of the rows, added up in fixed order.

It is compiled where it can be; rows that have a device are summed there, by the statistic itself.
"""

from __future__ import annotations

from importlib.metadata import version
from operator import itemgetter

import torch
from torch import Tensor

from gatewise.core.mixture import Measure, Mixture
from gatewise.objective import compiled
from gatewise.objective.rows import Block, Rows, block_size, members_at_once
from gatewise.objective.terms import Statistic


def engine() -> str:
    """Return what sums over many rows: the compiler of the compiled sums and its version, or the reference."""
    return f"numba {version('numba')}" if compiled.available() else "reference"


def accumulate(stat: Statistic, mixture: Mixture, measure: Measure, rows: Rows, width: int) -> tuple[Tensor, ...]:
    """Sum `stat` over the blocks of the rows, in fixed order; by compiled kernels where there are some and they pay.

    Parameters
    ----------
    stat : callable ``(mixture, measure, block) -> tensors`` to be summed
    width : int
        Numbers per row in the largest temporary of `stat`, batch included; it sets the block size only. Members that
        do not fit into one block together are taken in groups.
    """
    return rows.fold(_summed, _added, stat, mixture, measure, width)


def _added(one: tuple[Tensor, ...], other: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(a + b for a, b in zip(one, other, strict=True))


def _summed(rows: Rows, stat: Statistic, mixture: Mixture, measure: Measure, width: int) -> tuple[Tensor, ...]:
    """Sum a statistic over the rows in this process, or on their device."""
    if rows.device is None:
        quick = compiled.accumulate(stat, mixture, measure, rows) if compiled.pays(measure, rows) else None
        return _in_blocks(rows, stat, mixture, measure, width) if quick is None else quick
    place, there = rows.device.place, rows.on_device
    moved = measure.map(lambda part: part.to(place))
    wide = there.width(measure, width)
    sums = _in_blocks(there.rows, rows.device.on_block(stat), mixture, moved, wide, there.cells, there.most)
    return tuple(one.cpu() for one in sums)


def _in_blocks(
    rows: Rows,
    stat: Statistic,
    mixture: Mixture,
    measure: Measure,
    width: int,
    cells: int | None = None,
    most: int | None = None,
) -> tuple[Tensor, ...]:
    """Sum a statistic block by block; the largest temporary has at most so many cells, a block so many rows."""
    count = measure.members
    each = max(width // count, 1)
    size = block_size(each, cells, most)
    group = members_at_once(each * min(size, rows.n), cells)
    groups = [slice(first, first + group) for first in range(0, count, group)]
    measures = [measure.map(itemgetter(some)) for some in groups]
    totals: list[list[Tensor]] = [[] for _ in groups]
    for block in rows.blocks(size):
        for total, some, part in zip(totals, groups, measures, strict=True):
            sums = stat(mixture, part, _of_members(block, some))
            total[:] = [a + b for a, b in zip(total, sums, strict=True)] if total else sums
    return tuple(torch.cat(sums) for sums in zip(*totals, strict=True))


def _of_members(block: Block, some: slice) -> Block:
    """Return the block of some batch members: the block itself unless each member has rows of its own."""
    if block.x.ndim == 2:
        return block
    return block._replace(x=block.x[some], gate_x=block.gate_x[some], y=block.y[some])
