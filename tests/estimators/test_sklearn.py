"""scikit-learn's own checks and its tools: clone, pickle, pipelines, searches, metadata routing, data frames."""

import pickle

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_sample_weight_equivalence_on_dense_data, parametrize_with_checks

from gatewise import GATES, Gate, MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from gatewise.core.links import Softmax
from gatewise.core.scores import Distance

from ..whole_path import brief_fits  # noqa: F401

QUIET = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


NO_DENSITY_OF_X = "scikit-learn calls score_samples(X), but the density is that of y given X, and needs y"
CALLS_SCORE_SAMPLES = ("check_methods_sample_order_invariance", "check_methods_subset_invariance")
REGRESSOR = dict.fromkeys(CALLS_SCORE_SAMPLES, NO_DENSITY_OF_X)
SEPARATED = {
    "check_sample_weight_equivalence_on_dense_data": "its 15 rows are separated by two experts: the likelihood has no "
    "maximum, and probabilities between the classes depend on where the climb ends"
}


@QUIET
@parametrize_with_checks(
    [MixtureOfExpertsRegressor(n_init=1), MixtureOfExpertsClassifier(n_init=1)],
    expected_failed_checks=lambda estimator: {
        **(SEPARATED if isinstance(estimator, MixtureOfExpertsClassifier) else REGRESSOR),
    },
)
def test_scikit_learns_checks_pass(estimator, check):
    if isinstance(estimator, MixtureOfExpertsRegressor) and check.func is check_sample_weight_equivalence_on_dense_data:
        pytest.skip("its 15 rows have 30 features: the fit is unsound, and its predictions are rounding")
    check(estimator)


@QUIET
def test_weights_are_repeated_rows():
    """What the check of weights looks at, with more rows than parameters."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 3))
    y = np.where(x[:, 0] > 0, 2.0 + x[:, 1], -x[:, 2]) + 0.3 * rng.normal(size=120)
    weight = rng.integers(0, 4, size=120)
    model = MixtureOfExpertsRegressor(n_init=3, random_state=0)
    weighted = clone(model).fit(x, y, sample_weight=weight).predict(x)
    repeated = clone(model).fit(x.repeat(weight, axis=0), y.repeat(weight)).predict(x)
    np.testing.assert_allclose(weighted, repeated, rtol=1e-6, atol=1e-6)


@QUIET
@pytest.mark.parametrize("d", [1, 3])
def test_methods_do_not_depend_on_the_order_or_number_of_rows(d):
    """What the two checks that call score_samples(X) look at, with y."""
    rng = np.random.default_rng(d)
    x = rng.normal(size=(80, d))
    y = np.where(rng.random(80) < 0.5, x[:, 0], -2.0) + 0.3 * rng.normal(size=80)
    model = MixtureOfExpertsRegressor(n_init=2, random_state=0).fit(x, y)
    order = rng.permutation(80)
    for method in (model.score_samples, model.responsibilities, lambda a, b: model.predict(a)):
        whole = method(x, y)
        np.testing.assert_allclose(method(x[order], y[order]), whole[order], atol=1e-12)
        one_by_one = np.concatenate([method(x[[i]], y[[i]]) for i in range(80)])
        np.testing.assert_allclose(one_by_one, whole, atol=1e-12)


@QUIET
def test_fits_draw_no_global_random_numbers(lines):
    np.random.seed(3)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    MixtureOfExpertsRegressor(n_init=2).fit(*lines)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_equal_seeds_give_equal_bits(lines):
    one, two = (MixtureOfExpertsRegressor(n_init=5, random_state=11).fit(*lines) for _ in range(2))
    assert (one.coef_ == two.coef_).all()
    assert (one.fit_.starts.log_likelihood == two.fit_.starts.log_likelihood).all()
    drawn = MixtureOfExpertsRegressor(n_init=5, random_state=np.random.RandomState(0)).fit(*lines)
    assert drawn.log_likelihood_ == pytest.approx(one.log_likelihood_, abs=1e-6)


@QUIET
def test_gate_objects_are_cloned_pickled_and_searched(lines):
    x, y = lines
    choices = ["softmax", Gate(Distance(), Softmax()), GATES["normalised-sigmoid"]]
    search = GridSearchCV(
        MixtureOfExpertsRegressor(n_init=3, random_state=0), {"gate": choices, "n_experts": [1, 2]}, cv=2
    )
    search.fit(x, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_params_["n_experts"] == 2
    model = search.best_estimator_
    assert clone(model).gate == model.gate
    again = pickle.loads(pickle.dumps(model))  # noqa: S301
    assert (again.predict(x) == model.predict(x)).all()
    assert again.summary() == model.summary()


@QUIET
def test_gate_features_work_in_pipelines_by_position_and_by_name(lines):
    x, y = lines
    table = pd.DataFrame(x, columns=["a", "b"])
    model = MixtureOfExpertsRegressor(gate_features=["a"], n_init=4, random_state=0).fit(table, y)
    by_position = MixtureOfExpertsRegressor(gate_features=[0], n_init=4, random_state=0)
    explicit = MixtureOfExpertsRegressor(n_init=4, random_state=0).fit(x, y, gate_X=x[:, :1])
    assert model.gate_params_[0]["weight"].shape == (2, 1)
    assert model.coef_.shape == (2, 2)
    assert (model.predict(table) == explicit.predict(x, gate_X=x[:, :1])).all()
    assert "weight a" in model.summary()
    pipeline = make_pipeline(StandardScaler(), by_position).fit(x, y)
    np.testing.assert_allclose(pipeline.predict(x), model.predict(table), atol=1e-6)
    assert cross_val_score(pipeline, x, y, cv=3).min() > 0.1


@QUIET
def test_gate_inputs_are_routed_as_metadata(lines):
    x, y = lines
    with sklearn.config_context(enable_metadata_routing=True):
        model = MixtureOfExpertsRegressor(n_init=3, random_state=0).set_fit_request(gate_X=True, sample_weight=True)
        model = model.set_score_request(gate_X=True, sample_weight=True).set_predict_request(gate_X=True)
        search = GridSearchCV(model, {"gate": ["softmax", "constant"]}, cv=2)
        search.fit(x, y, gate_X=x[:, :1], sample_weight=np.ones(len(y)))
        assert search.best_estimator_.gate_params_[0].keys() >= {"bias"}
        assert search.best_estimator_.predict(x, gate_X=x[:, :1]).shape == y.shape


@QUIET
def test_a_collapsed_fold_scores_instead_of_raising(lines):
    x, y = lines
    search = GridSearchCV(MixtureOfExpertsRegressor(n_init=2, random_state=0), {"n_experts": [2, 12]}, cv=3)
    search.fit(x[:60], y[:60])
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_responses_keep_their_dimensions(lines):
    x, y = lines
    one = MixtureOfExpertsRegressor(n_init=3, random_state=0).fit(x, y)
    column = MixtureOfExpertsRegressor(n_init=3, random_state=0).fit(x, y[:, None])
    both = MixtureOfExpertsRegressor(n_init=3, random_state=0).fit(x, np.c_[y, 2 * y + x[:, 0] ** 2])
    full = clone(both).set_params(covariance="full").fit(x, np.c_[y, 2 * y + x[:, 0] ** 2])
    assert one.predict(x).shape == one.sample(x, 0).shape == (300,)
    assert one.intercept_.shape == one.scale_.shape == (2,)
    assert column.predict(x).shape == (300, 1)
    assert column.coef_.shape == (2, 1, 2)
    assert both.predict(x).shape == both.sample(x, 0).shape == (300, 2)
    assert both.predict_interval(x).shape == (300, 2, 2)
    assert both.predict_quantile(x, [0.1, 0.5, 0.9]).shape == (300, 2, 3)
    assert full.covariance_.shape == (2, 2, 2)
    np.testing.assert_allclose(full.scale_**2, full.covariance_.diagonal(axis1=-2, axis2=-1))
    assert full.log_likelihood_ > both.log_likelihood_
    assert full.n_outputs_ == 2


@QUIET
def test_a_tree_has_attributes_in_the_shape_of_the_tree(lines):
    model = MixtureOfExpertsRegressor((2, 2), gate=["softmax", "laplace"], n_init=2, random_state=0, alpha=0.1)
    model.fit(*lines)
    assert model.coef_.shape == (2, 2, 2)
    assert model.gate_params_[1]["center"].shape == (2, 2, 2)
    assert model.gate_proba(lines[0]).shape == (300, 4)
    text = model.summary()
    for part in ("levels of (2, 2)", "softmax, laplace", "0/1", "center x1", "Gate of level 1", "Standard errors"):
        assert part in text


def test_fixed_and_bounded_parameters_follow_the_layout_of_the_attributes(lines):
    coef = np.array([[0.0, 1.0], [0.5, -1.0]])
    model = MixtureOfExpertsRegressor(fixed={"experts.coef": coef}, n_init=4, random_state=0).fit(*lines)
    np.testing.assert_allclose(model.coef_, coef, atol=1e-12)
    part = MixtureOfExpertsRegressor(
        fixed={"experts.intercept": [1.0, np.nan]}, bounds={"experts.coef": (-0.5, 5.0)}, random_state=0
    )
    with pytest.warns(ConvergenceWarning, match="at-bound"):
        part.fit(*lines)
    assert part.intercept_[0] == pytest.approx(1.0, abs=1e-12)
    assert part.coef_.min() == pytest.approx(-0.5, abs=1e-9)


@QUIET
@pytest.mark.usefixtures("brief_fits")
def test_distance_gates_are_those_of_standardised_inputs_unless_refused(lines):
    x, y = lines[0] * [1.0, 100.0], lines[1]
    plain = MixtureOfExpertsRegressor(gate="laplace", n_init=4, random_state=0, standardize=False)
    scaled = clone(plain).set_params(standardize=True)
    metrics = []
    for model in (plain, scaled):
        model.fit(x, y)
        metrics.append(model.mixture_.gates[0].score.metric)
    assert metrics[0] is None
    np.testing.assert_allclose(metrics[1], 1 / x.std(0))
