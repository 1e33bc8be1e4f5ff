"""Marginal effects against statsmodels and by hand, and the posterior classification."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import statsmodels.api as sm

from gatewise import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor, moe


@pytest.fixture(scope="module")
def counts():
    rng = np.random.default_rng(2)
    frame = pd.DataFrame(rng.normal(size=(300, 3)), columns=["a", "b", "c"])
    frame["site"] = rng.choice(["u", "v", "w"], 300)
    shift = frame.site.map({"u": 0.0, "v": 0.3, "w": -0.4})
    frame["y"] = rng.poisson(np.exp(0.5 + 0.3 * frame.a - 0.2 * frame.b + shift))
    return frame, moe("y ~ a + b + c + site", frame, n_experts=1, family="poisson", n_init=1)


def test_effects_of_one_expert_are_those_of_statsmodels(counts):
    frame, model = counts
    design = pd.get_dummies(frame[["a", "b", "c", "site"]], drop_first=True).astype(float)
    wanted = sm.Poisson(frame.y, sm.add_constant(design)).fit(disp=0, tol=1e-12).get_margeff()
    found = model.inference()
    for place, name in enumerate("abc"):
        row = found.margins(name).loc[name]
        assert row["estimate"] == pytest.approx(wanted.margeff[place], rel=1e-5)
        assert row["std. error"] == pytest.approx(wanted.margeff_se[place], rel=1e-4)


def test_effects_of_a_factor_are_differences_of_means(counts):
    frame, model = counts
    table = model.inference().margins("site")
    assert table.index.tolist() == ["site: v - u", "site: w - u"]
    means = {level: model.predict(frame.assign(site=level)).mean() for level in "uvw"}
    np.testing.assert_allclose(table["estimate"], [means["v"] - means["u"], means["w"] - means["u"]], rtol=1e-10)
    assert (table["std. error"] > 0).all()


def test_a_factor_is_compared_with_the_reference_of_the_formula(counts):
    frame, model = counts
    same = model.inference().margins("site")
    other = moe("y ~ a + b + c + C(site, Treatment('v'))", frame, n_experts=1, family="poisson", n_init=1)
    table = other.inference().margins("site")
    assert table.index.tolist() == ["site: u - v", "site: w - v"]
    assert table.loc["site: u - v", "estimate"] == pytest.approx(-same.loc["site: v - u", "estimate"], rel=1e-6)
    assert table.loc["site: u - v", "std. error"] == pytest.approx(same.loc["site: v - u", "std. error"], rel=1e-6)
    few = other.inference().margins("site", frame[frame.site == "w"])  # rows without the reference
    assert few.index.tolist() == ["site: w - v"]
    with pytest.raises(ValueError, match="'site' has one value, 'v'"):
        other.inference().margins("site", frame[frame.site == "v"])


def test_a_reference_may_be_a_number_and_stand_in_the_formula_of_the_gate(counts):
    rng = np.random.default_rng(4)
    frame = counts[0].assign(year=np.arange(300) % 3 + 2000)
    first = rng.random(300) < 0.2 + 0.3 * (frame.year - 2000)
    frame["size"] = np.where(first, 3 + frame.a, -3 - frame.b) + 0.5 * rng.normal(size=300)
    options = {"gate_formula": "~ C(year, Treatment(reference=2001))", "n_init": 2, "random_state": 0}
    gated = moe("size ~ a + b + c", frame, **options)
    assert gated.inference().margins("year").index.tolist() == ["year: 2000 - 2001", "year: 2002 - 2001"]
    summed = moe("y ~ a + b + c + C(site, Sum)", frame, n_experts=1, n_init=1)
    assert summed.inference().margins("site").index.tolist() == ["site: v - u", "site: w - u"]


@pytest.mark.parametrize("gate", ["softmax", "laplace"])
def test_an_effect_goes_through_the_gate_too(gate):
    rng = np.random.default_rng(7)
    x = rng.normal(size=(400, 3))
    first = rng.random(400) < 1 / (1 + np.exp(-x[:, 2]))
    y = np.where(first, 2 + x @ [1.0, 0.5, 0.0], -2 + x @ [1.0, -0.5, 0.0]) + 0.5 * rng.normal(size=400)
    model = MixtureOfExpertsRegressor(2, gate=gate, n_init=5, random_state=0).fit(x, y)
    row = model.inference(x, y).margins("x2", x).iloc[0]
    step = 1e-4
    up, down = x.copy(), x.copy()
    up[:, 2] += step
    down[:, 2] -= step
    assert row["estimate"] == pytest.approx((model.predict(up) - model.predict(down)).mean() / (2 * step), rel=1e-5)
    assert row["lower"] < row["estimate"] < row["upper"]
    assert row["estimate"] > 0.3


def test_values_can_be_set_for_all_rows(counts):
    frame, model = counts
    found = model.inference()
    at = found.margins("a", at={"b": 0.0, "c": 0.0, "site": "u"}).loc["a", "estimate"]
    fixed = frame.assign(b=0.0, c=0.0, site="u")
    slope = model.coef_[0, 0]
    assert at == pytest.approx((slope * model.predict(fixed)).mean(), rel=1e-6)


def test_what_has_no_effect_is_refused(counts):
    frame, model = counts
    found = model.inference()
    with pytest.raises(ValueError, match="'aa' is no column"):
        found.margins("aa")
    with pytest.raises(ValueError, match="one value"):
        found.margins("site", frame[frame.site == "u"])
    x = np.random.default_rng(0).normal(size=(40, 3))
    plain = (
        MixtureOfExpertsRegressor(1, n_init=1)
        .fit(x, x[:, 0] + 0.1 * x[:, 1] ** 2)
        .inference(x, x[:, 0] + 0.1 * x[:, 1] ** 2)
    )
    with pytest.raises(ValueError, match="give x0 to x2"):
        plain.margins("x3", x)
    with pytest.raises(TypeError, match="give the rows"):
        plain.margins("x1")


def test_the_classification_is_that_of_the_posteriors():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(200, 3))
    y = np.where(rng.random(200) < 0.4, 3 + x[:, 0], -2 - x[:, 1]) + 0.8 * rng.normal(size=200)
    model = MixtureOfExpertsRegressor(2, gate="constant", n_init=5, random_state=0).fit(x, y)
    found, p = model.classification(x, y), model.responsibilities(x, y)
    assert (model.predict_class(x, y) == p.argmax(1)).all()
    assert (model.predict_class(x) == model.gate_proba(x).argmax(1)).all()
    table = found.to_frame()
    np.testing.assert_allclose(table["share"], p.mean(0))
    assert table["rows"].tolist() == np.bincount(p.argmax(1)).tolist()
    for k in range(2):
        own = p[p.argmax(1) == k]
        np.testing.assert_allclose(found.confusion.iloc[k], own.mean(0))
        assert table["above 0.8"].iloc[k] == (own[:, k] > 0.8).mean()
    entropy = 1 + (p * np.log(p.clip(1e-300))).sum() / (200 * np.log(2))
    assert found.entropy == pytest.approx(entropy)
    assert "relative entropy" in found.text()


def test_the_model_has_the_methods_of_its_inference(counts):
    _, model = counts
    found = model.inference()
    assert model.confint(level=0.9).equals(found.confint(0.9))
    assert model.vcov().equals(found.vcov())
    assert model.test("a[0] = b[0]") == found.test("a[0] = b[0]")
    assert model.margins("a").equals(found.margins("a"))
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 3)), rng.normal(size=60)
    plain = MixtureOfExpertsRegressor(1, n_init=1).fit(x, y)
    robust = plain.confint(x, y, kind="sandwich")
    assert not robust.equals(plain.confint(x, y))
    assert plain.test("x0[0] = 0", x, y, kind="lr").df == 1
    assert plain.margins("x1", x, y)["estimate"].iloc[0] == pytest.approx(plain.coef_[0, 1])


def test_columns_may_have_numbers_for_names():
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(rng.normal(size=(80, 4)))
    y = np.column_stack([frame @ [1.0, 0.5, 0.0, -1.0], frame @ [0.0, 1.0, 2.0, 0.0]]) + rng.normal(size=(80, 2))
    model = MixtureOfExpertsRegressor(1, n_init=1).fit(frame, y)
    found = model.margins(3, frame, y)["estimate"]
    np.testing.assert_allclose(found, model.coef_[0, :, 3], rtol=1e-6)
    with pytest.raises(ValueError, match="'3' is no column"):
        model.margins("3", frame, y)


def test_numbers_that_a_formula_reads_as_a_factor_are_levels(counts):
    frame = counts[0].assign(year=counts[0].site.map({"u": 2008, "v": 2010, "w": 2012}))
    coded = moe("y ~ a + b + c + C(year)", frame, n_experts=1, family="poisson", n_init=1)
    found, wanted = coded.margins("year"), counts[1].margins("site")
    assert list(found.index) == ["year: 2010 - 2008", "year: 2012 - 2008"]
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_several_values_give_an_effect_each(counts):
    model = counts[1]
    found = model.margins("a", at={"b": [0.0, 1.5], "site": ["u", "w"]})
    assert list(found.index) == ["a, b=0, site=u", "a, b=0, site=w", "a, b=1.5, site=u", "a, b=1.5, site=w"]
    for b, site in ((0.0, "u"), (1.5, "w")):
        alone = model.margins("a", at={"b": b, "site": site}).loc["a"]
        np.testing.assert_allclose(found.loc[f"a, b={b:g}, site={site}"], alone)


def test_rows_that_lack_values_are_left_out(counts):
    frame, model = counts
    holed = frame.assign(a=np.where(np.arange(300) < 7, np.nan, frame.a))
    found = model.inference()
    np.testing.assert_allclose(found.margins("b", holed), found.margins("b", frame[7:]))
    with pytest.raises(ValueError, match="every row of X lacks a value"):
        found.margins("b", holed[:7])


def test_effects_on_several_responses_have_their_names(counts):
    frame = counts[0].assign(high=(counts[0].y > 2).astype(float), any=(counts[0].y > 0).astype(float))
    model = moe("high + any ~ a + b", frame, n_experts=1, family="binomial", n_init=1)
    assert list(model.margins("a").index) == ["a, high", "a, any"]


@pytest.fixture(scope="module")
def gated():
    """Counts with an offset, whose gate reads inputs of its own, one of which the experts read too."""
    rng = np.random.default_rng(8)
    frame = pd.DataFrame(rng.normal(size=(250, 3)), columns=["a", "b", "c"])
    gates = pd.DataFrame({"z": rng.normal(size=250), "b": frame.b, "site": rng.integers(0, 2, 250).astype(bool)})
    offset = 0.5 * rng.normal(size=250)
    first = rng.random(250) < 1 / (1 + np.exp(-2 * gates.z - frame.b))
    y = rng.poisson(np.exp(np.where(first, 2 + 0.3 * frame.a, 0.3 * frame.b - 0.2 * frame.c) + offset))
    fit = {"gate_X": gates, "offset": offset}
    model = MixtureOfExpertsRegressor(2, family="poisson", n_init=2, random_state=0).fit(frame, y, **fit)
    return frame, y, fit, model


def differenced(model, frame, fit, column, step=1e-4):
    """The mean of the differences of `predict`, a column being moved wherever it stands."""
    ends = []
    for move in (step, -step):
        x, gates = (
            one.assign(**{column: one[column] + move}) if column in one else one for one in (frame, fit["gate_X"])
        )
        ends.append(model.predict(x, gate_X=gates, offset=fit["offset"]))
    return (ends[0] - ends[1]) / (2 * step)


@pytest.mark.parametrize("column", ["a", "b", "z"])
def test_gate_inputs_and_an_offset_are_those_of_the_fit(gated, column):
    frame, y, fit, model = gated
    each = differenced(model, frame, fit, column)
    assert model.margins(column, frame, y, **fit)["estimate"].item() == pytest.approx(each.mean(), rel=1e-6)
    weight = np.arange(250) % 3
    rows = {name: one[:100] for name, one in fit.items()}
    few = model.inference(frame, y, **fit).margins(column, frame[:100], sample_weight=weight[:100], **rows)
    assert few["estimate"].item() == pytest.approx(np.average(each[:100], weights=weight[:100]), rel=1e-6)


def test_values_and_levels_of_gate_inputs_can_be_set(gated):
    frame, y, fit, model = gated
    found = model.margins("site", frame, y, at={"b": 0.5}, **fit)
    assert found.index.tolist() == ["site: True - False"]
    ends = [
        model.predict(frame.assign(b=0.5), gate_X=fit["gate_X"].assign(b=0.5, site=site), offset=fit["offset"])
        for site in (True, False)
    ]
    assert found["estimate"].item() == pytest.approx((ends[0] - ends[1]).mean(), rel=1e-9)


def test_columns_of_arrays_are_called_as_in_the_summary(gated):
    frame, y, fit, model = gated
    x, gates = frame.to_numpy(), fit["gate_X"].to_numpy(dtype=float)
    plain = MixtureOfExpertsRegressor(2, family="poisson", n_init=2, random_state=0)
    plain.fit(x, y, gate_X=gates, offset=fit["offset"])
    given = {"gate_X": gates, "offset": fit["offset"]}
    by_name = model.margins("z", frame, y, **fit)
    np.testing.assert_allclose(plain.margins("gate x0", x, y, **given), by_name, rtol=1e-5)
    apart = [plain.margins(name, x, y, **given)["estimate"].item() for name in ("x1", "gate x1")]
    assert sum(apart) == pytest.approx(model.margins("b", frame, y, **fit)["estimate"].item(), rel=1e-5)
    assert plain.margins(1, x, y, **given)["estimate"].item() == apart[0]
    with pytest.raises(ValueError, match="did you mean 'gate x2'"):
        plain.margins("gate x7", x, y, **given)


def test_roles_of_a_table_are_names(gated):
    frame, y, fit, _ = gated
    gates = fit["gate_X"].drop(columns="b").astype(float)
    whole = pd.concat([frame, gates], axis=1)
    table = pa.Table.from_pandas(whole.assign(y=y, off=fit["offset"], w=np.arange(250) % 3))
    tabled = MixtureOfExpertsRegressor(2, family="poisson", n_init=2, random_state=0)
    roles = {"gate_X": ["z", "site"], "offset": "off", "sample_weight": "w"}
    tabled.fit(table, "y", **roles)
    given = {**fit, "gate_X": gates, "sample_weight": np.arange(250) % 3}
    again = MixtureOfExpertsRegressor(2, family="poisson", n_init=2, random_state=0).fit(frame, y, **given)
    for name in ("b", "z"):
        wanted = again.margins(name, frame, y, **given)
        np.testing.assert_allclose(tabled.margins(name, table, "y", **roles), wanted, rtol=1e-5)
    with pytest.raises(ValueError, match="X lacks the columns c"):
        tabled.inference(table, "y", **roles).margins("b", table.drop_columns("c"), offset="off")


def test_rows_for_margins_are_complete_and_in_memory(gated, tmp_path):
    frame, y, fit, model = gated
    found = model.inference(frame, y, **fit)
    with pytest.raises(ValueError, match="gate_X is missing"):
        found.margins("z", frame, offset=fit["offset"])
    with pytest.raises(ValueError, match="offset is missing"):
        found.margins("z", frame, gate_X=fit["gate_X"])
    twice = fit["gate_X"].assign(b=2 * frame.b)
    with pytest.raises(ValueError, match="'b' is a column of X and of gate_X with different values"):
        found.margins("b", frame, gate_X=twice, offset=fit["offset"])
    frame.to_parquet(tmp_path / "rows.parquet")
    with pytest.raises(TypeError, match=r"a table in files.*a sample of the rows as a data frame"):
        found.margins("a", str(tmp_path / "rows.parquet"))


def test_weights_of_a_formula_count_in_the_average(counts):
    frame = counts[0].assign(times=np.arange(300) % 3, hours=np.exp(counts[0].c))
    options = {"n_experts": 1, "family": "poisson", "n_init": 1, "offset": "log(hours)"}
    model = moe("y ~ a + b + site", frame, weights="times", **options)
    repeated = moe("y ~ a + b + site", frame.loc[frame.index.repeat(frame.times)], **options)
    np.testing.assert_allclose(model.margins("a"), repeated.margins("a"), rtol=1e-5)
    np.testing.assert_allclose(model.margins("hours"), repeated.margins("hours"), rtol=1e-5)
    found, once = model.inference(), model.inference().margins("a", sample_weight=1)
    assert once.equals(found.margins("a", frame.assign(times=1)))
    with pytest.raises(
        ValueError, match=r"X has no column 'times', .* or give sample_weight=1 to count every row once"
    ):
        found.margins("a", frame.drop(columns="times"))
    assert found.margins("a", frame.drop(columns="times"), sample_weight=1).equals(once)
    given = found.margins("a", frame, offset=np.log(frame.hours))
    np.testing.assert_allclose(given, model.margins("a"))
    with pytest.raises(ValueError, match="X has rows with missing values, and offset is given"):
        found.margins("a", frame.assign(b=np.where(np.arange(300) < 7, np.nan, frame.b)), offset=np.log(frame.hours))


def test_effects_on_classes_go_through_gates_of_their_own():
    rng = np.random.default_rng(5)
    x, gates = rng.normal(size=(300, 3)), rng.normal(size=(300, 3))
    first = rng.random(300) < 1 / (1 + np.exp(-3 * gates[:, 0]))
    y = np.where(np.where(first, 2 * x[:, 0], -2 * x[:, 1]) + rng.logistic(size=300) > 0, "yes", "no")
    model = MixtureOfExpertsClassifier(2, n_init=3, random_state=0).fit(x, y, gate_X=gates)
    for name, moved, other in (("x0", x, gates), ("gate x0", gates, x)):
        ends = []
        for move in (1e-4, -1e-4):
            some = moved.copy()
            some[:, 0] += move
            pair = (some, other) if name == "x0" else (other, some)
            ends.append(model.predict_proba(pair[0], gate_X=pair[1])[:, 1])
        wanted = (ends[0] - ends[1]).mean() / 2e-4
        assert model.margins(name, x, y, gate_X=gates)["estimate"].iloc[-1] == pytest.approx(wanted, rel=1e-5)


def test_effects_stay_where_the_functions_of_a_formula_are_defined():
    rng = np.random.default_rng(6)
    frame = pd.DataFrame({"x": rng.uniform(1, 5, 200), "z": rng.normal(size=200), "w": rng.exponential(size=200)})
    frame.loc[0, "w"] = 1e-9  # a step below it has no logarithm
    frame["y"] = 2 * np.sin(frame.x) + frame.z + 0.3 * rng.normal(size=200)
    model = moe("y ~ bs(x, df=4) + z + log(w)", frame, n_experts=1, n_init=1)
    step = 1e-5
    up, down = np.minimum(frame.x + step, frame.x.max()), np.maximum(frame.x - step, frame.x.min())
    slopes = (model.predict(frame.assign(x=up)) - model.predict(frame.assign(x=down))) / (up - down)
    assert model.margins("x").loc["x", "estimate"] == pytest.approx(slopes.mean(), rel=1e-4)
    assert np.isfinite(model.margins("w").loc["w", "estimate"])
    high = frame.x.max()
    ends = [model.predict(frame.assign(x=one)).mean() for one in (high, high - step)]
    assert model.margins("x", at={"x": high})["estimate"].item() == pytest.approx((ends[0] - ends[1]) / step, rel=1e-3)
    with pytest.raises(ValueError, match=r"bs\(x, df=4\) is defined from .*extrapolation='clip'"):
        model.margins("x", at={"x": 7.0})


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_effects_at_a_value_do_not_depend_on_units(unit):
    rng = np.random.default_rng(7)
    x = rng.normal(size=(200, 3))
    y = rng.poisson(np.exp(1 + 0.8 * x[:, 0] - 0.3 * x[:, 1]))
    model = MixtureOfExpertsRegressor(1, family="poisson", n_init=1).fit(x * [unit, 1, 1], y)
    found = model.margins("x0", x * [unit, 1, 1], y, at={"x0": 1.1 * unit})["estimate"].item()
    at = np.c_[np.full(200, 1.1 * unit), x[:, 1:]]
    assert found == pytest.approx(model.coef_[0, 0] * model.predict(at).mean(), rel=1e-6)


def test_a_column_that_the_formula_does_not_read_has_no_effect_to_tell(counts):
    frame, model = counts
    found = model.inference(frame.assign(other=1.0))
    with pytest.raises(ValueError, match=r"'other' is no column that the formula reads: there are a, b, c, site"):
        found.margins("other", frame.assign(other=1.0))
    with pytest.raises(ValueError, match="'y' is no column that the formula reads"):
        found.margins("a", at={"y": 1.0})


def test_effects_on_three_classes_are_those_of_statsmodels():
    rng = np.random.default_rng(9)
    frame = pd.DataFrame(rng.normal(size=(300, 3)), columns=["a", "b", "c"])
    place = (frame.to_numpy() @ rng.normal(size=(3, 3)) + rng.gumbel(size=(300, 3))).argmax(1)
    names = np.array(["high", "low", "mid"])
    wanted = sm.MNLogit(place, sm.add_constant(frame)).fit(disp=0, tol=1e-12).get_margeff()
    for model in (
        MixtureOfExpertsClassifier(1, n_init=1).fit(frame, names[place]),
        moe("kind ~ a + b + c", frame.assign(kind=names[place]), family="categorical", n_experts=1, n_init=1),
    ):
        data = () if model._design is not None else (frame, names[place])
        for column, name in enumerate("abc"):
            found = model.margins(name, *data)
            assert found.index.tolist() == [f"{name}, high", f"{name}, low", f"{name}, mid"]
            np.testing.assert_allclose(found["estimate"], wanted.margeff[column], atol=1e-6)
            np.testing.assert_allclose(found["std. error"], wanted.margeff_se[column], rtol=1e-4)
