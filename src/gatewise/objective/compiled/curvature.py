"""Second derivatives in the slots, row by row: what the sums of `pairs` are taken of.

With the notation of `objective.likelihood`: the derivative in slot a of branch c is ``G_a = g_c z_a`` (z_a the
derivative of the logit in the slot), that in slot i of leaf l ``r F_i``. With ``Pi_a = pi_c z_a`` and
``U_a = Pi_a + G_a`` the second derivatives of log p are

* ``-G_a Pi_b - U_a G_b`` for two slots of one node, plus ``g_c z_ab + z_a G_b`` within a branch,
* ``(z_a - U_a) G_b`` for a slot below branch c, ``-U_a G_b`` below another branch of the node,
* ``G_a (F_b - G_b) + r S_ab`` within a leaf, and ``-G_a G_b`` for all others.

The expected complete log-likelihood has ``-R_v (Pi_a z_b - Pi_a Pi_b) + g_c z_ab`` within a branch, ``R_v Pi_a Pi_b``
between those of a node, and ``r S_ab`` within a leaf.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from gatewise.objective.compiled import codes
from gatewise.objective.compiled.pairs import Map, Pair, Step
from gatewise.objective.compiled.program import Program, Ref
from gatewise.objective.compiled.tree import CompiledLeaves, CompiledLevel, NodeGroup

Curved = dict[tuple[int, int, int], Ref]


class CurvatureFactors(NamedTuple):
    """Rows of a group that second derivatives of log p are products of.

    Attributes
    ----------
    minus, minus_pulled : Ref
        ``-G``, and times the weight of the row.
    share, down, below : Ref
        Pi, -U and z - U of a branch.
    gap : Ref
        F - G of a leaf.
    """

    minus: Ref
    minus_pulled: Ref
    share: Ref
    down: Ref
    below: Ref
    gap: Ref


def hessian_pairs(
    p: Program, levels: list[CompiledLevel], leaves: CompiledLeaves, groups: list[NodeGroup]
) -> list[Pair]:
    """Write the rows that the Hessian of log p is made of; return all pairs of slots."""
    curved = write_curved(p, levels)
    factors = [_factors(p, group, levels) for group in groups]
    pairs = []
    for k, m, i, j in couples(groups):
        a, b = groups[k], groups[m]
        if a.level == len(levels):
            steps = _steps_of_leaves(a, i, b, j, factors[k], factors[m], leaves)
        else:
            steps = _steps_of_branches(a, i, b, j, factors[k], factors[m], levels[a.level].branches)
            if a.level == b.level and i == j:
                steps += _curvature(p, a, i, b, curved)
        pairs.append(Pair(a.design, b.design, a.at(i), b.at(j), i, j, steps))
    return pairs


def couples(groups: list[NodeGroup]) -> Iterator[tuple[int, int, int, int]]:
    """Yield every pair of slots once: the places k <= m of their groups, and their owners i and j."""
    for k, a in enumerate(groups):
        for m in range(k, len(groups)):
            for i in range(a.total):
                for j in range(i if m == k else 0, groups[m].total):
                    yield k, m, i, j


def _factors(p: Program, group: NodeGroup, levels: list[CompiledLevel]) -> CurvatureFactors:
    count = group.total
    minus = p.minus(count, group.gradient)
    minus_pulled = p.minus(count, group.pulled) if p.weighted else minus
    if group.level == len(levels):
        gap = p.sum(count, group.own, group.gradient, -1)
        return CurvatureFactors(minus, minus_pulled, p.ones, p.ones, p.ones, gap)
    share = p.product(count, levels[group.level].weights, group.own)
    down = p.minus(count, p.sum(count, share, group.gradient))
    return CurvatureFactors(minus, minus_pulled, share, down, p.sum(count, group.own, down), p.ones)


def _steps_of_leaves(
    a: NodeGroup, i: int, b: NodeGroup, j: int, left: CurvatureFactors, right: CurvatureFactors, leaves: CompiledLeaves
) -> list[Step]:
    """Return how the second derivative in slots of leaves i and j is formed."""
    if i != j:
        return [(codes.MULTIPLY, (left.minus.of(i), b.pulled.of(j)))]
    curvature = leaves.second.get((a.slot, b.slot))
    rows = (a.pulled.of(i), right.gap.of(i))
    if curvature is None:
        return [(codes.MULTIPLY, rows)]
    return [(codes.TWO_PRODUCTS, (*rows, leaves.weighed[a.slot].of(i), curvature.of(i)))]


def _steps_of_branches(
    a: NodeGroup, i: int, b: NodeGroup, j: int, left: CurvatureFactors, right: CurvatureFactors, branches: int
) -> list[Step]:
    """Return how the second derivative in a slot of branch i and one of owner j, beside or below it, is formed."""
    branch = j // (b.total // a.total)  # at the level of a
    if branch // branches != i // branches:
        return [(codes.MULTIPLY, (left.minus.of(i), b.pulled.of(j)))]
    rows = ((left.below if branch == i else left.down).of(i), b.pulled.of(j))
    if a.level != b.level:
        return [(codes.MULTIPLY, rows)]
    return [(codes.TWO_PRODUCTS, (left.minus_pulled.of(i), right.share.of(j), *rows))]


def write_curved(p: Program, levels: list[CompiledLevel]) -> Curved:
    """Write ``w g z_ab`` of every level: key (level, slot, slot)."""
    out = {}
    for number, level in enumerate(levels):
        count = level.owners.total
        pulled = p.product(count, level.logit_gradients, p.weight) if level.part.second else p.ones
        for (i, j), ref in level.part.second.items():
            out[number, i, j] = p.product(count, pulled, ref)
    return out


def _curvature(p: Program, a: NodeGroup, owner: int, b: NodeGroup, curved: Curved) -> list[Step]:
    """Return the step that adds second derivatives of the logit in two slots of a branch, if there are any."""
    extra = curved.get((a.level, a.slot, b.slot))
    return [] if extra is None else [(codes.MULTIPLY_ADD, (extra.of(owner), p.ones.row))]


def complete_pairs(
    p: Program, levels: list[CompiledLevel], leaves: CompiledLeaves, groups: list[NodeGroup]
) -> list[Pair]:
    """Write the rows that the Hessian of the expected complete log-likelihood is made of; return its pairs of slots."""
    curved = write_curved(p, levels)
    pairs: list[Pair] = []
    for number, level in enumerate(levels):
        pairs += _node_pairs(p, level, [group for group in groups if group.level == number], curved)
    below = [group for group in groups if group.level == len(levels)]
    for (i, j), curvature in leaves.second.items():
        a, b = below[i], below[j]
        for leaf in range(leaves.owners.total):
            step = (codes.MULTIPLY, (leaves.weighed[i].of(leaf), curvature.of(leaf)))
            pairs.append(Pair(a.design, b.design, a.at(leaf), b.at(leaf), leaf, leaf, [step]))
    return pairs


def _node_pairs(p: Program, level: CompiledLevel, groups: list[NodeGroup], curved: Curved) -> Iterator[Pair]:
    count, branches = level.owners.total, level.branches
    mass, heavy = p.product(level.nodes, level.node, p.weight), Ref(p.rows(count))
    for node in range(level.nodes):
        first = node * branches
        p.emit(codes.MULTIPLY, branches, heavy.row + first, level.weights.row + first, 1, mass.of(node), 0)
    left = [p.product(count, heavy, group.own) for group in groups]
    right = [p.product(count, level.weights, group.own) for group in groups]
    gap = [p.sum(count, share, group.own, -1) for share, group in zip(right, groups, strict=True)]
    for k, a in enumerate(groups):
        for m in range(k, len(groups)):
            for i in range(count):
                node = i - i % branches
                for j in range(i if m == k else node, node + branches):
                    if i == j and simple(p, level):
                        continue
                    steps: list[Step] = [(codes.MULTIPLY, (left[k].of(i), (gap if i == j else right)[m].of(j)))]
                    if i == j:
                        steps += _curvature(p, a, i, groups[m], curved)
                    yield Pair(a.design, groups[m].design, a.at(i), groups[m].at(j), i, j, steps)


def simple(p: Program, level: CompiledLevel) -> bool:
    """Return whether logits are linear in one design that the branches share: their blocks then sum to zero."""
    slots, first, second = level.part.slots, level.part.first, level.part.second
    return len(slots) == 1 and slots[0].design.stride == 0 and not second and first[0] == p.ones


def write_curvatures(p: Program, groups: list[NodeGroup], found: Map, size: int) -> None:
    """Write the sums of ``w G`` times the second derivatives of slots in their parameters."""
    for group in groups:
        if group.design.curvature is None:
            continue
        columns, (inverse, rests) = group.design.columns, group.design.curvature
        heavy, lines = p.product(group.total, group.pulled, inverse), p.rows(columns)
        for owner in range(group.total):
            at, own = group.at(owner), group.design.first + owner * columns
            straight, mixed = p.out(columns), p.out(columns * columns)
            p.emit(codes.DOTS, 1, group.pulled.of(owner), rests + owner * columns, columns, straight, columns)
            p.emit(codes.MULTIPLY, columns, lines, heavy.of(owner), 0, own, 1)
            p.emit(codes.DOTS, columns, lines, own, columns, mixed, columns)
            for i in range(columns):
                found.extra.append(((at + i) * (size + 1), straight + i, -1.0))
                for j in range(columns):
                    if i != j:
                        found.extra.append(((at + i) * size + at + j, mixed + i * columns + j, 1.0))


def add_diagonals(p: Program, levels: list[CompiledLevel], found: Map, size: int) -> None:
    """Note that the block of a branch is minus the sum of its blocks with the other branches of its node."""
    for level in levels:
        if not simple(p, level):
            continue
        columns = range(level.part.slots[0].design.columns)
        for i in range(level.owners.total):
            node = i - i % level.branches
            at = level.owners.at + i * level.owners.stride
            for j in range(node, node + level.branches):
                to = level.owners.at + j * level.owners.stride
                places = [(a, b) for a in columns for b in columns] if i != j else []
                found.extra.extend(
                    ((at + a) * size + at + b, int(found.gather[at + a, to + b]), -1.0) for a, b in places
                )
