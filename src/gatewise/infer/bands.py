"""Confidence bands of curves in x: the mean of y, and the weights of the experts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import isfinite
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from gatewise.core.mixture import Measure, leaf_logits, leaf_means, regression
from gatewise.fit.torch_state import standard_torch
from gatewise.infer.covariance.value import Information
from gatewise.infer.delta import moved_by_undetermined
from gatewise.infer.intervals import critical, ends, require
from gatewise.infer.predict import in_blocks
from gatewise.infer.text import number, percent
from gatewise.objective.columns import Columns
from gatewise.objective.entries import IDENTITY, LOG

if TYPE_CHECKING:
    from pandas import DataFrame


class Band(NamedTuple):
    """Pointwise confidence band: tensors (c, n) for c curves at n rows."""

    estimate: Tensor
    error: Tensor
    lower: Tensor
    upper: Tensor
    level: float

    def text(self) -> str:
        """Return what the band covers: its size and the ranges of estimate and error."""
        curves, rows = self.estimate.shape
        title = f"Pointwise {percent(self.level)} band of {curves} curve{'s' * (curves != 1)} at {rows} rows"
        known = self.error[self.error.isfinite()]
        if not known.numel():
            return f"{title}: no unique estimate"
        low, high = float(self.estimate.min()), float(self.estimate.max())
        spread = f"{number(float(known.min()))} to {number(float(known.max()))}"
        return f"{title}: estimate {number(low)} to {number(high)}, std. error {spread}"

    def __repr__(self) -> str:
        return self.text()

    def to_frame(self) -> DataFrame:
        """Return a data frame with a row for every curve and row of X."""
        import pandas as pd

        curves, rows = self.estimate.shape
        index = pd.MultiIndex.from_product([range(curves), range(rows)], names=["curve", "row"])
        columns = {"estimate": self.estimate, "std. error": self.error, "lower": self.lower, "upper": self.upper}
        return pd.DataFrame({name: part.reshape(-1).numpy() for name, part in columns.items()}, index=index)


@standard_torch()
def mean_band(
    found: Information, x: Columns, gate_x: Columns | None = None, level: float = 0.95, offset: Columns | None = None
) -> Band:
    """Return the confidence band ``(q, n)`` of the mean of y at x: pointwise, for the mean and not for new values.

    Normal on the scale of the mean; where the family keeps it above a limit on its logarithm, where it keeps it between
    two on its logit. Rows where the mean has no unique estimate have NaN.

    Raises
    ------
    ValueError
        If errors were refused, or the level is not between 0 and 1.
    """
    estimate, error = _curves(found, partial(regression, found.mixture), x, gate_x, offset)
    return _within(found, estimate, error, level)


@standard_torch()
def expert_band(found: Information, x: Columns, level: float = 0.95, offset: Columns | None = None) -> Band:
    """Return the confidence band ``(L q, n)`` of the mean of every expert at x, its q outputs side by side.

    As `mean_band`, without the gates.

    Raises
    ------
    ValueError
        If errors were refused, or the level is not between 0 and 1.
    """

    def means(measure: Measure, x: Tensor, gate_x: Tensor, offset: Tensor | None = None) -> Tensor:
        return leaf_means(found.mixture, measure, x, gate_x, offset).flatten(-3, -2)

    estimate, error = _curves(found, means, x, None, offset)
    return _within(found, estimate, error, level)


def _within(found: Information, estimate: Tensor, error: Tensor, level: float) -> Band:
    """Return the band of means that the family keeps between limits."""
    low, high = found.mixture.family.mean_range
    width = critical(level)
    if isfinite(low) and isfinite(high):
        below, above = _inside(estimate, width * error, low, high)
        return Band(estimate, error, below, above, level)
    start = low if isfinite(low) else 0.0
    lower, upper = ends(
        estimate - start, error, torch.tensor(LOG if isfinite(low) else IDENTITY, dtype=torch.long), width
    )
    return Band(estimate, error, start + lower, start + upper, level)


def _inside(estimate: Tensor, step: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    """Return the ends of intervals of half-width `step` that are normal on the logit between two limits."""
    left, right = estimate - low, high - estimate
    move = torch.exp(step * (high - low) / (left * right))
    return low + (high - low) * left / (left + right * move), high - (high - low) * right / (right + left * move)


@standard_torch()
def gate_band(found: Information, x: Columns, gate_x: Columns | None = None, level: float = 0.95) -> Band:
    """Return the confidence band ``(L, n)`` of the weight of every expert at x, normal on the logit scale.

    Raises
    ------
    ValueError
        If errors were refused, or the level is not between 0 and 1.
    """
    width = critical(level)

    def logits(measure: Measure, x: Tensor, gate_x: Tensor) -> Tensor:
        return leaf_logits(found.mixture, measure, gate_x)

    logit, error = _curves(found, logits, x, gate_x)
    low, middle, high = (torch.sigmoid(logit + side * width * error) for side in (-1, 0, 1))
    return Band(middle, error * middle * torch.sigmoid(-logit), low, high, level)


def _curves(
    found: Information,
    curve: Callable[..., Tensor],
    x: Columns,
    gate_x: Columns | None,
    offset: Columns | None = None,
) -> tuple[Tensor, ...]:
    """Return value and standard error ``(c, n)`` of functions of single rows: the gradient of every row at once."""
    require(found)
    parts = (x, x if gate_x is None else gate_x, *([] if offset is None else [offset]))

    def block(values: Tensor, gate_values: Tensor, *known: Tensor) -> Tensor:
        batch = found.estimate.expand(values.shape[-1], -1).clone().requires_grad_(True)  # a measure for every row
        rows, gate_rows = values.T[..., None], gate_values.T[..., None]
        more = [one.T[:, None, :, None] for one in known]  # the same for all leaves
        out = curve(found.measure(batch), rows, gate_rows, *more)[..., 0]  # (n, c)
        errors = []
        for one in out.unbind(-1):
            (gradient,) = torch.autograd.grad(one.sum(), batch, retain_graph=True)
            error = ((gradient @ found.covariance) * gradient).sum(-1).clamp_min(0.0).sqrt()
            errors.append(torch.where(moved_by_undetermined(found, gradient), torch.nan, error))
        return torch.stack([out.detach().T, torch.stack(errors)])

    both = in_blocks(block, len(found.estimate) * 4, *parts)
    return both[0], both[1]
