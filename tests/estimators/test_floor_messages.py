"""What is said of scales: the value, what set it, and a remedy that works on the data that provoke the message."""

import re
import warnings

import numpy as np
import pytest

from gatewise import MixtureOfExpertsRegressor
from gatewise.estimators.warnings import FitWarning, RefusedWarning, StartsDisagreeWarning, UnsoundWarning


def lines(n=200, noise=0.3, d=1):
    r = np.random.default_rng(0)
    x = r.uniform(-1, 1, (n, d))
    first = r.random(n) < 1 / (1 + np.exp(-3 * x[:, 0]))
    return x, np.where(first, 1 + 2 * x[:, 0], -1 - x.sum(1)) + noise * r.standard_normal(n)


def copies(d=1):
    x = np.repeat(np.random.default_rng(1).integers(0, 9, (5, d)).astype(float), 20, 0)
    return x, np.repeat([0, 1.2, 1.9, 5, 4], 20)


def outlier():
    x, y = lines()
    return x, np.where(np.arange(200) == 3, 1e12, y)


def twins():
    x, y = lines(d=3)
    return x, np.c_[y, 2 * y]


def halves():
    r = np.random.default_rng(0)
    x, e = r.uniform(0, 10, 200), r.standard_normal(200)
    return x[:, None], np.where(np.arange(200) < 100, 10 + x + 0.15 * e, 50 + 2 * x + 2 * e)


def fit(data, **options):
    """The model and the warnings of its fit, by class."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", FitWarning)
        model = MixtureOfExpertsRegressor(**{"random_state": 0, "n_init": 8, **options}).fit(*data)
    return model, {type(one.message): str(one.message) for one in caught}


CASES = {  # data, arguments, what the message says, data and arguments of the remedy it names
    "few rows": (
        lines, {"n_experts": 8}, r"too few for expert \d(, expert \d)*: use fewer", lines, {"n_experts": 2},
    ),
    "few rows in all": (
        lambda: lines(6), {}, "too few for expert .*: use fewer experts", lambda: lines(6), {"n_experts": 1},
    ),
    "too few rows": (lambda: lines(2), {}, "too few for expert .*: give more observations", lines, {}),
    "copies": (
        copies, {}, r"on the floor 0.0289, the rounding error of a response in steps of 0.1: .*use fewer experts",
        copies, {"n_experts": 1},
    ),
    "no noise": (
        lambda: lines(noise=0), {}, "on the floor .*for double precision: .*use fewer experts",
        lambda: lines(noise=0), {"n_experts": 1},
    ),
    "outlier": (
        outlier, {}, r"on the floor 1e\+04, 1e-8 of the largest deviation 1e\+12 .*: leave out observations",
        lambda: tuple(part[np.arange(200) != 3] for part in lines()), {},
    ),
    "twins": (
        twins, {"covariance": "full"}, "on the floor .*0.1 % of the spread .*use covariance='diag'",
        twins, {"covariance": "diag"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_remedy_of_an_unsound_fit_gives_a_sound_one(name):
    data, options, words, other, remedy = CASES[name]
    model, told = fit(data(), **options)
    assert model.status_ == "unsound"
    assert re.search(words, told[UnsoundWarning])
    assert re.search(words, model.summary().replace("\n  ", " "))
    mended, left = fit(other(), **remedy)
    assert mended.converged_
    assert UnsoundWarning not in left


def test_an_exact_function_of_x_has_no_scale():
    x, _ = lines(d=3)
    model, told = fit((x, x.sum(1)), n_experts=1)
    assert model.status_ == "unsound"
    assert "y is an exact function of X, so there is no scale to estimate" in told[UnsoundWarning]


def test_a_floor_that_refuses_a_far_better_fit_is_named():
    model, told = fit(halves(), gate="constant", min_scale=0.5)
    assert model.converged_
    assert re.search(
        r"log-likelihood 518\.\d higher.*the floor 0.5, given as min_scale: give a smaller", told[RefusedWarning]
    )
    assert "was refused" in model.summary()
    mended, left = fit(halves(), gate="constant", min_scale=0.05)
    assert not left
    np.testing.assert_allclose(sorted(mended.coef_.ravel()), [1, 2], atol=0.1)


def test_the_chance_of_something_new_is_a_bound():
    model, told = fit(lines(), n_init=3)
    assert not told
    assert model.fit_.starts.hits == 3
    assert "chance below 0.63 (95 % bound)" in model.summary()


def test_starts_that_nearly_all_end_elsewhere_are_said():
    r = np.random.default_rng(2)
    x, y = r.uniform(-1, 1, (60, 3)), r.standard_normal(60)
    model, told = fit((x, y), n_experts=4, n_init=12)
    starts = model.fit_.starts
    assert starts.hits <= 2
    assert starts.better == pytest.approx(1 - 0.05 ** (1 / 12))
    assert f"end higher with a chance of up to {starts.better:.2f} (95 % bound)" in told[StartsDisagreeWarning]


def test_the_criteria_of_an_unsound_fit_are_called_so():
    x = np.arange(30.0)[:, None]
    with pytest.warns(UnsoundWarning):
        unsound = MixtureOfExpertsRegressor(1, n_init=1, random_state=0).fit(x, x[:, 0])
    first = unsound.summary().split("Status:")[0]
    assert "These criteria mean nothing" in first
    sound = MixtureOfExpertsRegressor(1, n_init=1, random_state=0).fit(x, np.sin(x[:, 0]))
    assert "mean nothing" not in sound.summary()


@pytest.mark.parametrize("criterion", ["aic", "bic", "icl"])
def test_a_criterion_of_an_unsound_fit_warns_once_that_it_means_nothing(criterion):
    x = np.linspace(-1.0, 1.0, 40)[:, None]
    with pytest.warns(UnsoundWarning):
        model = MixtureOfExpertsRegressor(1, random_state=0).fit(x, 2 * x[:, 0] + 1)
    with pytest.warns(UnsoundWarning, match="mean nothing") as heard:
        getattr(model, criterion)()
    assert [warning.filename for warning in heard] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.summary()
        noisy = MixtureOfExpertsRegressor(1, random_state=0).fit(x, 2 * x[:, 0] + np.cos(40 * x[:, 0]))
        getattr(noisy, criterion)()
