"""Names of columns: the ones that are asked for must be there."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches


def require_names(found: Sequence[str], wanted: Sequence[str], table: str) -> None:
    """Raise unless a table has every wanted column."""
    for name in wanted:
        if name not in found:
            near = get_close_matches(name, found, 1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ValueError(f"{table} has no column {name!r}: {hint}its columns are {', '.join(found)}")
