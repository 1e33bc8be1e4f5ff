"""Verdicts on synthetic records: every word, every doubt, and what would settle an open claim."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from gatewise.core.gates import GATES
from gatewise.core.mixture import Measure, Mixture
from gatewise.theory import Arm, Claim, Cube, Data, Model, Probe, Study, Uniform
from gatewise.theory.claims import VerdictKind
from gatewise.theory.curves import curve
from gatewise.theory.evidence import gather
from gatewise.theory.exponents import Exponent
from gatewise.theory.probes import Probed
from gatewise.theory.verdict import judge, verdict_of

SIZES = (1000, 3162, 10000, 31623, 100000)
MIXTURE = Mixture((GATES["softmax"],), (2,))
TRUTH = Measure(
    (
        {
            "weight": torch.tensor([[1.5, 0.0, -1.0], [0.0, 0.0, 0.0]]).double(),
            "bias": torch.tensor([0.3, 0.0]).double(),
        },
    ),
    {
        "coef": torch.tensor([[[1.5, 0.5, 0.0]], [[-1.0, 0.0, 1.0]]]).double(),
        "intercept": torch.tensor([[1.0], [-1.0]]).double(),
    },
    {"scale": torch.tensor([[0.5], [0.7]]).double()},
)


def study_of(*claims, sizes=SIZES, replicates=60, names=("a", "b"), gauge="fixed", gate="softmax"):
    mixture = Mixture((GATES[gate],), (2,))
    data = Data(MIXTURE, TRUTH, Uniform(d=3))
    arms = tuple(Arm(n, data, Model(mixture, min_scale=0.1, gauge=gauge), sizes, replicates) for n in names)
    return Study("s", "S", "", arms, claims)


def claim(kind="equal", value=-0.5, tolerance=0.1, standing="published", **more):
    return Claim("a", "error", kind, value, tolerance, "source", standing, **more)


def frame_of(rates, sizes=SIZES, replicates=60, uncertified=0.0, lost=0.0, noise=0.2, curvature=0.0):
    rng = np.random.default_rng(0)
    rows = []
    for arm, rate in rates.items():
        for at in sizes:
            scatter = np.exp(noise * rng.standard_normal(replicates))
            for r in range(replicates):
                error = at**rate * np.exp(curvature * np.log(at / sizes[0]) ** 2) * scatter[r]
                rows.append(
                    {
                        "arm": arm,
                        "axis": at,
                        "replicate": r,
                        "error": np.nan if r < lost * replicates else error,
                        "certified": r >= uncertified * replicates,
                    }
                )
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("kind", "value", "rate", "word"),
    [
        ("equal", -0.5, -0.5, VerdictKind.supported),
        ("equal", -0.5, -0.25, VerdictKind.contradicted),
        ("equal", -0.5, -0.4, VerdictKind.unresolved),
        ("at_most", -0.25, -0.5, VerdictKind.supported),
        ("at_most", -0.25, -0.26, VerdictKind.supported),
        ("at_most", -0.25, 0.0, VerdictKind.contradicted),
        ("at_least", -0.25, 0.0, VerdictKind.supported),
        ("at_least", -0.25, -0.5, VerdictKind.contradicted),
    ],
)
def test_the_interval_decides(kind, value, rate, word):
    made = claim(kind, value)
    found = judge(study_of(made), frame_of({"a": rate, "b": rate}), made)
    assert found.word is word
    assert bool(found.settle) == (word is VerdictKind.unresolved)


def test_a_recalled_claim_is_never_contradicted():
    made = claim(standing="recalled")
    assert judge(study_of(made), frame_of({"a": -0.25}), made).word is VerdictKind.differs


def test_a_difference_is_paired():
    made = claim("difference", 0.0, 0.02, other="b")
    frame = frame_of({"a": -0.5})
    frame = pd.concat([frame, frame.assign(arm="b", error=2 * frame["error"])])
    found = judge(study_of(made), frame, made)
    assert found.word is VerdictKind.supported
    assert found.slope.half < 1e-9


def test_a_difference_names_its_second_arm():
    with pytest.raises(ValueError, match="second arm"):
        claim("difference")


@pytest.mark.parametrize("rate", [0.0, -1 / 12, -0.25])
def test_finite_sizes_never_show_that_an_error_is_slower_than_every_power(rate):
    """An exponent of twelve looks flat over any window, and one over log n looks like a power."""
    sizes = (100, 1000, 10000, 100000, 1000000)
    made = claim("slower_than_polynomial", 0.0, 0.0)
    found = judge(study_of(made, sizes=sizes), frame_of({"a": rate}, sizes), made)
    assert found.word is VerdictKind.unresolved
    assert "population exponent" in found.settle


@pytest.mark.parametrize(
    ("frame", "sizes", "replicates", "words"),
    [
        ({"uncertified": 0.1}, SIZES, 60, "are not certified"),
        ({"lost": 0.1}, SIZES, 60, "lack this error"),
        ({"sizes": SIZES[:3]}, SIZES[:3], 60, "3 sizes"),
        ({"replicates": 20}, SIZES, 20, "20 replicates"),
    ],
)
def test_doubts_leave_a_claim_open(frame, sizes, replicates, words):
    made = claim()
    found = judge(study_of(made, sizes=sizes, replicates=replicates), frame_of({"a": -0.5}, **frame), made)
    assert found.word is VerdictKind.unresolved
    assert words in found.reason


def test_uncertified_replicates_stay_in_the_slope_and_the_slope_without_them_is_told():
    frame = frame_of({"a": -0.5}, uncertified=0.04)
    frame.loc[~frame["certified"], "error"] *= 3
    found = curve(frame, study_of().arms[0], "error")
    assert found.slope.used == (60,) * 5
    assert found.certified.used == (57,) * 5 or found.certified.used == (58,) * 5


def test_a_slope_that_hangs_on_uncertified_fits_decides_nothing():
    made = claim("at_most", -0.5, 0.05)
    frame = frame_of({"a": -0.445}, replicates=1000, noise=0.001, uncertified=0.04)
    assert judge(study_of(made, replicates=1000), frame, made).word is VerdictKind.contradicted
    frame.loc[~frame["certified"], "error"] *= (frame["axis"] / SIZES[0]) ** -3.0
    frame.loc[~frame["certified"], "error"] *= 8
    found = judge(study_of(made, replicates=1000), frame, made)
    assert found.word is VerdictKind.unresolved
    assert "without uncertified fits, the slope is -0.445" in found.reason


OF_COEF = "experts.coef over mean"


def judged_coef(exponents=(), kind="equal", value=-0.5, uncertified=0.0, rate=-0.5, **columns):
    """The verdict on a slope of coefficients, exactly measured, with further columns of the fits."""
    made = Claim("a", OF_COEF, kind, value, 0.1, "source", "own")
    frame = frame_of({"a": rate}, replicates=60, uncertified=uncertified).rename(columns={"error": OF_COEF})
    for name, values in columns.items():
        frame[name] = [values(replicate, at) for replicate, at in zip(frame["replicate"], frame["axis"], strict=True)]
    return verdict_of(gather(study_of(made), frame, made, ())._replace(exponents=tuple(exponents)))


def test_fits_at_a_bound_of_the_parameter_leave_its_claim_open():
    found = judged_coef(bounds=lambda r, at: ("experts.coef",) if r < 30 and at == SIZES[1] else ())
    assert found.word is VerdictKind.unresolved
    assert "50 % of the replicates at n = 3162 end at a bound of this parameter" in found.reason
    other = judged_coef(bounds=lambda r, at: ("experts.intercept",) if r < 30 else ())
    assert other.word is VerdictKind.supported


def exponent_of_coef(value, left=0):
    """A settled exponent of coefficients, with the same value at the last displacements."""
    data = Data(MIXTURE, TRUTH, Uniform(d=3))
    probe = Probe(
        "coef",
        data,
        Model(MIXTURE, min_scale=0.1),
        "experts.coef",
        (0, 1),
        value,
        0.1,
        "source",
        "own",
        inputs=Cube(d=3),
    )
    found = Probed(probe, VerdictKind.supported, f"{value:.3f} at eps = 0.01", {"local": [value, value]})
    return Exponent(found, (), left, 3)


@pytest.mark.parametrize(
    ("value", "left", "kind", "word"),
    [
        (1.0, 0, "equal", "supported"),
        (2.0, 0, "equal", "unresolved"),  # slopes say otherwise
        (1.0, 2, "at_most", "unresolved"),  # other entries may be slower
        (float("inf"), 0, "slower_than_polynomial", "supported"),
    ],
)
def test_where_fits_end_at_bounds_slopes_decide_nothing_and_exponents_do(value, left, kind, word):
    """The slope of the fits, -1/2, is what the claims of a power say."""
    given = {"value": 0.0} if kind == "slower_than_polynomial" else {}
    assert judged_coef(kind=kind, bounds=at_the_first, **given).word is VerdictKind.unresolved
    found = judged_coef([exponent_of_coef(value, left)], kind, bounds=at_the_first, **given)
    assert found.word is VerdictKind(word)
    assert "end at a bound" in found.reason


def at_the_first(replicate, at):
    """Half of the fits at the smallest size end at a bound."""
    return ("experts.coef",) if replicate < 30 and at == SIZES[0] else ()


def at_every(replicate, at):
    """Half of the fits end at a bound."""
    return ("experts.coef",) if replicate < 30 else ()


@pytest.mark.parametrize("bounds", [None, at_the_first, at_every])
def test_an_exponent_decides_nothing_against_slopes_that_contradict_a_claim(bounds):
    """Errors that do not fall, and an exponent that says that they will: more fits at bounds make no claim truer."""
    given = {} if bounds is None else {"bounds": bounds}
    found = judged_coef([exponent_of_coef(1.0)], rate=0.0, **given)
    assert found.word is VerdictKind.unresolved
    assert "contradicted at these sizes" in found.reason


@pytest.mark.parametrize(
    ("kind", "value", "exponent", "word"),
    [
        ("equal", -0.5, 1.0, "unresolved"),
        ("at_most", -0.5, 1.0, "unresolved"),
        ("at_least", -0.5, 1.0, "supported"),
        ("slower_than_polynomial", 0.0, float("inf"), "supported"),
    ],
)
def test_with_fits_at_bounds_at_the_largest_size_no_exponent_shows_that_an_error_falls(kind, value, exponent, word):
    found = judged_coef([exponent_of_coef(exponent)], kind, value, bounds=at_every)
    assert found.word is VerdictKind(word)
    assert ("at the largest size 50 % do" in found.reason) == (word == "unresolved")


def test_an_exponent_that_is_open_or_of_something_else_decides_nothing_at_bounds():
    exponent = exponent_of_coef(1.0)
    untied = exponent._replace(untied=("box",))
    unsettled = exponent._replace(probed=exponent.probed._replace(word=VerdictKind.unresolved))
    for one in (untied, unsettled):
        found = judged_coef([one], bounds=at_the_first)
        assert found.word is VerdictKind.unresolved
        assert "end at a bound" in found.reason
    assert "another box" in judged_coef([untied], bounds=at_the_first).reason


def test_no_exponent_stands_in_for_a_certificate():
    found = judged_coef([exponent_of_coef(1.0)], uncertified=0.5)
    assert found.word is VerdictKind.unresolved
    assert "not certified" in found.reason


@pytest.mark.parametrize(("share", "word"), [(60, "not identified"), (6, "unresolved"), (2, "supported")])
def test_a_parameter_that_the_fits_call_unidentified_has_no_rate(share, word):
    """Two equal columns, or a bias beside a free constant: coefficients have no limit, whatever their spread does."""
    found = judged_coef(flat=lambda r, at: (("gates.0.bias", "experts.coef"),) if r < share else ())
    assert found.word is VerdictKind(word)
    assert ("do not identify" in found.reason) == (word != "supported")


def test_a_certificate_of_all_but_a_few_fits_is_asked_of_every_size():
    made = claim()
    frame = frame_of({"a": -0.5})
    frame.loc[(frame["axis"] == SIZES[-1]) & (frame["replicate"] < 12), "certified"] = False  # 4 % of all fits
    found = judge(study_of(made), frame, made)
    assert found.word is VerdictKind.unresolved
    assert "20 % of the replicates at n = 100000 are not certified" in found.reason


def test_an_error_that_no_fit_has_leaves_its_claim_open():
    made = claim()
    found = judge(study_of(made), frame_of({"a": -0.5}).assign(error=np.nan), made)
    assert found.word is VerdictKind.unresolved
    assert "100 % of the replicates at n = 1000 lack this error" in found.reason


def test_sizes_that_nearly_agree_are_one_size():
    sizes, made = (1000, 1001, 1002, 40000), claim()
    found = judge(study_of(made, sizes=sizes), frame_of({"a": -0.5}, sizes), made)
    assert found.word is VerdictKind.unresolved
    assert "2 sizes over 1.6 decades (4 over 1.5 needed)" in found.reason


def test_a_slope_that_still_moves_towards_the_claim_contradicts_nothing():
    """Two close components: the slope is -.33 at 200 to 8000 rows and goes on to -1/2."""
    sizes, made = (200, 500, 1300, 3200, 8000), claim(tolerance=0.05)
    frame = frame_of({"a": -0.15}, sizes, replicates=200, curvature=-0.045)
    found = judge(study_of(made, sizes=sizes, replicates=200), frame, made)
    assert found.slope.high < -0.3
    assert found.slope.low > -0.45
    assert found.word is VerdictKind.unresolved
    assert "if it goes on moving so, it may reach the claim" in found.reason
    away = frame_of({"a": -0.45}, sizes, replicates=200, curvature=0.045)
    assert judge(study_of(made, sizes=sizes, replicates=200), away, made).word is VerdictKind.contradicted


def test_noise_does_not_make_an_exact_power_a_curve():
    """Whatever the draw: the slope without the smallest sizes is noisier, and not another slope."""
    found = []
    for seed in range(40):
        rng, made = np.random.default_rng(seed), claim(tolerance=0.1)
        frame = frame_of({"a": -0.5}, noise=0.0)
        frame["error"] *= np.abs(rng.standard_normal(len(frame)))
        found.append(judge(study_of(made), frame, made))
    assert VerdictKind.contradicted not in [one.word for one in found]
    assert sum("without the smallest third" in one.reason for one in found) <= 2
    assert sum(one.word is VerdictKind.supported for one in found) >= 34  # of the others the interval is too wide


def test_a_curved_window_is_not_decided():
    made = claim(value=-0.52, tolerance=0.045)
    found = judge(study_of(made), frame_of({"a": -0.75}, curvature=0.05, noise=0.05), made)
    assert found.word is VerdictKind.unresolved
    assert "not straight" in found.reason


def test_means_that_rare_replicates_rule_decide_nothing():
    made = claim("at_most", -0.5, 0.05)
    frame = frame_of({"a": -0.5}, noise=0.05)
    frame.loc[frame["replicate"] < 6, "error"] = 5.0
    found = judge(study_of(made), frame, made)
    assert found.word is VerdictKind.unresolved
    assert "a few replicates dominate" in found.reason


def test_a_parameter_on_a_ridge_has_no_rate_whatever_its_slope():
    made = Claim("a", "gates.0.temperature exact mean", "equal", -0.5, 0.1, "source", "recalled")
    frame = frame_of({"a": -0.5}).rename(columns={"error": "gates.0.temperature exact mean"})
    study = study_of(made, gauge="none", gate="dense-to-sparse")
    found = judge(study, frame, made)
    assert found.word is VerdictKind.not_identified
    assert "ridge" in found.reason


TIED = (("family.scale[0,0]", "family.scale[1,0]"),)


@pytest.mark.parametrize("limits", [{"box": {"experts.coef": (-1.2, 1.2)}}, {"min_scale": 0.6}, {"ties": TIED}])
def test_limits_that_exclude_the_truth_leave_a_rate_open(limits):
    """An error that does not vanish contradicts no theorem about models that hold the truth."""
    made, slow = claim(), claim("at_least", 0.0, 0.05)
    study = study_of(made, slow)
    arms = tuple(replace(arm, model=replace(arm.model, **limits)) for arm in study.arms)
    frame = frame_of({"a": 0.0, "b": 0.0})
    found, other = (judge(replace(study, arms=arms), frame, one) for one in (made, slow))
    assert (found.word, found.settle) == (VerdictKind.unresolved, "limits that hold the truth")
    assert "the truth lies outside the fitted model" in found.reason
    assert other.word is VerdictKind.supported
    assert judge(study, frame, made).word is VerdictKind.contradicted


def test_an_unknown_series_names_those_there_are():
    made = Claim("a", "nothing", "equal", -0.5, 0.1, "source", "own")
    with pytest.raises(ValueError, match="it has error"):
        judge(study_of(made), frame_of({"a": -0.5}), made)


def test_settling_scales_with_the_square_of_the_width():
    made = claim(value=-0.5, tolerance=0.05)
    wide = judge(study_of(made), frame_of({"a": -0.48}, noise=1.5), made)
    assert wide.word is VerdictKind.unresolved
    assert "replicates" in wide.settle


@pytest.mark.parametrize("other", ["", "b"])
def test_a_claim_about_an_arm_that_was_not_run_stays_open(other):
    one = claim("difference", 0.0, other="b") if other else claim()
    there = {"a": -0.5} if other else {"b": -0.5}
    found = judge(study_of(one), frame_of(there), one)
    assert found.word is VerdictKind.unresolved
    assert found.reason == f"no fit of {other or 'a'} has been run"
    assert np.isnan(found.slope.value)


def test_what_is_wanting_in_both_arms_is_said_once_and_what_is_in_one_with_its_name():
    made = claim("difference", 0.0, other="b")
    frame = frame_of({"a": -0.5, "b": -0.5}, replicates=20)
    frame.loc[(frame["arm"] == "b") & (frame["replicate"] < 4), "certified"] = False
    found = judge(study_of(made, replicates=20), frame, made)
    assert found.reason.count("20 replicates") == 1
    assert "; b: 20 % of the replicates are not certified" in found.reason
    assert "a: " not in found.reason


def test_a_short_window_is_not_settled_by_replicates():
    made = claim()
    found = judge(study_of(made, sizes=SIZES[:2], replicates=5), frame_of({"a": -0.4}, SIZES[:2], 5), made)
    assert found.settle == "the sizes, replicates and certificates named in the reason"
