"""Designs: the matrices of formulas, of the frame of the fit and of others, and as plain values in files."""

import json
from copy import deepcopy

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from statsmodels.formula.api import ols

from gatewise.formulas import design_from, design_of


def draw(n=60, seed=0):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "y": rng.normal(size=n),
            "x": rng.uniform(0.1, 3.0, n),
            "a b": rng.normal(size=n),
            "s": rng.choice(list("abc"), n),
            "i": rng.integers(1, 4, n),
            "k": pd.Categorical(rng.choice(["lo", "hi"], n), categories=["lo", "mid", "hi"]),
            "b": rng.random(n) < 0.5,
            "h": rng.uniform(1.0, 9.0, n),
            "N": pd.array(rng.integers(0, 9, n), dtype="Int64"),
            "t": pd.array(rng.choice(list("pq"), n), dtype="string"),
        }
    )
    frame.loc[3, "x"] = np.nan
    frame.loc[5, "N"] = pd.NA
    return frame


FRAME = draw()
FORMULAS = [
    "y ~ x*s",
    "y ~ poly(x, 2) + C(s, Treatment('b'))",
    "log(h) + y ~ bs(x, df=5) + cs(h, df=4):k",
    "y ~ C(i, Sum) - 1",
    "y ~ np.log(`a b`**2 + 1) + b + N + t",
    "y ~ I(center(x)**2) + scale(h) + standardize(np.log(h))",
    "y ~ 1",
    "y ~ C(b)*C(i, Poly)",
    "y ~ C(i, levels=[3, 2, 1])",
    "y ~ C(s, Helmert) + C(k, Diff)",
    "y ~ cc(x, df=4)",
    "y ~ cs(x, df=4, constraints='center')",
    "y ~ poly(x, 2, raw=True)",
    "y ~ I(i**20) + C(i)",
    'y ~ C(s, Treatment("c")) : x - 1',
]


@pytest.mark.parametrize("formula", FORMULAS)
def test_files_and_single_rows_give_the_columns_of_the_fit(formula):
    roles = {"offset": "np.log(h)", "weights": "N", "groups": "s"}
    design, found = design_of(FRAME, formula, "~ C(i) + x", **roles)
    again = design_from(json.loads(json.dumps(design.content())))
    other = again.matrices(FRAME, drop=True)
    assert (found.dropped, design.rows) == (2, 58)
    for one, two in zip(found, other, strict=True):
        if isinstance(one, pd.DataFrame):
            assert list(one.columns) == list(two.columns)
            np.testing.assert_allclose(one, two, rtol=1e-12)
        elif one is not None:
            np.testing.assert_array_equal(one, two)
    for row in (0, 7, 40):
        place = [at for at in range(60) if at not in (3, 5)].index(row)
        single = again.matrices(FRAME.iloc[[row]], ())
        np.testing.assert_allclose(single.x, found.x.iloc[[place]], rtol=1e-12)
        np.testing.assert_allclose(single.gate_x, found.gate_x.iloc[[place]], rtol=1e-12)


@pytest.mark.parametrize(
    "formula", ["y ~ x*s", "y ~ bs(x, df=5) + C(s, Treatment('b'))", "y ~ (x + h + b)**2 - x:h", "y ~ C(i, Sum):x + h"]
)
def test_columns_span_those_of_patsy(formula):
    frame = FRAME.dropna().astype({"N": float, "b": float})
    _, found = design_of(frame, formula)
    ours = np.linalg.lstsq(np.c_[np.ones(len(frame)), found.x], frame.y, rcond=None)[0]
    fitted = np.c_[np.ones(len(frame)), found.x] @ ours
    np.testing.assert_allclose(fitted, ols(formula, frame).fit().fittedvalues, atol=1e-8)
    assert found.x.shape[1] == ols(formula, frame).fit().df_model


def test_whole_numbers_do_not_overflow():
    _, found = design_of(FRAME.assign(i=FRAME.i * 1000), "y ~ I(i**9) + i:i:h")
    assert (found.x["I(i ** 9)"] > 0).all()
    design, found = design_of(FRAME.assign(i=FRAME.i * 1000), "y ~ I(i**9) + C(i)")
    again = design.matrices(FRAME.assign(i=FRAME.i * 1000), ())
    np.testing.assert_array_equal(again.x, found.x)
    assert (again.x["I(i ** 9)"] > 0).all()


def test_roles_are_columns_or_expressions():
    frame = FRAME.assign(**{"log(h)": 7.0}).dropna()
    _, found = design_of(frame, "y ~ x", offset="log(h)")
    assert (found.offset == 7.0).all()  # a column of that name comes first
    _, found = design_of(frame.drop(columns="log(h)"), "y ~ x", offset="log(h) + 1", trials="2*`N`")
    np.testing.assert_array_equal(found.offset, np.log(frame.h) + 1)
    np.testing.assert_array_equal(found.trials, 2 * frame.N.to_numpy(float))


@pytest.mark.parametrize(
    ("formula", "roles", "words"),
    [
        ("y ~ q", {}, "no column 'q'"),
        ("y ~ X", {}, "no column 'X': "),
        ("q ~ x", {}, "no column 'q'"),
        ("y ~ log(s)", {}, "'s' holds .* numbers are needed"),
        ("s ~ x", {}, "'s' holds .* numbers are needed"),
        ("y ~ x", {"offset": "log(s)"}, "'s' holds .* numbers are needed"),
        ("y ~ log(`a b`)", {}, "is nan in row"),
        ("y ~ I(h / 0)", {}, "is inf in row"),
        ("log(`a b`) ~ x", {}, "response .* is nan in row"),
        ("y ~ x", {"offset": "x.mean()"}, "may not use"),
        ("y ~ x", {"groups": "q"}, "no column 'q'"),
        ("y ~ x", {"weights": 3}, "give the name of a column"),
        ("y ~ y", {}, "among the inputs"),
        ("y ~ x", {"groups": "y"}, "is the response"),
        ("y ~ bs(x, df=2)", {}, "cannot be computed"),
        ("y ~ bs(x, knots=5)", {}, "cannot be computed"),
        ("y ~ bs(x, df=4, upper_bound=0.1)", {}, "is defined alone|is defined from"),
        ("y ~ C(s, Treatment('zz'))", {}, "'zz'"),
        ("y ~ C(s, levels=['a'])", {}, "cannot be computed"),
        ("y ~ C(x, levels=['a'])", {}, "cannot be computed"),
    ],
)
def test_faults_of_data_are_said_in_words(formula, roles, words):
    with pytest.raises((ValueError, TypeError), match=words):
        design_of(FRAME, formula, **roles)


def test_frames_that_are_none_are_refused():
    for frame in (FRAME.to_numpy(), FRAME.to_dict(), None, "y"):
        with pytest.raises(TypeError, match="pandas DataFrame"):
            design_of(frame, "y ~ x")
    with pytest.raises(ValueError, match="two columns called 'x'"):
        design_of(FRAME[["y", "x", "x"]], "y ~ x")
    with pytest.raises(ValueError, match="every row lacks a value"):
        design_of(FRAME.assign(x=np.nan), "y ~ x")
    with pytest.raises(ValueError, match="the data have no rows"):
        design_of(FRAME[:0], "y ~ x")


def test_columns_may_not_be_called_like_functions():
    with pytest.raises(ValueError, match="a column has that name"):
        design_of(FRAME.assign(log=1.0), "y ~ log(h)")
    with pytest.raises(ValueError, match="a column has that name"):
        design_of(FRAME.assign(np=1.0), "y ~ np.log(h)")
    _, found = design_of(FRAME.assign(log=2.0), "y ~ log")
    assert list(found.x.columns) == ["log"]


def test_factors_with_too_many_levels_are_refused_before_they_are_computed():
    n = 5000
    wide = pd.DataFrame({"y": np.zeros(n), "s": [f"level {i}" for i in range(n)], "x": np.arange(n)})
    for formula in ("y ~ s", "y ~ C(x)", "y ~ s:C(x)"):
        with pytest.raises(ValueError, match="at most 2000 are fitted"):
            design_of(wide, formula)


def answer(call):
    """What a call returns, or None and its words; every other exception is a defect."""
    try:
        return call(), ""
    except (ValueError, TypeError) as cause:
        return None, str(cause)


NEW = {
    "a new level": (lambda f: f.assign(s="zz"), "column 's' has the level 'zz', .* its levels are 'a', 'b', 'c'"),
    "a level of another type": (lambda f: f.assign(i="1"), "column 'i' has the level '1'"),
    "a column that is missing": (lambda f: f.drop(columns="s"), "no column 's'"),
    "outside of a spline": (lambda f: f.assign(x=99.0), r"bs\(x, df=4\) is defined from .* to .* alone, .*='clip'"),
    "missing values": (lambda f: f.assign(x=np.nan), "58 rows lack values, the first is row 0 in x"),
    "text": (lambda f: f.assign(x="low"), "numbers are needed"),
    "lists": (lambda f: f.assign(s=[["a"]] * len(f)), "levels of one kind"),
    "no frame": (lambda f: f.to_numpy(), "pandas DataFrame"),
}


@pytest.mark.parametrize("name", NEW)
def test_new_frames_are_compared_with_that_of_the_fit(name):
    change, words = NEW[name]
    design, _ = design_of(FRAME, "y ~ bs(x, df=4) + s + C(i)")
    with pytest.raises((ValueError, TypeError), match=words):
        design.matrices(change(FRAME.dropna()), ())


def test_levels_of_another_type_are_the_same_or_refused():
    design, found = design_of(FRAME, "y ~ C(b) + C(i)")
    assert len(design.matrices(FRAME.astype({"i": float}), ()).x) == len(found.x)
    for change in ({"b": int}, {"b": float}, {"b": str}, {"i": "Int64"}, {"i": "category"}, {"b": "category"}):
        other, words = answer(lambda change=change: design.matrices(FRAME.astype(change), ()).x)
        assert "did not see" in words if other is None else np.array_equal(other, found.x)


def test_new_frames_may_lack_what_a_method_does_not_need():
    design, _ = design_of(FRAME, "y ~ x + s", offset="log(h)", weights="N")
    only = FRAME.dropna()[["x", "s", "h"]]
    assert design.matrices(only, ("offset",)).offset is not None
    assert design.matrices(only[["x", "s"]], ()).y is None
    assert design.matrices(only.astype({"s": "category"}), ()).x.shape == (58, 3)
    with pytest.raises(ValueError, match="no column 'y'"):
        design.matrices(only, ("response",))


def leaves(value, path=()):
    """The places of everything in a nest of dicts and lists."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in items:
        yield (*path, key)
        yield from leaves(one, (*path, key))


CONTENT = design_of(FRAME, "y ~ bs(x, df=4) + scale(h) + C(s, Sum) + k", "~ poly(h, 2)", offset="log(h)")[0].content()
PLACES = list(leaves(json.loads(json.dumps(CONTENT))))
POISON = [
    None,
    True,
    -1,
    1e308,
    2**70,
    "",
    "os.system('true')",
    "y ~ __import__('os').system('true')",
    "lambda: 1",
    [],
    {},
    [[]],
    {"pairs": [["x", {"pairs": []}]]},
    {"array": [[1.0, "x"]]},
    [0.0] * 50,
    "x" * 20_000,
]


@settings(max_examples=300, deadline=5000, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(PLACES), st.sampled_from(POISON))
def test_damaged_files_are_refused_or_still_compute(place, poison):
    content = json.loads(json.dumps(CONTENT))
    *path, last = place
    at = content
    for key in path:
        at = at[key]
    at[last] = deepcopy(poison)
    found, said = answer(lambda: design_from(content).matrices(FRAME, (), drop=True))
    assert len(said) > 15 if found is None else np.isfinite(found.x.to_numpy()).all()


def test_a_file_cannot_bring_code(tmp_path):
    mark = tmp_path / "ran"
    code = f"__import__('pathlib').Path({str(mark)!r}).touch()"
    for change in (
        {"formula": f"y ~ {code}"},
        {"formula": f"y ~ {{{code}}}"},
        {"gate_formula": f"~ bs(x, df={code})"},
        {"roles": {"offset": code}},
        {"roles": {"groups": code, "nonsense": code}},
    ):
        with pytest.raises(ValueError, match=r"\w{4}"):
            design_from({**json.loads(json.dumps(CONTENT)), **change})
    for part in ("state", "levels", "terms", "probe"):
        content = json.loads(json.dumps(CONTENT))
        content["experts"][part] = {"pairs": [[code, {"pairs": [[code, code]]}]]}
        with pytest.raises(ValueError, match=r"\w{4}"):
            design_from(content)
    assert not mark.exists()


VALUES = st.one_of(
    st.floats(), st.integers(-(2**70), 2**70), st.booleans(), st.none(), st.text(max_size=3), st.just(pd.NaT)
)


@settings(max_examples=150, deadline=5000, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(VALUES, VALUES, VALUES), min_size=0, max_size=12),
    st.sampled_from(
        ["y ~ x + s", "y ~ C(s)*x", "log(y) ~ poly(x, 2)", "y ~ bs(x, df=4) - 1", "y ~ I(x**20) + center(s)"]
    ),
)
def test_any_frame_gives_finite_columns_or_words(rows, formula):
    frame = pd.DataFrame(rows, columns=["y", "x", "s"])
    found, said = answer(lambda: design_of(frame, formula)[1])
    assert len(said) > 15 if found is None else np.isfinite(found.x.to_numpy()).all() and np.isfinite(found.y).all()


def test_an_infinite_number_is_no_level():
    frame = pd.DataFrame({"y": [1.0, 2.0, 4.0, 3.0], "x": [1.0, np.inf, 1.0, 2.0], "z": [1.0, 2.0, 1.0, 1.0]})
    with pytest.raises(ValueError, match="column 'x' is inf in row 1, which is no level: leave such rows out"):
        design_of(frame, "y ~ C(x)")
    design, _ = design_of(frame, "y ~ C(z)")
    assert design.levels_of("z") == [1.0, 2.0]
    assert design.levels_of("x") == []
