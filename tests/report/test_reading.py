"""A user's table: every fault named with its column and remedy, missing values counted."""

import re

import numpy as np
import pandas as pd
import pytest

from gatewise import MixtureOfExpertsRegressor
from gatewise.report import delimited, own_data, reading

GOOD = "a,b,w,g,y\n" + "".join(f"{i},{i % 3},1,{i // 2},{2 * i + (i % 3)}\n" for i in range(12))


def table(tmp_path, text, name="data.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def prepared(tmp_path, text, **roles):
    return reading.prepare(delimited.read_table(table(tmp_path, text)), reading.Roles(**{"target": "y", **roles}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty: a CSV file with a header line is needed"),
        ("a,y\n", "has a header line but no rows"),
        ("a,y\n1,2\n1,2,3,4\n", "line 3 of "),
        ("a,y\n1,2\n1,2,3,4\n", "has 4 fields and the lines before it 2, with columns separated by commas: put quotes"),
        ("a,b,y\n1,5,2,3\n2,5,1,7\n", "line 2 of "),
        (
            "a,b,y\n1,5,2,3\n2,5,1,7\n",
            "has 4 fields and its header line 3, with columns separated by commas: give every",
        ),
        ('a,b,y\n1,2,"3\n4,5,6\n', "has a quote that is opened and never closed"),
        ("a,b,y\n1,2,3\n".encode("utf-16"), "is UTF-16 text, as spreadsheets write 'Unicode text': save it as UTF-8"),
        ("größe,b,y\n1,2,3\n".encode("latin-1"), "holds the byte 0xf6, which no UTF-8 text has there"),
        (b"PK\x03\x04\xe4\x00", "is a workbook or an archive, and no text: save the sheet as a CSV file"),
        ("a;b;y\n1;2;3\n", "columns seem to be separated by semicolons, and not by commas; give --sep ';'"),
        ("a;b;y\n1,5;2,5;3\n", "columns seem to be separated by semicolons, and not by commas; give --sep ';'"),
        ("a\tb\ty\n1\t2\t3\n", "columns seem to be separated by tabs, and not by commas; give --sep tab"),
    ],
)
def test_a_file_that_is_not_a_table_is_an_error(tmp_path, text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        delimited.read_table(table(tmp_path, text))


GERMAN = "a;b;größe\n1,5;2;3,25\n-2;1e1;\n0,5;7;1\n"


def test_separator_and_decimal_mark_may_be_given(tmp_path):
    path = table(tmp_path, GERMAN)
    found = delimited.read_table(path, delimited.TextFormat(";", ","))
    wanted = pd.DataFrame({"a": [1.5, -2.0, 0.5], "b": [2.0, 10.0, 7.0], "größe": [3.25, np.nan, 1.0]})
    pd.testing.assert_frame_equal(found, wanted)
    tabs = table(tmp_path, GERMAN.replace(";", "\t"), "tabs.tsv")
    pd.testing.assert_frame_equal(delimited.read_table(tabs, delimited.TextFormat("tab", ",").check()), wanted)
    quoted = table(tmp_path, 'a,b,y\n"1,5",2,"3,25"\n', "quoted.csv")
    assert delimited.read_table(quoted, delimited.TextFormat(",", ",")).to_numpy().tolist() == [[1.5, 2.0, 3.25]]
    with pytest.raises(ValueError, match=r"separated by semicolons, and not by tabs; give --sep ';'"):
        delimited.read_table(path, delimited.TextFormat("\t"))


def test_decimal_commas_are_told_before_they_count_as_text(tmp_path):
    with pytest.raises(ValueError, match=r"column 'a' of .* holds '1,5', which is text: where commas are decimal"):
        delimited.read_table(table(tmp_path, GERMAN), delimited.TextFormat(";"))
    pairs = table(tmp_path, "cell;x;y\n1,5;0.5;3\n2,4;1.5;2\n", "pairs.csv")  # numbers have points, so these are labels
    assert delimited.read_table(pairs, delimited.TextFormat(";"))["cell"].tolist() == ["1,5", "2,4"]


@pytest.mark.parametrize(
    ("sep", "decimal", "message"),
    [
        (";;", ".", "--sep ;;: give the one character between the columns, such as ';', or tab"),
        ("x", ".", "--sep x: give the one character"),
        ("", ".", "--sep : give the one character"),
        (";", "'", "--decimal ': give ',' or '.'"),
    ],
)
def test_marks_that_cannot_be_meant_are_refused(sep, decimal, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        delimited.TextFormat(sep, decimal).check()


def test_a_missing_file_and_a_directory_are_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*nothing\.csv: check the path"):
        delimited.read_table(tmp_path / "nothing.csv")
    with pytest.raises(IsADirectoryError, match="is a directory: give the path of a CSV file"):
        delimited.read_table(tmp_path)


@pytest.mark.parametrize(
    ("text", "roles", "message"),
    [
        (GOOD, {"target": "yy"}, "there is no column 'yy': did you mean 'y'? the columns are a, b, w, g, y"),
        (GOOD, {"features": ("c",)}, "there is no column 'c': "),
        (GOOD, {"weights": "v"}, "there is no column 'v': "),
        (GOOD, {"gate_features": ("z",)}, "there is no column 'z': "),
        ("y\n1\n2\n", {}, "the only columns are 'y', which leaves no feature to predict 'y' from"),
        ('a,b,y\n"1,5",2,3\n"2",2,3\n', {}, "column 'a' holds '1,5' in line 2, which is no number: write it without"),
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


FORMS = [delimited.COMMAS, delimited.TextFormat(";", ","), delimited.TextFormat("\t")]
ROLES = [{}, {"features": ("a", "b"), "gate_features": ("a",)}, {"gate_features": ("b",)}]


@pytest.mark.parametrize(("roles", "form"), list(zip(ROLES, FORMS, strict=True)))
def test_a_table_is_fitted_and_its_code_gives_the_same_fit(tmp_path, roles, form, capsys, monkeypatch):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=60), "b": rng.normal(size=60), "w": 1.0})
    frame["y"] = frame["a"] * np.sign(frame["b"] + rng.normal(size=60)) + 0.2 * rng.normal(size=60)
    frame.loc[3, "y"] = np.nan
    frame.to_csv(tmp_path / "t.csv", index=False, **form.options)
    monkeypatch.chdir(tmp_path)
    data = reading.prepare(delimited.read_table("t.csv", form), reading.Roles("y", weights="w", **roles), form)
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
