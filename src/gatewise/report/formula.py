"""A user's table fitted by a model formula, for the command line and its page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from gatewise.data.parquet import as_table, is_parquet, opened
from gatewise.estimators.formula import moe
from gatewise.estimators.names import names_of
from gatewise.report.delimited import COMMAS, TextFormat, read_table
from gatewise.report.facts import Fitted, gate_phrase
from gatewise.report.own_data import Outcome, heard_by, remarks_of
from gatewise.report.predicting import MEAN, PredictionColumns, predicted_columns
from gatewise.report.reading import Prepared, Roles


class FormulaRoles(NamedTuple):
    """A formula and the columns with other roles, as `moe` takes them."""

    formula: str
    gate_formula: str | None = None
    offset: str | None = None
    trials: str | None = None
    weights: str | None = None
    groups: str | None = None
    shared: tuple[str, ...] = ()

    @property
    def given(self) -> dict[str, Any]:
        """The arguments of `moe` that are not left out."""
        return {name: value for name, value in self._asdict().items() if value and name != "formula"}


def read_any(path: str | Path, form: TextFormat = COMMAS) -> pd.DataFrame:
    """Read a CSV file, in its form, a Parquet file or a folder of Parquet files into memory.

    Raises
    ------
    OSError, ValueError
        With the cause and the remedy.
    """
    if not is_parquet(path):
        return read_table(path, form)
    try:
        opened(as_table(path))  # which tells what cannot be read, and a table without rows
    except ImportError as cause:
        raise ValueError(f"{path} is Parquet, which pyarrow reads: pip install 'gatewise[parquet]'") from cause
    return pd.read_parquet(path).rename(columns=str)


def roles_of_columns(
    frame: pd.DataFrame,
    targets: tuple[str, ...],
    features: tuple[str, ...] = (),
    gate_features: tuple[str, ...] = (),
    weights: str | None = None,
    groups: str | None = None,
) -> FormulaRoles:
    """Return the formula of several responses by the names of columns.

    Without features these are all columns that have no other role; without gate features the gates read them too.

    Raises
    ------
    ValueError
        If no column is left for the features.

    Examples
    --------
    >>> roles_of_columns(pd.DataFrame(columns=["a", "b", "x", "my z"]), ("a", "b")).formula
    '`a` + `b` ~ `x` + `my z`'
    """
    other = {*targets, *gate_features, weights, groups}
    inputs = features or tuple(str(name) for name in frame.columns if name not in other)
    if not inputs:
        raise ValueError("no column is left for the features: give --features, or a formula such as 'a + b ~ 1'")
    left, right, gates = (" + ".join(f"`{name}`" for name in some) for some in (targets, inputs, gate_features))
    return FormulaRoles(f"{left} ~ {right}", f"~ {gates}" if gates else None, None, None, weights, groups)


def require_drawable(roles: FormulaRoles, family: Any = None) -> None:
    """Raise for a formula that the pictures of a page do not show.

    Raises
    ------
    ValueError
        With the remedy.
    """
    if family == "categorical":
        raise ValueError("--report with --family categorical: its pictures show no classes; leave --report out")
    for name in ("offset", "trials"):
        if getattr(roles, name):
            raise ValueError(
                f"--report with --{name}: its pictures show neither offsets nor trials; leave --report out"
            )


def fit_formula(
    path: str,
    frame: pd.DataFrame,
    roles: FormulaRoles,
    options: dict[str, Any],
    progress: Callable[[str, int, int], None] | None = None,
    form: TextFormat = COMMAS,
) -> tuple[Prepared, Outcome]:
    """Fit a mixture to a table by a formula.

    Parameters
    ----------
    path : str
        Of the table, for the code.
    frame : DataFrame
    roles : FormulaRoles
    options : dict
        Arguments of the regressor.
    progress : callable, optional
        Called with (stage, starts that have ended, starts) as the fit goes on.
    form : TextFormat
        Of the table where it is text, for the code.
    """
    model, spent, heard = heard_by(lambda: moe(roles.formula, frame, **roles.given, **options, verbose=progress or 0))
    model.verbose = 0
    design = model._design
    assert design is not None
    found = design.matrices(frame, drop=True)
    y = pd.DataFrame(found.y)
    gates = () if found.gate_x is None else tuple(found.gate_x.columns)
    columns = Roles(" + ".join(design.responses), tuple(found.x.columns), gates, roles.weights, roles.groups)
    weight = None if found.weights is None else pd.Series(found.weights)
    prepared = Prepared(columns, found.x, y[0], found.gate_x, weight, found.groups, found.dropped)
    gate = gate_phrase(model.gate, model.mixture_.depth)
    target, shown = columns.target, (columns.features, gates or None)
    fitted = Fitted(gate, model.fit_, found.x, y[0], spent, found.gate_x, found.groups, *shown, target, names_of(model))
    return prepared, Outcome(model, fitted, remarks_of(heard), code_of(path, roles, options, form))


def code_of(path: str, roles: FormulaRoles, options: dict[str, Any], form: TextFormat = COMMAS) -> str:
    """Return Python that reads the table and gives the same fit."""
    read = f"pd.read_parquet({path!r})" if is_parquet(path) else form.code(path)
    arguments = "".join(f"    {name}={value!r},\n" for name, value in {**roles.given, **options}.items())
    lines = f"import pandas as pd\nfrom gatewise import moe\n\nframe = {read}\n"
    return f"{lines}model = moe(\n    {roles.formula!r},\n    frame,\n{arguments})\nprint(model.summary())\n"


def predict(model: Any, frame: pd.DataFrame, wanted: PredictionColumns = MEAN) -> tuple[pd.DataFrame, int]:
    """Return what is wanted for every row, several responses by name, and the number of rows without it.

    Parameters
    ----------
    model : regressor fitted by a formula
    frame : DataFrame
        With the columns that its formula reads.
    wanted : PredictionColumns
    """
    design = model._design
    frame = _as_texts(design, frame)
    complete = pd.Series(design.complete(frame, ("offset",)), index=frame.index)
    return predicted_columns(model, wanted, complete, design.responses, frame[complete])


def _as_texts(design: Any, frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table with whole numbers as texts in columns whose levels are texts, as in a CSV file without others."""
    changed = {}
    for side in (design.experts, *([design.gates] if design.gates else [])):
        for name, levels in side.levels.items():
            (column,) = side.parsed.factors[name].columns
            known = column in frame.columns and all(isinstance(one, str) for one in levels)
            if known and pd.api.types.is_integer_dtype(frame[column].dtype):
                changed[column] = frame[column].astype(str)
    return frame.assign(**changed)
