"""The machine: runs a program over rows, block after block and member after member."""

from __future__ import annotations

from numba import njit, types

from gatewise.objective.compiled import activations, leaves, rows, scores, sums
from gatewise.objective.compiled.kernels import NUMBERS, ROWS, call, helper, kept

FILES = (activations, leaves, rows, scores, sums)  # importing them makes their kernels known
CUBE = types.Array(types.float64, 3, "C")
TABLE = types.Array(types.int64, 2, "C")
PLACES = types.Array(types.int64, 1, "C")
SIGNATURE = types.void(
    TABLE, PLACES, TABLE, NUMBERS, NUMBERS, CUBE, CUBE, CUBE, CUBE, ROWS, ROWS, *[types.int64] * 5, ROWS
)  # fmt: skip


def _run(
    program, addresses, sources, constants, table, x, gate_x, y, weight, theta, out,
    prologue, first, last, begin, end, w,
):  # fmt: skip
    """Add to ``out (last - first, numbers)`` the sums of members first..last over rows begin..end.

    `w` is the work array, one row of a block per row of the program; the rows of ones are written already.
    """
    size = w.shape[1]
    shared, parts = x.shape[0] == 1, (x, gate_x, y, weight)
    for start in range(begin, end, size):
        n = min(size, end - start)
        for member in range(first, last):
            parameters, into = theta[member], out[member - first]
            fresh = member == first or not shared
            if fresh:
                for f in range(len(sources)):
                    _load(parts[sources[f, 0]], member, start, n, constants, sources[f, 2], w, sources[f, 1])
            for i in range(0 if fresh else prologue, len(program)):
                p = (
                    program[i, 1], program[i, 2], program[i, 3], program[i, 4], program[i, 5], program[i, 6],
                    program[i, 7], program[i, 8], program[i, 9], program[i, 10], program[i, 11], program[i, 12],
                    program[i, 13],
                )  # fmt: skip
                call(addresses[i], (p, w, n, parameters, into, constants, table))


@helper
def _load(part, member, start, n, constants, center, w, to):
    """Copy rows ``start .. start + n`` of a member, less a center if there is one; one member's are for all."""
    m = member if part.shape[0] > 1 else 0
    for i in range(part.shape[1]):
        c = constants[center + i] if center >= 0 else 0.0
        for t in range(n):
            w[to + i, t] = part[m, i, start + t] - c


run = kept(njit, SIGNATURE, _run, {"error_model": "numpy", "nogil": True})
