"""``python -m benchmarks [name ...] [--out FILE]``: run benchmarks, print their tables, write JSON.

``python -m benchmarks house`` measures the structure of the source instead, and has options of its own.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from importlib import import_module
from typing import Any

from benchmarks import house
from benchmarks.timing import facts

# Imported when they run, so that the structure can be measured where the package cannot be imported.
BENCHMARKS: dict[str, str] = {
    "floor": "floor.run",
    "first_call": "first_call.run",
    "newton": "newton.run",
    "passes": "passes.run",
    "single_start_1e5": "speed.single_start",
    "memory_1e7": "memory.run",
    "over_specified": "accuracy.over_specified",
    "many_seeds": "accuracy.many_seeds",
    "false_convergence": "accuracy.false_convergence",
    "laplace_raw": "laplace_raw.run",
    "coverage": "coverage.run",
    "coverage_families": "coverage_families.run",
    "choice": "choice.run",
    "sample_size": "sample_size.run",
    "least_squares": "squares.run",
    "ls_ml": "ls_ml.run",
    "many_fits": "many.replicates",
    "many_over_fitted": "many.over_fitted",
    "many_ends": "many.ends",
    "identifiability": "identifiability.run",
    "proofs": "proofs.run",
    "parquet": "parquet.run",
    "flexmix": "flexmix.run",
    "peers": "peers.run",
    "scaling": "scaling.run",
    "population": "population.run",
    "nn_layers": "nn.layers",
    "nn_sizes": "sizes.run",
    "nn_overhead": "overhead.run",
    "nn_gates": "nn.gates",
    "nn_half": "nn.half",
    "nn_token": "nn.token",
    "nn_backends": "backends.run",
    "nn_routings": "routings.run",
    "nn_balance": "balance.run",
    "nn_memory": "nn.memory",
    "competition": "competition.run",
    "optima": "optima.run",
    "optima_starts": "optima.many_starts",
    "moves": "moves.run",
    "leftover": "leftover.run",
    "kinks": "kinks.run",
    "classics": "classics.run",
    "verdicts": "verdicts.run",
    "fuzz": "fuzz.run",
    "dask_rows": "dask_rows.run",
    "plan": "plan.run",
    "dask_kills": "dask_kills.run",
}


def main() -> None:
    if sys.argv[1:2] == ["house"]:
        house.main(sys.argv[2:])
    else:
        run()


def run() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"any of {', '.join(BENCHMARKS)}; all when left out")
    parser.add_argument("--out", help="file for the results as JSON")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds of the timings (5)")
    parser.add_argument(
        "--sets", type=int, default=100, help="data sets of over_specified, coverage and sample_size (100)"
    )
    parser.add_argument(
        "--plot", metavar="FILE", help="file for the picture of scaling or competition, such as scaling.svg"
    )
    parser.add_argument("--examples", type=int, default=400, help="examples of fuzz (400)")
    parser.add_argument("--features", type=int, help="nn_sizes: layers of so many features alone (64, 256, 512, 1024)")
    parser.add_argument("--rows", type=float, help="rows of dask_rows, plan, parquet (1e7) and flexmix (2e4)")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"{unknown[0]!r} is unknown: the benchmarks are {', '.join(BENCHMARKS)}")
    import torch

    torch.set_num_threads(1)
    results: dict[str, Any] = {"machine": facts(), "benchmarks": {}}
    for name in options.names or BENCHMARKS:
        start = time.perf_counter()
        module, _, function = BENCHMARKS[name].partition(".")
        benchmark = getattr(import_module(f"benchmarks.{module}"), function)
        sizes = {"rows": options.rows, "features": options.features}
        sizes = {option: int(value) for option, value in sizes.items() if value is not None}
        chosen = {"rounds": options.rounds, "sets": options.sets, "plot": options.plot, "examples": options.examples}
        result = benchmark(**chosen, **sizes)
        result["seconds"] = round(time.perf_counter() - start, 1)
        results["benchmarks"][name] = result
        if options.out:  # after each, so that an interrupted run keeps what it has
            with open(options.out, "w") as file:
                json.dump(results, file, indent=1)


if __name__ == "__main__":
    main()
