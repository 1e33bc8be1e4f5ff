"""Coefficients, effects, gate surfaces, rootograms and quantiles of residuals: the numbers in the pictures."""

import warnings

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from scipy import stats

from gatewise import MixtureOfExpertsRegressor, moe
from gatewise.estimators.warnings import FitWarning
from gatewise.plots import (
    coefficients,
    expert_curves,
    gate_curves,
    gate_surface,
    gating_regions,
    marginal_effects,
    overview,
    predicted_observed,
    residual_quantiles,
    rootogram,
)


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(0)
    n = 500
    data = pd.DataFrame({"age": rng.uniform(20, 80, n), "income": rng.normal(50, 15, n), "z": rng.normal(size=n)})
    data["site"] = rng.choice(["north", "south", "west"], n)
    first = rng.random(n) < 1 / (1 + np.exp(-1.5 * data.z))
    data["visits"] = rng.poisson(np.exp(np.where(first, 2 + 0.02 * (data.age - 50), 0.3 - 0.01 * (data.income - 50))))
    return data


@pytest.fixture(scope="module")
def visits(frame):
    formula = "visits ~ age + income + C(site)"
    options = {"gate_formula": "~ z + age", "family": "poisson", "n_init": 5, "random_state": 0}
    return moe(formula, frame, shared="C(site)", **options)


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(400, 4))
    y = np.where(rng.random(400) < 1 / (1 + np.exp(-2 * X[:, 1])), 3 + X[:, 0], -3 - X[:, 2]) + 0.5 * rng.normal(
        size=400
    )
    return X, y, MixtureOfExpertsRegressor(2, gate_features=[1, 3], n_init=5, random_state=0).fit(X, y)


def marks(ax, label):
    return [line for line in ax.lines if line.get_label() == label]


def test_the_forest_has_every_coefficient_with_its_interval(visits):
    ax = coefficients(visits)
    names = [text.get_text() for text in ax.get_yticklabels()]
    assert names == ["age", "income", "C(site)[T.south]", "C(site)[T.west]"]
    table = visits.summary().experts
    table = table[~table["parameter"].isin(["intercept"])]
    drawn = sorted(line.get_xdata()[0] for line in marks(ax, "_estimate"))
    np.testing.assert_allclose(drawn, sorted(table["estimate"]))
    ends = sorted(tuple(line.get_xdata()) for line in marks(ax, "_interval"))
    np.testing.assert_allclose(ends, sorted(zip(table["lower"], table["upper"], strict=True)))
    heights = sorted(round(float(line.get_ydata()[0]), 6) for line in marks(ax, "_estimate"))
    assert len(set(heights)) == 6  # nothing covers something else
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["expert 0", "expert 1", "all experts"]
    gates = coefficients(visits, part="gates", columns=["bias", "weight z"])
    assert [text.get_text() for text in gates.get_yticklabels()] == ["bias", "weight z"]
    for wrong, words in (
        ({"part": "family"}, "choose 'experts'"),
        ({"columns": ["height"]}, "there are intercept, age"),
    ):
        with pytest.raises(ValueError, match=words):
            coefficients(visits, **wrong)


def test_eight_experts_are_told_apart_without_intervals_and_in_bars():
    rng = np.random.default_rng(0)
    X, place = rng.normal(size=(240, 3)), np.arange(240) % 8
    y = 6 * place + X @ [1.0, -0.5, 0.2] + 0.3 * rng.normal(size=240)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        start = np.eye(8)[place] * 0.92 + 0.01
        model = MixtureOfExpertsRegressor(8, gate="constant", n_init=1, max_iter=1, method="em").fit(X, y, start=start)
    ax = coefficients(model)
    looks = {(line.get_markeredgecolor(), line.get_marker()) for line in ax.lines if len(line.get_xdata()) == 1}
    assert len(looks) == 8
    bars = {(patch.get_facecolor(), patch.get_hatch() or "") for patch in rootogram(model, X, y).patches}
    assert len(bars) == 8


def test_what_has_no_errors_is_hollow_and_said(arrays):
    X, _, _ = arrays
    y = np.where(X[:, 0] > 0.2, 3 + X[:, 1], -X[:, 2]) + 0.05 * np.cos(np.arange(400))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        model = MixtureOfExpertsRegressor(2, n_init=5, random_state=0).fit(X, y)
    assert model.status_ == "separated"
    ax = coefficients(model, part="gates")
    assert not marks(ax, "_estimate")
    assert len(marks(ax, "_without error")) == 4
    assert "no intervals: the fit is separated" in ax.get_xlabel()
    effect = marginal_effects(model.inference(X, y), "x1", X)
    assert effect.get_legend().get_title().get_text() == "no bands: the fit is separated"
    assert not effect.collections


@pytest.mark.parametrize("column", ["age", "site"])
def test_effects_of_a_formula_are_means_with_their_bands(visits, frame, column):
    ax = marginal_effects(visits, column)
    other = frame.drop(columns=["visits"]).median(numeric_only=True).to_dict() | {"site": frame["site"].mode()[0]}
    values = np.linspace(30, 70, 3) if column == "age" else ["north", "south", "west"]
    rows = pd.DataFrame([{**other, column: value} for value in values])
    mean, ends = visits.predict_experts(rows), visits.inference().expert_interval(rows)
    for leaf, line in enumerate(line for line in ax.lines if not line.get_label().startswith("_")):
        at = line.get_ydata()
        at = np.interp(values, line.get_xdata(), at) if column == "age" else at
        np.testing.assert_allclose(at, mean[:, leaf], rtol=1e-3)
        assert ((ends[:, leaf, 0] < mean[:, leaf]) & (mean[:, leaf] < ends[:, leaf, 1])).all()
    assert (ax.get_xlabel(), ax.get_ylabel()) == (column, "mean of visits")
    if column == "site":
        assert [text.get_text() for text in ax.get_xticklabels()] == ["north", "south", "west"]
        segments = np.concatenate([c.get_segments() for c in ax.collections])
        np.testing.assert_allclose(segments[:, :, 1], np.concatenate([ends[:, k] for k in range(2)]), rtol=1e-12)


def test_expert_intervals_are_those_of_the_delta_method(arrays):
    X, y, model = arrays
    found = model.inference(X, y)
    ends = found.expert_interval(X[:3])
    for leaf in range(2):
        line = found.delta(
            lambda m, leaf=leaf: (
                m.experts["coef"].new_tensor(X[:3]) @ m.experts["coef"][leaf, 0] + m.experts["intercept"][leaf, 0]
            )
        )
        np.testing.assert_allclose(ends[:, leaf, 0], line.lower, rtol=1e-10)
        np.testing.assert_allclose(ends[:, leaf, 1], line.upper, rtol=1e-10)


def test_a_surface_is_the_gate_over_two_columns(arrays, visits, frame):
    X, _, model = arrays
    ax = gate_surface(model, X, columns=("x3", "x1"), expert=1, points=5)
    mesh = ax.collections[0].get_array().reshape(5, 5)
    middle = np.median(X, 0)
    for i, up in enumerate(np.linspace(X[:, 1].min(), X[:, 1].max(), 5)):
        for j, across in enumerate(np.linspace(X[:, 3].min(), X[:, 3].max(), 5)):
            row = middle.copy()
            row[[1, 3]] = up, across
            assert mesh[i, j] == pytest.approx(model.gate_proba(row[None])[0, 1], rel=1e-12)
    ax = gate_surface(visits, columns=("age", "z"), points=4)
    rows = pd.DataFrame({"age": [20.0], "income": [1.0], "z": [0.0], "site": ["south"]})
    rows = rows.assign(age=frame.age.min(), z=frame.z.min())
    first = ax.collections[0].get_array().reshape(4, 4)[0, 0]
    assert first == pytest.approx(visits.gate_proba(rows)[0, 0])
    for wrong in (("age", "site"), ("age", "age"), ("age", "height")):
        with pytest.raises(ValueError, match="column"):
            gate_surface(visits, columns=wrong)
    with pytest.raises(ValueError, match="there are 2"):
        gate_surface(visits, expert=2)


def test_a_rootogram_counts_every_row_with_some_probability(visits):
    ax = rootogram(visits)
    posterior = visits.responsibilities()
    assert sum(patch.get_height() for patch in ax.patches) == (posterior >= 1e-4).sum()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["expert 0", "expert 1"]


def test_a_rootogram_counts_rows_as_often_as_their_weights(arrays, frame):
    X, y, model = arrays
    weight = np.arange(len(y)) % 4
    heights = [patch.get_height() for patch in rootogram(model, X, y, sample_weight=weight).patches]
    repeated = rootogram(model, X.repeat(weight, 0), y.repeat(weight)).patches
    assert heights == [patch.get_height() for patch in repeated]
    assert heights != [patch.get_height() for patch in rootogram(model, X, y).patches]
    data = pd.DataFrame(X[:, :3], columns=list("abc")).assign(y=y, times=weight, id=np.arange(len(y)) // 2)
    options = {"gate": "constant", "n_init": 2, "random_state": 0}
    by_formula = moe("y ~ a + b + c", data, weights="times", **options)
    posterior = by_formula.responsibilities()
    drawn = sum(patch.get_height() for patch in rootogram(by_formula).patches)
    assert drawn == ((posterior >= 1e-4) * weight[:, None]).sum()
    grouped = moe("y ~ a + b + c", data, groups="id", **options)
    ax = rootogram(grouped)
    assert sum(patch.get_height() for patch in ax.patches) == (grouped.responsibilities()[::2] >= 1e-4).sum()
    assert ax.get_ylabel() == "groups (root scale)"


def test_quantiles_are_those_of_the_residuals(arrays):
    X, y, model = arrays
    ax = residual_quantiles(model, X, y)
    line = marks(ax, "_rows")[0]
    np.testing.assert_allclose(line.get_ydata(), np.sort(model.residuals(X, y)))
    np.testing.assert_allclose(line.get_xdata(), stats.norm.ppf((np.arange(400) + 0.5) / 400))


def test_pictures_use_the_axes_they_are_given(arrays, visits):
    X, y, model = arrays
    found = model.inference(X, y)
    for draw in (
        lambda ax: coefficients(model, ax),
        lambda ax: marginal_effects(found, 0, X, ax),
        lambda ax: rootogram(model, X, y, ax),
        lambda ax: residual_quantiles(model, X, y, ax),
        lambda ax: gate_surface(model, X, ax),
        lambda ax: marginal_effects(visits, "income", ax=ax),
    ):
        ax = Figure().add_subplot()
        assert draw(ax) is ax
        ax.figure.canvas.draw()
    for drawn in (coefficients(model), marginal_effects(found, "x2", X), gate_surface(model, X), rootogram(visits)):
        assert drawn._repr_png_()[0].startswith(b"\x89PNG")


def test_gates_with_inputs_of_their_own_and_a_branch_of_noise():
    rng = np.random.default_rng(2)
    X, gate = rng.normal(size=(300, 3)), rng.normal(size=(300, 2))
    y = np.where(rng.random(300) < 1 / (1 + np.exp(-2 * gate[:, 0])), 3 + X[:, 0], -3 - X[:, 2])
    y = np.where(rng.random(300) < 0.1, rng.uniform(-20, 20, 300), y + 0.5 * rng.normal(size=300))
    model = MixtureOfExpertsRegressor(2, noise=True, n_init=3, random_state=0).fit(X, y, gate_X=gate)
    ax = marginal_effects(model.inference(X, y, gate_X=gate), "x0", X)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["expert 0", "expert 1"]
    assert gate_surface(model, gate, expert=2).get_xlabel() == "gate x0"
    assert len(rootogram(model, X, y, gate_X=gate).patches) == 30
    assert residual_quantiles(model, X, y, gate_X=gate).get_ylabel() == "quantile residual"


def test_shares_of_trials_are_drawn(frame):
    rng = np.random.default_rng(2)
    trials = rng.integers(4, 15, len(frame))
    data = frame.assign(trials=trials, hits=rng.binomial(trials, 1 / (1 + np.exp(-frame.z - 0.02 * (frame.age - 50)))))
    options = {"family": "binomial", "n_experts": 1, "n_init": 1}
    model = moe("hits ~ age + income + z", data, trials="trials", **options)
    ax = predicted_observed(model)
    seen = np.concatenate([part.get_offsets() for part in ax.collections])
    np.testing.assert_allclose(np.sort(seen[:, 0]), np.sort(model.predict(data)))
    np.testing.assert_allclose(np.sort(seen[:, 1]), np.sort(data.hits / data.trials))
    assert expert_curves(model, feature="income").get_xlabel() == "income"
    assert expert_curves(model).get_ylabel() == "hits"
    assert len(overview(model).axes) == 3
    X = data[["age", "income", "z"]]
    plain = MixtureOfExpertsRegressor(1, family="binomial", n_init=1).fit(X, data.hits, trials=data.trials)
    with pytest.raises(ValueError, match="fitted with trials"):
        predicted_observed(plain, X, data.hits)


def test_pictures_of_means_refuse_classes(frame):
    data = frame.assign(kind=np.where(frame.z + np.random.default_rng(3).logistic(size=len(frame)) > 0, "b", "a"))
    model = moe("kind ~ age + income + z", data, family="categorical", n_experts=1, n_init=1)
    for picture in (expert_curves, predicted_observed, overview, residual_quantiles):
        with pytest.raises(ValueError, match="response is classes"):
            picture(model)
    with pytest.raises(ValueError, match="response is classes"):
        marginal_effects(model, "age")


def test_gates_of_a_formula_are_drawn_over_what_they_read(visits, frame):
    assert [gate_surface(visits).get_xlabel(), gate_surface(visits).get_ylabel()] == ["age", "z"]
    ax = gate_curves(visits, feature="z")
    z = ax.lines[0].get_xdata()
    along = pd.DataFrame({"age": frame.age.median(), "z": z, "income": 50.0, "site": "north"})
    weights = np.array([line.get_ydata() for line in ax.lines])
    np.testing.assert_allclose(weights.T, visits.gate_proba(along), atol=1e-12)
    assert ax.get_xlabel() == "z"
    ax = gating_regions(visits, frame, features=("age", "z"))
    assert [ax.get_xlabel(), ax.get_ylabel()] == ["age", "z"]
    with pytest.raises(ValueError, match="no column of the gate inputs: there are z, age"):
        gate_curves(visits, feature="income")
    with pytest.raises(TypeError, match="X is missing"):
        gate_curves(visits.fit_)


def test_a_surface_needs_two_columns(frame):
    model = moe("visits ~ age + C(site)", frame, family="poisson", n_experts=1, n_init=1)
    with pytest.raises(ValueError, match="needs two columns of numbers: there are 1; use gate_curves"):
        gate_surface(model)
    one = moe("visits ~ age + income + z", frame, gate_formula="~ z", family="poisson", n_init=3, random_state=0)
    with pytest.raises(ValueError, match="feature=1, but there are 1 columns"):
        gating_regions(one)
