"""Predictions of a fitted mixture: distribution function, quantiles, intervals, and sums over responsibilities.

Functions take ``(mixture, measure, x, gate_x, ...)`` with rows last and a measure without batch. `in_blocks` applies
them to rows that need not be in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from gatewise.core.mixture import (
    Measure,
    Mixture,
    leaf_family,
    leaf_log_weights,
    leaf_predictors,
    mixed,
    require_density,
)
from gatewise.fit.arguments import probability
from gatewise.fit.torch_state import standard_torch
from gatewise.objective import squares, terms
from gatewise.objective.accumulate import accumulate
from gatewise.objective.columns import Columns
from gatewise.objective.rows import Block, Rows, block_size

DOUBLINGS = 1100  # widenings of a bracket: more than the range of floats
HALVINGS = 2200  # bisections: more than there are between any two floats
NUMBERS = torch.finfo(torch.float64).max  # the largest number
LARGEST = 1e300  # end of a first bracket: it is widened beyond that only for leaves that have weight there


class LeafPredictions(NamedTuple):
    """The leaves of a mixture at a block of rows: weights (L, n), predictors (L, q, n), parameters of the family."""

    weights: Tensor
    eta: Tensor
    own: dict[str, Tensor]


def leaves_at(
    mixture: Mixture, measure: Measure, x: Tensor, gate_x: Tensor, offset: Tensor | None = None
) -> LeafPredictions:
    """Return weights and predictors of every leaf at x ``(d, n)``, with the offset ``(q, n)`` of the rows.

    Raises
    ------
    ValueError
        If the leaf weights are not a distribution.
    """
    if not mixture.family.has_density:
        raise TypeError(
            "a least-squares fit has no distribution, so no quantiles or intervals: fit with maximum likelihood"
        )
    require_density(mixture)
    weights = leaf_log_weights(mixture, measure, gate_x).exp()
    return LeafPredictions(weights, leaf_predictors(mixture, measure, x, offset), leaf_family(mixture, measure))


@standard_torch()
def in_blocks(function: Callable[..., Tensor], width: int, *parts: Columns) -> Tensor:
    """Apply a function of blocks ``(d, m), (g, m), ...`` to all rows and join its results on their last dimension.

    Parameters
    ----------
    function : callable
    width : int
        Numbers per row in the largest temporary of `function`; it sets the block size only.
    parts : Columns
        Read side by side, `parts[0]` saying how many rows there are.

    Examples
    --------
    >>> from gatewise.objective.columns import columns
    >>> in_blocks(lambda x: x.sum(0), 1, columns([[1.0, 2.0], [3.0, 4.0]]))
    tensor([3., 7.], dtype=torch.float64)
    """
    n = parts[0].shape[0]
    size = block_size(width)
    pieces = [function(*(part.read(i, min(i + size, n)) for part in parts)) for i in range(0, n, size)]
    return torch.cat(pieces, -1)


@standard_torch()
def cdf(mixture: Mixture, measure: Measure, x: Tensor, gate_x: Tensor, y: Tensor) -> Tensor:
    """Return ``F(y_j | x) = sum_k pi_k(x) F_k(y_j | x)`` of every output, ``(q, n)``.

    Examples
    --------
    >>> from gatewise.core.gates import GATES
    >>> mixture = Mixture((GATES["constant"],), (2,))
    >>> zero = torch.zeros(2, 1, dtype=torch.float64)
    >>> experts = {"coef": zero[..., None], "intercept": torch.tensor([[-1.0], [1.0]], dtype=torch.float64)}
    >>> measure = Measure(({"bias": zero[:, 0]},), experts, {"scale": zero + 1.0})
    >>> at = torch.zeros(1, 1, dtype=torch.float64)
    >>> round(float(cdf(mixture, measure, at, at, at)), 12)
    0.5
    """
    return _mixed(mixture, leaves_at(mixture, measure, x, gate_x), y)


def _mixed(mixture: Mixture, at: LeafPredictions, y: Tensor) -> Tensor:
    """Return the distribution function at y ``(*m, q, n)``."""
    below = mixture.family.cdf(at.own, y.unsqueeze(-3), at.eta)
    return mixed(at.weights, below)


@standard_torch()
def quantiles(
    mixture: Mixture, measure: Measure, x: Tensor, gate_x: Tensor, levels: Tensor, offset: Tensor | None = None
) -> Tensor:
    """Return the quantiles ``inf {y: F(y) >= level}`` of every output, ``(m, q, n)`` for levels ``(m,)``.

    Found by bisection of one bracket for all levels, so that quantiles never cross. A quantile above the largest
    number is infinite.

    Raises
    ------
    ValueError
        If a level is not between 0 and 1.
    """
    if not bool(((levels > 0) & (levels < 1)).all()):
        raise ValueError(f"quantile levels {levels.tolist()}: give numbers strictly between 0 and 1")
    at = leaves_at(mixture, measure, x, gate_x, offset)
    wanted = levels[:, None, None]
    low, high, fine = _bracket(mixture, at, levels)
    shape = (len(levels), *low.shape)
    low, high = low.expand(shape), high.expand(shape)
    beyond = _mixed(mixture, at, high) < wanted  # a leaf beyond all numbers has weight
    for _ in range(HALVINGS):
        middle = 0.5 * low + 0.5 * high
        middle = torch.floor(middle) if mixture.family.discrete else middle
        open_ = (middle > low) & (middle < high) & (high - low > fine)
        if not bool(open_.any()):
            break
        enough = _mixed(mixture, at, middle) >= wanted
        high = torch.where(open_ & enough, middle, high)
        low = torch.where(open_ & ~enough, middle, low)
    return torch.where(beyond, torch.inf, high)


def _bracket(mixture: Mixture, at: LeafPredictions, levels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return low and high ``(q, n)``, ``F(low) < min level`` and ``F(high) >= max level``, and a small width.

    Both are numbers: where no number is high enough, high is the largest one.
    """
    center = mixture.family.mean(at.own, at.eta)
    center = torch.where(center.abs() < LARGEST, center, at.eta)  # one that overflows: see finite_exp
    spread = _spread(mixture, at, center)
    step = 4.0 * torch.maximum(spread, 1e-15 * center.abs()).amax(-3)  # at least to a neighbouring float
    low, high = _finite((center - 4.0 * spread).amin(-3)), _finite((center + 4.0 * spread).amax(-3))
    if mixture.family.discrete:
        low, high = torch.full_like(low, -1.0), torch.ceil(high).clamp_min(1.0)
    for _ in range(DOUBLINGS):
        short = (_mixed(mixture, at, high) < levels.max()) & (high < NUMBERS)
        over = torch.zeros_like(short) if mixture.family.discrete else _mixed(mixture, at, low) >= levels.min()
        if not bool((short | over).any()):
            break
        high = torch.where(short, high + (torch.ceil(step) if mixture.family.discrete else step), high)
        low = torch.where(over, low - step, low)
        low, high = low.clamp_min(-NUMBERS), high.clamp_max(NUMBERS)
        step = 2.0 * step
    return low, high, torch.zeros_like(step) if mixture.family.discrete else 1e-14 * spread.amin(-3)


def _finite(end: Tensor) -> Tensor:
    """Return the end of a first bracket within `LARGEST`: a leaf of no weight may lie beyond it."""
    return end.clamp(-LARGEST, LARGEST)


def _spread(mixture: Mixture, at: LeafPredictions, center: Tensor) -> Tensor:
    """Return a positive size ``(L, q, n)`` of every leaf's law: standard deviation, else scale, else its mean."""
    scale = [at.own[name][..., None].expand_as(center) for name in mixture.family.names("scale")]
    spread = torch.zeros_like(center)
    for size in (torch.sqrt(mixture.family.variance(at.own, at.eta)), *scale, center.abs().clamp_min(1.0)):
        spread = torch.where(spread.isfinite() & (spread > 0), spread, size)
    return spread


@standard_torch()
def interval(
    mixture: Mixture, measure: Measure, x: Tensor, gate_x: Tensor, level: float, offset: Tensor | None = None
) -> Tensor:
    """Return the equal-tailed prediction interval ``(2, q, n)`` that holds y with probability `level`.

    Raises
    ------
    ValueError
        If the level is not between 0 and 1.
    """
    level = probability("level", level)
    tails = torch.tensor([0.5 * (1 - level), 0.5 * (1 + level)], dtype=torch.float64)
    return quantiles(mixture, measure, x, gate_x, tails, offset)


class Shares(NamedTuple):
    """Sums of the responsibilities over rows.

    Attributes
    ----------
    entropy : float
        ``- sum_u w_u sum_k r_uk log r_uk`` over independent units.
    totals : Tensor (L,)
        Weighted sum of each leaf's responsibilities over rows.
    """

    entropy: float
    totals: Tensor


def shares(mixture: Mixture, measure: Measure, rows: Rows) -> Shares:
    """Return entropy and totals of the responsibilities of all rows, block by block; of weights without a density."""
    batch = measure.map(lambda value: value.unsqueeze(0))
    with standard_torch(rows.n):
        if not mixture.family.has_density:
            (totals,) = accumulate(squares.mass, mixture, batch, rows, 4 * mixture.n_leaves)
            return Shares(float("nan"), totals[0])
        entropy, totals = accumulate(_shares, mixture, batch, rows, 4 * mixture.n_leaves)
        return Shares(float(entropy[0]), totals[0])


def _shares(mixture: Mixture, measure: Measure, block: Block) -> tuple[Tensor, ...]:
    leaf = terms.unit_responsibilities(mixture, measure, block)
    entropy = terms.apply_weights(torch.special.entr(leaf).sum(-2), block.weight)
    return entropy.sum(-1), terms.rows_from_units(terms.apply_weights(leaf, block.weight), block).sum(-1)
