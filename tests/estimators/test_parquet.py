"""Fits and predictions from Parquet files give the numbers of the same rows in memory, and faults say the remedy."""

import json
import re
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from gatewise import MixtureOfExpertsRegressor, load_model, save_model
from gatewise.cli import app
from gatewise.data import ParquetTable
from gatewise.data.parquet import opened
from gatewise.data.stream import MOST
from gatewise.estimators.tables import group_ends, vary_inside

CLOSE = {"rtol": 0.0, "atol": 1e-10}


def draw(n, seed=0):
    """Two lines behind a softmax gate; b holds whole numbers, w weights with zeros, g groups of neighbours."""
    rng = np.random.default_rng(seed)
    a, b, z = rng.normal(size=n).astype(np.float32), rng.integers(-3, 4, n), rng.normal(size=n)
    first = rng.random(n) < 1 / (1 + np.exp(-2 * a - z))
    y = np.where(first, 1 + a + 0.5 * b, -1 - 2 * a + b) + 0.4 * rng.normal(size=n)
    frame = pd.DataFrame({"a": a, "b": b, "z": z, "y": y, "y2": y**2 / 9 + rng.normal(size=n)})
    return frame.assign(w=rng.integers(0, 3, n), g=[f"group {i // 3}" for i in range(n)])


FRAME = draw(900)


def write(path, frame=FRAME, size=100):
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), path, row_group_size=size)
    return path


def model(**options):
    return MixtureOfExpertsRegressor(**{"n_experts": 2, "n_init": 3, "random_state": 0, **options})


def same(one, other):
    """Every parameter and criterion of two fits agrees."""
    np.testing.assert_allclose(one.log_likelihood_, other.log_likelihood_, rtol=1e-10)
    assert one.status_ is other.status_
    paths = other.measure_.paths()
    assert one.measure_.paths().keys() == paths.keys()
    for path, value in one.measure_.paths().items():
        np.testing.assert_allclose(value, paths[path], **CLOSE, err_msg=path)
        np.testing.assert_allclose(one.standard_errors_[path], other.standard_errors_[path], **CLOSE, err_msg=path)
    assert one.bic() == pytest.approx(other.bic(), rel=1e-10)


BIG = draw(30_000)[["a", "b", "z", "y"]]


@pytest.fixture(scope="module")
def in_memory():
    return model(n_init=2).fit(BIG[["a", "b", "z"]], BIG["y"])


def coded(frame):
    """The frame as an Arrow table in which b is dictionary-encoded."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    return table.set_column(1, "b", table["b"].combine_chunks().dictionary_encode())


def layout(kind, folder):
    if kind == "files":
        (folder / "rows").mkdir()
        for i, start in enumerate(range(0, len(BIG), 7001)):
            write(folder / "rows" / f"part-{i}.parquet", BIG.iloc[start : start + 7001], 900 + i)
        return folder / "rows"
    if kind == "dictionary":
        return ds.dataset(coded(BIG))
    if kind == "data set":
        return ds.dataset(write(folder / "rows.parquet", BIG))
    if kind == "filtered":
        more = pd.concat([BIG, BIG.iloc[:100].assign(z=np.nan)])
        return ds.dataset(write(folder / "rows.parquet", more)).filter(pc.is_finite(pc.field("z")))
    return str(write(folder / "rows.parquet", BIG, kind))


@pytest.mark.parametrize("kind", [500, 12_345, 30_000, "files", "dictionary", "data set", "filtered"])
def test_a_fit_from_files_is_the_fit_in_memory(kind, in_memory, tmp_path):
    table = layout(kind, tmp_path)
    fitted = model(n_init=2).fit(table, "y")
    same(fitted, in_memory)
    assert fitted.feature_names_in_.tolist() == ["a", "b", "z"]
    assert fitted.n_features_in_ == 3
    np.testing.assert_allclose(fitted.predict(table), in_memory.predict(BIG[["a", "b", "z"]]), **CLOSE)


ROLES = {
    "two responses": ({"covariance": "full"}, {"y": ["y", "y2"]}, {}),
    "a list of one response": ({}, {"y": ["y"]}, {}),
    "weights": ({}, {}, {"sample_weight": "w"}),
    "gate features by name": ({"gate_features": ["z"]}, {}, {}),
    "gate inputs of their own": ({}, {"X": ["a", "b"]}, {"gate_X": ["z"]}),
    "groups": ({"gate": "constant"}, {}, {"groups": "g"}),
    "groups and weights": ({"gate": "constant"}, {"frame": FRAME.assign(w=FRAME["g"].map(len) % 2)}, {"groups": "g"}),
}


@pytest.mark.parametrize("case", ROLES)
def test_every_role_is_the_name_of_a_column(case, tmp_path):
    options, chosen, roles = ROLES[case]
    frame, features, y = chosen.get("frame", FRAME), chosen.get("X", ["a", "b", "z"]), chosen.get("y", "y")
    roles = roles | ({"sample_weight": "w"} if "frame" in chosen else {})
    table = ParquetTable(write(tmp_path / "rows.parquet", frame), features)
    arrays = {role: frame[name] for role, name in roles.items()}
    fitted, expected = model(**options), model(**options)
    fitted.fit(table, y, **roles)
    expected.fit(frame[features], frame[y], **arrays)
    same(fitted, expected)
    assert fitted._reader == expected._reader
    gates = {"gate_X": frame[["z"]]} if "gate_X" in roles else {}
    np.testing.assert_allclose(fitted.predict(table.source), expected.predict(frame[features], **gates), **CLOSE)


def test_some_weights_of_zero_inside_groups(tmp_path):
    frame = FRAME.assign(w=np.where(np.arange(len(FRAME)) // 3 % 4 == 1, 0, 2))
    table = ParquetTable(write(tmp_path / "rows.parquet", frame), ["a", "b"])
    fitted = model(gate="constant").fit(table, "y", sample_weight="w", groups="g")
    expected = model(gate="constant").fit(frame[["a", "b"]], frame["y"], sample_weight=frame["w"], groups=frame["g"])
    same(fitted, expected)


def labelled(folder, *files):
    """A folder of files with the labels g."""
    for i, labels in enumerate(files):
        pq.write_table(pa.table({"g": labels}), folder / f"{i}.parquet")
    return ParquetTable(folder)


def test_groups_go_on_from_file_to_file(tmp_path):
    table = labelled(tmp_path, ["a", "b", "b"], ["b"], ["b", "c"], ["d"])
    assert group_ends(opened(table), "g", "t").tolist() == [1, 5, 6, 7]
    labelled(tmp_path, ["a", "b", "b"], ["b"], ["b", "c"], ["b"])
    with pytest.raises(ValueError, match="the rows of group 'b' of column 'g' are not neighbours: sort t by 'g' first"):
        group_ends(opened(table), "g", "t")


@pytest.mark.parametrize("row", [1, MOST - 1, MOST, MOST + 1, 2 * MOST, 2 * MOST + 4])
def test_values_that_change_inside_a_group_are_found_wherever_blocks_are_cut(row):
    values = np.zeros((2 * MOST + 5, 2))
    values[row:, 1] = 1.0
    assert vary_inside(values, np.array([len(values)]))
    assert not vary_inside(values, np.array([row, len(values)]))


@pytest.fixture(scope="module")
def fitted():
    return model().fit(FRAME[["a", "b", "z"]], FRAME["y"])


@pytest.fixture(scope="module")
def grouped():
    return model(gate="constant").fit(FRAME[["a", "b", "z"]], FRAME["y"], groups=FRAME["g"])


METHODS = {
    "predict": ((), {}),
    "gate_proba": ((), {}),
    "responsibilities": (("y",), {}),
    "responsibilities of groups": (("y",), {"groups": "g"}),
    "score_samples": (("y",), {}),
    "score_samples of groups": (("y",), {"groups": "g"}),
    "score": (("y",), {}),
    "score with weights": (("y",), {"sample_weight": "w"}),
    "predict_interval": ((), {}),
    "predict_quantile": ((0.3,), {}),
    "sample": ((3,), {}),
}


@pytest.mark.parametrize("case", METHODS)
def test_every_method_reads_its_columns_by_name(case, fitted, grouped, tmp_path):
    given, named = METHODS[case]
    method = getattr(grouped if "groups" in named else fitted, case.partition(" ")[0])
    shuffled = FRAME[["g", "y", "z", "w", "b", "a"]].assign(word="text that is not read")
    path = write(tmp_path / "rows.parquet", shuffled, 77)
    arrays = [FRAME[one] if isinstance(one, str) else one for one in given]
    expected = method(FRAME[["a", "b", "z"]], *arrays, **{role: FRAME[name] for role, name in named.items()})
    found = method(path, *given, **named)
    if case == "score_samples of groups":  # a table has its groups in the order of its rows
        order = FRAME["g"].drop_duplicates().argsort()
        found = found[order]
        assert found.sum() == pytest.approx(grouped.log_likelihood_, abs=1e-6)
    np.testing.assert_allclose(found, expected, **CLOSE)


def test_a_response_in_memory_may_go_with_inputs_in_files(fitted, tmp_path):
    path = write(tmp_path / "rows.parquet")
    expected = fitted.score_samples(FRAME[["a", "b", "z"]], FRAME["y"])
    np.testing.assert_allclose(fitted.score_samples(path, FRAME["y"]), expected, **CLOSE)
    with pytest.raises(ValueError, match="y has 5 rows, X has 900"):
        fitted.score_samples(path, FRAME["y"][:5])


def test_inference_reads_the_table_again(fitted, tmp_path):
    path = write(tmp_path / "rows.parquet", FRAME[["a", "b", "z", "y"]])
    for name, errors in fitted.inference(path, "y", kind="sandwich").standard_errors().items():
        expected = fitted.inference(FRAME[["a", "b", "z"]], FRAME["y"], kind="sandwich").standard_errors()[name]
        np.testing.assert_allclose(errors, expected, **CLOSE)


def test_a_saved_model_predicts_from_files_with_the_gate_columns_of_its_fit(tmp_path):
    table = ParquetTable(write(tmp_path / "rows.parquet"), ["a", "b"])
    first = model().fit(table, "y", gate_X=["z"])
    save_model(first, tmp_path / "m.json")
    again = load_model(tmp_path / "m.json")
    expected = first.predict(FRAME[["a", "b"]], gate_X=FRAME[["z"]])
    for gates in ({}, {"gate_X": ["z"]}, {"gate_X": FRAME[["z"]]}):
        np.testing.assert_allclose(again.predict(table, **gates), expected, **CLOSE)
    with pytest.raises(ValueError, match="gate_X has the columns b, fit was given z"):
        again.predict(table, gate_X=["b"])


WRONG = {
    "no such target": ({"y": "yy"}, ValueError, "has no column 'yy': did you mean 'y'?"),
    "no such weights": ({"sample_weight": "v"}, ValueError, "has no column 'v'"),
    "y is an array": (
        {"y": FRAME["y"]},
        TypeError,
        "y is a Series: with a table in files or of pyarrow, give the name of a column",
    ),
    "weights are an array": ({"sample_weight": [1.0]}, TypeError, "sample_weight is a list: with a table in files"),
    "groups are an array": ({"groups": FRAME["g"]}, TypeError, "groups is a Series: with a table in files"),
    "gate_X is an array": ({"gate_X": FRAME[["z"]]}, TypeError, "gate_X is a DataFrame: with a table in files"),
    "two roles": ({"sample_weight": "y"}, ValueError, "column 'y' has two roles"),
    "target among features": ({"columns": ["a", "y"]}, ValueError, "column 'y' has two roles"),
    "text": ({"columns": ["a", "g"]}, ValueError, "column 'g' holds text, and numbers are needed: leave it out by"),
    "text in y": ({"y": "g"}, ValueError, "column 'g' holds text"),
    "text in weights": ({"sample_weight": "g"}, ValueError, "column 'g' holds text"),
    "apart": ({"groups": "b", "columns": ["a"]}, ValueError, "of column 'b' are not neighbours: sort "),
    "gates vary": ({"groups": "g", "gate": "softmax"}, ValueError, "the gate inputs differ within a group"),
    "gates twice": ({"gate_X": "z", "gate_features": ["z"]}, ValueError, "gate_X and gate_features are both given"),
    "no gate feature": ({"gate_features": ["q"]}, ValueError, "gate_features has 'q', which is not a column of X"),
    "weights vary": ({"groups": "g", "sample_weight": "w"}, ValueError, "sample_weight differs within a group"),
    "negative weights": ({"sample_weight": "z"}, ValueError, "sample_weight has negative values"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_role_that_cannot_be_is_an_error_before_the_fit(case, tmp_path):
    given, kind, message = WRONG[case]
    given = {"y": "y", "gate": "constant", "columns": ["a"], **given}
    options = {name: given.pop(name) for name in ("gate", "gate_features") if name in given}
    table = ParquetTable(write(tmp_path / "rows.parquet"), given.pop("columns"))
    begun = []
    with pytest.raises(kind, match=re.escape(message)):
        model(**options, verbose=lambda *stage: begun.append(stage)).fit(table, **given)
    assert not begun


@pytest.mark.parametrize("role", ["z", "y", "w", "g"])
@pytest.mark.parametrize("bad", [None, np.nan])
def test_missing_values_in_any_role_are_an_error_before_the_fit(role, bad, tmp_path):
    values = pa.array([*FRAME[role].tolist()[:-1], bad], from_pandas=False) if role != "g" or bad is None else None
    values = pa.array([*(np.arange(899) // 3.0), np.nan], from_pandas=False) if values is None else values
    table = pa.Table.from_pandas(FRAME)
    table = table.set_column(table.schema.get_field_index(role), role, values)
    pq.write_table(table, tmp_path / "rows.parquet", row_group_size=128)
    begun = []
    chosen = model(gate="constant", verbose=lambda *stage: begun.append(stage))
    with pytest.raises(ValueError, match=f"column '{role}' of .* has (missing values|NaN|labels that are missing)"):
        chosen.fit(ParquetTable(tmp_path / "rows.parquet", ["z"]), "y", sample_weight="w", groups="g")
    assert not begun


@pytest.mark.parametrize("kind", ["files", "memory"])
def test_clusters_weights_and_groups_of_inference_are_columns(kind, tmp_path):
    frame = FRAME.assign(site=[f"site {i}" for i in np.random.default_rng(0).integers(0, 40, len(FRAME))])
    frame["w"] = np.repeat(np.random.default_rng(1).integers(0, 3, len(FRAME) // 3), 3)
    table = ParquetTable(write(tmp_path / "rows.parquet", frame), ["a", "z"])
    if kind == "memory":
        table = ParquetTable(ds.dataset(pa.Table.from_pandas(frame, preserve_index=False)), ["a", "z"])
    roles = {"sample_weight": "w", "groups": "g"}
    fitted = model(gate="constant").fit(table, "y", **roles)
    frame["site"] = np.repeat(frame["site"].to_numpy()[::3], 3)  # one cluster per group
    with pytest.raises(ValueError, match="clusters differ within a group"):
        fitted.inference(table, "y", **roles, kind="sandwich", clusters="site")
    again = pa.Table.from_pandas(frame, preserve_index=False)
    table = ParquetTable(write(tmp_path / "more.parquet", frame) if kind == "files" else ds.dataset(again), ["a", "z"])
    found = fitted.inference(table, "y", **roles, kind="sandwich", clusters="site").standard_errors()
    given = {name: frame[column] for name, column in roles.items()}
    plain = fitted.inference(frame[["a", "z"]], frame["y"], **given, kind="sandwich", clusters=frame["site"])
    for path, error in plain.standard_errors().items():
        np.testing.assert_allclose(found[path], error, rtol=1e-8, atol=1e-12, err_msg=path)
    same_labels = fitted.inference(table, "y", **roles, kind="sandwich", clusters=frame["site"].to_numpy())
    np.testing.assert_allclose(same_labels.standard_errors()["experts.coef"], found["experts.coef"], rtol=1e-12)
    with pytest.raises(ValueError, match="has no column 'sites': did you mean 'site'"):
        fitted.inference(table, "y", **roles, kind="sandwich", clusters="sites")
    with pytest.raises(ValueError, match="clusters='site': a name is for pyarrow tables"):
        fitted.inference(frame[["a", "z"]], frame["y"], **given, kind="sandwich", clusters="site")


def test_a_pyarrow_table_in_memory_is_read_by_names_or_as_columns():
    table = pa.Table.from_pandas(FRAME[["a", "b", "z", "y", "w"]], preserve_index=False)
    weight = FRAME["w"].to_numpy()
    plain = model().fit(FRAME[["a", "b", "z"]], FRAME["y"], sample_weight=weight)
    named = model().fit(table, "y", sample_weight="w")
    same(named, plain)
    arrays = model().fit(table.select(["a", "b", "z"]), table["y"].to_numpy(), sample_weight=weight)
    same(arrays, plain)
    again = arrays.fit(table.select(["a", "b"]), FRAME["y"])  # a second fit forgets the names of the first
    assert again.feature_names_in_.tolist() == ["a", "b"]
    np.testing.assert_allclose(named.predict(table), plain.predict(FRAME[["a", "b", "z"]]), **CLOSE)
    assert named.score(table, "y", sample_weight="w") == pytest.approx(
        plain.score(FRAME[["a", "b", "z"]], FRAME["y"], sample_weight=weight)
    )
    errors = named.inference(table, "y", sample_weight="w").standard_errors()
    np.testing.assert_allclose(errors["experts.coef"], plain.standard_errors_["experts.coef"], **CLOSE)
    with pytest.raises(ValueError, match="has no column 'x'"):
        model().fit(table, "x")


def test_a_column_of_every_role_leaves_no_feature(tmp_path):
    write(tmp_path / "rows.parquet", FRAME[["y", "w"]])
    with pytest.raises(ValueError, match="has no column besides 'y', 'w': give it features"):
        model().fit(tmp_path / "rows.parquet", "y", sample_weight="w")


def test_a_prediction_needs_names_and_finite_columns(fitted, tmp_path):
    path = write(tmp_path / "rows.parquet", FRAME[["a", "b"]])
    with pytest.raises(ValueError, match="has no column 'z'"):
        fitted.predict(path)
    write(path, FRAME.assign(z=[np.nan, *FRAME["z"][1:]]))
    with pytest.raises(ValueError, match=r"column 'z' of .* has (missing values|NaN), first in row 0"):
        fitted.predict(path)
    nameless = model().fit(FRAME[["a", "b"]].to_numpy(), FRAME["y"])
    with pytest.raises(ValueError, match="the model was fitted without column names"):
        nameless.predict(path)


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "100", "NO_COLOR": "1"})


@pytest.mark.parametrize(
    "roles",
    [[], ["--gate-features", "z"], ["--features", "a,b", "--gate-features", "z,a", "--weights", "w"]],
    ids=["all", "gate features", "gate inputs and weights"],
)
def test_the_command_line_fits_and_predicts_from_files_as_from_csv(roles, tmp_path):
    frame = FRAME[["a", "b", "z", "y", *(["w"] if "--weights" in roles else [])]].astype(float).round(4)
    frame.to_csv(tmp_path / "rows.csv", index=False)
    (tmp_path / "rows").mkdir()
    write(tmp_path / "rows" / "0.parquet", frame)
    read = []
    for table in ("rows.csv", "rows"):
        out, page = tmp_path / "model.json", tmp_path / "page.html"
        done = run("fit", tmp_path / table, "--target", "y", "--starts", 2, *roles, "--out", out, "--report", page)
        assert done.exit_code == 0, done.stderr
        assert "<svg" in page.read_text("utf-8")
        predicted = run("predict", out, tmp_path / table)
        assert predicted.exit_code == 0, predicted.stderr
        read.append((load_model(out), predicted.stdout))
    same(read[1][0], read[0][0])
    numbers = [np.array(text.split()[1:], dtype=float) for _, text in read]
    np.testing.assert_allclose(*numbers, **CLOSE)


def test_the_code_of_a_page_gives_the_same_fit(tmp_path):
    path = write(tmp_path / "rows.parquet", FRAME[["a", "b", "z", "y", "w"]])
    from gatewise.report import own_data, parquet, reading

    data = parquet.prepare_table(path, reading.Roles("y", ("a", "b"), ("z",), "w"))
    outcome = own_data.fit_table(str(path), data, {"n_experts": 2, "n_init": 3, "random_state": 0})
    namespace = {}
    exec(compile(outcome.code, "code", "exec"), namespace)
    same(namespace["model"], outcome.model)


def test_pictures_show_a_sample_in_which_groups_are_whole(tmp_path):
    from gatewise.report import parquet, reading

    big = BIG.assign(g=np.arange(len(BIG)) // 7)
    path = write(tmp_path / "rows.parquet", big)
    data = parquet.prepare_table(path, reading.Roles("y", ("a",), (), None, "g"))
    seen = data.drawn
    assert 1500 < len(seen.X) <= 2100
    assert seen.groups.value_counts()[:-1].eq(7).all()
    np.testing.assert_array_equal(seen.y[seen.groups == seen.groups[7]], big["y"][big["g"] == seen.groups[7]])
    assert "about 2000 of them" in data.shown
    plain = parquet.prepare_table(path, reading.Roles("y", ("a",))).drawn
    np.testing.assert_array_equal(plain.y, big["y"][::15])


def test_the_command_line_leaves_predictions_empty_where_values_are_missing(fitted, tmp_path):
    save_model(fitted, tmp_path / "m.json")
    path = write(tmp_path / "rows.parquet", FRAME.assign(z=[np.nan, *FRAME["z"][1:]]))
    done = run("predict", tmp_path / "m.json", path, "--out", tmp_path / "p.csv")
    assert done.exit_code == 0
    assert "1 rows with missing values have no prediction" in done.stderr
    found = pd.read_csv(tmp_path / "p.csv", skip_blank_lines=False)["prediction"]
    assert found.isna().tolist() == [True] + [False] * (len(FRAME) - 1)
    np.testing.assert_allclose(found[1:], fitted.predict(FRAME[["a", "b", "z"]])[1:], **CLOSE)


def test_the_command_line_names_faults_of_files(tmp_path, monkeypatch):
    path = write(tmp_path / "rows.parquet")
    done = run("fit", path, "--target", "yy")
    assert (done.exit_code, done.stderr.startswith("error: there is no column 'yy': did you mean 'y'")) == (2, True)
    done = run("fit", path, "--target", "y")
    assert done.exit_code == 2
    assert "column 'g' holds text" in done.stderr
    assert "--features" in done.stderr
    (tmp_path / "bad.parquet").write_text("a,b\n")
    done = run("fit", tmp_path / "bad.parquet", "--target", "y")
    assert (done.exit_code, "cannot be read as Parquet" in done.stderr) == (2, True)
    monkeypatch.setitem(sys.modules, "pyarrow.dataset", None)
    done = run("fit", path, "--target", "y")
    assert (done.exit_code, "pip install 'gatewise[parquet]'" in done.stderr) == (2, True)


def test_json_counts_the_rows_of_files(tmp_path):
    path = write(tmp_path / "rows.parquet", FRAME[["a", "y"]])
    done = run("fit", path, "--target", "y", "--starts", 2, "--json")
    assert json.loads(done.stdout)["rows"] == len(FRAME)
