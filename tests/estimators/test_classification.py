"""Posterior classification: rows or groups of rows, and the score of censored times."""

import numpy as np
import pandas as pd
import pytest

from gatewise import MixtureOfExpertsRegressor, moe
from gatewise.infer.concordance import concordance

RNG = np.random.default_rng(3)
N = 60
SIZES = RNG.integers(1, 6, N)
LABEL = np.repeat(np.arange(N), SIZES)
X = RNG.normal(size=(len(LABEL), 3))
FIRST = RNG.random(N) < 0.4
Y = np.where(FIRST[LABEL], 1.0 + X[:, 0], -1.0 + X[:, 1]) + 1.0 * RNG.normal(size=len(LABEL))


def test_groups_count_once():
    order = RNG.permutation(len(LABEL))
    x, y, label = X[order], Y[order], np.array([f"p{one:02d}" for one in LABEL[order]])
    model = MixtureOfExpertsRegressor(2, "constant", n_init=5, random_state=0).fit(x, y, groups=label)
    found = model.classification(x, y, groups=label)
    each = model.responsibilities(x, y, groups=label)
    firsts = [np.flatnonzero(label == one)[0] for one in np.unique(label)]
    np.testing.assert_array_equal(found.posterior, each[firsts])
    table = found.to_frame()
    assert table["groups"].sum() == N
    assert "rows" not in table
    np.testing.assert_allclose(table["share"], each[firsts].mean(0))
    assert model.predict_class(x, y, groups=label).shape == (len(LABEL),)
    alone = model.classification(x, y)
    assert alone.to_frame()["rows"].sum() == len(LABEL)
    frame = pd.DataFrame(x, columns=list("abc")).assign(y=y, person=label)
    by = moe("y ~ a + b + c", frame, gate_formula="~ 1", groups="person", n_init=5, random_state=0)
    np.testing.assert_allclose(by.classification().posterior, found.posterior, atol=1e-6)
    np.testing.assert_allclose(by.classification(frame).posterior, found.posterior, atol=1e-6)
    assert by.predict_class().shape == (len(LABEL),)


@pytest.mark.filterwarnings("ignore::gatewise.StartsDisagreeWarning")
def test_weights_count_as_repeated_rows():
    weight = RNG.integers(0, 4, N)[LABEL]
    frame = pd.DataFrame(X, columns=list("abc")).assign(y=Y, person=LABEL, w=weight)
    for groups in (None, "person"):
        options = {"gate_formula": "~ 1", "n_init": 5, "random_state": 0}
        weighted = moe("y ~ a + b + c", frame, weights="w", groups=groups, **options)
        again = frame.loc[frame.index.repeat(frame.w)]
        again = again.assign(person=again.person * 10 + again.groupby(level=0).cumcount())
        repeated = moe("y ~ a + b + c", again, groups=groups, **options)
        found, wanted = weighted.classification(), repeated.classification()
        pd.testing.assert_frame_equal(found.to_frame(), wanted.to_frame(), rtol=1e-6)
        pd.testing.assert_frame_equal(found.confusion, wanted.confusion, rtol=1e-6)
        assert found.entropy == pytest.approx(wanted.entropy, rel=1e-6)
        shares = weighted.summary().proportions["estimate"]
        np.testing.assert_allclose(found.to_frame()["share"], shares, atol=1e-6)  # the gate is constant
    plain = MixtureOfExpertsRegressor(2, "constant", n_init=5, random_state=0).fit(X, Y, sample_weight=weight)
    pd.testing.assert_frame_equal(
        plain.classification(X, Y, sample_weight=weight).to_frame(),
        moe("y ~ a + b + c", frame, weights="w", **options).classification().to_frame(),
        rtol=1e-6,
    )


def test_concordance_is_the_share_of_pairs_in_order():
    time, event = RNG.integers(1, 9, 40).astype(float), (RNG.random(40) < 0.6).astype(float)
    predicted, weight = RNG.integers(0, 5, 40).astype(float), RNG.integers(1, 4, 40).astype(float)
    right = total = 0.0
    for i in range(40):
        for j in range(40):
            if event[i] and (time[i] < time[j] or (time[i] == time[j] and not event[j])):
                total += weight[i] * weight[j]
                right += (
                    weight[i]
                    * weight[j]
                    * (1.0 if predicted[i] < predicted[j] else 0.5 * (predicted[i] == predicted[j]))
                )
    assert concordance(time, event, predicted, weight) == pytest.approx(right / total, rel=1e-12)
    assert np.isnan(concordance(time, np.zeros(40), predicted))


def test_censored_times_are_scored_by_concordance():
    x = RNG.normal(size=(300, 3))
    time, end = np.exp(x[:, 0]) * RNG.weibull(3.0, 300), RNG.uniform(0, 3, 300)
    y = np.column_stack([np.minimum(time, end), time <= end]).astype(float)
    model = MixtureOfExpertsRegressor(1, family="weibull", n_init=1, random_state=0).fit(x, y)
    score = model.score(x, y)
    assert score == pytest.approx(concordance(y[:, 0], y[:, 1], model.predict(x)[:, 0]))
    assert 0.8 < score < 1.0
    known = np.column_stack([time, np.ones(300)])
    assert model.score(x, known) < 1.0  # the coefficient of determination where nothing is censored
    squares = ((time - model.predict(x)[:, 0]) ** 2).sum() / ((time - time.mean()) ** 2).sum()
    assert model.score(x, known) == pytest.approx(1 - squares)
