"""The paths of the parameters that rates and losses speak of, read off the parts that have them."""

from __future__ import annotations

from gatewise.core.gates import GATES
from gatewise.core.mixture import Mixture

_SOFTMAX, _LAPLACE = (Mixture((GATES[name],) * 2, (2, 2)) for name in ("softmax", "scaled-laplace"))

(WEIGHT,), (INNER_WEIGHT,) = (_SOFTMAX.paths(level, "slope") for level in ("gates.0", "gates.1"))
(CENTER,), (INNER_CENTER,) = (_LAPLACE.paths(level, "location") for level in ("gates.0", "gates.1"))
(BIAS,), (TEMPERATURE,) = _SOFTMAX.paths("gates.0", "intercept"), _LAPLACE.paths("gates.0", "temperature")
(COEF,), (INTERCEPT,) = _SOFTMAX.paths("experts", "slope"), _SOFTMAX.paths("experts", "intercept")
VARIANCE, EXPERTS = "family.variance", "experts"
LOSS = "loss"  # all parameters together, as losses sum them


def tensor_path(path: str, mixture: Mixture) -> str:
    """Return the path of the tensor that a parameter is in: rates of scales are those of variances, their squares."""
    return next(iter(mixture.paths("family", "scale")), path) if path == VARIANCE else path
