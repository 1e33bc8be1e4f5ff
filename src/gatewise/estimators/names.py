"""What a reader calls the parameters of a fitted estimator: by column, expert and branch."""

from __future__ import annotations

from typing import Any

import numpy as np

from gatewise.core.names import entry_name
from gatewise.estimators.options import input_names
from gatewise.estimators.terms import SummaryTerms


def input_labels(estimator: Any) -> tuple[list[str], list[str]]:
    """Return the names of the inputs of experts and of gates: those of the columns, else x0, x1, ..."""
    names = getattr(estimator, "feature_names_in_", None)
    inputs = input_names(estimator.n_features_in_) if names is None else list(names)
    fallback = [f"{'gate ' if estimator._reader.given else ''}x{i}" for i in range(estimator._reader.count)]
    return inputs, list(estimator._reader.names or fallback)


def output_labels(estimator: Any) -> list[str]:
    """Return the names of the outputs: classes but the first, several responses of a formula, else y0, y1, ..."""
    count = estimator.fit_.outputs
    classes = getattr(estimator, "classes_", None)
    if classes is not None:
        return [str(one) for one in classes[1:]]
    design = estimator._design
    named = [] if design is None else [one.text for one in design.experts.parsed.responses]
    return named if len(named) == count else [f"y{i}" for i in range(count)]


def reader_names(estimator: Any) -> dict[str, str]:
    """Return the name of every number of the measure as in the summary, with its owner, by its name there.

    ``x0[expert 1]``, ``scale[expert 0/1]`` and ``gate weight x0[branch 0]``, for ``experts.coef[1,0,0]``,
    ``family.scale[0,1,0]`` and ``gates.0.weight[0,0]``; with several levels ``gate 1 weight x0[branch 0/1]``.
    """
    fit = estimator.fit_
    terms = SummaryTerms(fit, estimator._errors, *input_labels(estimator), output_labels(estimator))
    depth, found = fit.mixture.depth, {}
    for path, value in fit.measure.paths().items():
        room, shape = path.split("."), tuple(value.shape)
        gate, level = room[0] == "gates", int(room[1]) if room[0] == "gates" else 0
        branch = terms.specs[path][0].per == "branch"
        lead = level + branch if gate else depth
        start = f"gate {level} " if gate and depth > 1 else "gate " * gate
        kind = ("branch" if branch else "node") if gate else "expert"
        for index in np.ndindex(*shape):
            owner = "/".join(map(str, index[:lead]))
            label = terms.label(path, index[lead:], shape[lead:])
            found[entry_name(path, index)] = f"{start}{label}[{kind} {owner}]" if owner else f"{start}{label}"
    return found


def aliases(names: dict[str, str]) -> dict[str, str]:
    """Return which number every name stands for: those of `reader_names`, also without ``expert`` or ``branch``."""
    out = {}
    for entry, name in names.items():
        out[name] = entry
        out.setdefault(name.replace("[expert ", "[").replace("[branch ", "[").replace("[node ", "["), entry)
    return out
