"""The whole way of a part through an estimator: every law can fail, failures are told in words, refusals are known."""

from dataclasses import dataclass

import numpy as np
import pytest

from gatewise import testing
from gatewise.core.experts import EXPERTS, Linear
from gatewise.core.families import FAMILIES, FullGaussian, Gaussian
from gatewise.core.gates import GATES, Gate
from gatewise.core.mixture import Mixture
from gatewise.core.parameters import Parameter
from gatewise.core.scores import Affine
from gatewise.estimators import MixtureOfExpertsRegressor
from gatewise.estimators.inference import Inference
from gatewise.estimators.terms import SummaryTerms
from gatewise.nn.experts import CoreExpert
from gatewise.testing import estimators as laws
from gatewise.testing.renamed import RenamedFamily

from ..covering import slow_rest
from ..whole_path import few_neighbours, more_steps, short_searches  # noqa: F401


@pytest.fixture(scope="module")
def example():
    found = testing.fit_example(Mixture((GATES["constant"],), (2,)), 4, 2, max_time=60.0)
    assert found.model.inference(found.X, found.y).refused is None  # so that there are errors to be wrong
    return found


def raised(right):
    return lambda self, *args, **kwargs: right(self, *args, **kwargs) + 0.1


def without_family(right):
    return lambda self: [group._replace(terms=group.terms[:-1]) for group in right(self)]


def negative(right):
    return lambda self: {path: -value for path, value in right(self).items()}


def turned(right):
    return lambda self, *args, **kwargs: right(self, *args, **kwargs)[..., ::-1]


def rounded(right):
    def load_model(path):
        model = right(path)
        model.measure_ = model.measure_.map(lambda value: value.float().double())
        return model

    return load_model


def refuses(error):
    def wrong(right):
        def act(*args, **kwargs):
            raise error

        return act

    return wrong


def detached(right):
    return lambda self, x: right(self, x).detach() + 0 * sum(p.sum() for p in list(self.parameters())[:1])


MUTATIONS = [
    (testing.law_estimator_summary, SummaryTerms, "experts", without_family),
    (testing.law_estimator_inference, Inference, "standard_errors", negative),
    (testing.law_estimator_inference, Inference, "standard_errors", refuses(KeyError("family.shape"))),
    (testing.law_estimator_prediction, MixtureOfExpertsRegressor, "predict", raised),
    (testing.law_estimator_prediction, MixtureOfExpertsRegressor, "score_samples", raised),
    (testing.law_estimator_prediction, MixtureOfExpertsRegressor, "gate_proba", raised),
    (testing.law_estimator_interval, MixtureOfExpertsRegressor, "predict_interval", turned),
    (testing.law_estimator_interval, Gaussian, "cdf", refuses(NotImplementedError("later"))),
    (testing.law_estimator_file, laws, "load_model", rounded),
    (testing.law_estimator_file, laws, "save_model", refuses(ValueError("Affine is not part of gatewise"))),
    (testing.law_estimator_layer, CoreExpert, "forward", raised),
    (testing.law_estimator_layer, CoreExpert, "forward", detached),
]


def name(row):
    law, home, formula, wrong = row
    return f"{law.__name__}-{home.__name__.rpartition('.')[2]}.{formula}-{wrong.__name__}"


@pytest.mark.parametrize("row", MUTATIONS, ids=name)
def test_a_wrong_formula_breaks_its_law(row, monkeypatch, example):
    law, home, formula, wrong = row
    law(example)
    monkeypatch.setattr(home, formula, wrong(getattr(home, formula)))
    with pytest.raises(AssertionError, match=r"^broken: .*d=4, q=2"):
        law(example)


def test_every_law_has_a_mutation():
    assert {row[0] for row in MUTATIONS} == {*testing.ESTIMATOR_LAWS}


@dataclass(frozen=True)
class Shaped(Gaussian):
    """Wrong on purpose: knows no more than one output."""

    def log_prob(self, params, y, eta):
        return super().log_prob({"scale": params["scale"] if eta.shape[-2] == 1 else params["shape"]}, y, eta)

    def value_and_derivatives(self, params, y, eta, order=2):
        if eta.shape[-2] > 1:
            raise KeyError("family.shape")
        return super().value_and_derivatives(params, y, eta, order)


@dataclass(frozen=True)
class Narrow(Affine):
    """Wrong on purpose: the weights of three features or fewer."""

    def parameters(self, d):
        return {"weight": Parameter((min(d, 3),), "slope"), "bias": Parameter((), "intercept")}


@pytest.mark.parametrize(
    ("mixture", "words"),
    [
        (Mixture((Gate(),), (2,), family=Shaped()), r"^broken: a fit with d=1, q=2 raised KeyError: 'family.shape'"),
        (Mixture((Gate(Narrow()),), (2,)), r"^broken: drawing data with d=4, q=1 raised RuntimeError: .*"),
    ],
    ids=["family", "gate"],
)
def test_what_raises_is_told_with_the_sizes(mixture, words):
    with pytest.raises(AssertionError, match=words):
        testing.check_estimator_parts(mixture)


def test_a_refusal_must_have_the_words_of_the_documents():
    def refuse():
        raise ValueError("the objective jumps")

    laws.assert_refused(refuse, ValueError, "jumps", "a fit")
    with pytest.raises(AssertionError, match="broken: a fit raised ValueError: the objective jumps"):
        laws.assert_refused(refuse, ValueError, "no optimum", "a fit")
    with pytest.raises(AssertionError, match="broken: a fit is refused with the words 'jumps'"):
        laws.assert_refused(lambda: None, ValueError, "jumps", "a fit")


@dataclass(frozen=True)
class Mine(Linear):
    """A part of a user's own."""


def test_a_part_of_a_users_own_is_refused_by_its_name_and_no_other_error_passes(monkeypatch):
    example = testing.fit_example(Mixture((Gate(),), (2,), Mine()), 1, 1)
    assert laws.foreign_parts(example.mixture) == {"Mine"}
    testing.law_estimator_file(example)
    monkeypatch.setattr(laws, "save_model", refuses(ValueError("no room"))(None))
    with pytest.raises(AssertionError, match="broken: saving and loading with d=1, q=1 raised ValueError: no room"):
        testing.law_estimator_file(example)


def test_gates_without_a_likelihood_go_their_own_way():
    testing.check_estimator_parts(Mixture((GATES["top-k"],), (2,)))
    unnormalised = testing.fit_example(Mixture((GATES["sigmoid"],), (2,)), 1, 2)
    for law in testing.ESTIMATOR_LAWS:
        law(unnormalised)


def test_a_family_with_a_covariance_is_asked_for_it_whatever_its_class_and_parameters_are_called():
    own, known = RenamedFamily(FullGaussian()), FullGaussian()
    one, other = (
        testing.fit_example(Mixture((GATES["constant"],), (2,), family=f), 1, 2, max_time=60.0) for f in (own, known)
    )
    for law in testing.ESTIMATOR_LAWS:
        law(one)
    for name in ("covariance_", "scale_"):
        np.testing.assert_allclose(getattr(one.model, name), getattr(other.model, name), rtol=1e-6)
    errors = [found.model.standard_errors_["family.scale"] for found in (one, other)]
    np.testing.assert_allclose(*errors, rtol=1e-4)
    assert "y1 scale" in str(one.model.summary())
    full = MixtureOfExpertsRegressor(2, family=RenamedFamily(Gaussian()), covariance="full", n_init=1, random_state=0)
    found = full.fit(one.X, one.y).mixture_.family
    assert isinstance(found, RenamedFamily)
    assert isinstance(found.part, FullGaussian)


CATALOGUES = {
    **{f"gate {name}": Mixture((gate,), (2,)) for name, gate in GATES.items() if gate.link.smooth},
    **{f"expert {name}": Mixture((Gate(),), (2,), expert) for name, expert in EXPERTS.items()},
    **{f"family {name}": Mixture((Gate(),), (2,), family=family) for name, family in FAMILIES.items()},
    "no number of inputs": Mixture((GATES["constant"],), (2,), EXPERTS["constant"]),
}
KINDS = {  # by link, score and wrapper; by class, output and bias; by support and shape
    *(f"gate {name}" for name in ("laplace", "normalised-sigmoid", "relu-dense-to-sparse", "cosine", "quadratic")),
    *(f"expert {name}" for name in ("linear", "polynomial", "relu", "square", "gelu-no-bias")),
    *(f"family {name}" for name in ("full-gaussian", "student-t", "categorical", "weibull", "beta", "poisson")),
    "no number of inputs",
}


@pytest.mark.usefixtures("short_searches", "few_neighbours", "more_steps")
# features and outputs; every part goes the way in tests/test_catalogue.py, those of a kind of their own here too
@pytest.mark.parametrize("sizes", [pytest.param((1, 1), marks=pytest.mark.slow), (4, 2)], ids=str)
@pytest.mark.parametrize("part", slow_rest(CATALOGUES, KINDS))
def test_every_part_of_the_catalogues_goes_the_whole_way(part, sizes):
    example = testing.fit_example(CATALOGUES[part], *sizes, max_time=600.0)  # which the steps end long before
    for law in testing.ESTIMATOR_LAWS:
        law(example)
    refused = example.model.inference(example.X, example.y).refused
    regular = example.model.status_ == "converged" and "symmetric about the estimate" not in (refused or "")
    assert refused is None or not regular, refused


@pytest.mark.slow
@pytest.mark.parametrize("part", CATALOGUES)
def test_every_part_of_the_catalogues_goes_the_whole_way_in_all_sizes(part):
    testing.check_estimator_parts(CATALOGUES[part])
