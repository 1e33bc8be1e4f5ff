"""Second derivatives: which numbers per row multiply which products of Jacobians, and where the sums belong.

For two slots a and b with Jacobians J the block of the Hessian is ``sum_n h_ab J_a J_b'``. Where both Jacobians are
runs of the same features, their products are formed once for all pairs, and the sums over rows are one matrix product
of the rows h with those products. Otherwise h is multiplied into the rows of J_a first.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gatewise.objective.compiled import codes
from gatewise.objective.compiled.parts import Design
from gatewise.objective.compiled.program import Program

CHUNK = 24  # rows h that wait for one matrix product


Step = tuple[int, tuple[int, ...]]


class Pair(NamedTuple):
    """One block of the Hessian.

    Attributes
    ----------
    left, right : Design
    at, to : int
        First coordinate of either side.
    owner_left, owner_right : int
        Whose Jacobian it is.
    steps : list of (code, rows)
        Instructions that form h, up to the row they write to.
    """

    left: Design
    right: Design
    at: int
    to: int
    owner_left: int
    owner_right: int
    steps: list[Step]


class PairBlock(NamedTuple):
    """How the sums of a pair are formed: rows per h, first row and number of the products, and their coordinates.

    `places` lists, for every row and product, the coordinates ``(i, j)`` inside the block that are equal to the sum.
    """

    rows: int
    first: int
    columns: int
    places: list[list[list[tuple[int, int]]]]


class Map(NamedTuple):
    """Where the numbers that come out belong: place of every entry of the Hessian (0: zero), and what to add."""

    gather: np.ndarray
    extra: list[tuple[int, int, float]]


def _products(p: Program, left: Design, right: Design) -> PairBlock | None:
    """Return the products that two runs of the same features share, or None."""
    if left.place == -2 or right.place == -2:
        return None
    if left.place == -1:
        return PairBlock(1, right.first, right.columns, [[[(0, j)] for j in range(right.columns)]])
    if right.place == -1:
        return PairBlock(1, left.first, left.columns, [[[(i, 0)] for i in range(left.columns)]])
    if left.place != right.place:
        return None
    features = next(each for each in p.sets.values() if each.place == left.place)
    places = []
    for j in range(max(left.columns, right.columns)):
        for i in range(j + 1):
            entries = {(i, j), (j, i)}
            places.append([(a, b) for a, b in entries if a < left.columns and b < right.columns])
    while not places[-1]:
        places.pop()
    return PairBlock(1, features.products, len(places), [places])


def _multiplied(pair: Pair) -> PairBlock:
    """Return the block whose rows are ``h J_a`` and whose products are J_b."""
    rows, count = pair.left.columns, pair.right.columns
    first = pair.right.first + pair.owner_right * pair.right.stride
    return PairBlock(rows, first, count, [[[(i, j)] for j in range(count)] for i in range(rows)])


def write_pairs(p: Program, pairs: list[Pair], size: int) -> Map:
    """Write the sums of all pairs; return the map to the ``size x size`` Hessian."""
    gather = np.zeros((size, size), dtype=np.int64)
    blocks: dict[tuple[int, int], list[tuple[Pair, PairBlock, bool]]] = {}
    known: dict[tuple[Design, Design], PairBlock | None] = {}
    for pair in pairs:
        turned = pair.left.place >= -1 and pair.right.place == -2  # rows of its own are multiplied, runs are products
        if turned:
            pair = pair._replace(
                left=pair.right, right=pair.left, at=pair.to, to=pair.at,
                owner_left=pair.owner_right, owner_right=pair.owner_left,
            )  # fmt: skip
        designs = pair.left, pair.right
        shared = known[designs] = known[designs] if designs in known else _products(p, *designs)
        block = shared or _multiplied(pair)
        blocks.setdefault((block.first, block.columns), []).append((pair, block, shared is None))
    scratch, buffer = p.rows(CHUNK), p.rows(CHUNK)
    for (first, count), members in blocks.items():
        while members:
            chunk = _chunk(members)
            members = members[len(chunk) :]
            _write_chunk(p, chunk, first, count, scratch, buffer, gather)
    return Map(gather, [])


def _chunk(members: list[tuple[Pair, PairBlock, bool]]) -> list[tuple[Pair, PairBlock, bool]]:
    rows = 0
    for at, (_, block, _) in enumerate(members):
        rows += block.rows
        if rows > CHUNK and at:
            return members[:at]
    return members


def _write_chunk(
    p: Program,
    chunk: list[tuple[Pair, PairBlock, bool]],
    first: int,
    count: int,
    scratch: int,
    buffer: int,
    gather: np.ndarray,
) -> None:
    """Form the rows of some pairs with the same products, sum them, and note where the sums belong."""
    starts = np.cumsum([0] + [block.rows for _, block, _ in chunk])
    if starts[-1] > CHUNK:  # one pair with many columns
        buffer = p.rows(int(starts[-1]))
    forms = [(scratch + k if apart else buffer + int(starts[k])) for k, (_, _, apart) in enumerate(chunk)]
    for stage in range(max(len(pair.steps) for pair, _, _ in chunk)):
        for (pair, _, _), to in zip(chunk, forms, strict=True):
            if stage < len(pair.steps):
                code, rows = pair.steps[stage]
                p.emit(code, 1, to, *(number for row in rows for number in (row, 0)))
    for (pair, block, apart), form, start in zip(chunk, forms, starts[:-1], strict=True):
        if apart:
            own = pair.left.first + pair.owner_left * pair.left.stride
            p.emit(codes.MULTIPLY, block.rows, buffer + int(start), form, 0, own, 1)
    out = p.out(int(starts[-1]) * count)
    p.emit(codes.DOTS, int(starts[-1]), buffer, first, count, out, count)
    for (pair, block, _), start in zip(chunk, starts[:-1], strict=True):
        for row, line in enumerate(block.places):
            for column, places in enumerate(line):
                number = out + (int(start) + row) * count + column
                for i, j in places:
                    gather[pair.at + i, pair.to + j] = gather[pair.to + j, pair.at + i] = number
