"""A fit as values: from the arguments of an estimator and its data to what it adopts. Nothing is set here."""

from __future__ import annotations

from copy import deepcopy
from math import prod
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils.validation import check_is_fitted

from gatewise.core.gates import gates
from gatewise.core.mixture import Measure, Mixture
from gatewise.estimators import options
from gatewise.estimators.declarations import Declared
from gatewise.estimators.errors import ReportedErrors, errors_of
from gatewise.estimators.gate_inputs import GateReader, gates_read_rows
from gatewise.estimators.inputs import Given, Training
from gatewise.estimators.names import ReaderNames, labels_of_fit
from gatewise.estimators.progress import following
from gatewise.estimators.theory import theory
from gatewise.estimators.training import read_training
from gatewise.estimators.values import plain
from gatewise.estimators.warnings import alert, alert_data, alert_ridge, ask_theory, light
from gatewise.fit.arguments import numbers, starts_number
from gatewise.fit.least_squares import least_squares
from gatewise.fit.maximum_likelihood import maximum_likelihood
from gatewise.fit.order import reordered
from gatewise.fit.result import Fit
from gatewise.fit.spec import FitSpec
from gatewise.fit.torch_state import standard_torch
from gatewise.formulas import FormulaDesign
from gatewise.infer.covariance.information import information
from gatewise.infer.predict import Shares, shares
from gatewise.infer.proportions import Proportions, proportions
from gatewise.objective.device import device_named
from gatewise.objective.rows import Rows

OWN_STATE = ("random_state", "verbose")  # what these hold goes on changing, and no method of a fitted model reads it


class FittedModel(NamedTuple):
    """All that a fit leaves behind.

    Attributes
    ----------
    fit : Fit
    reader : GateReader
        Where the gates find their inputs.
    flat : bool
        Whether y had one dimension.
    shares : Shares
        Responsibilities summed over the data of fit.
    errors : ReportedErrors
    given : estimator
        Unfitted, with copies of the arguments of the fit and with what it saw of X.
    offset : bool
        Whether fit was given an offset.
    design : FormulaDesign or None
        The formula of the fit, if there is one.
    proportions : Proportions or None
        The gates averaged over the data of fit.
    classes : ndarray or None
        The labels of a classifier.
    """

    fit: Fit
    reader: GateReader
    flat: bool
    shares: Shares
    errors: ReportedErrors
    given: Any
    offset: bool = False
    design: FormulaDesign | None = None
    proportions: Proportions | None = None
    classes: np.ndarray | None = None

    @property
    def names(self) -> ReaderNames:
        """What a reader calls the numbers of the fit."""
        return ReaderNames(self.fit, labels_of_fit(self.fit, self.given, self.reader, self.design, self.classes))


def as_given(estimator: Any) -> Any:
    """Return an unfitted estimator with copies of the same arguments, which later changes of these do not reach."""
    params = estimator.get_params(deep=False)
    return type(estimator)(**{name: v if name in OWN_STATE else deepcopy(v) for name, v in params.items()})


def fitted(estimator: Any, roles: Given, start: Any, checkpoint: Any = None) -> tuple[FittedModel, Rows]:
    """Return what fitting an estimator gives, and the rows that were fitted.

    `checkpoint` is the file from which a fit to rows on a cluster can go on.
    """
    given = as_given(estimator)
    with standard_torch():
        data, mixture, spec = _prepared(given, roles, checkpoint)
        begin = _start(estimator, start, data)
    fit = _searched(estimator, mixture, data.rows, spec, begin)
    if reference := options.references(given.reference, mixture.branching):
        fit = reordered(fit, range(mixture.n_leaves), reference)[0]
    found = information(fit, data.rows)
    errors, mixed = errors_of(found), proportions(found, data.rows)
    taken = shares(fit.mixture, fit.measure, data.rows)
    known = data.rows.offset is not None
    return FittedModel(fit, data.reader, data.flat, taken, errors, given, known, None, mixed), data.rows


def warn(found: FittedModel, rows: Rows, stacklevel: int) -> None:
    """Warn of what the reader of a fit should know before using it."""
    names = list(getattr(found.given, "feature_names_in_", ()))
    alert(found.fit, found.names.text, names, list(found.reader.names or ()), stacklevel=stacklevel + 1)
    alert_data(found.fit, rows, stacklevel=stacklevel + 1)
    if ask_theory(found.fit, found.errors):
        said = theory(found.fit, found.given.n_features_in_, found.reader, order=1)
        alert_ridge(said.verdict, said.words, stacklevel=stacklevel + 1)


def _prepared(given: Any, roles: Given, checkpoint: Any) -> tuple[Training, Mixture, FitSpec]:
    """Return checked rows, the mixture and what is estimated."""
    options.check_numbers(given)
    device = device_named(given.device)
    if roles.known.trials is not None:
        options.check_trials(given)
    levels = options.branches(given)
    gated = gates_read_rows(gates(given.gate, len(levels)), levels)
    data = read_training(given, roles, gated, checkpoint)
    data = data._replace(rows=options.on_device(device, data.rows))
    leaves = prod(levels)
    if data.rows.n_units < leaves:
        what, unit = ("n_samples", "row") if data.rows.ends is None else ("number of groups", "group")
        raise ValueError(f"{what}={data.rows.n_units} for {leaves} experts: give at least one {unit} per expert")
    if data.rows.total < leaves and given.method != "ls":
        raise ValueError(light(data.rows, f"fewer than the {leaves} experts"))
    mixture = options.mixture_of(given, data.rows, roles.known.trials is not None)
    rows, outputs = data.rows, mixture.family.outputs(data.rows.y.shape[1])
    spec = options.spec_of(given, mixture, rows.x.shape[1], rows.gate_x.shape[1], outputs, data.flat)
    options.check_reference(given, mixture, spec)
    return data, mixture, spec


def _start(estimator: Any, start: Any, data: Training) -> Any:
    """Return what a search begins at, in the order of the rows that are fitted; None: starts are drawn."""
    if start is None and estimator.warm_start:
        return getattr(estimator, "fit_", None)
    if isinstance(start, Declared):
        check_is_fitted(start, "fit_")
        return start.fit_
    if start is None or isinstance(start, Fit | Measure):
        return start
    if isinstance(start, str | type):
        raise TypeError(
            f"start={start!r}: give a fitted model, its fit_, a Measure, or responsibilities with a row per "
            "observation and a column per expert"
        )
    if data.rows.elsewhere is not None:
        raise ValueError("start has responsibilities, and the rows are on a cluster: give a fitted model or a Measure")
    return data.ordered(numbers("start", plain("start", start)))


def _searched(estimator: Any, mixture: Mixture, rows: Rows, spec: FitSpec, begin: Any) -> Fit:
    """Return the fit of a mixture by the method that was asked for."""
    search: dict[str, Any] = {
        "starts": starts_number("n_init", estimator.n_init),
        "start": begin,
        "seed": options.seed_of(estimator.random_state),
        "max_time": estimator.max_time,
    }
    with following(estimator.verbose) as progress:
        if estimator.method == "ls":
            return least_squares(mixture, rows, spec, **search, progress=progress)
        solver = "em" if estimator.method == "em" else "newton"
        steps = {"method": solver, "max_iter": estimator.max_iter}
        return maximum_likelihood(mixture, rows, spec, **steps, **search, progress=progress)
