"""Reading pickles of plain arrays without running anything: names in the file stand for stand-ins of our own."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Mapping
from functools import singledispatch
from typing import Any

import numpy as np

KINDS = {"b1", "u1", "i1", "i2", "i4", "i8", "f4", "f8"}  # dtypes whose bytes are values
FAULTS: tuple[type[Exception], ...] = (pickle.UnpicklingError, EOFError, LookupError, TypeError, AttributeError)
FAULTS += (OverflowError, RecursionError, MemoryError)


def read_pickle(content: bytes) -> Any:
    """Return the dicts, lists, texts, numbers, arrays and tables of a pickle; refuse all others.

    No class or function of the file's choice is called or even imported: `NAMES` has all names that are known, and
    what they stand for only copies bytes into arrays. Tables of pandas come as dicts of columns. A file can still ask
    for much memory, so check where it is from.

    Raises
    ------
    ValueError
        For a name that is not known, an array of an unusual kind, or bytes that are no pickle.
    """
    try:
        return _plain(_Reader(io.BytesIO(content), encoding="bytes").load(), {})
    except FAULTS as cause:
        raise ValueError(f"the file is not a pickle of plain arrays ({cause}): download it again") from cause


class _Reader(pickle.Unpickler):
    """An unpickler that knows the names in NAMES."""

    def find_class(self, module: str, name: str) -> Any:
        known = f"{module}.{name}".replace("numpy._core.", "numpy.core.")
        if known not in NAMES:
            raise ValueError(
                f"the file names {module}.{name}, which plain arrays do not need and which could run code: it is not "
                "read; download it again"
            )
        return NAMES[known]


class _Call:
    """A function that the file may call; what the file would set on it is refused."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *values: Any) -> Any:
        return self._function(*values)

    def __setstate__(self, state: Any) -> None:
        raise ValueError("the file changes a function: it is not read; download it again")


class _Kind:
    """Stands for a numpy.dtype."""

    def __init__(self, name: Any, *_: Any) -> None:
        self.name, self.order = _text(name), "|"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = _text(state[1])

    def resolved(self) -> np.dtype:
        """Return the dtype, if its bytes are plain values."""
        if self.name not in KINDS or self.order not in "<>|=":
            raise ValueError(f"the file has an array of kind {self.order}{self.name}: only plain numbers are read")
        return np.dtype(self.order + self.name)


class _Array:
    """Stands for a numpy.ndarray."""

    value: Any = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        shape, kind, fortran, data = state[-4:]
        if kind.name in ("O", "O8"):
            self.value = _objects(shape, data, fortran)
        else:
            self.value = _numbers(data, kind, shape, "F" if fortran else "C")


class _Manager:
    """Stands for the columns of a pandas.DataFrame: blocks of values with their places, and the names."""

    def __init__(self, blocks: Any, axes: Any) -> None:
        self.blocks, self.axes = blocks, axes


class _Table:
    """Stands for a pandas.DataFrame."""

    state: Mapping[str, Any] = {}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.state = state

    def columns(self, memo: dict[int, Any]) -> dict[str, Any]:
        """Return the columns by name."""
        manager = self.state["_mgr"]
        names = _plain(manager.axes[0], memo)["data"]
        found: dict[str, Any] = {}
        for values, place, _ in manager.blocks:
            found |= dict(zip((names[i] for i in _plain(place, memo)), _plain(values, memo), strict=True))
        return {name: found[name] for name in names}


def _text(value: Any) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else str(value)


def _numbers(data: Any, kind: _Kind, shape: tuple[int, ...], order: str) -> np.ndarray:
    """Return a copy of bytes as an array."""
    flat = np.frombuffer(bytes(data), kind.resolved())
    return flat.reshape(shape, order="F" if order == "F" else "C").copy()


def _objects(shape: tuple[int, ...], data: list[Any], fortran: bool) -> np.ndarray:
    """Return an array of objects from their list."""
    out = np.empty(len(data), dtype=object)
    for place, one in enumerate(data):
        out[place] = one
    return out.reshape(shape, order="F" if fortran else "C")


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """Return the bytes that a text of protocol 2 stands for."""
    if _text(encoding) not in ("latin1", "latin-1"):
        raise ValueError(f"the file encodes by {encoding!r}: pickles of arrays use latin1, so it is not read")
    return text.encode("latin1")


def _plain(value: Any, memo: dict[int, Any]) -> Any:
    """Return a value with arrays, tables and texts in place of what stands for them; what is shared stays shared."""
    if id(value) not in memo:
        memo[id(value)] = value, _converted(value, memo)
    return memo[id(value)][1]


@singledispatch
def _converted(value: Any, memo: dict[int, Any]) -> Any:
    return value


@_converted.register
def _(value: _Array, memo: dict[int, Any]) -> Any:
    return _plain(value.value, memo)


@_converted.register
def _(value: _Table, memo: dict[int, Any]) -> Any:
    return value.columns(memo)


@_converted.register(dict)
def _(value: dict[Any, Any], memo: dict[int, Any]) -> Any:
    return {_text(key) if isinstance(key, bytes) else key: _plain(one, memo) for key, one in value.items()}


@_converted.register(list)
@_converted.register(tuple)
def _(value: Any, memo: dict[int, Any]) -> Any:
    return [_plain(one, memo) for one in value]


@_converted.register
def _(value: np.ndarray, memo: dict[int, Any]) -> Any:
    if value.dtype != object:
        return value
    return _objects(value.shape, [_plain(one, memo) for one in value.ravel()], False)


NAMES: dict[str, Any] = {
    "numpy.ndarray": "ndarray",
    "numpy.dtype": _Call(_Kind),
    "numpy.core.multiarray._reconstruct": _Call(lambda *_: _Array()),
    "numpy.core.numeric._frombuffer": _Call(_numbers),
    "_codecs.encode": _Call(_encode),
    "__builtin__.bytes": _Call(lambda: b""),  # how protocols 0 to 2 write no bytes
    "pandas.core.frame.DataFrame": _Table,
    "pandas.core.internals.managers.BlockManager": _Call(_Manager),
    "pandas._libs.internals._unpickle_block": _Call(lambda *parts: parts),
    "pandas.core.indexes.base._new_Index": _Call(lambda _, state: state),
    "pandas.core.indexes.base.Index": "Index",
    "pandas.core.indexes.range.RangeIndex": "RangeIndex",
}
