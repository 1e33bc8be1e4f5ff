"""Numerical rank of a set of columns and its null space."""

from __future__ import annotations

from math import inf
from typing import NamedTuple

import torch
from torch import Tensor

ZERO = 1e-9  # norm of a column that counts as zero
DROPPED = 1e-8  # singular values below this share of the largest are dropped
GAP = 1e4  # what is dropped has to be smaller by this again, so that it is this far below all that is kept
INVOLVED = 1e-10  # squared share of a column in the null space


class Rank(NamedTuple):
    """Rank of the columns of one draw.

    Attributes
    ----------
    zero : Tensor (m,) of bool
        Columns that vanish; they are left out of everything else.
    nullity : int
        Independent linear relations between the other columns.
    kept, dropped : float
        Smallest kept and largest dropped singular value, in units of the largest; `dropped` is 0 when there is none.
    null : Tensor (nullity, m)
        Orthonormal relations between the columns scaled to unit norm.
    norms : Tensor (m,)
    """

    zero: Tensor
    nullity: int
    kept: float
    dropped: float
    null: Tensor
    norms: Tensor

    @property
    def decided(self) -> bool:
        """Whether the spectrum is empty between 1e-12 and 1e-8: what is dropped is rounding, no near relation."""
        return self.dropped < DROPPED / GAP

    @property
    def involved(self) -> Tensor:
        """Which columns take part in a relation, ``(m,)`` of bool."""
        return (self.null**2).sum(0) > INVOLVED


def rank(columns: Tensor) -> Rank:
    """Return the rank of columns ``(n, m)``, or of the triangle of their QR factorisation.

    Examples
    --------
    >>> found = rank(torch.tensor([[1.0, 2.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64))
    >>> found.nullity, found.zero.tolist(), found.decided
    (1, [False, False, True], True)
    """
    norms = torch.linalg.vector_norm(columns, dim=0)
    zero = norms < ZERO
    live = (~zero).nonzero().flatten()
    if not len(live):
        return Rank(zero, 0, inf, 0.0, columns.new_zeros(0, len(norms)), norms)
    _, values, right = torch.linalg.svd(columns[:, live] / norms[live], full_matrices=True)
    values = torch.nn.functional.pad(values, (0, len(live) - len(values))) / values[0]
    nullity = int((values < DROPPED).sum())
    null = columns.new_zeros(nullity, len(norms))
    null[:, live] = right[len(live) - nullity :]
    split = len(live) - nullity
    dropped = float(values[split]) if nullity else 0.0
    return Rank(zero, nullity, float(values[split - 1]), dropped, null, norms)
