"""What the replicates of one curve of a study went through: distance from the start, bounds, certificates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.ticker import FuncFormatter, PercentFormatter

from gatewise.plots import style
from gatewise.plots.words import above, canvas, judged, number, short, sizes, unit_of
from gatewise.theory.result import StudyResult
from gatewise.theory.verdict import ALLOWED

COLOURMAP = "cividis"  # made for colour-blind readers
SAME = "loss exact unweighted"  # the series that measures the distance of the start


def from_start(result: StudyResult, arm: str, series: str = SAME, ax: Axes | None = None) -> Axes:
    """Plot the error of each replicate against the distance of its start from the truth, coloured by n.

    If the errors follow the starts, they were inherited from them, and so was the slope if the starts approach the
    truth as n grows. The title gives the rank correlation within sizes. If both axes are the same distance, a line
    marks fits that ended no closer to the truth than they started.

    Parameters
    ----------
    result : StudyResult
    arm : str
    series : str
        Error on the y axis.
    ax : Axes, optional

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If the starts of the arm are drawn from the data, so no distance was recorded.

    Examples
    --------
    >>> import tempfile
    >>> from dataclasses import replace
    >>> from gatewise.plots import from_start
    >>> from gatewise.theory import STUDIES, NearTruth, Study, collect, run_study
    >>> arm = replace(STUDIES["softmax-exact"].arms[0], sizes=(100, 200), replicates=2, starts=NearTruth(0.1))
    >>> study = Study("tiny", "Two sizes", "Shows the calls.", (arm,))
    >>> folder = tempfile.mkdtemp()
    >>> _ = run_study(study, folder)
    >>> result = collect(study, folder)
    >>> from_start(result, arm.name).get_xscale()
    'log'
    """
    given = result.study.arm(arm)
    mine = judged(result, arm)
    if "start" not in mine or mine["start"].isna().all():
        raise ValueError(f"arm {arm!r} has no distance of the start: its starts are {given.starts}; NearTruth has one")
    kept = mine[(mine[series] > 0) & (mine["start"] > 0)]
    ax = canvas(ax, 1)
    norm = LogNorm(kept["axis"].min(), max(kept["axis"].max(), kept["axis"].min() + 1))
    for i, (n, level) in enumerate(kept.groupby("axis")):
        tint = ScalarMappable(norm, COLOURMAP).to_rgba(n)
        look: dict[str, Any] = {
            "marker": style.marker(i),
            "s": 20,
            "linewidths": 0.3,
            "edgecolors": style.INK,
            "zorder": 3,
        }
        ax.scatter(level["start"], level[series], color=[tint], label=f"n = {short(int(n))}", **look)
    ax.set(xscale="log", yscale="log", xlabel="distance of the nearest start from the truth", ylabel=unit_of([series]))
    if series == SAME:
        ends = ax.get_xlim()
        ax.plot(ends, ends, color=style.GREY, linewidth=1, linestyle=(0, (4, 2)), zorder=1)
        ax.set_xlim(ends)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        axis.set_minor_formatter(FuncFormatter(lambda v, _: ""))
    ax.set_title(f"rank correlation within sizes: {number(inherited(kept, series), 2)}", fontsize=9, loc="left")
    ax.legend(fontsize=8, frameon=True, framealpha=0.8, edgecolor="none", labelspacing=0.2, handletextpad=0.3)
    return ax


def inherited(frame: pd.DataFrame, series: str) -> float:
    """Return the rank correlation of an error with the distance of the start, averaged over sizes."""
    found = []
    for _, level in frame.groupby("axis"):
        ranks = level[[series, "start"]].dropna().rank()
        if len(ranks) > 2 and ranks.nunique().min() > 1:
            found.append(float(np.corrcoef(ranks[series], ranks["start"])[0, 1]))
    return float(np.mean(found)) if found else float("nan")


def active(result: StudyResult, arm: str, ax: Axes | None = None, *, legend: bool = True) -> Axes:
    """Plot, against n, the share of replicates with a parameter on a bound, and the share without a certificate.

    If more than 5 % of all replicates (dashed line) are not certified, every verdict is unresolved. If a bound is
    active at every n, the box, not the data, made the errors small.

    Parameters
    ----------
    result : StudyResult
    arm : str
    ax : Axes, optional
    legend : bool

    Returns
    -------
    Axes

    Examples
    --------
    >>> import tempfile
    >>> from dataclasses import replace
    >>> from gatewise.plots import active
    >>> from gatewise.theory import STUDIES, NearTruth, Study, collect, run_study
    >>> arm = replace(STUDIES["softmax-exact"].arms[0], sizes=(100, 200), replicates=2, starts=NearTruth(0.1))
    >>> study = Study("tiny", "Two sizes", "Shows the calls.", (arm,))
    >>> folder = tempfile.mkdtemp()
    >>> _ = run_study(study, folder)
    >>> result = collect(study, folder)
    >>> active(result, arm.name).get_xscale()
    'log'
    """
    mine = judged(result, arm)
    by = mine.groupby("axis")
    shares = {
        "a parameter on its bound": by["active"].apply(lambda c: (c > 0).mean()),
        "no certificate": by["certified"].apply(lambda c: 1.0 - c.astype(bool).mean()),
    }
    if "empty" in mine and mine["empty"].notna().any():
        shares["a true atom without a fitted one"] = by["empty"].apply(lambda c: (c > 0).mean())
    ax = canvas(ax, 4)
    for i, (name, share) in enumerate(shares.items()):
        look: dict[str, Any] = {
            "color": style.colour(i),
            "marker": style.marker(i),
            "linestyle": style.dash(i),
            "markersize": 5,
        }
        ax.plot(share.index, share.to_numpy(), linewidth=1.5, label=name, **look)
    ax.axhline(ALLOWED, color=style.GREY, linewidth=1, linestyle=(0, (4, 2)), label=f"{ALLOWED:.0%}: no verdict above")
    sizes(ax, result.study.arm(arm))
    top = max(0.1, *(float(s.max()) for s in shares.values()))
    ax.set_ylim(-0.03 * top, 1.08 * top)
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    ax.set_ylabel("share of replicates (%)")
    if legend:
        above(ax)
    return ax
