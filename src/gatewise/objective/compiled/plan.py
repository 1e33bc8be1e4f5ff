"""The program of a mixture in arrays, as the machine takes it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gatewise.core.mixture import Mixture
from gatewise.objective.compiled import codes
from gatewise.objective.compiled.curvature import add_diagonals, complete_pairs, hessian_pairs, write_curvatures
from gatewise.objective.compiled.likelihood import write_leaves
from gatewise.objective.compiled.pairs import Map, write_pairs
from gatewise.objective.compiled.program import (
    COMPLETE,
    GAUSS_NEWTON,
    HESSIAN,
    MASS,
    SQUARES_HESSIAN,
    SQUARES_MASS,
    SQUARES_VALUE,
    Program,
)
from gatewise.objective.compiled.residuals import squares_pairs, write_mass, write_path_weights, write_squares
from gatewise.objective.compiled.tree import (
    CompiledLeaves,
    CompiledLevel,
    NodeGroup,
    Sizes,
    write_groups,
    write_levels,
    write_logit_gradients,
)

BYTES = 2**19  # of the work array: it stays in the second cache
FEWEST, MOST = 64, 1024  # rows of a block
PAIRS = {HESSIAN: hessian_pairs, COMPLETE: complete_pairs, GAUSS_NEWTON: squares_pairs, SQUARES_HESSIAN: squares_pairs}


class CompiledPlan(NamedTuple):
    """A program in arrays, as the machine takes it, and where its numbers belong.

    Attributes
    ----------
    program, sources, filled : int arrays
        Instructions, what is read into which rows, and rows of ones.
    prologue : int
        How many of the instructions depend on the data alone.
    constants : float array
    size, height : int
        Rows of a block, and rows of the work array.
    numbers : int
        Numbers that come out per member.
    gradient : int array (M,)
    hessian : int array (M M,) or None
    extra : (places, numbers, factors) or None
        What is added to entries of the Hessian besides.
    """

    program: np.ndarray
    sources: np.ndarray
    filled: np.ndarray
    prologue: int
    constants: np.ndarray
    size: int
    height: int
    numbers: int
    gradient: np.ndarray
    hessian: np.ndarray | None
    extra: tuple[np.ndarray, np.ndarray, np.ndarray] | None


def plan(kind: int, mixture: Mixture, sizes: Sizes) -> CompiledPlan:
    """Return the program of a statistic of a mixture; `kind` is its place in `KINDS`."""
    p = Program(kind, sizes.y, sizes.weighted)
    levels, start = write_levels(p, mixture, sizes)
    gradient, found = np.zeros(0, dtype=np.int64), None
    if kind == SQUARES_MASS:
        write_mass(p, write_path_weights(p, levels), levels)
    elif kind == MASS:
        write_mass(p, write_leaves(p, mixture, sizes, levels, start)[0].shares, levels)
    else:
        write = write_squares if kind >= SQUARES_VALUE else write_leaves
        leaves, size = write(p, mixture, sizes, levels, start)
        gradient, found = _write_sums(p, levels, leaves, size)
    rows = max(FEWEST, min(MOST, BYTES // (8 * p.height) // 8 * 8))
    return CompiledPlan(
        np.array(p.prologue + p.instructions, dtype=np.int64),
        np.array(p.sources, dtype=np.int64),
        np.array(p.filled, dtype=np.int64),
        len(p.prologue),
        np.array(p.constants or [0.0]),
        rows,
        p.height,
        p.numbers,
        gradient,
        None if found is None else found.gather.ravel(),
        None if found is None else _columns(found),
    )


def _write_sums(
    p: Program, levels: list[CompiledLevel], leaves: CompiledLeaves, size: int
) -> tuple[np.ndarray, Map | None]:
    """Write the sums of value, gradient and Hessian; return where the last two belong."""
    p.emit(codes.DOTS, 1, p.weight.row, leaves.density.row, 1, p.out(1), 1)
    gradient = np.zeros(size, dtype=np.int64)
    if p.order == 0:
        return gradient, None
    levels = write_logit_gradients(p, levels, leaves.shares)
    groups = write_groups(p, levels, leaves)
    for group in groups:
        _write_gradient(p, group, gradient)
    return gradient, _write_hessian(p, levels, leaves, groups, size) if p.kind in PAIRS else None


def _write_hessian(
    p: Program, levels: list[CompiledLevel], leaves: CompiledLeaves, groups: list[NodeGroup], size: int
) -> Map:
    found = write_pairs(p, PAIRS[p.kind](p, levels, leaves, groups), size)
    if p.kind != GAUSS_NEWTON:
        write_curvatures(p, groups, found, size)
    if p.kind == COMPLETE:
        add_diagonals(p, levels, found, size)
    return found


def _columns(found: Map) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    if not found.extra:
        return None
    places, numbers, factors = zip(*found.extra, strict=True)
    return np.array(places), np.array(numbers), np.array(factors)


def _write_gradient(p: Program, group: NodeGroup, gradient: np.ndarray) -> None:
    """Write ``sum_n w G J`` and note where it belongs."""
    design, columns = group.design, group.design.columns
    out = p.out(group.total * columns)
    if design.stride:
        for owner in range(group.total):
            rows = design.first + owner * design.stride
            p.emit(codes.DOTS, 1, group.pulled.of(owner), rows, columns, out + owner * columns, columns)
    else:
        p.emit(codes.DOTS, group.total, group.pulled.row, design.first, columns, out, columns)
    for owner in range(group.total):
        at = group.at(owner)
        gradient[at : at + columns] = out + owner * columns + np.arange(columns)
