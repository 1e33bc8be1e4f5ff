"""Every argument that is a number: what is none is refused in words; numbers of numpy and torch are numbers."""

import numpy as np
import pytest
import torch

from gatewise import GATES, MixtureOfExpertsRegressor, maximum_likelihood
from gatewise.core.mixture import Mixture
from gatewise.fit.least_squares import least_squares
from gatewise.fit.spec import FitSpec
from gatewise.objective.rows import make_rows

from ..covering import slow_rest

NONE = {
    "nan": np.nan,
    "infinite": np.inf,
    "minus": -np.inf,
    "true": True,
    "numpy true": np.True_,
    "text": "2",
    "complex": 2j,
    "numpy nan": np.float32("nan"),
    "array of nan": np.array(np.nan),
    "array of true": np.array(True),
    "array of text": np.array("2"),
    "huge": 10**400,
    "list": [[1, 2, 3, 4]],
    "object": object(),
    "tensor": torch.tensor(float("nan")),
}
ALLOWED = {  # argument -> what of the above it can be
    "n_init": {"list": False},
    "max_time": {},
    "alpha": {},
    "min_scale": {},
    "max_iter": {"huge": True},
    "random_state": {"huge": True},
    "n_experts": {},
    "verbose": {"true": True, "numpy true": True, "array of true": True, "huge": True},
    "gate_features": {},
    "bounds": {},
    "fixed": {"nan": True, "numpy nan": True, "array of nan": True, "tensor": True},
}
PLACED = {
    "bounds": lambda value: {"experts.coef": (value, value)},
    "fixed": lambda value: {"experts.intercept": value},
}


def drawn(d):
    rng = np.random.default_rng(d)
    x = rng.normal(size=(40, d))
    return x, x[:, 0] + 0.4 * rng.normal(size=40)


def one(**settings):
    return MixtureOfExpertsRegressor(**{"n_experts": 1, "n_init": 1, "random_state": 0, **settings})


@pytest.mark.parametrize("value", NONE)
@pytest.mark.parametrize("name", ALLOWED)
@pytest.mark.parametrize("d", [1, 3])
def test_what_is_no_number_is_refused_in_words(d, name, value):
    if ALLOWED[name].get(value):
        return
    given = PLACED.get(name, lambda v: v)(NONE[value])
    with pytest.raises((ValueError, TypeError), match="experts" if name == "n_experts" else name):
        one(**{name: given}).fit(*drawn(d))


SAME = {
    "n_experts": 2,
    "n_init": 3,
    "alpha": 1,
    "min_scale": 1,
    "max_iter": 5,
    "max_time": 100,
    "random_state": 7,
    "verbose": 0,
    "gate_features": 1,
    "bounds": 2,
    "fixed": 1,
}


KINDS = (np.int8, np.uint64, np.array, torch.tensor)
IN_TURN = {(name, KINDS[at % 4]) for at, name in enumerate(SAME)}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(("name", "kind"), slow_rest([(name, kind) for name in SAME for kind in KINDS], IN_TURN))
def test_numbers_of_other_kinds_are_the_same_numbers(name, kind):
    x, y = drawn(3)
    placed = {**PLACED, "bounds": lambda value: {"experts.coef": (-value, value)}}.get(name, lambda v: v)
    value = kind(SAME[name])
    if name == "bounds" and kind is np.uint64:  # minus it is large
        value = np.int16(SAME[name])
    plain = one(**{"n_experts": 2, name: placed(SAME[name])}).fit(x, y)
    again = one(**{"n_experts": 2, name: placed(value)}).fit(x, y)
    assert again.log_likelihood_ == plain.log_likelihood_


@pytest.mark.parametrize("n_experts", [10**30, (10**10, 10**10), [2**32, 2**32]])
def test_numbers_of_experts_do_not_wrap(n_experts):
    with pytest.raises(ValueError, match=r"n_samples=40 for \d{20,} experts: give at least one row per expert"):
        one(n_experts=n_experts).fit(*drawn(1))


@pytest.mark.parametrize("level", [np.nan, np.inf, True, "0.9", 0, 1, -0.5, 10**400, None, [0.5], 2j, np.array("a")])
@pytest.mark.parametrize("d", [1, 3])
def test_probabilities_are_checked(d, level):
    x, y = drawn(d)
    model = one().fit(x, y)
    found = model.inference(x, y)
    name = "experts.coef[0,0,0]"
    calls = [lambda: model.predict_interval(x, level), lambda: found.wald(level), lambda: found.profile(name, level)]
    calls += [lambda: found.delta(name, level), lambda: found.mean_interval(x, level)]
    calls += [lambda: found.gate_interval(x, level)]
    for call in calls:
        with pytest.raises(ValueError, match=r"level=.*a probability is a number strictly between 0 and 1"):
            call()
    if level != [0.5]:
        with pytest.raises(ValueError, match=r"q=.*number|quantile levels"):
            model.predict_quantile(x, level)
    assert model.predict_interval(x, np.array(0.9)).shape == (40, 2)
    assert model.predict_quantile(x, np.float32(0.5)).shape == (40,)


def run(fit, mixture, rows, **given):
    spec = FitSpec(**{name: given.pop(name) for name in FitSpec.__dataclass_fields__ if name in given})
    return fit(mixture, rows, spec, **given)


ENGINE = {
    "starts": [0, 2.5, True, "3", np.nan, None, [], [1, 2], 10**7],
    "alpha": [-1.0, np.nan, "1", True, None, np.inf],
    "max_time": [0, -1, np.nan, "1", True],
    "bounds": [{"experts.coef": (np.nan, 1.0)}, {"experts.coef": (2, 1)}, {"experts.coef": 3}, {"experts.coef": "ab"}],
    "fixed": [{"experts.coef": np.inf}, {"experts.coef": "a"}, {"experts.coef": True}],
    "seed": [-1, 2.5, "a", np.nan],
    "gauge": ["free", None, 1],
}
LIKELIHOOD = {
    "min_scale": [0, -1.0, np.nan, "1", True, np.inf],
    "max_iter": [0, 2.5, True, "1", np.nan],
    "method": ["sgd", None, 1],
}


@pytest.mark.parametrize(
    ("fit", "name", "value"),
    [(maximum_likelihood, name, value) for name, values in {**ENGINE, **LIKELIHOOD}.items() for value in values]
    + [(least_squares, name, value) for name, values in ENGINE.items() for value in values],
    ids=lambda part: getattr(part, "__name__", str(part)),
)
def test_the_engine_refuses_what_is_no_number_too(fit, name, value):
    x, y = drawn(3)
    with pytest.raises((ValueError, TypeError), match=name):
        run(fit, Mixture((GATES["softmax"],), (2,)), make_rows(x, y[:, None]), **{name: value})


@pytest.mark.parametrize("fit", [maximum_likelihood, least_squares])
def test_the_engine_takes_numbers_of_other_kinds(fit):
    x, y = drawn(1)
    mixture, rows = Mixture((GATES["softmax"],), (2,)), make_rows(x, y[:, None])
    plain = run(fit, mixture, rows, starts=3, seed=5, alpha=1.0, max_time=500)
    again = run(fit, mixture, rows, starts=np.array(3), seed=np.int64(5), alpha=np.array(1), max_time=np.float32(500))
    assert again.objective == plain.objective
