"""The same fit with its experts in another order, or with another branch as the reference of its gates."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from math import prod
from typing import Any

import torch
from torch import Tensor

from gatewise.core.mixture import Measure, Mixture
from gatewise.core.names import entry_name
from gatewise.fit.result import Certificate, Fit
from gatewise.objective.entries import reference_branch
from gatewise.objective.parameterization import from_paths

NAME = re.compile(r"(?:gates\.\d+|experts|family)\.[^\s\[\],&]+(?:\[[\d,]+\])?")
NAMED = ("null", "separated", "active", "limits", "floor", "kinks")  # what a certificate says by names


class LeafOrder:
    """An order of the leaves of a tree that keeps the leaves of every node together.

    Attributes
    ----------
    maps : tuple of LongTensor
        For every depth, which node stood where each node stands now; the last is that of the leaves.
    reference, former : tuple of int
        Reference branch of every level, now and before; empty: the last ones.

    Examples
    --------
    >>> from gatewise.core.gates import GATES
    >>> order = LeafOrder(Mixture((GATES["softmax"], GATES["softmax"]), (2, 2)), [3, 2, 0, 1])
    >>> [nodes.tolist() for nodes in order.maps]
    [[0], [1, 0], [3, 2, 0, 1]]
    """

    def __init__(
        self, mixture: Mixture, leaves: Sequence[int], reference: tuple[int, ...] = (), former: tuple[int, ...] = ()
    ) -> None:
        self.mixture, self.reference, self.former = mixture, reference, former
        self.specs = mixture.parameters()
        self.maps = tuple(_nodes(mixture, leaves, depth) for depth in range(mixture.depth + 1))

    @property
    def identity(self) -> bool:
        """Whether every leaf stays where it is."""
        leaves = self.maps[-1]
        return bool((leaves == torch.arange(len(leaves))).all())

    def lead(self, path: str) -> int:
        """Return how many leading axes of a parameter belong to the tree."""
        room = path.split(".")
        return int(room[1]) + (self.specs[path].per == "branch") if room[0] == "gates" else self.mixture.depth

    def shifted(self, path: str) -> bool:
        """Return whether only differences between the branches of a parameter count."""
        room, _, name = path.rpartition(".")
        if not room.startswith("gates."):
            return False
        level = int(room.split(".")[1])
        known = name in self.mixture.gates[level].translation() and self.specs[path].per == "branch"
        return known and self.specs[path].free and self.mixture.branching[level] > 1

    def moved(self, path: str, value: Tensor) -> Tensor:
        """Return a parameter ``(*owners, ...)`` with its owners in the new order."""
        lead = self.lead(path)
        flat = value.reshape(prod(value.shape[:lead]), *value.shape[lead:])
        return flat[self.maps[lead]].reshape(value.shape)

    def value(self, path: str, value: Tensor) -> Tensor:
        """Return the estimate of a parameter in the new order, with zeros at the reference."""
        value = self.moved(path, value)
        if not self.shifted(path):
            return value
        level = int(path.split(".")[1])
        return value - value.narrow(level, reference_branch(self.mixture, level, self.reference), 1)

    def between(self, path: str, covariance: Tensor) -> Tensor:
        """Return the covariances between branches ``(*nodes, K, K, ...)`` of a parameter of which differences count."""
        level = int(path.split(".")[1])
        count, lead = self.mixture.branching[level], prod(covariance.shape[:level])
        flat = covariance.reshape(lead, count, count, *covariance.shape[level + 2 :])
        nodes, branches = self.maps[level], self.maps[level + 1].reshape(lead, count) % count
        at = nodes[:, None, None], branches[:, :, None], branches[:, None, :]
        moved = flat[at]
        zero = reference_branch(self.mixture, level, self.reference)
        row, column = moved.narrow(1, zero, 1), moved.narrow(2, zero, 1)
        return (moved - row - column + row.narrow(2, zero, 1)).reshape(covariance.shape)

    def names(self, name: str) -> list[str]:
        """Return the names of what a name stood for: of a new reference branch, all branches that differ from it."""
        path, _, inside = name.rstrip("]").partition("[")
        lead = self.lead(path)
        index = [int(one) for one in inside.split(",")] if inside else []
        if len(index) < lead:
            return [name]
        owners, rest = self._owners(path, index[:lead]), index[lead:]
        return [entry_name(path, (*owner, *rest)) for owner in owners]

    def told(self, name: str) -> list[str]:
        """Return `names` of a name that may be that of something else, which stays."""
        return self.names(name) if name.partition("[")[0] in self.specs else [name]

    def text(self, text: str) -> str:
        """Return a text with the names of parameters where they stand now."""
        return NAME.sub(lambda found: " & ".join(self.told(found[0])), text)

    def _owners(self, path: str, owner: Sequence[int]) -> list[tuple[int, ...]]:
        """Return where an owner stands now; those of the other branches for a branch that is the reference now."""
        lead, branching = len(owner), self.mixture.branching
        place = 0
        for position, count in zip(owner, branching, strict=False):
            place = place * count + position
        here = int((self.maps[lead] == place).nonzero()[0, 0])
        found = [0] * lead
        for level in reversed(range(lead)):
            here, found[level] = divmod(here, branching[level])
        if not (self.shifted(path) and found[-1] == reference_branch(self.mixture, lead - 1, self.reference)):
            return [tuple(found)]
        if owner[-1] == reference_branch(self.mixture, lead - 1, self.former):
            return [tuple(found)]
        return [(*found[:-1], branch) for branch in range(branching[lead - 1]) if branch != found[-1]]


def _nodes(mixture: Mixture, leaves: Sequence[int], depth: int) -> Tensor:
    """Return which node of a depth stood where each stands now.

    Raises
    ------
    ValueError
        If the leaves are no permutation, or those of a node do not stay together.
    """
    if sorted(leaves) != list(range(mixture.n_leaves)):
        raise ValueError(f"the order {list(leaves)} is no permutation of the experts 0 to {mixture.n_leaves - 1}")
    size = mixture.n_leaves // mixture.nodes(depth)
    blocks = [sorted(leaves[at : at + size]) for at in range(0, mixture.n_leaves, size)]
    torn = next((block for block in blocks if block[0] // size != block[-1] // size), None)
    if torn is not None:
        raise ValueError(
            f"the order {list(leaves)} puts the experts {', '.join(map(str, torn))} of different groups into one: in a "
            f"hierarchy of {mixture.branching} the experts of a group stay together"
        )
    return torch.tensor([block[0] // size for block in blocks], dtype=torch.long)


def reordered(fit: Fit, leaves: Sequence[int], reference: tuple[int, ...] | None = None) -> tuple[Fit, LeafOrder]:
    """Return a fit with its leaves in another order, and the order.

    Density, objective and status do not change. Gates whose parameters count as differences only are shifted so that
    the reference branch of every node is zero.

    Parameters
    ----------
    fit : Fit
    leaves : sequence of int
        The leaf that stands now at every place: a permutation that keeps the leaves of every node together.
    reference : tuple of int, optional
        Reference branch of every level; empty: the last ones. Default: as it is.

    Raises
    ------
    ValueError
        For an order that is none, that moves an expert to a place of another kind, and where bounds, fixed values or
        ties would be of other experts, or of differences from another branch.
    """
    reference = fit.spec.reference if reference is None else reference
    order = LeafOrder(fit.mixture, leaves, reference, fit.spec.reference)
    _require_kinds(fit.mixture, order)
    _require_spec(fit, order)
    paths = {path: order.value(path, value) for path, value in fit.measure.paths().items()}
    measure: Measure = from_paths(paths, fit.mixture.depth)
    spec = replace(fit.spec, reference=reference)
    certificate = _renamed(fit.certificate, order)
    notes = tuple(map(order.text, fit.notes))
    return fit._replace(measure=measure, spec=spec, certificate=certificate, notes=notes), order


def _renamed(certificate: Certificate, order: LeafOrder) -> Certificate:
    """Return a certificate that names the same parameters where they stand now."""

    def again(direction: str) -> str:
        return " & ".join(dict.fromkeys(one for name in direction.split(" & ") for one in order.told(name)))

    told: dict[str, Any] = {name: tuple(map(again, getattr(certificate, name))) for name in NAMED}
    places = order.maps[-1].tolist()
    starved = tuple(sorted(places.index(leaf) for leaf in certificate.starved))
    return certificate._replace(**told, starved=starved)


def _require_kinds(mixture: Mixture, order: LeafOrder) -> None:
    """Raise unless every leaf goes to a place of its kind."""
    last = mixture.branching[-1]
    units, laws = mixture.expert.kinds(), mixture.family.kinds()
    for place, leaf in enumerate(order.maps[-1].tolist()):
        here, there = place % last, leaf % last
        kinds = [(units[branch % len(units)], laws[branch % len(laws)]) for branch in (here, there)]
        if kinds[0] != kinds[1]:
            what = mixture.titles[leaf] or f"expert {leaf}"
            raise ValueError(
                f"the order puts {what} at place {place}, which is for another kind of expert: experts change places "
                "with those of their kind, and the branch of zeros or noise stays the last"
            )


def _require_spec(fit: Fit, order: LeafOrder) -> None:
    """Raise unless bounds, fixed values and ties say the same of the new order."""
    spec = fit.spec
    pairs: list[tuple[str, str, Tensor]] = [("fixed", path, value) for path, value in spec.fixed.items()]
    for path, ends in spec.bounds.items():
        pairs += [("bounds", path, torch.as_tensor(end, dtype=torch.float64)) for end in ends]
    paths = fit.measure.paths()
    if not order.identity or order.reference != order.former:
        require_no_differences(order, [(name, path) for name, path, _ in pairs])
    for name, path, value in pairs:
        whole = value.expand(paths[path].shape)
        if not torch.equal(order.moved(path, whole).nan_to_num(), whole.nan_to_num()):
            raise ValueError(f"{name} has {path!r} with different values for different experts: their order is given")
    ties = {frozenset(tie) for tie in spec.ties}
    if {frozenset(one for name in tie for one in order.names(name)) for tie in spec.ties} != ties:
        raise ValueError("some experts have parameters tied to each other and others have not: their order is given")


def require_no_differences(order: LeafOrder, given: Sequence[tuple[str, str]]) -> None:
    """Raise where bounds or fixed values, as pairs of argument and path, are differences from the reference branch."""
    for name, path in given:
        if order.shifted(path):
            raise ValueError(
                f"{name} has {path!r}, whose values are differences from the last branch: leave {name} of the gates "
                "out, or neither give a reference nor change the order of the experts"
            )


def branch_covariances(
    mixture: Mixture, values: Mapping[str, Tensor], places: Mapping[str, Tensor], covariance: Tensor
) -> dict[str, Tensor]:
    """Return the covariances between the branches of gates of which only differences count, by path.

    Parameters
    ----------
    mixture : Mixture
    values : the parameters by path
    places : where the entries of a path stand in the covariance, in the shape of the path
    covariance : Tensor (F, F)

    Returns
    -------
    dict path -> Tensor (*nodes, K, K, ...)
        For every entry of the parameter a matrix of the K branches.
    """
    order = LeafOrder(mixture, range(mixture.n_leaves))
    out = {}
    for path in values:
        if order.shifted(path):
            level, index = int(path.split(".")[1]), places[path]
            out[path] = covariance[index.unsqueeze(level + 1), index.unsqueeze(level)]
    return out


def is_orderable(fit: Fit) -> bool:
    """Return whether bounds, fixed values and ties say the same of all experts of a kind, so that any order is one."""
    order = LeafOrder(fit.mixture, range(fit.mixture.n_leaves))
    paths = fit.measure.paths()
    given = [(path, value) for path, value in fit.spec.fixed.items()]
    given += [(path, torch.as_tensor(end, dtype=torch.float64)) for path, two in fit.spec.bounds.items() for end in two]
    for path, value in given:
        lead = order.lead(path)
        owners = value.expand(paths[path].shape).reshape(-1, *paths[path].shape[lead:]).nan_to_num(torch.pi)
        if order.shifted(path) or not bool((owners == owners[:1]).all()):
            return False
    for tie in fit.spec.ties:
        path, _, index = tie[0].rstrip("]").partition("[")
        if not path.startswith("experts."):
            return False
        rest = index.split(",")[order.lead(path) :]
        places = product(*map(range, fit.mixture.branching))
        own = [leaf for leaf, has in zip(places, fit.mixture.owners(path).tolist(), strict=True) if has]
        if {*tie} != {entry_name(path, (*leaf, *map(int, rest))) for leaf in own}:
            return False
    return True
