"""The entries of one parameter: which are free, where the others are held, and between which ends."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import NamedTuple

import torch
from torch import Tensor

from gatewise.core.mixture import Mixture
from gatewise.core.names import entry_name
from gatewise.core.parameters import TRANSFORMS, Parameter

IDENTITY, LOG, RECIPROCAL = 0, 1, 2
KINDS = dict(zip(TRANSFORMS, (IDENTITY, LOG, RECIPROCAL), strict=True))
Limits = Mapping[str, tuple[float | Tensor, float | Tensor]]

NEAR = 1e-9  # share of a limit by which a fixed value may be beyond it


class Wanted(NamedTuple):
    """What is asked of it: limits and fixed values by path, whether a gauge holds what no data identify, references.

    `reference` is the branch of every level whose gate parameters are zero where only differences count; empty: the
    last ones.
    """

    bounds: Limits
    fixed: Mapping[str, Tensor]
    gauge: str
    reference: tuple[int, ...] = ()


class Entries(NamedTuple):
    """The E entries of one parameter, flat, and its P free coordinates.

    Attributes
    ----------
    column : LongTensor (E,)
        Free coordinate behind every entry; -1: held.
    offset : Tensor (E,)
        Working value of every entry that is held, 0 for the others.
    kind : LongTensor (E,)
    lower, upper : Tensor (P,)
    names : tuple of str
        Of the free coordinates.
    held : bool
        Whether the gauge holds it.
    """

    column: Tensor
    offset: Tensor
    kind: Tensor
    lower: Tensor
    upper: Tensor
    names: tuple[str, ...]
    held: bool


def entries(mixture: Mixture, path: str, spec: Parameter, shape: tuple[int, ...], wanted: Wanted) -> Entries:
    """Return the entries of one parameter.

    Raises
    ------
    ValueError
        For a fixed value out of range, different ones of what is shared, and a lower limit above the upper one.
    """
    kind = kinds(spec, shape)
    given = _given(mixture, path, shape, wanted.fixed)
    known = ~given.isnan()
    free, held = _free(mixture, path, spec, known, wanted)
    value = torch.where(known, given, float(spec.initial))
    _check_fixed(path, spec, value[known])
    low, high = _limits(path, spec, shape, wanted.bounds)
    column, names = _columns(mixture, path, free)
    ends = torch.stack([working(kind, low), working(kind, high)])
    lower, upper = (_by_column(end, column, len(names)) for end in (ends.amin(0), ends.amax(0)))
    offset = torch.where(free, 0.0, working(kind, value))
    return Entries(column.flatten(), offset.flatten(), kind.flatten(), lower, upper, names, held)


def where_kind(kind: Tensor, identity: Tensor, log: Tensor, reciprocal: Tensor) -> Tensor:
    """Return for every entry the value that belongs to its kind."""
    return torch.where(kind == IDENTITY, identity, torch.where(kind == LOG, log, reciprocal))


def working(kind: Tensor, natural: Tensor) -> Tensor:
    """Return working coordinates of natural values."""
    return where_kind(kind, natural, torch.log(natural.clamp_min(0.0)), 1.0 / natural)


def kinds(spec: Parameter, shape: tuple[int, ...]) -> Tensor:
    """Return the kind of every entry of a parameter of the given shape, owners first."""
    return torch.tensor([KINDS[kind] for kind in spec.transforms], dtype=torch.long).reshape(spec.shape).expand(shape)


def _given(mixture: Mixture, path: str, shape: tuple[int, ...], fixed: Mapping[str, Tensor]) -> Tensor:
    """Return the fixed values of a path, NaN where free; leaves that share a value are fixed together."""
    if path not in fixed:
        return torch.full(shape, torch.nan, dtype=torch.float64)
    given = torch.as_tensor(fixed[path], dtype=torch.float64).expand(shape)
    if path not in mixture.shared:
        return given
    leaves = given.reshape((-1, *shape[mixture.depth :]))
    low, high = torch.where(leaves.isnan(), inf, leaves).amin(0), torch.where(leaves.isnan(), -inf, leaves).amax(0)
    if bool((low < high).any()):
        raise ValueError(f"fixed {path} has different values, but all experts share it: give one value")
    return torch.where(low.isfinite(), low, torch.nan).expand(shape)


def reference_branch(mixture: Mixture, level: int, reference: tuple[int, ...]) -> int:
    """Return the branch of a level that is the reference of its node: the last one unless another is named."""
    return reference[level] if reference else mixture.branching[level] - 1


def _free(mixture: Mixture, path: str, spec: Parameter, known: Tensor, wanted: Wanted) -> tuple[Tensor, bool]:
    """Return which entries are estimated, and whether the gauge holds the parameter."""
    free = torch.full(known.shape, spec.free, dtype=torch.bool)
    if spec.only is not None and path not in mixture.shared:  # a leaf that lacks it has the number of the others
        leaf = mixture.depth - 1
        without = [branch for branch in range(known.shape[leaf]) if branch not in spec.only]
        free.index_fill_(leaf, torch.tensor(without, dtype=torch.long), False)
    room, _, name = path.rpartition(".")
    if not room.startswith("gates."):
        return free & ~known, False
    level = int(room.split(".")[1])
    gate, branches = mixture.gates[level], mixture.branching[level]
    if name in gate.translation() and spec.per == "branch":
        # one branch is the reference, unless a branch of the same node is fixed: then that one is
        zero = free.narrow(level, reference_branch(mixture, level, wanted.reference), 1)
        zero &= known.any(level, keepdim=True)
    alone = branches == 1 and gate.link.normalised  # one branch has the weight one: there is no gate to estimate
    by_gauge = not alone and name in gate.held() and wanted.gauge == "fixed"
    if alone or by_gauge:
        free.fill_(False)
    return free & ~known, by_gauge and not bool(known.all())  # else it is held by what was given


def _check_fixed(path: str, spec: Parameter, fixed: Tensor) -> None:
    """Raise unless all fixed values lie in the range of the parameter."""
    least, most = spec.bounds
    beyond = (fixed < least - NEAR * abs(least)) | (fixed > most + NEAR * abs(most))
    if bool(beyond.any()):
        wrong = float(fixed[beyond][0])
        why = f": {spec.at_least}" if spec.at_least and wrong < least else ""
        raise ValueError(f"fixed {path} has the value {wrong:g}: its range is {least:g} to {most:g}{why}")


def _limits(path: str, spec: Parameter, shape: tuple[int, ...], bounds: Limits) -> tuple[Tensor, Tensor]:
    """Return the least and largest natural value of every entry."""
    low, high = (torch.as_tensor(end, dtype=torch.float64).expand(shape) for end in bounds.get(path, spec.bounds))
    low, high = low.clamp_min(spec.bounds[0]), high.clamp_max(spec.bounds[1])
    if bool((low > high).any()):
        raise ValueError(f"bounds of {path}: a lower limit is above the upper one")
    return low, high


def _columns(mixture: Mixture, path: str, free: Tensor) -> tuple[Tensor, tuple[str, ...]]:
    """Number and name the free entries of one path; shared paths have one number for all leaves."""
    tail = free.shape[mixture.depth :]
    one = free.reshape((-1, *tail)).all(0) if path in mixture.shared else free
    places = one.nonzero().tolist()
    column = torch.full(one.shape, -1, dtype=torch.long)
    column[one] = torch.arange(len(places))
    names = (entry_name(path, place) for place in places)
    return column.expand(free.shape), tuple(names)


def _by_column(ends: Tensor, column: Tensor, count: int) -> Tensor:
    """Return the ends of the free coordinates from those of the entries."""
    free = column >= 0
    found = torch.zeros(count, dtype=torch.float64)
    found[column[free]] = ends[free]
    return found
