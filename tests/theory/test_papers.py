"""Studies of the papers: they build, their truths lie in their boxes, their claims are about what is recorded."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from gatewise.core.mixture import leaf_weights, log_density, regression
from gatewise.fit.least_squares import mean_of
from gatewise.objective.parameterization import specifications
from gatewise.theory.arms import Arm, DataDrivenStarts, NearTruth
from gatewise.theory.claims import Claim
from gatewise.theory.exponents import untied
from gatewise.theory.fingerprint import fingerprint
from gatewise.theory.papers import NO_STUDY, STUDIES
from gatewise.theory.papers.sigmoid import TITLE, TRUE, limits, signal, truth
from gatewise.theory.records import FitBatch, near_truth, work
from gatewise.theory.study import Study

from ..whole_path import brief_fits  # noqa: F401

PAIRS = [pytest.param(study, arm, id=f"{study.name}: {arm.name}") for study in STUDIES.values() for arm in study.arms]


def test_studies_have_names_of_their_own():
    assert all(name == study.name for name, study in STUDIES.items())
    assert len({fingerprint(study) for study in STUDIES.values()}) == len(STUDIES) == 25
    assert not set(NO_STUDY) & set(STUDIES)
    assert all(len(reason) > 60 for reason in NO_STUDY.values())


@pytest.mark.parametrize("study", STUDIES.values(), ids=STUDIES)
def test_every_study_says_why_and_every_claim_where_from(study: Study):
    assert len(study.why) > 200
    assert study.title
    about = {name for claim in study.claims for name in (claim.arm, claim.other)}
    assert {arm.name for arm in study.arms} <= about
    for claim in study.claims:
        assert re.search(r"\d{4}\.\d{5}|this project", claim.source), claim
        assert claim.standing != "own" or claim.source == "this project"
        assert claim.kind != "difference" or claim.other
        assert claim.other or not claim.other_series
    assert len({(c.arm, c.series, c.kind, c.value, c.other) for c in study.claims}) == len(study.claims)


def found(name: str, **wanted: str) -> list[Claim]:
    return [c for c in STUDIES[name].claims if all(getattr(c, k) == v for k, v in wanted.items())]


def test_gates_of_softmax_and_laplace_are_compared_each_in_its_own_parameter():
    (claim,) = found("laplace-over", series="gates.0.weight over mean", kind="difference")
    assert (claim.arm, claim.other, claim.other_series) == ("softmax, d=3", "laplace, d=3", "gates.0.center over mean")


@pytest.mark.parametrize("pair", ["SS", "SL"])
@pytest.mark.parametrize("d", [1, 3])
def test_slower_than_two_laplace_gates_can_be_refuted(pair: str, d: int):
    """The claim leaves out slopes that are equal, so that enough replicates decide between the two."""
    claims = found("hierarchical-rates", arm=f"{pair}, d={d}", kind="at_least")
    assert {c.series for c in claims} == {"experts.coef over mean", "family.variance over mean"}
    assert {c.other for c in claims} == {f"LL, d={d}"}
    assert min(c.value - c.tolerance for c in claims) > 0


def test_the_temperature_that_seems_to_converge_is_the_one_that_was_fitted():
    claims = found("trap-temperature", series="gates.0.temperature raw")
    assert {c.arm for c in claims} == {"near", "blind"}
    starts = {arm.name: arm.starts for arm in STUDIES["trap-temperature"].arms}
    assert isinstance(starts["near"], NearTruth)
    assert isinstance(starts["blind"], DataDrivenStarts)


def share_of_noise(arm: Arm) -> list[float]:
    """Noise over the standard deviation of the regression function at every level; of a density its own scale."""
    data, scales = arm.data, arm.data.at(1000).family
    if data.noise is None:
        return scales["scale"].flatten().tolist()
    nodes = data.inputs.nodes()
    value = regression(data.mixture, data.at(1000), nodes.x, nodes.x)[0]
    centred = value - (nodes.weight * value).sum()
    spread = float((nodes.weight * centred**2).sum().sqrt())
    return [level.noise / spread for level in arm.levels()]


@pytest.mark.parametrize("study", [s for s in STUDIES.values() if s.comparisons], ids=lambda s: s.name)
def test_rows_are_compared_at_equal_signal_and_noise(study: Study):
    assert len(set(study.comparisons)) == len(study.comparisons)
    for first, second, _ in study.comparisons:
        one, two = study.arm(first), study.arm(second)
        assert replace(one.starts, count=10) == replace(two.starts, count=10)  # maxima are compared, found by enough
        assert [level.n for level in one.levels()] == [level.n for level in two.levels()]
        assert [level.axis for level in one.levels()] == pytest.approx([level.axis for level in two.levels()], rel=1e-3)
        assert share_of_noise(one) == pytest.approx(share_of_noise(two), rel=1e-2)  # signals have three digits


def test_every_expert_and_activation_is_compared_in_rows():
    pairs = {(a, b) for study in STUDIES.values() for a, b, _ in study.comparisons}
    for title in TITLE.values():
        for what in ("regime one", "regime two", "exact"):
            assert (f"sigmoid, {title}, {what}", f"softmax, {title}, {what}") in pairs
    for fn in ("sigmoid", "tanh", "gelu"):
        for what in ("exact", "three experts", "over"):
            assert (f"{fn}, {what}", f"identity, {what}") in pairs
    assert ("sigmoid on sigmoid", "softmax on sigmoid") in pairs
    assert ("softmax on softmax", "sigmoid on softmax") in pairs


def test_merged_atoms_are_compared_with_as_many_as_there_are():
    study = STUDIES["published-dendrogram"]
    four, two = study.arms
    assert (four.model.mixture.branching, two.model.mixture.branching) == ((4,), (2,))
    assert four.merged
    assert four.data is two.data
    assert isinstance(four.starts, DataDrivenStarts)
    claims = {(c.series, c.kind, c.other_series) for c in study.claims if c.arm == "four atoms"}
    assert {("merged loss exact", "equal", ""), ("merged loss exact", "difference", "loss exact")} <= claims
    assert ("loss exact", "at_least", "") in claims


@pytest.mark.parametrize(("study", "arm"), PAIRS)
def test_the_window_can_carry_a_verdict(study: Study, arm: Arm):
    levels = arm.levels()
    assert len(levels) >= 4
    assert levels[-1].axis / levels[0].axis >= 10**1.5
    assert arm.replicates >= 40
    assert arm.replicates % 20 == 0


def test_a_claim_that_no_window_can_settle_names_an_exponent_or_is_known_to_stay_open():
    """Finite sizes cannot show that an error falls slower than every power of n."""
    open_ones = {
        (study.name, claim.arm)
        for study in STUDIES.values()
        for claim in study.claims
        if claim.kind == "slower_than_polynomial" and not claim.probe and study.arm(claim.arm).model.gauge == "fixed"
    }
    assert open_ones == {
        ("sigmoid-rates", "sigmoid, ax + b, regime two"),
        ("sigmoid-rates", "sigmoid, b, regime two"),
        ("regime-2-attained", "GELU(ax + b), zero excluded"),
        ("crossed-gates", "softmax on sigmoid"),
        ("cosine-rates", "cosine, d=2, exact"),
        ("cosine-rates", "cosine, d=3, exact"),
    }


@pytest.mark.parametrize("study", [s for s in STUDIES.values() if s.probes], ids=lambda s: s.name)
def test_every_exponent_that_a_claim_names_is_of_its_arm(study: Study):
    probes = {probe.name: probe for probe in study.probes}
    named = [claim for claim in study.claims if claim.probe]
    assert named or not any(arm.losses for arm in study.arms)
    assert [untied(claim, study.arm(claim.arm), probes[claim.probe]) for claim in named] == [()] * len(named)


@pytest.mark.parametrize(("study", "arm"), PAIRS)
def test_every_arm_claims_the_rate_of_its_density_or_mean(study: Study, arm: Arm):
    series = "mean" if arm.model.method == "ls" else "hellinger"
    assert any(claim.series == series for claim in study.claims if claim.arm == arm.name)


@pytest.mark.parametrize(("study", "arm"), PAIRS)
def test_the_box_holds_the_truth_in_every_order_of_its_atoms(study: Study, arm: Arm):
    """Gate locations and biases that translate are measured from every branch in turn, as from the last one."""
    box, mixture, d = arm.model.box or {}, arm.model.mixture, arm.data.inputs.d
    specs = specifications(mean_of(mixture) if arm.model.method == "ls" else mixture, d, d, 1)
    assert set(box) - {"family.scale"} == {path for path in specs if not path.startswith("family.")}
    for path, value in arm.data.at(1000).paths().items():
        if path == "family.scale":
            assert arm.model.min_scale is not None
            assert float(value.min()) > arm.model.min_scale
            assert float(value.max()) < box.get(path, (0.0, 2.0))[1]
            continue
        low, high = box[path]
        assert isinstance(low, float)
        assert isinstance(high, float)
        room, at, name = path.partition(".")[0], path.split(".")[1], path.rpartition(".")[2]
        shown = value
        if room == "gates" and name in mixture.gates[int(at)].translation():
            axis = int(at)
            shown = value.unsqueeze(axis) - value.unsqueeze(axis + 1)
        assert low < float(shown.min()), path
        assert float(shown.max()) < high, path


def test_the_larger_model_has_at_least_the_experts_of_the_truth():
    for study in STUDIES.values():
        for arm in study.arms:
            pairs = zip(arm.model.mixture.branching, arm.data.mixture.branching, strict=True)
            assert all(fitted >= true for fitted, true in pairs), (study.name, arm.name)


def test_signals_are_those_of_a_fine_grid():
    x = torch.linspace(-2, 2, 200_001, dtype=torch.float64)
    value = torch.sigmoid(0.3 + 1.5 * x) * (2 * x + 0.5) + torch.sigmoid(-x) * (1 - 1.5 * x)
    assert signal("sigmoid", "linear", truth("linear", "two")) == pytest.approx(float(value.std()), rel=2e-3)


def test_the_parameter_set_without_zero_experts_excludes_a_third_one():
    arm = STUDIES["regime-2-attained"].arm("GELU(ax + b), zero excluded")
    box = arm.model.box
    weight = torch.sigmoid(torch.tensor(box["gates.0.bias"][0]))
    least = 3 * weight * torch.nn.functional.gelu(torch.tensor(box["experts.intercept"][0]))
    true = arm.data.at(1000).paths()
    heights = torch.nn.functional.gelu(true["experts.intercept"][:, 0])
    assert float((torch.sigmoid(true["gates.0.bias"]) * heights).sum()) < float(least) - 0.09


def test_boxes_of_squares_hold_one_sign():
    assert limits("square")["experts.coef"] == (0.0, 5.0)
    assert min(v[0][0] for v in TRUE["square"]["coef"]) > 0


RUN = (
    ("softmax-over", "one too many"),
    ("laplace-exact", "laplace"),
    ("temperature-rates", "gelu, over"),
    ("temperature-rates", "identity, exact"),
    ("sigmoid-rates", "sigmoid, GELU(ax), regime two"),
    ("sigmoid-rates", "softmax, b, regime one"),
    ("crossed-gates", "softmax on sigmoid"),
    ("hierarchical-rates", "SL, d=1, outer gate known"),
    ("trap-early-stop", "stopped"),
    ("trap-near-start", "near, noise shrinks"),
    ("laplace-over", "laplace, d=3"),
    ("trap-temperature", "near"),
    ("published-dendrogram", "four atoms"),
    ("softmax-strong", "GELU(ax), d=3"),
    ("input-free", "input-free, d=3"),
    ("input-free", "shared and routed"),
    ("normalised-sigmoid", "dense, ax + b, d=3"),
    ("gaussian-score", "score, d=3, over"),
    ("cosine-rates", "perturbed-cosine, d=3, over"),
    ("quadratic-rates", "quadratic, d=3"),
    ("euclidean-sigmoid", "euclidean, d=3"),
    ("contaminated", "approaching, d=3"),
    ("three-levels", "SSS, d=1, over"),
)
NEIGHBOURS = (
    "three-levels",
    "softmax-strong",
    "input-free",
    "normalised-sigmoid",
    "euclidean-sigmoid",
    "gaussian-score",
    "cosine-rates",
    "quadratic-rates",
    "contaminated",
)


@pytest.mark.parametrize("name", NEIGHBOURS)
def test_every_neighbour_is_studied_with_three_inputs_too(name: str):
    dimensions = {arm.data.inputs.d for arm in STUDIES[name].arms}
    assert 3 in dimensions
    assert dimensions & {1, 2}


@pytest.mark.parametrize("d", [1, 3])
def test_the_truth_of_the_gaussian_score_is_that_of_the_softmax_gate(d: int):
    score, softmax = (STUDIES["gaussian-score"].arm(f"{gate}, d={d}, over").data for gate in ("score", "softmax"))
    x = score.inputs.draw(50, np.random.default_rng(0)).T
    y = torch.linspace(-3, 3, 50, dtype=torch.float64)[None]
    laws = [log_density(data.mixture, data.at(1000), x, x, y) for data in (score, softmax)]
    torch.testing.assert_close(*laws, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("d", [1, 3])
def test_the_estimated_expert_approaches_the_known_one_as_the_eighth_root(d: int):
    arm = STUDIES["contaminated"].arm(f"approaching, d={d}")
    gaps = []
    for n in (1000, 256_000):
        coef = arm.data.at(n).experts["coef"]
        torch.testing.assert_close(coef[1], arm.model.fixed["experts.coef"][1])
        gaps.append(float((coef[0] - coef[1]).norm()))
    assert gaps[0] == pytest.approx(3 * 1000**-0.125, rel=1e-12)
    assert gaps[0] / gaps[1] == pytest.approx(2.0, rel=1e-12)


def test_groups_with_a_known_part_keep_their_places_in_starts():
    """Without it half of the starts would have the routed experts behind weights that are known to be constant."""
    study = STUDIES["input-free"]
    arm = study.arm("shared and routed")
    level, true = arm.levels()[0], arm.data.at(1000).experts["intercept"]
    inner = set()
    for replicate in range(8):
        for start in near_truth(study, arm, level, replicate):
            gap = (start.experts["intercept"][:, :, None] - true[:, None]).abs().amin((1, 2, 3))
            assert float(gap.max()) < 0.5
            inner.add(tuple(start.experts["intercept"][1, :, 0].argsort().tolist()))
    assert len(inner) > 1


def test_half_of_the_mass_is_shared_and_does_not_depend_on_the_inputs():
    data = STUDIES["input-free"].arm("shared and routed").data
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)[None]
    weights = leaf_weights(data.mixture, data.at(1000), x)
    torch.testing.assert_close(weights[:2].sum(0), torch.full((9,), 0.5, dtype=torch.float64))
    assert float(weights[:2].std(-1).max()) < 1e-12
    assert float(weights[2:].std(-1).min()) > 0.1


def series_about(study: Study, title: str) -> set[str]:
    """Return what is claimed of an arm, or compared."""
    one = {c.series for c in study.claims if c.arm == title}
    other = {c.other_series or c.series for c in study.claims if c.other == title}
    return one | other | {series for *arms, series in study.comparisons if title in arms}


@pytest.mark.usefixtures("brief_fits", "few_nodes")
@pytest.mark.parametrize(("name", "title"), RUN)
def test_claims_are_about_series_that_are_recorded(name: str, title: str):
    study = STUDIES[name]
    arm = study.arm(title)
    if isinstance(arm.starts, DataDrivenStarts):
        study = replace(study, arms=(replace(arm, starts=DataDrivenStarts(1)),), claims=(), comparisons=())
    (record,) = work(study, FitBatch(title, arm.levels()[0], (0,)))
    wanted = series_about(STUDIES[name], title)
    assert wanted
    assert wanted <= set(record["series"]), wanted - set(record["series"])
    for path, held in (arm.model.fixed or {}).items():
        known = ~held.isnan()
        torch.testing.assert_close(torch.tensor(record["measure"][path], dtype=torch.float64)[known], held[known])
    for path, (low, high) in (arm.model.box or {}).items():
        value = torch.tensor(record["measure"][path], dtype=torch.float64)
        level = int(path.split(".")[1]) if path.startswith("gates.") else 0
        translated = (
            path.startswith("gates.") and path.rpartition(".")[2] in arm.model.mixture.gates[level].translation()
        )
        if not translated and path not in (arm.model.fixed or {}):
            assert float(value.min()) >= low - 1e-9, path
            assert float(value.max()) <= high + 1e-9, path
