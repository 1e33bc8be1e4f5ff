"""Parameterization: a Measure as a flat vector of unconstrained coordinates; the only code that packs and unpacks it.

free -> working coordinates of every entry (affine: ``offset + matrix @ free``: gauge, ties, held parts) -> natural
values (elementwise: exp, 1/x). Local coordinates of `derivatives` are picked from the natural ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, prod

import torch
from torch import Tensor

from gatewise.core.mixture import Measure, Mixture
from gatewise.core.predictors import Parameter

IDENTITY, LOG, RECIPROCAL = 0, 1, 2
Limits = Mapping[str, tuple[float | Tensor, float | Tensor]]
Specs = Mapping[str, tuple[Parameter, tuple[int, ...]]]

NEAR = 1e-9  # share of a limit by which a fixed value may be beyond it
KINDS = {"identity": IDENTITY, "log": LOG, "reciprocal": RECIPROCAL}


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
        Entry behind every local coordinate of `derivatives`.
    names : tuple of str
        Name of every free coordinate, such as ``gates.0.weight[0,1]``.
    held : tuple of str
        Paths that the gauge holds because the data cannot identify them.
    ends : dict path -> (str, str)
        `at_least` and `at_most` of every parameter that has words for one of them.
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

    @property
    def size(self) -> int:
        """Number of free coordinates P."""
        return self.matrix.shape[1]

    def columns(self, path: str) -> Tensor:
        """Return the free coordinate behind every entry of a path, in the path's shape; -1 where it is held."""
        at = 0
        for other, shape in self.shapes.items():
            if other == path:
                block = self.matrix[at : at + prod(shape)]
                column = block.argmax(1) if block.shape[1] else torch.zeros(len(block), dtype=torch.long)
                return torch.where((block != 0).any(1), column, -1).reshape(shape)
            at += prod(shape)
        raise ValueError(f"{path!r} is not a parameter of this mixture: the paths are {', '.join(self.shapes)}")

    def offset_of(self, path: str) -> Tensor:
        """Return the working values of a path at free coordinates zero, in the path's shape."""
        at = 0
        for other, shape in self.shapes.items():
            if other == path:
                return self.offset[at : at + prod(shape)].reshape(shape)
            at += prod(shape)
        raise ValueError(f"{path!r} is not a parameter of this mixture: the paths are {', '.join(self.shapes)}")

    def end(self, name: str, free: Tensor) -> tuple[float, str, str]:
        """Return where a coordinate on a bound stands at a point (P,): value, and `at_least` or `at_most` as it is."""
        i = self.names.index(name)
        entry = int(self.matrix[:, i].argmax())
        least, most = self.ends.get(name.partition("[")[0], ("", ""))
        low = (free[i] - self.lower[i] < self.upper[i] - free[i]) != (self.kind[entry] == RECIPROCAL)
        value = float(self.constrained(free)[entry])
        return (value, least, "") if bool(low) else (value, "", most)

    def constrained(self, free: Tensor) -> Tensor:
        """Return the natural values ``(*B, F)`` of free coordinates ``(*B, P)``."""
        working = free @ self.matrix.mT + self.offset
        log, reciprocal = self.kind == LOG, self.kind == RECIPROCAL
        grown = torch.exp(torch.where(log, working, 0.0))
        turned = 1.0 / torch.where(reciprocal, working, 1.0)
        return torch.where(log, grown, torch.where(reciprocal, turned, working))

    def measure(self, free: Tensor) -> Measure:
        """Return the measure of free coordinates ``(*B, P)``."""
        return self.unflatten(self.constrained(free))

    def unflatten(self, natural: Tensor) -> Measure:
        """Return the measure with the given natural values ``(*B, F)``."""
        out, at = {}, 0
        for path, shape in self.shapes.items():
            size = prod(shape)
            out[path] = natural[..., at : at + size].reshape(natural.shape[:-1] + shape)
            at += size
        return from_paths(out, self.mixture.depth)

    def free(self, measure: Measure) -> Tensor:
        """Return the free coordinates ``(*B, P)`` of a measure: of its gauge representative, tied parts averaged."""
        paths = measure.paths()
        measure_paths = [paths[path] for path in self.shapes]
        flat = [
            v.reshape(v.shape[: v.ndim - len(s)] + (-1,))
            for v, s in zip(measure_paths, self.shapes.values(), strict=True)
        ]
        natural = torch.cat(flat, -1)
        working = _where(self.kind, natural, torch.log(natural.clamp_min(1e-300)), 1.0 / natural)
        working = self._gauged(working)
        weights = self.matrix / (self.matrix * self.matrix).sum(0)
        return (working - self.offset) @ weights

    def _gauged(self, working: Tensor) -> Tensor:
        """Subtract the last branch where the gate allows it, so that the held reference is zero."""
        at = 0
        pieces = []
        for path, shape in self.shapes.items():
            size = prod(shape)
            piece = working[..., at : at + size].reshape(working.shape[:-1] + shape)
            at += size
            kind, *rest = path.split(".")
            if kind == "gates":
                level = int(rest[0])
                if rest[1] in self.mixture.gates[level].translation():
                    axis = piece.ndim - len(shape) + level
                    last = self.columns(path).narrow(level, shape[level] - 1, 1) < 0
                    held = last & (self.offset_of(path).narrow(level, shape[level] - 1, 1) == 0)
                    piece = piece - torch.where(held, piece.narrow(axis, -1 % piece.shape[axis], 1), 0.0)
            pieces.append(piece.reshape(working.shape[:-1] + (size,)))
        return torch.cat(pieces, -1)

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
        return _where(self.kind, one, natural, -square), _where(self.kind, zero, natural, 2 * square * natural)


def _where(kind: Tensor, identity: Tensor, log: Tensor, reciprocal: Tensor) -> Tensor:
    return torch.where(kind == IDENTITY, identity, torch.where(kind == LOG, log, reciprocal))


def from_paths(tensors: Mapping[str, Tensor], depth: int) -> Measure:
    """Build a measure from tensors under their paths."""

    def part(prefix: str) -> dict[str, Tensor]:
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    return Measure(tuple(part(f"gates.{i}.") for i in range(depth)), part("experts."), part("family."))


def specifications(mixture: Mixture, d: int, gate_d: int, q: int) -> dict[str, tuple[Parameter, tuple[int, ...]]]:
    """Return, for every path, the parameter and its full shape without batch."""
    out: dict[str, tuple[Parameter, tuple[int, ...]]] = {}
    for level, gate in enumerate(mixture.gates):
        for name, spec in gate.score.parameters(gate_d).items():
            owners = mixture.branching[: level + (spec.per == "branch")]
            out[f"gates.{level}.{name}"] = spec, owners + spec.shape
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
    builder = _Builder(mixture, bounds or {}, fixed or {}, gauge)
    for path, (spec, shape) in specs.items():
        builder.add(path, spec, shape)
    return builder.parameterization(specs, d, gate_d, q)


def tied(
    parameterization: Parameterization, ties: Sequence[tuple[str, ...]], units: Mapping[str, Tensor]
) -> Parameterization:
    """Return the parameterization in which the numbers of each tie are one coordinate, that of the first.

    Parameters
    ----------
    parameterization : Parameterization
    ties : tuples of names of free coordinates
    units : mapping path -> Tensor of the path's shape
        What one unit of the data is in working units: natural values are equal in the units of the data.

    Raises
    ------
    ValueError
        For a name that is not estimated, one in two ties, and numbers of different kinds.
    """
    names = [name for tie in ties for name in tie]
    for name in names:
        if name not in parameterization.names:
            raise ValueError(
                f"ties has {name!r}, which is not estimated: the names are {', '.join(parameterization.names)}"
            )
        if names.count(name) > 1:
            raise ValueError(f"ties has {name!r} twice: give each number in one tie")
    one = torch.ones((), dtype=torch.float64)
    unit = torch.cat(
        [units.get(path, one).expand(shape).reshape(-1) for path, shape in parameterization.shapes.items()]
    )
    matrix, offset, lower, upper = (
        t.clone()
        for t in (parameterization.matrix, parameterization.offset, parameterization.lower, parameterization.upper)
    )
    for first, *others in ([parameterization.names.index(name) for name in tie] for tie in ties):
        entry = int(matrix[:, first].argmax())
        for other in others:
            rows = matrix[:, other].nonzero()[:, 0]
            if bool((parameterization.kind[rows] != parameterization.kind[entry]).any()):
                pair = f"{parameterization.names[first]} and {parameterization.names[other]}"
                raise ValueError(f"{pair} are of different kinds and cannot be tied")
            ratio = unit[rows[0]] / unit[entry]
            shift = torch.log(ratio) if int(parameterization.kind[entry]) == LOG else torch.zeros_like(one)
            factor = ratio if int(parameterization.kind[entry]) == IDENTITY else one
            matrix[:, first] += matrix[:, other] * factor
            offset[rows] += shift
            lower[first] = torch.maximum(lower[first], (parameterization.lower[other] - shift) / factor)
            upper[first] = torch.minimum(upper[first], (parameterization.upper[other] - shift) / factor)
    dropped = {name for tie in ties for name in tie[1:]}
    kept = [i for i, name in enumerate(parameterization.names) if name not in dropped]
    return replace(
        parameterization,
        matrix=matrix[:, kept],
        offset=offset,
        lower=lower[kept],
        upper=upper[kept],
        names=tuple(parameterization.names[i] for i in kept),
    )


class _Builder:
    """Collects the columns of the affine map, path by path."""

    def __init__(self, mixture: Mixture, bounds: Limits, fixed: Mapping[str, Tensor], gauge: str) -> None:
        self.mixture, self.bounds, self.fixed, self.gauge = mixture, bounds, fixed, gauge
        self.column: list[Tensor] = []  # free column of each entry, -1 when held
        self.offset: list[Tensor] = []
        self.kind: list[Tensor] = []
        self.lower: list[Tensor] = []
        self.upper: list[Tensor] = []
        self.names: list[str] = []
        self.held: list[str] = []

    def add(self, path: str, spec: Parameter, shape: tuple[int, ...]) -> None:
        kinds = (spec.transform,) * prod(spec.shape) if isinstance(spec.transform, str) else spec.transform
        repeats = prod(shape) // max(len(kinds), 1)
        kind = torch.tensor([KINDS[k] for k in kinds] * repeats, dtype=torch.long).reshape(shape)
        value = torch.full(shape, float(spec.initial), dtype=torch.float64)
        open_ = torch.full(shape, spec.free, dtype=torch.bool)
        given = self._given(path, shape)
        known = ~torch.isnan(given)
        room, _, name = path.rpartition(".")
        if spec.only is not None:
            leaf = self.mixture.depth - 1
            without = [branch for branch in range(shape[leaf]) if branch not in spec.only]
            open_.index_fill_(leaf, torch.tensor(without, dtype=torch.long), False)
        if room.startswith("gates."):
            level = int(room.split(".")[1])
            gate = self.mixture.gates[level]
            if name in gate.translation() and spec.per == "branch":
                # the last branch is the reference, unless a branch of the same node is fixed: then that one is
                last = open_.narrow(level, shape[level] - 1, 1)
                last &= known.any(level, keepdim=True)
            if self.mixture.branching[level] == 1 and gate.link.normalised:
                open_.fill_(False)  # one branch has the weight one: there is no gate to estimate
            elif name in gate.held() and self.gauge == "fixed":
                open_.fill_(False)
                if not bool(known.all()):  # else it is held by what was given, not by the gauge
                    self.held.append(path)
        value = torch.where(known, given, value)
        open_ = open_ & ~known
        least, most = (torch.tensor(limit, dtype=torch.float64) for limit in spec.bounds)
        given_low, given_high = self.bounds.get(path, spec.bounds)
        low = torch.maximum(torch.as_tensor(given_low, dtype=torch.float64).expand(shape), least)
        high = torch.minimum(torch.as_tensor(given_high, dtype=torch.float64).expand(shape), most)
        beyond = known & ((value < least - NEAR * least.abs()) | (value > most + NEAR * most.abs()))
        if bool(beyond.any()):
            wrong = float(value[beyond][0])
            why = f": {spec.at_least}" if spec.at_least and wrong < spec.bounds[0] else ""
            raise ValueError(f"fixed {path} has the value {wrong:g}: its range is {least:g} to {most:g}{why}")
        if bool((low > high).any()):
            raise ValueError(f"bounds of {path}: a lower limit is above the upper one")
        ends = torch.stack([_working(kind, low), _working(kind, high)])
        column = self._columns(path, open_, shape)
        self.column.append(column.flatten())
        self.offset.append(torch.where(open_, 0.0, _working(kind, value)).flatten())
        self.kind.append(kind.flatten())
        new = torch.zeros(len(self.names), dtype=torch.float64)
        first = len(self.names) - len(self._fresh)
        box = torch.stack([torch.full_like(new, -inf), torch.full_like(new, inf)])
        picked = column.flatten() >= 0
        box[0, column.flatten()[picked]] = ends.amin(0).flatten()[picked]
        box[1, column.flatten()[picked]] = ends.amax(0).flatten()[picked]
        self.lower.append(box[0, first:])
        self.upper.append(box[1, first:])

    def _given(self, path: str, shape: tuple[int, ...]) -> Tensor:
        """Return the fixed values of a path, NaN where free; leaves that share a value are fixed together."""
        missing = torch.full(shape, torch.nan, dtype=torch.float64)
        if path not in self.fixed:
            return missing
        given = torch.as_tensor(self.fixed[path], dtype=torch.float64).expand(shape)
        if path not in self.mixture.shared:
            return given
        leaves = given.reshape((-1, *shape[self.mixture.depth :]))
        low, high = torch.where(leaves.isnan(), inf, leaves).amin(0), torch.where(leaves.isnan(), -inf, leaves).amax(0)
        if bool((low < high).any()):
            raise ValueError(f"fixed {path} has different values, but all experts share it: give one value")
        return torch.where(low.isfinite(), low, torch.nan).expand(shape)

    def _columns(self, path: str, open_: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Number the free entries of one path; shared paths have one number for all leaves."""
        column = torch.full(shape, -1, dtype=torch.long)
        self._fresh: list[str] = []
        depth = self.mixture.depth
        if path in self.mixture.shared:
            tail = shape[depth:]
            free = open_.reshape((-1, *tail)).all(0)
            numbers = torch.full(tail, -1, dtype=torch.long)
            for index in free.nonzero().tolist():
                numbers[tuple(index)] = self._name(path, index)
            return numbers.expand(shape).clone()
        for index in open_.nonzero().tolist():
            column[tuple(index)] = self._name(path, index)
        return column

    def _name(self, path: str, index: list[int]) -> int:
        label = f"{path}[{','.join(map(str, index))}]" if index else path
        self.names.append(label)
        self._fresh.append(label)
        return len(self.names) - 1

    def parameterization(self, specs: Specs, d: int, gate_d: int, q: int) -> Parameterization:
        column = torch.cat(self.column)
        matrix = torch.zeros(len(column), len(self.names), dtype=torch.float64)
        used = (column >= 0).nonzero()[:, 0]
        matrix[used, column[used]] = 1.0
        shapes = {path: shape for path, (_, shape) in specs.items()}
        return Parameterization(
            self.mixture,
            shapes,
            matrix,
            torch.cat(self.offset),
            torch.cat(self.kind),
            torch.cat(self.lower),
            torch.cat(self.upper),
            _local_index(self.mixture, specs, d, gate_d, q),
            tuple(self.names),
            tuple(self.held),
            {path: (one.at_least, one.at_most) for path, (one, _) in specs.items() if one.at_least or one.at_most},
        )


def _working(kind: Tensor, natural: Tensor) -> Tensor:
    return _where(kind, natural, torch.log(natural.clamp_min(0.0)), 1.0 / natural)


def _local_index(mixture: Mixture, specs: Specs, d: int, gate_d: int, q: int) -> Tensor:
    """Return the entry behind every local coordinate, in the order of `derivatives`."""
    positions, at = {}, 0
    for path, (_, shape) in specs.items():
        positions[path] = torch.arange(at, at + prod(shape)).reshape(shape)
        at += prod(shape)
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
