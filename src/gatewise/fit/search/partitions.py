"""Asymmetric guesses of who belongs to which leaf: a label for every row.

Kinds, in turn: `planes` (regressions grown from neighbourhoods, rows going to the closest plane), `clusters` (k-means
on inputs and response), `subsets` (planes grown from random small subsets), `sharp` (planes that a part of the rows
lies on closely, found one after the other: narrow optima that averages of rows never start near); where the family is
robust also `trimmed` (such planes, and rows far from all of them belong to none). Draws depend on the weighted set of
rows, not on their order: weight two equals a row twice.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from gatewise.core.experts import Expert
from gatewise.core.regression import regress
from gatewise.objective.rows import Block


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


class Cloud:
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


def _settle(cloud: Cloud, share: Tensor, rounds: int) -> Tensor:
    """Alternate between planes and rows going to the plane that explains them best; returns labels (n,)."""
    leaves = len(share)
    label = torch.zeros(share.shape[-1], dtype=torch.long)
    for _ in range(rounds):
        residual = cloud.residual(cloud.regress(share))
        label = best_explained(residual, share * cloud.weight)
        share = torch.nn.functional.one_hot(label, leaves).T.to(torch.float64)
        empty = (share @ cloud.weight) < cloud.design.shape[0]
        if bool(empty.any()):
            worst = torch.where(cloud.weight > 0, residual.amin(0), -1.0)
            for leaf in empty.nonzero()[:, 0].tolist():
                far = cloud.x[:, int(worst.argmax())]
                share[leaf] = cloud.nearest(cloud.x, far, 2.0 * cloud.design.shape[0])
                worst = torch.where(share[leaf] > 0, -1.0, worst)
    return label


def best_explained(residual: Tensor, leaf_weight: Tensor) -> Tensor:
    """Return the leaf (n,) of every row by squared residuals (L, n), given the weights (L, n) behind these."""
    spread = ((leaf_weight * residual).sum(-1) / leaf_weight.sum(-1).clamp_min(1e-12)).clamp_min(1e-6)
    spread = 0.5 * (spread + spread.mean())
    return (residual / spread[:, None] + torch.log(spread)[:, None]).argmin(0)


def _planes(cloud: Cloud, leaves: int, generator: np.random.Generator) -> Tensor:
    wanted = max(2.0 * cloud.design.shape[0], cloud.total / (generator.uniform(1.0, 4.0) * leaves))
    centers = _spread(cloud, cloud.x, leaves, generator)
    share = torch.stack([cloud.nearest(cloud.x, cloud.x[:, i], wanted) for i in centers.tolist()])
    return _settle(cloud, share, int(generator.integers(2, 8)))


def _subsets(cloud: Cloud, leaves: int, generator: np.random.Generator) -> Tensor:
    size = cloud.design.shape[0] + 1
    share = torch.zeros(leaves, len(cloud.weight), dtype=torch.float64)
    for leaf in range(leaves):
        picked = cloud.draw(generator, size)
        share[leaf, picked] = 1.0 / cloud.weight[picked].clamp_min(1e-300)  # each counts once
    return _settle(cloud, share, int(generator.integers(3, 10)))


def _clusters(cloud: Cloud, leaves: int, generator: np.random.Generator) -> Tensor:
    space = torch.cat([cloud.x, generator.uniform(0.3, 3.0) * cloud.y], 0)
    centers = space[:, _spread(cloud, space, leaves, generator)]
    label = torch.zeros(space.shape[-1], dtype=torch.long)
    for _ in range(10):
        label = ((space.unsqueeze(-1) - centers.unsqueeze(-2)) ** 2).sum(0).argmin(-1)
        share = torch.nn.functional.one_hot(label, leaves).T.to(torch.float64) * cloud.weight
        mass = share.sum(-1)
        centers = torch.where(mass > 0, (space @ share.T) / mass.clamp_min(1e-12), centers)
    return label


def _spread(cloud: Cloud, space: Tensor, count: int, generator: np.random.Generator) -> Tensor:
    """Draw `count` rows far from each other (k-means++)."""
    picked = [cloud.draw(generator, 1)]
    far = torch.full((space.shape[-1],), torch.inf, dtype=torch.float64)
    for _ in range(count - 1):
        far = torch.minimum(far, ((space - space[:, picked[-1]]) ** 2).sum(0))
        mass = cloud.weight * far
        picked.append(cloud.draw(generator, 1, mass if float(mass.sum()) > 0 else None))
    return torch.cat(picked)


def _sharp(cloud: Cloud, leaves: int, generator: np.random.Generator) -> Tensor:
    left = cloud.weight.clone()
    label = torch.zeros(len(left), dtype=torch.long)
    for leaf in range(leaves - 1):
        member = _closest_plane(cloud, left, leaves - leaf, generator)
        label[member] = leaf + 1
        left = torch.where(member, 0.0, left)
    return label


def _trimmed(cloud: Cloud, leaves: int, generator: np.random.Generator) -> Tensor:
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


def _closest_plane(cloud: Cloud, left: Tensor, parts: int, generator: np.random.Generator, most: float = 1.2) -> Tensor:
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


KINDS: dict[str, Callable[[Cloud, int, np.random.Generator], Tensor]] = {
    "planes": _planes,
    "clusters": _clusters,
    "subsets": _subsets,
    "sharp": _sharp,
    "trimmed": _trimmed,
}
CYCLE = ("planes", "clusters", "subsets", "sharp")
ROBUST = ("trimmed", *CYCLE)
PLANES = 64  # minimal subsets tried for one sharp plane
