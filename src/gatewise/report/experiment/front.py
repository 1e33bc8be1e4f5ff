"""The front page of several experiments: what each of them says about its claim."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gatewise.experiments.compare import at_chosen_rates, gates_in
from gatewise.experiments.experiment import Experiment
from gatewise.experiments.store import read, seconds
from gatewise.files import plain_file, require_directory, write_text
from gatewise.report.experiment.tables import claims_table, quick
from gatewise.report.page import rendered_template

MINUS = " \N{MINUS SIGN} "


def write_front(ran: Sequence[tuple[Path, Experiment]], path: Path) -> None:
    """Write the front page of experiments, whose own pages are ``index.html`` in their folders.

    Parameters
    ----------
    ran : sequence of (folder, Experiment)
    path : Path
        Of the HTML file; links are relative to its directory.

    Raises
    ------
    OSError
        If it cannot be written.
    ValueError
        Without experiments.
    """
    if not ran:
        raise ValueError("a front page of no experiments: give at least one")
    base = path.resolve().parent
    found = [_experiment(folder, one, base) for folder, one in ran]
    text = rendered_template(
        "experiments_front.html.j2",
        ("page.css", "study.css"),
        experiments=found,
        runs=sum(one["runs"] for one in found),
        minutes=sum(one["seconds"] for one in found) / 60,
        quick=[one["name"] for one in found if one["quick"]],
    )
    write_text(plain_file(require_directory(path.parent) / path.name), text)


def _experiment(folder: Path, experiment: Experiment, base: Path) -> dict[str, Any]:
    records, _ = at_chosen_rates(experiment, read(folder)[0])
    tested = [record for record in records if not record.tuning]
    variants = [name for name in experiment.variants if gates_in(experiment, records, name)]
    claimed = {one["variant"]: one for one in claims_table(experiment, records, variants)}
    lines = [_line(name, claimed.get(name)) for name in variants]
    return {
        "link": Path(os.path.relpath(folder.resolve() / "index.html", base)).as_posix(),
        "name": experiment.name,
        "claim": f"{experiment.claim[2]}: {MINUS.join(experiment.claim[:2])}",
        "lines": lines,
        "runs": len(tested),
        "seconds": seconds(folder),
        "quick": quick(records),
    }


def _line(variant: str, claim: dict[str, Any] | None) -> dict[str, str]:
    if claim is None:
        return {"variant": variant, "words": "not about these gates", "seeds": ""}
    return {"variant": variant, "words": f"{claim['verdict']}: {claim['words']}", "seeds": claim["rows"][0]["seeds"]}
