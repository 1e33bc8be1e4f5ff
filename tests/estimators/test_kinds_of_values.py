"""Tensors, masked arrays, nullable columns, labels, dates, sparse data, huge numbers: read as numbers, or refused."""

import re
import warnings
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from gatewise import MixtureOfExpertsRegressor
from gatewise.core.families import Binomial
from gatewise.estimators.warnings import SeparatedWarning, UnsoundWarning

from ..covering import slow_rest

N = 60


def drawn(d):
    rng = np.random.default_rng(d)
    x = rng.normal(size=(N, d))
    return x, x[:, 0] + 0.5 * rng.normal(size=N), np.repeat(np.arange(20), 3)


def one(**settings):
    return MixtureOfExpertsRegressor(**{"n_experts": 1, "n_init": 1, "random_state": 0, **settings})


def frame(x):
    return pd.DataFrame(x, columns=[f"a{j}" for j in range(x.shape[1])])


SAME = {  # name -> X, y, weights, gate_X, groups in another dress
    "tensors with gradients": lambda v: torch.tensor(v, requires_grad=v.dtype.kind == "f"),
    "masked arrays without masks": np.ma.array,
    "objects": lambda v: v.astype(object),
    "fractions": lambda v: np.vectorize(Fraction, otypes=[object])(v),
    "lists": lambda v: v.tolist(),
    "nullable": lambda v: (frame(v) if v.ndim > 1 else pd.Series(v)).astype(
        "Float64" if v.dtype.kind == "f" else "Int64"
    ),
    "reversed": lambda v: v[::-1][::-1],
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", SAME)
@pytest.mark.parametrize("d", slow_rest([1, 3, 5], [3]))
def test_other_kinds_of_arrays_give_the_same_bits(d, name):
    x, y, label = drawn(d)
    gate_x, weight = np.repeat(x[:20, :1], 3, 0), 1.0 + label % 2
    model = one(n_experts=2).fit(x, y, weight, gate_x, label)
    dressed = [SAME[name](part) for part in (x, y, weight, gate_x, label)]
    again = one(n_experts=2).fit(*dressed)
    assert again.log_likelihood_ == model.log_likelihood_
    x2, y2, weight2, gate2, label2 = dressed
    plain = again if name == "nullable" else model  # names of columns are checked
    assert (plain.predict(x2, gate_X=gate2) == model.predict(x, gate_X=gate_x)).all()
    assert (plain.score_samples(x2, y2, gate2, label2) == model.score_samples(x, y, gate_x, label)).all()
    assert plain.score(x2, y2, weight2, gate2) == model.score(x, y, weight, gate_x)
    assert (plain.responsibilities(x2, y2, gate2) == model.responsibilities(x, y, gate_x)).all()
    expected = model.inference(x, y, weight, gate_x, label, kind="sandwich", clusters=label).information
    found = plain.inference(*dressed, kind="sandwich", clusters=label2).information
    reason = expected.refused
    if reason and name == "nullable":  # whose columns have names
        reason = re.sub(r"gate x(?=\d)", "a", reason)
    assert found.refused == reason
    np.testing.assert_array_equal(found.covariance, expected.covariance)


def with_mask(v):
    return np.ma.array(v, mask=np.arange(v.size).reshape(v.shape) == 4)


def missing(v, value=pd.NA, dtype="Float64"):
    out = pd.Series(v).astype(dtype)
    out[4] = value
    return out


DATES = pd.date_range("2020", periods=N)
REFUSED = {  # name -> X, y and further arguments, and the words
    "masked X": (lambda x, y, g: ((with_mask(x), y), {}), "X is a masked array with 1 masked values: leave their rows"),
    "masked y": (lambda x, y, g: ((x, with_mask(y)), {}), "y is a masked array with 1 masked"),
    "masked weights": (lambda x, y, g: ((x, y, with_mask(y * y)), {}), "sample_weight is a masked array"),
    "masked gate_X": (lambda x, y, g: ((x, y), {"gate_X": with_mask(x)}), "gate_X is a masked array"),
    "masked groups": (lambda x, y, g: ((x, y), {"groups": with_mask(g)}), "groups is a masked array"),
    "NA in X": (lambda x, y, g: ((frame(x).astype("Float64").mask(x > 1.5), y), {}), "NaN"),
    "NA in y": (lambda x, y, g: ((x, missing(y)), {}), "NaN"),
    "NA in weights": (lambda x, y, g: ((x, y, missing(y * y)), {}), "sample_weight has values that are NaN"),
    "None in weights": (lambda x, y, g: ((x, y, [None, *y[1:]]), {}), "sample_weight has values that are NaN|numbers"),
    "text weights": (lambda x, y, g: ((x, y, ["1"] * N), {}), "sample_weight has the type <U1"),
    "text among weights": (lambda x, y, g: ((x, y, np.array(["1"] * N, object)), {}), "sample_weight=.*of numbers"),
    "complex X": (lambda x, y, g: ((x + 0j, y), {}), "Complex data not supported"),
    "complex y": (lambda x, y, g: ((x, y + 0j), {}), "Complex data not supported"),
    "complex weights": (lambda x, y, g: ((x, y, y + 0j), {}), "sample_weight has the type complex128"),
    "dates in X": (lambda x, y, g: ((frame(x).assign(when=DATES), y), {}), "X holds dates or durations"),
    "dates as X": (lambda x, y, g: ((DATES.to_numpy()[:, None], y), {}), "X holds dates or durations"),
    "durations": (lambda x, y, g: (((DATES - DATES[0]).to_numpy()[:, None], y), {}), "X holds dates or durations"),
    "dates in gate_X": (lambda x, y, g: ((x, y), {"gate_X": pd.DataFrame({"w": DATES})}), "gate_X holds dates"),
    "dates as y": (lambda x, y, g: ((x, DATES), {}), "y holds text or dates"),
    "dates as weights": (lambda x, y, g: ((x, y, DATES), {}), "sample_weight has the type datetime64"),
    "categories in X": (
        lambda x, y, g: ((pd.DataFrame({"a": pd.Categorical(["u", "v"] * 30)}), y), {}),
        "X holds text",
    ),
    "categories as y": (lambda x, y, g: ((x, pd.Categorical(["u", "v"] * 30)), {}), "y holds text or dates"),
    "huge X": (
        lambda x, y, g: ((np.array([[10**400]] * N, object), y), {}),
        "an integer that is too large for a float",
    ),
    "huge y": (lambda x, y, g: ((x, np.array([10**400] * N, object)), {}), "an integer that is too large for a float"),
    "huge weights": (lambda x, y, g: ((x, y, [10**400] * N), {}), "sample_weight=.*give a number or an array"),
    "NaT": (
        lambda x, y, g: ((x, y), {"groups": DATES.where(DATES > "2020-01-09")}),
        "groups has labels that are missing",
    ),
    "NaT64": (
        lambda x, y, g: ((x, y), {"groups": DATES.where(DATES > "2020-01-09").to_numpy()}),
        "groups has labels that are missing",
    ),
    "NA label": (
        lambda x, y, g: ((x, y), {"groups": missing(g, pd.NA, "Int64")}),
        "groups has labels that are missing",
    ),
    "NA text": (
        lambda x, y, g: ((x, y), {"groups": missing(g, pd.NA, "string")}),
        "groups has labels that are missing",
    ),
    "None label": (lambda x, y, g: ((x, y), {"groups": [None, *g[1:]]}), "groups has labels that are missing"),
    "no category": (
        lambda x, y, g: ((x, y), {"groups": pd.Categorical([None] * N)}),
        "groups has labels that are missing",
    ),
    "infinite label": (lambda x, y, g: ((x, y), {"groups": np.where(g == 3, np.inf, g)}), "missing, NaN or infinite"),
    "mixed labels": (lambda x, y, g: ((x, y), {"groups": [1, "1"] * 30}), "groups mixes labels of types"),
    "pairs": (lambda x, y, g: ((x, y), {"groups": [(1, 2)] * N}), r"groups has shape \(60, 2\)"),
}
SPARSE = {
    "X": lambda x, y: ((sparse.csr_matrix(x), y), {}),
    "y": lambda x, y: ((x, sparse.coo_array(y[:, None])), {}),
    "sample_weight": lambda x, y: ((x, y, sparse.csc_array(y[:, None])), {}),
    "gate_X": lambda x, y: ((x, y), {"gate_X": sparse.csr_array(x)}),
    "groups": lambda x, y: ((x, y), {"groups": sparse.csr_array(y[:, None])}),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("d", [1, 3])
def test_what_hides_in_an_array_is_refused_in_words(d, name):
    change, words = REFUSED[name]
    arguments, more = change(*drawn(d))
    with pytest.raises(ValueError, match=words):
        one().fit(*arguments, **more)


@pytest.mark.parametrize("name", SPARSE)
def test_sparse_data_are_refused_with_the_remedy(name):
    x, y, _ = drawn(3)
    arguments, more = SPARSE[name](x, y)
    with pytest.raises(TypeError, match=rf"{name} is sparse, but dense data are required: pass {name}.toarray\(\)"):
        one().fit(*arguments, **more)
    fitted = one().fit(x, y)
    with pytest.raises(TypeError, match="X is sparse"):
        fitted.predict(torch.tensor(x).to_sparse())


@pytest.mark.filterwarnings("ignore::gatewise.estimators.warnings.UnidentifiedWarning")  # two groups of thirty rows
@pytest.mark.parametrize("labels", [str, "S", "datetime64[D]", "category", "string", "bool"])
def test_labels_of_any_type_name_the_same_groups(labels):
    x, y, g = drawn(3)
    g = g if labels != "bool" else g > 9
    dressed = g.astype(labels) if labels in (str, "S", "datetime64[D]") else pd.Series(g).astype(labels)
    expected = one().fit(x, y, groups=g)
    model = one().fit(x, y, groups=dressed)
    assert model.log_likelihood_ == pytest.approx(expected.log_likelihood_, abs=1e-9)
    found = model.inference(x, y, groups=dressed, kind="sandwich", clusters=dressed)
    same = expected.inference(x, y, groups=g, kind="sandwich", clusters=g)
    np.testing.assert_allclose(found.information.covariance, same.information.covariance, atol=1e-12)


@pytest.mark.parametrize("far", [1e160, 1e200, -1e300])
@pytest.mark.parametrize("d", [1, 3])
def test_a_response_beyond_every_density_changes_no_other_row_and_has_responsibilities_too(d, far):
    x, y, _ = drawn(d)
    model = one(n_experts=2, gate="constant", scale="shared", n_init=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(x, y)
    values = np.r_[y[:4], far]
    found = model.responsibilities(x[:5], values)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-12)
    np.testing.assert_allclose(found[:4], model.responsibilities(x[:4], values[:4]), atol=1e-12)


@pytest.mark.parametrize("total", [0.5, 1.0, 1.9])
def test_weights_of_a_small_sum_are_named_with_the_remedy(total):
    x, y, _ = drawn(3)
    with pytest.raises(
        ValueError, match=rf"sample_weight sums to {total:g} over 60 rows.*count rows.*multiply them by"
    ):
        one(n_experts=2).fit(x, y, np.full(N, total / N))
    with pytest.warns(UnsoundWarning) as heard:
        one(n_experts=2).fit(x, y, np.full(N, (total + 2) / N))
    assert any(f"sample_weight sums to {total + 2:g} over 60 rows" in str(one.message) for one in heard)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        light = one(n_experts=2, method="ls").fit(x, y, np.full(N, total / N))  # their size means nothing there
    assert not any("sample_weight" in str(one.message) for one in heard)
    remedied = one(n_experts=2, method="ls").fit(x, y, np.full(N, total / N) * (N / total))
    np.testing.assert_allclose(light.predict(x), remedied.predict(x), atol=1e-6)


@pytest.mark.parametrize(("family", "value"), [("poisson", 0), (Binomial(4), 0), (Binomial(4), 4)])
@pytest.mark.parametrize("k", [1, 2])
def test_counts_without_variation_are_named(family, value, k):
    x, _, _ = drawn(1)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        one(n_experts=k, family=family).fit(x, np.full(N, value))
    assert not any("scale" in str(one.message) for one in heard)
    assert SeparatedWarning in {one.category for one in heard}
    assert any(f"every value of column 0 of y is {value}" in str(one.message) for one in heard)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        one(n_experts=1, family=family).fit(x, np.arange(N) % 4)
    assert not any("every value" in str(one.message) for one in heard)


def test_columns_of_one_name_and_columns_of_text_are_named():
    rng = np.random.default_rng(0)
    numbers, y = rng.normal(size=(30, 2)), rng.normal(size=30)
    model = MixtureOfExpertsRegressor(1, n_init=1, random_state=0)
    with pytest.raises(ValueError, match="X has more than one column called 'dose': give each its own name"):
        model.fit(pd.DataFrame(numbers, columns=["dose", "dose"]), y)
    frame = pd.DataFrame({"dose": numbers[:, 0], "drug": pd.Categorical(["a", "b"] * 15)})
    with pytest.raises(
        ValueError, match=r"X holds text in the column drug .*: give numbers, encoding categories first"
    ):
        model.fit(frame, y)
    switched = pd.DataFrame({"dose": numbers[:, 0], "on": numbers[:, 1] > 0})
    same = MixtureOfExpertsRegressor(1, n_init=1, random_state=0).fit(switched.astype(float), y)
    np.testing.assert_array_equal(model.fit(switched, y).coef_, same.coef_)
