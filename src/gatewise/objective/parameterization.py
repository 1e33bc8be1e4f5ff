"""Parameterization: a Measure as a flat vector of unconstrained coordinates; the only code that packs and unpacks it.

free -> working coordinates of every entry (affine: ``offset + matrix @ free``: gauge, ties, held parts) -> natural
values (elementwise: exp, 1/x). Local coordinates of `likelihood` are picked from the natural ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import torch
from torch import Tensor

from gatewise.core.mixture import Measure, Mixture
from gatewise.core.names import path_of
from gatewise.core.parameters import Parameter, require_usable
from gatewise.objective.entries import LOG, RECIPROCAL, Entries, Limits, Wanted, entries, reference_branch, where_kind

Specs = Mapping[str, tuple[Parameter, tuple[int, ...]]]

LOGS = (-708.0, 709.0)  # of positive values: what is written down must be a positive number
JOINED = ("offset", "kind", "lower", "upper")  # of the entries of all parameters, one after the other


@dataclass(frozen=True, eq=False)
class Parameterization:
    """Free coordinates of the measures of one mixture.

    Attributes
    ----------
    shapes : dict path -> shape
        Shape of every tensor of the measure, without batch.
    matrix, offset : Tensor (F, P), (F,)
        Working coordinates of the F entries from the P free ones.
    kind : LongTensor (F,)
        Map from working to natural value: identity, exp or reciprocal.
    lower, upper : Tensor (P,)
        Box on the free coordinates.
    local : LongTensor (M,)
        Entry behind every local coordinate of `likelihood`.
    names : tuple of str
        Name of every free coordinate, such as ``gates.0.weight[0,1]``.
    held : tuple of str
        Paths that the gauge holds because the data cannot identify them.
    ends : dict path -> (str, str)
        `at_least` and `at_most` of every parameter that has words for one of them.
    reference : tuple of int
        Reference branch of every level; empty: the last ones.
    """

    mixture: Mixture
    shapes: dict[str, tuple[int, ...]]
    matrix: Tensor
    offset: Tensor
    kind: Tensor
    lower: Tensor
    upper: Tensor
    local: Tensor
    names: tuple[str, ...]
    held: tuple[str, ...]
    ends: Mapping[str, tuple[str, str]]
    reference: tuple[int, ...] = ()

    @property
    def size(self) -> int:
        """Number of free coordinates P."""
        return self.matrix.shape[1]

    @cached_property
    def inverse(self) -> Tensor:
        """The matrix (F, P) that takes working coordinates back to free ones, tied entries averaged."""
        return self.matrix / (self.matrix * self.matrix).sum(0)

    @cached_property
    def _places(self) -> dict[str, Tensor]:
        return places(self.shapes)

    def entries_of(self, path: str) -> Tensor:
        """Return the places of a path among all F entries, in the path's shape."""
        if path not in self.shapes:
            raise ValueError(f"{path!r} is not a parameter of this mixture: the paths are {', '.join(self.shapes)}")
        return self._places[path]

    def columns(self, path: str) -> Tensor:
        """Return the free coordinate behind every entry of a path, in the path's shape; -1 where it is held."""
        rows = self.matrix[self.entries_of(path)]
        column = rows.argmax(-1) if self.size else torch.zeros(rows.shape[:-1], dtype=torch.long)
        return torch.where((rows != 0).any(-1), column, -1)

    def natural_offset(self, path: str) -> Tensor:
        """Return the natural values of a path where it is held, in the path's shape; elsewhere they mean nothing."""
        return self.constrained(self.matrix.new_zeros(self.size))[self.entries_of(path)]

    def end(self, name: str, free: Tensor) -> tuple[float, str, str]:
        """Return where a coordinate on a bound stands at a point (P,): value, and `at_least` or `at_most` as it is."""
        i = self.names.index(name)
        entry = int(self.matrix[:, i].argmax())
        least, most = self.ends.get(path_of(name), ("", ""))
        low = (free[i] - self.lower[i] < self.upper[i] - free[i]) != (self.kind[entry] == RECIPROCAL)
        value = float(self.constrained(free)[entry])
        return (value, least, "") if bool(low) else (value, "", most)

    def inside(self, free: Tensor) -> Tensor:
        """Return free coordinates ``(*B, P)`` moved to the nearest point of the box."""
        return torch.clamp(free, self.lower, self.upper)

    def constrained(self, free: Tensor) -> Tensor:
        """Return the natural values ``(*B, F)`` of free coordinates ``(*B, P)``."""
        working = free @ self.matrix.mT + self.offset
        log, reciprocal = self.kind == LOG, self.kind == RECIPROCAL
        grown = torch.exp(torch.where(log, working, 0.0).clamp(*LOGS))
        turned = 1.0 / torch.where(reciprocal, working, 1.0)
        return torch.where(log, grown, torch.where(reciprocal, turned, working))

    def measure(self, free: Tensor) -> Measure:
        """Return the measure of free coordinates ``(*B, P)``."""
        return self.unflatten(self.constrained(free))

    def unflatten(self, natural: Tensor) -> Measure:
        """Return the measure with the given natural values ``(*B, F)``."""
        return unflatten(self.shapes, natural, self.mixture.depth)

    def flatten(self, measure: Measure) -> Tensor:
        """Return the natural values ``(*B, F)`` of a measure."""
        paths = measure.paths()
        parts = [(paths[path], len(shape)) for path, shape in self.shapes.items()]
        return torch.cat([value.reshape(value.shape[: value.ndim - rank] + (-1,)) for value, rank in parts], -1)

    def free(self, measure: Measure) -> Tensor:
        """Return the free coordinates ``(*B, P)`` of a measure: of its gauge representative, tied parts averaged."""
        natural = self.flatten(measure)
        working = where_kind(self.kind, natural, torch.log(natural.clamp_min(1e-300)), 1.0 / natural)
        return (self._gauged(working) - self.offset) @ self.inverse

    def _gauged(self, working: Tensor) -> Tensor:
        """Subtract the reference branch where the gate allows it, so that what is held there is zero."""
        working = working.clone()
        for level, gate in enumerate(self.mixture.gates):
            for name in gate.translation():
                index = self.entries_of(f"gates.{level}.{name}")
                zero = index.narrow(level, reference_branch(self.mixture, level, self.reference), 1)
                held = (self.matrix[zero] == 0).all(-1) & (self.offset[zero] == 0)
                working[..., index] -= torch.where(held, working[..., zero], 0.0)
        return working

    def slopes(self, free: Tensor) -> Tensor:
        """Return the derivative ``(F, P)`` of the natural values in the free coordinates (P,)."""
        return self._slopes(self.constrained(free))[0].unsqueeze(-1) * self.matrix

    def pull_gradient(self, natural: Tensor, local: Tensor) -> Tensor:
        """Return the gradient in free coordinates ``(S, P)`` from one in local coordinates ``(S, M)``."""
        entries = torch.zeros_like(natural).index_add_(-1, self.local, local)
        first, _ = self._slopes(natural)
        return (entries * first) @ self.matrix

    def pull_hessian(self, natural: Tensor, gradient: Tensor, hessian: Tensor) -> Tensor:
        """Return the Hessian in free coordinates ``(S, P, P)`` from gradient and Hessian in local coordinates."""
        size = natural.shape[-1]
        rows = hessian.new_zeros(hessian.shape[:-2] + (size, hessian.shape[-1])).index_add_(-2, self.local, hessian)
        both = rows.new_zeros(rows.shape[:-1] + (size,)).index_add_(-1, self.local, rows)
        entries = torch.zeros_like(natural).index_add_(-1, self.local, gradient)
        first, second = self._slopes(natural)
        working = first.unsqueeze(-1) * both * first.unsqueeze(-2) + torch.diag_embed(entries * second)
        return self.matrix.mT @ working @ self.matrix

    def _slopes(self, natural: Tensor) -> tuple[Tensor, Tensor]:
        """Return first and second derivative of the natural values in their working coordinates."""
        one, zero = torch.ones_like(natural), torch.zeros_like(natural)
        square = natural * natural
        return where_kind(self.kind, one, natural, -square), where_kind(self.kind, zero, natural, 2 * square * natural)


def places(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Return where the entries of every path are when all are joined, in the path's shape."""
    sizes = [prod(shape) for shape in shapes.values()]
    parts = torch.arange(sum(sizes)).split(sizes)
    return {path: part.reshape(shape) for (path, shape), part in zip(shapes.items(), parts, strict=True)}


def unflatten(shapes: Mapping[str, tuple[int, ...]], values: Tensor, depth: int) -> Measure:
    """Return the measure of joined values ``(*B, F)``."""
    parts = values.split([prod(shape) for shape in shapes.values()], -1)
    tensors = {p: part.reshape(values.shape[:-1] + s) for (p, s), part in zip(shapes.items(), parts, strict=True)}
    return from_paths(tensors, depth)


def from_paths(tensors: Mapping[str, Tensor], depth: int) -> Measure:
    """Build a measure from tensors under their paths."""

    def part(prefix: str) -> dict[str, Tensor]:
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    return Measure(tuple(part(f"gates.{i}.") for i in range(depth)), part("experts."), part("family."))


def specifications(mixture: Mixture, d: int, gate_d: int, q: int) -> dict[str, tuple[Parameter, tuple[int, ...]]]:
    """Return, for every path, the parameter and its full shape without batch.

    Raises
    ------
    ValueError
        If a part describes a parameter that cannot be used.
    """
    out: dict[str, tuple[Parameter, tuple[int, ...]]] = {}
    for level, gate in enumerate(mixture.gates):
        require_usable(gate.score, gate.score.parameters(gate_d))
        for name, spec in gate.score.parameters(gate_d).items():
            owners = mixture.branching[: level + (spec.per == "branch")]
            out[f"gates.{level}.{name}"] = spec, owners + spec.shape
    require_usable(mixture.expert, mixture.expert.parameters(d))
    require_usable(mixture.family, mixture.family.parameters(q))
    for name, spec in mixture.expert.parameters(d).items():
        out[f"experts.{name}"] = spec, mixture.branching + (q,) + spec.shape
    for name, spec in mixture.family.parameters(q).items():
        out[f"family.{name}"] = spec, mixture.branching + spec.shape
    return out


def make_parameterization(
    mixture: Mixture,
    d: int,
    gate_d: int,
    q: int,
    *,
    bounds: Limits | None = None,
    fixed: Mapping[str, Tensor] | None = None,
    gauge: str = "fixed",
    reference: tuple[int, ...] = (),
) -> Parameterization:
    """Build the parameterization of a mixture.

    Parameters
    ----------
    mixture : Mixture
    d, gate_d, q : int
        Numbers of expert inputs, gate inputs and outputs.
    bounds : mapping path -> (lower, upper), optional
        Natural limits, numbers or tensors of the parameter's shape; for gate locations they apply to the difference
        from the last branch.
    fixed : mapping path -> Tensor, optional
        Natural values of parts that are not estimated; NaN entries stay free.
    gauge : {"fixed", "none"}
        ``fixed`` holds parameters that no data can identify (a temperature behind a homogeneous score) at their
        initial value.
    reference : tuple of int
        Reference branch of every level; empty: the last ones.

    Raises
    ------
    ValueError
        For an unknown path, gauge, or lower bound above the upper one.
    """
    specs = specifications(mixture, d, gate_d, q)
    for path in (*(bounds or {}), *(fixed or {}), *mixture.shared):
        if path not in specs:
            raise ValueError(f"{path!r} is not a parameter of this mixture: the paths are {', '.join(specs)}")
    if gauge not in ("fixed", "none"):
        raise ValueError(f"gauge={gauge!r}: choose 'fixed' or 'none'")
    wanted = Wanted(bounds or {}, fixed or {}, gauge, reference)
    parts = {path: entries(mixture, path, spec, shape, wanted) for path, (spec, shape) in specs.items()}
    joined = {name: torch.cat([getattr(part, name) for part in parts.values()]) for name in JOINED}
    return Parameterization(
        mixture,
        {path: shape for path, (_, shape) in specs.items()},
        _matrix(list(parts.values())),
        **joined,
        local=_local_index(mixture, specs, d, gate_d, q),
        names=tuple(name for part in parts.values() for name in part.names),
        held=tuple(path for path, part in parts.items() if part.held),
        ends={
            path: _end_words(one, wanted.bounds.get(path))
            for path, (one, _) in specs.items()
            if one.at_least or one.at_most
        },
        reference=reference,
    )


def _end_words(spec: Parameter, given: tuple[float | Tensor, float | Tensor] | None) -> tuple[str, str]:
    """Return the words for the ends of a range, empty where a narrower bound was given."""
    low, high = spec.bounds if given is None else given
    low, high = (torch.as_tensor(end, dtype=torch.float64) for end in (low, high))
    return (
        spec.at_least if bool((low <= spec.bounds[0]).all()) else "",
        spec.at_most if bool((high >= spec.bounds[1]).all()) else "",
    )


def _matrix(parts: Sequence[Entries]) -> Tensor:
    """Return the matrix ``(F, P)`` from the free coordinates of all parameters to their entries."""
    sizes = [len(part.names) for part in parts]
    column = torch.cat([torch.where(p.column >= 0, p.column + sum(sizes[:i]), -1) for i, p in enumerate(parts)])
    matrix = torch.zeros(len(column), sum(sizes), dtype=torch.float64)
    used = (column >= 0).nonzero()[:, 0]
    matrix[used, column[used]] = 1.0
    return matrix


def _local_index(mixture: Mixture, specs: Specs, d: int, gate_d: int, q: int) -> Tensor:
    """Return the entry behind every local coordinate, in the order of `likelihood`."""
    positions = places({path: shape for path, (_, shape) in specs.items()})
    parts = []
    for level, gate in enumerate(mixture.gates):
        owners = mixture.branching[: level + 1]
        pieces = []
        for name, spec in gate.score.parameters(gate_d).items():
            index = positions[f"gates.{level}.{name}"]
            if spec.per == "node":
                index = index.unsqueeze(level).expand(owners + spec.shape)
            pieces.append(index.reshape((*owners, -1)))
        parts.append(torch.cat(pieces, -1).flatten())
    leaves = mixture.n_leaves
    outputs = [positions[f"experts.{name}"].reshape(leaves, q, -1) for name in mixture.expert.parameters(d)]
    own = [positions[f"family.{name}"].reshape(leaves, -1) for name in mixture.family.parameters(q)]
    parts.append(torch.cat([torch.cat(outputs, -1).flatten(1), *own], -1).flatten())
    return torch.cat(parts)
