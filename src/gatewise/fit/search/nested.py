"""Simpler mixtures that a mixture contains, by values of its parameters: their optima are starts of it."""

from __future__ import annotations

import torch
from torch import Tensor

from gatewise.fit.model import PreparedModel

PLAIN = {"quadratic": 0.0, "temperature": 1.0}
SIMPLER = {  # values of the roles of gates, and the roles of which one is left
    "constant gates": ({"slope": 0.0, "direction": 0.0, **PLAIN}, ("intercept",)),
    "plain gates": (PLAIN, ("slope", "direction")),
}


def held_values(model: PreparedModel) -> dict[str, dict[str, Tensor]]:
    """Return, by kind, the values under paths at which a prepared mixture is a simpler one.

    A kind is left out where it is the mixture itself, where a value is bounded, fixed or tied, or where nothing would
    be left of the gates.
    """
    parameterization = model.parameterization
    mixture = parameterization.mixture
    kinds: dict[str, dict[str, Tensor]] = {}
    for kind, (values, left) in SIMPLER.items():
        paths = {path: values[role] for role in values for path in mixture.paths("gates", role)}
        free = {path: value for path, value in paths.items() if bool((parameterization.columns(path) >= 0).any())}
        if free and mixture.paths("gates", *left) and not model.spec.determined & free.keys():
            shapes = parameterization.shapes
            held = {path: torch.full(shapes[path], value, dtype=torch.float64) for path, value in free.items()}
            if all(held.keys() != other.keys() for other in kinds.values()):
                kinds[kind] = held
    return kinds
