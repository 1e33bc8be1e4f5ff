"""The rows of marginal effects: their columns in X and in gate_X by one name, set to other values."""

from __future__ import annotations

from math import inf
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gatewise.core.names import did_you_mean
from gatewise.data.parquet import is_table
from gatewise.estimators.arrow import in_memory
from gatewise.estimators.collections import is_collection
from gatewise.estimators.framed import framed
from gatewise.estimators.gate_inputs import column_names
from gatewise.estimators.inputs import Given, read_weights
from gatewise.estimators.known import KnownValues
from gatewise.estimators.names import labels_of
from gatewise.estimators.predictions import columns_of, offset_of
from gatewise.estimators.tables import column_of

FEW = "take inference(X, y).margins(column, few) with a sample of the rows as a data frame"


class MarginInputs(NamedTuple):
    """Inputs of experts and gates ``(d, n)``, and what is known of the predictors ``(q, n)``."""

    x: Tensor
    gate_x: Tensor
    offset: Tensor | None


class MarginRows(NamedTuple):
    """Rows to average over.

    Attributes
    ----------
    estimator : fitted estimator
    x : DataFrame or ndarray (n, d)
        After `moe` the frame, of the rows without missing values.
    gate_x : DataFrame or ndarray (n, g), or None
        None where the gates read x.
    offset : array-like (n,) or (n, q), or None
        None also where a formula reads it.
    """

    estimator: Any
    x: Any
    gate_x: Any
    offset: Any

    def values(self, column: Any) -> np.ndarray:
        """Return the values ``(n,)`` of a column.

        Raises
        ------
        ValueError
            If there is none, or X and gate_X have different ones of this name.
        """
        return self._found(column)[0][1]

    def span(self, column: Any) -> tuple[float, float]:
        """Return the ends of a column that a formula reads: beyond them its functions may be undefined.

        Elsewhere the span has no ends.
        """
        values = self.values(column)
        if getattr(self.estimator, "_design", None) is None or values.dtype.kind not in "iuf":
            return -inf, inf
        return float(values.min()), float(values.max())

    def levels(self, column: Any) -> list[Any]:
        """Return the values of a column without numbers: its categories in their order, else sorted."""
        side = next(side for side in (self.x, self.gate_x) if hasattr(side, "loc") and column in side.columns)
        seen = list(side[column].dropna().unique())
        if hasattr(side[column], "cat"):
            return [one for one in side[column].cat.categories if one in seen]
        return sorted(seen)

    def set(self, column: Any, value: Any) -> MarginRows:
        """Return the rows with other values of a column, in X and in gate_X where both have it."""
        moved = {}
        for (field, place), _ in self._found(column):
            side = getattr(self, field).copy()
            if hasattr(side, "loc"):
                side[place] = value
            else:
                side[:, place] = value
            moved[field] = side
        return self._replace(**moved)

    def read(self) -> MarginInputs:
        """Return what the mixture reads of the rows."""
        roles = Given(self.x, None, gate_x=self.gate_x, known=KnownValues(self.offset))
        given = framed(self.estimator, roles, ("offset",))
        x, gate_x = columns_of(self.estimator, given.x, given.gate_x)
        n = x.shape[0]
        known = offset_of(self.estimator, given.known.of(given.x).offset, n)
        return MarginInputs(x.read(0, n), gate_x.read(0, n), None if known is None else known.read(0, n))

    def _found(self, column: Any) -> list[tuple[tuple[str, Any], np.ndarray]]:
        """Return where a column stands, as the name of a field and a place in it, with its values there."""
        found = []
        for field, places in (("x", self._places()), ("gate_x", self._gate_places())):
            if (place := places.get(column)) is not None:
                side = getattr(self, field)
                found.append(((field, place), side[place].to_numpy() if hasattr(side, "loc") else side[:, place]))
        if not found:
            names = [str(name) for places in (self._places(), self._gate_places()) for name in places]
            self._refuse(column, list(dict.fromkeys(names)))
        if len(found) == 2 and not np.array_equal(found[0][1], found[1][1]):
            raise ValueError(
                f"{column!r} is a column of X and of gate_X with different values, so that it is not one variable: fit "
                "with two different names"
            )
        return found

    def _places(self) -> dict[Any, Any]:
        """Return where a column of X stands, by its name, or by its number in an array: 0, or x0."""
        if (design := getattr(self.estimator, "_design", None)) is not None:
            return {name: name for name in design.variables(("offset",))}
        if hasattr(self.x, "loc"):
            return {name: name for name in self.x.columns}
        numbers = range(self.x.shape[1])
        return {f"x{i}": i for i in numbers} | {i: i for i in numbers}

    def _gate_places(self) -> dict[Any, Any]:
        """Return where a column of gate_X stands, by its name, else by that of the summary: gate x0."""
        if self.gate_x is None:
            return {}
        if hasattr(self.gate_x, "loc"):
            return {name: name for name in self.gate_x.columns}
        return {name: i for i, name in enumerate(labels_of(self.estimator).gate_inputs)}

    def _refuse(self, column: Any, names: list[str]) -> None:
        if not hasattr(self.x, "loc") and self.gate_x is None:
            raise ValueError(f"{column!r} is no column of X: give x0 to x{self.x.shape[1] - 1}, or their numbers")
        names = names if hasattr(self.x, "loc") else [name for name in names if not name.isdigit()]
        what = "no column" if getattr(self.estimator, "_design", None) is None else "no column that the formula reads"
        raise ValueError(f"{column!r} is {what}: {did_you_mean(str(column), names)}there are {', '.join(names)}")


def margin_rows(
    estimator: Any, X: Any, gate_X: Any, offset: Any, sample_weight: Any
) -> tuple[MarginRows, Tensor | None]:
    """Return the rows to average over with their weights: those of the fit of a formula if none are given.

    Raises
    ------
    TypeError, ValueError
        For rows that are missing, lie elsewhere, or lack all values.
    """
    design = getattr(estimator, "_design", None)
    X = estimator._frame if X is None and design is not None else X
    if X is None:
        raise TypeError("X is missing: give the rows to average over")
    if is_collection(X):
        raise TypeError(f"X is a Dask collection, and margins average over rows in memory: {FEW}")
    if is_table(X):
        raise TypeError(f"X is a table in files, and margins average over rows in memory: {FEW}")
    if design is not None:
        weights = set(design.variables(("weights",))) - set(design.variables(()))
        if sample_weight is None and (lacking := sorted(weights.difference(getattr(X, "columns", weights)))):
            raise ValueError(
                f"X has no column {lacking[0]!r}, from which the weights of the fit are read: add it, or give "
                "sample_weight=1 to count every row once"
            )
        given = [name for name, one in (("offset", offset), ("sample_weight", sample_weight)) if np.ndim(one)]
        roles = {"offset": offset, "weights": sample_weight}
        whole = design.complete(X, [name for name, one in roles.items() if one is None])
        if given and not whole.all():
            raise ValueError(f"X has rows with missing values, and {given[0]} is given: leave these rows out of both")
        if not whole.any():
            raise ValueError("every row of X lacks a value that the formula reads: give rows that have them")
        X = X[whole]
    elif in_memory(X):
        X, gate_X, offset, sample_weight = _of_table(estimator, X, gate_X, offset, sample_weight)
    named = gate_X is None or column_names(gate_X) is not None
    X = X if hasattr(X, "loc") else np.asarray(X, dtype=np.float64)
    gate_X = gate_X if named else np.asarray(gate_X, dtype=np.float64)
    rows = MarginRows(estimator, X, gate_X, offset)
    if design is not None and sample_weight is None:
        sample_weight = framed(estimator, Given(X, None), ("weights",)).sample_weight
    rows.read()  # so that what is missing or has another shape is said before any column is looked up
    weight = read_weights(sample_weight, len(rows.x))
    return rows, None if weight is None else torch.from_numpy(weight)


def _of_table(estimator: Any, table: Any, gate_X: Any, offset: Any, sample_weight: Any) -> tuple[Any, Any, Any, Any]:
    """Return the columns of a pyarrow table in memory by their roles, whose names may be given."""
    frame, reader = table.to_pandas(), estimator._reader
    gates = list(reader.names) if gate_X is None and reader.given and reader.names else gate_X
    gates = [gates] if isinstance(gates, str) else gates
    by_name = isinstance(gates, list | tuple) and all(isinstance(one, str) for one in gates)
    names = getattr(estimator, "feature_names_in_", frame.columns)
    lacking = [name for name in (*names, *(gates if by_name else ())) if name not in frame.columns]
    if lacking:
        raise ValueError(f"X lacks the columns {', '.join(map(str, lacking))}: give those of the fit")
    known = KnownValues(offset).of(table).offset
    return frame[list(names)], frame[list(gates)] if by_name else gates, known, column_of(table, sample_weight)
