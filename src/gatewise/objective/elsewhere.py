"""Rows that lie in pieces, on other machines or here: what is asked of all of them, and a sample of them.

A piece is a `Rows` that is put behind frames when it is read, so that working units cost no copy. `Lanes` is where
pieces are and who works on them; this module knows nothing of that, and lanes know nothing of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial, reduce
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from gatewise.objective.columns import Columns
from gatewise.objective.rows import RowFrames, Rows

BROUGHT = 2**18  # units that are brought to one place at most
T = TypeVar("T")
Work = Callable[[Any], T]


class Lanes(Protocol):
    """Where pieces are, and who works on them."""

    def fold(self, work: Work[T], join: Callable[[T, T], T]) -> T:
        """Return what a work on every piece gives, joined."""

    def each(self, works: Mapping[int, Work[T]]) -> list[T]:
        """Return what works on some pieces give, by their number, in the order of the mapping."""


class Elsewhere(Protocol):
    """Rows that are not in one place."""

    @property
    def n_units(self) -> int:
        """Number of units."""

    @property
    def total(self) -> float:
        """Sum of the weights over all rows."""

    @property
    def weighted(self) -> bool:
        """Whether some weight differs from one."""

    @property
    def grouped(self) -> bool:
        """Whether units may have several rows."""

    def fold(self, frames: RowFrames, part: Callable[..., T], join: Callable[[T, T], T], args: tuple[Any, ...]) -> T:
        """Return ``part(rows, *args)`` of every piece behind the frames, joined."""

    def take(self, frames: RowFrames, units: Tensor) -> Rows:
        """Return the units at increasing positions behind the frames, in memory."""

    def at_mass(self, shares: Tensor) -> Tensor:
        """Return the units at which the sum of weights so far reaches shares of the whole."""


class PieceSize(NamedTuple):
    """Rows and units of a piece, the weights of its units summed, and those of its rows."""

    rows: int
    units: int
    mass: float
    total: float


class Shape(NamedTuple):
    """An array of which nothing but the shape is here."""

    shape: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Pieces:
    """Rows in pieces, one after the other.

    Attributes
    ----------
    lanes : Lanes
    sizes : tuple of PieceSize
        None of them empty.
    weighted, grouped : bool
    factor : float
        By which the weights that the pieces hold are multiplied.
    streamed : bool
        Whether pieces read files: a work then reads a copy, which takes what it has read along when it ends.
    """

    lanes: Lanes
    sizes: tuple[PieceSize, ...]
    weighted: bool
    grouped: bool
    factor: float = 1.0
    streamed: bool = False

    @property
    def n_units(self) -> int:
        """Number of units."""
        return sum(size.units for size in self.sizes)

    @property
    def total(self) -> float:
        """Sum of the weights over all rows."""
        return self.factor * sum(size.total for size in self.sizes)

    def fold(self, frames: RowFrames, part: Callable[..., T], join: Callable[[T, T], T], args: tuple[Any, ...]) -> T:
        """Return ``part(rows, *args)`` of every piece behind the frames, joined."""
        return self.lanes.fold(self._work(frames, part, args), join)

    def _work(self, frames: RowFrames | None, part: Callable[..., T], args: tuple[Any, ...]) -> Work[T]:
        return partial(_seen, frames, self.factor, self.streamed, part, compact(args))

    def take(self, frames: RowFrames, units: Tensor) -> Rows:
        """Return the units at increasing positions behind the frames, in memory.

        Raises
        ------
        ValueError
            For more than are brought to one place.
        """
        if len(units) > BROUGHT:
            raise ValueError(
                f"this method needs {len(units)} rows or groups in one place, and they are on the workers of a "
                "cluster: give it a sample of the rows in memory"
            )
        works: dict[int, Work[Rows]] = {}  # asked without frames: the same sample in other units is the same question
        first = 0
        for number, size in enumerate(self.sizes):
            begin, end = torch.searchsorted(units, torch.tensor([first, first + size.units], dtype=torch.long)).tolist()
            if end > begin:
                inside = units[begin:end] - first
                works[number] = self._work(None, Rows.take, (inside,))
            first += size.units
        found = joined(self.lanes.each(works)).in_frames(frames)
        return found.take(torch.arange(found.n_units))  # written in those units

    def at_mass(self, shares: Tensor) -> Tensor:
        """Return the units at which the sum of weights so far reaches shares of the whole."""
        mass = torch.tensor([size.mass for size in self.sizes], dtype=torch.float64)
        ends = mass.cumsum(0)
        points = shares * ends[-1]
        owner = torch.searchsorted(ends, points).clamp(max=len(mass) - 1)
        first = torch.tensor([0, *(size.units for size in self.sizes)], dtype=torch.long).cumsum(0)
        here = owner.unique().tolist()
        inside = {one: (points[owner == one] - (ends - mass)[one]) / mass[one] for one in here}
        works = {one: self._work(None, Rows.at_mass, (shares,)) for one, shares in inside.items()}
        found = self.lanes.each(works)
        return torch.cat([part + first[one] for one, part in zip(here, found, strict=True)])


def _seen(
    frames: RowFrames | None,
    factor: float,
    streamed: bool,
    part: Callable[..., T],
    args: tuple[Any, ...],
    piece: Rows,
) -> T:
    """Return a function of a piece behind the frames, its weights multiplied."""
    rows = deepcopy(piece) if streamed else piece
    rows = rows if frames is None else rows.in_frames(frames)
    if factor != 1.0 and rows.weight is not None:
        rows = replace(rows, weight=factor * rows.weight)
    return compact(part(rows, *args))


def compact(value: Any) -> Any:
    """Return tensors in containers without the rest of what they are views of, which would be sent along.

    Examples
    --------
    >>> compact((torch.zeros(1000, dtype=torch.float64)[:1], 2))[0].untyped_storage().nbytes()
    8
    """
    match value:
        case Tensor():
            return value.clone() if value.untyped_storage().nbytes() > value.numel() * value.element_size() else value
        case dict():
            return {name: compact(one) for name, one in value.items()}
        case tuple() if hasattr(value, "_fields"):
            return type(value)(*map(compact, value))
        case tuple() | list():
            return type(value)(map(compact, value))
    return value


def joined(parts: Sequence[Rows]) -> Rows:
    """Return rows in memory one after the other."""
    if not parts:
        raise ValueError("no rows are asked for")

    def column(name: str) -> Columns:
        return Columns(torch.cat([getattr(part, name).held for part in parts], -1))

    x = column("x")
    gate_x = x if all(part.gate_x is part.x for part in parts) else column("gate_x")
    offset = None if parts[0].offset is None else column("offset")
    weight = None
    if any(part.weight is not None for part in parts):
        ones = [torch.ones(part.n_units, dtype=torch.float64) if part.weight is None else part.weight for part in parts]
        weight = torch.cat(ones)
    ends = None
    if parts[0].ends is not None:
        sizes = [part.ends.diff(prepend=part.ends.new_zeros(1)) for part in parts if part.ends is not None]
        ends = torch.cat(sizes).cumsum(0)
    return Rows(x, gate_x, column("y"), weight, ends, offset)


def size_of(piece: Rows) -> PieceSize:
    """Return the size of a piece."""
    mass = float(piece.n_units) if piece.weight is None else float(piece.weight.sum())
    return PieceSize(piece.n, piece.n_units, mass, piece.total)


def rows_elsewhere(pieces: Pieces, shapes: Mapping[str, int], same: bool) -> Rows:
    """Return the rows of pieces.

    Parameters
    ----------
    pieces : Pieces
    shapes : mapping from ``x``, ``gate_x``, ``y`` and, if there is one, ``offset`` to numbers of columns
    same : bool
        Whether the gates read the inputs of the experts.
    """
    n = sum(size.rows for size in pieces.sizes)
    parts = {name: Columns(None, Shape((n, columns))) for name, columns in shapes.items()}
    gate_x = parts["x"] if same else parts["gate_x"]
    return Rows(parts["x"], gate_x, parts["y"], offset=parts.get("offset"), elsewhere=pieces)


@dataclass(frozen=True, eq=False)
class Here:
    """Lanes of one process: pieces that are worked on one after the other."""

    pieces: tuple[Any, ...]

    def fold(self, work: Work[T], join: Callable[[T, T], T]) -> T:
        """Return what a work on every piece gives, joined in their order."""
        return reduce(join, map(work, self.pieces))

    def each(self, works: Mapping[int, Work[T]]) -> list[T]:
        """Return what works on some pieces give."""
        return [work(self.pieces[number]) for number, work in works.items()]
