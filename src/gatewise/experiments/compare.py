"""Comparisons over seeds: means with intervals, paired differences, and the verdict on a claim in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from gatewise.experiments.experiment import Experiment
from gatewise.experiments.store import Record

LEAST = 5  # seeds below which nothing is decided
TUNING_SEEDS = (1001, 1002)  # used to choose rates and for nothing else


class Interval(NamedTuple):
    """A mean over seeds with its 95 % interval (Student's t), and the number of seeds."""

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
    """Return the records but for tests at other rates than the one chosen now, and words about those left out."""
    names = dict.fromkeys((r.variant, r.gate) for r in records)
    best = {name: chosen_rate(experiment, records, *name) for name in names}
    kept = [r for r in records if r.tuning or r.rate == best[r.variant, r.gate]]
    left = Counter((r.variant, r.gate) for r in records)
    left.subtract((r.variant, r.gate) for r in kept)
    return kept, [
        f"{count} {'run' if count == 1 else 'runs'} of {gate} ({variant}) left out: another rate than "
        f"{best[variant, gate]:g}, the best of those tried by now"
        for (variant, gate), count in left.items()
        if count
    ]


def values(records: Sequence[Record], variant: str, gate: str, measure: str) -> dict[int, float]:
    """Return a measure of a gate by seed, of the seeds that have a number."""
    return {
        record.seed: record.outcome[measure]
        for record in records
        if record.variant == variant
        and record.gate == gate
        and not record.tuning
        and record.outcome.get(measure) is not None
    }


def difference(records: Sequence[Record], variant: str, first: str, second: str, measure: str) -> Interval:
    """Return the mean of first - second over the seeds that both have: data and splits are then the same."""
    one, two = (values(records, variant, gate, measure) for gate in (first, second))
    return interval([one[seed] - two[seed] for seed in sorted(one.keys() & two.keys())])


def word(found: Interval, more: bool | None) -> str:
    """Return "better", "worse", "tie" (the interval holds zero) or "undecided" (fewer than five seeds)."""
    if found.n < LEAST:
        return "undecided"
    if found.low <= 0 <= found.high:
        return "tie"
    if more is None:
        return "higher" if found.mean > 0 else "lower"
    return "better" if (found.mean > 0) == more else "worse"


def verdicts(experiment: Experiment, records: Sequence[Record]) -> list[tuple[str, str, str, Interval]]:
    """Return (variant, measure, word, difference) for the experiment's claim, every measure that has a direction."""
    first, second, _ = experiment.claim
    out = []
    for variant in experiment.variants:
        for name, measure in experiment.measures.items():
            found = difference(records, variant, first, second, name)
            if found.n and measure.more is not None:
                out.append((variant, name, word(found, measure.more), found))
    return out
