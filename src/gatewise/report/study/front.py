"""The front page of several studies: the rate tables of the literature, with a verdict in each cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup, escape

from gatewise.report.page import rendered_template
from gatewise.report.study.facts import LOOKS, claim_row, cost, duration, subject, tally, warnings_of
from gatewise.report.study.page import SHEETS, all_comparisons, legend, overall, versions
from gatewise.theory.claims import VerdictKind
from gatewise.theory.papers import NO_STUDY
from gatewise.theory.rate_verdicts import GROUPS, Judgement, RatedModel, judged_rates
from gatewise.theory.rates import Rate
from gatewise.theory.result import StudyResult

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
    rows = [_row(row, placed) for row in judged_rates([result for _, result in placed])]
    verdicts = [v for _, result in placed for v in result.verdicts]
    cells = [rate for row in rows for cell in row["cells"] for rate in cell["rates"]]
    judged = [[verdict["word"] for verdict in rate["verdicts"]] for rate in cells if rate["verdicts"]]
    return rendered_template(
        "front.html.j2",
        SHEETS,
        picture=overall([result for _, result in placed]),
        needed=all_comparisons([result for _, result in placed]),
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


def _row(row: RatedModel, placed: Sequence[Placed]) -> dict[str, Any]:
    cells = [
        {"group": group, "rates": [_cell(rate, found, placed) for rate, found in rates]}
        for group, rates in row.cells.items()
    ]
    return {"head": row[:4], "cells": cells}


def _cell(rate: Rate, found: Sequence[Judgement], placed: Sequence[Placed]) -> dict[str, Any]:
    alike: dict[tuple[str, VerdictKind, bool], list[str]] = {}
    for place, v, near in found:
        link, result = placed[place]
        alike.setdefault((link, v.word, near), []).append(f"{result.study.name}, {subject(v.claim)}")
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
            for (link, word, near), about in alike.items()
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
