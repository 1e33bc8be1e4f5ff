"""Every text of an estimator calls parameters by column, expert and branch, as the tables of its summary do."""

import re
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from gatewise import (
    BoundWarning,
    FitWarning,
    MixtureOfExpertsClassifier,
    MixtureOfExpertsRegressor,
    SeparatedWarning,
    UnidentifiedWarning,
    load_model,
    model_card,
    moe,
    sample_size,
    save_model,
)
from gatewise.core.experts import EXPERTS
from gatewise.core.gates import GATES
from gatewise.core.names import entry_name
from gatewise.estimators.names import Labels, ReaderNames, names_of
from gatewise.estimators.terms import SummaryTerms
from gatewise.estimators.theory import theory
from gatewise.report import facts

PATH = re.compile(r"(gates\.\d|experts|family)\.[a-z]")
RNG = np.random.default_rng(0)
X = pd.DataFrame(RNG.normal(size=(240, 3)), columns=["income", "age", "dose"])
APART = np.where(X.income < 0, 2 + X.age, -2 - X.dose) + 0.3 * RNG.normal(size=240)
MIXED = np.where(RNG.random(240) < 0.5, 4 + X.age, -4 - X.dose) + 0.5 * RNG.normal(size=240)
LABELS = np.where(X.income < 0, "low", np.where(X.age > 0, "mid", "top"))
FEW = {"n_init": 2, "random_state": 0}


def told(fit):
    """Return what a fit gives, and the warnings of its status."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        model = fit()
    assert {one.filename for one in heard if issubclass(one.category, FitWarning)} <= {__file__}
    return model, [str(one.message) for one in heard]


def everything(model, heard, *data):
    """Return all that a fitted model says."""
    errors = model.inference(*data)
    return [*heard, model.summary(theory=True), model.standard_errors_reason_ or "", model_card(model), errors.text()]


CASES = {
    "separated, one level": (
        lambda: MixtureOfExpertsRegressor(2, **FEW).fit(X, APART), (X, APART), "gate weight income[branch 0]",
    ),
    "separated, two levels": (
        lambda: MixtureOfExpertsRegressor((1, 2), **FEW).fit(X, APART), (X, APART), "gate 1 weight income[branch 0/0]",
    ),
    "classes": (lambda: MixtureOfExpertsClassifier(2, **FEW).fit(X, LABELS), (X, LABELS), "top age[expert 1]"),
    "classes, two levels": (
        lambda: MixtureOfExpertsClassifier((2, 2), "constant", max_time=20.0, **FEW).fit(X, LABELS), (X, LABELS),
        "mid intercept[expert 1/0]",
    ),
    "a bound": (
        lambda: MixtureOfExpertsRegressor(2, "constant", bounds={"family.scale": (0.01, 0.4)}, **FEW).fit(X, MIXED),
        (X, MIXED), "scale[expert 1]",
    ),
    "unidentified": (
        lambda: MixtureOfExpertsRegressor(2, "dense-to-sparse", gauge="none", n_init=1, random_state=0).fit(X, MIXED),
        (X, MIXED), "gate temperature",
    ),
    "a formula with classes": (
        lambda: moe("kind ~ income + age + dose", X.assign(kind=LABELS), family="categorical", **FEW), (),
        "mid income[expert 0]",
    ),
    "a formula with two responses": (
        lambda: moe("y + z ~ income + age + dose", X.assign(y=APART, z=APART + X.age**2), **FEW), (),
        "gate weight dose[branch 0]",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_all_that_a_model_says_has_the_names_of_its_tables(name):
    fit, data, word = CASES[name]
    model, heard = told(fit)
    assert any(word in one for one in heard), heard
    for text in everything(model, heard, *data):
        assert not PATH.search(text), text
    assert word.partition("[")[0].split()[-1] in model.summary()
    notes = facts(model)["notes"]
    assert notes
    assert not PATH.search(" ".join(notes))


@pytest.mark.parametrize("kind", ["regressor", "classifier"])
def test_a_file_keeps_the_names_and_the_reason(kind, tmp_path):
    fit = CASES["separated, one level" if kind == "regressor" else "classes"][0]
    model, _ = told(fit)
    save_model(model, tmp_path / "model.json")
    again = load_model(tmp_path / "model.json")
    assert again.standard_errors_reason_ == model.standard_errors_reason_
    assert "gate weight income[branch 0]" in again.standard_errors_reason_
    assert str(again.summary()) == str(model.summary())


def test_classes_are_known_when_a_fit_warns_and_not_when_it_fails():
    with pytest.warns(SeparatedWarning, match=r"mid income\[expert 0\].*top income\[expert 0\]"):
        model = MixtureOfExpertsClassifier(2, **FEW).fit(X, LABELS)
    with warnings.catch_warnings():
        warnings.simplefilter("error", FitWarning)
        with pytest.raises(SeparatedWarning, match=r"zwei income\[expert 0\]"):
            model.fit(X, np.char.replace(LABELS.astype("U8"), "mid", "zwei"))
    assert model.classes_.tolist() == ["low", "mid", "top"]  # what a warning stopped has changed nothing


def test_other_labels_than_classes_are_numbers_of_outputs():
    y = np.column_stack([APART, APART + X.age**2])
    with pytest.warns(BoundWarning, match=r"\(y1 scale\[expert 0\]"):
        MixtureOfExpertsRegressor(1, bounds={"family.scale": (0.01, np.array([3.0, 0.4]))}, n_init=1).fit(X, y)


def test_errors_of_inference_have_the_names():
    with pytest.warns(UnidentifiedWarning, match=r"gate temperature"):
        flat = MixtureOfExpertsRegressor(2, "dense-to-sparse", gauge="none", n_init=1, random_state=0).fit(X, MIXED)
    errors = flat.inference(X, MIXED)
    for attempt in (
        errors.confint,
        errors.vcov,
        errors.wald,
        lambda: errors.test("age[0] = 0"),
        errors.standard_errors,
    ):
        with pytest.raises(ValueError, match=r"no standard errors: .*gate temperature"):
            attempt()
    twice = X.assign(both=X.income + X.age)
    model, _ = told(lambda: MixtureOfExpertsRegressor(2, **FEW).fit(twice, MIXED))
    errors = model.inference(twice, MIXED)
    with pytest.raises(ValueError, match=r"leave open.*: .*gate weight income\[branch 0\].*both\[expert 1\]$"):
        errors.delta(lambda measure: measure.experts["coef"][0, 0, 3])
    with pytest.raises(ValueError, match=r"^gate weight age\[branch 1\] is not estimated"):
        errors.profile("gates.0.weight[1,1]")
    for ask in (errors.profile, errors.delta):
        with pytest.raises(ValueError, match=r"'aeg\[0\]' is no parameter: names are such as .*age\[0\]"):
            ask("aeg[0]")


def test_numbers_are_asked_for_and_shown_by_their_names():
    model = MixtureOfExpertsRegressor(2, "constant", **FEW).fit(X, MIXED)
    errors = model.inference(X, MIXED)
    intervals = errors.wald()
    assert len(set(intervals.names)) == len(intervals.names) == len(errors.information.names)
    by_path = dict(zip(errors.information.names, intervals.names, strict=True))
    assert by_path["experts.coef[1,0,2]"] == "dose[expert 1]"
    assert errors.profile("experts.coef[1,0,2]").name == errors.profile("dose[1]").name == "dose[expert 1]"
    assert float(errors.delta("dose[1]").estimate) == model.coef_[1, 2]
    by_name = sample_size(model, {"dose[1]": 0.05, "experts.intercept": 0.05}, X=X)
    assert by_name.names == ("dose[expert 1]", "intercept[expert 0]", "intercept[expert 1]")
    by_path = sample_size(model.fit_, {"experts.coef[1,0,2]": 0.05, "experts.intercept": 0.05}, X=X.to_numpy())
    assert by_path.names[0] == "experts.coef[1,0,2]"
    assert by_path.rows == by_name.rows


def test_only_whole_names_are_replaced():
    model, _ = told(lambda: MixtureOfExpertsRegressor((2, 2), "softmax", **FEW).fit(X, MIXED))
    names = names_of(model)
    given = {
        "gates.1.weight[1,0,2]": "gate 1 weight dose[branch 1/0]",
        "gates.1.weight[1,0]; then": "gate 1 weight[branch 1/0]; then",
        "(gates.0.bias, gates.1.bias)": "(gate 0 bias, gate 1 bias)",
        "experts.coef[0,1,0,1] & experts.intercept[0,1,0].": "age[expert 0/1] & intercept[expert 0/1].",
        "experts.coef[0,1]": "coef[expert 0/1]",
        "family.scale[1,1,0]": "scale[expert 1/1]",
    }
    assert {text: names.text(text) for text in given} == given
    kept = ["gates.1.weights", "my.experts.coef", "gates.2.weight[0]", "experts.coef[0,1,0,3]", "experts.coef.T"]
    kept += ["experts.coef[0,1,0,1,2]", "gates.0.weight[a]", "family.dof[0]"]
    assert [names.text(text) for text in kept] == kept


def test_every_number_has_a_name_and_its_text():
    y = np.column_stack([APART, MIXED, APART - MIXED])
    model, _ = told(
        lambda: MixtureOfExpertsRegressor(2, "quadratic", family="student-t", scale="shared", **FEW).fit(X, y)
    )
    names = names_of(model)
    every = names.every()
    assert len(set(every.values())) == len(every)
    for path, value in model.measure_.paths().items():
        for index in np.ndindex(*value.shape):
            entry = entry_name(path, index)
            assert names.text(f"see {entry}, there") == f"see {every[entry]}, there"
    assert names.text("family.scale[2] & family.scale") == "y2 scale & scale"  # of all experts
    assert every["gates.0.quadratic[0,1]"] == "gate quadratic income age[branch 0]"
    assert "family  StudentT(), shared scale" in model.summary()


def test_what_is_on_a_kink_is_said_in_the_tables():
    rng = np.random.default_rng(0)
    x = pd.DataFrame(rng.normal(size=(300, 3)), columns=["income", "age", "dose"])
    y = np.where(x.income < 0, 2 + np.maximum(x.age, 0), -2 - np.maximum(x.dose, 0)) + 0.3 * rng.normal(size=300)
    model, _ = told(lambda: MixtureOfExpertsRegressor(2, "constant", "bare-relu", **FEW).fit(x, y))
    assert set(model.fit_.certificate.kinks) == {"experts.coef[1,0]"}
    assert "parameters at the kink (coef[expert 1])" in " ".join(model.summary().split())
    assert "lies on a kink at coef[expert 1], where" in model.standard_errors_reason_
    on = model.summary().experts.query("note == 'on a kink'")
    assert list(zip(on["owner"], on["parameter"], strict=True)) == [("1", name) for name in x]
    refused = sample_size(model, {"income[0]": 0.1}, X=x)
    assert not PATH.search(refused.text())


def test_a_relation_between_gates_of_a_hierarchy_is_said_by_level():
    fit = MixtureOfExpertsRegressor((2, 2), "constant", **FEW)
    model, _ = told(lambda: fit.fit(X, MIXED))
    gates = (GATES["dense-to-sparse"], GATES["softmax"])
    mixture = replace(model.mixture_, gates=gates)
    free = model.fit_._replace(mixture=mixture, spec=replace(model.fit_.spec, gauge="none"))
    words = theory(free, 3, model._reader, order=1).words
    assert "gate 0 weight and gate 0 temperature are linearly dependent" in words
    single = replace(mixture, gates=gates[::-1], branching=(1, 2))  # a level without a gate is left out, and counts
    assert "gates." not in theory(free._replace(mixture=single), 3, model._reader, order=1).words
    deep = replace(mixture, gates=(GATES["softmax"], *gates), branching=(1, 2, 2))
    words = theory(free._replace(mixture=deep), 3, model._reader, order=1).words
    assert "gate 1 weight and gate 1 temperature are linearly dependent" in words
    same = replace(mixture, gates=(GATES["constant"],), branching=(2,), expert=EXPERTS["tanh"])  # both have a bias
    assert "through second derivatives, expert bias," in theory(free._replace(mixture=same), 3, model._reader).words


def test_another_order_changes_the_names_in_the_reason():
    few = np.concatenate([[60.0, 75.0], MIXED[2:]])
    model, _ = told(lambda: MixtureOfExpertsRegressor(3, "constant", "constant", **FEW).fit(X, few))
    (poor,) = model.fit_.certificate.starved
    order = [(poor + 1) % 3, (poor + 2) % 3, poor]
    assert f"expert {poor} has too few" in model.standard_errors_reason_
    assert "expert 2 has too few" in model.relabel(order).standard_errors_reason_
    apart, _ = told(CASES["separated, one level"][0])
    other = apart.relabel([1, 0], reference=1)
    assert "gate weight income[branch 0]" in other.standard_errors_reason_
    assert "gate weight income[branch 1]" in apart.relabel([1, 0], reference=0).standard_errors_reason_


def test_the_names_do_not_depend_on_errors_and_break_nowhere():
    model, heard = told(CASES["separated, one level"][0])
    plain = ReaderNames(model.fit_, Labels(["a b", "c", "d"], ["a b", "c", "d"], ["y0"]))
    assert plain.name("gates.0.weight", (0, 0)) == "gate weight a b[branch 0]"
    assert isinstance(SummaryTerms(model.fit_, model._errors, *plain.labels), SummaryTerms)
    assert not re.search(r"\[(branch|expert|node)$", model.summary(), re.M)
    assert heard
