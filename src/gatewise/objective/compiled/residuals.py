"""Least squares: the leaves of ``-1/2 ||y - f||^2``, and its second derivatives row by row.

With ``f = sum_l W_l h_l`` and the residual r held, the contributions ``W (r . h)`` of the leaves take the place of the
responsibilities, as in `objective.squares`. With the notation of `curvature`, and D_a^k for the derivative of output k
of f in a slot, the second derivatives are ``- sum_k D_a^k D_b^k``, which alone is the Gauss-Newton product, plus

* ``-G_a Pi_b - Pi_a G_b`` for two slots of one node, plus ``g_c z_ab + z_a G_b`` within a branch,
* ``(z_a - Pi_a) G_b`` for a slot below branch c, ``-Pi_a G_b`` below another branch of the node,
* ``W r_k S_ab`` within an output of a leaf.

``G = sum_k r_k D^k`` joins the first product of all: ``D_a^k (D_b^k + r_k Pi_b)``.
Where branches have weights of their own, Pi is zero.
"""

from __future__ import annotations

from typing import NamedTuple

from gatewise.core.mixture import Mixture
from gatewise.objective.compiled import codes
from gatewise.objective.compiled.curvature import Curved, couples, write_curved
from gatewise.objective.compiled.outputs import EXPERTS
from gatewise.objective.compiled.pairs import Pair, Step
from gatewise.objective.compiled.parts import Owners, PartInputs
from gatewise.objective.compiled.program import SQUARES_HESSIAN, Program, Ref
from gatewise.objective.compiled.tree import (
    CompiledLeaves,
    CompiledLevel,
    Mean,
    NodeGroup,
    Sizes,
    width,
    write_logit_gradients,
)

Product = tuple[int, int]


class ResidualFactors(NamedTuple):
    """Rows of a group that second derivatives are products of; lists by output, None: zero.

    Attributes
    ----------
    minus : list
        ``-w D``.
    slope, beside : list
        D, and ``D + r Pi``, which is for slots of the same node.
    down, below : Ref or None
        -Pi and z - Pi of a branch.
    """

    minus: list[Ref | None]
    slope: list[Ref | None]
    beside: list[Ref | None]
    down: Ref | None
    below: Ref | None


def write_path_weights(p: Program, levels: list[CompiledLevel]) -> Ref:
    """Write the product W of the weights on the path to every leaf."""
    above = levels[0].weights
    for level in levels[1:]:
        to = Ref(p.rows(level.owners.total))
        for node in range(level.nodes):
            first = node * level.branches
            p.emit(codes.MULTIPLY, level.branches, to.row + first, level.weights.row + first, 1, above.of(node), 0)
        above = to
    return above


def write_mass(p: Program, shares: Ref, levels: list[CompiledLevel]) -> None:
    """Write the sums over the rows of the shares of the leaves: their weights, or their responsibilities."""
    leaves = levels[-1].owners.total
    p.emit(codes.DOTS, 1, p.weight.row, shares.row, leaves, p.out(leaves), leaves)


def write_squares(
    p: Program, mixture: Mixture, sizes: Sizes, levels: list[CompiledLevel], start: int
) -> tuple[CompiledLeaves, int]:
    """Write outputs, residuals and contributions of the leaves; return them and the number of coordinates."""
    count, each = mixture.n_leaves, width(mixture.expert.parameters(sizes.d))
    mean = Mean(write_path_weights(p, levels), [], [], [])
    density, shares = Ref(p.rows(1), 0), Ref(p.rows(count))
    owners = Owners(count, start, sizes.q * each)
    leaves = CompiledLeaves([], [], {}, owners, [], [], shares, density, mean)
    for output in range(sizes.q):
        own = owners._replace(at=start + output * each)
        part = EXPERTS[type(mixture.expert)](p, mixture.expert, PartInputs(0, sizes.d), own, output)
        mean.parts.append(p.product(count, mean.weight, part.value))
        residual = _write_residual(p, output, mean.parts[output], count, density)
        mean.residual.append(residual)
        if p.order == 0:
            continue
        code = codes.MULTIPLY_ADD if output else codes.MULTIPLY
        p.emit(code, count, shares.row, *mean.parts[output], *residual)
        here, slots = len(leaves.slots), len(part.slots)
        outer = p.product(count, mean.weight, residual)
        leaves.slots.extend((output * each + slot.column, slot.design) for slot in part.slots)
        leaves.first.extend(part.first)
        leaves.second.update({(here + i, here + j): ref for (i, j), ref in part.second.items()})
        leaves.outer.extend([outer] * slots)
        leaves.weighed.extend([p.product(count, outer, p.weight)] * slots)
        mean.output.extend([output] * slots)
    return leaves, start + count * owners.stride


def _write_residual(p: Program, output: int, parts: Ref, count: int, density: Ref) -> Ref:
    """Write ``y - f`` of one output, and add minus half its square to the density."""
    fitted, half = Ref(p.rows(1), 0), Ref(p.rows(1), 0)
    p.emit(codes.SUM_UP, 1, count, parts.row, fitted.row)
    residual = p.sum(1, Ref(p.y + output, 0), fitted, -1)._replace(step=0)
    p.emit(codes.SCALE, 1, half.row, *residual, -1, 0, p.constant(-0.5), p.constant(0.0))
    p.emit(codes.MULTIPLY_ADD if output else codes.MULTIPLY, 1, density.row, *half, *residual)
    return residual


def squares_pairs(
    p: Program, levels: list[CompiledLevel], leaves: CompiledLeaves, groups: list[NodeGroup]
) -> list[Pair]:
    """Write the rows that the Hessian, or the Gauss-Newton product alone, is made of; return its pairs of slots."""
    curved = write_curved(p, levels) if p.kind == SQUARES_HESSIAN else {}
    factors = _factors(p, levels, leaves, groups)
    pairs = []
    for k, m, i, j in couples(groups):
        a, b = groups[k], groups[m]
        beside = p.kind == SQUARES_HESSIAN and a.level == b.level < len(levels) and _related(a, i, b, j, levels)
        rights = factors[m].beside if beside else factors[m].slope
        outer = zip(factors[k].minus, rights, strict=True)
        products = [(u.of(i), v.of(j)) for u, v in outer if u is not None and v is not None]
        if p.kind == SQUARES_HESSIAN:
            products += _curvatures(p, a, i, b, j, levels, leaves, factors[k], curved)
        if products:
            pairs.append(Pair(a.design, b.design, a.at(i), b.at(j), i, j, _steps(products)))
    return pairs


def _branch(a: NodeGroup, b: NodeGroup, j: int) -> int:
    """Return the branch, at the level of a, that owner j of b is or is below."""
    return j // (b.total // a.total)


def _related(a: NodeGroup, i: int, b: NodeGroup, j: int, levels: list[CompiledLevel]) -> bool:
    """Return whether owner j of b is below the node of branch i."""
    branches = levels[a.level].branches
    return _branch(a, b, j) // branches == i // branches


def _curvatures(
    p: Program,
    a: NodeGroup,
    i: int,
    b: NodeGroup,
    j: int,
    levels: list[CompiledLevel],
    leaves: CompiledLeaves,
    left: ResidualFactors,
    curved: Curved,
) -> list[Product]:
    """Return the products that are added to the Gauss-Newton one."""
    if a.level == len(levels):
        curvature = leaves.second.get((a.slot, b.slot)) if i == j else None
        return [] if curvature is None else [(leaves.weighed[a.slot].of(i), curvature.of(i))]
    if not _related(a, i, b, j, levels):
        return []
    own = left.below if _branch(a, b, j) == i else left.down
    out = [] if own is None else [(own.of(i), b.pulled.of(j))]
    extra = curved.get((a.level, a.slot, b.slot)) if a.level == b.level and i == j else None
    return out if extra is None else [*out, (extra.of(i), p.ones.row)]


def _steps(products: list[Product]) -> list[Step]:
    """Return the instructions that add up products."""
    if len(products) == 1:
        return [(codes.MULTIPLY, products[0])]
    first: Step = (codes.TWO_PRODUCTS, (*products[0], *products[1]))
    return [first, *((codes.MULTIPLY_ADD, product) for product in products[2:])]


def _factors(
    p: Program, levels: list[CompiledLevel], leaves: CompiledLeaves, groups: list[NodeGroup]
) -> list[ResidualFactors]:
    mean = leaves.mean
    assert mean is not None
    gradients_at_logits = [
        [level.logit_gradients for level in write_logit_gradients(p, levels, parts)] for parts in mean.parts
    ]
    out = []
    for group in groups:
        if group.level == len(levels):
            outer = [mean.weight if k == mean.output[group.slot] else None for k in range(len(mean.parts))]
        else:
            outer = [logit_gradients[group.level] for logit_gradients in gradients_at_logits]
        out.append(_factors_of(p, group, levels, outer, mean.residual))
    return out


def _factors_of(
    p: Program, group: NodeGroup, levels: list[CompiledLevel], outer: list[Ref | None], residual: list[Ref]
) -> ResidualFactors:
    count = group.total
    slope = [p.times(count, ref, group.own) for ref in outer]
    minus = [None if ref is None else p.minus(count, p.product(count, ref, p.weight)) for ref in slope]
    if group.level == len(levels) or not levels[group.level].normalised:
        return ResidualFactors(minus, slope, slope, None, group.own)
    if p.kind != SQUARES_HESSIAN:
        return ResidualFactors(minus, slope, slope, None, None)
    share = p.product(count, levels[group.level].weights, group.own)
    beside = [p.plus(count, ref, p.product(count, share, r)) for ref, r in zip(slope, residual, strict=True)]
    down = p.minus(count, share)
    return ResidualFactors(minus, slope, beside, down, p.sum(count, group.own, down))
