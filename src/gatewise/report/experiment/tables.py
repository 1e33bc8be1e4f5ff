"""The tables of an experiment's page: means and paired differences by gate, pairs of gates, verdicts on the claim."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

from gatewise.experiments.compare import (
    LEAST,
    Interval,
    change,
    difference,
    gates_in,
    interval,
    measures_of,
    values,
    verdict,
    verdicts,
    word,
)
from gatewise.experiments.experiment import Experiment, Metric, gates_of
from gatewise.experiments.runner import DIVERGED
from gatewise.experiments.store import Record

SYMBOLS = {"better": "\N{CHECK MARK}", "worse": "\N{BALLOT X}", "tie": "=", "undecided": "?"}
EMPTY = {"mean": "", "interval": "", "less": "", "within": "", "word": ""}
REFERENCE = "softmax"  # the gate that others are compared with, or the first there is


def overview(experiment: Experiment, records: Sequence[Record], variants: Sequence[str]) -> dict[str, Any]:
    """Return the first measure of every variant, by gate: means with half of their intervals."""
    gates = list(dict.fromkeys(gate for variant in variants for gate in gates_in(experiment, records, variant)))
    rows = []
    for variant in variants:
        name, measure = next(
            iter(measures_of(experiment, records, variant).items()), next(iter(experiment.measures.items()))
        )
        found = [interval(list(values(records, variant, gate, name).values())) for gate in gates]
        rows.append({"name": variant, "measure": title_of(measure), "cells": [_cell(mean) for mean in found]})
    return {"gates": gates, "rows": rows}


def changes_table(experiment: Experiment, records: Sequence[Record], variants: Sequence[str]) -> dict[str, Any] | None:
    """Return the paired differences of every variant to the base, by gate, of measures that more or less of is better.

    None without a base that was run, or for a single variant. The agreement of seeds is left out: it depends on how
    many experts there are.
    """
    base = experiment.base
    if base not in variants or len(variants) < 2:
        return None
    gates = gates_in(experiment, records, base)
    rows = []
    for variant in variants:
        known = measures_of(experiment, records, variant)
        for name, measure in experiment.measures.items():
            if variant != base and name in known and measure.more is not None:
                found = [change(records, base, variant, gate, name) for gate in gates]
                cells = [{**EMPTY, **_less(one, measure)} for one in found]
                rows.append({"name": variant, "measure": title_of(measure), "cells": cells})
    return {"base": base, "gates": gates, "rows": rows}


def pairs_table(experiment: Experiment, records: Sequence[Record], variant: str) -> dict[str, Any] | None:
    """Return the paired differences of all gates of two levels, every measure; None for fewer than two such gates."""
    hierarchies = [gate for gate in gates_in(experiment, records, variant) if _levels(gate) == 2]
    pairs = [(second, first) for first, second in combinations(hierarchies, 2)]
    rows = []
    for name, measure in measures_of(experiment, records, variant).items():
        found = [difference(records, variant, *pair, name) for pair in pairs]
        rows.append({"measure": title_of(measure), "cells": [{**EMPTY, **_less(one, measure)} for one in found]})
    return {"names": [f"{one} \N{MINUS SIGN} {two}" for one, two in pairs], "rows": rows} if pairs else None


def _levels(gate: str) -> int:
    """Return how many levels a gate has, 0 if it is a baseline."""
    try:
        return len(gates_of(gate))
    except ValueError:
        return 0


def title_of(measure: Metric) -> str:
    """Return the title of a measure with its unit."""
    return measure.title + (f" [{measure.unit}]" if measure.unit else "")


def brief(mean: Interval) -> str:
    """Return a mean with half of its interval, which few seeds do not have."""
    if not mean.n:
        return "\N{EN DASH}"
    return f"{mean.mean:.3f}" if mean.n < LEAST else f"{mean.mean:.3f} \N{PLUS-MINUS SIGN} {mean.high - mean.mean:.3f}"


def rows_of(experiment: Experiment, records: Sequence[Record], variant: str) -> list[dict[str, Any]]:
    """Return a row for every gate of a variant: means, and paired differences to the gate that others refer to."""
    gates = gates_in(experiment, records, variant)
    base = reference(gates)
    out = []
    for gate in gates:
        found = [r for r in records if r.variant == variant and r.gate == gate and not r.tuning]
        cells = []
        for name, measure in measures_of(experiment, records, variant).items():
            mean = interval(list(values(records, variant, gate, name).values()))
            less = difference(records, variant, gate, base, name)
            cells.append({**EMPTY, **_mean(mean), **(_less(less, measure) if gate != base else {})})
        out.append(
            {
                "gate": gate,
                "rate": f"{found[0].rate:g}",
                "n": sum(DIVERGED not in record.outcome for record in found),
                "cells": cells,
            }
        )
    return out


def _mean(mean: Interval) -> dict[str, str]:
    """Return a mean and its interval; two or three seeds have intervals that reach beyond what a measure can be."""
    if not mean.n:
        return {"mean": "\N{EN DASH}"}
    return {"mean": f"{mean.mean:.3f}", "interval": f"[{mean.low:.3f}, {mean.high:.3f}]" if mean.n >= LEAST else ""}


def _cell(mean: Interval) -> list[str]:
    """Return a mean and half of its interval, for two lines."""
    first, _, half = brief(mean).partition(" ")
    return [first, half]


def _less(less: Interval, measure: Metric) -> dict[str, str]:
    """Return a paired difference with its interval and the word for it."""
    if not less.n:
        return {}
    within = f"[{less.low:+.3f}, {less.high:+.3f}]" if less.n >= LEAST else ""
    return {"less": f"{less.mean:+.3f}", "within": within, "word": word(less, measure.more)}


def claims_table(experiment: Experiment, records: Sequence[Record], variants: Sequence[str]) -> list[dict[str, Any]]:
    """Return the verdict on the claim for every variant that has both of its gates, and the measures it rests on."""
    found = verdicts(experiment, records)
    out = []
    for variant in variants:
        mine = [(name, said, less) for name_of, name, said, less in found if name_of == variant]
        if mine:
            measures = measures_of(experiment, records, variant)
            rows = [_claim(measures[name], said, less) for name, said, less in mine]
            by_word = {said: [measures[name].title for name, one, _ in mine if one == said] for _, said, _ in mine}
            words = "; ".join(f"{said} in {', '.join(titles)}" for said, titles in by_word.items())
            out.append(
                {"variant": variant, "verdict": verdict([said for _, said, _ in mine]), "words": words, "rows": rows}
            )
    return out


def _claim(measure: Metric, said: str, found: Interval) -> dict[str, str]:
    within = f" [{found.low:+.4f}, {found.high:+.4f}]" if found.n >= LEAST else ""
    return {
        "measure": f"{title_of(measure)}: {'more' if measure.more else 'less'} is better",
        "word": said,
        "symbol": SYMBOLS.get(said, ""),
        "difference": f"{found.mean:+.4f}{within}",
        "seeds": str(found.n),
    }


def reference(gates: Sequence[str]) -> str:
    """Return the gate that others are compared with: softmax, or the first there is."""
    return REFERENCE if REFERENCE in gates else gates[0]


def quick(records: Sequence[Record]) -> bool:
    """Return whether some runs were short ones, which decide nothing."""
    return any(record.key.endswith(", quick") for record in records)
