"""Rows of data, read in blocks that never cut an independent unit. Inside, rows come last: ``(d, n)``.

Whatever is taken of all rows is a sum over them (`Rows.fold`) or a sample of them (`Rows.take`), so that they may lie
in memory, in files, or on other machines (`elsewhere`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from gatewise.core.predictors import AffineTransform
from gatewise.objective.columns import Columns, columns

if TYPE_CHECKING:
    from gatewise.objective.device import Device, DeviceRows
    from gatewise.objective.elsewhere import Elsewhere

T = TypeVar("T")

NUMBER = 8  # bytes
CELLS = 2**19  # numbers in the largest temporary of a block: 4 MiB
FEWEST, MOST = 256, 16384  # rows of a block
READ = 65536  # rows of a block of which nothing but sums is kept


def block_size(width: int, cells: int | None = None, most: int | None = None) -> int:
    """Return how many rows are read at once where the largest temporary has `width` numbers per row.

    It has at most `cells` numbers, default `CELLS`, and a block at most so many rows, default `MOST`.

    Examples
    --------
    >>> block_size(1), block_size(100), block_size(10**6)
    (16384, 5242, 256)
    """
    return max(FEWEST, min(most or MOST, (cells or CELLS) // max(width, 1)))


def members_at_once(each: int, cells: int | None = None) -> int:
    """Return how many members of a batch, or candidates, are held at once where each takes `each` numbers."""
    return max(1, (cells or CELLS) // max(each, 1))


class Block(NamedTuple):
    """A run of rows: n rows in m independent units.

    Attributes
    ----------
    x : Tensor (d, n)
    gate_x : Tensor (g, m)
        Gate inputs, one column per unit.
    y : Tensor (c, n)
    weight : Tensor (m,) or None
        Frequency weight of each unit; None: all one.
    unit : LongTensor (n,) or None
        Unit of each row, counted from zero inside the block; None: every row is a unit.
    offset : Tensor (q, n) or None
        Known part of the predictors of every leaf; None: zero.
    """

    x: Tensor
    gate_x: Tensor
    y: Tensor
    weight: Tensor | None = None
    unit: Tensor | None = None
    offset: Tensor | None = None

    @property
    def row_weight(self) -> Tensor | None:
        """The weight of every row (n,); None: all one."""
        return self.weight if self.weight is None or self.unit is None else self.weight[self.unit]


class RowFrames(NamedTuple):
    """The frames of the columns of rows, and whether gates and experts read the same columns in the same frame."""

    x: AffineTransform | None
    gate_x: AffineTransform | None
    y: AffineTransform | None
    offset: AffineTransform | None
    same: bool


@dataclass(frozen=True)
class Rows:
    """The data of a fit: inputs of experts and gates, responses, weights, units and offsets. Build it with `make_rows`.

    Attributes
    ----------
    x, gate_x, y : Columns
        n rows with d expert inputs, g gate inputs, and c responses.
    weight : Tensor (m,) or None
        Frequency weight of each unit: 0 drops it, 2 counts it twice. None: all one.
    ends : LongTensor (m,) or None
        Index after the last row of each unit. The rows of a unit are adjacent and share one responsibility and the gate
        inputs of the first row. None: every row is a unit.
    offset : Columns or None
        Known term that is added to the predictor of every leaf, one column per output, such as the log of an exposure.
    elsewhere : Elsewhere or None
        Where the rows are, if not in this process: the columns then know their shapes and frames alone, and weights and
        units stay with the rows.
    device : Device or None
        That takes the sums over these rows, by torch; None: this process, by compiled kernels where there are some.
        A sample of the rows has none.

    Examples
    --------
    >>> import numpy as np
    >>> from gatewise import make_rows
    >>> rows = make_rows(np.zeros((5, 3)), np.zeros((5, 2)))
    >>> rows.x.shape, rows.y.shape
    ((5, 3), (5, 2))
    """

    x: Columns
    gate_x: Columns
    y: Columns
    weight: Tensor | None = None
    ends: Tensor | None = None
    offset: Columns | None = None
    elsewhere: Elsewhere | None = None
    device: Device | None = None

    @property
    def n(self) -> int:
        """Number of rows."""
        return self.y.shape[0]

    @property
    def n_units(self) -> int:
        """Number of independent units."""
        if self.elsewhere is not None:
            return self.elsewhere.n_units
        return self.n if self.ends is None else len(self.ends)

    @property
    def weighted(self) -> bool:
        """Whether some weight differs from one."""
        return self.weight is not None if self.elsewhere is None else self.elsewhere.weighted

    @property
    def grouped(self) -> bool:
        """Whether units may have several rows."""
        return self.ends is not None if self.elsewhere is None else self.elsewhere.grouped

    @property
    def total(self) -> float:
        """Sum of the weights over all rows: the n of means, information criteria and certificates."""
        if self.elsewhere is not None:
            return self.elsewhere.total
        if self.weight is None:
            return float(self.n)
        if self.ends is None:
            return float(self.weight.sum())
        return float((self.weight * self.ends.diff(prepend=self.ends.new_zeros(1))).sum())

    def fold(self, part: Callable[..., T], join: Callable[[T, T], T], *args: Any) -> T:
        """Return ``part(rows, *args)``, joined over the pieces that the rows lie in, in their order.

        Parameters
        ----------
        part : callable ``(rows, *args) -> T``
            A function of a module, since it may run on another machine.
        join : callable ``(T, T) -> T``
            Associative up to rounding.
        """
        if self.elsewhere is not None:
            return self.elsewhere.fold(self.frames, part, join, args)
        return part(self, *args)

    def __sizeof__(self) -> int:
        """Return the bytes of the columns that are held, by which a cluster knows when to put rows on its disks."""
        parts = {id(part): part.held for part in (self.x, self.gate_x, self.y, self.offset) if part is not None}
        own = [one for one in (*parts.values(), self.weight, self.ends) if one is not None]
        return 256 + sum(one.numel() * one.element_size() for one in own)

    @property
    def frames(self) -> RowFrames:
        """The frames of the columns."""
        known = None if self.offset is None else self.offset.frame
        return RowFrames(self.x.frame, self.gate_x.frame, self.y.frame, known, self.gate_x is self.x)

    def in_frames(self, frames: RowFrames) -> Rows:
        """Return the rows behind the given frames, instead of their own; nothing is copied."""
        x = replace(self.x, frame=frames.x)
        gate_x = x if frames.same and self.gate_x is self.x else replace(self.gate_x, frame=frames.gate_x)
        offset = None if self.offset is None else replace(self.offset, frame=frames.offset)
        return replace(self, x=x, gate_x=gate_x, y=replace(self.y, frame=frames.y), offset=offset)

    @cached_property
    def on_device(self) -> DeviceRows:
        """The rows as their device reads them, a copy there that lives as long as these rows."""
        if self.device is None:
            raise ValueError("the rows have no device: their sums are taken in this process")
        return self.device.taking(self)

    def __getstate__(self) -> dict[str, Any]:
        """Return what is copied or sent: not what lies on a device."""
        return {name: value for name, value in vars(self).items() if name != "on_device"}

    def at_mass(self, shares: Tensor) -> Tensor:
        """Return the units ``(f,)`` at which the sum of weights so far reaches shares of the whole."""
        if self.elsewhere is not None:
            return self.elsewhere.at_mass(shares)
        mass = (torch.ones(self.n_units, dtype=torch.float64) if self.weight is None else self.weight).cumsum(0)
        return torch.searchsorted(mass, shares * mass[-1]).clamp(max=self.n_units - 1)

    def sample(self, most: int) -> Rows:
        """Return at most so many units, equal steps apart, in memory; the rows themselves when there are no more."""
        if self.n_units <= most and self.elsewhere is None:
            return self
        steps = torch.linspace(0, self.n_units - 1, min(most, self.n_units), dtype=torch.float64)
        return self.take(steps.round().long())

    def thinned(self, most: int) -> Block:
        """Return at most so many units as one block, equal steps apart."""
        few = self.sample(most)
        return few.read(0, few.n_units)

    def blocks(self, size: int) -> Iterator[Block]:
        """Yield blocks of about `size` rows, in order, none of which cuts a unit. Rows elsewhere are not read here.

        Raises
        ------
        ValueError
            For rows elsewhere.
        """
        if self.elsewhere is not None:
            raise ValueError(
                "this method needs all rows in one place, and they are on the workers of a cluster: give it a sample "
                "of the rows in memory"
            )
        if self.ends is None:
            for start in range(0, self.n, size):
                yield self.read(start, min(start + size, self.n))
            return
        first = 0
        while first < len(self.ends):
            begin = int(self.ends[first - 1]) if first else 0
            last = int(torch.searchsorted(self.ends, torch.tensor(begin + size, dtype=torch.long), right=True))
            last = max(last, first + 1)
            yield self.read(first, last)
            first = last

    def read(self, first: int, last: int) -> Block:
        """Return units first..last as one block."""
        if self.elsewhere is not None:
            few = self.take(torch.arange(first, last))
            return few.read(0, few.n_units)
        weight = None if self.weight is None else self.weight[first:last]
        if self.ends is None:
            x = self.x.read(first, last)
            gate_x = x if self.gate_x is self.x else self.gate_x.read(first, last)
            return Block(x, gate_x, self.y.read(first, last), weight, None, self._offset(first, last))
        begin = int(self.ends[first - 1]) if first else 0
        stops = self.ends[first:last] - begin
        sizes = stops.diff(prepend=stops.new_zeros(1))
        stop = int(self.ends[last - 1])
        unit = torch.repeat_interleave(torch.arange(len(sizes)), sizes)
        gate_x = self.gate_x.read(begin, stop)[..., stops - sizes]
        offset = self._offset(begin, stop)
        return Block(self.x.read(begin, stop), gate_x, self.y.read(begin, stop), weight, unit, offset)

    def _offset(self, start: int, stop: int) -> Tensor | None:
        return None if self.offset is None else self.offset.read(start, stop)

    def take(self, units: Tensor) -> Rows:
        """Return the units with the given increasing positions, held in memory."""
        if self.elsewhere is not None:
            return self.elsewhere.take(self.frames, units)
        weight = None if self.weight is None else self.weight[units]
        if self.ends is None:
            index, ends = units, None
        else:
            begin = torch.cat([self.ends.new_zeros(1), self.ends[:-1]])[units]
            sizes = self.ends[units] - begin
            ends = sizes.cumsum(0)
            inside = torch.arange(int(sizes.sum())) - torch.repeat_interleave(ends - sizes, sizes)
            index = torch.repeat_interleave(begin, sizes) + inside
        x = Columns(self.x.take(index))
        gate_x = x if self.gate_x is self.x else Columns(self.gate_x.take(index))
        offset = None if self.offset is None else Columns(self.offset.take(index))
        return Rows(x, gate_x, Columns(self.y.take(index)), weight, ends, offset)

    @property
    def batched(self) -> bool:
        """Whether every member of a batch has rows of its own."""
        return self.y.held is not None and self.y.held.ndim == 3

    def of(self, members: Tensor) -> Rows:
        """Return the rows of some members of a batch, in their order; the rows themselves when all share them."""
        if not self.batched:
            return self
        x = self.x.of(members)
        gate_x = x if self.gate_x is self.x else self.gate_x.of(members)
        offset = None if self.offset is None else self.offset.of(members)
        return replace(self, x=x, gate_x=gate_x, y=self.y.of(members), offset=offset)

    def framed(self, x: AffineTransform, gate_x: AffineTransform, y: AffineTransform) -> Rows:
        """Return the same rows in other units."""
        moved = self.x.framed(x)
        same = self.gate_x is self.x and torch.equal(x.shift, gate_x.shift) and torch.equal(x.scale, gate_x.scale)
        gates = moved if same else self.gate_x.framed(gate_x)
        offset = self.offset
        if offset is not None and offset.shape[1] == len(y.scale):  # a response of other columns keeps its units
            offset = offset.framed(AffineTransform(torch.zeros_like(y.shift), y.scale))  # the experts take the shift
        return replace(self, x=moved, gate_x=gates, y=self.y.framed(y), offset=offset)


def make_rows(
    x: Any,
    y: Any,
    *,
    gate_x: Any = None,
    weight: Tensor | None = None,
    ends: Tensor | None = None,
    offset: Any = None,
    hold: bool = True,
) -> Rows:
    """Collect arrays into the data of a fit.

    Parameters
    ----------
    x : array-like (n, d)
        Inputs of the experts.
    y : array-like (n, c)
        Responses.
    gate_x : array-like (n, g), optional
        Inputs of the gates; default: x.
    weight : Tensor (m,), optional
        Weight of each independent unit.
    ends : LongTensor (m,), optional
        Index after the last row of each unit; default: every row is a unit.
    offset : array-like (n, q), optional
        Known term of the predictors, such as the log of an exposure.
    hold : bool
        Whether to keep the data in memory. False: arrays are read in slices, such as a memory map.

    Returns
    -------
    Rows

    Raises
    ------
    ValueError
        If the numbers of rows differ, or weights are negative or not finite.

    Examples
    --------
    >>> make_rows(torch.zeros(5, 2), torch.ones(5, 1)).n
    5
    """
    inputs = columns(x, hold)
    gate_inputs = inputs if gate_x is None else columns(gate_x, hold)
    response = columns(y, hold)
    known = None if offset is None else columns(offset, hold)
    for name, part in (("gate_x", gate_inputs), ("y", response), ("offset", known)):
        if part is not None and part.shape[0] != inputs.shape[0]:
            raise ValueError(f"{name} has {part.shape[0]} rows, x has {inputs.shape[0]}: pass one row per observation")
    units = inputs.shape[0] if ends is None else len(ends)
    if weight is not None and (weight.shape != (units,) or not bool((weight.isfinite() & (weight >= 0)).all())):
        raise ValueError(f"weight has shape {tuple(weight.shape)}: pass {units} finite numbers from 0, one per unit")
    weight = None if weight is None else weight.to(torch.float64)
    return Rows(inputs, gate_inputs, response, weight, ends, known)


def stacked(sets: Sequence[Rows]) -> Rows:
    """Join data sets of one size, in memory, without weights or units, into rows with a batch (S, d, n).

    Raises
    ------
    ValueError
        If their sizes differ, some have an offset and others none, or one has weights or units.
    """
    sizes = {(rows.n, rows.x.shape[1], rows.gate_x.shape[1], rows.y.shape[1]) for rows in sets}
    plain = all(rows.weight is None and rows.ends is None for rows in sets)
    if len(sizes) > 1 or not plain or len({rows.offset is None for rows in sets}) > 1:
        raise ValueError(
            f"data sets of sizes (n, d, g, q) {sorted(sizes)}: a batch needs one size, offsets for all or none, and no "
            "weights or units"
        )
    x = Columns(torch.stack([rows.x.read(0, rows.n) for rows in sets]))
    same = all(rows.gate_x is rows.x for rows in sets)
    gate_x = x if same else Columns(torch.stack([rows.gate_x.read(0, rows.n) for rows in sets]))
    y = Columns(torch.stack([rows.y.read(0, rows.n) for rows in sets]))
    known = [rows.offset.read(0, rows.n) for rows in sets if rows.offset is not None]
    return Rows(x, gate_x, y, offset=Columns(torch.stack(known)) if known else None)


def extremes(rows: Rows) -> list[tuple[float, float]]:
    """Return least and largest response of every column, over the rows of positive weight."""
    least, most = rows.fold(_extremes, _wider)
    return list(zip(least.tolist(), most.tolist(), strict=True))


def _extremes(rows: Rows) -> tuple[Tensor, Tensor]:
    ends = []
    for block in rows.blocks(READ):
        y = block.y if block.row_weight is None else block.y[..., block.row_weight > 0]
        if y.shape[-1]:
            ends.append(y.aminmax(dim=-1))
    none = torch.full(rows.y.shape[1:], torch.inf, dtype=torch.float64)
    least, most = zip((none, -none), *ends, strict=True)
    return torch.stack(least).amin(0), torch.stack(most).amax(0)


def _wider(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return torch.minimum(one[0], other[0]), torch.maximum(one[1], other[1])
