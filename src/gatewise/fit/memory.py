"""How much memory a fit takes, estimated before it begins, and how much the machine has free."""

from __future__ import annotations

import os
from math import prod
from pathlib import Path

from gatewise.core.mixture import Mixture
from gatewise.objective.parameterization import specifications
from gatewise.objective.rows import NUMBER, READ, Rows

MATRICES = 18  # square matrices of all parameters held at once: 10 to 12 measured with 128 and 256 leaves, and room
SHARES = 6  # numbers of a row that starts hold for every leaf
SKETCH = 2000  # rows that starts are drawn from
CHEAP = 2**28  # bytes that are not worth a check
GIGA = 1e9
MEMINFO = Path("/proc/meminfo")
GROUP = Path("/sys/fs/cgroup")  # of a container


def needed(mixture: Mixture, rows: Rows) -> float:
    """Return about how many bytes a fit takes besides its data: derivatives of all parameters, blocks of rows."""
    entries = _entries(mixture, rows)
    blocks = READ * sum(part.shape[1] for part in (rows.x, rows.gate_x, rows.y))
    shares = SHARES * min(rows.n, SKETCH) * mixture.n_leaves
    return float(NUMBER * (MATRICES * entries * entries + shares + blocks))


def available() -> float | None:
    """Return how many bytes are free: of the machine, or of the container where that is less; None: nobody says."""
    found = [size for size in (_of_machine(), _of_group()) if size is not None]
    return min(found, default=None)


def require_memory(mixture: Mixture, rows: Rows) -> None:
    """Raise where a fit would take more memory than is free.

    Raises
    ------
    ValueError
        Naming the size of the model, the memory that it takes and what is free.
    """
    wanted = needed(mixture, rows)
    free = available() if wanted > CHEAP else None
    if free is None or wanted <= free:
        return
    raise ValueError(
        f"{mixture.n_leaves} experts have {_entries(mixture, rows)} parameters here: their second derivatives take "
        f"about {wanted / GIGA:.1f} GB, and {free / GIGA:.1f} GB are free; use fewer experts, levels or columns"
    )


def _entries(mixture: Mixture, rows: Rows) -> int:
    q = mixture.family.outputs(rows.y.shape[1])
    return sum(prod(shape) for _, shape in specifications(mixture, rows.x.shape[1], rows.gate_x.shape[1], q).values())


def _of_machine() -> float | None:
    try:
        lines = dict(line.split(":", 1) for line in MEMINFO.read_text().splitlines() if ":" in line)
        return 1024.0 * float(lines["MemAvailable"].split()[0])
    except (OSError, KeyError, ValueError, IndexError):
        pass
    try:
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, OSError, ValueError):  # not every system has these
        return None


def _of_group() -> float | None:
    try:
        most, used = ((GROUP / f"memory.{name}").read_text().strip() for name in ("max", "current"))
        counts = dict(line.split() for line in (GROUP / "memory.stat").read_text().splitlines())
        # "max" is no number: no limit. Files that were only read give their memory back.
        return float(most) - float(used) + float(counts.get("inactive_file", 0))
    except (OSError, ValueError):
        return None
