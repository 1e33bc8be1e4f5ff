"""What one does with a fit by a formula: choose, test, plot, start from it."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2

from gatewise import MixtureOfExpertsRegressor, bootstrap_test, moe, select
from gatewise.plots import expert_curves, overview, predicted_observed

OPTIONS = {"gate_formula": "~ 1", "n_init": 4, "random_state": 0}


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(4)
    table = pd.DataFrame({"a": rng.normal(size=200), "b": rng.uniform(1, 4, 200), "site": rng.choice(list("uvw"), 200)})
    low = rng.random(200) < 0.45
    table["y"] = (
        np.where(low, table.a + np.log(table.b), 5 - table.a) + (table.site == "v") + 0.4 * rng.normal(size=200)
    )
    table.loc[7, "a"] = np.nan
    return table


@pytest.fixture(scope="module")
def two(frame):
    return moe("y ~ a + np.log(b) + site", frame, n_experts=2, **OPTIONS)


def test_the_number_of_experts_is_chosen_for_the_formula(frame, two):
    found = select(two, n_experts=(1, 2))
    one = moe("y ~ a + np.log(b) + site", frame, n_experts=1, **OPTIONS)
    likelihoods = [c.log_likelihood for c in found.candidates]
    np.testing.assert_allclose(likelihoods, [one.log_likelihood_, two.log_likelihood_], rtol=1e-8)
    best = found.best_estimator_
    assert best.n_experts == 2
    np.testing.assert_allclose(best.predict(frame[:5]), two.predict(frame[:5]), atol=1e-5)
    assert "formula y ~ a + np.log(b) + site" in best.summary()
    with pytest.raises(ValueError, match="beside a formula"):
        select(two, n_experts=(1,), sample_weight=np.ones(200))


def test_two_formulas_are_compared_by_simulation(frame, two):
    one = moe("y ~ a + np.log(b) + site", frame, n_experts=1, **OPTIONS)
    found = bootstrap_test(one, two, n_boot=19, n_init=2)
    assert found.p_value == 0.05
    other = moe("y ~ a + site", frame, n_experts=1, **OPTIONS)
    regular = bootstrap_test(other, one, n_boot=49, n_init=1)
    assert regular.p_value == pytest.approx(chi2.sf(regular.statistic, 1), abs=4 * regular.error)
    assert "not identified" not in regular.text()
    assert "y ~ a + site" in regular.text()
    with pytest.raises(TypeError, match="is not fitted, and X is missing"):
        bootstrap_test(type(two)(1), two)


def test_a_fit_starts_at_another(frame, two):
    again = moe("y ~ a + np.log(b) + site", frame, n_experts=2, start=two, **{**OPTIONS, "n_init": 1})
    assert again.log_likelihood_ == pytest.approx(two.log_likelihood_, abs=1e-8)


def test_curves_are_along_the_columns_of_the_frame(frame, two):
    ax = expert_curves(two, feature="b")
    grid, mean = ax.lines[0].get_data()
    rows = frame.dropna()
    along = pd.DataFrame({"a": rows.a.median(), "b": grid, "site": rows.site.mode().iloc[0]})
    design = np.column_stack([along.a, np.log(along.b), along.site == "v", along.site == "w"])
    np.testing.assert_allclose(mean, two.intercept_[0] + design @ two.coef_[0], rtol=1e-10)
    seen = np.concatenate([part.get_offsets() for part in ax.collections])
    np.testing.assert_allclose(np.sort(seen[:, 0]), np.sort(rows.b))
    shown = np.concatenate([part.get_offsets() for part in predicted_observed(two).collections])
    np.testing.assert_allclose(np.sort(shown[:, 0]), np.sort(two.predict(rows)))
    assert len(overview(two).axes) == 3
    with pytest.raises(ValueError, match="is no column of numbers"):
        expert_curves(two, feature="site")
    with pytest.raises(ValueError, match="reads y"):
        expert_curves(two, frame, frame.y)


def test_an_offset_is_no_part_of_a_picture():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(80, 3)), columns=["x", "v", "w"]).assign(hours=rng.uniform(1, 5, 80))
    table["count"] = rng.poisson(table.hours * np.exp(0.3 * table.x))
    model = moe("count ~ x + v + w", table, offset="np.log(hours)", family="poisson", n_experts=1, n_init=1)
    with pytest.raises(ValueError, match="offset"):
        expert_curves(model)


def test_several_responses_keep_their_names(frame):
    model = moe("y + b ~ a", frame, n_experts=1, n_init=1)
    assert {"y a", "b a", "b intercept"} <= set(model.summary().experts["parameter"])
    assert "b a[expert 0]" in model.confint().index


def test_counts_with_an_offset_are_compared():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(120, 3)), columns=["x", "v", "w"]).assign(hours=rng.uniform(1, 5, 120))
    low = rng.random(120) < 0.5
    table["count"] = rng.poisson(table.hours * np.exp(np.where(low, 0.3 * table.x, 2 - 0.3 * table.x)))
    options = {"offset": "np.log(hours)", "family": "poisson", "gate_formula": "~ 1", "n_init": 3, "random_state": 0}
    one, two = (moe("count ~ x + v + w", table, n_experts=k, **options) for k in (1, 2))
    assert bootstrap_test(one, two, n_boot=19, n_init=2).p_value == 0.05


def panel(seed=0, people=60):
    """Return counts of people in four years each, of two kinds of people."""
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame({"id": np.repeat(range(people), 4), "z": np.repeat(rng.normal(size=people), 4)})
    rows["a"], rows["b"] = rng.normal(size=(2, len(rows)))
    kind = np.repeat(rng.random(people) < 0.5, 4)
    rows["y"] = rng.poisson(np.exp(np.where(kind, 1.5 + 0.3 * rows.a, -0.5 + 0.3 * rows.b)))
    return rows


def test_mixtures_of_groups_are_compared_by_drawing_groups():
    rows = panel()
    options = {"gate_formula": "~ 1", "family": "poisson", "n_init": 3, "random_state": 0}
    one, two = (moe("y ~ a + b", rows, groups="id", n_experts=k, **options) for k in (1, 2))
    found = bootstrap_test(one, two, n_boot=9, n_init=2)
    assert found.p_value == 0.1
    assert found.statistic == pytest.approx(2 * (two.log_likelihood_ - one.log_likelihood_), rel=1e-6)
    with pytest.raises(ValueError, match="different groups or responses"):
        bootstrap_test(moe("y ~ a + b", rows, n_experts=1, **options), two, n_boot=2)
    by_arrays = [MixtureOfExpertsRegressor(k, "constant", family="poisson", n_init=3, random_state=0) for k in (1, 2)]
    again = bootstrap_test(*by_arrays, rows[["a", "b"]], rows.y, groups=rows.id, n_boot=9, n_init=2)
    assert again.statistic == pytest.approx(found.statistic, rel=1e-6)


def test_weights_have_no_place_in_a_test():
    rows = panel().assign(w=2)
    weighted = moe("y ~ a + b", rows, n_experts=1, weights="w", family="poisson", n_init=1)
    with pytest.raises(ValueError, match="repeat each row as often as its weight"):
        bootstrap_test(weighted, weighted, n_boot=2)
