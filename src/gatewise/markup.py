"""Results as plain HTML for notebooks: a title, tables, lines of text. Everything that is given is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

SHOWN = 40  # rows of a table before the rest is only counted
RIGHT = ' style="text-align: right"'


def page(title: str, *parts: str) -> str:
    """Return a title over parts that are HTML already: what `table` and `lines` return.

    Examples
    --------
    >>> page("x < y", lines(["a & b"]))
    '<div><p><strong>x &lt; y</strong></p><p>a &amp; b</p></div>'
    """
    return f"<div><p><strong>{escape(title)}</strong></p>{''.join(parts)}</div>"


def lines(texts: Iterable[str]) -> str:
    """Return a paragraph for every text."""
    return "".join(f"<p>{escape(text)}</p>" for text in texts)


def verbatim(texts: Iterable[str]) -> str:
    """Return lines as they stand, blanks and breaks included."""
    return f"<pre>{escape(chr(10).join(texts))}</pre>"


def table(columns: Mapping[str, Sequence[object]], caption: str = "") -> str:
    """Return a table from its columns: numbers to the right with six digits, no text for one that is not a number.

    Examples
    --------
    >>> table({"name": ["slope"], "estimate": [1 / 3]}).split("<tbody>")[1]
    '<tr><td>slope</td><td style="text-align: right">0.333333</td></tr></tbody></table>'
    """
    rows = list(zip(*columns.values(), strict=True))
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows[:SHOWN])
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    rest = lines([f"and {len(rows) - SHOWN} more"]) if len(rows) > SHOWN else ""
    return f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{rest}"


def _cell(value: object) -> str:
    if isinstance(value, float | int) and not isinstance(value, bool):
        return f"<td{RIGHT}>{'' if value != value else f'{value:.6g}'}</td>"
    return f"<td>{escape(str(value))}</td>"
