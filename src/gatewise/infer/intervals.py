"""Confidence intervals of the numbers of an Information, normal or on the logarithm (Wald)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from gatewise.fit.arguments import probability
from gatewise.fit.torch_state import standard_torch
from gatewise.infer.covariance.limits import clipped
from gatewise.infer.covariance.value import Information, flat_errors
from gatewise.infer.text import frame, html_listing, listing, percent
from gatewise.markup import page
from gatewise.objective.entries import IDENTITY, LOG, RECIPROCAL

if TYPE_CHECKING:
    from pandas import DataFrame


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

    Examples
    --------
    >>> from gatewise import MixtureOfExpertsRegressor
    >>> from gatewise.data import load
    >>> tone = load("tone")
    >>> model = MixtureOfExpertsRegressor(n_experts=2, gate="constant", n_init=1, random_state=0).fit(tone.X, tone.y)
    >>> found = model.inference(tone.X, tone.y).wald(0.9)
    >>> found.level, bool((found.lower <= found.estimate).all())
    (0.9, True)
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
