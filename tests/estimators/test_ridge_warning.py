"""A fit warns where theory finds parameters that no number of rows can tell apart, and only there."""

import re
import warnings

import numpy as np
import pytest

from gatewise import MixtureOfExpertsRegressor
from gatewise.core.experts import EXPERTS
from gatewise.core.gates import GATES, Gate
from gatewise.core.links import Softmax
from gatewise.core.scores import Affine, Tempered
from gatewise.estimators.theory import theory
from gatewise.estimators.warnings import FitWarning, RidgeWarning, UnidentifiedWarning, ask_theory
from gatewise.fit.spec import FitSpec
from gatewise.infer.identifiability import Advice, IdentifiabilityVerdict


class OddError(Exception):
    """Of no kind that Python has."""


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(7)
    x = rng.normal(size=(300, 2))
    first = rng.random(300) < 1 / (1 + np.exp(-1.5 * x[:, 0]))
    return x, np.where(first, 1 + x[:, 1], -1 - x[:, 1]) + 0.3 * rng.normal(size=300)


def heard(table, **options):
    """Return the warnings of a fit, and the model."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        model = MixtureOfExpertsRegressor(**{"n_init": 4, "random_state": 0, **options}).fit(*table)
    return [one.category for one in found if one.category in (RidgeWarning, UnidentifiedWarning)], found, model


def test_the_length_behind_a_cosine_is_named_once(table):
    kinds, found, model = heard(table, gate="cosine")
    assert kinds == [RidgeWarning]
    text = str(next(one.message for one in found if one.category is RidgeWarning))
    assert "first derivatives in weight are linearly dependent" in text
    assert "Predictions are unaffected" in text
    assert issubclass(RidgeWarning, FitWarning)
    assert model.converged_  # the weights of the gate are as good as any
    assert found[0].filename == __file__


@pytest.mark.parametrize(
    "options",
    [
        {},  # slow rates of over-specified fits are no reason
        {"n_experts": 3},
        {"gate": "laplace"},
        {"method": "ls"},
        {"gate": "sigmoid", "expert": "tanh", "method": "ls"},
        {"gate": "equal", "method": "ls", "n_experts": 1},
        {"gate": "cosine", "fixed": {"gates.0.weight": [[1.0, 0.0], [0.0, 1.0]]}},
    ],
    ids=str,
)
def test_what_theory_allows_is_not_warned_of(table, options):
    assert heard(table, **options)[0] == []


@pytest.mark.parametrize(
    "options", [{"expert": "relu-unit"}, {"gate": "dense-to-sparse"}, {"gate": "constant", "method": "ls"}], ids=str
)
def test_what_the_fit_has_found_itself_is_not_said_twice(table, options):
    kinds, _, model = heard(table, **options)
    assert kinds.count(RidgeWarning) == 0
    assert "unidentified" in model.fit_.flags


def test_a_free_temperature_without_errors_is_warned_of(table):
    sharp = table[0], np.where(table[0][:, 0] > 0, 1 + table[0][:, 1], -1 - table[0][:, 1]) + 0.1 * table[1]
    kinds, _, model = heard(sharp, gate="dense-to-sparse", gauge="none")
    assert model.fit_.flags[0] == "separated"
    assert kinds == [RidgeWarning]


def test_theory_that_cannot_be_asked_is_said_in_the_summary(table, monkeypatch):
    def refuse(*_, **__):
        raise ValueError("900 derivatives for d = 2")

    model = heard(table, gate=Gate(Tempered(Affine()), Softmax()), gauge="none")[2]
    monkeypatch.setattr("gatewise.infer.identifiability.advice.assess", refuse)
    assert "Theory: not checked: 900 derivatives for d = 2" in str(model.summary())
    kinds, _, other = heard(table, gate=GATES["cosine"], expert=EXPERTS["linear"])
    assert kinds == []
    assert ask_theory(other.fit_, other._errors)


def test_what_is_fixed_is_no_ridge_in_the_summary_either(table):
    whole = {"gates.0.weight": [[1.0, 0.0], [0.0, 1.0]]}
    part = {"gates.0.weight": [[1.0, np.nan], [np.nan, 1.0]]}
    texts = [" ".join(str(heard(table, gate="cosine", fixed=fixed)[2].summary()).split()) for fixed in (whole, part)]
    assert "Ridge" not in texts[0]
    assert "not checked" not in texts[0]
    assert "not checked: some entries of a parameter are fixed and others are not" in texts[1]


def test_what_is_tied_is_no_ridge(table):
    ties = (("gates.0.weight[0,0,0]", "gates.0.weight[0,1,1]"),)
    model = heard(table, gate="cosine")[2]
    assert theory(model.fit_, 2, model._reader).verdict is IdentifiabilityVerdict.ridge
    fit = model.fit_._replace(spec=FitSpec(ties=ties))
    assert theory(fit, 2, model._reader) == Advice(
        IdentifiabilityVerdict.undecided,
        "not checked: some parameters are tied",
    )


@pytest.mark.parametrize("fault", [MemoryError, OSError, UserWarning, OddError])
def test_a_fit_stands_whatever_happens_to_what_is_said_about_it(table, monkeypatch, fault):
    def fail(*_, **__):
        raise fault("of a part of one's own")

    monkeypatch.setattr("gatewise.infer.identifiability.advice.assess", fail)
    model = heard(table, gate="cosine")[2]
    assert np.isfinite(model.predict(table[0])).all()
    assert model.fit_.log_likelihood == model.log_likelihood_
    assert re.search(
        rf"Theory: not checked: the check raised [\w.]*{fault.__name__}: of a", " ".join(str(model.summary()).split())
    )


@pytest.mark.parametrize("stage", ["shares", "information"])
def test_nothing_is_set_before_all_of_a_fit_is_known(table, monkeypatch, stage):
    def fail(*_, **__):
        raise MemoryError(stage)

    model = heard(table)[2]
    before = model.fit_
    monkeypatch.setattr(f"gatewise.estimators.fitting.{stage}", fail)
    with pytest.raises(MemoryError):
        model.set_params(n_experts=1).fit(*table)
    assert model.fit_ is before
    assert model.standard_errors_ is not None
