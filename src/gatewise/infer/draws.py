"""Data sets drawn for a bootstrap: responses from a fit, or units drawn from the data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from gatewise.core.mixture import Measure, Mixture, leaf_family, leaf_log_weights, leaf_predictors, require_density
from gatewise.objective.columns import columns
from gatewise.objective.rows import Rows


def stream(seed: int, replicate: int) -> np.random.SeedSequence:
    """Return the random numbers of a replicate."""
    return np.random.SeedSequence(seed, spawn_key=(1, replicate))


def drawn_responses(mixture: Mixture, measure: Measure, rows: Rows, numbers: np.random.SeedSequence) -> Tensor:
    """Return responses ``(c, n)`` drawn from a mixture at the inputs of rows; the rows of a unit share their leaf.

    Raises
    ------
    ValueError
        If responses cannot be drawn, such as times without those of censoring.
    """
    require_density(mixture)
    generator = torch.Generator()
    generator.manual_seed(int(numbers.generate_state(1, np.uint64)[0]) >> 1)
    block = rows.read(0, rows.n_units)
    weights = leaf_log_weights(mixture, measure, block.gate_x).exp()
    leaf = torch.multinomial(weights.T, 1, generator=generator)[:, 0]
    leaf = leaf if block.unit is None else leaf[block.unit]
    eta = leaf_predictors(mixture, measure, block.x, block.offset)
    drawn = mixture.family.sample_like(leaf_family(mixture, measure), block.y, eta, generator)
    return drawn[leaf, :, torch.arange(len(leaf))].T


def with_responses(rows: Rows, y: Tensor) -> Rows:
    """Return the rows with other responses ``(c, n)``."""
    return replace(rows, y=columns(y.T.contiguous()))


def drawn_units(rows: Rows, sampling: bool, numbers: np.random.SeedSequence) -> Rows:
    """Return units drawn from rows with replacement: each of those drawn once, with how often as its weight.

    Frequency weights say how many units there are of each; of `sampling` weights all units are as probable, and keep
    theirs.
    """
    generator, count = np.random.default_rng(numbers), rows.n_units
    weight = np.ones(count) if rows.weight is None else rows.weight.numpy()
    if sampling:
        found = generator.multinomial(count, np.full(count, 1.0 / count)) * weight
    else:
        found = generator.multinomial(round(weight.sum()), weight / weight.sum()).astype(float)
    kept = np.flatnonzero(found)
    few = rows.take(torch.from_numpy(kept))
    return replace(few, weight=torch.from_numpy(found[kept]))
