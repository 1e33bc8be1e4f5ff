"""Models of earlier versions, and of this one, stay readable: same answers (`models.../make.py` wrote them)."""

import importlib.util
import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gatewise import UnsoundWarning, load_model, save_model
from gatewise.estimators.serialise import SCHEMA

HOME = Path(__file__).parent / "models"
EXPECTED = json.loads((HOME / "expected.json").read_text("utf-8"))
CLOSE = {"rtol": 1e-12, "atol": 1e-12, "equal_nan": True}


def inputs(stored):
    """Return X, gate_X and y of a stored model."""
    x = np.array(stored["X"])
    x = pd.DataFrame(x, columns=stored["columns"]) if "columns" in stored else x
    return x, np.array(stored["gate_X"]) if "gate_X" in stored else None, np.array(stored["y"])


def answer(model, method, x, gate_x, y):
    """Return what a method says; those that need a response are given it."""
    if method in ("aic", "bic", "icl"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UnsoundWarning)  # some of the models are
            return getattr(model, method)()
    response = (y,) if method in ("score_samples", "responsibilities") else ()
    return getattr(model, method)(x, *response, gate_X=gate_x)


def rounding(model):
    """Return what rounding may change: scores of distant centers are large, and processors round them differently."""
    largest = max(float(value.abs().max()) for value in model.fit_.measure.paths().values() if value.numel())
    return max(1e-12, np.finfo(float).eps * largest)


def compare(model, stored):
    rows, close = inputs(stored), dict.fromkeys(("rtol", "atol"), rounding(model))
    for method, expected in stored["answers"].items():
        given = answer(model, method, *rows)
        np.testing.assert_allclose(given, np.array(expected), err_msg=method, equal_nan=True, **close)
    facts = {"status": str(model.status_), "df": model.fit_.df, "n": model.fit_.n, "outputs": model.n_outputs_}
    assert facts == {name: stored[name] for name in facts}


def test_there_is_a_model_for_every_expectation():
    assert {path.stem for path in HOME.glob("*.json")} == {*EXPECTED, "expected"}
    assert len(EXPECTED) > 80


@pytest.mark.filterwarnings("ignore:These criteria mean nothing")
@pytest.mark.parametrize("name", EXPECTED)
def test_an_old_model_answers_as_it_did(name):
    compare(load_model(HOME / f"{name}.json"), EXPECTED[name])


@pytest.mark.filterwarnings("ignore:These criteria mean nothing")
@pytest.mark.parametrize("name", list(EXPECTED)[::6])
def test_an_old_model_that_is_saved_again_answers_as_it_did(name, tmp_path):
    save_model(load_model(HOME / f"{name}.json"), tmp_path / "model.json")
    compare(load_model(tmp_path / "model.json"), EXPECTED[name])


KEPT = {4: ("formula", "noise", "classes"), 5: ("formula", "groups", "noise", "tree", "kinds", "squares", "classes")}
UNKEPT = {2, 3}  # schemas of no release


def kept(schema, name):
    """Return the module that wrote the models of a schema, the path of a model, and what it said."""
    folder = HOME.parent / f"models_schema{schema}"
    spec = importlib.util.spec_from_file_location(f"schema{schema}", folder / "make.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    path = folder / f"{name}.json"
    assert json.loads(path.read_text("utf-8"))["schema"] == schema
    return made, path, json.loads((folder / "expected.json").read_text("utf-8"))[name]


def flat(value):
    """Return the numbers of nested lists, NaN for what is unknown."""
    if isinstance(value, list):
        return [number for one in value for number in flat(one)]
    return [np.nan if value is None else value]


def compare_kept(made, model, by_formula, said):
    found = made.answers(model, by_formula)
    assert found.keys() == said.keys()
    measures = found.pop("measure"), dict(said.pop("measure"))
    assert measures[0].keys() == measures[1].keys()
    for path, numbers in measures[1].items():
        np.testing.assert_allclose(measures[0][path], numbers, **CLOSE)
    listed = [key for key, value in said.items() if isinstance(value, list) and not isinstance(flat(value)[0], str)]
    for key in listed:
        np.testing.assert_allclose(flat(found.pop(key)), flat(said.pop(key)), err_msg=key, **CLOSE)
    assert found.pop("bic") == pytest.approx(said.pop("bic"), rel=1e-12)
    assert found == said


@pytest.mark.parametrize(("schema", "name"), [(schema, name) for schema, names in KEPT.items() for name in names])
def test_a_model_of_a_schema_answers_as_it_did_and_is_saved_again(schema, name, tmp_path):
    made, path, said = kept(schema, name)
    model = load_model(path)
    save_model(model, tmp_path / "model.json")
    for one in (model, load_model(tmp_path / "model.json")):
        compare_kept(made, one, name in ("formula", "groups"), dict(said))
    assert "Expert 0" in str(model.summary())
    if schema < 5:
        assert "reference" not in json.loads(path.read_text("utf-8"))["content"]["params"]
        assert model.reference is None


def test_models_of_every_schema_are_kept():
    assert {1, *KEPT} == set(range(1, SCHEMA + 1)) - UNKEPT, f"write models of schema {SCHEMA}: models_schema5/make.py"
    for schema, names in KEPT.items():
        folder = HOME.parent / f"models_schema{schema}"
        assert {path.stem for path in folder.glob("*.json")} == {*names, "expected"}


@pytest.mark.parametrize("name", KEPT[SCHEMA])
def test_a_model_of_this_schema_is_saved_as_it_was(name, tmp_path):
    path = kept(SCHEMA, name)[1]
    save_model(load_model(path), tmp_path / "model.json")
    now, then = (json.loads(one.read_text("utf-8")) for one in (tmp_path / "model.json", path))
    assert (now["schema"], now["content"]) == (then["schema"], then["content"])
