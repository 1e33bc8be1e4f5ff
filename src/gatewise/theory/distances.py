"""Distances between a fitted mixture and the truth as laws or as functions, averaged over the inputs.

Laws of one response are compared: densities by quadrature, counts and classes by sums over all values that either law
takes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gatewise.core.families import Family
from gatewise.core.mixture import (
    Measure,
    Mixture,
    leaf_family,
    leaf_predictors,
    leaf_weights,
    log_density,
    regression,
)
from gatewise.theory.inputs import Inputs, expectation, gauss, line_of

PANEL = 8  # Gauss-Legendre nodes of a panel
WIDE = 10.0  # scales from the outermost means to the ends of the panels
FINEST = 1.0  # scales of the narrowest expert in a panel
MOST = 400  # panels
DOUBLINGS = 60  # of the panels beyond, for heavy tails
TAIL = 1e-13  # mass of a law, and weight of an expert, that is left out
POINTS = 2**20  # pairs of an input and a response at once
SCAN, BISECTIONS = 2**12, 50  # of jumps of weights
LARGEST = 2**24  # pairs in all: counts that take more have no distance


class Distances(NamedTuple):
    """Averages over the inputs, both (S,): ``(E (1/2) int (sqrt p - sqrt q)^2)^(1/2)``, ``E (1/2) int |p - q|``."""

    hellinger: Tensor
    total_variation: Tensor


Gaps = Callable[[tuple["Law", "Law"], Tensor], Tensor]


class Law(NamedTuple):
    """A mixture with parameters, with a batch dimension of one."""

    mixture: Mixture
    measure: Measure


def why_not_compared(mixture: Mixture, truth_mixture: Mixture, outputs: int) -> str:
    """Return why laws of two mixtures have no distance here, in words; empty if they have one.

    Examples
    --------
    >>> from gatewise.core.families import Poisson
    >>> from gatewise.core.gates import GATES
    >>> counts, other = Mixture((GATES["softmax"],), (2,), family=Poisson()), Mixture((GATES["softmax"],), (2,))
    >>> why_not_compared(counts, other, 1)
    'Poisson() is a law of counts and Gaussian() is none: their distance is always one'
    """
    for one in (mixture, truth_mixture):
        if not one.normalised:
            return "the weights of a gate do not sum to one, so there is no density"
        for family in () if one.family.support(outputs) is not None else one.family.kinds():
            columns = outputs * family.columns(1)
            if columns != 1:
                return f"{family} has {columns} responses: laws of one response are compared"
            if not (family.discrete or family.location_scale):
                return f"{family} is neither of counts nor a location-scale family: its densities are not compared"
            if family.discrete and type(family).cdf is Family.cdf:
                return f"{family} has no cdf, which says how many counts to sum over"
        if one.family.discrete != any(family.discrete for family in one.family.kinds()):
            return f"{one.family} mixes counts and densities: its laws are not compared"
    classes = [one.family.support(outputs) is not None for one in (mixture, truth_mixture)]
    if classes[0] != classes[1]:
        return f"of {mixture.family} and {truth_mixture.family} one is a law of classes and the other is none"
    if mixture.family.discrete != truth_mixture.family.discrete:
        counts, other = sorted((mixture.family, truth_mixture.family), key=lambda family: not family.discrete)
        return f"{counts} is a law of counts and {other} is none: their distance is always one"
    return ""


def between_laws(
    mixture: Mixture, fitted: Measure, truth_mixture: Mixture, truth: Measure, inputs: Inputs
) -> Distances:
    """Return Hellinger and total variation distance of the laws of one response, or of one class.

    A density is integrated over panels as fine as the narrowest expert, from the least to the greatest mean, and for
    heavy tails over wider and wider panels beyond: the Hellinger distance to about eight digits in the response, total
    variation, whose integrand has a kink where the densities cross, to two or three. Counts are summed but for a mass
    of 1e-13 per expert, and all classes are. The means over the inputs are those of `inputs.expectation`.

    Parameters
    ----------
    fitted : Measure
        With one batch dimension (S, ...).
    truth : Measure
        Without batch.
    inputs : Inputs

    Returns
    -------
    Distances
        NaN where parameters are not finite, or counts are too large to be summed over.

    Raises
    ------
    ValueError
        For laws that are not compared, see `why_not_compared`.
    """
    fault = why_not_compared(mixture, truth_mixture, truth_mixture.outputs(truth))
    if fault:
        raise ValueError(fault)
    true = Law(truth_mixture, truth.map(lambda v: v.unsqueeze(0)))
    support = mixture.family.support(truth_mixture.outputs(truth))
    if support is not None:
        gaps: Gaps = partial(_gaps_of_classes, support)
    else:
        gaps = _gaps_of_counts if mixture.family.discrete else _gaps_of_densities
    found = []
    for s in range(fitted.members):
        laws = Law(mixture, fitted.map(lambda v, s=s: v[s : s + 1])), true
        square, variation = expectation(partial(gaps, laws), inputs, _bends(laws, inputs))
        found.append((square.sqrt(), variation))
    return Distances(*(torch.stack(part) for part in zip(*found, strict=True)))


def between_means(mixture: Mixture, fitted: Measure, truth_mixture: Mixture, truth: Measure, inputs: Inputs) -> Tensor:
    """Return ``(E ||f_G - f_G*||^2)^(1/2)`` of regressions (S,), for a fitted measure with one batch dimension."""
    true = Law(truth_mixture, truth.map(lambda v: v.unsqueeze(0)))

    def square(laws: tuple[Law, Law], x: Tensor) -> Tensor:
        one, other = (regression(*law, x, x)[0] for law in laws)
        return ((one - other) ** 2).sum(-2, keepdim=True)

    found = []
    for s in range(fitted.members):
        laws = Law(mixture, fitted.map(lambda v, s=s: v[s : s + 1])), true
        found.append(expectation(partial(square, laws), inputs, _bends(laws, inputs))[0].sqrt())
    return torch.stack(found)


def _bends(laws: tuple[Law, Law], inputs: Inputs) -> list[float]:
    """Return where laws of one input bend at the centers of gates, and where their weights jump."""
    line = line_of(inputs)
    if line is None:
        return []
    points: list[float] = []
    for law in laws:
        for gate, params in zip(law.mixture.gates, law.measure.gates, strict=True):
            names = gate.score.names("location") if gate.score.kinked() else ()
            points += [at for name in names for at in params[name].flatten().tolist()]
        if not all(gate.link.smooth for gate in law.mixture.gates):
            points += _jumps(law, line.low, line.high)
    return points


def _jumps(law: Law, low: float, high: float) -> list[float]:
    """Return where other weights become zero on an interval, by a scan and bisection."""

    def kept(x: Tensor) -> Tensor:
        return leaf_weights(*law, x[None])[0] > 0.0

    grid = torch.linspace(low, high, SCAN, dtype=torch.float64)
    jumps = (kept(grid).diff(dim=-1) != 0).any(0)
    left, right = grid[:-1][jumps], grid[1:][jumps]
    before = kept(left)
    for _ in range(BISECTIONS):
        middle = (left + right) / 2.0
        same = (kept(middle) == before).all(0)
        left, right = torch.where(same, middle, left), torch.where(same, right, middle)
    return left.tolist()


def _gaps(laws: tuple[Law, Law], x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``(sqrt p - sqrt q)^2`` and ``|p - q|`` at pairs x (d, n), y (c, n), in full digits where p is near q."""
    p, q = (log_density(*law, x, x, y)[0] for law in laws)
    top, gap = torch.maximum(p, q), torch.where(p == q, 0.0, (p - q).abs())
    root = torch.exp(0.5 * top) * torch.expm1(-0.5 * gap)
    return root * root, -torch.exp(top) * torch.expm1(-gap)


def _gaps_of_densities(laws: tuple[Law, Law], x: Tensor) -> Tensor:
    """Return halves of the integrals of `_gaps` over the response, (2, m)."""
    size = max(1, POINTS // (PANEL * MOST))
    return torch.cat([_integrals(laws, part) for part in x.split(size, -1)], -1)


def _integrals(laws: tuple[Law, Law], x: Tensor) -> Tensor:
    spreads = [_spread(law, x) for law in laws]
    means, scales = (torch.cat(part) for part in zip(*spreads, strict=True))
    low, high = (means - WIDE * scales).amin(0), (means + WIDE * scales).amax(0)
    fine = float(((high - low) / scales.amin(0)).max()) / FINEST
    panels = int(np.clip(np.ceil(fine), 8, MOST)) if fine < MOST else MOST  # of what is not finite too
    shares = torch.arange(panels + 1, dtype=torch.float64) / panels
    ends = low[:, None] + (high - low)[:, None] * shares
    wings = (high - low)[:, None] * (2.0 ** torch.arange(1.0, _doublings(laws, x, low, high) + 1.0) - 1.0)
    ends = torch.cat([(low[:, None] - wings).flip(-1), ends, high[:, None] + wings], -1)
    at, weight = (torch.from_numpy(part) for part in gauss(PANEL))
    width = ends.diff()[..., None]  # (m, panels, 1)
    y = (ends[:, :-1, None] + width * (at + 1.0) / 2.0).flatten(1)
    mass = (width * weight / 2.0).flatten(1)
    parts = _gaps(laws, x.repeat_interleave(y.shape[1], -1), y.flatten()[None])
    return torch.stack([0.5 * (mass * part.reshape(y.shape)).sum(-1) for part in parts])


def _spread(law: Law, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return means and scales (L, m) of the experts; standard deviations where the family has no scale."""
    mixture, measure = law
    eta, own = leaf_predictors(mixture, measure, x), leaf_family(mixture, measure)
    scale = mixture.family.variance(own, eta)[0, :, 0].sqrt()
    for name in mixture.family.names("scale"):
        scale = torch.fmin(scale, own[name][0].expand(len(scale), 1))
    return mixture.family.mean(own, eta)[0, :, 0], scale


def _doublings(laws: tuple[Law, Law], x: Tensor, low: Tensor, high: Tensor) -> int:
    """Return how often an interval has to be doubled on either side until no expert has mass beyond it."""
    for count in range(DOUBLINGS):
        reach = (2.0**count - 1.0) * (high - low)
        if all(_beyond(law, x, low - reach, high + reach) <= TAIL for law in laws):
            return count
    return DOUBLINGS


def _beyond(law: Law, x: Tensor, low: Tensor, high: Tensor) -> float:
    """Return the largest mass of an expert up to low (m,) or above high (m,), 0 for families that do not say.

    Experts whose weight at x is nothing in floats are left out.
    """
    mixture, measure = law
    eta, own = leaf_predictors(mixture, measure, x), leaf_family(mixture, measure)
    used = leaf_weights(mixture, measure, x)[0] > TAIL
    try:
        below, up_to = (mixture.family.cdf(own, y[None], eta)[0, :, 0] for y in (low, high))
    except NotImplementedError:
        return 0.0
    return float((torch.maximum(below, 1.0 - up_to) * used).max())


def _gaps_of_classes(support: Tensor, laws: tuple[Law, Law], x: Tensor) -> Tensor:
    """Return halves of the sums of `_gaps` over all responses of a support (c, k), (2, m)."""
    each = [torch.stack(_gaps(laws, x, y[:, None].expand(-1, x.shape[-1]))) for y in support.mT]
    return 0.5 * torch.stack(each).sum(0)


def _gaps_of_counts(laws: tuple[Law, Law], x: Tensor) -> Tensor:
    """Return halves of the sums of `_gaps` over the counts that either law takes, (2, m)."""
    begin, end = _windows(laws, x)
    length = end - begin
    found = x.new_zeros(2, x.shape[-1])
    if not float(length.sum()) <= LARGEST:
        return found + torch.nan
    length = length.long()
    row = torch.repeat_interleave(torch.arange(x.shape[-1]).expand_as(length).flatten(), length.flatten())
    start = torch.repeat_interleave(begin.flatten(), length.flatten())
    first = torch.repeat_interleave(length.flatten().cumsum(0) - length.flatten(), length.flatten())
    y = start + (torch.arange(len(row)) - first)
    for rows, counts in zip(row.split(POINTS), y.split(POINTS), strict=True):
        for total, part in zip(found, _gaps(laws, x[:, rows], counts[None]), strict=True):
            total.index_add_(0, rows, 0.5 * part)
    return found


def _windows(laws: tuple[Law, Law], x: Tensor) -> tuple[Tensor, Tensor]:
    """Return ranges of counts [begin, end), disjoint at every input, (W, m), that hold the mass of all experts."""
    lows, highs = (torch.cat(part) for part in zip(*(count_ranges(law, x) for law in laws), strict=True))
    begin, order = lows.sort(0)
    end = highs.gather(0, order).cummax(0).values
    begin = torch.maximum(begin, torch.cat([begin[:1], end[:-1]]))
    return begin, torch.maximum(begin, end)


def count_ranges(law: Law, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the counts [low, high) that hold every expert's mass but for `TAIL`, (L, m); none of experts out of use.

    They begin as wide as those of a Poisson law (Bernstein's inequality) and are widened until the cdf says so.
    """
    mixture, measure = law
    family = mixture.family
    eta, own = leaf_predictors(mixture, measure, x), leaf_family(mixture, measure)
    mean, variance = family.mean(own, eta)[0, :, 0], family.variance(own, eta)[0, :, 0]
    used = leaf_weights(mixture, measure, x)[0] > TAIL
    reach = 10.0 + (100.0 + 60.0 * variance).sqrt()
    for _ in range(DOUBLINGS):
        low, high = (mean - reach).floor().clamp_min(0.0), (mean + reach).ceil()
        below, up_to = (family.cdf(own, y[:, None], eta)[0, :, 0] for y in (low - 1.0, high))
        wider = used & (torch.maximum(below, 1.0 - up_to) > TAIL)
        if not bool(wider.any()):
            break
        reach = torch.where(wider, 2.0 * reach, reach)
    return torch.where(used, low, 0.0), torch.where(used, high + 1.0, 0.0)
