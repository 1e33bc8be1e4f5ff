"""The results atlas as tables: what the kept records of all studies say about their claims.

``python -m benchmarks.atlas`` puts the tables into docs/results.md; `make atlas` does that after it has written
atlas/claims.csv.
"""

from __future__ import annotations

import csv
import json
import re
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers import as_markdown
from gatewise.experiments import EXPERIMENTS, Experiment, Metric, collect_experiment, unpack_experiments
from gatewise.experiments.compare import difference, gates_in, interval, measures_of, values, verdicts, word
from gatewise.experiments.store import Record
from gatewise.theory import STUDIES, unpack
from gatewise.theory.claims import VerdictKind, slope_of
from gatewise.theory.probes import Probed, expected, judge_probes
from gatewise.theory.protocol import SUFFIX

HOME = Path(__file__).parents[1] / "atlas"
CLAIMS = HOME / "claims.csv"
PAGE = HOME.parent / "docs" / "results.md"
TABLE = re.compile(r"^\|.*\n(?:\|.*\n)*", re.MULTILINE)
TWO_LEVELS = "hierarchical-rates"
WORDS = tuple(map(str, VerdictKind))
AGAINST = (str(VerdictKind.contradicted), str(VerdictKind.differs))

SHORT = {str(VerdictKind.differs): "differs"}
FOUNDING, NO_PAPER = ("2410.02935", "2405.13997", "2401.13875"), "this project"
PAPER = re.compile(r"\d{4}\.\d{5}")

Row = dict[str, Any]


def claims() -> list[Row]:
    """Return the judged claims, one row each."""
    with CLAIMS.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [{**row, "study": row["study"].removesuffix(SUFFIX), "paper": _paper(row["source"])} for row in rows]


def _paper(source: str) -> str:
    """Return the number of the paper that a claim comes from; without one it is a claim of this project."""
    found = PAPER.search(source)
    return found[0] if found else NO_PAPER


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
    ordered = {name: groups[name] for name in sorted(groups, key=_place)}
    ordered["all"] = sum(groups.values(), Counter[str]())
    return [
        {by: name, **{SHORT.get(word, word): count[word] for word in WORDS}, "claims": count.total()}
        for name, count in ordered.items()
    ]


def _place(name: str) -> tuple[int, str]:
    """Return where a group stands: the papers that gatewise grew from first, what has no paper last."""
    return (FOUNDING.index(name) if name in FOUNDING else len(FOUNDING) + (name == NO_PAPER)), name


def told(row: Row) -> Row:
    """Return what a claim says and what was found."""
    bound = {"at_most": "at most ", "at_least": "at least "}.get(row["kind"], "")
    number = f"{bound}{float(row['claimed value']):.3f} ± {float(row['tolerance']):g}"
    return {
        "claim about": f"{row['arm']}: {row['series']}" + (f" less that of {row['other']}" if row["other"] else ""),
        "claimed": "slower than any power" if row["kind"] == "slower_than_polynomial" else number,
        "slope": f"{float(row['slope']):.3f} [{float(row['low']):.3f}, {float(row['high']):.3f}]",
        "verdict": row["verdict"],
    }


def exponents(study: str) -> list[Row]:
    """Return the population exponents that a study declares and its packed records have, one row each."""
    with tempfile.TemporaryDirectory() as home:
        (folder,) = unpack(HOME / f"{study}.tar.xz", home)
        found = judge_probes(STUDIES[study], folder)
    declared = {probe.name for probe in STUDIES[study].probes}
    return [_measured(one) for one in found if one.record is not None and one.probe.name in declared]


def _measured(one: Probed) -> Row:
    """Return what is said about an exponent; of its last two values the second is at the smallest displacements."""
    assert one.record is not None
    last = one.local()[-2:]
    return {
        "exponent": one.probe.name,
        "claimed": expected(one.probe),
        "last two": ", ".join(f"{value:.2f}" for value in last),
        "slope": f"{slope_of(last[-1]):.3f}",
        "certified": "yes" if one.record["certified"][-1] else "no",
        "verdict": str(one.word),
    }


def kept_runs(name: str) -> list[Record]:
    """Return the runs of a packed experiment at the chosen learning rates."""
    with tempfile.TemporaryDirectory() as home:
        (folder,) = unpack_experiments(HOME / "experiments" / f"{name}.tar.xz", home)
        return collect_experiment(EXPERIMENTS[name], folder).records


def bits_of_gates() -> list[Row]:
    """Return the bits per byte of every model of the packed language experiment, and less those of softmax gates."""
    experiment, measure, records = EXPERIMENTS["language"], "bits", kept_runs("language")
    (variant,) = experiment.variants
    rows = []
    for gate in gates_in(experiment, records, variant):
        mean = interval(list(values(records, variant, gate, measure).values()))
        less = difference(records, variant, gate, "softmax", measure)
        rows.append(
            {
                "model": gate,
                "bits per byte": f"{mean.mean:.3f} [{mean.low:.3f}, {mean.high:.3f}]",
                "less softmax": "" if gate == "softmax" else f"{less.mean:+.3f} [{less.low:+.3f}, {less.high:+.3f}]",
                "verdict": "" if gate == "softmax" else word(less, experiment.measures[measure].more),
            }
        )
    return rows


def applied() -> list[tuple[Experiment, list[Record]]]:
    """Return the packed experiments but the language model, in the order of `EXPERIMENTS`, with their runs."""
    packed = {path.name.removesuffix(".tar.xz") for path in (HOME / "experiments").glob("*.tar.xz")} - {"language"}
    return [(experiment, kept_runs(name)) for name, experiment in EXPERIMENTS.items() if name in packed]


def answers(runs: Sequence[tuple[Experiment, list[Record]]]) -> list[Row]:
    """Return what every experiment says of its claim, one row per measure: in how many variants, and by how much."""
    rows: list[Row] = []
    for experiment, records in runs:
        first, second, _ = experiment.claim
        found = verdicts(experiment, records)
        metrics: dict[str, Metric] = {}  # variants differ in what they measure
        for variant in experiment.variants:
            metrics |= measures_of(experiment, records, variant)
        for measure in dict.fromkeys(name for _, name, _, _ in found):
            said = [(word, less.mean) for _, name, word, less in found if name == measure]
            counts = Counter(word for word, _ in said)
            span = [f"{edge([mean for _, mean in said]):+.3f}" for edge in (min, max)]
            rows.append(
                {
                    "experiment": experiment.name,
                    "difference": f"{first} less {second}",
                    "measure": _titled(metrics[measure]),
                    **{one: counts[one] for one in ("better", "tie", "worse")},
                    "mean difference": " to ".join(dict.fromkeys(span)),
                }
            )
    return rows


def means_of_gates(runs: Sequence[tuple[Experiment, list[Record]]]) -> list[Row]:
    """Return the mean of the first measure of every experiment in its first variant, a row per gate and baseline."""
    columns: dict[str, dict[str, str]] = {}
    for experiment, records in runs:
        (variant, *_), (measure, *_) = experiment.variants, experiment.measures
        columns[f"{experiment.name}: {_titled(experiment.measures[measure])}"] = {
            gate: _mean(list(values(records, variant, gate, measure).values()))
            for gate in gates_in(experiment, records, variant)
        }
    gates = dict.fromkeys(gate for column in columns.values() for gate in column)
    return [{"model": gate, **{title: column.get(gate, "") for title, column in columns.items()}} for gate in gates]


def _mean(found: Sequence[float]) -> str:
    """Return a mean with half the width of its interval."""
    one = interval(found)
    return f"{one.mean:.3f} ± {one.high - one.mean:.3f}"


def _titled(metric: Metric) -> str:
    """Return the title of a measure with its unit, and whether less is better."""
    return metric.title + (f" [{metric.unit}]" if metric.unit else "") + (", less is better" if not metric.more else "")


def tables() -> list[str]:
    """Return the tables of the page in Markdown."""
    rows, runs = claims(), applied()
    refuted = [row for row in rows if row["verdict"] in AGAINST]
    cost = {one["study"].removesuffix(SUFFIX): one for one in indexes()}
    studies = [
        {
            **row,
            "fits": cost[row["study"]]["fits"],
            "CPU min": cost[row["study"]]["cpu"] / 60,
            "search": cost[row["study"]]["engine"].get("search", 1),
        }
        for row in counted(rows, "study")[:-1]
    ]
    return [
        _table(counted(rows, "paper")),
        _table(counted(rows, "standing")),
        _table(studies),
        _table([{"study": row["study"], **told(row), "source": row["source"]} for row in refuted]),
        _table(exponents(TWO_LEVELS)),
        _table([told(row) for row in rows if row["study"] == TWO_LEVELS]),
        _table(bits_of_gates()),
        _table(answers(runs)),
        _table(means_of_gates(runs)),
    ]


def _table(rows: Sequence[Row]) -> str:
    """Return rows as a table; a number with a fraction has no decimals."""
    columns = {name: ".0f" if isinstance(value, float) else "" for name, value in rows[0].items()} if rows else {}
    return as_markdown(rows, columns) if rows else "| none |\n| --- |"


def updated(page: str) -> str:
    """Return a page with the tables in the places of those that it has."""
    new = iter(tables())
    return TABLE.sub(lambda old: next(new, old[0].rstrip("\n")) + "\n", page)


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text("utf-8")), "utf-8")
