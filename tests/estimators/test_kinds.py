"""Several kinds of experts in one mixture, zero-inflated counts and noise, as users ask for them."""

import json
import warnings
from copy import deepcopy

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy.stats import norm
from statsmodels.tools.numdiff import approx_hess3
from typer.testing import CliRunner

from gatewise import (
    FitWarning,
    MixtureOfExpertsRegressor,
    Status,
    bootstrap_test,
    load_model,
    moe,
    save_model,
)
from gatewise.cli import app
from gatewise.estimators.content import estimator_of
from gatewise.estimators.serialise import SCHEMA
from gatewise.plots import gate_curves


def counts(n=800, seed=0, dispersion=0.0):
    """Counts that are zero with a probability that depends on three inputs."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    mean = np.exp(0.8 + x @ [0.5, -0.3, 0.2])
    mean = mean * rng.gamma(1 / dispersion, dispersion, n) if dispersion else mean
    zero = rng.random(n) < 1 / (1 + np.exp(0.5 - x @ [0.8, 0.0, -0.5]))
    return x, np.where(zero, 0, rng.poisson(mean)).astype(float)


def with_noise(n=500, seed=0):
    """Rows on a plane of three inputs, a tenth of them replaced by noise."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    y = 1 + x @ [1.0, 2.0, -1.0] + 0.3 * rng.normal(size=n)
    bad = rng.random(n) < 0.1
    return x, np.where(bad, rng.uniform(-15, 15, n), y), bad


def inflated(family, x, y, **options):
    return MixtureOfExpertsRegressor(1, family=family, zero_inflated=True, n_init=3, random_state=0, **options).fit(
        x, y
    )


def compare_with_statsmodels(model, other, x, y):
    """The gate of the expert against the zeros has minus the coefficients of the inflation."""
    assert model.status_ is Status.converged
    assert model.log_likelihood_ == pytest.approx(other.llf, abs=1e-6)
    gate = model.gate_params_[0]
    np.testing.assert_allclose(np.r_[gate["bias"][0], gate["weight"][0]], -other.params[:4], atol=1e-4)
    np.testing.assert_allclose(np.r_[model.intercept_[0], model.coef_[0]], other.params[4:8], atol=1e-4)
    bent = approx_hess3(other.params, other.model.loglike)  # the closed form of statsmodels is off by a few per cent
    wanted, errors = np.sqrt(np.linalg.inv(-bent).diagonal()), model.standard_errors_
    np.testing.assert_allclose(errors["experts.coef"][0, 0], wanted[5:8], rtol=1e-4)
    np.testing.assert_allclose(errors["gates.0.weight"][0], wanted[1:4], rtol=1e-4)
    np.testing.assert_allclose(model.predict(x), other.predict(), rtol=1e-4)
    assert model.score_samples(x, y).sum() == pytest.approx(other.llf, abs=1e-6)


def test_zero_inflated_poisson_is_that_of_statsmodels():
    x, y = counts()
    design = sm.add_constant(x)
    other = sm.ZeroInflatedPoisson(y, design, exog_infl=design).fit(method="newton", maxiter=200, disp=0)
    compare_with_statsmodels(inflated("poisson", x, y), other, x, y)


def test_zero_inflated_negative_binomial_is_that_of_statsmodels():
    x, y = counts(n=1500, seed=1, dispersion=0.5)
    design = sm.add_constant(x)
    zinb = sm.ZeroInflatedNegativeBinomialP(y, design, exog_infl=design)
    begun = np.r_[0.5, 0.8, 0.0, -0.5, 0.8, 0.5, -0.3, 0.2, 0.5]
    other = zinb.fit(start_params=begun, method="bfgs", maxiter=2000, gtol=1e-6, disp=0)
    model = inflated("negative-binomial", x, y)
    compare_with_statsmodels(model, other, x, y)
    own = 1 / model.measure_.family["size"][0, 0]
    assert float(own) == pytest.approx(other.params[8], abs=1e-4)


def test_a_hurdle_of_offsets_and_two_experts():
    x, y = counts(seed=2)
    hours = np.random.default_rng(0).uniform(0.5, 2.0, len(y))
    model = MixtureOfExpertsRegressor(2, "constant", family="poisson", zero_inflated=True, n_init=4, random_state=0)
    model.fit(x, y, offset=np.log(hours))
    assert model.mixture_.branching == (3,)
    assert model.n_experts_ == 2
    assert model.coef_.shape == (3, 3)
    assert np.isnan(model.coef_[2]).all()
    assert np.isfinite(model.coef_[:2]).all()
    shares = model.responsibilities(x, y, offset=np.log(hours))
    assert (shares[y > 0, 2] == 0).all()
    assert shares[y == 0, 2].max() > 0.1


def test_the_summary_and_predictions_know_the_branch_of_zeros():
    x, y = counts()
    model = inflated("poisson", x, y)
    text = str(model.summary())
    assert "Mixture of 1 expert and zeros" in text
    assert f"Zeros, share {model.responsibilities(x, y)[:, 1].sum():.6g} of 800" in text
    assert "branch zeros" not in text  # the reference
    assert [line.split()[0] for line in text.splitlines() if line.startswith("  zeros ")] == ["zeros"]
    names = list(model.inference(x, y).confint().index)
    assert len(names) == 8
    assert all(name.endswith(("[expert 0]", "[branch 0]")) for name in names)
    assert model.classification(x, y).names == ("0", "zeros")
    ends = model.predict_interval(x, 0.9)
    assert (ends[:, 0] == 0).any()
    assert ((ends[:, 0] <= y) & (y <= ends[:, 1])).mean() > 0.9
    drawn = model.sample(x, random_state=0)
    assert abs((drawn == 0).mean() - (y == 0).mean()) < 0.05
    assert abs(drawn.mean() - y.mean()) < 0.25


def test_trials_with_zeros():
    rng = np.random.default_rng(3)
    x, trials = rng.normal(size=(900, 3)), rng.integers(3, 12, 900)
    p = 1 / (1 + np.exp(-(0.3 + x @ [0.8, -0.5, 0.0])))
    y = np.where(rng.random(900) < 0.3, 0, rng.binomial(trials, p)).astype(float)
    model = MixtureOfExpertsRegressor(1, "constant", family="binomial", zero_inflated=True, n_init=3, random_state=0)
    model.fit(x, y, trials=trials)
    np.testing.assert_allclose(model.coef_[0], [0.8, -0.5, 0.0], atol=0.15)
    np.testing.assert_allclose(model.gate_proba(x[:1])[0], [0.7, 0.3], atol=0.05)
    assert (model.predict(x) <= model.gate_proba(x)[:, 0]).all()
    ends = model.predict_interval(x, 0.9, trials=trials)
    assert (ends[:, 1] <= trials).all()
    assert ((ends[:, 0] <= y) & (y <= ends[:, 1])).mean() > 0.9


def test_noise_holds_outliers_and_its_density_is_that_of_the_formula():
    x, y, bad = with_noise()
    model = MixtureOfExpertsRegressor(1, "constant", noise=True, n_init=3, random_state=0).fit(x, y)
    assert model.status_ is Status.converged
    np.testing.assert_allclose([model.intercept_[0], *model.coef_[0]], [1, 1, 2, -1], atol=0.05)
    assert model.scale_[0] == pytest.approx(0.3, abs=0.03)
    assert np.isnan(model.scale_[1])
    share = model.gate_proba(x[:1])[0, 1]
    assert share == pytest.approx(bad.mean(), abs=0.03)
    fitted = model.intercept_[0] + x @ model.coef_[0]
    density = (1 - share) * norm.pdf(y, fitted, model.scale_[0]) + share / (y.max() - y.min())
    assert model.log_likelihood_ == pytest.approx(np.log(density).sum(), abs=1e-8)
    far = np.abs(y - fitted) > 2
    assert (model.predict_class(x, y)[far] == 1).all()
    assert "Mixture of 1 expert and noise" in str(model.summary())
    low, high = model.mixture_.family.parts[-1].low[0], model.mixture_.family.parts[-1].high[0]
    assert (low, high) == (y.min(), y.max())
    outside = model.score_samples(x[:1], np.array([y.max() + 5.0]))
    assert outside[0] == pytest.approx(
        np.log(1 - share) + norm.logpdf(y.max() + 5, fitted[0], model.scale_[0]), rel=1e-9
    )


def test_noise_does_not_depend_on_the_units_of_y():
    x, y, _ = with_noise()
    options = {"n_experts": 1, "gate": "constant", "noise": True, "n_init": 3, "random_state": 0}
    one = MixtureOfExpertsRegressor(**options).fit(x, y)
    other = MixtureOfExpertsRegressor(**options).fit(x, 1e4 + 100 * y)
    assert other.log_likelihood_ == pytest.approx(one.log_likelihood_ - 500 * np.log(100), abs=1e-6)
    np.testing.assert_allclose(other.coef_[0], 100 * one.coef_[0], rtol=1e-7)


@pytest.mark.parametrize("family", ["student-t", "gamma"])
def test_noise_beside_other_families_and_several_outputs(family):
    rng = np.random.default_rng(5)
    x = rng.normal(size=(400, 3))
    clean = 1 + 0.3 * x @ rng.normal(size=(3, 2)) + 0.1 * rng.normal(size=(400, 2))
    clean = np.exp(clean) if family == "gamma" else clean
    y = np.where(rng.random((400, 1)) < 0.1, rng.uniform(1, 30, (400, 2)), clean)
    model = MixtureOfExpertsRegressor(1, "constant", family=family, noise=True, n_init=2, random_state=0).fit(x, y)
    assert model.gate_proba(x[:1])[0, 1] == pytest.approx(0.1, abs=0.05)
    law = model.mixture_.family.parts[-1]
    assert law.low == tuple(y.min(0))
    ends = model.predict_interval(x)
    assert ends.shape == (400, 2, 2)
    assert ((ends[..., 0] <= y) & (y <= ends[..., 1])).mean() == pytest.approx(0.9, abs=0.06)


def two_kinds(seed=0, n=400):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    flat = rng.random(n) < 0.4
    return x, np.where(flat, 6.0, x @ [1.0, 2.0, 3.0]) + 0.3 * rng.normal(size=n)


def test_one_expert_for_each_branch():
    """The model of a linear and a constant expert is that of two linear ones with three slopes held at zero."""
    x, y = two_kinds()
    model = MixtureOfExpertsRegressor(2, expert=["linear", "constant"], n_init=6, random_state=0).fit(x, y)
    held = {"experts.coef": [[np.nan] * 3, [0.0] * 3]}
    plain = MixtureOfExpertsRegressor(2, fixed=held, n_init=6, random_state=0).fit(x, y)
    assert model.log_likelihood_ == pytest.approx(plain.log_likelihood_, abs=1e-6)
    assert model.fit_.df == plain.fit_.df
    np.testing.assert_allclose(model.coef_[0], plain.coef_[0], atol=1e-5)
    assert np.isnan(model.coef_[1]).all()
    assert "Linear(), Constant()" in str(model.summary())
    assert list(model.summary().experts["parameter"]).count("x0") == 1
    same = MixtureOfExpertsRegressor(2, expert=("linear", "linear"), n_init=2, random_state=0).fit(x, y)
    assert same.mixture_.exchangeable


def test_one_family_for_each_branch_of_the_innermost_level():
    x, y = two_kinds(n=500)
    model = MixtureOfExpertsRegressor(
        (2, 2), "constant", expert=["linear", "constant"], family=["gaussian", "student-t"], n_init=4, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(x, y)
    assert model.dof_.shape == (2, 2)
    assert np.isnan(model.dof_[:, 0]).all()
    assert np.isfinite(model.dof_[:, 1]).all()
    assert np.isfinite(model.coef_[:, 0]).all()
    assert np.isnan(model.coef_[:, 1]).all()


def test_shared_scales_and_coefficients_leave_the_other_branch_out():
    x, y, _ = with_noise()
    model = MixtureOfExpertsRegressor(
        2, "constant", scale="shared", noise=True, shared=("x0", "intercept"), n_init=3, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(x, y)
    assert model.coef_[0, 0] == pytest.approx(model.coef_[1, 0], abs=1e-9)
    assert model.intercept_[0] == pytest.approx(model.intercept_[1], abs=1e-9)
    assert model.scale_[0] == pytest.approx(model.scale_[1], abs=1e-12)
    assert 0.2 < model.scale_[0] < 0.4
    assert "All experts, one estimate for all" in str(model.summary())


@pytest.mark.parametrize(
    ("data", "options"),
    [
        (counts(300), {"n_experts": 1, "family": "poisson", "zero_inflated": True}),
        (with_noise(300)[:2], {"n_experts": 1, "gate": "constant", "noise": True}),
        (two_kinds(n=300), {"expert": ["linear", "constant"], "family": ["gaussian", "student-t"]}),
    ],
    ids=["zeros", "noise", "kinds"],
)
def test_files_hold_the_kinds(data, options, tmp_path):
    x, y = data
    model = MixtureOfExpertsRegressor(**options, n_init=2, random_state=0).fit(x, y)
    save_model(model, tmp_path / "model.json")
    back = load_model(tmp_path / "model.json")
    assert back.get_params() == model.get_params()
    assert back.mixture_ == model.mixture_
    assert str(back.summary()) == str(model.summary())
    for one, other in ((back.predict(x), model.predict(x)), (back.predict_interval(x), model.predict_interval(x))):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(back.inference(x, y).vcov(), model.inference(x, y).vcov())
    whole = json.loads((tmp_path / "model.json").read_text())["content"]
    for name in ("zero_inflated", "noise"):
        other = deepcopy(whole)
        other["params"][name] = not other["params"][name]
        with pytest.raises(ValueError, match=r"n_experts=|are not those of the arguments|are both given"):
            estimator_of(other, SCHEMA)


def test_formulas_take_kinds():
    x, y = counts()
    data = pd.DataFrame(x, columns=list("abc")).assign(y=y)
    model = moe("y ~ a + b + c", data, n_experts=1, family="poisson", zero_inflated=True, n_init=3, random_state=0)
    assert model.log_likelihood_ == pytest.approx(inflated("poisson", x, y).log_likelihood_, abs=1e-7)
    only = moe("y ~ 1", data, n_experts=1, family="poisson", zero_inflated=True, n_init=3, random_state=0)
    zero, mean = (y == 0).mean(), y.mean()
    share, rate = only.gate_proba(data[:1])[0, 1], np.exp(only.intercept_[0])
    assert (1 - share) * rate == pytest.approx(mean, rel=1e-6)  # the equations of the two estimates
    assert share + (1 - share) * np.exp(-rate) == pytest.approx(zero, rel=1e-6)
    x, y = two_kinds()
    data = pd.DataFrame(x, columns=list("abc")).assign(y=y)
    through = moe("y ~ a + b + c - 1", data, expert=["linear", "constant"], n_init=2, random_state=0)
    np.testing.assert_array_equal(through.intercept_, 0.0)


def test_a_branch_that_holds_nothing_is_said():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 3))
    y = rng.poisson(np.exp(2.5 + 0.1 * x[:, 0])).astype(float)
    y = np.where(y == 0, 1, y)
    options = {"n_experts": 1, "gate": "constant", "n_init": 3, "random_state": 0}
    model = MixtureOfExpertsRegressor(**options, family="poisson", zero_inflated=True)
    with pytest.warns(FitWarning, match="the branch zeros holds less than one row: the data do not ask for it"):
        model.fit(x, y)
    assert model.status_ is not Status.unsound
    assert "the branch zeros holds less than one row" in " ".join(str(model.summary()).split())
    assert model.n_experts_ == 1
    clean = x @ [1.0, 2.0, 3.0] + 0.1 * rng.normal(size=400)
    with pytest.warns(FitWarning, match="the branch noise holds less than one row: the data do not ask for it"):
        MixtureOfExpertsRegressor(**options, noise=True).fit(x, clean)


ONE_COUNT = {"family": "poisson", "zero_inflated": True}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"expert": ["linear"] * 3}, "expert has 3 entries for 2 experts: give one for all, or 2"),
        ({"family": ["gaussian"]}, "family has 1 entries for 2 experts"),
        ({"expert": []}, "is empty: give one for all experts"),
        ({"expert": ["linear", "linera"]}, "did you mean 'linear'"),
        ({"n_experts": (3, 2), "expert": ["linear"] * 3}, "expert has 3 entries for 2 experts"),
        ({"family": ["gaussian", "poisson"]}, "one response cannot have all of them"),
        ({"family": ["gaussian", "student-t"], "covariance": "full"}, "a full covariance needs one for all"),
        ({**ONE_COUNT, "n_experts": (2, 2)}, "the branch is added to a mixture of one level"),
        ({**ONE_COUNT, "noise": True}, "zero_inflated and noise are both given"),
        ({**ONE_COUNT, "method": "ls"}, "which fits only the mean"),
        ({"zero_inflated": True}, "for counts, and this is a law of numbers"),
        ({"zero_inflated": True, "family": "gamma"}, "model whether y is zero apart from its size"),
        ({"zero_inflated": True, "family": "ordered"}, "this is a law of classes"),
        ({"noise": True, "family": "poisson"}, "for numbers without correlation"),
        ({"noise": True, "family": "full-gaussian"}, "for numbers without correlation"),
        ({"noise": True, "family": "weibull"}, "for numbers without correlation"),
        ({"noise": 1}, "noise=1: give True or False"),
        ({"zero_inflated": None}, "zero_inflated=None: give True or False"),
    ],
)
def test_what_cannot_be_is_refused_in_words(options, words):
    x, y = counts(40)
    with pytest.raises((ValueError, TypeError), match=words):
        MixtureOfExpertsRegressor(**{"n_experts": 2, **options}, n_init=1).fit(x, y + 1 if "noise" in options else y)


def test_values_that_a_family_cannot_have_are_refused_beside_zeros():
    x, y = counts(40)
    with pytest.raises(ValueError, match=r"y has .*negative|y has .*-1"):
        MixtureOfExpertsRegressor(1, **ONE_COUNT, n_init=1).fit(x, y - 1)
    with pytest.raises(ValueError, match="every value of column 0 of y is 2: it has no range"):
        MixtureOfExpertsRegressor(1, noise=True, n_init=1).fit(x, np.full(40, 2.0))


def test_the_command_line_takes_kinds_zeros_and_noise(tmp_path):
    table = tmp_path / "table.csv"

    def fit(y, x, *more):
        pd.DataFrame(x, columns=list("abc")).assign(y=y).to_csv(table, index=False)
        done = CliRunner().invoke(app, ["fit", str(table), "--target", "y", "--starts", "3", *more])
        assert done.exit_code == 0, done.output
        return done.output

    x, y = counts(300)
    told = fit(y, x, "--experts", "1", "--family", "poisson", "--zero-inflated", "--report", str(tmp_path / "a.html"))
    assert "Mixture of 1 expert and zeros" in told
    assert "A mixture of 1 expert and zeros." in (tmp_path / "a.html").read_text()
    x, y, _ = with_noise(300)
    found = json.loads(fit(y, x, "--experts", "1", "--gate", "constant", "--noise", "--json"))
    assert (found["n_experts"], found["branching"], found["status"]) == (1, [2], "converged")
    x, y = two_kinds(n=200)
    assert "Linear(), Constant()" in fit(y, x, "--expert", "linear,constant", "--family", "gaussian,student-t")


def test_pictures_name_the_branch():
    x, y, _ = with_noise(200)
    model = MixtureOfExpertsRegressor(1, noise=True, n_init=2, random_state=0).fit(x, y)
    assert [line.get_label() for line in gate_curves(model, x).get_lines()] == ["expert 0", "noise"]


def test_an_input_far_from_zero_keeps_its_digits():
    """Each kind of expert then refers to the mean of the inputs, and stays the expert of its branch."""
    x, y = two_kinds()
    options = {"n_experts": 2, "gate": "constant", "expert": ["linear", "constant"], "n_init": 8, "random_state": 0}
    near = MixtureOfExpertsRegressor(**options).fit(x, y)
    far = MixtureOfExpertsRegressor(**options).fit(x + 1e9, y)
    assert far.log_likelihood_ == pytest.approx(near.log_likelihood_, abs=1e-3)
    np.testing.assert_allclose(far.predict(x + 1e9), near.predict(x), atol=1e-4)
    assert "refer to X minus" in " ".join(str(far.summary()).split())


def test_a_fit_of_the_core_is_saved_with_its_branches(tmp_path):
    x, y = counts(300)
    fit = inflated("poisson", x, y).fit_
    save_model(fit, tmp_path / "fit.json")
    back = load_model(tmp_path / "fit.json")
    assert back.mixture_ == fit.mixture
    again = back.set_params(n_init=2, random_state=0).fit(x, y)
    assert again.log_likelihood_ == pytest.approx(fit.log_likelihood, abs=1e-7)
    other = MixtureOfExpertsRegressor(2, family="poisson", n_init=1)
    with pytest.raises(ValueError, match="start has the family"):
        other.fit(x, y, start=fit)


def test_a_bootstrap_asks_whether_zeros_are_needed():
    x, y = counts(300)
    options = {"n_experts": 1, "gate": "constant", "family": "poisson", "n_init": 2, "random_state": 0}
    plain, more = (MixtureOfExpertsRegressor(**options, zero_inflated=flag) for flag in (False, True))
    found = bootstrap_test(plain, more, x, y, n_boot=9)
    assert found.p_value == 0.1
    assert "1 expert against 1 expert and zeros" in str(found)
