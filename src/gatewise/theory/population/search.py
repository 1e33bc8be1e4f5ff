"""The least distance at every displacement: descents from smaller solutions and from random starts, then a check."""

from __future__ import annotations

from collections.abc import Mapping
from math import log
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gatewise.core.mixture import Measure, Mixture
from gatewise.theory.population.cells import Cells, of_atoms, strays
from gatewise.theory.population.descent import CERTIFIED, SAME, DescentEnd, descend
from gatewise.theory.population.problem import (
    Box,
    Coordinates,
    FixedCoordinates,
    Squares,
    coordinates,
    density_squares,
    kinks_of,
    mean_squares,
)
from gatewise.theory.population.rules import Region

STEPS = 300  # of one descent
SMALL = 1e-9  # relative offset at which a descent stops
POWERS = (0.5, 1.0, 2.0)  # of eps: a variance moves with the square of a mean, a mean with the root of a variance
FURTHER = 4  # descents on from a best end that is no optimum yet
AGAIN = 3  # times that as many random starts are made where one search alone found the least distance
ROUNDS = 2  # descents on nodes placed at the centers that the last one found
COARSE = 1e-2  # relative change of the distance on finer nodes that is too much
FINER = (2, 4, 8)  # times as many nodes that the distance is checked on; of one input found anew while it changes
ROUNDING = 1e-12  # distance that rounding may make
ATTAINED = 1e-10  # the same of descents along a ridge


class SearchSide(NamedTuple):
    """The least distance at one displacement.

    Attributes
    ----------
    displacement : float
    distance : float
    measure : Measure
    offset : float
        Part of the distance that a step inside the box would take off by a linear model, zero at an optimum.
    hits, starts : int
        Descents that ended at the least distance, and all descents.
    quadrature : float
        Relative change of the distance on finer nodes.
    bound : tuple of str
        Coordinates at an end of the box.
    strayed : bool
        Whether an atom is closer to another true atom than to its own: then no search ended in the cells asked for.
    """

    displacement: float
    distance: float
    measure: Measure
    offset: float
    hits: int
    starts: int
    quadrature: float
    bound: tuple[str, ...]
    strayed: bool = False

    @property
    def lacking(self) -> str:
        """Why it may not be the least distance, in words; empty if nothing speaks against it."""
        if self.strayed:
            return "no search ended with every atom in its cell: use smaller displacements or more starts"
        if self.offset >= CERTIFIED:
            return f"no search ended at an optimum (relative offset {self.offset:.0e}): use more starts"
        if self.hits < 2:
            return f"one search of {self.starts} found the least distance: use more starts"
        if self.quadrature >= COARSE:
            return (
                f"finer nodes change the distance by {100 * self.quadrature:.2g} %: use a smaller step or more panels"
            )
        return "" if self.distance > ROUNDING else "the distance is no larger than rounding: use larger displacements"

    @property
    def certified(self) -> bool:
        """Whether it is an optimum that two searches found, on nodes that are fine enough, well above rounding."""
        return not self.lacking


class SearchTask(NamedTuple):
    """Everything but the displacement; `near` is the truth with split atoms."""

    mixture: Mixture
    truth_mixture: Mixture
    truth: Measure
    near: Measure
    held: FixedCoordinates
    cells: Cells
    box: Box
    ratio: float
    fixed: Mapping[str, Tensor]
    inputs: Region
    densities: bool
    step: float

    def coordinates(self, displacement: float) -> Coordinates:
        """Return the free coordinates at a displacement."""
        limits = self.box, self.ratio, self.fixed
        return coordinates(self.mixture, self.near, self.inputs.d, self.held, displacement, self.cells, *limits)

    def squares(self, here: Coordinates, displacement: float, found: Measure, finer: int = 1) -> Squares:
        """Return the sum of squares on nodes that resolve the displacement and the centers of `found`."""
        near, breaks = self._kinks(found)
        nodes = self.inputs.graded(near, breaks, abs(displacement), finer)
        if self.densities:
            return density_squares(here, self.truth_mixture, self.truth, nodes, self.step / finer)
        return mean_squares(here, self.truth_mixture, self.truth, nodes)

    def strayed(self, found: Measure) -> bool:
        """Return whether an atom of a measure is closer to another true atom below its node than to its own."""
        return any(
            strays(of_atoms(self.mixture, found, level), of_atoms(self.mixture, self.near, level), self.cells, level)
            for level in range(self.mixture.depth)
        )

    def _kinks(self, found: Measure) -> tuple[Tensor, Tensor]:
        """Return centers where gates bend: of over-filled cells, once each, and all of the truth and of a fit."""
        d, over = self.inputs.d, [self.cells.filled(level).flatten() > 1 for level in range(self.mixture.depth)]
        breaks = [kinks_of(self.mixture, measure, d) for measure in (self.near, found)]
        return kinks_of(self.mixture, self.near, d, over), torch.cat(breaks)


class _Level(NamedTuple):
    """One displacement: its sum of squares, the truth's coordinates and the ends of all descents so far.

    Ends with an atom outside its cell are of another kind of error. They count only while there is no other.
    """

    displacement: float
    squares: Squares
    base: Tensor
    ends: list[DescentEnd]
    strayed: list[DescentEnd]

    def add(self, task: SearchTask, point: Tensor) -> None:
        """Descend from a point."""
        end = _descend(task, self.squares, point, self._known())
        outside = task.strayed(self.squares.coordinates.measure(end.point))
        (self.strayed if outside else self.ends).append(end)

    def _known(self) -> float:
        """Return the least distance if it is an optimum, or two searches found it; zero if not."""
        if not self.ends or (self.best().offset >= CERTIFIED and self.hits() < 2):
            return 0.0
        return self.best().norm

    def best(self) -> DescentEnd:
        return min(self.ends or self.strayed, key=lambda end: end.norm)

    def hits(self) -> int:
        """Return how many ends are at the least distance."""
        least = self.best().norm * (1 + SAME)
        return sum(end.norm <= least for end in self.ends or self.strayed)

    def delta(self) -> Tensor:
        """Return the best end less the truth."""
        return self.best().point - self.base


def continued(task: SearchTask, displacements: list[float], starts: int, seed: int) -> list[SearchSide]:
    """Find the least distance at every displacement, from random starts and from its neighbours.

    Best ends are carried down to smaller displacements, up again and down again, so that one found anywhere is tried
    everywhere. Where one search alone found the least distance, further random starts are made.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(int(displacements[0] > 0),)))
    levels = [_level(task, displacement) for displacement in displacements]
    for number, level in enumerate(levels):
        points = [_drawn(level, rng) for _ in range(starts)]
        points += [level.base + delta for delta in _carried(levels[max(number - 2, 0) : number], level)]
        for point in points:
            level.add(task, point)
    for order in (levels[::-1], levels):
        for number in range(1, len(order)):
            level = order[number]
            delta = _carried(order[max(number - 2, 0) : number], level)[-1]
            level.add(task, level.base + delta)
    for level in levels:
        for _ in range(AGAIN):
            if level.hits() > 1:
                break
            for _ in range(starts):
                level.add(task, _drawn(level, rng))
    return [_settled(task, level) for level in levels]


def _level(task: SearchTask, displacement: float) -> _Level:
    here = task.coordinates(displacement)
    return _Level(displacement, task.squares(here, displacement, task.near), here.of(task.near), [], [])


def _drawn(level: _Level, rng: np.random.Generator) -> Tensor:
    """Draw normal differences from the truth, each of a size in POWERS of eps; log ratios of weights uniformly."""
    here = level.squares.coordinates
    size = abs(level.displacement) ** torch.from_numpy(rng.choice(POWERS, len(level.base)))
    near = level.base + size * torch.from_numpy(rng.standard_normal(len(level.base)))
    anywhere = here.lower + (here.upper - here.lower) * torch.from_numpy(rng.random(len(level.base)))
    return torch.where(here.ratios, anywhere, near)


def _carried(before: list[_Level], level: _Level) -> list[Tensor]:
    """Extend differences from the truth to a displacement: unchanged, in proportion, and by power laws."""
    if not before:
        return []
    last, shrink = before[-1].delta(), level.displacement / before[-1].displacement
    out = [last, last * shrink]
    if len(before) > 1:
        sizes = before[-2].delta().abs().clamp_min(1e-300), last.abs().clamp_min(1e-300)
        power = torch.log(sizes[1] / sizes[0]) / log(before[-1].displacement / before[-2].displacement)
        out.append(last * shrink ** torch.clamp(power, 0.0, 6.0))
    return out


def _settled(task: SearchTask, level: _Level) -> SearchSide:
    """Place the nodes at the centers of the best end and descend to its optimum; check it on finer nodes."""
    displacement, squares, best = level.displacement, level.squares, level.best()
    hits = level.hits()
    here = squares.coordinates
    for _ in range(ROUNDS if task.mixture.kinked else 0):
        squares = task.squares(here, displacement, here.measure(best.point))
        best = _descend(task, squares, best.point)
    for _ in range(FURTHER):
        if best.offset < CERTIFIED:
            break
        best = _descend(task, squares, best.point)
    rules = FINER if task.inputs.d == 1 else FINER[:1]
    for finer in rules:
        measure = here.measure(best.point)
        squares = task.squares(here, displacement, measure, finer)
        change = _change(best.norm, float((squares.density if task.densities else squares.mean)(best.point).norm()))
        if change < COARSE or finer == rules[-1]:
            break
        best = _descend(task, squares, best.point)
    bound = tuple(name for name, at in zip(here.parameterization.names, best.bound.tolist(), strict=True) if at)
    starts = len(level.ends) + len(level.strayed)
    outside = task.strayed(measure)
    return SearchSide(displacement, best.norm, measure, best.offset, hits, starts, change, bound, outside)


def _change(norm: float, finer: float) -> float:
    return abs(finer - norm) / max(finer, norm, 1e-300)


def _descend(task: SearchTask, squares: Squares, point: Tensor, known: float = 0.0) -> DescentEnd:
    here = squares.coordinates
    value, both = (squares.density, squares.density_both) if task.densities else (squares.mean, squares.mean_both)
    return descend(value, both, point, here.lower, here.upper, STEPS, SMALL, known)
