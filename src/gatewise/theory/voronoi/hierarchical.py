"""The Voronoi loss of two-level mixtures: cells of groups, and cells of leaves inside every fitted group."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gatewise.core.mixture import Measure, Mixture
from gatewise.theory.orders import ONE
from gatewise.theory.voronoi.atoms import Atoms, gate_atoms
from gatewise.theory.voronoi.compare import compare
from gatewise.theory.voronoi.losses import Loss
from gatewise.theory.voronoi.result import Voronoi, pick_member


class Hierarchical(NamedTuple):
    """A two-level Voronoi loss.

    Attributes
    ----------
    value, unweighted : Tensor (*B,)
    groups : Voronoi
        Of the outer gate: cells ``(*B, k1)``; its value is the whole loss.
    leaves : Voronoi
        Of the leaves of every fitted group against those of its true group: values ``(*B, k1)``, cells
        ``(*B, k1, k2)``.
    """

    value: Tensor
    unweighted: Tensor
    groups: Voronoi
    leaves: Voronoi

    @property
    def empty(self) -> Tensor:
        """Whether some true group has no fitted one, or some true leaf no leaf of a fitted group, ``(*B,)``."""
        return self.groups.empty | self.leaves.empty.any(-1)

    @property
    def ties(self) -> Tensor:
        """Groups and leaves that are equally close to several true ones, ``(*B,)``."""
        return self.groups.ties + self.leaves.ties.sum(-1)


def hierarchical_loss(
    loss: Loss,
    mixture: Mixture,
    fitted: Measure,
    truth_mixture: Mixture,
    truth: Measure,
    *,
    metric: str = "euclidean",
    align: bool = True,
    rbar: float | None = None,
) -> Hierarchical:
    """Compute a Voronoi loss between fitted two-level measures and a truth (2410.02935, recalled).

    ``sum_j |sum_{i in V_j} e^{b_i} - e^{b*_j}| + sum_j sum_{i in V_j} e^{b_i} (||a_i - a*_j|| + D(i, j))``

    Groups are matched by the locations a of the outer gate, and D(i, j) is the loss of `voronoi_loss` between the
    leaves of groups i and j. The outer gate and every inner gate are translated separately to minimise the loss.

    Parameters
    ----------
    loss : Loss
        Powers of the inner gate ``gates.1`` and of the leaves: ``LOSSES["two-level-laplace"]``, or `two_level` with
        your own powers for softmax gates, for which none are known.
    mixture, fitted, truth_mixture, truth, metric, align, rbar
        As in `voronoi_loss`.

    Returns
    -------
    Hierarchical

    Raises
    ------
    ValueError
        As `voronoi_loss`; also if the depth is not two, or two true groups have the same outer location.

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import draw_measure, generator
    >>> from gatewise.theory import TWO, hierarchical_loss
    >>> from gatewise.theory.voronoi.losses import two_level
    >>> mixture = Mixture((GATES["softmax"], GATES["softmax"]), (2, 2))
    >>> truth = draw_measure(mixture, 3, 3, 1, generator(0))
    >>> found = hierarchical_loss(two_level(TWO, TWO, TWO, "mine"), mixture, truth, mixture, truth)
    >>> round(float(found.value), 6)  # the truth against itself
    0.0
    """
    for one in (mixture, truth_mixture):
        if one.depth != 2:
            raise ValueError(f"branching {one.branching}: hierarchical_loss is for two levels, voronoi_loss for one")
    options: dict[str, Any] = {"metric": metric, "align": align, "rbar": rbar}
    outer, true_outer = gate_atoms(mixture, fitted, 0, False), gate_atoms(truth_mixture, truth, 0, False)
    _refuse_equal_groups(true_outer)
    own, true = gate_atoms(mixture, fitted, 1, True), gate_atoms(truth_mixture, truth, 1, True)
    inside = [compare(loss, own, pick_atoms(true, j), **options) for j in range(truth_mixture.branching[0])]
    value, unweighted = (torch.stack([getattr(v, name) for v in inside], -1) for name in ("value", "unweighted"))
    over = replace(loss, over={}, rest=ONE)
    groups = compare(over, outer, true_outer, extra=(value, unweighted), **options)
    return Hierarchical(groups.value, groups.unweighted, groups, pick_member(inside, groups.cells))


def pick_atoms(atoms: Atoms, group: int) -> Atoms:
    """Return the atoms of one group."""
    locations = {path: value[group] for path, value in atoms.locations.items()}
    return atoms._replace(bias=atoms.bias[group], log_mass=atoms.log_mass[group], locations=locations)


def _refuse_equal_groups(outer: Atoms) -> None:
    stacked = torch.cat([*outer.locations.values(), torch.zeros_like(outer.bias)[..., None]], -1)
    for i in range(len(stacked)):
        for j in range(i):
            if torch.equal(stacked[i], stacked[j]):
                raise ValueError(
                    f"true groups {j} and {i} have the same outer location: fitted groups cannot be told apart by it. "
                    "Give a truth with distinct outer gates"
                )
