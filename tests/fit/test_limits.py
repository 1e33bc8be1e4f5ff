"""Bounds, fixed values and penalties hold as they were given, or are refused in words before a fit begins."""

import warnings

import numpy as np
import pytest

from gatewise import BoundWarning, MixtureOfExpertsRegressor


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    x = rng.uniform(-2, 2, size=(200, 1))
    first = rng.random(200) < 1 / (1 + np.exp(-2 * x[:, 0]))
    return x, np.where(first, 1 + x[:, 0], 3 - x[:, 0]) + 0.3 * rng.normal(size=200)


def fit(data, n_experts=2, **arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return MixtureOfExpertsRegressor(n_experts, n_init=2, random_state=0, **arguments).fit(*data)


@pytest.mark.parametrize("gate", ["laplace", "scaled-laplace", "cosine", "constant", "quadratic-monomial"])
@pytest.mark.parametrize("method", ["ml", "em", "ls"])
def test_a_penalty_that_nothing_would_pay_is_refused(data, gate, method):
    with pytest.raises(
        ValueError, match=f"alpha=2 with the gate {gate}: the penalty is on slopes, .* has none, only .*; leave alpha=0"
    ):
        fit(data, gate=gate, method=method, alpha=2.0)


def test_a_penalty_on_one_level_or_of_one_branch_is_accepted(data):
    assert fit(data, (2, 2), gate=("laplace", "softmax"), alpha=2.0).fit_.penalty > 0
    assert fit(data, 1, gate="laplace", alpha=2.0).fit_.penalty == 0


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        (
            {"family.dof": (0.5, 50)},
            r"\['family.dof'\] has the lower limit 0.5: the parameter ranges from 1.1 to 1e\+08 \(with heavier tails",
        ),
        ({"family.dof": (2, 1e9)}, r"the upper limit 1e\+09: .* \(Gaussian tails\); give limits in that range"),
        ({"family.scale": (-1, 2)}, "the lower limit -1: the parameter ranges from 0 to inf"),
    ],
)
def test_bounds_beyond_the_range_of_a_family_are_refused(data, bounds, words):
    with pytest.raises(ValueError, match=words):
        fit(data, family="student-t", bounds=bounds)


def test_bounds_up_to_the_range_or_without_an_end_are_accepted(data):
    free = fit(data, family="student-t")
    for bounds in ({"family.dof": (1.1, 1e8)}, {"family.dof": (-np.inf, np.inf)}, {"family.scale": (0, np.inf)}):
        bounded = fit(data, family="student-t", bounds=bounds)
        assert bounded.log_likelihood_ == pytest.approx(free.log_likelihood_, abs=1e-6)


def test_the_end_of_a_range_is_named_and_a_given_bound_is_not_taken_for_it():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(300, 1))
    y = x[:, 0] + rng.standard_t(0.5, size=300)
    model = MixtureOfExpertsRegressor(1, family="student-t", n_init=1, random_state=0)
    with pytest.warns(BoundWarning, match=r"is at the end of its range, 1\.1: with heavier tails"):
        model.fit(x, y)
    with pytest.warns(BoundWarning) as caught:
        model.set_params(bounds={"family.dof": (2.0, 50.0)}).fit(x, y)
    assert "heavier tails" not in str(caught[0].message)


@pytest.mark.parametrize("method", ["ml", "ls"])
@pytest.mark.parametrize("value", [[5.0, np.nan], -0.5])
def test_fixed_values_outside_their_bounds_are_refused(data, method, value):
    words = r"experts.intercept\[0,0\] is fixed at .*, outside bounds\['experts.intercept'\]=\(0, 4\): change one"
    with pytest.raises(ValueError, match=words):
        fit(data, method=method, fixed={"experts.intercept": value}, bounds={"experts.intercept": (0, 4)})


def test_fixed_values_on_their_bounds_are_accepted(data):
    model = fit(data, fixed={"family.scale": [0.3, np.nan]}, bounds={"family.scale": (0.3, 1.0)})
    assert model.scale_[0] == pytest.approx(0.3, rel=1e-12)


def test_bounds_that_leave_out_the_zero_of_the_reference_branch_are_refused(data):
    words = r"gates.0.bias\[1\] is held at 0, outside bounds\['gates.0.bias'\]=\(1, 3\): it belongs to the reference"
    with pytest.raises(ValueError, match=words):
        fit(data, bounds={"gates.0.bias": (1, 3)})
    model = fit(data, bounds={"gates.0.bias": ([1, -1], [3, 1])})
    low, high = np.array([1, -1]), np.array([3, 1])
    assert ((model.gate_params_[0]["bias"] >= low) & (model.gate_params_[0]["bias"] <= high)).all()
    # a branch that is fixed is the reference, and the last one is estimated within its bounds
    model = fit(
        data,
        fixed={"gates.0.bias": [1.5, np.nan], "gates.0.weight": [[0.0], [np.nan]]},
        bounds={"gates.0.bias": (1, 3)},
    )
    assert ((model.gate_params_[0]["bias"] >= 1) & (model.gate_params_[0]["bias"] <= 3)).all()


def test_bounds_of_what_the_gauge_holds_are_refused(data):
    with pytest.raises(ValueError, match=r"gates.0.temperature is held at 1, .*: the data do not determine it"):
        fit(data, gate="dense-to-sparse", bounds={"gates.0.temperature": (2, 3)})


@pytest.mark.parametrize("value", [1e-300, [0.3, 1e-30]])
def test_a_fixed_scale_below_the_digits_of_y_is_refused(data, value):
    words = r"fixed\['family.scale'\] has the value 1e-.*, but responses of this size have no digits below .*e-16"
    with pytest.raises(ValueError, match=words):
        fit(data, fixed={"family.scale": value})
