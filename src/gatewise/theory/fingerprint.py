"""What decides the records of a study, in words that are hashed: two studies with one hash have equal records."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch

from gatewise import __version__
from gatewise.fit.many import SEARCH
from gatewise.objective.accumulate import engine
from gatewise.theory.arms import Arm
from gatewise.theory.study import Study
from gatewise.theory.user_code import code_of
from gatewise.theory.voronoi import LOSSES

FIRST_NAMES = {
    "DataDrivenStarts(": "Blind("
}  # what records of the first release call a class that has another name now
LOSSES_PLACE = -3  # of the names of losses among the values that describe an arm
RECORD = 2  # version of what a record holds: 2 knows fits that are worse than the truth


def describe(study: Study) -> dict[str, Any]:
    """Return everything that decides a record, as values that JSON can hold; not how many there are, nor the claims."""
    parts = [part for arm in study.arms for part in _parts(arm)]
    own = {"code": code_of(*parts), "schema": study.schema if study.schema > 1 else None}
    return {
        **{name: value for name, value in own.items() if value},  # built-in studies have neither
        "study": study.name,
        "seed": study.seed,
        "arms": {arm.name: _describe(arm) for arm in study.arms},
        "record": RECORD,
        "engine": {
            "gatewise": __version__,
            "torch": torch.__version__,
            "sums": engine(),
            "search": SEARCH,
            "instructions": torch.backends.cpu.get_cpu_capability(),
            "dtype": "float64",
            "threads": 1,
        },
    }


def _describe(arm: Arm) -> dict[str, Any]:
    data, model = arm.data, arm.model
    probes = (1000, 10_000)  # a truth that drifts is told from another by its values here
    shown: dict[str, Any] = {
        "truth": [{k: v.tolist() for k, v in data.at(n).paths().items()} for n in probes],
        "fixed": {k: v.tolist() for k, v in (model.fixed or {}).items()},
        "box": {k: [torch.as_tensor(b).tolist() for b in pair] for k, pair in (model.box or {}).items()},
    }
    if model.ties:  # records of models without are older than ties
        shown["ties"] = [list(tie) for tie in model.ties]
    losses = tuple(loss.name for loss in arm.named_losses())
    if own := [repr(loss) for loss in arm.named_losses() if LOSSES.get(loss.name) != loss]:
        shown["losses"] = own
    values = (data.mixture, data.inputs, model.mixture, model.method, model.gauge, model.min_scale, model.max_iter)
    shown["values"] = [_text(v) for v in (*values, data.noise, arm.starts, losses, arm.rbar, arm.merged)]
    for text in shown["values"]:
        if " at 0x" in text:
            raise ValueError(
                f"arm {arm.name!r} holds {text}: its repr changes from run to run, so the study cannot be "
                "identified; make the class a frozen dataclass"
            )
    return shown


def without_losses(description: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `describe` says of an arm but for the losses: what decides its fits."""
    values = list(description["values"])
    del values[LOSSES_PLACE]
    return {**{name: value for name, value in description.items() if name != "losses"}, "values": values}


def _parts(arm: Arm) -> tuple[object, ...]:
    """Return what the user may have written; truths are told apart by their values."""
    return (arm.data.mixture, arm.data.inputs, arm.model.mixture, arm.starts, arm.named_losses())


def _text(value: object) -> str:
    """Return the text of a value, with classes named as in the records of the first release."""
    text = repr(value)
    for now, first in FIRST_NAMES.items():
        text = text.replace(now, first)
    return text


def fingerprint(study: Study) -> str:
    """Return a hash of everything that decides a record."""
    text = json.dumps(describe(study), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
