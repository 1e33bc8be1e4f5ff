"""Starts that are given: a model, its fit or measure, responsibilities, and the fit before."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from gatewise import GATES, MixtureOfExpertsRegressor, maximum_likelihood
from gatewise.core.mixture import Mixture
from gatewise.fit import least_squares
from gatewise.objective.rows import make_rows

from ..covering import slow_rest

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def drawn(d, n=120, q=1):
    rng = np.random.default_rng(10 * d + q)
    x = rng.normal(size=(n, d))
    z = rng.random(n) < 1 / (1 + np.exp(-2 * x[:, 0]))
    y = np.stack([np.where(z, 3 + x[:, 0], -2 - (j + 1) * x[:, -1]) for j in range(q)], 1)
    return x, (y + 0.3 * rng.normal(size=y.shape)).squeeze(), z


def one(**settings):
    return MixtureOfExpertsRegressor(**{"n_experts": 2, "n_init": 1, "random_state": 3, **settings})


USUAL = {(1, 1, "ml"), (3, 2, "ml"), (3, 2, "ls"), (5, 1, "em")}


@pytest.mark.parametrize(
    ("d", "q", "method"),
    slow_rest([(d, q, method) for d, q in ((1, 1), (3, 2), (5, 1)) for method in ("ml", "em", "ls")], USUAL),
)
def test_a_search_begins_where_it_is_told(d, q, method):
    x, y, _ = drawn(d, q=q)
    best = one(n_init=4, random_state=0, method=method).fit(x, y)
    for start in (best, best.fit_, best.measure_):
        again = one(method=method).fit(x, y, start=start)
        assert again.log_likelihood_ == pytest.approx(best.log_likelihood_, abs=1e-7)
        assert again.fit_.starts.kind[0] == "given"
        np.testing.assert_allclose(again.coef_, best.coef_, atol=1e-5)  # the same order of the experts too


@pytest.mark.parametrize("gate", ["softmax", "laplace", "quadratic", "constant", "dense-to-sparse"])
@pytest.mark.parametrize("d", slow_rest([1, 3], [3]))
def test_responsibilities_name_the_experts(d, gate):
    x, y, z = drawn(d)
    share = np.stack([~z, z], 1)
    kinds = (0.8 * share + 0.1, share.astype(float), torch.tensor(share).double())
    for start in kinds if gate == "softmax" else kinds[:1]:
        model = one(gate=gate).fit(x, y, start=start)
        assert model.intercept_[0] < 0 < model.intercept_[1]
        turned = one(gate=gate).fit(x, y, start=start[:, [1, 0]])
        assert turned.intercept_[1] < 0 < turned.intercept_[0]
        assert model.log_likelihood_ == pytest.approx(turned.log_likelihood_, abs=1e-4)


@pytest.mark.parametrize("d", [1, 3])
def test_responsibilities_follow_weights_and_groups(d):
    x, y, z = drawn(d)
    label = np.random.default_rng(0).permutation(np.repeat(np.arange(40), 3))
    z = z[label]  # one expert per group
    y = np.where(z, 3 + x[:, 0], -2 - x[:, -1]) + 0.2 * np.cos(np.arange(120))
    weight = (np.arange(120) % 4 > 0).astype(float)
    weight = weight[label]
    share = np.stack([~z, z], 1).astype(float)
    model = one(gate="constant").fit(x, y, sample_weight=weight, groups=label, start=share)
    assert model.intercept_[0] < 0 < model.intercept_[1]
    kept = weight > 0
    same = one(gate="constant").fit(x[kept], y[kept], groups=label[kept], start=share[kept])
    assert model.log_likelihood_ == pytest.approx(same.log_likelihood_, abs=1e-9)


def test_a_tree_takes_the_leaves_in_order():
    x, y, z = drawn(2, n=200)
    leaf = 2 * z + (x[:, 1] > 0)
    y = np.array([-9.0, -3.0, 3.0, 9.0])[leaf] + x[:, 0] + 0.2 * np.sin(7 * np.arange(200))
    model = one(n_experts=(2, 2), gate="softmax").fit(x, y, start=np.eye(4)[leaf])
    np.testing.assert_allclose(model.intercept_.ravel(), [-9, -3, 3, 9], atol=0.3)


def test_the_given_start_is_one_of_the_starts():
    x, y, _ = drawn(3)
    best = one(n_init=5).fit(x, y)
    kinds = one(n_init=4).fit(x, y, start=best).fit_.starts.kind
    assert kinds[0] == "given"
    assert len(kinds) == 4
    assert "given" not in kinds[1:]
    rows, mixture = make_rows(x, y[:, None]), Mixture((GATES["softmax"],), (2,))
    for fit in (maximum_likelihood, least_squares):
        first = fit(mixture, rows, starts=6)
        again = fit(mixture, rows, starts=1, start=first)
        assert again.objective == pytest.approx(first.objective, abs=1e-9)
    shares = torch.tensor(best.responsibilities(x, y))
    found = maximum_likelihood(mixture, rows, starts=1, start=shares)
    assert found.log_likelihood == pytest.approx(best.log_likelihood_, abs=1e-4)


@pytest.mark.parametrize("d", slow_rest([1, 5], [5]))
def test_a_warm_start_goes_on_where_the_fit_before_ended(d):
    x, y, _ = drawn(d)
    y = y + 2 * np.random.default_rng(1).normal(size=len(y))  # so that EM needs many passes
    model = one(warm_start=True, method="em", max_iter=3)
    values = [model.fit(x, y).log_likelihood_ for _ in range(4)]
    assert values[0] < values[1] < values[2] < values[3]
    assert one(method="em", max_iter=3).fit(x, y).log_likelihood_ == values[0]
    assert model.fit(x, y).fit_.starts.kind == ("given",)
    assert model.set_params(n_init=3).fit(x, y).fit_.starts.kind[0] == "given"
    other = one(n_init=4, method="em").fit(x, y)
    assert model.fit(x, y, start=other).log_likelihood_ >= other.log_likelihood_ - 1e-9  # what is given counts
    assert clone(model).fit(x, y).fit_.starts.kind[0] != "given"
    with pytest.raises(ValueError, match=r"start has the experts \(2,\), this model \(3,\)"):
        model.set_params(n_experts=3).fit(x, y)


def test_starts_are_split_with_the_rows_of_a_search():
    x, y, z = drawn(3)
    search = GridSearchCV(one(), {"gate": ["softmax", "constant"]}, cv=2, error_score="raise")
    search.fit(x, y, start=np.stack([~z, z], 1).astype(float))
    assert search.best_estimator_.fit_.starts.kind == ("given",)


def share(z):
    return np.stack([~z, z], 1).astype(float)


def without_numbers(x, y):
    measure = one().fit(x, y).measure_
    return measure._replace(experts={**measure.experts, "coef": measure.experts["coef"] * np.nan})


WRONG = {
    "size": (lambda x, y, z: one(n_experts=3).fit(x, y), {}, r"start has the experts \(3,\), this model \(2,\)"),
    "tree": (lambda x, y, z: one(n_experts=(1, 2)).fit(x, y), {}, r"start has the experts \(1, 2\), this model \(2,\)"),
    "family": (lambda x, y, z: one(family="student-t").fit(x, y), {}, "start has the family StudentT.*model Gaussian"),
    "law": (lambda x, y, z: one().fit(x, y), {"method": "ls"}, "start has the family Gaussian.*, this model MeanOnly"),
    "gate": (
        lambda x, y, z: one().fit(x, y),
        {"gate": "laplace", "standardize": False},
        "same gate, expert and family",
    ),
    "inputs": (lambda x, y, z: one().fit(x[:, :1], y), {}, r"start has gates.0.weight of shape \(2, 1\), this model"),
    "responses": (
        lambda x, y, z: one().fit(x, np.c_[y, x[:, 0] ** 2]),
        {},
        r"start has experts.coef of shape \(2, 2, 3\)",
    ),
    "measure": (
        lambda x, y, z: one(n_experts=3).fit(x, y).measure_,
        {},
        r"start has gates.0.weight of shape \(3, 3\)",
    ),
    "nan": (lambda x, y, z: without_numbers(x, y), {}, "start has values of experts.coef that are not finite"),
    "rows": (lambda x, y, z: share(z)[:-1], {}, r"start has shape \(119, 2\).*\(120, 2\)"),
    "columns": (lambda x, y, z: share(z)[:, :1], {}, r"start has shape \(120, 1\)"),
    "sum": (lambda x, y, z: 2 * share(z), {}, "sum to 1 in a row"),
    "sign": (lambda x, y, z: share(z) @ [[2.0, -1.0], [-1.0, 2.0]], {}, "sum to 1 in a row"),
    "missing": (lambda x, y, z: share(z) * np.nan, {}, "sum to 1 in a row"),
    "text": (lambda x, y, z: "best", {}, "start='best': give a fitted model"),
    "labels": (lambda x, y, z: z.astype(int), {}, r"start has shape \(120,\)"),
    "truth": (lambda x, y, z: np.stack([~z, z], 1), {}, "give a number or an array"),
}


@pytest.mark.parametrize("name", WRONG)
def test_starts_of_another_kind_are_refused(name):
    make, settings, words = WRONG[name]
    x, y, z = drawn(3)
    start = make(x, y, z)
    with pytest.raises((TypeError, ValueError), match=words):
        one(**settings).fit(x, y, start=start)


def test_an_unfitted_start_is_refused():
    x, y, _ = drawn(1)
    with pytest.raises(ValueError, match="not fitted yet"):
        one().fit(x, y, start=one())
    rows, mixture = make_rows(x, y[:, None]), Mixture((GATES["softmax"],), (2,))
    best = maximum_likelihood(mixture, rows, starts=2)
    with pytest.raises(ValueError, match="starts is a list"):
        maximum_likelihood(mixture, rows, starts=[best.measure], start=best)
    with pytest.raises(ValueError, match="starts is a list"):
        maximum_likelihood(mixture, rows, starts=[best])
