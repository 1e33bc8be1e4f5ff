"""What the gates look at: all of X, some of its columns, or inputs of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils.validation import check_array

from gatewise.core.gates import Gate
from gatewise.core.names import did_you_mean
from gatewise.estimators.values import plain, reject_dates, reject_double_names, shape_in_words
from gatewise.fit.arguments import is_whole, scalar


def gated_levels(gates: Sequence[Gate], branching: Sequence[int]) -> list[int]:
    """Return the levels whose gate has something to divide: several branches, or one whose weight is not always 1."""
    pairs = enumerate(zip(gates, branching, strict=True))
    return [level for level, (gate, branches) in pairs if branches > 1 or not gate.link.normalised]


def gates_read_rows(gates: Sequence[Gate], branching: Sequence[int]) -> bool:
    """Return whether a weight depends on the inputs of a row."""
    scores = (gates[level].score for level in gated_levels(gates, branching))
    return any(spec.shape for score in scores for spec in score.parameters(2).values())


class View:
    """Chosen rows and columns of an array, read when it is sliced by rows: nothing is copied before that."""

    def __init__(self, source: Any, rows: np.ndarray | None = None, chosen: list[int] | None = None) -> None:
        self.source, self.rows, self.chosen = source, rows, chosen
        n = source.shape[0] if rows is None else len(rows)
        self.shape = (n, source.shape[1] if chosen is None else len(chosen))

    def __getitem__(self, index: slice | list[int]) -> np.ndarray:
        part = self.source[index if self.rows is None else self.rows[index]]
        return part if self.chosen is None else part[:, self.chosen]


class GateReader(NamedTuple):
    """Where the gates find their inputs: in all of X, in some columns of X, or in gate_X.

    Attributes
    ----------
    given : bool
        True when fit was given gate_X.
    chosen : tuple of int or None
        Columns of X, with `gate_features`.
    count : int
        Number of gate inputs.
    names : tuple of str or None
    """

    given: bool
    chosen: tuple[int, ...] | None
    count: int  # type: ignore[assignment]
    names: tuple[str, ...] | None

    def read(self, x: Any, gate_x: Any) -> Any:
        """Return the gate inputs ``(n, g)``, or None when they are those of the experts.

        Raises
        ------
        ValueError
            If gate_X is missing, unexpected, or of another shape or names than in fit.
        """
        if self.given and gate_x is None:
            raise ValueError(f"gate_X is missing: fit was given {self.count} separate gate inputs; pass gate_X")
        if gate_x is not None and not self.given:
            raise ValueError("gate_X is given here but was not given to fit: leave it out, or fit with gate_X")
        if not self.given:
            return None if self.chosen is None else View(x, None, list(self.chosen))
        names = column_names(gate_x)
        values = check_gate_x(gate_x, len(x))
        if values.shape[1] != self.count:
            raise ValueError(f"gate_X has {values.shape[1]} columns, fit was given {self.count}: pass the same columns")
        if names is not None and self.names is not None and names != self.names:
            raise ValueError(f"gate_X has the columns {', '.join(names)}, fit was given {', '.join(self.names)}")
        return values


def column_names(values: Any) -> tuple[str, ...] | None:
    """Return the names of the columns of a data frame; None when there are none, or not all are text."""
    found = getattr(values, "columns", None)
    if found is None:
        return None
    return tuple(found) if all(isinstance(name, str) for name in found) else None


def check_gate_x(gate_x: Any, n: int) -> np.ndarray:
    """Return gate inputs ``(n, g)`` as finite numbers, one row per row of X."""
    gate_x = plain("gate_X", gate_x)
    reject_dates("gate_X", gate_x)
    reject_double_names("gate_X", gate_x)
    try:
        values = check_array(gate_x, dtype=np.float64, input_name="gate_X", estimator="gate_X")
    except ValueError as cause:
        if (told := shape_in_words("gate_X", gate_x, cause)) is None:
            raise
        raise told from cause
    if len(values) != n:
        raise ValueError(f"gate_X has {len(values)} rows, X has {n}: pass one gate row per observation")
    return as_native(values)


def as_native(values: np.ndarray) -> np.ndarray:
    """Return the array, copied when it is read backwards, which tensors cannot do."""
    return values.copy() if any(step < 0 for step in values.strides) else values


def choose_columns(wanted: Any, d: int, names: tuple[str, ...] | None) -> tuple[int, ...]:
    """Return the positions of columns given by position or name.

    Examples
    --------
    >>> choose_columns(["w"], 2, ("x", "w")), choose_columns([-1], 2, None)
    ((1,), (1,))
    """
    wanted = scalar(wanted)
    wanted = [wanted] if isinstance(wanted, str) or not np.iterable(wanted) else list(map(scalar, wanted))
    out = []
    for one in wanted:
        if isinstance(one, str):
            out.append(_position(one, names))
        elif is_whole(one) and -d <= int(one) < d:
            out.append(int(one) % d)
        else:
            raise ValueError(f"gate_features has {one!r}: give names, or positions from 0 to {d - 1}")
    if not out or len(set(out)) < len(out):
        raise ValueError(f"gate_features={wanted!r}: give at least one column, and each one once")
    return tuple(out)


def _position(name: str, names: tuple[str, ...] | None) -> int:
    if names is None:
        raise ValueError(
            f"gate_features has the name {name!r}, but X has no column names: pass a DataFrame or positions"
        )
    if name not in names:
        near = did_you_mean(name, names)
        raise ValueError(
            f"gate_features has {name!r}, which is not a column of X: {near}its columns are {', '.join(names)}"
        )
    return names.index(name)
