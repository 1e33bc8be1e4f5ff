"""Which true branch every fitted branch stands for, level by level."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from gatewise.core.mixture import Measure, Mixture
from gatewise.core.parameters import Parameter
from gatewise.theory.voronoi.gauge import locations


class Cells(NamedTuple):
    """The true node of every fitted node.

    Attributes
    ----------
    branching : tuple of int
        Of the fitted mixture.
    nodes : tuple of Tensor
        For each level, the true node of each fitted one ``(b_1 ... b_level,)``, both counted from zero over all groups.
    """

    branching: tuple[int, ...]
    nodes: tuple[Tensor, ...]

    def filled(self, level: int) -> Tensor:
        """Return how many branches of a node share the true branch of each, ``(b_1, ..., b_level)``."""
        own = self.nodes[level].reshape(-1, self.branching[level])
        count = (own[:, :, None] == own[:, None, :]).sum(-1).to(torch.float64)
        return count.reshape(self.branching[: level + 1])

    def siblings(self, level: int) -> list[list[int]]:
        """Return the cells of a level: the fitted branches of one node with the same true branch."""
        found: dict[tuple[int, int], list[int]] = {}
        for branch, true in enumerate(self.nodes[level].tolist()):
            found.setdefault((branch // self.branching[level], true), []).append(branch)
        return list(found.values())

    def copied(self, value: Tensor, lead: int) -> Tensor:
        """Return a true parameter, with one entry per node on `lead` levels, for the fitted nodes."""
        if not lead:
            return value
        return value.flatten(0, lead - 1)[self.nodes[lead - 1]].reshape(self.branching[:lead] + value.shape[lead:])


def cells_of(leaves: tuple[int, ...], branching: tuple[int, ...], true_branching: tuple[int, ...]) -> Cells:
    """Return the cells of all levels from the true leaf of every fitted leaf.

    Raises
    ------
    ValueError
        If numbers do not match, or leaves of one fitted group stand for leaves of several true groups.

    Examples
    --------
    >>> cells_of((0, 0, 1, 2, 2, 3), (2, 3), (2, 2)).nodes[0].tolist()
    [0, 1]
    """
    if len(leaves) != prod(branching) or set(leaves) != set(range(prod(true_branching))):
        raise ValueError(
            f"cells={leaves} for {prod(branching)} fitted and {prod(true_branching)} true atoms: give every fitted "
            "atom the number of its true atom, and every true atom a fitted one"
        )
    true = torch.tensor(leaves)
    nodes = []
    for level in range(len(branching)):
        below = true.reshape(prod(branching[: level + 1]), -1) // prod(true_branching[level + 1 :])
        if bool((below != below[:, :1]).any()):
            raise ValueError(
                f"cells={leaves}: leaves of one fitted group stand for leaves of several true groups; groups of "
                f"{prod(branching[level + 1 :])} fitted leaves are written one after the other"
            )
        nodes.append(below[:, 0])
    return Cells(branching, tuple(nodes))


def owners(mixture: Mixture, path: str, spec: Parameter) -> int:
    """Return on how many levels a parameter has one entry per node."""
    if not path.startswith("gates."):
        return mixture.depth
    return int(path.split(".")[1]) + (spec.per == "branch")


def of_atoms(mixture: Mixture, measure: Measure, level: int) -> Tensor:
    """Return what places the branches of a level, ``(number, size)``: gate locations, and what leaves below them have.

    Locations that are known up to a common shift are measured from the last branch of each node. Of several leaves
    below a branch it is the mean.
    """
    located, shifted = locations(mixture.gates[level].score), mixture.gates[level].translation()
    count = prod(mixture.branching[: level + 1])
    found = [torch.zeros(count, 0, dtype=torch.float64)]
    for path, value in measure.paths().items():
        room, name = path.rsplit(".", 1)
        if room in ("experts", "family"):
            leaves = value.reshape(mixture.n_leaves, -1)
            owned = leaves.where(mixture.owners(path)[:, None], 0.0)
            found.append(owned.reshape(count, mixture.n_leaves // count, -1).mean(1))
        elif room == f"gates.{level}" and name in located:
            last = value.select(level, mixture.branching[level] - 1).unsqueeze(level)
            found.append((value - last if name in shifted else value).reshape(count, -1))
    return torch.cat(found, -1)


def strays(found: Tensor, near: Tensor, cells: Cells, level: int) -> bool:
    """Return whether a branch (number, size) is closer to the place of a sibling of another cell than to its own.

    Each coordinate is measured in the range of the true places.
    """
    count, true = cells.branching[level], cells.nodes[level].reshape(-1, cells.branching[level])
    wide = near.amax(0) - near.amin(0)
    told = wide > 0
    places, own = ((part[:, told] / wide[told]).reshape(len(true), count, -1) for part in (near, found))
    apart = (own[:, :, None] - places[:, None]).norm(dim=-1)
    same = true[:, :, None] == true[:, None, :]
    inside, outside = apart.where(same, torch.inf).amin(-1), apart.where(~same, torch.inf).amin(-1)
    return bool((outside < inside).any())
