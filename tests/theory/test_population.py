"""Population exponents: exact distances, the heat equation, kinks, derivatives, and results that are not certified."""

import re
from math import exp, inf, isfinite, nan, pi, sqrt

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from scipy.stats import poisson

from gatewise.core.experts import EXPERTS, NoExpert
from gatewise.core.families import FAMILIES, Binomial, Zero
from gatewise.core.gates import GATES, Gate
from gatewise.core.mixture import Measure, Mixture, log_density
from gatewise.core.scores import SquaredDistance
from gatewise.fit.least_squares import mean_of
from gatewise.theory.population import descent, search
from gatewise.theory.population.cells import cells_of, of_atoms, strays
from gatewise.theory.population.descent import CERTIFIED, OFTEN, _bends, _released, _span, descend
from gatewise.theory.population.exponent import population_exponent
from gatewise.theory.population.problem import FixedCoordinates, coordinates, density_squares, mean_squares, split
from gatewise.theory.population.rules import Ball, Cube

POINT = Cube(-1.0, 1.0, panels=1)
BOX = {"experts.intercept": (-5.0, 5.0), "family.scale": (0.1, 3.0)}


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def constants(gate, k):
    return Mixture((GATES[gate],), (k,), EXPERTS["constant"])


ONE = Measure(({"bias": tensor([0.0])},), {"intercept": tensor([[0.4]])}, {"scale": tensor([[0.8]])})
LINE = ONE._replace(experts={"coef": tensor([[[0.5]]]), "intercept": tensor([[0.4]])})


def two(place):
    gate = {place: tensor([[1.5], [-0.4]]), "bias": tensor([0.3, 0.0])}
    experts = {"coef": tensor([[[1.5]], [[-1.0]]]), "intercept": tensor([[1.0], [-1.0]])}
    return Measure((gate,), experts, {"scale": tensor([[0.5], [0.7]])})


def hellinger_of_normals(shift, scale, other):
    overlap = sqrt(2 * scale * other / (scale**2 + other**2)) * exp(-(shift**2) / (4 * (scale**2 + other**2)))
    return sqrt(1 - overlap)


def test_one_expert_has_exponent_one_and_the_distance_of_two_normal_laws():
    line = Mixture((GATES["constant"],), (1,))
    found = population_exponent(line, LINE, line, "experts.intercept", cells=(0,), eps=(0.4, 0.2, 0.1))
    for eps, distance in zip(found.eps, found.distance, strict=True):
        exact = minimize_scalar(lambda s, eps=eps: hellinger_of_normals(eps, 0.8, s), bounds=(0.5, 1.2)).fun
        assert distance == pytest.approx(exact, rel=1e-6)
    assert found.local[-1] == pytest.approx(1.0, abs=0.01)
    assert all(found.certified)


def distance_of_probabilities(p, q):
    return sqrt(1 - sum(sqrt(a * b) for a, b in zip(p, q, strict=True)))


def law_of(family, eta):
    if family == "poisson":
        return poisson.pmf(np.arange(200), exp(eta))
    return softmax([0.0, eta])  # a trial, or two classes


@pytest.mark.parametrize("family", ["poisson", "binomial", "categorical"])
def test_counts_and_classes_have_the_distance_of_their_probabilities(family):
    one = Mixture((GATES["constant"],), (1,), EXPERTS["constant"], FAMILIES[family])
    truth = ONE._replace(experts={"intercept": tensor([[0.4]])}, family={})
    found = population_exponent(one, truth, one, "experts.intercept", cells=(0,), eps=(0.02, 0.01), starts=1)
    for eps, distance in zip(found.eps, found.distance, strict=True):
        other = (law_of(family, 0.4 + side * eps) for side in (-1, 1))
        assert distance == pytest.approx(
            min(distance_of_probabilities(law_of(family, 0.4), q) for q in other), rel=1e-9
        )
    assert found.local[-1] == pytest.approx(1.0, abs=0.01)


def test_ordered_classes_whose_cutpoints_follow_have_the_distance_of_a_trial():
    """The gap between the cutpoints keeps the odds of the last two classes, so that the first one alone counts."""
    one = Mixture((GATES["constant"],), (1,), EXPERTS["constant"], FAMILIES["ordered"])
    truth = ONE._replace(experts={"intercept": tensor([[0.4]])}, family={"gap": tensor([[[1.0]]])})
    found = population_exponent(one, truth, one, "experts.intercept", cells=(0,), eps=(0.02, 0.01), starts=1)
    for eps, distance in zip(found.eps, found.distance, strict=True):
        others = (law_of("binomial", 0.4 + side * eps) for side in (-1, 1))
        assert distance == pytest.approx(
            min(distance_of_probabilities(law_of("binomial", 0.4), q) for q in others), rel=1e-9
        )


def test_counts_that_are_too_many_are_refused():
    one = Mixture((GATES["constant"],), (1,), EXPERTS["constant"], FAMILIES["poisson"])
    for eta, most in ((30.0, "1.07e+13"), (800.0, "inf")):
        truth = ONE._replace(experts={"intercept": tensor([[eta]])}, family={})
        with pytest.raises(ValueError, match=rf"true counts of up to {re.escape(most)} at 48 inputs are too many"):
            population_exponent(one, truth, one, "experts.intercept", cells=(0,))


def test_a_truth_of_another_family_or_without_parameters_of_the_fit_is_refused():
    poisson, trials, more = (
        Mixture((GATES["constant"],), (1,), EXPERTS["constant"], family)
        for family in (FAMILIES["poisson"], Binomial(5), Binomial(10))
    )
    truth = ONE._replace(family={})
    for true, fitted in ((trials, more), (more, trials), (trials, poisson)):
        with pytest.raises(ValueError, match="the fit never reaches the truth"):
            population_exponent(true, truth, fitted, "experts.intercept", cells=(0,))
    lines = Mixture((GATES["constant"],), (1,))
    with pytest.raises(ValueError, match=r"the truth has no experts\.coef, which the fitted mixture has"):
        population_exponent(constants("constant", 1), ONE, lines, "experts.intercept", cells=(0,))


def test_zero_inflated_counts_have_exponents_of_the_atom_that_has_a_mean():
    inflated = Mixture((GATES["softmax"],), (2,), (EXPERTS["constant"], NoExpert()), (FAMILIES["poisson"], Zero()))
    truth = Measure(
        ({"weight": tensor([[0.5, -0.3, 0.2], [0.0, 0.0, 0.0]]), "bias": tensor([0.7, 0.0])},),
        {"intercept": tensor([[0.6], [0.0]])},
        {},
    )
    given = {"cells": (0, 1), "eps": (0.1, 0.05), "inputs": Cube(-1, 1, d=3, panels=1), "starts": 1}
    found = population_exponent(inflated, truth, inflated, "experts.intercept", **given)
    assert found.certified == (True,)
    assert found.local[-1] == pytest.approx(1.0, abs=0.05)
    with pytest.raises(ValueError, match=r"atom=1 has no experts\.intercept"):
        population_exponent(inflated, truth, inflated, "experts.intercept", atom=1, **given)


def test_the_atom_that_others_are_measured_from_is_not_displaced():
    softmax = Mixture((GATES["softmax"],), (2,))
    with pytest.raises(ValueError, match=r"gates\.0\.weight is known up to a common shift, and measured from atom 1"):
        population_exponent(softmax, two("weight"), softmax, "gates.0.weight", cells=(0, 1), atom=1)


def test_an_expert_of_three_classes_and_three_inputs_that_is_split_has_the_exponent_two():
    truth = Measure(
        ({"weight": tensor([[1.5, -0.5, 0.5], [0.0, 0.0, 0.0]]), "bias": tensor([0.3, 0.0])},),
        {
            "coef": tensor([[[2.0, 0.0, 0.5], [-1.0, 1.5, 0.5]], [[-1.5, 1.0, 0.0], [1.0, -2.0, 1.0]]]),
            "intercept": tensor([[1.0, -1.0], [-1.0, 1.0]]),
        },
        {},
    )
    two, three = (Mixture((GATES["softmax"],), (k,), family=FAMILIES["categorical"]) for k in (2, 3))
    given = {"cells": (0, 0, 1), "eps": (0.1, 0.05), "inputs": Cube(d=3, panels=1), "starts": 1}
    found = population_exponent(two, truth, three, "experts.intercept", entry=1, **given)
    assert found.certified == (True,)
    assert found.local[-1] == pytest.approx(2.0, abs=0.1)


def test_least_squares_of_one_expert_has_the_distance_eps():
    line = Mixture((GATES["constant"],), (1,))
    found = population_exponent(line, LINE, line, "experts.intercept", cells=(0,), eps=(0.2, 0.1), distance="l2")
    assert found.distance == pytest.approx((0.2, 0.1), rel=1e-10)
    assert found.local == pytest.approx((1.0,), abs=1e-9)
    assert found.certified == (True,)


@pytest.mark.parametrize(("path", "claim"), [("experts.intercept", 4.0), ("family.variance", 2.0)])
def test_heat_equation_makes_intercept_four_and_variance_two(path, claim):
    one, pair = constants("constant", 1), constants("constant", 2)
    eps = (0.2, 0.1, 0.05, 0.025)
    found = population_exponent(one, ONE, pair, path, cells=(0, 0), eps=eps, box=BOX, inputs=POINT, starts=3)
    assert found.local[-1] == pytest.approx(claim, abs=0.06 * claim)
    assert found.certified[-1], found.text()
    assert "gates.0.bias[0]" in found.text()  # the less weight the displaced atom has, the closer the truth


def test_split_atoms_solve_the_polynomial_system_up_to_order_three():
    """sum p a = 0, sum p (a^2 + b) = 0 and sum p (a^3 / 6 + a b / 2) = 0 hold to higher order in eps."""
    one, pair, eps = constants("constant", 1), constants("constant", 2), 0.02
    found = population_exponent(
        one, ONE, pair, "experts.intercept", cells=(0, 0), eps=(0.08, 0.04, eps), box=BOX, inputs=POINT, starts=2
    )
    for side in found.sides[-1]:
        share = torch.softmax(side.measure.gates[0]["bias"], 0)
        a = side.measure.experts["intercept"][:, 0] - 0.4
        b = side.measure.family["scale"][:, 0] ** 2 - 0.64
        terms = {1: [a], 2: [a**2, b], 3: [a**3 / 6, a * b / 2]}
        for order, parts in terms.items():
            size = max(float((share * part).abs().sum()) for part in parts)
            assert abs(float((share * sum(parts)).sum())) < 20 * eps * size, order
            assert size > 0.01 * eps**order
        assert float(a.abs().min()) > 0.3 * eps


@pytest.mark.parametrize(("path", "claim"), [("experts.coef", 2.0), ("gates.0.weight", 2.0)])
def test_over_filled_softmax_has_slope_and_gate_two(path, claim):
    truth, fitted = Mixture((GATES["softmax"],), (2,)), Mixture((GATES["softmax"],), (3,))
    found = population_exponent(
        truth, two("weight"), fitted, path, cells=(0, 0, 1), eps=(0.05, 0.025), starts=2, box={"family.scale": (0.1, 2)}
    )
    assert found.local[-1] == pytest.approx(claim, abs=0.2)
    assert found.certified == (True,), found.text()


def test_laplace_center_has_one_and_a_half_in_one_dimension():
    truth, fitted = constants("laplace", 2), constants("laplace", 3)
    measure = two("center")._replace(experts={"intercept": tensor([[1.0], [-1.0]])})
    box = BOX | {"gates.0.center": (-1.9, 1.9)}
    found = population_exponent(
        truth, measure, fitted, "gates.0.center", cells=(0, 0, 1), eps=(0.02, 0.01), starts=2, box=box, step=0.8
    )
    assert found.local[-1] == pytest.approx(1.5, abs=0.15)
    assert found.certified == (True,), found.text()


def bump(nodes, center, eps):
    x = nodes.x[0]
    return float(
        (nodes.weight * ((x - center - eps).abs() + (x - center + eps).abs() - 2 * (x - center).abs()) ** 2).sum()
    )


def test_panels_see_the_bump_of_a_split_center():
    """The integral of ``(|x - c - e| + |x - c + e| - 2 |x - c|)^2`` is ``8 e^3 / 3``."""
    eps, line, none = 1e-3, Cube(-2.0, 2.0), torch.empty(0, 1)
    exact = 8 * eps**3 / 3 / 4
    assert bump(line.graded(tensor([[-0.37]]), none, eps), -0.37, eps) == pytest.approx(exact, rel=1e-9)
    assert abs(bump(line.graded(none, none, eps), -0.37, eps) / exact - 1) > 0.5


@pytest.mark.parametrize("d", [2, 3])
def test_ball_integrates_polynomials_and_a_small_cone(d):
    center, radius, eps = (0.3, -0.2, 0.1)[:d], 1.5, 0.01
    nodes = Ball(center, radius).graded(tensor([center]), tensor([center]), eps)
    z = nodes.x - tensor(center)[:, None]
    r = z.norm(dim=0)
    assert float(nodes.weight.sum()) == pytest.approx(1.0, rel=1e-12)
    assert (nodes.weight * z**2).sum(-1).tolist() == pytest.approx([radius**2 / (d + 2)] * d, rel=1e-10)
    volume = {2: pi * radius**2, 3: 4 * pi * radius**3 / 3}[d]
    cone = {2: 2 * pi * eps**4 / 12, 3: 4 * pi * eps**5 / 30}[d]  # of (eps - r)^2 inside r < eps
    assert float((nodes.weight * (eps - r).clamp_min(0) ** 2).sum()) * volume == pytest.approx(cone, rel=1e-9)


@pytest.mark.parametrize("kind", ["density", "mean"])
@pytest.mark.parametrize(("gate", "place"), [("softmax", "weight"), ("laplace", "center")])
def test_jacobians_are_those_of_the_residuals(kind, gate, place):
    truth, fitted, measure = Mixture((GATES[gate],), (2,)), Mixture((GATES[gate],), (3,)), two(place)
    if kind == "mean":
        truth, fitted, measure = mean_of(truth), mean_of(fitted), measure._replace(family={})
    near = split(fitted, measure, cells_of((0, 0, 1), (3,), (2,)), 1, 1)
    held = FixedCoordinates("experts.coef", 0, 0)
    here = coordinates(fitted, near, 1, held, 0.1, cells_of((0, 0, 1), (3,), (2,)), {}, 1.0)
    nodes = Cube().graded(torch.empty(0, 1), torch.empty(0, 1), 0.1)
    if kind == "density":
        squares = density_squares(here, truth, measure, nodes, 1.0)
        value, both = squares.density, squares.density_both
    else:
        squares = mean_squares(here, truth, measure, nodes)
        value, both = squares.mean, squares.mean_both
    z = here.of(near) + 0.1 * torch.randn(len(here.lower), generator=torch.Generator().manual_seed(1)).double()
    residual, jacobian = both(z)
    assert torch.allclose(residual, value(z), rtol=1e-12, atol=1e-15)
    for column, unit in zip(jacobian.T, torch.eye(len(z)).double(), strict=True):
        slope = (value(z + 1e-6 * unit) - value(z - 1e-6 * unit)) / 2e-6
        assert float((slope - column).norm()) < 1e-6 * (1 + float(column.norm()))


def test_residuals_keep_their_digits_when_the_laws_nearly_agree():
    line = constants("constant", 1)
    held = FixedCoordinates("experts.intercept", 0, 0)
    here = coordinates(line, ONE, 1, held, 1e-9, cells_of((0,), (1,), (1,)), {}, 1.0)
    nodes = Cube().graded(torch.empty(0, 1), torch.empty(0, 1), 1.0)
    squares = density_squares(here, line, ONE, nodes, 0.5)
    exact = 1e-9 / sqrt(8) / 0.8  # sqrt(1 - exp(-eps^2 / (8 s^2)))
    assert float(squares.density(here.of(ONE)).norm()) == pytest.approx(exact, rel=1e-5)


def test_descent_releases_and_keeps_limits_of_the_box():
    """Least squares of ``z - (2, 0.2)`` from a corner of [0, 1]^2: one coordinate ends at its limit, one inside."""
    target, zero, one = tensor([2.0, 0.2]), torch.zeros(2).double(), torch.ones(2).double()
    eye = torch.eye(2, dtype=torch.float64)
    end = descend(lambda z: z - target, lambda z: (z - target, eye), zero, zero, one, 50, 1e-9)
    assert end.point.tolist() == pytest.approx([1.0, 0.2], abs=1e-8)
    assert end.bound.tolist() == [True, False]
    assert end.offset < 1e-8


def test_an_end_at_which_the_residuals_bend_has_little_left_to_gain():
    """Along the first coordinate ``1 + z^2 / 2`` bends, and the Jacobian, 1e-9, is nearly nothing."""

    def model(z):
        return torch.stack([1 + z[0].square() / 2, 0.5 + 1e-9 * z[0], z[1], z[2] + z[1]])

    z, one = torch.zeros(3).double(), torch.ones(3).double()
    jacobian = torch.tensor([[0.0, 0.0, 0.0], [1e-9, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 1.0]]).double()
    residual = model(z)
    straight = _span(residual, jacobian, torch.ones(3, dtype=torch.bool))
    width, norm = 2 * one, float(residual.norm())
    bends = _bends(model, residual, z, (-one, one), straight, 1e-9)
    assert straight.offset(norm, width) > 1e-5
    assert straight.offset(norm, width, bends) < 1e-8


@pytest.mark.parametrize(("share", "steps"), [(1.0, "fewer"), (0.5, "fewer"), (2.0, "as many")])
def test_a_descent_beside_a_known_optimum_is_shorter_unless_it_ends_lower(share, steps):
    """It stops where it comes as low, and where it will end above; what is lower than all that is known goes on."""
    t = torch.linspace(0, 1, 30, dtype=torch.float64)
    values = torch.exp(-3 * t) + torch.exp(-t) + 0.01 * torch.sin(40 * t)

    def model(z):
        return torch.exp(-z[0] * t) + torch.exp(-z[1] * t) + z[2] * t - values

    def both(z):
        return model(z), torch.stack([-t * torch.exp(-z[0] * t), -t * torch.exp(-z[1] * t), t], -1)

    start, box = torch.tensor([1.7, 1.6, 0.3], dtype=torch.float64), torch.full((3,), 9.0, dtype=torch.float64)
    alone = descend(model, both, start, -box, box, 300, 1e-9)
    beside = descend(model, both, start, -box, box, 300, 1e-9, known=share * alone.norm)
    assert alone.offset < 1e-6
    assert (beside.steps < alone.steps) is (steps == "fewer")
    assert beside.norm <= alone.norm * (1 + 1e-5 if share >= 1 else 1 + 1e-3)


def test_a_descent_that_creeps_along_a_flat_floor_ends_there(monkeypatch):
    """The floor of a winding valley falls by 1e-7 a unit: in the box, 40 units wide, there is little left to gain."""

    def model(z):
        return torch.stack([1 - 1e-7 * z[0], 100 * (z[1] - torch.sin(z[0])), 100 * (z[2] - torch.cos(z[0]))])

    def both(z):
        return model(z), torch.autograd.functional.jacobian(model, z)

    start, box = tensor([-19.0, 0.0, 0.0]), torch.full((3,), 20.0, dtype=torch.float64)
    end = descend(model, both, start, -box, box, 300, 1e-9)
    assert end.steps == 2 * OFTEN
    assert end.offset < CERTIFIED
    monkeypatch.setattr(descent, "CREEPS", -1.0)
    longer = descend(model, both, start, -box, box, 300, 1e-9)
    assert longer.steps == 300
    assert 0 < end.norm - longer.norm < 1e-6


def split_constant(step):
    one, pair = constants("constant", 1), constants("constant", 2)
    return population_exponent(
        one, ONE, pair, "experts.intercept", cells=(0, 0), eps=(0.2, 0.1), box=BOX, inputs=POINT, step=step, starts=2
    )


def test_nodes_that_are_too_coarse_are_not_certified_and_the_table_says_so(monkeypatch):
    monkeypatch.setattr(search, "FINER", (2,))
    found = split_constant(3.0)
    assert found.certified == (False,)
    assert " ?" in found.text()
    assert "not certified" in found.text()
    assert "finer nodes change the distance by" in found.lacking


def test_the_distance_is_found_anew_on_finer_nodes_of_one_input_where_they_change_it():
    coarse, fine = split_constant(3.0), split_constant(0.5)
    assert coarse.certified == fine.certified == (True,)
    assert coarse.distance == pytest.approx(fine.distance, rel=0.01)


def test_a_search_that_leaves_its_cells_does_not_count(monkeypatch):
    """The variance of an atom alone in its cell: it is free only where another one takes its place."""
    pair = Measure(
        ({"bias": tensor([0.0, 0.0])},), {"intercept": tensor([[-1.0], [1.0]])}, {"scale": tensor([[0.5], [0.5]])}
    )
    task = constants("constant", 2), pair, constants("constant", 3), "family.variance"
    given = {"cells": (0, 0, 1), "atom": 2, "eps": (0.02, 0.01), "box": BOX, "inputs": POINT, "starts": 3}
    monkeypatch.setattr(search, "POWERS", (0.0,))  # starts far from the truth
    within = population_exponent(*task, **given)
    assert within.local[0] == pytest.approx(1.0, abs=0.03)
    assert not any(side.strayed for at in within.sides for side in at)
    monkeypatch.setattr(search.SearchTask, "strayed", lambda task, found: False)
    assert population_exponent(*task, **given).local[0] > 1.5
    monkeypatch.setattr(search.SearchTask, "strayed", lambda task, found: True)
    nowhere = population_exponent(*task, **given)
    assert nowhere.certified == (False,)
    assert "no search ended with every atom in its cell" in nowhere.lacking


def test_an_atom_strays_where_a_sibling_of_another_cell_is_closer():
    mixture, cells = Mixture((GATES["softmax"],) * 2, (2, 2)), cells_of((0, 1, 2, 3), (2, 2), (2, 2))
    weight = tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 0.0]])
    inner = torch.stack([weight, -weight])
    experts = {
        "coef": tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [2.0, 0.0, 0.0]]).reshape(2, 2, 1, 3),
        "intercept": torch.zeros(2, 2, 1).double(),
    }
    biases = torch.zeros(2).double(), torch.zeros(2, 2).double()
    gates = {"weight": weight, "bias": biases[0]}, {"weight": inner, "bias": biases[1]}
    truth = Measure(gates, experts, {"scale": torch.full((2, 2, 1), 0.5).double()})

    def apart(found):
        places = [[of_atoms(mixture, one, level) for one in (found, truth)] for level in (0, 1)]
        return [strays(*places[level], cells, level) for level in (0, 1)]

    assert apart(truth) == [False, False]
    shifted = truth._replace(gates=({**gates[0], "weight": weight + 5.0}, {**gates[1], "bias": biases[1] + 9.0}))
    assert apart(shifted) == [False, False]  # neither a common shift nor a bias is a place
    swapped = {name: values.flip(1) for name, values in experts.items()}
    turned = truth._replace(gates=(gates[0], {**gates[1], "weight": -inner}), experts=swapped)
    assert apart(turned) == [False, True]
    halves = {name: values.flip(0) for name, values in experts.items()}
    other = truth._replace(gates=({**gates[0], "weight": -weight}, gates[1]), experts=halves)
    assert apart(other)[0]


def test_a_level_without_a_place_and_entries_that_an_expert_lacks_do_not_stray():
    constant = Mixture((GATES["constant"], GATES["softmax"]), (2, 1), EXPERTS["constant"])
    inner = {"bias": torch.zeros(2, 1).double(), "weight": torch.zeros(2, 1, 3).double()}
    leaf = torch.ones(2, 1, 1).double()
    equal = Measure(({"bias": torch.zeros(2).double()}, inner), {"intercept": leaf}, {"scale": leaf})
    places = of_atoms(constant, equal, 0)
    assert not strays(places, places, cells_of((0, 1), (2, 1), (2, 1)), 0)
    named = Mixture((GATES["softmax"],), (2,), (EXPERTS["linear"], NoExpert()))
    truth = two("weight")
    lacking = {name: values.clone() for name, values in truth.experts.items()}
    for values in lacking.values():
        values[1] = nan
    assert not of_atoms(named, truth._replace(experts=lacking), 0).isnan().any()


@pytest.mark.parametrize(("further", "there"), [(0, False), (search.FURTHER, True)])
def test_a_search_goes_on_until_it_is_at_an_optimum(monkeypatch, further, there):
    monkeypatch.setattr(search, "STEPS", 3)
    monkeypatch.setattr(search, "AGAIN", 0)
    monkeypatch.setattr(search, "FURTHER", further)
    one, pair = constants("constant", 1), constants("constant", 2)
    found = population_exponent(
        one, ONE, pair, "experts.intercept", cells=(0, 0), eps=(0.1, 0.05), box=BOX, inputs=POINT, starts=2
    )
    assert all(side.offset < search.CERTIFIED for pair in found.sides for side in pair) == there
    assert found.certified == (False,)
    assert "one search of" in found.lacking


def test_a_distance_that_one_search_found_is_searched_for_again(monkeypatch):
    monkeypatch.setattr(search, "STEPS", 4)

    def sides(again):
        monkeypatch.setattr(search, "AGAIN", again)
        one, pair = constants("constant", 1), constants("constant", 2)
        found = population_exponent(
            one, ONE, pair, "experts.intercept", cells=(0, 0), eps=(0.1, 0.05), box=BOX, inputs=POINT, starts=2
        )
        return [side for at in found.sides for side in at]

    pairs = list(zip(sides(0), sides(3), strict=True))
    alone = [(first, again) for first, again in pairs if first.hits == 1]
    assert alone
    assert all(again.starts == first.starts for first, again in pairs if first.hits > 1)
    assert all(again.starts > first.starts for first, again in alone)
    assert all(again.hits > 1 or again.starts == first.starts + 3 * 2 for first, again in alone)
    assert any(again.hits > 1 for _, again in alone)


def test_what_lies_outside_the_box_is_no_gain():
    """Along the second column the whole fall would take a step of 1e6 times the width of the box."""
    jacobian = tensor([[1.0, 1.0], [0.0, 1e-8], [0.0, 0.0]])
    residual = tensor([0.0, 0.01, 1.0])
    span = _released(residual, jacobian, torch.zeros(2).double(), tensor([-1.0, -1.0]), tensor([1.0, 1.0]))
    assert span.offset(1.0, tensor([2.0, 2.0])) < 1e-4
    assert span.offset(1.0, tensor([inf, inf])) == pytest.approx(0.01, rel=1e-3)


def test_repeats_exactly_and_depends_on_nothing_else():
    line = Mixture((GATES["constant"],), (1,))
    first, again = (
        population_exponent(line, LINE, line, "experts.coef", cells=(0,), eps=(0.2, 0.1), inputs=POINT, seed=3)
        for _ in range(2)
    )
    assert first.distance == again.distance
    assert first.hits == again.hits


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"distance": "kl"}, "distance='kl': choose 'hellinger' or 'l2'"),
        ({"path": "gates.0.bias"}, "'gates.0.bias' is no location.*gates.0.weight, experts.coef"),
        ({"path": "experts.slope"}, "'experts.slope' is no location"),
        ({"cells": (0, 1)}, r"cells=\(0, 1\) for 3 fitted and 2 true atoms"),
        ({"cells": (0, 0, 0)}, r"cells=\(0, 0, 0\) for 3 fitted and 2 true atoms"),
        ({"path": "gates.0.weight", "cells": (0, 1, 1)}, "its reference, is one of 2 in its cell.*exactly filled"),
        ({"eps": (0.1, 0.2)}, "each smaller than the one before"),
        ({"eps": (0.1,)}, "at least two positive displacements"),
        ({"atom": 3}, "atom=3, entry=0: there are 3 atoms"),
        ({"entry": 1}, "atom=0, entry=1: there are 3 atoms with 1 entries"),
        ({"path": "family.variance", "eps": (0.3, 0.1)}, "a variance of 0.25 displaced by -0.3 is not positive"),
    ],
)
def test_bad_arguments_say_what_is_wrong(change, words):
    truth, fitted = Mixture((GATES["softmax"],), (2,)), Mixture((GATES["softmax"],), (3,))
    arguments = {"path": "experts.intercept", "cells": (0, 0, 1), "eps": (0.2, 0.1), "starts": 1} | change
    with pytest.raises(ValueError, match=words):
        population_exponent(truth, two("weight"), fitted, arguments.pop("path"), **arguments)


def test_kinks_and_laws_that_no_rule_integrates_are_refused():
    with pytest.raises(ValueError, match="Use Ball about the over-specified center"):
        Cube(d=2).graded(torch.zeros(1, 2), torch.zeros(1, 2), 0.1)
    with pytest.raises(ValueError, match="they must agree"):
        Ball((0.0, 0.0), 1.0).graded(torch.ones(1, 2), torch.ones(1, 2), 0.1)
    with pytest.raises(ValueError, match="2 and 3 inputs"):
        Ball((0.0,), 1.0)
    positive = Mixture((GATES["constant"],), (1,), family=FAMILIES["gamma"])
    with pytest.raises(ValueError, match=r"Gamma\(\) is neither of counts nor.*distance='l2'"):
        population_exponent(
            positive, LINE._replace(family={"shape": tensor([[2.0]])}), positive, "experts.coef", cells=(0,)
        )


def test_distances_at_rounding_only_because_displacements_are_tiny_are_no_proof():
    """The intercept of a split expert has the exponent 4: at .004 the distance is below 1e-10."""
    eps = (0.004, 0.002)
    found = population_exponent(
        constants("constant", 1),
        ONE,
        constants("constant", 2),
        "experts.intercept",
        cells=(0, 0),
        eps=eps,
        starts=2,
        box=BOX,
    )
    assert max(found.distance) < 1e-10
    assert not found.attained
    assert isfinite(found.local[0])


@pytest.mark.parametrize("gate", ["dense-to-sparse", "tanh-dense-to-sparse", "laplace", "softmax"])
def test_a_split_truth_is_the_truth(gate):
    heat = {"temperature": tensor(0.2)} if "sparse" in gate else {}
    place = "center" if gate == "laplace" else "weight"
    truth = two(place)
    truth = truth._replace(gates=({**truth.gates[0], **heat},))
    small, large = (Mixture((GATES[gate],), (k,)) for k in (2, 3))
    x, y = (torch.linspace(-end, end, 9, dtype=torch.float64)[None] for end in (2, 3))
    near = split(large, truth, cells_of((0, 0, 1), (3,), (2,)), 1, 1)
    torch.testing.assert_close(log_density(large, near, x, x, y), log_density(small, truth, x, x, y))


def test_descents_where_derivatives_are_no_numbers_end_without_a_certificate():
    def nothing(z):
        return z * nan, z[:, None] * nan

    start, box = torch.ones(1, dtype=torch.float64), torch.full((1,), 2.0, dtype=torch.float64)
    end = descend(lambda z: z * nan, nothing, start, -box, box, 50, 1e-9)
    assert (end.norm, end.offset) == (inf, inf)


KNOWN_FIRST = {"gates.0.center": tensor([[0.0] * 3, [nan] * 3, [nan] * 3])}


def scored(k):
    return Mixture((Gate(SquaredDistance()),), (k,), EXPERTS["constant"])


def test_entries_that_are_not_numbers_are_estimated_and_smooth_centers_need_no_nodes_of_their_own():
    """Three inputs: a product rule refuses kinks, and a squared distance has none."""
    gate = {"center": tensor([[0.0] * 3, [-0.75, 0.25, -0.25]]), "bias": tensor([0.3, 0.6])}
    truth = Measure((gate,), {"intercept": tensor([[1.0], [-1.0]])}, {"scale": tensor([[0.5], [0.7]])})
    found = population_exponent(
        scored(2),
        truth,
        scored(2),
        "gates.0.center",
        cells=(0, 1),
        atom=1,
        eps=(0.1, 0.05),
        fixed={"gates.0.center": KNOWN_FIRST["gates.0.center"][:2]},
        inputs=Cube(d=3, panels=1),
        starts=1,
        box=BOX,
    )
    assert found.local[-1] == pytest.approx(1.0, abs=0.05)
    for side in found.sides[-1]:
        center = side.measure.gates[0]["center"]
        assert center[0].tolist() == [0.0] * 3
        assert float(center[1, 0]) == pytest.approx(-0.75 + side.displacement)
        assert float((center[1, 1:] - gate["center"][1, 1:]).abs().max()) > 1e-4  # free, and makes up for the first
    with pytest.raises(ValueError, match=r"'gates\.0\.center' is fixed in the model"):
        population_exponent(
            scored(2), truth, scored(3), "gates.0.center", cells=(0, 1, 1), atom=0, fixed=KNOWN_FIRST, inputs=Cube(d=3)
        )
