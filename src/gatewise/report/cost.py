"""What a fit to many rows is expected to cost, as text and as JSON."""

from __future__ import annotations

from typing import Any

from gatewise.estimators.cost import FitPlan, plan_fit

MANY = 100.0  # seconds from which minutes are given, and minutes from which hours are


def planned(
    rows: float, features: int, experts: int, workers: int, threads: int = 1, gate: str = "softmax", client: Any = None
) -> FitPlan:
    """Return the plan of a fit.

    Raises
    ------
    ValueError
        For a number of rows that is not whole, for others below one, and without Dask.
    """
    if not 1 <= rows <= 1e15 or rows != int(rows):
        raise ValueError(f"--rows {rows:g}: give a whole number from 1")
    try:
        return plan_fit(int(rows), features, experts, workers, threads, gate, client)
    except ModuleNotFoundError as cause:
        raise ValueError("a plan is measured on a Dask worker: pip install 'gatewise[dask]'") from cause


def as_json(plan: FitPlan) -> dict[str, Any]:
    """Return all numbers of a plan, in seconds and bytes."""
    return {**plan._asdict(), "constants": plan.constants._asdict()}


def shown(plan: FitPlan) -> str:
    """Return a plan in words."""
    found, one = plan.constants, plan.constants.per_row / plan.constants.passes
    threads = f" of {plan.threads} threads" if plan.threads > 1 else ""
    columns = plan.features + 1
    lines = [
        f"{plan.rows:g} rows, {plan.features} features, {plan.experts} experts, {plan.workers} workers{threads}",
        f"  time      {_time(plan.seconds)} ({_time(plan.processor / (plan.workers * plan.threads))} of every thread)",
        f"  memory    {_bytes(plan.memory)} of a worker above a resting one, from Parquet files; "
        f"{_bytes(plan.held)} with partitions in memory",
        f"  traffic   {_bytes(plan.traffic)} a pass and worker, {_bytes(plan.total_traffic)} in all",
        "measured here, on one thread of a worker:",
        f"  {found.passes} passes, {1e9 * one:.0f} ns a row and pass; {_time(found.search)} to search on a sample",
        f"  {1e9 * found.read:.1f} ns to read a number from a file ({columns} of a row in every pass)",
        f"  {1e3 * found.latency:.0f} ms of a pass besides its work",
    ]
    return "\n".join(lines)


def _time(seconds: float) -> str:
    """Return a time in a unit that suits it.

    Examples
    --------
    >>> _time(12.3), _time(1000), _time(40_000)
    ('12 s', '17 min', '11 h')
    """
    for unit, size in (("s", 1.0), ("min", 60.0)):
        if seconds / size < MANY:
            return f"{seconds / size:.2g} {unit}"
    return f"{seconds / 3600:.2g} h"


def _bytes(size: float) -> str:
    """Return bytes in a unit that suits them.

    Examples
    --------
    >>> _bytes(7_657), _bytes(65_000_000), _bytes(2.5e9)
    ('7.7 kB', '65 MB', '2.5 GB')
    """
    for unit, scale in (("kB", 1e3), ("MB", 1e6)):
        if size < 1000 * scale:
            return f"{size / scale:.3g} {unit}" if size >= 10 * scale else f"{size / scale:.2g} {unit}"
    return f"{size / 1e9:.3g} GB"
