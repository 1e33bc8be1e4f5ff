"""Starts: guesses of who belongs to which leaf (`partitions`), turned into measures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gatewise.core.experts import Expert
from gatewise.core.mixture import Measure, Mixture
from gatewise.core.regression import regress, residual_spread
from gatewise.core.scores import Score
from gatewise.fit.search.partitions import CYCLE, KINDS, ROBUST, Cloud, best_explained, row_weights
from gatewise.objective.parameterization import Parameterization
from gatewise.objective.rows import Block, Rows

FEW = 2000  # units a start is drawn from and searched on
CURVES, FIRM = 3, 0.9  # rounds in which rows go to units that bend, and the share they give to one


def seeds(seed: int | None, roles: int) -> list[np.random.Generator]:
    """Return one generator per role, spawned from a seed."""
    return [np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(roles)]


def subsample(rows: Rows, generator: np.random.Generator, few: int = FEW) -> Rows:
    """Return at most `few` units of the rows, drawn without replacement; all of them when there are no more."""
    if rows.n_units <= few:
        return rows
    picked = np.sort(generator.choice(rows.n_units, few, replace=False))
    if not rows.weighted:
        return rows.take(torch.from_numpy(picked))
    shares = torch.from_numpy((np.arange(few) + generator.random()) / few)
    index, counts = torch.unique(rows.at_mass(shares), return_counts=True)
    out = rows.take(index)
    return replace(out, weight=counts.to(torch.float64))


def response_of(mixture: Mixture, block: Block) -> Tensor:
    """Return the response on the scale of the experts, what is known of it (the offset) taken away, ``(q, n)``."""
    response = mixture.family.working_response(block.y)
    return response if block.offset is None else response - block.offset


def draw_starts(
    parameterization: Parameterization,
    rows: Rows,
    count: int,
    generator: np.random.Generator,
    contrast: bool = True,
    late: Callable[[], bool] = lambda: False,
) -> tuple[Tensor, tuple[str, ...]]:
    """Return free coordinates (S, P) of `count` starts drawn from rows in working units, and the kind of each.

    Parameters
    ----------
    contrast : bool
        Whether temperatures are drawn too; without it they start at one.
    late : callable () -> bool
        Whether the time is up: then no start is drawn after the first.
    """
    mixture = parameterization.mixture
    block = rows.read(0, rows.n_units)
    response = response_of(mixture, block)
    cloud = Cloud(block, response, mixture.expert)
    own = own_shares(mixture, block)
    out: list[Tensor] = []
    kinds: list[str] = []
    cycle = ROBUST if mixture.family.robust else CYCLE
    for i in range(count):
        if out and late():
            break
        kind = cycle[i % len(cycle)]
        mixed = own.among(_drawn_share(cloud, kind, len(own.drawn), generator))
        if mixture.expert.is_hidden_unit:
            mixed = _along_curves(mixture, block, response, mixed, own, generator)
        out.append(parameterization.free(from_shares(mixture, block, response, mixed, generator, contrast)))
        kinds.append(kind)
    free = torch.stack(out) if out else torch.zeros(0, parameterization.size, dtype=torch.float64)
    return parameterization.inside(free), tuple(kinds)


def _drawn_share(cloud: Cloud, kind: str, leaves: int, generator: np.random.Generator) -> Tensor:
    """Return shares (L, n) of the rows, in the order in which they were given, for leaves in a random order."""
    label = KINDS[kind](cloud, leaves, generator)
    share = torch.nn.functional.one_hot(label.clamp_min(0), leaves).T.to(torch.float64)
    firmness = generator.uniform(0.7, 0.98) if kind not in ("sharp", "trimmed") else 1 - 1e-6
    share = firmness * share + (1 - firmness) / leaves
    share = torch.where(label < 0, 0.0, share)
    back = torch.empty_like(share)
    back[:, cloud.order] = share
    return back[torch.from_numpy(generator.permutation(leaves))]


class OwnShares(NamedTuple):
    """The leaves whose shares are drawn, and the shares (L, n) of those whose law has one (`Family.start_share`)."""

    drawn: Tensor
    share: Tensor

    def among(self, drawn: Tensor) -> Tensor:
        """Return the shares (L, n) of all leaves when those that are drawn divide what is left."""
        if len(self.drawn) == len(self.share):
            return drawn
        share = self.share.clone()
        share[self.drawn] = drawn * (1 - self.share.sum(0))
        return share


def own_shares(mixture: Mixture, block: Block) -> OwnShares:
    """Return which leaves begin with shares of their own; several of one kind take equal parts."""
    laws, weight, y = mixture.family.kinds(), row_weights(block), mixture.family.observed(block.y)
    known = [law.start_share(y, weight) for law in laws]
    branch = torch.arange(mixture.n_leaves) % len(laws)
    parts = [weight.new_zeros(len(weight)) if one is None else one * len(laws) / mixture.n_leaves for one in known]
    named = torch.tensor([one is not None for one in known], dtype=torch.bool)[branch]
    return OwnShares((~named).nonzero()[:, 0], torch.stack(parts)[branch])


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
    mixture: Mixture, block: Block, response: Tensor, share: Tensor, own: OwnShares, generator: np.random.Generator
) -> Tensor:
    """Return shares (L, n) after some rounds in which rows go to the drawn unit that explains them best.

    Planes do not follow what bends.
    """
    weight = row_weights(block)
    for _ in range(CURVES):
        experts, _ = _expert_start(mixture.expert, block.x, response, share * weight, generator)
        residual = ((response - mixture.expert(experts, block.x)) ** 2).sum(-2)
        label = best_explained(residual[own.drawn], (share * weight)[own.drawn])
        firm = torch.nn.functional.one_hot(label, len(own.drawn)).T.to(share)
        share = own.among(FIRM * firm + (1 - FIRM) / len(own.drawn))
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
    return parameterization.inside(free)
