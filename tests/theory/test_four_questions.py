"""What can be drawn, fitted, certified and compared are four questions: an arm runs where some have no answer."""

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from gatewise.core.experts import EXPERTS, Expert
from gatewise.core.families import Binomial, Poisson, StudentT
from gatewise.core.gates import GATES, Gate
from gatewise.core.links import TopK
from gatewise.core.mixture import Measure, Mixture
from gatewise.core.parameters import Parameter
from gatewise.core.predictors import affine
from gatewise.fit.maximum_likelihood import maximum_likelihood
from gatewise.theory import Arm, Claim, Data, DataDrivenStarts, Model, NearTruth, Probe, Study, Uniform, run_study
from gatewise.theory.checks import check, series_of
from gatewise.theory.fingerprint import describe, fingerprint
from gatewise.theory.records import draw as draw_rows
from gatewise.theory.records import facts, measure
from gatewise.theory.truths import holds_truth, truths_outside_box

from ..whole_path import brief_fits  # noqa: F401

D = 3
SOFTMAX = GATES["softmax"]


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def truth(family, branching=(2,), q=1, expert=None):
    """A truth in general position."""
    gates = tuple(
        {"weight": draw(*branching[: i + 1], D, seed=i), "bias": draw(*branching[: i + 1], seed=10 + i)}
        for i in range(len(branching))
    )
    experts = expert or {"coef": draw(*branching, q, D, seed=20), "intercept": draw(*branching, q, seed=21)}
    return Measure(gates, experts, family)


SCALE = {"scale": tensor([[0.5], [0.5]])}
T_SCALE = SCALE | {"dof": tensor([[5.0], [5.0]])}
PLAIN = Mixture((SOFTMAX,), (2,))
THREE = Mixture((SOFTMAX,) * 3, (2, 2, 2))
COUNTS, T = replace(PLAIN, family=Poisson()), replace(PLAIN, family=StudentT())


def arm(true, measure, fitted, **more):
    data = Data(true, measure, Uniform(-1.0, 1.0, D))
    return Arm("a", data, Model(fitted, min_scale=0.1), (300,), 1, DataDrivenStarts(2), **more)


TOP = Mixture((Gate(SOFTMAX.score, TopK(k=2)),), (3,))
ARMS = {
    "top-k": arm(TOP, truth({"scale": torch.full((3, 1), 0.5).double()}, (3,)), Mixture((SOFTMAX,), (3,))),
    "bernoulli": arm(replace(PLAIN, family=Binomial()), truth({}), replace(PLAIN, family=Binomial())),
    "binomial": arm(replace(PLAIN, family=Binomial(5)), truth({}), replace(PLAIN, family=Binomial(5))),
    "poisson": arm(COUNTS, truth({}), COUNTS),
    "trials by row": arm(replace(PLAIN, family=Binomial(None)), truth({}), replace(PLAIN, family=Binomial(None))),
    "two responses": arm(PLAIN, truth({"scale": torch.full((2, 2), 0.5).double()}, q=2), PLAIN),
    "student-t, gaussian fit": arm(T, truth(T_SCALE), PLAIN),
    "poisson, gaussian fit": arm(COUNTS, truth({}), PLAIN),
    "three levels": arm(THREE, truth({"scale": torch.full((2, 2, 2, 1), 0.5).double()}, (2, 2, 2)), THREE),
}
LAWS = {"hellinger", "total variation"}
DEFINED = {
    "top-k": LAWS | {"loss exact"},
    "bernoulli": LAWS | {"loss exact"},
    "binomial": LAWS | {"loss exact"},
    "poisson": LAWS | {"loss exact"},
    "trials by row": {"mean", "loss exact"},
    "two responses": {"mean", "loss exact"},
    "student-t, gaussian fit": LAWS,
    "poisson, gaussian fit": {"mean"},
    "three levels": LAWS,
}
CAUSES = {
    ("trials by row", "hellinger"): r"Binomial\(trials=None\) has 2 responses",
    ("two responses", "hellinger"): r"Gaussian\(\) has 2 responses: laws of one response are compared",
    ("two responses", "total variation"): "has 2 responses",
    ("student-t, gaussian fit", "loss exact"): "compares measures with the same parameters",
    ("student-t, gaussian fit", "experts.coef exact mean"): "compares measures with the same parameters",
    ("poisson, gaussian fit", "hellinger"): r"Poisson\(\) is a law of counts and Gaussian\(\) is none",
    ("three levels", "loss exact"): "hierarchical_loss is for two levels",
}


def study(one, **more):
    return Study("s", "S", "", (one,), **more)


@pytest.mark.usefixtures("brief_fits")
@pytest.mark.parametrize("name", ARMS)
def test_an_arm_runs_and_records_what_is_defined(name, tmp_path):
    one = replace(ARMS[name], losses=None)
    (record,) = run_study(study(one), tmp_path).records.values()
    assert set(record["series"]) == set(series_of(study(one), one))
    assert set(record["series"]) & (LAWS | {"mean", "loss exact"}) == DEFINED[name]
    assert all(record["series"][series] > 0 for series in DEFINED[name])


@pytest.mark.parametrize(("name", "series"), CAUSES)
def test_a_claim_about_what_is_undefined_is_refused_with_the_cause(name, series):
    made = Claim("a", series, "equal", -0.5, 0.1, "mine", "own")
    with pytest.raises(ValueError, match=f"arm 'a' has no series '{series}': .*{CAUSES[name, series]}"):
        check(study(ARMS[name], claims=(made,)))


@pytest.mark.parametrize("name", ["student-t, gaussian fit", "three levels"])
def test_a_loss_that_is_asked_for_and_undefined_is_refused_with_a_remedy(name):
    with pytest.raises(ValueError, match=r"arm 'a': .*or record no losses, losses=\(\)"):
        check(study(replace(ARMS[name], losses=("exact",))))


def test_atoms_of_three_levels_cannot_be_merged_which_is_told_before_a_run():
    with pytest.raises(ValueError, match=r"arm 'a': .*a dendrogram is drawn of mixtures with"):
        check(study(replace(ARMS["three levels"], merged=True)))


def test_a_family_that_cannot_take_the_response_is_refused_before_a_run():
    with pytest.raises(ValueError, match=r"draws y with .*: Poisson\(\) cannot be fitted to it"):
        check(study(arm(PLAIN, truth(SCALE), COUNTS)))


def test_what_cannot_be_drawn_is_refused_with_a_remedy():
    one = Mixture((Gate(SOFTMAX.score, TopK(k=1)),), (2,))
    with pytest.raises(ValueError, match=r"do not sum to one, .* Keep two branches or more, renormalised: TopK\(k=2\)"):
        check(study(arm(one, truth(SCALE), PLAIN)))


def test_starts_near_the_truth_of_a_model_with_fewer_parameters(tmp_path):
    near = replace(ARMS["student-t, gaussian fit"], starts=NearTruth(0.1))
    (record,) = run_study(study(near), tmp_path).records.values()
    assert record["moved"] > 0
    assert record["start"] is None
    three = replace(ARMS["three levels"], starts=NearTruth(0.1))
    check(study(three))


def test_starts_near_the_truth_that_do_not_exist_are_refused():
    near = replace(arm(PLAIN, truth(SCALE), T), starts=NearTruth(0.1))
    with pytest.raises(ValueError, match=r"the truth has no family.dof of the fitted model.*DataDrivenStarts"):
        check(study(near))
    wide = Mixture((SOFTMAX,), (2,), EXPERTS["relu-unit"])
    with pytest.raises(ValueError, match="the truth has no"):
        check(study(replace(arm(PLAIN, truth(SCALE), wide), starts=NearTruth(0.1))))
    fewer = replace(ARMS["top-k"], model=Model(PLAIN, min_scale=0.1), starts=NearTruth(0.1))
    with pytest.raises(ValueError, match=r"the branching \(2,\), the truth \(3,\)"):
        check(study(fewer))


TIES = tuple((f"gates.0.weight[0,{i}]", f"experts.coef[0,0,{i}]") for i in range(D))
TIED_TRUTH = truth(SCALE)
TIED_TRUTH.experts["coef"][0, 0] = TIED_TRUTH.gates[0]["weight"][0] - TIED_TRUTH.gates[0]["weight"][1]
TIED = replace(arm(PLAIN, TIED_TRUTH, PLAIN), model=Model(PLAIN, min_scale=0.1, ties=TIES))


@pytest.mark.parametrize("method", ["ml", "ls"])
def test_gate_and_expert_parameters_are_tied_in_a_study(method, tmp_path):
    one = replace(TIED, replicates=3)
    if method == "ls":
        one = replace(one, data=replace(one.data, noise=0.3), model=Model(PLAIN, "ls", ties=TIES), replicates=1)
    for record in run_study(study(one), tmp_path).records.values():
        weight, coef = (np.array(record["measure"][path]) for path in ("gates.0.weight", "experts.coef"))
        assert weight[0] - weight[1] == pytest.approx(coef[0, 0], abs=1e-9)
        assert coef[1, 0] != pytest.approx(coef[0, 0], abs=1e-2)


def test_ties_are_part_of_what_decides_the_records():
    free = replace(TIED, model=Model(PLAIN, min_scale=0.1))
    assert fingerprint(study(TIED)) != fingerprint(study(free))
    assert "ties" not in describe(study(free))["arms"]["a"]
    assert json.loads(json.dumps(describe(study(TIED))))["arms"]["a"]["ties"] == [list(tie) for tie in TIES]


def test_a_tie_that_the_truth_breaks_is_told_and_the_truth_is_no_bound_then():
    (level,) = TIED.levels()
    assert truths_outside_box(study(TIED)) == ()
    assert holds_truth(TIED, level)
    broken = replace(TIED, data=replace(TIED.data, truth=truth(SCALE)))
    assert "which are tied" in truths_outside_box(study(broken))[0]
    assert not holds_truth(broken, level)


def test_ties_of_what_is_not_estimated_are_refused_before_a_run():
    wrong = replace(TIED, model=Model(PLAIN, min_scale=0.1, ties=(("gates.0.weight[1,0]", "experts.coef[0,0,0]"),)))
    with pytest.raises(ValueError, match=r"ties has 'gates.0.weight\[1,0\]', which is not estimated"):
        check(study(wrong))
    with pytest.raises(ValueError, match="a tie holds two different names"):
        Model(PLAIN, min_scale=0.1, ties=(("experts.coef[0,0,0]",),))
    with pytest.raises(ValueError, match="exponents are of models without ties"):
        Probe("p", TIED.data, TIED.model, "experts.coef", (0, 1), 1.0, 0.1, "mine", "own")


@dataclass(frozen=True)
class Idle(Expert):
    """A linear expert with a parameter that has no effect."""

    def parameters(self, d):
        return {"coef": Parameter((d,), "slope"), "intercept": Parameter((), "intercept"), "idle": Parameter()}

    def __call__(self, params, x):
        return affine(params["coef"], params["intercept"], x)


def test_records_hold_doubles(tmp_path):
    one = replace(arm(PLAIN, truth(SCALE), PLAIN), replicates=5)
    lines = list(run_study(study(one), tmp_path).records.values())
    for name in ("log_likelihood", "behind"):
        assert not any(float(np.float32(line[name])) == line[name] for line in lines), name
    series = [value for line in lines for value in line["series"].values() if value and value % 1]
    assert np.mean([float(np.float32(value)) == value for value in series]) < 0.01


def test_a_parameter_that_ran_off_is_not_certified():
    """A search may leave anywhere what the data do not determine; at 1e23 and beyond nothing else has a digit."""
    mixture = Mixture((SOFTMAX,), (2,), Idle())
    true = truth(SCALE, expert={**truth(SCALE).experts, "idle": torch.zeros(2, 1).double()})
    one = arm(mixture, true, mixture)
    fit = maximum_likelihood(mixture, draw_rows(study(one), one, one.levels()[0], 0), starts=1)
    measure = fit.measure._replace(experts={**fit.measure.experts, "idle": torch.ones(2, 1).double()})
    near = fit._replace(measure=measure)
    assert facts(near, None, true)["certified"]
    for size in (1e23, 1e100, 1e144, float("inf"), float("nan")):
        measure.experts["idle"][0] = size
        assert not facts(near, None, true)["certified"]


def test_the_distance_of_means_is_that_of_the_regressions():
    """Poisson means 2 and 3 everywhere, a Gaussian fit of mean 2: the distance from 3 is one."""
    zero = {"weight": torch.zeros(2, D).double(), "bias": torch.zeros(2).double()}
    counts = Measure((zero,), {"coef": torch.zeros(2, 1, D).double(), "intercept": tensor([[2.0], [4.0]]).log()}, {})
    fitted = Measure((zero,), {"coef": torch.zeros(2, 1, D).double(), "intercept": tensor([[2.0], [2.0]])}, SCALE)
    found = measure(arm(COUNTS, counts, PLAIN), counts, [fitted])
    assert float(found["mean"]) == pytest.approx(1.0, rel=1e-12)
