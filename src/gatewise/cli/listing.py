"""What the lists of studies and experiments print, kept as data: building the studies themselves takes seconds.

`make register` writes the file anew; a test compares it with the studies and experiments.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("listing.json")


def listed(kind: str) -> list[dict[str, Any]]:
    """Return the ``"studies"`` or ``"experiments"`` with what their list shows."""
    found: list[dict[str, Any]] = json.loads(FILE.read_text("utf-8"))[kind]
    return found


def computed() -> dict[str, list[dict[str, Any]]]:
    """Return what the file must hold."""
    from gatewise.experiments import EXPERIMENTS
    from gatewise.theory.papers import STUDIES

    studies = [
        {
            "name": name,
            "title": one.title,
            "curves": len(one.arms),
            "fits": one.fits(),
            "claims": len(one.claims),
        }
        for name, one in STUDIES.items()
    ]
    experiments = [
        {
            "name": name,
            "title": one.title,
            "variants": list(one.variants),
            "models": [*one.baselines, *one.gates],
        }
        for name, one in EXPERIMENTS.items()
    ]
    return {"studies": studies, "experiments": experiments}


def write() -> None:
    """Write the file."""
    FILE.write_text(json.dumps(computed(), indent=1, ensure_ascii=False) + "\n", "utf-8")
