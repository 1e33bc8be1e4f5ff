"""Convergence of one curve of a study: errors against n with fitted and claimed slopes, and slopes by window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.ticker import FuncFormatter, MaxNLocator

from gatewise.plots import style
from gatewise.plots.words import (
    above,
    asked,
    canvas,
    chosen,
    held_about,
    interval,
    labels_of,
    readable,
    short,
    sizes,
    unit_of,
)
from gatewise.theory.claims import Claim, allowed
from gatewise.theory.curves import Curve, curve
from gatewise.theory.result import StudyResult
from gatewise.theory.slopes import DRAWS, slope

LEAST_KEPT = 3  # sizes of a line


def rates(
    result: StudyResult, arm: str, series: Sequence[str] | None = None, ax: Axes | None = None, *, legend: bool = True
) -> Axes:
    """Plot the errors of an arm against the sample size, with both axes logarithmic, and the estimated slopes.

    Markers are means over replicates with 95 % bootstrap intervals. Solid lines have the estimated slope. Dotted,
    darker lines have the claimed slope and pass through the middle of the fitted line.

    Parameters
    ----------
    result : StudyResult
    arm : str
    series : sequence of str, optional
        Default: the series with a claim.
    ax : Axes, optional
        Axes to draw on; default: a new figure with room for the legend.
    legend : bool

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If the arm has no such series.

    Examples
    --------
    >>> import tempfile
    >>> from dataclasses import replace
    >>> from gatewise.plots import rates
    >>> from gatewise.theory import STUDIES, NearTruth, Study, collect, run_study
    >>> arm = replace(STUDIES["softmax-exact"].arms[0], sizes=(100, 200), replicates=2, starts=NearTruth(0.1))
    >>> study = Study("tiny", "Two sizes", "Shows the calls.", (arm,))
    >>> folder = tempfile.mkdtemp()
    >>> _ = run_study(study, folder)
    >>> result = collect(study, folder)
    >>> rates(result, arm.name, ["hellinger"]).get_yscale()
    'log'
    """
    given, series = result.study.arm(arm), chosen(result, arm, series)
    curves = [curve(result.frame, given, name) for name in series]
    claims = [held_about(result, arm, name) for name in series]
    lines = sum(1 + len(held) for held in claims) if legend else 0
    ax = canvas(ax, lines)
    for i, (one, held, name) in enumerate(zip(curves, claims, labels_of(series), strict=True)):
        _curve(ax, one, held, i, name, (i - (len(curves) - 1) / 2))
    sizes(ax, given)
    ax.set_yscale("log")
    readable(ax)
    ax.set_ylabel(unit_of(series))
    if legend:
        above(ax)
    return ax


def dropped(
    result: StudyResult, arm: str, series: Sequence[str] | None = None, ax: Axes | None = None, *, legend: bool = True
) -> Axes:
    """Plot the slopes of an arm, with 95 % intervals, against the number of smallest sample sizes that are left out.

    If the slope changes, the rate for large n has not been reached. Bars on the right show the slopes that the claims
    allow, with an arrow at an open end.

    Parameters
    ----------
    result, arm, series, ax, legend
        As in `rates`.

    Returns
    -------
    Axes

    Examples
    --------
    >>> import tempfile
    >>> from dataclasses import replace
    >>> from gatewise.plots import dropped
    >>> from gatewise.theory import STUDIES, NearTruth, Study, collect, run_study
    >>> arm = replace(STUDIES["softmax-exact"].arms[0], sizes=(100, 200, 400), replicates=2, starts=NearTruth(0.1))
    >>> study = Study("tiny", "Three sizes", "Shows the calls.", (arm,))
    >>> folder = tempfile.mkdtemp()
    >>> _ = run_study(study, folder)
    >>> result = collect(study, folder)
    >>> dropped(result, arm.name, ["hellinger"]).get_xlabel()
    'smallest sizes left out'
    """
    given, series = result.study.arm(arm), chosen(result, arm, series)
    ax = canvas(ax, len(series) if legend else 0)
    axis = tuple(level.axis for level in given.levels())
    steps = range(max(1, len(axis) - LEAST_KEPT + 1))
    held = False
    for i, name in enumerate(series):
        shift = 0.1 * (i - (len(series) - 1) / 2)
        errors = curve(result.frame, given, name).errors
        found = [slope(axis[k:], errors[k:]) for k in steps]
        value, low, high = (np.array([getattr(s, part) for s in found]) for part in ("value", "low", "high"))
        ax.errorbar(
            np.array(steps) + shift, value, _bars(value, low, high), color=style.colour(i),
            marker=style.marker(i), markersize=5, linestyle=style.dash(i), linewidth=1.2, elinewidth=1.5, capsize=2.5,
            label=style.plain(name, 60),
        )  # fmt: skip
        for claim in held_about(result, arm, name):
            _asked_range(ax, claim, len(steps) + shift, i)
            held = True
    labels = [f"{k}\nn ≥ {short(axis[k])}" for k in steps]
    ax.set_xticks(range(len(steps) + held), labels + ["claimed"] * held, fontsize=8)
    ax.set_xlim(-0.5, len(steps) + held - 0.5)
    ax.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{round(v, 6):g}".replace("-", "\N{MINUS SIGN}")))
    ax.set(xlabel="smallest sizes left out", ylabel="slope of log error on log n")
    if legend:
        above(ax)
    return ax


def means(errors: np.ndarray) -> tuple[float, float, float]:
    """Return the mean of errors with its 95 % interval by the bootstrap over replicates."""
    kept = errors[np.isfinite(errors)]
    picks = np.random.default_rng(0).integers(len(kept), size=(DRAWS, len(kept)))
    low, high = np.percentile(kept[picks].mean(-1), [2.5, 97.5])
    return float(kept.mean()), float(low), float(high)


def _bars(value: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return lengths of error bars (2, m); of replicates that are all alike, value and ends differ by rounding."""
    return np.maximum([value - low, high - value], 0.0)


def _curve(ax: Axes, one: Curve, claims: Sequence[Claim], look: int, name: str, shift: float) -> None:
    there = [i for i, e in enumerate(one.errors) if np.isfinite(e).any() and np.nanmean(e) > 0]
    if not there:
        return
    n, found = np.array(one.axis, dtype=float)[there], np.array([means(one.errors[i]) for i in there])
    middle = np.log(n).mean(), np.log(found[:, 0]).mean()
    ends = np.array([n[0], n[-1]])
    colour, words = style.colour(look), f"{style.plain(name, 40)}: {interval(one.slope)}"
    beside = n * (one.axis[-1] / one.axis[0]) ** (0.01 * shift)
    ax.errorbar(
        beside, found[:, 0], _bars(*found.T), color=colour, marker=style.marker(look), markersize=5, linestyle="none",
        elinewidth=1.5, capsize=2.5, zorder=4,
    )  # fmt: skip
    if np.isfinite(one.slope.value):
        line = np.exp(middle[1] + one.slope.value * (np.log(ends) - middle[0]))
        ax.plot(ends, line, color=colour, linewidth=1.4, marker=style.marker(look), markevery=(9, 9), label=words)
    for claim in claims:
        value = 0.0 if claim.kind == "slower_than_polynomial" else claim.value
        line = np.exp(middle[1] + value * (np.log(ends) - middle[0]))
        look_of: dict[str, Any] = {
            "color": tuple(0.5 * c for c in to_rgb(colour)),
            "linestyle": (0, (1.2, 1.6)),
            "linewidth": 1.8,
        }
        ax.plot(ends, line, label=f"  claimed {asked(claim)} ({claim.standing})", **look_of)


def _asked_range(ax: Axes, claim: Claim, at: float, look: int) -> None:
    """Draw the slopes that a claim allows as a bar; an open end is an arrow."""
    low, high = allowed(claim)
    shown: dict[str, Any] = {"color": style.colour(look), "linewidth": 4, "alpha": 0.45, "zorder": 2}
    if np.isfinite(low) and np.isfinite(high):
        ax.plot([at, at], [low, high], solid_capstyle="butt", **shown)
        ax.plot([at], [claim.value], marker="_", markersize=11, color=style.colour(look), zorder=3)
        return
    end, sign = (high, -1.0) if np.isfinite(high) else (low, 1.0)
    arrow = {"arrowstyle": "-|>", "color": style.colour(look), "linewidth": 1.8, "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", (at, end + 0.1 * sign), (at, end), arrowprops=arrow)
    ax.plot([at], [end], marker="_", markersize=11, color=style.colour(look), zorder=3)
    ax.update_datalim([(at, end + 0.12 * sign)])
    ax.autoscale_view()
