"""Relations between derivatives are proved, false ones are refused, and what is proved is right."""

import itertools
from fractions import Fraction
from pathlib import Path

import mpmath
import numpy as np
import pytest
import sympy
import torch

from gatewise import EXPERTS, FAMILIES, GATES, identify
from gatewise.infer.identifiability import Atom, identify_atom
from gatewise.infer.identifiability.draws import DrawPlan
from gatewise.infer.identifiability.known import KNOWN
from gatewise.infer.identifiability.leaf import leaf_atom
from gatewise.infer.identifiability.proof import certificate, jets, operations, prove, proving
from gatewise.infer.identifiability.proof.certificate import by_intervals
from gatewise.infer.identifiability.proof.enclosures import BITS, Enclosure, Enclosures
from gatewise.infer.identifiability.proof.modular import PRIME, Modular, null_space
from gatewise.infer.identifiability.proof.nodes import NotProvableError
from gatewise.infer.identifiability.proof.polynomials import Ring
from gatewise.infer.identifiability.proof.solve import identity
from gatewise.infer.identifiability.proof.subject import subject_of

QUICK = {"draws": 1, "samples": 1}
NAMES = [f"{row.source} {row.name}, order {row.settings.get('order', 2)}" for row in KNOWN]


def plan_of(gate="softmax", expert="linear", family="gaussian", d=2, order=2, **more):
    law = None if family is None else FAMILIES[family]
    atom = leaf_atom((GATES[gate],), EXPERTS[expert], law, d, **more)
    return DrawPlan(atom, order, 1, False, 0, 1, 1, 1)


@pytest.mark.parametrize("row", KNOWN, ids=NAMES)
def test_a_known_row_is_proved(row):
    proof = row.run(proof=True, **QUICK).proof
    assert proof.decided, proof.doubt
    assert row.proved(proof)
    assert proof.certificate.rank == proof.n_atoms - proof.nullity
    assert not row._replace(nullity=row.nullity + 1).proved(proof)


@pytest.mark.parametrize(
    "gate",
    ["softmax", "laplace", pytest.param("cosine", marks=pytest.mark.slow), "dense-to-sparse", "quadratic-monomial"],
)
def test_three_inputs(gate):
    found = identify(gate, d=3, proof=True, **QUICK)
    assert found.proof.decided
    assert (found.proof.n_atoms, found.proof.nullity) == (found.n_atoms, found.nullity)
    assert found.proof.parameters == found.parameters


PAIRS = [(gate, "ml") for gate in GATES if gate not in ("top-k", "sigmoid")]


@pytest.mark.slow
@pytest.mark.parametrize("expert", EXPERTS)
@pytest.mark.parametrize(("gate", "estimator"), [*PAIRS, ("softmax", "ls"), ("laplace", "ls"), ("sigmoid", "ls")])
def test_every_gate_with_every_expert(gate, estimator, expert):
    found = identify(gate, expert, estimator, d=1, proof=True, **QUICK)
    if GATES[gate].score.kinked() and EXPERTS[expert].kinked():  # on a line, some of the pieces are empty
        assert found.proof.decided == (found.proof.certificate is not None)
    else:
        assert found.proof.decided, found.proof.doubt
        assert (found.proof.n_atoms, found.proof.nullity) == (found.n_atoms, found.nullity)


def test_pieces_that_are_empty_are_not_decided():
    """On a line, a distance and a unit have three pieces, not four: relations hold that no rule gives."""
    proof = identify("laplace", "relu-no-bias", "ls", d=1, proof=True, **QUICK).proof
    assert not proof.decided
    assert proof.relations
    assert "but for 2 of the relations" in proof.words


UNDECIDED = {  # families, numbers of outputs, and why
    ("negative-binomial", 2): "more than 20000 terms",
    ("beta", 1): "more than 20000 terms",
    ("beta", 2): "more than 20000 terms",
    ("categorical", 1): "no rule",
    ("categorical", 2): "no rule",
    ("ordered", 1): "no rule",
    ("ordered", 2): "no rule",
}


LONG = ("beta", "negative-binomial", "student-t")  # beta: until it is known to have too many terms


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize(
    "family", [pytest.param(name, marks=pytest.mark.slow) if name in LONG else name for name in FAMILIES]
)
def test_every_family(family, outputs):
    found = identify("softmax", family=family, outputs=outputs, d=1, proof=True, **QUICK)
    if (family, outputs) in UNDECIDED:
        assert not found.proof.decided
        assert UNDECIDED[family, outputs] in found.proof.doubt
        return
    assert found.proof.decided, found.proof.doubt
    assert found.proof.nullity == found.nullity


def test_two_responses_have_one_heat_equation_each():
    proof = identify("laplace", outputs=2, d=3, proof=True, **QUICK).proof
    assert proof.decided
    assert "d2u/dintercept2 = 2 du/dvariance" in proof.equations
    leads = [relation.terms[0].label for relation in proof.relations]
    assert {"d2u/dintercept[0]2", "d2u/dintercept[1]2"} <= set(leads)


@pytest.mark.parametrize("gate", ["softmax", "laplace"])
def test_rows_that_share_an_expert_break_the_heat_equation(gate):
    alone, together = (identify(gate, d=3, group_size=rows, proof=True, **QUICK) for rows in (1, 2))
    assert "variance" in alone.proof.parameters
    assert together.proof.decided
    assert together.proof.parameters == together.parameters == ()


def test_groups_are_for_maximum_likelihood():
    with pytest.raises(ValueError, match=r"group_size=2.*estimator='ml'"):
        identify("softmax", "linear", "ls", group_size=2)
    with pytest.raises(ValueError, match="outputs"):
        identify("softmax", outputs=0)


def expression(text, symbols):
    """A printed coefficient, read back by sympy."""
    for name, symbol in symbols.items():
        text = text.replace(name, f"({symbol})")
    plain = text.replace("^", "**").replace(" ", "*").replace("*-*", "-").replace("*+*", "+")
    return sympy.sympify(plain, locals={str(symbol): symbol for symbol in symbols.values()})


@pytest.mark.parametrize(
    "gate", ["softmax", "dense-to-sparse", pytest.param("cosine", marks=pytest.mark.slow), "laplace"]
)
def test_sympy_agrees_with_what_is_printed(gate):
    """The formulas once more by hand, differentiated by sympy; the equations hold in these too."""
    w, a, x = (sympy.symbols(f"{letter}:2", real=True) for letter in "wax")
    b, y = sympy.symbols("b y", real=True)
    v, t = sympy.symbols("v t", positive=True)
    dot = sum(one * other for one, other in zip(w, x, strict=True))
    norms = [sympy.sqrt(sum(one**2 for one in vector)) for vector in (w, x)]
    distance = sympy.sqrt(sum((one - other) ** 2 for one, other in zip(w, x, strict=True)))
    score = {
        "softmax": dot,
        "dense-to-sparse": dot / t,
        "cosine": dot / norms[0] / norms[1],
        "laplace": -distance,
    }[gate]
    mean = b + sum(one * other for one, other in zip(a, x, strict=True))
    u = sympy.exp(score - (y - mean) ** 2 / (2 * v)) / sympy.sqrt(v)
    slope = "center" if gate == "laplace" else "weight"
    symbols = {f"{slope}[{i}]": w[i] for i in range(2)} | {f"coef[{i}]": a[i] for i in range(2)}
    symbols |= {"intercept": b, "variance": v, "temperature": t}
    relations = identify(gate, proof=True, **QUICK).proof.relations
    assert relations
    for relation in relations:
        total = 0
        for term, ratio in zip(relation.terms, relation.ratios, strict=True):
            factor = expression(ratio.text, symbols) * (-1 if ratio.negative else 1)
            total += factor * sympy.diff(u, *(symbols[entry] for entry in term.entries))
        assert sympy.simplify(total / u) == 0, relation.equation


@pytest.mark.parametrize("gate", ["softmax", "laplace", "cosine", "perturbed-cosine", "dense-to-sparse"])
def test_a_changed_relation_is_refused(gate):
    """Every coefficient of every relation, changed by one or doubled, makes it false."""
    subject = subject_of(plan_of(gate))
    ring, columns = subject.polynomials()
    at, residues = proving._guess(subject)
    live = range(len(columns))
    null = null_space([residues[c] for c in live], live)
    known = proving._values(ring, at)
    assert null
    for row in null.values():
        own = [columns[c] for c in row]
        found = proving.solved(ring, own, known)
        assert identity(ring, own, found)
        for k in range(len(row)):
            more = [*found]
            more[k] = ring.add(found[k], ring.constant(Fraction(1)))
            assert not identity(ring, own, more)
            twice = [*found]
            twice[k] = ring.scale(2, found[k])
            assert not identity(ring, own, twice)


def test_a_planted_relation_is_refused(monkeypatch):
    def planted(matrix, order):
        found = null_space(matrix, order)
        return found | {0: {0: 1, 1: 5}}  # du/dcenter[0] is no multiple of du/dcenter[1]

    monkeypatch.setattr(proving, "null_space", planted)
    proof = prove(plan_of("laplace"))
    assert not proof.decided
    assert proof.certificate is None


def test_a_relation_that_is_left_out_is_missed(monkeypatch):
    """Then the remaining derivatives are dependent, and there is no certificate, neither exact nor by intervals."""

    def short(matrix, order):
        found = null_space(matrix, order)
        return dict(list(found.items())[1:]) if len(found) > 1 else found

    monkeypatch.setattr(proving, "null_space", short)
    for gate in ("softmax", "laplace"):
        proof = prove(plan_of(gate))
        assert not proof.decided, gate
        assert "dependent" in proof.doubt or "singular" in proof.doubt


def test_a_wrong_derivative_is_found(monkeypatch):
    def wrong(at, a):
        value, first, second = rule(at, a)
        return value, first, at.add(second, first)

    rule = jets.FUNCTIONS["tanh"]
    monkeypatch.setitem(jets.FUNCTIONS, "tanh", wrong)
    assert "differ" in prove(plan_of("laplace", "bare-tanh")).doubt


def test_a_wrong_operation_is_found(monkeypatch):
    monkeypatch.setitem(operations.RULES, "tanh", operations.RULES["sigmoid"])
    assert "differ" in prove(plan_of("laplace", "bare-tanh")).doubt


def test_what_has_no_rule_is_not_decided():
    def bessel(x, y, theta):
        return torch.special.i0(theta[0] * x[0]) * theta[1]

    atom = Atom(bessel, ("rate", "size"), lambda g: torch.rand(2, generator=g, dtype=torch.float64), d=1)
    found = identify_atom(atom, order=1, proof=True, rows=1000)
    assert not found.proof.decided
    assert found.proof.words == "Proof: not decided: torch's i0 has no rule here."
    assert found.nullity == 0


def test_an_approximation_is_told_from_a_relation():
    """A function that is computed by a series fulfils its relation to rounding only; the proof claims neither."""

    def nearly(x, y, theta):
        z = theta[0] + theta[1] * x[0]
        total = torch.ones_like(z)
        for k in range(15, 0, -1):
            total = 1 + z / k * total
        return total  # exp(z), to rounding

    def draw(generator):
        return 0.1 + 0.1 * torch.rand(2, generator=generator, dtype=torch.float64)

    found = identify_atom(Atom(nearly, ("height", "slope"), draw, d=1), proof=True)
    assert found.nullity == 2
    assert found.proof.nullity == 0
    assert not found.proof.decided
    assert found.proof.certificate is None
    assert "may compute by approximations" in found.proof.doubt


def test_a_part_of_ones_own_is_proved():
    def wave(x, y, theta):
        return theta[1] * torch.sin(theta[0] * x[0] + theta[2])

    atom = Atom(wave, ("rate", "size", "phase"), lambda g: torch.rand(3, generator=g, dtype=torch.float64) + 0.5, d=1)
    proof = identify_atom(atom, proof=True).proof
    assert proof.decided
    assert "d2u/dsize dphase = (1/size) du/dphase" in proof.equations
    assert "d2u/dphase2 = -size du/dsize" in proof.equations


def test_a_ridge_has_its_direction_in_named_parameters():
    found = identify("dense-to-sparse", d=3, order=1, proof=True, **QUICK)
    names = "temperature, weight[0], weight[1], weight[2]"
    assert found.proof.directions == (f"({names}) along ({names})",)
    assert names in found.text()
    assert "proved relation" in found._repr_html_()
    frame = found.proof.to_frame()
    assert list(frame.columns) == ["equation", "terms", "direction"]
    assert len(frame) == 1
    assert found.proof.as_json()["directions"] == list(found.proof.directions)


def test_the_guide_shows_what_is_printed():
    text = (Path(__file__).parents[2] / "docs/guide/theorist/proofs.md").read_text("utf-8")
    printed = identify("dense-to-sparse", "linear", order=1, proof=True).proof.text()
    assert f"```text\n{printed}\n```" in text


def test_two_atoms_with_one_gate():
    proof = identify("sigmoid", "constant", "ls", order=1, atoms=2, shared_gate=True, proof=True, d=3, **QUICK).proof
    assert proof.decided
    assert len(proof.directions) == proof.nullity == 5


def test_nothing_is_proved_unless_it_is_asked_for():
    assert identify("softmax", d=1, **QUICK).proof is None


FUNCTIONS = {
    "inverse": lambda z: 1 / z,
    "exp": mpmath.exp,
    "log": mpmath.log,
    "sqrt": mpmath.sqrt,
    "sin": mpmath.sin,
    "cos": mpmath.cos,
    "tanh": mpmath.tanh,
    "sigmoid": lambda z: 1 / (1 + mpmath.exp(-z)),
    "logsigmoid": lambda z: -mpmath.log(1 + mpmath.exp(-z)),
    "erf": mpmath.erf,
    "ndtr": mpmath.ncdf,
    "bell": mpmath.npdf,
    "lgamma": mpmath.loggamma,
    "digamma": mpmath.digamma,
    "trigamma": lambda z: mpmath.psi(1, z),
}


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_an_interval_holds_the_value(kind):
    """Compared with mpmath at many more digits, at the middle and the ends of an interval; and it is narrow."""
    points = [Fraction(3, 7), Fraction(29, 8), Fraction(1, 50), Fraction(-5, 3)]
    points = points[:3] if kind in ("log", "sqrt", "lgamma", "digamma", "trigamma") else points
    at = Enclosures(len(points))
    exact = at.exactly(points)
    wide = Enclosure(exact.middle, exact.radius + 2 ** (BITS - 200))
    with mpmath.workprec(600):
        for ball, ends in ((at.value(kind, exact), (0,)), (at.value(kind, wide), (-1, 0, 1))):
            for k, end in itertools.product(range(len(points)), ends):
                z = mpmath.mpf(points[k].numerator) / points[k].denominator + end * mpmath.mpf(2) ** -200
                true = FUNCTIONS[kind](z) * mpmath.mpf(2) ** BITS
                assert abs(true - mpmath.mpf(int(ball.middle[k]))) <= int(ball.radius[k])
        assert max(at.value(kind, exact).radius.tolist()) < 2 ** (BITS - 200)


def test_products_of_intervals_hold_the_product():
    at = Enclosures(2)
    a, b = at.exactly([Fraction(1, 3), Fraction(-7, 9)]), at.exactly([Fraction(5, 11), Fraction(2, 13)])
    for k, true in enumerate((Fraction(5, 33), Fraction(-14, 117))):
        found = at.mul(a, b)
        assert abs(true * 2**BITS - int(found.middle[k])) <= int(found.radius[k])


@pytest.mark.parametrize(("kind", "value"), [("log", -1), ("sqrt", 0), ("inverse", 0), ("step", 0), ("lgamma", -1)])
def test_a_singular_point_is_refused(kind, value):
    at = Enclosures(1)
    with pytest.raises((ValueError, ZeroDivisionError)):
        at.value(kind, at.constant(Fraction(value)))


def test_dependent_columns_have_no_certificate():
    at = Enclosures(3)
    one, two = at.exactly([Fraction(k, 7) for k in (1, 2, 5)]), at.exactly([Fraction(k, 3) for k in (4, 1, 1)])
    both = at.add(one, at.mul(at.constant(Fraction(1, 9)), two))
    with pytest.raises(NotProvableError, match=r"singular|dependent"):
        by_intervals([one, two, both], {})
    other = at.add(both, at.exactly([Fraction(0), Fraction(0), Fraction(1, 10**9)]))
    assert by_intervals([one, two, other], {}).rank == 3
    assert not certificate.Independence(3, False, 0.5, (("a", Fraction(1, 2)),)).exact


def test_relations_modulo_the_prime():
    at = Modular(8)
    one, two = (at.draw(name, vary=True) for name in "ab")
    both = at.add(one, at.mul(at.constant(Fraction(-3, 2)), two))
    found = null_space([one, two, both], [2, 0, 1])
    assert set(found) == {2}
    assert found[2] == {2: 1, 0: PRIME - 1, 1: 3 * pow(2, -1, PRIME) % PRIME}
    assert null_space([one, two], [0, 1]) == {}
    root = at.value("sqrt", at.mul(one, one))
    assert ((at.mul(root, root) - at.mul(one, one)) % PRIME == 0).all()


def test_rules_of_the_ring():
    ring = Ring()
    x, b = ring.variable("x", varies=True), ring.variable("b", varies=False)
    total = ring.add(ring.mul(x, x), b)
    root = ring.value("sqrt", total)
    assert ring.mul(root, root) == total
    step = ring.value("step", x)
    assert ring.mul(step, step) == step
    sine, cosine = ring.value("sin", x), ring.value("cos", x)
    assert ring.add(ring.mul(sine, sine), ring.mul(cosine, cosine)) == ring.constant(Fraction(1))
    inverse = ring.value("inverse", total)
    less = ring.add(ring.mul(inverse, total), ring.constant(Fraction(-1)))
    assert less
    assert not ring.cleared([less])[0]
    assert ring.value("inverse", inverse) == total
    with pytest.raises(NotProvableError, match="zero"):
        ring.value("inverse", ring.constant(Fraction(0)))


def test_numbers_of_the_code_are_read_as_decimals():
    plan = plan_of("perturbed-cosine")
    constants = {node.value for node in subject_of(plan).graph.nodes if node.kind == "constant"}
    assert Fraction(1, 10) in constants
    assert np.float64(0.1).as_integer_ratio() != (1, 10)
