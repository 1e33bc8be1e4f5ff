"""The loss between atoms: fitted measures against a truth, merged or mirrored, at their best translation."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from gatewise.core.names import require_one_of
from gatewise.theory.voronoi.align import best_shift
from gatewise.theory.voronoi.atoms import Atoms, merged, mirrored
from gatewise.theory.voronoi.losses import Loss
from gatewise.theory.voronoi.pairs import Pairs, PairsOfCell, norms, try_shifts
from gatewise.theory.voronoi.result import Shift, Voronoi, closest, unflatten

METRICS = ("euclidean", "sum")


def compare(
    loss: Loss,
    own: Atoms,
    true: Atoms,
    *,
    metric: str = "euclidean",
    align: bool = True,
    rbar: float | None = None,
    extra: tuple[Tensor, Tensor] | None = None,
) -> Voronoi:
    """Return the loss between atoms; `extra` ``(*B, k, k*)`` is added to the differences of a pair, unweighted second.

    Raises
    ------
    ValueError
        As `voronoi_loss`.
    """
    _check(loss, own, true, metric, rbar)
    truths = [true] + [image for image in [mirrored(true)] if image is not None]
    batch = own.bias.shape[:-1]
    flat = own._replace(
        bias=own.bias.flatten(0, -2) if batch else own.bias[None],
        log_mass=own.log_mass.flatten(0, -2) if batch else own.log_mass[None],
        locations={path: v.flatten(0, -3) if batch else v[None] for path, v in own.locations.items()},
    )
    several = []
    for image in truths:
        one, unweighted = (
            _against(variant, flat, image, metric, align, rbar, None if extra is None else extra[i])
            for i, variant in enumerate((loss, replace(loss, weighted=False)))
        )
        several.append(one._replace(unweighted=unweighted.value))
    return unflatten(closest(several), batch)


def _check(loss: Loss, own: Atoms, true: Atoms, metric: str, rbar: float | None) -> None:
    require_one_of("metric", metric, METRICS)
    if true.bias.ndim != 1:
        raise ValueError(
            f"the truth has batch dimensions {tuple(true.bias.shape[:-1])}: compare with one truth at a time"
        )
    sizes = {path: value.shape[-1] for path, value in own.locations.items()}
    wanted = {path: value.shape[-1] for path, value in true.locations.items()}
    if sizes != wanted:
        raise ValueError(
            f"fitted atoms have parameters {sizes} and true atoms {wanted}: a Voronoi loss compares measures with the "
            "same parameters; write the truth in the fitted model's gate, experts and family"
        )
    if own.bias.shape[-1] < true.bias.shape[-1]:
        raise ValueError(
            f"{own.bias.shape[-1]} fitted atoms for {true.bias.shape[-1]} true ones: some cell is empty in every fit; "
            "fit at least as many experts as the truth has"
        )
    if own.shifts and loss.mass == "sigmoid":
        raise ValueError(
            f"loss {loss.name!r} is about sigmoid gates, whose biases are identified, but a common shift of the biases "
            "of this gate changes nothing: use a loss with mass='exp'"
        )
    loss.check_orders(own.bias.shape[-1], true.bias.shape[-1], rbar)


def _against(
    loss: Loss, own: Atoms, true: Atoms, metric: str, align: bool, rbar: float | None, extra: Tensor | None
) -> Voronoi:
    """Return the loss between atoms ``(N, k)`` and one truth."""
    truth, kept = merged(true, loss.mass)
    factor = align and own.shifts and loss.mass == "exp"
    level = torch.logsumexp(own.log_mass, -1) if factor else torch.zeros_like(own.bias[:, 0])
    mass = loss.masses(own.bias, own.log_mass - level[:, None])
    target = loss.masses(truth.bias, truth.log_mass)
    blocks, size = _blocks(loss, own, truth, align, rbar, extra)
    counted = loss.cells_with_mass(own.bias.shape[-1])
    pairs = Pairs(mass, target, counted, blocks, size, factor, loss.weighted, metric == "sum")
    t = best_shift(pairs)
    trial = try_shifts(pairs, t[:, None])
    cells = trial.cells[:, 0]
    shift = level - torch.log(trial.factor[:, 0]) if factor else level
    moved = {block.path: t[:, block.place] for block in blocks if block.place is not None}
    away = {b.path: norms(b, t[:, None])[:, 0].gather(-1, cells[..., None])[..., 0] for b in blocks if b.metric}
    bias, true_bias = (own.log_mass, truth.log_mass) if factor else (own.bias, truth.bias)
    away["bias"] = (bias - shift[:, None] - true_bias[cells]).abs()
    finite = torch.stack([torch.isfinite(v).all(-1) for v in (own.bias, *away.values())]).all(0)
    value = torch.where(finite, trial.value[:, 0], torch.nan)
    names, width = torch.tensor(kept), len(true.bias)
    members = torch.nn.functional.one_hot(cells, len(kept))
    sizes = members.new_full((len(t), width), -1).index_copy(1, names, members.sum(1))
    lacking = ((mass * trial.factor)[..., None] * members).sum(1) - target
    gaps = lacking.new_full((len(t), width), torch.nan).index_copy(1, names, lacking.abs())
    found = Shift(shift, moved, torch.zeros(len(t), dtype=torch.bool))
    vanishing = (value > target.sum()) & factor
    return Voronoi(value, value, names[cells], sizes, trial.ties[:, 0], found, away, gaps, vanishing)


def _blocks(
    loss: Loss, own: Atoms, truth: Atoms, align: bool, rbar: float | None, extra: Tensor | None
) -> tuple[tuple[PairsOfCell, ...], int]:
    """Return the parameters of all pairs of atoms, and the number of entries of a shift."""
    most = own.bias.shape[-1]
    every = torch.ones(most + 1, dtype=torch.float64)
    blocks, at = [], 0
    for path, value in own.locations.items():
        gap = value.unsqueeze(-2) - truth.locations[path]
        place = slice(at, at + gap.shape[-1]) if align and path in own.moving else None
        at += gap.shape[-1] if place is not None else 0
        blocks.append(PairsOfCell(path, gap, loss.powers(path, most, rbar), every, place, True))
    bias_cells = loss.cells_with_bias(most)
    if bool(bias_cells.any()):
        gap = (own.bias.unsqueeze(-1) - truth.bias)[..., None]
        blocks.append(PairsOfCell("bias", gap, every, bias_cells, None, False))
    if extra is not None:
        blocks.append(PairsOfCell("inside", extra.reshape(-1, most, len(truth.bias), 1), every, every, None, False))
    return tuple(blocks), at
