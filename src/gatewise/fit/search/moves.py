"""Moves from one optimum towards others, for every gate, expert and family at any depth.

A move changes how leaves share the rows, and begins a fit there: a leaf is taken away and put on other rows, two are
merged and another is split, leaves change places between groups, or the gates alone begin anew. Experts of leaves that
it does not touch stay as they are. (Split and merge of mixtures: Ueda and others 2000, Neural Computation 12.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from gatewise.core.families.gaussian import log_normal
from gatewise.core.mixture import Measure, Mixture, leaf_weights, regression
from gatewise.fit.problem import Problem
from gatewise.fit.search.partitions import Cloud, row_weights
from gatewise.fit.search.starts import from_shares, response_of
from gatewise.objective.parameterization import from_paths
from gatewise.objective.rows import Block
from gatewise.objective.terms import unit_leaf_log_density, unit_log_density, unit_responsibilities

FIRM = 0.9  # share of its new rows that a leaf gets
STRETCH = (0.3, 3.0)  # of the response, against the inputs, where rows are near each other
SIZES = (1.5, 16.0)  # rows of a neighbourhood, in parameters of an expert
OFTEN = 0.4  # chance that an optimum is the one to move, given that no better one is


class Shared(NamedTuple):
    """Shares (L, n) of the rows, the leaves that begin anew, and a measure that has the experts of the others."""

    share: Tensor
    anew: tuple[int, ...]
    kept: Measure


class Scene(NamedTuple):
    """An optimum as a move sees it: rows in an order of their own, their shares (L, n) and log densities (n,).

    `alone` (L, n) are the log densities of leaves without gates, zero in least squares.
    """

    mixture: Mixture
    measure: Measure
    cloud: Cloud
    share: Tensor
    log_density: Tensor
    alone: Tensor


def moves(
    problem: Problem, optima: Tensor, count: int, generator: np.random.Generator
) -> tuple[Tensor, tuple[str, ...]]:
    """Return free coordinates (S, P) of `count` moves from optima (K, P), best first, and the kind of each.

    The best is moved most often, each further one less.
    """
    parameterization = problem.parameterization
    mixture = parameterization.mixture
    block = problem.rows.read(0, problem.rows.n_units)
    response = response_of(mixture, block)
    cloud = Cloud(block, response, mixture.expert)
    scenes = [_scene(mixture, parameterization.measure(point), block, response, cloud) for point in optima]
    kinds = [kind for kind, (applies, _) in KINDS.items() if applies(scenes)]
    points, names = [], [kinds[i % len(kinds)] for i in range(count if kinds else 0)]
    for name in names:
        first = min(int(generator.geometric(OFTEN)), len(scenes)) - 1
        shared = KINDS[name][1]([scenes[first], *scenes[:first], *scenes[first + 1 :]], generator)
        share = torch.empty_like(shared.share)
        share[:, cloud.order] = shared.share
        begun = from_shares(mixture, block, response, share, generator, contrast=True)
        points.append(parameterization.free(_keep(mixture, begun, shared.kept, shared.anew)))
    free = torch.stack(points) if points else optima[:0]
    return parameterization.inside(free), tuple(names)


def _scene(mixture: Mixture, measure: Measure, block: Block, response: Tensor, cloud: Cloud) -> Scene:
    if mixture.family.has_density:
        parts = [
            function(mixture, measure, block)
            for function in (unit_responsibilities, unit_log_density, unit_leaf_log_density)
        ]
        share, log_density, alone = (part if block.unit is None else part[..., block.unit] for part in parts)
    else:  # least squares: the weights of the leaves in the mean, and residuals in units of their standard deviation
        weights = leaf_weights(mixture, measure, block.gate_x)
        residual = (response - regression(mixture, measure, block.x, block.gate_x)).square().sum(0)
        weight = row_weights(block)
        share = weights / weights.sum(0).clamp_min(1e-300)
        variance = ((residual @ weight) / weight.sum()).clamp_min(1e-300)
        log_density = log_normal(residual / variance, 0.5 * variance.log())
        alone = torch.zeros_like(share)
    order = cloud.order
    return Scene(mixture, measure, cloud, share[:, order], log_density[order], alone[:, order])


def _keep(mixture: Mixture, begun: Measure, old: Measure, anew: tuple[int, ...]) -> Measure:
    """Return a measure with new gates and the old experts, but those of the leaves `anew`."""
    return _with_leaves(mixture, old, begun, {leaf: leaf for leaf in anew}, begun)


def _with_leaves(mixture: Mixture, old: Measure, other: Measure, taken: Mapping[int, int], gates: Measure) -> Measure:
    """Return the experts of `old` with some leaves of `other` in the place of theirs, and the gates of a measure."""
    paths, others = gates.paths(), other.paths()
    for path, value in old.paths().items():
        if path.startswith("gates."):
            continue
        if value.shape[: mixture.depth] != mixture.branching:
            paths[path] = value  # common to all leaves
            continue
        kept = value.flatten(0, mixture.depth - 1).clone()
        for leaf, its in taken.items():
            kept[leaf] = others[path].flatten(0, mixture.depth - 1)[its]
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


def _relocate(scenes: Sequence[Scene], generator: np.random.Generator) -> Shared:
    scene = scenes[0]
    leaf = int(generator.integers(scene.mixture.n_leaves))
    left, member = _taken(scene, leaf), FIRM * _neighbours(scene, generator)
    left = left * (1 - member)
    left[leaf] = member
    return Shared(left, (leaf,), scene.measure)


def _split_and_merge(scenes: Sequence[Scene], generator: np.random.Generator) -> Shared:
    scene = scenes[0]
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
    return Shared(left, (leaf, host), scene.measure)


def _swap(scenes: Sequence[Scene], generator: np.random.Generator) -> Shared:
    """Two leaves of different groups change places: each begins anew where the other was."""
    scene = scenes[0]
    mixture = scene.mixture
    inner = mixture.n_leaves // mixture.branching[0]
    one, other = generator.choice(mixture.branching[0], 2, replace=False)
    first, second = one * inner + int(generator.integers(inner)), other * inner + int(generator.integers(inner))
    share = scene.share.clone()
    share[[first, second]] = share[[second, first]]
    return Shared(share, (int(first), int(second)), scene.measure)


def _other_side(scenes: Sequence[Scene], generator: np.random.Generator) -> Shared:
    """The gate of a leaf takes the rows that it left out: an unnormalised sigmoid has two sides."""
    scene = scenes[0]
    leaf, share = int(generator.integers(scene.mixture.n_leaves)), scene.share.clone()
    share[leaf] = 1.0 - share[leaf]
    return Shared(share / share.sum(0).clamp_min(1e-12), (leaf,), scene.measure)


def _gates_anew(scenes: Sequence[Scene], generator: np.random.Generator) -> Shared:
    scene = scenes[0]
    power = np.exp(generator.uniform(-1.5, 1.5))
    share = scene.share.clamp_min(1e-12) ** power
    return Shared(share / share.sum(0), (), scene.measure)


def _crossed(scenes: Sequence[Scene], generator: np.random.Generator) -> Shared:
    """Some leaves are those of another optimum that explain the same rows best; the gates begin anew."""
    scene, other = scenes[0], scenes[1 + int(generator.integers(len(scenes) - 1))]
    leaves = scene.mixture.n_leaves
    match = linear_sum_assignment((scene.share * scene.cloud.weight) @ other.share.T, maximize=True)[1]
    count = 1 + int(generator.integers(leaves - 1))
    taken = {int(leaf): int(match[leaf]) for leaf in generator.choice(leaves, count, replace=False)}
    alone = scene.alone.clone()
    mass = scene.share @ scene.cloud.weight
    for leaf, its in taken.items():
        alone[leaf], mass[leaf] = other.alone[its], other.share[its] @ other.cloud.weight
    share = torch.softmax(torch.nan_to_num(alone, nan=-1e300) + torch.log(mass.clamp_min(1e-12))[:, None], 0)
    return Shared(share, (), _with_leaves(scene.mixture, scene.measure, other.measure, taken, scene.measure))


KINDS: dict[str, tuple[Callable[[Sequence[Scene]], bool], Callable[[Sequence[Scene], np.random.Generator], Shared]]] = {
    "relocated": (lambda scenes: True, _relocate),
    "split": (lambda scenes: True, _split_and_merge),
    "swapped": (lambda scenes: 1 < scenes[0].mixture.branching[0] < scenes[0].mixture.n_leaves, _swap),
    "other side": (lambda scenes: not scenes[0].mixture.gates[-1].link.normalised, _other_side),
    "gates anew": (lambda scenes: True, _gates_anew),
    "crossed": (lambda scenes: len(scenes) > 1 and scenes[0].mixture.family.has_density, _crossed),
}
