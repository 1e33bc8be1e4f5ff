"""Errors on the facade: attributes, tables, saved models, and data given again in their own order."""

import hashlib
import json
import pickle
import re
import warnings

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from sklearn.exceptions import ConvergenceWarning

from gatewise import MixtureOfExpertsRegressor, data, load_model, save_model
from gatewise.core.families import FullGaussian
from gatewise.infer.covariance.information import information
from gatewise.infer.intervals import wald
from gatewise.infer.profile.likelihood import ProfileEnd


@pytest.fixture(scope="module")
def table():
    """Two lines: 300 rows with the columns dose and age."""
    rng = np.random.default_rng(7)
    x = rng.normal(size=(300, 2))
    first = rng.random(300) < 1 / (1 + np.exp(-1.5 * x[:, 0]))
    y = np.where(first, 1 + x[:, 1], -1 - x[:, 1] + 0.5 * x[:, 0]) + np.where(first, 0.3, 0.5) * rng.normal(size=300)
    return pd.DataFrame(x, columns=["dose", "age"]), y


@pytest.fixture(scope="module")
def model(table):
    return quiet(*table)


def quiet(x, y, *, fit=None, **arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return MixtureOfExpertsRegressor(**{"n_init": 5, "random_state": 0, **arguments}).fit(x, y, **(fit or {}))


def test_a_fit_keeps_its_errors_and_inference_gives_the_same(table, model):
    again = model.inference(*table)
    assert model.standard_errors_reason_ is None
    assert again.refused is None
    assert {path: error.shape for path, error in model.standard_errors_.items()} == {
        path: tuple(value.shape) for path, value in model.measure_.paths().items()
    }
    for path, error in again.standard_errors().items():
        np.testing.assert_array_equal(error, model.standard_errors_[path])
    intervals = again.wald(0.9)
    assert intervals.level == 0.9
    coef = again.information.index("experts.coef[1,0,0]")
    assert float(intervals.error[coef]) == model.standard_errors_["experts.coef"][1, 0, 0]
    profile = again.profile("experts.coef[1,0,0]", 0.9)
    assert profile.lower == pytest.approx(float(intervals.lower[coef]), abs=0.01)
    difference = again.delta(lambda measure: measure.family["scale"][0, 0] - measure.family["scale"][1, 0])
    assert float(difference.estimate) == pytest.approx(model.scale_[0] - model.scale_[1])


def test_intervals_of_the_mean_and_of_the_gate_have_the_layout_of_predictions(table, model):
    x, y = table
    again = model.inference(x, y)
    mean, gate = again.mean_interval(x[:7], 0.9), again.gate_interval(x[:7])
    assert mean.shape == (7, 2)
    assert gate.shape == (7, 2, 2)
    assert ((mean[:, 0] < model.predict(x[:7])) & (model.predict(x[:7]) < mean[:, 1])).all()
    assert ((gate[..., 0] < model.gate_proba(x[:7])) & (model.gate_proba(x[:7]) < gate[..., 1])).all()
    both = quiet(x, np.column_stack([y, y**2]), n_init=2)
    assert both.inference(x, np.column_stack([y, y**2])).mean_interval(x[:7]).shape == (7, 2, 2)


def test_data_are_given_again_as_to_fit(table):
    x, y = table
    rng = np.random.default_rng(0)
    group = rng.permutation(np.repeat(np.arange(150), 2))
    weight = np.array([0.0, 1.0, 2.0])[np.arange(150) % 3][group]
    gate_x = rng.normal(size=(150, 1))[group]
    given = {"sample_weight": weight, "groups": group, "gate_X": gate_x}
    model = quiet(x, y, fit=given, n_init=4)
    assert model.standard_errors_reason_ is None
    again = model.inference(x, y, **given)
    np.testing.assert_array_equal(again.standard_errors()["experts.coef"], model.standard_errors_["experts.coef"])
    each = model.inference(x, y, **given, kind="sandwich").standard_errors()
    clustered = model.inference(x, y, **given, kind="sandwich", clusters=group).standard_errors()
    for path, error in each.items():  # groups are the independent units, 100 of them with a weight
        np.testing.assert_allclose(clustered[path], np.sqrt(100 / 99) * error, rtol=1e-9)
    coarse = group // 10
    found = model.inference(x, y, **given, kind="sandwich", clusters=[f"site {c}" for c in coarse]).standard_errors()
    order = np.argsort(group, kind="stable")
    sorted_ = {name: value[order] for name, value in given.items()}
    same = model.inference(x.iloc[order], y[order], **sorted_, kind="sandwich", clusters=coarse[order])
    np.testing.assert_allclose(found["experts.coef"], same.standard_errors()["experts.coef"], rtol=1e-9)
    with pytest.raises(ValueError, match="clusters differ within a group"):
        model.inference(x, y, **given, kind="sandwich", clusters=np.arange(300))
    with pytest.raises(ValueError, match="gate_X"):
        model.inference(x, y, sample_weight=weight, groups=group)


def test_clusters_are_those_of_statsmodels_with_rows_of_weight_zero_left_out(table):
    x, y = table
    cluster = np.random.default_rng(1).integers(0, 25, 300)
    weight = (np.arange(300) % 4 > 0).astype(float)
    model = quiet(x, y, fit={"sample_weight": weight}, n_experts=1, n_init=1)
    kept = weight > 0
    ols = sm.OLS(y[kept], sm.add_constant(x.to_numpy()[kept]))
    groups = {"groups": cluster[kept], "use_correction": False}
    expected = np.sqrt(25 / 24) * ols.fit(cov_type="cluster", cov_kwds=groups).bse
    errors = model.inference(x, y, weight, kind="sandwich", clusters=cluster).standard_errors()
    np.testing.assert_allclose(errors["experts.coef"].ravel(), expected[1:], rtol=1e-6)
    with pytest.raises(ValueError, match="pass one cluster label per observation"):
        model.inference(x, y, weight, kind="sandwich", clusters=cluster[:10])
    with pytest.raises(ValueError, match="NaN"):
        model.inference(x, y, weight, kind="sandwich", clusters=np.where(cluster == 3, np.nan, cluster))


def test_other_data_and_separated_gates_have_intervals_only_where_they_exist(table, model):
    x, y = table
    other = model.inference(x, y + 0.1 * x["age"])
    assert "give the data of the fit" in other.refused
    for attempt in (other.wald, other.standard_errors, lambda: other.mean_interval(x[:3])):
        with pytest.raises(ValueError, match="this fit has no standard errors: these rows"):
            attempt()
    with pytest.raises(ValueError, match="no profile interval"):
        other.profile("experts.coef[0,0,0]")
    with pytest.raises(ValueError, match="feature names"):
        model.inference(x.rename(columns={"age": "weight"}), y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # scikit-learn's, about missing names
        assert model.inference(x.to_numpy(), y).refused is None
    assert model.feature_names_in_.tolist() == ["dose", "age"]
    weather = data.load("tempanomalies")
    separated = quiet(weather.X.astype(float), weather.y)
    assert separated.standard_errors_ is None
    assert re.search(r"rises without limit along (\d directions of )?gate ", separated.standard_errors_reason_)
    again = separated.inference(weather.X.astype(float), weather.y)
    assert again.refused == separated.standard_errors_reason_
    for name in ("gates.0.weight[0,0]", "gates.0.bias[0]"):  # years far from zero: slope and bias move together
        profile = again.profile(name)
        assert set(profile.ends) == {ProfileEnd.crossed, ProfileEnd.flat}, (name, profile)
        assert np.isinf([profile.lower, profile.upper]).sum() == 1
    assert "without limit" in separated.summary()
    assert "Standard errors: none, because the likelihood rises without limit" in separated.summary()


def rows_of(text, title):
    """The lines of one table, split into cells."""
    lines = text.split("\n")
    start = next(i for i, line in enumerate(lines) if line.startswith(title))
    stop = next((i for i in range(start + 1, len(lines)) if not lines[i].strip()), len(lines))
    return lines[start:stop]


def test_the_summary_is_a_table_with_names_errors_and_intervals(table, model):
    text = model.summary()
    assert max(map(len, text.split("\n"))) <= 80
    found = rows_of(text, "Expert 1, share ")
    assert found[1].split() == ["estimate", "std.", "error", "z", "p", "95", "%", "interval"]
    age = next(line for line in found if line.startswith("  age")).split()
    intervals = wald(model.inference(*table).information)
    at = intervals.names.index("experts.coef[1,0,1]")
    expected = [getattr(intervals, name)[at] for name in ("estimate", "error", "z")]
    np.testing.assert_allclose([float(v) for v in age[1:4]], expected, rtol=2e-3)
    assert age[4] == "<0.001"
    np.testing.assert_allclose([float(v) for v in age[5:]], [intervals.lower[at], intervals.upper[at]], rtol=1e-5)
    scale = next(line for line in found if line.startswith("  scale")).split()
    assert len(scale) == 5  # no test against zero
    gate = rows_of(text, "Gate of level 0")
    assert gate[0] == "Gate of level 0 (the last branch is the reference)"
    assert not any("branch 1" in line for line in gate)  # the reference has nothing to read
    shares = rows_of(text, "Mixing proportions")
    assert text.index("Mixing proportions") < text.index("Expert 0")
    assert [line.split()[:2] for line in shares[2:]] == [["expert", "0"], ["expert", "1"]]
    assert any(line.startswith("  weight dose") and len(line.split()) == 8 for line in gate)
    assert "Standard errors: observed information" in text
    for part in ("log-likelihood = ", "df = 11", "AIC = ", "BIC = ", "ICL = ", "Status: converged", "Starts: "):
        assert part in text


def test_what_has_no_error_of_its_own_is_said_in_words(table):
    x, y = table
    x = x.assign(one=1.0)
    tempered = quiet(x, y, gate="dense-to-sparse").summary()
    assert "temperature" in tempered
    assert [line.split()[-1] for line in tempered.split("\n") if "temperature  " in line] == ["fixed"]
    assert [line.split()[-2:] for line in tempered.split("\n") if line.startswith("  one ")] == [["not", "unique"]] * 2
    ridge = quiet(x[["dose", "age"]], y, alpha=2.0).summary()
    assert "Note: errors are those of the penalised estimate" in ridge
    quadratic = quiet(x[["dose", "age"]], y, gate="quadratic").summary()
    for name in ("quadratic dose^2", "quadratic dose age", "quadratic age^2", "weight age"):
        assert f"  {name} " in quadratic
    fixed = quiet(x[["dose", "age"]], y, fixed={"experts.intercept": [1.0, np.nan]})
    assert next(line for line in fixed.summary().split("\n") if "intercept" in line).endswith("fixed")
    equal = quiet(x[["dose", "age"]], y, gate="equal").summary()
    assert equal.count("fixed") == 2
    assert "is the reference" not in equal


def test_a_center_at_infinity_and_one_on_a_kink_are_shown_as_such():
    motor = data.load("mcycle")
    far = quiet(motor.X.astype(float), motor.y, gate="laplace", n_init=4)
    assert far.fit_.certificate.null
    words = [line.split(maxsplit=3)[3:] for line in far.summary().split("\n") if line.startswith("  center times")]
    assert ["at infinity"] in words or ["not unique"] in words  # beyond all inputs one place is as good as another
    tone = data.load("tone")
    kinked = quiet(tone.X, tone.y, gate="laplace", n_init=4)
    lines = [line for line in kinked.summary().split("\n") if line.startswith("  center stretchratio")]
    assert any(line.endswith("on a kink") for line in lines)
    assert "Standard errors: none, because the optimum lies on a kink" in kinked.summary()


def test_a_center_has_an_interval_but_no_test_against_zero():
    rng = np.random.default_rng(2)
    x = rng.uniform(-2, 2, size=(600, 2))
    first, second = (np.linalg.norm(x - center, axis=1) for center in ([2.7, 0.9], [-2.4, -1.5]))
    near = rng.random(600) < 1 / (1 + np.exp(first - second - 0.2))
    y = np.where(near, 1 + x[:, 0], -1 - x[:, 1]) + 0.4 * rng.normal(size=600)
    text = quiet(x, y, gate="laplace", n_init=4).summary()
    centers = [line.split() for line in text.split("\n") if line.startswith("  center x")]
    assert [len(cells) for cells in centers] == [6] * 4  # two words, estimate, error, two ends


def test_a_tree_and_two_responses_have_a_table_for_every_expert(table):
    x, y = table
    tree = quiet(x, y, n_experts=(2, 2), gate="softmax", n_init=2).summary()
    for title in ("Expert 0/0, share", "Expert 1/1, share", "  branch 0/0", "  expert 1/1"):
        assert title in tree
    assert "  branch 0/1" not in tree
    assert "(the last branch of every group is the reference)" in tree
    noise = np.random.default_rng(0).normal(size=300)
    both = quiet(x, np.column_stack([y, y + noise]), covariance="full", n_init=2)
    assert isinstance(both.mixture_.family, FullGaussian)
    text = both.summary()
    found = next(line for line in rows_of(text, "Expert 0") if line.startswith("  y1 scale")).split()
    assert float(found[2]) == pytest.approx(both.scale_[0, 1], rel=1e-5)
    covariance = both.inference(x, np.column_stack([y, y + noise])).delta(
        lambda measure: both.mixture_.family.covariance(measure.family, 2).diagonal(dim1=-2, dim2=-1).sqrt()
    )
    np.testing.assert_allclose(both.standard_errors_["family.scale"], covariance.error)
    assert float(found[3]) == pytest.approx(float(covariance.error[0, 1]), rel=1e-5)


def sealed(whole):
    text = json.dumps(whole["content"], sort_keys=True, separators=(",", ":"))
    whole["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    return json.dumps(whole)


def test_errors_are_saved_checked_and_missed_where_an_older_file_has_none(table, model, tmp_path):
    path = tmp_path / "model.json"
    save_model(model, path)
    again = load_model(path)
    assert again.summary() == model.summary() == pickle.loads(pickle.dumps(model)).summary()  # noqa: S301
    for name, error in model.standard_errors_.items():
        np.testing.assert_array_equal(again.standard_errors_[name], error)
    np.testing.assert_array_equal(
        again.inference(*table).standard_errors()["experts.coef"], model.standard_errors_["experts.coef"]
    )
    whole = json.loads(path.read_text("utf-8"))
    errors = whole["content"]["fit"]["standard_errors"]["dict"]["values"]["dict"]
    errors["experts.coef"]["tensor"][0] = -1.0
    path.write_text(sealed(whole), "utf-8")
    with pytest.raises(ValueError, match="standard errors do not have the shapes of the parameters, or are negative"):
        load_model(path)
    del errors["experts.coef"]
    path.write_text(sealed(whole), "utf-8")
    with pytest.raises(ValueError, match="standard errors do not have the shapes"):
        load_model(path)
    del whole["content"]["fit"]["standard_errors"]
    path.write_text(sealed(whole), "utf-8")
    with pytest.raises(ValueError, match="lacks standard_errors"):
        load_model(path)
    path.write_text(sealed({**whole, "schema": 1}), "utf-8")
    older = load_model(path)
    assert older.standard_errors_ is None
    assert "written without them" in older.summary()
    save_model(model.fit_, path)
    assert "not computed" in load_model(path).standard_errors_reason_


def test_the_errors_of_a_fit_are_those_of_its_information(table, model):
    x, y = table
    found = information(model.fit_, model.inference(x, y).rows)
    np.testing.assert_array_equal(
        np.concatenate([error.ravel() for error in model.standard_errors_.values()]), wald(found).error
    )


def test_other_rows_are_named_and_not_the_information(model, table):
    x, y = table
    rows = x.iloc[:3] if hasattr(x, "iloc") else x[:3]
    found = model.inference(rows, y[:3])
    assert "give the data of the fit" in found.refused
