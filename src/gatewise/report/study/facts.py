"""The facts of a study in words and numbers, the same on pages, in tables and on the terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd
from torch import Tensor

from gatewise.core.experts import EXPERTS
from gatewise.core.families import FAMILIES
from gatewise.core.gates import describe as gate_name
from gatewise.core.mixture import Mixture
from gatewise.core.names import name_of
from gatewise.fit import Status
from gatewise.plots.words import asked, claimed, interval, judged, number, recorded
from gatewise.theory.arms import Arm
from gatewise.theory.claims import Claim, VerdictKind
from gatewise.theory.curves import curve
from gatewise.theory.multiplicity import false_discovery_rates
from gatewise.theory.protocol import registration, version
from gatewise.theory.result import StudyResult
from gatewise.theory.ridges import derivatives, known
from gatewise.theory.study import Study
from gatewise.theory.verdict import Verdict

LEVEL = 0.05  # false discovery rate
METHODS = {"ml": "maximum likelihood", "ls": "least squares", "em": "EM"}


class Look(NamedTuple):
    """How a verdict looks: a symbol, the class of its colour on pages, and its colour in a terminal."""

    symbol: str
    sheet: str
    terminal: str


LOOKS: dict[VerdictKind, Look] = {
    VerdictKind.supported: Look("\N{CHECK MARK}", "supported", "green"),
    VerdictKind.contradicted: Look("\N{BALLOT X}", "contradicted", "red"),
    VerdictKind.differs: Look("\N{NOT EQUAL TO}", "differs", "magenta"),
    VerdictKind.unresolved: Look("?", "unresolved", "yellow"),
    VerdictKind.not_identified: Look("\N{EMPTY SET}", "unidentified", "cyan"),
}
MEANINGS: dict[VerdictKind, str] = {
    VerdictKind.supported: "the 95 % interval of the slope lies inside the range that the claim allows; or the slope "
    "is inconclusive and the population exponent agrees with the claim",
    VerdictKind.contradicted: "the interval lies outside that range, or the slope is inconclusive and the population "
    "exponent disagrees; a faster slope never contradicts an upper bound",
    VerdictKind.differs: "contradicted, but the claim was quoted from memory, which may be wrong",
    VerdictKind.unresolved: "the interval lies partly inside that range; or there are too few sizes, replicates or "
    "certificates for a verdict, or fits end at a bound of the parameter; or limits of the model exclude the truth; or "
    "the slope still moves; or slope and population exponent disagree",
    VerdictKind.not_identified: "the derivatives of the model, or most of the fits, say that the data do not identify "
    "the parameter, or one that the loss sums, so it has no rate, and a slope would only describe the search",
}


def protocol_words(study: Study) -> str:
    """Return the hash of the protocol of a study, and which registered version it is, if any."""
    number = version(study)
    listed = f"version {number} of the registered protocol" if number else "not registered"
    return f"protocol {registration(study)}, {listed}"


def tally(verdicts: Any) -> str:
    """Return how many verdicts there are of each word, such as ``3 supported, 1 unresolved``."""
    words = [v.word for v in verdicts]
    return ", ".join(f"{words.count(word)} {word}" for word in VerdictKind if word in words) or "no claims"


def subject(claim: Claim) -> str:
    """Return what a claim is about: arm and series, and the arm that is compared."""
    return f"{claim.arm}: {claim.series}" + (f" minus that of {compared(claim)}" if claim.other else "")


def compared(claim: Claim) -> str:
    """Return the arm that a claim compares with, and its series if it is another one; nothing if there is none."""
    return claim.other + (f": {claim.other_series}" if claim.other_series else "")


def claim_row(result: StudyResult, verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as words: claim, slopes, what was claimed by whom, the word with its symbol, and why."""
    claim, look = verdict.claim, LOOKS[verdict.word]
    sides = [(claim.arm, claim.series), (claim.other, claim.other_series or claim.series)]
    certified = [curve(result.frame, result.study.arm(a), s).certified.value for a, s in sides if a]
    return {
        "arm": claim.arm,
        "series": claim.series,
        "other": compared(claim),
        "kind": claim.kind,
        "slope": interval(verdict.slope),
        "median": number(verdict.slope.median),
        "certified": number(certified[0] - sum(certified[1:])),
        "claimed": asked(claim),
        "standing": claim.standing,
        "source": claim.source,
        "word": str(verdict.word),
        "symbol": look.symbol,
        "sheet": look.sheet,
        "reason": typeset(verdict.reason),
        "settle": typeset(verdict.settle),
        "before": "" if result.exploratory is None else result.before(claim),
    }


def typeset(words: str) -> str:
    """Return words with true signs.

    Examples
    --------
    >>> typeset("inside -0.5 +- 0.1, log-log")
    'inside −0.5 ± 0.1, log-log'
    """
    return re.sub(r"(?<!\w)-(?=\d)", "\N{MINUS SIGN}", words.replace("+-", "±"))


def discoveries(verdicts: Sequence[Verdict]) -> str:
    """Return, in words, how many of the claims that slopes decide may be decided by chance."""
    rates = [rate for rate in false_discovery_rates(verdicts) if rate == rate]
    if not rates:
        return ""
    above = sum(rate > LEVEL for rate in rates) or "none"
    return (
        f"Slopes decide {len(rates)} of {len(verdicts)} claims. Their false discovery rates (Benjamini and Hochberg) "
        f"are at most {max(rates):.2g}; above {100 * LEVEL:.0f} %: {above}."
    )


def series_rows(result: StudyResult, arm: str) -> list[dict[str, Any]]:
    """Return the slopes of every series of an arm, the claimed ones first."""
    mine, rows = judged(result, arm), []
    about = [name for name in claimed(result, arm) if name in mine and mine[name].notna().any()]
    for name in dict.fromkeys((*about, *recorded(result, arm))):
        one = curve(result.frame, result.study.arm(arm), name)
        counts = one.slope.used
        rows.append(
            {
                "series": name,
                "claimed": name in about,
                "slope": interval(one.slope),
                "median": number(one.slope.median),
                "certified": number(one.certified.value),
                "later": number(one.later.value),
                "used": str(counts[0]) if len(set(counts)) == 1 else f"{min(counts)} to {max(counts)}",
            }
        )
    return rows


def level_rows(result: StudyResult, arm: str) -> list[dict[str, str]]:
    """Return what the certificates of an arm say, size by size."""
    mine, given = judged(result, arm), result.study.arm(arm)
    rows = []
    for level in given.levels():
        at = mine[mine["axis"] == level.axis]
        row: dict[str, str] = {
            "n": f"{level.axis:,}".replace(",", "\N{NARROW NO-BREAK SPACE}"),
            "fits": f"{len(at)}/{given.replicates}",
        }
        true = given.data.mixture.n_leaves
        rows.append(row | (_certificates(at, true) if len(at) else dict.fromkeys(COLUMNS, "\N{EN DASH}")))
    return rows


COLUMNS = ("statuses", "certified", "behind", "hits", "once", "active", "empty", "ties")


def _certificates(at: pd.DataFrame, true: int) -> dict[str, str]:
    found = at["status"].value_counts()
    chosen = at["selected"].dropna() if "selected" in at else pd.Series(dtype=int)
    atoms = f"; {true} atoms selected in {(chosen == true).mean():.0%}" if len(chosen) else ""
    return {
        "statuses": ", ".join(f"{found[word]} {word}" for word in reversed(Status) if word in found.index) + atoms,
        "certified": f"{at['certified'].astype(bool).mean():.0%}",
        "behind": _share(at, "behind"),
        "hits": f"{at['hits'].median():g}",
        "once": f"{(at['hits'] <= 1).mean():.0%}",
        "active": f"{(at['active'] > 0).mean():.0%}",
        "empty": _share(at, "empty"),
        "ties": _share(at, "ties"),
    }


def _share(at: pd.DataFrame, column: str) -> str:
    there = column in at and at[column].notna().any()
    return f"{(at[column] > 0).mean():.0%}" if there else "\N{EN DASH}"


def model_words(mixture: Mixture) -> str:
    """Return a mixture in words.

    Examples
    --------
    >>> from gatewise.core.gates import GATES
    >>> model_words(Mixture((GATES["softmax"], GATES["laplace"]), (2, 3)))
    'softmax over laplace gates, 2 x 3 experts: linear'
    >>> model_words(Mixture((GATES["softmax"],), (2,), family=FAMILIES["categorical"]))
    'softmax gate, 2 experts: linear, categorical'
    """
    gates = " over ".join(gate_name(gate) for gate in mixture.gates)
    count = " x ".join(map(str, mixture.branching))
    plural, expert = "s" * (mixture.depth > 1), name_of(mixture.expert, EXPERTS) or mixture.expert
    family = name_of(mixture.family, FAMILIES) or mixture.family
    law = "" if family == "gaussian" or not mixture.family.has_density else f", {family}"
    return f"{gates} gate{plural}, {count} experts: {expert}{law}"


def arm_lines(arm: Arm) -> list[tuple[str, str]]:
    """Return what an arm draws, fits and starts from, as pairs of a name and words."""
    truth, model = model_words(arm.data.mixture), arm.model
    lines = [
        ("truth", truth + (" (depends on n)" if arm.data.moves else "")),
        ("true parameters", parameters_words(arm)),
        ("inputs", str(arm.data.inputs)),
        ("fitted", f"{model_words(model.mixture)}, by {METHODS[model.method]}"),
        ("limits of the fit", limits_words(arm)),
        ("starts", str(arm.starts)),
        ("replicates", f"{arm.replicates} at {len(arm.levels())} sizes"),
        (
            "losses",
            ", ".join(loss.name for loss in arm.named_losses()) + (", where defined" if arm.losses is None else ""),
        ),
    ]
    if model.method == "em":
        lines[2] = ("fitted", f"{lines[2][1]}, at most {model.max_iter} passes")
    if model.fixed:
        lines.append(("fixed at given values", ", ".join(model.fixed)))
    if arm.data.noise is not None:
        lines.append(("standard deviation of the noise", str(arm.data.noise)))
    return [*lines, ("what derivatives say", derivatives_words(arm))]


def parameters_words(arm: Arm) -> str:
    """Return the true parameters of an arm in numbers, at its smallest size if they depend on n."""
    first = arm.levels()[0].n
    at = f"at n = {first}: " if arm.data.moves else ""
    return at + "; ".join(f"{path} = {_values(value)}" for path, value in arm.data.at(first).paths().items())


def limits_words(arm: Arm) -> str:
    """Return the box of an arm and the smallest standard deviation that it allows."""
    box = [f"{path} in [{_values(low)}, {_values(high)}]" for path, (low, high) in (arm.model.box or {}).items()]
    floor = arm.model.min_scale
    return "; ".join([*box, *([] if floor is None else [f"standard deviations from {floor:g}"])]) or "none"


def _values(value: float | Tensor) -> str:
    """Return numbers as nested lists, rounded to four digits."""
    if isinstance(value, Tensor) and value.ndim:
        return "[" + ", ".join(_values(part) for part in value) + "]"
    return f"{float(value):.4g}"


def derivatives_words(arm: Arm) -> str:
    """Return what `identify` says of the fitted model: by second derivatives too if it has atoms to spare."""
    order = 2 if arm.model.mixture.n_leaves > arm.data.mixture.n_leaves else 1
    words, held = derivatives(arm, order).words, known(arm.model)
    words += f" {', '.join(held)}: fixed by the study, and held in this check." if held else ""
    return words + (" Ties are left out of this check." if arm.model.ties else "")


def warnings_of(result: StudyResult) -> list[str]:
    """Return what a reader must know before believing a verdict."""
    words = [*result.truths_outside_box, *result.changed, *result.faults]
    if ((result.made or {}).get("origin") or {}).get("tier") == "quick":
        words.insert(0, "a quick run, two sizes and two replicates: it shows that the study runs, and decides nothing")
    if result.missing:
        words.insert(0, f"{result.missing} of {result.study.fits()} fits are missing: resume the study")
    return words


def cost(result: StudyResult) -> str:
    """Return what the fits took, in words."""
    each = result.cpu / max(len(result.frame), 1)
    return f"{len(result.frame)} fits in {duration(result.cpu)} of processor time, {each:.2g} s each"


def duration(seconds: float) -> str:
    """Return a time in words.

    Examples
    --------
    >>> duration(42.4), duration(600.0), duration(9000.0)
    ('42 s', '10.0 min', '2.5 h')
    """
    for unit, name in ((3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.0f} s"
