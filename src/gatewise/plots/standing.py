"""The rate tables of the literature as one picture: which claims hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from gatewise.plots import style
from gatewise.theory.claims import VerdictKind
from gatewise.theory.rate_verdicts import GROUPS, RatedModel, judged_rates
from gatewise.theory.result import StudyResult

WIDTH, LINE, ROOM = 8.6, 0.26, 1.7  # inches: of the picture, of a row, of headings
STEP = 0.24  # between marks, in widths of a column
SPECIFICATIONS = {"exact": "exact", "over": "over-specified", "any": "exact or over"}
ESTIMATORS = {"ml": "Maximum likelihood", "ls": "Least squares"}


class Mark(NamedTuple):
    """How a verdict looks: colour, shape, the sign on it and its colour."""

    colour: str
    shape: str
    sign: str
    ink: str


MARKS = {
    VerdictKind.supported: Mark(style.COLOURS[0], "o", "\N{CHECK MARK}", "white"),
    VerdictKind.contradicted: Mark(style.COLOURS[1], "s", "\N{MULTIPLICATION SIGN}", "white"),
    VerdictKind.differs: Mark(style.COLOURS[3], "D", "\N{NOT EQUAL TO}", "white"),
    VerdictKind.unresolved: Mark("white", "o", "?", style.INK),
    VerdictKind.not_identified: Mark(style.INK, "^", "", "white"),
}


def verdict_map(results: Sequence[StudyResult], ax: Axes | None = None) -> Axes:
    """Plot the verdicts of studies in the rate tables of the literature: models by groups of parameters.

    A mark stands for all verdicts of a kind about a cell, with their number where there are several. Models that no
    verdict is about are left out.

    Parameters
    ----------
    results : sequence of StudyResult
    ax : Axes, optional
        Axes to draw on; default: a new figure with a row for every model.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If no verdict is about a rate of the tables.

    Examples
    --------
    >>> import tempfile
    >>> from dataclasses import replace
    >>> from gatewise.plots import verdict_map
    >>> from gatewise.theory import STUDIES, NearTruth, collect, run_study
    >>> study = STUDIES["softmax-exact"]
    >>> arm = replace(study.arms[0], sizes=(100, 200), replicates=2, starts=NearTruth(0.1))
    >>> study = replace(study, arms=(arm,))
    >>> folder = tempfile.mkdtemp()
    >>> _ = run_study(study, folder)
    >>> len(verdict_map([collect(study, folder)]).get_xticks())
    4
    """
    rows = [row for row in judged_rates(results) if row.judgements()]
    if not rows:
        raise ValueError(
            "no verdict is about a rate of the tables: give results of the studies of `gatewise study list`"
        )
    lines = list(_lines(rows))
    ax = style.own_axes(WIDTH, LINE * len(lines) + ROOM) if ax is None else ax
    ax.set(xlim=(-0.5, len(GROUPS) - 0.5), ylim=(len(lines) - 0.4, -0.6))
    for y, line in enumerate(lines):
        if isinstance(line, RatedModel):
            ax.axhline(y, color=style.RULE, linewidth=0.5, zorder=0)
            for x, group in enumerate(GROUPS):
                _draw(ax, x, y, _kinds(line, group))
    ax.set_yticks(range(len(lines)), [_label(line) for line in lines], fontsize=8.5, color=style.INK)
    for tick, line in zip(ax.get_yticklabels(), lines, strict=True):
        tick.set_fontweight("normal" if isinstance(line, RatedModel) else "bold")
    heads = [group.replace(", ", ",\n").replace(" param", "\nparam") for group in GROUPS]
    ax.set_xticks(range(len(GROUPS)), heads, fontsize=9, color=style.INK)
    ax.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
    ax.spines[:].set_visible(False)
    total = Counter[VerdictKind]()
    for row in rows:
        for group in GROUPS:
            total += _kinds(row, group)
    _legend(ax, total)
    return ax


def _lines(rows: Sequence[RatedModel]) -> Iterator[RatedModel | str]:
    """Yield the lines of the picture: models, with the estimator before its first one."""
    before = ""
    for row in rows:
        if row.estimator != before:
            yield ESTIMATORS[row.estimator]
        before = row.estimator
        yield row


def _label(line: RatedModel | str) -> str:
    if isinstance(line, str):
        return line
    return f"{line.gate}; {line.experts} experts; {SPECIFICATIONS[line.specification]}"


def _kinds(row: RatedModel, group: str) -> Counter[VerdictKind]:
    """Return how many verdicts of each kind are about a cell, in the order of the kinds."""
    found = Counter(one.verdict.word for one in row.judgements(group))
    return Counter({kind: found[kind] for kind in VerdictKind if found[kind]})


def _draw(ax: Axes, x: float, y: float, kinds: Counter[VerdictKind]) -> None:
    """Draw the marks of a cell side by side around its middle."""
    left = x - STEP * (len(kinds) - 1) / 2
    for i, (kind, count) in enumerate(kinds.items()):
        at, look = left + STEP * i, MARKS[kind]
        ax.add_line(_handle(look, at, y))
        ax.annotate(
            look.sign, (at, y), ha="center", va="center_baseline", fontsize=7, color=look.ink, fontweight="bold"
        )
        if count > 1:
            ax.annotate(
                str(count), (at, y), xytext=(6.5, 0), textcoords="offset points", va="center_baseline", fontsize=7.5,
                color=style.INK,
            )  # fmt: skip


def _handle(look: Mark, x: float = 0.0, y: float = 0.0, label: str = "") -> Line2D:
    return Line2D(
        [x], [y], linestyle="", marker=look.shape, markersize=9, color=look.colour, markeredgecolor=style.INK,
        markeredgewidth=0.7, label=label,
    )  # fmt: skip


def _legend(ax: Axes, total: Counter[VerdictKind]) -> None:
    handles = [
        _handle(MARKS[kind], label=f"{kind} {MARKS[kind].sign} ({total[kind]})".replace("  ", " "))
        for kind in VerdictKind
        if total[kind]
    ]
    style.figure_of(ax).legend(
        handles=handles, loc="outside upper center", frameon=False, ncols=len(handles), fontsize=8.5, columnspacing=1.4
    )
