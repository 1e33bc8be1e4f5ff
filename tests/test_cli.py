"""The command line: what it prints, what it writes, how it ends."""

import io
import json
import os
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import gatewise
from gatewise import data, moe
from gatewise.cli import app
from gatewise.report import demo as cases

HEAVY = {"torch", "sklearn", "pandas", "matplotlib", "jinja2", "scipy", "numpy"}


def run(*arguments):
    """Run a verb; anything but a clean exit is a failure of the test."""
    result = CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "100", "NO_COLOR": "1"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture
def tone(tmp_path):
    path = tmp_path / "tone.csv"
    data.load("tone").frame.to_csv(path, index=False)
    return path


def fit(table, *more, target="tuned"):
    return run("fit", table, "--target", target, "--starts", 2, *more)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["fit", "--help"], ["demo", "--help"]])
def test_help_is_light(arguments):
    code = (
        f"import sys; sys.argv = ['gatewise', *{arguments!r}]\n"
        "from gatewise.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n"
        f"    print(end.code, sorted(set(sys.modules) & {HEAVY!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"


def test_listing_the_data_sets_is_light_too():
    code = (
        "import sys; sys.argv = ['gatewise', 'data', 'list']\n"
        "from gatewise.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n"
        f"    print(sorted(set(sys.modules) & {HEAVY!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert all(name in done.stdout for name in data.names())
    assert "GPL-2.0-or-later" in done.stdout


def test_the_version_is_that_of_the_package():
    assert run("--version").stdout == f"gatewise {gatewise.__version__}\n"


def test_fit_says_status_in_words_and_writes_model_and_page(tone, tmp_path):
    model, page = tmp_path / "m.json", tmp_path / "r.html"
    result = fit(tone, "--out", model, "--report", page)
    assert result.exit_code == 0
    assert "Status: converged: a local optimum" in result.stdout
    assert f"wrote {model}" in result.stderr
    assert "<svg" in page.read_text("utf-8")
    out = tmp_path / "p.csv"
    assert run("predict", model, tone, "--out", out).exit_code == 0
    frame = data.load("tone").frame
    expected = gatewise.load_model(model).predict(frame[["stretchratio"]])
    head, *values = out.read_text().splitlines()
    assert head == "prediction"
    np.testing.assert_array_equal([float(value) for value in values], expected)
    printed = run("predict", model, tone).stdout
    assert printed == out.read_text()
    again = fit(tone, "--out", model)
    assert "(in place of an earlier file)" in again.stderr


def test_fit_is_the_regressor(tone):
    found = json.loads(fit(tone, "--gate", "laplace", "--seed", 3, "--json").stdout)
    loaded = data.load("tone")
    model = gatewise.MixtureOfExpertsRegressor(2, "laplace", n_init=2, random_state=3).fit(loaded.X, loaded.y)
    assert found["log_likelihood"] == model.log_likelihood_
    assert (found["df"], found["status"]) == (model.fit_.df, str(model.status_))
    assert found["bic"] == pytest.approx(model.bic())


def test_honest_statuses_are_not_errors(tone):
    result = fit(tone, "--gate", "dense-to-sparse")
    assert result.exit_code == 0
    assert "Status: unidentified: some direction of the parameters" in result.stdout


def test_fit_takes_levels_families_weights_and_groups(tmp_path):
    frame = data.load("npreg").frame.assign(w=1)
    table = tmp_path / "npreg.csv"
    frame.to_csv(table, index=False)
    common = ("--features", "x", "--starts", 1)
    counted = run("fit", table, "--target", "yp", "--family", "poisson", "--weights", "w", "--json", *common)
    assert json.loads(counted.stdout)["log_likelihood"] == pytest.approx(-440.5513, abs=1e-3)
    tree = run("fit", table, "--target", "yn", "--gate", "laplace,softmax", "--experts", "2,2", "--json", *common)
    assert json.loads(tree.stdout)["branching"] == [2, 2]
    page = tmp_path / "g.html"
    grouped = run(
        "fit", table, "--target", "yn", "--gate", "constant", "--groups", "id1", "--report", page, "--json", *common
    )
    assert grouped.exit_code == 0, grouped.stderr
    assert "groups=frame[&#39;id1&#39;]" in page.read_text("utf-8")


def test_rows_with_missing_values_are_counted(tone):
    with tone.open("a") as file:
        file.write("2.5,\n,2\n")
    result = fit(tone)
    assert result.stdout.startswith("2 rows with missing values were left out, 150 are used")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target", "tune"], "error: there is no column 'tune': did you mean 'tuned'?"),
        (["--target", "tuned", "--gate", "laplas"], "error: gate 'laplas' is unknown: did you mean 'laplace'?"),
        (["--target", "tuned", "--gate", "softmax,laplace"], "error: gate has 2 entries for 1 level"),
        (["--target", "tuned", "--experts", "2.5"], "error: --experts 2.5: give a whole number"),
        (["--target", "tuned", "--experts", "0"], "error: n_experts=0"),
        (["--target", "tuned", "--experts", "200"], "error: "),
        (["--target", "tuned", "--expert", "lin"], "error: expert 'lin' is unknown"),
        (["--target", "tuned", "--family", "poisson"], "a value that is not whole"),
        (["--target", "tuned", "--starts", "0"], "error: n_init=0"),
        (["--target", "tuned", "--min-scale", "-1"], "error: min_scale="),
        (["--target", "tuned", "--alpha", "-1"], "error: alpha=-1.0"),
        (["--target", "tuned", "--gate", "sigmoid"], "error: gate 0 has the link Sigmoid"),
        (["--target", "tuned", "--out", "nowhere/m.json"], "error: there is no directory nowhere"),
        (["--target", "tuned", "--device", "tpu"], "error: device='tpu': fits run on the CPU or, by CUDA, on a GPU"),
        ([], "neither --target nor --formula"),
        (["--target", "tuned", "--starts", "many"], "integer"),
    ],
)
def test_what_a_user_can_mend_is_one_clear_message(tone, arguments, message):
    result = run("fit", tone, *arguments)
    assert result.exit_code == 2
    assert message in re.sub(r"\s+", " ", result.stderr)
    assert "Traceback" not in result.output


@pytest.mark.parametrize("verb", ["fit", "predict"])
def test_a_missing_file_is_one_clear_message(tmp_path, verb):
    arguments = (["nothing.csv", "--target", "y"], ["nothing.json", "nothing.csv"])[verb == "predict"]
    result = run(verb, *arguments)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert result.stderr.startswith("error: there is no")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[: len(text) // 2], "is not complete JSON"),
        (lambda text: text.replace('"log_likelihood"', '"log_likelihooe"', 1), "does not match its SHA-256"),
        (lambda text: text.replace('"schema": 5', '"schema": 99'), "reads up to schema"),
        (lambda text: "[]", "is JSON but not a gatewise model"),
    ],
)
def test_a_damaged_model_is_refused(tone, tmp_path, damage, message):
    model = tmp_path / "m.json"
    fit(tone, "--out", model)
    model.write_text(damage(model.read_text("utf-8")), "utf-8")
    result = run("predict", model, tone)
    assert result.exit_code == 2
    assert message in result.stderr


@pytest.mark.parametrize("where", ["gatewise.report.own_data.fit_table", "gatewise.files._sync"])
def test_an_interruption_leaves_no_half_written_file(tone, tmp_path, monkeypatch, where):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(where, interrupt)
    result = fit(tone, "--out", tmp_path / "m.json")
    assert result.exit_code == 130
    assert "interrupted: no file was left half-written" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["tone.csv"]


def test_files_are_written_before_anything_is_said_about_the_fit(tone, tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("advice failed")

    monkeypatch.setattr("gatewise.report.facts", fail)
    result = fit(tone, "--out", tmp_path / "m.json", "--report", tmp_path / "r.html", "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert gatewise.load_model(tmp_path / "m.json").fit_.n == 150.0
    assert "<svg" in (tmp_path / "r.html").read_text("utf-8")


def test_a_model_is_written_where_its_page_and_summary_fail(tone, tmp_path, monkeypatch):
    def fail(self):
        raise RuntimeError("advice failed")

    monkeypatch.setattr(gatewise.MixtureOfExpertsRegressor, "summary", fail)
    result = fit(tone, "--out", tmp_path / "m.json", "--report", tmp_path / "r.html")
    assert (result.exit_code, result.stdout) == (1, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.json", "tone.csv"]
    assert gatewise.load_model(tmp_path / "m.json").fit_.n == 150.0


def to_a_pipe(path):
    os.mkfifo(path)
    return "is a pipe"


def to_a_device(path):
    path.symlink_to("/dev/full")
    return "is a device"


def to_a_directory(path):
    path.mkdir()
    return "is a directory"


@pytest.mark.parametrize("make", [to_a_pipe, to_a_device, to_a_directory])
@pytest.mark.parametrize("option", ["--out", "--report"])
def test_what_is_no_regular_file_is_refused_before_the_fit(tone, tmp_path, make, option):
    path = tmp_path / "place"
    words = make(path)
    before = path.lstat().st_mode
    result = fit(tone, option, path)
    assert result.exit_code == 2
    assert words in result.stderr
    assert path.lstat().st_mode == before


def test_links_are_written_through(tone, tmp_path):
    (tmp_path / "link.json").symlink_to(tmp_path / "real.json")
    assert fit(tone, "--out", tmp_path / "link.json").exit_code == 0
    assert (tmp_path / "link.json").is_symlink()
    assert gatewise.load_model(tmp_path / "real.json").status_ == "converged"
    (tmp_path / "p.csv").symlink_to("/dev/full")
    refused = run("predict", tmp_path / "real.json", tone, "--out", tmp_path / "p.csv")
    assert refused.exit_code == 2
    assert "is a device" in refused.stderr


FAULTS = {
    "index": ("[].index(0)", "ValueError: 0 is not in list"),
    "torch": ("import torch\n    torch.ones(2) + torch.ones(3)", "RuntimeError: The size of tensor a (2)"),
    "numpy": ("import numpy\n    numpy.ones(2).reshape(3)", "ValueError: cannot reshape array of size 2"),
    "type": ("len(3)", "TypeError: object of type 'int' has no len()"),
    "singular": ("import numpy\n    numpy.linalg.inv(numpy.zeros((2, 2)))", "LinAlgError: Singular matrix"),
    "key": ("{}['a']", "KeyError: 'a'"),
}


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("asked", [True, False])
def test_a_fault_of_gatewise_says_so_and_shows_where_when_asked(tone, tmp_path, monkeypatch, name, asked):
    code, words = FAULTS[name]
    scope = {}
    exec(compile(f"def fail(*_):\n    {code}\n", "elsewhere.py", "exec"), scope)
    monkeypatch.setattr("gatewise.report.own_data.fit_table", scope["fail"])
    result = run(*["--traceback"][:asked], "fit", tone, "--target", "tuned", "--out", tmp_path / "m.json")
    assert result.exit_code == 1
    assert f"gatewise failed: {words}" in result.stderr
    assert "this is a fault of gatewise" in result.stderr
    assert "gatewise --traceback" in result.stderr
    assert ("Traceback (most recent call last)" in result.stderr) == asked
    assert not (tmp_path / "m.json").exists()


def test_what_a_user_can_mend_shows_where_when_asked(tone):
    result = run("--traceback", "fit", tone, "--target", "tune")
    assert result.exit_code == 2
    assert "Traceback (most recent call last)" in result.stderr
    assert "\nerror: there is no column 'tune': did you mean 'tuned'?" in result.stderr
    assert "Traceback" not in run("fit", tone, "--target", "tune").stderr


def test_the_traceback_may_be_asked_for_after_the_command(tone):
    code = f"import sys; sys.argv = ['gatewise', 'fit', {str(tone)!r}, '--target', 'tune', '--traceback']\n"
    code += "from gatewise.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Traceback (most recent call last)" in done.stderr


def test_values_that_arrays_may_not_have_are_the_users(tone):
    tone.write_text(tone.read_text().replace("\n", "\ninf,2\n", 1))
    result = fit(tone)
    assert result.exit_code == 2
    assert "infinity" in result.stderr


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cases, "STARTS", 2)
        result = run("demo", "--quick", "--out", folder / "out")
    return result, folder / "out" / "index.html"


def test_demo_prints_tables_with_honest_statuses(shown):
    result, page = shown
    assert result.exit_code == 0
    rows = {tuple(line.split()[:1]): line.split() for line in result.stdout.splitlines() if re.search(r"\d/\d", line)}
    assert rows["dense-to-sparse",][6] == "unidentified"
    tone = [line.split() for line in result.stdout.splitlines() if "/2" in line][:3]
    assert tone[0][2] == tone[2][2], "dense-to-sparse has the log-likelihood of softmax"
    assert "unidentified: some direction of the parameters" in re.sub(r"\s+", " ", result.stdout)
    assert f"wrote {page}" in result.stdout


def test_demo_writes_one_page(shown):
    _, page = shown
    assert [path.name for path in page.parent.iterdir()] == ["index.html"]
    text = page.read_text("utf-8")
    quick = [case for case in cases.CASES if case.name in cases.QUICK]
    assert text.count("<svg") == sum(len(case.choices) for case in quick)
    assert all(case.title in text for case in quick)


def test_demo_refuses_a_file_as_directory(tmp_path):
    (tmp_path / "out").write_text("")
    result = run("demo", "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "is a file: give the name of a directory" in result.stderr


def test_identify_proves():
    told = run("identify", "--gate", "cosine", "--order", 1, "--d", 3, "--proof").stdout
    assert "1 relation that holds identically" in told
    assert "(weight[0], weight[1], weight[2]) along" in re.sub(r"\s+", " ", told) or "along (weight[2]" in told
    found = json.loads(run("identify", "--family", "poisson", "--outputs", 2, "--d", 1, "--proof", "--json").stdout)
    assert found["proof"]["decided"]
    assert len(found["proof"]["relations"]) == found["nullity"]
    assert found["title"].endswith("2 responses")
    grouped = run("identify", "--group-size", 2, "--d", 1, "--proof").stdout
    assert "no relation between them" in grouped
    plain = json.loads(run("identify", "--d", 1, "--json").stdout)
    assert plain["proof"] is None


def ran(*arguments):
    """Exit code, output and messages of a verb."""
    result = run(*arguments)
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def sites(tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.uniform(0.1, 3.0, 120), "site": rng.choice(["1", "2", "b"], 120)})
    low = rng.random(120) < 0.5
    frame["y"] = np.where(low, 1 + 2 * frame.x, 9 - frame.x) + (frame.site == "b") + 0.2 * rng.normal(size=120)
    frame["hours"] = rng.uniform(1.0, 9.0, 120)
    frame["count"] = rng.poisson(frame.hours * np.exp(0.5 * frame.x))
    frame.loc[3, "x"] = np.nan
    frame.to_csv(tmp_path / "sites.csv", index=False)
    frame.to_parquet(tmp_path / "sites.parquet")
    return frame


@pytest.mark.parametrize("name", ["sites.csv", "sites.parquet"])
def test_a_formula_fits_and_predicts_as_in_python(sites, tmp_path, name):
    table, model, page = tmp_path / name, tmp_path / "m.json", tmp_path / "p.html"
    options = ("--formula", "y ~ x + C(site)", "--gate-formula", "~ 1", "--shared", "C(site)", "--starts", 5)
    code, out, err = ran("fit", table, *options, "--out", model, "--report", page)
    assert code == 0, err
    assert "1 rows with missing values were left out, 119 are used" in out
    assert "formula y ~ x + C(site)" in out
    assert "from gatewise import moe" in page.read_text()
    wanted = moe("y ~ x + C(site)", sites, gate_formula="~ 1", shared="C(site)", n_init=5, random_state=0)
    code, out, err = ran("predict", model, table)
    assert code == 0, err
    found = pd.read_csv(io.StringIO(out), skip_blank_lines=False)["prediction"]
    np.testing.assert_allclose(found.drop(3), wanted.predict(sites.drop(3)), rtol=1e-12)
    assert np.isnan(found[3])
    assert "1 rows with missing values have no prediction" in err
    sites[sites.site != "b"].dropna().to_csv(table.with_suffix(".few.csv"), index=False)  # whole numbers now
    assert ran("predict", model, table.with_suffix(".few.csv"))[0] == 0


def test_a_formula_takes_an_offset(sites, tmp_path):
    options = ("--formula", "count ~ x", "--offset", "log(hours)", "--family", "poisson", "--gate", "constant")
    code, out, err = ran("fit", tmp_path / "sites.csv", *options, "--starts", 3, "--json", "--out", tmp_path / "m.json")
    assert code == 0, err
    assert json.loads(out)["rows"] == 119
    assert ran("predict", tmp_path / "m.json", tmp_path / "sites.csv")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--formula", "y ~ x", "--target", "y"), "leave --target out"),
        (("--formula", "y ~ x", "--gate-features", "x"), "leave --gate-features out"),
        (("--target", "y", "--offset", "hours"), "--offset is given without --formula"),
        (("--target", "y", "--gate-formula", "~ x"), "--gate-formula is given without --formula"),
        ((), "neither --target nor --formula"),
        (("--formula", "y ~ q"), "there is no column 'q'"),
        (("--formula", "y ~ open('f')"), "may not use"),
        (("--formula", "count ~ x", "--offset", "log(hours)", "--report", "p.html"), "leave --report out"),
    ],
)
def test_what_is_wrong_with_a_formula_is_one_clear_message(sites, tmp_path, arguments, message):
    code, _, err = ran("fit", tmp_path / "sites.csv", *arguments)
    assert code == 2
    assert message in " ".join(err.split())


@pytest.mark.parametrize("formula", [("--target", "y", "--features", "x,hours,count"), ("--formula", "y ~ x + hours")])
def test_tables_of_other_countries_are_fitted_and_predicted_as_any(sites, tmp_path, formula):
    sites.to_csv(tmp_path / "de.csv", index=False, sep=";", decimal=",")
    options = (*formula, "--starts", 2, "--out", tmp_path / "m.json")
    code, _, err = ran("fit", tmp_path / "de.csv", *options)
    assert (code, "seem to be separated by semicolons, and not by commas; give --sep ';'" in err) == (2, True)
    code, _, err = ran("fit", tmp_path / "de.csv", "--sep", ";", *options)
    assert (code, "where commas are decimal, give --decimal ," in err) == (2, True)
    marks = ("--sep", ";", "--decimal", ",")
    code, out, err = ran("fit", tmp_path / "de.csv", *marks, *options, "--report", tmp_path / "p.html")
    assert code == 0, err
    wanted = ran("fit", tmp_path / "sites.csv", *formula, "--starts", 2)[1]
    assert out == wanted
    assert "sep=&#39;;&#39;, decimal=&#39;,&#39;)" in (tmp_path / "p.html").read_text()
    found = ran("predict", tmp_path / "m.json", tmp_path / "de.csv", *marks)
    assert found == ran("predict", tmp_path / "m.json", tmp_path / "sites.csv")
    assert found[0] == 0
    code, _, err = ran("predict", tmp_path / "m.json", tmp_path / "sites.parquet", *marks)
    assert (code, "--sep and --decimal are for text files" in err) == (2, True)


def test_numbers_that_a_formula_reads_as_levels_are_told(sites, tmp_path):
    sites.assign(x=sites.x.map("{} m".format)).to_csv(tmp_path / "t.csv", index=False)
    code, out, _ = ran("fit", tmp_path / "t.csv", "--formula", "y ~ x + hours", "--experts", 1, "--starts", 1)
    assert (code, "Warning: the factor x has 120 levels in 120 rows" in " ".join(out.split())) == (0, True)


def test_several_targets_are_one_model_of_several_responses(sites, tmp_path):
    sites = sites.assign(second=2 * sites["y"] + np.sin(np.arange(len(sites))))
    sites[["y", "second", "x", "hours"]].rename(columns={"hours": "open hours"}).to_csv(tmp_path / "t.csv", index=False)
    options = ("--target", "y,second", "--starts", 3, "--out", tmp_path / "m.json", "--report", tmp_path / "r.html")
    code, out, err = ran("fit", tmp_path / "t.csv", *options)
    assert not code, err
    assert "`open hours`" in out
    model = gatewise.load_model(tmp_path / "m.json")
    assert model.n_outputs_ == 2
    assert list(model.feature_names_in_) == ["x", "open hours"]
    code, out, err = ran("predict", tmp_path / "m.json", tmp_path / "t.csv")
    assert not code, err
    assert len(out.splitlines()[0].split(",")) == 2
    code, out, err = ran(
        "fit",
        tmp_path / "t.csv",
        "--target",
        "y,second",
        "--features",
        "x",
        "--gate-features",
        "open hours",
        "--starts",
        3,
    )
    assert not code, err
    assert "gates   ~ open hours" in out or "~ `open hours`" in out
    code, _, err = ran("fit", tmp_path / "t.csv", "--target", "y,second,x,open hours")
    assert code == 2
    assert "no column is left" in err


def test_classes_by_a_formula(sites, tmp_path):
    sites = sites.assign(kind=np.where(sites["y"] + np.sin(9 * np.arange(len(sites))) > 5, "high", "low"))
    sites[["kind", "x"]].to_csv(tmp_path / "t.csv", index=False)
    options = ("--formula", "kind ~ x", "--family", "categorical", "--experts", 1, "--starts", 2)
    code, out, err = ran("fit", tmp_path / "t.csv", *options, "--out", tmp_path / "m.json")
    assert code == 0, err
    assert "kind ~ x" in out
    code, out, err = ran("predict", tmp_path / "m.json", tmp_path / "t.csv")
    assert code == 0, err
    found = pd.read_csv(io.StringIO(out), skip_blank_lines=False)["prediction"]
    model = gatewise.load_model(tmp_path / "m.json")
    assert found.drop(3).tolist() == model.predict(sites.drop(3)).tolist()
    assert set(found.drop(3)) == {"high", "low"}
    assert found.isna()[3]  # where x is missing
    code, _, err = ran("fit", tmp_path / "t.csv", *options, "--report", tmp_path / "r.html")
    assert (code, "leave --report out" in err) == (2, True)


def test_classes_of_one_column_are_a_target_too(sites, tmp_path):
    sites = sites.assign(kind=np.where(sites["y"] + np.sin(9 * np.arange(len(sites))) > 5, "high", "low"))
    sites[["kind", "x", "y", "hours"]].to_csv(tmp_path / "t.csv", index=False)
    sites[["kind", "x", "y", "hours"]].to_parquet(tmp_path / "t.parquet")
    options = ("--family", "categorical", "--experts", 1, "--starts", 2)
    wanted = ran("fit", tmp_path / "t.csv", "--formula", "kind ~ x + y + hours", *options)
    for table in ("t.csv", "t.parquet"):
        found = ran("fit", tmp_path / table, "--target", "kind", *options)
        assert found == wanted
        assert found[0] == 0
    code, _, err = ran("fit", tmp_path / "t.csv", "--target", "kind", *options, "--report", tmp_path / "r.html")
    assert (code, "leave --report out" in err) == (2, True)


@pytest.mark.parametrize("verb", ["fit", "predict"])
def test_parquet_that_cannot_be_read_is_one_clear_message(sites, tmp_path, verb):
    assert ran("fit", tmp_path / "sites.csv", "--formula", "y ~ x", "--starts", 1, "--out", tmp_path / "m.json")[0] == 0
    (tmp_path / "bad.parquet").write_text("x,y,hours")
    sites[:0].to_parquet(tmp_path / "none.parquet")
    for name, words in (("bad", "cannot be read as Parquet"), ("none", "has no rows: give a table with one row per")):
        table = tmp_path / f"{name}.parquet"
        code, _, err = (
            ran("fit", table, "--formula", "y ~ x") if verb == "fit" else ran("predict", tmp_path / "m.json", table)
        )
        assert (code, words in err) == (2, True), err
