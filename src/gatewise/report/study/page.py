"""The page of a study: verdicts first, then the pictures and certificates of every curve."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup
from matplotlib.axes import Axes

from gatewise.plots import style
from gatewise.plots.rates import dropped, rates
from gatewise.plots.ratios import NEXT, rows_needed, rows_ratio
from gatewise.plots.replicates import SAME, active, from_start
from gatewise.plots.standing import verdict_map
from gatewise.plots.words import claimed, head_of, interval, judged, recorded
from gatewise.report import drawing
from gatewise.report.page import rendered_template
from gatewise.report.study.citation import bibtex
from gatewise.report.study.facts import (
    LOOKS,
    MEANINGS,
    arm_lines,
    claim_row,
    cost,
    discoveries,
    level_rows,
    protocol_words,
    series_rows,
    tally,
    typeset,
    warnings_of,
)
from gatewise.theory.claims import VerdictKind
from gatewise.theory.curves import curve
from gatewise.theory.efficiency import efficiency
from gatewise.theory.fingerprint import describe, fingerprint
from gatewise.theory.papers import STUDIES
from gatewise.theory.probes import Probed, axis_of, expected
from gatewise.theory.rate_verdicts import judged_rates
from gatewise.theory.result import StudyResult

Pair = tuple[str, str, str]  # two arms and a series
TITLES = {"loss": "Voronoi loss", "hellinger": "density", "total variation": "density", "mean": "mean function"}
TITLES |= {"merged loss": "Voronoi loss of merged atoms"}
MANY = 12  # arms beyond which a page shows the claimed groups only: a page of 40 arms stays below 10 MB
MOST_RATIOS = 6  # comparisons of a picture
SHEETS = ("page.css", "study.css")


class Drawn(NamedTuple):
    """A figure of an arm: a name for files, a caption, words for those who do not see it, and the Axes."""

    name: str
    caption: str
    alt: str
    axes: Axes


def study_page(result: StudyResult, pairs: Sequence[Pair] = ()) -> str:
    """Return the page of a study as HTML that needs no network: inline SVG, inline style, no script.

    Parameters
    ----------
    result : StudyResult
    pairs : sequence of (arm, arm, series)
        Curves to compare in rows for the same error, beside those of claimed differences.

    Returns
    -------
    str
    """
    study, found = result.study, {v.word for v in result.verdicts}
    claims, notes = _with_notes([claim_row(result, verdict) for verdict in result.verdicts])
    return rendered_template(
        "study.html.j2",
        SHEETS,
        study=study,
        why=[part for part in study.why.split("\n\n") if part.strip()],
        tally=tally(result.verdicts),
        warnings=warnings_of(result),
        claims=claims,
        notes=notes,
        picture=overall([result]),
        discoveries=discoveries(result.verdicts),
        registered=_registered(result),
        arms=[_arm(result, arm.name, i) for i, arm in enumerate(study.arms) if len(judged(result, arm.name))],
        few=len(study.arms) > MANY,
        efficiencies=_efficiencies(result, pairs),
        probes=[_probe(one) for one in result.probes],
        words=legend(found | {one.word for one in result.probes}),
        cost=cost(result),
        versions=versions(result),
        fingerprint=_made(result)["fingerprint"],
        command=command(result),
        bibtex=bibtex(study),
    )


def overall(results: Sequence[StudyResult]) -> dict[str, Any] | None:
    """Return the picture of all verdicts about rates of the literature; None where there are none."""
    found = Counter(str(one.verdict.word) for row in judged_rates(results) for one in row.judgements())
    if not found:
        return None
    counts = ", ".join(f"{count} {word}" for word, count in found.items())
    alt = f"Verdicts about the rate tables of the literature, models by groups of parameters: {counts}."
    return {"alt": alt, "svg": Markup(drawing.svg(style.figure_of(verdict_map(results)), "v"))}


def all_comparisons(results: Sequence[StudyResult]) -> dict[str, Any] | None:
    """Return the picture of how many more rows models need than others; None where nothing can be compared."""
    found = []
    for result in results:
        pairs = {
            (first, second): series for first, second, series in reversed(_differences(result))
        }  # the first of each
        rows = [_rows(result, (*arms, series)) for arms, series in reversed(pairs.items())]
        found += [one["found"] for one in rows if one["found"] is not None]
    if not found:
        return None
    alt = f"How many times as many rows one model needs as another for the same error, {len(found)} comparisons: "
    alt += "; ".join(f"{one.second} over {one.first} {one.ratio[NEXT]:.3g}" for one in found) + "."
    return {"alt": alt, "count": len(found), "svg": Markup(drawing.svg(style.figure_of(rows_needed(found)), "n"))}


def _with_notes(rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """Return rows of claims with the number of a note where several have one reason, and the notes."""
    counts = Counter((row["reason"], row["settle"]) for row in rows)
    notes = [reason for reason, count in counts.items() if count > 1 and any(reason)]
    place = {reason: number for number, reason in enumerate(notes, 1)}
    return [{**row, "note": place.get((row["reason"], row["settle"]))} for row in rows], notes


def _registered(result: StudyResult) -> str:
    """Return what is known of the protocol of a study, in words."""
    confirmed = "" if result.exploratory is None else "; verdicts of the exploratory run stand under those of this one"
    words = protocol_words(result.study)
    return f"{words[0].upper()}{words[1:]}{confirmed}."


def legend(found: set[VerdictKind]) -> list[dict[str, Any]]:
    """Return what the verdicts mean, those that occur marked."""
    return [{"word": str(w), "look": LOOKS[w], "meaning": MEANINGS[w], "found": w in found} for w in VerdictKind]


def versions(result: StudyResult) -> str:
    """Return what the records were computed with, in words."""
    engine = _made(result)["engine"]
    return ", ".join(f"{name} {engine[name]}" for name in ("gatewise", "torch"))


def command(result: StudyResult) -> str:
    """Return the command that makes the records of a result again; nothing if they were made from Python."""
    origin = _made(result).get("origin", {})
    where, tier, seed = (str(origin.get(name, "")) for name in ("where", "tier", "seed"))
    if not where:
        return ""
    tiers = {"quick": " --quick", "long": " --long", "confirmatory": " --confirm"}
    return f"gatewise study run {where if where in STUDIES else Path(where).name}{tiers.get(tier, '')}" + (
        f" --seed {seed}" if seed else ""
    )


def _made(result: StudyResult) -> dict[str, Any]:
    """Return fingerprint and engine of the records, or those that they would have now."""
    study = result.study
    return result.made or {"fingerprint": fingerprint(study), "engine": describe(study)["engine"]}


def figures(result: StudyResult, arm: str, claimed_only: bool = False) -> Iterator[Drawn]:
    """Yield the figures of an arm: rates by parameter group, slopes by window, starts, bounds and certificates.

    With `claimed_only`, groups that nothing is claimed about are left out, unless nothing is claimed about any.
    """
    given, about = result.study.arm(arm), claimed(result, arm)
    for title, series in panels(result, arm).items():
        if claimed_only and about and not set(about) & set(series):
            continue
        slopes = [f"{name} {interval(curve(result.frame, given, name).slope)}" for name in series]
        alt = f"{arm}: mean errors against n, both axes logarithmic. Slopes with 95 % intervals: {'; '.join(slopes)}."
        yield Drawn(f"rates {title}", f"{title}: error against n", alt, rates(result, arm, series))
    shown = [name for name in about if name in recorded(result, arm)] or list(recorded(result, arm)[:4])
    if shown:
        alt = f"{arm}: slopes of {', '.join(shown)} as the smallest sizes are left out one by one."
        yield Drawn("dropped", "slopes without the smallest sizes", alt, dropped(result, arm, shown))
    mine, found = judged(result, arm), recorded(result, arm)
    if found and "start" in mine and mine["start"].notna().any():
        alt = f"{arm}: error of every replicate against the distance of its start from the truth, coloured by n."
        axes = from_start(result, arm, SAME if SAME in found else found[0])
        yield Drawn("start", "error against the distance of the start", alt, axes)
    alt = f"{arm}: shares of replicates with a parameter on its bound, and without a certificate, by sample size."
    yield Drawn("bounds", "bounds and certificates", alt, active(result, arm))


def panels(result: StudyResult, arm: str) -> dict[str, list[str]]:
    """Return the series of an arm by what they measure, the claimed groups first; at most six to a panel."""
    about, found = claimed(result, arm), recorded(result, arm)
    ordered = [*(s for s in about if s in found), *(s for s in found if s not in about)]
    groups: dict[str, list[str]] = {}
    for name in ordered:
        groups.setdefault(TITLES.get(head_of(name), head_of(name)), []).append(name)
    return {
        title + (f" ({i // 6 + 1})" if len(series) > 6 else ""): series[i : i + 6]
        for title, series in groups.items()
        for i in range(0, len(series), 6)
    }


def _arm(result: StudyResult, arm: str, index: int) -> dict[str, Any]:
    drawn = figures(result, arm, claimed_only=len(result.study.arms) > MANY)
    cards = [
        {"caption": one.caption, "alt": one.alt, "svg": Markup(drawing.svg(style.figure_of(one.axes), f"a{index}-{i}"))}
        for i, one in enumerate(drawn)
    ]
    return {
        "name": arm,
        "id": f"a{index}",
        "lines": arm_lines(result.study.arm(arm)),
        "cards": cards,
        "series": series_rows(result, arm),
        "levels": level_rows(result, arm),
    }


def _probe(found: Probed) -> dict[str, Any]:
    """Return a population exponent as words."""
    look, (axis, at) = LOOKS[found.word], axis_of(found.probe)
    exponents = zip(found.local(), found.record["certified"] if found.record else [], strict=True)
    told = ", ".join(f"{e:.3f}" + ("" if sure else " (not certified)") for e, sure in exponents)
    return {
        "name": found.probe.name,
        "symbol": look.symbol,
        "word": str(found.word),
        "sheet": look.sheet,
        "claimed": typeset(expected(found.probe)),
        "local": told if found.computed() else "",
        "range": f"{axis} = {at[0]:g} to {at[-1]:g}",
        "origin": f"{found.probe.standing}: {found.probe.source}",
        "reason": found.reason,
    }


def _differences(result: StudyResult) -> list[Pair]:
    """Return what a study compares in rows: its comparisons, and claimed differences between equal series."""
    claimed = [(c.arm, c.other, c.series) for c in result.study.claims if c.other and not c.other_series]
    return [*result.study.comparisons, *claimed]


def _efficiencies(result: StudyResult, more: Sequence[Pair]) -> list[dict[str, Any]]:
    """Return comparisons in rows as words; those of one first arm and series share a picture, above the first."""
    shown = [_rows(result, pair) for pair in dict.fromkeys((*_differences(result), *more))]
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for one in shown:
        if one["found"] is not None:
            groups.setdefault((one["pair"][0], one["pair"][2]), []).append(one)
    for i, ((arm, series), group) in enumerate(groups.items()):
        axes = rows_ratio([one["found"] for one in group][:MOST_RATIOS])
        group[0]["svg"] = Markup(drawing.svg(style.figure_of(axes), f"r{i}"))
        others = ", ".join(one["pair"][1] for one in group[:MOST_RATIOS])
        group[0]["alt"] = f"{series}: rows that {others} need over those of {arm}, by mean error, with 95 % bands."
    return shown


def _rows(result: StudyResult, pair: Pair) -> dict[str, Any]:
    """Return a comparison in rows as words, or why there is none."""
    none: dict[str, Any] = {"pair": pair, "rows": [], "found": None, "svg": "", "alt": ""}
    if absent := [name for name in pair[:2] if not len(judged(result, name))]:
        return {**none, "refusal": f"no fit of {' or '.join(absent)} has been run"}
    one, two = (curve(result.frame, result.study.arm(name), pair[2]) for name in pair[:2])
    try:
        found = efficiency(one, two)
    except ValueError as refusal:
        return {**none, "refusal": str(refusal)}
    rows = [
        {
            "error": f"{error:.3g}",
            "first": f"{first:,.0f}",
            "second": f"{second:,.0f}",
            "ratio": f"{ratio:.3g}",
            "interval": f"{_end(low)} to {_end(high)}",
        }
        for error, first, second, ratio, low, high in list(zip(*found[3:], strict=True))[1:-1:2]  # ends are open
    ]
    return {**none, "rows": rows, "found": found, "refusal": ""}


def _end(value: float) -> str:
    return f"{value:.3g}" if 0.0 < value < float("inf") else "open"
