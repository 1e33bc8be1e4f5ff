"""Residuals of a mixture: of the response, Pearson's, and randomised quantile residuals."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor

from gatewise.core.mixture import Measure, Mixture, leaf_family, leaf_predictors, leaf_weights, mixed
from gatewise.objective.rows import Block

ResidualKind: TypeAlias = Literal["quantile", "pearson", "response"]
LEAST = 2.0**-53  # probability beyond which a quantile residual does not go: 8.2 standard deviations


def block_residuals(
    mixture: Mixture, measure: Measure, block: Block, kind: ResidualKind, places: Tensor, spread: float | None = None
) -> Tensor:
    """Return the residuals ``(q, n)`` of a block of rows.

    Parameters
    ----------
    mixture, measure : Mixture, Measure
    block : Block
    kind : {"quantile", "pearson", "response"}
        ``response``: observed minus mean. ``pearson``: that divided by the standard deviation of the mixture,
        ``sum_k pi_k (v_k + m_k^2) - m^2``. ``quantile``: the normal quantile of ``F(y | x)``, at a place between
        ``P(Y < y)`` and ``P(Y <= y)`` where y has no density (Dunn and Smyth 1996): standard normal under the model.
    places : Tensor (q, n)
        Numbers between 0 and 1: the places.
    spread : float, optional
        Residual standard deviation of a mean without a law.

    Raises
    ------
    NotImplementedError
        If the law has no order.
    """
    family, own = mixture.family, leaf_family(mixture, measure)
    eta = leaf_predictors(mixture, measure, block.x, block.offset)
    gates = block.gate_x if block.unit is None else block.gate_x[..., block.unit]
    weights = leaf_weights(mixture, measure, gates)
    if kind == "quantile":
        below, above = (mixed(weights, end) for end in family.cdf_ends(own, block.y, eta))
        return torch.special.ndtri((below + places * (above - below)).clamp(LEAST, 1.0 - LEAST))
    means = family.mean(own, eta)
    mean = mixed(weights, means)
    gap = family.observed(block.y) - mean
    gap = torch.where(family.responses(block.y) > 0, gap, torch.nan)  # a censored time is not observed
    if kind == "response":
        return gap
    if spread is not None:
        return gap / spread
    away = means - mean
    variance = mixed(weights, family.observed_variance(own, block.y, eta) + away * away)
    return gap / torch.sqrt(variance)
