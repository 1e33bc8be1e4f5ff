"""Choice of a mixture: criteria, splits, held-out densities, and the bootstrap of a likelihood ratio."""

import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GroupKFold, KFold

from gatewise import MixtureOfExpertsRegressor, bootstrap_test, compare, select
from gatewise.estimators import bootstrap, selection
from gatewise.estimators.warnings import FitWarning
from gatewise.plots import criteria


def two_lines(n=300, seed=0, noise=0.3):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    first = rng.random(n) < 0.4
    return x, np.where(first, 3 + x[:, 0], x @ [1.0, -1.0, 2.0]) + noise * rng.normal(size=n)


def model(k, **options):
    return MixtureOfExpertsRegressor(k, **{"gate": "constant", "random_state": 0, "n_init": 5, **options})


def test_every_column_is_what_the_fit_says():
    x, y = two_lines()
    found = select(model(1), x, y, n_experts=(1, 2), gates=("constant", "softmax"), experts=("linear", "constant"))
    table = found.table
    assert table[["n_experts", "gate", "expert"]].values.tolist() == [
        [1, "-", "linear"],
        [1, "-", "constant"],
        [2, "constant", "linear"],
        [2, "softmax", "linear"],
        [2, "constant", "constant"],
        [2, "softmax", "constant"],
    ]
    for row, fitted in zip(table.itertuples(), found.estimators, strict=True):
        alone = clone(fitted).fit(x, y)
        assert row.log_likelihood == alone.log_likelihood_
        assert (row.aic, row.bic, row.df) == (alone.aic(), alone.bic(), alone.fit_.df)
        assert row.least_share == pytest.approx(alone.responsibilities(x, y).mean(0).min())
        assert row.status == str(alone.status_)
    assert found.best_estimator_.n_experts == 2
    assert found.best_index_ == table["bic"].argmin()
    assert "Best by BIC: n_experts 2, gate" in found.text()


def test_rows_do_not_depend_on_the_number_of_processes():
    x, y = two_lines(120)
    one, two = (select(model(1), x, y, n_experts=(1, 2), gates=("constant", "softmax"), n_jobs=j) for j in (1, 2))
    assert repr(one.candidates) == repr(two.candidates)


def test_a_larger_mixture_that_ends_lower_is_fitted_again_from_a_split(monkeypatch):
    x, y = two_lines(200)
    low = {}

    def fit(data, estimator, **start):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FitWarning)
            done = estimator.fit(data.X, data.y, **start)
        if estimator.n_experts == 3 and not start:
            low["first"] = done.log_likelihood_
            done.log_likelihood_ = -1e9  # a search that failed
        return done

    monkeypatch.setattr(selection._Data, "fit", fit)
    two, three = select(model(1), x, y, n_experts=(2, 3)).candidates
    assert three.log_likelihood >= two.log_likelihood


def test_held_out_densities_are_those_of_the_folds():
    x, y = two_lines(90)
    found = select(model(1), x, y, n_experts=(1,), criterion="cv", cv=3).candidates[0]
    means = []
    for train, test in KFold(3, shuffle=True, random_state=0).split(x):
        means.append(model(1).fit(x[train], y[train]).score_samples(x[test], y[test]).mean())
    assert found.cv == pytest.approx(np.mean(means))
    assert found.cv_error == pytest.approx(np.std(means, ddof=1) / np.sqrt(3))


def test_groups_are_not_divided_between_folds():
    groups = np.repeat(np.arange(30), 3)
    x, y = two_lines(90)
    found = select(model(1), x, y, n_experts=(1, 2), criterion="cv", cv=3, groups=groups, sample_weight=np.ones(90))
    assert np.isfinite([one.cv for one in found.candidates]).all()


def test_unsound_fits_are_never_chosen():
    x = np.random.default_rng(0).normal(size=(12, 3))
    found = select(model(1), x, x @ [1.0, 2.0, 3.0], n_experts=(2,))
    assert found.candidates[0].status == "unsound"
    with pytest.raises(ValueError, match="every fit is unsound"):
        found.best_estimator_  # noqa: B018
    assert "No choice" in found.text()


@pytest.mark.parametrize(
    ("options", "words"),
    [({"criterion": "BIC"}, "criterion='BIC'"), ({"n_experts": ()}, "n_experts is empty"), ({"gates": ()}, "is empty")],
)
def test_what_cannot_be_chosen_from_is_refused(options, words):
    x, y = two_lines(30)
    with pytest.raises(ValueError, match=words):
        select(model(1), x, y, **options)


def test_a_needed_expert_is_found_needed_and_a_superfluous_one_is_not():
    x, y = two_lines(200)
    needed = bootstrap_test(model(1), model(2), x, y, n_boot=19, n_init=5)
    assert needed.p_value == 0.05
    assert needed.statistic > 50
    more = bootstrap_test(model(2), model(3), x, y, n_boot=19, n_init=5)
    assert more.p_value > 0.05
    assert len(more.drawn) + more.unsound == 19
    assert "2 log LR" in more.text()


def test_a_test_goes_on_where_it_stopped(tmp_path, monkeypatch):
    x, y = two_lines(80)
    whole = bootstrap_test(model(1), model(2), x, y, n_boot=30, n_init=1)
    real = bootstrap.ratios

    def broken(*args):
        for number, block in enumerate(real(*args)):
            if number == 2:
                raise KeyboardInterrupt
            yield block

    path = tmp_path / "test.jsonl"
    monkeypatch.setattr(bootstrap, "ratios", broken)
    with pytest.raises(KeyboardInterrupt):
        bootstrap_test(model(1), model(2), x, y, n_boot=30, n_init=1, resume=path)
    seen = []

    def counted(comparison, count, known, workers):
        seen.extend(known)
        return real(comparison, count, known, workers)

    monkeypatch.setattr(bootstrap, "ratios", counted)
    assert bootstrap_test(model(1), model(2), x, y, n_boot=30, n_init=1, resume=path) == whole
    assert len(seen) == 26
    with pytest.raises(ValueError, match="holds another bootstrap_test"):
        bootstrap_test(model(1), model(2), x, y, n_boot=30, n_init=2, resume=path)


def test_bits_do_not_depend_on_the_number_of_processes():
    x, y = two_lines(60)
    one, two = (bootstrap_test(model(1), model(2), x, y, n_boot=26, n_init=1, n_jobs=j) for j in (1, 2))
    assert one == two


def test_what_cannot_be_tested_is_refused():
    x, y = two_lines(60)
    fitted = model(1).fit(x, y)
    with pytest.raises(ValueError, match="give the data of its fit"):
        bootstrap_test(fitted, model(2), x, y + x[:, 0], n_boot=3)
    with pytest.raises(ValueError, match="density"):
        bootstrap_test(model(1, method="ls"), model(2, method="ls"), x, y, n_boot=3)
    with pytest.raises(ValueError, match="n_boot"):
        bootstrap_test(model(1), model(2), x, y, n_boot=0)


def test_the_picture_has_the_numbers_of_the_table():
    x, y = two_lines(150)
    found = select(model(1), x, y, n_experts=(1, 2, 3), gates=("constant", "softmax"))
    ax = criteria(found)
    table = found.table
    for line, gate in zip(ax.lines, ("constant", "softmax"), strict=True):
        own = table[table["gate"].isin(("-", gate)) & (table["status"] != "unsound")]
        np.testing.assert_array_equal(line.get_ydata(), own.sort_values("n_experts")["bic"])
    best = found.candidates[found.best_index_]
    np.testing.assert_array_equal(ax.collections[-1].get_offsets(), [[best.n_experts, best.bic]])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("number of experts", "BIC")
    with pytest.raises(ValueError, match="was not computed"):
        criteria(found, "cv")


def test_held_out_rows_count_as_often_as_their_weights_say():
    x, y = two_lines(120)
    rng = np.random.default_rng(5)
    weight = rng.integers(0, 4, 120)
    options = {"n_experts": (1,), "criterion": "cv", "cv": 3}
    found = select(model(1), x, y, sample_weight=weight, **options).candidates[0]
    kept = np.flatnonzero(weight)
    x, y, weight = x[kept], y[kept], weight[kept]
    assert select(model(1), x, y, sample_weight=weight, **options).candidates[0].cv == found.cv  # 0 is left out
    means = []
    for train, test in KFold(3, shuffle=True, random_state=0).split(x):
        fit = model(1).fit(x[train], y[train], sample_weight=weight[train])
        means.append(fit.score_samples(x[test], y[test]) @ weight[test] / weight[test].sum())
    assert found.cv == pytest.approx(np.mean(means))
    groups = np.array([f"g{one}" for one in rng.permutation(len(y)) // 3])
    weight = np.unique(groups, return_inverse=True)[1] % 3 + 1
    found = select(model(1), x, y, sample_weight=weight, groups=groups, **options).candidates[0]
    means = []
    for train, test in GroupKFold(3).split(x, groups=groups):
        fit = model(1).fit(x[train], y[train], sample_weight=weight[train], groups=groups[train])
        own = np.array([fit.score_samples(x[groups == one], y[groups == one]).sum() for one in np.unique(groups[test])])
        times = np.array([weight[groups == one][0] for one in np.unique(groups[test])])
        means.append(own @ times / times.sum())
    assert found.cv == pytest.approx(np.mean(means))


def test_fitted_models_are_compared_in_one_table():
    x, y = two_lines(150)
    one, two = model(1).fit(x, y), model(2, expert=["linear", "constant"]).fit(x, y)
    table = compare(one, two, names=["one", "two"])
    assert table.loc["two", "expert"] == "linear, constant"
    assert table.loc["one", "bic"] == one.bic()
    assert table["delta_bic"].min() == 0
    assert (table["log_likelihood"] == [one.log_likelihood_, two.log_likelihood_]).all()
    with pytest.raises(ValueError, match="149, 150 rows"):
        compare(one, model(1).fit(x[1:], y[1:]))
    with pytest.raises(ValueError, match="names has 1"):
        compare(one, two, names=["one"])
    with pytest.raises(ValueError, match="no models"):
        compare()


def test_kinds_of_experts_are_chosen_from():
    x, y = two_lines(120)
    found = select(model(2), x, y, n_experts=2, experts=("linear", ["linear", "constant"]))
    assert [one.expert for one in found.candidates] == ["linear", "linear, constant"]


def one_plane(seed, n=400):
    """Return rows of one plane in which BIC prefers a further, narrow expert on a few of them."""
    rng = np.random.default_rng([61, 1, seed])
    x = rng.normal(size=(n, 3))
    rng.random((n, 1))  # as the benchmark of choices draws them
    slope = np.random.default_rng([62, 1]).normal(size=(1, 3))[0]
    return x, x @ slope + 0.5 * rng.normal(size=n)


def test_an_expert_that_chance_finds_is_named_and_not_chosen():
    x, y = one_plane(11)
    found = select(model(1, n_init="auto"), x, y, n_experts=(1, 2))
    one, two = found.candidates
    assert two.bic < one.bic
    assert str(two.status) == "converged"
    assert two.by_chance == (0,)
    assert not one.by_chance
    assert found.best_estimator_.n_experts == 1
    assert "by_chance: experts so narrow" in found.text()
    alone = select(model(1, n_init="auto"), x, y, n_experts=(2,))
    assert alone.best_estimator_.n_experts == 2  # all have one


def test_a_narrow_expert_on_many_rows_is_not_one_of_chance():
    rng = np.random.default_rng(0)
    x, first = rng.normal(size=(300, 3)), rng.random(300) < 0.3
    y = np.where(first, 3 + x[:, 0] + 0.004 * rng.normal(size=300), x @ [1.0, -1.0, 2.0] + 0.5 * rng.normal(size=300))
    found = select(model(2), x, y, n_experts=(2,))
    assert found.estimators[0].scale_.min() < 0.01
    assert not found.candidates[0].by_chance
