"""The results atlas as tables: what the kept records of all studies say about their claims.

``python -m benchmarks.atlas`` prints the tables of docs/results.md from atlas/claims.csv, which `make atlas` writes.
"""

from __future__ import annotations

import csv
import json
import re
import tarfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers import as_markdown
from gatewise.theory.claims import VerdictKind

HOME = Path(__file__).parents[1] / "atlas"
CLAIMS = HOME / "claims.csv"
WORDS = tuple(map(str, VerdictKind))
AGAINST = (str(VerdictKind.contradicted), str(VerdictKind.differs))

PAPER = re.compile(r"\d{4}\.\d{5}")

Row = dict[str, Any]


def claims() -> list[Row]:
    """Return the judged claims, one row each."""
    with CLAIMS.open(encoding="utf-8", newline="") as file:
        return [{**row, "paper": _paper(row["source"])} for row in csv.DictReader(file)]


def _paper(source: str) -> str:
    """Return the number of the paper that a claim comes from; without one it is a claim of this project."""
    found = PAPER.search(source)
    return found[0] if found else "this project"


def indexes() -> list[Row]:
    """Return what the packed files say about their studies: name, fits, processor seconds, check sums."""
    found = []
    for path in sorted(HOME.glob("*.tar.xz")):
        with tarfile.open(path, "r:xz") as archive:
            file = archive.extractfile("index.json")
            assert file is not None
            found += json.loads(file.read())["folders"].values()
    return found


def counted(rows: Iterable[Row], by: str) -> list[Row]:
    """Return how many claims of each kind have which verdict, and all of them."""
    groups: dict[str, Counter[str]] = {}
    for row in rows:
        groups.setdefault(row[by], Counter())[row["verdict"]] += 1
    groups["all"] = sum(groups.values(), Counter[str]())
    return [
        {by: name, **{word: count[word] for word in WORDS}, "claims": count.total()} for name, count in groups.items()
    ]


def against(rows: Iterable[Row]) -> list[Row]:
    """Return the claims that were contradicted, or differ from what was remembered."""
    return [
        {
            "study": row["study"],
            "claim about": f"{row['arm']}: {row['series']}" + (f" less that of {row['other']}" if row["other"] else ""),
            "slope": f"{float(row['slope']):.3f} [{float(row['low']):.3f}, {float(row['high']):.3f}]",
            "claimed": f"{row['kind'].replace('_', ' ')} {float(row['claimed value']):.3f}",
            "verdict": row["verdict"],
            "source": row["source"],
        }
        for row in rows
        if row["verdict"] in AGAINST
    ]


def tables() -> list[str]:
    """Return the tables of the page in Markdown."""
    rows = claims()
    cost = {one["study"]: one for one in indexes()}
    studies = [
        {**row, "fits": cost[row["study"]]["fits"], "CPU min": cost[row["study"]]["cpu"] / 60}
        for row in counted(rows, "study")[:-1]
    ]
    return [
        _table(counted(rows, "paper")),
        _table(counted(rows, "standing")),
        as_markdown(studies, dict.fromkeys(studies[0], "") | {"CPU min": ".0f"}),
        _table(against(rows)),
    ]


def _table(rows: Sequence[Row]) -> str:
    return as_markdown(rows, dict.fromkeys(rows[0], "")) if rows else ""


if __name__ == "__main__":
    print("\n\n".join(tables()))
