"""Optima on hinges: ReLU experts and gates bend where an affine map crosses zero, and the best point often lies there.

A hinge through a data point is a linear equation in the parameters, ``a . x_i + b = 0``. Rows that the search pushed
onto their hinge are held there: the equations are solved for some parameters, and Newton's method runs in the others.
A held point is a local optimum when the objective does not fall to either side of any of its hinges.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from gatewise.core.names import entry_name
from gatewise.core.predictors import Derivatives, Predictor
from gatewise.fit.problem import Problem, box_of, evaluate, newton_polish
from gatewise.objective.parameterization import Parameterization
from gatewise.objective.rows import READ, Block, Rows
from gatewise.objective.terms import one_node_dimension

NEAR = 1e-8  # size of the affine map at a row that lies on its hinge: other rows of large data sets are near by chance
ROUNDS = 4
STEP = 1e-6
SLOPE = -1e-7  # one-sided slopes above this do not fall


class Hinges(NamedTuple):
    """Rows on hinges: gradients (m, P) and values (m,) of their affine maps, and the names of what they bend."""

    gradient: Tensor
    value: Tensor
    names: tuple[str, ...]


class Settled(NamedTuple):
    """A point on hinges: the problem in the coordinates left free, the point in them, names, and pinned coordinates."""

    problem: Problem
    point: Tensor
    names: tuple[str, ...] = ()
    pinned: Tensor | None = None


def refine_at_relu_kinks(problem: Problem, point: Tensor, pinned: Tensor | None, deadline: float | None) -> Settled:
    """Refine a point (P,) of a problem with hinges.

    The problem and the point come back as they were where nothing lies on a hinge, or a side of one goes down.

    Parameters
    ----------
    pinned : mask (P,) of coordinates that sit on other kinks and stay where they are
    """
    as_it_was = Settled(problem, point, (), pinned)
    if problem.ridge is not None or not any(
        _affine_maps(problem.parameterization, point[None], problem.rows.read(0, 1))
    ):
        return as_it_was
    held, begin = _near(problem, point), point
    for _ in range(ROUNDS):
        if not len(held.value):
            return as_it_was
        parameterization, inside = _restricted(problem.parameterization, held, point)
        smaller = replace(
            problem,
            parameterization=parameterization,
            floor=_rest(problem.floor, parameterization, problem.parameterization),
        )
        still = _rest(pinned, parameterization, problem.parameterization)
        inside = newton_polish(smaller, inside[None], 60, deadline, box_of(parameterization, inside, still)).x[0]
        full = _lifted(problem.parameterization, parameterization, inside)
        down = _falling(problem, full, held)
        again = _near(problem, full)
        if len(again.value) != len(held.value):
            held, point = again, full
            continue
        if not bool(down.any()):
            value = [float(evaluate(problem, p[None], 0)[0][0]) for p in (begin, full)]
            better = value[1] <= value[0] + 1e-12 * abs(value[0])
            return Settled(smaller, inside, held.names, still) if better else as_it_was
        keep = (~down).nonzero()[:, 0]
        held = Hinges(held.gradient[keep], held.value[keep], tuple(held.names[i] for i in keep.tolist()))
    return as_it_was


class _Map(NamedTuple):
    """Affine maps ``(1, owners, K, n)`` of one part: its name, the branching of its owners, its first local coordinate,
    coordinates of its own per owner besides those of the map.
    """

    name: str
    tree: tuple[int, ...]
    at: int
    extra: int
    local: Derivatives


def _affine_maps(parameterization: Parameterization, free: Tensor, block: Block) -> Iterator[_Map]:
    """Yield the affine maps of every part with a hinge at a point (1, P)."""
    mixture = parameterization.mixture
    measure = parameterization.measure(free)
    at = 0
    for level, gate in enumerate(mixture.gates):
        found = gate.score.relu_kink(one_node_dimension(measure.gates[level], level), block.gate_x)
        if found is not None:
            yield _Map(_label(f"gates.{level}", gate.score), mixture.branching[:level], at, 0, found)
        width = sum(s.size for s in gate.score.parameters(len(block.gate_x)).values())
        at += mixture.nodes(level) * mixture.branching[level] * width
    found = mixture.expert.relu_kink({k: v.flatten(1, mixture.depth) for k, v in measure.experts.items()}, block.x)
    if found is not None:
        own = mixture.family.parameters(found.value.shape[-2]).values()
        label, width = _label("experts", mixture.expert), sum(s.size for s in own)
        yield _Map(label, mixture.branching, at, width, found)


def _label(room: str, predictor: Predictor) -> str:
    """Return the path that names the affine map of a predictor: its slopes, or its room where it has none."""
    return ".".join((room, *predictor.names("slope")[:1]))


def _near(problem: Problem, point: Tensor) -> Hinges:
    """Return the rows whose affine map is within `NEAR` of zero; one of rows with equal equations."""
    return _independent(*problem.rows.fold(_near_rows, _all_near, problem.parameterization, point))


def _all_near(
    one: tuple[Tensor, Tensor, list[str]], other: tuple[Tensor, Tensor, list[str]]
) -> tuple[Tensor, Tensor, list[str]]:
    return torch.cat([one[0], other[0]]), torch.cat([one[1], other[1]]), one[2] + other[2]


def _near_rows(rows: Rows, parameterization: Parameterization, point: Tensor) -> tuple[Tensor, Tensor, list[str]]:
    natural = parameterization.constrained(point[None])
    gradients, values, names = [point.new_zeros(0, parameterization.size)], [point.new_zeros(0)], list[str]()
    for block in rows.blocks(READ):
        for name, tree, at, extra, local in _affine_maps(parameterization, point[None], block):
            value = local.value[0]
            owners, children, n = value.shape
            columns = local.jacobian.shape[-2]
            jacobian = local.jacobian.expand(1, owners, children, columns, n)[0]
            owner, child, row = (value.abs() < NEAR).nonzero().unbind(-1)
            first = at + (owner * children + child) * columns + owner * extra
            unit = point.new_zeros(len(row), len(parameterization.local))
            unit.scatter_(1, first[:, None] + torch.arange(columns), jacobian[owner, child, :, row])
            gradients.append(parameterization.pull_gradient(natural.expand(len(row), -1), unit))
            values.append(value[owner, child, row])
            places = list(product(*map(range, tree)))
            names += [entry_name(name, (*places[i], j)) for i, j in zip(owner.tolist(), child.tolist(), strict=True)]
    return torch.cat(gradients), torch.cat(values), names


def _independent(gradients: Tensor, values: Tensor, names: list[str]) -> Hinges:
    """Return a largest set of hinges whose equations do not follow from each other, those next to zero first."""
    order = values.abs().argsort(stable=True)
    left, size = gradients[order], gradients[order].norm(dim=-1)
    chosen: list[int] = []
    while True:
        new = ((left.norm(dim=-1) > 1e-7 * size) & (size > 0)).nonzero()[:, 0]
        if not len(new):
            return Hinges(gradients[chosen], values[chosen], tuple(names[i] for i in chosen))
        chosen.append(int(order[new[0]]))
        way = left[new[0]] / left[new[0]].norm()
        left = left - (left @ way)[:, None] * way


def _restricted(parameterization: Parameterization, held: Hinges, point: Tensor) -> tuple[Parameterization, Tensor]:
    """Solve the equations of the kinks for some coordinates; return a parameterization of the others, and the point."""
    equations, target = held.gradient.clone(), held.gradient @ point - held.value
    pivots: list[int] = []
    for i in range(len(equations)):
        pivot = int(equations[i].abs().argmax())
        factor = equations[i, pivot].clone()
        equations[i], target[i] = equations[i] / factor, target[i] / factor
        for j in range(len(equations)):
            if j != i:
                other = equations[j, pivot].clone()
                equations[j], target[j] = equations[j] - other * equations[i], target[j] - other * target[i]
        pivots.append(pivot)
    rest = [i for i in range(parameterization.size) if i not in pivots]
    spread = torch.zeros(parameterization.size, len(rest), dtype=torch.float64)
    spread[rest, range(len(rest))] = 1.0
    spread[pivots] = -equations[:, rest]
    fixed = torch.zeros(parameterization.size, dtype=torch.float64)
    fixed[pivots] = target
    smaller = replace(
        parameterization,
        matrix=parameterization.matrix @ spread,
        offset=parameterization.offset + parameterization.matrix @ fixed,
        lower=parameterization.lower[rest],
        upper=parameterization.upper[rest],
        names=tuple(parameterization.names[i] for i in rest),
    )
    return smaller, point[rest]


def _rest(mask: Tensor | None, smaller: Parameterization, parameterization: Parameterization) -> Tensor | None:
    if mask is None:
        return None
    kept = set(smaller.names)
    return mask[torch.tensor([name in kept for name in parameterization.names], dtype=torch.bool)]


def _lifted(parameterization: Parameterization, smaller: Parameterization, inside: Tensor) -> Tensor:
    """Return the point (P,) of the whole parameterization at a point of the restricted one."""
    working = smaller.matrix @ inside + smaller.offset
    return (working - parameterization.offset) @ parameterization.inverse


def _falling(problem: Problem, point: Tensor, held: Hinges) -> Tensor:
    """Return which hinges (m,) have a side to which the objective falls, the other hinges held."""
    ways = torch.linalg.pinv(held.gradient).mT
    both = torch.cat([ways, -ways])
    trials = torch.cat([point + STEP * both, point + 2 * STEP * both])
    slopes = (evaluate(problem, trials, 1)[1] * torch.cat([both, both])).sum(-1)
    near, far = slopes.chunk(2)
    return ((2 * near - far) / both.norm(dim=-1) < SLOPE).unflatten(0, (2, -1)).any(0)
