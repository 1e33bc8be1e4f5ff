"""Memory of large results on the CPU."""

from __future__ import annotations

import mmap
from math import prod

import torch
from torch import Tensor

LARGE = 32 * 2**20  # bytes up to which the C library keeps memory that is freed
HUGE = getattr(mmap, "MADV_HUGEPAGE", None)  # Linux has it


def empty(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Return a contiguous tensor of any content, with dtype and device of another.

    The C library hands blocks of more than 32 MiB back to the system when they are freed, so that a gradient that is
    made anew in every step pays for the first use of every page of 4 KiB, a cost that many experts feel. Large tensors
    are mapped here with the advice to use pages of 2 MiB; where the system does not follow it, nothing changes.
    """
    mapped = _mapped(shape, like)
    return like.new_empty(shape) if mapped is None else mapped


def zeros(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Return a contiguous tensor of zeros, with dtype and device of another; large ones as of `empty`.

    What is mapped is zero: nothing is written, so that the pages of experts without tokens are not even used here.
    """
    mapped = _mapped(shape, like)
    return like.new_zeros(shape) if mapped is None else mapped


def _mapped(shape: tuple[int, ...], like: Tensor) -> Tensor | None:
    """Return a new mapping of memory as a tensor, if it is large and on the CPU."""
    size = prod(shape) * like.element_size()
    if like.device.type != "cpu" or size < LARGE or HUGE is None:
        return None
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    pages.madvise(HUGE)
    return torch.frombuffer(pages, dtype=like.dtype).view(shape)
