"""The proof of which derivatives are linearly dependent, and that the others are not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from scipy.linalg import qr

from gatewise.infer.identifiability.atoms import points
from gatewise.infer.identifiability.columns import Derivative, derivatives
from gatewise.infer.identifiability.draws import DrawPlan, generator_of, with_shared
from gatewise.infer.identifiability.proof.certificate import Independence, by_intervals
from gatewise.infer.identifiability.proof.enclosures import BITS, Enclosures
from gatewise.infer.identifiability.proof.modular import Modular, null_space
from gatewise.infer.identifiability.proof.nodes import NotProvableError
from gatewise.infer.identifiability.proof.polynomials import LaurentPolynomial, Ring
from gatewise.infer.identifiability.proof.result import Proof, ProvedRelation
from gatewise.infer.identifiability.proof.solve import identity, ratio, residue, solved
from gatewise.infer.identifiability.proof.subject import Subject, as_tensor, rational, subject_of

Theta = Mapping[str, Fraction]
SPARE = 12  # points modulo the prime beyond the number of derivatives
CANDIDATES = 12  # points per derivative among which those of a certificate are chosen
FEW = 3  # points at which expressions are compared with code
SAME, TINY = 1e-6, 1e-12  # agreement of an expression with the code that it was read from
TRIES = 4  # draws modulo the prime, for roots of parameters that do not exist


def prove(plan: DrawPlan) -> Proof:
    """Prove which derivatives of the atoms of a plan are linearly dependent.

    The expressions are read from the code of the atom. Relations are guessed modulo a prime, solved for in the
    parameters, and verified as identities in x, y and the parameters. That there are no others follows from the values
    of the remaining derivatives at rational points, whose matrix is shown not to be singular. What cannot be decided in
    this way is reported with the reason.
    """
    try:
        return _proof(subject_of(plan))
    except NotProvableError as reason:
        return Proof(plan.columns, (), (), None, str(reason))


def _proof(subject: Subject) -> Proof:
    labels = subject.plan.columns
    at, residues = _guess(subject)
    zero = [c for c, column in enumerate(residues) if column is None or not column.any()]
    live = [c for c in range(len(labels)) if c not in zero]
    null = _sparser(labels, live, residues)
    ring, found = subject.polynomials()
    polynomials = [LaurentPolynomial() if one is None else one for one in found]
    for c in zero:
        if polynomials[c] and ring.cleared([polynomials[c]])[0]:
            raise NotProvableError(f"{labels[c].label} vanishes only as far as is known")
    known = _values(ring, at)
    relations: list[ProvedRelation] = []
    gone = tuple(labels[c] for c in zero)
    try:
        for lead, row in sorted(null.items()):
            relations.append(_relation(subject, ring, polynomials, known, lead, row))
        independent = [c for c in live if c not in null]
        rational = _rational(ring, [polynomials[c] for c in independent])
        certificate = _certificate(subject, independent, residues if rational else None)
    except NotProvableError as reason:  # what is proved so far remains
        return Proof(labels, gone, tuple(relations), None, str(reason))
    return Proof(labels, gone, tuple(relations), certificate, "")


def _guess(subject: Subject) -> tuple[Modular, list[Any]]:
    """Return the derivatives modulo the prime, at enough points."""
    count = len(subject.plan.columns) + SPARE
    for seed in range(TRIES * 8):
        at, found = subject.modular(count, seed)
        if at.points >= count:
            return at, found
    raise NotProvableError("no points were found at which all roots exist")


def _sparser(labels: Sequence[Derivative], live: Sequence[int], residues: Sequence[Any]) -> dict[int, dict[int, int]]:
    """Return a basis of the relations, second derivatives solved for before first ones, with few terms."""
    columns = [residues[c] for c in live]
    found = []
    for sign in (-1, 1):
        order = sorted(range(len(live)), key=lambda k: (labels[live[k]].first, sign * k))
        found.append(null_space(columns, order))
    best = min(found, key=lambda null: sum(map(len, null.values())))
    return {live[lead]: {live[k]: v for k, v in row.items()} for lead, row in best.items()}


def _values(ring: Ring, at: Modular) -> dict[int, int]:
    """Return every generator that does not vary with the data, modulo the prime."""
    found: dict[int, int] = {}
    for place, own in enumerate(ring.generators):
        if own.varies:
            continue
        if own.kind == "variable":
            found[place] = int(at.draw(own.name, vary=False)[0])
        else:
            argument = np.array([residue(own.argument, found)], object)
            found[place] = int(Modular(1, at.seed).value(own.kind, argument)[0])
    return found


def _relation(
    subject: Subject, ring: Ring, polynomials: Sequence[Any], known: Any, lead: int, row: dict[int, int]
) -> ProvedRelation:
    labels = subject.plan.columns
    terms = [lead, *sorted((c for c in row if c != lead), key=lambda c: (labels[c].first, c))]
    own = [polynomials[c] for c in terms]
    coefficients = solved(ring, own, known)
    if not any(coefficients) or not identity(ring, own, coefficients):
        raise NotProvableError(f"the relation for {labels[lead].label} is no identity")
    if not coefficients[0]:
        raise NotProvableError(f"{labels[lead].label} is not in its relation")
    one = ring.constant(Fraction(1))
    ratios = tuple(ratio(ring, c, coefficients[0]) for c in coefficients)
    return ProvedRelation(tuple(labels[c] for c in terms), ratios, tuple(ratio(ring, c, one) for c in coefficients))


def _certificate(subject: Subject, independent: Sequence[int], residues: Sequence[Any] | None) -> Independence:
    """Return why the derivatives that are solved for nowhere are independent.

    Rational functions, but for a common factor, are compared modulo the prime: their values at whole numbers are
    residues of rational numbers.
    """
    if not independent:
        return Independence(0, True)
    if residues is not None:
        theta = subject.thetas[0]
        x, y = _points(subject, theta, [], FEW)
        _check(subject, theta, _values_at(subject, theta, x, y), x, y, range(len(subject.plan.columns)))
        if null_space([residues[c] for c in independent], range(len(independent))):
            raise NotProvableError("the remaining derivatives are dependent modulo 2^61 - 1")
        return Independence(len(independent), True)
    reason = NotProvableError("no parameters were drawn")
    for theta in subject.thetas:
        try:
            return _by_intervals_at(subject, theta, independent)
        except NotProvableError as fault:
            reason = fault
    raise reason


def _by_intervals_at(subject: Subject, theta: Theta, independent: Sequence[int]) -> Independence:
    x, y = _points(subject, theta, independent, len(independent))
    found = _values_at(subject, theta, x, y)
    _check(subject, theta, found, x, y, independent)
    at = {name: value for name, value in theta.items() if name not in subject.zero}
    return by_intervals([found[c] for c in independent], at)


def _values_at(subject: Subject, theta: Theta, x: Any, y: Any) -> list[Any]:
    """Return the derivatives in intervals at rational points."""
    intervals = Enclosures(len(x[0]))
    values = {name: intervals.constant(theta[name]) for name in subject.parameters}
    values |= {name: intervals.exactly(row) for name, row in zip(subject.data, [*x, *y], strict=True)}
    try:
        return subject.derivatives(intervals, values)
    except (ValueError, ZeroDivisionError) as fault:
        raise NotProvableError(str(fault)) from fault


def _rational(ring: Ring, polynomials: Sequence[LaurentPolynomial]) -> bool:
    """Return whether the derivatives are rational functions, but for powers of exponentials that all have in common."""
    powers = set()
    for one in polynomials:
        for monomial in one:
            kinds = {ring.generators[place].kind for place, _ in monomial}
            if kinds - {"variable", "exp", "inverse"}:
                return False
            powers.add(tuple(part for part in monomial if ring.generators[part[0]].kind == "exp"))
    inverses = [own.argument for own in ring.generators if own.kind == "inverse"]
    return len(powers) == 1 and all(
        ring.generators[place].kind == "variable" for one in inverses for monomial in one for place, _ in monomial
    )


def _points(
    subject: Subject, theta: Theta, independent: Sequence[int], wanted: int
) -> tuple[list[list[Fraction]], list[list[Fraction]]]:
    """Choose as many rational points as are wanted, at which some derivatives are far from dependent."""
    plan = subject.plan
    generator = generator_of(plan.seed, 5)
    count = CANDIDATES * wanted + 50
    x = [rational(row) for row in points(generator, plan.atom.d, count)]
    drawn = plan.atom.response(generator, count).reshape(count, -1)
    y = [rational(column) for column in drawn.T]
    chosen: Sequence[int] = range(wanted)
    if len(independent) == wanted:
        values = _floats(subject, theta, x, y)[:, independent]
        sizes = np.linalg.norm(values, axis=0)
        if not bool((np.isfinite(sizes) & (sizes > 0)).all()):
            raise NotProvableError("a derivative vanishes, or is not finite, at the points that were drawn")
        chosen = qr((values / sizes).T, mode="r", pivoting=True)[1][:wanted]
    return [[row[k] for k in chosen] for row in x], [[row[k] for k in chosen] for row in y]


def _floats(subject: Subject, theta: Theta, x: Sequence[Any], y: Sequence[Any]) -> Any:
    """Return the derivatives by torch at rational points, ``(points, derivatives)``."""
    plan = subject.plan
    xs = torch.stack([as_tensor(row) for row in x])
    ys = torch.stack([as_tensor(row) for row in y], -1)
    ys = ys[:, 0] if ys.shape[1] == 1 else ys
    blocks = []
    for names in subject.names:
        own = as_tensor([theta[name] for name in names])
        blocks.append(derivatives(plan.atom, own, xs, ys, plan.order))
    return with_shared(plan, torch.cat(blocks, -1)).numpy()


def _check(subject: Subject, theta: Theta, found: Sequence[Any], x: Any, y: Any, columns: Sequence[int]) -> None:
    """Raise where the expressions and the code that they were read from differ."""
    live = [c for c in columns if found[c] is not None]
    by_torch = _floats(subject, theta, x, y)[:, live]
    own = np.array([[int(v) / 2**BITS for v in found[c].middle] for c in live]).T
    size = np.abs(by_torch).max(0)
    if not bool((np.abs(own - by_torch) <= SAME * size + TINY).all()):
        raise NotProvableError("the expressions read from the code differ from what it computes")
