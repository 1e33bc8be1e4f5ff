"""Verdicts: what the evidence of a study says about its claims, and what would settle what is open.

`verdict_of` is one function of an `Evidence`; docs/guide/theorist/claims.md has the table of its cases.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil, inf
from typing import NamedTuple

import numpy as np
import pandas as pd

from gatewise.theory.claims import Claim, VerdictKind, allowed, parameter_of, slope_of, wanted
from gatewise.theory.curves import Curve
from gatewise.theory.evidence import Evidence, gather
from gatewise.theory.exponents import Exponent
from gatewise.theory.probes import Probed
from gatewise.theory.slopes import Slope, interval, less
from gatewise.theory.study import Study

LEAST_SIZES, LEAST_DECADES, LEAST_REPLICATES = 4, 1.5, 40  # a window that a verdict may rest on
ALLOWED = 0.05  # share of replicates without certificate, without a number, at a bound or flat that a verdict may have
MOSTLY = 0.5  # share of fits that call a parameter unidentified from which it is
FURTHER = 2.0  # times that a slope may move again as it did in the window, before it contradicts a claim
RULES = ("LEAST_SIZES", "LEAST_DECADES", "LEAST_REPLICATES", "ALLOWED", "MOSTLY", "FURTHER")
AS_ASKED = "the sizes, replicates and certificates named in the reason"


class Verdict(NamedTuple):
    """A claim, what is said about it, the slope (of a difference: its value and interval), and why."""

    claim: Claim
    word: VerdictKind
    slope: Slope
    reason: str
    settle: str = ""


def judge(study: Study, frame: pd.DataFrame, claim: Claim, probes: Sequence[Probed] = ()) -> Verdict:
    """Return the verdict on a claim of a study from its table of fits and its population exponents."""
    return verdict_of(gather(study, frame, claim, probes))


def verdict_of(evidence: Evidence) -> Verdict:
    """Return the verdict that the evidence on a claim gives. The first case that holds decides.

    1. The derivatives, or most of the fits, say that the data do not identify the parameter, or one that the loss sums:
       not identified.
    2. Fits, sizes, replicates, numbers or certificates are missing, or limits of the fitted model exclude the truth:
       unresolved, whatever a population exponent says.
    3. The interval of the slope lies inside the claim: supported; outside: contradicted, of a recalled claim "differs
       from recollection"; else unresolved. A finite window cannot show that an error falls slower than every power.
       What slopes decide is open again where the curve bends, where the slope of medians or of certified fits says
       something else, and where a slope outside still moves towards the claim.
    4. A settled population exponent of the same truth, model, box, inputs and kind of cell decides what slopes leave
       open, and confirms what they decide; where both decide and differ, the claim is open. It is open, too, where
       slopes contradict it and an exponent that still moves, or of some parts of the error alone, says that it holds.
       For a difference of slopes the exponents of both arms count.
    5. Where fits end at bounds of the parameter, slopes alone decide nothing: an exponent does, unless slopes say
       otherwise. If fits still do at the largest size, it cannot show that the error falls.
    """
    claim, found = evidence.claim, evidence.slope
    if evidence.ridge or _flat(evidence.curves):
        return Verdict(claim, VerdictKind.not_identified, found, evidence.ridge or _flat(evidence.curves))
    if evidence.absent:
        words = f"no fit of {' or '.join(evidence.absent)} has been run"
        return Verdict(claim, VerdictKind.unresolved, found, words, "the missing fits")
    if evidence.outside and claim.kind != "at_least":  # that an error does not vanish is what such an arm can show
        words = f"the truth lies outside the fitted model, {', '.join(evidence.outside)}: its errors will not vanish"
        return Verdict(claim, VerdictKind.unresolved, found, words, "limits that hold the truth")
    if short := _of_each(evidence.curves, _lacking):
        short += _of_each(evidence.curves, _at_bounds)
        return Verdict(claim, VerdictKind.unresolved, found, _joined(short, evidence.exponents), AS_ASKED)
    verdict = with_exponents(_by_slopes(evidence), evidence.exponents)
    bounds = _of_each(evidence.curves, _at_bounds)
    return _in_a_box(verdict, evidence, bounds) if bounds else verdict


def _in_a_box(verdict: Verdict, evidence: Evidence, bounds: Sequence[str]) -> Verdict:
    """Return the verdict where fits end at bounds: what exponents say, if slopes do not say otherwise.

    With fits at bounds even at the largest size, an exponent does not show that the error falls.
    """
    settle = "a wider box, or larger n and population exponents of every part of the error"
    reason = "; ".join(bounds)
    at_bounds = verdict._replace(word=VerdictKind.unresolved, reason=reason, settle=settle)
    alone = with_exponents(at_bounds, evidence.exponents)
    if alone.word is VerdictKind.unresolved:
        return alone
    if verdict.word is not alone.word:
        return alone._replace(word=VerdictKind.unresolved, reason=f"{reason}; {verdict.reason}", settle=settle)
    last = max(c.bounded[-1] if c.bounded else 0.0 for c in evidence.curves)
    if _too_many(last) and evidence.claim.kind not in ("slower_than_polynomial", "at_least"):
        reason = f"{alone.reason}; at the largest size {100 * last:.0f} % do"
        return alone._replace(word=VerdictKind.unresolved, reason=reason, settle=settle)
    return alone


def _flat(curves: Sequence[Curve]) -> str:
    """Return, in words, that most fits call an error unidentified; nothing if they do not."""
    for c in curves:
        if c.flat and min(c.flat) > MOSTLY:
            share = f"{100 * min(c.flat):.0f} %"
            return f"{c.arm}: at every size at least {share} of the fits say that the data do not identify {_it(c)}"
    return ""


def _of_each(curves: Sequence[Curve], said: Callable[[Curve], list[str]]) -> list[str]:
    """Return, in words, what is said of curves; of two of them, what is said of one only names its arm."""
    each = [said(c) for c in curves]
    if len(curves) == 1:
        return each[0]
    both = [words for words in each[0] if words in each[1]]
    return both + [f"{c.arm}: {w}" for c, words in zip(curves, each, strict=True) for w in words if w not in both]


def _lacking(c: Curve) -> list[str]:
    """Return, in words, why nothing may be decided on this curve."""
    absent = sum(not len(errors) for errors in c.errors)
    if absent:
        return [f"{absent} of {len(c.axis)} sizes have not been run"]
    words = []
    if c.steps < LEAST_SIZES or c.decades < LEAST_DECADES - 1e-9:
        words.append(f"{c.steps} sizes over {c.decades:.1f} decades ({LEAST_SIZES} over {LEAST_DECADES} needed)")
    if c.replicates < LEAST_REPLICATES:
        words.append(f"{c.replicates} replicates ({LEAST_REPLICATES} needed)")
    weights = [len(errors) for errors in c.errors]
    share, worst = float(np.average(c.uncertified, weights=weights)), max(c.uncertified)
    without = f"slope without them {c.certified.value:+.3f}"
    if _too_many(share):
        words.append(f"{100 * share:.0f} % of the replicates are not certified ({without})")
    elif _too_many(worst):
        words.append(f"{_at(c, c.uncertified)} are not certified ({without})")
    if _too_many(max(c.lost)):
        words.append(f"{_at(c, c.lost)} lack this error (no such cell)")
    if _too_many(max(c.flat, default=0.0)):
        words.append(f"{_at(c, c.flat)} say that the data do not identify {_it(c)}")
    return words


def _at_bounds(c: Curve) -> list[str]:
    """Return, in words, why the slopes of this curve are those of its box."""
    if not _too_many(max(c.bounded, default=0.0)):
        return []
    return [f"{_at(c, c.bounded)} end at a bound of this parameter: a wider box would move them"]


def _too_many(share: float) -> bool:
    """Return whether more fits have something than a verdict may rest on; shares are quotients, and rounded."""
    return share > ALLOWED + 1e-9


def _it(c: Curve) -> str:
    """Return what a fit may call unidentified, in words."""
    return "it" if parameter_of(c.series) else "a parameter that it sums"


def _at(c: Curve, shares: Sequence[float]) -> str:
    return f"{100 * max(shares):.0f} % of the replicates at n = {c.axis[int(np.argmax(shares))]}"


def _by_slopes(evidence: Evidence) -> Verdict:
    """Return what the slopes alone say."""
    claim, found = evidence.claim, evidence.slope
    if claim.kind == "slower_than_polynomial":
        words = "finite sizes cannot tell an error slower than every power of n from a slow power"
        return Verdict(claim, VerdictKind.unresolved, found, words, "a population exponent of this arm")
    word = _word(claim, found)
    doubts = [] if word is VerdictKind.unresolved else _doubts(evidence, word)
    if doubts:
        return Verdict(claim, VerdictKind.unresolved, found, "; ".join(doubts), _settle(evidence))
    settle = _settle(evidence) if word is VerdictKind.unresolved else ""
    return Verdict(claim, _recalled(claim, word), found, _reason(evidence, word), settle)


def _doubts(evidence: Evidence, word: VerdictKind) -> list[str]:
    """Return, in words, what speaks against what the interval says."""
    claim, found, later = evidence.claim, evidence.slope, evidence.later
    doubts, bend = [], less(later, found)
    low, high = allowed(claim)
    curved = bend.low > 0 or bend.high < 0
    size = f"without the smallest third of the sizes, the slope is {later.value:+.3f}"
    if word is VerdictKind.supported and curved and not low <= later.value + bend.value <= high:
        doubts.append(f"{size}: the curve is not straight")
    if word is VerdictKind.contradicted:
        first, last = interval(later.draws + FURTHER * bend.draws)
        if not (last < low or first > high):  # NaN too
            doubts.append(f"{size}: if it goes on moving so, it may reach the claim")
    if word is not word_at(claim, found.median):
        doubts.append(f"the slope of the medians is {found.median:+.3f}: a few replicates dominate the means")
    if word is not word_at(claim, evidence.certified.value):
        doubts.append(f"without uncertified fits, the slope is {evidence.certified.value:+.3f}")
    return doubts


def with_exponents(verdict: Verdict, exponents: Sequence[Exponent]) -> Verdict:
    """Return what slopes say, with what exponents say of the slope ``-1 / (2 e)``, or of the difference of two.

    Exponents of some parts of an error alone say that it is no faster, and not that it is no slower.
    """
    if not exponents:
        return verdict
    if any(one.untied for one in exponents):
        return verdict._replace(reason=_joined([verdict.reason], exponents))
    if any(one.probed.word is VerdictKind.unresolved for one in exponents):
        return verdict
    words = {_recalled(verdict.claim, _within(verdict.claim, *slopes)) for slopes in _slopes_at(exponents)}
    word = words.pop() if len(words) == 1 else VerdictKind.unresolved
    contradicted = verdict.word in (VerdictKind.contradicted, VerdictKind.differs)
    open_again = word is VerdictKind.unresolved and contradicted and _may_hold(verdict.claim, exponents)
    if words and not open_again:  # the exponents still change
        return verdict
    first, *other = [one.probed.reason for one in exponents]
    said = f"the population exponents are {first} and {other[0]}" if other else f"the population exponent is {first}"
    errors = zip(exponents, ("the first", "the second") if other else ("this",), strict=True)
    without = [f"{one.left} of {one.parts} parts of {whose} error" for one, whose in errors if one.left]
    if without:
        said += f", but {' and '.join(without)} have none: they may be slower"
    if open_again:
        reason = f"{verdict.word} at these sizes, but {said}, or n is not large enough yet"
        return verdict._replace(word=VerdictKind.unresolved, reason=reason, settle="larger n, or the missing exponents")
    if word is VerdictKind.unresolved or verdict.word is word:
        return verdict._replace(reason=f"{verdict.reason}; {said}")
    if verdict.word is VerdictKind.unresolved:
        return verdict._replace(word=word, reason=f"{said}; inconclusive at these sizes: {verdict.reason}", settle="")
    reason = f"{verdict.word} at these sizes, but {said}: n is not large enough yet"
    return verdict._replace(word=VerdictKind.unresolved, reason=reason, settle="larger n")


def _joined(reasons: Sequence[str], exponents: Sequence[Exponent]) -> str:
    """Return reasons, and why an exponent that is named does not count."""
    others = [
        f"the exponent {one.probed.probe.name!r} does not count: it is of another {', '.join(one.untied)}"
        for one in exponents
        if one.untied
    ]
    return "; ".join([*reasons, *others])


def _may_hold(claim: Claim, exponents: Sequence[Exponent]) -> bool:
    """Return whether one of the last two exponents says that a claim holds, if other parts are no slower."""
    alone = [one._replace(left=0) for one in exponents]
    return any(_within(claim, *slopes) is VerdictKind.supported for slopes in _slopes_at(alone))


def _slopes_at(exponents: Sequence[Exponent]) -> list[tuple[float, float]]:
    """Return the least and the greatest slope that exponents allow, from the last value of each and from that before.

    Where parts of an error are left out, its slope may be any from ``-1 / (2 e)`` on. Of two it is a difference.
    """
    found = []
    for local in zip(*(one.probed.local()[:-3:-1] for one in exponents), strict=False):
        ends = [(slope_of(e), inf if one.left else slope_of(e)) for e, one in zip(local, exponents, strict=True)]
        found.append(ends[0] if len(ends) == 1 else (ends[0][0] - ends[1][1], ends[0][1] - ends[1][0]))
    return found


def _recalled(claim: Claim, word: VerdictKind) -> VerdictKind:
    """Return a word; what is only recalled cannot be contradicted."""
    return VerdictKind.differs if word is VerdictKind.contradicted and claim.standing == "recalled" else word


def _word(claim: Claim, found: Slope) -> VerdictKind:
    """Return what the interval alone says."""
    if not np.isfinite([found.low, found.high]).all():
        return VerdictKind.unresolved
    return _within(claim, found.low, found.high)


def _within(claim: Claim, first: float, last: float) -> VerdictKind:
    """Return what is said of a claim by slopes from `first` to `last`."""
    low, high = allowed(claim)
    if low <= first and last <= high:
        return VerdictKind.supported
    return VerdictKind.contradicted if last < low or first > high else VerdictKind.unresolved


def word_at(claim: Claim, value: float) -> VerdictKind:
    """Return what a slope without an interval says: supported or contradicted."""
    low, high = allowed(claim)
    return VerdictKind.supported if low <= value <= high else VerdictKind.contradicted


def _reason(evidence: Evidence, word: VerdictKind) -> str:
    where = {VerdictKind.supported: "inside", VerdictKind.unresolved: "partly inside"}.get(word, "outside")
    axis = evidence.curves[0].axis
    return f"the interval at n = {axis[0]} to {axis[-1]} lies {where} {wanted(evidence.claim)}"


def _settle(evidence: Evidence) -> str:
    """Return what would settle an open claim: intervals shrink as one over the square root of the replicates."""
    claim, found = evidence.claim, evidence.slope
    if not np.isfinite(found.half) or found.half == 0:
        return "positive errors at every size"
    gaps = [abs(found.value - edge) for edge in allowed(claim) if np.isfinite(edge)]
    if min(gaps) < 0.1 * found.half:
        return "larger n, or a population exponent; the slope is at the edge of the tolerance"
    if _word(claim, found) is not VerdictKind.unresolved:
        return "larger n, or a population exponent of this arm"
    replicates = min(c.replicates for c in evidence.curves)
    needed = ceil(replicates * (found.half / min(gaps)) ** 2 / 20) * 20
    return f"about {max(needed, replicates + 20, LEAST_REPLICATES)} replicates, if the slope stays {found.value:+.3f}"
