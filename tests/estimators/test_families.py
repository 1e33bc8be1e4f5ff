"""Families through the facade: grouped counts, a family of one's own, a scale by another name, heavy tails."""

from dataclasses import dataclass
from math import inf

import numpy as np
import pytest
import torch

from gatewise import MixtureOfExpertsRegressor, load_model, save_model
from gatewise.core.families import Binomial, Family, Gaussian
from gatewise.core.parameters import Parameter
from gatewise.plots.values import observed

from ..covering import slow_rest

SIZES = [(1, 1), (1, 2), (3, 1), (4, 2)]  # features, outputs


@dataclass(frozen=True)
class Gamma(Family):
    """Gamma with mean ``exp(eta)``, as the guide for contributors writes it."""

    def parameters(self, q):
        return {"shape": Parameter((q,), "shape", transform="log", bounds=(0.0, inf), initial=1.0)}

    def log_prob(self, params, y, eta):
        shape = params["shape"][..., None]
        rate = shape * torch.exp(-eta)
        return (shape * torch.log(rate) + (shape - 1) * torch.log(y) - rate * y - torch.lgamma(shape)).sum(-2)

    def mean(self, params, eta):
        return torch.exp(eta)

    def variance(self, params, eta):
        return torch.exp(2 * eta) / params["shape"][..., None]

    def sample(self, params, eta, generator):
        shape = params["shape"][..., None].expand_as(eta)
        return torch._standard_gamma(shape, generator=generator) * torch.exp(eta) / shape

    def validate(self, y):
        return "a value that is not positive" if bool((y <= 0).any()) else None

    def working_response(self, y):
        return torch.log(y)


@dataclass(frozen=True)
class Normal(Family):
    """The Gaussian family whose scale is called sigma: formulas alone, nothing about fits."""

    location_scale = True
    has_closed_form_scale = True

    def parameters(self, q):
        return {"sigma": Parameter((q,), "scale", transform="log", bounds=(0.0, inf), initial=1.0)}

    def log_prob(self, params, y, eta):
        return Gaussian().log_prob({"scale": params["sigma"]}, y, eta)

    def mean(self, params, eta):
        return eta

    def variance(self, params, eta):
        return Gaussian().variance({"scale": params["sigma"]}, eta)

    def cdf(self, params, y, eta):
        return Gaussian().cdf({"scale": params["sigma"]}, y, eta)

    def sample(self, params, eta, generator):
        return Gaussian().sample({"scale": params["sigma"]}, eta, generator)


def two_regimes(d, q, seed=0, n=250):
    """X, and a mean per output from two planes that a gate of slope 3 chooses between."""
    r = np.random.default_rng(seed)
    x = r.uniform(-2, 2, (n, d))
    first = r.random(n) < 1 / (1 + np.exp(-3 * x[:, 0]))
    mean = np.where(first[:, None], 1 + x[:, :1], -1 - 0.5 * x[:, -1:]) * np.arange(1, q + 1)
    return x, mean, r


def grouped(d, q, trials=(12, 54)):
    x, eta, r = two_regimes(d, q)
    count = r.integers(*trials, eta.shape)
    hits = r.binomial(count, 1 / (1 + np.exp(-eta)))
    return x, np.concatenate([hits, count - hits], 1).astype(float)


def fitted(x, y, k=2, **options):
    return MixtureOfExpertsRegressor(k, **{"n_init": 6, "random_state": 0, **options}).fit(x, y)


@pytest.mark.parametrize(("d", "q"), SIZES)
@pytest.mark.parametrize("k", [1, 2])
def test_successes_and_failures_are_fitted_and_predicted(d, q, k, tmp_path):
    x, y = grouped(d, q)
    model = fitted(x, y, k, family=Binomial(None))
    assert model.converged_
    chance = model.predict(x)
    assert chance.shape == (250, q)
    assert ((chance > 0) & (chance < 1)).all()
    shares = y[:, :q] / (y[:, :q] + y[:, q:])
    for output in range(q):
        np.testing.assert_array_equal(observed(model.fit_, y, output), shares[:, output])
    assert model.score(x, y) == pytest.approx(
        np.mean(1 - ((shares - chance) ** 2).sum(0) / ((shares - shares.mean(0)) ** 2).sum(0))
    )
    assert model.score_samples(x, y).sum() == pytest.approx(model.log_likelihood_)
    assert model.responsibilities(x, y).shape == (250, k)
    drawn = model.sample(x, random_state=0)
    assert drawn.shape == y.shape
    assert (drawn[:, :q] + drawn[:, q:] == 1).all()
    assert "Binomial(trials=None)" in " ".join(model.summary().split())
    save_model(model, tmp_path / "model.json")
    np.testing.assert_array_equal(load_model(tmp_path / "model.json").predict(x), chance)


@pytest.mark.parametrize(("d", "q"), SIZES)
def test_confidence_bands_of_chances_stay_between_0_and_1(d, q):
    x, y = grouped(d, q)
    model = fitted(x, y, family=Binomial(None))
    band = model.inference(x, y).mean_interval(5 * x)
    assert band.shape == (250, q, 2)
    middle = model.predict(5 * x)
    assert ((band >= 0) & (band <= 1)).all()
    assert ((band[..., 0] <= middle) & (middle <= band[..., 1])).all()


@pytest.mark.parametrize("q", [1, 2])
def test_one_number_of_trials_is_the_grouped_family_with_as_many(q):
    x, y = grouped(3, q, (20, 21))
    pairs = fitted(x, y, family=Binomial(None))
    counts = fitted(x, y[:, :q], family=Binomial(20))
    assert pairs.log_likelihood_ == pytest.approx(counts.log_likelihood_, rel=1e-9)
    np.testing.assert_allclose(20 * pairs.predict(x), counts.predict(x), rtol=1e-5)
    bands = [one.inference(x, seen).mean_interval(x) for one, seen in ((pairs, y), (counts, y[:, :q]))]
    np.testing.assert_allclose(20 * bands[0], bands[1], rtol=1e-4)


def test_intervals_for_an_unknown_number_of_trials_are_refused_in_words():
    x, y = grouped(1, 1)
    model = fitted(x, y, 1, family=Binomial(None))
    with pytest.raises(NotImplementedError, match=r"trials of a new row is not known: fit Binomial\(trials=m\)"):
        model.predict_interval(x)


@pytest.mark.parametrize(("d", "q"), SIZES)
@pytest.mark.parametrize("method", ["ml", "em"])
def test_a_gamma_family_of_ones_own_is_fitted(d, q, method):
    x, mean, r = two_regimes(d, q)
    y = np.exp(mean) * r.gamma(5, 1 / 5, mean.shape)
    y = y[:, 0] if q == 1 else y
    model = fitted(x, y, family=Gamma(), method=method)
    assert model.converged_
    assert model.shape_.shape == ((2, q) if q > 1 else (2,))
    assert ((model.shape_ > 3) & (model.shape_ < 8)).all()  # drawn with 5
    assert model.sample(x, random_state=0).shape == model.predict(x).shape == y.shape
    assert model.inference(x, y).refused is None
    assert "shape" in model.summary()


@pytest.mark.parametrize(("d", "q"), slow_rest(SIZES, SIZES[-1:]))
@pytest.mark.parametrize(
    "options", [{}, {"method": "em"}, {"scale": "shared"}, {"method": "em", "scale": "shared"}], ids=str
)
def test_a_scale_by_another_name_is_fitted_to_the_same_optimum(d, q, options):
    x, mean, r = two_regimes(d, q)
    y = mean + 0.3 * r.standard_normal(mean.shape)
    own, known = fitted(x, y, family=Normal(), **options), fitted(x, y, **options)
    assert own.status_ == known.status_ == "converged"
    assert own.log_likelihood_ == pytest.approx(known.log_likelihood_, abs=1e-8)
    np.testing.assert_allclose(np.sort(own.sigma_, 0), np.sort(known.scale_, 0), rtol=1e-6)
    assert own.fit_.df == known.fit_.df


@pytest.mark.filterwarnings("ignore::gatewise.estimators.warnings.FitWarning")
@pytest.mark.parametrize(("d", "q"), SIZES)
def test_a_scale_by_another_name_has_its_floor(d, q):
    x, mean, r = two_regimes(d, q)
    y = mean + 0.1 * r.standard_normal(mean.shape)
    own, known = (fitted(x, y, 3, family=family, min_scale=0.5) for family in (Normal(), "gaussian"))
    assert own.status_ == known.status_ == "unsound"
    named = {name.replace("sigma", "scale") for name in own.fit_.certificate.floor}
    assert named == set(known.fit_.certificate.floor)
    assert own.sigma_.min() >= 0.5 * (1 - 1e-9)


@pytest.mark.parametrize(("d", "q"), slow_rest([(1, 1), (1, 2), (4, 1), (4, 2)], [(4, 1)]))
@pytest.mark.filterwarnings("ignore::gatewise.estimators.warnings.FitWarning")
def test_tails_without_a_mean_are_kept_at_a_limit_that_is_named(d, q):
    x, mean, r = two_regimes(d, q)
    y = mean + 0.3 * r.standard_t(0.6, mean.shape)
    model = fitted(x, y, family="student-t", min_scale=0.01, n_init=10)
    gaussian = fitted(x, mean + 0.3 * r.uniform(-1, 1, mean.shape), family="student-t")
    heavy, light = model.fit_.certificate, gaussian.fit_.certificate
    assert np.isfinite(model.predict(x)).all()
    assert "at-bound" in map(str, model.fit_.flags)  # of four inputs the gate is separated too
    assert not model.converged_
    assert model.dof_.min() == pytest.approx(1.1)
    assert heavy.active
    assert not heavy.limits
    assert any(
        "at the end of its range, 1.1: with heavier tails there would soon be no mean" in n for n in model.fit_.notes
    )
    assert not any("Gaussian tails" in note for note in model.fit_.notes)
    assert light.limits
    assert not light.active
    assert any("Gaussian tails" in note for note in gaussian.fit_.notes)
    assert not any("end of its range" in note for note in gaussian.fit_.notes)
    everything = d + 1 + 2 * q * (d + 1 + 2)  # of one gate, and of every expert with its scale and dof
    assert model.fit_.df == everything
    assert gaussian.fit_.df == everything - len(light.limits)


def test_degrees_of_freedom_without_a_mean_cannot_be_fixed():
    x, mean, _ = two_regimes(1, 1)
    with pytest.raises(ValueError, match=r"fixed family.dof has the value 1: its range is 1.1 to 1e\+08: with heavier"):
        fitted(x, mean[:, 0], family="student-t", fixed={"family.dof": 1.0})
    model = fitted(x, mean[:, 0] + np.sin(40 * x[:, 0]), family="student-t", fixed={"family.dof": 3.0})
    np.testing.assert_allclose(model.dof_, 3.0)


@pytest.mark.filterwarnings("ignore::gatewise.estimators.warnings.FitWarning")
@pytest.mark.parametrize("seed", slow_rest(range(15), range(5)))
def test_students_t_never_predicts_nan(seed):
    r = np.random.default_rng(seed)
    d, k, n, q = (int(r.integers(*ends)) for ends in ((1, 6), (1, 4), (60, 200), (1, 3)))
    x = r.uniform(-2, 2, (n, d))
    plane = (x @ r.normal(size=(d, k)) * 2)[np.arange(n), r.integers(0, k, n)]
    y = plane[:, None] + 0.5 * r.standard_t(r.choice([0.7, 1.0, 3.0]), (n, q))
    model = fitted(x, y, k, family="student-t", gate=str(r.choice(["softmax", "constant"])), n_init=4)
    assert np.isfinite(model.predict(x)).all()
    assert not np.isnan(model.predict_interval(x[:3])).any()
