"""One self-contained HTML page: results, pictures, certificates, what they mean, and how to get them again."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from typing import Any, NamedTuple

import jinja2
import torch
from markupsafe import Markup

from gatewise.fit import Status
from gatewise.fit.words import members
from gatewise.plots import overview, values
from gatewise.plots.style import figure_of, plain
from gatewise.report import drawing
from gatewise.report.facts import Fitted, evidence_lines, experts, facts, hits, least_bic
from gatewise.report.pictures import Shown


class Section(NamedTuple):
    """The fits to one data set.

    Attributes
    ----------
    title, about : str
    fits : sequence of Fitted
    code : str
        Python that gives the same fits.
    source : str
        Where the data come from.
    reading : str
        What to look for in the pictures.
    summary : str
        The parameters, as `MixtureOfExpertsRegressor.summary` writes them.
    pictures : sequence of Shown
        More pictures of the model, below those of the fits.
    classes : str
        How well the experts are told apart, as `MixtureOfExpertsRegressor.classification` writes it.
    """

    title: str
    about: str
    fits: Sequence[Fitted]
    code: str = ""
    source: str = ""
    reading: str = ""
    summary: str = ""
    pictures: Sequence[Shown] = ()
    classes: str = ""


class Page(NamedTuple):
    """What a page says.

    Attributes
    ----------
    title, lead : str
    sections : sequence of Section
    command : str
        The command that wrote the page.
    version : str
        Of gatewise.
    """

    title: str
    lead: str
    sections: Sequence[Section]
    command: str = ""
    version: str = ""


def render(page: Page) -> str:
    """Return the page as HTML that needs no network: inline SVG, inline style, no script.

    Parameters
    ----------
    page : Page

    Returns
    -------
    str
    """
    sections = [_section(section, f"s{i}") for i, section in enumerate(page.sections)]
    found = {row["status"] for section in sections for row in section["rows"]}
    return rendered_template(
        "page.html.j2",
        page=page,
        sections=sections,
        statuses=[(str(status), status.words, str(status) in found) for status in reversed(Status)],
        versions=f"gatewise {page.version}, torch {torch.__version__}, Python {platform.python_version()}",
    )


def rendered_template(template: str, styles: Sequence[str] = ("page.css",), **values: Any) -> str:
    """Return a template filled with values, escaped in HTML; `styles` name the sheets that stand inside the page."""
    loader = jinja2.PackageLoader("gatewise.report")
    environment = jinja2.Environment(
        loader=loader,
        autoescape=jinja2.select_autoescape(["html.j2"]),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    style = Markup("".join(loader.get_source(environment, name)[0] for name in styles))
    return environment.get_template(template).render(style=style, **values)


def _section(section: Section, prefix: str) -> dict[str, Any]:
    found = [facts(one.fit, one.called) for one in section.fits]
    rows = [_row(*each) for each in zip(section.fits, found, least_bic(found), strict=True)]
    parts = zip(section.fits, rows, _palettes(section.fits), strict=True)
    cards = [_card(*part, f"{prefix}-{i}") for i, part in enumerate(parts)]
    pictures = [
        {
            "caption": one.caption,
            "alt": one.alt,
            "svg": Markup(drawing.svg(figure_of(one.axes), f"{prefix}-p{i}")),
        }
        for i, one in enumerate(section.pictures)
    ]
    return {"given": section, "id": prefix, "rows": rows, "cards": cards, "pictures": pictures}


def _palettes(fits: Sequence[Fitted]) -> list[list[int]]:
    """Return the palette of each fit: experts that explain the same rows look the same in every picture."""
    taken = [values.shares(one.fit, one.X, one.y, one.gate_x, one.groups) for one in fits]
    return [values.matched(taken[0], each) for each in taken]


def _row(one: Fitted, fact: dict[str, Any], best: bool) -> dict[str, Any]:
    return {
        "label": one.label,
        "experts": experts(fact),
        "log_likelihood": f"{fact['log_likelihood']:.2f}",
        "df": fact["df"],
        "bic": f"{fact['bic']:.1f}",
        "best": best,
        "hits": hits(fact),
        "status": fact["status"],
        "also": [flag for flag in fact["flags"] if flag != fact["status"]],
        "seconds": "" if one.seconds is None else f"{one.seconds:.1f}",
        "evidence": evidence_lines(fact),
        "notes": fact["notes"],
    }


def _card(one: Fitted, row: dict[str, Any], palette: list[int], prefix: str) -> dict[str, Any]:
    figure = overview(
        one.fit,
        one.X,
        one.y,
        gate_X=one.gate_x,
        groups=one.groups,
        names=None if one.names is None else [plain(name) for name in one.names],
        gate_names=None if one.gate_names is None else [plain(name) for name in one.gate_names],
        target=plain(one.target),
        palette=palette,
    )
    alt = (
        f"{one.label}: data with the curves of {members(one.fit.mixture)}, the gate weights below, and the "
        f"log-likelihood that each start reached; {row['hits']} starts reached {row['log_likelihood']}."
    )
    return {"row": row, "alt": alt, "svg": Markup(drawing.svg(figure, prefix))}
