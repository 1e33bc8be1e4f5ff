"""The bootstrap of a fit: data sets as they are drawn, experts in order, errors and bands of the right size."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from gatewise import (
    FitWarning,
    Mixture,
    MixtureOfExpertsClassifier,
    MixtureOfExpertsRegressor,
    bootstrap,
    bootstrap_test,
    make_rows,
    moe,
)
from gatewise.core.gates import GATES
from gatewise.infer.draws import drawn_responses, drawn_units, stream
from gatewise.infer.resampling import assigned, in_order

RNG = np.random.default_rng(0)
N = 240
X = RNG.normal(size=(N, 3))
FIRST = RNG.random(N) < 1 / (1 + np.exp(-X[:, 0]))
Y = np.where(FIRST, 2 + X[:, 1], -3 - X[:, 2]) + 0.5 * RNG.normal(size=N)
TRIALS = RNG.integers(3, 12, N)
HITS = RNG.binomial(TRIALS, np.where(FIRST, 0.85, 0.2))


def fitted(*args, x=X, y=Y, fit=None, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        return MixtureOfExpertsRegressor(*args, **{"n_init": 3, "random_state": 0, **options}).fit(x, y, **(fit or {}))


@pytest.fixture(scope="module")
def two():
    return fitted(2)


@pytest.mark.parametrize("kind", ["case", pytest.param("parametric", marks=pytest.mark.slow)])
def test_errors_and_bands_are_about_those_of_the_information(two, kind):
    found = bootstrap(two, X, Y, n_boot=60, kind=kind)
    table, wald = found.confint(), two.confint(X, Y)
    assert list(table.index) == list(wald.index)
    ratio = table["std. error"] / wald["std. error"]
    assert 0.6 < ratio.min() < ratio.max() < 1.6  # of 60 refits
    assert ((table["lower"] < table["estimate"]) & (table["estimate"] < table["upper"])).all()
    np.testing.assert_allclose(np.sqrt(np.diag(found.vcov())), table["std. error"], rtol=1e-12)
    errors = found.standard_errors()
    np.testing.assert_array_equal(errors["gates.0.weight"][1], 0.0)  # the reference
    assert {path: value.shape for path, value in errors.items()} == {
        path: tuple(value.shape) for path, value in two.measure_.paths().items()
    }
    for name in ("mean_interval", "gate_interval", "expert_interval"):
        ours, theirs = getattr(found, name)(X[:20]), getattr(two.inference(X, Y), name)(X[:20])
        assert ours.shape == theirs.shape
        width = (ours[..., 1] - ours[..., 0]) / (theirs[..., 1] - theirs[..., 0])
        assert 0.5 < width.min() < width.max() < 1.8
    assert found.statuses == {"converged": 60}
    assert not found.unsound
    assert found.to_frame().shape == (60, found.drawn.shape[1] + 1)
    assert set(found.confint().index) <= set(found.to_frame().columns)


def test_bands_hold_the_quantiles_of_the_curves_of_the_refits(two):
    found = bootstrap(two, X, Y, n_boot=9)
    shapes = {path: tuple(value.shape) for path, value in two.measure_.paths().items()}
    means = []
    for row in found.drawn:
        parts = torch.from_numpy(row).split([int(np.prod(shape)) for shape in shapes.values()])
        values = {path: part.reshape(shapes[path]).numpy() for path, part in zip(shapes, parts, strict=True)}
        means.append(values["experts.coef"][:, 0] @ X[:4].T + values["experts.intercept"])
    low, high = np.quantile(np.stack(means), [0.05, 0.95], axis=0)
    np.testing.assert_allclose(found.expert_interval(X[:4], level=0.9), np.stack([low.T, high.T], -1), rtol=1e-10)


def test_experts_of_a_refit_come_in_the_order_of_the_fit(two):
    rows = make_rows(X, Y[:, None])
    turned = two.relabel([1, 0]).fit_
    back = in_order(turned, two.fit_, rows)
    for path, value in two.measure_.paths().items():
        np.testing.assert_allclose(back.measure.paths()[path], value, atol=1e-12)
    tree = fitted((2, 2), alpha=1.0)
    other = in_order(tree.relabel([3, 2, 0, 1]).fit_, tree.fit_, rows)
    for path, value in tree.measure_.paths().items():
        np.testing.assert_allclose(other.measure.paths()[path], value, atol=1e-9)
    held = fitted(2, fixed={"experts.intercept": [2.0, np.nan]})
    assert in_order(held.fit_, held.fit_, rows) is held.fit_


def test_the_best_order_of_a_tree_keeps_its_groups():
    tree = Mixture((GATES["softmax"], GATES["softmax"]), (2, 2))
    order = [2, 3, 1, 0]
    agreement = np.full((4, 4), 0.1)
    agreement[range(4), order] = 1.0
    assert assigned(tree, agreement) == order
    agreement[range(4), [0, 2, 1, 3]] = 5.0  # better, and no order of a tree
    found = assigned(tree, agreement)
    assert sorted(found[:2]) in ([0, 1], [2, 3])
    assert sorted(found) == [0, 1, 2, 3]


def test_units_are_drawn_as_if_frequencies_were_rows():
    weight = torch.tensor([1.0, 3.0, 0.0, 2.0, 4.0], dtype=torch.float64)
    rows = make_rows(np.arange(5.0)[:, None], np.arange(5.0)[:, None], weight=weight)
    drawn = [drawn_units(rows, False, stream(0, r)) for r in range(400)]
    assert all(one.total == 10.0 for one in drawn)
    counts = np.zeros(5)
    for one in drawn:
        counts[one.y.held[0].long().numpy()] += one.weight.numpy()
    np.testing.assert_allclose(counts / 400, weight, atol=0.25)
    sampling = drawn_units(rows, True, stream(0, 1))
    kept = sampling.y.held[0].long()
    multiple = sampling.weight / weight[kept]
    assert ((multiple == multiple.round()) | (weight[kept] == 0)).all()
    grouped = make_rows(np.arange(6.0)[:, None], np.arange(6.0)[:, None], ends=torch.tensor([2, 3, 6]))
    for r in range(5):
        one = drawn_units(grouped, False, stream(0, r))
        assert float(one.weight.sum()) == 3.0
        seen = set(one.y.held[0].tolist())
        present = [group for group in ({0.0, 1.0}, {2.0}, {3.0, 4.0, 5.0}) if group & seen]
        assert seen == set().union(*present)  # whole groups
        assert len(one.weight) == len(present)


def test_rows_of_a_group_are_drawn_from_one_expert(two):
    apart = two.measure_._replace(experts={**two.measure_.experts, "coef": 0 * two.measure_.experts["coef"]})
    rows = make_rows(X, Y[:, None], ends=torch.arange(4, N + 1, 4), gate_x=np.repeat(X[::4], 4, 0))
    drawn = drawn_responses(two.mixture_, apart, rows, stream(0, 1))[0].reshape(-1, 4)
    assert ((drawn > -0.5).all(1) | (drawn < -0.5).all(1)).all()
    assert 0.2 < (drawn[:, 0] > -0.5).double().mean() < 0.8


def test_trials_stay_as_they_are_and_the_test_of_two_sizes_knows_them():
    one, two = (fitted(k, "constant", y=HITS, family="binomial", fit={"trials": TRIALS}) for k in (1, 2))
    rows = make_rows(X, np.column_stack([HITS, TRIALS - HITS]))
    drawn = drawn_responses(two.mixture_, two.measure_, rows, stream(0, 1))
    np.testing.assert_array_equal(drawn.sum(0), TRIALS)
    assert drawn[0].std() > 1
    found = bootstrap(two, X, HITS, trials=TRIALS, n_boot=8, kind="parametric")
    assert (found.standard_errors()["experts.coef"] < 0.5).all()
    assert bootstrap_test(one, two, X, HITS, trials=TRIALS, n_boot=9, n_init=2).p_value == 0.1
    small = MixtureOfExpertsRegressor(1, "constant", family="binomial", n_init=1, random_state=0)
    again = bootstrap_test(small, two, X, HITS, trials=TRIALS, n_boot=9, n_init=2)
    assert again.statistic > 100


def test_processes_and_interruptions_change_nothing(two, tmp_path):
    whole = bootstrap(two, X, Y, n_boot=10)
    shared = bootstrap(two, X, Y, n_boot=10, n_jobs=2)
    np.testing.assert_array_equal(whole.drawn, shared.drawn)
    path = tmp_path / "boot.jsonl"
    bootstrap(two, X, Y, n_boot=5, resume=path)
    held = path.read_text().splitlines()
    np.testing.assert_array_equal(bootstrap(two, X, Y, n_boot=10, resume=path).drawn, whole.drawn)
    assert path.read_text().splitlines()[: len(held)] == held
    with pytest.raises(ValueError, match="holds another bootstrap"):
        bootstrap(two, X, Y, n_boot=5, resume=path, random_state=1)


@pytest.mark.parametrize("text", ["a,b,c,y\n1,2,3,4\n", "notes without an end", "[1, 2]\n"])
def test_a_file_of_something_else_stays_as_it_is(two, tmp_path, text):
    path = tmp_path / "data.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match="is no file of one: give another path"):
        bootstrap(two, X, Y, n_boot=5, resume=path)
    assert path.read_text() == text
    with pytest.raises(FileNotFoundError, match=r"there is no directory .* create it first"):
        bootstrap(two, X, Y, n_boot=5, resume=tmp_path / "none" / "boot.jsonl")


def test_formulas_weights_classifiers_and_least_squares(two):
    frame = pd.DataFrame(X, columns=list("abc")).assign(y=Y, id=np.arange(N) // 4, w=RNG.integers(1, 4, N))
    frame.loc[5, "a"] = np.nan
    model = moe("y ~ a + b + c", frame, gate="constant", weights="w", n_init=3, random_state=0)
    found = bootstrap(model, n_boot=9)
    assert list(found.confint().index) == list(model.confint().index)
    assert "a[expert 0]" in repr(found)
    assert found.mean_interval(frame.dropna()[:3]).shape == (3, 2)
    classes = MixtureOfExpertsClassifier(1, n_init=1, random_state=0).fit(X, np.where(Y > 0, "high", "low"))
    assert bootstrap(classes, X, np.where(Y > 0, "high", "low"), n_boot=5).drawn.shape[0] == 5
    ls = fitted(1, method="ls")
    errors = bootstrap(ls, X, Y, n_boot=40).standard_errors()["experts.coef"]
    np.testing.assert_allclose(errors, ls.inference(X, Y, kind="sandwich").standard_errors()["experts.coef"], rtol=0.5)
    with pytest.raises(ValueError, match="use kind='case'"):
        bootstrap(ls, X, Y, n_boot=5, kind="parametric")


def test_what_cannot_be_drawn_or_is_not_of_the_fit_is_refused(two):
    times = np.column_stack([np.exp(Y / 4), RNG.random(N) < 0.8]).astype(float)
    model = fitted(1, y=times, family="weibull")
    with pytest.raises(ValueError, match="time of censoring of the rows: use kind='case'"):
        bootstrap(model, X, times, kind="parametric", n_boot=5)
    assert bootstrap(model, X, times, n_boot=5).drawn.shape[0] == 5
    for wrong, words in (({"kind": "rows"}, "kind='rows' is unknown"), ({"n_boot": 1}, "n_boot=1")):
        with pytest.raises(ValueError, match=words):
            bootstrap(two, X, Y, **wrong)


def test_another_data_set_than_that_of_the_fit_is_refused(two):
    with pytest.raises(ValueError, match="give the data of the fit"):
        bootstrap(two, X, Y + 1, n_boot=5)
