"""The front page of several studies: the rate tables of the literature, with a verdict in each cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

from gatewise.core.experts import EXPERTS
from gatewise.core.gates import GATES, Gate
from gatewise.core.scores import Activated, Affine, SquaredDistance, Tempered
from gatewise.report.page import rendered_template
from gatewise.report.study.facts import LOOKS, claim_row, cost, duration, subject, tally, warnings_of
from gatewise.report.study.page import SHEETS, legend, versions
from gatewise.theory.arms import Arm, NearTruth
from gatewise.theory.claims import Claim, VerdictKind
from gatewise.theory.papers import NO_STUDY
from gatewise.theory.paths import INTERCEPT, VARIANCE
from gatewise.theory.rates import ORDER_ONLY, POLYNOMIAL, RATES, SLOWER, Rate
from gatewise.theory.result import StudyResult
from gatewise.theory.verdict import Verdict

GROUPS = ("gate", "slopes, other expert parameters", "intercept", "variance")
SMALL = 0.01  # exponents closer than this are one
LETTERS = {GATES["softmax"]: "S", GATES["laplace"]: "L"}
EXPERT_NAMES: dict[str, tuple[str, ...]] = {  # experts of the literature: those of EXPERTS
    "linear": ("linear",),
    "constant": ("constant",),
    "polynomial": ("linear", "square", "cube"),
}
Placed = tuple[str, StudyResult]  # where the page of a study is, and its result


def front_page(placed: Sequence[Placed]) -> str:
    """Return the front page of studies as HTML.

    Rows are the models of `gatewise.theory.rates.RATES`, columns groups of parameters. A verdict stands in a cell when
    a claim is about the same gate, experts, estimator, specification, parameter and rate, from the same source, and the
    starts do not approach the truth with n; verdicts from starts near the truth are marked. Below them stand the models
    that no study of the library is about, with the reason.

    Parameters
    ----------
    placed : sequence of (link, StudyResult)
        The link leads from the front page to the page of the study.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        Without studies.
    """
    if not placed:
        raise ValueError("a front page of no studies: give at least one result")
    rows = _rows(placed)
    verdicts = [v for _, result in placed for v in result.verdicts]
    cells = [rate for row in rows for cell in row["cells"] for rate in cell["rates"]]
    judged = [[verdict["word"] for verdict in rate["verdicts"]] for rate in cells if rate["verdicts"]]
    return rendered_template(
        "front.html.j2",
        SHEETS,
        groups=GROUPS,
        rows=rows,
        neighbours=NO_STUDY,
        studies=[_study(link, result) for link, result in placed],
        tally=tally(verdicts),
        judged=len(judged),
        undecided=sum(set(words) == {VerdictKind.unresolved} for words in judged),
        partly=sum({VerdictKind.unresolved} < set(words) for words in judged),
        rates=len(cells),
        claims=[
            {"link": link, "name": result.study.name, **claim_row(result, v)}
            for link, result in placed
            for v in result.verdicts
        ],
        words=legend({v.word for v in verdicts}),
        cost=duration(sum(result.cpu for _, result in placed)),
        versions=versions(placed[0][1]),
    )


def _study(link: str, result: StudyResult) -> dict[str, Any]:
    return {
        "link": link,
        "name": result.study.name,
        "title": result.study.title,
        "tally": tally(result.verdicts),
        "cost": cost(result),
        "warnings": len(warnings_of(result)),
    }


def _rows(placed: Sequence[Placed]) -> list[dict[str, Any]]:
    heads = dict.fromkeys((r.estimator, r.gate, r.experts, r.specification) for r in RATES)
    rows = []
    for head in heads:
        mine = [rate for rate in RATES if (rate.estimator, rate.gate, rate.experts, rate.specification) == head]
        cells = [
            {"group": group, "rates": [_cell(rate, placed) for rate in mine if group_of(rate.parameter) == group]}
            for group in GROUPS
        ]
        rows.append({"head": head, "cells": cells})
    return rows


def _cell(rate: Rate, placed: Sequence[Placed]) -> dict[str, Any]:
    found: dict[tuple[str, VerdictKind, bool], list[str]] = {}
    for link, result in placed:
        for v in result.verdicts:
            arm = result.study.arm(v.claim.arm)
            if answers(rate, arm, v):
                key = (link, v.word, isinstance(arm.starts, NearTruth))
                found.setdefault(key, []).append(f"{result.study.name}, {subject(v.claim)}")
    source = "derived" if rate.standing == "derived" else f"{rate.standing}, {rate.source}"
    return {
        "parameter": rate.parameter,
        "rate": raised(rate.text()),
        "source": source,
        "verdicts": [
            {
                "link": link,
                "word": str(word),
                "look": LOOKS[word],
                "near": near,
                "count": len(about),
                "about": "; ".join(about),
            }
            for (link, word, near), about in found.items()
        ],
    }


def raised(text: str) -> Markup:
    """Return a rate with its exponent raised.

    Examples
    --------
    >>> raised("n^-1/4")
    Markup('n<sup>−1/4</sup>')
    """
    head, power, exponent = text.partition("^")
    return Markup("{}<sup>{}</sup>").format(head, exponent.replace("-", "\N{MINUS SIGN}")) if power else escape(text)


def group_of(parameter: str) -> str:
    """Return the column of a parameter.

    Examples
    --------
    >>> group_of("gates.0.temperature"), group_of("experts"), group_of("experts.intercept")
    ('gate', 'slopes, other expert parameters', 'intercept')
    """
    named = {INTERCEPT: GROUPS[2], VARIANCE: GROUPS[3]}
    return named.get(parameter, GROUPS[1] if parameter.startswith("experts") else GROUPS[0])


def answers(rate: Rate, arm: Arm, verdict: Verdict) -> bool:
    """Return whether a verdict is about a row of the rate table; EM and starts that approach the truth never are."""
    claim, method = verdict.claim, arm.model.method
    if isinstance(arm.starts, NearTruth) and arm.starts.rate > 0:
        return False
    about_rate = _same_source(rate, claim) and _same_rate(rate, claim)
    about_model = rate.estimator == method and _same_cell(rate, arm, claim)
    return about_rate and about_model and _same_gate(rate, arm) and _same_experts(rate, arm)


def _same_source(rate: Rate, claim: Claim) -> bool:
    if rate.standing == "derived":
        return claim.standing in ("derived", "own")
    return rate.source in claim.source


def _same_rate(rate: Rate, claim: Claim) -> bool:
    if claim.other:  # which model is the slower one is all that is said of some rates
        return rate.kind == ORDER_ONLY and claim.kind == "at_least"
    if rate.kind == POLYNOMIAL and rate.power is not None:
        exponents = {float(rate.power.rate(m)) for m in (1, 2, 3)}
        return claim.kind in ("equal", "at_most") and any(abs(claim.value - e) < SMALL for e in exponents)
    return rate.kind == SLOWER and claim.kind == "slower_than_polynomial"


def _same_cell(rate: Rate, arm: Arm, claim: Claim) -> bool:
    """Return whether arm and series are of the parameter and of cells that are filled as the row says."""
    path, _, cells = claim.series.partition(" ")
    inside = path == rate.parameter or path.startswith(rate.parameter + ".")
    if rate.specification == "any":
        return inside
    over = arm.model.mixture.n_leaves > arm.data.mixture.n_leaves
    if cells == "raw":  # of a parameter that no data identify, whatever the cells
        return inside and over == (rate.specification == "over")
    if rate.gate == "sigmoid, regime 2":  # no true atom is shared in the limit: every cell has the rate
        return inside and over
    if path.startswith("gates.0.") and arm.model.mixture.depth > 1:  # the outer gate has as many branches as the truth
        return inside and over == (rate.specification == "over") and cells.startswith("exact")
    return inside and over == (rate.specification == "over") and (cells.startswith("over") == over or path == "mass")


def _same_experts(rate: Rate, arm: Arm) -> bool:
    names = {name for name, value in EXPERTS.items() if value == arm.model.mixture.expert}
    if rate.experts == "any":
        return True
    if rate.experts in EXPERT_NAMES:
        return bool(names & set(EXPERT_NAMES[rate.experts]))
    plain = {name for held in EXPERT_NAMES.values() for name in held}
    feed_forward = rate.experts in ("feed-forward", "strongly identifiable")
    return feed_forward and not names & plain and not arm.model.mixture.expert.linear


def _same_gate(rate: Rate, arm: Arm) -> bool:
    gates = arm.model.mixture.gates
    if rate.gate.startswith("hmoe"):
        letters = "".join(LETTERS.get(gate, "?") for gate in gates)
        return letters in rate.gate.removeprefix("hmoe ").split(", ")
    if len(gates) > 1:
        return False
    words = rate.gate.replace(" (sharper)", "")
    if "regime" in words:
        name, _, regime = words.partition(", ")
        sort = f"sigmoid-{regime.replace(' ', '-')}"
        return gates[0] == GATES[name] and sort in {loss.name for loss in arm.named_losses()}
    if words == "input-free":
        return gates[0] == GATES["constant"]
    if words == "activation-dense-to-sparse":
        return _activated(gates[0])
    regimes = {f"normalised-sigmoid, {sort}": f"normalised-sigmoid-{sort}" for sort in ("sparse", "dense")}
    if words in regimes:
        return gates[0] == GATES["normalised-sigmoid"] and regimes[words] in {loss.name for loss in arm.named_losses()}
    named: Mapping[str, Gate] = {**GATES, "gaussian-score": Gate(SquaredDistance())}
    return words in named and gates[0] == named[words]


def _activated(gate: Gate) -> bool:
    return any(gate == Gate(Tempered(Activated(Affine(), fn))) for fn in ("sigmoid", "tanh", "gelu"))
