"""Model files with a valid checksum and absurd content: an error in words, or the model that the file says."""

import copy
import hashlib
import json
import random
import signal
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from gatewise import load_model, save_model
from gatewise.estimators.serialise import ModelFileError

HOME = Path(__file__).parent / "models"
NAMES = ["gate-softmax-d1", "gate-laplace-d3", "gate-activation-dense-to-sparse-d3", "gate-cosine-d3", "levels-d1"]
NAMES += ["expert-gelu-no-bias-d3", "family-binomial-d1", "family-full-gaussian-d3", "family-student-t-d3", "named-d3"]
NAMES += ["gate-X-d3", "gate-features", "bounds-and-fixed", "ls-levels", "composed-cosine", "family-shared"]
EXPECTED = json.loads((HOME / "expected.json").read_text("utf-8"))
WHOLE = {name: json.loads((HOME / f"{name}.json").read_text("utf-8")) for name in NAMES}
BIG = 10**400
DEEP = "[" * 60 + "]" * 60
POOL = [None, True, False, 0, 1, -1, 2, 3, 10**9, 10**18, BIG, 0.0, -1.5, 0.5, 1e308, 5e-324, "", "x", "nan", "softmax"]
POOL += [[], {}, [0], [1.0, 2.0], ["a"], [[[]]], {"tuple": []}, {"tuple": 3}, {"tuple": ["a", None]}, {"float": "nan"}]
POOL += [
    {"float": "inf"},
    {"float": "-inf"},
    {"float": "1e5"},
    {"float": 1},
    {"dict": {}},
    {"dict": []},
    {"part": "Gate"},
]
POOL += [{"tensor": [], "shape": [0], "dtype": "float64"}, {"tensor": [1.0], "shape": [1], "dtype": "float64"}]
POOL += [{"tensor": [1.0], "shape": [1], "dtype": "float16"}, {"tensor": [1.0], "shape": [-1], "dtype": "float64"}]
POOL += [{"tensor": [], "shape": [10**30, 0], "dtype": "float64"}, {"tensor": "ab", "shape": [2], "dtype": "float64"}]
POOL += [
    {"tensor": [{"float": "nan"}], "shape": [1, 1], "dtype": "float64"},
    {"tensor": [2], "shape": [1], "dtype": "bool"},
]
POOL += [{"part": "Binomial", "fields": {"trials": {"float": "nan"}}}, {"part": "Poisson", "fields": {}}]
POOL += [{"part": "Binomial", "fields": {"trials": 2.5}}, {"part": "Binomial", "fields": {"trials": 0}}]
POOL += [{"part": "Gate", "fields": {"score": "softmax"}}, {"part": "system", "fields": {"x": "rm"}}, {"eval": "1 + 1"}]
POOL += [{"part": "Distance", "fields": {"metric": {"tuple": [1.0]}}}, {"part": "Distance", "fields": {"radius": -1.0}}]
POOL += [
    {"part": "Linear", "fields": {}},
    {"part": "Constant", "fields": {}},
    {"part": "Activation", "fields": {"fn": "sin"}},
]
POOL += [json.loads(DEEP), "\ud800", "\x1b[31m"]


def places(tree, path=()):
    """Return every place in a tree of lists and dicts, but the root."""
    children = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in children:
        yield (*path, key)
        yield from places(value, (*path, key))


def at(tree, path):
    for key in path:
        tree = tree[key]
    return tree


def nested(value, times):
    """Return a value inside of many parts or tuples."""
    for _ in range(times):
        value = {"part": "Tempered", "fields": {"inner": value}} if times % 2 else {"tuple": [value]}
    return value


def mutated(content, rng):
    """Return a copy of a content with one to three absurd changes."""
    content = copy.deepcopy(content)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        *where, key = rng.choice(list(places(content)))
        home = at(content, where)
        kind = rng.randrange(8)
        if kind == 0:
            del home[key]
        elif kind == 1 and isinstance(home, dict):
            home[rng.choice(["x", "", "fields", "__class__", "score", str(key) + "_"])] = copy.deepcopy(
                rng.choice(POOL)
            )
        elif kind == 2 and isinstance(home, list):
            home.insert(key, copy.deepcopy(home[key]))
        elif kind == 3:
            home[key] = copy.deepcopy(at(content, rng.choice(list(places(content)))))
        elif kind == 4:
            home[key] = nested(home[key], rng.choice([1, 2, 9, 30, 31]))
        elif kind == 5 and type(home[key]) in (int, float):
            home[key] = rng.choice([-home[key], home[key] * 1e200, home[key] + 1, int(home[key])])
        else:
            home[key] = copy.deepcopy(rng.choice(POOL))
    return content


def sealed(content):
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    head = {"format": "gatewise model", "schema": 1, "gatewise": "0.1.0"}
    return json.dumps({**head, "sha256": hashlib.sha256(text.encode()).hexdigest(), "content": content})


@contextmanager
def seconds(limit):
    """Raise where something hangs."""

    def late(*_):
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(limit)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def holds(kept, given):
    """Return whether a content says what another one says; what is left out there may have its default here."""
    if isinstance(given, dict):
        return isinstance(kept, dict) and all(name in kept and holds(kept[name], given[name]) for name in given)
    if isinstance(given, list):
        return isinstance(kept, list) and len(kept) == len(given) and all(map(holds, kept, given))
    return kept == given


def loaded(path):
    """Return a model and None, or None and the error; any other error passes."""
    try:
        return load_model(path), None
    except ModelFileError as fault:
        return None, fault


def check(path, content, name):
    """Load a file: it is refused in words, or the model is that of the file, answers, and is saved as it was."""
    path.write_text(sealed(content), "utf-8")
    model, fault = loaded(path)
    if fault is not None:
        assert str(fault).startswith(str(path))
        assert str(fault).isprintable()
        return False
    stored = EXPECTED[name]
    x, reader = np.array(stored["X"]), model._reader
    gate_x = np.ones((len(x), reader.count)) if reader.given else None
    if model.n_features_in_ == x.shape[1] and not hasattr(model, "feature_names_in_"):
        assert len(model.predict(x, gate_X=gate_x)) == len(x)
        assert model.gate_proba(x, gate_X=gate_x).shape == (len(x), model.mixture_.n_leaves)
    save_model(model, path)
    if content["fit"].get("standard_errors", {}) is None:  # kept with the reason why there are none
        content = {**content, "fit": {**content["fit"], "standard_errors": {}}}
    assert holds(json.loads(path.read_text("utf-8"))["content"], content)
    return True


@pytest.mark.parametrize("name", NAMES)
def test_absurd_content_is_refused_in_words_or_is_the_model_of_the_file(name, tmp_path):
    rng = random.Random(name)
    for number in range(60):
        content = mutated(WHOLE[name]["content"], rng)
        try:
            with seconds(20):
                check(tmp_path / "model.json", content, name)
        except BaseException as fault:
            fault.add_note(f"change {number}: {json.dumps(difference(WHOLE[name]['content'], content))[:600]}")
            raise


def difference(old, new, path=()):
    """Return where two trees differ, for messages."""
    if type(old) is type(new) and isinstance(new, dict):
        keys = [*dict.fromkeys((*old, *new))]
        found = [difference(old.get(key, "-"), new.get(key, "-"), (*path, key)) for key in keys]
        return [one for part in found for one in part]
    return [] if repr(old) == repr(new) else [[list(path), old if len(repr(old)) < 90 else "...", new]]


def test_an_untouched_content_is_loaded(tmp_path):
    for name in NAMES:
        assert check(tmp_path / "model.json", WHOLE[name]["content"], name)


NAN = {"float": "nan"}
LONG = {"tensor": [1.0, 2.0, 3.0], "shape": [3], "dtype": "float64"}
METRIC = "mixture/gates/tuple/0/fields/score/fields/metric/tuple"
ERRORS = "fit/standard_errors/dict/values/dict"


def numbers(*values):
    return {"tensor": list(values), "shape": [len(values)], "dtype": "float64"}


ABSURD = {
    "a parameter is NaN": (
        "gate-softmax-d1",
        "measure/gates.0.bias",
        numbers(NAN, 0.0),
        "gates.0.bias has values that",
    ),
    "a parameter is infinite": ("gate-softmax-d1", "measure/gates.0.bias/tensor/0", {"float": "inf"}, "no finite"),
    "a scale is negative": ("gate-softmax-d1", "measure/family.scale/tensor/0", -0.1, "family.scale .* not positive"),
    "a scale is zero": ("gate-laplace-d3", "measure/family.scale/tensor/1", 0.0, "family.scale .* not positive"),
    "degrees of freedom are zero": ("family-student-t-d3", "measure/family.dof/tensor/0", 0.0, "family.dof .* not pos"),
    "a root is negative": ("family-full-gaussian-d3", "measure/family.cholesky/tensor/0", -1.0, "cholesky .* not pos"),
    "trials are NaN": ("family-binomial-d1", "mixture/family/fields/trials", NAN, "not finite"),
    "trials are half": ("family-binomial-d1", "mixture/family/fields/trials", 2.5, "trials of the Binomial is 2.5"),
    "trials are true": ("family-binomial-d1", "mixture/family/fields/trials", True, "trials of the Binomial is True"),
    "no trials": ("family-binomial-d1", "mixture/family/fields/trials", 0, "trials=0"),
    "a number too large": ("gate-softmax-d1", "fit/n_iter", BIG, "beyond the whole numbers"),
    "a tensor too large": ("gate-softmax-d1", "measure/gates.0.bias/tensor/0", BIG, "beyond the whole numbers"),
    "no parameters": ("gate-softmax-d1", "measure", {}, "those of experts are not among them"),
    "no branches": ("gate-softmax-d1", "mixture/branching", {"tuple": []}, "gates for branching"),
    "branches of none": ("gate-softmax-d1", "mixture/branching", {"tuple": [0]}, "at least one branch"),
    "deep": ("gate-softmax-d1", "params/bounds", json.loads("[" * 300 + "]" * 300), "more than 20 deep"),
    "deep parts": ("gate-softmax-d1", "mixture/expert", nested({"part": "Affine", "fields": {}}, 301), "20 deep"),
    "metric of another length": ("gate-cosine-d3", METRIC, [1.0], "metric of Cosine has 1 numbers for 3"),
    "metric below zero": ("gate-cosine-d3", f"{METRIC}/0", -1.0, "metric of Cosine has negative numbers"),
    "origin of another length": (
        "expert-gelu-no-bias-d3",
        "mixture/expert/fields/origin",
        {"tuple": [1.0]},
        "origin of",
    ),
    "an unknown activation": ("expert-gelu-no-bias-d3", "mixture/expert/fields/fn", "os", "activation 'os' is unknown"),
    "floats for integers": ("gate-softmax-d1", "data/n_features_in", 1.0, "n_features_in of the FileData is 1.0"),
    "features of none": ("gate-softmax-d1", "data/n_features_in", 0, "the number of features is 0"),
    "more features": ("gate-softmax-d1", "data/n_features_in", 2, "the gates read 1 of 2 features"),
    "names of others": ("named-d3", "data/feature_names_in", ["a", "b"], "3 features do not have the names"),
    "names twice": ("named-d3", "data/feature_names_in", ["a", "b", "a"], "3 features do not have the names"),
    "columns beyond the last": ("gate-features", "data/gate_reader/dict/chosen", {"tuple": [0, 3]}, "the columns"),
    "integers for floats": ("gate-softmax-d1", "measure/gates.0.bias/dtype", "int64", "other entries"),
    "a type that is none": ("gate-softmax-d1", "measure/gates.0.bias/dtype", "object", "its value is odd"),
    "an unknown argument": ("gate-softmax-d1", "params/hook", "os.system", "has no argument 'hook'"),
    "an argument that a fit refuses": ("gate-softmax-d1", "params/alpha", -1.0, "alpha=-1.0: the ridge penalty"),
    "another number of experts": ("gate-softmax-d1", "params/n_experts", 3, "n_experts=.3,. for branches .2,."),
    "an unknown gate": ("gate-softmax-d1", "params/gate", "soft", "gate 'soft' is unknown"),
    "bounds of no parameter": (
        "bounds-and-fixed",
        "params/bounds/dict/x",
        {"tuple": [0, 1]},
        "no parameter of the mix",
    ),
    "bounds of one end": ("bounds-and-fixed", "params/bounds/dict/family.scale", {"tuple": [0]}, "are no pair"),
    "starts of other numbers": ("gate-softmax-d1", "fit/starts/dict/log_likelihood", LONG, "the starts have values"),
    "shares of others": ("gate-softmax-d1", "data/responsibilities/dict/totals", LONG, "one sum for each expert"),
    "errors below zero": ("gate-softmax-d1", f"{ERRORS}/gates.0.bias", numbers(-1.0, 0.0), "or are negative"),
    "a status of others": ("gate-softmax-d1", "fit/status", "stalled", "is not among the flags"),
    "another df": ("gate-softmax-d1", "fit/df", 3, "df=3 for rank"),
    "n is NaN": ("gate-softmax-d1", "fit/n", NAN, "n is no finite number"),
    "n is negative": ("gate-softmax-d1", "fit/n", -5.0, "they are not negative"),
    "an expert that is not there": ("gate-softmax-d1", "fit/certificate/dict/starved", {"tuple": [2]}, "not there"),
    "an unknown field": ("gate-softmax-d1", "fit/hook", 1, "the FileFit has an unknown 'hook'"),
    "an unknown section": ("gate-softmax-d1", "hook", 1, "the Content has an unknown 'hook'"),
    "scales that are shared and differ": ("family-shared", "measure/family.scale/tensor/0", 9.0, "shared .* differs"),
    "a parameter that is held": ("gate-equal-d3", "measure/gates.0.bias/tensor/0", 1.0, "gates.0.bias is not 0.0"),
}


@pytest.mark.parametrize("what", ABSURD)
def test_every_kind_of_value_is_checked_when_a_model_is_read(what, tmp_path):
    name, where, value, words = ABSURD[what]
    content = json.loads((HOME / f"{name}.json").read_text("utf-8"))["content"]
    *path, key = where.split("/")
    home = content
    for step in path:
        home = home[int(step)] if isinstance(home, list) else home[step]
    home[int(key) if isinstance(home, list) else key] = value
    (tmp_path / "model.json").write_text(sealed(content), "utf-8")
    with pytest.raises(ModelFileError, match=words):
        load_model(tmp_path / "model.json")


TEXTS = {
    "nested without end": "[" * 100_000,
    "a whole number without end": '{"format": "gatewise model", "schema": 1, "content": ' + "1" * 5000 + "}",
    "NaN": '{"format": "gatewise model", "schema": 1, "content": NaN}',
    "schema zero": '{"format": "gatewise model", "schema": 0, "content": {}}',
    "schema true": '{"format": "gatewise model", "schema": true, "content": {}}',
    "schema huge": f'{{"format": "gatewise model", "schema": {BIG}, "content": {{}}}}',
    "no content": '{"format": "gatewise model", "schema": 1, "sha256": null}',
    "a number": "1e999",
}


@pytest.mark.parametrize("what", TEXTS)
def test_files_that_are_no_models_are_refused_in_words(what, tmp_path):
    (tmp_path / "model.json").write_text(TEXTS[what], "utf-8")
    with pytest.raises(ModelFileError) as told:
        load_model(tmp_path / "model.json")
    assert len(str(told.value)) < 600


def test_a_model_that_could_not_be_read_again_is_not_written(tmp_path):
    model = load_model(HOME / "gate-softmax-d1.json")
    model.measure_.experts["intercept"].fill_(float("nan"))
    with pytest.raises(ValueError, match=r"experts\.intercept has values that are no finite numbers"):
        save_model(model, tmp_path / "model.json")
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def saved_today(tmp_path_factory):
    """The content of models that are saved now."""
    folder, found = tmp_path_factory.mktemp("today"), []
    for name in ("gate-cosine-d3", "family-student-t-d3", "named-d3", "bounds-and-fixed", "ls-levels"):
        save_model(load_model(HOME / f"{name}.json"), folder / "model.json")
        found.append(json.loads((folder / "model.json").read_text("utf-8")))
    return found


def test_a_file_without_any_one_of_its_fields_is_refused(saved_today, tmp_path):
    loaded, values = [], ("bounds", "fixed")  # mappings from paths: what is not named is not bounded
    for whole in saved_today:
        for *where, key in places(whole["content"]):
            home = at(whole["content"], where)
            if not isinstance(home, dict) or (len(where) > 1 and where[-2] in values):
                continue
            content = copy.deepcopy(whole["content"])
            del at(content, where)[key]
            head = json.loads(sealed(content))
            (tmp_path / "model.json").write_text(json.dumps({**head, "schema": whole["schema"]}), "utf-8")
            try:
                load_model(tmp_path / "model.json")
                loaded.append("/".join(map(str, (*where, key))))
            except ModelFileError:
                pass
    assert loaded == []
