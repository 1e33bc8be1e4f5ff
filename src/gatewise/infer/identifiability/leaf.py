"""The atom of one leaf of a mixture made of core objects, and draws of its parameters in general position."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from gatewise.core.experts import Expert
from gatewise.core.families import Family
from gatewise.core.gates import Gate
from gatewise.core.predictors import Params
from gatewise.infer.identifiability.atoms import Atom, normal_response, points
from gatewise.infer.identifiability.slots import BIAS, EXPERT, FAMILY, Slot, drawn, given_value, slots

TRIES = 50  # draws of an expert whose kink must lie among the points


@dataclass(frozen=True, eq=False)
class LeafAtom:
    """One leaf of a mixture: the parts on its path, its inputs, and where their parameters stand in theta.

    Attributes
    ----------
    gates : one per level
    expert : Expert
    family : Family or None
        None: least squares.
    d : int
        Number of inputs of the expert.
    own : list of int
        The inputs of the gates.
    layout : list of Slot
    group_size : int
        Rows that share the leaf, each with d inputs of its own.
    """

    gates: tuple[Gate, ...]
    expert: Expert
    family: Family | None
    d: int
    own: list[int]
    layout: list[Slot]
    group_size: int = 1

    def value(self, x: Tensor, y: Tensor, theta: Tensor) -> Tensor:
        """Return the atom at every row, ``(n,)``."""
        parts = _split(self.layout, theta)
        value = torch.ones_like(x[0])
        for level, gate in enumerate(self.gates):
            value = value * gate.numerators(parts[level], x[self.own])[0]
        if self.family is None:
            return value * self.expert(parts[EXPERT], x[: self.d])[0]
        responses = y.reshape(len(y), self.group_size, -1)
        for row in range(self.group_size):
            mean = self.expert(parts[EXPERT], x[row * self.d : (row + 1) * self.d])
            value = value * self.family.log_prob(parts[FAMILY], responses[:, row].T, mean).exp()
        return value

    def ratio(self, x: Tensor, y: Tensor, theta: Tensor) -> Tensor:
        """Return ``weight * (expert - y)`` with any y, ``(n,)``: the numerator and the denominator of a mean at once.

        A mean is a sum of weights times experts over the sum of the weights that are normalised. Both are constant
        along a direction if this is, whatever y is.
        """
        parts = _split(self.layout, theta)
        inside, outside = torch.ones_like(x[0]), torch.ones_like(x[0])
        for level, gate in enumerate(self.gates):
            weight = gate.numerators(parts[level], x[self.own])[0]
            inside, outside = (inside, outside * weight) if gate.link.normalised else (inside * weight, outside)
        return outside * (inside * self.expert(parts[EXPERT], x[: self.d])[0] - y)

    def draw(self, given: Mapping[str, float | None], generator: torch.Generator) -> Tensor:
        """Draw theta, with the given value of every parameter that has one; a kink lies among the points."""
        for _ in range(TRIES):
            theta = torch.cat([drawn(slot, generator, given[slot.path]) for slot in self.layout])
            params = _split(self.layout, theta)[EXPERT]
            if not self.expert.kinked() or _bends(self.expert, params, self.d, generator):
                break
        return theta


def leaf_atom(
    gates: Sequence[Gate],
    expert: Expert,
    family: Family | None,
    d: int,
    *,
    held: Sequence[str] = (),
    regime: int | None = None,
    include_bias: bool | None = None,
    title: str = "",
    outputs: int = 1,
    gate_inputs: Sequence[int] | None = None,
    shared: Sequence[str] = (),
    group_size: int = 1,
) -> Atom:
    """Return the atom of one leaf: the product of its unnormalised gate weights times density or mean.

    ``u = prod_l w_l(x) * p(y | expert(x))`` for a family, ``u = prod_l w_l(x) * expert(x)`` without one (least
    squares); w is ``exp(score)`` behind a softmax and ``sigmoid(score)`` behind a sigmoid, normalised or not. A
    Gaussian is parameterised by its variance.

    Parameters
    ----------
    gates : one per level, root first
    expert : Expert
    family : Family or None
    d : int
    held : sequence of str
        Parameters or entries in which no derivative is taken; also paths of a measure, such as ``experts.coef``.
    regime : {1, 2}, optional
        For gates whose link is not translation invariant: 1 puts their slopes to zero, 2 and None leave them general.
    include_bias : bool, optional
        Whether derivatives in the biases count; None: those of gates of general slopes without translation invariance.
    title : str
    outputs : int
        Number of responses; with a family, all of them are in the density, without, the first is the mean.
    gate_inputs : sequence of int, optional
        The inputs of the gates by number, when they are not those of the experts, which are 0 to d - 1.
    shared : sequence of str
        Paths of a measure that all leaves share, such as ``family.scale``.
    group_size : int
        Rows that share their leaf. Each has d inputs of the expert and a response; the gate has d inputs of its own,
        which stand behind those of all rows.

    Raises
    ------
    ValueError
        If `held` names no parameter, or `regime` is 1 and a score has no slopes.
    """
    behind = d * group_size if group_size > 1 else 0
    own = list(range(behind, behind + d) if gate_inputs is None else gate_inputs)
    layout = slots(gates, expert, family, d, outputs, len(own))
    general = [not gate.link.translation_invariant and regime != 1 for gate in gates]
    biased = general if include_bias is None else [include_bias] * len(gates)
    fixed = {slot.path for slot in layout if not slot.spec.free or (slot.bias and not biased[slot.part])}
    zero = _slopes(gates, layout) if regime == 1 else set()
    biases = [
        0.0 if gate.link.translation_invariant and not counts else BIAS[regime]
        for gate, counts in zip(gates, biased, strict=True)
    ]
    leaf = LeafAtom(tuple(gates), expert, family, d, own, layout, group_size)
    given = {slot.path: given_value(slot, biases, zero) for slot in layout}
    return Atom(
        leaf.value,
        tuple(name for slot in layout for name in slot.entries),
        partial(leaf.draw, given),
        max(d * group_size, max(own) + 1),
        _resting(layout, sorted(fixed), held),
        _levels(gates, layout),
        _response(family, outputs, group_size),
        not all(general),
        title,
        _factors(gates, [slot for slot in layout if not slot.bias or slot.spec.free], biased, held),
        tuple(name for path in shared for name in _homes(layout).get(path, ())),
        leaf.ratio if family is None and any(gate.link.normalised for gate in gates) else None,
        {slot.path: slot.home for slot in layout},
    )


def _resting(layout: Sequence[Slot], fixed: Sequence[str], held: Sequence[str]) -> tuple[str, ...]:
    """Return the entries in which no derivative is taken."""
    paths = {slot.path: slot.entries for slot in layout}
    entries = {name: (name,) for slot in layout for name in slot.entries}
    known = {**entries, **_homes(layout), **paths}
    for name in held:
        if name not in known:
            raise ValueError(f"held={name!r} is no parameter here: the parameters are {', '.join(paths)}")
    return tuple(dict.fromkeys(name for path in (*fixed, *held) for name in known[path]))


def _homes(layout: Sequence[Slot]) -> dict[str, tuple[str, ...]]:
    """Return the entries under the paths of a measure."""
    return {slot.home: slot.entries for slot in layout}


def _split(layout: Sequence[Slot], theta: Tensor) -> dict[int, dict[str, Tensor]]:
    parts: dict[int, dict[str, Tensor]] = {}
    for slot, piece in zip(layout, theta.split([slot.size for slot in layout]), strict=True):
        parts.setdefault(slot.part, {})[slot.key] = slot.values(piece)
    for part in (EXPERT, FAMILY, *(slot.part for slot in layout)):
        parts.setdefault(part, {})
    return parts


def _levels(gates: Sequence[Gate], layout: Sequence[Slot]) -> tuple[tuple[str, ...], ...]:
    """Return the entries of every level; all in one when an inner gate is not normalised and so separates nothing."""
    found = [
        tuple(name for slot in layout if slot.part == level for name in slot.entries) for level in range(len(gates))
    ]
    apart = all(gate.link.normalised for gate in gates[1:])
    return tuple(found) if apart else (tuple(name for level in found for name in level),)


def _factors(
    gates: Sequence[Gate], layout: Sequence[Slot], biased: Sequence[bool], held: Sequence[str]
) -> tuple[tuple[str, ...], ...]:
    """Return the bias and the other entries of every gate whose bias is free and yet left out."""
    found = []
    for level, gate in enumerate(gates):
        own = [slot for slot in layout if slot.part == level]
        biases = [slot for slot in own if slot.bias]
        given = any(name in held for slot in biases for name in (slot.path, slot.home))
        if gate.link.translation_invariant and not biased[level] and not given:
            first = [name for slot in biases for name in slot.entries] or [""]
            found.append((*first, *(name for slot in own if not slot.bias for name in slot.entries)))
    return tuple(found)


def _slopes(gates: Sequence[Gate], layout: Sequence[Slot]) -> set[str]:
    """Return the slopes of the gates that are not translation invariant."""
    found = {
        level: gate.score.names("slope") for level, gate in enumerate(gates) if not gate.link.translation_invariant
    }
    for level, names in found.items():
        if not names:
            raise ValueError(
                f"regime=1 sets the slopes of a gate to zero, and {gates[level].score} of gate {level} has none: "
                "leave regime out"
            )
    return {slot.path for slot in layout if slot.key in found.get(slot.part, ())}


def _bends(expert: Expert, params: Params, d: int, generator: torch.Generator) -> bool:
    """Return whether the slope of an expert is not the same at nearly all points: its kink lies among them."""
    x = points(generator, d, 256).requires_grad_(True)
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(expert(params, x).sum(), x)
    most = int(torch.unique(slope, dim=1, return_counts=True)[1].max())
    return most < 0.95 * x.shape[1]


def _response(family: Family | None, outputs: int, group_size: int) -> Callable[[torch.Generator, int], Tensor]:
    """Return how responses are drawn, ``(n,)`` or, of several outputs or rows of a group, ``(n, rows * outputs)``."""
    several = outputs * group_size

    def response(generator: torch.Generator, n: int) -> Tensor:
        if family is None or family.location_scale:
            return normal_response(generator, n * several).reshape((n, several) if several > 1 else (n,))
        own = {k: torch.full(s.shape, s.initial, dtype=torch.float64) for k, s in family.parameters(outputs).items()}
        eta = torch.randn(outputs, n * group_size, generator=generator, dtype=torch.float64)
        drawn = family.sample(own, eta, generator)
        return drawn.T.reshape(n, -1) if several > 1 else drawn[0]

    return response
