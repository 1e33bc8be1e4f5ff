"""Verdicts: what the slopes of a study say about its claims, and what would settle what is open."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from math import ceil, log10
from typing import NamedTuple

import numpy as np
import pandas as pd

from gatewise.infer.identifiability import Identifiability, identify
from gatewise.theory.arms import Arm
from gatewise.theory.claims import Claim
from gatewise.theory.slopes import DRAWS, Slope, interval, slope
from gatewise.theory.store import Contents
from gatewise.theory.study import Study

LEAST_SIZES, LEAST_DECADES, LEAST_REPLICATES = 4, 1.5, 40  # a window that a verdict may rest on
ALLOWED = 0.05  # share of replicates without certificate, or without a number, beyond which nothing is decided
AS_ASKED = "the sizes, replicates and certificates named in the reason"
FLAT, FLAT_DECADES = 0.1, 4.0  # slower than polynomial: a slope this small over this many decades


class VerdictKind(StrEnum):
    """What is said about a claim."""

    supported = "supported"
    contradicted = "contradicted"
    differs = "differs from recollection"
    unresolved = "unresolved"
    not_identified = "not identified"


class Curve(NamedTuple):
    """The errors and slopes of one series of an arm.

    Attributes
    ----------
    arm, series : str
    axis : tuple of int
        Sample sizes, or effective sizes.
    errors : tuple of arrays, one per level
    slope : Slope
        From all replicates.
    certified : Slope
        From certified replicates only.
    later : Slope
        Without the smallest third of the sizes.
    uncertified : tuple of float
        Share of replicates without a certificate at each level.
    """

    arm: str
    series: str
    axis: tuple[int, ...]
    errors: tuple[np.ndarray, ...]
    slope: Slope
    certified: Slope
    later: Slope
    uncertified: tuple[float, ...]


class Verdict(NamedTuple):
    """A claim, what is said about it, the slope (of a difference: its value and interval), and why."""

    claim: Claim
    word: VerdictKind
    slope: Slope
    reason: str
    settle: str = ""


def table(contents: Contents) -> pd.DataFrame:
    """Return the records as a table: one row per fit, one column per series."""
    rows = []
    for (arm, axis, replicate), record in sorted(contents.records.items()):
        row = {"arm": arm, "axis": axis, "replicate": replicate, **record["series"]}
        row |= {
            name: record.get(name) for name in ("n", "status", "certified", "behind", "hits", "gap", "moved", "start")
        }
        rows.append(row | {"active": len(record["active"])})
    return pd.DataFrame(rows)


def curve(frame: pd.DataFrame, arm: Arm, series: str) -> Curve:
    """Compute the errors and slopes of one series of an arm.

    Parameters
    ----------
    frame : DataFrame
        `StudyResult.frame`.
    arm : Arm
    series : str
        One of `series_of`.

    Returns
    -------
    Curve
        From the replicates that are judged; without numbers if no fit has been run.

    Raises
    ------
    ValueError
        If the fits have no such series.
    """
    mine = frame[(frame["arm"] == arm.name) & (frame["replicate"] < arm.replicates)]
    if mine.empty:
        return _nothing(arm, series)
    if series not in mine or mine[series].isna().all():
        known = [name for name in mine.columns[3:] if mine[name].dtype == float and mine[name].notna().any()]
        raise ValueError(f"arm {arm.name!r} has no series {series!r}: it has {', '.join(known)}")
    axis = tuple(level.axis for level in arm.levels())
    levels = [mine[mine["axis"] == at] for at in axis]
    errors = [level[series].to_numpy(dtype=float) for level in levels]
    good = [level[series].where(level["certified"].astype(bool)).to_numpy(dtype=float) for level in levels]
    third = len(axis) // 3
    shares = tuple(float(1.0 - level["certified"].astype(bool).mean()) if len(level) else 0.0 for level in levels)
    return Curve(
        arm.name,
        series,
        axis,
        tuple(errors),
        slope(axis, errors),
        slope(axis, good),
        slope(axis[third:], errors[third:]),
        shares,
    )


def _nothing(arm: Arm, series: str) -> Curve:
    """Return the curve of an arm that has not been run."""
    axis = tuple(level.axis for level in arm.levels())
    nothing, zeros = float("nan"), (0,) * len(axis)
    line = Slope(nothing, nothing, nothing, nothing, np.full(DRAWS, nothing), zeros, zeros)
    return Curve(arm.name, series, axis, (np.empty(0),) * len(axis), line, line, line, (0.0,) * len(axis))


def judge(study: Study, frame: pd.DataFrame, claim: Claim) -> Verdict:
    """Return the verdict on a claim.

    Supported iff the interval lies inside claim +- tolerance, contradicted iff it is disjoint from it; a faster slope
    never contradicts a bound, and a recalled claim is at most "differs from recollection". Unresolved otherwise, and
    always where the window is short, where the slope without the smallest third of the sizes, that of medians or that
    of certified replicates says something else, and where more than 5 % of the replicates lack a certificate or, at
    some size, a number. A certificate says that a fit is a local optimum of its box, floors of scales among the limits.
    """
    arm = study.arm(claim.arm)
    first = curve(frame, arm, claim.series)
    parameter = _parameter(claim.series)
    if parameter and parameter in _ridges(arm):
        reason = f"{parameter} is not identified: the objective is constant along a ridge, so there is no rate"
        return Verdict(claim, VerdictKind.not_identified, first.slope, reason)
    absent = [name for name in (claim.arm, claim.other) if name and not (frame["arm"] == name).any()]
    if absent:
        line = _nothing(arm, claim.series).slope
        return Verdict(
            claim, VerdictKind.unresolved, line, f"no fit of {' or '.join(absent)} has been run", "the missing fits"
        )
    curves = [first]
    if claim.other:
        curves.append(curve(frame, study.arm(claim.other), claim.other_series or claim.series))
    found, later, certified = (
        _combined([getattr(c, name) for c in curves]) for name in ("slope", "later", "certified")
    )
    doubts = _all_doubts(curves, claim)
    word, window = _word(claim, found), bool(doubts)
    if not doubts and word is not VerdictKind.unresolved:
        if word is not word_at(claim, later.value):
            size = f"without the smallest third of the sizes, the slope is {later.value:+.3f}"
            doubts.append(f"{size}: the curve is not straight")
        if word is not word_at(claim, found.median):
            doubts.append(f"the slope of the medians is {found.median:+.3f}: a few replicates dominate the means")
        if word is not word_at(claim, certified.value):
            doubts.append(f"without uncertified fits, the slope is {certified.value:+.3f}")
    if doubts:
        settle = AS_ASKED if window else _settle(claim, found, curves)
        return Verdict(claim, VerdictKind.unresolved, found, "; ".join(doubts), settle)
    if word is VerdictKind.contradicted and claim.standing == "recalled":
        word = VerdictKind.differs
    settle = _settle(claim, found, curves) if word is VerdictKind.unresolved else ""
    return Verdict(claim, word, found, _reason(claim, word), settle)


def _parameter(series: str) -> str:
    """Return the name of the parameter of a series such as "gates.0.weight over mean", or nothing."""
    path = series.split(" ")[0]
    return path.rpartition(".")[2] if "." in path else ""


def _ridges(arm: Arm) -> tuple[str, ...]:
    """Return the names of the parameters that no data identify, if the model leaves them free."""
    if arm.model.gauge == "fixed":
        return ()
    return tuple(name.rpartition(".")[2] for name in identified(arm, order=1).unidentified)


def identified(arm: Arm, order: int) -> Identifiability:
    """Return what derivatives up to an order say of the fitted model of an arm, all of its parameters free."""
    mixture = arm.model.mixture
    estimator = "ls" if arm.model.method == "ls" else "ml"
    return identify(mixture.gates, mixture.expert, estimator, order=order, d=arm.data.inputs.d)


def _combined(slopes: Sequence[Slope]) -> Slope:
    """Return a slope, or the first less the second, draw by draw."""
    if len(slopes) == 1:
        return slopes[0]
    one, two = slopes
    draws = one.draws - two.draws
    low, high = interval(draws)
    return one._replace(value=one.value - two.value, low=low, high=high, median=one.median - two.median, draws=draws)


def _all_doubts(curves: Sequence[Curve], claim: Claim) -> list[str]:
    """Return the doubts about one curve, or those about two, with the arm of what is said of one of them only."""
    each = [_doubts(c, claim) for c in curves]
    if len(curves) == 1:
        return each[0]
    both = [doubt for doubt in each[0] if doubt in each[1]]
    return both + [f"{c.arm}: {d}" for c, doubts in zip(curves, each, strict=True) for d in doubts if d not in both]


def _doubts(c: Curve, claim: Claim) -> list[str]:
    """Return, in words, why nothing may be decided on this curve."""
    absent = sum(not len(errors) for errors in c.errors)
    if absent:
        return [f"{absent} of {len(c.axis)} sizes have not been run"]
    words = []
    decades = log10(c.axis[-1] / c.axis[0])
    if len(c.axis) < LEAST_SIZES or decades < LEAST_DECADES - 1e-9:
        words.append(f"{len(c.axis)} sizes over {decades:.1f} decades ({LEAST_SIZES} over {LEAST_DECADES} needed)")
    if claim.kind == "slower_than_polynomial" and decades < FLAT_DECADES - 1e-9:
        words.append(f"{decades:.1f} decades ({FLAT_DECADES} needed to recognise a flat curve)")
    least = min(u + m for u, m in zip(c.slope.used, c.slope.missing, strict=True))
    if least < LEAST_REPLICATES:
        words.append(f"{least} replicates ({LEAST_REPLICATES} needed)")
    share = float(np.average(c.uncertified, weights=[len(errors) for errors in c.errors]))
    if share > ALLOWED + 1e-9:
        words.append(
            f"{100 * share:.0f} % of the replicates are not certified (slope without them {c.certified.value:+.3f})"
        )
    lost = max(m / max(u + m, 1) for u, m in zip(c.slope.used, c.slope.missing, strict=True))
    if lost > ALLOWED + 1e-9:
        words.append(f"{100 * lost:.0f} % of the replicates at some size lack this error (no such cell)")
    return words


def _word(claim: Claim, found: Slope) -> VerdictKind:
    """Return what the interval alone says."""
    if not np.isfinite([found.low, found.high]).all():
        return VerdictKind.unresolved
    low, high = allowed(claim)
    if low <= found.low and found.high <= high:
        return VerdictKind.supported
    return VerdictKind.contradicted if found.high < low or found.low > high else VerdictKind.unresolved


def word_at(claim: Claim, value: float) -> VerdictKind:
    """Return what a slope without an interval says: supported or contradicted."""
    low, high = allowed(claim)
    return VerdictKind.supported if low <= value <= high else VerdictKind.contradicted


def allowed(claim: Claim) -> tuple[float, float]:
    """Return the slopes that a claim allows."""
    if claim.kind == "slower_than_polynomial":
        return -FLAT, np.inf
    low = -np.inf if claim.kind == "at_most" else claim.value - claim.tolerance
    return low, np.inf if claim.kind == "at_least" else claim.value + claim.tolerance


def _reason(claim: Claim, word: VerdictKind) -> str:
    where = {VerdictKind.supported: "inside", VerdictKind.unresolved: "partly inside"}.get(word, "outside")
    return f"the interval lies {where} {wanted(claim)}"


def wanted(claim: Claim) -> str:
    """Return what a claim asks for, in words."""
    if claim.kind == "slower_than_polynomial":
        return f"a slope above {-FLAT}"
    if claim.kind == "at_most":
        return f"a slope of at most {claim.value + claim.tolerance:+.3f}"
    if claim.kind == "at_least":
        return f"a slope of at least {claim.value - claim.tolerance:+.3f}"
    return f"{claim.value:+.3f} +- {claim.tolerance:.2f}"


def _settle(claim: Claim, found: Slope, curves: Sequence[Curve]) -> str:
    """Return what would settle an open claim: intervals shrink as one over the square root of the replicates."""
    if not np.isfinite(found.half) or found.half == 0:
        return "positive errors at every size"
    gaps = [abs(found.value - edge) for edge in allowed(claim) if np.isfinite(edge)]
    replicates = min(u + m for c in curves for u, m in zip(c.slope.used, c.slope.missing, strict=True))
    if min(gaps) < 0.1 * found.half:
        return "larger n, or a population exponent; the slope is at the edge of the tolerance"
    if _word(claim, found) is not VerdictKind.unresolved:
        return "the sizes and certificates named in the reason"
    needed = ceil(replicates * (found.half / min(gaps)) ** 2 / 20) * 20
    return f"about {max(needed, replicates + 20, LEAST_REPLICATES)} replicates, if the slope stays {found.value:+.3f}"
