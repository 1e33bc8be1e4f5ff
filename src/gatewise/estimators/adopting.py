"""How an estimator takes on what a fit has left behind: all at once, nothing of an earlier fit left."""

from __future__ import annotations

from typing import Any

from gatewise.estimators.attributes import reported_values
from gatewise.estimators.fitting import FittedModel, as_given
from gatewise.fit.status import Status

SEEN = ("n_features_in_", "feature_names_in_")


def adopt(estimator: Any, found: FittedModel, frame: Any = None) -> None:
    """Set the fitted attributes, and the frame of a fit by a formula. They are all known before the first is set."""
    new = {**_private(found), "_frame": frame, **_public(found)}
    for name in [name for name in vars(estimator) if name.endswith("_") and not name.startswith("_")]:
        delattr(estimator, name)
    for name, value in new.items():
        setattr(estimator, name, value)


def with_seen(estimator: Any, d: int, names: Any = None) -> Any:
    """Return the arguments of an estimator as `FittedModel.given`, for X of d columns with these names, if any."""
    given = as_given(estimator)
    given.n_features_in_ = d
    if names is not None:
        given.feature_names_in_ = names
    return given


def _private(found: FittedModel) -> dict[str, Any]:
    """Return what methods of a fitted estimator read and users do not."""
    return {
        "_given": found.given,
        "_reader": found.reader,
        "_flat": found.flat,
        "_shares": found.shares,
        "_errors": found.errors,
        "_offset": found.offset,
        "_design": found.design,
        "_proportions": found.proportions,
    }


def _public(found: FittedModel) -> dict[str, Any]:
    """Return the fitted attributes that the documentation names."""
    fit, values, reason = found.fit, found.errors.values, found.errors.reason
    labels = {} if found.classes is None else {"classes_": found.classes}
    return {
        **reported_values(fit.mixture, fit.measure, found.flat),  # a parameter called fit is in measure_ alone
        **{name: value for name, value in vars(found.given).items() if name in SEEN},
        "standard_errors_": None if values is None else {path: value.numpy() for path, value in values.items()},
        "standard_errors_reason_": None if reason is None else found.names.text(reason),
        "fit_": fit,
        "mixture_": fit.mixture,
        "measure_": fit.measure,
        "log_likelihood_": fit.log_likelihood,
        "status_": fit.status,
        "sse_": fit.sse,
        "converged_": fit.status in (Status.converged, Status.at_kink) and fit.certificate.passed,
        "n_iter_": fit.n_iter,
        "n_experts_": sum(not one for i, one in enumerate(fit.mixture.titles) if i not in fit.certificate.starved),
        "n_outputs_": fit.outputs,
        **labels,
    }
