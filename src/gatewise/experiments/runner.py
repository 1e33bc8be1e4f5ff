"""Run the jobs of an experiment: rates first, then every seed; append each record, go on where a folder stands."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from hashlib import sha256
from math import isfinite
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gatewise import __version__
from gatewise.experiments.compare import TUNING_SEEDS, chosen_rate
from gatewise.experiments.experiment import Experiment, Job, gates_of
from gatewise.experiments.store import Record, locked, open_folder, read, store
from gatewise.fit.arguments import workers as workers_of
from gatewise.runs.threads import one_thread
from gatewise.runs.user_file import from_file
from gatewise.runs.workers import is_client, spread

if TYPE_CHECKING:
    from distributed import Client

DIVERGED = "diverged"  # in the outcome of a run whose loss became no number
Listener = Callable[[int, int, Job], None]


def load_experiment(where: str) -> Experiment:
    r"""Load an experiment from a Python file. The file is executed.

    Parameters
    ----------
    where : str
        ``my_task.py:task``, the path and the name.

    Returns
    -------
    Experiment

    Raises
    ------
    ValueError
        If the file or the name does not exist, or the value is not an Experiment.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from gatewise.experiments import load_experiment
    >>> lines = [
    ...     "from gatewise.experiments import Experiment, Metric",
    ...     "def run(job):",
    ...     "    return {'accuracy': 0.9, 'validation': 0.9, 'moved': True}",
    ...     "task = Experiment('task', 'Title', 'Why', ('only',), ('ss', 'll'), {'accuracy': Metric('accuracy')}, run)",
    ... ]
    >>> path = Path(tempfile.mkdtemp(), "my_task.py")
    >>> _ = path.write_text("\n".join(lines))
    >>> load_experiment(f"{path}:task").name
    'task'
    """
    return from_file(where, Experiment)


def run_experiment(
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
    workers: int | Client = 1,
    origin: str = "",
    listener: Listener = lambda done, total, job: None,
) -> None:
    """Run an experiment, and write its records to a folder.

    Every gate selects its learning rate by the mean validation score of two seeds reserved for tuning, so all have the
    same budget. A quick run has two seeds and uses the middle rate. A job runs on one thread, so results do not depend
    on the number of workers. A run whose loss is not finite is recorded as diverged: its rate is not selected, and it
    has no metrics.

    Parameters
    ----------
    experiment : Experiment
    folder : Path
        Created if missing.
    seeds : int
        Number of seeds per gate.
    gates, variants : sequence of str
        Default: those of the experiment.
    quick : bool
        Two seeds and short runs: a smoke test.
    device : str
        "cpu" or "cuda".
    data : Path, optional
        Folder with data sets that no package provides. A folder of records can only be continued with the same files.
    resume : bool
        Whether to continue a folder that has records.
    workers : int or distributed.Client
        Number of processes, or a client whose workers run the jobs. They must find `data` under the same path.
    origin : str
        Where the experiment was loaded from, such as ``/home/me/my_task.py:task``; stored in the folder.
    listener : callable (done, total, job)
        Called after each job.

    Raises
    ------
    ValueError
        If a gate, variant or device is unknown, the folder has other settings, has records and `resume` is False, or is
        in use, or a run returns no validation score.

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
    chosen = tuple(dict.fromkeys(gates)) or experiment.gates
    for gate in chosen:
        gates_of(gate)
    wanted = tuple(dict.fromkeys(variants)) or experiment.variants
    if unknown := [name for name in wanted if name not in experiment.variants]:
        raise ValueError(f"variant {unknown[0]!r} is unknown: {experiment.name} has {'; '.join(experiment.variants)}")
    data = None if data is None else data.resolve()  # workers elsewhere have another working directory
    whose = workers_of("workers", workers)
    if not is_client(whose):
        _try_device(device)
    engine = {"gatewise": __version__, "torch": torch.__version__}
    pinned = experiment.needs and not origin  # the data sets of gatewise are checked when they are read
    files = "" if data is None or pinned else _digest(data, folder, bool(origin))
    header = {"experiment": experiment.name, "quick": quick, **engine, "data": files, "origin": origin}
    models = (*experiment.baselines, *chosen)
    few = range(min(seeds, 2) if quick else seeds)
    rates = () if quick else experiment.rates
    total = len(wanted) * len(models) * (len(few) + len(rates) * len(TUNING_SEEDS))
    with locked(folder):
        open_folder(folder, header, resume)
        ledger = _Ledger(experiment, folder, whose, total, listener)
        for variant in wanted:
            trials = [(model, seed, rate) for model in models for rate in rates for seed in TUNING_SEEDS]
            ledger.finish([Job(variant, *trial, quick, device, data, True) for trial in trials])
            best = [(model, chosen_rate(experiment, ledger.records(), variant, model)) for model in models]
            ledger.finish(
                [Job(variant, model, seed, rate, quick, device, data) for model, rate in best for seed in few]
            )


class _Ledger:
    """What has been done, in memory and in the folder."""

    def __init__(
        self, experiment: Experiment, folder: Path, workers: int | Client, total: int, listener: Listener
    ) -> None:
        self.experiment, self.folder, self.workers, self.listener = experiment, folder, workers, listener
        self.done = {record.key: record for record in read(folder)[0]}
        self.number, self.total = 0, total

    def records(self) -> list[Record]:
        return list(self.done.values())

    def finish(self, jobs: Sequence[Job]) -> None:
        """Run the jobs that are not done, and append what comes out."""
        left = [job for job in jobs if job.key() not in self.done]
        self.number += len(jobs) - len(left)
        for job, outcome, seconds in spread(partial(_one, self.experiment), left, self.workers):
            record = Record(job.variant, job.gate, job.seed, job.rate, job.tuning, job.key(), outcome)
            store(self.folder, record, seconds)
            self.done[job.key()] = record
            self.number += 1
            self.listener(self.number, self.total, job)


def _try_device(device: str) -> None:
    """Raise unless torch can compute on a device."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as cause:
        raise ValueError(
            f"device {device!r} cannot be used ({str(cause).splitlines()[0]}): give cpu, or cuda"
        ) from None


def _digest(data: Path, out: Path, deep: bool) -> str:
    """Return what tells the files of a folder from others, those of its folders too if `deep`; `out` is left out."""
    found, own = sha256(), out.resolve()
    for path in sorted(data.rglob("*") if deep else data.glob("*")):
        if path.is_file() and own not in path.resolve().parents:
            found.update(f"{path.relative_to(data)} {path.stat().st_size} ".encode())
            with path.open("rb") as file:
                while part := file.read(1 << 20):
                    found.update(part)
    return found.hexdigest()[:16]


def _one(experiment: Experiment, job: Job) -> tuple[Job, dict[str, Any], float]:
    """Run a job on one thread, and return it with its outcome and its processor time."""
    begin = time.process_time()
    with one_thread():
        try:
            outcome = experiment.run(job)
            _check(experiment, job, outcome)
        except FloatingPointError as fault:
            outcome = {DIVERGED: str(fault)}
        except SystemExit as fault:
            raise ValueError(f"the run of {job.key()!r} ended the program: raise an error instead") from fault
        except (ValueError, TypeError) as fault:
            if str(fault):
                raise
            raise RuntimeError(f"the run of {job.key()!r} raised {type(fault).__name__} without a word") from fault
    return job, _plain(outcome), time.process_time() - begin


def _check(experiment: Experiment, job: Job, outcome: Any) -> None:
    """Refuse an outcome that lacks the score, that of a test without any measure, and scores that are no numbers."""
    given = outcome if isinstance(outcome, Mapping) else {}
    known = [name for name in experiment.measures if name in given]
    wrong = [name for name in ("validation", *known) if not _is_number(given.get(name))]
    notes = given.get("notes", ())
    if isinstance(notes, str) or not all(isinstance(one, str) for one in notes):
        raise ValueError(f'the run of {job.key()!r} returned "notes" {notes!r:.80}: give a list of texts')
    if wrong or not (known or job.tuning):
        raise ValueError(
            f'the run of {job.key()!r} returned {outcome!r:.80}: give a dictionary with "validation", a number of '
            f'which more is better, "moved", and one or more measures by their names: {", ".join(experiment.measures)}'
        )


def _is_number(value: Any) -> bool:
    """Return whether a value is one number that a float can hold, or a tensor of one without axes."""
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return value.ndim == 0 and _is_number(value.item())
    try:
        float(value)
    except (OverflowError, TypeError, ValueError):
        return False
    return isinstance(value, Real)


def _plain(value: Any) -> Any:
    """Return an outcome as JSON holds it: numbers, texts and lists; a number that is none is null."""
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, (np.ndarray, np.generic, torch.Tensor)):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not isfinite(value) else value
