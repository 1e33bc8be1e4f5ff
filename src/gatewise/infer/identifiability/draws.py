"""Draws of parameters and points, and the ranks of the derivatives at each of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gatewise.infer.identifiability.atoms import Atom, points
from gatewise.infer.identifiability.columns import Derivative, columns_of, triangle
from gatewise.infer.identifiability.rank import ZERO, Rank, rank

STEP = 1e-3  # relative change of a parameter that shows whether an atom depends on it


class DrawPlan(NamedTuple):
    """What is drawn and tested: the atom, how often, at which order, at how many points, how far out these reach."""

    atom: Atom
    order: int
    atoms: int
    shared_gate: bool
    seed: int
    draws: int
    samples: int
    rows: int
    reach: float = 1.0

    @property
    def of_ridges(self) -> DrawPlan:
        """The plan that finds ridges: first derivatives of the ratio of an atom that has one."""
        ratio = self.atom.ratio
        return self if ratio is None else self._replace(atom=self.atom._replace(function=ratio, ratio=None), order=1)

    @property
    def every(self) -> list[Derivative]:
        """The derivatives of all atoms, one by one."""
        return columns_of(self.atom, self.order, self.atoms)

    @property
    def columns(self) -> tuple[Derivative, ...]:
        """The derivatives that are tested: those in what atoms share are one, counted with the first atom."""
        return tuple(column for column in self.every if not _second_of_shared(self.atom, column))


class Ridge(NamedTuple):
    """A test for ridges: the rank of some first derivatives."""

    rank: Rank
    columns: tuple[Derivative, ...]

    @property
    def involved(self) -> list[Derivative]:
        """The derivatives that take part in a relation."""
        return picked(self.columns, self.rank.involved)


class Draw(NamedTuple):
    """One draw of parameters and points.

    Attributes
    ----------
    thetas : tuple of Tensor
        Parameters, one vector per atom.
    whole : Rank
        Of all columns.
    first : Ridge
        The first derivatives.
    ridges : tuple of Ridge
        The first derivatives with the gate of one level only, for every level; and those of a gate with its bias.
    idle : tuple of str
        Entries in which the first derivative vanishes, but for those that every draw puts to zero.
    silent : tuple of str
        Those among them on which the atom depends all the same.
    empty : bool
        Whether an atom is zero at all points.
    """

    thetas: tuple[Tensor, ...]
    whole: Rank
    first: Ridge
    ridges: tuple[Ridge, ...]
    idle: tuple[str, ...]
    silent: tuple[str, ...]
    empty: bool

    @property
    def decided(self) -> bool:
        """Whether all spectra have a clear gap."""
        return all(one.decided for one in (self.whole, self.first.rank, *(ridge.rank for ridge in self.ridges)))

    @property
    def ridge(self) -> list[Derivative]:
        """The first derivatives that make a ridge, those that vanish aside."""
        return [derivative for one in self.ridges for derivative in one.involved]


def draws_of(plan: DrawPlan) -> tuple[list[Draw], list[Draw]]:
    """Draw parameters until enough have clear spectra at all samples of points; return these and the others."""
    clear: list[Draw] = []
    refused: list[Draw] = []
    for t in range(2 * plan.draws):
        made = [draw_of(plan, t, s) for s in range(plan.samples)]
        (clear if all(draw.decided for draw in made) else refused).extend(made)
        if len(clear) == plan.draws * plan.samples:
            break
    return clear, refused


def draw_of(plan: DrawPlan, t: int, s: int) -> Draw:
    """Make one draw: parameters number t, points number s."""
    atom, columns = plan.atom, plan.columns
    thetas = thetas_of(plan, generator_of(plan.seed, 0, t))
    upper, values = _triangle(plan, thetas, generator_of(plan.seed, 1, t, s))
    first = _first(plan)
    found = rank(upper)
    gone = [columns[c] for c in first if found.zero[c]]
    pinned = {name for i, name in enumerate(atom.names) if all(theta[i] == 0 for theta in thetas)}
    idle = tuple(name for one in gone for name in one.entries if name not in pinned)
    ridge_plan, seen, at_points = plan.of_ridges, upper, values
    if atom.ratio is not None:
        seen, at_points = _triangle(ridge_plan, thetas, generator_of(plan.seed, 1, t, s))
    ridges = [_ridge(ridge_plan.columns, seen, chosen) for chosen in _levels(ridge_plan, _first(ridge_plan))]
    return Draw(
        tuple(thetas),
        found,
        _ridge(columns, upper, first),
        (*ridges, *_factors(ridge_plan, seen, at_points)),
        idle,
        tuple(name for name in idle if _depends(plan, thetas[0], atom.names.index(name))),
        bool((torch.linalg.vector_norm(values, dim=0) < ZERO).any()),
    )


def _triangle(plan: DrawPlan, thetas: Sequence[Tensor], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return the triangle of the derivatives that are tested, and of the atoms themselves."""
    raw = triangle(plan.atom, thetas, plan.order, plan.rows, generator, plan.reach)
    return with_shared(plan, raw[:, : -plan.atoms]), raw[:, -plan.atoms :]


def _first(plan: DrawPlan) -> list[int]:
    """Return the places of the first derivatives."""
    return [c for c, derivative in enumerate(plan.columns) if derivative.first]


def picked(columns: Sequence[Derivative], mask: Tensor) -> list[Derivative]:
    """Return the derivatives where a mask is true."""
    return [column for column, here in zip(columns, mask.tolist(), strict=True) if here]


def thetas_of(plan: DrawPlan, generator: torch.Generator) -> list[Tensor]:
    """Draw the parameters of every atom, with those in common taken from the first."""
    thetas = [_theta(plan.atom, generator) for _ in range(plan.atoms)]
    return [torch.where(common_entries(plan), thetas[0], theta) for theta in thetas]


def common_entries(plan: DrawPlan) -> Tensor:
    """Return which entries of theta have one value in all atoms, ``(p,)`` of bool."""
    gates = [name for level in plan.atom.levels for name in level] if plan.shared_gate else []
    return torch.tensor([name in gates or name in plan.atom.shared for name in plan.atom.names], dtype=torch.bool)


def _theta(atom: Atom, generator: torch.Generator) -> Tensor:
    theta = atom.draw(generator)
    if theta.shape != (len(atom.names),) or theta.dtype != torch.float64:
        raise ValueError(
            f"the atom drew {tuple(theta.shape)} parameters of {theta.dtype}, it names {len(atom.names)}: draw one "
            "float64 number per name"
        )
    return theta


def _second_of_shared(atom: Atom, column: Derivative) -> bool:
    return column.mark == "2" and set(column.entries) <= set(atom.shared)


def with_shared(plan: DrawPlan, upper: Tensor) -> Tensor:
    """Add the derivatives of the second atom in what both share to those of the first."""
    place = {column: c for c, column in enumerate(plan.every)}
    kept = upper[:, [place[column] for column in plan.columns]]
    at = {column: c for c, column in enumerate(plan.columns)}
    for column in place.keys() - at.keys():
        kept[:, at[column._replace(mark="1")]] += upper[:, place[column]]
    return kept


def _levels(plan: DrawPlan, first: Sequence[int]) -> list[list[int]]:
    """Return the first derivatives without the gates of other levels, for every level."""
    levels = plan.atom.levels
    gates = {name for level in levels for name in level}
    own = levels if len(levels) > 1 else (tuple(gates),)
    return [[c for c in first if plan.columns[c].entries[0] not in gates - set(level)] for level in own]


def _ridge(columns: Sequence[Derivative], upper: Tensor, chosen: Sequence[int]) -> Ridge:
    return Ridge(rank(upper[:, chosen]), tuple(columns[c] for c in chosen))


def _factors(plan: DrawPlan, upper: Tensor, values: Tensor) -> list[Ridge]:
    """Test the entries of each gate together with its bias, whose derivative is the atom itself."""
    found = []
    for k in range(plan.atoms):
        mark = str(k + 1) if plan.atoms > 1 else ""
        for bias, *others in plan.atom.factors:
            own = [c for c, d in enumerate(plan.columns) if d.first and d.mark == mark and d.entries[0] in others]
            columns = [*(plan.columns[c] for c in own), Derivative((bias,), mark)]
            found.append(Ridge(rank(torch.cat([upper[:, own], values[:, [k]]], -1)), tuple(columns)))
    return found


def _depends(plan: DrawPlan, theta: Tensor, i: int) -> bool:
    """Return whether an atom changes with a parameter, whatever its derivative says."""
    generator, moved = generator_of(plan.seed, 2), theta.clone()
    moved[i] *= 1 + STEP
    x, y = points(generator, plan.atom.d, plan.rows), plan.atom.response(generator, plan.rows)
    before, after = (plan.atom.function(x, y, at) for at in (theta, moved))
    return bool((after - before).abs().max() > ZERO * before.abs().max())


def generator_of(seed: int, *key: int) -> torch.Generator:
    """Return the generator of one purpose: parameters, points, and so on."""
    state = np.random.SeedSequence(seed, spawn_key=key).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state) >> 1)
