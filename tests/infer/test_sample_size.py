"""Rows needed: against closed forms, against simulated errors, and refused in words where there is no number."""

from math import ceil, inf, nan

import numpy as np
import pytest
import torch

from gatewise import (
    GATES,
    Binomial,
    FitSpec,
    Measure,
    MixtureOfExpertsRegressor,
    Plan,
    Poisson,
    SeparatedWarning,
    make_rows,
    many_fits,
    maximum_likelihood,
    sample_size,
)
from gatewise.core.mixture import Mixture, sample
from gatewise.infer.planning import check
from gatewise.infer.planning.telling import rows_to_tell


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def inputs(n=400, d=3, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)) @ np.linalg.qr(np.ones((d, d)) + np.eye(d))[1] / 2


def line(d, scale=0.5, family=None):
    """One linear expert."""
    parts = {} if family is None else {"family": family}
    slopes = np.linspace(0.3, -0.3, d)[None, None]
    own = {} if family else {"scale": tensor([[scale]])}
    experts = {"coef": tensor(slopes), "intercept": tensor([[0.2]])}
    return Mixture((GATES["constant"],), (1,), **parts), Measure(({"bias": tensor([0.0])},), experts, own)


SLOPES = [[1.5, 0.5, -1.0], [-1.0, 0.0, 0.5]]


def lines(gate="softmax", coef=SLOPES, intercept=(1.0, -1.0), scale=(0.5, 0.7), weight=(1.5, -0.5, 0.0)):
    """Two linear experts of three inputs."""
    gates = {"weight": tensor([list(weight), [0.0] * 3]), "bias": tensor([0.3, 0.0])}
    experts = {"coef": tensor(coef)[:, None], "intercept": tensor(intercept)[:, None]}
    return Mixture((GATES[gate],), (2,)), Measure((gates,), experts, {"scale": tensor(scale)[:, None]})


@pytest.mark.parametrize("d", [3, 5])
def test_one_gaussian_expert_needs_the_rows_of_least_squares(d):
    x, scale, goal = inputs(d=d), 0.5, 0.02
    found = sample_size(line(d, scale), {"experts.coef": goal, "family.scale": 0.01}, X=x)
    design = np.c_[np.ones(len(x)), x]
    unit = scale * np.sqrt(np.diag(np.linalg.inv(design.T @ design / len(x)))[1:])
    np.testing.assert_allclose(found.unit[:d], unit, rtol=0.05)
    assert float(found.unit[-1]) == pytest.approx(scale / np.sqrt(2), rel=0.05)
    assert found.rows == max(int(rows) for rows in found.needed)
    assert found.rows == pytest.approx((unit.max() / goal) ** 2, rel=0.1)
    assert found.names[-1] == "family.scale[0,0]"
    assert ((found.noise > 1e-3) & (found.noise < 0.04)).all()


@pytest.mark.parametrize("family", [Poisson(), Binomial(9)])
def test_one_expert_of_counts_needs_the_rows_of_a_generalised_linear_model(family):
    x = inputs()
    mixture, measure = line(3, family=family)
    design = np.c_[np.ones(len(x)), x]
    eta = 0.2 + x @ np.linspace(0.3, -0.3, 3)
    share = 1 / (1 + np.exp(-eta))
    weight = np.exp(eta) if family == Poisson() else 9 * share * (1 - share)
    unit = np.sqrt(np.diag(np.linalg.inv(design.T @ (weight[:, None] * design) / len(x)))[1:])
    found = sample_size((mixture, measure), {"experts.coef": 0.1}, X=x)
    np.testing.assert_allclose(found.unit, unit, rtol=0.05)


def test_more_simulated_rows_have_less_noise():
    few, many = (
        sample_size(lines(), {"experts.coef": 0.1}, X=inputs(), simulated=count).noise for count in (2000, 50_000)
    )
    assert float(many[0]) < 0.5 * float(few[0])


def test_a_fit_of_many_rows_has_the_errors_of_its_plan():
    x = torch.from_numpy(inputs(5000))
    truth = lines()
    y, _ = sample(*truth, x.T, x.T, torch.Generator().manual_seed(1))
    model = MixtureOfExpertsRegressor(2, n_init=3, random_state=0).fit(x.numpy(), y[0].numpy())
    own = sample_size(model, {"experts.coef": 0.05, "gates.0.weight": 0.2}, X=x.numpy())
    errors = np.r_[model.standard_errors_["gates.0.weight"].ravel(), model.standard_errors_["experts.coef"].ravel()]
    np.testing.assert_allclose(own.unit / np.sqrt(5000), errors, rtol=0.1)
    same = sample_size(model.fit_, {"experts.coef": 0.05, "gates.0.weight": 0.2}, X=x.numpy())
    assert same.rows == own.rows
    other = sample_size((model.mixture_, model.measure_), {"experts.coef": 0.05, "gates.0.weight": 0.2}, X=x.numpy())
    np.testing.assert_allclose(other.unit, own.unit, rtol=1e-9)


def test_a_reference_branch_that_is_not_zero_changes_nothing():
    mixture, measure = lines()
    moved = {name: value + 0.7 for name, value in measure.gates[0].items()}
    found = [
        sample_size((mixture, one), {"gates.0.weight": 0.2}, X=inputs())
        for one in (measure, measure._replace(gates=(moved,)))
    ]
    np.testing.assert_allclose(found[0].unit, found[1].unit, rtol=1e-9)
    np.testing.assert_allclose(found[1].estimate, measure.gates[0]["weight"].flatten(), atol=1e-12)


def test_the_rows_of_squares_follow_from_their_slopes():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(3000, 3))
    left = 1 / (1 + np.exp(-2 * x[:, 0] - 1))
    y = left * (1 + x @ [1.0, -1.0, 0.5]) + 0.3 * rng.normal(size=3000)
    model = MixtureOfExpertsRegressor(1, gate="constant", method="ls", random_state=0).fit(x, y)
    found = sample_size(model, {"experts.coef": 0.01}, X=x)
    np.testing.assert_allclose(found.unit / np.sqrt(3000), model.standard_errors_["experts.coef"].ravel(), rtol=1e-6)
    assert (found.noise == 0).all()
    with pytest.raises(ValueError, match="least squares has none"):
        sample_size(model, X=x, against=1)


def test_simulated_errors_are_those_predicted():
    found = sample_size(lines(), {"experts.coef": 0.05, "gates.0.weight": 0.2}, X=inputs(), check=100)
    free = found.unit > 0
    theory = (found.unit / np.sqrt(found.rows))[free]
    np.testing.assert_allclose(found.simulated[free].median() / theory.median(), 1.0, atol=0.2)
    assert float((found.simulated / found.target).max()) <= check.WITHIN
    assert "simulated" in found.to_frame().columns


def test_a_check_raises_rows_that_are_too_few(monkeypatch):
    sizes = []

    def twice_as_wide(truth, rows, sets, seed):
        sizes.append(rows)
        wide = 0.2 * (100 / rows) ** 0.5 * 2
        return wide * torch.randn(sets, 14 + 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    monkeypatch.setattr(check, "_estimates", twice_as_wide)
    found = sample_size(lines(), {"experts.intercept[0,0]": 0.05}, X=inputs(), check=2000)
    assert sizes[0] == int(found.needed[0]) < found.rows == sizes[-1]
    assert 0.9 * 0.05 < float(found.simulated) <= 1.2 * 0.05
    monkeypatch.setattr(check, "ROUNDS", 1)
    stopped = sample_size(lines(), {"experts.intercept[0,0]": 0.05}, X=inputs(), check=2000)
    assert stopped.rows is None
    assert "times those wanted" in stopped.refused


def test_equal_experts_get_no_number():
    equal = lines(coef=[SLOPES[0]] * 2, intercept=(1.0, 1.0), scale=(0.5, 0.5))
    found = sample_size(equal, {"experts.coef": 0.1}, X=inputs(), against=1)
    assert found.rows is None
    assert "singular along gates.0" in found.refused
    assert "more slowly than n^-1/2" in repr(found)
    near = lines(coef=[SLOPES[0], [1.5, 0.5, -0.9]], intercept=(1.0, 1.0), scale=(0.5, 0.5))
    assert sample_size(near, {"experts.coef": 0.1}, X=inputs()).rows > 1000


def test_a_column_that_repeats_another_leaves_its_slopes_open():
    x = inputs()
    x[:, 2] = x[:, 0] - x[:, 1]
    found = sample_size(lines(), {"experts.coef": 0.1}, X=x)
    assert found.rows is None
    assert "experts.coef[0,0,2]" in found.refused
    assert set(found.needed.tolist()) == {inf}
    assert sample_size(lines(), {"experts.intercept": 0.1}, X=x).rows > 0


def test_what_is_fixed_is_said_so():
    found = sample_size(lines(), {"gates.0.weight": 0.2}, X=inputs())
    assert "gates.0.weight[1,2]          0  fixed" in repr(found)
    assert found.rows == int(found.needed[:3].max())
    with pytest.raises(ValueError, match="none of it is estimated"):
        sample_size(lines(), {"gates.0.weight[1,0]": 0.2}, X=inputs())


def test_the_strictest_of_several_targets_counts():
    found = sample_size(lines(), {"experts.coef": 0.1, "experts.coef[1,0,2]": 0.01}, X=inputs())
    assert found.rows == ceil(float(found.unit[-1] / 0.01) ** 2)
    assert found.target.tolist() == [0.1] * 5 + [0.01]


def test_a_separated_fit_is_no_truth():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3))
    y = np.where(x[:, 0] > 0, 1 + x[:, 1], -1 - x[:, 2]) + 0.1 * rng.normal(size=200)
    with pytest.warns(SeparatedWarning):
        model = MixtureOfExpertsRegressor(2, n_init=5, random_state=0).fit(x, y)
    found = sample_size(model, {"experts.coef": 0.1}, X=x)
    assert found.rows is None
    assert "no truth to plan with" in found.refused
    assert len(found.to_frame()) == 0


def test_a_truth_below_the_bounds_is_refused():
    x = torch.from_numpy(inputs())
    truth = lines()
    y, _ = sample(*truth, x.T, x.T, torch.Generator().manual_seed(1))
    fit = maximum_likelihood(truth[0], make_rows(x, y.T), starts=3)
    held = fit._replace(spec=FitSpec(bounds={"family.scale": (2.0, 3.0)}))
    with pytest.raises(ValueError, match="lie outside the bounds"):
        sample_size(held, {"experts.coef": 0.1}, X=x)


@pytest.mark.slow
def test_bic_tells_two_experts_from_one_as_often_as_planned():
    mixture, measure = lines(coef=[[0.9, 0.3, -0.6], [0.3, 0.0, 0.0]], intercept=(0.5, -0.5))
    x = inputs()
    found = sample_size((mixture, measure), X=x, against=1, probability=0.8)
    assert 30 < found.rows < 2000
    assert found.telling.df == 9
    assert "to 1 expert with probability 0.8" in repr(found)

    def drawn(number):
        at = torch.from_numpy(x[np.random.default_rng(number).integers(len(x), size=found.rows)])
        return make_rows(at, sample(mixture, measure, at.T, at.T, torch.Generator().manual_seed(number))[0].T)

    plans = Plan(mixture, starts=lambda _: [measure]), Plan(Mixture(mixture.gates, (1,)), starts=1)
    two, one = (torch.tensor([fit.log_likelihood for _, fit in many_fits(p, drawn, range(80))]) for p in plans)
    right = float((2 * (two - one) > 9 * np.log(found.rows)).double().mean())
    assert 0.66 < right < 0.93


def test_more_rows_tell_with_more_certainty():
    rows = [rows_to_tell(0.02, 0.05, 5, chance, 9) for chance in (0.6, 0.9, 0.99)]
    assert rows[0] < rows[1] < rows[2]
    assert rows_to_tell(0.01, 0.025, 5, 0.9, 9) > 2 * rows[1]
    assert rows_to_tell(50.0, 1.0, 5, 0.9, 9) == 9


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "neither target nor against"),
        ({"target": {"experts.slope": 0.1}}, "the paths are"),
        ({"target": {"experts.coef": 0.0}}, "wanted standard error"),
        ({"target": {"experts.coef": nan}}, "wanted standard error"),
        ({"against": 2}, "a number of experts below 2"),
        ({"against": 1, "probability": 0.5}, "chance of a coin"),
        ({"target": {"experts.coef": 0.1}, "simulated": 10}, "whole number from 1000"),
        ({"target": {"experts.coef": 0.1}, "check": -1}, "whole number from 0"),
        ({"target": {"experts.coef": 0.1}, "X": np.zeros(5)}, "one row per observation"),
        ({"target": {"experts.coef": 0.1}, "X": inputs(d=4)}, "give a measure of this mixture"),
    ],
)
def test_arguments_that_cannot_be_are_told(options, words):
    with pytest.raises(ValueError, match=words):
        sample_size(lines(), **{"X": inputs(), **options})


def test_a_truth_that_is_none_is_told():
    mixture, measure = lines()
    with pytest.raises(TypeError, match="a fitted estimator, a Fit"):
        sample_size((measure, mixture), {"experts.coef": 0.1}, X=inputs())
    with pytest.raises(ValueError, match="normalised-sigmoid"):
        sample_size((Mixture((GATES["sigmoid"],), (2,)), measure), {"experts.coef": 0.1}, X=inputs())


def test_the_answer_is_a_table():
    found = sample_size(lines(), {"experts.coef": 0.1}, X=inputs(), against=1)
    assert repr(found).startswith(f"Rows needed: {found.rows}\n")
    frame = found.to_frame()
    assert frame.index.name == "parameter"
    np.testing.assert_array_equal(frame["rows"], found.needed)
    assert "experts.coef[1,0,2]" in found._repr_html_()
    assert max(map(len, repr(found).split("\n")[:8])) <= 90
