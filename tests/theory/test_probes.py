"""Population exponents of a study: measured once, kept, judged."""

from dataclasses import replace
from math import inf

import pytest
import torch

from gatewise.core.experts import EXPERTS, NoExpert
from gatewise.core.families import FAMILIES, MeanOnly, Zero
from gatewise.core.gates import GATES
from gatewise.core.mixture import Measure, Mixture
from gatewise.runs.records import line_of
from gatewise.theory import Arm, Claim, Data, Model, Probe, Study, collect, run_probes
from gatewise.theory import run_study as run
from gatewise.theory.claims import VerdictKind
from gatewise.theory.error_parts import covered, every_part, parts_of
from gatewise.theory.exponents import Exponent, exponents_of, untied
from gatewise.theory.inputs import Uniform
from gatewise.theory.population.exponent import _population, population_exponent
from gatewise.theory.population.rules import Ball, Cube
from gatewise.theory.probes import FILE, Probed, expected, judge_probes
from gatewise.theory.slopes import slope
from gatewise.theory.verdict import Verdict, with_exponents

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
    assert judge_probes(study, tmp_path)[0].word is VerdictKind.unresolved
    run_probes(study, tmp_path, lambda *numbers: told.append(numbers))
    found = judge_probes(study, tmp_path)[0]
    assert found.word is VerdictKind.supported
    assert found.record["local"] == pytest.approx([1.0, 1.0], abs=1e-3)
    before = (tmp_path / FILE).read_bytes()
    run_probes(study, tmp_path, lambda *numbers: told.append(numbers))
    assert (tmp_path / FILE).read_bytes() == before
    assert told == [(1, 1)]


def test_progress_counts_what_is_computed_now(tmp_path):
    study, told = study_of(*(replace(LINE, name=f"with {starts}", starts=starts) for starts in (1, 2, 3))), []
    run_probes(replace(study, probes=study.probes[:1]), tmp_path)
    run_probes(study, tmp_path, lambda *numbers: told.append(numbers))
    assert told == [(1, 2), (2, 2)]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_exponent_that_cannot_be_computed_is_named_and_those_before_are_kept(tmp_path, workers):
    wrong = replace(LINE, name="wrong", path="family.variance", eps=(1.2, 1.1))
    with pytest.raises(ValueError, match=r"exponent 'wrong': a variance of 1 displaced by -1\.2 is not positive"):
        run_probes(study_of(LINE, wrong), tmp_path, workers=workers)
    if workers == 1:
        assert judge_probes(study_of(LINE), tmp_path)[0].word is VerdictKind.supported


def test_searches_that_find_no_number_are_recorded_and_leave_the_exponent_open(tmp_path, monkeypatch):
    def nowhere(*given, **options):
        found = population_exponent(*given, **options)
        sides = tuple(tuple(side._replace(distance=inf, offset=inf) for side in pair) for pair in found.sides)
        return _population(found.path, found.eps, sides)

    monkeypatch.setattr("gatewise.theory.probes.population_exponent", nowhere)
    run_probes(study_of(LINE), tmp_path)
    (found,) = judge_probes(study_of(LINE), tmp_path)
    assert found.record["distance"] == [None] * 3
    assert found.word is VerdictKind.unresolved
    assert "no search ended at an optimum" in found.reason
    verdict = Verdict(CLAIM, VerdictKind.unresolved, SLOPE, "partly inside")
    assert with_exponents(verdict, [Exponent(found, ())]) is verdict


def test_exponents_of_several_processes_are_those_of_one(tmp_path):
    study = study_of(*(replace(LINE, name=f"with {starts}", starts=starts) for starts in (1, 2, 3)))
    run_probes(study, tmp_path / "one")
    run_probes(study, tmp_path / "two", workers=2)
    one, two = (sorted((tmp_path / name / FILE).read_text().splitlines()) for name in ("one", "two"))
    assert len(one) == 3
    assert one == two


@pytest.mark.parametrize(("standing", "word"), [("own", VerdictKind.contradicted), ("recalled", VerdictKind.differs)])
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
    assert judge_probes(study_of(LINE), tmp_path)[0].word is VerdictKind.supported


def test_exponents_stand_in_the_result(tmp_path):
    study = study_of(LINE)
    run(study, tmp_path)
    run_probes(study, tmp_path)
    assert "supported: population exponent, intercept: 1.000" in collect(study, tmp_path).text()


CLAIM = Claim("line", "experts.intercept exact mean", "equal", -0.5, 0.05, "this project", "own", probe="intercept")
SLOPE = slope((100, 1000), [[0.1, 0.1], [0.03, 0.03]])


def measured(*local, word="contradicted"):
    return Probed(LINE, VerdictKind(word), "as measured", {"local": list(local)})


@pytest.mark.parametrize(
    ("window", "exponent", "said"),
    [
        ("unresolved", measured(1.0, 1.01, word="supported"), "supported"),
        ("unresolved", measured(2.02, 2.0), "contradicted"),
        ("unresolved", measured(None, None), "contradicted"),
        ("unresolved", measured(1.0, 1.01, word="unresolved"), "unresolved"),
        ("unresolved", measured(2.0, 1.01, word="supported"), "unresolved"),
        ("supported", measured(1.0, 1.01, word="unresolved"), "supported"),
        ("supported", measured(1.0, 1.01, word="supported"), "supported"),
        ("supported", measured(2.02, 2.0), "unresolved"),
        ("contradicted", measured(1.0, 1.01, word="supported"), "unresolved"),
    ],
)
def test_an_exponent_decides_what_slopes_leave_open_and_leaves_open_what_it_denies(window, exponent, said):
    verdict = Verdict(CLAIM, VerdictKind(window), SLOPE, "partly inside", "more")
    found = with_exponents(verdict, [Exponent(exponent, ())])
    assert found.word is VerdictKind(said)
    if found is not verdict:
        assert "population exponent is as measured" in found.reason


@pytest.mark.parametrize(
    ("kind", "value", "exponent", "said"),
    [
        ("at_most", -0.25, 1.0, "supported"),
        ("at_most", -0.25, 2.0, "supported"),
        ("at_most", -0.25, 4.0, "contradicted"),
        ("at_most", -0.25, None, "contradicted"),
        ("at_least", -0.25, 4.0, "supported"),
        ("at_least", -0.25, 1.0, "contradicted"),
        ("slower_than_polynomial", 0.0, None, "supported"),
        ("slower_than_polynomial", 0.0, 2.0, "contradicted"),
        ("slower_than_polynomial", 0.0, 8.0, "contradicted"),
    ],
)
def test_an_exponent_says_a_slope_that_every_kind_of_claim_can_be_judged_by(kind, value, exponent, said):
    claim = replace(CLAIM, kind=kind, value=value)
    verdict = Verdict(claim, VerdictKind.unresolved, SLOPE, "partly inside")
    assert with_exponents(verdict, [Exponent(measured(exponent, exponent), ())]).word is VerdictKind(said)


@pytest.mark.parametrize(
    ("kind", "value", "exponent", "said"),
    [
        ("at_most", -0.25, 1.0, "unresolved"),
        ("equal", -0.25, 2.0, "unresolved"),
        ("equal", -0.25, 1.0, "unresolved"),
        ("equal", -0.25, 4.0, "contradicted"),
        ("at_most", -0.25, 4.0, "contradicted"),
        ("at_most", -0.25, None, "contradicted"),
        ("at_least", -0.25, 4.0, "supported"),
        ("at_least", -0.25, 1.0, "unresolved"),
        ("slower_than_polynomial", 0.0, None, "supported"),
        ("slower_than_polynomial", 0.0, 2.0, "unresolved"),
    ],
)
def test_an_exponent_of_a_part_of_an_error_says_that_the_error_is_no_faster(kind, value, exponent, said):
    claim = replace(CLAIM, kind=kind, value=value)
    verdict = Verdict(claim, VerdictKind.unresolved, SLOPE, "partly inside")
    part = Exponent(measured(exponent, exponent), (), 2, 3)
    found = with_exponents(verdict, [part])
    assert found.word is VerdictKind(said)
    assert "2 of 3 parts of this error have none: they may be slower" in found.reason
    supported = with_exponents(verdict._replace(word=VerdictKind.supported), [part])
    assert supported.word is (VerdictKind.unresolved if said == "contradicted" else VerdictKind.supported)


@pytest.mark.parametrize(
    ("kind", "value", "exponents", "left", "said"),
    [
        ("at_most", -0.25, (2.0,), (1,), "unresolved"),
        ("at_most", -0.25, (2.0,), (0,), "unresolved"),
        ("equal", -0.25, (2.0,), (1,), "unresolved"),
        ("equal", -0.25, (1.0,), (1,), "contradicted"),  # that part falls faster than was claimed
        ("at_most", -0.25, (4.0,), (1,), "contradicted"),
        ("difference", 0.0, (2.0, 2.0), (1, 0), "unresolved"),
        ("difference", 0.0, (2.0, 4.0), (1, 1), "contradicted"),
    ],
)
def test_slopes_do_not_contradict_what_exponents_of_some_parts_say(kind, value, exponents, left, said):
    other = {"other": "other", "probe": ""} if kind == "difference" else {}
    verdict = Verdict(replace(CLAIM, kind=kind, value=value, **other), VerdictKind.contradicted, SLOPE, "outside")
    known = [Exponent(measured(e, e), (), gone, 3) for e, gone in zip(exponents, left, strict=True)]
    assert with_exponents(verdict, known).word is VerdictKind(said)


def test_an_exponent_contradicts_a_recalled_claim_as_recollection():
    verdict = Verdict(replace(CLAIM, standing="recalled"), VerdictKind.unresolved, SLOPE, "partly inside")
    assert with_exponents(verdict, [Exponent(measured(4.0, 4.0), ())]).word is VerdictKind.differs


@pytest.mark.parametrize(
    ("value", "local", "certified", "said", "reason"),
    [
        (2.0, [1.5, 1.95], [True, True], "supported", "1.950 at eps"),
        (2.0, [1.0, 2.5], [True, True], "unresolved", "has not settled (before: 1.000)"),
        (2.0, [3.0, 2.5], [True, True], "unresolved", "has not settled (before: 3.000)"),
        (2.0, [3.0, 3.01], [True, True], "contradicted", "3.010"),
        (2.0, [3.0, 3.01], [False, True], "unresolved", "a single exponent has no trend"),
        (2.0, [3.0, 3.01], [True, False], "unresolved", "not certified"),
        (2.0, [0.03, 0.01], [True, True], "unresolved", "no fit near the truth shares atoms so"),
        (2.0, [0.03, 0.7], [True, True], "unresolved", "truth lies outside the box"),
        (2.0, [None, None], [True, True], "contradicted", "distance is zero"),
        (inf, [None, None], [True, True], "supported", "distance is zero"),
        (inf, [2.0, 2.01], [True, True], "contradicted", "2.010"),
        (inf, [2.0, 3.0], [True, True], "unresolved", "has not settled"),
    ],
)
def test_an_exponent_is_judged_by_its_trend_and_its_certificates(tmp_path, value, local, certified, said, reason):
    probe = replace(LINE, value=value, tolerance=0.1)
    run_probes(study_of(probe), tmp_path)
    record = judge_probes(study_of(probe), tmp_path)[0].record
    changed = {**record, "local": local, "certified": certified}
    (tmp_path / FILE).write_text(line_of(changed))
    found = judge_probes(study_of(probe), tmp_path)[0]
    assert found.word is VerdictKind(said)
    assert reason in found.reason


def test_an_exponent_decides_what_a_whole_window_leaves_open_and_nothing_else(tmp_path):
    """An exponent never stands in for sizes, replicates or certificates."""
    narrow = replace(CLAIM, tolerance=1e-3)
    whole = replace(study_of(LINE), arms=(Arm("line", DATA, MODEL, (100, 320, 1000, 3200), 40),), claims=(narrow,))
    run(whole, tmp_path / "whole")
    assert collect(whole, tmp_path / "whole").verdicts[0].word is VerdictKind.unresolved
    run_probes(whole, tmp_path / "whole")
    assert collect(whole, tmp_path / "whole").verdicts[0].word is VerdictKind.supported
    short = replace(study_of(LINE), claims=(narrow,))
    run(short, tmp_path / "short")
    run_probes(short, tmp_path / "short")
    found = collect(short, tmp_path / "short").verdicts[0]
    assert found.word is VerdictKind.unresolved
    assert "2 sizes over 0.3 decades" in found.reason


TWO = Mixture((GATES["softmax"],), (2,))
PAIR = Measure(
    ({"weight": torch.tensor([[1.0, 0.0, 0.5], [0.0, 0.0, 0.0]]).double(), "bias": torch.zeros(2).double()},),
    {"coef": torch.tensor([[[1.0, 0.5, 0.0]], [[-1.0, 0.0, 0.5]]]).double(), "intercept": torch.zeros(2, 1).double()},
    {"scale": torch.ones(2, 1).double()},
)
OF_PAIR = Data(TWO, PAIR, Uniform(d=3))
THREE = Model(Mixture((GATES["softmax"],), (3,)), box={"experts.coef": (-4.0, 4.0)}, min_scale=0.1)
ARM = Arm("one more", OF_PAIR, THREE, (1000, 3200, 10_000, 32_000), 40)
SPLIT_PROBE = Probe(
    *("split", OF_PAIR, THREE, "experts.coef", (0, 0, 1), 2.0, 0.2, "this project", "own"), inputs=Cube(d=3)
)
OVER = Claim("one more", "experts.coef over mean", "equal", -0.25, 0.05, "this project", "own", probe="split")
NARROW = {"experts.coef": (-2.0, 2.0)}
FLOOR_IN_BOX = {"experts.coef": (-4.0, 4.0), "family.scale": (0.1, inf)}


@pytest.mark.parametrize(
    ("claim", "arm", "probe", "differ"),
    [
        (OVER, ARM, SPLIT_PROBE, ()),
        (OVER, ARM, replace(SPLIT_PROBE, model=replace(THREE, box=FLOOR_IN_BOX)), ()),
        (OVER, replace(ARM, model=replace(THREE, mixture=TWO)), SPLIT_PROBE, ("fitted model",)),
        (OVER, ARM, replace(SPLIT_PROBE, model=replace(THREE, box=NARROW)), ("box",)),
        (OVER, ARM, replace(SPLIT_PROBE, model=replace(THREE, min_scale=0.2)), ("box",)),
        (OVER, ARM, replace(SPLIT_PROBE, inputs=Ball((0.0, 0.0, 0.0), 2.0)), ("inputs",)),
        (OVER, ARM, replace(SPLIT_PROBE, inputs=Cube(-1.0, 1.0, 3)), ("inputs",)),
        (OVER, ARM, replace(SPLIT_PROBE, data=replace(OF_PAIR, truth=PAIR.map(lambda v: 1.1 * v))), ("truth",)),
        (replace(OVER, series="experts.coef exact mean"), ARM, SPLIT_PROBE, ("kind of cell",)),
        (OVER, ARM, replace(SPLIT_PROBE, atom=2), ("kind of cell",)),
        (replace(OVER, series="experts.intercept over mean"), ARM, SPLIT_PROBE, ("parameter",)),
    ],
)
def test_an_exponent_belongs_to_one_truth_model_box_input_law_and_cell(claim, arm, probe, differ):
    assert untied(claim, arm, probe) == differ


def test_all_exponents_about_an_error_say_how_slow_it_is():
    """Of three coefficients, of one cell or of both, each has an exponent of its own; the largest counts.

    With one atom too many either of the two true ones is the shared one: six exponents, of two choices.
    """

    def of(entry, exponent, atom=0, word="supported", cells=(0, 0, 1)):
        probe = replace(SPLIT_PROBE, name=f"{entry}, {atom}, {cells}", entry=entry, atom=atom, cells=cells)
        return measured(exponent, exponent, word=word)._replace(probe=probe)

    claim = replace(OVER, probe="0, 0, (0, 0, 1)")
    assert exponents_of(replace(claim, probe=""), [ARM], [of(0, 2.0)]) == ()
    (alone,) = exponents_of(claim, [ARM], [of(0, 2.0)])
    assert (alone.left, alone.parts) == (5, 6)
    (one_choice,) = exponents_of(claim, [ARM], [of(0, 2.0), of(1, 2.0, atom=1), of(2, 4.0)])
    assert (one_choice.left, one_choice.parts, one_choice.probed.local()[-1]) == (3, 6, 4.0)
    other = [of(entry, 2.0, cells=(1, 1, 0)) for entry in range(3)]
    others = [of(1, 2.0, atom=1), of(2, 4.0), *other]
    (whole,) = exponents_of(claim, [ARM], [of(0, 2.0), *others])
    assert (whole.left, whole.probed.local()[-1]) == (0, 4.0)
    (slower,) = exponents_of(claim, [ARM], [of(0, 2.0), *others[:-1], of(2, 6.0, cells=(0, 1, 1), atom=1)])
    assert (slower.left, slower.probed.local()[-1]) == (0, 6.0)
    (partly,) = exponents_of(claim, [ARM], [of(0, 2.0), others[0], of(2, 4.0, word="unresolved"), *other])
    (elsewhere,) = exponents_of(claim, [ARM], [of(0, 2.0), others[0], of(2, 4.0, atom=2), *other])  # alone in its cell
    assert partly.left == elsewhere.left == 1
    (open_,) = exponents_of(claim, [ARM], [of(0, 2.0, word="unresolved"), *others])
    assert open_.probed.probe.entry == 0


def test_a_difference_has_the_exponents_of_both_sides_and_names_none():
    def of(probe, exponent, word="supported"):
        return measured(exponent, exponent, word=word)._replace(probe=probe)

    claim = replace(OVER, kind="difference", value=0.0, other="wide", probe="")
    wide = replace(THREE, box={"experts.coef": (-9.0, 9.0)})
    arms = [ARM, replace(ARM, name="wide", model=wide)]
    both = [(e, cells) for e in range(3) for cells in ((0, 0, 1), (1, 1, 0))]
    one = [of(replace(SPLIT_PROBE, name=f"{e}", entry=e, cells=cells), 2.0) for e, cells in both]
    other = [of(replace(SPLIT_PROBE, name=f"wide {e}", entry=e, cells=cells, model=wide), 4.0) for e, cells in both]
    found = exponents_of(claim, arms, one + other)
    assert [each.probed.local()[-1] for each in found] == [2.0, 4.0]
    assert [each.left for each in found] == [0, 0]
    assert exponents_of(claim, arms, one) == ()
    assert exponents_of(claim, arms, one + [of(each.probe, 4.0, "unresolved") for each in other]) == ()
    assert exponents_of(claim, arms, one + [of(each.probe, None) for each in other]) == ()


@pytest.mark.parametrize(
    ("kind", "value", "exponents", "left", "said"),
    [
        ("difference", 0.0, (2.0, 2.0), (0, 0), "supported"),
        ("difference", 0.0, (2.0, 4.0), (0, 0), "contradicted"),
        ("difference", -0.125, (2.0, 4.0), (0, 0), "supported"),
        ("at_least", 0.1, (4.0, 2.0), (0, 0), "supported"),
        ("at_least", 0.1, (2.0, 2.0), (0, 0), "contradicted"),
        ("difference", 0.0, (2.0, 2.0), (1, 0), "unresolved"),
        ("at_least", 0.1, (4.0, 2.0), (1, 0), "supported"),  # the first may be slower still
        ("at_least", 0.1, (4.0, 2.0), (0, 1), "unresolved"),
        ("at_least", 0.1, (2.0, 2.0), (0, 1), "contradicted"),
        ("difference", 0.0, (2.0, 2.0), (1, 1), "unresolved"),
    ],
)
def test_exponents_of_both_sides_decide_a_difference(kind, value, exponents, left, said):
    claim = replace(CLAIM, kind=kind, value=value, other="other", probe="")
    verdict = Verdict(claim, VerdictKind.unresolved, SLOPE, "partly inside")
    pair = [Exponent(measured(e, e), (), gone, 3) for e, gone in zip(exponents, left, strict=True)]
    found = with_exponents(verdict, pair)
    assert found.word is VerdictKind(said)
    assert "the population exponents are as measured and as measured" in found.reason
    for whose, gone in zip(("first", "second"), left, strict=True):
        assert (f"1 of 3 parts of the {whose} error" in found.reason) == bool(gone)


def test_exponents_of_a_difference_that_still_move_apart_decide_nothing():
    claim = replace(CLAIM, kind="difference", value=0.0, other="other", probe="")
    verdict = Verdict(claim, VerdictKind.unresolved, SLOPE, "partly inside")
    pair = [Exponent(measured(2.0, 2.0), ()), Exponent(measured(3.0, 2.0), ())]
    assert with_exponents(verdict, pair) is verdict
    assert with_exponents(verdict, [pair[0], Exponent(measured(2.0), ())]).word is VerdictKind.supported


FIRST, SECOND = ((0, 0), (0, 0), (1, 0)), ((0, 0), (1, 0), (1, 0))  # the kinds of fitted atoms at the two true ones
ALONE = ((0, 0), (1, 0))


def test_the_entries_of_an_error_are_those_that_are_estimated():
    fixed = {"experts.coef": torch.full((3, 1, 3), torch.nan).double()}
    fixed["experts.coef"][:, 0, 2] = 0.5
    probe = replace(SPLIT_PROBE, model=replace(THREE, fixed=fixed))
    truth = PAIR._replace(
        experts={**PAIR.experts, "coef": torch.tensor([[[1.0, 0.5, 0.5]], [[-1.0, 0.0, 0.5]]]).double()}
    )
    probe = replace(probe, data=replace(OF_PAIR, truth=truth))
    shared, alone = ((FIRST, (0, 0)), (SECOND, (1, 0))), ((FIRST, (1, 0)), (SECOND, (0, 0)))
    assert parts_of(probe) == {(*cell, e) for cell in shared for e in (0, 1)}
    assert parts_of(replace(probe, atom=2)) == {(*cell, e) for cell in alone for e in (0, 1)}
    assert parts_of(replace(probe, path="family.variance")) == {(FIRST, (0, 0), 0), (SECOND, (1, 0), 0)}


def test_the_atom_that_others_are_measured_from_has_no_error():
    three = replace(THREE, mixture=Mixture((GATES["softmax"],), (2,)))
    weight = replace(SPLIT_PROBE, path="gates.0.weight", model=three, cells=(0, 1))
    assert parts_of(weight) == {(ALONE, (0, 0), entry) for entry in range(3)}
    slopes = {(ALONE, (atom, 0), entry) for atom in (0, 1) for entry in range(3)}
    assert parts_of(replace(weight, path="experts.coef")) == slopes
    assert [covered(one) for one in every_part([weight])] == [{(ALONE, (0, 0), entry)} for entry in range(3)]
    assert [one.name for one in every_part([weight])] == ["split", "split, 0.1", "split, 0.2"]


def test_the_entries_of_an_error_are_as_many_as_the_inputs_of_the_exponent():
    probe = replace(SPLIT_PROBE, data=replace(OF_PAIR, inputs=Uniform()))
    assert parts_of(probe) == {(*cell, e) for cell in ((FIRST, (0, 0)), (SECOND, (1, 0))) for e in range(3)}


def test_an_atom_without_an_expert_has_no_error_of_experts():
    inflated = Mixture((GATES["softmax"],), (2,), (EXPERTS["linear"], NoExpert()), (FAMILIES["poisson"], Zero()))
    data, model = Data(inflated, PAIR._replace(family={}), Uniform(d=3)), Model(inflated, min_scale=0.1)
    probe = replace(SPLIT_PROBE, data=data, model=model, cells=(0, 1))
    assert parts_of(probe) == {(((0, 0), (1, 1)), (0, 0), entry) for entry in range(3)}


def test_a_drifting_truth_is_not_that_of_an_exponent():
    drift = replace(ARM, data=replace(OF_PAIR, truth=lambda n: PAIR.map(lambda v: v * (1 + n**-0.5))))
    assert untied(OVER, drift, replace(SPLIT_PROBE, data=drift.data)) == ("truth",)


def test_a_temperature_that_no_data_identify_does_not_make_another_truth():
    """Weights, biases and temperature times two are the same gate."""
    gate = Mixture((GATES["dense-to-sparse"],), (2,))
    one = PAIR._replace(gates=(dict(PAIR.gates[0], temperature=torch.ones(1).double().squeeze()),))
    two = one._replace(gates=({name: 2.0 * value for name, value in one.gates[0].items()},))
    model = replace(THREE, mixture=Mixture(gate.gates, (3,)))
    arm = Arm("warm", Data(gate, two, Uniform(d=3)), model, (1000, 3200, 10_000, 32_000), 40)
    probe = replace(SPLIT_PROBE, data=Data(gate, one, Uniform(d=3)), model=model)
    assert untied(OVER, arm, probe) == ()


def test_an_exponent_of_another_model_does_not_count(tmp_path):
    """A claim about as many experts as there are, and the exponent of one expert more."""
    exponent = measured(2.0, 2.0, word="supported")
    verdict = Verdict(CLAIM, VerdictKind.unresolved, SLOPE, "partly inside")
    found = with_exponents(verdict, [Exponent(exponent, ("fitted model", "kind of cell"))])
    assert found.word is VerdictKind.unresolved
    assert "does not count: it is of another fitted model, kind of cell" in found.reason


def test_a_claim_names_an_exponent_that_exists_and_says_something_of_it():
    with pytest.raises(ValueError, match="has no exponent 'other': it has intercept"):
        replace(study_of(LINE), claims=(replace(CLAIM, probe="other"),))
    with pytest.raises(ValueError, match="A difference is decided by the exponents of both"):
        replace(study_of(LINE), claims=(replace(CLAIM, other="line", other_series="mean"),))
    with pytest.raises(ValueError, match=r"its exponent 'intercept' is of experts.intercept; correct the series"):
        replace(study_of(LINE), claims=(replace(CLAIM, series="hellinger"),))


SHARED = Measure(
    ({"bias": torch.zeros(1, dtype=torch.float64)},), {"intercept": torch.ones(1, 1, dtype=torch.float64)}, {}
)
CONSTANT = Mixture((GATES["constant"],), (1,), EXPERTS["constant"], MeanOnly())
SPLIT = Probe(
    *(
        "split constant",
        Data(CONSTANT, SHARED, noise=0.1),
        Model(replace(CONSTANT, branching=(2,)), "ls"),
        "experts.intercept",
    ),
    *((0, 0), inf, 0.2, "this project", "own"),
    eps=(0.2, 0.1, 0.05),
    starts=2,
)


def test_where_the_truth_is_attained_at_every_displacement_the_exponent_is_infinite(tmp_path):
    study = study_of(SPLIT)
    run_probes(study, tmp_path)
    found = judge_probes(study, tmp_path)[0]
    assert found.word is VerdictKind.supported
    assert found.local() == [inf, inf]
    assert "the truth is attained at every displacement" in found.record["text"]
    assert expected(SPLIT) == "infinite: not identified"
    finite = study_of(replace(SPLIT, value=2.0))
    assert judge_probes(finite, tmp_path)[0].word is VerdictKind.contradicted


def test_an_exponent_that_is_finite_contradicts_that_a_parameter_is_not_identified(tmp_path):
    run_probes(study_of(LINE), tmp_path)
    assert judge_probes(study_of(replace(LINE, value=inf)), tmp_path)[0].word is VerdictKind.contradicted


@pytest.mark.parametrize("wrong", [{"value": 0.0}, {"value": float("nan")}, {"tolerance": -1.0}, {"tolerance": inf}])
def test_an_exponent_that_is_none_is_refused(wrong):
    with pytest.raises(ValueError, match="give a positive exponent"):
        replace(LINE, **wrong)
