"""What a reader calls the parameters of a fitted estimator: by column, expert and branch, in tables and in texts.

The rooms below an estimator know no columns and name parameters by path and position. Here these names are put in place
of the others, in every text that an estimator shows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from gatewise.core.names import entry_name
from gatewise.estimators.errors import ReportedErrors
from gatewise.estimators.gate_inputs import GateReader
from gatewise.estimators.options import input_names
from gatewise.estimators.terms import SummaryTerms
from gatewise.fit.result import Fit
from gatewise.formulas import FormulaDesign


class Labels(NamedTuple):
    """Names of the inputs of experts and of gates, and of the outputs.

    Attributes
    ----------
    inputs, gate_inputs : list of str
        Those of the columns, else x0, x1, ...
    outputs : list of str
        Classes but the first, several responses of a formula, else y0, y1, ...
    """

    inputs: list[str]
    gate_inputs: list[str]
    outputs: list[str]


def labels_of(estimator: Any) -> Labels:
    """Return what the inputs and outputs of a fitted estimator are called."""
    classes = getattr(estimator, "classes_", None)
    return labels_of_fit(estimator.fit_, estimator, estimator._reader, estimator._design, classes)


def labels_of_fit(
    fit: Fit, seen: Any, reader: GateReader, design: FormulaDesign | None, classes: np.ndarray | None
) -> Labels:
    """Return what inputs and outputs are called where no estimator has the fit yet.

    Parameters
    ----------
    fit : Fit
    seen : estimator
        That has read X: with the number of its columns, and their names where they have any.
    reader : GateReader
    design : FormulaDesign or None
    classes : ndarray or None
        Of a classifier.
    """
    names = getattr(seen, "feature_names_in_", None)
    inputs = input_names(seen.n_features_in_) if names is None else list(names)
    fallback = [f"{'gate ' if reader.given else ''}x{i}" for i in range(reader.count)]
    return Labels(inputs, list(reader.names or fallback), _outputs(fit.outputs, design, classes))


def _outputs(count: int, design: FormulaDesign | None, classes: np.ndarray | None) -> list[str]:
    if classes is not None:
        return [str(one) for one in classes[1:]]
    named = [] if design is None else [one.text for one in design.experts.parsed.responses]
    return named if len(named) == count else [f"y{i}" for i in range(count)]


class ReaderNames:
    """The names of the numbers of a fit as in the summary, with their owner.

    ``x0[expert 1]``, ``scale[expert 0/1]`` and ``gate weight x0[branch 0]``, for ``experts.coef[1,0,0]``,
    ``family.scale[0,1,0]`` and ``gates.0.weight[0,0]``; with several levels ``gate 1 weight x0[branch 0/1]``.

    Parameters
    ----------
    fit : Fit
    labels : Labels
    """

    def __init__(self, fit: Fit, labels: Labels) -> None:
        self.fit, self.labels = fit, labels
        self._terms = SummaryTerms(fit, ReportedErrors(), *labels)
        paths = "|".join(re.escape(path) for path in sorted(self._terms.values, key=len, reverse=True))
        self._entry = re.compile(rf"(?<![\w.])({paths})(?:\[(\d+(?:,\d+)*)\])?(?![\w\[]|\.\w)")

    def every(self) -> dict[str, str]:
        """Return the name of every number of the measure, by its path and position."""
        return {
            entry_name(path, index): self.name(path, index)
            for path, value in self._terms.values.items()
            for index in np.ndindex(*value.shape)
        }

    def name(self, path: str, index: Sequence[int] = ()) -> str:
        """Return the name of one number, or of the part of a parameter that an index begins: all of it, an owner's.

        What all experts share has an index without owner.
        """
        room, _, short = path.rpartition(".")
        shape, at, depth = tuple(self._terms.values[path].shape), tuple(index), self.fit.mixture.depth
        gate = room.startswith("gates.")
        level = int(room[6:]) if gate else 0
        branch = self._terms.specs[path][0].per == "branch"
        lead = level + branch if gate else depth
        if path in self.fit.mixture.shared and len(at) < len(shape):
            at = (*(0 for _ in range(lead)), *at)
            owner = ""
        else:
            owner = "/".join(map(str, at[:lead]))
        if len(at) == len(shape):
            label = self._terms.label(path, at[lead:], shape[lead:])
        else:
            output = at[lead : lead + 1] if room == "experts" and self.fit.outputs > 1 else ()
            label = " ".join([*(self.labels.outputs[i] for i in output), self._terms.shown.get(path, short)])
        start = f"gate {level} " if gate and depth > 1 else "gate " * gate
        kind = ("branch" if branch else "node") if gate else "expert"
        return f"{start}{label}[{kind} {owner}]" if owner else f"{start}{label}"

    def text(self, text: str) -> str:
        """Return a text with these names in place of paths and positions; a path alone is all of a parameter.

        A position that the parameter has not stays as it is.
        """
        return self._entry.sub(lambda found: self._put(found[0], found[1], found[2]), text)

    def _put(self, whole: str, path: str, inside: str | None) -> str:
        index = tuple(int(one) for one in inside.split(",")) if inside else ()
        shape = self._terms.values[path].shape
        if path in self.fit.mixture.shared and len(index) < len(shape):
            shape = shape[self.fit.mixture.depth :]
        known = len(index) <= len(shape) and all(one < size for one, size in zip(index, shape, strict=False))
        return self.name(path, index) if known else whole

    @contextmanager
    def in_errors(self) -> Iterator[None]:
        """Put these names into the text of a ValueError that passes."""
        try:
            yield
        except ValueError as cause:
            cause.args = tuple(self.text(one) if isinstance(one, str) else one for one in cause.args)
            raise


def names_of(estimator: Any) -> ReaderNames:
    """Return the names of the numbers of a fitted estimator."""
    return ReaderNames(estimator.fit_, labels_of(estimator))


def aliases(names: Mapping[str, str]) -> dict[str, str]:
    """Return which number every name stands for: those of `ReaderNames`, also without ``expert`` or ``branch``."""
    out = {}
    for entry, name in names.items():
        out[name] = entry
        out.setdefault(name.replace("[expert ", "[").replace("[branch ", "[").replace("[node ", "["), entry)
    return out
