"""Results in the terminal: a table per data set and the statuses in words."""

from __future__ import annotations

from collections.abc import Iterable

from rich import box
from rich.table import Table
from rich.text import Text

from gatewise.fit import Status
from gatewise.report.facts import Fitted, experts, facts, hits, least_bic

GOOD = (Status.converged, Status.at_kink)


def results_table(title: str, fits: Iterable[Fitted]) -> Table:
    """Return a table with one row per fit; the lowest BIC carries a star.

    Parameters
    ----------
    title : str
    fits : iterable of Fitted

    Returns
    -------
    rich.table.Table
    """
    fits = list(fits)
    found = [facts(one.fit) for one in fits]
    table = Table(title=Text(title), box=box.SIMPLE_HEAD, padding=0, title_justify="left", title_style="bold")
    table.add_column("gate", overflow="fold")
    for name in ("experts", "log-lik.", "df", "BIC", "hits"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("s", justify="right", no_wrap=True)
    for one, fact, best in zip(fits, found, least_bic(found), strict=True):
        table.add_row(
            Text(one.label),
            experts(fact),
            f"{fact['log_likelihood']:.2f}",
            str(fact["df"]),
            f"{fact['bic']:.1f}{'*' if best else ' '}",
            hits(fact),
            Text(fact["status"], style="green" if one.fit.status in GOOD else "yellow"),
            "" if one.seconds is None else f"{one.seconds:.{int(one.seconds < 10)}f}",
        )
    return table


def status_lines(fits: Iterable[Fitted]) -> list[Text]:
    """Return one line per status that occurred, in words with the remedy."""
    found = {one.fit.status for one in fits}
    return [Text.assemble((f"{status}", "bold"), f": {status.words}") for status in Status if status in found]
