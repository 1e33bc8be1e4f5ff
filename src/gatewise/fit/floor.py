"""The floor of standard deviations, and how many rows an expert with a small scale needs.

The likelihood of a Gaussian mixture has no maximum: it grows without limit as one expert shrinks onto rows that it fits
exactly. The floor keeps every scale positive, far below the noise of any data; whether a small scale is a collapse is
decided by the rows behind it (`rows_needed`). So it is for laws of positive numbers and of shares, without a floor.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, lgamma, log
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gatewise.core.families import Family
from gatewise.core.mixture import Measure, Mixture, leaf_family
from gatewise.fit.arguments import positive
from gatewise.fit.frames import moments, row_weights
from gatewise.objective.columns import Columns
from gatewise.objective.rows import READ, Rows, extremes

OF_SPREAD = 1e-6  # floor, of the robust spread of the residuals
OF_SQUARES = 1e-3  # the same where the family works with a covariance, whose entries have half the digits
OF_STEP = 12.0**-0.5  # floor, of the step that a response is rounded to: the standard deviation of the rounding error
OF_RANGE = 1e-8  # floor, of the largest deviation from the median: below, double precision loses the gradient
GIVEN = "given as min_scale"
FAR_OFF = "next to which the other values lose all digits"
SMALL, PER_SMALL = 0.03, 3  # of the spread, or of the widest scale: a smaller scale needs 3 rows per parameter,
TINY = 0.01  # and below this share it needs many rows
PER_PARAMETER = 10  # times parameters of an expert plus one: rows that are many, whatever the scale
ROUNDING = 2.0**-46  # relative rounding of a double, with some room
SEEN = 2**17  # rows that medians and steps are taken of
KEPT = 2000  # rows that the robust planes are fitted to
ROUNDS = 20  # of reweighting
LATTICE = 1e-3  # share of a step by which rounded values may miss it


class Floor(NamedTuple):
    """The least standard deviation of each response.

    Attributes
    ----------
    value : Tensor (q,)
        Lower bound of a standard deviation, in the units of the data.
    tiny : Tensor (q,)
        A scale below this needs many rows; -inf where the user gave the floor.
    cause : tuple of str
        What set the floor of each response, in words.
    """

    value: Tensor
    tiny: Tensor
    cause: tuple[str, ...]

    def text(self) -> str:
        """Return values and causes in words."""
        return "; ".join(dict.fromkeys(f"{v:.3g}, {c}" for v, c in zip(self.value.tolist(), self.cause, strict=True)))


def scale_floor(rows: Rows, min_scale: float | Tensor | Floor | None, family: Family) -> Floor:
    """Return the floor of the standard deviation of each response.

    Unless given it is the largest of ``1e-6 spread`` (with a full covariance ``1e-3 spread``), ``step / sqrt(12)`` and
    ``1e-8 range``. The spread is 1.4826 times the median absolute residual from the plane of least absolute deviations;
    the step is the one that all values of the response are multiples of, apart from a shift (none for values that were
    not rounded); the range is the largest deviation from the median. All three belong to the weighted set of rows and
    have the units of the response. Of more than 131,072 rows the range is that of all, the others are those of so many,
    equal steps apart.

    Raises
    ------
    ValueError
        If a given floor is not positive.
    """
    q = rows.y.shape[1]
    if isinstance(min_scale, Floor):
        return min_scale
    if min_scale is not None:
        value = positive("min_scale", min_scale, (q,), f"give a positive number, or one per column of y ({q})")
        return Floor(value, torch.full_like(value, -inf), (GIVEN,) * q)
    ends = extremes(rows)
    rows = rows.sample(SEEN)
    y, weight = _responses(rows)
    known = 0.0 if rows.offset is None else rows.offset.read(0, rows.n)
    spread = residual_spread(*_representatives(rows, y - known, weight))
    share = OF_SQUARES if family.names("covariance") else OF_SPREAD
    parts = [_floor_of(one, weight, float(s), share, end) for one, s, end in zip(y, spread, ends, strict=True)]
    values, tiny, causes = zip(*parts, strict=True)
    return Floor(torch.tensor(values, dtype=torch.float64), torch.tensor(tiny, dtype=torch.float64), causes)


def least_floor(floors: list[Floor]) -> Floor:
    """Return the floor of several data sets that are fitted in one batch: the least of each response."""
    value = torch.stack([floor.value for floor in floors]).amin(0)
    return Floor(value, torch.stack([floor.tiny for floor in floors]).amin(0), floors[0].cause)


def _floor_of(
    y: Tensor, weight: Tensor | None, spread: float, share: float, ends: tuple[float, float]
) -> tuple[float, float, str]:
    """Return floor, tiny scale and cause of one response (n,), the ends of which are known."""
    seen, mass = (y, None) if weight is None else (y[weight > 0], weight[weight > 0])
    step = rounding_step(seen)
    middle = _middle(seen, mass)
    away = (seen - middle).abs()
    largest, usual = float((seen.new_tensor(ends) - middle).abs().max()), float(_middle(away, mass))
    digits = FAR_OFF if 0 < usual < OF_SPREAD * largest else "for double precision"
    found = {
        f"{100 * share:g} % of the spread {spread:.3g} of the residuals from a robust plane": share * spread,
        f"the rounding error of a response in steps of {step:.3g}": OF_STEP * step,
        f"1e-8 of the largest deviation {largest:.3g} from the median, {digits}": OF_RANGE * largest,
        "1e-8 of the constant response": OF_RANGE * (max(map(abs, ends)) or 1.0) if largest == 0 else 0.0,
    }
    cause, value = max(found.items(), key=lambda item: item[1])
    return value, TINY * max(spread, value), cause


def _responses(rows: Rows) -> tuple[Tensor, Tensor | None]:
    """Return responses (q, n) and the weight of every row."""
    n = rows.n
    y = torch.cat([rows.y.read(start, min(start + READ, n)) for start in range(0, n, READ)], -1)
    return y, row_weights(rows.weight, rows.ends)


def _representatives(rows: Rows, y: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return inputs (d, m), responses (q, m) and weights (m,): all rows, or equal steps through the sorted response."""
    n = y.shape[-1]
    mass = y.new_ones(n) if weight is None else weight
    if n <= KEPT:
        return _distinct(rows.x.read(0, n), y, mass)
    order = torch.argsort(y[0], stable=True)
    total = mass[order].cumsum(0)
    points = (torch.arange(KEPT, dtype=torch.float64) + 0.5) / KEPT * total[-1]
    chosen, counts = torch.unique(order[torch.searchsorted(total, points).clamp(max=n - 1)], return_counts=True)
    return rows.x.take(chosen), y[:, chosen], counts.to(torch.float64)


def _distinct(x: Tensor, y: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the distinct rows in an order of their own, with the sum of the weights of each; none of weight zero.

    Twenty rounds of reweighting make 1e-7 of a rounding error: so sums must not depend on how rows were given.
    """
    counted = weight > 0
    found, place = torch.unique(torch.cat([x, y])[:, counted], dim=1, return_inverse=True)
    mass = weight.new_zeros(found.shape[1]).index_add_(0, place, weight[counted])
    return found[: len(x)], found[len(x) :], mass


def residual_spread(x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """Return 1.4826 times the median absolute residual (q,) from the plane of least absolute deviations.

    Where more than half of the residuals are zero it is their mean, times 1.2533: both are the standard deviation of
    Gaussian residuals.

    Parameters
    ----------
    x : Tensor (d, n)
    y : Tensor (q, n)
    weight : Tensor (n,)
    """
    frame = moments(Columns(x), weight, None)
    design = torch.cat([(x - frame.shift[:, None]) / frame.scale[:, None], torch.ones_like(x[:1])])
    away = torch.stack([one - _middle(one, weight) for one in y])
    size = away.abs().amax(-1)
    size = torch.where((size > 0) & size.isfinite(), size, 1.0)  # squares of large values would overflow
    return size * torch.tensor([_spread(design, one, weight) for one in away / size[:, None]], dtype=torch.float64)


def _spread(design: Tensor, y: Tensor, weight: Tensor) -> float:
    """Return the robust spread of one response (n,) about a plane, by iteratively reweighted least squares."""
    residual, best = y, float(y.abs() @ weight)
    for _ in range(ROUNDS):
        least = 1e-4 * best / float(weight.sum())
        if not least > 0:
            break
        root = (weight / residual.abs().clamp_min(least)).sqrt()
        plane = torch.linalg.lstsq((design * root).T, (y * root)[:, None], driver="gelsd").solution[:, 0]
        trial = y - plane @ design
        total = float(trial.abs() @ weight)
        if not total < best * (1 - 1e-6):
            break
        residual, best = trial, total
    size = residual.abs()
    middle = float(_middle(size, weight))
    return 1.4826 * middle if middle > 0 else 1.2533 * best / float(weight.sum())


def _middle(values: Tensor, weight: Tensor | None) -> Tensor:
    """Return the weighted median: the mean of the lower and the upper one."""
    if weight is None:
        ends = [(len(values) - 1) // 2, len(values) // 2]
        return torch.from_numpy(np.partition(values.numpy(), ends)[ends]).mean()
    order = torch.argsort(values, stable=True)
    total = weight[order].cumsum(0)
    half = 0.5 * total[-1] * torch.tensor([1 - 1e-12, 1 + 1e-12], dtype=torch.float64)
    return values[order][torch.searchsorted(total, half).clamp(max=len(values) - 1)].mean()


def rounding_step(values: Tensor) -> float:
    """Return the largest step that all differences of values (n,) are multiples of; 0 for values not rounded.

    Examples
    --------
    >>> round(rounding_step(torch.tensor([0.3, 0.9, 2.1, 3.3], dtype=torch.float64)), 9)
    0.6
    >>> rounding_step(torch.tensor([0.3, 1.0, 2.2, 2.2 + 2**-0.5, 5.0, 6.1], dtype=torch.float64))
    0.0
    """
    if len(values) > KEPT:
        few = _gaps(values[:KEPT])
        if len(few) >= 3 and _common_step(few) == 0.0:
            return 0.0  # what is no lattice does not become one by further values
    return _common_step(_gaps(values))


def _gaps(values: Tensor) -> Tensor:
    """Return the differences of values (n,) next to each other in size, without those of rounding."""
    gaps = torch.from_numpy(np.unique(values.numpy())).diff()
    return gaps[gaps > ROUNDING * values.abs().max()]


def _common_step(gaps: Tensor) -> float:
    """Return the largest step that at least three gaps are multiples of, or 0."""
    if len(gaps) < 3:
        return 0.0
    step, least = float(gaps.min()), OF_SPREAD * float(gaps.sum())
    while step > least:
        left = (gaps - step * torch.round(gaps / step)).abs()
        if not bool((left > LATTICE * step).any()):
            return step
        step = float(left[left > LATTICE * step].min())
    return 0.0


def many_rows(n: float, parameters: float, share: float = TINY) -> int:
    """Return how many of n rows chance does not place within a share of the spread about one plane.

    The smallest m with ``-(m - parameters - 1) log share >= log C(n, m)``: of the C(n, m) sets of m rows fewer than one
    in 1 / share is expected so close to a plane through `parameters` of them. At most ten rows per parameter and one.
    """
    most = round(PER_PARAMETER * (parameters + 1))
    for m in range(int(parameters) + 1, most):
        choices = lgamma(n + 1) - lgamma(m + 1) - lgamma(n - m + 1) if m < n else 0.0
        if (m - parameters - 1) * -log(share) >= choices:
            return m
    return most


def narrow_spread(rows: Rows, family: Family) -> Tensor | None:
    """Return one hundredth of the spread (q,) of the working response about one robust plane; None: of no use.

    For laws of positive numbers and shares: their logarithm or logit stands for the response of `scale_floor`.
    """
    q = family.outputs(rows.y.shape[1])
    ones = {name: torch.ones(1, *spec.shape, dtype=torch.float64) for name, spec in family.parameters(q).items()}
    if family.relative_spread(ones) is None:
        return None
    rows = rows.sample(SEEN)
    y, weight = _responses(rows)
    known = 0.0 if rows.offset is None else rows.offset.read(0, rows.n)
    return TINY * residual_spread(*_representatives(rows, family.working_response(y) - known, weight))


class Scales(NamedTuple):
    """Where scales are small: a hundredth of the spread by path, or on the scale of the predictor (q,)."""

    tiny: Mapping[str, Tensor]
    narrow: Tensor | None


def rows_needed(mixture: Mixture, measure: Measure, scales: Scales, least: Tensor, n: float) -> Tensor:
    """Return how many rows (S, L) each expert needs: `least`, more where its scale is small, many where it is tiny.

    Small is a scale below 3 %, tiny one below 1 % of the spread or of the widest expert's scale: on few rows it is one
    that chance finds, not one that the data have.

    Parameters
    ----------
    scales : Scales
        One hundredth of the spread for each entry of a scale; -inf for entries that are none.
    least : Tensor (L,)
        Parameters of every expert, per output, plus one.
    n : sum of the weights
    """
    share, parameters = relative_scales(mixture, measure, scales), least - 1
    few = torch.where(share < SMALL, torch.maximum(least, torch.round(PER_SMALL * parameters)), least)
    many = least.new_tensor([many_rows(n, each) for each in parameters.tolist()])
    return torch.where(share < TINY, torch.maximum(least, many), few)


def rows_beyond_chance(share: float, parameters: float, n: float) -> int:
    """Return how many of n rows an expert of so small a relative scale needs, not to be one that chance finds; or 0.

    `many_rows` for its own share in place of one hundredth; 0 for a scale that is not small (3 % or more). Stricter
    than what makes a fit unsound, it is for choosing between mixtures: what such an expert gains grows with the number
    of places that chance can put it, and may exceed a penalty per parameter.
    """
    return many_rows(n, parameters, share) if 0 < share < SMALL else 0


def relative_scales(mixture: Mixture, measure: Measure, scales: Scales) -> Tensor:
    """Return the scale of every expert (S, L) over the spread of the data, or over the widest scale if larger.

    Infinite for experts without a scale that can collapse; the smallest one where there are several.
    """
    paths = measure.paths()
    share = torch.full((measure.members, mixture.n_leaves), inf, dtype=torch.float64)
    every = torch.ones(mixture.n_leaves, dtype=torch.bool)
    found = [(paths[p].reshape(*share.shape, -1), each, mixture.owners(p)) for p, each in scales.tiny.items()]
    if scales.narrow is not None:
        spread = mixture.family.relative_spread(leaf_family(mixture, measure))
        assert spread is not None
        found.append((spread, scales.narrow, every))
    for scale, hundredth, owners in found:
        seen = hundredth > -inf
        if not bool(seen.any()):
            continue
        scale, known = scale[..., seen], owners & scale[..., seen].isfinite().all(-1).all(0)
        if not bool(known.any()):
            continue
        widest = torch.maximum(hundredth[seen] / TINY, scale[:, known].amax(1, keepdim=True))
        share = torch.minimum(share, torch.where(known, (scale / widest).amin(-1), inf))
    return share
