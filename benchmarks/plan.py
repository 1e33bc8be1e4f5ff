"""`gatewise plan` against runs: what it predicts for fits from Parquet files on two workers, and what they take.

Processor seconds are compared where the machine is shared, and seconds of the clock where it is quiet.
``python -m benchmarks plan --rows 1e8`` for a largest fit of more than ten million rows.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from benchmarks.dask_rows import D, K, measure, write

SIZES = (1_000_000, 3_000_000, 10_000_000)
NEAR = 0.25


def run(rows: float = SIZES[-1], **_: Any) -> dict[str, Any]:
    from benchmarks.timing import table
    from gatewise.estimators.cost import plan_fit, predicted_cost

    constants = plan_fit(int(rows), D, K, 2).constants
    found = []
    for size in sorted({*(size for size in SIZES if size < rows), int(rows)}):
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder), size)
            seen = measure(Path(folder), 2, "auto")
        told = predicted_cost(constants, size, D, K, 2)
        pairs = {
            "s": (told.seconds, seen["s"]),
            "CPU s": (told.processor, seen["CPU s of workers"]),
            "MB": (told.memory / 1e6, seen["MB of a worker above rest"]),
            "bytes a pass": (told.traffic, seen["bytes a pass and worker"]),
            "passes": (constants.passes, seen["passes"]),
        }
        found.append({"rows": size, **{f"{name} {part}": pair[i] for name, pair in pairs.items() for i, part in PARTS}})
    table(f"predicted and seen, d = {D}, k = {K}, two workers", found)
    off = {
        name: max(abs(one[f"{name} predicted"] / one[f"{name} seen"] - 1) for one in found)
        for name in ("s", "CPU s", "MB", "bytes a pass")
    }
    print("largest relative error:", {name: round(value, 3) for name, value in off.items()})
    return {"constants": constants._asdict(), "runs": found, "largest error": off, "holds": max(off.values()) <= NEAR}


PARTS = ((0, "predicted"), (1, "seen"))
