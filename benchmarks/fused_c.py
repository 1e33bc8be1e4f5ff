"""The reference engine's EM pass in C, compiled where a compiler is found."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

from benchmarks.numpy_engine import Pass, Truth

SOURCE = Path(__file__).with_suffix(".c")
FLAGS = ("-O3", "-march=native", "-ffast-math", "-fPIC")


@cache
def library() -> ctypes.CDLL | None:
    """Return the compiled library, or None without a C compiler.

    It is linked without ``-ffast-math``, which would make the whole process treat denormals as zero.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        unit, shared = Path(folder) / "fused.o", Path(folder) / "fused.so"
        subprocess.run([compiler, *FLAGS, "-c", str(SOURCE), "-o", str(unit)], check=True)
        subprocess.run([compiler, "-shared", str(unit), "-o", str(shared), "-lm"], check=True)
        return ctypes.CDLL(str(shared))


def em_pass(x: np.ndarray, y: np.ndarray, at: Truth) -> Callable[[], Pass] | None:
    """Return the pass over x ``(B, d, n)`` and y ``(B, n)`` as a function without arguments, or None."""
    found = library()
    if found is None:
        return None
    count, d, n = x.shape
    k = at["bias"].shape[-1]
    p, pairs = d + 1, k * (k - 1) // 2
    q = p * (p + 1) // 2
    sizes = (1, k * q, k * p, k, k, (k - 1) * p, pairs * q)
    gate = np.concatenate([at["slope"], at["bias"][..., None]], -1)
    arrays = [np.ascontiguousarray(part) for part in (gate, at["experts"], at["variance"])]
    x, y = np.ascontiguousarray(x), np.ascontiguousarray(y)
    pointer = ctypes.POINTER(ctypes.c_double)

    def address(array: np.ndarray) -> ctypes._Pointer[ctypes.c_double]:
        return array.ctypes.data_as(pointer)

    def run() -> Pass:
        out = np.zeros((count, sum(sizes)))
        long = ctypes.c_long
        done = found.em_pass(
            address(x), address(y), long(count), long(n), d, k, *(address(part) for part in arrays), address(out)
        )
        if not done:
            raise MemoryError(f"no memory for the blocks of {k} experts in {d} covariates")
        value, gram, cross, square, mass, gradient, hessian = np.split(out, np.cumsum(sizes)[:-1], 1)
        return Pass(
            value[:, 0],
            gram.reshape(count, k, q),
            cross.reshape(count, k, p),
            square,
            mass,
            gradient.reshape(count, k - 1, p),
            hessian.reshape(count, pairs, q),
        )

    return run
