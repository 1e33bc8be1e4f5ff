"""Offsets and trials: the numbers of statsmodels, the same rows as arrays and tables, and what is said of faults."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sklearn
import statsmodels.api as sm
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_validate

from gatewise import MixtureOfExpertsRegressor, load_model, sample_size, save_model
from gatewise.core.families import Binomial
from gatewise.data import ParquetTable

pytestmark = pytest.mark.filterwarnings("ignore::gatewise.StartsDisagreeWarning")  # few starts, compared in pairs


def draw(n=240, seed=0, share=0.5):
    """Two Poisson regressions with exposures, and counts of successes among trials, of four inputs."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4))
    known = rng.uniform(0.0, 3.0, n)
    first = rng.random(n) < share
    rate = np.where(first, 1 + x @ [0.3, -0.2, 0.1, 0.2], -1 + x @ [-0.3, 0.2, 0.1, 0.0])
    trials = rng.integers(1, 12, n)
    return x, rng.poisson(np.exp(known + rate)), known, trials, rng.binomial(trials, 1 / (1 + np.exp(-known - rate)))


X, Y, KNOWN, TRIALS, HITS = draw()
DESIGN = sm.add_constant(X)
ONE = draw(share=1.0)  # of one regression


def model(n_experts=1, **options):
    return MixtureOfExpertsRegressor(n_experts, **{"n_init": 4, "random_state": 0, **options})


def same_as_glm(found, glm):
    np.testing.assert_allclose(np.r_[found.intercept_, found.coef_[0]], glm.params, rtol=0, atol=1e-6)
    errors = found.standard_errors_
    both = np.r_[errors["experts.intercept"].ravel(), errors["experts.coef"].ravel()]
    np.testing.assert_allclose(both, glm.bse, rtol=1e-5)
    assert found.log_likelihood_ == pytest.approx(glm.llf, abs=1e-6)


def test_one_poisson_expert_with_an_offset_is_the_glm():
    _, y, *_ = ONE
    glm = sm.GLM(y, DESIGN, family=sm.families.Poisson(), offset=KNOWN).fit()
    found = model(family="poisson").fit(X, y, offset=KNOWN)
    same_as_glm(found, glm)
    np.testing.assert_allclose(found.predict(X, offset=KNOWN), glm.predict(DESIGN, offset=KNOWN), rtol=1e-6)
    band = found.inference(X, y, offset=KNOWN).mean_interval(X[:9], offset=KNOWN[:9])
    np.testing.assert_allclose(band, glm.get_prediction(DESIGN[:9], offset=KNOWN[:9]).conf_int(), rtol=1e-5)
    ends = found.predict_interval(X, 0.9, offset=KNOWN)
    assert ((ends[:, 0] <= y) & (ends[:, 1] >= y)).mean() > 0.85
    np.testing.assert_array_equal(found.predict(X, offset=1.5), found.predict(X, offset=np.full(len(X), 1.5)))
    drawn = found.sample(X, 0, offset=KNOWN + 5.0)
    assert drawn.mean() == pytest.approx(found.predict(X, offset=KNOWN + 5.0).mean(), rel=0.02)


def test_one_binomial_expert_with_trials_is_the_grouped_glm():
    *_, hits = ONE
    glm = sm.GLM(np.c_[hits, TRIALS - hits], DESIGN, family=sm.families.Binomial(), offset=KNOWN).fit()
    found = model(family="binomial").fit(X, hits, offset=KNOWN, trials=TRIALS)
    same_as_glm(found, glm)
    np.testing.assert_allclose(found.predict(X, offset=KNOWN), glm.predict(DESIGN, offset=KNOWN), rtol=1e-6)
    scores = found.score_samples(X, hits, offset=KNOWN, trials=TRIALS)
    assert scores.sum() == pytest.approx(found.log_likelihood_, abs=1e-8)
    lower, upper = found.predict_interval(X, 0.9, offset=KNOWN, trials=TRIALS).T
    assert (lower >= 0).all()
    assert (upper <= TRIALS).all()
    assert ((lower <= hits) & (upper >= hits)).mean() > 0.85
    drawn = found.sample(X, 0, offset=KNOWN, trials=1000 * TRIALS)
    np.testing.assert_allclose(drawn / TRIALS / 1000, found.predict(X, offset=KNOWN), atol=0.06)
    rows = sm.families.Binomial(), found.predict(X[:1], offset=KNOWN[:1])[0]
    assert found.predict_quantile(X[:1], 0.5, offset=KNOWN[:1], trials=10_001)[0] == pytest.approx(
        10_001 * rows[1], abs=9
    )


def test_trials_give_the_fit_of_successes_and_failures():
    options = {"family": "binomial", "n_experts": 2, "gate": "constant"}
    one = model(**options).fit(X, HITS, trials=TRIALS)
    other = model(**{**options, "family": Binomial(None)}).fit(X, np.c_[HITS, TRIALS - HITS])
    assert one.log_likelihood_ == other.log_likelihood_
    shares = one.responsibilities(X, HITS, trials=TRIALS)
    np.testing.assert_array_equal(shares, other.responsibilities(X, np.c_[HITS, TRIALS - HITS]))
    assert one.score(X, HITS, trials=TRIALS) == other.score(X, np.c_[HITS, TRIALS - HITS])
    assert one.predict(X).shape == (len(X),)
    several = model(family="binomial").fit(X, np.c_[HITS, TRIALS - HITS], trials=TRIALS)
    assert several.n_outputs_ == 2
    np.testing.assert_allclose(several.predict(X).sum(1), 1.0, atol=1e-6)


def test_a_gaussian_offset_is_taken_from_the_response():
    y = np.where(np.arange(len(X)) % 2, X[:, 0] + X[:, 3], 3 - X[:, 1]) + 0.1 * np.sin(97 * X[:, 2])
    far = 1e3 * KNOWN
    one = model(2).fit(X, y + far, offset=far)
    other = model(2).fit(X, y)
    assert one.log_likelihood_ == pytest.approx(other.log_likelihood_, abs=1e-6)
    np.testing.assert_allclose(one.predict(X, offset=far) - far, other.predict(X), atol=1e-6)
    ends = one.predict_interval(X, offset=far) - far[:, None]
    np.testing.assert_allclose(ends, other.predict_interval(X), atol=1e-6)
    squares = model(2, method="ls").fit(X, y + far, offset=far)
    assert squares.sse_ == pytest.approx(model(2, method="ls").fit(X, y).sse_, rel=1e-6)


def test_the_floor_of_scales_is_that_of_what_the_offset_leaves():
    rng = np.random.default_rng(4)
    far = 1e2 * KNOWN
    y = X @ [1.0, -1.0, 0.5, 0.0] + 1e-5 * rng.normal(size=len(X))
    found = model().fit(X, y + far, offset=far)
    assert found.converged_
    assert found.scale_[0] == pytest.approx(1e-5, rel=0.2)


def test_every_response_has_an_offset_of_its_own_or_one_for_all():
    both = np.c_[Y, Y[::-1]]
    alone = [model(family="poisson").fit(X, y, offset=o) for y, o in ((Y, KNOWN), (Y[::-1], KNOWN))]
    joint = model(family="poisson").fit(X, both, offset=np.c_[KNOWN, KNOWN])
    assert joint.log_likelihood_ == pytest.approx(sum(one.log_likelihood_ for one in alone), abs=1e-8)
    for_all = model(family="poisson").fit(X, both, offset=KNOWN)
    np.testing.assert_array_equal(for_all.coef_, joint.coef_)
    np.testing.assert_allclose(
        joint.predict(X, offset=KNOWN), np.c_[[one.predict(X, offset=KNOWN) for one in alone]].T, rtol=1e-6
    )


def test_weights_and_groups_keep_offset_and_trials_with_their_rows():
    rng = np.random.default_rng(3)
    weight, label = np.repeat(rng.integers(0, 3, len(X) // 2), 2), np.repeat(rng.permutation(len(X) // 2), 2)
    roles = {"family": "binomial", "n_experts": 2, "gate": "constant"}
    mixed = rng.permutation(len(X))
    one = model(**roles).fit(X, HITS, weight, groups=label, offset=KNOWN, trials=TRIALS)
    other = model(**roles).fit(
        X[mixed], HITS[mixed], weight[mixed], groups=label[mixed], offset=KNOWN[mixed], trials=TRIALS[mixed]
    )
    assert one.log_likelihood_ == pytest.approx(other.log_likelihood_, abs=1e-7)
    known = {"groups": label[mixed], "offset": KNOWN[mixed], "trials": TRIALS[mixed]}
    shares = one.responsibilities(X[mixed], HITS[mixed], **known)
    back = np.empty_like(shares)
    back[mixed] = shares
    known = {"groups": label, "offset": KNOWN, "trials": TRIALS}
    np.testing.assert_allclose(back, one.responsibilities(X, HITS, **known), atol=1e-10)
    scores = one.score_samples(X, HITS, **known)
    assert scores @ weight[np.unique(label, return_index=True)[1]] == pytest.approx(one.log_likelihood_, abs=1e-7)
    found = one.inference(X, HITS, weight, **known).standard_errors()
    np.testing.assert_allclose(found["experts.coef"], one.standard_errors_["experts.coef"], rtol=1e-8)


def test_a_table_names_them_as_columns(tmp_path):
    frame = pd.DataFrame(X, columns=list("abcd")).assign(hits=HITS, trials=TRIALS, known=KNOWN)
    pq.write_table(pa.Table.from_pandas(frame), tmp_path / "t.parquet", row_group_size=50)
    one = model(2, family="binomial", gate="constant").fit(X, HITS, offset=KNOWN, trials=TRIALS)
    for table in (ParquetTable(tmp_path / "t.parquet"), pa.Table.from_pandas(frame)):
        other = model(2, family="binomial", gate="constant").fit(table, "hits", offset="known", trials="trials")
        assert list(other.feature_names_in_) == list("abcd")
        assert other.log_likelihood_ == pytest.approx(one.log_likelihood_, abs=1e-8)
        roles = {"offset": "known", "trials": "trials"}
        scores = other.score_samples(table, "hits", **roles)
        np.testing.assert_allclose(scores, one.score_samples(X, HITS, offset=KNOWN, trials=TRIALS), atol=1e-8)
        np.testing.assert_allclose(other.predict(table, offset="known"), one.predict(X, offset=KNOWN), atol=1e-8)
        ends = other.predict_interval(table, **roles)
        np.testing.assert_array_equal(ends, one.predict_interval(X, offset=KNOWN, trials=TRIALS))
        assert other.inference(table, "hits", **roles).refused is None
        several = model(family="poisson").fit(table, ["hits", "trials"], offset=["known", "known"])
        assert several.predict(table, offset=["known", "known"]).shape == (len(X), 2)


def test_they_are_routed_as_metadata():
    with sklearn.config_context(enable_metadata_routing=True):
        one = model(family="binomial").set_fit_request(offset=True, trials=True)
        one = one.set_score_request(offset=True, trials=True).set_predict_request(offset=True)
        known = {"offset": KNOWN, "trials": TRIALS}
        found = cross_validate(one, X, HITS, cv=3, params=known)["test_score"]
        by_hand = []
        for fold in range(3):
            test = np.arange(len(X)) // (len(X) // 3) == fold
            fitted = clone(one).fit(X[~test], HITS[~test], offset=KNOWN[~test], trials=TRIALS[~test])
            by_hand.append(fitted.score(X[test], HITS[test], offset=KNOWN[test], trials=TRIALS[test]))
        np.testing.assert_allclose(found, by_hand, atol=1e-12)
        search = GridSearchCV(one, {"gate": ["constant"]}, cv=2).fit(X, HITS, **known)
        assert search.best_estimator_.predict(X, offset=KNOWN).shape == HITS.shape


def test_files_keep_that_there_was_an_offset(tmp_path):
    one = model(family="binomial").fit(X, HITS, offset=KNOWN, trials=TRIALS)
    save_model(one, tmp_path / "m.json")
    again = load_model(tmp_path / "m.json")
    np.testing.assert_array_equal(again.predict(X, offset=KNOWN), one.predict(X, offset=KNOWN))
    with pytest.raises(ValueError, match="offset is missing"):
        again.predict(X)
    with pytest.raises(ValueError, match="trials is missing"):
        again.score_samples(X, HITS, offset=KNOWN)


FITTED = {}


def fitted(kind):
    if kind not in FITTED:
        known = {"plain": {}, "offset": {"offset": KNOWN}, "trials": {"trials": TRIALS}}[kind]
        FITTED[kind] = model(family="binomial" if kind == "trials" else "poisson").fit(X, HITS, **known)
    return FITTED[kind]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: fitted("offset").predict(X), "offset is missing"),
        (lambda: fitted("offset").predict_quantile(X, 0.5), "offset is missing"),
        (lambda: fitted("offset").score(X, HITS), "offset is missing"),
        (lambda: fitted("offset").inference(X, HITS), "offset is missing"),
        (lambda: fitted("offset").inference(X, HITS, offset=KNOWN).mean_interval(X), "offset is missing"),
        (lambda: fitted("plain").predict(X, offset=0.0), "not given to fit"),
        (lambda: fitted("plain").inference(X, HITS, offset=KNOWN), "not given to fit"),
        (lambda: fitted("offset").predict(X, offset=KNOWN[:5]), "X has 240 rows: give one number per row"),
        (lambda: fitted("offset").predict(X, offset="known"), "a name is for pyarrow tables"),
        (lambda: fitted("offset").predict(X, offset=["k", "l"]), "a name is for pyarrow tables"),
        (lambda: fitted("offset").predict(X, offset=np.where(X[:, 0] > 0, np.nan, 0.0)), "offset is .nan. in row"),
        (lambda: sample_size(fitted("offset"), {"experts.coef": 0.1}, X=X), "fitted with an offset"),
        (lambda: fitted("trials").score_samples(X, HITS), "trials is missing"),
        (lambda: fitted("trials").responsibilities(X, HITS), "trials is missing"),
        (lambda: fitted("trials").predict_interval(X), "trials is missing"),
        (lambda: fitted("trials").sample(X), "trials is missing"),
        (lambda: fitted("trials").inference(X, HITS), "trials is missing"),
        (lambda: fitted("trials").score(X, HITS), "trials is missing"),
        (lambda: fitted("trials").score_samples(X, HITS, trials="n"), "a name is for pyarrow tables"),
        (lambda: fitted("plain").score_samples(X, HITS, trials=TRIALS), "fitted without trials"),
        (lambda: fitted("plain").predict_interval(X, trials=TRIALS), "fitted without trials"),
        (lambda: fitted("trials").sample(X, trials=TRIALS + 0.5), "trials is .*whole numbers from 1"),
        (lambda: model(family="binomial").fit(X, HITS, trials=0 * TRIALS), "trials is 0 in row 0"),
        (lambda: model(family="binomial").fit(X, HITS, trials=TRIALS[:4]), "one number of trials per row"),
        (lambda: model(family="binomial").fit(X, HITS + 20, trials=TRIALS), "successes in .* trials"),
        (lambda: model(family="binomial").fit(X, HITS - 20, trials=TRIALS), "negative"),
        (lambda: model(family="poisson").fit(X, HITS, trials=TRIALS), "give family='binomial'"),
        (lambda: model(family=Binomial(12)).fit(X, HITS, trials=TRIALS), "a number of trials of its own"),
        (lambda: model(method="ls").fit(X, HITS, trials=TRIALS), "method='ls'"),
        (lambda: model(family="poisson").fit(X, HITS, offset="log hours"), "a name is for pyarrow tables"),
        (lambda: model(family="poisson").fit(X, HITS, offset=np.c_[KNOWN, KNOWN]), "X has 240 rows"),
    ],
)
def test_faults_say_the_remedy(call, words):
    with pytest.raises(ValueError, match=words):
        call()
