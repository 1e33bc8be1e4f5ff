"""What a folder of an experiment says: its records at the chosen rates, and the verdict on the claim."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gatewise.experiments.compare import Interval, at_chosen_rates, verdicts
from gatewise.experiments.experiment import Experiment
from gatewise.experiments.store import Record, read
from gatewise.markup import lines, page, table

if TYPE_CHECKING:
    from pandas import DataFrame


class ExperimentResult(NamedTuple):
    """The results of an experiment.

    Attributes
    ----------
    experiment : Experiment
    records : tuple of Record
        One per run, for every gate at its selected learning rate.
    faults : tuple of str
        Runs that are left out, and unreadable lines of the folder, as sentences.

    Examples
    --------
    >>> from gatewise.experiments import Experiment, Metric, collect_experiment, run_experiment
    >>> def run(job):
    ...     score = 0.8 + 0.01 * job.seed + (0.1 if job.gate == "ll" else 0.0)
    ...     return {"accuracy": score, "validation": score, "moved": True}
    >>> words, metrics = ("task", "A made-up task", "Shows the calls."), {"accuracy": Metric("accuracy")}
    >>> task = Experiment(*words, variants=("only",), gates=("ss", "ll"), measures=metrics, run=run)
    >>> import tempfile
    >>> from pathlib import Path
    >>> folder = Path(tempfile.mkdtemp(), "task")
    >>> run_experiment(task, folder, seeds=5)
    >>> result = collect_experiment(task, folder)
    >>> len(result.records), result.faults
    (22, ())
    """

    experiment: Experiment
    records: tuple[Record, ...]
    faults: tuple[str, ...]

    def verdicts(self) -> list[tuple[str, str, str, Interval]]:
        """Return (variant, measure, word, difference) for the claim and every measure that has a direction."""
        return verdicts(self.experiment, self.records)

    def text(self) -> str:
        """Return the words on the claim as lines of text."""
        first, second, claim = self.experiment.claim
        said = [
            f"{word}: {variant}, {name}: {first} less {second} {found.mean:.4g} [{found.low:.4g}, {found.high:.4g}]"
            for variant, name, word, found in self.verdicts()
        ]
        head = [f"{self.experiment.title}: {len(self.records)} runs", f"claim: {claim}"]
        return "\n".join([*head, *said, *(f"warning: {fault}" for fault in self.faults)])

    def __repr__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        first, second, claim = self.experiment.claim
        heads = ("variant", "measure", "verdict", f"{first} less {second}", "low", "high", "seeds")
        rows = [(variant, name, word, *found) for variant, name, word, found in self.verdicts()]
        found = table(dict(zip(heads, zip(*rows, strict=True), strict=True))) if rows else ""
        warnings = lines(f"Warning: {fault}" for fault in self.faults)
        return page(f"{self.experiment.title}: {len(self.records)} runs", lines([f"Claim: {claim}"]), found, warnings)

    def to_frame(self) -> DataFrame:
        """Return a data frame with a row per run: its settings, and the measures that are numbers."""
        import pandas as pd

        settings = ("variant", "gate", "seed", "rate", "tuning")
        names = ("validation", *self.experiment.measures)
        rows = [{**record._asdict(), **record.outcome} for record in self.records]
        return pd.DataFrame(rows, columns=[*settings, *names])


def collect_experiment(experiment: Experiment, folder: str | Path) -> ExperimentResult:
    """Read the records of an experiment from a folder.

    Parameters
    ----------
    experiment : Experiment
    folder : str or Path

    Returns
    -------
    ExperimentResult

    Raises
    ------
    ValueError
        If the folder holds no records.

    Examples
    --------
    >>> from gatewise.experiments import Experiment, Metric, collect_experiment, run_experiment
    >>> def run(job):
    ...     score = 0.8 + 0.01 * job.seed + (0.1 if job.gate == "ll" else 0.0)
    ...     return {"accuracy": score, "validation": score, "moved": True}
    >>> words, metrics = ("task", "A made-up task", "Shows the calls."), {"accuracy": Metric("accuracy")}
    >>> task = Experiment(*words, variants=("only",), gates=("ss", "ll"), measures=metrics, run=run)
    >>> import tempfile
    >>> from pathlib import Path
    >>> folder = Path(tempfile.mkdtemp(), "task")
    >>> run_experiment(task, folder, seeds=5)
    >>> len(collect_experiment(task, folder).records)
    22
    """
    records, faults = read(Path(folder))
    if not records:
        raise ValueError(f"{folder} holds no records: run the experiment first")
    kept, left_out = at_chosen_rates(experiment, records)
    return ExperimentResult(experiment, tuple(kept), (*left_out, *faults))
