"""Confidence intervals from an Information: Wald, and the delta method for functions of the parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from gatewise.core.mixture import Measure
from gatewise.core.names import entry_names, path_of
from gatewise.fit.arguments import probability
from gatewise.fit.torch_state import standard_torch
from gatewise.infer.covariance.limits import clipped
from gatewise.infer.covariance.value import Information, flat_errors
from gatewise.infer.text import frame, html_listing, listing, number, percent
from gatewise.markup import page
from gatewise.objective.entries import IDENTITY, LOG, RECIPROCAL

if TYPE_CHECKING:
    from pandas import DataFrame

MOVES = 1e-7  # share of a gradient along an open direction that counts as none


class Intervals(NamedTuple):
    """Estimates with standard errors, z values, p values and intervals, one entry per number of the measure.

    Attributes
    ----------
    names : tuple of str
    estimate, error : Tensor (F,)
        The error is 0 for parameters that are not estimated, and NaN for those that are not unique.
    z, p : Tensor (F,)
        Estimate divided by its error, and the two-sided normal p-value; NaN if the parameter cannot be zero.
    lower, upper : Tensor (F,)
        Ends of the interval.
    level : float
        Coverage probability.
    """

    names: tuple[str, ...]
    estimate: Tensor
    error: Tensor
    z: Tensor
    p: Tensor
    lower: Tensor
    upper: Tensor
    level: float

    def text(self) -> str:
        """Return the intervals as a table."""
        return "\n".join([self._title(), *listing(self.names, self._columns(), self.error)])

    def __repr__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        return page(self._title(), html_listing(self.names, self._columns(), self.error))

    def to_frame(self) -> DataFrame:
        """Return a data frame with a row per parameter, in full precision."""
        return frame(self.names, self._columns())

    def _title(self) -> str:
        return f"Normal {percent(self.level)} intervals"

    def _columns(self) -> dict[str, Tensor]:
        columns = {"estimate": self.estimate, "std. error": self.error, "z": self.z, "p": self.p}
        return columns | {"lower": self.lower, "upper": self.upper}


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


def critical(level: float) -> float:
    """Return the normal quantile of a two-sided interval.

    Raises
    ------
    ValueError
        If the level is not between 0 and 1.

    Examples
    --------
    >>> round(critical(0.95), 4)
    1.96
    """
    level = probability("level", level)
    return float(torch.special.ndtri(torch.tensor(0.5 * (1 + level), dtype=torch.float64)))


def require(found: Information) -> None:
    """Raise unless there are errors.

    Raises
    ------
    ValueError
        With the reason of the refusal.
    """
    if found.refused:
        raise ValueError(f"this fit has no standard errors: {found.refused}")


@standard_torch()
def wald(found: Information, level: float = 0.95) -> Intervals:
    """Compute Wald confidence intervals for all parameters, on the natural scale of each.

    With z the normal quantile: ``estimate -+ z error`` for unrestricted parameters, ``estimate exp(-+ z error /
    estimate)`` for positive ones, and for degrees of freedom the interval of their reciprocal. Intervals end at the
    bounds of the fit.

    Parameters
    ----------
    found : Information
        From `information`.
    level : float
        Coverage probability.

    Returns
    -------
    Intervals

    Raises
    ------
    ValueError
        If there are no standard errors, or the level is not between 0 and 1.

    Examples
    --------
    >>> from gatewise.core.gates import GATES
    >>> from gatewise.core.mixture import Mixture
    >>> from gatewise.fit import maximum_likelihood
    >>> from gatewise.infer.covariance.information import information
    >>> from gatewise.objective.rows import make_rows
    >>> x = torch.linspace(-1.0, 1.0, 50, dtype=torch.float64)[:, None]
    >>> rows = make_rows(x, 2 * x + torch.cos(40 * x))
    >>> fit = maximum_likelihood(Mixture((GATES["constant"],), (1,)), rows, starts=1)
    >>> [name for name in wald(information(fit, rows)).names if name.startswith("experts")]
    ['experts.coef[0,0,0]', 'experts.intercept[0,0]']
    """
    require(found)
    width = critical(level)
    error = flat_errors(found)
    lower, upper = ends(found.estimate, error, found.transform, width)
    if found.limits is not None:
        lower, upper = clipped(lower, upper, found.limits)
    tested = (found.transform == IDENTITY) & (error > 0)
    z = torch.where(tested, found.estimate / error, torch.nan)
    return Intervals(found.names, found.estimate, error, z, p_value(z), lower, upper, level)


def p_value(z: Tensor) -> Tensor:
    """Return the two-sided normal p-value of z."""
    return torch.special.erfc(z.abs() / 2**0.5)


def ends(estimate: Tensor, error: Tensor, transform: Tensor, width: float) -> tuple[Tensor, Tensor]:
    """Return lower and upper ends of intervals on the scale that belongs to each transform.

    Examples
    --------
    >>> one = torch.ones(3)
    >>> low, high = ends(2 * one, 0.5 * one, torch.tensor([0, 1, 2]), 2.0)
    >>> [round(v, 3) for v in low.tolist()], [round(v, 3) for v in high.tolist()]
    ([1.0, 1.213, 1.333], [3.0, 3.297, 4.0])
    """
    step = width * error
    relative = torch.where(transform == IDENTITY, 0.0, step / estimate)
    factor = torch.exp(torch.where(transform == LOG, relative, 0.0))
    below = torch.where(transform == LOG, estimate / factor, estimate - step)
    above = torch.where(transform == LOG, estimate * factor, estimate + step)
    turned = transform == RECIPROCAL
    below = torch.where(turned, estimate / (1 + relative), below)
    above = torch.where(turned, torch.where(relative < 1, estimate / (1 - relative), torch.inf), above)
    return below, above


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
    places = _places(found, function) if isinstance(function, str) else None
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
    places, path = _places(found, name), path_of(name)
    if name in found.shapes:
        return lambda measure: measure.paths()[name]
    first = next(i for i, other in enumerate(found.names) if path_of(other) == path)
    return lambda measure: measure.paths()[path].reshape(-1)[places[0] - first]


def _places(found: Information, name: str) -> list[int]:
    """Return where the numbers of a path, or the number of a name, stand."""
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
