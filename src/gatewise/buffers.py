"""Memory of blocks of rows, written again once nobody reads it any more.

A block is read, summed and forgotten, thousands of times. Where freed memory leaves the process at once, as on Dask's
workers, fresh pages for every block cost as much time as the sums.
"""

from __future__ import annotations

import math
import threading
import weakref

import numpy as np

LEAST, MOST = 2**16, 2**25  # bytes of a buffer that is kept
KEPT = 5  # total size of a thread's buffers at most, in units of its largest


class _Store(threading.local):
    """The buffers of a thread, each with a reference to the array that was last given out for it."""

    def __init__(self) -> None:
        self.held: list[tuple[bytearray, weakref.ref[np.ndarray]]] = []


_STORE = _Store()


def buffer(*shape: int) -> np.ndarray:
    """Return an array of float64 with any values, in memory that no other array uses.

    Examples
    --------
    >>> first, second = buffer(3, 10_000), buffer(3, 10_000)
    >>> np.shares_memory(first, second)
    False
    """
    count = math.prod(shape)
    if not LEAST <= 8 * count <= MOST:
        return np.empty(shape)
    held = _STORE.held
    free = (i for i, (memory, user) in enumerate(held) if 8 * count <= len(memory) <= 16 * count and user() is None)
    place = next(free, None)
    memory = bytearray(8 * count) if place is None else held.pop(place)[0]
    whole = np.frombuffer(memory, count=count)  # views of it keep it alive, and with it the memory in use
    held.append((memory, weakref.ref(whole)))
    sizes = [len(memory) for memory, _ in held]
    while sum(sizes) > KEPT * max(sizes):  # who still reads the oldest keeps it
        del held[0], sizes[0]
    return whole.reshape(shape)
