"""Experts that chance finds: narrow ones on few rows, of which every large data set has some."""

from __future__ import annotations

from gatewise.fit.certify import chance_leaves
from gatewise.fit.result import Fit
from gatewise.infer.covariance.point import locate
from gatewise.objective.rows import Rows


def experts_by_chance(fit: Fit, rows: Rows) -> tuple[int, ...]:
    """Return the experts whose scale is so small, on so few rows, that chance finds such an expert.

    Below 3 % of the spread of the residuals about one plane, or of the widest scale, an expert with p parameters is one
    that chance finds if it rests on fewer than m of n rows, the smallest m with
    ``-(m - p - 1) log(relative scale) >= log C(n, m)``.

    Parameters
    ----------
    fit : Fit
    rows : Rows
        Those of the fit.
    """
    family = fit.mixture.family
    if family.bounded or not family.has_density:
        return ()
    point = locate(fit, rows)
    return chance_leaves(point.problem, point.free)
