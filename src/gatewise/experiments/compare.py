"""Comparisons over seeds: means with intervals, paired differences, and the verdict on a claim in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from scipy import stats
from sklearn.metrics import adjusted_rand_score

from gatewise.experiments.experiment import CHOICE, Experiment, Metric
from gatewise.experiments.store import Record

LEAST = 5  # seeds below which nothing is decided
AGREEMENT = Metric("agreement of seeds", "adjusted Rand index")
TUNING_SEEDS = (1001, 1002)  # used to choose rates and for nothing else


class Interval(NamedTuple):
    """A mean over seeds with its 95 % interval (Student's t) and the number of seeds.

    Attributes
    ----------
    mean : float
    low, high : float
        Ends of the interval; NaN with fewer than two seeds.
    n : int
        Number of seeds.

    Examples
    --------
    >>> from gatewise.experiments import Interval
    >>> Interval(0.1, 0.05, 0.15, 10).low > 0
    True
    """

    mean: float
    low: float
    high: float
    n: int


def interval(values: Sequence[float]) -> Interval:
    """Return the mean of values with its 95 % interval; without one for fewer than two."""
    found = np.asarray(values, dtype=float)
    mean = float(found.mean()) if len(found) else float("nan")
    if len(found) < 2:
        return Interval(mean, float("nan"), float("nan"), len(found))
    reach = float(stats.t.ppf(0.975, len(found) - 1) * found.std(ddof=1) / np.sqrt(len(found)))
    return Interval(mean, mean - reach, mean + reach, len(found))


def gates_in(experiment: Experiment, records: Sequence[Record], variant: str) -> list[str]:
    """Return the baselines and gates that a variant has runs of: the experiment's in their order, then others."""
    found = dict.fromkeys(r.gate for r in records if r.variant == variant and not r.tuning)
    known = [gate for gate in (*experiment.baselines, *experiment.gates) if gate in found]
    return known + [gate for gate in found if gate not in known]


def chosen_rate(experiment: Experiment, records: Sequence[Record], variant: str, gate: str) -> float:
    """Return the rate with the best mean validation score of the seeds that choose; the middle one if none was tried.

    The first of equal ones; a score that is no number, as that of a run that diverged, is the worst.
    """
    scores: dict[float, list[float]] = {}
    for record in records:
        if record.tuning and (record.variant, record.gate) == (variant, gate):
            score = record.outcome.get("validation")
            scores.setdefault(record.rate, []).append(-np.inf if score is None else score)
    tried = [rate for rate in experiment.rates if len(scores.get(rate, ())) == len(TUNING_SEEDS)]
    return max(tried, key=lambda rate: np.mean(scores[rate])) if tried else experiment.rates[len(experiment.rates) // 2]


def at_chosen_rates(experiment: Experiment, records: Sequence[Record]) -> tuple[list[Record], list[str]]:
    """Select the test runs at the learning rate that each gate has selected.

    Parameters
    ----------
    experiment : Experiment
    records : sequence of Record

    Returns
    -------
    (list of Record, list of str)
        The selected records, and sentences about those left out.

    Examples
    --------
    >>> from gatewise.experiments import Experiment, Metric, at_chosen_rates, read_records, run_experiment
    >>> def run(job):
    ...     score = 0.8 + 0.01 * job.seed + (0.1 if job.gate == "ll" else 0.0)
    ...     return {"accuracy": score, "validation": score, "moved": True}
    >>> words, metrics = ("task", "A made-up task", "Shows the calls."), {"accuracy": Metric("accuracy")}
    >>> task = Experiment(*words, variants=("only",), gates=("ss", "ll"), measures=metrics, run=run)
    >>> import tempfile
    >>> from pathlib import Path
    >>> folder = Path(tempfile.mkdtemp(), "task")
    >>> run_experiment(task, folder, seeds=5)
    >>> chosen, left_out = at_chosen_rates(task, read_records(folder)[0])
    >>> len(chosen), left_out
    (22, [])
    """
    names = dict.fromkeys((r.variant, r.gate) for r in records)
    best = {name: chosen_rate(experiment, records, *name) for name in names}
    kept = [r for r in records if r.tuning or r.rate == best[r.variant, r.gate]]
    left = Counter((r.variant, r.gate) for r in records)
    left.subtract((r.variant, r.gate) for r in kept)
    return kept, [
        f"{count} {'run' if count == 1 else 'runs'} of {gate} ({variant}) left out: at another rate than "
        f"{best[variant, gate]:g}, which is chosen now"
        for (variant, gate), count in left.items()
        if count
    ]


def values(records: Sequence[Record], variant: str, gate: str, measure: str) -> dict[int, float]:
    """Return a measure of a gate by seed, of the seeds that have a number; of `CHOICE` the agreement of seeds."""
    return _numbers(_outcomes(records, variant, gate, measure), measure)


def _outcomes(records: Sequence[Record], variant: str, gate: str, measure: str) -> dict[int, Any]:
    return {
        record.seed: record.outcome[measure]
        for record in records
        if record.variant == variant
        and record.gate == gate
        and not record.tuning
        and record.outcome.get(measure) is not None
    }


def _numbers(found: Mapping[int, Any], measure: str) -> dict[int, float]:
    return agreement(found) if measure == CHOICE else dict(found)


def agreement(choices: Mapping[int, Sequence[Any]]) -> dict[int, float]:
    """Return the jackknife values, by seed, of how far seeds route alike; none for one seed, or for other tokens.

    Their mean is the mean adjusted Rand index of two seeds' choices of the same tokens: 1 if they are alike up to the
    names of the experts, 0 if as alike as by chance. Without a seed the mean over the other pairs is T_s; its value is
    ``n T - (n - 1) T_s``, from which intervals follow as for other measures.
    """
    seeds, n = sorted(choices), len(choices)
    if n < 2 or len({np.size(one) for one in choices.values()}) > 1:
        return {}
    flat = [np.asarray(choices[seed]).ravel() for seed in seeds]
    alike = np.zeros((n, n))
    for i, j in combinations(range(n), 2):
        alike[i, j] = alike[j, i] = adjusted_rand_score(flat[i], flat[j])
    total, own = alike.sum() / 2, alike.sum(1)
    mean = total / (n * (n - 1) / 2)
    if n == 2:
        return dict.fromkeys(seeds, float(mean))
    without = (total - own) / ((n - 1) * (n - 2) / 2)
    return dict(zip(seeds, (n * mean - (n - 1) * without).tolist(), strict=True))


def measures_of(experiment: Experiment, records: Sequence[Record], variant: str) -> dict[str, Metric]:
    """Return the measures that some test of a variant has, the agreement of seeds among them."""
    found = {name for r in records if r.variant == variant and not r.tuning for name in r.outcome}
    every = {**experiment.measures, CHOICE: AGREEMENT}
    return {name: measure for name, measure in every.items() if name in found}


def difference(records: Sequence[Record], variant: str, first: str, second: str, measure: str) -> Interval:
    """Compute the mean difference of a metric between two gates, paired by seed, with a 95 % interval.

    Only seeds that both gates have are used; they share data and splits.

    Parameters
    ----------
    records : sequence of Record
    variant : str
    first, second : str
        Gates; the difference is first minus second.
    measure : str
        Name of a metric.

    Returns
    -------
    Interval

    Examples
    --------
    >>> from gatewise.experiments import Record, difference
    >>> def record(gate, seed, accuracy):
    ...     return Record("only", gate, seed, 0.001, False, f"{gate}-{seed}", {"accuracy": accuracy})
    >>> records = [record("ss", seed, 0.80 + 0.01 * seed) for seed in range(4)]
    >>> records += [record("ll", seed, 0.90 + 0.01 * seed) for seed in range(4)]
    >>> found = difference(records, "only", "ll", "ss", "accuracy")
    >>> round(found.mean, 3), found.n
    (0.1, 4)
    """
    return _paired(measure, *(_outcomes(records, variant, gate, measure) for gate in (first, second)))


def change(records: Sequence[Record], base: str, variant: str, gate: str, measure: str) -> Interval:
    """Return the mean of a variant less another one for the same gate, over the seeds that both have."""
    return _paired(measure, *(_outcomes(records, one, gate, measure) for one in (variant, base)))


def _paired(measure: str, first: Mapping[int, Any], second: Mapping[int, Any]) -> Interval:
    """Return the mean of first - second over the seeds that both have; the agreement is that of these seeds."""
    seeds = sorted(first.keys() & second.keys())
    one, two = (_numbers({seed: found[seed] for seed in seeds}, measure) for found in (first, second))
    return interval([one[seed] - two[seed] for seed in sorted(one.keys() & two.keys())])


def word(found: Interval, more: bool | None) -> str:
    """Return "better" or "worse", "higher" or "lower", "tie" (zero is in the interval), or "undecided" (few seeds)."""
    if found.n < LEAST:
        return "undecided"
    if found.low <= 0 <= found.high:
        return "tie"
    if more is None:
        return "higher" if found.mean > 0 else "lower"
    return "better" if (found.mean > 0) == more else "worse"


def verdicts(experiment: Experiment, records: Sequence[Record]) -> list[tuple[str, str, str, Interval]]:
    """Judge the claim of an experiment, for every variant and every metric that has a direction.

    Parameters
    ----------
    experiment : Experiment
    records : sequence of Record

    Returns
    -------
    list of (variant, metric, word, Interval)
        The word is "better", "worse", "tie" or "undecided"; the interval is that of the paired difference.

    Examples
    --------
    >>> from gatewise.experiments import Experiment, Metric, at_chosen_rates, read_records, run_experiment, verdicts
    >>> def run(job):
    ...     score = 0.8 + 0.01 * job.seed + (0.1 if job.gate == "ll" else 0.0)
    ...     return {"accuracy": score, "validation": score, "moved": True}
    >>> words, metrics = ("task", "A made-up task", "Shows the calls."), {"accuracy": Metric("accuracy")}
    >>> task = Experiment(*words, variants=("only",), gates=("ss", "ll"), measures=metrics, run=run)
    >>> import tempfile
    >>> from pathlib import Path
    >>> folder = Path(tempfile.mkdtemp(), "task")
    >>> run_experiment(task, folder, seeds=5)
    >>> chosen, _ = at_chosen_rates(task, read_records(folder)[0])
    >>> [(variant, metric, word) for variant, metric, word, _ in verdicts(task, chosen)]
    [('only', 'accuracy', 'better')]
    """
    first, second, _ = experiment.claim
    out = []
    for variant in experiment.variants:
        for name, measure in measures_of(experiment, records, variant).items():
            found = difference(records, variant, first, second, name)
            if found.n and measure.more is not None:
                out.append((variant, name, word(found, measure.more), found))
    return out


def verdict(said: Sequence[str]) -> str:
    """Return one word for the words of several measures: does the claim hold on these data?

    Examples
    --------
    >>> verdict(["better", "tie"]), verdict(["tie", "tie"]), verdict(["worse", "worse"]), verdict(["better", "worse"])
    ('supported in part', 'tie', 'contradicted', 'mixed')
    """
    decided = {one for one in said if one != "undecided"}
    if not decided:
        return "undecided"
    if {"better", "worse"} <= decided:
        return "mixed"
    part = " in part" if len(decided) > 1 else ""
    return f"supported{part}" if "better" in decided else f"contradicted{part}" if "worse" in decided else "tie"
