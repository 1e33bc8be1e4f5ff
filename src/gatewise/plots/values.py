"""What the pictures draw, as numpy arrays: means and weights of the leaves, responsibilities, sections through X."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from gatewise.core import mixture as engine
from gatewise.core.names import did_you_mean
from gatewise.estimators.known import Grouped, counts_trials
from gatewise.estimators.names import labels_of
from gatewise.fit import Fit


class LeafCurves(NamedTuple):
    """What the leaves say at n rows.

    Attributes
    ----------
    mean : ndarray (L, n)
        Mean response of each leaf.
    weight : ndarray (L, n)
        Gate weight of each leaf.
    total : ndarray (n,)
        Mean response of the mixture.
    """

    mean: np.ndarray
    weight: np.ndarray
    total: np.ndarray


def engine_fit(fit: Any) -> Fit:
    """Return the Fit itself, or the one that a fitted regressor holds."""
    return getattr(fit, "fit_", fit)


def table(values: Any) -> np.ndarray:
    """Return inputs as an array (n, d); one dimension is one column."""
    array = np.asarray(values, dtype=float)
    return array[:, None] if array.ndim == 1 else array


def columns(values: Any) -> Tensor:
    """Return inputs (n, d) as the engine takes them, (d, n)."""
    return torch.tensor(table(values).T, dtype=torch.float64).contiguous()


def leaves(fit: Fit, X: Any, gate_X: Any = None, output: int = 0) -> LeafCurves:
    """Return means and weights of the leaves at the rows of X (n, d) and gate_X (n, g)."""
    mixture, measure, x = fit.mixture, fit.measure, columns(X)
    gate_x = x if gate_X is None else columns(gate_X)
    predictors = engine.leaf_predictors(mixture, measure, x)
    mean = mixture.family.mean(engine.leaf_family(mixture, measure), predictors)[:, output]
    weight = engine.leaf_log_weights(mixture, measure, gate_x).exp()
    total = engine.regression(mixture, measure, x, gate_x)[output]
    return LeafCurves(mean.numpy(), weight.numpy(), total.numpy())


def leaf_weights(fit: Fit, gate_X: Any) -> np.ndarray:
    """Return the weight (L, n) of every leaf at gate inputs (n, g)."""
    return engine.leaf_log_weights(fit.mixture, fit.measure, columns(gate_X)).exp().numpy()


def shares(fit: Fit, X: Any, y: Any, gate_X: Any = None, groups: Any = None) -> np.ndarray:
    """Return the responsibility (L, n) of every leaf for every row; rows of one group share theirs."""
    x, response = columns(X), columns(y)
    gate_x = x if gate_X is None else columns(gate_X)
    joint = engine.leaf_log_joint(fit.mixture, fit.measure, x, gate_x, response)
    if groups is not None:
        weight = engine.leaf_log_weights(fit.mixture, fit.measure, gate_x)
        code = torch.from_numpy(np.unique(np.asarray(groups), return_inverse=True)[1])
        pooled = joint.new_zeros(len(joint), int(code.max()) + 1).index_add(1, code, joint - weight)
        joint = weight + pooled[:, code]
    return torch.softmax(joint, 0).numpy()


def matched(reference: np.ndarray, other: np.ndarray) -> list[int]:
    """Return for each leaf of `other` (L, n) the leaf of `reference` that shares most rows with it, one to one."""
    if reference.shape != other.shape:
        return list(range(len(other)))
    return linear_sum_assignment(other @ reference.T, maximize=True)[1].tolist()


def observed(fit: Fit, y: Any, output: int = 0) -> np.ndarray:
    """Return the response (n,) on the scale of the mean; successes and failures become a proportion."""
    return fit.mixture.family.observed(columns(y))[output].numpy()


class RowsShown(NamedTuple):
    """The rows of a picture: inputs (n, d), responses, gate inputs and groups, as a mixture takes them."""

    x: Any
    y: Any
    gate_x: Any
    groups: Any


def require_mean(model: Any) -> None:
    """Check that the response of a model has means and residuals.

    Raises
    ------
    ValueError
        If it is classes.
    """
    if hasattr(model, "classes_"):
        raise ValueError(
            "the response is classes, which have neither a mean nor residuals to draw: use coefficients, gate_surface "
            "or rootogram of gatewise.plots"
        )


def rows(model: Any, X: Any, y: Any = None, gate_X: Any = None, groups: Any = None) -> RowsShown:
    """Return the rows of a picture: those given, or of a model by a formula what it reads from a data frame.

    Of trials the response shown is the share of successes.

    Raises
    ------
    ValueError
        If the model was fitted with an offset, or without a formula with trials, which pictures do not know; if it is
        of classes, which have no mean; or if parts are given beside a formula.
    """
    require_mean(model)
    if getattr(model, "_offset", False):
        raise ValueError("the model was fitted with an offset, which plots do not know: plot predict(X, offset=...)")
    design, grouped = getattr(model, "_design", None), counts_trials(engine_fit(model).mixture)
    if design is None:
        if grouped and y is not None and table(y).shape[1] == 1:
            raise ValueError(
                "the model was fitted with trials, which this picture does not know: use residual_quantiles or "
                "rootogram of gatewise.plots, which take trials="
            )
        return RowsShown(X, y, gate_X, groups)
    if y is not None or gate_X is not None or groups is not None:
        raise ValueError("the model was fitted by a formula, which reads y and the gate inputs from the frame: give it")
    found = design.matrices(model._frame if X is None else X, ("response", "trials", "groups"), True)
    response = found.y
    if grouped:
        response = Grouped(table(found.y), np.asarray(found.trials, dtype=float))[:]
    return RowsShown(found.x, response, found.gate_x, found.groups)


def gate_rows(model: Any, X: Any) -> Any:
    """Return the gate inputs of a picture: those given, or of a model by a formula its columns from a data frame.

    Raises
    ------
    TypeError
        Without X, unless the model was fitted by a formula and has its frame.
    """
    design = getattr(model, "_design", None)
    frame = getattr(model, "_frame", None) if X is None else X
    if frame is None:
        raise TypeError("X is missing: give the gate inputs of the rows")
    if design is None:
        return frame
    found = design.matrices(frame, (), True)
    return found.x if found.gate_x is None else found.gate_x


def place(X: Any, column: int | str) -> int:
    """Return the number of a column of gate inputs, given by number or, of a data frame, by name.

    Raises
    ------
    ValueError
        If there is no such column.
    """
    if not isinstance(column, str):
        count = table(X).shape[1]
        if not 0 <= column < count:
            raise ValueError(f"feature={column}, but there are {count} columns: count from 0")
        return int(column)
    names = [str(name) for name in getattr(X, "columns", ())]
    if column not in names:
        raise ValueError(
            f"feature={column!r} is no column of the gate inputs: there are {', '.join(names) or 'numbers'}"
        )
    return names.index(column)


def title(X: Any, column: int, otherwise: str) -> str:
    """Return the name of a column of a data frame, or another text."""
    return str(X.columns[column]) if hasattr(X, "columns") else otherwise


class SectionShown(NamedTuple):
    """A way through the inputs: the feature (m,), inputs and gate inputs along it, and the feature at the rows (n,).

    Also the names of the feature and of the response.
    """

    grid: np.ndarray
    x: Any
    gate_x: Any
    seen: np.ndarray
    name: str = "x"
    response: str = "y"


def gate_columns(model: Any, frame: Any) -> np.ndarray:
    """Return the columns of inputs ``(n, g)`` that the gates of a model without a formula read."""
    chosen = model._reader.chosen
    found = frame.to_numpy(dtype=float)
    return found if chosen is None else found[:, list(chosen)]


class RowsAlong(NamedTuple):
    """Rows for the methods of a model that differ in some columns only: the values ``(m,)`` of each, and the rows."""

    values: tuple[np.ndarray, ...]
    rows: Any
    seen: tuple[np.ndarray, ...]
    names: tuple[str, ...]


def inputs(model: Any, X: Any, gates: bool = False) -> Any:
    """Return the inputs a picture moves through: a data frame of a formula's columns, or of X's.

    Raises
    ------
    TypeError
        Without X, unless the model was fitted by a formula and has its frame.
    """
    import pandas as pd

    design = getattr(model, "_design", None)
    if design is not None:
        frame = model._frame if X is None else X
        if frame is None:
            raise TypeError("the frame of the fit is not in memory, since files do not hold it: give a data frame")
        names = list(design.variables(("offset",)))
        return frame.loc[design.complete(frame, ("offset",)), names]
    if X is None:
        raise TypeError("X is missing: give the rows of the picture")
    names, found = labels_of(model)[int(gates)], table(X)
    if found.shape[1] != len(names):
        raise ValueError(f"X has {found.shape[1]} columns, and the picture reads {len(names)}: {', '.join(names)}")
    return pd.DataFrame(found, columns=names)


def of_gates(model: Any, frame: Any) -> tuple[str, str]:
    """Return the first two columns of numbers of a frame of inputs, those that the gates read before others.

    Raises
    ------
    ValueError
        If there are fewer than two.
    """
    numeric = [str(name) for name in frame.columns if frame[name].dtype.kind in "iuf"]
    if len(numeric) < 2:
        raise ValueError(f"a surface needs two columns of numbers: there are {len(numeric)}; use gate_curves")
    design, chosen = model._design, model._reader.chosen
    if design is not None:
        read = design.gates.variables if design.gates else design.experts.variables
    else:
        read = frame.columns if chosen is None else frame.columns[list(chosen)]
    first, second = sorted(numeric, key=lambda name: name not in {*map(str, read)})[:2]
    return first, second


def column_name(frame: Any, column: int | str) -> str:
    """Return the name of a column, given by name or number.

    Raises
    ------
    ValueError
        If there is none.
    """
    names = [str(name) for name in frame.columns]
    found = names[column] if not isinstance(column, str) and -len(names) <= column < len(names) else column
    if found not in names:
        near = did_you_mean(str(column), names)
        raise ValueError(f"{column!r} is no column: {near}there are {', '.join(names)}")
    return str(found)


def rows_along(frame: Any, chosen: Sequence[int | str], points: int) -> RowsAlong:
    """Return rows over the grid of some columns, the last one running slowest; the others are held.

    Columns of numbers are held at their medians, others at the most frequent value; a grid of other columns is that of
    their values.
    """
    import pandas as pd

    names = tuple(column_name(frame, one) for one in chosen)
    numeric = {name: frame[name].dtype.kind in "iuf" for name in frame.columns}
    middle = {name: frame[name].median() if numeric[name] else frame[name].mode().iloc[0] for name in frame.columns}
    values = [
        np.linspace(frame[one].min(), frame[one].max(), points) if numeric[one] else np.array(_levels(frame[one]))
        for one in names
    ]
    mesh = [part.reshape(-1, order="F") for part in np.meshgrid(*values, indexing="ij")]
    rows = frame.iloc[np.zeros(len(mesh[0]), dtype=int)].reset_index(drop=True)
    moved = {**middle, **dict(zip(names, mesh, strict=True))}
    for name, value in moved.items():
        kept = frame[name].dtype
        rows[name] = pd.Series(value, index=rows.index, dtype=float if numeric[name] else kept)
    return RowsAlong(tuple(values), rows, tuple(frame[one].to_numpy() for one in names), names)


def _levels(column: Any) -> list[Any]:
    """Return the values of a column without numbers: its categories in their order, else sorted."""
    seen = list(column.dropna().unique())
    if hasattr(column, "cat"):
        return [one for one in column.cat.categories if one in seen]
    return sorted(seen)


def path(model: Any, X: Any, gate_X: Any, feature: int | str, output: int = 0) -> SectionShown:
    """Return the way along one feature, a column by number or name.

    The others are held at their medians, columns without numbers at the most frequent value.

    Raises
    ------
    ValueError
        If there is no such feature, or it holds no numbers.
    """
    design = getattr(model, "_design", None)
    if design is None:
        inputs = table(X)
        names = column_labels(model, X, inputs.shape[1])
        feature = names.index(feature) if feature in names else feature
        if not isinstance(feature, int | np.integer):
            raise ValueError(f"feature={feature!r}: give the number of a column of X, from 0, or its name")
        grid, along = section(X, int(feature))
        beside = None if gate_X is None else np.tile(np.median(table(gate_X), 0), (len(grid), 1))
        return SectionShown(grid, along, beside, inputs[:, feature], names[feature])
    frame = model._frame if X is None else X
    frame = frame.loc[design.complete(frame, ("response", "groups")), list(design.variables(()))]
    names = [str(name) for name in frame.columns]
    name = names[feature] if not isinstance(feature, str) and 0 <= feature < len(names) else feature
    if name not in names or frame[name].dtype.kind not in "iuf":
        raise ValueError(f"feature={feature!r} is no column of numbers of the formula: there are {', '.join(names)}")
    grid = section(frame[[name]], 0)[0]
    middle = {
        one: frame[one].median() if frame[one].dtype.kind in "iuf" else frame[one].mode().iloc[0] for one in names
    }
    along = frame.iloc[np.zeros(len(grid), dtype=int)].assign(**{**middle, name: grid})
    found = design.matrices(along, ())
    return SectionShown(grid, found.x, found.gate_x, frame[name].to_numpy(dtype=float), name, design.responses[output])


def column_labels(model: Any, X: Any, count: int) -> list[str]:
    """Return the names of the columns of X, or of the fit, else x0, x1, ... as in summaries, or x if it is one."""
    own = getattr(X, "columns", None)
    named = getattr(model, "feature_names_in_", None) if own is None else own
    if named is None or len(named) != count:
        named = ["x"] if count == 1 else [f"x{j}" for j in range(count)]
    return [str(name) for name in named]


def section(X: Any, feature: int, points: int = 401, margin: float = 0.02) -> tuple[np.ndarray, np.ndarray]:
    """Return a grid (m,) over one feature and inputs (m, d) along it, the others held at their medians.

    Raises
    ------
    ValueError
        If there is no such feature.
    """
    inputs = table(X)
    if not 0 <= feature < inputs.shape[1]:
        raise ValueError(f"feature={feature}, but there are {inputs.shape[1]} columns: count from 0")
    low, high = inputs[:, feature].min(), inputs[:, feature].max()
    spare = margin * (high - low) or 0.5
    grid = np.linspace(low - spare, high + spare, points)
    rows = np.tile(np.median(inputs, 0), (points, 1))
    rows[:, feature] = grid
    return grid, rows
