"""How scores and links are written as instructions; the dicts SCORES, LINKS.

Every part is a function of elementary predictors (slots): numbers per row whose Jacobian in the parameters is a run of
features, or rows of its own. A part gives its value with first and second derivatives in its slots, so that stages
compose by the chain rule, row by row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from gatewise.core.activations import ACTIVATIONS
from gatewise.core.links import NormalisedSigmoid, Sigmoid, Softmax
from gatewise.core.scores import Activated, Affine, Bias, Distance, Tempered
from gatewise.objective.compiled import codes
from gatewise.objective.compiled.program import Program, Ref


class Design(NamedTuple):
    """The Jacobian of a slot: `columns` rows from `first` on, `stride` rows further for the next owner.

    Attributes
    ----------
    place : int
        Which set of features the rows belong to; -1: ones, -2: rows of its own.
    curvature : (Ref, int) or None
        Rows h, and the first of rows e like those of J: the second derivatives of the slot in its parameters are
        ``h J_i J_j`` for i != j and ``-e_i`` for i = j.
    """

    place: int
    first: int
    columns: int
    stride: int = 0
    curvature: tuple[Ref, int] | None = None


class Owners(NamedTuple):
    """Owners of parameters: how many, where the first one's begin, and how far the next one's are."""

    total: int
    at: int
    stride: int


class PredictorSlot(NamedTuple):
    """An elementary predictor: first column among the owner's parameters, and its Jacobian."""

    column: int
    design: Design


class CompiledPart(NamedTuple):
    """A value per owner with its derivatives in the slots; missing second derivatives are zero."""

    value: Ref
    slots: list[PredictorSlot]
    first: list[Ref]
    second: dict[tuple[int, int], Ref]


class PartInputs(NamedTuple):
    """Where a part reads its inputs: x (0) or gate_x (1), and the number of columns."""

    source: int
    d: int


def run_of(p: Program, inputs: PartInputs, origin: tuple[float, ...] | None, constant: bool) -> Design:
    """Return the inputs less an origin, with or without a constant, as a Jacobian."""
    features = p.features(inputs.source, inputs.d, origin)
    return Design(features.place, features.first, features.d + constant)


def ones_of(p: Program) -> Design:
    """Return a constant as a Jacobian."""
    return Design(-1, p.ones.row, 1)


def _affine(p: Program, owners: Owners, column: int, design: Design) -> Ref:
    to = Ref(p.rows(owners.total))
    p.emit(codes.AFFINE, owners.total, to.row, design.first, design.columns, owners.at + column, owners.stride)
    return to


def linear_part(p: Program, owners: Owners, design: Design) -> CompiledPart:
    """Write the product of the first parameters with a Jacobian."""
    return CompiledPart(_affine(p, owners, 0, design), [PredictorSlot(0, design)], [p.ones], {})


def bias_score(p: Program, score: Bias, inputs: PartInputs, owners: Owners, outside: bool) -> CompiledPart:
    """Write ``bias``."""
    return linear_part(p, owners, ones_of(p))


def affine_score(p: Program, score: Affine, inputs: PartInputs, owners: Owners, outside: bool) -> CompiledPart:
    """Write ``weight . x + bias``, without the bias if that is `outside`."""
    return linear_part(p, owners, run_of(p, inputs, None, not outside))


def distance_score(p: Program, score: Distance, inputs: PartInputs, owners: Owners, outside: bool) -> CompiledPart:
    """Write ``bias - ||metric (x - center)||``, without the bias if that is `outside`."""
    features = p.features(inputs.source, inputs.d)
    count, d = owners.total, inputs.d
    to, slopes, inverse = Ref(p.rows(count)), p.rows(count * d), Ref(p.rows(count))
    rests = p.rows(count * d) if p.order > 1 else slopes
    metric = score.metric or (1.0,) * d
    p.emit(
        codes.DISTANCE, count, to.row, slopes, inverse.row, rests, features.first, d, owners.at, owners.stride,
        p.constant(*metric), p.constant(score.radius), p.order,
    )  # fmt: skip
    slot = PredictorSlot(0, Design(-2, slopes, d, d, (inverse, rests)))
    if outside:
        return CompiledPart(to, [slot], [p.ones], {})
    return with_bias(p, CompiledPart(to, [slot], [p.ones], {}), owners, d)


def with_bias(p: Program, part: CompiledPart, owners: Owners, column: int) -> CompiledPart:
    """Write a part with a parameter of its own added."""
    to = Ref(p.rows(owners.total))
    p.emit(codes.SHIFT, owners.total, to.row, *part.value, owners.at + column, owners.stride)
    return part._replace(value=to, slots=[*part.slots, PredictorSlot(column, ones_of(p))], first=[*part.first, p.ones])


def activate(p: Program, part: CompiledPart, count: int, fn: str, radius: float) -> tuple[Ref, Ref, Ref]:
    """Write an activation of the value; return its value, first and second derivative."""
    rounded = ACTIVATIONS[fn].kink and radius > 0
    code = codes.ACTIVATE + codes.FUNCTIONS.index("rounded relu" if rounded else fn)
    value, first, second = (Ref(p.rows(count)) for _ in range(3))
    p.emit(code, count, value.row, first.row, second.row, part.value.row, p.constant(radius), p.order)
    return value, first, second


def _chained(p: Program, part: CompiledPart, count: int, value: Ref, first: Ref, second: Ref | None) -> CompiledPart:
    """Return fn(part) by the chain rule, given fn and its derivatives at the value of the part."""
    if p.order == 0:
        return part._replace(value=value)
    slopes = [p.product(count, first, slope) for slope in part.first]
    curvatures: dict[tuple[int, int], Ref] = {}
    if p.order > 1:
        for i in range(len(part.slots)):
            for j in range(i, len(part.slots)):
                outer = p.times(count, p.times(count, second, part.first[i]), part.first[j])
                total = p.plus(count, outer, p.times(count, first, part.second.get((i, j))))
                if total is not None:
                    curvatures[i, j] = total
    return CompiledPart(value, part.slots, slopes, curvatures)


def activated_score(p: Program, score: Activated, inputs: PartInputs, owners: Owners, outside: bool) -> CompiledPart:
    """Write ``fn(weight . (x - origin)) + bias``, without the bias if that is `outside`."""
    design = run_of(p, inputs, score.origin, constant=False)
    inner = linear_part(p, owners, design)
    part = _chained(p, inner, owners.total, *activate(p, inner, owners.total, score.fn, score.radius))
    return part if outside else with_bias(p, part, owners, inputs.d)


def tempered_score(p: Program, score: Tempered, inputs: PartInputs, owners: Owners, outside: bool) -> CompiledPart:
    """Write ``inner / t``: slopes ``inner_i / t``, ``-s / t`` in t, second ``inner_ij / t, -s_i / t, 2 s / t^2``."""
    inner = SCORES[type(score.inner)](p, score.inner, inputs, owners, False)
    at = sum(slot.design.columns for slot in inner.slots)
    count = owners.total

    def over(ref: Ref, factor: float) -> Ref:
        to = Ref(p.rows(count))
        p.emit(codes.DIVIDE, count, to.row, *ref, owners.at + at, owners.stride, p.constant(factor))
        return to

    value = over(inner.value, 1.0)
    slots = [*inner.slots, PredictorSlot(at, ones_of(p))]
    if p.order == 0:
        return CompiledPart(value, slots, [], {})
    first = [*(over(slope, 1.0) for slope in inner.first), over(value, -1.0)]
    if p.order == 1:
        return CompiledPart(value, slots, first, {})
    second = {key: over(ref, 1.0) for key, ref in inner.second.items()}
    last = len(inner.slots)
    second |= {(i, last): over(first[i], -1.0) for i in range(last)}
    second[last, last] = over(first[last], -2.0)
    return CompiledPart(value, slots, first, second)


def softmax_link(p: Program, part: CompiledPart, count: int) -> CompiledPart:
    """Scores are the logits."""
    return part


def normalised_sigmoid_link(p: Program, part: CompiledPart, count: int) -> CompiledPart:
    """Write ``log sigmoid(s)``."""
    return _elementwise(p, codes.LOG_SIGMOID, part, count)


def sigmoid_link(p: Program, part: CompiledPart, count: int) -> CompiledPart:
    """Write the weight ``sigmoid(s)`` itself, with the derivatives of its logarithm."""
    return _elementwise(p, codes.SIGMOID, part, count)


def _elementwise(p: Program, code: int, part: CompiledPart, count: int) -> CompiledPart:
    value, first, second = (Ref(p.rows(count)) for _ in range(3))
    p.emit(code, count, value.row, first.row, second.row, part.value.row, p.order)
    return _chained(p, part, count, value, first, second)


SCORES: dict[type, Callable[..., CompiledPart]] = {
    Bias: bias_score,
    Affine: affine_score,
    Distance: distance_score,
    Activated: activated_score,
    Tempered: tempered_score,
}
LINKS: dict[type, Callable[..., CompiledPart]] = {
    Softmax: softmax_link,
    NormalisedSigmoid: normalised_sigmoid_link,
    Sigmoid: sigmoid_link,
}
