"""Marginal effects: how the mean of y changes with one column, averaged over rows, with delta-method errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gatewise.core.mixture import Measure, regression
from gatewise.core.names import did_you_mean
from gatewise.estimators.collections import is_collection
from gatewise.estimators.framed import framed
from gatewise.estimators.inputs import Given
from gatewise.estimators.names import labels_of
from gatewise.estimators.predictions import columns_of, offset_of
from gatewise.fit.torch_state import standard_torch
from gatewise.infer.covariance.value import Information
from gatewise.infer.delta import Derived, delta
from gatewise.infer.intervals import p_value

if TYPE_CHECKING:
    from pandas import DataFrame

STEP = 1e-4  # of a column's standard deviation, on either side


class _At(NamedTuple):
    """Inputs of experts and gates ``(d, n)``, and what is known of the predictors ``(q, n)``."""

    x: Tensor
    gate_x: Tensor
    offset: Tensor | None


@standard_torch()
def margins(
    estimator: Any, found: Information, column: Any, X: Any, at: Mapping[Any, Any] | None, level: float
) -> DataFrame:
    """Return average marginal effects of a column as a data frame; see `Inference.margins`."""
    import pandas as pd

    every, parts = _rows(estimator, X), []
    for values in product(*map(_choices, (at or {}).values())):
        rows, title = every, []
        for (name, several), value in zip((at or {}).items(), values, strict=True):
            rows = _set(rows, name, value)
            title += [f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"] if _many(several) else []
        part = _effects(estimator, found, column, rows, level)
        parts.append(part.rename(index=lambda name, title=title: ", ".join([name, *title])))
    return pd.concat(parts).rename_axis("effect")


def _labels(estimator: Any, count: int) -> list[str]:
    """Return the names of the means of y: those of the outputs, where each has one."""
    named = labels_of(estimator).outputs
    return named if len(named) == count else [f"y{i}" for i in range(count)]


def _many(value: Any) -> bool:
    return isinstance(value, list | tuple | np.ndarray | range)


def _choices(value: Any) -> list[Any]:
    """Return the values that a column is set to, one after the other."""
    return list(value) if _many(value) else [value]


def _effects(estimator: Any, found: Information, column: Any, rows: Any, level: float) -> DataFrame:
    """Return the effects of a column, averaged over rows."""
    import pandas as pd

    values = _values(rows, column)
    design = getattr(estimator, "_design", None)
    known = [] if design is None else design.levels_of(column)
    if _is_numeric(values) and not known:
        spread = float(np.std(values.astype(float)))
        step = STEP * (spread or max(1.0, abs(float(values[0]))))
        sides = [(_set(rows, column, values + step), _set(rows, column, values - step), 2 * step, str(column))]
    else:
        reference = None if design is None else design.reference_of(column)
        seen = [one for one in known if one in set(values)] or _levels(rows, column)
        first, *others = [one for one in known if one == reference] + [one for one in seen if one != reference]
        sides = [(_set(rows, column, o), _set(rows, column, first), 1.0, f"{column}: {o} - {first}") for o in others]
        if not sides:
            raise ValueError(f"{column!r} has one value, {first!r}, in these rows: there is nothing to compare")
    effects, names = [], []
    for upper, lower, width, name in sides:
        ends = _at(estimator, upper), _at(estimator, lower)
        effects.append(delta(found, _average(found, *ends, width), level))
        outputs = len(effects[-1].estimate)
        names += [name] if outputs == 1 else [f"{name}, {label}" for label in _labels(estimator, outputs)]
    return pd.DataFrame(_columns(effects), index=pd.Index(names, name="effect"))


def _average(found: Information, upper: _At, lower: _At, width: float) -> Any:
    """Return the mean difference of the means of y at two sets of inputs, as a function of the measure, ``(q,)``."""

    def effect(measure: Measure) -> Tensor:
        above, below = (regression(found.mixture, measure, *end) for end in (upper, lower))
        return (above - below).mean(-1) / width

    return effect


def _columns(effects: Sequence[Derived]) -> dict[str, np.ndarray]:
    heads = ("estimate", "std. error", "lower", "upper")
    parts = [torch.cat(part) for part in zip(*(effect[:4] for effect in effects), strict=True)]
    z = parts[0] / parts[1]
    return {
        heads[0]: parts[0].numpy(), heads[1]: parts[1].numpy(), "z": z.numpy(), "p": p_value(z).numpy(),
        heads[2]: parts[2].numpy(), heads[3]: parts[3].numpy(),
    }  # fmt: skip


def _rows(estimator: Any, X: Any) -> Any:
    """Return the rows as a data frame or an array, those of the fit of a formula if none are given."""
    if X is None and getattr(estimator, "_frame", None) is not None:
        X = estimator._frame
    if X is None:
        raise TypeError("X is missing: give the rows to average over")
    if is_collection(X):
        raise TypeError(
            "X is a Dask collection, and margins average over rows in memory: take inference(X, y).margins(column, "
            "few) with a sample of the rows"
        )
    if getattr(estimator, "_design", None) is not None:
        X = X[estimator._design.complete(X, ("offset",))]
        if not len(X):
            raise ValueError("every row of X lacks a value that the formula reads: give rows that have them")
    return X if hasattr(X, "loc") else np.asarray(X, dtype=np.float64)


def _set(rows: Any, column: Any, value: Any) -> Any:
    """Return the rows with other values of a column."""
    place = _place(rows, column)
    moved = rows.copy()
    if hasattr(rows, "loc"):
        moved[place] = value
    else:
        moved[:, place] = value
    return moved


def _place(rows: Any, column: Any) -> Any:
    """Return the name of a column of a frame, or its position in an array: 0, or x0.

    Raises
    ------
    ValueError
        If there is none.
    """
    if hasattr(rows, "loc"):
        if column in rows.columns:
            return column
        names = [str(name) for name in rows.columns]
        raise ValueError(f"{column!r} is no column: {did_you_mean(str(column), names)}there are {', '.join(names)}")
    number = int(column[1:]) if isinstance(column, str) and column[:1] == "x" and column[1:].isdigit() else column
    if isinstance(number, int | np.integer) and 0 <= number < rows.shape[1]:
        return int(number)
    raise ValueError(f"{column!r} is no column of X: give x0 to x{rows.shape[1] - 1}, or their numbers")


def _values(rows: Any, column: Any) -> np.ndarray:
    place = _place(rows, column)
    return rows[place].to_numpy() if hasattr(rows, "loc") else rows[:, place]


def _is_numeric(values: np.ndarray) -> bool:
    return values.dtype.kind in "iuf"


def _levels(rows: Any, column: Any) -> list[Any]:
    """Return the values of a column without numbers: its categories in their order, else sorted."""
    series = rows[column]
    seen = list(series.dropna().unique())
    if hasattr(series, "cat"):
        return [one for one in series.cat.categories if one in seen]
    return sorted(seen)


def _at(estimator: Any, rows: Any) -> _At:
    """Return what the mixture reads of rows."""
    given = framed(estimator, Given(rows, None), ("offset",))
    x, gate_x = columns_of(estimator, given.x, given.gate_x)
    n = x.shape[0]
    known = offset_of(estimator, given.known.of(given.x).offset, n)
    return _At(x.read(0, n), gate_x.read(0, n), None if known is None else known.read(0, n))
