"""Exponents of truths that move with n: by hand, against the expected information, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gatewise import GATES, Binomial, Measure, Mixture, Poisson
from gatewise.fit.spec import FitSpec
from gatewise.infer.covariance.expected import Truth, expected_information, simulate
from gatewise.infer.covariance.value import flat_errors
from gatewise.infer.delta import places_of
from gatewise.theory import (
    STUDIES,
    Arm,
    Claim,
    Cube,
    Data,
    Loss,
    Model,
    Probe,
    Study,
    Uniform,
    moving_truth,
    run_probes,
)
from gatewise.theory import (
    TWO as SQUARE,
)
from gatewise.theory.claims import VerdictKind
from gatewise.theory.error_parts import covered, parts_of
from gatewise.theory.exponents import exponents_of, untied
from gatewise.theory.population import moving
from gatewise.theory.probes import judge_probes
from gatewise.theory.slopes import slope
from gatewise.theory.verdict import Verdict, with_exponents

SIZES = (10**3, 10**6, 10**9)
MINE = {"source": "by hand", "standing": "own"}


def value(numbers):
    return torch.tensor(numbers, dtype=torch.float64)


def one_expert(scale):
    return Measure(
        ({"bias": value([0.0])},),
        {"coef": value([[[1.0, -0.5, 2.0]]]), "intercept": value([[0.3]])},
        {"scale": value([[scale]])},
    )


def two_experts(apart=1.0):
    """Three inputs; the second expert is `apart` times as far from the first."""
    coef, shift = value([[1.0, -0.5, 0.8], [-1.0, 0.5, 0.2]]), value([[1.0], [-0.5]])
    coef[1], shift[1] = coef[0] + apart * (coef[1] - coef[0]), shift[0] + apart * (shift[1] - shift[0])
    gate = {"weight": value([[1.2, -0.4, 0.5], [0.0, 0.0, 0.0]]), "bias": value([0.3, 0.0])}
    return Measure((gate,), {"coef": coef[:, None], "intercept": shift}, {"scale": value([[0.4], [0.5]])})


ONE = Mixture((GATES["constant"],), (1,))
TWO = Mixture((GATES["softmax"],), (2,))
INPUTS = Cube(d=3, panels=1)


POWERS = {"experts.coef": 0.75, "experts.intercept": 0.75, "family.variance": 1.0}


@pytest.mark.parametrize(("path", "power"), POWERS.items())
def test_noise_that_falls_with_n(path, power):
    """With the standard deviation n^(-1/4) regression coefficients have n^(-3/4), the variance n^-1."""
    found = moving_truth(ONE, lambda n: one_expert(n**-0.25), ONE, path, sizes=SIZES, inputs=INPUTS)
    assert found.local == pytest.approx([1 / (2 * power)] * 2, rel=1e-6)
    assert found.certified == (True, True)
    assert not found.lacking


def test_the_standard_errors_of_a_regression():
    """Intercept: sd / sqrt(n); slopes: sqrt(3 / 4) of it, for inputs of variance 4 / 3; variance: sqrt(2) sd^2."""
    n, scale = 400, 0.7
    expected = {
        "experts.intercept": scale / n**0.5,
        "experts.coef": (3 * 3 / 4) ** 0.5 * scale / n**0.5,
        "family.variance": 2**0.5 * scale**2 / n**0.5,
    }
    for path, error in expected.items():
        found = moving_truth(ONE, lambda n: one_expert(scale), ONE, path, sizes=(n, 4 * n), inputs=INPUTS)
        assert found.error == pytest.approx([error, error / 2], rel=1e-4)


@pytest.mark.parametrize("path", ["gates.0.weight", "gates.0.bias", "experts.coef", "experts.intercept"])
def test_standard_errors_are_those_of_the_expected_information(path):
    truth = two_experts()
    found = moving_truth(TWO, lambda n: truth, TWO, path, sizes=(100, 10_000), inputs=INPUTS)
    x = Uniform(d=3).draw(100_000, np.random.default_rng(0))
    simulated = Truth(TWO, truth, x, spec=FitSpec(min_scale=0.1))
    information = expected_information(simulated, simulate(simulated, 100_000, 0)).information
    errors = flat_errors(information)[places_of(information, path)].nan_to_num()
    assert found.error[0] == pytest.approx(float(errors.norm()) / 10, rel=0.03)
    assert found.local == pytest.approx([1.0])


def test_experts_that_approach_slow_everything_but_what_both_share():
    """The distance n^(-1/8) appears once in the errors of weights and biases; slopes differ on it and are regular."""
    sizes = tuple(10**power for power in (12, 18, 24))
    known = {"experts.coef": two_experts().experts["coef"].clone(), "experts.intercept": value([[1.0], [torch.nan]])}
    known["experts.coef"][1] = torch.nan
    known["family.scale"] = value([[0.4], [torch.nan]])
    exponents = {
        path: moving_truth(
            TWO, lambda n: two_experts(n**-0.125)._replace(family={"scale": value([[0.4], [0.4]])}), TWO, path,
            sizes=sizes, fixed=known, inputs=INPUTS,
        )
        for path in ("gates.0.weight", "experts.coef", "family.variance")
    }  # fmt: skip
    assert exponents["gates.0.weight"].local[-1] == pytest.approx(4 / 3, abs=0.02)
    assert exponents["experts.coef"].local[-1] == pytest.approx(1.0, abs=0.02)
    assert exponents["family.variance"].local[-1] == pytest.approx(1.0, abs=0.02)


def test_least_squares():
    mixture, truth = replace(TWO, gates=(GATES["sigmoid"],)), two_experts()
    gate = {"weight": value([[1.2, -0.4, 0.5], [-0.7, 0.6, 0.3]]), "bias": value([0.3, 0.0])}
    truth = truth._replace(gates=(gate,))
    for path in ("gates.0.weight", "experts.coef"):
        found = moving_truth(mixture, lambda n: truth, mixture, path, sizes=SIZES, inputs=INPUTS, distance="l2")
        assert found.local == pytest.approx([1.0, 1.0])


def test_finer_nodes_halve_the_panels_between_kinks_too():
    """With three inputs and a kink in each; the nodes of a certificate must be others."""
    breaks = torch.tensor([[0.4, -0.8, 0.0]]).double()
    coarse, fine = (Cube(d=3, panels=1).graded(torch.empty(0, 3), breaks, 1.0, finer) for finer in (1, 2))
    assert len(fine.weight) == 8 * len(coarse.weight)
    kinked = [(nodes.weight * (nodes.x - breaks.mT).norm(dim=0)).sum() for nodes in (coarse, fine)]
    assert float(kinked[0]) == pytest.approx(float(kinked[1]), rel=1e-3)
    assert float(kinked[0]) != float(kinked[1])


def test_a_loss_sums_all_parameters():
    """Its standard error is the root of the sum of the squares of all; a loss of the data has its exponent."""
    mixture, truth = TWO, two_experts()
    paths = ("gates.0.weight", "gates.0.bias", "experts.coef", "experts.intercept", "family.variance")

    def found(path):
        return moving_truth(mixture, lambda n: truth, mixture, path, sizes=SIZES, inputs=INPUTS)

    loss = found("loss")
    assert (loss.local, loss.certified) == (pytest.approx((1.0, 1.0)), (True, True))
    assert loss.error[0] ** 2 == pytest.approx(sum(found(path).error[0] ** 2 for path in paths))


def test_an_exponent_of_a_loss_decides_a_claim_about_it_and_none_about_another(tmp_path):
    data, model = Data(TWO, two_experts(), Uniform(d=3)), Model(TWO, min_scale=0.1)
    given = {"value": 1.0, "tolerance": 0.1, "inputs": INPUTS, **MINE}
    probe = Probe("all", data, model, "loss", (0, 1), atom=1, sizes=SIZES, **given)
    squared = Loss("squared", rest=SQUARE, exact=SQUARE)
    arm = Arm("two", data, model, (100, 1000), 2, losses=("exact", squared))
    claim = Claim("two", "loss exact", "equal", -0.5, 0.1, "source", "own", probe="all")
    study = Study("s", "S", "", (arm,), (claim,), probes=(probe,))
    run_probes(study, tmp_path)
    (found,) = exponents_of(claim, [arm], judge_probes(study, tmp_path))
    assert (found.untied, found.left, found.parts) == ((), 0, 1)
    undecided = Verdict(claim, VerdictKind.unresolved, slope((100, 1000), [[0.1, 0.1], [0.03, 0.03]]), "few")
    assert with_exponents(undecided, [found]).word is VerdictKind.supported
    assert untied(replace(claim, series="loss exact unweighted"), arm, probe) == ()
    assert untied(replace(claim, series="loss squared"), arm, probe) == ("loss",)
    assert "parameter" in untied(replace(claim, series="merged loss exact"), arm, probe)
    three = replace(arm, model=replace(model, mixture=replace(TWO, branching=(3,))))
    assert "fitted model" in untied(claim, three, probe)
    moves = replace(arm, data=replace(data, truth=lambda n: two_experts()))
    assert untied(claim, moves, probe) == ("loss",)
    least_squares = Data(TWO, lambda n: two_experts(), Uniform(d=3), noise=(0.2, 0.1)), replace(model, method="ls")
    noisy = Arm("two", *least_squares, (1000,), 2, losses=("exact",))
    assert "truth" in untied(claim, noisy, probe)
    with pytest.raises(ValueError, match="a loss is not one entry"):
        Probe("all", data, model, "loss", (0, 1), **given)


@pytest.mark.parametrize("path", ["gates.0.temperature", "gates.1.temperature"])
def test_temperatures_of_both_levels_have_exponents(path):
    """A gate has one temperature for all of its branches."""
    mixture = Mixture((GATES["dense-to-sparse"],) * 2, (2, 2))
    heat = {"weight": value([[1.2, -0.4, 0.5], [0.0, 0.0, 0.0]]), "bias": value([0.3, 0.0]), "temperature": value(0.5)}
    inner = {name: torch.stack([part, part]) for name, part in heat.items()}
    coef = value([[[1.0, -0.5, 0.8]], [[-1.0, 0.5, 0.2]], [[0.3, 0.9, -1.0]], [[-0.2, -1.1, 0.4]]]).reshape(2, 2, 1, 3)
    shift = value([[[1.0], [-0.5]], [[0.4], [2.0]]])
    truth = Measure(
        (heat, inner), {"coef": coef, "intercept": shift}, {"scale": value([[[0.4], [0.5]], [[0.3], [0.6]]])}
    )
    data, model = Data(mixture, truth, Uniform(d=3)), Model(mixture, min_scale=0.1, gauge="none")
    given = {"value": 1.0, "tolerance": 0.1, "inputs": INPUTS, **MINE}
    probe = Probe("heat", data, model, path, (0, 1, 2, 3), atom=3, sizes=SIZES, **given)
    arm = Arm("two", data, model, (100, 1000), 2, losses=())
    claim = Claim("two", f"{path} exact mean", "equal", -0.5, 0.1, "source", "own", probe="heat")
    assert untied(claim, arm, probe) == ()
    assert covered(probe) == parts_of(probe)


def test_a_truth_that_stays_for_a_while():
    """Its standard error is scaled from one size to the next, and computed again where it moves."""
    noise = {10**3: 0.4, 10**6: 0.4, 10**9: 0.1}
    found = moving_truth(ONE, lambda n: one_expert(noise[n]), ONE, "experts.coef", sizes=SIZES, inputs=INPUTS)
    alone = moving_truth(ONE, lambda n: one_expert(0.1), ONE, "experts.coef", sizes=(10**8, 10**9), inputs=INPUTS)
    assert found.error[1] == pytest.approx(found.error[0] / 1000**0.5)
    assert found.error[2] == pytest.approx(alone.error[1])


def test_inputs_are_integrated_over_in_blocks(monkeypatch):
    """What is in memory at a time does not change the result."""
    given = TWO, lambda n: two_experts(), TWO, "experts.coef"
    whole = moving_truth(*given, sizes=SIZES, inputs=INPUTS)
    monkeypatch.setattr(moving, "BLOCK", 100)
    assert moving_truth(*given, sizes=SIZES, inputs=INPUTS).error == pytest.approx(whole.error, rel=1e-6)


def test_a_direction_that_is_lost_has_no_certificate():
    """Two experts that are equal leave their weights open."""
    same = two_experts(0.0)._replace(family={"scale": value([[0.4], [0.4]])})
    found = moving_truth(TWO, lambda n: same, TWO, "gates.0.weight", sizes=SIZES, inputs=INPUTS)
    assert found.error == (float("inf"),) * 3
    assert found.certified == (False, False)
    assert "singular" in found.lacking


def test_a_truth_at_a_bound_has_no_certificate():
    box = {"experts.coef": (-1.0, 1.0)}
    found = moving_truth(TWO, lambda n: two_experts(), TWO, "experts.coef", sizes=SIZES, inputs=INPUTS, box=box)
    assert "at a bound" in found.lacking
    assert "?" in found.text()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sizes": (100,)}, "at least two sizes"),
        ({"distance": "tv"}, "choose 'hellinger' or 'l2'"),
        ({"sizes": (100, 10)}, "larger than the one before"),
        ({"path": "experts.slope"}, "is no parameter"),
        ({"mixture": replace(TWO, branching=(3,))}, "as many experts as there are"),
        ({"fixed": {"experts.coef": two_experts().experts["coef"]}}, "fixed in the model"),
    ],
)
def test_what_is_refused(change, words):
    given = {"mixture": TWO, "path": "experts.coef", "sizes": SIZES, "inputs": INPUTS} | change
    with pytest.raises(ValueError, match=words):
        moving_truth(TWO, lambda n: two_experts(), given.pop("mixture"), given.pop("path"), **given)


def test_an_exponent_of_a_moving_truth_decides_a_claim_about_it(tmp_path):
    study = STUDIES["contaminated"]
    arm = study.arm("approaching, constant weights, d=1")
    probes = tuple(probe for probe in study.probes if probe.name.startswith(arm.name))
    study = replace(study, arms=(arm,), claims=tuple(c for c in study.claims if c.arm == arm.name), probes=probes)
    run_probes(study, tmp_path)
    judged = judge_probes(study, tmp_path)
    assert [str(one.word) for one in judged] == ["supported"] * 4
    for claim in study.claims:
        if claim.probe:
            (found,) = exponents_of(claim, [arm], judged)
            assert (found.untied, found.left) == ((), 0), claim.series
    other = replace(arm, data=replace(arm.data, truth=arm.data.at(10)))
    mass = next(claim for claim in study.claims if claim.series.startswith("mass"))
    (found,) = exponents_of(mass, [other], judged)
    assert found.untied == ("truth",)


def test_a_model_without_the_truth_has_no_certificate():
    """A known expert that is entered wrongly."""
    known = {"experts.coef": two_experts().experts["coef"] + value([[[0.0]], [[0.1]]])}
    found = moving_truth(TWO, lambda n: two_experts(), TWO, "gates.0.weight", sizes=SIZES, inputs=INPUTS, fixed=known)
    assert found.certified == (False, False)
    assert "does not contain the truth" in found.lacking


@pytest.mark.parametrize("claimed", [1.0, float("inf")])
def test_what_is_not_certified_is_left_open(tmp_path, claimed):
    data = Data(TWO, two_experts(), Uniform(d=3))
    model = Model(TWO, box={"experts.coef": (-1.0, 1.0)}, min_scale=0.1)
    given = {"value": claimed, "tolerance": 0.1, "inputs": INPUTS, "sizes": SIZES, **MINE}
    study = replace(STUDIES["contaminated"], claims=(), probes=())
    study = replace(study, probes=(Probe("at a bound", data, model, "experts.coef", (0, 1), **given),))
    run_probes(study, tmp_path)
    (judged,) = judge_probes(study, tmp_path)
    assert str(judged.word) == "unresolved"
    assert "at a bound" in judged.reason


def test_an_exponent_that_still_moves_is_left_open(tmp_path):
    """1.29, then 1.22: inside of a claim of 1.224 +- .05 for now."""
    study = STUDIES["contaminated"]
    (probe,) = (one for one in study.probes if one.name == "approaching, d=1: experts.coef")
    moving = replace(probe, value=1.224, sizes=(10**6, 10**9, 10**12, 10**15))
    study = replace(study, claims=(), probes=(moving,))
    run_probes(study, tmp_path)
    (judged,) = judge_probes(study, tmp_path)
    assert abs(judged.local()[-1] - 1.224) < 0.01
    assert str(judged.word) == "unresolved"
    assert "not settled" in judged.reason


def test_two_responses_are_refused_in_words():
    truth = one_expert(1.0)
    experts = {name: part.repeat_interleave(2, dim=1) for name, part in truth.experts.items()}
    both = truth._replace(experts=experts, family={"scale": value([[1.0, 1.0]])})
    with pytest.raises(ValueError, match="one response"):
        moving_truth(ONE, lambda n: both, ONE, "experts.coef", sizes=SIZES, inputs=INPUTS)
    found = moving_truth(ONE, lambda n: both, ONE, "experts.coef", sizes=SIZES, inputs=INPUTS, distance="l2")
    assert found.local == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize("family", [Poisson(), Binomial(trials=3)], ids=str)
def test_counts(family):
    """A regular model has the exponent one: two softmax gates, with three inputs."""
    mixture, truth = replace(TWO, family=family), two_experts()
    truth = truth._replace(experts={k: 0.5 * v for k, v in truth.experts.items()}, family={})
    for path in ("gates.0.weight", "experts.coef"):
        found = moving_truth(mixture, lambda n: truth, mixture, path, sizes=SIZES, inputs=INPUTS)
        assert found.local == pytest.approx([1.0, 1.0])


def test_gates_that_bend():
    """Centers of one input, whose kinks end panels."""
    mixture = Mixture((GATES["laplace"],), (2,))
    gate = {"center": value([[-0.8], [0.9]]), "bias": value([0.3, 0.0])}
    experts = {"coef": value([[[1.5]], [[-1.0]]]), "intercept": value([[1.0], [-1.0]])}
    truth = Measure((gate,), experts, {"scale": value([[0.5], [0.7]])})
    found = moving_truth(mixture, lambda n: truth, mixture, "gates.0.center", sizes=SIZES)
    assert (found.local, found.certified) == (pytest.approx((1.0, 1.0)), (True, True))


def test_a_sharp_gate_of_one_input_gets_more_nodes(monkeypatch):
    """A gate that switches within .03 on [-2, 2]: three panels of six nodes are too few, 12 are not."""
    mixture = Mixture((GATES["softmax"],), (2,))
    gate = {"weight": value([[30.0], [0.0]]), "bias": value([0.3, 0.0])}
    experts = {"coef": value([[[1.5]], [[-1.0]]]), "intercept": value([[1.0], [-1.0]])}
    truth = Measure((gate,), experts, {"scale": value([[0.5], [0.7]])})

    def found(panels):
        return moving_truth(
            mixture, lambda n: truth, mixture, "gates.0.weight", sizes=SIZES, inputs=Cube(panels=panels)
        )

    fine, coarse = found(64), found(3)
    assert fine.certified == coarse.certified == (True, True)
    assert coarse.error == pytest.approx(fine.error, rel=0.01)
    monkeypatch.setattr(moving, "FURTHER", ())
    assert found(3).lacking.startswith("finer nodes change the error")


def test_sizes_are_checked_early():
    data, model = Data(ONE, one_expert(1.0), Uniform(d=3)), Model(ONE, min_scale=0.1)
    given = {"value": 1.0, "tolerance": 0.1, "inputs": INPUTS, **MINE}
    for sizes in ((10,), (10, 10), (0, 10)):
        with pytest.raises(ValueError, match="at least two"):
            Probe("one", data, model, "experts.coef", (0,), sizes=sizes, **given)
    wider = replace(model, mixture=replace(ONE, branching=(2,)))
    with pytest.raises(ValueError, match="as many experts"):
        Probe("one", data, wider, "experts.coef", (0, 0), sizes=SIZES, **given)
    same = Data(TWO, two_experts(), Uniform(d=3))
    with pytest.raises(ValueError, match="cell of its own"):
        Probe("two", same, Model(TWO, min_scale=0.1), "experts.coef", (0, 0), sizes=SIZES, **given)
