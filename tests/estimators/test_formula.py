"""Fits by a formula: the numbers of statsmodels and flexmix, frames in every method, files, and faults in words."""

import json
import pickle
from copy import copy

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf

from gatewise import MixtureOfExpertsRegressor, load_model, moe, sample_size, save_model
from gatewise.data import load
from gatewise.estimators import serialise

pytestmark = pytest.mark.filterwarnings("ignore::gatewise.StartsDisagreeWarning")  # few starts, compared in pairs


def draw(n=240, seed=0):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "x": rng.uniform(0.1, 3.0, n),
            "w": rng.normal(size=n),
            "s": rng.choice(list("abc"), n),
            "hours": rng.uniform(1.0, 9.0, n),
            "group": np.arange(n) // 3,
            "many": np.repeat(rng.integers(1, 3, n // 3), 3),
            "n": rng.integers(1, 12, n),
        }
    )
    first = rng.random(n) < 0.5
    frame["y"] = np.where(first, 1 + 2 * frame.x, 8 - frame.x) + (frame.s == "c") + 0.3 * rng.normal(size=n)
    frame["y2"] = frame.y**2
    frame["count"] = rng.poisson(frame.hours * np.exp(0.3 * frame.x - 0.2 * frame.w + (frame.s == "b")))
    frame["hits"] = rng.binomial(frame.n, 1 / (1 + np.exp(frame.w - 0.5)))
    return frame


DATA = draw()
FEW = {"n_init": 4, "random_state": 0}

GLMS = [
    ("count ~ bs(x, df=4) + w*C(s, Treatment('b'))", {"offset": "np.log(hours)"}, "poisson", sm.families.Poisson()),
    ("count ~ x*w + s - 1", {"offset": "np.log(hours)"}, "poisson", sm.families.Poisson()),
    ("hits ~ x + w + C(s, Sum)", {"trials": "n"}, "binomial", sm.families.Binomial()),
    ("hits ~ np.log(x)*w + s", {"trials": "n"}, "binomial", sm.families.Binomial()),
]


@pytest.mark.parametrize(("formula", "roles", "family", "glm"), GLMS)
def test_one_expert_is_the_glm_of_statsmodels(formula, roles, family, glm):
    found = moe(formula, DATA, n_experts=1, family=family, **roles, **FEW)
    known = {"offset": np.log(DATA.hours)} if "offset" in roles else {}
    theirs = formula.replace("hits ~", "hits + failures ~") if "trials" in roles else formula
    wanted = smf.glm(theirs, DATA.assign(failures=DATA.n - DATA.hits), family=glm, **known).fit()
    assert found.log_likelihood_ == pytest.approx(wanted.llf, abs=1e-6)
    errors = found.standard_errors_
    ours = {"Intercept": (found.intercept_[0], errors["experts.intercept"].ravel()[0])}
    ours |= {
        name.replace(" ", ""): pair
        for name, *pair in zip(found.feature_names_in_, found.coef_[0], errors["experts.coef"].ravel(), strict=True)
    }
    for name, estimate in wanted.params.items():
        key = name.replace(" ", "").replace("bs(x,df=4)[", "bs(x,df=4)[") if name != "Intercept" else name
        if key.startswith("bs("):
            key = key[:-2] + str(int(key[-2]) + 1) + "]"  # patsy counts from 0
        assert ours[key][0] == pytest.approx(estimate, abs=1e-6)
        assert ours[key][1] == pytest.approx(wanted.bse[name], rel=1e-5)
    ask = {"offset": np.log(DATA.hours[:9])} if "offset" in roles else {}
    np.testing.assert_allclose(found.predict(DATA[:9]), wanted.predict(DATA[:9], **ask), rtol=1e-6)


def test_the_first_example_of_flexmix_has_its_certified_optimum():
    """The model flexmix(yn ~ x + I(x^2), data = NPreg, k = 2) of Leisch (2004); the value is that of tests/data."""
    found = moe("yn ~ x + I(x**2)", load("npreg").frame, gate="constant", n_experts=2, random_state=0)
    assert found.log_likelihood_ == pytest.approx(-642.532014, abs=1e-5)
    assert found.fit_.df == 9
    design = np.column_stack([load("npreg").frame.x, load("npreg").frame.x ** 2])
    other = MixtureOfExpertsRegressor(2, gate="constant", random_state=0).fit(design, load("npreg").frame.yn)
    np.testing.assert_allclose(np.sort(found.coef_, 0), np.sort(other.coef_, 0), atol=1e-5)


def test_a_formula_is_the_fit_of_its_columns():
    one = moe("y ~ x + s", DATA, gate_formula="~ w", **FEW)
    inputs = DATA[["x"]].assign(b=(DATA.s == "b") * 1.0, c=(DATA.s == "c") * 1.0)
    other = MixtureOfExpertsRegressor(**FEW).fit(inputs, DATA.y, gate_X=DATA[["w"]])
    assert one.log_likelihood_ == other.log_likelihood_
    np.testing.assert_array_equal(one.coef_, other.coef_)
    assert list(one.feature_names_in_) == ["x", "s[T.b]", "s[T.c]"]
    np.testing.assert_array_equal(one.predict(DATA), other.predict(inputs, gate_X=DATA[["w"]]))
    np.testing.assert_array_equal(one.gate_proba(DATA), other.gate_proba(inputs, gate_X=DATA[["w"]]))
    same = moe("y ~ x + s", DATA, **FEW)
    assert same.log_likelihood_ == MixtureOfExpertsRegressor(**FEW).fit(inputs, DATA.y).log_likelihood_
    text = one.summary()
    assert "formula y ~ x + s" in text
    assert "gates   ~ w" in text
    assert "s[T.b]" in text
    assert "weight w" in text


def test_constant_experts_and_experts_without_intercept(tmp_path):
    alone = moe("y ~ 1", DATA, **FEW)
    assert alone.intercept_.shape == (2,)
    assert alone.fit_.df == 2 + 2 + 1
    assert alone.predict(DATA[:3]).shape == (3,)
    gated = moe("y ~ 1", DATA, gate_formula="~ w + s", **FEW)
    assert gated.gate_params_[0]["weight"].shape == (2, 3)
    assert gated.log_likelihood_ > alone.log_likelihood_
    origin = moe("y ~ x + s - 1", DATA, gate_formula="~ 1", **FEW)
    assert (origin.intercept_ == 0).all()
    assert origin.coef_.shape == (2, 4)
    assert origin.fit_.df == 2 * 4 + 2 + 1
    one = moe("y ~ x + w - 1", DATA, n_experts=1, **FEW)
    np.testing.assert_allclose(one.coef_[0], smf.ols("y ~ x + w - 1", DATA).fit().params, atol=1e-7)
    for number, model in enumerate((alone, gated, origin, one)):
        save_model(model, tmp_path / f"{number}.json")
        again = load_model(tmp_path / f"{number}.json")
        np.testing.assert_array_equal(again.predict(DATA), model.predict(DATA))


def test_several_responses_share_their_expert():
    one = moe("y + y2 ~ x + s", DATA, gate="constant", covariance="full", **FEW)
    assert one.predict(DATA).shape == (240, 2)
    assert one.inference().mean_interval(DATA[:5]).shape == (5, 2, 2)
    assert one.responsibilities(DATA).shape == (240, 2)


def test_terms_are_shared_by_name(tmp_path):
    one = moe("y ~ x + C(s) + poly(w, 2)", DATA, gate="constant", shared=["C(s)", "poly(w,2)"], **FEW)
    assert (np.ptp(one.coef_[:, 1:], axis=0) == 0).all()
    assert np.ptp(one.coef_[:, 0]) > 1
    assert one.summary().count("C(s)[T.b]") == 1
    single = moe("y ~ x + C(s)", DATA, gate="constant", shared="C(s)[T.b]", **FEW)
    assert np.ptp(single.coef_[:, 1]) == 0
    assert np.ptp(single.coef_[:, 2]) > 0


def test_methods_take_the_frame_alone_or_that_of_the_fit():
    one = moe("count ~ x + s", DATA, gate="constant", offset="log(hours)", family="poisson", **FEW)
    np.testing.assert_array_equal(one.responsibilities(), one.responsibilities(DATA))
    assert one.score_samples().sum() == pytest.approx(one.log_likelihood_, abs=1e-8)
    assert one.score() == one.score(DATA)
    assert one.inference().text() == one.inference(DATA).text()
    assert one.inference(kind="sandwich", clusters="group").refused is None
    given = one.inference(kind="sandwich", clusters=DATA.group)
    assert given.text() == one.inference(kind="sandwich", clusters="group").text()
    assert one.inference().mean_interval(DATA[:4]).shape == (4, 2)
    assert one.inference().gate_interval(DATA[:4]).shape == (4, 2, 2)
    ends = one.predict_interval(DATA, 0.9)
    assert ((ends[:, 0] <= DATA["count"]) & (ends[:, 1] >= DATA["count"])).mean() > 0.85
    assert one.predict_quantile(DATA[:3], [0.1, 0.9]).shape == (3, 2)
    assert one.sample(DATA, 0).shape == (240,)
    rate = one.predict(DATA[["x", "s"]].assign(hours=1.0))
    np.testing.assert_allclose(rate * DATA.hours, one.predict(DATA), rtol=1e-12)
    np.testing.assert_allclose(one.predict(DATA, offset=0.0), rate, rtol=1e-12)


def test_trials_weights_and_groups_are_columns(tmp_path):
    roles = {"trials": "n", "weights": "many", "groups": "group"}
    one = moe("hits ~ w + x + s", DATA, gate="constant", family="binomial", **roles, **FEW)
    data = {"trials": DATA.n, "groups": DATA.group}
    inputs = DATA[["w", "x"]].assign(b=(DATA.s == "b") * 1.0, c=(DATA.s == "c") * 1.0).to_numpy()
    other = MixtureOfExpertsRegressor(gate="constant", family="binomial", **FEW)
    other.fit(inputs, DATA.hits, DATA.many, **data)
    assert one.log_likelihood_ == pytest.approx(other.log_likelihood_, abs=1e-9)
    np.testing.assert_allclose(one.score_samples(DATA), other.score_samples(inputs, DATA.hits, **data), atol=1e-9)
    assert one.score() == pytest.approx(other.score(inputs, DATA.hits, DATA.many, trials=DATA.n))
    assert (one.predict_interval(DATA)[:, 1] <= DATA.n).all()
    save_model(one, tmp_path / "m.json")
    again = load_model(tmp_path / "m.json")
    np.testing.assert_array_equal(again.predict_interval(DATA), one.predict_interval(DATA))


def test_rows_with_missing_values_are_left_out_and_counted():
    holes = DATA.copy()
    holes.loc[[2, 40], "x"] = np.nan
    holes.loc[7, "s"] = None
    holes.loc[9, "w"] = np.nan  # in a column that is not used
    one = moe("y ~ x + s", holes, **FEW)
    assert "3 with missing values were left out" in one.summary()
    assert one.fit_.n == 237
    assert one.log_likelihood_ == moe("y ~ x + s", DATA.drop([2, 40, 7]), **FEW).log_likelihood_
    assert one.responsibilities().shape == (237, 2)
    assert one.inference(holes).text() == one.inference().text()
    with pytest.raises(ValueError, match="3 rows lack values, the first is row 2 in x"):
        one.predict(holes)


def test_files_hold_the_design_and_no_frame(tmp_path):
    one = moe("y ~ bs(x, df=4) + C(s, Sum)", DATA, gate_formula="~ poly(w, 2)", **FEW)
    save_model(one, tmp_path / "m.json")
    again = load_model(tmp_path / "m.json")
    np.testing.assert_array_equal(again.predict(DATA), one.predict(DATA))
    assert again.summary() == one.summary()
    assert again.inference(DATA).text() == one.inference().text()
    text = (tmp_path / "m.json").read_text()
    assert sum(str(value) in text for value in DATA.y) == 0
    for other in (again, pickle.loads(pickle.dumps(one)), copy(one)):  # noqa: S301
        np.testing.assert_array_equal(other.predict(DATA), one.predict(DATA))
        with pytest.raises(TypeError, match="not in memory"):
            other.responsibilities()
    again.fit(DATA[["x"]], DATA.y)
    assert again.predict(DATA[["x"]]).shape == (240,)  # a new fit without a formula


def test_altered_designs_are_refused(tmp_path):
    one = moe("y ~ x + s", DATA, gate_formula="~ w", offset="hours", **FEW)
    save_model(one, tmp_path / "m.json")
    whole = json.loads((tmp_path / "m.json").read_text())
    text = json.dumps(whole["content"])
    changes = {
        "y ~ x + s": ["y ~ x + w", "y ~ s + x", "y + y2 ~ x + s", "y ~ x", "y ~ os.system(x)"],
        '"~ w"': ['"~ x"', '"~ 1"', "null"],
        '{"offset": "hours"}': ['{"trials": "hours"}', '{"offset": "hours.mean()"}', "{}"],
        "s[T.b]": ["s[T.z]"],
        '"a", "b", "c"': ['"a", "b"', '"b", "a", "c"', '1, "b", "c"'],
    }
    for old, several in changes.items():
        assert old in text
        for new in several:
            content = json.loads(text.replace(old, new))
            damaged = {**whole, "content": content, "sha256": serialise._checksum(content)}
            (tmp_path / "d.json").write_text(json.dumps(damaged))
            with pytest.raises(ValueError, match="not a model that can be read"):
                raise AssertionError(f"{new} is read: {load_model(tmp_path / 'd.json')}")


FITTED = {}


def fitted(formula="y ~ x + s"):
    if formula not in FITTED:
        FITTED[formula] = moe(formula, DATA, **FEW)
    return FITTED[formula]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: moe("y ~ x", DATA, n_expert=3), "did you mean 'n_experts'"),
        (lambda: moe("y ~ x", DATA, ofset="hours"), "did you mean 'offset'"),
        (lambda: moe("y ~ x", DATA, hurdle=True), "no argument 'hurdle'"),
        (lambda: moe("y ~ x", DATA, gate_features=["x"]), "gate_formula"),
        (lambda: moe("y ~ x", DATA, gate_formula="~ 1", gate="laplace"), "leave gate out"),
        (lambda: moe("y ~ x", DATA, gate_formula="~ w", gate="constant"), "leave one of the two out"),
        (lambda: moe("y ~ x", DATA, gate_formula="~ w - 1"), "leave - 1 out"),
        (lambda: moe("y ~ x", DATA, gate_formula="y ~ w"), "has a response"),
        (lambda: moe("y ~ x - 1", DATA, expert="gelu-no-bias"), "leave - 1 out"),
        (lambda: moe("y ~ x - 1", DATA, fixed={"experts.intercept": 1.0}), "leave one of the two out"),
        (lambda: moe("y ~ 0", DATA), "nothing on its right"),
        (lambda: moe("y ~ 1", DATA, expert="cubic"), "leave expert out"),
        (lambda: moe("y ~ x - 1", DATA, shared="intercept"), "leaves out"),
        (lambda: moe("y ~ x", DATA, shared="q"), "not a column of X"),
        (lambda: moe("y ~ x", DATA, shared="x", expert="cubic"), "only coefficients of linear experts"),
        (lambda: moe("y ~ x", DATA.to_numpy()), "pandas DataFrame"),
        (lambda: moe("y ~ x", DATA, groups="group"), "gate_formula"),
        (lambda: moe("hits ~ x", DATA, trials="n"), "family='binomial'"),
        (lambda: fitted().predict(DATA.assign(s="zz")), "the level 'zz', which the fit did not see"),
        (lambda: fitted().predict(DATA.to_numpy()), "pandas DataFrame"),
        (lambda: fitted().predict(DATA.drop(columns="x")), "no column 'x'"),
        (lambda: fitted().score(DATA, DATA.y), "give it alone|give the frame alone"),
        (lambda: fitted().responsibilities(DATA, DATA.y), "give it alone|give the frame alone"),
        (lambda: fitted().predict(DATA, gate_X=DATA[["w"]]), "give it alone|give the frame alone"),
        (lambda: fitted().predict(DATA, offset=0.0), "not given to fit"),
        (lambda: sample_size(fitted(), {"experts.coef": 0.1}, X=DATA.to_numpy()), "pandas DataFrame"),
        (lambda: MixtureOfExpertsRegressor(1, n_init=1).fit(DATA[["x"]], DATA.y).responsibilities(), "X is missing"),
        (lambda: MixtureOfExpertsRegressor(1, n_init=1).fit(DATA[["x"]], DATA.y).inference(), "X is missing"),
    ],
)
def test_faults_say_the_remedy(call, words):
    with pytest.raises((ValueError, TypeError), match=words):
        call()


def test_warnings_point_at_the_caller():
    with pytest.warns(match=".") as heard:
        moe("y ~ x + s + I(2*x)", DATA, n_init=1, random_state=0)
    assert {one.filename for one in heard} == {__file__}
