"""From features to derivatives: the instructions for gates, responsibilities and the gradient in every slot.

The leaves of a likelihood stand in `likelihood`, those of least squares in `residuals`.
"""

from __future__ import annotations

from typing import NamedTuple

from gatewise.core.mixture import Mixture
from gatewise.core.parameters import Parameter
from gatewise.objective.compiled import codes
from gatewise.objective.compiled.parts import LINKS, SCORES, CompiledPart, Design, Owners, PartInputs
from gatewise.objective.compiled.program import Program, Ref


class Sizes(NamedTuple):
    """Numbers of expert inputs, gate inputs, outputs and columns of y; whether gates and experts read the same x."""

    d: int
    gate_d: int
    q: int
    y: int
    same: bool
    weighted: bool


class NodeGroup(NamedTuple):
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


class CompiledLevel(NamedTuple):
    """One level of gates: its part, weights of the branches, derivatives in the logits, responsibility of the nodes.

    Unless `normalised` each branch has a weight of its own, no share of a softmax: log weights take the place of the
    logits.
    """

    part: CompiledPart
    normalised: bool
    nodes: int
    branches: int
    owners: Owners
    weights: Ref
    normaliser: tuple[int, int]
    logit_gradients: Ref
    node: Ref


class Mean(NamedTuple):
    """The mean of least squares: the weight W of every leaf, and by output the residual r and the rows ``W h``.

    `output` says whose the slots of a leaf are.
    """

    weight: Ref
    residual: list[Ref]
    parts: list[Ref]
    output: list[int]


class CompiledLeaves(NamedTuple):
    """The leaves: slots with F and S, and what is summed over the rows.

    Attributes
    ----------
    outer, weighed : list of Ref
        Responsibility by slot, and times the weight of the row; ``W r`` in least squares.
    shares : Ref
        Responsibilities, which add up below a branch; ``W (r . h)`` in least squares.
    density : Ref
        Log density, or minus half the square of the residuals.
    mean : Mean or None
        Of least squares.
    """

    slots: list[tuple[int, Design]]
    first: list[Ref]
    second: dict[tuple[int, int], Ref]
    owners: Owners
    outer: list[Ref]
    weighed: list[Ref]
    shares: Ref
    density: Ref
    mean: Mean | None = None


def width(specs: dict[str, Parameter]) -> int:
    """Return the number of coordinates of one owner."""
    return sum(spec.size for spec in specs.values())


def write_levels(p: Program, mixture: Mixture, sizes: Sizes) -> tuple[list[CompiledLevel], int]:
    """Write logits and weights of all gates; return them and the number of their coordinates."""
    levels, start = [], 0
    inputs = PartInputs(0 if sizes.same else 1, sizes.gate_d)
    for level, (gate, branches) in enumerate(zip(mixture.gates, mixture.branching, strict=True)):
        nodes = mixture.nodes(level)
        owners = Owners(nodes * branches, start, width(gate.score.parameters(sizes.gate_d)))
        part = SCORES[type(gate.score)](p, gate.score, inputs, owners, False)
        part = LINKS[type(gate.link)](p, part, owners.total)
        weights, normaliser = part.value, (p.ones.row, p.ones.row)
        if gate.link.normalised:
            weights, normaliser = Ref(p.rows(owners.total)), (p.rows(nodes), p.rows(nodes))
            p.emit(codes.SOFTMAX, nodes, branches, part.value.row, weights.row, *normaliser, p.rows(1), 0)
        levels.append(
            CompiledLevel(part, gate.link.normalised, nodes, branches, owners, weights, normaliser, p.ones, p.ones)
        )
        start += owners.total * owners.stride
    return levels, start


def write_logit_gradients(p: Program, levels: list[CompiledLevel], shares: Ref) -> list[CompiledLevel]:
    """Write responsibilities of nodes and branches, and derivatives in the logits, from those of the leaves up."""
    out: list[CompiledLevel] = []
    children = shares
    for level in reversed(levels):
        node, logit_gradients = Ref(p.rows(level.nodes)), children
        p.emit(codes.SUM_UP, level.nodes, level.branches, children.row, node.row)
        if level.normalised:
            logit_gradients = Ref(p.rows(level.owners.total))
            p.emit(
                codes.PULL, level.nodes, level.branches, logit_gradients.row, children.row, node.row, level.weights.row
            )
        out.insert(0, level._replace(logit_gradients=logit_gradients, node=node))
        children = node
    return out


def write_groups(p: Program, levels: list[CompiledLevel], leaves: CompiledLeaves) -> list[NodeGroup]:
    """Write the derivatives in all slots."""
    out = []
    for number, level in enumerate(levels):
        for i, (slot, z) in enumerate(zip(level.part.slots, level.part.first, strict=True)):
            out.append(_group(p, (number, i), level.owners, slot.column, slot.design, level.logit_gradients, z))
    for i, ((column, design), outer, first) in enumerate(zip(leaves.slots, leaves.outer, leaves.first, strict=True)):
        out.append(_group(p, (len(levels), i), leaves.owners, column, design, outer, first))
    return out


def _group(
    p: Program, place: tuple[int, int], owners: Owners, column: int, design: Design, outer: Ref, own: Ref
) -> NodeGroup:
    gradient = p.product(owners.total, outer, own)
    pulled = p.product(owners.total, gradient, p.weight)
    return NodeGroup(*place, owners, column, design, gradient, pulled, own)
