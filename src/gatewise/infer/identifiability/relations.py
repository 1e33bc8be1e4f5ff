"""Null relations as equations: a sparse basis of the null space whose coefficients are read as simple formulas."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import chain, permutations
from typing import NamedTuple

import torch
from torch import Tensor

from gatewise.infer.identifiability.columns import Derivative
from gatewise.infer.identifiability.rank import ZERO, Rank

PIVOT = 1e-6  # entry of a relation, in unit columns, below which it is no pivot and no term
SAME = 1e-6  # relative agreement of a coefficient over draws
LARGEST = 4  # numerator and denominator of a simple coefficient
TERMS = 6  # longer equations are not written out
ENTRY = re.compile(r"\b([\w.]+?)\[(\d+)\]")  # an entry of a parameter, in a derivative or a coefficient


class Relation(NamedTuple):
    """A linear relation between derivatives of atoms.

    Attributes
    ----------
    terms : tuple of str
        Labels of the derivatives that take part.
    coefficients : tuple of str or None
        Their coefficients in ``sum = 0``, as formulas in the parameters; None when some could not be read.
    """

    terms: tuple[str, ...]
    coefficients: tuple[str, ...] | None

    @property
    def equation(self) -> str | None:
        """The relation solved for its first term, or None when it is long or its coefficients are not simple.

        Examples
        --------
        >>> Relation(("d2u/dintercept2", "du/dvariance"), ("1", "-2")).equation
        'd2u/dintercept2 = 2 du/dvariance'
        """
        if self.coefficients is None or len(self.terms) > TERMS:
            return None
        parts = [_signed(_opposite(c), t) for c, t in zip(self.coefficients[1:], self.terms[1:], strict=True)]
        right = " ".join(f"{sign} {body}" for sign, body in parts)
        return f"{self.terms[0]} = {right.removeprefix('+ ').replace('- ', '-', right.startswith('- ')) or '0'}"


def relations(
    ranks: Sequence[Rank], derivatives: Sequence[Derivative], values: Sequence[Mapping[str, float]]
) -> list[Relation]:
    """Return a sparse basis of the relations that hold at every draw.

    Second derivatives are eliminated before first ones, so that a relation between first derivatives alone stays one.

    Parameters
    ----------
    ranks : one per draw of the parameters, with equal nullity and zero columns
    derivatives : one per column
    values : per draw, the parameters by name, which coefficients may consist of
    """
    if not ranks[0].nullity:
        return []
    columns = range(len(derivatives))
    orders = [
        sorted(columns, key=lambda c: (derivatives[c].first, -c)),
        sorted(columns, key=lambda c: (derivatives[c].first, c)),
    ]
    basis = min((_reduced(ranks, order) for order in orders), key=lambda rows: int(_present(rows).sum()))
    coefficients = basis / torch.stack([r.norms for r in ranks]).clamp_min(ZERO)[:, None]
    formulas = _formulas(values)
    found = []
    for row, present in enumerate(_present(basis)):
        terms = present.nonzero().flatten().tolist()
        found.append(_relation(terms, coefficients[:, row, terms], derivatives, formulas))
    places = {d.label: c for c, d in enumerate(derivatives)}
    return sorted(found, key=lambda relation: [places[term] for term in relation.terms])


def _present(rows: Tensor) -> Tensor:
    """Return which columns are terms of which relation at some draw, ``(nullity, m)``."""
    return (rows.abs() > PIVOT).any(0)


def _relation(
    terms: Sequence[int], values: Tensor, derivatives: Sequence[Derivative], formulas: Mapping[str, Tensor]
) -> Relation:
    """Solve a relation with coefficients ``(T, terms)`` for the term that makes it simplest, a second one if any."""
    lowest = min(derivatives[c].first for c in terms)
    leads = [k for k, c in enumerate(terms) if derivatives[c].first == lowest and bool((values[:, k] != 0).all())]
    labels = [derivatives[c].label for c in terms]
    best: tuple[tuple[int, int], Relation] | None = None
    for lead in reversed(leads if len(terms) <= TERMS else leads[:1]):
        order = [lead, *(k for k in range(len(terms)) if k != lead)]
        read = [_read(values[:, k] / values[:, lead], formulas) for k in order]
        known = tuple(text for text in read if text is not None)
        score = (len(read) - len(known), sum(map(_complexity, known)))
        if best is None or score < best[0]:
            named = tuple(labels[k] for k in order)
            best = (score, Relation(named, known if len(known) == len(read) else None))
    assert best is not None
    return best[1]


def _reduced(ranks: Sequence[Rank], order: Sequence[int]) -> Tensor:
    """Return the reduced row echelon form ``(T, nullity, m)`` of the null spaces, with the same pivots at all draws."""
    rows = torch.stack([r.null for r in ranks])
    at = 0
    for column in order:
        size = rows[:, at:, column].abs()
        if not size.numel():
            break
        if bool((size.amax(1) <= PIVOT).any()):
            continue
        for t, best in enumerate(size.argmax(1).tolist()):
            rows[t, [at, at + best]] = rows[t, [at + best, at]]
        rows[:, at] = rows[:, at] / rows[:, at, column, None]
        others = rows[:, :, column].clone()
        others[:, at] = 0.0
        rows = rows - others[..., None] * rows[:, at, None]
        at += 1
    return rows


def _formulas(values: Sequence[Mapping[str, float]]) -> dict[str, Tensor]:
    """Return the formulas a coefficient is compared with: 1, a, 1/a, a/b for parameters a and b; values per draw."""
    draws = {name: torch.tensor([v[name] for v in values], dtype=torch.float64) for name in values[0]}
    draws = {name: v for name, v in draws.items() if bool((v != 0).all())}
    found = {"": torch.ones(len(values), dtype=torch.float64)}
    found |= draws
    found |= {f"1/{name}": 1 / v for name, v in draws.items()}
    return found | {f"{a}/{b}": draws[a] / draws[b] for a, b in permutations(draws, 2)}


def _read(coefficient: Tensor, formulas: Mapping[str, Tensor]) -> str | None:
    """Return a coefficient, one value per draw, as a simple fraction times a formula; None when it is neither.

    Examples
    --------
    >>> values = torch.tensor([2.0, 5.0, -3.0], dtype=torch.float64)
    >>> _read(-1.5 * values, _formulas([{"weight": float(v)} for v in values]))
    '-3/2 weight'
    """
    ratio = coefficient / torch.stack(list(formulas.values()))
    mean = ratio.mean(1)
    same = ((ratio - mean[:, None]).abs() < SAME * mean.abs()[:, None]).all(1)
    texts = list(formulas)
    for place in same.nonzero().flatten().tolist():
        value = float(mean[place])
        simple = Fraction(value).limit_denominator(LARGEST)
        if 0 < abs(simple.numerator) <= LARGEST and abs(value - float(simple)) < SAME * abs(value):
            return _product(simple, texts[place])
    return None


def _product(factor: Fraction, formula: str) -> str:
    if formula and abs(factor) == 1:
        return f"{'-' * (factor < 0)}{formula}"
    return f"{factor} {formula}".rstrip()


def _complexity(formula: str) -> int:
    """Return how much there is to read in a coefficient."""
    return 4 * formula.count("/") + 3 * bool(re.search("[a-z]", formula)) + (formula.strip("-") != "1")


def _opposite(coefficient: str) -> str:
    return coefficient[1:] if coefficient.startswith("-") else "-" + coefficient


def _signed(coefficient: str, label: str) -> tuple[str, str]:
    size = coefficient.removeprefix("-")
    plain = f"({size})" if " " in size or "/" in size else size
    body = label if size == "1" else f"{plain} {label}"
    return ("-" if coefficient.startswith("-") else "+"), body


def equations(found: Sequence[Relation], labels: Sequence[str] = ()) -> list[str]:
    """Return the equations, those that hold for every feature written once without index.

    Parameters
    ----------
    found : relations
    labels : derivatives whose indices tell how many features there are, besides those in the equations

    Examples
    --------
    >>> pair = [Relation((f"d2u/dweight[{i}] dintercept", f"du/dcoef[{i}]"), ("1", "-1")) for i in range(2)]
    >>> equations(pair)
    ['d2u/dweight dintercept = du/dcoef']
    """
    return without_indices([text for relation in found if (text := relation.equation) is not None], labels)


def without_indices(texts: Sequence[str], labels: Sequence[str] = ()) -> list[str]:
    """Return equations, those that hold for every feature written once without index; see `equations`."""
    entries = [ENTRY.findall(text) for text in texts]
    sizes: dict[str, int] = {}
    for name, index in (*chain(*entries), *chain(*map(ENTRY.findall, labels))):
        sizes[name] = max(sizes.get(name, 0), int(index) + 1)
    generic = [
        ENTRY.sub(r"\1", text) if len({index for _, index in own}) == 1 else text
        for text, own in zip(texts, entries, strict=True)
    ]
    whole = [
        generic.count(short) == max((sizes[name] for name, _ in own), default=0)
        for short, own in zip(generic, entries, strict=True)
    ]
    return list(dict.fromkeys(g if w else t for g, w, t in zip(generic, whole, texts, strict=True)))
