"""Moves from one optimum towards others, for every gate, expert and family at any depth.

A move changes how leaves share the rows, and begins a fit there: a leaf is taken away and put on other rows, two are
merged and another is split, leaves change places between groups, or the gates alone begin anew. Experts of leaves that
it does not touch stay as they are. (Split and merge of mixtures: Ueda and others 2000, Neural Computation 12.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gatewise.core.mixture import Measure, Mixture, leaf_weights, regression
from gatewise.fit.problem import Problem
from gatewise.fit.search.partitions import Cloud, row_weights
from gatewise.fit.search.starts import from_shares, response_of
from gatewise.objective.parameterization import from_paths
from gatewise.objective.rows import Block
from gatewise.objective.terms import unit_log_density, unit_responsibilities

FIRM = 0.9  # share of its new rows that a leaf gets
STRETCH = (0.3, 3.0)  # of the response, against the inputs, where rows are near each other
SIZES = (1.5, 16.0)  # rows of a neighbourhood, in parameters of an expert


class Shared(NamedTuple):
    """Shares (L, n) of the rows, and the leaves that begin anew."""

    share: Tensor
    anew: tuple[int, ...]


class Scene(NamedTuple):
    """An optimum as a move sees it: rows in an order of their own, their shares (L, n) and log densities (n,)."""

    mixture: Mixture
    cloud: Cloud
    share: Tensor
    log_density: Tensor


def moves(problem: Problem, free: Tensor, count: int, generator: np.random.Generator) -> tuple[Tensor, tuple[str, ...]]:
    """Return free coordinates (S, P) of `count` moves from a point (P,), and the kind of each."""
    parameterization = problem.parameterization
    mixture = parameterization.mixture
    block = problem.rows.read(0, problem.rows.n_units)
    measure = parameterization.measure(free)
    response = response_of(mixture, block)
    scene = _scene(mixture, measure, block, response)
    kinds = [kind for kind, (applies, _) in KINDS.items() if applies(mixture)]
    points, names = [], [kinds[i % len(kinds)] for i in range(count if kinds else 0)]
    for name in names:
        shared = KINDS[name][1](scene, generator)
        share = torch.empty_like(shared.share)
        share[:, scene.cloud.order] = shared.share
        begun = from_shares(mixture, block, response, share, generator, contrast=True)
        points.append(parameterization.free(_keep(mixture, begun, measure, shared.anew)))
    free = torch.stack(points) if points else free.new_zeros(0, len(free))
    return parameterization.inside(free), tuple(names)


def _scene(mixture: Mixture, measure: Measure, block: Block, response: Tensor) -> Scene:
    if mixture.family.has_density:
        share, log_density = unit_responsibilities(mixture, measure, block), unit_log_density(mixture, measure, block)
        if block.unit is not None:
            share, log_density = share[:, block.unit], log_density[block.unit]
    else:  # least squares: the weights of the leaves in the mean, and residuals in units of their standard deviation
        weights = leaf_weights(mixture, measure, block.gate_x)
        residual = (response - regression(mixture, measure, block.x, block.gate_x)).square().sum(0)
        weight = row_weights(block)
        share = weights / weights.sum(0).clamp_min(1e-300)
        log_density = -0.5 * residual / ((residual @ weight) / weight.sum()).clamp_min(1e-300)
    cloud = Cloud(block, response, mixture.expert)
    return Scene(mixture, cloud, share[:, cloud.order], log_density[cloud.order])


def _keep(mixture: Mixture, begun: Measure, old: Measure, anew: tuple[int, ...]) -> Measure:
    """Return a measure with new gates and the old experts, but those of the leaves `anew`."""
    paths = begun.paths()
    for path, value in old.paths().items():
        if path.startswith("gates."):
            continue
        if value.shape[: mixture.depth] != mixture.branching:
            paths[path] = value  # common to all leaves
            continue
        kept = value.flatten(0, mixture.depth - 1).clone()
        for leaf in anew:
            kept[leaf] = paths[path].flatten(0, mixture.depth - 1)[leaf]
        paths[path] = kept.reshape(value.shape)
    return from_paths(paths, mixture.depth)


def _neighbours(scene: Scene, generator: np.random.Generator) -> Tensor:
    """Return 0/1 membership (n,) of rows near one that the optimum explains badly, or near any."""
    cloud = scene.cloud
    space = torch.cat([cloud.x, generator.uniform(*STRETCH) * cloud.y])
    badly = generator.uniform() < 0.5
    surprise = (scene.log_density[cloud.weight > 0].max() - scene.log_density).clamp(1e-9, 50.0)
    center = int(cloud.draw(generator, 1, cloud.weight * surprise if badly else cloud.weight))
    wanted = np.exp(generator.uniform(*np.log(SIZES))) * cloud.design.shape[0]
    return cloud.nearest(space, space[:, center], min(wanted, cloud.total / 2))


def _taken(scene: Scene, leaf: int) -> Tensor:
    """Return the shares (L, n) when a leaf is taken away: the others share its rows in proportion."""
    left = scene.share.clone()
    left[leaf] = 0.0
    left = left + 1e-9
    left[leaf] = 0.0
    return left / left.sum(0)


def _relocate(scene: Scene, generator: np.random.Generator) -> Shared:
    leaf = int(generator.integers(scene.mixture.n_leaves))
    left, member = _taken(scene, leaf), FIRM * _neighbours(scene, generator)
    left = left * (1 - member)
    left[leaf] = member
    return Shared(left, (leaf,))


def _split_and_merge(scene: Scene, generator: np.random.Generator) -> Shared:
    leaves = scene.mixture.n_leaves
    leaf = int(generator.integers(leaves))
    left = _taken(scene, leaf)
    mass = (left @ scene.cloud.weight).numpy()
    host = int(generator.choice(leaves, p=mass / mass.sum()))
    space = torch.cat([scene.cloud.x, generator.uniform(*STRETCH) * scene.cloud.y])
    along = torch.from_numpy(generator.standard_normal(len(space))) @ space
    cut = along[scene.cloud.draw(generator, 1, scene.cloud.weight * left[host])]
    side = torch.where(along > cut, FIRM, 1 - FIRM)
    left[leaf] = left[host] * side
    left[host] = left[host] * (1 - side)
    return Shared(left, (leaf, host))


def _swap(scene: Scene, generator: np.random.Generator) -> Shared:
    """Two leaves of different groups change places: each begins anew where the other was."""
    mixture = scene.mixture
    inner = mixture.n_leaves // mixture.branching[0]
    one, other = generator.choice(mixture.branching[0], 2, replace=False)
    first, second = one * inner + int(generator.integers(inner)), other * inner + int(generator.integers(inner))
    share = scene.share.clone()
    share[[first, second]] = share[[second, first]]
    return Shared(share, (int(first), int(second)))


def _other_side(scene: Scene, generator: np.random.Generator) -> Shared:
    """The gate of a leaf takes the rows that it left out: an unnormalised sigmoid has two sides."""
    leaf, share = int(generator.integers(scene.mixture.n_leaves)), scene.share.clone()
    share[leaf] = 1.0 - share[leaf]
    return Shared(share / share.sum(0).clamp_min(1e-12), (leaf,))


def _gates_anew(scene: Scene, generator: np.random.Generator) -> Shared:
    power = np.exp(generator.uniform(-1.5, 1.5))
    share = scene.share.clamp_min(1e-12) ** power
    return Shared(share / share.sum(0), ())


KINDS: dict[str, tuple[Callable[[Mixture], bool], Callable[[Scene, np.random.Generator], Shared]]] = {
    "relocated": (lambda mixture: mixture.n_leaves > 1, _relocate),
    "split": (lambda mixture: mixture.n_leaves > 1, _split_and_merge),
    "swapped": (lambda mixture: 1 < mixture.branching[0] < mixture.n_leaves, _swap),
    "other side": (lambda mixture: not mixture.gates[-1].link.normalised, _other_side),
    "gates anew": (lambda mixture: mixture.n_leaves > 1, _gates_anew),
}
