"""A model formula after it has seen its data: responses, inputs, gate inputs and roles of rows, of any frame."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from gatewise.formulas.frames import complete, numbers, require_columns, require_frame
from gatewise.formulas.grammar import Parsed, parse
from gatewise.formulas.side import Side, build, side_of, variables
from gatewise.formulas.words import Expression, column, compute, elementwise, is_name

COUNTED = ("offset", "trials", "weights")  # roles that are numbers, computed from columns
EVERYTHING = ("response", *COUNTED, "groups")


class Matrices(NamedTuple):
    """What a design gives for a frame: None stands for what it does not have, or was not asked for.

    Attributes
    ----------
    x : DataFrame (n, d)
    y : ndarray (n,) or (n, q), or None
    gate_x : DataFrame (n, g) or None
        None where the gates have no columns, or read x.
    offset, trials, weights : ndarray (n,) or None
    groups : Series (n,) or None
    dropped : int
        Rows with missing values that were left out.
    """

    x: pd.DataFrame
    y: np.ndarray | None
    gate_x: pd.DataFrame | None
    offset: np.ndarray | None
    trials: np.ndarray | None
    weights: np.ndarray | None
    groups: pd.Series | None
    dropped: int


@dataclass(frozen=True, eq=False)
class FormulaDesign:
    """A formula and the roles of columns, with what they learned from the frame of the fit.

    Attributes
    ----------
    experts : Side
        Of ``y ~ x``.
    gates : Side or None
        Of ``~ z``; None where the gates read what the experts do.
    roles : dict
        The texts of ``offset``, ``trials``, ``weights`` and ``groups``, if given.
    rows, dropped : int
        Rows of the frame that were used, and that were left out for missing values.

    Examples
    --------
    >>> frame = pd.DataFrame({"y": [1.0, 2.0, 4.0, 3.0], "x": [1.0, 2.0, 3.0, 5.0], "site": list("abab")})
    >>> design, found = design_of(frame, "y ~ log(x) + site")
    >>> list(found.x.columns), design.experts.levels
    (['log(x)', 'site[T.b]'], {'site': ['a', 'b']})
    >>> design.matrices(frame[:1], ()).x.to_numpy().tolist()
    [[0.0, 0.0]]
    """

    experts: Side
    gates: Side | None
    roles: dict[str, str]
    rows: int
    dropped: int
    labelled: bool = False

    @property
    def responses(self) -> tuple[str, ...]:
        """The responses as they stand in the formula."""
        return tuple(one.text for one in self.experts.parsed.responses)

    def variables(self, wanted: Collection[str] = EVERYTHING) -> tuple[str, ...]:
        """Return the columns of a frame that are read for inputs, gate inputs and these roles."""
        sides = (*self.experts.variables, *(self.gates.variables if self.gates else ()))
        return tuple(dict.fromkeys((*sides, *_columns(self._expressions(wanted)))))

    def levels_of(self, column: str) -> list[Any]:
        """Return the levels that a column has as a factor, in experts or gates; empty: it is none."""
        sides = [self.experts, *([self.gates] if self.gates else [])]
        return list(dict.fromkeys(level for side in sides for level in side.levels_of(column)))

    def reference_of(self, column: str) -> Any:
        """Return the level of a factor that ``Treatment`` names as its reference, in experts or gates; else None."""
        found = self.experts.reference_of(column)
        return self.gates.reference_of(column) if found is None and self.gates else found

    def complete(self, frame: pd.DataFrame, wanted: Collection[str] = EVERYTHING) -> np.ndarray:
        """Return which rows ``(n,)`` of a frame have all values that are read for these roles."""
        return complete(require_frame(frame), self.variables(wanted))

    def matrices(self, frame: Any, wanted: Collection[str] = EVERYTHING, drop: bool = False) -> Matrices:
        """Return the matrices of a frame, with the roles that are wanted.

        Parameters
        ----------
        frame : DataFrame
        wanted : collection of ``"response"``, ``"offset"``, ``"trials"``, ``"weights"`` and ``"groups"``
        drop : bool
            Whether rows with missing values are left out; else they are an error.

        Raises
        ------
        TypeError, ValueError
            For what is no frame, missing columns and values, levels that are new, and values that are not finite.
        """
        expressions = self._expressions(wanted)
        kept, dropped = _kept(require_frame(frame), self.variables(wanted), drop)
        x = _wide(self.experts.matrix(kept), len(kept))
        gate_x = self.gates.matrix(kept) if self.gates and self.gates.columns else None
        return _matrices(x, gate_x, expressions, kept, dropped, self.labelled)

    def _expressions(self, wanted: Collection[str]) -> dict[str, tuple[Expression, ...]]:
        found = {"response": self.experts.parsed.responses} if "response" in wanted else {}
        return found | {name: (_role(name, text),) for name, text in self.roles.items() if name in wanted}

    def content(self) -> dict[str, Any]:
        """Return the design as plain values, which `design_from` reads."""
        return {
            "formula": self.experts.parsed.text,
            "gate_formula": self.gates.parsed.text if self.gates else None,
            "roles": dict(self.roles),
            "experts": self.experts.content(),
            "gates": self.gates.content() if self.gates else None,
            "rows": self.rows,
            "dropped": self.dropped,
        }


def design_of(
    frame: Any,
    formula: str,
    gate_formula: str | None = None,
    *,
    offset: str | None = None,
    trials: str | None = None,
    weights: str | None = None,
    groups: str | None = None,
    labelled: bool = False,
) -> tuple[FormulaDesign, Matrices]:
    """Read a formula and its data.

    Parameters
    ----------
    frame : DataFrame
    formula : str
        ``y ~ x``.
    gate_formula : str, optional
        ``~ z``.
    offset, trials, weights : str, optional
        A column, or an expression such as ``np.log(hours)``.
    groups : str, optional
        A column.
    labelled : bool
        Whether the response is a column of labels of classes, which is returned as it is.

    Raises
    ------
    TypeError, ValueError
        For formulas that use what they may not, and data that do not fit them.
    """
    frame = require_frame(frame)
    parsed = parse(formula, True)
    gated = None if gate_formula is None else parse(gate_formula, False)
    given = {"offset": offset, "trials": trials, "weights": weights, "groups": groups}
    roles = {name: _as_role(name, text, frame) for name, text in given.items() if text is not None}
    expressions = {"response": parsed.responses} | {name: (_role(name, text),) for name, text in roles.items()}
    _require_apart(parsed, gated, roles)
    if labelled and parsed.responses[0].columns != (parsed.responses[0].text.strip("`"),):
        raise ValueError(f"the response {parsed.responses[0].text!r} is computed: give a column of labels of classes")
    names = (*variables(parsed), *(variables(gated) if gated else ()), *_columns(expressions))
    kept, dropped = _kept(frame, tuple(dict.fromkeys(names)), True)
    if not len(kept):
        if not len(frame):
            raise ValueError("the data have no rows: give a data frame with at least one for each expert")
        raise ValueError(
            f"every row lacks a value in one of the columns {', '.join(dict.fromkeys(names))}: fill them in, or leave "
            "columns with many missing values out of the formula"
        )
    experts, x = build(parsed, kept)
    gates, gate_x = build(gated, kept) if gated else (None, None)
    design = FormulaDesign(experts, gates, roles, len(kept), dropped, labelled)
    gate_columns = gate_x if gates and gates.columns else None
    return design, _matrices(_wide(x, len(kept)), gate_columns, expressions, kept, dropped, labelled)


def design_from(content: Any) -> FormulaDesign:
    """Return the design behind what `FormulaDesign.content` gave; nothing in it is executed.

    Raises
    ------
    ValueError
        For whatever `content` does not give.
    """
    fields = {"formula", "gate_formula", "roles", "experts", "gates", "rows", "dropped"}
    if not isinstance(content, dict) or set(content) != fields:
        raise ValueError("the formula of the file lacks some of its parts")
    roles, rows, dropped = content["roles"], content["rows"], content["dropped"]
    if not isinstance(roles, dict) or not set(roles) <= {*COUNTED, "groups"}:
        raise ValueError("the formula of the file has roles that are not known")
    if not all(isinstance(text, str) for text in roles.values()):
        raise ValueError("the roles of the file are no texts")
    for name, text in roles.items():
        _role(name, text)
    if not all(type(one) is int and one >= 0 for one in (rows, dropped)):
        raise ValueError("the numbers of rows of the formula are none")
    if (content["gate_formula"] is None) != (content["gates"] is None):
        raise ValueError("the formula of the gates and what it learned do not belong together")
    try:
        experts = side_of(content["formula"], True, content["experts"])
        gates = None if content["gates"] is None else side_of(content["gate_formula"], False, content["gates"])
    except TypeError as cause:
        raise ValueError(str(cause)) from cause
    return FormulaDesign(experts, gates, dict(roles), rows, dropped)


def _as_role(name: str, text: Any, frame: pd.DataFrame) -> str:
    """Return the text of a role: a column whose name is no expression stands in backticks."""
    if not isinstance(text, str):
        raise TypeError(f"{name} is a {type(text).__name__}: give the name of a column, or an expression of columns")
    if name == "groups" or is_name(text) or text not in frame.columns:
        return text
    return f"`{text}`"


def _role(name: str, text: str) -> Expression:
    return column(text) if name == "groups" else elementwise(text)


def _require_apart(parsed: Parsed, gated: Parsed | None, roles: dict[str, str]) -> None:
    """Raise for a response that is its own input."""
    sides = {*variables(parsed), *(variables(gated) if gated else ())}
    for one in parsed.responses:
        if one.text in sides:
            raise ValueError(f"the response {one.text!r} is among the inputs too: leave it out of the right side")
    if roles.get("groups") is not None and roles["groups"] in {one.text for one in parsed.responses}:
        raise ValueError(f"groups={roles['groups']!r} is the response: give the column of labels")


def _columns(expressions: dict[str, tuple[Expression, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for several in expressions.values() for one in several for name in one.columns))


def _kept(frame: pd.DataFrame, names: tuple[str, ...], drop: bool) -> tuple[pd.DataFrame, int]:
    """Return the rows that are complete in these columns, and how many are not."""
    require_columns(frame, names)
    whole = complete(frame, names)
    missing = int((~whole).sum())
    if missing and not drop:
        row = int(np.flatnonzero(~whole)[0])
        lacking = [name for name in names if pd.isna(frame[name].iloc[row])]
        raise ValueError(
            f"{missing} rows lack values, the first is row {frame.index[row]} in {', '.join(lacking)}: leave them out, "
            f"frame.dropna(subset={list(names)!r})"
        )
    return (frame[whole] if missing else frame), missing


def _wide(x: pd.DataFrame, n: int) -> pd.DataFrame:
    """Return the columns, or the constant one where a formula has no others: data have at least one."""
    return x if x.shape[1] else pd.DataFrame({"1": np.ones(n)})


def _matrices(
    x: pd.DataFrame,
    gate_x: pd.DataFrame | None,
    expressions: dict[str, tuple[Expression, ...]],
    frame: pd.DataFrame,
    dropped: int,
    labelled: bool = False,
) -> Matrices:
    found: dict[str, Any] = dict.fromkeys((*COUNTED, "groups"))
    for name, several in expressions.items():
        if name == "response" and labelled:
            found[name] = _labels(frame[several[0].columns[0]])
        elif name != "groups":
            parts = [_value(name, one, frame) for one in several]
            found[name] = parts[0] if len(parts) == 1 else np.stack(parts, 1)
    if "groups" in expressions:
        found["groups"] = frame[expressions["groups"][0].text].reset_index(drop=True)
    return Matrices(x, found.pop("response", None), gate_x, dropped=dropped, **found)


def _labels(column: pd.Series) -> np.ndarray:
    """Return labels as they are, those of categories and of texts as objects."""
    held = column.to_numpy(dtype=object)
    kinds = {type(one) for one in held.tolist()}
    return held if len(kinds) != 1 or kinds == {str} else np.array(held.tolist())


CLASSES = ", or give family='categorical' for classes; of ordered ones give their numbers from 0, such as .cat.codes"


def _value(name: str, expression: Expression, frame: pd.DataFrame) -> np.ndarray:
    instead = CLASSES if name == "response" else ""
    values = compute(expression, {one: numbers(frame[one], one, instead) for one in expression.columns})
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong):
        raise ValueError(
            f"{name} {expression.text!r} is {values[wrong[0]]} in row {frame.index[wrong[0]]}: give finite numbers, "
            "such as logs of values above 0"
        )
    return values
