"""The leaves of a likelihood: log densities and responsibilities, with the derivatives in every slot."""

from __future__ import annotations

from gatewise.core.mixture import Mixture
from gatewise.objective.compiled import codes
from gatewise.objective.compiled.outputs import EXPERTS, FAMILIES, Leaf
from gatewise.objective.compiled.parts import CompiledPart, Design, Owners, PartInputs
from gatewise.objective.compiled.program import Program, Ref
from gatewise.objective.compiled.tree import CompiledLeaves, CompiledLevel, Sizes, width


def write_leaves(
    p: Program, mixture: Mixture, sizes: Sizes, levels: list[CompiledLevel], start: int
) -> tuple[CompiledLeaves, int]:
    """Write predictors, log densities and responsibilities of the leaves; return them and the number of coordinates."""
    expert, family, count = mixture.expert, mixture.family, mixture.n_leaves
    each = width(expert.parameters(sizes.d))
    stride = sizes.q * each + width(family.parameters(sizes.q))
    joint = Ref(p.rows(count))
    slots: list[tuple[int, Design]] = []
    first: list[Ref] = []
    second: dict[tuple[int, int], Ref] = {}
    for output in range(sizes.q):
        owners = Owners(count, start + output * each, stride)
        part = EXPERTS[type(expert)](p, expert, PartInputs(0, sizes.d), owners, output)
        own = sizes.q * each + output
        to = Ref(p.rows(count)) if output else joint
        law = FAMILIES[type(family)](p, family, p.y + output, part.value, to, Owners(count, start + own, stride))
        if output:
            p.emit(codes.ADD, count, joint.row, *joint, *to, 1)
        if p.order:
            _chain(p, count, part, law, len(slots), first, second)
            slots += [(output * each + slot.column, slot.design) for slot in part.slots]
            slots += [(own, Design(-1, p.ones.row, 1))] * (len(law.first) - 1)
    _write_paths(p, levels, joint)
    share, density = Ref(p.rows(count)), Ref(p.rows(1), 0)
    log = Ref(p.rows(1), 0)
    p.emit(codes.SOFTMAX, 1, count, joint.row, share.row, density.row, log.row, p.rows(1), int(p.order == 0))
    p.emit(codes.ADD, 1, density.row, *density, *log, 1)
    weighed = p.product(count, share, p.weight) if p.order else share
    outer, owners = [share] * len(slots), Owners(count, start, stride)
    leaves = CompiledLeaves(slots, first, second, owners, outer, [weighed] * len(slots), share, density)
    return leaves, start + count * stride


def _chain(
    p: Program,
    count: int,
    part: CompiledPart,
    law: Leaf,
    here: int,
    first: list[Ref],
    second: dict[tuple[int, int], Ref],
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


def _write_paths(p: Program, levels: list[CompiledLevel], joint: Ref) -> None:
    """Add the log weights of the leaves to their log densities."""
    above = -1
    for number, level in enumerate(levels):
        last = number == len(levels) - 1
        to = joint.row if last else p.rows(level.owners.total)
        logits = level.part.value.row
        p.emit(codes.PATH, level.nodes, level.branches, above, logits, *level.normaliser, to, int(last))
        above = to
