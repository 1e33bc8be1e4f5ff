"""Records of an earlier version of a study are carried on, and kept as they were."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gatewise.objective.parameterization import from_paths
from gatewise.theory import Uniform, collect
from gatewise.theory import load_study as load
from gatewise.theory import run_study as run
from gatewise.theory.store import lines_of, read
from gatewise.theory.voronoi import LOSSES

FILE = Path(__file__).with_name("small_study.py")


def renamed(record):
    """Give a loss another name."""
    series = {name.replace("loss exact", "loss first"): value for name, value in record["series"].items()}
    return {**record, "series": series}


def wider(truth):
    """Return a truth of one feature with two more."""
    paths = truth.paths()
    more = {"gates.0.weight": [[0.5, -1.0], [0.0, 0.0]], "experts.coef": [[[0.5, 0.0]], [[0.0, -0.5]]]}
    longer = {name: torch.cat([paths[name], torch.tensor(two).double()], -1) for name, two in more.items()}
    return from_paths({**paths, **longer}, 1)


@pytest.fixture(scope="module")
def study():
    """The small study with three features."""
    whole = load(f"{FILE}:study")
    arm = whole.arms[0]
    data = replace(arm.data, truth=wider(arm.data.at(100)), inputs=Uniform(-1.0, 1.0, 3))
    return replace(whole, arms=(replace(arm, data=data, sizes=(100, 200, 300), replicates=2),))


@pytest.fixture(scope="module")
def whole(study, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    run(study, folder)
    return folder


@pytest.fixture
def ran(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / "ran"))


@pytest.fixture
def second(study):
    claims = tuple(replace(claim, series="loss first") for claim in study.claims)
    arm = replace(study.arms[0], losses=(replace(LOSSES["exact"], name="first"),))
    return replace(study, schema=2, migrations={1: renamed}, claims=claims, arms=(arm,))


def test_records_are_carried_on_and_the_old_ones_kept(second, whole, ran):
    run(second, ran, resume=True)
    assert lines_of(ran / "schema-1") == lines_of(whole)
    for key, record in read(ran).records.items():
        assert record == renamed(read(whole).records[key])
    result = collect(second, ran)
    assert result.missing == 0
    assert "loss first" in result.text()
    before = (ran / "records.jsonl").read_bytes()
    run(second, ran, resume=True)
    assert (ran / "records.jsonl").read_bytes() == before


def test_several_steps_are_taken_in_turn(second, whole, ran):
    third = replace(second, schema=3, migrations={1: renamed, 2: lambda record: {**record, "seen": 2}})
    run(third, ran, resume=True)
    assert all(record["seen"] == 2 and "loss first" in record["series"] for record in read(ran).records.values())


def test_an_interruption_begins_again_from_what_was_kept(second, whole, ran, tmp_path):
    run(second, Path(shutil.copytree(ran, tmp_path / "other")), resume=True)

    def failing(record):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(replace(second, migrations={1: failing}), ran, resume=True)
    assert lines_of(ran / "schema-1") == lines_of(whole) == lines_of(ran)
    shutil.copy(tmp_path / "other" / "records.jsonl", ran)  # as if it had ended after the first file
    run(second, ran, resume=True)
    assert lines_of(ran) == lines_of(tmp_path / "other")


def test_what_cannot_be_carried_on_is_refused_and_nothing_changes(second, whole, ran):
    cases = [
        (replace(second, migrations={}), r"give migrations=\{1: function\}"),
        (replace(second, seed=5), "also seed"),
        (replace(second, arms=(replace(second.arms[0], rbar=4),)), "also arm 'plain'"),
        (replace(second, migrations={1: lambda record: None}), "gives None"),
    ]
    for study, words in cases:
        with pytest.raises(ValueError, match=words):
            run(study, ran, resume=True)
        assert lines_of(ran) == lines_of(whole)
        assert "schema" not in json.loads((ran / "study.json").read_text())


def test_records_of_another_version_are_not_judged(second, ran):
    with pytest.raises(ValueError, match="schema changed after the run"):
        collect(second, ran)


@pytest.mark.parametrize("schema", [0, -1, "two", 1.5])
def test_a_version_is_a_number_from_one(study, schema):
    with pytest.raises(ValueError, match="give the version of its records"):
        replace(study, schema=schema)
