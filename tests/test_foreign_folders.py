"""A folder that someone sent is data: nothing that it names is run, and nothing in it is followed."""

import json
import os
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gatewise.cli import app
from gatewise.theory import quick
from gatewise.theory import run_study as run
from gatewise.theory.papers import STUDIES

SAVED = Path(__file__).parent
STUDY = """
import sys
from pathlib import Path
Path({marker!r}).write_text("run")
sys.path.insert(0, {tests!r})
from small_study import study
"""
TASK = """
from pathlib import Path
from gatewise.experiments import Experiment, Metric
Path({marker!r}).write_text("run")
measures = {{"error": Metric("error", more=False)}}
task = Experiment("toy", "Toy", "Why.", ("a",), ("ss", "ll"), measures, None, rates=(0.01, 0.1))
"""


def called(*words):
    result = CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "marker"


def change(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.fixture
def study(tmp_path, marker):
    """A folder of records beside whose records stands the code that it names."""
    folder = tmp_path / "sent"
    shutil.copytree(SAVED / "theory" / "records", folder)
    file = folder / "other.py"
    file.write_text(STUDY.format(marker=str(marker), tests=str(SAVED / "theory")))
    change(folder / "study.json", origin={"where": f"{file}:study", "tier": "standard"})
    return folder


@pytest.fixture
def experiment(tmp_path, marker):
    folder = tmp_path / "sent"
    shutil.copytree(SAVED / "experiments" / "records", folder)
    (folder / "other.py").write_text(TASK.format(marker=str(marker)))
    change(folder / "experiment.json", origin=f"{folder / 'other.py'}:task")
    return folder


@pytest.mark.parametrize("verb", ["report", "table", "figure"])
@pytest.mark.parametrize("tier", ["standard", "quick", "no tier", None, ["quick"]])
def test_the_code_that_a_study_folder_names_is_not_run(study, marker, verb, tier):
    change(study / "study.json", origin={"where": f"{study / 'other.py'}:study", "tier": tier})
    result = called("study", verb, study)
    assert result.exit_code == 2
    assert "a folder is data, and no code that it names is run" in result.stderr
    assert "--study FILE.py:NAME" in result.stderr
    assert not marker.exists()


def test_code_is_run_where_the_user_names_it(study, marker):
    result = called("study", "report", study, "--study", f"{study / 'other.py'}:study")
    assert marker.exists()
    assert "fits are missing" in result.output + result.stderr


def test_the_code_that_an_experiment_folder_names_is_not_run(experiment, marker):
    result = called("experiment", "report", experiment)
    assert result.exit_code == 2
    assert "a folder is data, and no code that it names is run" in result.stderr
    assert not marker.exists()
    named = called("experiment", "report", experiment, "--experiment", f"{experiment / 'other.py'}:task")
    assert named.exit_code == 0, named.stderr
    assert marker.exists()


def test_an_experiment_that_gatewise_does_not_have_is_told(experiment, marker):
    change(experiment / "experiment.json", origin="")
    result = called("experiment", "report", experiment)
    assert result.exit_code == 2
    assert "holds the experiment 'toy' of ''" in result.stderr
    assert not marker.exists()


def test_a_resumed_run_runs_what_the_command_names(study, marker):
    change(study / "study.json", study="mine")
    result = called("study", "run", "nothing.py:study", "--resume", "--out", study)
    assert result.exit_code == 2
    assert not marker.exists()


@pytest.mark.slow
def test_a_study_of_gatewise_is_found_by_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr("gatewise.report.study.page.figures", lambda *_, **__: [])  # which take most of the time
    name = min(STUDIES, key=lambda one: STUDIES[one].fits())
    run(quick(STUDIES[name]), tmp_path / "out", origin={"where": name, "tier": "quick"})
    result = called("study", "report", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "out" / "index.html").is_file()


def follow(path, target):
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def pipe(path, target):
    path.unlink(missing_ok=True)
    os.mkfifo(path)


@pytest.mark.parametrize("make", [follow, pipe])
@pytest.mark.parametrize("name", ["study.json", "records.jsonl", "records-1-of-2.jsonl", "probes.jsonl", "index.html"])
def test_nothing_in_a_study_folder_is_followed(study, tmp_path, make, name):
    secret = tmp_path / "secret"
    secret.write_text("kept")
    make(study / name, secret)
    result = called("study", "report", study, "--study", f"{study / 'other.py'}:study")
    assert result.exit_code == 2
    assert f"{study / name} is a {'link' if make is follow else 'pipe'}: a folder of records" in result.stderr
    assert secret.read_text() == "kept"


@pytest.mark.parametrize("make", [follow, pipe])
@pytest.mark.parametrize("name", ["experiment.json", "records.jsonl", "times.jsonl", "index.html"])
def test_nothing_in_an_experiment_folder_is_followed(experiment, tmp_path, make, name):
    secret = tmp_path / "secret"
    secret.write_text("kept")
    make(experiment / name, secret)
    result = called("experiment", "report", experiment, "--experiment", f"{experiment / 'other.py'}:task")
    assert result.exit_code == 2
    assert f"{experiment / name} is a" in result.stderr
    assert secret.read_text() == "kept"


HEADERS = [None, 1, [], "text", {"a": 1}]


@pytest.mark.parametrize("field", ["fingerprint", "study", "arms", "engine", "claims", "replicates", "origin"])
@pytest.mark.parametrize("value", HEADERS, ids=str)
def test_a_header_of_the_wrong_types_is_told(study, field, value):
    kind = type(json.loads((study / "study.json").read_text())[field])
    if not isinstance(value, kind):
        change(study / "study.json", **{field: value})
        result = called("study", "report", study)
        assert result.exit_code == 2
        assert "study.json is damaged" in result.stderr


@pytest.mark.parametrize("where", [["a"], {}, 3, "\x1b[31mred", "x" * 5000])
def test_odd_origins_are_told(study, marker, where):
    change(study / "study.json", origin={"where": where})
    result = called("study", "report", study)
    assert result.exit_code == 2
    assert "a folder is data" in result.stderr
    assert "\x1b" not in result.stderr
    assert not marker.exists()


@pytest.mark.parametrize("claims", [[1], [{}], [{"arm": "a"}], [["arm", "series"]]])
def test_claims_that_are_none_are_told(study, claims):
    change(study / "study.json", claims=claims)
    result = called("study", "report", study, "--study", f"{study / 'other.py'}:study")
    assert result.exit_code == 2
    assert "study.json is damaged: its claims have no arm and series" in result.stderr


def test_an_engine_without_versions_is_told(study):
    change(study / "study.json", engine={})
    result = called("study", "report", study, "--study", f"{study / 'other.py'}:study")
    assert result.exit_code == 2
    assert "study.json is damaged: its engine has no versions" in result.stderr


def test_a_header_nested_without_end_is_told(study):
    (study / "study.json").write_text("[" * 100_000)
    assert "study.json is damaged" in called("study", "report", study).stderr


LINES = ["[1, 2]", "{}", "null", "[" * 100_000, '[3, {"key": 1}]', '[3, {"key": ["plain", 100]}]']


@pytest.mark.parametrize("line", LINES, ids=range(len(LINES)))
def test_lines_that_are_no_records_are_left_out_and_named(study, line):
    from gatewise.runs.records import line_of
    from gatewise.theory.store import read

    with (study / "records.jsonl").open("a") as file:
        file.write(line + "\n")
    assert len(read(study).records) == 4
    assert read(study).faults == ("records.jsonl, line 5: damaged, not used",)
    odd = [{}, {"key": ["plain", 100, 0]}, {"key": ["plain", "x", 0]}, {"key": [["a"], 1, 2]}, [1], "text"]
    with (study / "records.jsonl").open("a") as file:
        file.writelines(map(line_of, odd))
    assert read(study).faults[1:] == tuple(
        f"records.jsonl, line {6 + i}: no record of a fit, not used" for i in range(len(odd))
    )
