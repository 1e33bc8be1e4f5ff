"""What an estimator reports of standard errors, or the reason why there are none."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gatewise.core.families.gaussian import SPREAD
from gatewise.core.mixture import Measure
from gatewise.fit.order import branch_covariances
from gatewise.infer.covariance.information import standard_errors
from gatewise.infer.covariance.value import Information
from gatewise.infer.delta import delta
from gatewise.objective.parameterization import places

UNKNOWN = "they were not computed with this fit"


class ReportedErrors(NamedTuple):
    """Standard errors that a fitted estimator keeps.

    Attributes
    ----------
    values : dict path -> Tensor, or None
        In the shapes of the measure; with a full covariance also ``family.scale``.
    reason : str or None
        Why there are none.
    notes : tuple of str
    directions : tuple of str
        What the reason names.
    between : dict path -> Tensor (*nodes, K, K, ...), or None
        Covariances between the K branches of parameters of gates of which only differences count.
    """

    values: dict[str, Tensor] | None = None
    reason: str | None = UNKNOWN
    notes: tuple[str, ...] = ()
    directions: tuple[str, ...] = ()
    between: dict[str, Tensor] | None = None


def errors_of(found: Information) -> ReportedErrors:
    """Return what an estimator keeps of an Information."""
    if found.refused:
        return ReportedErrors(None, found.refused, (), found.directions)
    values = standard_errors(found)
    family = found.mixture.family
    estimated = found.measure(found.estimate)
    q = found.mixture.outputs(estimated)
    if family.covariance(estimated.family, q) is not None:

        def spread(measure: Measure) -> Tensor:
            covariance = family.covariance(measure.family, q)
            assert covariance is not None
            return torch.sqrt(covariance.diagonal(dim1=-2, dim2=-1))

        values[SPREAD] = delta(found, spread).error
    open_ = (found.undetermined != 0).any(-1)
    covariance = torch.where(open_[:, None] | open_, torch.nan, found.covariance)
    between = branch_covariances(found.mixture, estimated.paths(), places(found.shapes), covariance)
    return ReportedErrors(values, None, found.notes, (), between)
