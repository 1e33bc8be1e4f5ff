"""An experiment of a user's file: run, reported from elsewhere, told what is wrong with it; runs that diverge."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from gatewise.cli import app
from gatewise.experiments import EXPERIMENTS, Experiment, Metric
from gatewise.experiments import load_experiment as load
from gatewise.experiments import run_experiment as run
from gatewise.experiments.compare import TUNING_SEEDS, difference
from gatewise.experiments.store import read
from gatewise.report.experiment.write import page
from gatewise.theory import unpack

MINE = """
from beside import GAIN
from gatewise.experiments import Experiment, Metric

def train(job):
    if job.rate > 1:
        raise FloatingPointError("the loss of epoch 1 is nan")
    return {"validation": -job.rate, "score": GAIN * (job.gate == "ll") + job.seed % 3, "moved": True}

scores = {"score": Metric("score")}
task = Experiment("mine", "Mine", "Why.", ("a",), ("ss", "ll"), scores, train, rates=(0.1, 0.2, 3.0))
other = 1
"""


@pytest.fixture
def file(tmp_path):
    (tmp_path / "beside.py").write_text("GAIN = 2.0\n")
    path = tmp_path / "my_task.py"
    path.write_text(MINE)
    return path


def called(*words):
    return CliRunner().invoke(app, ["experiment", *map(str, words)])


def test_it_runs_by_its_file_and_is_reported_from_elsewhere(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = called("run", "my_task.py:task", "--seeds", 5, "--workers", 2)
    assert result.exit_code == 0, result.output
    records = [record for record in read(tmp_path / "out" / "mine")[0] if not record.tuning]
    assert {record.rate for record in records} == {0.1}
    monkeypatch.chdir("/")
    again = called("report", tmp_path / "out" / "mine", "--experiment", f"{file}:task")
    assert again.exit_code == 0, again.output
    html = (tmp_path / "out" / "mine" / "index.html").read_text("utf-8")
    assert "+2.0000 [+2.0000, +2.0000]" in html
    shown = called("show", tmp_path / "out" / "mine", "--experiment", f"{file}:task").output
    assert "claim: Laplace gates at both levels" in shown
    assert "+2.0000, +2.0000]  better  score" in shown
    file.rename(tmp_path / "moved.py")
    assert "If you trust that file, name it: --experiment" in called(
        "report", tmp_path / "out" / "mine"
    ).output.replace("\n", " ")
    wrong = called("report", tmp_path / "out" / "mine", "--experiment", "quadrants")
    assert "holds 'mine', not 'quadrants'" in wrong.output
    named = called("report", tmp_path / "out" / "mine", "--experiment", f"{tmp_path / 'moved.py'}:task")
    assert named.exit_code == 0, named.output


def test_packed_experiments_come_back_with_their_pages(tmp_path):
    run(EXPERIMENTS["quadrants"], tmp_path / "quadrants", seeds=1, quick=True, gates=("ss", "ll"))
    said = called("pack", tmp_path / "quadrants", "--out", tmp_path / "a.tar.xz")
    assert "1 folder, 3 runs" in said.output, said.output
    again = called("unpack", tmp_path / "a.tar.xz", "--out", tmp_path / "there")
    assert again.exit_code == 0, again.output
    assert (tmp_path / "there" / "quadrants" / "index.html").exists()
    assert read(tmp_path / "there" / "quadrants") == read(tmp_path / "quadrants")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "holds no experiment" in called("pack", empty, "--out", tmp_path / "b.tar.xz").output.replace("\n", " ")
    with pytest.raises(ValueError, match="the kind 'experiment': it was not written by gatewise study pack"):
        unpack(tmp_path / "a.tar.xz", tmp_path / "studies")


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_what_an_experiment_fixes_is_printed_before_it_runs(name):
    shown = called("show", name)
    assert shown.exit_code == 0, shown.output
    words = " ".join(shown.output.split())
    one = EXPERIMENTS[name]
    assert f"{len(one.variants)} variants" in words
    assert all(f"{rate:g}" in words for rate in one.rates)
    assert all(" ".join(gate.split()) in words for gate in one.gates)


@pytest.mark.parametrize(
    ("name", "said"),
    [("task2", "'task2' is no Experiment"), ("other", "it has task"), ("", "'' is no Experiment")],
)
def test_a_name_that_is_no_experiment_is_told(file, name, said):
    with pytest.raises(ValueError, match=said):
        load(f"{file}:{name}")
    assert called("run", str(file)).exit_code == 2
    assert "the names are quadrants" in called("run", "nothing").output.replace("\n", " ")


def toy(train, **changes):
    values = {"rates": (0.1, 1.0, 10.0)} | changes
    return Experiment("toy", "Toy", "Why.", ("a",), ("ss", "ll"), {"score": Metric("score")}, train, **values)


def test_a_rate_that_diverges_is_not_chosen_and_a_run_that_does_is_told(tmp_path):
    def train(job):
        if job.rate > 5 or (job.gate == "ss" and job.seed == 2):
            raise FloatingPointError("the loss is nan")
        return {"validation": float("nan") if job.rate == 1.0 else 0.0, "score": 1.0 * job.seed, "moved": True}

    run(toy(train), tmp_path, seeds=3)
    records = read(tmp_path)[0]
    assert {record.rate for record in records if not record.tuning} == {0.1}
    assert sum("diverged" in record.outcome for record in records) == 2 * len(TUNING_SEEDS) + 1
    html = page(toy(train), records)
    assert "the loss was not finite with 1 seed of ss (a): left out" in html
    assert re.search(r'data-name="seeds">2<', html)


def test_a_gate_whose_runs_all_diverge_has_no_best_rate(tmp_path):
    def train(job):
        if job.gate == "ss":
            raise FloatingPointError("the loss is nan")
        return {"validation": -abs(job.rate - 1.0), "score": 1.0, "moved": True}

    run(toy(train), tmp_path, seeds=2)
    html = page(toy(train), read(tmp_path)[0])
    assert "the loss was not finite with 2 seeds of ss (a): left out" in html
    assert "rate tried" not in html


def test_a_measure_that_is_no_number_decides_nothing_and_is_told(tmp_path):
    def train(job):
        broken = job.gate == "ll" and job.seed == 2
        return {"validation": 0.0, "score": float("nan") if broken else 1.0 * job.seed, "moved": True}

    run(toy(train, rates=(0.1,)), tmp_path, seeds=6)
    records = read(tmp_path)[0]
    assert "NaN" not in (tmp_path / "records.jsonl").read_text()
    assert difference(records, "a", "ll", "ss", "score") == (0.0, 0.0, 0.0, 5)
    assert "score was not finite with 1 seed of ll (a): left out" in page(toy(train), records)


WRONG = [None, {"score": 1.0}, 3.0, {"validation": "good"}, {"validation": None}, {"validation": 10**400}]
WRONG += [{"validation": 0.0, "score": torch.tensor([1.0])}, {"validation": np.zeros(2)}, {"validation": 1j}]


@pytest.mark.parametrize("outcome", WRONG)
def test_a_run_without_a_validation_score_is_told(tmp_path, outcome):
    with pytest.raises(ValueError, match='give a dictionary with "validation"'):
        run(toy(lambda job: outcome), tmp_path, seeds=1)


def test_a_test_run_without_any_measure_is_told(tmp_path):
    with pytest.raises(ValueError, match="one or more measures by their names: score"):
        run(toy(lambda job: {"validation": 0.0, "scor": 1.0}), tmp_path, seeds=1)


def test_numbers_of_torch_and_numpy_are_numbers(tmp_path):
    made = {"validation": np.float32(0.5), "score": torch.tensor(2.0), "notes": ("half of it",)}
    run(toy(lambda job: made), tmp_path, seeds=1, quick=True)
    records = read(tmp_path)[0]
    assert {record.outcome["score"] for record in records} == {2.0}
    assert "<li>half of it (a)</li>" in page(toy(train=None), records)


@pytest.mark.parametrize("notes", ["a text", [1]])
def test_notes_are_a_list_of_texts(tmp_path, notes):
    with pytest.raises(ValueError, match=r'returned "notes" .*: give a list of texts'):
        run(toy(lambda job: {"validation": 0.0, "score": 1.0, "notes": notes}), tmp_path, quick=True)


def test_a_run_that_ends_the_program_or_says_nothing_is_told(tmp_path):
    def ends(job):
        raise SystemExit(0)

    def silent(job):
        raise ValueError

    with pytest.raises(ValueError, match="ended the program: raise an error"):
        run(toy(ends), tmp_path / "a", quick=True)
    with pytest.raises(RuntimeError, match=r"the run of 'a \| ss .* raised ValueError without a word"):
        run(toy(silent), tmp_path / "b", quick=True)


def test_a_file_that_ends_the_program_is_told(tmp_path):
    (tmp_path / "ends.py").write_text("import sys\nsys.exit(0)\n")
    result = called("run", f"{tmp_path / 'ends.py'}:task")
    assert result.exit_code == 2
    assert "ended the program when it was read" in result.output.replace("\n", " ")


def test_names_and_units_are_shown_as_they_are(file, tmp_path):
    odd = "<script>alert(1)</script>[/b] \\d"
    text = file.read_text().replace('"score": Metric("score")', f'{odd!r}: Metric({odd!r}, "[nats]")')
    file.write_text(text.replace('"score": GAIN', f"{odd!r}: GAIN"))
    result = called("run", f"{file}:task", "--quick", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "nats" in result.output
    html = (tmp_path / "out" / "index.html").read_text("utf-8")
    assert "<script>" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;[/b] \\d [[nats]]" in html


def test_variants_may_have_measures_of_their_own(tmp_path):
    measures = {"score": Metric("s"), "other": Metric("o")}
    both = replace(toy(lambda job: {"validation": 0.0, "other": 1.0}), measures=measures)
    run(both, tmp_path, seeds=1, quick=True)
    assert {record.outcome["other"] for record in read(tmp_path)[0]} == {1.0}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "a/b"}, "the name is also that of its folder"),
        ({"variants": ()}, "has no variants"),
        ({"gates": ()}, "has no gates"),
        ({"measures": {}}, "has no measures"),
        ({"variants": "abc"}, "variants must be a tuple"),
        ({"rates": ()}, "has no rates"),
        ({"rates": (0.1, 0.0)}, "rates=\\(0.1, 0.0\\)"),
        ({"variants": ("a", "a")}, "names of its own"),
        ({"gates": ("ss", "sx")}, "gate 'sx' is unknown"),
        ({"baselines": ("ss",)}, "names of its own"),
        ({"measures": {"choice": Metric("mine")}}, "'choice' is reserved for the list"),
    ],
)
def test_what_is_wrong_with_an_experiment_is_told_when_it_is_made(change, said):
    with pytest.raises(ValueError, match=said):
        replace(toy(lambda job: {}), **change)


def test_an_experiment_with_the_name_of_a_built_in_one_is_told_from_it(file, tmp_path):
    file.write_text(file.read_text().replace('"mine"', '"temperature"'))
    result = called("run", f"{file}:task", "--quick", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "<title>Mine</title>" in (tmp_path / "out" / "index.html").read_text("utf-8")
    other = called("run", "temperature", "--quick", "--resume", "--out", tmp_path / "out")
    assert other.exit_code == 2
    assert "give another folder" in other.output.replace("\n", " ")


def test_the_folder_remembers_the_file(file, tmp_path):
    run(load(f"{file}:task"), tmp_path / "out", quick=True, origin=f"{file}:task")
    assert json.loads((tmp_path / "out" / "experiment.json").read_text())["origin"] == f"{file}:task"
    moved = file.rename(tmp_path / "moved.py")
    run(load(f"{moved}:task"), tmp_path / "out", quick=True, resume=True, origin=f"{moved}:task")
    assert json.loads((tmp_path / "out" / "experiment.json").read_text())["origin"] == f"{moved}:task"
