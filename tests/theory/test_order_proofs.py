"""rbar(m) = 2m: the systems, the solution of one order less, and the bound of sign changes behind the rest."""

import numpy as np
import pytest
import sympy

from gatewise.theory import order_proofs
from gatewise.theory.order_proofs import GATES, order_system, prove_order, prove_orders, quadrature, residual, unknowns
from gatewise.theory.orders import KNOWN_ORDERS, LEAST_ORDER


def test_all_orders_are_proved():
    proofs = prove_orders()
    assert [(proof.gate, proof.m) for proof in proofs] == [(gate, m) for gate in GATES for m in (2, 3, 4)]
    for proof in proofs:
        assert proof.proved, proof.text()
        assert proof.order == KNOWN_ORDERS.get(proof.m, 8) == 2 * proof.m
    assert LEAST_ORDER <= 8  # what the literature knows of four atoms


def test_the_table_of_known_orders_is_reproduced():
    assert {m: prove_order("laplace", m).order for m in (2, 3)} == {m: KNOWN_ORDERS[m] for m in (2, 3)}


@pytest.mark.parametrize("m", [2, 3, pytest.param(4, marks=pytest.mark.slow)])
def test_quadrature_is_a_solution_with_positive_weights_of_one_order_less(m):
    weights, nodes = quadrature(m)
    assert sympy.simplify(sum(weights)) == 1
    assert all(weight > 0 for weight in weights)
    assert len({sympy.N(node) for node in nodes}) == m
    system = order_system(m, 2 * m, 2)
    own = unknowns(m, 2)
    values = dict(zip(own.a, nodes, strict=True)) | dict.fromkeys(own.b, sympy.Rational(-1, 2))
    values |= {c: sympy.sqrt(weight) for c, weight in zip(own.c, weights, strict=True)}
    values |= dict.fromkeys((*own.slope, *own.gates[0], *own.gates[1]), 0)
    left = {key: sympy.simplify(sympy.expand(equation.subs(values))) for key, equation in system.items()}
    assert {key for key, value in left.items() if value != 0} == {(0, 2 * m)}


def test_two_atoms_by_elimination():
    """The real solutions of order 3 with two atoms leave a negative fourth equation: order 4 by elimination."""
    w = sympy.Symbol("w", positive=True)  # c2^2 / c1^2; a1 = 1 without loss of generality
    a2, b1, b2 = sympy.symbols("a2 b1 b2", real=True)
    own = unknowns(2)
    values = {own.c[0]: 1, own.c[1]: sympy.sqrt(w), own.a[0]: 1, own.a[1]: a2, own.b[0]: b1, own.b[1]: b2}
    first, second, third, fourth = (order_system(2, 4)[0, k].subs(values) for k in range(1, 5))
    solutions = sympy.solve([first, second, third], [a2, b1, b2], dict=True)
    assert len(solutions) == 1
    left = sympy.factor(fourth.subs(solutions[0]))
    assert sympy.simplify(left + (w + 1) * (w**2 + w + 1) / (36 * w**3)) == 0


def test_complex_solutions_exist_at_the_order_itself():
    """So no argument over the complex numbers can prove the order: positive weights are needed."""
    w = sympy.Symbol("w")
    roots = sympy.solve((w + 1) * (w**2 + w + 1), w)
    assert roots
    assert not any(root.is_positive for root in roots)


@pytest.mark.parametrize("m", [2, 3, 4])
def test_differences_of_mixtures_change_sign_as_often_as_the_argument_says(m):
    """m + 1 Gaussian densities with factors of any sign: at most 2m sign changes; the solution of order 2m-1 has 2m."""
    rng = np.random.default_rng(m)
    x = np.linspace(-25, 25, 5001)

    def changes(factors, means, variances):
        exponents = -((x[:, None] - means) ** 2) / (2 * variances)
        scaled = np.exp(exponents - exponents.max(1, keepdims=True))  # the sign alone matters
        values = (scaled * factors / np.sqrt(variances)).sum(1)
        signs = np.sign(values[np.abs(values) > 1e-9])
        return int((signs[1:] != signs[:-1]).sum())

    most = max(changes(rng.normal(size=m + 1), rng.normal(size=m + 1), rng.uniform(0.05, 3, m + 1)) for _ in range(200))
    assert 1 < most <= 2 * m
    weights, nodes = (np.array([float(v) for v in values]) for values in quadrature(m))
    solution = changes(np.append(weights, -1.0), np.append(nodes, 0.0), np.append(np.full(m, 2.0), 3.0))
    assert solution == 2 * m


def test_a_wrong_solution_is_refused(monkeypatch):
    weights, nodes = quadrature(3)
    assert residual(4, weights, [1.01 * node for node in nodes]) != 0
    monkeypatch.setattr(order_proofs, "quadrature", lambda m: (weights, [2 * node for node in nodes]))
    proof = prove_order("softmax", 3)
    assert not proof.proved
    assert "FAILS: Gauss-Hermite quadrature" in proof.text()


def test_a_wrong_system_is_refused(monkeypatch):
    def wrong(m, order, softmax_levels=0):
        found = order_system(m, order, softmax_levels)
        return found | {(0, 2): found[0, 2] * 2, (1, 0): unknowns(m).a[0]}

    monkeypatch.setattr(order_proofs, "order_system", wrong)
    assert [holds for _, holds in prove_order("softmax", 2).checks] == [False, False, True, True, True]


@pytest.mark.parametrize(
    ("gate", "m", "message"), [("cosine", 2, "systems are written for"), ("softmax", 1, "2 or more")]
)
def test_what_has_no_system(gate, m, message):
    with pytest.raises(ValueError, match=message):
        prove_order(gate, m)


def test_a_proof_can_be_read():
    proof = prove_order("ss", 2)
    assert repr(proof) == proof.text()
    assert "order of the system is 4" in proof._repr_html_()
    assert proof.equations == len(order_system(2, 4, 2))
