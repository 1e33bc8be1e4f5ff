"""What is refused in a study, in words, before anything runs."""

import re
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest
import torch

from gatewise import theory
from gatewise.core.gates import GATES, Gate
from gatewise.core.mixture import Measure, Mixture
from gatewise.core.parameters import Parameter
from gatewise.core.scores import Score
from gatewise.theory import Arm, Claim, Data, DataDrivenStarts, Model, NearTruth, Probe, Study, Uniform
from gatewise.theory import run_study as run
from gatewise.theory.checks import check
from gatewise.theory.papers import STUDIES
from gatewise.theory.truths import truths_outside_box


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


MIXTURE = Mixture((GATES["softmax"],), (2,))
TRUTH = Measure(
    ({"weight": tensor([[1.5], [0.0]]), "bias": tensor([0.3, 0.0])},),
    {"coef": tensor([[[1.5]], [[-1.0]]]), "intercept": tensor([[1.0], [-1.0]])},
    {"scale": tensor([[0.5], [0.7]])},
)
DATA, MODEL = Data(MIXTURE, TRUTH), Model(MIXTURE, min_scale=0.1)
ARM = Arm("a", DATA, MODEL, (100, 200), 2)
LS = Model(MIXTURE, "ls")
claim = partial(Claim, "a", "hellinger", source="mine", standing="own")


def study(arm=ARM, **more):
    return Study("s", "S", "", (arm,), **more)


def truth(**parts):
    gates, experts, family = ({k: parts.get(k, v) for k, v in room.items()} for room in (TRUTH.gates[0], *TRUTH[1:]))
    return replace(ARM, data=replace(DATA, truth=Measure((gates,), experts, family)))


def sweep(noise):
    return Arm("a", Data(MIXTURE, TRUTH, noise=noise), LS, (100,), 2)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: replace(ARM, sizes=()), "tuple of int"),
        (lambda: replace(ARM, sizes=(0, 10)), "tuple of int"),
        (lambda: replace(ARM, sizes=(1e2, 1e3)), "tuple of int"),
        (lambda: replace(ARM, sizes=100), "tuple of int"),
        (lambda: replace(ARM, sizes=(100, 100)), "every size, or noise, once"),
        (lambda: replace(ARM, replicates=0), "replicates=0"),
        (lambda: replace(ARM, replicates=2.0), "replicates=2.0"),
        (lambda: replace(ARM, starts=3), r"give DataDrivenStarts\(count\)"),
        (lambda: replace(ARM, losses="exact"), "give a tuple"),
        (lambda: DataDrivenStarts(0), "at least one"),
        (lambda: DataDrivenStarts(3, more=-1), "none or a positive number"),
        (lambda: NearTruth(-0.1), "neither is negative"),
        (lambda: sweep((0.1, 0.1)), "every size, or noise, once"),
        (lambda: sweep((0.001, 0.1)), "largest noise first"),
        (lambda: sweep((0.1, 0.0)), "positive standard deviation"),
        (lambda: sweep([0.1, 0.05]), "a tuple of them"),
        (lambda: sweep(()), "positive standard deviation"),
        (lambda: sweep(-0.1), "positive standard deviation"),
        (lambda: replace(sweep((0.1, 0.01)), sizes=(100, 200)), "give one size"),
        (lambda: Model(MIXTURE, "mle", min_scale=0.1), "method=.mle. is unknown: did you mean .ml."),
        (
            lambda: Model(MIXTURE, min_scale=0.1, gauge="free"),
            "gauge='free' is unknown: the choices are 'fixed', 'none'",
        ),
        (lambda: Uniform(0.0, float("inf")), "both finite"),
        (lambda: Uniform(d=0), "at least one"),
        (lambda: claim(kind="equals", value=-0.5, tolerance=0.1), "kind='equals'"),
        (lambda: claim(kind="equal", value=-0.5, tolerance=-0.1), "tolerance=-0.1"),
        (lambda: claim(kind="equal", value=float("nan"), tolerance=0.1), "value=nan"),
        (lambda: claim(kind="equal", value=0.5, tolerance=0.1), "has the slope -0.5"),
        (lambda: Claim("a", "hellinger", "equal", -0.5, 0.1, "mine", "publishd"), "standing='publishd'"),
        (lambda: Probe("p", DATA, MODEL, "experts.coef", (0, 1), 1.0, 0.1, "mine", "sure"), "standing='sure'"),
        (
            lambda: Probe("p", Data(MIXTURE, TRUTH, Uniform(0, 1)), MODEL, "experts.coef", (0, 1), 1, 0.1, "m", "own"),
            r"inputs=Cube\(low, high\)",
        ),
        (lambda: Study("s", "S", "", ()), "no arms"),
        (lambda: Study("s", "S", "", ARM), "must be a tuple"),
        (lambda: Study("../s", "S", "", (ARM,)), "use no slashes"),
        (lambda: Study("", "S", "", (ARM,)), "use no slashes"),
        (lambda: study(seed=-1), "seed=-1"),
        (lambda: study(comparisons=(("a", "b", "hellinger"),)), "compares 'a' and 'b'"),
    ],
)
def test_values_that_make_no_study_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize(
    ("arm", "words"),
    [
        (truth(coef=tensor([[1.5], [-1.0]])), r"experts.coef has the shape \(2, 1\): for d=1 it is \(2, 1, 1\)"),
        (truth(coef=TRUTH.experts["coef"].float()), "experts.coef is not a tensor of torch.float64"),
        (truth(bias=[0.3, 0.0]), "gates.0.bias is not a tensor"),
        (truth(scale=tensor([[-0.5], [0.7]])), "family.scale"),
        (truth(intercept=tensor([[float("nan")], [0.7]])), "give finite numbers"),
        (replace(ARM, data=Data(MIXTURE, TRUTH._replace(family={}))), "its mixture has .*family.scale"),
        (replace(ARM, data=Data(MIXTURE, lambda n: TRUTH if n == 100 else None)), "truth at n=200: None"),
        (replace(ARM, data=Data(MIXTURE, TRUTH, Uniform(d=2))), "for d=2"),
        (replace(ARM, model=Model(MIXTURE, min_scale=0.1, box={"experts.coef": 4.0})), r"give \(lower, upper\)"),
        (replace(ARM, model=Model(MIXTURE, min_scale=0.1, box={"experts.coeff": (-1, 1)})), "not a parameter"),
        (replace(ARM, losses=("laplace",)), "arm 'a': loss 'laplace' does not cover"),
    ],
)
def test_what_does_not_fit_together_is_refused_before_a_folder_is_made(arm, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        run(study(arm), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "more",
    [
        {"claims": (Claim("a", "loss exakt", "equal", -0.5, 0.1, "mine", "own"),)},
        {"claims": (claim(kind="difference", value=0.0, tolerance=0.1, other="a", other_series="loss exakt"),)},
        {"comparisons": (("a", "a", "loss exakt"),)},
    ],
)
def test_a_series_that_is_not_recorded_is_refused_and_those_there_are_named(more):
    with pytest.raises(ValueError, match="has no series 'loss exakt': it has loss exact, "):
        check(study(**more))


def test_a_claim_about_an_error_that_the_shift_of_the_gate_takes_is_refused():
    """Of two true experts with three fitted, one cell has one atom: its gate has no error."""
    arm = replace(ARM, model=replace(MODEL, mixture=replace(MIXTURE, branching=(3,))), losses=("softmax-sharp",))
    made = Claim("a", "gates.0.weight exact mean", "equal", -0.5, 0.1, "mine", "own")
    with pytest.raises(ValueError, match="zero for most fits near the truth"):
        check(study(arm, claims=(made,)))
    check(study(claims=(made,)))  # two cells with one atom each
    check(study(arm, claims=(replace(made, series="gates.0.weight over mean"),)))


def test_a_claim_about_over_filled_cells_where_there_are_none_is_refused():
    made = Claim("a", "experts.coef over mean", "equal", -0.25, 0.1, "mine", "own")
    with pytest.raises(ValueError, match=r"'experts\.coef exact mean' is the error"):
        check(study(claims=(made,)))
    check(study(replace(ARM, model=Model(Mixture((GATES["softmax"],), (3,)), min_scale=0.1)), claims=(made,)))


@pytest.mark.usefixtures("few_nodes")
@pytest.mark.parametrize("given", STUDIES.values(), ids=STUDIES)
def test_the_studies_of_the_papers_pass_and_hold_their_truths(given):
    check(given)
    assert truths_outside_box(given) == ()


@pytest.mark.parametrize(
    ("box", "floor", "word"),
    [
        ({"experts.coef": (-1.0, 1.0)}, 0.1, "experts.coef = 1.5 beyond [-1, 1]"),
        ({"gates.0.weight": (-1.0, 1.0)}, 0.1, "gates.0.weight"),
        ({"experts.coef": (tensor([[[-2.0]], [[-2.0]]]), tensor([[[0.0]], [[0.5]]]))}, 0.1, "experts.coef = 1.5"),
        ({}, 0.6, "family.scale = 0.5 beyond [0.6, inf]"),
        ({"family.scale": (0.1, 0.6)}, 0.1, "family.scale = 0.7"),
        ({"experts.coef": (-1.5, 1.5), "gates.0.weight": (-1.5, 1.5)}, 0.5, ""),
        ({"gates.0.weight": (-9.0, 0.0)}, 0.1, ""),  # with the first expert last
        ({"gates.0.weight": (0.0, 9.0)}, 0.1, ""),
    ],
)
def test_a_truth_outside_of_the_box_is_told(box, floor, word):
    found = truths_outside_box(study(replace(ARM, model=Model(MIXTURE, box=box, min_scale=floor))))
    assert word in found[0] if word else not found, found


def test_a_score_without_biases_is_refused_where_a_loss_compares_masses():
    @dataclass(frozen=True)
    class Bare(Score):
        def parameters(self, d):
            return {"weight": Parameter((d,))}

        def __call__(self, params, x):
            return params["weight"] @ x

    bare = Mixture((Gate(Bare()),), (2,))
    drawn = Data(bare, TRUTH._replace(gates=({"weight": TRUTH.gates[0]["weight"]},)))
    arm = Arm("a", drawn, Model(bare, min_scale=0.1), (100,), 2)
    with pytest.raises(ValueError, match=r"has no bias.*role 'intercept'"):
        check(study(replace(arm, losses=("exact",))))
    check(study(replace(arm, losses=())))
    check(study(arm))  # without a loss that nobody asked for
    with pytest.raises(ValueError, match=r"arm 'a' has no series 'loss exact': .*bias"):
        check(study(arm, claims=(Claim("a", "loss exact", "equal", -0.5, 0.1, "mine", "own"),)))


def test_the_guide_uses_every_public_name():
    pages = (Path(__file__).parents[2] / "docs/guide/theorist").glob("*.md")
    text = "\n".join(page.read_text("utf-8") for page in pages)
    assert not [name for name in theory.__all__ if not re.search(rf"\b{name}\b", text)]


def test_a_box_of_another_gate_says_nothing_of_the_truth():
    other = Mixture((GATES["laplace"],), (2,))
    arm = replace(ARM, model=Model(other, box={"gates.0.center": (5.0, 6.0)}, min_scale=0.1), losses=())
    assert truths_outside_box(study(arm)) == ()


def test_a_gate_that_is_known_up_to_a_scale_is_compared_without_it():
    gate = Mixture((GATES["dense-to-sparse"],), (2,))
    held = {**TRUTH.gates[0], "weight": tensor([[3.0], [0.0]]), "temperature": tensor(2.0)}
    data = Data(gate, TRUTH._replace(gates=(held,)))
    arm = Arm("a", data, Model(gate, box={"gates.0.weight": (-2.0, 2.0)}, min_scale=0.1), (100,), 2)
    assert truths_outside_box(study(arm)) == ()


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (claim("equal", -0.5, 0.0), "an interval never lies inside a single slope"),
        (claim("equal", -0.5, 0.4), r"allows slopes from -0.9 to -0.1, .* give at most 0.25, or claim a bound"),
        (claim("difference", 0.0, 0.4, other="a"), "allows slopes from -0.4 to .0.4"),
        (claim("at_most", -0.5, 0.5), r"allows slopes from -inf to .0, .* give less than 0.5"),
        (claim("at_most", -0.25, 0.3), r"allows slopes from -inf to .0.05, .* give less than 0.25"),
        (claim("at_least", -0.25, 0.25), r"allows slopes from -0.5 to .inf, .* give less than 0.25"),
        (claim("at_least", 0.05, 0.05, other="a"), "give less than 0.05"),
        (claim("at_least", 0.0, 0.5), "give at most 0.25"),
        (claim("equal", 0.0, 0.0), "equal 0, tolerance=0: .* kind='at_least', value=0, tolerance=0.05"),
        (claim("equal", 0.0, 0.1), "equal 0, tolerance=0.1: .* kind='at_least', value=0, tolerance=0.05"),
        (claim("at_most", 0.0, 0.1), "every error that does not grow .* kind='at_least'"),
    ],
)
def test_a_tolerance_that_supports_nothing_or_nearly_everything_is_refused_before_a_run(made, words):
    with pytest.raises(ValueError, match=words):
        check(study(claims=(made,)))


def test_tolerances_that_tell_rates_apart_are_accepted():
    check(study(claims=(claim("equal", -0.5, 0.25), claim("at_most", -0.25, 0.0), claim("at_least", -0.1, 0.09))))
    check(study(claims=(claim("at_least", 0.0, 0.05), claim("at_most", -0.5, 0.49), claim("at_least", 0.0, 0.25))))
    check(study(claims=(claim("at_least", 0.05, 0.01, other="a"), claim("equal", 0.0, 0.1, other="a"))))
