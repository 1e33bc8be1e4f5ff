"""The page of an experiment: tables with paired intervals, pictures, and the verdict on its claim."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from rich import box
from rich.markup import escape
from rich.table import Table as Shown

from gatewise.experiments.compare import (
    Interval,
    at_chosen_rates,
    difference,
    gates_in,
    interval,
    values,
    verdicts,
    word,
)
from gatewise.experiments.experiment import Curves, Experiment, Measure
from gatewise.experiments.runner import DIVERGED
from gatewise.experiments.specialise import stability
from gatewise.experiments.store import Record, read, seconds
from gatewise.plots.experiments import by_gate, curves, table
from gatewise.report.drawing import svg
from gatewise.report.files import require_directory, whole
from gatewise.report.page import filled

SYMBOLS = {"better": "\N{CHECK MARK}", "worse": "\N{BALLOT X}", "tie": "=", "undecided": "?"}
REFERENCE = "softmax"  # the gate that others are compared with, or the first there is


def write_experiment(experiment: Experiment, folder: Path) -> Path:
    """Write ``index.html`` of an experiment's folder, and return its path."""
    records, faults = read(folder)
    if not [record for record in records if not record.tuning]:
        raise ValueError(f"{folder} has no finished run of {experiment.name}: run it first, or go on with --resume")
    path = require_directory(folder) / "index.html"
    with whole(path) as temporary:
        temporary.write_text(page(experiment, records, faults, seconds(folder)), "utf-8")
    return path


def page(experiment: Experiment, records: Sequence[Record], faults: Sequence[str] = (), processor: float = nan) -> str:
    """Return the page as HTML; `processor` is the time of all jobs in seconds, rates that were tried among them."""
    records, left = at_chosen_rates(experiment, records)
    variants = [name for name in experiment.variants if gates_in(experiment, records, name)]
    tested = [record for record in records if not record.tuning]
    still = sorted({record.gate for record in tested if record.outcome.get("moved") is False})
    words = [*faults, *left]
    words += [f"a gate parameter of {gate} did not move in some run" for gate in still]
    words += _without_numbers(experiment, tested)
    words += _notes(tested)
    words += _at_ends(experiment, [record for record in tested if DIVERGED not in record.outcome])
    words += ["short runs (--quick): they show that everything works and decide nothing"] if _quick(records) else []
    return filled(
        "experiment.html.j2",
        ("page.css", "study.css"),
        experiment=experiment,
        warnings=words,
        runs=len(tested),
        tried=len(records) - len(tested),
        minutes=processor / 60,
        seeds=len({record.seed for record in tested}),
        claims=[_claim(experiment, *found) for found in verdicts(experiment, records)],
        overview=_overview(experiment, records, variants) if len(variants) > 1 else None,
        variants=[_variant(experiment, records, name, number) for number, name in enumerate(variants)],
    )


def shown(experiment: Experiment, records: Sequence[Record], variant: str) -> Shown:
    """Return the table of a variant for the terminal."""
    records, _ = at_chosen_rates(experiment, records)
    out = Shown("gate", title=escape(f"{experiment.title}: {variant}"), box=box.SIMPLE_HEAD, pad_edge=False)
    for measure in _measures(experiment, records, variant).values():
        out.add_column(escape(measure.title + (f" [{measure.unit}]" if measure.unit else "")), justify="right")
    for row in _rows(experiment, records, variant):
        out.add_row(escape(row["gate"]), *(cell["text"] for cell in row["cells"]))
    return out


def _variant(experiment: Experiment, records: Sequence[Record], variant: str, number: int) -> dict[str, Any]:
    gates = gates_in(experiment, records, variant)
    pictures = []
    for place, (name, measure) in enumerate(_measures(experiment, records, variant).items()):
        figure = Figure(figsize=(5.6, 0.9 + 0.26 * len(gates)), layout="constrained")
        by_gate(records, variant, name, measure, gates, figure.add_subplot())
        pictures.append({"title": measure.title, "svg": Markup(svg(figure, f"v{number}-m{place}"))})
    for place, (title, what) in enumerate(experiment.figures.items()):
        shown_for = [
            g for g in gates if any(what.key in r.outcome for r in records if r.gate == g and r.variant == variant)
        ]
        if not shown_for:
            continue
        if isinstance(what, Curves):
            figure = Figure(figsize=(6.4, 4.2), layout="constrained")
            curves(records, variant, what, shown_for, figure.add_subplot())
        else:
            columns = 2
            rows = -(-len(shown_for) // columns)
            height = (0.9 + 0.24 * len(_first(records, variant, what.key))) * rows
            figure = Figure(figsize=(9.2, height), layout="constrained")
            for gate, ax in zip(shown_for, figure.subplots(rows, columns, squeeze=False).flat, strict=False):
                table(records, variant, what, gate, ax)
            for ax in figure.axes[len(shown_for) :]:
                ax.remove()
        pictures.append({"title": title, "svg": Markup(svg(figure, f"v{number}-f{place}"))})
    return {
        "id": f"variant-{number}",
        "name": variant,
        "measures": list(_measures(experiment, records, variant).values()),
        "rows": _rows(experiment, records, variant),
        "steady": any("choice" in r.outcome for r in records if r.variant == variant),
        "reference": _reference(gates),
        "pictures": pictures,
    }


def _without_numbers(experiment: Experiment, records: Sequence[Record]) -> list[str]:
    """Return, in words, which runs are left out: their loss, or a measure, became no number."""
    found: Counter[tuple[str, str, str]] = Counter()
    for r in records:
        what = [measure.title for name, measure in experiment.measures.items() if r.outcome.get(name, 0) is None]
        for words in ["the loss"] if DIVERGED in r.outcome else what:
            found[words, r.gate, r.variant] += 1
    return [
        f"{words} became no number with {count} {'seed' if count == 1 else 'seeds'} of {gate} ({variant}): left out"
        for (words, gate, variant), count in found.items()
    ]


def _notes(records: Sequence[Record]) -> list[str]:
    """Return what the runs themselves have to say, each word once with its variants."""
    found: dict[str, dict[str, None]] = {}
    for r in records:
        for words in r.outcome.get("notes", ()):
            found.setdefault(str(words), {})[r.variant] = None
    return [f"{words} ({', '.join(variants)})" for words, variants in found.items()]


def _at_ends(experiment: Experiment, records: Sequence[Record]) -> list[str]:
    """Return, in words, who chose the smallest or the largest of the rates: a better one may lie beyond."""
    out = []
    for end, word_of_end in ((min(experiment.rates), "smallest"), (max(experiment.rates), "largest")):
        found = sorted({f"{r.gate} ({r.variant})" for r in records if r.rate == end})
        if found and len(experiment.rates) > 1:
            out.append(f"the {word_of_end} rate tried, {end:g}, was the best for {', '.join(found)}")
    return out


def _overview(experiment: Experiment, records: Sequence[Record], variants: Sequence[str]) -> dict[str, Any]:
    """Return the first measure of every variant and gate: means with half of their intervals."""
    name, measure = next(iter(experiment.measures.items()))
    gates = list(dict.fromkeys(gate for variant in variants for gate in gates_in(experiment, records, variant)))
    rows = []
    for variant in variants:
        found = [interval(list(values(records, variant, gate, name).values())) for gate in gates]
        rows.append({"name": variant, "cells": [_brief(mean) for mean in found]})
    return {"measure": measure, "gates": gates, "rows": rows}


def _brief(mean: Interval) -> str:
    if not mean.n:
        return "\N{EN DASH}"
    return f"{mean.mean:.3f}" if mean.n < 2 else f"{mean.mean:.3f} \N{PLUS-MINUS SIGN} {mean.high - mean.mean:.3f}"


def _measures(experiment: Experiment, records: Sequence[Record], variant: str) -> dict[str, Measure]:
    """Return the measures that some run of a variant has."""
    found = {name for r in records if r.variant == variant and not r.tuning for name in r.outcome}
    return {name: measure for name, measure in experiment.measures.items() if name in found}


def _first(records: Sequence[Record], variant: str, key: str) -> list[Any]:
    """Return the first list under a key in the outcomes of a variant."""
    return next(r.outcome[key] for r in records if r.variant == variant and key in r.outcome)


def _rows(experiment: Experiment, records: Sequence[Record], variant: str) -> list[dict[str, Any]]:
    gates = gates_in(experiment, records, variant)
    base = _reference(gates)
    out = []
    for gate in gates:
        found = [r for r in records if r.variant == variant and r.gate == gate and not r.tuning]
        cells = []
        for name, measure in _measures(experiment, records, variant).items():
            mean = interval(list(values(records, variant, gate, name).values()))
            less = difference(records, variant, gate, base, name)
            cells.append(_cell(mean, less, measure, gate == base))
        rates = sorted({record.rate for record in found})
        choices = [np.asarray(r.outcome["choice"]).ravel() for r in found if "choice" in r.outcome]
        steady = f"{stability(choices):.3f}" if len(choices) > 1 else ""
        out.append(
            {
                "stability": steady,
                "gate": gate,
                "rate": ", ".join(f"{rate:g}" for rate in rates),
                "n": sum(DIVERGED not in record.outcome for record in found),
                "cells": cells,
            }
        )
    return out


def _cell(mean: Interval, less: Interval, measure: Measure, base: bool) -> dict[str, str]:
    if not mean.n:
        return {"text": "\N{EN DASH}", "less": "", "word": ""}
    text = f"{mean.mean:.3f}" + ("" if mean.n < 2 else f" [{mean.low:.3f}, {mean.high:.3f}]")
    if base or less.n < 2:
        return {"text": text, "less": "", "word": ""}
    return {
        "text": text,
        "less": f"{less.mean:+.3f} [{less.low:+.3f}, {less.high:+.3f}]",
        "word": word(less, measure.more),
    }


def _claim(experiment: Experiment, variant: str, name: str, said: str, found: Interval) -> dict[str, str]:
    measure = experiment.measures[name]
    return {
        "variant": variant,
        "measure": measure.title,
        "word": {"better": "supported", "worse": "contradicted", "tie": "tie"}.get(said, said),
        "symbol": SYMBOLS.get(said, ""),
        "difference": f"{found.mean:+.4f} [{found.low:+.4f}, {found.high:+.4f}]",
        "seeds": str(found.n),
    }


def _reference(gates: Sequence[str]) -> str:
    return REFERENCE if REFERENCE in gates else gates[0]


def _quick(records: Sequence[Record]) -> bool:
    return any(record.key.endswith(", quick") for record in records)
