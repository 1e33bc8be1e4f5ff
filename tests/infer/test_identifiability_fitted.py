"""Identifiability of mixtures as they are fitted: any number of features and outputs, and parts of any name."""

import warnings
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from gatewise import MixtureOfExpertsRegressor
from gatewise.core.experts import EXPERTS
from gatewise.core.families import FAMILIES
from gatewise.core.families.counts import Binomial
from gatewise.core.gates import GATES, Gate
from gatewise.core.mixture import Mixture
from gatewise.core.parameters import Parameter
from gatewise.core.predictors import AffineTransform
from gatewise.core.scores import Score
from gatewise.infer.identifiability import IdentifiabilityVerdict, MixtureInputs, advise, assess, identify
from gatewise.testing.renamed import renamed

SMOOTH = {name: gate for name, gate in GATES.items() if gate.link.smooth}


def estimator_of(gate):
    return "ml" if gate.link.normalised else "ls"


SIZES = (1, 3, 6)  # one of them for every gate in turn, the others in the slow run
TURNS = [
    pytest.param(name, d, id=f"{d}-{name}", marks=[pytest.mark.slow] * ((place + turn) % len(SIZES) > 0))
    for place, name in enumerate(SMOOTH)
    for turn, d in enumerate(SIZES)
]


@pytest.mark.parametrize(("name", "d"), TURNS)
def test_parts_of_standardised_inputs_have_the_verdict_of_the_plain_ones(name, d):
    gate = SMOOTH[name]
    frame = AffineTransform(torch.linspace(-3.0, 5.0, d).double(), torch.linspace(0.1, 40.0, d).double())
    fitted = Mixture(
        (gate.standardised(frame), gate), (2, 3), EXPERTS["tanh-no-bias"].rescale({"coef": frame.scale}, frame)[0]
    )
    plain = Mixture((gate, gate), (2, 3), EXPERTS["tanh-no-bias"])
    assert fitted.gates[0].plain() == gate
    assert assess(fitted, estimator_of(gate)) == assess(plain, estimator_of(gate))
    other = renamed(fitted)  # whose parts have no class of the library
    assert other.gates[0].score.plain().part == gate.score
    assert other.expert.plain().part == plain.expert.plain()


@pytest.mark.parametrize("name", ["softmax", "laplace", "activation-dense-to-sparse", "cosine", "quadratic-monomial"])
@pytest.mark.parametrize("expert", ["linear", "constant", "gelu-unit"])
def test_names_do_not_matter(name, expert):
    mixture = Mixture((GATES[name],), (2,), EXPERTS[expert])
    plain, other = assess(mixture), assess(renamed(mixture))
    assert other.verdict is plain.verdict
    assert (other.nullity, other.first_nullity) == (plain.nullity, plain.first_nullity)
    assert len(other.parameters) == len(plain.parameters)


@pytest.mark.parametrize(
    ("family", "outputs", "ridge"),
    [
        (Binomial(), 1, True),
        (Binomial(), 2, True),
        (Binomial(), 3, False),
        (Binomial(), 6, False),
        (Binomial(trials=3), 1, False),
        (FAMILIES["poisson"], 1, False),
        (FAMILIES["full-gaussian"], 3, False),
        (FAMILIES["student-t"], 2, False),
    ],
    ids=str,
)
def test_classes_are_told_apart_by_enough_outputs_or_trials(family, outputs, ridge):
    """Two classes of Bernoulli items are known from three items on."""
    mixture = Mixture((GATES["constant"],), (2,), EXPERTS["constant"], family)
    found = assess(mixture, outputs=outputs)
    assert (found.verdict is IdentifiabilityVerdict.ridge) == ridge, found.words


def test_a_latent_class_analysis_has_errors_and_no_ridge():
    rng = np.random.default_rng(0)
    first = rng.random(1000) < 0.4
    items = (rng.random((1000, 6)) < np.where(first[:, None], 0.8, 0.2)).astype(float)
    model = MixtureOfExpertsRegressor(2, "constant", "constant", "binomial", n_init=3, random_state=0)
    model.fit(np.zeros((1000, 1)), items)
    assert model.standard_errors_ is not None
    text = str(model.summary())
    assert "not identified" not in text
    assert "Ridge" not in text


def test_gates_with_inputs_of_their_own_do_not_trade_slopes_with_experts():
    mixture = Mixture((GATES["softmax"],), (2,))
    shared, own = assess(mixture), assess(mixture, gate_inputs=(2, 3))
    assert "d2u/dweight dintercept = du/dcoef" in shared.equations
    assert own.d == 4
    assert "coef" not in own.parameters
    assert "coef" in shared.parameters


def test_gates_that_read_some_columns_trade_slopes_on_these_alone():
    found = assess(Mixture((GATES["softmax"],), (2,)), gate_inputs=(0,))
    assert "d2u/dweight[0] dintercept = du/dcoef[0]" in found.equations
    assert not any(one.endswith("du/dcoef[1]") for one in found.equations)


@pytest.mark.parametrize(
    ("inputs", "few"),
    [
        (MixtureInputs(1), MixtureInputs(1)),
        (MixtureInputs(5), MixtureInputs(2)),
        (MixtureInputs(1, (1, 2, 3)), MixtureInputs(1, (1, 2))),
        (MixtureInputs(3, (3,)), MixtureInputs(2, (2,))),
        (MixtureInputs(5, (0, 3, 4)), MixtureInputs(3, (0, 1))),
        (MixtureInputs(2, (1, 0)), MixtureInputs(2, (0, 1))),
        (MixtureInputs(1, (0,)), MixtureInputs(1, (0,))),
    ],
    ids=str,
)
def test_few_inputs_overlap_as_the_many_do(inputs, few):
    assert inputs.few == few


@pytest.mark.slow
@pytest.mark.parametrize("expert", EXPERTS)
@pytest.mark.parametrize("name", SMOOTH)
def test_two_inputs_show_what_three_do(name, expert):
    gate = SMOOTH[name]
    mixture = Mixture((gate,), (2,), EXPERTS[expert])
    few, many = (assess(mixture, estimator_of(gate), d=d) for d in (2, 3))
    assert few.verdict is many.verdict
    assert (few.parameters, few.unidentified) == (many.parameters, many.unidentified)


def test_experts_of_several_kinds_are_checked_one_by_one():
    experts = EXPERTS["linear"], EXPERTS["constant"], EXPERTS["linear"]
    several = Mixture((GATES["softmax"],), (3,), experts)
    assert assess(several) == assess(Mixture((GATES["softmax"],), (2,)))
    assert assess(several, held=("experts.intercept",)).parameters == ()
    with pytest.raises(ValueError, match="parameters that only some experts have are fixed"):
        assess(several, held=("experts.coef",))
    assert assess(replace(several, gates=(GATES["cosine"],))).verdict is IdentifiabilityVerdict.ridge


def test_families_of_several_kinds_are_checked_one_by_one():
    several = Mixture((GATES["softmax"],), (2,), family=(FAMILIES["gaussian"], FAMILIES["student-t"]))
    assert assess(several).verdict is IdentifiabilityVerdict.interaction


def test_many_trials_are_no_reason_to_find_nothing():
    few, many = (
        assess(Mixture((GATES["constant"],), (2,), EXPERTS["constant"], Binomial(trials=n))) for n in (5, 30000)
    )
    assert few.verdict is many.verdict is IdentifiabilityVerdict.strong


def test_trials_that_differ_by_row_are_not_decided():
    mixture = Mixture((GATES["constant"],), (2,), EXPERTS["constant"], Binomial(trials=None))
    with pytest.raises(ValueError, match="number of trials differs by row"):
        assess(mixture)


@dataclass(frozen=True)
class Made(Score):
    """An affine score that is made for five features, with weights of its own for each."""

    fault: str = "size"

    def parameters(self, d):
        return {"push": Parameter((d,), "slope"), "level": Parameter((), "intercept")}

    def __call__(self, params, x):
        scale = torch.arange(1.0, 6.0, dtype=x.dtype)[:, None]
        if x.shape[-2] != 5:
            raise RAISED.get(self.fault, RuntimeError)(self.fault)
        return params["push"] @ (x / scale) + params["level"][..., None]


class OddError(Exception):
    """Of no kind that Python has."""

    def __str__(self):
        return {"odd": "odd", "mute": None}[self.args[0]]


FAULTS = {
    "odd": OddError,
    "assert": AssertionError,
    "index": IndexError,
    "divide": ZeroDivisionError,
    "linalg": torch.linalg.LinAlgError,
}
RAISED = {**FAULTS, "mute": OddError, "stop": KeyboardInterrupt}


@dataclass(frozen=True)
class Once(Made):
    """The same, with a derivative of torch that has no derivative."""

    def __call__(self, params, x):
        return First.apply(super().__call__(params, x))


class First(torch.autograd.Function):
    @staticmethod
    def forward(ctx, value):
        return value.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        return gradient


@pytest.mark.parametrize("fault", ["size", *FAULTS])
def test_a_part_made_for_the_features_of_the_data_is_checked_with_these(fault):
    mixture = Mixture((Gate(Made(fault)),), (2,))
    found = advise(mixture, "ml", "fixed", MixtureInputs(5))
    assert found.verdict is identify("softmax", "linear").verdict
    assert "The check used" not in found.words
    assert advise(Mixture((GATES["softmax"],), (2,)), "ml", "fixed", MixtureInputs(5)).words.endswith(
        "The check used 2 inputs instead of 5."
    )


@pytest.mark.parametrize("fault", ["size", *FAULTS])
def test_what_no_number_of_features_suits_is_said_in_words(fault):
    found = advise(Mixture((Gate(Made(fault)),), (2,)), "ml", "fixed", MixtureInputs(4))
    assert found.verdict is IdentifiabilityVerdict.undecided
    assert found.words.startswith("not checked: ")
    assert fault in found.words


def test_what_is_raised_is_logged_and_told_whatever_its_text(caplog):
    with caplog.at_level("WARNING", "gatewise"):
        for fault, said in (("odd", "OddError: odd"), ("mute", "OddError: <exception str() failed>")):
            words = advise(Mixture((Gate(Made(fault)),), (2,)), "ml", "fixed", MixtureInputs(4)).words
            assert words.startswith("not checked: the check raised ")
            assert words.endswith(said)
            assert words.partition(": ")[2] in caplog.text


def test_a_stop_by_hand_is_no_advice():
    with pytest.raises(KeyboardInterrupt):
        advise(Mixture((Gate(Made("stop")),), (2,)), "ml", "fixed", MixtureInputs(4))


def test_what_a_part_raises_in_the_fit_itself_reaches_the_user():
    x, y = torch.randn(60, 4, generator=torch.Generator().manual_seed(0)).numpy(), np.arange(60.0)
    with pytest.raises(OddError) as found:
        MixtureOfExpertsRegressor(2, Gate(Made("odd")), n_init=1, standardize=False).fit(x, y)
    assert found.value.args == ("odd",)
    assert found.value.__cause__ is None


COUPLED = "Interaction: coef and variance (and, through second derivatives, push and intercept)"


@pytest.mark.parametrize(
    ("part", "words"),
    [
        pytest.param(Made(), COUPLED, id="size"),
        pytest.param(Made("assert"), COUPLED, id="assert"),
        pytest.param(Made("odd"), COUPLED, id="odd"),
        pytest.param(Once(), "Undecided: the atom depends on push, but torch finds no derivative", id="once"),
    ],
)
def test_advice_never_fails_a_fit(part, words):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(120, 5))
    y = np.where(rng.random(120) < 1 / (1 + np.exp(-2 * x[:, 0])), x[:, 1], 3 - x[:, 2]) + 0.3 * rng.normal(size=120)
    model = MixtureOfExpertsRegressor(2, Gate(part), n_init=2, random_state=0, standardize=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(x, y)
    assert np.isfinite(model.predict(x)).all()
    assert " ".join(str(model.summary(theory=True)).partition("Theory: ")[2].split()).startswith(words)
