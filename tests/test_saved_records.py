"""Folders of records that earlier versions wrote stay readable."""

from pathlib import Path

from gatewise.experiments import store as experiments
from gatewise.theory import store as theory
from gatewise.theory.curves import table

TESTS = Path(__file__).parent


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
