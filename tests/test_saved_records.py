"""Folders of records that earlier versions, and this one, wrote stay readable, and are carried on."""

import importlib.util
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gatewise.experiments import run_experiment
from gatewise.experiments import store as experiments
from gatewise.theory import collect, load_study, run_study
from gatewise.theory import store as theory
from gatewise.theory.curves import table
from gatewise.theory.fingerprint import RECORD, describe, fingerprint

TESTS = Path(__file__).parent
THREE = TESTS / "theory" / "records_of_three"
SUMS = TESTS / "experiments" / "records_with_sums"


def script(folder):
    """Return the module that wrote the records of a folder."""
    spec = importlib.util.spec_from_file_location(folder.name, folder / "make.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def form(lines):
    """Return the shapes of lines of JSON: types, and names of fields."""

    def shape(value):
        if isinstance(value, dict):
            return tuple((name, shape(one)) for name, one in sorted(value.items()))
        return tuple(map(shape, value)) if isinstance(value, list) else type(value).__name__

    return {shape(json.loads(line)) for line in lines.splitlines()}


def test_records_of_a_study_are_read():
    folder = TESTS / "theory" / "records"
    found = theory.read(folder)
    assert not found.faults
    assert sorted(found.records) == [("plain", n, r) for n in (100, 200) for r in (0, 1)]
    assert theory.header(folder)["study"] == "small"
    assert theory.header(folder)["origin"] == {"where": "small_study.py:study", "tier": "standard"}
    assert theory.seconds(folder) > 0
    frame = table(found)
    assert frame.loc[3, "status"] == "converged"
    assert found.records["plain", 200, 0]["log_likelihood"] == -116.46251678466797


def test_records_of_an_experiment_are_read():
    folder = TESTS / "experiments" / "records"
    records, faults = experiments.read(folder)
    assert not faults
    assert [r.outcome["error"] for r in records if not r.tuning] == [0, 1, 1, 2]
    assert experiments.header(folder)["experiment"] == "toy"


def test_records_of_an_experiment_with_checksums_are_read_and_carried_on(tmp_path):
    made, folder = script(SUMS), Path(shutil.copytree(SUMS, tmp_path / "kept"))
    records, faults = experiments.read(folder)
    assert (len(records), faults) == (84, [])
    for one in records:
        assert one.outcome.keys() == made.outcome(one).keys()
        assert one.outcome["validation"] == made.outcome(one)["validation"]
    assert {(one.variant, one.gate, one.tuning) for one in records} >= {("b", "ll", False), ("a", "dense", True)}
    header = json.loads((folder / experiments.HEADER).read_text("utf-8"))  # as if this version had written it
    run_experiment(made.task, tmp_path / "new")
    header |= {name: experiments.header(tmp_path / "new")[name] for name in ("gatewise", "torch")}
    (folder / experiments.HEADER).write_text(json.dumps(header), "utf-8")
    before = (folder / experiments.RECORDS).read_bytes()
    run_experiment(made.task, folder, resume=True)
    assert (folder / experiments.RECORDS).read_bytes() == before


def test_kept_records_of_an_experiment_have_the_form_of_today(tmp_path):
    run_experiment(script(SUMS).task, tmp_path)
    assert experiments.header(tmp_path).keys() == experiments.header(SUMS).keys(), f"write records: {SUMS}/make.py"
    names = experiments.RECORDS, experiments.TIMES
    for now, then in (((tmp_path / name).read_text("utf-8"), (SUMS / name).read_text("utf-8")) for name in names):
        assert form(now) == form(then), f"write records: {SUMS}/make.py"


@pytest.fixture(scope="module")
def study():
    return load_study(f"{THREE / 'make.py'}:study")


def test_records_of_three_features_say_what_they_said():
    found, said = script(THREE).answers(THREE), json.loads((THREE / "expected.json").read_text("utf-8"))
    assert (found["missing"], found["faults"], found["changed"]) == (0, [], [])
    assert found["curves"] == said["curves"] == ["over", "own", "plain"]
    assert found["slope"] == pytest.approx(said["slope"], rel=1e-10)
    assert said["means"].keys() <= found["means"].keys()
    assert "experts.coef over max" in said["means"]
    for name, means in said["means"].items():
        then, now = (np.array(values, dtype=float) for values in (means, found["means"][name]))
        np.testing.assert_allclose(now, then, rtol=1e-10, atol=1e-12, err_msg=name)


def test_records_of_this_version_are_kept():
    version = theory.header(THREE)["record"]
    assert version == RECORD, f"write records of version {RECORD}: {THREE.name}/make.py, beside those of {version}"


def counted(record):
    """Add how many fits ended there."""
    return {**record, "fits": 1}


def test_kept_records_are_carried_on(study, tmp_path):
    folder = Path(shutil.copytree(THREE, tmp_path / "kept"))
    header = theory.header(folder)  # as if this machine had written it: migration compares engines
    header |= {"engine": describe(study)["engine"], "fingerprint": fingerprint(study)}
    (folder / "study.json").write_text(json.dumps(header), "utf-8")
    second = replace(study, schema=2, migrations={1: counted})
    run_study(second, folder, resume=True)
    before, after = theory.read(THREE).records, theory.read(folder).records
    assert after == {key: counted(record) for key, record in before.items()}
    assert len(after) == 20
    assert collect(second, folder).missing == 0
