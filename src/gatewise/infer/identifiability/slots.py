"""The parameters of one leaf as places in theta, and how they are drawn in general position."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from math import isfinite, prod

import torch
from torch import Tensor

from gatewise.core.experts import Expert
from gatewise.core.families import Family
from gatewise.core.gates import Gate
from gatewise.core.names import entry_names
from gatewise.core.parameters import Parameter

SPREAD = 0.7  # standard deviation of drawn parameters
FARTHEST = 1.1  # draws are cut here, so that centers and kinks lie among the points
INNER = 0.3  # added to the vectors of inner gates
VARIANCE, TEMPERATURE = 0.8, 1.3
EXPERT, FAMILY = -1, -2  # parts of an atom besides the levels of its gates
BIAS = {None: 0.3, 1: 0.4, 2: 0.3}  # by regime


@dataclass(frozen=True)
class Slot:
    """One named parameter of a core object inside theta."""

    part: int  # level of a gate, EXPERT or FAMILY
    key: str  # its name in that part
    path: str  # its name among all parameters of the leaf
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
        return tuple(entry_names(self.path, shape))

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
) -> list[Slot]:
    """Return the parameters of one leaf: of every gate on its path, of its expert, of its family."""
    found = []
    for level, gate in enumerate(gates):
        prefix = f"gates.{level}." if len(gates) > 1 else ""
        specs = gate.score.parameters(d if gate_d is None else gate_d)
        found += [Slot(level, key, prefix + key, spec, gate.score.bias() == key) for key, spec in specs.items()]
    found += [Slot(EXPERT, key, key, spec, False, outputs) for key, spec in expert.parameters(d).items()]
    if family is not None:
        for key, spec in family.parameters(outputs).items():
            squared = family.has_closed_form_scale and spec.role == "scale"
            found.append(Slot(FAMILY, key, "variance" if squared else key, spec, False, outputs, squared))
    return _apart(found)


def _apart(found: list[Slot]) -> list[Slot]:
    """Put the part in front of the names that an expert or a family has in common with something else."""
    words = {EXPERT: "experts.", FAMILY: "family."}
    paths = [slot.path for slot in found]
    return [replace(s, path=words[s.part] + s.path) if s.part < 0 and paths.count(s.path) > 1 else s for s in found]


def given_value(slot: Slot, biases: Sequence[float], zero: Collection[str]) -> float | None:
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


def drawn(slot: Slot, generator: torch.Generator, given: float | None) -> Tensor:
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
