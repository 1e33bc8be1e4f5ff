"""One side of a model: the columns that the terms of a formula give, of the frame of the fit and of new frames."""

from __future__ import annotations

import types
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import pandas as pd
from formulaic import ModelSpec
from formulaic.errors import DataMismatchWarning
from formulaic.parser.types import Factor

from gatewise.formulas.frames import is_text, numbers, require_columns, require_finite, usable
from gatewise.formulas.grammar import FAULTS, Parsed, first_line, parse
from gatewise.formulas.state import plain, restored
from gatewise.formulas.words import ELEMENTWISE, Expression, functions_in, is_categorical, reference_of, widest

INTERCEPT = "Intercept"  # formulaic's name of the constant column
COLUMNS = 2000  # of a side
BEYOND = "extend beyond upper and/or lower bounds"  # formulaic of a spline
SHOWN = 12  # levels of a factor in a message
CELLS = 2**28  # numbers of a side: 2 GiB
CONTEXT = {
    **ELEMENTWISE,
    "np": types.SimpleNamespace(**ELEMENTWISE),
}  # all that a factor may call besides its transforms


@dataclass(frozen=True, eq=False)
class Side:
    """The terms of a formula after they have seen the frame of the fit.

    Attributes
    ----------
    parsed : Parsed
    columns : tuple of str
        Of the matrix, without that of the intercept.
    terms : dict
        The columns of every term.
    levels : dict
        The levels of every categorical factor.
    state : dict
        What transforms such as splines and means took from the frame of the fit.
    probe : dict
        A value of every variable at which the columns exist: a middle one, or the first level.
    """

    parsed: Parsed
    columns: tuple[str, ...]
    terms: dict[str, tuple[str, ...]]
    levels: dict[str, list[Any]]
    state: dict[str, Any]
    probe: dict[str, Any]

    @property
    def variables(self) -> tuple[str, ...]:
        """The columns of a frame that it reads."""
        return variables(self.parsed)

    def levels_of(self, column: str) -> list[Any]:
        """Return the levels of the factors that read a column, such as those of ``C(year)``; empty: none does."""
        read = [levels for name, levels in self.levels.items() if column in self.parsed.factors[name].columns]
        return list(dict.fromkeys(level for levels in read for level in levels))

    def reference_of(self, column: str) -> Any:
        """Return the level of a column that ``Treatment`` names as the reference; None: no factor names one."""
        read = [one for one in self.parsed.factors.values() if column in one.columns]
        return next((level for level in map(reference_of, read) if level is not None), None)

    def matrix(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the columns of a frame without missing values, in float64.

        Raises
        ------
        ValueError
            For a column that is missing, a level that the fit did not see, and values that are not finite.
        """
        seen = self._seen(frame)
        found = _computed(self.parsed, seen, ModelSpec(self.parsed.terms, **self._learned()))[0]
        if tuple(found.columns) != self.columns:
            raise ValueError(f"{self.parsed.text!r} gives the columns {list(found.columns)}, in the fit {self.columns}")
        require_finite(self.parsed.text, found, frame.index)
        return found

    def _learned(self) -> dict[str, Any]:
        kinds = {name: (Factor.Kind.CATEGORICAL, {"categories": list(levels)}) for name, levels in self.levels.items()}
        return {"transform_state": _copied(self.state), "encoder_state": kinds, **OPTIONS}

    def _seen(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the variables as the fit saw them, after comparing their levels."""
        require_columns(frame, self.variables)
        discrete = _discrete(self.parsed, _texts(self.parsed, self.levels))
        seen = usable(frame, self.variables, discrete)
        for name, levels in self.levels.items():
            (column,) = self.parsed.factors[name].columns
            values = np.asarray(seen[column], dtype=object)
            places = pd.Index(levels, dtype=object).get_indexer(values)
            new = np.flatnonzero(places < 0)
            if len(new):
                value = _native([frame[column].iloc[new[0]]])[0]
                known = ", ".join(map(repr, levels[:20])) + (", ..." if len(levels) > 20 else "")
                raise ValueError(
                    f"column {column!r} has the level {value!r}, which the fit did not see: its levels are {known}"
                )
            if column in discrete:
                seen[column] = pd.Categorical.from_codes(places, levels)  # 1, 1.0 and True are one level
        return seen

    def content(self) -> dict[str, Any]:
        """Return what `side_of` needs besides the formula, as plain values."""
        return {
            "columns": list(self.columns),
            "terms": plain(self.terms),
            "levels": plain(self.levels),
            "state": plain(self.state),
            "probe": plain(self.probe),
        }


OPTIONS: dict[str, Any] = {"output": "pandas", "na_action": "ignore"}


def variables(parsed: Parsed) -> tuple[str, ...]:
    """Return the columns of a frame that a formula's terms read."""
    return tuple(dict.fromkeys(name for one in parsed.factors.values() for name in one.columns))


def build(parsed: Parsed, frame: pd.DataFrame) -> tuple[Side, pd.DataFrame]:
    """Return a side after seeing the frame of a fit, which has no missing values, and its columns.

    Raises
    ------
    ValueError
        For columns that are missing or hold what a formula cannot read, and for more columns than any fit has.
    """
    names = variables(parsed)
    require_columns(frame, names)
    for one in parsed.factors.values():
        clash = sorted(functions_in(one) & {*frame.columns})
        if clash:
            raise ValueError(f"{one.text!r} calls {clash[0]}, and a column has that name: rename the column")
    texts = [name for name in names if is_text(frame[name])]
    for one in parsed.factors.values():
        for name in () if _has_levels(one) else one.columns:
            numbers(frame[name], name)
    seen = usable(frame, names, _discrete(parsed, texts))
    _require_size(parsed, seen)
    found, spec = _computed(parsed, seen, ModelSpec(parsed.terms, **OPTIONS))
    require_finite(parsed.text, found, frame.index)
    levels = {
        name: _native(state["categories"])
        for name, (kind, state) in spec.encoder_state.items()
        if "categories" in state
    }
    terms = {str(one.term): tuple(one.columns) for one in spec.structure or () if list(one.columns) != [INTERCEPT]}
    side = Side(parsed, tuple(found.columns), terms, levels, restored(plain(spec.transform_state)), {})
    side = Side(parsed, side.columns, terms, levels, side.state, _probe(side, frame))
    again = side.matrix(frame)
    if not np.allclose(again.to_numpy(), found.to_numpy(), rtol=1e-9, atol=1e-12):
        raise ValueError(f"{parsed.text!r} gives other values when it is computed again: write it in another way")
    return side, found


def side_of(text: str, response: bool, content: Any) -> Side:
    """Return the side behind what `Side.content` gave, after computing its columns at one row.

    Raises
    ------
    ValueError
        For whatever `content` does not give.
    """
    if not isinstance(content, dict) or set(content) != {"columns", "terms", "levels", "state", "probe"}:
        raise ValueError("the formula of the file lacks what it learned from data")
    columns = content["columns"]
    if not isinstance(columns, list | tuple) or not all(isinstance(one, str) for one in columns):
        raise ValueError("the columns of the formula are no names")
    parts = [restored(content[name]) for name in ("terms", "levels", "state", "probe")]
    if not all(isinstance(part, dict) and all(isinstance(key, str) for key in part) for part in parts):
        raise ValueError("the formula of the file holds no names where some belong")
    parsed = parse(text, response)
    terms, levels, state, probe = parts
    _require_levels(parsed, levels)
    if not all(isinstance(one, list) and all(isinstance(name, str) for name in one) for one in terms.values()):
        raise ValueError("the terms of the formula have no columns")
    side = Side(parsed, tuple(columns), {k: tuple(v) for k, v in terms.items()}, levels, state, probe)
    if set(probe) != set(side.variables) or any(isinstance(one, list | dict) for one in probe.values()):
        raise ValueError("the formula of the file has other variables than its terms")
    width = sum(len(one) for one in side.terms.values())
    if width != len(columns) or len(columns) > COLUMNS:
        raise ValueError("the terms of the formula have other columns")
    side.matrix(pd.DataFrame({name: [value] for name, value in probe.items()}, index=[0]))
    return side


def _require_levels(parsed: Parsed, levels: Mapping[str, Any]) -> None:
    for name, known in levels.items():
        one = parsed.factors.get(name)
        if one is None or not _has_levels(one) or not isinstance(known, list) or not known or len(known) > COLUMNS:
            raise ValueError(f"the formula has no factor {name[:40]!r} with such levels")
        kinds = {str if isinstance(value, str) else bool if isinstance(value, bool) else float for value in known}
        odd = any(isinstance(value, list | dict | None) for value in known) or len(kinds) > 1
        if odd or len({*map(repr, known)}) < len(known):
            raise ValueError(f"the levels of {name[:40]!r} are not different texts, or different numbers")


def _discrete(parsed: Parsed, texts: Collection[str]) -> set[str]:
    """Return the columns whose values are levels: those of texts, and those that stand only in ``C(...)``."""
    factors = parsed.factors.values()
    numeric = {name for one in factors if not is_categorical(one) for name in one.columns if name not in texts}
    return {*texts, *(name for one in factors if is_categorical(one) for name in one.columns)} - numeric


def _texts(parsed: Parsed, levels: Mapping[str, Any]) -> set[str]:
    """Return the columns of a fit that held texts."""
    factors = {name: parsed.factors[name] for name in levels}
    held = [one for name, one in factors.items() if not is_categorical(one) or isinstance(levels[name][0], str)]
    return {name for one in held for name in one.columns}


def _has_levels(expression: Expression) -> bool:
    """Return whether a factor may have levels: ``C(...)``, or a column alone."""
    return is_categorical(expression) or expression.text in expression.columns


def _native(levels: Any) -> list[Any]:
    return [one.item() if isinstance(one, np.generic) else one for one in levels]


def _unique(column: pd.Series, name: str) -> list[Any]:
    try:
        return _native(pd.unique(column.astype(object)))
    except TypeError:
        raise ValueError(
            f"column {name!r} holds values that are no levels, such as lists: give texts or numbers"
        ) from None


def _require_size(parsed: Parsed, frame: pd.DataFrame) -> None:
    """Raise for terms with more columns than a fit could use, before they are computed."""
    width = {}
    for name, one in parsed.factors.items():
        factor = _is_factor(one, frame)
        width[name] = len(_unique(frame[one.columns[0]], one.columns[0])) if factor else widest(one)
    most = sum(prod(width.get(part.expr, 1) for part in term.factors) for term in parsed.terms)
    if most > COLUMNS or most * len(frame) > CELLS:
        largest = max(width, key=lambda name: width[name])
        raise ValueError(
            f"{parsed.text!r} has up to {most} columns, {largest!r} alone {width[largest]}: at most {COLUMNS} are "
            "fitted; join levels, or use the column as a number"
        )


def _is_factor(expression: Expression, frame: pd.DataFrame) -> bool:
    return is_categorical(expression) or (
        _has_levels(expression) and not pd.api.types.is_numeric_dtype(frame[expression.columns[0]].dtype)
    )


def _computed(parsed: Parsed, frame: pd.DataFrame, spec: ModelSpec) -> tuple[pd.DataFrame, ModelSpec]:
    """Return the columns of the terms without the intercept, and what formulaic learned."""
    if not parsed.factors:
        return pd.DataFrame(index=frame.index), spec
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", DataMismatchWarning)
            found = spec.get_model_matrix(frame, context=CONTEXT)
    except (*FAULTS, ArithmeticError, NameError, AssertionError, DataMismatchWarning, np.linalg.LinAlgError) as cause:
        if BEYOND in str(cause):
            raise ValueError(_beyond(parsed, spec.transform_state, cause)) from cause
        raise ValueError(
            f"{parsed.text!r} cannot be computed: {first_line(cause)}; check its functions and levels"
            + _levels_in(parsed, frame)
        ) from cause
    columns = pd.DataFrame(found).drop(columns=INTERCEPT, errors="ignore")
    return columns.astype(np.float64), found.model_spec


def _beyond(parsed: Parsed, state: Mapping[str, Any], cause: Exception) -> str:
    """Return that a spline has values outside of its range, by default that of the fit."""
    name = str(cause).split("`")[1]
    ends = [state.get(name, {}).get(end) for end in ("lower_bound", "upper_bound")]
    span = "" if None in ends else f" from {ends[0]:g} to {ends[1]:g}"
    return (
        f"{parsed.text!r} cannot be computed: {name} is defined{span} alone, and some rows have values beyond; leave "
        "them out, or fit with extrapolation='clip' in its brackets, which holds the curve constant there"
    )


def _levels_in(parsed: Parsed, frame: pd.DataFrame) -> str:
    """Return the levels that the factors of a formula have in a frame, as a clause."""
    texts = []
    for name in dict.fromkeys(one.columns[0] for one in parsed.factors.values() if _is_factor(one, frame)):
        levels = sorted(repr(level) for level in _unique(frame[name], name))
        texts.append(f": {name} has {', '.join(levels[:SHOWN])}{', ...' if len(levels) > SHOWN else ''}")
    return "".join(texts)


def _probe(side: Side, frame: pd.DataFrame) -> dict[str, Any]:
    """Return a value of every variable at which the columns exist: medians, or else those of a row."""
    first = {name: _native([frame[name].iloc[0]])[0] for name in side.variables}
    middle = {
        name: float(np.median(frame[name].to_numpy(dtype=np.float64)))
        if pd.api.types.is_numeric_dtype(frame[name].dtype)
        and name not in {c for key in side.levels for c in side.parsed.factors[key].columns}
        else first[name]
        for name in side.variables
    }
    try:
        side.matrix(pd.DataFrame({name: [value] for name, value in middle.items()}, index=[0]))
    except ValueError:
        return first
    return middle


def _copied(state: Any) -> Any:
    """Return a state that computing may write to."""
    return {key: _copied(one) for key, one in state.items()} if isinstance(state, dict) else state
