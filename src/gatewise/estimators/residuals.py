"""Residuals of a fitted estimator: its rows read as in fit, in the order in which they are given."""

from __future__ import annotations

from dataclasses import replace
from math import isnan, sqrt
from typing import Any, get_args

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from gatewise.core.by_leaf import FamiliesByLeaf
from gatewise.core.families import UniformNoise
from gatewise.core.mixture import Mixture
from gatewise.core.names import require_one_of
from gatewise.estimators.known import KnownValues
from gatewise.estimators.options import seed_of
from gatewise.estimators.predictions import rows_of
from gatewise.infer.covariance.loss import residual_variance
from gatewise.infer.residuals import ResidualKind, block_residuals
from gatewise.objective.rows import MOST

RESIDUALS = 3  # the spawn key of their random numbers


def residuals(
    estimator: Any, X: Any, y: Any, kind: ResidualKind, gate_X: Any, known: KnownValues, random_state: Any
) -> np.ndarray:
    """Return the residuals ``(n, q)``; see `MixtureOfExpertsRegressor.residuals`."""
    check_is_fitted(estimator, "fit_")
    require_one_of("kind", kind, get_args(ResidualKind))
    mixture, measure = estimator.mixture_, estimator.measure_
    if kind == "quantile" and not mixture.family.has_density:
        raise ValueError("a least-squares fit has no distribution, so no quantile residuals: use kind='pearson'")
    if kind == "quantile" and estimator._given.noise:
        mixture = _with_noise_beyond(mixture, float(estimator._shares.totals[-1]))
    squares = residual_variance(estimator.fit_)
    spread = None if squares is None else sqrt(squares)
    rows, order = rows_of(estimator, X, y, gate_X, None, known)
    # a stream of its own: that of the seed itself may be the one that the data were drawn from
    generator = np.random.default_rng(np.random.SeedSequence(seed_of(random_state), spawn_key=(RESIDUALS,)))
    places = torch.from_numpy(generator.uniform(size=(rows.n, estimator.n_outputs_)).T.copy())
    parts, at = [], 0
    for block in rows.blocks(MOST):
        n = block.y.shape[-1]
        try:
            parts.append(block_residuals(mixture, measure, block, kind, places[:, at : at + n], spread))
        except NotImplementedError as cause:
            raise ValueError(str(cause)) from cause
        at += n
    found = torch.cat(parts, -1).T.numpy()
    if order is None:
        return found
    out = np.empty_like(found)
    out[order] = found
    return out


def _with_noise_beyond(mixture: Mixture, rows: float) -> Mixture:
    """Return a mixture whose noise, which has so many rows, has unbiased ends.

    Noise is fitted to the range of the data, so that its distribution function is 0 at the smallest response and 1 at
    the largest: their residuals would have no bound, whatever the model is worth.
    """
    if isnan(rows):  # of a model that was made from a Fit
        return mixture
    family = mixture.family
    assert isinstance(family, FamiliesByLeaf)  # experts and noise have different laws
    parts = tuple(part.beyond(rows) if isinstance(part, UniformNoise) else part for part in family.parts)
    return replace(mixture, family=replace(family, parts=parts))
