"""Where intervals end: no reported end lies outside the bounds that a fit was given."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

import torch
from torch import Tensor

from gatewise.core.parameters import Parameter
from gatewise.fit.spec import FitSpec


def interval_limits(path: str, spec: Parameter, shape: tuple[int, ...], given: FitSpec) -> Tensor:
    """Return the least and largest end of intervals of one parameter, ``(2, *shape)``.

    These are the bounds of the fit, and the range of a parameter that is estimated as it is: the intervals of others
    stay inside their range.
    """
    own = spec.bounds if spec.transform == "identity" else (-inf, inf)
    pair = zip(own, given.bounds.get(path, own), strict=True)
    low, high = ([torch.as_tensor(end, dtype=torch.float64).expand(shape) for end in both] for both in pair)
    return torch.stack([torch.maximum(*low), torch.minimum(*high)])


def clipped(lower: Tensor, upper: Tensor, limits: Tensor) -> tuple[Tensor, Tensor]:
    """Return the ends of intervals (F,) within limits (2, F); ends that are not known stay so."""
    return torch.maximum(lower, limits[0]), torch.minimum(upper, limits[1])


def limit_notes(given: FitSpec, paths: Iterable[str]) -> tuple[str, ...]:
    """Say of which parameters the intervals end at given bounds."""
    bounded = [path for path in paths if path in given.bounds]
    return (f"intervals of {', '.join(bounded)} end at the bounds of the fit",) if bounded else ()
