"""Distance of measures from a set of measures, such as the projections of a regression function."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from gatewise.core.mixture import Measure, Mixture
from gatewise.theory.voronoi.atoms import Atoms, atoms, mirrored


def distance_to_set(mixture: Mixture, fitted: Measure, members: Measure) -> Tensor:
    """Return the smallest parameter distance to a member, modulo permutation of the atoms and translation of the gate.

    ``min_s min_perm sqrt(sum_i ||theta_i - theta^s_perm(i)||^2)`` over all parameters: gate location, bias, expert and
    family, variances in place of scales, a temperature once. For a given permutation the best translation is the
    difference of the means, so both are centred.

    Parameters
    ----------
    mixture : Mixture
        Of both, with one level.
    fitted : Measure
        With any batch dimensions ``*B``.
    members : Measure
        With batch dimensions ``*S`` that are searched.

    Returns
    -------
    Tensor (*B,)

    Raises
    ------
    ValueError
        For another number of levels or of atoms.
    """
    own, other = atoms(mixture, fitted), atoms(mixture, members)
    if own.bias.shape[-1] != other.bias.shape[-1]:
        raise ValueError(
            f"{own.bias.shape[-1]} fitted atoms and members with {other.bias.shape[-1]}: permutations match measures "
            "with the same number of atoms"
        )
    image = mirrored(other)
    found = [_distances(own, other)] + ([] if image is None else [_distances(own, image)])
    return torch.cat(found, -1).amin(-1).reshape(own.bias.shape[:-1])


def _distances(own: Atoms, other: Atoms) -> Tensor:
    """Return the distances ``(N, S)``."""
    (one, one_temperature), (two, two_temperature) = _stacked(own), _stacked(other)
    cost = torch.cdist(one.unsqueeze(1), two.unsqueeze(0), compute_mode="donot_use_mm_for_euclid_dist") ** 2
    extra = ((one_temperature.unsqueeze(1) - two_temperature) ** 2).sum(-1)
    out = torch.full(cost.shape[:2], torch.nan, dtype=cost.dtype)
    table, finite = cost.numpy(), torch.isfinite(cost).all(-1).all(-1).numpy()
    for index in np.argwhere(finite):
        matrix = table[tuple(index)]
        out[tuple(index)] = float(matrix[linear_sum_assignment(matrix)].sum())
    return torch.sqrt(out + extra)


def _stacked(some: Atoms) -> tuple[Tensor, Tensor]:
    """Return the parameters ``(N, k, p)`` with moving ones centred, and temperatures ``(N, t)``."""

    def centred(value: Tensor, moves: bool) -> Tensor:
        return value - value.mean(-2, keepdim=True) if moves else value

    shared = some.temperatures
    parts = [centred(v, path in some.moving) for path, v in some.locations.items() if path not in shared]
    parts.append(centred(some.bias[..., None], some.shifts))
    stacked = torch.cat(parts, -1)
    empty = stacked.new_zeros((*stacked.shape[:-2], 0))
    temperatures = torch.cat([some.locations[path][..., 0, :] for path in shared], -1) if shared else empty
    flat = stacked.reshape((-1, *stacked.shape[-2:]))
    return flat, temperatures.reshape(len(flat), -1)
