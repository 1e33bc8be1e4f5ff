"""The order of the experts and the reference of the gates change names, never the fit; mixing proportions."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning

from gatewise import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor, load_model, moe, save_model
from gatewise.core.mixture import leaf_weights

from ..covering import slow_rest


def data(n=400, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    kind = np.where(rng.random(n) < 0.25, 2, rng.random(n) < 1 / (1 + np.exp(-x[:, 0])))
    y = np.choose(kind.astype(int), [1 + x[:, 1], -3 - x[:, 2], 6 + x[:, 0]]) + 0.4 * rng.normal(size=n)
    return x, y


def fitted(*args, fit=None, x=None, y=None, **options):
    if x is None:
        x, y = data()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = MixtureOfExpertsRegressor(*args, **{"n_init": 5, "random_state": 0, **options})
        return model.fit(x, y, **(fit or {}))


MODELS = {
    "softmax": ((3,), {}),
    "constant": ((3, "constant"), {}),
    "laplace": ((3, "laplace"), {}),
    "tree": (((2, 2),), {"alpha": 1.0}),
    "shared": ((3,), {"scale": "shared", "shared": ("x2",)}),
    "noise": ((2,), {"noise": True}),
    "kinds": ((3, "constant", ["linear", "linear", "constant"]), {}),
}
ORDERS = {"tree": [3, 2, 0, 1], "noise": [1, 0, 2], "kinds": [1, 0, 2]}


@pytest.fixture(scope="module", params=MODELS)
def named(request):
    args, options = MODELS[request.param]
    return request.param, fitted(*args, **options)


def same_errors(model, x, y):
    """The kept errors are those computed anew from the data."""
    if model.standard_errors_ is None:
        assert model.inference(x, y).refused is not None
        return
    for path, value in model.inference(x, y).standard_errors().items():
        np.testing.assert_allclose(model.standard_errors_[path], value, rtol=1e-6, atol=1e-12, err_msg=path)


def test_another_order_is_the_same_fit(named):
    name, model = named
    x, y = data()
    order = ORDERS.get(name, [2, 0, 1])
    again = model.relabel(order)
    np.testing.assert_allclose(again.predict(x), model.predict(x), rtol=1e-10)
    np.testing.assert_allclose(again.gate_proba(x), model.gate_proba(x)[:, order], rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(again.responsibilities(x, y), model.responsibilities(x, y)[:, order], atol=1e-10)
    assert again.log_likelihood_ == model.log_likelihood_
    assert again.score_samples(x, y).sum() == pytest.approx(model.log_likelihood_, rel=1e-10)
    assert (again.status_, again.fit_.df, again.bic()) == (model.status_, model.fit_.df, model.bic())
    same_errors(again, x, y)
    np.testing.assert_array_equal(again.summary().proportions["estimate"], again._proportions.estimate)
    np.testing.assert_allclose(again._proportions.estimate, again.gate_proba(x).mean(0), rtol=1e-10)
    back = again.relabel(np.argsort(order))
    for path, value in model.measure_.paths().items():
        np.testing.assert_allclose(back.measure_.paths()[path], value, rtol=1e-9, atol=1e-11)
    assert back.summary().splitlines()[:8] == model.summary().splitlines()[:8]


NAMES = ("softmax", "constant", "laplace", "tree", "shared", "noise")
BOTH = [(name, after) for name in NAMES for after in (False, True)]


@pytest.mark.parametrize(("name", "after"), slow_rest(BOTH, {*BOTH[::4], *BOTH[3::4], ("softmax", True)}))
def test_another_reference_is_the_same_fit(name, after):
    args, options = MODELS[name]
    x, y = data()
    model = fitted(*args, **options)
    reference = (0, 0) if name == "tree" else 0
    other = model.relabel(None, reference=reference) if after else fitted(*args, **options, reference=reference)
    assert other.log_likelihood_ == model.log_likelihood_
    np.testing.assert_allclose(other.predict(x), model.predict(x), rtol=1e-10)
    for path, value in other.measure_.paths().items():
        level = int(path.split(".")[1]) if path.startswith("gates") else None
        known = level is not None and path.split(".")[2] in other.mixture_.gates[level].translation()
        if known:
            zero = value.select(level, 0)
            assert bool((zero == 0).all())
            assert (torch.from_numpy(other.standard_errors_[path]).select(level, 0) == 0).all()
        former = model.measure_.paths()[path]
        expected = former - former.narrow(level, 0, 1) if known else former
        np.testing.assert_allclose(value, expected, atol=1e-12)
    same_errors(other, x, y)
    words = "branch 0 of every group" if name == "tree" else "branch 0"
    assert f"({words} is the reference)" in other.summary()


def test_errors_against_another_reference_are_those_of_the_difference():
    x, y = data()
    model = fitted(3)
    other = model.relabel(None, reference=1)
    found = model.inference(x, y).delta(lambda m: m.gates[0]["weight"] - m.gates[0]["weight"][1])
    np.testing.assert_allclose(other.standard_errors_["gates.0.weight"], found.error, rtol=1e-8, atol=1e-14)
    ratio = other.inference(x, y).test("gate weight x0[branch 2] = 0", kind="lr")
    plain = model.inference(x, y).test("gate weight x0[branch 1] = 0", kind="lr")
    assert ratio.statistic == pytest.approx(plain.statistic, abs=1e-5)
    assert ratio.df == plain.df == 1
    held = {"gates.0.weight": [[np.nan] * 3, [0, np.nan, np.nan], [0, np.nan, np.nan]]}
    under = fitted(3, fixed=held, n_init=1, fit={"start": model})
    assert plain.statistic == pytest.approx(2 * (model.log_likelihood_ - under.log_likelihood_), abs=1e-5)


def test_by_size_and_by_coefficient():
    model = fitted(3)
    sizes = model.relabel("size")._shares.totals
    assert (sizes.diff() <= 0).all()
    assert (np.diff(model.relabel("intercept").intercept_) > 0).all()
    assert (np.diff(model.relabel("x1").coef_[:, 1]) > 0).all()
    tree = fitted((2, 2), alpha=1.0).relabel("intercept")
    assert (np.diff(tree.intercept_, axis=1) > 0).all()
    assert (np.diff(tree.intercept_.mean(1)) > 0).all()


def test_kinds_keep_their_places():
    model = fitted(3, "constant", ["linear", "linear", "constant"])
    again = model.relabel("size")
    assert np.isnan(again.coef_[2]).all()
    with pytest.raises(ValueError, match="place 0, which is for another kind"):
        model.relabel([2, 1, 0])
    noisy = fitted(2, noise=True)
    with pytest.raises(ValueError, match="noise at place 0"):
        noisy.relabel([2, 0, 1])
    assert noisy.relabel("size").mixture_.titles[-1] == "noise"


@pytest.mark.parametrize(
    ("by", "error", "words"),
    [
        ([0, 1], ValueError, "no permutation of the experts 0 to 2"),
        ("age", ValueError, "one of x0, x1, x2, intercept, scale"),
        (1.5, TypeError, "give 'size'"),
        ([0.5, 1, 2], TypeError, "give 'size'"),
    ],
)
def test_what_is_no_order_is_refused(by, error, words):
    with pytest.raises(error, match=words):
        fitted(3).relabel(by)


def test_an_order_that_tears_groups_apart_is_refused():
    with pytest.raises(ValueError, match="experts of a group stay together"):
        fitted((2, 2), alpha=1.0).relabel([0, 2, 1, 3])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"reference": 3}, "a branch from 0 to 2; None is the last"),
        ({"reference": (0, 0)}, "a branch from 0 to 2"),
        ({"reference": 0, "gate": "normalised-sigmoid"}, "no differences"),
        ({"reference": 0, "bounds": {"gates.0.bias": (-1, 1)}}, "differences from the last branch"),
    ],
)
def test_impossible_references_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        fitted(3, **options)


def test_fixed_values_of_single_experts_decide_the_order():
    held = fitted(3, "constant", fixed={"experts.intercept": [1.0, np.nan, np.nan]})
    with pytest.raises(ValueError, match="different values for different experts"):
        held.relabel([1, 0, 2])
    assert held.relabel([0, 2, 1]).intercept_[0] == 1.0


def test_files_formulas_and_classifiers(tmp_path):
    import pandas as pd

    x, y = data()
    frame = pd.DataFrame(x, columns=["a", "b", "c"]).assign(y=y)
    model = moe("y ~ a + b", frame, gate_formula="~ c", reference=0, n_init=5, random_state=0).relabel("size")
    save_model(model, tmp_path / "m.json")
    again = load_model(tmp_path / "m.json")
    assert again.summary() == model.summary()
    assert again.relabel("a", reference=1).summary() == model.relabel("a", reference=1).summary()
    assert model.confint().shape[0] == model.fit_.df
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        classes = MixtureOfExpertsClassifier(2, n_init=3, random_state=0, reference=0).fit(x, np.where(y > 1, "b", "a"))
    other = classes.relabel("size", reference=1)
    np.testing.assert_allclose(other.predict_proba(x), classes.predict_proba(x), atol=1e-9)


def test_a_separated_gate_is_named_where_it_stands_now():
    x = np.linspace(-1, 1, 200)[:, None] * np.array([1.0, 0.3, -0.2]) + 0.1 * np.sin(np.arange(600)).reshape(200, 3)
    y = np.where(x[:, 0] > 0.1, 3 + x[:, 1], -x[:, 2]) + 0.05 * np.cos(np.arange(200) * 7)
    model = fitted(2, x=x, y=y)
    assert model.status_ == "separated"
    other = model.relabel([1, 0])
    assert other.fit_.certificate.separated == model.fit_.certificate.separated
    assert "without limit" in other.summary()
    zero = model.relabel(None, reference=0)
    told = {one.partition("[")[2][0] for name in zero.fit_.certificate.separated for one in name.split(" & ")}
    assert told == {"1"}


def test_proportions_have_delta_errors_of_weighted_rows_and_groups():
    x, y = data()
    weight = np.random.default_rng(1).integers(1, 4, len(y))
    model = fitted(3, fit={"sample_weight": weight})
    gates = model.gate_proba(x)
    np.testing.assert_allclose(model._proportions.estimate, (weight[:, None] * gates).sum(0) / weight.sum(), rtol=1e-12)
    xs = torch.from_numpy(x.T.copy())

    def mean(measure):
        return (leaf_weights(model.mixture_, measure, xs) * torch.from_numpy(weight / weight.sum())).sum(-1)

    expected = model.inference(x, y, weight).delta(mean).error
    np.testing.assert_allclose(model._proportions.error, expected, rtol=1e-10)
    table = model.summary().proportions
    np.testing.assert_allclose(table["std. error"], expected, rtol=1e-10)
    assert ((table["lower"] < table["estimate"]) & (table["estimate"] < table["upper"])).all()
    label = np.repeat(np.arange(130), [2] * 60 + [4] * 70)
    of_groups = np.random.default_rng(2).normal(size=(130, 1))
    grouped = fitted(2, fit={"groups": label, "gate_X": of_groups[label]})
    each = grouped.gate_proba(x[:130], gate_X=of_groups)
    np.testing.assert_allclose(grouped._proportions.estimate, each.mean(0), rtol=1e-12)


def test_proportions_of_a_constant_gate_are_those_of_a_binomial_logit():
    model = fitted(2, "constant")
    pi = float(model._proportions.estimate[0])
    error = model.standard_errors_["gates.0.bias"][0]
    assert float(model._proportions.error[0]) == pytest.approx(pi * (1 - pi) * error, rel=1e-8)
