"""Moving one expert: from the best point, take an expert away, put it back wherever it raises the likelihood most.

Over-specified mixtures have many optima that differ in where the spare expert sits. Insertion by partial EM (Verbeek,
Vlassis and Kroese 2003, Neural Computation 15, for Gaussian mixtures): every candidate is a regression grown from a
neighbourhood that shares the weight of one expert, refined with the others held, ranked by the log-likelihood it gives.
The candidates are a fixed design over the rows, the same for every seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from gatewise.core.families.gaussian import log_normal
from gatewise.core.mixture import Measure, Mixture, leaf_family, leaf_log_weights, leaf_predictors
from gatewise.core.parameters import Parameter
from gatewise.core.predictors import with_constant
from gatewise.core.regression import regress, residual_spread
from gatewise.fit.problem import Problem
from gatewise.fit.search.partitions import lexicographic, row_weights
from gatewise.objective.parameterization import from_paths
from gatewise.objective.rows import Block, members_at_once

ANCHORS = 96
NEIGHBOURS = (1.5, 4.0, 16.0, 64.0)  # sizes of the neighbourhoods, in parameters of an expert
STEPS = (2, 7)  # partial EM steps for all candidates, then for the better part of them
BETTER = 0.2  # that part
TAKEN = 2  # experts that are tried to be moved: those that would be missed least
KEPT = 20  # candidates that are fitted in full
UNSEEN = 40.0  # log of the weight that an expert without rows lacks


class Remainder(NamedTuple):
    """The mixture without one expert: log density (n,), weight and log density of each other expert (L, n)."""

    log_density: Tensor
    weight: Tensor
    log_prob: Tensor


class Candidate(NamedTuple):
    """Candidate experts: planes (C, q, P), scales (C, q), share of the host's weight (C,), host leaf (C,)."""

    plane: Tensor
    scale: Tensor
    share: Tensor
    host: Tensor


def applies(problem: Problem) -> bool:
    """Return whether experts can be moved: linear Gaussian experts, and gates with a free bias."""
    mixture = problem.parameterization.mixture
    score = mixture.gates[-1].score
    bias = score.bias()
    free = bias is not None and score.parameters(1)[bias].free
    planes = set(mixture.expert.parameters(1).values()) == {Parameter((1,), "slope"), Parameter((), "intercept")}
    return free and planes and mixture.family.has_closed_form_scale and mixture.branching[-1] > 1


def relocations(problem: Problem, free: Tensor, taken: Sequence[int] | None = None) -> Tensor:
    """Return free coordinates (C, P) of the most promising points with one expert of `free` (P,) moved.

    Parameters
    ----------
    taken : leaves that may be moved; those that would be missed least by default
    """
    parameterization = problem.parameterization
    mixture = parameterization.mixture
    block = problem.rows.read(0, problem.rows.n_units)
    if block.unit is not None:
        return free.new_zeros(0, len(free))
    if block.offset is not None:  # Gaussian experts: a known part of the mean is a known part of the response
        block = block._replace(y=block.y - block.offset, offset=None)
    measure = parameterization.measure(free)
    branches = mixture.branching[-1]
    eta = leaf_predictors(mixture, measure, block.x)
    weight = leaf_log_weights(mixture, measure, block.gate_x).exp()
    log_prob = mixture.family.log_prob(leaf_family(mixture, measure), block.y, eta)
    missed = torch.stack(
        [_weighed_sum(_without(j, branches, weight, log_prob).log_density, block) for j in range(len(weight))]
    )
    seeds = _neighbourhoods(block)
    floor = _floors(problem)
    found: list[tuple[float, int, Candidate]] = []
    for j in torch.argsort(missed, descending=True)[:TAKEN].tolist() if taken is None else taken:
        stage = _without(j, branches, weight, log_prob)
        hosts = [i for i in range(j - j % branches, j - j % branches + branches) if i != j]
        atoms = _hosted(seeds, stage, hosts, block, floor)
        for steps in STEPS:
            atoms, gain = _grow(atoms, stage, block, floor, steps)
            best = torch.argsort(gain, descending=True, stable=True)[: max(KEPT, int(BETTER * len(gain)))]
            atoms, gain = Candidate(*(t[best] for t in atoms)), gain[best]
        gains = float(missed[j]) + gain
        found += [(float(gains[c]), j, Candidate(*(t[c] for t in atoms))) for c in range(len(gains))]
    points = [parameterization.free(_moved(mixture, measure, j, atom)) for j, atom in _different(found)]
    if not points:
        return free.new_zeros(0, len(free))
    return parameterization.inside(torch.stack(points))


def _different(found: list[tuple[float, int, Candidate]]) -> list[tuple[int, Candidate]]:
    """Return the best candidates, one of each that different seeds grew into."""
    chosen: list[tuple[int, Candidate]] = []
    last = float("inf")
    for best, j, atom in sorted(found, key=lambda item: -item[0]):
        if last - best >= 1e-9 * max(1.0, abs(best)):
            chosen.append((j, atom))
            last = best
        if len(chosen) == KEPT:
            break
    return chosen


def add_empty_expert(mixture: Mixture, measure: Measure) -> Measure:
    """Return the measure of a flat mixture with one more expert that has no weight: a place to put one."""
    score = mixture.gates[0].score
    gate = {name: _spare(value) for name, value in measure.gates[0].items()}
    bias = score.required_bias()
    gate[bias] = gate[bias].clone()
    gate[bias][-1] -= UNSEEN / score.bias_rate(gate)
    experts = {name: _spare(value) for name, value in measure.experts.items()}
    return Measure((gate,), experts, {name: _spare(value) for name, value in measure.family.items()})


def _spare(value: Tensor) -> Tensor:
    return torch.cat([value, value[:1]]) if value.ndim else value


def _weighed_sum(values: Tensor, block: Block) -> Tensor:
    return values.sum(-1) if block.weight is None else values @ block.weight


def _without(j: int, branches: int, weight: Tensor, log_prob: Tensor) -> Remainder:
    """Take leaf j away; its siblings share its weight in proportion."""
    node = slice(j - j % branches, j - j % branches + branches)
    left = weight.clone()
    left[j] = 0.0
    below = weight[node].sum(0)
    left[node] = left[node] * (below / left[node].sum(0).clamp_min(1e-300))
    return Remainder(torch.logsumexp(torch.log(left.clamp_min(1e-300)) + log_prob, 0), left, log_prob)


def _neighbourhoods(block: Block) -> tuple[Tensor, Tensor]:
    """Return planes (C, q, P) and scales (C, q) of regressions on neighbourhoods of evenly spread rows.

    Spread by weight, and equal rows stay together: a weight of two is the row twice.
    """
    design = with_constant(block.x)[0]
    weight = row_weights(block)
    anchors = _anchors(torch.cat([block.x, block.y], 0), weight)
    planes, scales = [], []
    for stretch in (1.0, 4.0):
        scaled = torch.cat([block.x, stretch * block.y], 0)
        distance = torch.cdist(scaled[:, anchors].T, scaled.T)
        order = torch.argsort(distance, dim=-1, stable=True)
        within = weight[order].cumsum(-1)
        for factor in NEIGHBOURS:
            size = max(int(factor * design.shape[0]), design.shape[0] + 1)
            last = (within < size).sum(-1, keepdim=True).clamp(max=len(weight) - 1)
            member = (distance <= distance.gather(1, order.gather(1, last))) * weight
            plane, scale = _regress(design, block.y, member)
            planes.append(plane)
            scales.append(scale)
    return torch.cat(planes), torch.cat(scales)


def _anchors(space: Tensor, weight: Tensor) -> Tensor:
    """Return rows (A,) that divide the sorted rows into parts of equal weight, no two of them equal."""
    order = lexicographic(space)
    mass = weight[order].cumsum(0)
    shares = (torch.arange(ANCHORS, dtype=torch.float64) + 0.5) / ANCHORS
    picked = order[torch.searchsorted(mass, shares * mass[-1]).clamp(max=len(weight) - 1).unique()]
    same = (space[:, picked[1:]] == space[:, picked[:-1]]).all(0)
    return picked[torch.cat([same.new_zeros(1), same]).logical_not()]


def _regress(design: Tensor, y: Tensor, leaf_weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return weighted least-squares planes (C, q, P) and residual standard deviations (C, q) for weights (C, n)."""
    plane = regress(design, y, leaf_weight, 1e-9)
    return plane, residual_spread(design, y, leaf_weight, plane)


def _floors(problem: Problem) -> Tensor:
    """Return the least scale of a candidate per output: half as much again as the floor."""
    parameterization = problem.parameterization
    (path,) = parameterization.mixture.paths("family", "scale")
    column = parameterization.columns(path).reshape(parameterization.mixture.n_leaves, -1)[0]
    lower = torch.where(column >= 0, parameterization.lower[column.clamp_min(0)], -20.0)
    return 1.5 * torch.exp(lower)


def _hosted(seeds: tuple[Tensor, Tensor], stage: Remainder, hosts: list[int], block: Block, floor: Tensor) -> Candidate:
    """Give every candidate the sibling as host that has most weight where the candidate explains the rows best."""
    plane, scale = seeds[0], torch.maximum(seeds[1], floor)
    best = torch.full((len(plane),), hosts[0], dtype=torch.long)
    if len(hosts) > 1:
        for part in torch.arange(len(plane)).split(members_at_once(block.x.shape[-1])):
            density = _density(plane[part], scale[part], block)
            best[part] = torch.tensor(hosts, dtype=torch.long)[(density @ stage.weight[hosts].T).argmax(-1)]
    return Candidate(plane, scale, torch.full((len(plane),), 0.1, dtype=torch.float64), best)


def _density(plane: Tensor, scale: Tensor, block: Block) -> Tensor:
    """Return the density (C, n) of candidates."""
    z = (block.y - plane @ with_constant(block.x)[0]) / scale[..., None]
    return torch.exp(log_normal(z * z, torch.log(scale)[..., None]).sum(1))


def _grow(atoms: Candidate, stage: Remainder, block: Block, floor: Tensor, steps: int) -> tuple[Candidate, Tensor]:
    """Refine candidates by partial EM, a few at a time; return them and the log-likelihood each adds."""
    weight = row_weights(block)
    design = with_constant(block.x)[0]
    ratio = torch.exp(torch.log(stage.weight.clamp_min(1e-300)) - stage.log_density)
    old = ratio * torch.exp(stage.log_prob)
    parts = torch.arange(len(atoms.host)).split(members_at_once(len(weight)))
    grown = [
        _grow_part(Candidate(*(t[p] for t in atoms)), ratio, old, weight, design, block, floor, steps) for p in parts
    ]
    whole = Candidate(*(torch.cat(field) for field in zip(*(atoms for atoms, _ in grown), strict=True)))
    return whole, torch.cat([gain for _, gain in grown])


def _grow_part(
    atoms: Candidate,
    ratio: Tensor,
    old: Tensor,
    weight: Tensor,
    design: Tensor,
    block: Block,
    floor: Tensor,
    steps: int,
) -> tuple[Candidate, Tensor]:
    ratio, old = ratio[atoms.host], old[atoms.host]
    gain = ratio.new_zeros(len(ratio))
    for step in range(steps + 1):
        new = ratio * _density(atoms.plane, atoms.scale, block)
        share = atoms.share[:, None]
        mixed = (1 + share * (new - old)).clamp_min_(1e-300)
        if step == steps:
            gain = torch.log(mixed) @ weight
            break
        leaf_weight = share * new / mixed * weight
        host = (1 - atoms.share) * ((old / mixed) @ weight)
        plane, scale = _regress(design, block.y, leaf_weight)
        mass = leaf_weight.sum(-1)
        grown = (mass / (mass + host).clamp_min(1e-12)).clamp(1e-5, 1 - 1e-5)
        atoms = Candidate(plane, torch.maximum(scale, floor), grown, atoms.host)
    return atoms, torch.nan_to_num(gain, -torch.inf, -torch.inf, -torch.inf)


def _moved(mixture: Mixture, measure: Measure, j: int, atom: Candidate) -> Measure:
    """Return the measure with leaf j in the place of the candidate: it shares the gate of its host."""
    depth, branching, score = mixture.depth, mixture.branching, mixture.gates[-1].score
    branches = branching[-1]
    host = int(atom.host)
    node, taken, kept = j // branches, j % branches, host % branches
    paths = {path: value.clone() for path, value in measure.paths().items()}
    rate = score.bias_rate(measure.gates[-1]).reshape(-1)[node]
    for name in measure.gates[-1]:
        value = paths[f"gates.{depth - 1}.{name}"]
        if value.ndim >= depth and value.shape[:depth] == branching:
            flat = value.reshape(prod(branching[:-1]), branches, -1)
            flat[node, taken] = flat[node, kept]
            if name == score.bias():
                flat[node, taken] += torch.log(atom.share) / rate
                flat[node, kept] += torch.log1p(-atom.share) / rate
    roles = {"slope": atom.plane[:, :-1], "intercept": atom.plane[:, -1]}
    values = {path: roles[role] for role in roles for path in mixture.paths("experts", role)}
    for path, value in (values | dict.fromkeys(mixture.paths("family", "scale"), atom.scale)).items():
        paths[path].reshape(mixture.n_leaves, *value.shape)[j] = value
    return from_paths(paths, depth)
