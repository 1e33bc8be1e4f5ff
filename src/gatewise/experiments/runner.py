"""Run the jobs of an experiment: rates first, then every seed; append each record, go on where a folder stands."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gatewise.experiments.experiment import Experiment, Job, Outcome, gates_of
from gatewise.experiments.store import HEADER, Record, append, read
from gatewise.fit.threads import in_processes, one_thread
from gatewise.fit.user_file import from_file

TUNING_SEEDS = (1001, 1002)
DIVERGED = "diverged"  # in the outcome of a run whose loss became no number
NUMBERS = (int, float, np.number, torch.Tensor)
Listener = Callable[[int, int, Job], None]


def load(where: str) -> Experiment:
    """Return an experiment of a user's file, ``my_task.py:task``.

    Raises
    ------
    ValueError
        If there is no such file, no such name in it, or it is no experiment.
    """
    return from_file(where, Experiment)


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
    workers: int = 1,
    origin: str = "",
    listener: Listener = lambda done, total, job: None,
) -> None:
    """Run an experiment into a folder.

    Every gate chooses its rate among the experiment's by the mean validation score of two seeds that are used for
    nothing else: an equal budget for all. A quick run has two seeds and the middle rate. A job runs on one thread, so
    that its result does not depend on the number of workers. A run whose loss becomes no number is kept as diverged:
    its rate is not chosen, and it has no measures.

    Parameters
    ----------
    origin : str
        Where a report finds the experiment again, if not by its name: ``/home/me/my_task.py:task``.

    Raises
    ------
    ValueError
        For an unknown gate or variant, a folder with other settings or without `resume`, and a run that returns no
        validation score.
    """
    chosen = tuple(gates) or experiment.gates
    for gate in chosen:
        gates_of(gate)
    wanted = tuple(variants) or experiment.variants
    if unknown := [name for name in wanted if name not in experiment.variants]:
        raise ValueError(f"variant {unknown[0]!r} is unknown: {experiment.name} has {', '.join(experiment.variants)}")
    _open(experiment, folder, quick, resume, origin)
    done = {record.key: record for record in read(folder)[0]}
    models = (*experiment.baselines, *chosen)
    few = range(min(seeds, 2) if quick else seeds)
    rates = () if quick else experiment.rates
    total, number = len(wanted) * len(models) * (len(few) + len(rates) * len(TUNING_SEEDS)), 0

    def finish(jobs: Sequence[Job]) -> None:
        nonlocal number
        left = [job for job in jobs if job.key() not in done]
        number += len(jobs) - len(left)
        for job, outcome, seconds in in_processes(partial(_one, experiment), left, workers):
            record = Record(job.variant, job.gate, job.seed, job.rate, job.tuning, job.key(), _plain(outcome))
            append(folder, record, seconds)
            done[job.key()] = record
            number += 1
            listener(number, total, job)

    def score(job: Job) -> float:
        found = [done[job._replace(seed=seed).key()].outcome.get("validation") for seed in TUNING_SEEDS]
        mean = float(np.mean([-np.inf if value is None else value for value in found]))
        return -np.inf if np.isnan(mean) else mean

    for variant in wanted:
        tuned = [
            [Job(variant, model, TUNING_SEEDS[0], rate, quick, device, data, True) for rate in rates]
            for model in models
        ]
        finish([job._replace(seed=seed) for trials in tuned for job in trials for seed in TUNING_SEEDS])
        middle = experiment.rates[len(experiment.rates) // 2]
        best = [max(trials, key=score).rate if trials else middle for trials in tuned]
        chosen_rates = zip(models, best, strict=True)
        finish([Job(variant, gate, seed, rate, quick, device, data) for gate, rate in chosen_rates for seed in few])


def _one(experiment: Experiment, job: Job) -> tuple[Job, Outcome, float]:
    """Run a job on one thread, and return it with its outcome and its processor time."""
    begin = time.process_time()
    with one_thread():
        try:
            outcome = experiment.run(job)
            _check(experiment, job, outcome)
        except FloatingPointError as fault:
            outcome = {DIVERGED: str(fault)}
    return job, outcome, time.process_time() - begin


def _check(experiment: Experiment, job: Job, outcome: Any) -> None:
    """Refuse an outcome that lacks the score, that of a test without any measure, and scores that are no numbers."""
    given = outcome if isinstance(outcome, Mapping) else {}
    known = [name for name in experiment.measures if name in given]
    wrong = [name for name in ("validation", *known) if not isinstance(given.get(name), NUMBERS)]
    if wrong or not (known or job.tuning):
        raise ValueError(
            f'the run of {job.key()!r} returned {outcome!r:.80}: give a dictionary with "validation", a number of '
            f'which more is better, "moved", and one or more measures by their names: {", ".join(experiment.measures)}'
        )


def _open(experiment: Experiment, folder: Path, quick: bool, resume: bool, origin: str) -> None:
    """Write the header, or check that the folder belongs to the same experiment."""
    header = {"experiment": experiment.name, "quick": quick, "torch": torch.__version__, "origin": origin}
    path = folder / HEADER
    if path.exists():
        if not resume:
            raise ValueError(f"{folder} has records: go on with --resume, or give another folder by --out")
        found = json.loads(path.read_text("utf-8"))
        if (found["experiment"], found["quick"]) != (header["experiment"], header["quick"]):
            raise ValueError(f"{folder} holds {found}, not {header}: give another folder by --out")
        if bool(found.get("origin")) != bool(origin):
            raise ValueError(
                f"{folder} holds {experiment.name!r} of {found.get('origin') or 'gatewise itself'}, not of "
                f"{origin or 'gatewise itself'}: give another folder by --out"
            )
        header["torch"] = found["torch"]
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(header, indent=1), "utf-8")


def _plain(value: Any) -> Any:
    """Return an outcome as JSON holds it: numbers, texts and lists; a number that is none is null."""
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, (np.ndarray, np.generic, torch.Tensor)):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not isfinite(value) else value
