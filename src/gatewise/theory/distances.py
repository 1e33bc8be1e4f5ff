"""Distances between a fitted mixture and the truth as laws or as functions, averaged over the inputs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gatewise.core.mixture import Measure, Mixture, leaf_family, leaf_predictors, log_density, regression
from gatewise.theory.inputs import Nodes, gauss

PANEL = 8  # Gauss-Legendre nodes of a panel
WIDE = 10.0  # standard deviations from the outermost means to the ends of the panels
FINEST = 1.0  # standard deviations of the narrowest expert in a panel
MOST = 400  # panels


class Distances(NamedTuple):
    """Averages over the inputs, both (S,): ``(E (1/2) int (sqrt p - sqrt q)^2)^(1/2)``, ``E (1/2) int |p - q|``."""

    hellinger: Tensor
    total_variation: Tensor


def between_densities(
    mixture: Mixture, fitted: Measure, truth_mixture: Mixture, truth: Measure, nodes: Nodes
) -> Distances:
    """Return Hellinger and total variation distance of densities of one response, by quadrature.

    The response is integrated over panels as fine as the narrowest expert, from the least to the greatest mean: the
    Hellinger distance to about eight digits in the response, total variation, whose integrand has a kink where the
    densities cross, to two or three.

    Parameters
    ----------
    fitted : Measure
        With one batch dimension (S, ...).
    truth : Measure
        Without batch.
    nodes : Nodes
        Of the inputs.

    Raises
    ------
    ValueError
        For families other than location-scale ones and for several outputs.
    """
    for which in (mixture, truth_mixture):
        if not which.family.location_scale:
            raise ValueError(
                f"the family {which.family} is not a location-scale family: its densities are not compared"
            )
    single = truth.map(lambda v: v.unsqueeze(0))
    parts = []
    for s in range(fitted.members):
        one = fitted.map(lambda v, s=s: v[s : s + 1])
        parts.append(_pair(mixture, one, truth_mixture, single, nodes))
    return Distances(*(torch.stack(part) for part in zip(*parts, strict=True)))


def _spread(mixture: Mixture, measure: Measure, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return means and standard deviations (L, m) of the experts."""
    eta, params = leaf_predictors(mixture, measure, x), leaf_family(mixture, measure)
    if eta.shape[-2] != 1:
        raise ValueError(f"{eta.shape[-2]} outputs: densities of one response are compared")
    return mixture.family.mean(params, eta)[0, :, 0], mixture.family.variance(params, eta)[0, :, 0].sqrt()


def _pair(mixture: Mixture, fitted: Measure, truth_mixture: Mixture, truth: Measure, nodes: Nodes) -> list[Tensor]:
    laws = ((mixture, fitted), (truth_mixture, truth))
    spreads = [_spread(*law, nodes.x) for law in laws]
    means, scales = (torch.cat(part) for part in zip(*spreads, strict=True))
    low, high = (means - WIDE * scales).amin(0), (means + WIDE * scales).amax(0)
    panels = int(np.clip(np.ceil(float(((high - low) / scales.amin(0)).max()) / FINEST), 8, MOST))
    at, weight = (torch.from_numpy(part) for part in gauss(PANEL))
    grid = ((torch.arange(panels)[:, None] + (at + 1.0) / 2.0) / panels).flatten()
    y = low[:, None] + (high - low)[:, None] * grid  # (m, points)
    mass = nodes.weight[:, None] * (high - low)[:, None] * (weight / 2.0 / panels).repeat(panels)
    x = nodes.x.repeat_interleave(len(grid), -1)
    p, q = (log_density(*law, x, x, y.reshape(1, -1)).reshape(y.shape) for law in laws)
    top, gap = torch.maximum(p, q), (p - q).abs()  # differences of the densities keep their relative precision
    root = torch.exp(0.5 * top) * torch.expm1(-0.5 * gap)
    return [(0.5 * (mass * root * root).sum()).sqrt(), -0.5 * (mass * torch.exp(top) * torch.expm1(-gap)).sum()]


def between_means(mixture: Mixture, fitted: Measure, truth_mixture: Mixture, truth: Measure, nodes: Nodes) -> Tensor:
    """Return ``(E ||f_G - f_G*||^2)^(1/2)`` of regressions (S,), for a fitted measure with one batch dimension."""
    single = truth.map(lambda v: v.unsqueeze(0))
    gap = regression(mixture, fitted, nodes.x, nodes.x) - regression(truth_mixture, single, nodes.x, nodes.x)
    return (nodes.weight * (gap * gap).sum(-2)).sum(-1).sqrt()
