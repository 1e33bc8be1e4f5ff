"""Mixing proportions of a fit: the gates averaged over its data, with errors by the delta method."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gatewise.core.mixture import leaf_weights
from gatewise.fit.torch_state import standard_torch
from gatewise.infer.covariance.value import Information
from gatewise.infer.delta import moved_by_undetermined
from gatewise.infer.intervals import critical
from gatewise.objective.rows import Block, Rows, block_size


class Proportions(NamedTuple):
    """Average weight of every leaf over the observations; rows of a group count once.

    Attributes
    ----------
    estimate : Tensor (L,)
    error : Tensor (L,) or None
        Standard errors; the inputs are taken as given. NaN: not unique. None: there are none.
    """

    estimate: Tensor
    error: Tensor | None = None

    def taken(self, places: Tensor) -> Proportions:
        """Return the proportions of the leaves at some places, in their order."""
        return Proportions(self.estimate[places], None if self.error is None else self.error[places])

    def ends(self, level: float) -> tuple[Tensor, Tensor]:
        """Return the ends ``(L,)`` of intervals that are normal on the logit scale.

        Examples
        --------
        >>> found = Proportions(torch.tensor([0.5]).double(), torch.tensor([0.05]).double())
        >>> [round(float(end), 3) for end in found.ends(0.95)]
        [0.403, 0.597]
        """
        error = torch.full_like(self.estimate, torch.nan) if self.error is None else self.error
        middle = torch.logit(self.estimate)
        step = critical(level) * error / (self.estimate * (1.0 - self.estimate))
        step = torch.where(error == 0, 0.0, step)
        return torch.sigmoid(middle - step), torch.sigmoid(middle + step)


@standard_torch()
def proportions(found: Information, rows: Rows) -> Proportions:
    """Return the mixing proportions of a fit: ``sum_u w_u pi_k(x_u) / sum_u w_u`` over the units of its data.

    Parameters
    ----------
    found : Information
        Of the fit. Where errors are refused there are none here.
    rows : Rows
        The data of the fit.
    """
    total, sums, slopes = rows.fold(_weights, _together, found)
    if found.refused:
        return Proportions(sums / total)
    slopes = slopes / total
    error = ((slopes @ found.covariance) * slopes).sum(-1).clamp_min(0.0).sqrt()
    return Proportions(sums / total, torch.where(moved_by_undetermined(found, slopes), torch.nan, error))


Sums = tuple[float, Tensor, Tensor]  # of weights, of those of the leaves (L,), and of the slopes of these (L, F)


def _together(one: Sums, other: Sums) -> Sums:
    return one[0] + other[0], one[1] + other[1], one[2] + other[2]


def _weights(rows: Rows, found: Information) -> Sums:
    mixture = found.mixture
    free = found.estimate.clone().requires_grad_(found.refused is None)
    slopes = found.estimate.new_zeros(mixture.n_leaves, len(free))
    total, sums = 0.0, found.estimate.new_zeros(mixture.n_leaves)
    for block in rows.blocks(block_size(8 * mixture.n_leaves)):
        with torch.enable_grad():
            weights = leaf_weights(mixture, found.measure(free), block.gate_x) * _of_units(block)
            part = weights.sum(-1)
        if part.requires_grad:
            for leaf, value in enumerate(part.unbind()):
                slopes[leaf] += torch.autograd.grad(value, free, retain_graph=True)[0]
        sums += part.detach()
        total += float(_of_units(block).sum())
    return total, sums, slopes


def _of_units(block: Block) -> Tensor:
    """Return the weight of every unit ``(m,)``."""
    return torch.ones(block.gate_x.shape[-1], dtype=torch.float64) if block.weight is None else block.weight
