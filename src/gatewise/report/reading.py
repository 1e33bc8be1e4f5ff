"""A user's table: checked column by column, and ready to fit or predict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd

from gatewise.core.names import did_you_mean
from gatewise.report.delimited import COMMAS, TextFormat, decimal_commas
from gatewise.report.predicting import MEAN, PredictionColumns, predicted_columns


class Roles(NamedTuple):
    """Which column does what.

    Attributes
    ----------
    target : str
    features, gate_features : tuple of str
        Empty: all other columns; the features.
    weights, groups : str or None
    """

    target: str
    features: tuple[str, ...] = ()
    gate_features: tuple[str, ...] = ()
    weights: str | None = None
    groups: str | None = None


class Prepared(NamedTuple):
    """The complete rows of a table, as a regressor takes them.

    Attributes
    ----------
    roles : Roles
        With the features filled in.
    X, y : DataFrame, Series
    gate_x : DataFrame or None
        When the gates see columns that the experts do not.
    weight, groups : Series or None
    dropped : int
        Rows left out because a value was missing.
    form : TextFormat
        Of the file.
    """

    roles: Roles
    X: pd.DataFrame
    y: pd.Series
    gate_x: pd.DataFrame | None
    weight: pd.Series | None
    groups: pd.Series | None
    dropped: int
    form: TextFormat = COMMAS

    @property
    def rows(self) -> int:
        """Number of rows that are used."""
        return len(self.X)

    @property
    def drawn(self) -> Prepared:
        """The rows that pictures show: all of them."""
        return self

    @property
    def shown(self) -> str:
        """What a page says about them: nothing."""
        return ""

    def code(self, path: str) -> tuple[str, str]:
        """Return Python that reads the table, and the arguments of fit."""
        roles = self.roles
        names = (roles.target, *roles.features, *roles.gate_features, roles.weights, roles.groups)
        used = [name for name in dict.fromkeys(names) if name]
        more = f", sample_weight=frame[{roles.weights!r}]" if roles.weights else ""
        more += f", gate_X=frame[{list(roles.gate_features)!r}]" if self.gate_x is not None else ""
        more += f", groups=frame[{roles.groups!r}].astype(str)" if roles.groups else ""
        lines = "import pandas as pd\nfrom gatewise import MixtureOfExpertsRegressor\n\n"
        lines += f"frame = {self.form.code(path)}[{used!r}].dropna()\n"
        return lines, f"frame[{list(roles.features)!r}], frame[{roles.target!r}]{more}"


def prepare(frame: pd.DataFrame, roles: Roles, form: TextFormat = COMMAS) -> Prepared:
    """Check the columns that are used and drop rows in which one of them is missing.

    Parameters
    ----------
    frame : DataFrame
    roles : Roles
    form : TextFormat
        Of the file that was read.

    Raises
    ------
    ValueError
        For an unknown name, a column that holds text, or when nothing is left.
    """
    roles = filled(frame, roles)
    numeric = (roles.target, *roles.features, *roles.gate_features, *([roles.weights] if roles.weights else []))
    used = [*dict.fromkeys(numeric), *([roles.groups] if roles.groups else [])]
    require_numbers(frame, numeric)
    kept = frame[used].dropna()
    if not len(kept):
        raise ValueError("every row lacks a value in a column that is used: leave such columns out with --features")
    apart = not set(roles.gate_features) <= set(roles.features)
    return Prepared(
        roles,
        kept[list(roles.features)].astype(float),
        kept[roles.target].astype(float),
        kept[list(roles.gate_features)].astype(float) if apart else None,
        kept[roles.weights].astype(float) if roles.weights else None,
        kept[roles.groups].astype(str) if roles.groups else None,
        len(frame) - len(kept),
        form,
    )


def filled(frame: pd.DataFrame, roles: Roles) -> Roles:
    """Return the roles with the features filled in, every name checked."""
    special = [name for name in (roles.target, roles.weights, roles.groups) if name is not None]
    require_columns(frame, [*special, *roles.features, *roles.gate_features])
    features = roles.features or tuple(c for c in frame.columns if c not in {*special, *roles.gate_features})
    if not features and not roles.gate_features:
        only = ", ".join(map(repr, frame.columns))
        raise ValueError(f"the only columns are {only}, which leaves no feature to predict {roles.target!r} from")
    nameless = [name for name in features if name.startswith("Unnamed: ")]
    if nameless and not roles.features:
        position = list(frame.columns).index(nameless[0]) + 1
        raise ValueError(f"column {position} has no name, as row numbers do: name the columns to use with --features")
    features = features or roles.gate_features
    twice = sorted({name for name in (*special, *features) if (*special, *features).count(name) > 1})
    if twice or roles.target in roles.gate_features:
        raise ValueError(f"column {(twice or [roles.target])[0]!r} has two roles: give every column one")
    return roles._replace(features=tuple(features))


def require_columns(frame: pd.DataFrame, names: Sequence[str]) -> None:
    """Raise unless the table has columns of these names."""
    for name in names:
        if name not in frame.columns:
            near = did_you_mean(name, list(frame.columns))
            raise ValueError(f"there is no column {name!r}: {near}the columns are {', '.join(frame.columns)}")


def require_numbers(frame: pd.DataFrame, names: Sequence[str]) -> None:
    """Raise unless the columns hold numbers; the message names the column, a value and the remedy."""
    for name in names:
        column: Any = frame[name]
        if pd.api.types.is_numeric_dtype(column) or not column.notna().any():
            continue
        wrong = column[pd.to_numeric(column, errors="coerce").isna() & column.notna()]
        row, value = (wrong.index[0], wrong.iloc[0]) if len(wrong) else (column.index[0], column.iloc[0])
        if decimal_commas(column):
            raise ValueError(
                f"column {name!r} holds {str(value)!r} in line {row + 2}, which is no number: write it without the "
                "comma if this separates thousands; where commas are decimal, give --decimal ,"
            )
        raise ValueError(
            f"column {name!r} holds text ({str(value)!r} in line {row + 2}), and numbers are needed: leave it out with "
            "--features, use --formula, where texts are factors, or encode it as numbers first"
        )


def inputs_of(model: Any) -> list[str]:
    """Return the names of the columns that a model needs, those of the experts first.

    Raises
    ------
    ValueError
        If it was fitted without names.
    """
    names = list(getattr(model, "feature_names_in_", ()))
    gates = list(model._reader.names or ()) if model._reader.given else []
    if not names or (model._reader.given and not gates):
        raise ValueError("the model was fitted without column names: predict in Python, or fit with gatewise fit")
    return list(dict.fromkeys([*names, *gates]))


def predict(model: Any, frame: pd.DataFrame, wanted: PredictionColumns = MEAN) -> tuple[pd.DataFrame, int]:
    """Return what is wanted for every row, empty where an input is missing, and the number of such rows.

    Parameters
    ----------
    model : fitted estimator
    frame : DataFrame
        With the columns that the model was fitted to.
    wanted : PredictionColumns
    """
    names = list(getattr(model, "feature_names_in_", ()))
    used = inputs_of(model)
    gates = list(model._reader.names) if model._reader.given else []
    require_columns(frame, used)
    require_numbers(frame, used)
    complete = frame[used].notna().all(axis=1)
    rows = frame[complete].astype(dict.fromkeys(used, float))
    return predicted_columns(model, wanted, complete, (), rows[names], gate_X=rows[gates] if gates else None)
