"""Every kind of bad input ends in an error that says what to do, or in a right answer with its status."""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.exceptions import NotFittedError

from gatewise import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor, Status
from gatewise.estimators.warnings import (
    BoundWarning,
    CollinearWarning,
    FitWarning,
    SeparatedWarning,
    UnidentifiedWarning,
    UnsoundWarning,
)


def small(**changed):
    return MixtureOfExpertsRegressor(**{"n_init": 5, "random_state": 0, **changed})


def put(array, value):
    array = np.array(array, dtype=float)
    array.flat[3] = value
    return array


def counts(y):
    return np.round(np.exp(0.5 * y))


DATA = {  # name -> (changed X and y, error, words)
    "nan in X": (lambda x, y: (put(x, np.nan), y), ValueError, "Input X contains NaN"),
    "inf in X": (lambda x, y: (put(x, np.inf), y), ValueError, "Input X contains infinity"),
    "nan in y": (lambda x, y: (x, put(y, np.nan)), ValueError, "Input y contains NaN"),
    "inf in y": (lambda x, y: (x, put(y, -np.inf)), ValueError, "Input y contains infinity"),
    "one dimension": (
        lambda x, y: (x[:, 0], y),
        ValueError,
        r"X has the shape \(\d+,\).*X.reshape\(-1, 1\) if it is one",
    ),
    "a series": (lambda x, y: (pd.Series(x[:, 0]), y), ValueError, r"Reshape your data: X.to_frame\(\) if it is one"),
    "a list": (lambda x, y: (list(x[:, 0]), y), ValueError, "two dimensions are needed"),
    "a number": (lambda x, y: (3.0, y), ValueError, r"X has the shape \(\), .*give one row per observation"),
    "three dimensions": (lambda x, y: (x[None], y), ValueError, r"X has the shape \(1, \d+, \d\), .*give one row per"),
    "y of three dimensions": (
        lambda x, y: (x, y[:, None, None]),
        ValueError,
        r"y has the shape \(\d+, 1, 1\): give one",
    ),
    "lengths differ": (lambda x, y: (x, y[:-1]), ValueError, r"y has \d+ rows, X has \d+: pass one response per"),
    "names of two types": (
        lambda x, y: (pd.DataFrame(np.c_[x, x], columns=[7, *"abcd"[: 2 * x.shape[1] - 1]]), y),
        TypeError,
        r"X has columns with names of several types, such as 7 and 'a': .*X.columns.astype\(str\)",
    ),
    "no rows": (lambda x, y: (x[:0], y[:0]), ValueError, r"0 sample\(s\)"),
    "no columns": (lambda x, y: (x[:, :0], y), ValueError, r"0 feature\(s\)"),
    "one row": (lambda x, y: (x[:1], y[:1]), ValueError, "n_samples=1 for 2 experts: give at least one row per"),
    "text in X": (lambda x, y: (np.where(x > 0, "a", "b"), y), ValueError, "X holds text .*encoding categories"),
    "text column": (lambda x, y: (pd.DataFrame(x).assign(c="a"), y), (ValueError, TypeError), "."),
    "text in y": (lambda x, y: (x, np.where(y > 0, "a", "b")), ValueError, "y holds text or dates"),
    "text objects in y": (lambda x, y: (x, y.astype(str).astype(object)), ValueError, "y holds text or dates"),
    "dates in y": (lambda x, y: (x, y.astype("datetime64[s]")), ValueError, "y holds text or dates"),
    "complex X": (lambda x, y: (x + 1j, y), ValueError, "Complex data not supported"),
    "complex y": (lambda x, y: (x, y + 1j), ValueError, "Complex data not supported"),
    "sparse X": (lambda x, y: (sparse.csr_matrix(x), y), TypeError, "[Ss]parse"),
    "sparse y": (lambda x, y: (x, sparse.csr_matrix(y[:, None])), TypeError, "y is sparse.*toarray"),
    "no y": (lambda x, y: (x, None), ValueError, "requires y"),
    "overflow": (lambda x, y: (x, np.r_[1.7e308, -1.7e308, y[2:]]), ValueError, "overflow when squared: clean"),
}


@pytest.mark.parametrize("factor", [1e-200, 1e200])
def test_values_whose_squares_vanish_or_overflow_are_fitted(lines, factor):
    x, y = lines
    plain, model = small().fit(x, y), small().fit(x, y * factor)
    assert model.status_ == plain.status_
    assert np.allclose(model.predict(x), plain.predict(x) * factor, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", DATA)
def test_unusable_data_are_refused(lines, name):
    change, error, words = DATA[name]
    with pytest.raises(error, match=words):
        small().fit(*change(*lines))


def test_data_of_one_dimension_are_told_by_every_method_and_of_gates_too():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 3)), rng.normal(size=40)
    for model, response in (
        (MixtureOfExpertsRegressor(1, n_init=1), y),
        (MixtureOfExpertsClassifier(1, n_init=1), y > 0),
    ):
        with pytest.raises(ValueError, match=r"X has the shape \(40,\)"):
            model.fit(x[:, 0], response)
        model.fit(x, response)
        for method in (model.predict, model.gate_proba):
            with pytest.raises(ValueError, match=r"X has the shape \(3,\).*X.reshape\(1, -1\) if it is one row"):
                method(x[0])
    with pytest.raises(ValueError, match=r"gate_X has the shape \(40,\).*gate_X.reshape\(-1, 1\) if it is one column"):
        small(n_init=1).fit(x, y, gate_X=x[:, 0])


WEIGHTS = {
    "negative": (lambda w: put(w, -1), r"negative values \(-1\)"),
    "zero": (lambda w: 0 * w, "zero for every row"),
    "nan": (lambda w: put(w, np.nan), "NaN or infinite"),
    "inf": (lambda w: put(w, np.inf), "NaN or infinite"),
    "short": (lambda w: w[1:], "one weight per row"),
    "two dimensions": (lambda w: w[:, None], "one weight per row"),
    "text": (lambda w: w.astype(str), "give numbers from 0"),
    "one row left": (lambda w: np.eye(len(w))[0], "n_samples=1 for 2 experts"),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_unusable_weights_are_refused(lines, name):
    change, words = WEIGHTS[name]
    with pytest.raises(ValueError, match=words):
        small().fit(*lines, sample_weight=change(np.ones(len(lines[1]))))


COUNTS = [
    ("poisson", lambda y: counts(y) - 5, "negative value .*counts start at 0"),
    ("poisson", lambda y: counts(y) + 0.5, "not whole .*needs counts"),
    ("binomial", counts, "above trials=1"),
]


@pytest.mark.parametrize(("family", "change", "words"), COUNTS)
def test_responses_that_the_family_does_not_allow_are_refused(lines, family, change, words):
    with pytest.raises(ValueError, match=words):
        small(family=family).fit(lines[0], change(lines[1]))


@pytest.mark.parametrize(
    ("gate_x", "words"),
    [
        (lambda x: x[:80], "gate_X has 80 rows, X has 300: pass one gate row per observation"),
        (lambda x: x[:, 0], r"gate_X has the shape"),
        (lambda x: put(x, np.nan), "Input gate_X contains NaN"),
    ],
)
def test_unusable_gate_inputs_are_refused(lines, gate_x, words):
    with pytest.raises(ValueError, match=words):
        small().fit(*lines, gate_X=gate_x(lines[0]))


def test_gate_inputs_and_gate_features_exclude_each_other(lines):
    with pytest.raises(ValueError, match="one or the other"):
        small(gate_features=[0]).fit(*lines, gate_X=lines[0])


def test_predictions_check_their_inputs(lines):
    x, y = lines
    model, gated = small().fit(x, y), small().fit(x, y, gate_X=x[:, :1])
    for call, words in [
        (lambda: model.predict(x[:, :1]), "1 features, but MixtureOfExpertsRegressor is expecting 2"),
        (lambda: model.predict(put(x, np.nan)), "contains NaN"),
        (lambda: model.predict(x[:0]), r"0 sample\(s\)"),
        (lambda: model.predict(x, gate_X=x), "leave it out, or fit with gate_X"),
        (lambda: gated.predict(x), "gate_X is missing"),
        (lambda: gated.predict(x, gate_X=x), "gate_X has 2 columns, fit was given 1"),
        (lambda: gated.predict(x, gate_X=x[:5, :1]), "gate_X has 5 rows, X has 300"),
        (lambda: model.predict_quantile(x, 1.2), "between 0 and 1"),
        (lambda: model.predict_interval(x, 1), "between 0 and 1"),
        (lambda: model.responsibilities(x, y[:3]), "y has 3 rows, X has 300"),
        (lambda: model.score_samples(x, put(y, np.nan)), "give finite numbers, 1 per row"),
    ]:
        with pytest.raises(ValueError, match=words):
            call()
    with pytest.raises(NotFittedError):
        small().predict(x)


def test_column_names_must_match():
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 2)), columns=["dose", "age"])
    model = small(n_experts=1, gate_features=["age"]).fit(table, table["dose"] ** 2)
    assert model.feature_names_in_.tolist() == ["dose", "age"]
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(table.rename(columns={"dose": "x"}))
    with pytest.raises(ValueError, match="which is not a column of X: did you mean 'age'"):
        small(gate_features=["agee"]).fit(table, table["dose"])
    named = small(n_experts=1).fit(table[["dose"]], table["dose"] ** 2, gate_X=table[["age"]])
    with pytest.raises(ValueError, match="gate_X has the columns years, fit was given age"):
        named.predict(table[["dose"]], gate_X=table[["age"]].set_axis(["years"], axis=1))


def fit_and_catch(model, *args, **kwargs):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(*args, **kwargs)
    assert all(issubclass(w.category, FitWarning) and w.filename == __file__ for w in caught)
    return {w.category for w in caught}


POOR = {  # name -> (changed data, status, warnings that must be there)
    "constant y": (lambda x, y: (x, np.ones_like(y)), Status.unsound, {UnsoundWarning}),
    "noiseless": (lambda x, y: (x, x[:, 0]), Status.unsound, {UnsoundWarning}),
    "same row": (lambda x, y: (x[[0] * 50], y[[0] * 50]), Status.unsound, {UnsoundWarning, CollinearWarning}),
    "few different rows": (lambda x, y: (np.tile(x[:5], (9, 1)), np.tile(y[:5], 9)), Status.unsound, {UnsoundWarning}),
    "more columns than rows": (
        lambda x, y: (x.reshape(20, 30), y[:20]),
        Status.unsound,
        {UnsoundWarning, CollinearWarning},
    ),
    "two rows": (lambda x, y: (x[:2], y[:2]), Status.unsound, {UnsoundWarning, CollinearWarning}),
    "constant column": (lambda x, y: (np.c_[x, np.ones(len(x))], y), Status.converged, {CollinearWarning}),
    "collinear column": (lambda x, y: (np.c_[x, x @ [2, 1]], y), Status.converged, {CollinearWarning}),
}


@pytest.mark.parametrize("name", POOR)
def test_poor_data_get_their_status_and_a_warning(lines, name):
    change, status, categories = POOR[name]
    x, y = change(*lines)
    model = small()
    found = fit_and_catch(model, x, y)
    assert model.status_ is status
    assert categories <= found
    assert model.converged_ == (status is Status.converged)
    assert np.isfinite(model.predict(x)).all()
    assert str(status) in model.summary()


def test_collinear_columns_change_no_prediction(lines):
    x, y = lines
    model = small()
    fit_and_catch(model, np.c_[x, x @ [2, 1], np.ones(len(x))], y)
    plain = small().fit(x, y)
    assert model.log_likelihood_ == pytest.approx(plain.log_likelihood_, abs=1e-7)
    assert model.fit_.df == plain.fit_.df
    np.testing.assert_allclose(model.predict(np.c_[x, x @ [2, 1], np.ones(len(x))]), plain.predict(x), atol=1e-6)
    np.testing.assert_allclose(model.coef_[:, 3], 0, atol=1e-9)


def test_one_row_fits_one_expert_and_is_called_unsound(lines):
    model = small(n_experts=1)
    assert UnsoundWarning in fit_and_catch(model, lines[0][:1], lines[1][:1])
    np.testing.assert_allclose(model.predict(lines[0][:1]), lines[1][:1])


@pytest.mark.parametrize("gate", ["softmax", "laplace"])
@pytest.mark.parametrize("factor", [1e-12, 1e12])
def test_units_do_not_matter(lines, gate, factor):
    x, y = lines[0][:120], lines[1][:120]
    plain, scaled = small(gate=gate), small(gate=gate)
    fit_and_catch(plain, x, y)
    fit_and_catch(scaled, x * factor, y * factor)
    expected = plain.log_likelihood_ - len(y) * np.log(factor)
    assert scaled.log_likelihood_ == pytest.approx(expected, abs=1e-5)
    np.testing.assert_allclose(scaled.predict(x * factor) / factor, plain.predict(x), atol=1e-5)


@pytest.mark.parametrize("kind", ["int64", "int8", "bool", "float16", "float32", "object", ">f8"])
def test_other_number_types_are_read(lines, kind):
    x, y = (3 * lines[0]).round(), (3 * lines[1]).round()
    x = x > 0 if kind == "bool" else x
    expected, model = small(), small()
    fit_and_catch(expected, x.astype(float), y.astype(float))
    fit_and_catch(model, x.astype(kind), y.astype("float64" if kind == "bool" else kind))
    assert model.log_likelihood_ == expected.log_likelihood_


def test_reversed_and_column_major_arrays_are_read(lines):
    x, y = lines
    expected = small().fit(x[::-1].copy(), y[::-1].copy())
    assert small().fit(np.asfortranarray(x)[::-1], y[::-1]).log_likelihood_ == expected.log_likelihood_
    assert small().fit(x[::-1].tolist(), y[::-1].tolist()).log_likelihood_ == expected.log_likelihood_


def test_a_bound_that_binds_is_named(lines):
    model = small(bounds={"family.scale": (0.01, 0.4)})
    with pytest.warns(BoundWarning, match=r"at-bound: .*scale\[expert \d\]"):
        model.fit(*lines)
    np.testing.assert_allclose(model.scale_.max(), 0.4)


def test_separation_and_lost_identification_are_named(lines):
    x, y = lines
    apart = np.where(x[:, 0] > 0, y + 20, y - 20)
    with pytest.warns(SeparatedWarning, match=r"ridge penalty \(alpha\).*gate weight x0\[branch 0\]"):
        small().fit(x, apart)
    ridged = small(alpha=0.1).fit(x, apart)
    assert ridged.converged_
    with pytest.warns(UnidentifiedWarning, match="predictions are unaffected"):
        small(gate="dense-to-sparse", gauge="none").fit(x, y)


def test_zero_weight_rows_may_hold_any_finite_values(lines):
    x, y = lines
    weight = np.ones(len(y))
    weight[::3] = 0
    spoilt = np.where(weight == 0, 1e100, y)
    model = small().fit(x, spoilt, sample_weight=weight)
    assert model.log_likelihood_ == small().fit(x[weight > 0], y[weight > 0]).log_likelihood_


@pytest.mark.parametrize("place", ["X", "y"])
def test_missing_values_are_told_with_their_remedy(place):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 3)), rng.normal(size=60)
    (x if place == "X" else y)[4] = np.nan
    with pytest.raises(ValueError, match=f"^Input {place} contains NaN: leave rows with missing values out") as told:
        MixtureOfExpertsRegressor(2, n_init=1).fit(x, y)
    assert "HistGradientBoosting" not in str(told.value)
