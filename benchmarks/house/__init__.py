"""``python -m benchmarks house``: the structure of the package in figures, read off its source; nothing is imported."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks.house.measures import Figure, measure

HERE = Path(__file__).parents[2]


def main(arguments: Sequence[str]) -> None:
    """Print the table of one checkout, or of two side by side, and write the JSON file if asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks house", description=__doc__)
    parser.add_argument(
        "--root", type=Path, default=HERE, metavar="DIR", help="the checkout that is measured (this one)"
    )
    parser.add_argument("--against", type=Path, metavar="DIR", help="another checkout, for a column before")
    parser.add_argument("--json", type=Path, metavar="FILE", help="file for the figures and the names behind them")
    options = parser.parse_args(arguments)
    roots = {"before": options.against, "after": options.root} if options.against else {"figure": options.root}
    columns = {title: measure(root) for title, root in roots.items()}
    print("\n".join(table(columns)))
    if options.json:
        found = {title: {one.name.strip(): one._asdict() for one in column} for title, column in columns.items()}
        options.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


def table(columns: dict[str, list[Figure]]) -> list[str]:
    """Return the lines of a table with one column of figures per checkout; a figure that one lacks stays empty."""
    values = {title: {one.name: str(one.value) for one in column} for title, column in columns.items()}
    names = list(dict.fromkeys(one.name for column in reversed(columns.values()) for one in column))
    cells = [["", *values]] + [[name, *(column.get(name, "") for column in values.values())] for name in names]
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    return [
        "  ".join([first.ljust(widths[0]), *(text.rjust(width) for text, width in zip(rest, widths[1:], strict=True))])
        for first, *rest in cells
    ]
