"""Kernels: one function per instruction, compiled by itself when a program first needs it, and kept on the disk.

A kernel is ``(p, w, n, theta, out, constants, table)``: the numbers of the instruction from `count` on (see `codes`),
the work array, the rows of the block, parameters and sums of a member, constants of the program, log factorials.
The machine calls kernels by their address, so that neither contains the other: what no program uses is never compiled.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from llvmlite import ir
from numba import cfunc, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from gatewise.objective.compiled.codes import WIDTH

ROWS = types.Array(types.float64, 2, "C")
NUMBERS = types.Array(types.float64, 1, "C")
SIGNATURE = types.void(
    types.UniTuple(types.int64, WIDTH - 1), ROWS, types.int64, NUMBERS, NUMBERS, NUMBERS, NUMBERS
)  # fmt: skip

# Terms may be summed in any order only in `SUMMING`: elsewhere small numbers would be lost in large ones that cancel.
# NaN and infinities stay what they are.
PLAIN = {"error_model": "numpy", "fastmath": {"contract", "nsz"}}
SUMMING = {"error_model": "numpy", "fastmath": {"reassoc", "contract", "nsz"}}
PART = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}  # what only other kernels call
helper = njit(**PLAIN, **PART)

NO_CACHE = (OSError, RuntimeError, EOFError, UnpicklingError)  # no folder can be written, or what is in it be read

KERNELS: dict[int, tuple[Callable[..., None], dict[str, Any]]] = {}


def kernel(code: int, options: dict[str, Any] = PLAIN) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that makes a function the kernel of an instruction."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        KERNELS[code] = function, options
        return function

    return register


@cache
def compiled(code: int) -> Any:
    """Return the compiled kernel of an instruction, from the disk where it has been compiled before."""
    function, options = KERNELS[code]
    return kept(cfunc, SIGNATURE, function, options)


def kept(compiler: Callable[..., Any], signature: Any, function: Callable[..., Any], options: dict[str, Any]) -> Any:
    """Compile a function with a signature; keep it on the disk if that is possible, else for this process.

    The compiler looks for changes in the file of the function only. The name, which is part of the file's name on the
    disk, says the state of the whole folder.
    """
    function.__qualname__ = f"{function.__name__}.{STAMP}"
    try:
        return compiler(signature, cache=True, **options)(function)
    except NO_CACHE:
        return compiler(signature, **options)(function)


def stamp_of(folder: Path) -> str:
    """Return a text that changes with any source file of a folder."""
    files = sorted(folder.glob("*.py"))
    return sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


STAMP = stamp_of(Path(__file__).parent)


@intrinsic
def call(typing_context: Any, address: types.Integer, arguments: types.Tuple) -> Any:
    """Call a kernel by its address."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        place, packed = values
        kinds = [context.get_value_type(kind) for kind in arguments.types]
        nothing = context.get_value_type(types.void)
        function = builder.inttoptr(place, ir.FunctionType(nothing, kinds).as_pointer())
        builder.call(function, cgutils.unpack_tuple(builder, packed))
        return context.get_dummy_value()

    return types.void(address, arguments), generate
