"""Population exponents of a study: measured once, kept, judged."""

from dataclasses import replace

import pytest
import torch

from gatewise.core.gates import GATES
from gatewise.core.mixture import Measure, Mixture
from gatewise.theory import Arm, Claim, Data, Model, Probe, Study, collect, run, run_probes
from gatewise.theory.probes import FILE, Probed, judge_probes, settled
from gatewise.theory.slopes import slope
from gatewise.theory.verdict import Verdict, Word

ONE = Mixture((GATES["constant"],), (1,))
TRUTH = Measure(
    ({"bias": torch.zeros(1, dtype=torch.float64)},),
    {"coef": torch.ones(1, 1, 1, dtype=torch.float64), "intercept": torch.zeros(1, 1, dtype=torch.float64)},
    {"scale": torch.ones(1, 1, dtype=torch.float64)},
)
DATA, MODEL = Data(ONE, TRUTH), Model(ONE, min_scale=0.1)
LINE = Probe(
    *("intercept", DATA, MODEL, "experts.intercept", (0,), 1.0, 0.05, "this project", "own"),
    eps=(0.04, 0.02, 0.01),
    starts=2,
)


def study_of(*probes):
    return Study("s", "A study", "", (Arm("line", DATA, MODEL, (100, 200), 2),), probes=probes)


def test_an_exponent_is_measured_once_and_judged(tmp_path):
    study, told = study_of(LINE), []
    assert judge_probes(study, tmp_path)[0].word is Word.unresolved
    run_probes(study, tmp_path, told.append)
    found = judge_probes(study, tmp_path)[0]
    assert found.word is Word.supported
    assert found.record["local"] == pytest.approx([1.0, 1.0], abs=1e-3)
    before = (tmp_path / FILE).read_bytes()
    run_probes(study, tmp_path, told.append)
    assert (tmp_path / FILE).read_bytes() == before
    assert told == [LINE]


@pytest.mark.parametrize(("standing", "word"), [("own", Word.contradicted), ("recalled", Word.differs)])
def test_an_exponent_elsewhere_contradicts(tmp_path, standing, word):
    run_probes(study_of(LINE), tmp_path)
    wrong = replace(LINE, value=2.0, standing=standing)
    assert judge_probes(study_of(wrong), tmp_path)[0].word is word


def test_another_truth_is_measured_anew_and_a_torn_line_is_not_used(tmp_path):
    run_probes(study_of(LINE), tmp_path)
    other = replace(LINE, data=replace(DATA, truth=TRUTH.map(lambda v: v + 0.5)))
    assert judge_probes(study_of(other), tmp_path)[0].record is None
    path = tmp_path / FILE
    path.write_bytes(path.read_bytes()[:-20])
    assert judge_probes(study_of(LINE), tmp_path)[0].record is None
    run_probes(study_of(LINE), tmp_path)
    assert judge_probes(study_of(LINE), tmp_path)[0].word is Word.supported


def test_exponents_stand_in_the_result(tmp_path):
    study = study_of(LINE)
    run(study, tmp_path)
    run_probes(study, tmp_path)
    assert "supported: population exponent, intercept: 1.000" in collect(study, tmp_path).text()


CLAIM = Claim("line", "hellinger", "equal", -0.5, 0.05, "this project", "own", probe="intercept")
SLOPE = slope((100, 1000), [[0.1, 0.1], [0.03, 0.03]])


@pytest.mark.parametrize(
    ("window", "exponent", "said"),
    [
        ("unresolved", "supported", "supported"),
        ("unresolved", "contradicted", "contradicted"),
        ("unresolved", "unresolved", "unresolved"),
        ("supported", "unresolved", "supported"),
        ("supported", "supported", "supported"),
        ("supported", "contradicted", "unresolved"),
        ("contradicted", "supported", "unresolved"),
    ],
)
def test_an_exponent_decides_what_slopes_leave_open_and_leaves_open_what_it_denies(window, exponent, said):
    verdict = Verdict(CLAIM, Word(window), SLOPE, "partly inside", "more")
    found = settled(verdict, [Probed(LINE, Word(exponent), "1.01 at eps = 0.01", None)])
    assert found.word is Word(said)
    if exponent != "unresolved":
        assert "population exponent is 1.01" in found.reason


def test_an_exponent_says_nothing_of_other_claims_and_of_fits_that_were_not_run():
    probed = [Probed(LINE, Word.supported, "1.01", None)]
    other = Verdict(replace(CLAIM, probe=""), Word.unresolved, SLOPE, "partly inside")
    assert settled(other, probed) is other
    empty = Verdict(CLAIM, Word.unresolved, slope((100, 1000), [[], []]), "not run")
    assert settled(empty, probed) is empty


def test_an_exponent_decides_in_the_result(tmp_path):
    study = replace(study_of(LINE), claims=(CLAIM,))
    run(study, tmp_path)
    assert collect(study, tmp_path).verdicts[0].word is Word.unresolved
    run_probes(study, tmp_path)
    assert collect(study, tmp_path).verdicts[0].word is Word.supported


def test_a_claim_and_its_exponent_say_the_same():
    with pytest.raises(ValueError, match="has no exponent 'other': it has intercept"):
        replace(study_of(LINE), claims=(replace(CLAIM, probe="other"),))
    with pytest.raises(ValueError, match=r"says that the slope is equal to -0.5"):
        replace(study_of(LINE), claims=(replace(CLAIM, value=-0.25),))
