"""The order of the polynomial system, and that the tables of rates and of losses say the same."""

from fractions import Fraction

import pytest

from gatewise.theory.orders import HALF_R, ONE, TWO, Power, R, rbar
from gatewise.theory.rates import ORDER_ONLY, POLYNOMIAL, RATES, SLOWER, rate_table
from gatewise.theory.voronoi import LOSSES


def equations(weights, a, b, order):
    """Left sides of the system for l = 1..order: sums of c^2 a^n1 b^n2 / (n1! n2!) over n1 + 2 n2 = l."""
    factorial = [1, 1, 2, 6, 24, 120]
    sides = []
    for degree in range(1, order + 1):
        side = Fraction(0)
        for c, x, y in zip(weights, a, b, strict=True):
            for n2 in range(degree // 2 + 1):
                n1 = degree - 2 * n2
                side += c * x**n1 * y**n2 / (factorial[n1] * factorial[n2])
        sides.append(side)
    return sides


@pytest.mark.parametrize("w", [Fraction(1), Fraction(3, 7), Fraction(5)])
def test_two_atoms_solve_three_equations_and_never_four(w):
    # all solutions of the first three equations with a_1 = 1 (the scale of the system): the fourth is negative
    a = (Fraction(1), -1 / w)
    b = (-(w + 2) / (6 * w), -(2 * w + 1) / (6 * w * w))
    *three, fourth = equations((Fraction(1), w), a, b, 4)
    assert three == [0, 0, 0]
    assert fourth == -(w + 1) * (w * w + w + 1) / (36 * w**3)
    assert fourth < 0
    assert rbar(2) == 4


@pytest.mark.parametrize("w", [Fraction(1), Fraction(2, 5)])
def test_those_are_the_only_solutions(w):
    # a_2 = -1/w by the first equation; b_1 + w b_2 and a_1 b_1 + w a_2 b_2 = b_1 - b_2 by the second and third
    a2 = -1 / w
    total = -(1 + w * a2 * a2) / 2
    difference = -(1 + w * a2**3) / 6
    b2 = (total - difference) / (1 + w)
    assert (b2 + difference, b2) == (-(w + 2) / (6 * w), -(2 * w + 1) / (6 * w * w))


def test_orders_without_a_value():
    assert [rbar(m) for m in (1, 2, 3)] == [1, 4, 6]
    assert rbar(4, 9) == 9
    with pytest.raises(ValueError, match=r"rbar\(4\) is not published.*rbar=8.*rbar=7"):
        rbar(4)
    with pytest.raises(ValueError, match="contradicts"):
        rbar(5, 6)
    with pytest.raises(ValueError, match="at least one fitted atom"):
        rbar(0)


def test_power_and_rate():
    assert R.at(3) == 6
    assert R.rate(3) == Fraction(-1, 12)
    assert HALF_R.rate(2) == Fraction(-1, 4)
    assert TWO.rate(3) == Fraction(-1, 4)
    assert Power(Fraction(3, 2)).rate(2) == Fraction(-1, 3)


@pytest.mark.parametrize(
    ("loss", "gate", "experts"),
    [
        ("laplace", "laplace", "linear"),
        ("softmax", "softmax", "linear"),
        ("softmax-sharp", "softmax (sharper)", "linear"),
        ("activation-dense-to-sparse", "activation-dense-to-sparse", "linear"),
        ("input-free", "input-free", "linear"),
        ("two-level-laplace", "hmoe LL", "linear"),
    ],
)
def test_losses_and_rates_have_the_same_powers(loss, gate, experts):
    rows = [r for r in RATES if (r.gate, r.experts, r.specification) == (gate, experts, "over")]
    powers = {row.parameter: row.power for row in rows}
    rest = LOSSES[loss].rest
    own = {path: LOSSES[loss].over.get(path, rest) for path in powers if path in LOSSES[loss].over or rest is not None}
    assert len(own) >= 3
    assert {path: powers[path] for path in own} == own
    assert set(powers) - set(own) <= {"gates.0.center", "mass"}


def test_every_row_is_complete():
    for row in RATES:
        assert (row.kind == POLYNOMIAL) == (row.power is not None)
        assert row.kind in {POLYNOMIAL, SLOWER, ORDER_ONLY}
        assert row.standing in {"published", "derived", "recalled"}
        assert row.estimator in {"ml", "ls"}
        assert row.specification in {"exact", "over", "any"}
        assert row.parameter
        assert row.source
    assert len({row[:5] for row in RATES}) == len(RATES)


@pytest.mark.parametrize(
    ("gate", "experts", "parameter", "m", "exponent"),
    [
        ("softmax", "linear", "gates.0.weight", 2, Fraction(-1, 8)),
        ("softmax", "linear", "experts.coef", 3, Fraction(-1, 6)),
        ("softmax (sharper)", "linear", "gates.0.weight", 3, Fraction(-1, 4)),
        ("laplace", "linear", "experts.intercept", 3, Fraction(-1, 12)),
        ("laplace", "linear", "family.variance", 2, Fraction(-1, 4)),
        ("gaussian density, type II", "linear", "experts.coef", 3, Fraction(-1, 6)),
        ("activation-dense-to-sparse", "linear", "gates.0.temperature", 3, Fraction(-1, 2)),
        ("sigmoid, regime 2", "polynomial", "experts", 2, Fraction(-1, 2)),
        ("sigmoid, regime 1", "feed-forward", "experts", 2, Fraction(-1, 4)),
    ],
)
def test_rates_of_over_filled_atoms(gate, experts, parameter, m, exponent):
    (row,) = (r for r in RATES if r[1:5] == (gate, experts, "over", parameter))
    assert row.exponent(m) == exponent


def test_slower_than_polynomial_has_no_exponent():
    rows = [r for r in RATES if r.gate == "dense-to-sparse" and r.parameter == "gates.0.temperature"]
    assert {r.specification for r in rows} == {"exact", "over"}
    assert all(r.exponent(2) is None and r.kind == SLOWER for r in rows)
    assert rate_table(tuple(rows)).count("slower than every polynomial") == 2
    assert len(rate_table().splitlines()) == len(RATES)
    assert ONE.text() == "n^-1/2"
