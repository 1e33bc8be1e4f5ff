"""FitSpec: which parameters of a mixture are estimated, within which limits, and what the weights mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from gatewise.core.names import path_of
from gatewise.fit.arguments import held, least_scale, limits, penalty
from gatewise.fit.floor import Floor

Limits = Mapping[str, tuple[float | Tensor, float | Tensor]]

GAUGES = ("fixed", "none")
WEIGHTS = ("frequency", "sampling")


@dataclass(frozen=True, eq=False)
class FitSpec:
    """What a fit estimates: bounds, fixed and tied parameters, penalty, gauge, floor of scales, kind of weights.

    All values are in the units of the data. A fit keeps its spec, so later computations need only the data.

    Attributes
    ----------
    bounds : mapping path -> (lower, upper)
        Such as ``{"family.scale": (0.1, 2.0)}``; numbers, or tensors with the shape of the parameter. Each finite limit
        must lie in the parameter's own range, and fixed values inside the bounds. The last branch of a softmax gate is
        the reference with parameters zero, so bounds of what it holds must contain zero there.
    fixed : mapping path -> Tensor
        Values of parameters that are not estimated; NaN entries are estimated.
    ties : tuple of tuples of names
        Parameters constrained to be equal, such as ``(("experts.coef[0,0,1]", "experts.coef[1,0,1]"),)``.
    alpha : float
        Weight of the ridge penalty ``alpha / 2 sum_k ||w_k - mean w||^2`` on the gate slopes, in standardised units.
        Centers, directions, biases and quadratic terms are not penalised; if no gate has a slope, a fit raises.
    gauge : {"fixed", "none"}
        ``fixed``: parameters that are not identified, such as the temperature of a dense-to-sparse gate, are fixed.
        ``none``: they are estimated too.
    min_scale : float, Tensor (q,) or Floor, optional
        Floor of standard deviations. None: determined from the data (`gatewise.fit.floor.scale_floor`). The spec of a
        fit holds the floor that was used.
    reference : tuple of int
        Branch of every level that is the reference of softmax gates, where their parameters are zero; empty: the last.
    weights : {"frequency", "sampling"}
        ``frequency``: a weight of two means that the observation occurs twice. ``sampling``: it represents two units of
        the population; standard errors are then robust.

    Raises
    ------
    ValueError
        If a value is not a number, bounds are impossible, alpha is negative, the gauge or the kind of weights is
        unknown, a floor is not positive, or a tie has only one name.

    Examples
    --------
    >>> FitSpec(bounds={"family.scale": (0.1, 2.0)}, alpha=0.5).determined
    frozenset({'family.scale'})
    """

    bounds: Limits = field(default_factory=dict)
    fixed: Mapping[str, Tensor] = field(default_factory=dict)
    ties: tuple[tuple[str, ...], ...] = ()
    alpha: float = 0.0
    gauge: str = "fixed"
    min_scale: float | Tensor | Floor | None = None
    weights: str = "frequency"
    reference: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        checked = {"bounds": limits(self.bounds), "fixed": held(self.fixed), "alpha": penalty(self.alpha)}
        if not isinstance(self.min_scale, Floor):
            checked["min_scale"] = least_scale(self.min_scale)
        for name, found in checked.items():
            object.__setattr__(self, name, found)
        for name, value, known in (("gauge", self.gauge, GAUGES), ("weights", self.weights, WEIGHTS)):
            if value not in known:
                raise ValueError(f"{name}={value!r}: choose {' or '.join(map(repr, known))}")
        if isinstance(self.min_scale, Floor) and not bool((self.min_scale.value > 0).all()):
            raise ValueError(f"min_scale={self.min_scale}: the floor of a standard deviation is positive")
        alone = [tie for tie in self.ties if len(set(tie)) < 2]
        if alone:
            raise ValueError(f"ties has {alone[0]!r}: a tie holds two different names or more")

    @property
    def determined(self) -> frozenset[str]:
        """Paths with bounds, fixed values or ties: their units keep their origin."""
        tied = {path_of(name) for tie in self.ties for name in tie}
        return frozenset({*self.bounds, *self.fixed, *tied})
