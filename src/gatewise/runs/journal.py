"""A checkpoint of work on a cluster: a file of questions and answers, from which an interrupted fit goes on.

A fit asks its data for sums and goes where they lead; with the same answers it takes the same way. So the answers are
all there is to keep: a fit that is begun again finds those of the passes that were made, bit by bit, and asks the
cluster from the first one on that was not. What a question is made of, the parameters of the pass, is in its digest.
Every answer is one line with a check sum, appended and on the disk before the fit goes on; a torn one is cut off.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import os
import pickle
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from gatewise.files import require_writable
from gatewise.runs.records import append, read_lines

T = TypeVar("T")
FORMAT = 1
LARGE, SAMPLE = 2**16, 2**20  # bytes
CLOSE = 1e-9  # relative difference of sums that different orders of summation may make
SCALARS = (str, bool, int, type(None))


class Journal:
    """The answers in a file.

    Parameters
    ----------
    path : str or Path
    options : mapping of names to text or numbers
        What the fit was asked for, which has to be the same.
    sums : array
        Sums over the data, which have to agree up to rounding.

    Raises
    ------
    ValueError
        For a file of another fit, and one that is no checkpoint.
    OSError
        If the file cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], options: Mapping[str, Any], sums: np.ndarray) -> None:
        self.path = require_writable(path)
        self.answers: dict[str, Any] = {}
        self.found = self.asked = 0
        lines = [line.record for line in read_lines(self.path) if not line.fault]
        head = {"checkpoint": FORMAT, "options": dict(options), "sums": [float(one).hex() for one in sums]}
        if not self.path.exists() or not self.path.stat().st_size:
            self.path.touch()
            append(self.path, [head])
            return
        self._require_same(lines, head)
        for line in lines[1:]:
            if isinstance(line, dict) and isinstance(line.get("question"), str) and "answer" in line:
                self.answers[line["question"]] = line["answer"]

    def _require_same(self, lines: list[Any], head: Mapping[str, Any]) -> None:
        """Raise unless the file belongs to this fit."""
        first = lines[0] if lines and isinstance(lines[0], dict) else {}
        if first.get("checkpoint") != FORMAT:
            raise ValueError(f"{self.path} is no checkpoint of this version of gatewise: give another path")
        kept, now = first.get("options"), head["options"]
        kept = kept if isinstance(kept, dict) else {}
        other = next((name for name in now if kept.get(name) != now[name]), None)
        if other is not None:
            raise ValueError(
                f"{self.path} is the checkpoint of another fit, with {other} {kept.get(other)!r} in place of "
                f"{now[other]!r}: delete it, or give another path"
            )
        try:
            before = np.array([float.fromhex(one) for one in first["sums"]])
        except (KeyError, TypeError, ValueError):
            before = np.zeros(0)
        after = np.array([float.fromhex(one) for one in head["sums"]])
        if before.shape != after.shape or not np.allclose(before, after, rtol=CLOSE, atol=0.0):
            raise ValueError(f"{self.path} is the checkpoint of a fit to other data: delete it, or give another path")

    def answer(self, question: Any, ask: Callable[[], T]) -> T:
        """Return the answer to a question: that in the file, or what asking gives, which is written there."""
        key = digest(question)
        self.asked += 1
        if key in self.answers:
            self.found += 1
            return decoded(self.answers[key])
        found = ask()
        self.answers[key] = encoded(found)
        append(self.path, [{"question": key, "answer": self.answers[key]}])
        return found


class RememberingLanes:
    """Lanes that are asked the same only once; large answers are not kept."""

    def __init__(self, lanes: Any) -> None:
        self.lanes = lanes
        self._answers: dict[str, Any] = {}

    def fold(self, work: Callable[[Any], T], join: Callable[[T, T], T]) -> T:
        """Return what a work on every piece gives, joined."""
        return self._answer(work, lambda: self.lanes.fold(work, join), LARGE)

    def each(self, works: Mapping[int, Callable[[Any], T]]) -> list[T]:
        """Return what works on some pieces give."""
        return self._answer(list(works.items()), lambda: self.lanes.each(works), SAMPLE)  # in their order

    def _answer(self, question: Any, ask: Callable[[], T], most: int) -> T:
        key = digest(question)
        if key in self._answers:
            return self._answers[key]
        found = ask()
        if len(pickle.dumps(found)) <= most:
            self._answers[key] = found
        return found


class RecordedLanes:
    """Lanes whose sums are kept in a journal. A later fit reads samples again."""

    def __init__(self, lanes: Any, journal: Journal) -> None:
        self.lanes, self.journal = lanes, journal

    def fold(self, work: Callable[[Any], T], join: Callable[[T, T], T]) -> T:
        """Return what a work on every piece gives, joined."""
        return self.journal.answer(work, lambda: self.lanes.fold(work, join))

    def each(self, works: Mapping[int, Callable[[Any], T]]) -> list[T]:
        """Return what works on some pieces give."""
        return self.lanes.each(works)


def digest(value: Any) -> str:
    """Return a digest of a value made of tensors, containers, dataclasses, functions and what has a text of its own.

    Examples
    --------
    >>> digest((1, torch.zeros(2))) == digest((1, torch.zeros(2))) != digest((1, torch.ones(2)))
    True
    """
    found = hashlib.sha256()
    _feed(value, found)
    return found.hexdigest()


def _feed(value: Any, into: Any) -> None:
    into.update(f"<{type(value).__qualname__}>".encode())
    match value:
        case Tensor():
            into.update(f"{value.dtype}{tuple(value.shape)}".encode())
            into.update(value.detach().contiguous().numpy().tobytes())
        case np.ndarray():
            into.update(f"{value.dtype}{value.shape}".encode() + np.ascontiguousarray(value).tobytes())
        case partial():
            _feed((value.func, value.args, value.keywords), into)
        case Mapping():
            _feed(sorted((repr(name), one) for name, one in value.items()), into)
        case tuple() | list():
            into.update(f"{len(value)}:".encode())
            for one in value:
                _feed(one, into)
        case float():
            into.update(value.hex().encode())
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            _feed({field.name: getattr(value, field.name) for field in dataclasses.fields(value)}, into)
        case _ if callable(value) and hasattr(value, "__qualname__"):
            into.update(f"{value.__module__}.{value.__qualname__}".encode())
        case _:
            into.update(repr(value).encode())


def encoded(value: Any) -> Any:
    """Return tensors, numbers, text and sequences of them as JSON, bit by bit.

    Raises
    ------
    TypeError
        For anything else.
    """
    match value:
        case Tensor():
            kept = value.detach().contiguous().numpy()
            text = base64.b64encode(kept.tobytes()).decode()
            return {"tensor": str(kept.dtype), "shape": list(kept.shape), "bytes": text}
        case float():
            return {"float": value.hex()}
        case tuple() if type(value) is tuple:
            return {"tuple": [encoded(one) for one in value]}
        case list():
            return [encoded(one) for one in value]
        case _ if isinstance(value, SCALARS):
            return value
    raise TypeError(f"a checkpoint cannot hold a {type(value).__name__}")


def decoded(value: Any) -> Any:
    """Return what `encoded` was given.

    Examples
    --------
    >>> decoded(encoded((1.5, torch.ones(2))))
    (1.5, tensor([1., 1.]))
    """
    match value:
        case {"tensor": str(kind), "shape": list(shape), "bytes": str(text)}:
            flat = np.frombuffer(base64.b64decode(text), dtype=np.dtype(kind))
            return torch.from_numpy(flat.reshape(shape).copy())
        case {"float": str(text)}:
            return float.fromhex(text)
        case {"tuple": list(parts)}:
            return tuple(decoded(one) for one in parts)
        case list():
            return [decoded(one) for one in value]
    return value


def require_no_file(path: str | os.PathLike[str], how: str) -> None:
    """Raise where a checkpoint is there that nobody asked to go on from.

    Raises
    ------
    ValueError
        With the remedy.
    """
    if Path(path).exists() and Path(path).stat().st_size:
        raise ValueError(f"the checkpoint {path} exists: {how} to go on from it, or delete it to begin anew")
