"""Chance in training: the scale of learned noise on the choice, and jitter of what gates read."""

from __future__ import annotations

from math import inf

import torch
from torch import Tensor, nn

SMALLEST = 1e-6  # standard deviation of learned noise, in log weight: derivatives divide by its square


class NoiseScale(nn.Module):
    """Standard deviations ``softplus(w . x)`` of the noise on the log weights of a level (1701.06538, equation 4).

    As in the paper, w is zero at the start. They are at least `SMALLEST`.

    Parameters
    ----------
    owners : tuple of int
        The branches of the levels above, ``()`` at the root.
    branches, dim : int
    """

    def __init__(self, owners: tuple[int, ...], branches: int, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(*owners, branches, dim))

    def forward(self, x: Tensor) -> Tensor:
        """Return the standard deviations of all branches: x ``(*, d, T)``, with a dimension for each level above."""
        return torch.nn.functional.softplus(self.weight.to(x.dtype) @ x).clamp_min(SMALLEST)

    def reset_parameters(self) -> None:
        """Set all to zero, as after ``to_empty``."""
        nn.init.zeros_(self.weight)

    def extra_repr(self) -> str:
        return f"shape={tuple(self.weight.shape)}"


def jittered(rows: Tensor, size: float) -> Tensor:
    """Return rows with every entry multiplied by a uniform factor between ``1 - size`` and ``1 + size``."""
    return rows * (1 + size * (2 * torch.rand_like(rows) - 1))


def check_noise(noise: float | str, jitter: float) -> None:
    """Raise for noise and jitter that no router has.

    Raises
    ------
    ValueError
        Saying what may be given.
    """
    if noise != "learned" and (isinstance(noise, str) or not 0 <= noise < inf):
        raise ValueError(f"noise={noise!r}: give a standard deviation, zero or more, or 'learned'")
    if not 0 <= jitter < 1:
        raise ValueError(f"jitter={jitter}: give a number below 1, zero or more, the most by which a feature changes")
