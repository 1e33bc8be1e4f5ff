"""What each kind of start and of move finds in default fits, and what it costs.

The problems are those of `optima`, drawn by the seed that the search was chosen on.
"""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import ExitStack
from functools import partial
from importlib import import_module
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.optima import CLASSES, MISSED, cases, fitted, problem
from benchmarks.timing import table

SEED = 1
pipeline, rounds, task = (import_module(f"gatewise.fit.{name}") for name in ("pipeline", "rounds", "task"))


class Watch:
    """Counts, for every kind, how many points were tried in rounds, and how many ended above the best before them."""

    def __init__(self) -> None:
        self.tried: dict[str, int] = defaultdict(int)
        self.better: dict[str, int] = defaultdict(int)
        self.seconds: dict[str, float] = defaultdict(float)
        self.count: dict[str, int] = defaultdict(int)
        self.best = np.inf

    def improved(self, original: Any) -> Any:
        def watched(task: Any, method: Any, points: Any, share: float = 1.0, *rival: float) -> Any:
            ends = self.timed("improved", len(points.kinds), original, task, method, points, share, *rival)
            values = np.where(ends.sound.numpy(), ends.value.numpy(), np.inf) * task.part.total
            best = np.inf if share == 1.0 else self.best
            for kind, value in zip(ends.kinds, values, strict=True):
                if share < 1.0:
                    self.tried[kind] += 1
                    self.better[kind] += bool(value < best - MISSED)
            self.best = min(best, values.min())
            return ends

        return watched

    def timed(self, stage: str, count: int, original: Any, *arguments: Any) -> Any:
        begin = time.process_time()
        result = original(*arguments)
        self.seconds[stage] += time.process_time() - begin
        self.count[stage] += count
        return result


def run(sets: int = 100, **_: Any) -> dict[str, Any]:
    """Fit `sets` problems of each class, four at most, by default settings."""
    watch = Watch()
    drawn, moved, anew = task.draw_starts, rounds.moves, rounds.resample
    improved = watch.improved(rounds.improved)
    watched = (
        (pipeline, "improved", improved),
        (rounds, "improved", improved),
        (
            task,
            "draw_starts",
            lambda p, r, count, *a, **k: watch.timed("drawn", count, partial(drawn, **k), p, r, count, *a),
        ),
        (rounds, "moves", lambda p, optima, count, *a: watch.timed("moved", count, moved, p, optima, count, *a)),
        (rounds, "resample", lambda t, m, bases, count: watch.timed("resampled", count, anew, t, m, bases, count)),
    )
    fitted(problem(next(iter(CLASSES)), 0, SEED))  # compiles
    with ExitStack() as patches:
        for module, name, function in watched:
            patches.enter_context(mock.patch.object(module, name, function))
        for name, number in cases(min(4, sets)):
            fitted(problem(name, number, SEED))
    cost = {name: 1e3 * seconds / max(1, watch.count[name]) for name, seconds in watch.seconds.items()}
    stage = dict.fromkeys(("planes", "clusters", "subsets", "sharp", "trimmed"), "drawn") | {"resampled": "resampled"}
    lines = [
        {
            "kind": kind,
            "tried": tried,
            "better than the best before %": round(100 * watch.better[kind] / tried, 2),
            "CPU ms to make one": round(cost[stage.get(kind, "moved")], 2),
            "CPU ms to improve one": round(cost["improved"], 2),
        }
        for kind, tried in sorted(watch.tried.items(), key=lambda item: -watch.better[item[0]] / item[1])
    ]
    table("what rounds of the search find", lines)
    return {"kinds": lines}
