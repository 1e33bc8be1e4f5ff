"""Starts: asymmetric guesses of who belongs to which leaf, turned into measures.

Kinds, in turn: `planes` (regressions grown from neighbourhoods, rows going to the closest plane), `clusters` (k-means
on inputs and response), `subsets` (planes grown from random small subsets), `sharp` (planes that a part of the rows
lies on closely, found one after the other: narrow optima that averages of rows never start near); where the family is
robust also `trimmed` (such planes, and rows far from all of them belong to none). Draws depend on the weighted set of
rows, not on their order: weight two equals a row twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from gatewise.core.experts import Expert
from gatewise.core.mixture import Measure, Mixture
from gatewise.core.regression import regress, residual_spread
from gatewise.core.scores import Score
from gatewise.objective.parameterization import Parameterization
from gatewise.objective.rows import Block, Rows

FEW = 2000  # units a start is drawn from and searched on


def seeds(seed: int | None, roles: int) -> list[np.random.Generator]:
    """Return one generator per role, spawned from a seed."""
    return [np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(roles)]


def subsample(rows: Rows, generator: np.random.Generator, few: int = FEW) -> Rows:
    """Return at most `few` units of the rows, drawn without replacement; all of them when there are no more."""
    if rows.n_units <= few:
        return rows
    picked = np.sort(generator.choice(rows.n_units, few, replace=False))
    if rows.weight is None:
        return rows.take(torch.from_numpy(picked))
    mass = rows.weight.cumsum(0)
    points = torch.from_numpy((np.arange(few) + generator.random()) / few) * mass[-1]
    index, counts = torch.unique(torch.searchsorted(mass, points).clamp(max=rows.n_units - 1), return_counts=True)
    out = rows.take(index)
    return replace(out, weight=counts.to(torch.float64))


def row_weights(block: Block) -> Tensor:
    """Return the weights (n,) of the rows of a block."""
    weight = block.row_weight
    return block.x.new_ones(block.x.shape[-1]) if weight is None else weight


def lexicographic(columns: Tensor) -> Tensor:
    """Return the order (n,) in which columns (d, n) are sorted by the last row, and among equals by those before."""
    order = torch.arange(columns.shape[-1])
    for column in columns:
        order = order[torch.argsort(column[order], stable=True)]
    return order


class _Cloud:
    """Rows in an order of their own (sorted by value) with weights, for draws that ignore the order given."""

    def __init__(self, block: Block, response: Tensor, expert: Expert) -> None:
        self.order = order = lexicographic(torch.cat([block.x, response], 0))
        self.x, self.y = block.x[:, order], response[:, order]
        self.weight = row_weights(block)[order]
        self.design = expert.design(self.x)
        self.total = float(self.weight.sum())

    def draw(self, generator: np.random.Generator, count: int, mass: Tensor | None = None) -> Tensor:
        """Draw rows with probability proportional to mass (weight when None)."""
        cumulative = (self.weight if mass is None else mass).cumsum(0)
        points = torch.from_numpy(generator.random(count)) * cumulative[-1]
        return torch.searchsorted(cumulative, points).clamp(max=len(cumulative) - 1)

    def nearest(self, space: Tensor, center: Tensor, wanted: float) -> Tensor:
        """Return 0/1 membership (n,) of the nearest rows that together weigh `wanted`."""
        distance = ((space - center[:, None]) ** 2).sum(0)
        order = torch.argsort(distance, stable=True)
        before = self.weight[order].cumsum(0) - self.weight[order]
        return (distance <= distance[order][before < wanted].amax()).to(torch.float64)  # equal rows stay together

    def regress(self, share: Tensor) -> Tensor:
        """Return weighted least-squares coefficients (L, q, P) for shares (L, n)."""
        return regress(self.design, self.y, share * self.weight)

    def residual(self, planes: Tensor) -> Tensor:
        """Return squared residuals (L, n)."""
        return ((self.y - planes @ self.design) ** 2).sum(-2)


def _settle(cloud: _Cloud, share: Tensor, rounds: int) -> Tensor:
    """Alternate between planes and rows going to the plane that explains them best; returns labels (n,)."""
    leaves = len(share)
    label = torch.zeros(share.shape[-1], dtype=torch.long)
    for _ in range(rounds):
        residual = cloud.residual(cloud.regress(share))
        label = _best_explained(residual, share * cloud.weight)
        share = torch.nn.functional.one_hot(label, leaves).T.to(torch.float64)
        empty = (share @ cloud.weight) < cloud.design.shape[0]
        if bool(empty.any()):
            worst = torch.where(cloud.weight > 0, residual.amin(0), -1.0)
            for leaf in empty.nonzero()[:, 0].tolist():
                far = cloud.x[:, int(worst.argmax())]
                share[leaf] = cloud.nearest(cloud.x, far, 2.0 * cloud.design.shape[0])
                worst = torch.where(share[leaf] > 0, -1.0, worst)
    return label


def _best_explained(residual: Tensor, leaf_weight: Tensor) -> Tensor:
    """Return the leaf (n,) of every row by squared residuals (L, n), given the weights (L, n) behind these."""
    spread = ((leaf_weight * residual).sum(-1) / leaf_weight.sum(-1).clamp_min(1e-12)).clamp_min(1e-6)
    spread = 0.5 * (spread + spread.mean())
    return (residual / spread[:, None] + torch.log(spread)[:, None]).argmin(0)


def _planes(cloud: _Cloud, leaves: int, generator: np.random.Generator) -> Tensor:
    wanted = max(2.0 * cloud.design.shape[0], cloud.total / (generator.uniform(1.0, 4.0) * leaves))
    centers = _spread(cloud, cloud.x, leaves, generator)
    share = torch.stack([cloud.nearest(cloud.x, cloud.x[:, i], wanted) for i in centers.tolist()])
    return _settle(cloud, share, int(generator.integers(2, 8)))


def _subsets(cloud: _Cloud, leaves: int, generator: np.random.Generator) -> Tensor:
    size = cloud.design.shape[0] + 1
    share = torch.zeros(leaves, len(cloud.weight), dtype=torch.float64)
    for leaf in range(leaves):
        picked = cloud.draw(generator, size)
        share[leaf, picked] = 1.0 / cloud.weight[picked].clamp_min(1e-300)  # each counts once
    return _settle(cloud, share, int(generator.integers(3, 10)))


def _clusters(cloud: _Cloud, leaves: int, generator: np.random.Generator) -> Tensor:
    space = torch.cat([cloud.x, generator.uniform(0.3, 3.0) * cloud.y], 0)
    centers = space[:, _spread(cloud, space, leaves, generator)]
    label = torch.zeros(space.shape[-1], dtype=torch.long)
    for _ in range(10):
        label = ((space.unsqueeze(-1) - centers.unsqueeze(-2)) ** 2).sum(0).argmin(-1)
        share = torch.nn.functional.one_hot(label, leaves).T.to(torch.float64) * cloud.weight
        mass = share.sum(-1)
        centers = torch.where(mass > 0, (space @ share.T) / mass.clamp_min(1e-12), centers)
    return label


def _spread(cloud: _Cloud, space: Tensor, count: int, generator: np.random.Generator) -> Tensor:
    """Draw `count` rows far from each other (k-means++)."""
    picked = [cloud.draw(generator, 1)]
    far = torch.full((space.shape[-1],), torch.inf, dtype=torch.float64)
    for _ in range(count - 1):
        far = torch.minimum(far, ((space - space[:, picked[-1]]) ** 2).sum(0))
        mass = cloud.weight * far
        picked.append(cloud.draw(generator, 1, mass if float(mass.sum()) > 0 else None))
    return torch.cat(picked)


def _sharp(cloud: _Cloud, leaves: int, generator: np.random.Generator) -> Tensor:
    left = cloud.weight.clone()
    label = torch.zeros(len(left), dtype=torch.long)
    for leaf in range(leaves - 1):
        member = _closest_plane(cloud, left, leaves - leaf, generator)
        label[member] = leaf + 1
        left = torch.where(member, 0.0, left)
    return label


def _trimmed(cloud: _Cloud, leaves: int, generator: np.random.Generator) -> Tensor:
    """Return labels (n,) of planes found like sharp ones, -1 for rows that are far from every plane."""
    left = cloud.weight.clone()
    members = []
    for leaf in range(leaves):
        members.append(_closest_plane(cloud, left, leaves - leaf, generator, most=0.9 if leaf == leaves - 1 else 1.2))
        left = torch.where(members[-1], 0.0, left)
        left = left if bool((left > 0).any()) else cloud.weight.clone()
    residual = cloud.residual(cloud.regress(torch.stack(members).to(torch.float64)))
    label = residual.argmin(0)
    return torch.where(torch.stack(members).any(0), label, -1)


def _closest_plane(
    cloud: _Cloud, left: Tensor, parts: int, generator: np.random.Generator, most: float = 1.2
) -> Tensor:
    """Return the rows (n,) of bool on the plane that a random share of the remaining rows lies closest to.

    The best of many planes through minimal subsets, by the weighted quantile of its squared residuals (least quantile
    of squares), refined by least squares on the rows it holds.
    """
    size = cloud.design.shape[0]
    mass = float(left.sum())
    wanted = mass * generator.uniform(0.4, most) / parts
    picks = cloud.draw(generator, PLANES * size, left).reshape(PLANES, size)
    once = 1.0 / cloud.weight[picks].clamp_min(1e-300)
    share = torch.zeros(PLANES, len(left), dtype=torch.float64).scatter_(1, picks, once)
    residual = torch.where(left > 0, cloud.residual(cloud.regress(share)), torch.inf)
    member = torch.zeros_like(left, dtype=torch.bool)
    for _ in range(3):
        ordered, order = residual.sort(dim=-1, stable=True)
        reached = (left[order].cumsum(-1) < wanted).sum(-1, keepdim=True).clamp(max=len(left) - 1)
        edge = ordered.gather(-1, reached)
        best = int(edge[:, 0].argmin())
        member = (residual[best] <= edge[best]) & (left > 0)  # equal rows stay together
        residual = torch.where(left > 0, cloud.residual(cloud.regress(member[None].to(torch.float64))), torch.inf)
    if not bool(member.any()):  # residuals that are not numbers: all squares vanish or overflow
        return left > 0
    mean = float(residual[0][member] @ left[member] / left[member].sum())
    width = mean * 6.0  # within about 2.5 standard deviations of the plane
    return (residual[0] <= max(width, float(residual[0][member].min()))) & (left > 0)


KINDS: dict[str, Callable[[_Cloud, int, np.random.Generator], Tensor]] = {
    "planes": _planes,
    "clusters": _clusters,
    "subsets": _subsets,
    "sharp": _sharp,
    "trimmed": _trimmed,
}
CYCLE = ("planes", "clusters", "subsets", "sharp")
CURVES, FIRM = 3, 0.9  # rounds in which rows go to units that bend, and the share they give to one
ROBUST = ("trimmed", *CYCLE)
PLANES = 64  # minimal subsets tried for one sharp plane


def response_of(mixture: Mixture, block: Block) -> Tensor:
    """Return the response on the scale of the experts, what is known of it (the offset) taken away, ``(q, n)``."""
    response = mixture.family.working_response(block.y)
    return response if block.offset is None else response - block.offset


def draw_starts(
    parameterization: Parameterization, rows: Rows, count: int, generator: np.random.Generator, contrast: bool = True
) -> tuple[Tensor, tuple[str, ...]]:
    """Return free coordinates (S, P) of `count` starts drawn from rows in working units, and the kind of each.

    `contrast` draws temperatures too; without it they start at one.
    """
    block = rows.read(0, rows.n_units)
    response = response_of(parameterization.mixture, block)
    cloud = _Cloud(block, response, parameterization.mixture.expert)
    out, kinds = [], []
    cycle = ROBUST if parameterization.mixture.family.robust else CYCLE
    for i in range(count):
        kind = cycle[i % len(cycle)]
        label = KINDS[kind](cloud, parameterization.mixture.n_leaves, generator)
        share = torch.nn.functional.one_hot(label.clamp_min(0), parameterization.mixture.n_leaves).T.to(torch.float64)
        firmness = generator.uniform(0.7, 0.98) if kind not in ("sharp", "trimmed") else 1 - 1e-6
        share = firmness * share + (1 - firmness) / parameterization.mixture.n_leaves
        share = torch.where(label < 0, 0.0, share)
        back = torch.empty_like(share)
        back[:, cloud.order] = share
        mixed = back[torch.from_numpy(generator.permutation(parameterization.mixture.n_leaves))]
        if parameterization.mixture.expert.is_hidden_unit:
            mixed = _along_curves(parameterization.mixture, block, response, mixed, generator)
        out.append(
            parameterization.free(from_shares(parameterization.mixture, block, response, mixed, generator, contrast))
        )
        kinds.append(kind)
    free = torch.stack(out)
    return torch.clamp(free, parameterization.lower, parameterization.upper), tuple(kinds)


def from_shares(
    mixture: Mixture,
    block: Block,
    response: Tensor,
    share: Tensor,
    generator: np.random.Generator,
    contrast: bool,
) -> Measure:
    """Return a measure to start from, given the share (L, n) of every row that each leaf should take."""
    leaf_weight = share * row_weights(block)
    gates = []
    for level, gate in enumerate(mixture.gates):
        below = leaf_weight.reshape(mixture.nodes(level), mixture.branching[level], -1, leaf_weight.shape[-1]).sum(2)
        inputs = block.gate_x if block.unit is None else block.gate_x[:, block.unit]
        params = gate.score.start(inputs, below)
        if contrast and gate.score.names("temperature"):
            params = _contrasted(gate.score, params, generator)
        gates.append({k: v.reshape(mixture.branching[:level] + v.shape[1:]) for k, v in params.items()})
    experts, spread = _expert_start(mixture.expert, block.x, response, leaf_weight, generator)
    q = response.shape[0]
    family = mixture.family.start(spread)
    return Measure(
        tuple(gates),
        {k: v.reshape(mixture.branching + (q,) + v.shape[2:]) for k, v in experts.items()},
        {k: v.reshape(mixture.branching + v.shape[1:]) for k, v in family.items()},
    )


def _expert_start(
    expert: Expert, x: Tensor, response: Tensor, leaf_weight: Tensor, generator: np.random.Generator
) -> tuple[dict[str, Tensor], Tensor]:
    """Return parameters (L, q, *shape) of experts and the residual spread (L, q) of the regressions behind them."""
    coefficients, spread = _regressions(expert.design(x), response, leaf_weight)

    def draw(shape: tuple[int, ...]) -> Tensor:
        return torch.from_numpy(generator.standard_normal(shape))

    return expert.start(x, response, leaf_weight, coefficients, draw), spread


def _along_curves(
    mixture: Mixture, block: Block, response: Tensor, share: Tensor, generator: np.random.Generator
) -> Tensor:
    """Return shares (L, n) after some rounds in which rows go to the drawn unit that explains them best.

    Planes do not follow what bends.
    """
    weight = row_weights(block)
    for _ in range(CURVES):
        experts, _ = _expert_start(mixture.expert, block.x, response, share * weight, generator)
        residual = ((response - mixture.expert(experts, block.x)) ** 2).sum(-2)
        label = _best_explained(residual, share * weight)
        firm = torch.nn.functional.one_hot(label, len(share)).T.to(share)
        share = FIRM * firm + (1 - FIRM) / len(share)
    return share


def _contrasted(score: Score, params: dict[str, Tensor], generator: np.random.Generator) -> dict[str, Tensor]:
    """Draw a temperature: one, a sharper one, or one so small that an activation works where it is straight."""
    sharp, small = ((1.0, 1.0), (0.25, 1.0), (0.05, 0.1))[int(generator.integers(3))]
    factor = dict.fromkeys(score.names("slope"), small) | dict.fromkeys(
        (*score.names("temperature"), score.bias()), sharp
    )
    return {name: value * factor.get(name, 1.0) for name, value in params.items()}


def _regressions(design: Tensor, response: Tensor, leaf_weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return least-squares coefficients (L, q, P) and residual standard deviations (L, q) for weights (L, n)."""
    found = regress(design, response, leaf_weight)
    each, mass = residual_spread(design, response, leaf_weight, found), leaf_weight.sum(-1, keepdim=True)
    whole = torch.sqrt((each**2 * mass).sum(0) / mass.sum().clamp_min(1e-12))
    return found, torch.maximum(each, 0.01 * whole).clamp_min(1e-8)


def given_starts(parameterization: Parameterization, measures: Sequence[Measure]) -> Tensor:
    """Return free coordinates (S, P) of measures given by the user, in working units."""
    free = torch.stack([parameterization.free(measure) for measure in measures])
    return torch.clamp(free, parameterization.lower, parameterization.upper)
