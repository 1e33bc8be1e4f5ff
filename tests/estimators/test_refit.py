"""A fitted estimator speaks of what was fitted; fitting again leaves nothing of the fit before."""

import pickle
import warnings
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from itertools import product

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from gatewise import MixtureOfExpertsRegressor, load_model, save_model
from gatewise.core.experts import Linear
from gatewise.estimators.warnings import FitWarning

from ..covering import slow_rest
from ..whole_path import few_neighbours, short_searches, steps_enough  # noqa: F401

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.usefixtures("short_searches", "few_neighbours", "steps_enough"),
]


CHANGES = [
    {"gate": "laplace"},
    {"gate": ["softmax", "softmax"], "n_experts": (2, 2)},
    {"expert": "tanh"},
    {"family": "poisson"},
    {"family": "student-t", "scale": "shared"},
    {"method": "ls"},
    {"method": "em", "n_init": 1},
    {"gauge": "none"},
    {"alpha": 3.0},
    {"min_scale": 1.0},
    {"fixed": {"experts.intercept": 0.0}},
    {"bounds": {"experts.coef": (0.0, 0.1)}},
    {"fixed": {"nonsense": 1}},
    {"gate_features": [0]},
    {"n_experts": 5},
    {"standardize": False},
    {"covariance": "full"},
    {"n_init": -1, "max_time": "never"},
]


def drawn(d, n=60):
    rng = np.random.default_rng(d)
    x = rng.normal(size=(n, d))
    return x, np.where(rng.random(n) < 0.5, 3 + x[:, 0], -2 - x[:, -1]) + 0.3 * rng.normal(size=n)


def said(model, x, y, folder):
    """Everything that a fitted model says: summary, errors, predictions, and what is written to a file."""
    found = model.inference(x, y)
    save_model(model, folder / "model.json")
    text = (folder / "model.json").read_text("utf-8")
    arrays = [model.predict(x), model.score_samples(x, y), model.responsibilities(x, y), model.sample(x, 0)]
    arrays += [model.predict_interval(x), *found.standard_errors().values(), found.mean_interval(x)]
    return [model.summary(), str(found), text, model.aic(), model.bic(), model.icl()], arrays


@pytest.mark.parametrize("d", [1, 3])
def test_arguments_set_after_a_fit_change_nothing_that_it_says(d, tmp_path):
    x, y = drawn(d)
    fixed, chosen = {"experts.intercept": np.array([3.0, np.nan])}, [0]
    model = MixtureOfExpertsRegressor(
        2, fixed=fixed, gate_features=chosen, alpha=0.1, n_init=3, random_state=np.random.default_rng(0)
    ).fit(x, y)
    words, arrays = said(model, x, y, tmp_path)
    fixed["experts.intercept"][0], fixed["experts.coef"] = -7.0, 0.0
    chosen.append(d + 3)
    for change in ({}, *CHANGES):
        again, more = said(model.set_params(**change), x, y, tmp_path)
        assert again == words
        for one, other in zip(more, arrays, strict=True):
            np.testing.assert_array_equal(one, other)
    loaded = load_model(tmp_path / "model.json")
    assert loaded.summary() == words[0]
    assert loaded.get_params()["gate"] == "softmax"
    assert said(pickle.loads(pickle.dumps(model)), x, y, tmp_path)[0] == words  # noqa: S301


DATA = {
    "one": lambda: drawn(1),
    "three, named": lambda: (pd.DataFrame(drawn(3)[0], columns=["a", "b", "c"]), pd.Series(drawn(3)[1])),
    "five, two responses": lambda: (drawn(5)[0], np.c_[drawn(5)[1], drawn(5)[0][:, 0] ** 2]),
    "column": lambda: (drawn(3)[0], drawn(3)[1][:, None]),
    "counts": lambda: (drawn(1)[0], np.abs(drawn(1)[1]).round()),
}
SETTINGS = [
    ("one", {"gate": "laplace", "family": "student-t"}),
    ("three, named", {"gate": "softmax", "scale": "shared", "gate_features": ["b"]}),
    ("five, two responses", {"covariance": "full"}),
    ("column", {"method": "ls", "gate": "sigmoid"}),
    ("counts", {"family": "poisson", "expert": "constant", "n_experts": 1}),
    ("one", {"expert": "tanh", "n_experts": (2, 2), "method": "em"}),
]


def built(settings):
    return MixtureOfExpertsRegressor(**{"n_experts": 2, "n_init": 1, "max_iter": 30, "random_state": 0, **settings})


def plain(value):
    """A value as something that can be compared."""
    if isinstance(value, MixtureOfExpertsRegressor):
        return {name: plain(one) for name, one in vars(value).items()}
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, tuple | list):
        return [type(value).__name__, *map(plain, value)]
    if isinstance(value, np.ndarray) or hasattr(value, "detach"):
        return [type(value).__name__, *np.shape(value), *map(repr, np.asarray(value).ravel().tolist())]
    return repr(value)


@cache
def fitted(at):
    """The model of the settings at a place, fitted to their data; whoever changes it takes a copy."""
    data, settings = SETTINGS[at]
    return built(settings).fit(*DATA[data]())


def near(pair):
    """Whether the second settings come next in the circle or stand opposite, or both are the first."""
    return pair == (0, 0) or (pair[1] - pair[0]) % len(SETTINGS) in (1, 3)


@pytest.mark.parametrize(("first", "second"), slow_rest(list(product(range(len(SETTINGS)), repeat=2)), near))
def test_a_refit_is_a_fresh_fit(first, second):
    data, settings = SETTINGS[second]
    again = deepcopy(fitted(first))
    again.set_params(**built(settings).get_params()).fit(*DATA[data]())
    assert plain(again) == plain(fitted(second))


@pytest.mark.parametrize("broken", [{"n_init": 0}, {"fixed": {"nonsense": 1}}, {"n_experts": 400}])
def test_a_refit_that_raises_leaves_the_fit_before(broken):
    x, y = drawn(3)
    model = built({}).fit(pd.DataFrame(x, columns=["a", "b", "c"]), y)
    before = plain(clone(model).fit(pd.DataFrame(x, columns=["a", "b", "c"]), y))
    with pytest.raises(ValueError, match=r"n_init|nonsense|n_samples"):
        model.set_params(**broken).fit(x[:, :1], y)
    model.set_params(**built({}).get_params())
    assert plain(model) == before


class OddError(Exception):
    """Of a part of one's own."""


@dataclass(frozen=True)
class Breaks(Linear):
    """A linear expert that raises at the given call, if any."""

    calls: list = field(default_factory=list, hash=False, compare=False)
    at: int = 0

    def __call__(self, params, x):
        self.calls.append(1)
        if len(self.calls) == self.at:
            raise OddError(self.at)
        return super().__call__(params, x)


BROKEN = {  # arguments, what becomes of X and y, the error and its words
    "X is not finite": ({}, lambda x, y: (np.where(x > 1, np.nan, x), y), ValueError, "NaN"),
    "X has no rows": ({}, lambda x, y: (x[:0], y[:0]), ValueError, "minimum of 1"),
    "X and y have other sizes": ({}, lambda x, y: (x, y[1:]), ValueError, "y has 59 rows, X has 60"),
    "y is no count": ({"family": "poisson"}, lambda x, y: (x, y), ValueError, "Poisson|count"),
    "a part breaks at once": ({"expert": Breaks(at=1)}, lambda x, y: (x, y), OddError, "1"),
    "a part breaks later": ({"expert": Breaks(at=4)}, lambda x, y: (x, y), OddError, "4"),
}


def unchanged(model, before):
    """Whether an estimator holds the very objects of before."""
    after = vars(model)
    return after.keys() == before.keys() and all(after[name] is value for name, value in before.items())


@pytest.mark.parametrize("name", BROKEN)
def test_a_refit_that_raises_changes_nothing(name):
    arguments, spoil, error, words = BROKEN[name]
    model = built({}).fit(*drawn(2)).set_params(**arguments)
    before, values = dict(vars(model)), plain(model.fit_)
    with pytest.raises(error, match=words):
        model.fit(*spoil(*drawn(3)))
    assert unchanged(model, before)
    assert plain(model.fit_) == values


@pytest.mark.parametrize("stage", ["adopting.reported_values", "fitting.alert", "fitting.theory"])
def test_nothing_is_set_before_all_of_a_fit_is_known_and_said(monkeypatch, stage):
    def fail(*_, **__):
        raise OddError(stage)

    model = built({}).fit(*drawn(2))
    before = dict(vars(model))
    monkeypatch.setattr(f"gatewise.estimators.{stage}", fail)
    monkeypatch.setattr("gatewise.estimators.fitting.ask_theory", lambda *_: True)
    with pytest.raises(OddError):
        model.fit(*drawn(3))
    assert unchanged(model, before)


def test_a_warning_that_is_made_an_error_leaves_the_fit_before():
    x, y = drawn(3)
    model = built({}).fit(x, y)
    before = dict(vars(model))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(FitWarning):
            model.fit(np.c_[x, x[:, 0]], y)
    assert unchanged(model, before)
