"""A user's table: every fault named with its column and remedy, missing values counted."""

import re

import numpy as np
import pandas as pd
import pytest

from gatewise import MixtureOfExpertsRegressor
from gatewise.report import own_data, reading

GOOD = "a,b,w,g,y\n" + "".join(f"{i},{i % 3},1,{i // 2},{2 * i + (i % 3)}\n" for i in range(12))


def table(tmp_path, text, name="data.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def prepared(tmp_path, text, **roles):
    return reading.prepare(reading.read_table(table(tmp_path, text)), reading.Roles(**{"target": "y", **roles}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty: a CSV file with a header line is needed"),
        ("a,y\n", "has a header line but no rows"),
        ("a,y\n1,2\n1,2,3,4\n", "cannot be read as CSV (Error tokenizing data"),
        (b"\xff\xfe\x00a,y\n1,2", "cannot be read as CSV"),
    ],
)
def test_a_file_that_is_not_a_table_is_an_error(tmp_path, text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        reading.read_table(table(tmp_path, text))


def test_a_missing_file_and_a_directory_are_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*nothing\.csv: check the path"):
        reading.read_table(tmp_path / "nothing.csv")
    with pytest.raises(IsADirectoryError, match="is a directory: give the path of a CSV file"):
        reading.read_table(tmp_path)


@pytest.mark.parametrize(
    ("text", "roles", "message"),
    [
        (GOOD, {"target": "yy"}, "there is no column 'yy': did you mean 'y'? the columns are a, b, w, g, y"),
        (GOOD, {"features": ("c",)}, "there is no column 'c': "),
        (GOOD, {"weights": "v"}, "there is no column 'v': "),
        (GOOD, {"gate_features": ("z",)}, "there is no column 'z': "),
        ("y\n1\n2\n", {}, "the only columns are 'y', which leaves no feature to predict 'y' from"),
        ("a;y\n1;2\n", {"target": "a;y"}, "to predict 'a;y' from: separate the columns by commas"),
        ("a,y\n1,2\nred,3\n", {}, "column 'a' holds text ('red' in line 3), and numbers are needed: leave it out with"),
        ("a,y\n1,2\n1,high\n", {}, "column 'y' holds text ('high' in line 3)"),
        ("a,w,y\n1,x,2\n", {"weights": "w"}, "column 'w' holds text ('x' in line 2)"),
        ("a,y\n,2\n1,\n", {}, "every row lacks a value in a column that is used"),
        ("a,e,y\n1,,2\n", {}, "every row lacks a value"),
        (",a,y\n0,1,2\n", {}, "column 1 has no name, as row numbers do: name the columns to use with --features"),
        (GOOD, {"features": ("a", "y")}, "column 'y' has two roles"),
        (GOOD, {"features": ("a", "a")}, "column 'a' has two roles"),
        (GOOD, {"gate_features": ("y",)}, "column 'y' has two roles"),
    ],
)
def test_faults_name_the_column_and_the_remedy(tmp_path, text, roles, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        prepared(tmp_path, text, **roles)


def test_rows_with_missing_values_in_used_columns_are_dropped_and_counted(tmp_path):
    text = "a,unused,y\n1,,2\n,5,3\n3,1,\n4,1,1\n"
    data = prepared(tmp_path, text, features=("a",))
    assert data.dropped == 2
    assert data.X.to_numpy().tolist() == [[1.0], [4.0]]
    assert data.y.tolist() == [2.0, 1.0]


def test_roles_that_are_not_given_are_filled_in(tmp_path):
    data = prepared(tmp_path, GOOD, weights="w", groups="g")
    assert data.roles.features == ("a", "b")
    assert data.gate_x is None
    assert data.groups.tolist()[:3] == ["0", "0", "1"]


def test_gate_columns_that_experts_do_not_see_stand_apart(tmp_path):
    data = prepared(tmp_path, GOOD, gate_features=("b",), weights="w", groups="g")
    assert data.roles.features == ("a",)
    assert list(data.gate_x) == ["b"]
    assert prepared(tmp_path, GOOD, features=("a", "b"), gate_features=("b",)).gate_x is None


@pytest.mark.parametrize("roles", [{}, {"features": ("a", "b"), "gate_features": ("a",)}, {"gate_features": ("b",)}])
def test_a_table_is_fitted_and_its_code_gives_the_same_fit(tmp_path, roles, capsys, monkeypatch):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=60), "b": rng.normal(size=60), "w": 1.0})
    frame["y"] = frame["a"] * np.sign(frame["b"] + rng.normal(size=60)) + 0.2 * rng.normal(size=60)
    frame.loc[3, "y"] = np.nan
    frame.to_csv(tmp_path / "t.csv", index=False)
    monkeypatch.chdir(tmp_path)
    data = reading.prepare(reading.read_table("t.csv"), reading.Roles("y", weights="w", **roles))
    outcome = own_data.fit_table("t.csv", data, {"n_experts": 2, "gate": "softmax", "n_init": 5, "random_state": 0})
    capsys.readouterr()
    exec(outcome.code, {})
    assert capsys.readouterr().out.strip() == outcome.model.summary()
    assert data.dropped == 1
    page = own_data.page_of("t.csv", data, outcome, "gatewise fit", "0.1.0")
    assert "59 rows of t.csv. 1 rows with missing values were left out." in page.sections[0].about


def test_predictions_keep_the_rows_and_leave_incomplete_ones_empty(tmp_path):
    x = pd.DataFrame({"a": np.arange(20.0), "b": np.arange(20.0) % 4})
    model = MixtureOfExpertsRegressor(1, n_init=1, random_state=0).fit(x, x["a"] + np.sin(x["b"]))
    shown = x.assign(other="text")[["other", "b", "a"]]
    shown.loc[4, "a"] = np.nan
    out, empty = reading.predict(model, shown)
    assert empty == 1
    assert np.isnan(out["prediction"][4])
    keep = out["prediction"].notna()
    np.testing.assert_array_equal(out["prediction"][keep], model.predict(x[keep]))
    with pytest.raises(ValueError, match="there is no column 'a'"):
        reading.predict(model, x[["b"]])
    with pytest.raises(ValueError, match="was fitted without column names"):
        reading.predict(MixtureOfExpertsRegressor(1, n_init=1).fit(x.to_numpy(), x["a"] ** 2), x)
