"""Run the jobs of an experiment: rates first, then every seed; append each record, go on where a folder stands."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gatewise.experiments.experiment import Experiment, Job, gates_of
from gatewise.experiments.store import HEADER, Record, append, read

TUNING_SEEDS = (1001, 1002)
Listener = Callable[[int, int, Job], None]


def run(
    experiment: Experiment,
    folder: Path,
    *,
    seeds: int = 10,
    gates: Sequence[str] = (),
    variants: Sequence[str] = (),
    quick: bool = False,
    device: str = "cpu",
    data: Path | None = None,
    resume: bool = False,
    listener: Listener = lambda done, total, job: None,
) -> None:
    """Run an experiment into a folder.

    Every gate chooses its rate among the experiment's by the mean validation score of two seeds that are used for
    nothing else: an equal budget for all. A quick run has two seeds and the middle rate.

    Raises
    ------
    ValueError
        For an unknown gate or variant, or a folder with other settings or without `resume`.
    """
    chosen = tuple(gates) or experiment.gates
    for gate in chosen:
        gates_of(gate)
    wanted = tuple(variants) or experiment.variants
    if unknown := [name for name in wanted if name not in experiment.variants]:
        raise ValueError(f"variant {unknown[0]!r} is unknown: {experiment.name} has {', '.join(experiment.variants)}")
    _open(experiment, folder, quick, resume)
    done = {record.key: record for record in read(folder)[0]}
    models = (*experiment.baselines, *chosen)
    count = (min(seeds, 2) if quick else seeds) + (0 if quick else len(experiment.rates) * len(TUNING_SEEDS))
    total, number = len(wanted) * len(models) * count, 0

    def finish(job: Job) -> Record:
        nonlocal number
        number += 1
        listener(number, total, job)
        if job.key() not in done:
            outcome = _plain(experiment.run(job))
            record = Record(job.variant, job.gate, job.seed, job.rate, job.tuning, job.key(), outcome)
            append(folder, record)
            done[job.key()] = record
        return done[job.key()]

    for variant in wanted:
        for model in models:
            common = {"variant": variant, "gate": model, "quick": quick, "device": device, "folder": data}
            middle = experiment.rates[len(experiment.rates) // 2]
            rate = middle if quick else _best_rate(experiment.rates, common, finish)
            for seed in range(min(seeds, 2) if quick else seeds):
                finish(Job(seed=seed, rate=rate, **common))


def _best_rate(rates: Sequence[float], common: dict[str, Any], finish: Callable[[Job], Record]) -> float:
    """Return the rate with the best mean validation score over the seeds of the tuning."""

    def score(rate: float) -> float:
        jobs = [Job(seed=seed, rate=rate, tuning=True, **common) for seed in TUNING_SEEDS]
        return float(np.mean([finish(job).outcome["validation"] for job in jobs]))

    return max(rates, key=score)


def _open(experiment: Experiment, folder: Path, quick: bool, resume: bool) -> None:
    """Write the header, or check that the folder belongs to the same experiment."""
    header = {"experiment": experiment.name, "quick": quick, "torch": torch.__version__}
    path = folder / HEADER
    if path.exists():
        if not resume:
            raise ValueError(f"{folder} has records: go on with --resume, or give another folder by --out")
        found = json.loads(path.read_text("utf-8"))
        if (found["experiment"], found["quick"]) != (header["experiment"], header["quick"]):
            raise ValueError(f"{folder} holds {found}, not {header}: give another folder by --out")
        return
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(header, indent=1), "utf-8")


def _plain(outcome: Any) -> dict[str, Any]:
    """Return an outcome of plain numbers and lists, as JSON holds them."""
    return json.loads(json.dumps(dict(outcome), default=lambda value: np.asarray(value).tolist()))
