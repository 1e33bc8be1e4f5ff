"""Optima on kinks: a center of a distance gate that sits on a data point, where the derivative jumps.

Near the optimum every data point that wants its own branch is a small cusp, and the best point often lies on one. The
search rounds the tips off over a shrinking radius, then tries the data points around each center with the center held
there, and keeps the best, until none is better. What the other parameters do meanwhile is foretold by the Hessian, so
that a point costs one value. A held center is a local optimum when the force of the other rows on it is no larger than
the pull of the rows it sits on (a subgradient contains zero).
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gatewise.core.names import entry_name
from gatewise.fit.problem import Problem, evaluate, newton_polish
from gatewise.objective.rows import MOST, Rows
from gatewise.optim import Result, late

RADII = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-8)
NEIGHBOURS = 32  # data points around a center that are evaluated
TRIED = 6  # of them, the best that are optimised with the centers held there
SWEEPS = 20
CAREFUL = 20000  # units above which fewer are
BESIDE_POINT = 1e-9  # distance of a center from a data point, in units of its size, that is rounding
ROUNDING = 1e-12  # of objectives


class Center(NamedTuple):
    """A center of a distance gate: its free columns (d,), level, and name."""

    columns: Tensor
    level: int
    name: str


def refine_at_kinks(
    problem: Problem, free: Tensor, deadline: float | None
) -> tuple[Tensor, tuple[str, ...], Tensor | None]:
    """Refine a point (P,) of a kinked mixture; return it, the names of parameters on kinks, and their mask.

    Returns no names when the point is away from kinks, or when it fails the test for a local optimum there (the
    certificate then reports a gradient that is not zero).
    """
    at_rest = bool(newton_polish(problem, free[None], 1, deadline).converged[0])
    point = free if at_rest else _round_off(problem, free, deadline)
    centers = find_centers(problem)
    if not centers:
        return point, (), None
    place = Place(point, float(evaluate(problem, point[None], 0)[0][0]), {}, {})
    place = _on_points(problem, centers, _best_place(problem, centers, place, deadline))
    point, held = place.point, place.held
    pinned = torch.zeros_like(point, dtype=torch.bool)
    for k in held:
        pinned[centers[k].columns] = True
    if not held:
        return point, (), None
    names = tuple(centers[k].name for k in sorted(held) if is_stationary(problem, centers[k], point))
    if len(names) < len(held):
        return point, (), None
    return point, names, pinned


def _round_off(problem: Problem, free: Tensor, deadline: float | None) -> Tensor:
    """Follow the optimum of the rounded mixture as the radius shrinks; never end above the value at the start."""
    point = free
    for radius in RADII:
        smooth = replace(
            problem,
            parameterization=replace(
                problem.parameterization, mixture=problem.parameterization.mixture.smoothed(radius)
            ),
        )
        point = newton_polish(smooth, point[None], 40, deadline).x[0]
    both = torch.stack([free, point])
    values = evaluate(problem, both, 0)[0]
    return both[int(values.argmin())]


def find_centers(problem: Problem) -> list[Center]:
    """Return the free centers of the distance gates of a problem."""
    out = []
    for level, gate in enumerate(problem.parameterization.mixture.gates):
        for name in gate.score.names("location") if gate.score.kinked() else ():
            index = problem.parameterization.columns(f"gates.{level}.{name}")
            for position in product(*map(range, index.shape[:-1])):
                columns = index[position]
                if bool((columns >= 0).all()):
                    out.append(Center(columns, level, entry_name(f"gates.{level}.{name}", position)))
    return out


class Place(NamedTuple):
    """A point (P,), its objective, the data points (d,) that centers are held on, by their number, and where it leads.

    `ends` has the optimum from this point by the centers that were held, all others being free.
    """

    point: Tensor
    value: float
    held: dict[int, Tensor]
    ends: dict[frozenset[int], Result]


def _best_place(problem: Problem, centers: list[Center], place: Place, deadline: float | None) -> Place:
    """Move centers among the data points beside them until none lies better elsewhere."""
    for _ in range(SWEEPS):
        before = place.value
        for k in range(len(centers)):
            if late(deadline):
                return place
            place = _try_sites(problem, centers, place, k, deadline)
        if place.value >= before - 1e-13 * abs(before):
            break
    return place


def _on_points(problem: Problem, centers: list[Center], place: Place) -> Place:
    """Put free centers that came to rest beside a data point, up to rounding, onto it."""
    point, held = place.point.clone(), dict(place.held)
    for k in range(len(centers)):
        columns = centers[k].columns
        site = nearest_points(problem, point[columns], 1)[0] if k not in held else point[columns]
        if k not in held and float((site - point[columns]).abs().max()) <= BESIDE_POINT * (1 + float(site.abs().max())):
            point[columns], held[k] = site, site
    value = float(evaluate(problem, point[None], 0)[0][0])
    return place._replace(point=point, held=held) if value <= place.value + ROUNDING * abs(place.value) else place


def _try_sites(problem: Problem, centers: list[Center], place: Place, moved: int, deadline: float | None) -> Place:
    """Hold a center on the data points around it, the others as they are, and keep the best."""
    point, value, columns = place.point, place.value, centers[moved].columns
    others = {k: site for k, site in place.held.items() if k != moved}
    sites, still = _sites(problem, point, columns), frozenset(others)
    if len(sites):
        starts = _foretold(problem, point, columns, sites, [centers[k].columns for k in others])
        values = evaluate(problem, starts, 0)[0]
        kept = torch.argsort(values, stable=True)[: TRIED if problem.rows.n_units <= CAREFUL else 2]
        sites, starts = sites[kept], starts[kept]
    box = torch.stack([problem.parameterization.lower, problem.parameterization.upper])
    for k, site in others.items():
        box[:, centers[k].columns] = site
    if still not in place.ends:
        place.ends[still] = newton_polish(problem, point[None], 25, deadline, (box[0], box[1]))
    done = place.ends[still]
    if len(sites):
        lower, upper = box[:, None].repeat(1, len(sites), 1)
        lower[:, columns], upper[:, columns] = sites, sites
        there = newton_polish(problem, starts, 25, deadline, (lower, upper))
        done = Result(*map(torch.cat, zip(done, there, strict=True)))
    best = _chosen(done, value)
    margin = 1e-14 * abs(value)
    if float(done.value[best]) > value + (-margin if moved in place.held else margin):
        return place
    if best == 0:
        return Place(done.x[0], float(done.value[0]), others, {still: place.ends[still]})
    return Place(done.x[best], float(done.value[best]), {**others, moved: sites[best - 1]}, {})


def _chosen(done: Result, value: float) -> int:
    """Return the best of ends, the first of which is free and the others are held."""
    values, margin = done.value, 1e-14 * abs(value)
    best = int(values.argmin())
    if bool(done.converged[0]) and float(values[0] - values[best]) <= 1e3 * margin:
        return 0  # at the end of a ridge it is no better held than free
    if best == 0 and not bool(done.converged[0]) and len(values) > 1:
        beside = 1 + int(values[1:].argmin())  # stuck beside a kink it is as good there but for rounding
        return beside if float(values[beside] - values[0]) <= 1e2 * margin else 0
    return best


def _sites(problem: Problem, point: Tensor, columns: Tensor) -> Tensor:
    """Return the data points (m, d) around a center that its bounds allow."""
    lower, upper = problem.parameterization.lower, problem.parameterization.upper
    near = nearest_points(problem, point[columns], NEIGHBOURS)
    return near[((near >= lower[columns]) & (near <= upper[columns])).all(-1)]


def _foretold(problem: Problem, point: Tensor, columns: Tensor, sites: Tensor, others: list[Tensor]) -> Tensor:
    """Return points (m, P) with some coordinates at sites (m, columns), and the others where the Hessian sends them."""
    parameterization = problem.parameterization
    hessian = torch.nan_to_num(evaluate(problem, point[None], 2)[2][0], 0.0, 0.0, 0.0)
    free = (point > parameterization.lower) & (point < parameterization.upper)
    free[torch.cat([columns, *others])] = False
    rest = free.nonzero()[:, 0]
    response = torch.linalg.pinv(hessian[rest][:, rest], rtol=1e-9, hermitian=True) @ hessian[rest][:, columns]
    starts = point.repeat(len(sites), 1)
    starts[:, rest] -= (sites - point[columns]) @ response.T
    starts = parameterization.inside(starts)
    starts[:, columns] = sites
    return starts


def nearest_points(problem: Problem, center: Tensor, count: int) -> Tensor:
    """Return the `count` nearest different gate inputs (c, d) to a center (d,)."""
    distances, points = problem.rows.fold(_nearest, _both, center, count)
    nearest = points[torch.argsort(distances, stable=True)]
    first = np.unique(nearest.numpy(), axis=0, return_index=True)[1]
    return nearest[np.sort(first)[:count]]


def _both(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return torch.cat([one[0], other[0]]), torch.cat([one[1], other[1]])


def _nearest(rows: Rows, center: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the nearest gate inputs of every block (c, d) and their squared distances (c,)."""
    distances, points = [], []
    for block in rows.blocks(MOST):
        x = block.gate_x if block.weight is None else block.gate_x[:, block.weight > 0]
        gap = ((x - center[:, None]) ** 2).sum(0)
        near = torch.topk(gap, min(4 * count, len(gap)), largest=False)
        distances.append(near.values)
        points.append(x[:, near.indices].T)
    return torch.cat(distances), torch.cat(points)


def is_stationary(problem: Problem, center: Center, point: Tensor) -> bool:
    """Test whether zero is a subgradient in a center that sits on data points.

    The rows at the center pull it with a force up to ``c = -(jump of the objective)`` in every direction of the metric;
    the smooth force of the others must not exceed it. Measured by one-sided slopes along the axes and the force itself.
    """
    parameterization = problem.parameterization
    _, gradient = (part[0] for part in evaluate(problem, point[None], 1))
    force = gradient[center.columns]
    step = 1e-7
    directions = [torch.eye(len(force), dtype=torch.float64)[i] for i in range(len(force))]
    directions += [-d for d in directions]
    if float(force.norm()) > 0:
        directions += [force / force.norm(), -force / force.norm()]
    trials = point.repeat(2 * len(directions), 1)
    for i, direction in enumerate(directions):
        trials[2 * i, center.columns] += step * direction
        trials[2 * i + 1, center.columns] += 2 * step * direction
    trials = parameterization.inside(trials)
    slopes = []
    values = evaluate(problem, trials, 1)
    for i, direction in enumerate(directions):
        # slope just off the kink, extrapolated to it
        near = float(values[1][2 * i, center.columns] @ direction)
        far = float(values[1][2 * i + 1, center.columns] @ direction)
        slopes.append(2 * near - far)
    return min(slopes) >= -1e-9
