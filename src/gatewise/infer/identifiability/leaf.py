"""The atom of one leaf of a mixture made of core objects, and draws of its parameters in general position."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from math import isfinite, prod

import torch
from numpy import ndindex
from torch import Tensor

from gatewise.core.experts import Expert
from gatewise.core.families import Family
from gatewise.core.gates import Gate
from gatewise.core.predictors import Parameter, Params
from gatewise.infer.identifiability.atoms import Atom, normal_response, points

SPREAD = 0.7  # standard deviation of drawn parameters
TRIES = 50  # draws of an expert whose kink must lie among the points
FARTHEST = 1.1  # draws are cut here, so that centers and kinks lie among the points
INNER = 0.3  # added to the vectors of inner gates
VARIANCE, TEMPERATURE = 0.8, 1.3
EXPERT, FAMILY = -1, -2  # parts of an atom besides the levels of its gates
BIAS = {None: 0.3, 1: 0.4, 2: 0.3}  # by regime


@dataclass(frozen=True)
class LeafParameter:
    """One named parameter of a core object inside theta."""

    part: int  # level of a gate, EXPERT or FAMILY
    key: str
    path: str
    spec: Parameter
    bias: bool = False  # whether it is added to the score of a branch, outside everything else
    children: int = 1  # outputs of the expert
    squared: bool = False  # whether its entry is the square: the variance of a Gaussian, for its standard deviation

    @property
    def home(self) -> str:
        """The path of the parameter in a measure, such as ``gates.0.weight``."""
        return {EXPERT: "experts.", FAMILY: "family."}.get(self.part, f"gates.{self.part}.") + self.key

    @property
    def entries(self) -> tuple[str, ...]:
        """Names of the entries."""
        shape = self.shape[1:] if self.children == 1 and self.part in (EXPERT, FAMILY) else self.shape
        return tuple(f"{self.path}[{','.join(map(str, place))}]" if place else self.path for place in ndindex(*shape))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the parameter of one leaf: outputs first where there is one value for each."""
        single = self.part == FAMILY or self.spec.per == "node"
        return self.spec.shape if single or self.part >= 0 else (self.children, *self.spec.shape)

    @property
    def size(self) -> int:
        """Number of entries."""
        return prod(self.shape)

    def values(self, theta: Tensor) -> Tensor:
        """Return the parameter of the only branch, or of the only leaf without batch, from its entries."""
        own = theta.sqrt() if self.squared else theta
        branch = self.part >= 0 and self.spec.per == "branch"
        return own.reshape((1, *self.shape) if branch else self.shape)


def slots(
    gates: Sequence[Gate], expert: Expert, family: Family | None, d: int, outputs: int = 1, gate_d: int | None = None
) -> list[LeafParameter]:
    """Return the parameters of one leaf: of every gate on its path, of its expert, of its family."""
    found = []
    for level, gate in enumerate(gates):
        prefix = f"gates.{level}." if len(gates) > 1 else ""
        specs = gate.score.parameters(d if gate_d is None else gate_d)
        found += [
            LeafParameter(level, key, prefix + key, spec, gate.score.bias() == key) for key, spec in specs.items()
        ]
    found += [LeafParameter(EXPERT, key, key, spec, False, outputs) for key, spec in expert.parameters(d).items()]
    if family is not None:
        for key, spec in family.parameters(outputs).items():
            squared = family.has_closed_form_scale and spec.role == "scale"
            found.append(LeafParameter(FAMILY, key, "variance" if squared else key, spec, False, outputs, squared))
    return _apart(found)


def _apart(found: list[LeafParameter]) -> list[LeafParameter]:
    """Put the part in front of the names that an expert or a family has in common with something else."""
    words = {EXPERT: "experts.", FAMILY: "family."}
    paths = [slot.path for slot in found]
    return [replace(s, path=words[s.part] + s.path) if s.part < 0 and paths.count(s.path) > 1 else s for s in found]


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

    Raises
    ------
    ValueError
        If `held` names no parameter, or `regime` is 1 and a score has no slopes.
    """
    own = list(range(d) if gate_inputs is None else gate_inputs)
    layout = slots(gates, expert, family, d, outputs, len(own))
    general = [not gate.link.translation_invariant and regime != 1 for gate in gates]
    biased = general if include_bias is None else [include_bias] * len(gates)
    fixed = {slot.path for slot in layout if not slot.spec.free or (slot.bias and not biased[slot.part])}
    zero = _slopes(gates, layout) if regime == 1 else set()
    biases = [
        0.0 if gate.link.translation_invariant and not counts else BIAS[regime]
        for gate, counts in zip(gates, biased, strict=True)
    ]

    def function(x: Tensor, y: Tensor, theta: Tensor) -> Tensor:
        parts = _split(layout, theta)
        value = torch.ones_like(x[0])
        for level, gate in enumerate(gates):
            value = value * numerator(gate, parts[level], x[own])
        mean = expert(parts[EXPERT], x[:d])
        if family is None:
            return value * mean[0]
        return value * family.log_prob(parts[FAMILY], y.reshape(len(y), -1).T, mean).exp()

    def draw(generator: torch.Generator) -> Tensor:
        for _ in range(TRIES):
            theta = torch.cat([_draw(slot, generator, _given(slot, biases, zero)) for slot in layout])
            if not expert.kinked() or _bends(expert, _split(layout, theta)[EXPERT], d, generator):
                break
        return theta

    return Atom(
        function,
        tuple(name for slot in layout for name in slot.entries),
        draw,
        max(d, max(own) + 1),
        _resting(layout, sorted(fixed), held),
        _levels(gates, layout),
        _response(family, outputs),
        not all(general),
        title,
        _factors(gates, [slot for slot in layout if not slot.bias or slot.spec.free], biased, held),
        tuple(name for path in shared for name in _homes(layout).get(path, ())),
    )


def _resting(layout: Sequence[LeafParameter], fixed: Sequence[str], held: Sequence[str]) -> tuple[str, ...]:
    """Return the entries in which no derivative is taken."""
    paths = {slot.path: slot.entries for slot in layout}
    entries = {name: (name,) for slot in layout for name in slot.entries}
    known = {**entries, **_homes(layout), **paths}
    for name in held:
        if name not in known:
            raise ValueError(f"held={name!r} is no parameter here: the parameters are {', '.join(paths)}")
    return tuple(dict.fromkeys(name for path in (*fixed, *held) for name in known[path]))


def _homes(layout: Sequence[LeafParameter]) -> dict[str, tuple[str, ...]]:
    """Return the entries under the paths of a measure."""
    return {slot.home: slot.entries for slot in layout}


def numerator(gate: Gate, params: Params, x: Tensor) -> Tensor:
    """Return the weight of one branch before it is divided by the sum over branches, ``(n,)``."""
    score = gate.score(params, x)
    link = gate.link
    return (torch.exp(link.logits(score).value) if link.normalised else link.weights(score))[0]


def _split(layout: Sequence[LeafParameter], theta: Tensor) -> dict[int, dict[str, Tensor]]:
    parts: dict[int, dict[str, Tensor]] = {}
    for slot, piece in zip(layout, theta.split([slot.size for slot in layout]), strict=True):
        parts.setdefault(slot.part, {})[slot.key] = slot.values(piece)
    for part in (EXPERT, FAMILY, *(slot.part for slot in layout)):
        parts.setdefault(part, {})
    return parts


def _levels(gates: Sequence[Gate], layout: Sequence[LeafParameter]) -> tuple[tuple[str, ...], ...]:
    """Return the entries of every level; all in one when an inner gate is not normalised and so separates nothing."""
    found = [
        tuple(name for slot in layout if slot.part == level for name in slot.entries) for level in range(len(gates))
    ]
    apart = all(gate.link.normalised for gate in gates[1:])
    return tuple(found) if apart else (tuple(name for level in found for name in level),)


def _factors(
    gates: Sequence[Gate], layout: Sequence[LeafParameter], biased: Sequence[bool], held: Sequence[str]
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


def _slopes(gates: Sequence[Gate], layout: Sequence[LeafParameter]) -> set[str]:
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


def _given(slot: LeafParameter, biases: Sequence[float], zero: Collection[str]) -> float | None:
    """Return the value of a parameter that is not drawn."""
    if not slot.spec.free:
        return slot.spec.initial
    if slot.path in zero:
        return 0.0
    if slot.bias:
        return biases[slot.part]
    if slot.squared:
        return VARIANCE
    return None if slot.spec.transform == "identity" else TEMPERATURE * slot.spec.initial


def _draw(slot: LeafParameter, generator: torch.Generator, given: float | None) -> Tensor:
    """Draw the entries of one parameter in general position."""
    normal = torch.zeros(slot.size, dtype=torch.float64)
    torch.nn.init.trunc_normal_(normal, 0.0, SPREAD, -FARTHEST, FARTHEST, generator=generator)
    if given is not None:
        return torch.full_like(normal, given)
    low, high = slot.spec.bounds
    if isfinite(low) and isfinite(high):
        return low + (high - low) * torch.sigmoid(normal)
    if isfinite(low) or isfinite(high):
        return low + normal.exp() if isfinite(low) else high - normal.exp()
    return normal + (INNER if slot.part > 0 and slot.spec.shape else 0.0)


def _bends(expert: Expert, params: Params, d: int, generator: torch.Generator) -> bool:
    """Return whether the slope of an expert is not the same at nearly all points: its kink lies among them."""
    x = points(generator, d, 256).requires_grad_(True)
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(expert(params, x).sum(), x)
    most = int(torch.unique(slope, dim=1, return_counts=True)[1].max())
    return most < 0.95 * x.shape[1]


def _response(family: Family | None, outputs: int) -> Callable[[torch.Generator, int], Tensor]:
    """Return how responses are drawn, ``(n,)`` or, of several outputs, ``(n, outputs)``."""

    def response(generator: torch.Generator, n: int) -> Tensor:
        if family is None or family.location_scale:
            return normal_response(generator, n * outputs).reshape((n, outputs) if outputs > 1 else (n,))
        own = {k: torch.full(s.shape, s.initial, dtype=torch.float64) for k, s in family.parameters(outputs).items()}
        eta = torch.randn(outputs, n, generator=generator, dtype=torch.float64)
        drawn = family.sample(own, eta, generator)
        return drawn.T if len(drawn) > 1 else drawn[0]

    return response
