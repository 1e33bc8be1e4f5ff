"""Marginal effects: how the mean of y changes with one column, averaged over rows, with delta-method errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from gatewise.core.mixture import Measure, regression
from gatewise.estimators.margin_rows import MarginInputs, MarginRows, margin_rows
from gatewise.estimators.names import labels_of
from gatewise.fit.torch_state import standard_torch
from gatewise.infer.covariance.value import Information
from gatewise.infer.delta import Derived, delta
from gatewise.infer.intervals import p_value

if TYPE_CHECKING:
    from pandas import DataFrame

STEP = 1e-4  # of a column's standard deviation, on either side


@standard_torch()
def margins(
    estimator: Any,
    found: Information,
    column: Any,
    X: Any,
    at: Mapping[Any, Any] | None,
    level: float,
    gate_X: Any = None,
    offset: Any = None,
    sample_weight: Any = None,
) -> DataFrame:
    """Return average marginal effects of a column as a data frame; see `Inference.margins`."""
    import pandas as pd

    every, weight = margin_rows(estimator, X, gate_X, offset, sample_weight)
    parts = []
    for values in product(*map(_choices, (at or {}).values())):
        rows, title = every, []
        for (name, several), value in zip((at or {}).items(), values, strict=True):
            rows = rows.set(name, value)
            title += [f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"] if _many(several) else []
        part = _effects(found, column, rows, every, weight, level)
        parts.append(part.rename(index=lambda name, title=title: ", ".join([name, *title])))
    return pd.concat(parts).rename_axis("effect")


def _classes(estimator: Any) -> list[str]:
    """Return the names of three classes and more, whose probabilities all have effects; empty: the means have."""
    classes = getattr(estimator, "classes_", None)
    return [str(one) for one in classes] if classes is not None and len(classes) > 2 else []


def _labels(estimator: Any, count: int) -> list[str]:
    """Return the names of the means of y: those of the outputs, where each has one."""
    named = _classes(estimator) or labels_of(estimator).outputs
    return named if len(named) == count else [f"y{i}" for i in range(count)]


def _many(value: Any) -> bool:
    return isinstance(value, list | tuple | np.ndarray | range)


def _choices(value: Any) -> list[Any]:
    """Return the values that a column is set to, one after the other."""
    return list(value) if _many(value) else [value]


def _effects(
    found: Information,
    column: Any,
    rows: MarginRows,
    given: MarginRows,
    weight: Tensor | None,
    level: float,
) -> DataFrame:
    """Return the effects of a column, averaged over rows; those given, before any value was set, have its units."""
    import pandas as pd

    values = rows.values(column)
    design = getattr(rows.estimator, "_design", None)
    known = [] if design is None else design.levels_of(column)
    if values.dtype.kind in "iuf" and not known:
        below, above = _beside(values, _step(given.values(column).astype(float)), given.span(column))
        width = torch.from_numpy(above - below)
        sides = [(rows.set(column, above), rows.set(column, below), width, str(column))]
    else:
        reference = None if design is None else design.reference_of(column)
        seen = [one for one in known if one in set(values)] or rows.levels(column)
        first, *others = [one for one in known if one == reference] + [one for one in seen if one != reference]
        one = torch.ones((), dtype=torch.float64)
        sides = [(rows.set(column, o), rows.set(column, first), one, f"{column}: {o} - {first}") for o in others]
        if not sides:
            raise ValueError(f"{column!r} has one value, {first!r}, in these rows: there is nothing to compare")
    effects, names = [], []
    for upper, lower, width, name in sides:
        change = _average(found, upper.read(), lower.read(), width, weight)
        effects.append(delta(found, _of_all(change) if _classes(rows.estimator) else change, level))
        outputs = len(effects[-1].estimate)
        names += [name] if outputs == 1 else [f"{name}, {label}" for label in _labels(rows.estimator, outputs)]
    return pd.DataFrame(_columns(effects), index=pd.Index(names, name="effect"))


def _step(values: np.ndarray) -> float:
    """Return how far a column is moved, in its units."""
    return STEP * (float(np.std(values)) if np.ptp(values) > 0 else max(1.0, abs(float(values[0]))))


def _beside(values: np.ndarray, step: float, span: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Return values ``(n,)`` a step below and above others, but not out of a span that has them.

    Examples
    --------
    >>> _beside(np.array([0.0, 2.0, 4.0]), 0.5, (0.0, 2.0))
    (array([0. , 1.5, 3.5]), array([0.5, 2. , 4.5]))
    """
    values, (low, high) = values.astype(float), span
    lower, upper = values - step, values + step
    if high - low > step:
        lower = np.where(values >= low, np.maximum(lower, low), lower)
        upper = np.where(values <= high, np.minimum(upper, high), upper)
    return lower, upper


def _average(found: Information, upper: MarginInputs, lower: MarginInputs, width: Tensor, weight: Tensor | None) -> Any:
    """Return the mean difference of the means of y at two sets of inputs, as a function of the measure, ``(q,)``."""

    def effect(measure: Measure) -> Tensor:
        above, below = (regression(found.mixture, measure, *end) for end in (upper, lower))
        change = (above - below) / width
        return change.mean(-1) if weight is None else change @ weight / weight.sum()

    return effect


def _of_all(effect: Callable[[Measure], Tensor]) -> Callable[[Measure], Tensor]:
    """Return the effects on the probabilities of all classes ``(q + 1,)``, that of the reference first."""

    def of_all(measure: Measure) -> Tensor:
        others = effect(measure)
        return torch.cat([-others.sum(0, keepdim=True), others])

    return of_all


def _columns(effects: Sequence[Derived]) -> dict[str, np.ndarray]:
    heads = ("estimate", "std. error", "lower", "upper")
    parts = [torch.cat(part) for part in zip(*(effect[:4] for effect in effects), strict=True)]
    z = parts[0] / parts[1]
    return {
        heads[0]: parts[0].numpy(), heads[1]: parts[1].numpy(), "z": z.numpy(), "p": p_value(z).numpy(),
        heads[2]: parts[2].numpy(), heads[3]: parts[3].numpy(),
    }  # fmt: skip
