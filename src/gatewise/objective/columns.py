"""Columns of numbers behind an affine map, in memory or read piece by piece. Inside, rows come last: ``(d, n)``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gatewise.buffers import buffer
from gatewise.core.predictors import AffineTransform


@dataclass(frozen=True)
class Columns:
    """Values ``(n, d)`` behind an affine map, held as a tensor ``(d, n)`` or read from any sliceable array.

    A change of coordinates moves what is held at once; a `frame` moves what is read each time, and takes no memory.

    Attributes
    ----------
    held : Tensor (d, n) or None
        ``(S, d, n)``: columns of S data sets, one for every member of a batch.
    source : array-like (n, d) or None
        Sliced by rows at each reading (a memory map, for instance), never copied whole.
    frame : AffineTransform or None
        Values come out as ``(value - shift) / scale``.
    """

    held: Tensor | None
    source: Any = None
    frame: AffineTransform | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and of columns."""
        if self.held is not None:
            return self.held.shape[-1], self.held.shape[-2]
        return int(self.source.shape[0]), int(self.source.shape[1])

    def read(self, start: int, stop: int) -> Tensor:
        """Return rows start..stop as ``(d, stop - start)``."""
        if self.held is not None:
            return self._framed(self.held[..., start:stop])
        given = np.asarray(self.source[start:stop])
        return self._moved(given.T, buffer(*given.shape[::-1]))

    def take(self, index: Tensor) -> Tensor:
        """Return the rows with the given increasing positions as ``(d, len(index))``."""
        if self.held is not None:
            return self._framed(self.held[..., index])
        given = np.asarray(self.source[index.tolist()])
        return self._moved(given.T, np.empty(given.shape[::-1]))

    def _moved(self, values: np.ndarray, out: np.ndarray) -> Tensor:
        """Return values ``(d, m)`` behind the frame, written to `out`."""
        if self.frame is None:
            np.copyto(out, values)
        else:
            np.subtract(values, self.frame.shift[:, None].numpy(), out=out)
            out /= self.frame.scale[:, None].numpy()
        return torch.from_numpy(out)

    def _framed(self, values: Tensor) -> Tensor:
        if self.frame is None:
            return values
        return (values - self.frame.shift[:, None]).div_(self.frame.scale[:, None])

    def of(self, members: Tensor) -> Columns:
        """Return the columns of some members of a batch; the columns themselves when all share them."""
        if self.held is None or self.held.ndim == 2:
            return self
        return Columns(self.held[members])

    def framed(self, frame: AffineTransform) -> Columns:
        """Return the columns after the change of coordinates ``(value - shift) / scale``."""
        if self.held is not None:
            return Columns((self.held - frame.shift[:, None]) / frame.scale[:, None])
        if self.frame is not None:
            frame = AffineTransform(self.frame.shift + self.frame.scale * frame.shift, self.frame.scale * frame.scale)
        return replace(self, frame=frame)


def columns(values: Any, hold: bool = True) -> Columns:
    """Return values ``(n, d)`` as Columns: copied to a tensor ``(d, n)``, or read piece by piece (`hold` False)."""
    if not hold:
        return Columns(None, values)
    if not isinstance(values, Tensor):
        values = torch.tensor(values, dtype=torch.float64, device="cpu")
    return Columns(values.to(torch.float64).T.clone(memory_format=torch.contiguous_format))
