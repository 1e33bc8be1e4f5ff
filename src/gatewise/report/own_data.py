"""From a prepared table to a fitted model and its page."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from gatewise.estimators import MixtureOfExpertsRegressor
from gatewise.estimators.names import names_of
from gatewise.estimators.warnings import CLASSES, FitWarning
from gatewise.fit.words import beside, members, status_words
from gatewise.report.facts import Fitted, gate_phrase
from gatewise.report.page import Page, Section
from gatewise.report.parquet import PreparedTable
from gatewise.report.pictures import classes_of, pictures_of
from gatewise.report.reading import Prepared


class Outcome(NamedTuple):
    """A model fitted to a user's table.

    Attributes
    ----------
    model : MixtureOfExpertsRegressor
    fitted : Fitted
    remarks : tuple of str
        Warnings besides the one that repeats the status.
    code : str
        Python that gives the same fit.
    """

    model: MixtureOfExpertsRegressor
    fitted: Fitted
    remarks: tuple[str, ...]
    code: str


def fit_table(
    path: str,
    data: Prepared | PreparedTable,
    options: dict[str, Any],
    progress: Callable[[str, int, int], None] | None = None,
    checkpoint: str | None = None,
) -> Outcome:
    """Fit a regressor to a prepared table.

    Parameters
    ----------
    path : str
        Of the table, for the code.
    data : Prepared or PreparedTable
    options : dict
        Arguments of the regressor.
    progress : callable, optional
        Called with (stage, starts that have ended, starts) as the fit goes on.
    checkpoint : str, optional
        File that keeps the passes of a fit on a cluster.
    """
    roles, seen = data.roles, data.drawn
    inside = roles.gate_features and data.gate_x is None
    options = {**options, **({"gate_features": list(roles.gate_features)} if inside else {})}
    model = MixtureOfExpertsRegressor(**options, verbose=progress or 0)
    roles_of_rows: dict[str, Any] = {"sample_weight": data.weight, "gate_X": data.gate_x, "groups": data.groups}
    roles_of_rows |= {"checkpoint": checkpoint} if checkpoint else {}
    model, spent, heard = heard_by(lambda: model.fit(data.X, data.y, **roles_of_rows))
    model.verbose = 0
    gates = seen.gate_x if seen.gate_x is not None else seen.X[list(roles.gate_features)] if inside else None
    fitted = Fitted(
        gate_phrase(model.gate, model.mixture_.depth),
        model.fit_,
        seen.X,
        seen.y,
        spent,
        gates,
        seen.groups,
        roles.features,
        roles.gate_features or None,
        roles.target,
        names_of(model),
    )
    return Outcome(model, fitted, remarks_of(heard), code_of(path, data, options))


def heard_by(
    fit: Callable[[], MixtureOfExpertsRegressor],
) -> tuple[MixtureOfExpertsRegressor, float, list[warnings.WarningMessage]]:
    """Return what a fit gives, its seconds, and its warnings of fits and of factors."""
    begun = time.perf_counter()
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", FitWarning)
        warnings.filterwarnings("always", "the factor ", UserWarning)
        model = fit()
    return model, time.perf_counter() - begun, heard


def remarks_of(heard: Sequence[warnings.WarningMessage]) -> tuple[str, ...]:
    """Return warnings besides the one that repeats the status."""
    failures = tuple(CLASSES.values())
    return tuple(str(one.message) for one in heard if not issubclass(one.category, failures))


def code_of(path: str, data: Prepared | PreparedTable, options: dict[str, Any]) -> str:
    """Return Python that reads the table and gives the same fit."""
    lines, given = data.code(path)
    arguments = "".join(f"    {name}={value!r},\n" for name, value in options.items())
    return f"{lines}model = MixtureOfExpertsRegressor(\n{arguments})\nmodel.fit({given})\nprint(model.summary())\n"


def page_of(path: str, data: Prepared | PreparedTable, outcome: Outcome, command: str, version: str) -> Page:
    """Return the page of a fit to a user's table."""
    roles, fit = data.roles, outcome.model.fit_
    left = f" {data.dropped} rows with missing values were left out." if data.dropped else ""
    about = f"{roles.target} given {', '.join(roles.features)}: {data.rows} rows of {path}.{left}{data.shown}"
    reading = " ".join(remark[:1].upper() + remark[1:] + "." for remark in outcome.remarks)
    lead = f"A mixture of {members(fit.mixture)}. Status: {fit.status}: {status_words(fit)}{beside(fit)}."
    summary = outcome.model.summary()
    section = Section(
        roles.target,
        about,
        (outcome.fitted,),
        outcome.code,
        reading=reading,
        summary=summary,
        pictures=pictures_of(outcome.model, data),
        classes=classes_of(outcome.model, data),
    )
    return Page(f"gatewise: {roles.target} from {', '.join(roles.features)}", lead, (section,), command, version)
