"""A fitted estimator speaks of what was fitted; fitting again leaves nothing of the fit before."""

import pickle
from itertools import product

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from gatewise import MixtureOfExpertsRegressor, load_model, save_model

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

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


@pytest.mark.parametrize("d", [1, 3, 5])
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


@pytest.mark.parametrize(("first", "second"), list(product(range(len(SETTINGS)), repeat=2)))
def test_a_refit_is_a_fresh_fit(first, second):
    (before, old), (after, new) = SETTINGS[first], SETTINGS[second]
    fresh = built(new).fit(*DATA[after]())
    again = built(old).fit(*DATA[before]())
    again.set_params(**built(new).get_params()).fit(*DATA[after]())
    assert plain(again) == plain(fresh)


@pytest.mark.parametrize("broken", [{"n_init": 0}, {"fixed": {"nonsense": 1}}, {"n_experts": 400}])
def test_a_refit_that_raises_leaves_the_fit_before(broken):
    x, y = drawn(3)
    model = built({}).fit(pd.DataFrame(x, columns=["a", "b", "c"]), y)
    before = plain(clone(model).fit(pd.DataFrame(x, columns=["a", "b", "c"]), y))
    with pytest.raises(ValueError, match=r"n_init|nonsense|n_samples"):
        model.set_params(**broken).fit(x[:, :1], y)
    model.set_params(**built({}).get_params())
    assert plain(model) == before
