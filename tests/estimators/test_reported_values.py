"""What is reported is what was asked for and what was optimised."""

import numpy as np
import pytest
import torch

from gatewise import MixtureOfExpertsRegressor, Status

NAN = np.nan


@pytest.fixture(scope="module")
def regimes():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 1))
    first = rng.random(300) < 1 / (1 + np.exp(-2 * x[:, 0] - 0.3))
    return x, np.where(first, 1 + x[:, 0], -1.5 - 0.7 * x[:, 0]) + 0.3 * rng.normal(size=300)


def fitted(x, y, **options):
    return MixtureOfExpertsRegressor(**{"n_init": 5, "random_state": 0, **options}).fit(x, y)


def test_another_reference_branch_is_the_same_fit(regimes):
    plain = fitted(*regimes)
    other = fitted(*regimes, fixed={"gates.0.weight": [[0.0], [NAN]], "gates.0.bias": [0.0, NAN]})
    assert other.log_likelihood_ == pytest.approx(plain.log_likelihood_, abs=1e-6)
    assert other.fit_.df == plain.fit_.df


@pytest.mark.filterwarnings("ignore::gatewise.estimators.warnings.FitWarning")
def test_fixed_and_bounded_slopes_hold_with_equal_columns(regimes):
    x, y = regimes
    twice = np.c_[x, x]
    held = fitted(twice, y, fixed={"experts.coef": [[5.0, NAN], [NAN, NAN]]})
    assert held.coef_[0, 0] == 5.0
    assert held.log_likelihood_ == pytest.approx(fitted(*regimes).log_likelihood_, abs=1e-5)
    assert held.status_ is Status.unidentified
    boxed = fitted(twice, y, bounds={"experts.coef": (0.8, 2)})
    assert (boxed.coef_ >= 0.8 - 1e-9).all()


@pytest.mark.filterwarnings("ignore::gatewise.estimators.warnings.FitWarning")
def test_the_penalty_is_that_of_the_reported_slopes(regimes):
    x, y = regimes
    twice = np.c_[x, x]
    model = fitted(twice, y, alpha=5.0)
    slopes = model.measure_.gates[0]["weight"].numpy() * twice.std(0)
    assert model.fit_.penalty == pytest.approx(2.5 * ((slopes - slopes.mean(0)) ** 2).sum(), rel=1e-9)


@pytest.mark.filterwarnings("ignore::gatewise.estimators.warnings.FitWarning")
def test_a_search_that_runs_into_overflow_still_comes_back():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(175, 2))
    y = np.where(rng.random(175) < 1 / (1 + np.exp(-2 * x[:, 0])), 1 + x[:, 0], -1 - 0.5 * x[:, 1])
    y = y + 0.3 * rng.standard_t(4, size=175)
    weight = rng.integers(0, 4, 175).astype(float)
    model = MixtureOfExpertsRegressor(
        3, "relu-dense-to-sparse", n_init=4, random_state=0, standardize=False, gauge="none", method="em"
    ).fit(x - 100, y, sample_weight=weight)
    assert not model.converged_


def test_degrees_of_freedom_at_the_gaussian_limit_are_not_counted(regimes):
    gaussian, student = fitted(*regimes), fitted(*regimes, family="student-t")
    at_limit = len(student.fit_.certificate.limits)
    assert student.fit_.df == gaussian.fit_.df + 2 - at_limit
    assert student.log_likelihood_ >= gaussian.log_likelihood_ - 1e-6


def test_threads_are_given_back(regimes):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        fitted(*regimes)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
