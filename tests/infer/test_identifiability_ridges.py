"""Ridges that no relation between derivatives shows: parameters without effect, and factors beside a bias."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from gatewise.core.experts import EXPERTS, Expert
from gatewise.core.families import Gaussian
from gatewise.core.gates import GATES, Gate
from gatewise.core.links import NormalisedSigmoid, Sigmoid
from gatewise.core.mixture import Measure, Mixture, regression
from gatewise.core.parameters import Parameter
from gatewise.core.predictors import affine
from gatewise.core.scores import Score, Tempered
from gatewise.infer.identifiability import Atom, IdentifiabilityVerdict, assess, identify, identify_atom


@dataclass(frozen=True)
class TwoBiases(Score):
    """``slope . x + level + extra``: only the sum of the last two counts."""

    def parameters(self, d):
        return {
            "slope": Parameter((d,), "slope"),
            "level": Parameter((), "intercept"),
            "extra": Parameter(),
        }

    def __call__(self, params, x):
        return affine(params["slope"], params["level"] + params["extra"], x)


@dataclass(frozen=True)
class Idle(Expert):
    """A linear expert with a parameter that has no effect."""

    def parameters(self, d):
        return {"beta": Parameter((d,), "slope"), "idle": Parameter((2,)), "alpha": Parameter((), "intercept")}

    def __call__(self, params, x):
        return affine(params["beta"], params["alpha"], x)


@dataclass(frozen=True)
class Silent(Expert):
    """A linear expert whose slopes torch cannot differentiate in."""

    def parameters(self, d):
        return {"beta": Parameter((d,), "slope"), "alpha": Parameter((), "intercept")}

    def __call__(self, params, x):
        return affine(params["beta"].detach(), params["alpha"], x)


@dataclass(frozen=True)
class Exponential(Expert):
    """``exp(rate . x + level)``, which a weight ``exp(w . x)`` multiplies."""

    def parameters(self, d):
        return {"rate": Parameter((d,), "slope"), "level": Parameter((), "intercept")}

    def __call__(self, params, x):
        return torch.exp(affine(params["rate"], params["level"], x))


@pytest.mark.parametrize("gate", ["softmax", "quadratic"])
def test_denominators_of_weights_identify_what_numerators_do_not(gate):
    """Least squares: ``exp(w . x) exp(a . x + b)`` knows w + a alone, and the mean of a mixture knows both."""
    mixture = Mixture((GATES[gate],), (2,), Exponential())
    generator = torch.Generator().manual_seed(0)
    x = 3.0 * torch.rand(3, 500, generator=generator, dtype=torch.float64) - 1.5
    shapes = {name: (2, *spec.shape) for name, spec in GATES[gate].score.parameters(3).items()}
    shapes |= {"rate": (2, 1, 3), "level": (2, 1)}
    sizes = [int(np.prod(shape)) for shape in shapes.values()]

    def mean(theta):
        parts = [part.reshape(shape) for part, shape in zip(theta.split(sizes), shapes.values(), strict=True)]
        held = dict(zip(shapes, parts, strict=True))
        experts = {name: held.pop(name) for name in ("rate", "level")}
        return regression(mixture, Measure((held,), experts, {}), x, x)[0]

    theta = 0.5 * torch.randn(sum(sizes), generator=generator, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(mean, theta)
    free = sum(sizes[:-2]) // 2  # a shift of both gates changes nothing
    assert int(torch.linalg.matrix_rank(jacobian)) == sum(sizes) - free
    for order in (1, 2):
        found = identify(gate, Exponential(), "ls", order=order, d=3)
        assert (found.verdict, found.first_nullity, found.unidentified) == ("interaction", 3, ())
        assert "weights sum to one" in found.words
    assert assess(mixture, "ls", d=3).verdict == "interaction"
    assert identify("dense-to-sparse", Exponential(), "ls", order=1, d=3).unidentified == ("weight", "temperature")


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("d", [1, 3])
@pytest.mark.parametrize("estimator", ["ml", "ls"])
def test_a_parameter_without_effect_is_a_ridge(d, order, estimator):
    found = identify("laplace", Idle(), estimator, d=d, order=order)
    assert (found.verdict, found.unidentified) == ("ridge", ("idle",))
    assert "idle" in found.dependent
    assert "changes nothing" in found.words
    assert identify("laplace", Idle(), estimator, d=d, order=order, held="idle").verdict != "ridge"


def test_an_atom_of_ones_own_with_a_parameter_without_effect():
    atom = Atom(
        lambda x, y, theta: theta[0] * x[0] ** 2,
        ("a", "idle"),
        lambda g: torch.randn(2, generator=g, dtype=torch.float64),
        1,
    )
    found = identify_atom(atom)
    assert (found.verdict, found.unidentified, found.nullity) == ("ridge", ("idle",), 0)


def test_the_length_behind_a_cosine_of_one_feature_has_no_effect():
    for d, nullity in ((1, 0), (2, 1), (3, 1)):
        found = identify("cosine", "linear", d=d, order=1)
        assert (found.verdict, found.unidentified, found.nullity) == ("ridge", ("weight",), nullity)
    assert identify("perturbed-cosine", "linear", d=1).verdict != "ridge"


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("d", [1, 2, 5])
def test_two_biases_are_a_ridge(d, order):
    found = identify(Gate(TwoBiases()), "linear", d=d, order=order)
    assert (found.verdict, found.unidentified) == ("ridge", ("level", "extra"))
    assert identify(Gate(TwoBiases()), d=d, order=order, held="extra").verdict != "ridge"
    inner = identify(("laplace", Gate(TwoBiases())), d=d, order=order)
    assert inner.unidentified == ("gates.1.level", "gates.1.extra")


@pytest.mark.parametrize("link", [NormalisedSigmoid(), Sigmoid()])
def test_two_biases_behind_a_sigmoid_are_one_too(link):
    found = identify(Gate(TwoBiases(), link), "linear", "ls", order=1)
    assert (found.verdict, found.unidentified) == ("ridge", ("level", "extra"))


def test_the_output_weight_of_an_expert_is_no_factor_of_its_gate():
    """Its derivative is a multiple of the atom, but weights that sum to one tell it from a bias."""
    for name in ("softmax", "laplace"):
        assert identify(name, "tanh-unit", "ls", order=1).verdict == "weak"


@pytest.mark.parametrize("name", [name for name in GATES if GATES[name].link.smooth])
@pytest.mark.parametrize("d", [1, 3])
def test_the_gates_of_the_library_have_the_ridges_they_are_known_for(name, d):
    gate = GATES[name]
    found = identify(gate, "linear", "ml" if gate.link.normalised else "ls", d=d, order=1)
    ridge = name == "cosine" or bool(gate.held())
    assert (found.verdict is IdentifiabilityVerdict.ridge) == ridge, found.words
    assert set(found.unidentified) <= {"weight", "temperature"}


def test_slopes_that_a_regime_puts_to_zero_are_not_without_effect():
    gate = Gate(GATES["relu-dense-to-sparse"].score.inner.__class__(fn="square"), Sigmoid())
    assert identify(gate, "linear", "ls", regime=1, order=1).verdict != "ridge"


def test_what_torch_cannot_differentiate_is_undecided_not_without_effect():
    found = identify("laplace", Silent(), "ls", order=1)
    assert found.verdict == "undecided"
    assert "no derivative in beta" in found.words


def test_an_atom_that_vanishes_at_all_points_decides_nothing():
    atom = Atom(
        lambda x, y, theta: torch.exp(-1e4 - theta[0] * x[0]),
        ("a",),
        lambda g: torch.randn(1, generator=g, dtype=torch.float64),
        1,
    )
    found = identify_atom(atom)
    assert found.verdict == "undecided"
    assert "zero at all points" in found.words


def test_what_experts_share_is_one_parameter_of_both():
    """Behind weights without inputs least squares sees one line: a slope that all share is its slope."""
    free, tied = (
        Mixture((GATES["constant"],), (2,), EXPERTS["linear"], Gaussian(), shared) for shared in ((), ("experts.coef",))
    )
    assert assess(free, "ls").unidentified == ("coef", "intercept")
    assert assess(tied, "ls").unidentified == ("intercept",)
    assert assess(Mixture((GATES["softmax"],), (2,), shared=("family.scale",))).verdict == "interaction"


def test_a_temperature_in_front_of_two_biases():
    found = identify(Gate(Tempered(TwoBiases())), order=1)
    assert found.verdict == "ridge"
    assert np.isin(["slope", "extra", "temperature"], found.unidentified).all()
