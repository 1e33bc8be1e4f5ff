"""The page of an experiment: tables with paired intervals, pictures, and the verdict on its claim."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import nan
from pathlib import Path
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure
from rich import box
from rich.markup import escape
from rich.table import Table as Shown

from gatewise.experiments.compare import (
    LEAST,
    at_chosen_rates,
    gates_in,
    interval,
    measures_of,
    values,
)
from gatewise.experiments.experiment import CHOICE, SHORT, Curves, Experiment
from gatewise.experiments.runner import DIVERGED
from gatewise.experiments.store import Record, read, seconds
from gatewise.files import plain_file, require_directory, write_text
from gatewise.plots.experiments import by_gate, curves, table
from gatewise.report.drawing import svg
from gatewise.report.experiment.tables import (
    brief,
    changes_table,
    claims_table,
    overview,
    pairs_table,
    quick,
    reference,
    rows_of,
    title_of,
)
from gatewise.report.page import rendered_template


def write_experiment(experiment: Experiment, folder: Path) -> Path:
    """Write the page ``index.html`` of an experiment to its folder.

    Parameters
    ----------
    experiment : Experiment
    folder : Path
        Folder with the records.

    Returns
    -------
    Path
        The page.

    Examples
    --------
    >>> from gatewise.experiments import Experiment, Metric, run_experiment
    >>> def run(job):
    ...     score = 0.8 + 0.01 * job.seed + (0.1 if job.gate == "ll" else 0.0)
    ...     return {"accuracy": score, "validation": score, "moved": True}
    >>> words, metrics = ("task", "A made-up task", "Shows the calls."), {"accuracy": Metric("accuracy")}
    >>> task = Experiment(*words, variants=("only",), gates=("ss", "ll"), measures=metrics, run=run)
    >>> import tempfile
    >>> from pathlib import Path
    >>> folder = Path(tempfile.mkdtemp(), "task")
    >>> run_experiment(task, folder, seeds=5)
    >>> from gatewise import write_experiment
    >>> write_experiment(task, folder).name
    'index.html'
    """
    records, faults = read(folder)
    if not [record for record in records if not record.tuning]:
        raise ValueError(f"{folder} has no finished run of {experiment.name}: run it first, or go on with --resume")
    path = plain_file(require_directory(folder) / "index.html")
    write_text(path, page(experiment, records, faults, seconds(folder)))
    return path


def page(experiment: Experiment, records: Sequence[Record], faults: Sequence[str] = (), processor: float = nan) -> str:
    """Return the page as HTML; `processor` is the time of all jobs in seconds, rates that were tried among them."""
    records, left = at_chosen_rates(experiment, records)
    variants = [name for name in experiment.variants if gates_in(experiment, records, name)]
    tested = [record for record in records if not record.tuning]
    still = sorted({record.gate for record in tested if record.outcome.get("moved") is False})
    words = [*faults, *left]
    words += [f"a gate parameter of {gate} had no gradient or did not move in some run" for gate in still]
    words += _without_numbers(experiment, tested)
    words += _notes(tested)
    if not quick(records):
        words += _at_ends(experiment, [record for record in tested if DIVERGED not in record.outcome])
    words += ["short runs (--quick): a smoke test that decides nothing"] if quick(records) else []
    return rendered_template(
        "experiment.html.j2",
        ("page.css", "study.css"),
        experiment=experiment,
        warnings=words,
        runs=len(tested),
        tried=len(records) - len(tested),
        minutes=processor / 60,
        seeds=len({record.seed for record in tested}),
        claims=claims_table(experiment, records, variants),
        least=LEAST,
        letters=", ".join(f"{letter} {gate}" for letter, gate in SHORT.items()),
        quick=quick(records),
        overview=overview(experiment, records, variants) if len(variants) > 1 else None,
        changes=changes_table(experiment, records, variants),
        variants=[_variant(experiment, records, name, number) for number, name in enumerate(variants)],
    )


def shown(experiment: Experiment, records: Sequence[Record], variant: str) -> Shown:
    """Return the table of a variant for the terminal: means with half of their intervals."""
    out = Shown(
        title=escape(f"{experiment.title}: {variant}"), box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0)
    )
    out.add_column("gate", overflow="fold")
    measures = measures_of(experiment, records, variant)
    for measure in measures.values():
        out.add_column(escape(title_of(measure)), justify="right", overflow="fold")
    for gate in gates_in(experiment, records, variant):
        means = [interval(list(values(records, variant, gate, name).values())) for name in measures]
        out.add_row(escape(gate), *map(brief, means))
    return out


def told(experiment: Experiment, records: Sequence[Record], variant: str) -> list[str]:
    """Return the verdict on the claim for a variant, in lines for the terminal."""
    return [
        f"{row['difference']}  {row['word']}  {row['measure']}"
        for claim in claims_table(experiment, records, [variant])
        for row in claim["rows"]
    ]


def _variant(experiment: Experiment, records: Sequence[Record], variant: str, number: int) -> dict[str, Any]:
    gates = gates_in(experiment, records, variant)
    pictures = []
    measures = measures_of(experiment, records, variant)
    for place, (name, measure) in enumerate(measures.items()):
        if name == CHOICE:
            continue
        figure = Figure(figsize=(5.6, 0.9 + 0.26 * len(gates)), layout="constrained")
        by_gate(records, variant, name, measure, gates, figure.add_subplot())
        pictures.append({"title": title_of(measure), "svg": Markup(svg(figure, f"v{number}-m{place}"))})
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
        "measures": [title_of(measure) for measure in measures.values()],
        "rows": rows_of(experiment, records, variant),
        "pairs": pairs_table(experiment, records, variant),
        "reference": reference(gates),
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
        f"{words} was not finite with {count} {'seed' if count == 1 else 'seeds'} of {gate} ({variant}): left out"
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
        found: dict[str, dict[str, None]] = {}
        for r in records:
            if r.rate == end:
                found.setdefault(r.variant, {})[r.gate] = None
        if found and len(experiment.rates) > 1:
            names = "; ".join(f"{', '.join(gates)} ({variant})" for variant, gates in found.items())
            out.append(f"the {word_of_end} rate tried, {end:g}, was the best for {names}")
    return out


def _first(records: Sequence[Record], variant: str, key: str) -> list[Any]:
    """Return the first list under a key in the outcomes of a variant."""
    return next(r.outcome[key] for r in records if r.variant == variant and key in r.outcome)
