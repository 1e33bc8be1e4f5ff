"""Coefficients that all experts share: the numbers of one regression with dummies, and how they are shown and kept."""

import json

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from sklearn.base import clone

from gatewise import MixtureOfExpertsRegressor, load_model, save_model


def lines(n=300, seed=0):
    """Two lines so far apart that every row's expert is known, with equal slopes of b and c."""
    rng = np.random.default_rng(seed)
    x = pd.DataFrame(rng.normal(size=(n, 3)), columns=["a", "b", "c"])
    first = rng.random(n) < 0.5
    y = np.where(first, 60 + 2 * x.a, -60 - x.a) + 0.5 * x.b + 0.3 * x.c + 0.4 * rng.normal(size=n)
    return x, y, first


X, Y, FIRST = lines()


def model(n_experts=2, **options):
    return MixtureOfExpertsRegressor(n_experts, **{"gate": "constant", "n_init": 6, "random_state": 0, **options})


@pytest.fixture(scope="module")
def fitted():
    return model(scale="shared", shared=["b", "c"]).fit(X, Y)


def test_known_experts_give_the_regression_with_dummies(fitted):
    design = np.c_[FIRST, ~FIRST, X.a * FIRST, X.a * ~FIRST, X.b, X.c].astype(float)
    wanted = sm.OLS(Y, design).fit()
    top = int(np.argmax(fitted.intercept_))
    order = [top, 1 - top]
    own = np.r_[fitted.intercept_[order], fitted.coef_[order, 0], fitted.coef_[0, 1:]]
    np.testing.assert_allclose(own, wanted.params, atol=1e-6)
    errors = {path: value[order] for path, value in fitted.standard_errors_.items() if path.startswith("experts.")}
    both = np.r_[errors["experts.intercept"].ravel(), errors["experts.coef"][:, 0, 0], errors["experts.coef"][0, 0, 1:]]
    np.testing.assert_allclose(both, wanted.bse * np.sqrt(wanted.df_resid / len(Y)), rtol=1e-5)
    np.testing.assert_array_equal(errors["experts.coef"][0, 0, 1:], errors["experts.coef"][1, 0, 1:])
    assert fitted.fit_.df == 2 + 2 + 2 + 1 + 1


def test_the_summary_shows_each_once(fitted):
    text, frame = fitted.summary(), fitted.summary().experts
    assert text.count("All experts, one estimate for all") == 1
    assert [line.split()[0] for line in text.splitlines() if line].count("b") == 1
    assert list(frame.loc[frame.owner == "all", "parameter"]) == ["b", "c"]
    assert "b" not in set(frame.loc[frame.owner != "all", "parameter"])
    assert "All experts" not in model().fit(X, Y).summary()


def test_names_are_positions_where_there_are_none(fitted):
    bare = model(scale="shared", shared=("x1", "x2")).fit(X.to_numpy(), Y)
    np.testing.assert_array_equal(bare.coef_, fitted.coef_)
    one = model(shared="intercept").fit(X, Y - 60 * np.where(FIRST, 1, -1) + 0.0)
    assert len(set(one.intercept_)) == 1


@pytest.mark.filterwarnings("ignore::gatewise.FitWarning")
def test_two_outputs_and_levels_share_within_each_output():
    found = model((2, 2), shared=["b"], n_init=2, gate=["softmax"] * 2).fit(X, np.c_[Y, Y[::-1]])
    b = found.coef_[..., 1].reshape(4, 2)
    assert (np.ptp(b, axis=0) == 0).all()
    assert b[0, 0] != b[0, 1]


@pytest.mark.filterwarnings("ignore::gatewise.FitWarning")
@pytest.mark.parametrize("method", ["em", "ls"])
def test_other_methods_share_too(method):
    found = model(method=method, shared=["b", "c"]).fit(X, Y)
    assert (np.ptp(found.coef_[:, 1:], axis=0) == 0).all()
    assert np.ptp(found.coef_[:, 0]) > 0


def test_one_expert_shares_with_nobody():
    np.testing.assert_array_equal(model(1, shared=["a"]).fit(X, Y).coef_, model(1).fit(X, Y).coef_)


def test_inference_files_and_clones_keep_them(fitted, tmp_path):
    found = fitted.inference(X, Y)
    low, high = found.profile("experts.coef[0,0,1]").lower, found.profile("experts.coef[0,0,1]").upper
    assert low < fitted.coef_[0, 1] < high
    save_model(fitted, tmp_path / "m.json")
    again = load_model(tmp_path / "m.json")
    assert again.summary() == fitted.summary()
    assert again.inference(X, Y).text() == found.text()
    assert clone(again).get_params()["shared"] == ["b", "c"]


def test_a_file_whose_shared_numbers_differ_is_refused(fitted, tmp_path):
    from gatewise.estimators import serialise

    save_model(fitted, tmp_path / "m.json")
    whole = json.loads((tmp_path / "m.json").read_text())
    content = whole["content"]
    spec = json.dumps(content["fit"]["spec"])
    content["fit"]["spec"] = json.loads(spec.replace("experts.coef[1,0,1]", "experts.coef[7,0,1]"))
    whole["content"], whole["sha256"] = content, serialise._checksum(content)
    (tmp_path / "m.json").write_text(json.dumps(whole))
    with pytest.raises(ValueError, match="no parameters"):
        load_model(tmp_path / "m.json")
    content["fit"]["spec"] = json.loads(spec.replace("experts.coef[1,0,1]", "experts.coef[1,0,0]"))
    whole["sha256"] = serialise._checksum(content)
    (tmp_path / "m.json").write_text(json.dumps(whole))
    with pytest.raises(ValueError, match="tied, and differ"):
        load_model(tmp_path / "m.json")


@pytest.mark.parametrize(
    ("shared", "options", "words"),
    [
        (["q"], {}, "'q', which is not a column of X: .*a, b, c, intercept"),
        (["intercep"], {}, "did you mean 'intercept'"),
        (["b"], {"expert": "cubic"}, "only coefficients of linear experts"),
        (["b"], {"expert": "constant"}, "only coefficients of linear experts"),
        (["b"], {"fixed": {"experts.coef": [[np.nan, 1.0, np.nan]] * 2}}, "fixed in experts.coef"),
        (["b", "b"], {}, "twice"),
        (3, {}, "give names of columns"),
        ([1], {}, "give names of columns"),
    ],
)
def test_faults_say_the_remedy(shared, options, words):
    with pytest.raises((ValueError, TypeError), match=words):
        model(shared=shared, **options).fit(X, Y)


def test_a_column_called_intercept_is_ambiguous():
    with pytest.raises(ValueError, match="give that column another name"):
        model(shared="intercept").fit(X.rename(columns={"a": "intercept"}), Y)
