"""A frozen protocol: a confirmatory run draws fresh data by a seed that is the hash of everything that was fixed.

Whoever changes a claim, a window, a number of replicates, starts or a threshold of the verdict after looking at data
gets another seed, and so other data. Cases that are added to the verdict change no seed: the page of results says which
claims they decide. The studies of the papers are registered: ``registered.json`` lists the hash of every
version, and ``make register`` adds those that changed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from gatewise.files import write_text
from gatewise.theory import slopes, verdict
from gatewise.theory.claims import Probe
from gatewise.theory.fingerprint import describe
from gatewise.theory.study import Study
from gatewise.theory.user_code import code_of

REGISTERED = Path(__file__).parent / "papers" / "registered.json"
SUFFIX = "-confirmatory"
SHOWN = 16  # digits of a hash


def protocol(study: Study) -> dict[str, Any]:
    """Return everything that is fixed before a confirmatory run, as values that JSON can hold.

    Truths, models, boxes, starts and losses of every arm, what the user's own classes among these compute, sizes and
    replicates, claims, population exponents, and the rules of the verdict. Titles, reasons and the exploratory seed are
    left out.
    """
    rules = {name: getattr(verdict, name) for name in verdict.RULES}
    described = describe(study)
    code = described.get("code", {}) | code_of(*(part for probe in study.probes for part in _parts(probe)))
    return {
        **({"code": code} if code else {}),  # built-in studies have none
        "arms": described["arms"],
        "windows": {arm.name: [arm.replicates, [level.axis for level in arm.levels()]] for arm in study.arms},
        "claims": [asdict(claim) for claim in study.claims],
        "exponents": [_exponent(study, i) for i in range(len(study.probes))],
        "rules": {**rules, "level": slopes.LEVEL, "draws": slopes.DRAWS},
    }


def _parts(probe: Probe) -> tuple[object, ...]:
    """Return what the user may have written of an exponent."""
    return probe.data.mixture, probe.model.mixture, probe.inputs


def _exponent(study: Study, index: int) -> dict[str, Any]:
    probe = study.probes[index]
    values = {
        name: repr(getattr(probe, name)) for name in ("path", "cells", "value", "tolerance", "source", "standing")
    }
    values |= {
        name: repr(getattr(probe, name)) for name in ("name", "atom", "entry", "eps", "ratio", "inputs", "starts")
    }
    if probe.sizes:
        values |= {"sizes": repr(probe.sizes)}
    truth = {path: value.tolist() for path, value in probe.data.at(1).paths().items()}
    return {**values, "truth": truth, "model": repr(probe.model.mixture), "box": repr(probe.model.box)}


def registration(study: Study) -> str:
    """Return the hash of the protocol of a study.

    Parameters
    ----------
    study : Study

    Returns
    -------
    str
        A SHA-256 hash in hexadecimal digits.

    Examples
    --------
    >>> from dataclasses import replace
    >>> from gatewise.theory import STUDIES
    >>> study = STUDIES["softmax-exact"]
    >>> registration(study) == registration(replace(study, title="Another title", seed=7))
    True
    >>> registration(study) == registration(replace(study, claims=study.claims[1:]))
    False
    """
    text = json.dumps(protocol(study), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:SHOWN]


def confirmatory(study: Study) -> Study:
    """Return the confirmatory study: the same curves and claims, and data that nobody has seen.

    Parameters
    ----------
    study : Study

    Returns
    -------
    Study
        Named ``NAME-confirmatory``; its seed is that of `registration`.

    Examples
    --------
    >>> from gatewise.theory import STUDIES, confirmatory
    >>> confirmatory(STUDIES["softmax-exact"]).name
    'softmax-exact-confirmatory'
    """
    title, seed = f"{study.title}: confirmatory run", int(registration(study)[:8], 16)
    return replace(study, name=study.name + SUFFIX, title=title, seed=seed)


def registered() -> dict[str, list[str]]:
    """Return the hashes of all versions of every registered study, the newest last."""
    return dict(json.loads(REGISTERED.read_text("utf-8"))) if REGISTERED.exists() else {}


def version(study: Study) -> int | None:
    """Return the number of the registered version that a study is; None: it was never registered as it stands."""
    held = registered().get(study.name.removesuffix(SUFFIX), [])
    mine = registration(study)
    return held.index(mine) + 1 if mine in held else None


def register(studies: Mapping[str, Study]) -> list[str]:
    """Register studies as they stand, and return the names of those that changed."""
    held = registered()
    changed = [name for name, study in studies.items() if held.get(name, [""])[-1] != registration(study)]
    for name in changed:
        held.setdefault(name, []).append(registration(studies[name]))
    write_text(REGISTERED, json.dumps(held, indent=1) + "\n")
    return changed
