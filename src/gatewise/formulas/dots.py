"""The dot of a formula: all columns that have no other role."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from gatewise.formulas.grammar import parse
from gatewise.formulas.habits import LITERAL
from gatewise.formulas.words import elementwise, is_name

if TYPE_CHECKING:
    from pandas import DataFrame

DOT = re.compile(r"(?<![\w.)\]])\.(?![\w.(])")


def without_dots(
    frame: DataFrame, formula: str, gate_formula: str | None, roles: Mapping[str, str | None]
) -> tuple[str, str | None]:
    """Write out the dots of two formulas: the columns of a frame but for responses and those that have a role."""
    texts = [text for text in (formula, gate_formula) if isinstance(text, str)]
    if not any(has_dot(text) for text in texts) or "~" not in formula:
        return formula, gate_formula
    taken = [name for one in parse(formula.partition("~")[0] + "~ 1", True).responses for name in one.columns]
    for text in filter(None, roles.values()):
        taken += [text] if text in frame.columns else elementwise(text).columns
    columns = [str(name) for name in frame.columns]
    return without_dot(formula, columns, taken), gate_formula and without_dot(gate_formula, columns, taken)


def has_dot(text: str) -> bool:
    """Return whether the right side of a formula has a dot."""
    return any(DOT.search(part) for part in LITERAL.split(text.rpartition("~")[2])[::2])


def without_dot(text: str, columns: Iterable[str], taken: Iterable[str]) -> str:
    """Write out the dot on the right of a formula: all columns but those that are taken.

    Examples
    --------
    >>> without_dot("y ~ . - z", ["y", "x", "z", "blood pressure"], ["y"])
    'y ~ (x + z + `blood pressure`) - z'
    """
    left, tilde, right = text.rpartition("~")
    parts = LITERAL.split(right)
    if not has_dot(text):
        return text
    others = [name for name in columns if name not in set(taken)]
    if not others:
        raise ValueError(f"the formula {text!r} has a dot, and the data have no other columns: name the inputs")
    whole = f"({' + '.join(name if is_name(name) else f'`{name}`' for name in others)})"
    parts[::2] = [DOT.sub(whole, part) for part in parts[::2]]
    return left + tilde + "".join(parts)
