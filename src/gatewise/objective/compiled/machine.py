"""The machine: runs a program over rows, block after block and member after member. The one compiled entry."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from numba import njit

from gatewise.objective.compiled import activations, codes, leaves, rows, scores, sums
from gatewise.objective.compiled.sums import kernel

SIGNATURE = (
    "void(i8[:, ::1], i8[:, ::1], i8[::1], f8[::1], f8[::1], f8[:, :, ::1], f8[:, :, ::1], f8[:, :, ::1], f8[::1], "
    "f8[:, ::1], f8[:, ::1], i8, i8, i8, i8, f8[:, ::1])"
)


def stamp_of(folder: Path) -> int:
    """Return a number that changes with any source file of a folder.

    The compiler's cache looks at the file of the compiled function only; the number stands in its key, so that a
    change of any kernel compiles anew.
    """
    files = sorted(folder.glob("*.py"))
    return int.from_bytes(sha256(b"".join(file.read_bytes() for file in files)).digest()[:7])


def _machine(stamp: int):
    @njit(SIGNATURE, error_model="numpy", nogil=True, cache=True)
    def run(
        program, features, held, constants, table, x, gate_x, y, weight, theta, out,
        first, last, begin, end, w,
    ):  # fmt: skip
        """Add to ``out (last - first, numbers)`` the sums of members first..last over rows begin..end.

        `w` is the work array, one row of a block per row of the program.
        """
        version = stamp  # stands in the key of the cache
        size = w.shape[1] if version else 0
        _ones(features, held, w)
        shared, prologue = x.shape[0] == 1, held[3]
        for start in range(begin, end, size):
            n = min(size, end - start)
            for member in range(first, last):
                parameters, sums_ = theta[member], out[member - first]
                fresh = member == first or not shared
                if fresh:
                    _read(features, held, constants, x, gate_x, y, weight, 0 if shared else member, start, n, w)
                for i in range(0 if fresh else prologue, len(program)):
                    _step(program, i, w, n, constants, table, parameters, sums_)

    return run


@kernel
def _ones(features, held, w):
    for f in range(len(features)):
        d, products, to = features[f, 1], features[f, 3], features[f, 4]
        last = to + d + (d * (d + 1) // 2 if products else 0)
        for t in range(w.shape[1]):
            w[last, t] = 1.0
    for t in range(w.shape[1]):
        w[held[1], t] = 1.0


@kernel
def _read(features, held, constants, x, gate_x, y, weight, member, start, n, w):
    for f in range(len(features)):
        source, d, center, products, to = features[f, 0], features[f, 1], features[f, 2], features[f, 3], features[f, 4]
        if source == 0:
            sums.load(x, member, d, start, n, constants, center, products, w, to)
        else:
            sums.load(gate_x, member, d, start, n, constants, center, products, w, to)
    for i in range(y.shape[1]):
        for t in range(n):
            w[held[0] + i, t] = y[member, i, start + t]
    if held[2] >= 0:
        for t in range(n):
            w[held[2], t] = weight[start + t]


@njit(error_model="numpy", inline="always")
def _step(p, i, w, n, constants, table, theta, out):
    """Carry out instruction i; its arguments are those that `codes` lists."""
    code, count = p[i, 0], p[i, 1]
    a, b, c, d, e = p[i, 2], p[i, 3], p[i, 4], p[i, 5], p[i, 6]
    f, g, h, j, k, m = p[i, 7], p[i, 8], p[i, 9], p[i, 10], p[i, 11], p[i, 12]
    if code == codes.MULTIPLY:
        rows.multiply(w, a, count, b, c, d, e, n)
    elif code == codes.TWO_PRODUCTS:
        rows.two_products(w, a, count, b, c, d, e, f, g, h, j, n)
    elif code == codes.MULTIPLY_ADD:
        rows.multiply_add(w, a, count, b, c, d, e, n)
    elif code == codes.DOTS:
        sums.dots(w, a, count, b, c, n, out, d, e)
    elif code == codes.AFFINE:
        sums.affine(w, a, count, b, c, theta, d, e, n)
    elif code == codes.SOFTMAX:
        rows.softmax(w, count, a, b, c, d, e, f, g, n)
    elif code == codes.PATH:
        rows.path(w, count, a, b, c, d, e, f, g, n)
    elif code == codes.SUM_UP:
        rows.sum_up(w, count, a, b, c, n)
    elif code == codes.PULL:
        rows.logit_gradients(w, count, a, b, c, d, e, n)
    elif code == codes.ADD or code == codes.SUBTRACT:
        rows.combine(w, a, count, b, c, d, e, 1.0 if code == codes.ADD else -1.0, n)
    elif code == codes.NEGATE:
        rows.negate(w, a, count, b, c, n)
    elif code == codes.GAUSSIAN:
        leaves.gaussian(w, a, b, c, d, e, count, theta, f, g, h, n)
    elif code == codes.POISSON:
        leaves.poisson(w, a, b, c, d, e, f, count, n)
    elif code == codes.BINOMIAL:
        leaves.binomial(w, a, b, c, d, e, f, count, constants[g], h, n)
    elif code == codes.DISTANCE:
        scores.distance(w, a, b, c, d, count, e, f, theta, g, h, constants, j, k, m, n)
    elif code == codes.ACTIVATE:
        activations.activate(w, a, b, c, d, count, e, constants[f], g, n)
    elif code == codes.SCALE or code == codes.DIVIDE:
        rows.linear(w, a, count, b, c, constants[f], e, theta, d, constants[g], code == codes.DIVIDE, n)
    elif code == codes.SHIFT:
        rows.shift(w, a, count, b, c, theta, d, e, n)
    elif code == codes.LOG_SIGMOID:
        scores.log_sigmoid(w, a, b, c, d, count, e, n)
    elif code == codes.LOG_FACTORIAL:
        leaves.log_factorial(w, a, b, constants[c], table, n)
    elif code == codes.SIGMOID:
        scores.sigmoid_weight(w, a, b, c, d, count, e, n)


run = _machine(stamp_of(Path(__file__).parent))
