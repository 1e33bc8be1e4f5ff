"""A device that sums over rows, such as a GPU, by torch in double precision: which rows move there, and when.

A sum moves the parameters to the device and brings back the sums alone. The rows stay where they are; the device gets a
copy, once, of those that are in this process or in its files and take at most `RESIDENT` of the memory that is free
there. Otherwise every sum moves them again, block by block. A block has as many rows as what is left has room for the
temporaries of a sum.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gatewise.core.mixture import Measure, Mixture
from gatewise.objective.columns import Columns
from gatewise.objective.rows import NUMBER, READ, Block, Rows
from gatewise.objective.terms import Statistic

RESIDENT = 0.5  # of the free memory, that a copy of the rows may take
TEMPORARIES = 40  # that a statistic holds at once, in units of the largest that it names: 29 counted, and room


class DeviceRows(NamedTuple):
    """Rows as the sums of a device read them.

    Attributes
    ----------
    rows : Rows
        With columns and weights on the device, if these fit there.
    cells : int
        Numbers that the largest temporary of a block may have.
    most : int
        Rows of a block: all, but of those that every sum reads from files.
    """

    rows: Rows
    cells: int
    most: int

    def width(self, measure: Measure, named: int) -> int:
        """Return the numbers per row of the largest temporary: not fewer than columns, nor than parameters.

        Parameters
        ----------
        measure : Measure
            A batch.
        named : int
            What the statistic says, for the whole batch.
        """
        columns = sum(part.shape[1] for part in (self.rows.x, self.rows.gate_x, self.rows.y))
        return max(named, measure.members * columns, sum(part.numel() for part in measure.paths().values()))


@dataclass(frozen=True)
class Device:
    """Where sums over rows are taken by torch.

    Attributes
    ----------
    place : torch.device
    free : int or None
        Bytes that may be used there; None: those that are free when the rows are first summed.
    """

    place: torch.device
    free: int | None = None

    def taking(self, rows: Rows) -> DeviceRows:
        """Return rows as the sums of this device read them, a copy of them if it fits.

        Parameters
        ----------
        rows : Rows
            In this process or its files.
        """
        free = self.free_bytes()
        wanted = _bytes(rows)
        if wanted <= RESIDENT * free:
            rows, free = _copied(rows, self.place), free - wanted
        cells = int(free) // (NUMBER * TEMPORARIES)
        cells = 2 ** max(cells.bit_length() - 1, 0)  # a power of two: blocks are the same next time
        held = all(part.held is not None for part in (rows.x, rows.gate_x, rows.y))
        return DeviceRows(rows, cells, rows.n if held else READ)

    def free_bytes(self) -> int:
        """Return how many bytes may be used; what torch keeps for later tensors counts as free."""
        if self.free is not None:
            return self.free
        module = torch.get_device_module(self.place)
        kept = module.memory_reserved(self.place) - module.memory_allocated(self.place)
        return int(module.mem_get_info(self.place)[0] + kept)

    def on_block(self, stat: Statistic) -> Statistic:
        """Return a statistic of a block that lies anywhere and of a measure on this device."""

        def there(mixture: Mixture, measure: Measure, block: Block) -> tuple[Tensor, ...]:
            with self.place:  # the constants of a statistic, and of a user's part, are made there
                return stat(mixture, measure, _moved(block, self.place))

        return there


def place_named(given: Any) -> torch.device | None:
    """Return the GPU of a name, whether it is there or not; None: the processor.

    Parameters
    ----------
    given : None or str
        ``"cpu"``, ``"cuda"`` or ``"cuda:0"``; None: the processor.

    Raises
    ------
    ValueError
        For any other name.

    Examples
    --------
    >>> place_named("cpu"), place_named("cuda:1")
    (None, device(type='cuda', index=1))
    >>> place_named("tpu")
    Traceback (most recent call last):
    ValueError: device='tpu': fits run on the CPU or, by CUDA, on a GPU; give None, 'cpu', 'cuda' or 'cuda:0'
    """
    kind, colon, number = given.partition(":") if isinstance(given, str) else ("", "", "")
    if given is not None and (kind not in ("cpu", "cuda") or (colon and not number.isdecimal())):
        raise ValueError(
            f"device={given!r}: fits run on the CPU or, by CUDA, on a GPU; give None, 'cpu', 'cuda' or 'cuda:0'"
        )
    return torch.device(given) if kind == "cuda" else None


def device_named(given: Any) -> Device | None:
    """Return the device of a name, after looking for it; None: the processor.

    Raises
    ------
    ValueError
        For a name as in `place_named`, and for a GPU that torch does not find.
    """
    place = place_named(given)
    if place is None:
        return None
    if not torch.cuda.is_available():
        built = torch.version.cuda or torch.version.hip
        why = "torch finds no GPU: see what nvidia-smi says" if built else "this torch has no CUDA: install one with it"
        raise ValueError(f"device={given!r}: {why}, or leave device=None")
    count = torch.cuda.device_count()
    number = torch.cuda.current_device() if place.index is None else place.index
    if number >= count:
        raise ValueError(f"device={given!r}: the last one that torch finds is 'cuda:{count - 1}'; give that, or 'cuda'")
    return Device(torch.device("cuda", number))


def _moved(block: Block, place: torch.device) -> Block:
    """Return a block on a device; what is there is not copied."""
    x = block.x.to(place)
    gate_x = x if block.gate_x is block.x else block.gate_x.to(place)
    weight, unit, offset = (None if part is None else part.to(place) for part in block[3:])
    return Block(x, gate_x, block.y.to(place), weight, unit, offset)


def _bytes(rows: Rows) -> int:
    """Return the bytes of a copy of rows."""
    parts = {id(part): part for part in (rows.x, rows.gate_x, rows.y, rows.offset) if part is not None}
    sets = rows.y.held.shape[:-2].numel() if rows.y.held is not None else 1
    numbers = sum(part.shape[0] * part.shape[1] for part in parts.values()) * sets
    return NUMBER * (numbers + (0 if rows.weight is None else len(rows.weight)))


def _copied(rows: Rows, place: torch.device) -> Rows:
    x = _columns_on(rows.x, place)
    gate_x = x if rows.gate_x is rows.x else _columns_on(rows.gate_x, place)
    offset = None if rows.offset is None else _columns_on(rows.offset, place)
    weight = None if rows.weight is None else rows.weight.to(place)
    return replace(rows, x=x, gate_x=gate_x, y=_columns_on(rows.y, place), offset=offset, weight=weight)


def _columns_on(columns: Columns, place: torch.device) -> Columns:
    """Return columns held on a device, behind their frame; what is not in memory is read piece by piece."""
    n, d = columns.shape
    if columns.held is not None:
        return Columns(columns.read(0, n).to(place))
    held = torch.empty((d, n), dtype=torch.float64, device=place)
    for start in range(0, n, READ):
        stop = min(start + READ, n)
        held[:, start:stop] = columns.read(start, stop)
    return Columns(held)
