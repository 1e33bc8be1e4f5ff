"""Clocks, interleaved rounds, tables and the facts of the machine."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import metadata
from typing import Any


def cpu_seconds() -> float:
    """Return user and system seconds of this process: waiting for a shared core is not counted."""
    return time.process_time()


def best_of(tasks: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Return the least process seconds of each task over interleaved rounds, after one unmeasured round."""
    least = dict.fromkeys(tasks, float("inf"))
    for number in range(rounds + 1):
        for name, task in tasks.items():
            start = time.process_time()
            task()
            spent = time.process_time() - start
            if number:
                least[name] = min(least[name], spent)
    return least


def facts() -> dict[str, Any]:
    """Return what a reader needs to place the numbers; nothing that names the machine or its files."""
    import numpy
    import scipy
    import torch

    import gatewise

    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "scipy": scipy.__version__,
        "gatewise": getattr(gatewise, "__version__", "0"),
    }


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the version of every package that is installed."""
    found = {}
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _cpu_model() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.machine()


def table(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows with the same keys as an aligned table."""
    print(f"\n{title}")
    if not rows:
        return
    names = list(rows[0])
    cells = [[_cell(row.get(name, "")) for name in names] for row in rows]
    widths = [max(len(name), *(len(line[i]) for line in cells)) for i, name in enumerate(names)]
    for line in (names, *cells):
        print("  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)))


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.5f}"
    return str(value)
