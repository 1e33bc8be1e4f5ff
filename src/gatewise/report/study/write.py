"""Reports of convergence studies: pages, a front page, tables and figures, all from results alone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from gatewise.files import require_directory, write_text
from gatewise.plots.standing import verdict_map
from gatewise.report.study.citation import bibtex
from gatewise.report.study.files import claims_csv, claims_latex, verdict_table, write_drawn, write_figures
from gatewise.report.study.front import front_page
from gatewise.report.study.page import Pair, study_page
from gatewise.theory.rate_verdicts import judged_rates
from gatewise.theory.result import StudyResult

__all__ = [
    "claims_csv",
    "claims_latex",
    "front_page",
    "study_page",
    "verdict_table",
    "write_atlas",
    "write_figures",
    "write_front",
    "write_page",
]


def write_page(result: StudyResult, path: Path, pairs: Sequence[Pair] = ()) -> None:
    """Write the page of a study, whole or not at all.

    Parameters
    ----------
    result : StudyResult
    path : Path
        Of the HTML file; its directory is made when missing.
    pairs : sequence of (arm, arm, series)
        Curves to compare in rows for the same error.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    _write(path, study_page(result, pairs))


def write_front(results: Sequence[tuple[Path, StudyResult]], path: Path) -> None:
    """Write the front page of studies, whose own pages are ``index.html`` in their folders.

    Parameters
    ----------
    results : sequence of (folder, StudyResult)
    path : Path
        Of the HTML file; links are relative to its directory.

    Raises
    ------
    OSError
        If it cannot be written.
    ValueError
        Without studies.
    """
    base = Path(path).resolve().parent
    links = [Path(os.path.relpath(Path(folder).resolve() / "index.html", base)).as_posix() for folder, _ in results]
    _write(path, front_page([(link, result) for link, (_, result) in zip(links, results, strict=True)]))


def write_atlas(results: Sequence[tuple[Path, StudyResult]], home: Path) -> None:
    """Write all that is said about studies: their pages, a front page, and claims for other programs.

    Into each folder go ``index.html`` and ``claims.tex``; into the home ``index.html``, ``claims.csv`` with the claims
    of all studies, and ``references.bib``.

    Parameters
    ----------
    results : sequence of (folder, StudyResult)
        Folders lie below the home.
    home : Path

    Raises
    ------
    OSError
        If a file cannot be written.
    ValueError
        Without studies.
    """
    for folder, result in results:
        write_page(result, folder / "index.html")
        _write(folder / "claims.tex", claims_latex(result))
    write_front(results, home / "index.html")
    found = [result for _, result in results]
    _write(home / "claims.csv", claims_csv(*found))
    _write(home / "references.bib", bibtex(*(result.study for result in found)))
    if any(row.judgements() for row in judged_rates(found)):
        write_drawn(verdict_map(found), home / "verdicts.svg")


def _write(path: Path, text: str) -> None:
    require_directory(Path(path).parent)
    write_text(path, text)
