"""Saved models: the same bits after reading, and every damage noticed."""

import hashlib
import json
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from gatewise import GATES, Gate, MixtureOfExpertsRegressor, load_model, save_model
from gatewise.core.codec import decode, encode, known_parts
from gatewise.core.experts import EXPERTS
from gatewise.core.families import FAMILIES, Binomial
from gatewise.core.scores import Affine

from ..whole_path import few_neighbours, short_searches, steps_enough  # noqa: F401

pytestmark = pytest.mark.usefixtures("short_searches", "few_neighbours", "steps_enough")  # a file keeps any fit
MODELS = Path(__file__).parents[1] / "data" / "models"
CASES = [
    {},
    {"gate": "laplace", "n_experts": 3},
    {"n_experts": (2, 2), "gate": ["scaled-laplace", GATES["quadratic-monomial"]], "random_state": 3},
    {"gate": "activation-dense-to-sparse", "family": "student-t", "scale": "shared"},
    {"gate": "perturbed-cosine", "expert": "gelu-unit", "max_time": 5.0},
    {"family": Binomial(9), "gate": "constant"},
    {"family": "poisson", "gate": ("normalised-sigmoid",), "random_state": np.random.RandomState(0)},
    {"bounds": {"family.scale": (0.1, np.array([1.0, 2.0]))}, "fixed": {"experts.intercept": [1.0, np.nan]}},
]


def fitted(lines, **arguments):
    x, y = lines
    family = arguments.get("family", "gaussian")
    y = y if family in ("gaussian", "student-t") else np.round(np.exp(0.3 * y)).clip(0, 9)
    model = MixtureOfExpertsRegressor(**{"n_init": 2, "random_state": 0, **arguments})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(x, y)


@pytest.fixture(scope="module")
def plain(lines):
    return fitted(lines)


@pytest.mark.parametrize("arguments", CASES, ids=range(len(CASES)))
def test_a_model_comes_back_to_the_bit(lines, arguments, tmp_path):
    model = fitted(lines, **arguments)
    save_model(model, tmp_path / "model.json")
    again = load_model(tmp_path / "model.json")
    x = lines[0]
    assert (again.predict(x) == model.predict(x)).all()
    assert (again.predict_interval(x) == model.predict_interval(x)).all()
    assert again.summary() == model.summary()
    assert again.mixture_ == model.mixture_
    assert again.status_ is model.status_
    assert again.fit_.certificate == model.fit_.certificate
    assert (again.fit_.log_likelihood, again.fit_.df, again.fit_.n) == (model.log_likelihood_, model.fit_.df, 300)
    for name, value in model.measure_.paths().items():
        assert (again.measure_.paths()[name] == value).all()
    assert again.get_params()["gate"] == model.gate
    assert [path.name for path in tmp_path.iterdir()] == ["model.json"]


def test_names_and_gate_inputs_come_back(lines, tmp_path):
    table = pd.DataFrame(lines[0], columns=["dose", "age"])
    model = MixtureOfExpertsRegressor(n_init=2, random_state=0).fit(table[["age"]], lines[1], gate_X=table[["dose"]])
    save_model(model, tmp_path / "model.json")
    again = load_model(str(tmp_path / "model.json"))
    assert again.feature_names_in_.tolist() == ["age"]
    expected = model.predict(table[["age"]], gate_X=table[["dose"]])
    assert (again.predict(table[["age"]], gate_X=table[["dose"]]) == expected).all()
    with pytest.raises(ValueError, match="gate_X is missing"):
        again.predict(table[["age"]])
    content = json.loads((tmp_path / "model.json").read_text("utf-8"))["content"]
    assert set(content["measure"]) == set(model.measure_.paths())
    assert "gates.0.weight" in content["measure"]


def test_a_fit_alone_can_be_saved(plain, lines, tmp_path):
    save_model(plain.fit_, tmp_path / "fit.json")
    again = load_model(tmp_path / "fit.json")
    assert (again.predict(lines[0]) == plain.predict(lines[0])).all()
    assert np.isnan(again.icl())
    assert again.bic() == plain.bic()


def test_every_part_of_the_package_can_be_saved():
    for table in (GATES, EXPERTS, FAMILIES):
        for part in table.values():
            assert decode(json.loads(json.dumps(encode(part), allow_nan=False))) == part
    for number in (0.1, 1e-320, -0.0, 5e-324, float("inf"), 2**-1074, 1 / 3):
        back = decode(json.loads(json.dumps(encode(number), allow_nan=False)))
        assert np.float64(back).tobytes() == np.float64(number).tobytes()
    assert all(name == part.__name__ for name, part in known_parts().items())


@dataclass(frozen=True)
class Shifted(Affine):
    """A user's own score."""


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "bare-gelu",
            [
                [1000.1824482642498, 0.43734293184898454],
                [1022.314951940798, 0.06722636151029493],
                [999.7921667181032, 3.8935925492684325],
            ],
        ),
        (
            "tanh-no-bias",
            [
                [996.7106708389362, -0.1569596321660443],
                [1022.4496776736901, -1.3277207541927676],
                [982.092541213069, 2.66391506278447],
            ],
        ),
    ],
)
def test_experts_of_a_standardised_response_are_read_and_predict_the_same(name, expected):
    """Files of the time when `standardize` moved a bare expert to the units of y."""
    model = load_model(MODELS / f"{name}-standardised-response.json")
    x = np.array([[0.0, 0.0], [1.0, -0.5], [-1.5, 2.0]])
    np.testing.assert_allclose(model.predict(x), expected, rtol=1e-13)
    assert model.mixture_.expert.location is not None


def test_parts_of_users_are_refused(lines, tmp_path):
    model = fitted(lines, gate=Gate(Shifted()))
    with pytest.raises(ValueError, match=r"Shifted, which is not part of gatewise: .*pickle or joblib"):
        save_model(model, tmp_path / "model.json")
    assert not list(tmp_path.iterdir())


def test_a_model_without_fit_is_refused(tmp_path):
    with pytest.raises(NotFittedError):
        save_model(MixtureOfExpertsRegressor(), tmp_path / "model.json")


def reseal(whole):
    text = json.dumps(whole["content"], sort_keys=True, separators=(",", ":"))
    return whole | {"sha256": hashlib.sha256(text.encode()).hexdigest()}


def without_weights(whole):
    del whole["content"]["measure"]["gates.0.weight"]
    return reseal(whole)


def with_part(path, value):
    def change(whole):
        at = whole["content"]
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = value
        return reseal(whole)

    return change


DAMAGE = {
    "cut short": (lambda text: text[: len(text) // 2], "not complete JSON .*cut short.*save the model again"),
    "empty": (lambda text: "", "not complete JSON"),
    "altered": (lambda text: text.replace('"n_init": 2', '"n_init": 3'), "does not match its SHA-256: it was altered"),
    "another file": (lambda text: '{"a": 1}', "JSON but not a gatewise model"),
    "a list": (lambda text: "[1]", "JSON but not a gatewise model"),
    "no content": (lambda text: '{"format": "gatewise model", "schema": 1}', "SHA-256"),
    "newer": (lambda text: text.replace('"schema": 5', '"schema": 7'), "has schema 7.*upgrade gatewise"),
}
WRONG = {
    "lost parameter": (without_weights, "shapes"),
    "lost section": (lambda w: reseal(w | {"content": {"estimator": "MixtureOfExpertsRegressor"}}), "lacks params"),
    "unknown estimator": (with_part(["estimator"], "os.system"), "'os.system' is not known"),
    "unknown part": (with_part(["mixture", "expert", "part"], "system"), "'system' is not known"),
    "part of the wrong kind": (
        with_part(["mixture", "expert", "part"], "Affine"),
        r"expert of the Mixture is Affine\(\): a Expert belongs",
    ),
    "unknown field": (with_part(["mixture", "expert", "fields"], {"code": "1"}), "Linear has an unknown 'code'"),
    "unknown status": (with_part(["fit", "status"], "perfect"), "perfect"),
    "unknown tag": (with_part(["params", "alpha"], {"eval": "1"}), r"keys \['eval'\] is not known"),
    "text for numbers": (with_part(["measure", "family.scale", "tensor"], ["a", "b"]), "model"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_noticed(plain, name, tmp_path):
    change, words = DAMAGE[name]
    path = tmp_path / "model.json"
    save_model(plain, path)
    path.write_text(change(path.read_text("utf-8")), "utf-8")
    with pytest.raises(ValueError, match=words):
        load_model(path)


@pytest.mark.parametrize("name", WRONG)
def test_content_that_is_no_model_is_refused(plain, name, tmp_path):
    change, words = WRONG[name]
    path = tmp_path / "model.json"
    save_model(plain, path)
    path.write_text(json.dumps(change(json.loads(path.read_text("utf-8")))), "utf-8")
    with pytest.raises(ValueError, match=words):
        load_model(path)


def test_missing_and_foreign_files_are_told_apart(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no model file .*nowhere\.json: check the path"):
        load_model(tmp_path / "nowhere.json")
    with pytest.raises(FileNotFoundError):
        load_model(tmp_path)
    (tmp_path / "image.json").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(ValueError, match="is not text"):
        load_model(tmp_path / "image.json")


@pytest.mark.parametrize("d", [1, 3])
def test_files_do_not_depend_on_the_default_device(tmp_path, d):
    rng = np.random.default_rng(d)
    x = rng.normal(size=(60, d))
    y = x[:, 0] + rng.normal(size=60)
    model = MixtureOfExpertsRegressor(1, n_init=1, random_state=0).fit(x, y)
    with torch.device("meta"):
        save_model(model, tmp_path / "model.json")
        again = load_model(tmp_path / "model.json")
    assert np.array_equal(again.predict(x), model.predict(x))
