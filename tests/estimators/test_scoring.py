"""The log density of rows and groups, and its scorer for searches."""

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from gatewise import MixtureOfExpertsRegressor, log_likelihood_scorer

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def drawn(d, q=1, groups=30):
    """Groups of 2 to 5 rows in any order, each of one expert, with inputs of the gate that are constant in a group."""
    rng = np.random.default_rng(10 * d + q)
    label = rng.permutation(np.repeat(np.arange(groups), rng.integers(2, 6, groups)))
    x, gate_x = rng.normal(size=(len(label), d)), rng.normal(size=(groups, 1))
    z = (gate_x[:, 0] + rng.normal(size=groups) > 0)[label]
    y = np.stack([np.where(z, 2 + x[:, 0], -1 - (j + 1) * x[:, -1]) for j in range(q)], 1)
    return x, (y + 0.5 * rng.normal(size=y.shape)).squeeze(), gate_x[label], label


@pytest.mark.parametrize(
    "kind", [str, int, lambda v: pd.Categorical(v.astype(str)), lambda v: pd.Series(v, dtype="Int64")]
)
@pytest.mark.parametrize(("d", "q", "k"), [(1, 1, 2), (3, 2, 3), (5, 1, (2, 2))])
def test_scores_of_groups_sum_to_the_log_likelihood(d, q, k, kind):
    x, y, gate_x, label = drawn(d, q)
    label = label.astype(kind) if isinstance(kind, type) else kind(label)
    model = MixtureOfExpertsRegressor(k, n_init=3, random_state=0).fit(x, y, gate_X=gate_x, groups=label)
    scores = model.score_samples(x, y, gate_X=gate_x, groups=label)
    assert scores.shape == (30,)
    assert scores.sum() == pytest.approx(model.log_likelihood_, abs=1e-9)
    assert model.score_samples(x, y, gate_X=gate_x).sum() < model.log_likelihood_
    names = np.unique(np.asarray(label))
    for j in (0, 7, 29):
        own = np.asarray(label) == names[j]
        alone = model.score_samples(x[own], y[own], gate_X=gate_x[own], groups=np.zeros(own.sum()))
        np.testing.assert_allclose(alone, scores[[j]], atol=1e-10)
    weight = 1.0 + np.arange(30) % 3
    of_row = weight[np.unique(np.asarray(label), return_inverse=True)[1]]
    weighted = MixtureOfExpertsRegressor(k, n_init=3, random_state=0)
    weighted.fit(x, y, of_row, gate_X=gate_x, groups=label)
    total = (weight * weighted.score_samples(x, y, gate_X=gate_x, groups=label)).sum()
    assert total == pytest.approx(weighted.log_likelihood_, abs=1e-9)


def test_gate_inputs_that_differ_within_a_group_are_refused_in_predictions_too():
    x, y, gate_x, label = drawn(2)
    model = MixtureOfExpertsRegressor(2, n_init=2, random_state=0).fit(x, y, gate_X=gate_x, groups=label)
    for method in (model.score_samples, model.responsibilities):
        with pytest.raises(ValueError, match="the gate inputs differ within a group"):
            method(x, y, gate_X=x[:, :1], groups=label)
    constant = MixtureOfExpertsRegressor(2, gate="constant", n_init=2, random_state=0).fit(x, y, groups=label)
    assert constant.score_samples(x, y, groups=label).sum() == pytest.approx(constant.log_likelihood_, abs=1e-9)


def test_there_is_no_density_without_a_response():
    x, y, *_ = drawn(3)
    model = MixtureOfExpertsRegressor(2, n_init=2, random_state=0)
    for fitted in (model.fit(x, y), make_pipeline(StandardScaler(), model).fit(x, y)):
        with pytest.raises(TypeError, match=r"score_samples needs y.*scoring=gatewise\.log_likelihood_scorer"):
            fitted.score_samples(x)


@pytest.mark.parametrize(("d", "q"), [(1, 1), (3, 2), (5, 1)])
def test_the_scorer_is_the_mean_log_density_of_held_out_rows(d, q):
    x, y, *_ = drawn(d, q)
    model = MixtureOfExpertsRegressor(2, n_init=2, random_state=0)
    scores = cross_val_score(model, x, y, cv=3, scoring=log_likelihood_scorer)
    assert log_likelihood_scorer(model.fit(x, y), x, y) * len(x) == pytest.approx(model.log_likelihood_, abs=1e-8)
    third = len(x) // 3 + (len(x) % 3 > 0)
    by_hand = model.fit(x[third:], y[third:]).score_samples(x[:third], y[:third]).mean()
    assert scores[0] == pytest.approx(by_hand, abs=1e-9)
    inner = make_pipeline(StandardScaler(), make_pipeline(StandardScaler(), model))
    piped = cross_val_score(inner, 5 + 3 * x, y, cv=3, scoring=log_likelihood_scorer)
    np.testing.assert_allclose(piped, scores, atol=1e-4)
    alone = cross_val_score(make_pipeline(model), x, y, cv=3, scoring=log_likelihood_scorer)
    np.testing.assert_array_equal(alone, scores)
    search = GridSearchCV(model, {"n_experts": [1, 2]}, cv=3, scoring=log_likelihood_scorer, error_score="raise")
    assert search.fit(x, y).best_params_ == {"n_experts": 2}
