"""A confirmatory run has data that nobody chose, and other data after any change of what was fixed."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gatewise.core.gates import GATES
from gatewise.core.mixture import Measure, Mixture
from gatewise.theory import (
    STUDIES,
    Arm,
    Claim,
    Data,
    Model,
    Study,
    Uniform,
    collect,
    confirmatory,
    registration,
    slopes,
    verdict,
)
from gatewise.theory import run_study as run
from gatewise.theory.claims import VerdictKind
from gatewise.theory.multiplicity import false_discovery_rates
from gatewise.theory.protocol import registered, version
from gatewise.theory.records import draw
from gatewise.theory.slopes import slope
from gatewise.theory.verdict import Verdict

MIXTURE = Mixture((GATES["softmax"],), (2,))
TRUTH = Measure(
    ({"weight": torch.tensor([[1.5, 0.0, -1.0], [0.0, 0.0, 0.0]]).double(), "bias": torch.zeros(2).double()},),
    {"coef": torch.tensor([[[2.0, 0.0, 1.0]], [[-2.0, 1.0, 0.0]]]).double(), "intercept": torch.zeros(2, 1).double()},
    {"scale": torch.tensor([[0.4], [0.5]]).double()},
)
ARM = Arm("a", Data(MIXTURE, TRUTH, Uniform(d=3)), Model(MIXTURE, min_scale=0.1), (200, 400), 2)
CLAIM = Claim("a", "hellinger", "equal", -0.5, 0.1, "this project", "own")
STUDY = Study("mine", "Mine", "Because.", (ARM,), (CLAIM,))


@pytest.mark.parametrize("study", STUDIES.values(), ids=STUDIES)
def test_every_built_in_study_is_registered_as_it_stands(study):
    """After a change: make register, which adds a version and keeps the old ones."""
    assert registered()[study.name][-1] == registration(study)


@pytest.mark.parametrize(
    "changed",
    [
        replace(STUDY, claims=(replace(CLAIM, tolerance=0.11),)),
        replace(STUDY, claims=()),
        replace(STUDY, arms=(replace(ARM, sizes=(200, 401)),)),
        replace(STUDY, arms=(replace(ARM, replicates=3),)),
        replace(STUDY, arms=(replace(ARM, model=replace(ARM.model, min_scale=0.2)),)),
        replace(STUDY, arms=(replace(ARM, data=replace(ARM.data, truth=TRUTH.map(lambda v: 1.01 * v))),)),
    ],
)
def test_whatever_is_changed_changes_the_data(changed):
    one, other = confirmatory(STUDY), confirmatory(changed)
    assert one.seed != other.seed
    assert version(one) is None


def test_what_decides_nothing_changes_nothing():
    assert registration(replace(STUDY, title="Another", why="Otherwise.", seed=5)) == registration(STUDY)
    assert confirmatory(STUDY).seed == confirmatory(replace(STUDY, seed=5)).seed != STUDY.seed


def test_rules_of_the_verdict_are_part_of_the_protocol(monkeypatch):
    before = registration(STUDY)
    monkeypatch.setattr(verdict, "ALLOWED", 0.1)
    assert registration(STUDY) != before
    monkeypatch.undo()
    monkeypatch.setattr(slopes, "LEVEL", 0.9)
    assert registration(STUDY) != before


def test_confirmatory_data_are_fresh_and_its_result_shows_both_verdicts(tmp_path):
    fresh = confirmatory(STUDY)
    level = ARM.levels()[0]
    old, new = (draw(study, ARM, level, 0).read(0, level.n)[0] for study in (STUDY, fresh))
    assert not torch.isclose(old, new).any()
    for study in (STUDY, fresh):
        run(study, tmp_path / study.name)
    result = collect(fresh, tmp_path / fresh.name, collect(STUDY, tmp_path / STUDY.name))
    assert "in the exploratory run: unresolved" in result.text()
    assert list(result.to_frame()["exploratory"]) == ["unresolved"]
    other = replace(STUDY, claims=(replace(CLAIM, value=-0.25),))
    again = collect(fresh, tmp_path / fresh.name, collect(other, tmp_path / STUDY.name))
    assert list(again.to_frame()["exploratory"]) == ["not claimed"]


SIZES = (100, 300, 1000, 3000)


def judged(rate, word, spread=0.3, claim=CLAIM):
    errors = [n**rate * np.exp(spread * np.random.default_rng(n).standard_normal(60)) for n in SIZES]
    return Verdict(claim, VerdictKind(word), slope(SIZES, errors), "")


def test_false_discovery_rates_are_adjusted_for_the_number_of_claims():
    sure, close = judged(-0.5, "supported", 0.05), judged(-0.25, "contradicted")
    alone = false_discovery_rates([sure])[0]
    assert alone < 1e-3
    many = false_discovery_rates([sure, *[judged(-0.4, "unresolved")] * 5, close])
    assert np.isfinite(many).sum() == 2
    assert many[0] >= alone
    rates = false_discovery_rates([close] * 3 + [sure])
    assert max(rates) == pytest.approx(false_discovery_rates([close])[0])


def test_what_only_an_exponent_decides_has_no_rate():
    open_by_slope = judged(-0.42, "supported")
    assert np.isnan(false_discovery_rates([open_by_slope])[0])
