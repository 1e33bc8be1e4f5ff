"""Directions of free coordinates: those that move no weight and no expert, the spectrum of a Hessian, their names."""

from __future__ import annotations

import torch
from torch import Tensor

from gatewise.core.mixture import Measure
from gatewise.core.names import path_of
from gatewise.objective.parameterization import Parameterization

MOVED = 1e-2  # of the largest part of a coordinate in some directions: a smaller one may be rounding
LEAST = 1e-7  # of the largest diagonal entry of a Hessian: a smaller one is no unit of its coordinate


def gauge_directions(parameterization: Parameterization, free: Tensor) -> Tensor:
    """Return an orthonormal basis (P, g) of the directions from `free` (P,) that move no weight and no expert.

    Combinations of tangents that would move a held coordinate are no directions of the parameterization.
    """
    measure = parameterization.measure(free)
    return torch.cat([gate_directions(parameterization, measure), expert_directions(parameterization, measure)], -1)


def gate_directions(parameterization: Parameterization, measure: Measure) -> Tensor:
    """Return an orthonormal basis (P, g) of the directions of a parameterization that move no weight of any gate."""
    mixture = parameterization.mixture
    moves = [
        _entries(parameterization, f"gates.{level}.", mixture.nodes(level), gate.tangents(measure.gates[level]))
        for level, gate in enumerate(mixture.gates)
    ]
    return _directions(parameterization, torch.cat(moves))


def expert_directions(parameterization: Parameterization, measure: Measure) -> Tensor:
    """Return an orthonormal basis (P, g) of the directions of a parameterization that move no value of any expert."""
    moves = parameterization.mixture.expert.tangents(measure.experts)
    return _directions(parameterization, _entries(parameterization, "experts.", outputs_of(parameterization), moves))


def outputs_of(parameterization: Parameterization) -> int:
    """Return the number of outputs of all leaves."""
    depth = parameterization.mixture.depth
    shape = next(shape for path, shape in parameterization.shapes.items() if path.startswith("experts."))
    return torch.Size(shape[: depth + 1]).numel()


def _directions(parameterization: Parameterization, tangents: Tensor) -> Tensor:
    """Return an orthonormal basis (P, g) of the directions of the parameterization among tangents (t, F)."""
    tangents = tangents[tangents.norm(dim=-1) > 0]
    if not len(tangents):
        return parameterization.matrix.new_zeros(parameterization.size, 0)
    tangents = tangents / tangents.norm(dim=-1, keepdim=True)
    inverse = torch.linalg.pinv(parameterization.matrix).mT  # columns that a kink ties are not orthogonal
    outside = tangents - tangents @ inverse @ parameterization.matrix.mT
    values, kept = torch.linalg.eigh(outside @ outside.mT)
    basis, sizes, _ = torch.linalg.svd(inverse.mT @ tangents.mT @ kept[:, values < 1e-14], full_matrices=False)
    return basis[:, sizes > 1e-9]


def _entries(parameterization: Parameterization, room: str, owners: int, moves: dict[str, Tensor]) -> Tensor:
    """Return directions (g, F) of one room in the entries of the measure, each in one owner (node or output) only."""
    count = len(next(iter(moves.values()))) if moves else 0
    alone = torch.eye(owners, dtype=torch.float64)[:, None, :, None]
    parts = []
    for path, shape in parameterization.shapes.items():
        size = torch.Size(shape).numel()
        move = moves.get(path.removeprefix(room))
        own = alone.new_zeros(owners, count, size) if move is None else alone * move.reshape(count, owners, -1)
        parts.append(own.reshape(owners * count, size))
    return torch.cat(parts, -1)


def spectrum(hessian: Tensor, open_: Tensor, gauge: Tensor, unit: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return eigenvalues and directions (P, e) of the open block, gauge directions left out.

    Each coordinate is measured in its `unit` (P,); without, in units of the diagonal: a correlation matrix is judged.
    A diagonal below `LEAST` of the largest is no unit: rounding beside it would look like curvature.
    """
    index = open_.nonzero()[:, 0]
    if not len(index):
        return hessian.new_zeros(0), hessian.new_zeros(len(open_), 0)
    block = hessian[index][:, index]
    diagonal = block.diagonal().abs()
    size = diagonal.clamp_min(LEAST * float(diagonal.max()) + 1e-300).sqrt() if unit is None else 1.0 / unit[index]
    block = block / size[:, None] / size
    kept = torch.eye(len(index), dtype=hessian.dtype)
    if gauge.shape[1]:
        basis, _ = torch.linalg.qr(gauge[index] * size[:, None], mode="complete")
        kept = basis[:, gauge.shape[1] :]
    values, turned = torch.linalg.eigh(kept.mT @ block @ kept)
    vectors = hessian.new_zeros(len(open_), len(values))
    vectors[index] = (kept @ turned) / size[:, None]
    return values, vectors


def direction_name(parameterization: Parameterization, direction: Tensor) -> str:
    """Name a direction by its largest coordinates."""
    share = direction.abs() / direction.abs().max()
    order = torch.argsort(share, descending=True)[:4]
    return " & ".join(parameterization.names[i] for i in order.tolist() if float(share[i]) > 0.1)


def paths_along(parameterization: Parameterization, directions: Tensor) -> tuple[str, ...]:
    """Return the paths of the parameters that the span of orthonormal directions (P, m) moves, whatever its basis."""
    parts = directions.norm(dim=-1)
    moved = (parts > MOVED * parts.amax()).nonzero()[:, 0].tolist() if directions.shape[1] else []
    return tuple(dict.fromkeys(path_of(parameterization.names[i]) for i in moved))
