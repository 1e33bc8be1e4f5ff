"""Comparisons over seeds: means with intervals, paired differences, and the verdict on a claim in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from gatewise.experiments.experiment import Experiment
from gatewise.experiments.store import Record

LEAST = 5  # seeds below which nothing is decided


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
