"""Confidence intervals of functions of the parameters, by the delta method."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from gatewise.core.mixture import Measure
from gatewise.core.names import entry_names, path_of
from gatewise.fit.torch_state import standard_torch
from gatewise.infer.covariance.limits import clipped
from gatewise.infer.covariance.value import Information
from gatewise.infer.intervals import critical, ends, require
from gatewise.infer.text import frame, html_listing, listing, number, percent
from gatewise.markup import page
from gatewise.objective.entries import IDENTITY

if TYPE_CHECKING:
    from pandas import DataFrame

MOVES = 1e-7  # share of a gradient along an open direction that counts as none


class Derived(NamedTuple):
    """A function of the parameters with its standard error and interval, from the delta method.

    Attributes
    ----------
    estimate, error, lower, upper : Tensor
        In the shape of the function's value.
    covariance : Tensor (m, m)
        Covariance of the m entries of the value, flattened.
    level : float
        Coverage probability of the interval.

    Examples
    --------
    >>> from gatewise import MixtureOfExpertsRegressor
    >>> from gatewise.data import load
    >>> tone = load("tone")
    >>> model = MixtureOfExpertsRegressor(n_experts=2, gate="constant", n_init=1, random_state=0).fit(tone.X, tone.y)
    >>> found = model.inference(tone.X, tone.y).delta(
    ...     lambda measure: measure.experts["coef"][0] - measure.experts["coef"][1]
    ... )
    >>> found.estimate.shape, bool(found.error > 0), found.level
    (torch.Size([1, 1]), True, 0.95)
    """

    estimate: Tensor
    error: Tensor
    lower: Tensor
    upper: Tensor
    covariance: Tensor
    level: float

    def text(self) -> str:
        """Return estimate, error and interval: a line for a number, a table for several."""
        title = f"normal {percent(self.level)} interval"
        if not self.estimate.ndim:
            value, error, low, high = (number(float(part)) for part in self[:4])
            return f"{value}, std. error {error}, {title} {low} to {high}"
        return "\n".join([f"N{title[1:]}s", *listing(self._names(), self._columns(), self.error.reshape(-1))])

    def __repr__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        listed = html_listing(self._names(), self._columns(), self.error.reshape(-1))
        return page(f"Normal {percent(self.level)} interval{'s' * (self.estimate.ndim > 0)}", listed)

    def to_frame(self) -> DataFrame:
        """Return a data frame with a row per entry of the value."""
        return frame(self._names(), self._columns())

    def _names(self) -> list[str]:
        return [name or "value" for name in entry_names("", self.estimate.shape)]

    def _columns(self) -> dict[str, Tensor]:
        heads = ("estimate", "std. error", "lower", "upper")
        return {head: part.reshape(-1) for head, part in zip(heads, self[:4], strict=True)}


@standard_torch()
def delta(found: Information, function: str | Callable[[Measure], Tensor], level: float = 0.95) -> Derived:
    """Compute a function g of the parameters with its standard error by the delta method: variance ``g' Cov g``.

    Here ``g'`` is the gradient of the function, by automatic differentiation.

    Parameters
    ----------
    found : Information
        From `information`.
    function : callable Measure -> Tensor, or str
        A function of the parameters in the units of the data, written with torch: a contrast, a ratio, the mean at some
        x. Or the path of a parameter, such as ``experts.coef``, or the name of a single number, such as
        ``experts.coef[0,0,1]``.
    level : float
        Coverage probability of the interval: that of `wald` for the parameters of a path or a name, ``estimate -+ z
        error`` for a function. For a positive function let it return the logarithm, and take exponentials of the ends.

    Returns
    -------
    Derived

    Raises
    ------
    ValueError
        If there are no standard errors, the function depends on parameters that are not unique, or the name is unknown.
    TypeError
        If `function` is neither a function nor a name, or does not return a tensor.

    Examples
    --------
    >>> from gatewise.core.gates import GATES
    >>> from gatewise.core.mixture import Mixture
    >>> from gatewise.objective.rows import make_rows
    >>> from gatewise.fit import maximum_likelihood
    >>> from gatewise.infer.covariance.information import information
    >>> x = torch.linspace(-1.0, 1.0, 50, dtype=torch.float64)[:, None]
    >>> rows = make_rows(x, 2 * x + torch.cos(40 * x))
    >>> fit = maximum_likelihood(Mixture((GATES["constant"],), (1,)), rows, starts=1)
    >>> delta(information(fit, rows), lambda measure: 2 * measure.experts["coef"][0, 0, 0])
    4, std. error 0.339384, normal 95 % interval 3.33482 to 4.66518
    """
    require(found)
    places = places_of(found, function) if isinstance(function, str) else None
    function = named_value(found, function) if isinstance(function, str) else function
    if not callable(function):
        raise TypeError(
            f"function is a {type(function).__name__}: give a function of the measure written with torch, such as "
            "lambda measure: measure.experts['coef'][0, 0, 0], or the path of a parameter, such as 'experts.coef'"
        )
    shape = torch.Size(())

    def flattened(values: Tensor) -> Tensor:
        nonlocal shape
        out = function(found.measure(values))
        shape = out.shape
        return out.reshape(-1)

    value = function(found.measure(found.estimate))
    if not isinstance(value, Tensor):
        raise TypeError(
            f"the function returns a {type(value).__name__}, which has no derivatives: write it with torch, and return "
            "a tensor"
        )
    gradient = torch.autograd.functional.jacobian(flattened, found.estimate)
    estimate = flattened(found.estimate).detach()
    if bool(moved_by_undetermined(found, gradient).any()):
        names = [name for name, row in zip(found.names, found.undetermined, strict=True) if bool((row != 0).any())]
        raise ValueError(
            "the function depends on parameters that the data leave open, so it has no unique estimate: "
            f"{', '.join(names)}"
        )
    covariance = gradient @ found.covariance @ gradient.T
    error = covariance.diagonal().clamp_min(0.0).sqrt()
    kinds = torch.full(estimate.shape, IDENTITY, dtype=torch.long) if places is None else found.transform[places]
    lower, upper = ends(estimate, error, kinds, critical(level))
    if places is not None and found.limits is not None:
        lower, upper = clipped(lower, upper, found.limits[:, places])
    value, error, lower, upper = (part.reshape(shape) for part in (estimate, error, lower, upper))
    return Derived(value, error, lower, upper, covariance, level)


def named_value(found: Information, name: str) -> Callable[[Measure], Tensor]:
    """Return the function of a measure that reads a parameter by its path, or one number of it by its name.

    Raises
    ------
    ValueError
        If no parameter has the name.
    """
    places, path = places_of(found, name), path_of(name)
    if name in found.shapes:
        return lambda measure: measure.paths()[name]
    first = next(i for i, other in enumerate(found.names) if path_of(other) == path)
    return lambda measure: measure.paths()[path].reshape(-1)[places[0] - first]


def places_of(found: Information, name: str) -> list[int]:
    """Return where the numbers of a path, or the number of a name, stand.

    Raises
    ------
    ValueError
        If no parameter has the name.
    """
    if name in found.shapes:
        return [i for i, other in enumerate(found.names) if path_of(other) == name]
    if name not in found.names:
        raise ValueError(
            f"{name!r} is not a parameter of this mixture: the paths are {', '.join(found.shapes)}, and "
            f"{found.names[0]} is the name of one number"
        )
    return [found.names.index(name)]


def moved_by_undetermined(found: Information, gradient: Tensor) -> Tensor:
    """Return which functions with gradients ``(m, F)`` change along an open direction, ``(m,)``."""
    change = (gradient @ found.undetermined).abs()
    return (change > MOVES * (gradient.abs() @ found.undetermined.abs())).any(-1)
