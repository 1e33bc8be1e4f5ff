"""The model card: front matter that YAML and the hub read, every coefficient with its error, code that runs."""

import re

import numpy as np
import pandas as pd
import pytest
import yaml
from markdown_it import MarkdownIt
from sklearn.exceptions import NotFittedError
from typer.testing import CliRunner

from gatewise import (
    Bias,
    Gate,
    MixtureOfExpertsClassifier,
    MixtureOfExpertsRegressor,
    NormalisedSigmoid,
    Polynomial,
    load_model,
    model_card,
    moe,
    save_model,
)
from gatewise.cli import app

OPTIONS = {"n_init": 1, "random_state": 0}


def table():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(150, 3)), columns=["a", "b|c", "<i>*d*"])
    frame["site"] = rng.choice(["u", "v`", "w"], 150)
    first = frame.a > rng.normal(size=150)
    frame["y"] = np.where(first, 1 + frame["b|c"], 3 - frame["<i>*d*"] + (frame.site == "v`"))
    return frame.assign(y=frame.y + 0.3 * rng.normal(size=150), hours=rng.uniform(1, 2, 150))


@pytest.fixture(scope="module")
def frame():
    return table()


@pytest.fixture(scope="module")
def model(frame):
    return moe("y ~ a + `b|c` + `<i>*d*` + site", frame, gate_formula="~ a", offset="log(hours)", **OPTIONS)


def parts(card):
    """The front matter as YAML reads it, and the body."""
    _, front, body = re.split(r"^---$", card, maxsplit=2, flags=re.MULTILINE)
    return yaml.safe_load(front), body


def tables(body):
    """The cells of all tables, as a reader of the rendered page sees them."""
    html = MarkdownIt("commonmark").enable("table").render(body)
    found = []
    for one in re.findall(r"<table>(.*?)</table>", html, re.DOTALL):
        rows = [re.findall(r"<t[hd](?: [^>]*)?>(.*?)</t[hd]>", row, re.DOTALL) for row in one.split("</tr>")]
        found.append([[plain(cell) for cell in row] for row in rows if row])
    return found


def plain(html):
    text = re.sub("</?code>", "", html)
    assert not re.search("<(?!/?code)", text)  # what a name holds is text
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", '"').replace("&amp;", "&")


def test_the_front_matter_is_yaml_and_says_what_the_hub_asks(model):
    name = 'Länge: "a" \\ #1 — 𝛽'
    front, body = parts(model_card(model, name=name, license="cc-by-4.0"))
    assert front == {
        "library_name": "gatewise",
        "pipeline_tag": "tabular-regression",
        "tags": ["gatewise", "mixture-of-experts"],
        "license": "cc-by-4.0",
        "model_name": name,
    }
    assert body.lstrip().startswith("# Länge")
    front, body = parts(model_card(model))
    assert "license" not in front
    assert "model_name" not in front
    assert body.lstrip().startswith("# Mixture of 2 experts\n")


def test_the_hub_reads_the_card(model):
    hub = pytest.importorskip("huggingface_hub")
    card = hub.ModelCard(model_card(model, name="Stays", license="mit"))
    assert (card.data.library_name, card.data.license) == ("gatewise", "mit")
    assert card.data.pipeline_tag == "tabular-regression"
    assert card.text.lstrip().startswith("# Stays")


def test_every_coefficient_stands_there_with_its_error(model):
    head, rows = tables(parts(model_card(model))[1])
    wanted = model.summary().to_frame()
    assert rows[0] == ["part", "of", "parameter", "estimate", "standard error", "95 % interval", "note"]
    assert [row[:3] for row in rows[1:]] == wanted[["part", "owner", "parameter"]].to_numpy().tolist()
    assert [float(row[3]) for row in rows[1:]] == pytest.approx(wanted.estimate.tolist(), rel=1e-3)
    errors = [float(row[4]) if row[4] else np.nan for row in rows[1:]]
    assert errors == pytest.approx(wanted["std. error"].tolist(), rel=1e-3, nan_ok=True)
    assert np.isfinite(errors).sum() == 16
    assert [row[5].split(" to ")[0] != "" for row in rows[1:]] == np.isfinite(wanted.lower).tolist()
    assert [row[6] for row in rows[1:]] == wanted.note.tolist()
    assert {"b|c", "<i>*d*", "site[T.v`]"} <= {row[2] for row in rows}
    facts = dict(row for row in head if len(row) == 2)
    assert facts["Levels of site"] == "u, v`, w"
    assert facts["Offset"] == "log(hours)"
    assert (facts["Experts"], facts["Gate"], facts["Family"]) == ("2, linear", "softmax", "Gaussian()")
    assert facts["Observations"] == "150"
    assert float(facts["Log-likelihood"]) == pytest.approx(model.log_likelihood_, abs=1e-6)


def test_words_say_what_the_model_is_and_what_a_reader_gives_it(model):
    body = parts(model_card(model, file="stay.json"))[1]
    assert "**Status: converged.** A local optimum" in body
    assert "Predicts the mean of `y` from `a`, `b|c`, `<i>*d*`, `site` by a mixture of 2 experts." in body
    assert "The gate (softmax) reads `a` and gives every expert its weight." in body
    assert "`model.predict(frame)` takes a data frame with the columns `a`, `b|c`, `<i>*d*`, `site`, `hours`;" in body
    assert "`gatewise predict stay.json new.csv`" in body
    assert body.count("[More Information Needed]") == 4


def test_the_code_runs(model, tmp_path, monkeypatch, capsys):
    name = 'my "best" model.json'
    save_model(model, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"^```python\n(.*?)^```", model_card(model, file=name), re.DOTALL | re.MULTILINE)
    exec(code, {})
    assert capsys.readouterr().out == f"{model.summary()}\n"


def test_a_read_model_has_the_same_card(model, tmp_path):
    save_model(model, tmp_path / "model.json")
    assert model_card(load_model(tmp_path / "model.json")) == model_card(model)


def test_arrays_gates_with_inputs_of_their_own_and_several_levels(frame):
    X, z = frame[["a", "b|c", "<i>*d*"]].to_numpy(), frame[["a", "hours"]].to_numpy()
    found = MixtureOfExpertsRegressor((2, 1), gate="laplace", family="student-t", **OPTIONS)
    body = parts(model_card(found.fit(X, frame.y, gate_X=z)))[1]
    assert "from `x0`, `x1`, `x2` by a mixture of 2 experts" in body
    assert "The gate (laplace over laplace) reads `gate x0`, `gate x1`" in body
    assert "`model.predict(X, gate_X=...)` takes an array with 3 columns in the order of the fit; `gate_X`:" in body
    assert "has the distribution `student-t`" in body
    assert "gatewise predict" not in body  # which needs names of columns


def test_classes(frame):
    y = np.where(frame.a + frame["b|c"] > 0.3, "yes | no", "no")
    found = MixtureOfExpertsClassifier(1, **OPTIONS).fit(frame[["a", "b|c", "<i>*d*"]] + 0.0, np.roll(y, 7))
    front, body = parts(model_card(found))
    assert front["pipeline_tag"] == "tabular-classification"
    assert dict(row for row in tables(body)[0] if len(row) == 2)["Classes"] == "no, yes | no"
    assert "`predict_proba` gives the probabilities" in body
    assert "every expert its weight" not in body  # there is one


def test_least_squares_names_no_family_and_a_constant_gate_no_inputs(frame):
    X = frame[["a", "b|c", "<i>*d*"]]
    body = parts(model_card(MixtureOfExpertsRegressor(2, method="ls", **OPTIONS).fit(X, frame.y)))[1]
    facts = dict(row for row in tables(body)[0] if len(row) == 2)
    assert facts["Estimated by"] == "least squares, of the mean only"
    assert float(facts["Sum of squared residuals"]) > 1
    assert "Family" not in facts
    assert "has the distribution" not in body
    body = parts(model_card(MixtureOfExpertsRegressor(2, gate="constant", **OPTIONS).fit(X, frame.y)))[1]
    assert "The weights of the experts are the same at every row." in body


@pytest.mark.filterwarnings("ignore::gatewise.FitWarning")
def test_a_status_that_is_no_optimum_is_told_with_its_meaning():
    rng = np.random.default_rng(1)
    X = rng.uniform(-1, 1, (120, 3))
    y = np.where(X[:, 0] > 0, 5 + X[:, 1], -5 - X[:, 2]) + 0.1 * rng.normal(size=120)
    found = MixtureOfExpertsRegressor(2, **OPTIONS).fit(X, y)
    assert found.status_ == "separated"
    body = parts(model_card(found))[1]
    (told,) = [line for line in body.splitlines() if line.startswith("**Status: separated.** A parameter grows")]
    assert "gate weight x0\\[branch 0\\]" in told  # which one


def test_parts_without_a_name_are_written_as_in_python(frame):
    options = {"gate": Gate(Bias(), NormalisedSigmoid()), "expert": Polynomial(4), **OPTIONS}
    body = parts(model_card(MixtureOfExpertsRegressor(1, **options).fit(frame[["a", "b|c", "<i>*d*"]], frame.y)))[1]
    facts = dict(row for row in tables(body)[0] if len(row) == 2)
    assert (facts["Experts"], facts["Gate"]) == ("1, Polynomial(degree=4)", "NormalisedSigmoid()(Bias(free=True))")


def test_what_is_no_line_is_refused(model):
    for words in ({"name": "two\nlines"}, {"license": "\x7f"}, {"file": 3}):
        with pytest.raises(ValueError, match="give one line"):
            model_card(model, **words)
    with pytest.raises(NotFittedError):
        model_card(MixtureOfExpertsRegressor())


def test_the_command_writes_the_same_card(model, tmp_path):
    path, out = tmp_path / "stay.json", tmp_path / "README.md"
    save_model(model, path)
    words = ["card", str(path), "--name", "Stays", "--license", "mit"]
    wanted = model_card(model, name="Stays", license="mit", file="stay.json")
    done = CliRunner().invoke(app, words)
    assert (done.exit_code, done.stdout) == (0, wanted + "\n")
    done = CliRunner().invoke(app, [*words, "--out", str(out)])
    assert (done.exit_code, done.stdout, out.read_text("utf-8")) == (0, "", wanted + "\n")
    assert "wrote" in done.stderr
    done = CliRunner().invoke(app, [*words, "--out", str(out), "--quiet"])
    assert (done.exit_code, done.output) == (0, "")
    done = CliRunner().invoke(app, [*words, "--out", str(path)])
    assert (done.exit_code, "named twice" in done.stderr) == (2, True)
    assert load_model(path).status_ == model.status_
