"""What an experiment fixes before it runs, for the terminal: why, its variants, gates, measures and its claim."""

from __future__ import annotations

from rich.console import Group
from rich.table import Table
from rich.text import Text

from gatewise.experiments.experiment import Experiment, Metric, gates_of
from gatewise.report.titled import titled

WISHED = {True: "larger", False: "smaller", None: "neither"}


def definition(experiment: Experiment) -> Group:
    """Return what an experiment fixes before it runs."""
    first, second, words = experiment.claim
    rates = ", ".join(f"{rate:g}" for rate in experiment.rates)
    facts = [
        f"claim: {words} ({first} against {second})",
        f"learning rates, of which each gate takes the best on the validation data: {rates}",
        *([f"data sets: {', '.join(experiment.needs)}"] if experiment.needs else []),
        *(["data: a folder of yours, by --data-dir"] if experiment.needs_folder else []),
    ]
    head = Text.assemble((experiment.title, "bold"), "\n" + "\n".join(facts) + "\n")
    why = Text("\n\n".join(" ".join(part.split()) for part in experiment.why.split("\n\n")) + "\n")
    return Group(head, why, _variants(experiment), _models(experiment), _measures(experiment))


def _variants(experiment: Experiment) -> Table:
    shown = titled(f"{len(experiment.variants)} variants", "variant")
    for name in experiment.variants:
        shown.add_row(Text(name + (" (the others change one thing in it)" if name == experiment.base else "")))
    return shown


def _models(experiment: Experiment) -> Table:
    shown = titled(f"{len(experiment.baselines) + len(experiment.gates)} models", "model", "gates, outermost first")
    for name in experiment.baselines:
        shown.add_row(Text(name), "none: a baseline")
    for name in experiment.gates:
        shown.add_row(Text(name), Text(", ".join(gates_of(name))))
    return shown


def _measures(experiment: Experiment) -> Table:
    shown = titled(f"{len(experiment.measures)} measures", "measure", "unit", "which is better")
    for metric in experiment.measures.values():
        shown.add_row(*map(Text, _words(metric)))
    return shown


def _words(metric: Metric) -> tuple[str, str, str]:
    return metric.title, metric.unit, WISHED[metric.more]
