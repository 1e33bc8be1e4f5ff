"""Claims of a study as CSV, LaTeX and a table for the terminal, and its figures as files."""

from __future__ import annotations

import csv
import io
import re
from itertools import count
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from gatewise.files import atomic_write, plain_file, require_directory
from gatewise.plots import style
from gatewise.plots.words import judged
from gatewise.report.study.facts import LOOKS, claim_row, cost, subject, tally, warnings_of
from gatewise.report.study.page import figures
from gatewise.theory.result import StudyResult

FIELDS = (
    *("study", "arm", "series", "other", "other series", "kind", "claimed value", "tolerance"),
    *("slope", "low", "high", "median slope", "verdict", "exploratory", "standing", "source", "reason"),
    "to settle",
)
NARROW = 100  # columns of a terminal below which reasons go under the table
ESCAPES = {
    **{c: "\\" + c for c in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"$<$",
    ">": r"$>$",
    "±": r"$\pm$",
    "\N{MINUS SIGN}": "$-$",
    "\N{EN DASH}": "--",
    "\N{NO-BREAK SPACE}": "~",
}


def claims_csv(*results: StudyResult) -> str:
    """Return the claims, slopes and verdicts of studies as CSV: numbers in full, one line per claim."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(FIELDS)
    for result, v in [(one, v) for one in results for v in one.verdicts]:
        c, s = v.claim, v.slope
        about = (result.study.name, c.arm, c.series, c.other, c.other_series, c.kind, c.value, c.tolerance)
        found = (s.value, s.low, s.high, s.median, str(v.word), result.before(c) if result.exploratory else "")
        writer.writerow((*about, *found, c.standing, c.source, v.reason, v.settle))
    return file.getvalue()


def claims_latex(result: StudyResult) -> str:
    """Return the claims of a study as a LaTeX tabular; the document needs the package booktabs."""
    lines = [r"\begin{tabular}{llllll}", r"\toprule"]
    lines += [r"claim about & slope & 95\,\% interval & claimed & standing & verdict \\", r"\midrule"]
    for v in result.verdicts:
        row = claim_row(result, v)
        value, _, interval = row["slope"].partition(" ")
        cells = (subject(v.claim), value, interval, row["claimed"], f"{row['standing']}, {row['source']}", row["word"])
        lines.append(" & ".join(map(escaped, cells)) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def escaped(text: str) -> str:
    r"""Return text that LaTeX sets as it stands.

    Examples
    --------
    >>> escaped("a_b & 5 %"), escaped("gates.0.weight over")
    ('a\\_b \\& 5 \\%', 'gates.0.weight over')
    """
    return "".join(ESCAPES.get(c, c) for c in text)


def write_figures(result: StudyResult, folder: Path, form: str = "pdf") -> list[Path]:
    """Write every figure of a study to a file of its own, ``ARM-FIGURE.pdf`` or ``.svg``, and return the paths.

    Equal results give equal files.

    Raises
    ------
    OSError
        If the folder cannot be written to.
    """
    place, paths, taken = require_directory(folder), [], set[str]()
    for arm in (arm.name for arm in result.study.arms if len(judged(result, arm.name))):
        for one in figures(result, arm):
            path = place / f"{_free(file_name(f'{arm} {one.name}'), taken)}.{form}"
            write_drawn(one.axes, path)
            paths.append(path)
    return paths


def write_drawn(axes: Axes, path: Path) -> None:
    """Write a picture as PDF or SVG, by the end of the path; equal pictures give equal files."""
    form = path.suffix[1:]
    stamp = {"CreationDate": None, "ModDate": None} if form == "pdf" else {"Date": None}
    with (
        atomic_write(plain_file(path)) as scratch,
        matplotlib.rc_context({"svg.hashsalt": path.name, "pdf.fonttype": 42}),
    ):
        style.figure_of(axes).savefig(scratch, format=form, metadata=stamp)


def _free(name: str, taken: set[str]) -> str:
    """Return a name that is not taken, numbered where it is, and take it; some systems know no capitals."""
    numbered = (f"{name}-{i}" if i > 1 else name for i in count(1))
    found = next(one for one in numbered if one.casefold() not in taken)
    taken.add(found.casefold())
    return found


def file_name(words: str) -> str:
    """Return words as the name of a file.

    Examples
    --------
    >>> file_name("softmax & co_2 rates experts.coef (1)")
    'softmax-co_2-rates-experts.coef-1'
    """
    return re.sub(r"[^\w.]+", "-", words).strip("-")


def verdict_table(result: StudyResult, width: int = NARROW) -> Group:
    """Return the verdicts of a study for the terminal: a table, then reasons, what would settle them, and warnings."""
    look: dict[str, Any] = {
        "box": box.SIMPLE_HEAD,
        "padding": (0, 1, 0, 0),
        "title_justify": "left",
        "title_style": "bold",
    }
    shown = Table(title=Text(result.study.title), **look)
    for name in ("verdict", "claim about", "slope [95 %]", "claimed", "standing"):
        shown.add_column(name, overflow="fold", no_wrap=name == "verdict" and width >= NARROW)
    notes = []
    for v in result.verdicts:
        row, style = claim_row(result, v), LOOKS[v.word].terminal
        verdict = Text(f"{row['symbol']} {row['word']}", style=style)
        shown.add_row(verdict, Text(subject(v.claim)), row["slope"], Text(row["claimed"]), Text(row["standing"]))
        if v.settle or row["sheet"] != "supported":
            notes.append(Text.assemble((f"{subject(v.claim)}: ", "bold"), _sentence(v.reason, v.settle)))
    lines = [Text(f"{tally(result.verdicts)}. {cost(result)}.")]
    lines += [Text(f"warning: {word}", style="yellow") for word in warnings_of(result)]
    return Group(shown, *notes, *lines)


def _sentence(reason: str, settle: str) -> str:
    return f"{reason}; to settle it: {settle}" if settle else reason
