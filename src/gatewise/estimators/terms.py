"""The numbers of a fit one by one, as a reader knows them: by column names, expert and branch, with their errors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache
from itertools import combinations_with_replacement, product
from typing import NamedTuple

import torch
from torch import Tensor

from gatewise.core.families.gaussian import SPREAD
from gatewise.core.names import entry_name
from gatewise.core.parameters import Parameter
from gatewise.estimators.errors import ReportedErrors
from gatewise.estimators.shared import is_common
from gatewise.fit.result import Certificate, Fit
from gatewise.infer.covariance.limits import clipped, interval_limits
from gatewise.infer.intervals import critical, ends, p_value
from gatewise.objective.entries import kinds
from gatewise.objective.parameterization import specifications

LEVEL = 0.95
REFERENCE = "reference"  # word of what is zero as the reference of its node
INFINITY = 100.0  # distance of a center from all others, in the gate's own units, at which only its direction matters
OWN = "experts."
UNTESTED = ("location",)  # roles of parameters for which zero is no hypothesis
ORDER = ("intercept", "threshold", "slope", "output")  # of the roles of an expert; what has another one follows

Index = tuple[int, ...]
Words = tuple[tuple[str, tuple[str, ...]], ...]


class Term(NamedTuple):
    """One parameter: name and estimate, then error, z, p and interval, or a word that stands for them."""

    name: str
    estimate: float
    numbers: tuple[float, ...] = ()
    word: str = ""


class TermGroup(NamedTuple):
    """The parameters of one expert, of one branch of a gate, or of a node of gates."""

    owner: Index
    terms: list[Term]


class SummaryTerms:
    """Reads the parameters of a fit: knows names, errors, and what the certificate says about single parameters."""

    def __init__(
        self,
        fit: Fit,
        errors: ReportedErrors,
        inputs: Sequence[str],
        gate_inputs: Sequence[str],
        outputs: Sequence[str] = (),
    ) -> None:
        self.fit, self.inputs, self.gate_inputs = fit, inputs, gate_inputs
        self.outputs = outputs or [f"y{i}" for i in range(fit.outputs)]
        self.values = fit.measure.paths()
        self.q = fit.outputs
        self.specs = specifications(fit.mixture, len(inputs), len(gate_inputs), self.q)
        self.errors = errors.values or {}
        self.leaves = list(product(*map(range, fit.mixture.branching)))
        self.tied = {name for tie in fit.spec.ties if is_common(fit.mixture, tie) for name in tie}
        expert = fit.mixture.expert
        self.of_columns = {p: expert.entries(p.removeprefix(OWN), inputs) for p in self.specs if p.startswith(OWN)}
        self.shown = self._shown()
        self.words = {**words_of((("not unique", errors.directions),)), **words_of(said(fit.certificate))}

    def experts(self) -> list[TermGroup]:
        """Return the parameters of every expert: intercept, slopes, output weight, then those of the family."""
        own = [path for path in self.specs if path.startswith(("experts.", "family."))]
        first = [path for role in ORDER for path in self.fit.mixture.paths("experts", role)]
        order = [path for path in first if path in own] + [path for path in own if path not in first]
        return [TermGroup(leaf, [term for path in order for term in self.at(path, leaf)]) for leaf in self.leaves]

    def coefficients(self) -> list[TermGroup]:
        """Return the parameters of every expert without those of its family."""
        first = [path for role in ORDER for path in self.fit.mixture.paths("experts", role)]
        own = [path for path in self.specs if path.startswith("experts.")]
        order = [path for path in first if path in own] + [path for path in own if path not in first]
        return [TermGroup(leaf, [term for path in order for term in self.at(path, leaf)]) for leaf in self.leaves]

    def common(self) -> TermGroup:
        """Return the coefficients that all experts share, with no owner."""
        first = [path for role in ORDER for path in self.fit.mixture.paths("experts", role)]
        found = [(path, self.specs[path][0], self.values[path], self.leaves[0]) for path in first if path in self.specs]
        return TermGroup((), [term for one in found for term in self.read(*one, common=True)])

    def gate(self, level: int, per: str) -> list[TermGroup]:
        """Return the parameters of one level: of every branch, or of every node (`per`)."""
        own = [p for p, (spec, _) in self.specs.items() if p.startswith(f"gates.{level}.") and spec.per == per]
        owners = product(*map(range, self.fit.mixture.branching[: level + (per == "branch")]))
        return [TermGroup(one, [term for path in own for term in self.at(path, one)]) for one in owners] if own else []

    def at(self, path: str, owner: Index) -> list[Term]:
        """Return the terms of one parameter of one owner; none of a parameter that its kind of leaf lacks."""
        family, only = self.fit.mixture.family, self.specs[path][0].only
        if only is not None and owner[-1] not in only:
            return []
        covariance = family.covariance(self.fit.measure.family, self.q)
        if covariance is not None and self.specs[path][0].role == "covariance":
            spread = torch.sqrt(covariance.diagonal(dim1=-2, dim2=-1))
            return self.read(SPREAD, Parameter((self.q,), "scale", transform="log"), spread, owner)
        return self.read(path, self.specs[path][0], self.values[path], owner)

    def read(self, path: str, spec: Parameter, value: Tensor, owner: Index, common: bool = False) -> list[Term]:
        """Return the terms of one owner's part of a tensor: its own, or those that all experts share."""
        part = value[owner]
        indices = list(product(*map(range, part.shape)))
        names = [self.label(path, index, part.shape) for index in indices]
        words = [self.word(path, owner, index) for index in indices]
        estimate = part.reshape(-1)
        numbers: list[tuple[float, ...]] = [()] * len(names)
        if path in self.errors:
            kind = kinds(spec, tuple(part.shape)).flatten()
            error = self.errors[path][owner].reshape(-1)
            tested = (kind == 0) & (spec.role not in UNTESTED)
            limits = (
                interval_limits(path, spec, tuple(value.shape), self.fit.spec).movedim(0, -1)[owner].reshape(-1, 2).mT
            )
            numbers = _numbers(estimate, error, kind, tested, limits)
            words = [word or _word(one) for word, one in zip(words, error.tolist(), strict=True)]
        rows = zip(names, estimate.tolist(), numbers, words, strict=True)
        found = [Term(name, number, () if word else known, word) for name, number, known, word in rows]
        tied = [entry_name(path, (*owner, *index)) in self.tied for index in indices]
        return [term for term, is_tied in zip(found, tied, strict=True) if is_tied == common]

    def label(self, path: str, index: Index, shape: Sequence[int]) -> str:
        """Return the name of one entry of a parameter, with column names in place of positions."""
        room, _, name = path.rpartition(".")
        if path in self.specs and self.specs[path][0].role == "covariance":  # entries of pairs of outputs
            pair = _pairs(self.q)[1][index[0]]
            return " ".join([self.shown.get(path, name), *(self.outputs[i] for i in pair)])
        mark = f"{self.outputs[index[0]]} " if room in ("experts", "family") and index and self.q > 1 else ""
        index = index[1:] if room == "experts" else index
        if room == "experts":
            known = self.of_columns[path]
            return mark + (known[index[0]] if known else " ".join([self.shown.get(path, name), *map(str, index)]))
        if room == "family":
            several = [str(i) for i, size in zip(index[1:], shape[1:], strict=True) if size > 1]
            return mark + " ".join([self.shown.get(path, name), *several])
        name = self.shown.get(path, name)
        spec, inputs = self.specs[path][0], self.gate_inputs
        return " ".join([name, *self.columns(spec, index, shape, inputs)])

    def _shown(self) -> dict[str, str]:
        """Return the paths that stand in place of short names that something else has too.

        The names of an expert, of its family and of the columns of its slopes stand in one table; a gate has its own,
        but names of the family are not used there for something else.
        """
        short = {path: path.rpartition(".")[2] for path in self.specs}
        tables = {path: path.partition(".")[0] for path in self.specs}
        taken = Counter(label for path, known in self.of_columns.items() for label in known or (short[path],))
        family = [name for path, name in short.items() if tables[path] == "family"]
        gates = {name for path, name in short.items() if tables[path] == "gates"}
        taken.update(family)
        return {
            path: path
            for path, name in short.items()
            if not self.of_columns.get(path)
            and (
                taken[name] > 1 if tables[path] == "experts" else name in family and (taken[name] > 1 or name in gates)
            )
        }

    def columns(self, spec: Parameter, index: Index, shape: Sequence[int], inputs: Sequence[str]) -> list[str]:
        """Return the names of the columns behind one entry of a gate's parameter."""
        if not index:
            return []
        if spec.role == "quadratic":
            i, j = _pairs(len(inputs))[0][index[0]]
            return [f"{inputs[i]}^2"] if i == j else [inputs[i], inputs[j]]
        return [inputs[index[0]]] if tuple(shape) == (len(inputs),) else [str(i) for i in index]

    def word(self, path: str, owner: Index, index: Index) -> str:
        """Return what stands in place of errors because of the gauge or the certificate, or an empty text."""
        if self.is_reference(path, owner):
            return REFERENCE
        if self.at_infinity(path, owner):
            return "at infinity"
        full = index if path in self.fit.mixture.shared else (*owner, *index)
        wider = [(*owner, *index[:count]) for count in range(len(index), -1, -1)]  # a kink is of all entries at once
        return next(filter(None, (self.words.get(entry_name(path, one)) for one in (full, *wider))), "")

    def is_reference(self, path: str, owner: Index) -> bool:
        """Return whether a branch is the reference of its node: what may be shifted is zero there."""
        room = path.rpartition(".")[0]
        if not room.startswith("gates."):
            return False
        shifted = self.fit.mixture.gates[int(room[6:])].translation()
        free = [f"{room}.{other}" for other in shifted if self.specs[f"{room}.{other}"][0].free]
        return path in free and all(bool((self.values[other][owner] == 0).all()) for other in free)

    def at_infinity(self, path: str, owner: Index) -> bool:
        """Return whether a center that has no unique estimate is so far out that only its direction matters."""
        within = entry_name(path, owner)[:-1] + ","
        room, _, name = path.rpartition(".")
        located = room.startswith("gates.") and self.specs[path][0].role == "location"
        if not located or not any(word.startswith(within) for word in self.words):
            return False
        score = self.fit.mixture.gates[int(room[6:])].score
        params = {key: value[owner[:-1]] for key, value in self.fit.measure.gates[int(room[6:])].items()}
        params |= {key: torch.zeros_like(params[key]) for key in score.names("intercept")}
        apart = -score(params, params[name].mT)[owner[-1]]
        return bool((apart > INFINITY).sum() == len(apart) - 1)  # all but itself


@cache
def _pairs(count: int) -> tuple[list[Index], list[Index]]:
    """Return the places of an upper and of a lower triangle, row by row."""
    return list(combinations_with_replacement(range(count), 2)), [(i, j) for i in range(count) for j in range(i + 1)]


def said(certificate: Certificate) -> Words:
    """Return what a certificate says about single parameters: words, and the directions they hold for."""
    return (
        ("at its limit", certificate.limits),
        ("at its bound", certificate.active),
        ("on a kink", certificate.kinks),
        ("not unique", certificate.null),
        ("without limit", certificate.separated),
        ("on the floor", certificate.floor),
    )


def words_of(words: Words) -> dict[str, str]:
    """Return the word of every single parameter.

    Examples
    --------
    >>> words_of((("not unique", ("a & b",)), ("on the floor", ("b",))))
    {'a': 'not unique', 'b': 'on the floor'}
    """
    return {name: word for word, directions in words for one in directions for name in one.split(" & ")}


def _word(error: float) -> str:
    return "fixed" if error == 0 else "not unique" if error != error else ""


def _numbers(estimate: Tensor, error: Tensor, kind: Tensor, tested: Tensor, limits: Tensor) -> list[tuple[float, ...]]:
    z = torch.where(tested & (error > 0), estimate / error, torch.nan)
    lower, upper = clipped(*ends(estimate, error, kind, critical(LEVEL)), limits)
    return list(map(tuple, torch.stack([error, z, p_value(z), lower, upper], -1).tolist()))
