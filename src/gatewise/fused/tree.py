"""From features to derivatives: the instructions for gates, leaves, responsibilities and the gradient in every slot."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

from gatewise.core.mixture import Mixture
from gatewise.core.predictors import Parameter
from gatewise.fused import codes
from gatewise.fused.outputs import EXPERTS, FAMILIES, Leaf
from gatewise.fused.parts import LINKS, SCORES, Design, Inputs, Owners, Part
from gatewise.fused.program import VALUE, Program, Ref


class Sizes(NamedTuple):
    """Numbers of expert inputs, gate inputs, outputs and columns of y; whether gates and experts read the same x."""

    d: int
    gate_d: int
    q: int
    y: int
    same: bool
    weighted: bool


class Group(NamedTuple):
    """One slot of all branches of a level, or of all leaves.

    Attributes
    ----------
    level : int
        The depth of the mixture for leaves.
    slot : int
        Place among the slots of the level.
    owners : Owners
        Of the coordinates, those of all slots of an owner.
    column : int
        First coordinate of the slot among its owner's.
    gradient, pulled : Ref
        Derivative G in the slot, and times the weight of the row.
    own : Ref
        z of a branch, F of a leaf.
    """

    level: int
    slot: int
    owners: Owners
    column: int
    design: Design
    gradient: Ref
    pulled: Ref
    own: Ref

    @property
    def total(self) -> int:
        """Number of owners."""
        return self.owners.total

    def at(self, owner: int) -> int:
        """Return the first coordinate of an owner."""
        return self.owners.at + owner * self.owners.stride + self.column


class Level(NamedTuple):
    """One level of gates: its part, weights of the branches, derivatives in the logits, responsibility of the nodes."""

    part: Part
    nodes: int
    branches: int
    owners: Owners
    weights: Ref
    normaliser: tuple[int, int]
    pull: Ref
    node: Ref


class Leaves(NamedTuple):
    """The leaves: slots with F and S, responsibilities, the same times the weight of the row, and the log density."""

    slots: list[tuple[int, Design]]
    first: list[Ref]
    second: dict[tuple[int, int], Ref]
    owners: Owners
    share: Ref
    weighed: Ref
    density: Ref


def _width(specs: dict[str, Parameter]) -> int:
    return sum(prod(spec.shape) for spec in specs.values())


def write_levels(p: Program, mixture: Mixture, sizes: Sizes) -> tuple[list[Level], int]:
    """Write logits and weights of all gates; return them and the number of their coordinates."""
    levels, start = [], 0
    inputs = Inputs(0 if sizes.same else 1, sizes.gate_d)
    for level, (gate, branches) in enumerate(zip(mixture.gates, mixture.branching, strict=True)):
        nodes = mixture.nodes(level)
        owners = Owners(nodes * branches, start, _width(gate.score.parameters(sizes.gate_d)))
        part = SCORES[type(gate.score)](p, gate.score, inputs, owners, False)
        part = LINKS[type(gate.link)](p, part, owners.total)
        weights, normaliser = Ref(p.rows(owners.total)), (p.rows(nodes), p.rows(nodes))
        p.emit(codes.SOFTMAX, nodes, branches, part.value.row, weights.row, *normaliser, p.rows(1), 0)
        levels.append(Level(part, nodes, branches, owners, weights, normaliser, p.ones, p.ones))
        start += owners.total * owners.stride
    return levels, start


def write_leaves(p: Program, mixture: Mixture, sizes: Sizes, levels: list[Level], start: int) -> tuple[Leaves, int]:
    """Write predictors, log densities and responsibilities of the leaves; return them and the number of coordinates."""
    expert, family, count = mixture.expert, mixture.family, mixture.n_leaves
    each = _width(expert.parameters(sizes.d))
    stride = sizes.q * each + _width(family.parameters(sizes.q))
    joint = Ref(p.rows(count))
    slots: list[tuple[int, Design]] = []
    first: list[Ref] = []
    second: dict[tuple[int, int], Ref] = {}
    for output in range(sizes.q):
        owners = Owners(count, start + output * each, stride)
        part = EXPERTS[type(expert)](p, expert, Inputs(0, sizes.d), owners, output)
        own = sizes.q * each + output
        to = Ref(p.rows(count)) if output else joint
        law = FAMILIES[type(family)](p, family, p.y + output, part.value, to, Owners(count, start + own, stride))
        if output:
            p.emit(codes.ADD, count, joint.row, *joint, *to)
        if p.kind != VALUE:
            _chain(p, count, part, law, len(slots), first, second)
            slots += [(output * each + slot.column, slot.design) for slot in part.slots]
            slots += [(own, Design(-1, p.ones.row, 1))] * (len(law.first) - 1)
    _write_paths(p, levels, joint)
    share, density = Ref(p.rows(count)), Ref(p.rows(1), 0)
    log = Ref(p.rows(1), 0)
    p.emit(codes.SOFTMAX, 1, count, joint.row, share.row, density.row, log.row, p.rows(1), int(p.kind == VALUE))
    p.emit(codes.ADD, 1, density.row, *density, *log)
    weighed = share if p.kind == VALUE else p.product(count, share, p.weight)
    return Leaves(slots, first, second, Owners(count, start, stride), share, weighed, density), start + count * stride


def _chain(
    p: Program, count: int, part: Part, law: Leaf, here: int, first: list[Ref], second: dict[tuple[int, int], Ref]
) -> None:
    """Write the derivatives of one output's log density in the slots of its expert, then in its own parameter."""
    slots = range(len(part.slots))
    first += [p.product(count, law.first[0], slope) for slope in part.first]
    first += law.first[1:]
    if p.order < 2:
        return
    for i in slots:
        for j in slots[i:]:
            outer = p.times(count, p.times(count, law.second[0, 0], part.first[i]), part.first[j])
            bent = p.plus(count, outer, p.times(count, law.first[0], part.second.get((i, j))))
            if bent is not None:
                second[here + i, here + j] = bent
    if len(law.first) > 1:
        last = here + len(slots)
        second.update({(here + i, last): p.product(count, law.second[0, 1], part.first[i]) for i in slots})
        second[last, last] = law.second[1, 1]


def _write_paths(p: Program, levels: list[Level], joint: Ref) -> None:
    """Add the log weights of the leaves to their log densities."""
    above = -1
    for number, level in enumerate(levels):
        last = number == len(levels) - 1
        to = joint.row if last else p.rows(level.owners.total)
        logits = level.part.value.row
        p.emit(codes.PATH, level.nodes, level.branches, above, logits, *level.normaliser, to, int(last))
        above = to


def write_pulls(p: Program, levels: list[Level], leaves: Leaves) -> list[Level]:
    """Write responsibilities of nodes and branches, and derivatives in the logits, from the leaves up."""
    out: list[Level] = []
    children = leaves.share
    for level in reversed(levels):
        node, pull = Ref(p.rows(level.nodes)), Ref(p.rows(level.owners.total))
        p.emit(codes.SUM_UP, level.nodes, level.branches, children.row, node.row)
        p.emit(codes.PULL, level.nodes, level.branches, pull.row, children.row, node.row, level.weights.row)
        out.insert(0, level._replace(pull=pull, node=node))
        children = node
    return out


def write_groups(p: Program, levels: list[Level], leaves: Leaves) -> list[Group]:
    """Write the derivatives in all slots."""
    out = []
    for number, level in enumerate(levels):
        for i, (slot, z) in enumerate(zip(level.part.slots, level.part.first, strict=True)):
            out.append(_group(p, (number, i), level.owners, slot.column, slot.design, level.pull, z))
    for i, ((column, design), first) in enumerate(zip(leaves.slots, leaves.first, strict=True)):
        out.append(_group(p, (len(levels), i), leaves.owners, column, design, leaves.share, first))
    return out


def _group(
    p: Program, place: tuple[int, int], owners: Owners, column: int, design: Design, outer: Ref, own: Ref
) -> Group:
    gradient = p.product(owners.total, outer, own)
    pulled = p.product(owners.total, gradient, p.weight)
    return Group(*place, owners, column, design, gradient, pulled, own)
