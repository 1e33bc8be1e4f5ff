"""The classifier: probabilities, labels, references of one expert, and refusals."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score

from gatewise import MixtureOfExpertsClassifier, bootstrap_test, load_model, log_likelihood_scorer, save_model, select


def three_classes(n=400, d=3, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    first = rng.random(n) < 1 / (1 + np.exp(-2 * x[:, 0]))
    slopes = np.zeros((2, 3, d))
    slopes[0, 1, 1], slopes[0, 2, -1], slopes[1, 1, -1], slopes[1, 2, 1] = 2, -2, 2, -1
    odds = np.where(first[:, None], x @ slopes[0].T, x @ slopes[1].T) + [0.0, 0.5, -0.5]
    p = np.exp(odds) / np.exp(odds).sum(1, keepdims=True)
    place = (rng.random((n, 1)) > p.cumsum(1)).sum(1).clip(max=2)
    return x, np.array(["b", "a", "c"])[place]


@pytest.fixture(scope="module")
def fitted():
    x, y = three_classes()
    return MixtureOfExpertsClassifier(2, n_init=3, random_state=0).fit(x, y), x, y


def test_probabilities_are_those_of_the_mixture(fitted):
    model, x, y = fitted
    p = model.predict_proba(x)
    np.testing.assert_allclose(p.sum(1), 1.0, atol=1e-12)
    odds = np.concatenate([np.zeros((len(x), 2, 1)), model.intercept_ + np.einsum("kcd,nd->nkc", model.coef_, x)], 2)
    each = np.exp(odds) / np.exp(odds).sum(2, keepdims=True)
    np.testing.assert_allclose(p, (model.gate_proba(x)[..., None] * each).sum(1), atol=1e-12)
    assert (model.predict(x) == model.classes_[p.argmax(1)]).all()
    np.testing.assert_allclose(model.predict_log_proba(x), np.log(p))
    place = np.searchsorted(model.classes_, y)
    assert model.log_likelihood_ == pytest.approx(np.log(p[np.arange(len(x)), place]).sum())
    assert log_likelihood_scorer(model, x, y) == pytest.approx(model.log_likelihood_ / len(x))
    assert model.score(x, y) == pytest.approx((model.predict(x) == y).mean())


def test_the_summary_names_the_classes(fitted):
    model, x, y = fitted
    assert model.classes_.tolist() == ["a", "b", "c"]
    text = model.summary()
    assert {"b x0", "c x2", "c intercept"} <= set(text.experts["parameter"])
    assert model.test("b x0[0] = c x0[0]", x, y).df == 1


def test_responsibilities_are_posterior_probabilities(fitted):
    model, x, y = fitted
    found = model.responsibilities(x, y)
    place = np.searchsorted(model.classes_, y)
    odds = np.concatenate([np.zeros((len(x), 2, 1)), model.intercept_ + np.einsum("kcd,nd->nkc", model.coef_, x)], 2)
    each = np.exp(odds) / np.exp(odds).sum(2, keepdims=True)
    joint = model.gate_proba(x) * each[np.arange(len(x)), :, place]
    np.testing.assert_allclose(found, joint / joint.sum(1, keepdims=True), atol=1e-10)


def test_one_expert_is_multinomial_regression():
    x, y = three_classes()
    model = MixtureOfExpertsClassifier(1, n_init=1).fit(x, y)
    other = LogisticRegression(C=np.inf, tol=1e-12, max_iter=10_000).fit(x, y)
    np.testing.assert_allclose(model.coef_[0], other.coef_[1:] - other.coef_[:1], atol=1e-5)
    np.testing.assert_allclose(model.predict_proba(x), other.predict_proba(x), atol=1e-6)


@pytest.mark.parametrize("labels", [[3, 7, 5], [True, False, True], ["x", "y", "z"], [1.0, 2.0, 3.0]])
def test_any_labels_come_back(labels):
    x, y = three_classes(200)
    given = np.array(labels)[np.unique(y, return_inverse=True)[1]]
    model = MixtureOfExpertsClassifier(1, n_init=1).fit(pd.DataFrame(x, columns=list("abc")), pd.Series(given))
    assert model.classes_.tolist() == sorted(set(labels))
    assert set(model.predict(pd.DataFrame(x, columns=list("abc")))) <= set(labels)


@pytest.mark.filterwarnings("ignore::gatewise.FitWarning")  # how they end is not what is tested
@pytest.mark.parametrize("gate", ["laplace", "constant", "softmax"])
def test_two_levels_and_other_gates_fit(gate):
    x, y = three_classes(150)
    model = MixtureOfExpertsClassifier((2, 2), gate=gate, n_init=1, random_state=0, max_iter=10, max_time=5)
    model.fit(x, y)
    np.testing.assert_allclose(model.predict_proba(x).sum(1), 1.0, atol=1e-12)
    assert model.log_likelihood_ > MixtureOfExpertsClassifier(1, n_init=1).fit(x, y).log_likelihood_


def test_errors_and_cross_validation_work(fitted):
    model, x, y = fitted
    found = model.inference(x, y)
    assert found.standard_errors()["experts.coef"].shape == model.coef_.shape
    scores = cross_val_score(MixtureOfExpertsClassifier(1, n_init=1), x, y, cv=3, scoring="neg_log_loss")
    assert np.isfinite(scores).all()


def test_what_are_no_classes_is_refused(fitted):
    model, x, y = fitted
    with pytest.raises(ValueError, match="one class"):
        MixtureOfExpertsClassifier().fit(x, np.zeros(len(x)))
    with pytest.raises(ValueError, match="continuous"):
        MixtureOfExpertsClassifier().fit(x, x[:, 0])
    days = np.arange("2020-01-01", "2020-04-30", dtype="datetime64[D]")
    with pytest.raises(ValueError, match="120 classes in 120 rows"):
        MixtureOfExpertsClassifier().fit(x[:120], days)
    with pytest.raises(ValueError, match="none of the classes"):
        model.responsibilities(x[:3], ["a", "b", "nothing"])
    with pytest.raises(ValueError, match="choose 'ml' or 'em'"):
        MixtureOfExpertsClassifier(method="ls").fit(x, y)
    with pytest.raises(ValueError, match="missing"):
        MixtureOfExpertsClassifier().fit(x, np.where(y == "a", None, y))


@pytest.mark.parametrize("labels", [[3, 7, 5], ["x", "y", "z"], [True, False, True]])
def test_a_file_holds_the_labels(labels, tmp_path):
    x, y = three_classes(200)
    given = np.array(labels)[np.unique(y, return_inverse=True)[1]]
    model = MixtureOfExpertsClassifier(1, n_init=1).fit(x, given)
    save_model(model, tmp_path / "model.json")
    again = load_model(tmp_path / "model.json")
    assert isinstance(again, MixtureOfExpertsClassifier)
    assert (again.predict(x) == model.predict(x)).all()
    np.testing.assert_array_equal(again.predict_proba(x), model.predict_proba(x))
    text = (tmp_path / "model.json").read_text()
    assert '"classes"' in text


def test_the_number_of_experts_is_chosen():
    x, y = three_classes(300)
    found = select(MixtureOfExpertsClassifier(n_init=2, random_state=0), x, y, n_experts=(1, 2))
    assert [one.n_experts for one in found.candidates] == [1, 2]


@pytest.mark.slow
def test_a_second_expert_is_tested():
    x, y = three_classes(200)
    one = MixtureOfExpertsClassifier(1, n_init=1)
    found = bootstrap_test(one, MixtureOfExpertsClassifier(2, gate="constant", n_init=3), x, y, n_boot=9, n_init=3)
    assert 0 < found.p_value <= 1
    assert len(found.drawn) + found.unsound == 9
