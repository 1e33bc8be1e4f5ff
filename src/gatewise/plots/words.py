"""What the pictures of a study share: series, claims and slopes in words, sizes along the axis, room for a legend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter, NullLocator

from gatewise.plots import style
from gatewise.theory.arms import Arm
from gatewise.theory.claims import Claim
from gatewise.theory.result import StudyResult
from gatewise.theory.slopes import Slope

WIDTH, HEIGHT, LINE = 4.2, 2.6, 0.18  # inches: of a figure, of its axes, and of a line of its legend
STEPS = (  # spans in powers of ten, and the leading digits that are written
    (0.5, (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)),
    (1.0, (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)),
    (2.0, (1.0, 2.0, 5.0)),
)
SPACE = "\N{NO-BREAK SPACE}"
NOT_SERIES = (
    *("arm", "axis", "replicate", "n", "status", "certified", "hits", "gap", "moved", "start"),
    *("active", "bounds", "flat", "empty", "ties", "merged empty", "merged ties", "selected"),
)


def judged(result: StudyResult, arm: str) -> pd.DataFrame:
    """Return the rows of an arm that are judged: replicates beyond those of the study are left out."""
    frame = result.frame
    return frame[(frame["arm"] == arm) & (frame["replicate"] < result.study.arm(arm).replicates)]


def recorded(result: StudyResult, arm: str) -> tuple[str, ...]:
    """Return the series of an arm that have a slope: positive errors at two sizes or more."""
    mine = judged(result, arm)
    found = []
    for name in (c for c in mine.columns if c not in NOT_SERIES):
        means = mine.groupby("axis")[name].mean()
        if (means > 0).sum() >= 2:
            found.append(name)
    return tuple(found)


def claimed(result: StudyResult, arm: str) -> tuple[str, ...]:
    """Return the series of an arm that something is claimed about, each once, in the order of the claims."""
    claims = result.study.claims
    mine = [c.series for c in claims if arm == c.arm] + [c.other_series or c.series for c in claims if arm == c.other]
    return tuple(dict.fromkeys(mine))


def chosen(result: StudyResult, arm: str, series: Sequence[str] | None) -> tuple[str, ...]:
    """Return the series that are asked for: the claimed ones, or the first recorded ones, when none is named."""
    return tuple(series) if series is not None else claimed(result, arm) or recorded(result, arm)[:4]


def held_about(result: StudyResult, arm: str, series: str) -> list[Claim]:
    """Return the claims about a slope itself; differences between two have no line."""
    return [c for c in result.study.claims if (c.arm, c.series) == (arm, series) and not c.other]


def asked(claim: Claim) -> str:
    """Return what a claim says of a slope, in words."""
    if claim.kind == "slower_than_polynomial":
        return "slower than every power of n"
    head, sign = {"at_most": ("at most ", "+"), "at_least": ("at least ", "\N{MINUS SIGN}")}.get(claim.kind, ("", "±"))
    return f"{head}{number(claim.value)}{SPACE}{sign}{SPACE}{claim.tolerance:.2g}"


def number(value: float, digits: int = 3) -> str:
    """Return a number with a true minus sign, a dash where there is none.

    Examples
    --------
    >>> number(-0.25), number(float("nan"))
    ('−0.250', '–')
    """
    return f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}") if np.isfinite(value) else "\N{EN DASH}"


def interval(found: Slope) -> str:
    """Return a slope with its interval, such as ``−0.250 [−0.271, −0.229]``."""
    return f"{number(found.value)} [{number(found.low)}, {number(found.high)}]"


def head_of(series: str) -> str:
    """Return what a series is about: a loss, a distance, or the path of a parameter.

    Examples
    --------
    >>> [head_of(s) for s in ("loss exact", "experts.coef over mean", "merged experts.coef over", "total variation")]
    ['loss', 'experts.coef', 'merged experts.coef', 'total variation']
    """
    words = series.split(" ")
    whole = series in ("total variation",)
    return series if whole else " ".join(words[: 1 + (words[0] == "merged")])


def labels_of(series: Sequence[str]) -> list[str]:
    """Return names for a legend: what all of them are about is left to the label of the axis.

    Examples
    --------
    >>> labels_of(["experts.coef over mean", "experts.coef over largest"]), labels_of(["hellinger", "loss exact"])
    (['over mean', 'over largest'], ['hellinger', 'loss exact'])
    """
    heads = {head_of(name) for name in series}
    short = [name.removeprefix(head_of(name)).strip() for name in series]
    return short if len(heads) == 1 and all(short) else list(series)


def unit_of(series: Sequence[str]) -> str:
    """Return the label of the axis of errors: what is measured, and in which unit."""
    heads = {head_of(name) for name in series}
    labels = {
        "loss": "Voronoi loss (parameter units)",
        "merged loss": "Voronoi loss, merged atoms",
        "hellinger": "Hellinger distance (0 to 1)",
        "total variation": "total variation (0 to 1)",
        "mean": "L2 distance of means (units of y)",
    }
    if len(heads) == 1:
        head = heads.pop()
        return labels.get(head, f"error of {head}")
    return "distance (0 to 1)" if heads <= {"hellinger", "total variation"} else "error (units of each series)"


def short(n: int) -> str:
    """Return a sample size in few characters.

    Examples
    --------
    >>> short(300), short(30_000), short(1_778), short(2_000_000)
    ('300', '30k', '1.8k', '2M')
    """
    for unit, name in ((1_000_000, "M"), (1000, "k")):
        if n >= unit:
            return f"{n / unit:.0f}{name}" if n >= 9.95 * unit else f"{n / unit:.2g}{name}"
    return str(n)


def canvas(ax: Axes | None, lines: int) -> Axes:
    """Return the Axes, or new ones with room for the lines of a legend above."""
    if ax is None:
        ax = style.own_axes(WIDTH, HEIGHT + LINE * lines)
    return style.canvas(ax)


def above(ax: Axes) -> None:
    """Put the legend above the axes, where it hides nothing."""
    ax.legend(
        loc="lower left", bbox_to_anchor=(-0.02, 1.0), fontsize=8.5, frameon=False, handlelength=2.2, labelspacing=0.25,
        borderaxespad=0.1,
    )  # fmt: skip


def readable(ax: Axes, which: Literal["x", "y"] = "y") -> None:
    """Label a logarithmic axis with as many round numbers as its span needs."""
    axis, limits = (ax.xaxis, ax.set_xlim) if which == "x" else (ax.yaxis, ax.set_ylim)
    low, high = sorted(axis.get_view_interval())
    if high / low < 2:  # noise is not stretched over the whole length
        middle = np.sqrt(low * high)
        low, high = middle / np.sqrt(2), middle * np.sqrt(2)
    span = np.log10(high / low)
    steps = next((held for most, held in STEPS if span < most), (1.0,))
    every = max(1, round(span / 6))
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    ticks = [m * 10.0**p for p in powers if p % every == 0 for m in steps if low <= m * 10.0**p <= high]
    axis.set_ticks(ticks, labels=[f"{t:.3g}" for t in ticks])
    axis.set_minor_locator(NullLocator())
    limits(low, high)


def sizes(ax: Axes, arm: Arm) -> None:
    """Let the x axis be the sample size, in logarithms, with the sizes of the arm as ticks."""
    axis = [level.axis for level in arm.levels()]
    ax.set_xscale("log")
    spread = np.log10(max(axis) / min(axis))
    kept = [axis[0]]
    for n in axis[1:]:
        if np.log10(n / kept[-1]) >= 0.11 * spread:
            kept.append(n)
    ax.set_xticks(kept, [short(n) for n in kept])
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.minorticks_off()
    margin = 0.06 * max(spread, 0.2)
    ax.set_xlim(axis[0] / 10**margin, axis[-1] * 10**margin)
    swept = len(arm.levels()) > len(arm.sizes)
    ax.set_xlabel("effective sample size n (rows at the first noise)" if swept else "sample size n (rows)")
