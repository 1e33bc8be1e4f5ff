"""The box lower <= x <= upper: projection, projected gradient, free coordinates."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Box", "free_set", "make_box", "project", "projected_gradient"]


class Box(NamedTuple):
    """Bounds of shape (s, P); -inf and +inf where there is none."""

    lower: Tensor
    upper: Tensor


def make_box(lower: Tensor | float | None, upper: Tensor | float | None, like: Tensor) -> Box:
    """Bounds broadcast to the shape of `like`, (S, P).

    Raises
    ------
    ValueError
        If a bound is NaN, does not broadcast, or a lower bound exceeds its upper bound.
    """
    low, high = (
        torch.as_tensor(default if bound is None else bound, dtype=like.dtype, device=like.device)
        for bound, default in ((lower, -torch.inf), (upper, torch.inf))
    )
    try:
        box = Box(low.expand(like.shape), high.expand(like.shape))
    except RuntimeError:
        raise ValueError(
            f"bounds have shapes {tuple(low.shape)} and {tuple(high.shape)}, the start {tuple(like.shape)}: "
            "pass bounds that broadcast to the start"
        ) from None
    wrong = ~(box.lower <= box.upper)
    if wrong.any():
        member, coordinate = wrong.nonzero()[0].tolist()
        raise ValueError(
            f"member {member}, coordinate {coordinate} has bounds {box.lower[member, coordinate].item()} and "
            f"{box.upper[member, coordinate].item()}: a box needs lower <= upper and no NaN"
        )
    return box


def project(x: Tensor, box: Box) -> Tensor:
    """The nearest point of the box."""
    return torch.clamp(x, box.lower, box.upper)


def projected_gradient(x: Tensor, gradient: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """Projected gradient x - P(x - g), shape (s, P): zero exactly at the stationary points of the box.

    Computed as clip(g, x - upper, x - lower), which loses no digits when |x| is much larger than |g|.
    """
    return torch.clamp(gradient, x - upper, x - lower)


def free_set(x: Tensor, gradient: Tensor, lower: Tensor, upper: Tensor, margin: Tensor | float = 0.0) -> Tensor:
    """Coordinates that may move: bool, shape (s, P).

    Not free are those whose bounds coincide and those at a bound (within `margin` of it) towards which the
    negative gradient points.
    """
    held = ((x <= lower + margin) & (gradient > 0)) | ((x >= upper - margin) & (gradient < 0))
    return ~held & (lower < upper)
