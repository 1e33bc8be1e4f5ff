"""Rows of a model that was fitted by a formula: a data frame in place of inputs, responses and their roles."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from gatewise.estimators.inputs import Given
from gatewise.estimators.known import KnownValues
from gatewise.formulas import FormulaDesign
from gatewise.formulas.frames import require_columns

PARTS = {"y": "response", "gate_x": "gate inputs"}


def framed(estimator: Any, given: Given, wanted: Collection[str] = (), drop: bool = False) -> Given:
    """Return the data of a method: those given, or what the formula of the fit reads from a data frame.

    Parameters
    ----------
    estimator : fitted estimator
    given : Given
        Of a fit by a formula x is a data frame; None stands for that of the fit, as long as it is in memory.
    wanted : collection of roles
        Those that the method needs: ``"response"``, ``"offset"``, ``"trials"``, ``"weights"`` and ``"groups"``.
    drop : bool
        Whether rows with missing values are left out; else they are an error, but of the frame of the fit.

    Raises
    ------
    TypeError, ValueError
        For data that are missing, or not those of a formula.
    """
    design: FormulaDesign | None = getattr(estimator, "_design", None)
    if design is None:
        if given.x is None:
            raise TypeError("X is missing: give the inputs of the rows")
        return given
    for name, words in PARTS.items():
        if getattr(given, name) is not None:
            raise ValueError(
                f"the model was fitted by a formula, which reads the {words} from the frame: give it alone"
            )
    kept = estimator._frame if given.x is None else None
    if given.x is None and kept is None:
        raise TypeError("the frame of the fit is not in memory, since files do not hold it: give a data frame")
    known = given.known
    roles = {name for name in wanted if name not in known._fields or getattr(known, name) is None}
    roles -= {"weights"} if given.sample_weight is not None else set()
    roles -= {"groups"} if given.groups is not None else set()
    found = design.matrices(kept if given.x is None else given.x, roles, drop or given.x is None)
    if found.dropped and (known.offset is not None or known.trials is not None or given.groups is not None):
        raise ValueError("rows with missing values are left out, so that no other roles can be given: leave them out")
    groups = found.groups if given.groups is None else given.groups
    offset = found.offset if known.offset is None else known.offset
    trials = found.trials if known.trials is None else known.trials
    weight = found.weights if given.sample_weight is None else given.sample_weight
    y = estimator._encoded(None, found.y) if design.labelled and found.y is not None else found.y
    return Given(found.x, y, weight, found.gate_x, groups, KnownValues(offset, trials))


def clusters_of(estimator: Any, given: Given, clusters: Any) -> Any:
    """Return the labels that a column of the frame of a formula's fit holds, of the rows without missing values.

    Anything else is returned as it is given.
    """
    frame = estimator._frame if given.x is None else given.x
    if estimator._design is None or not isinstance(clusters, str) or frame is None:
        return clusters
    require_columns(frame, [clusters])
    return frame.loc[estimator._design.complete(frame), clusters]


def formula_lines(design: FormulaDesign | None) -> list[tuple[str, str]]:
    """Return what a summary says of a formula: its parts, and how many rows were left out."""
    if design is None:
        return []
    gates = [] if design.gates is None else [("gates", design.gates.parsed.text)]
    left = [("rows", f"{design.dropped} with missing values were left out")] if design.dropped else []
    return [("formula", design.experts.parsed.text), *gates, *design.roles.items(), *left]
