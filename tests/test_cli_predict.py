"""What the command line predicts beside the mean, what it says as JSON, and how soon it refuses."""

import io
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from gatewise import MixtureOfExpertsRegressor, load_model, moe, save_model
from gatewise.cli import app
from gatewise.cli.listing import FILE, computed


def run(*words):
    done = CliRunner().invoke(app, list(map(str, words)))
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A table of three features with a gap, in two formats, and models of numbers and of classes."""
    folder = tmp_path_factory.mktemp("home")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(120, 3)), columns=["a", "b", "c"])
    frame["y"] = np.where(frame.a > rng.normal(size=120), 1 + frame.b, 3 - frame.c) + 0.1 * rng.normal(size=120)
    frame["z"] = frame.y + rng.normal(size=120)
    frame["kind"] = np.where(frame.a + frame.b > rng.normal(size=120), "yes", "no")
    options = {"n_init": 1, "random_state": 0}
    plain = MixtureOfExpertsRegressor(2, **options).fit(frame[["a", "b", "c"]], frame.y)
    save_model(plain, folder / "plain.json")
    save_model(moe("y + z ~ a + b + c", frame, **options), folder / "several.json")
    save_model(moe("kind ~ a + b + c", frame, family="categorical", n_experts=1, **options), folder / "kinds.json")
    frame.loc[3, "b"] = np.nan
    frame.to_csv(folder / "t.csv", index=False)
    frame.to_parquet(folder / "t.parquet")
    return folder


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_intervals_experts_and_weights_stand_beside_the_mean(home, kind):
    words = ("predict", home / "plain.json", home / f"t.{kind}", "--interval", 0.8, "--class", "--gate")
    code, out, err = run(*words)
    assert (code, "1 rows with missing values" in err) == (0, True)
    found = pd.read_csv(io.StringIO(out), skip_blank_lines=False)
    x = pd.read_csv(home / "t.csv")[["a", "b", "c"]].drop(3)
    model = load_model(home / "plain.json")
    wanted = np.column_stack(
        [model.predict(x), model.predict_interval(x, 0.8), model.predict_class(x), model.gate_proba(x)]
    )
    assert list(found) == ["prediction", "lower", "upper", "expert", "gate 0", "gate 1"]
    np.testing.assert_allclose(found.drop(3).to_numpy(), wanted, rtol=1e-12)
    assert found.loc[3].isna().all()
    assert out.splitlines()[1].split(",")[3] in ("0", "1")  # a whole number although a row has none


def test_several_responses_have_their_names(home):
    code, out, _ = run("predict", home / "several.json", home / "t.csv", "--interval", 0.5)
    found = pd.read_csv(io.StringIO(out), skip_blank_lines=False)
    names = [f"{what} of {one}" for what in ("prediction", "lower", "upper") for one in ("y", "z")]
    assert (code, list(found)) == (0, names)
    frame = pd.read_csv(home / "t.csv").drop(3)
    ends = load_model(home / "several.json").predict_interval(frame, 0.5)
    np.testing.assert_allclose(found.drop(3)["upper of z"], ends[:, 1, 1], rtol=1e-12)


def test_classes_have_probabilities(home):
    code, out, _ = run("predict", home / "kinds.json", home / "t.csv", "--proba")
    found = pd.read_csv(io.StringIO(out), skip_blank_lines=False)
    assert (code, list(found)) == (0, ["prediction", "probability of no", "probability of yes"])
    whole = found.drop(3)
    assert np.allclose(whole["probability of no"] + whole["probability of yes"], 1)
    assert ((whole["probability of yes"] > 0.5) == (whole.prediction == "yes")).all()


def test_what_a_model_cannot_give_is_refused(home):
    code, _, err = run("predict", home / "plain.json", home / "t.csv", "--proba")
    assert (code, "give --interval instead" in err) == (2, True)
    code, _, err = run("predict", home / "kinds.json", home / "t.csv", "--interval", 0.9)
    assert (code, "give --proba instead" in err) == (2, True)
    code, _, err = run("predict", home / "plain.json", home / "t.csv", "--interval", 1.5)
    assert (code, "1.5" in err) == (2, True)


def test_a_table_of_gaps_alone_has_all_columns(home, tmp_path):
    pd.read_csv(home / "t.csv").assign(a=np.nan).to_csv(tmp_path / "gaps.csv", index=False)
    code, out, _ = run("predict", home / "plain.json", tmp_path / "gaps.csv", "--gate")
    found = pd.read_csv(io.StringIO(out), skip_blank_lines=False)
    assert (code, list(found), len(found)) == (0, ["prediction", "gate 0", "gate 1"], 120)
    assert found.isna().all(axis=None)


def test_json_has_coefficients_with_their_errors(home):
    words = ("fit", home / "t.csv", "--target", "y", "--features", "a,b,c", "--starts", 1, "--json")
    code, out, _ = run(*words)
    found = json.loads(out)
    model = MixtureOfExpertsRegressor(2, n_init=1, random_state=0)
    frame = pd.read_csv(home / "t.csv").drop(3)
    shown = model.fit(frame[["a", "b", "c"]], frame.y).summary().to_frame()
    assert (code, len(found["parameters"])) == (0, len(shown))
    for one, (_, row) in zip(found["parameters"], shown.iterrows(), strict=True):
        assert one["parameter"] == row["parameter"]
        assert one["estimate"] == pytest.approx(row["estimate"], rel=1e-12)
        error = np.nan if one["std. error"] is None else one["std. error"]
        assert error == pytest.approx(row["std. error"], rel=1e-12, nan_ok=True)
    assert sum(one["std. error"] is not None for one in found["parameters"]) >= 10
    assert sum(one["estimate"] for one in found["proportions"]) == pytest.approx(1)


def test_quiet_says_nothing(home, tmp_path):
    words = ("fit", home / "t.csv", "--target", "y", "--features", "a,b,c", "--starts", 1, "--out", tmp_path / "m.json")
    assert run(*words, "--quiet") == (0, "", "")
    assert (tmp_path / "m.json").exists()


def test_the_lists_are_those_of_the_studies_and_experiments():
    assert json.loads(FILE.read_text("utf-8")) == computed(), "run make register"


@pytest.mark.parametrize(
    "words",
    [
        ("study", "list"),
        ("experiment", "list"),
        ("fit", "nothing.csv", "--target", "y"),
        ("predict", "nothing.json", "nothing.csv"),
        ("card", "nothing.json"),
        ("study", "report", "nothing"),
        ("study", "table", "nothing"),
    ],
)
def test_lists_and_missing_files_need_no_torch(words, tmp_path):
    code = f"import sys; sys.argv = ['gatewise', *{words!r}]\nfrom gatewise.cli import main\ntry:\n    main()\n"
    code += "finally:\n    sys.stderr.write(f'torch: {\"torch\" in sys.modules}')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.stderr.endswith("torch: False")
    assert done.returncode == (0 if words[1] == "list" else 2)
