"""Results do not depend on torch's settings of the moment, which are the caller's own again afterwards."""

import warnings
from contextlib import contextmanager
from itertools import chain, product

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gatewise import GATES, MixtureOfExpertsRegressor, maximum_likelihood
from gatewise.core.mixture import Mixture
from gatewise.fit import least_squares
from gatewise.fit.many import Plan, many_fits
from gatewise.infer.covariance.information import information, standard_errors
from gatewise.infer.delta import delta
from gatewise.infer.identifiability import assess, fitted, identify
from gatewise.infer.intervals import wald
from gatewise.infer.profile.likelihood import profile
from gatewise.objective.rows import make_rows

from ..covering import slow_rest
from ..whole_path import few_neighbours, short_searches, steps_enough  # noqa: F401

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.usefixtures("short_searches", "few_neighbours", "steps_enough"),
]


@contextmanager
def changed(get, change, value):
    before = get()
    change(value)
    try:
        yield
    finally:
        change(before)


@contextmanager
def on_meta():
    torch.set_default_device("meta")
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextmanager
def anomalies():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says once that this is slow
        mode = torch.autograd.set_detect_anomaly(True)
    with mode:
        yield


SETTINGS = {
    "no_grad": torch.no_grad,
    "grad mode off": lambda: changed(torch.is_grad_enabled, torch.set_grad_enabled, False),
    "inference_mode": torch.inference_mode,
    **{
        f"default {dtype}": lambda dtype=dtype: changed(torch.get_default_dtype, torch.set_default_dtype, dtype)
        for dtype in (torch.float32, torch.float64, torch.bfloat16)
    },
    "default device": on_meta,
    "device context": lambda: torch.device("meta"),
    "deterministic": lambda: changed(
        torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms, True
    ),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "three threads": lambda: changed(torch.get_num_threads, torch.set_num_threads, 3),
    "anomaly mode": anomalies,
    "numpy errors raise": lambda: np.errstate(all="raise"),
}


def drawn(d, n=90):
    rng = np.random.default_rng(d)
    x = rng.normal(size=(n, d))
    return x, np.where(rng.random(n) < 0.5, 2 * x[:, 0] + x[:, -1], -2 - x[:, 0]) + 0.3 * rng.normal(size=n)


MODELS = [
    (1, {"gate": "quadratic", "expert": "tanh"}),
    (3, {"gate": "softmax", "family": "student-t"}),
    (5, {"gate": "softmax", "method": "em", "max_iter": 40}),
    (1, {"gate": "softmax", "method": "ls"}),
]


# settings under which a tensor could be made elsewhere or of another type, one of each kind, meet every model;
# the others meet one
DEEP = {"default torch.float32", "default device", "autocast"}


ALIKE = ("grad mode off", "default torch.float64", "device context")  # each like another setting: in the slow run
OF_ENGINE = (*DEEP, "no_grad", "three threads")  # the facade, which calls the engine, meets the others


def models_under(setting):
    return MODELS if setting in DEEP else MODELS[list(SETTINGS).index(setting) % 4 :: 4]


def facade(models):
    """Everything that a fitted estimator says, of every model: a list each."""
    return [facade_of(d, arguments) for d, arguments in models]


def facade_of(d, arguments):
    x, y = drawn(d)
    model = MixtureOfExpertsRegressor(**{"n_init": 2, "random_state": 0, **arguments}).fit(x, y)
    out = [model.predict(x), model.log_likelihood_, model.score(x, y), model.summary(), str(model.status_)]
    if model.method != "ls":
        out += [model.score_samples(x, y), model.responsibilities(x, y), model.gate_proba(x), model.sample(x, 1)]
        out += [model.predict_interval(x[:4]), model.predict_quantile(x[:4], [0.2, 0.7])]
    found = model.inference(x, y)
    assert found.refused is None, found.refused
    out += [*found.standard_errors().values(), found.mean_interval(x[:4]), found.gate_interval(x[:4])]
    out += [found.wald().lower.numpy(), found.delta("experts.coef").error.numpy()]
    return out


def replicate(d):
    x, y = drawn(d)
    return make_rows(x[:, :1], y[:, None])


def engine(_):
    """Fits, errors and verdicts of the engine, whose rows are made under the same setting."""
    x, y = drawn(3)
    rows, mixture = make_rows(x, y[:, None]), Mixture((GATES["softmax"],), (2,))
    fit = maximum_likelihood(mixture, rows, starts=2)
    squares = least_squares(mixture, rows, starts=2)
    many = [one for _, one in many_fits(Plan(mixture, starts=2), replicate, [1, 4])]
    found = information(fit, rows)
    interval = profile(fit, rows, "experts.coef[0,0,1]")
    out = [fit.log_likelihood, squares.sse, *(one.log_likelihood for one in many), interval.lower, interval.upper]
    out += [value.numpy() for value in (*fit.measure.paths().values(), *standard_errors(found).values())]
    out += [wald(found).upper.numpy(), delta(found, lambda g: g.experts["coef"].exp()).error.numpy()]
    fitted._assess.cache_clear()
    return [*out, assess(mixture).words, identify("softmax", "gelu", order=1).words]


@pytest.fixture(scope="module")
def plain():
    """The results without a setting, and the state of the random numbers of torch before and after."""
    torch.manual_seed(5)
    before = torch.get_rng_state()
    found = {"facade": facade(MODELS), "engine": engine(())}
    return {**found, "random": (before, torch.get_rng_state())}


def settings_of_torch():
    return (
        *(torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_default_dtype()),
        *(torch.get_default_device(), torch.get_num_threads(), torch.is_autocast_enabled("cpu")),
        *(torch.are_deterministic_algorithms_enabled(), torch.is_anomaly_enabled()),
    )


def is_quick(case):
    name, part = case
    return name in OF_ENGINE if part is engine else name not in ALIKE


@pytest.mark.parametrize(("name", "part"), slow_rest(list(product(SETTINGS, (facade, engine))), is_quick))
def test_results_are_bitwise_those_without_a_setting(plain, name, part):
    with SETTINGS[name]():
        before = settings_of_torch()
        found = part(models_under(name))
        assert settings_of_torch() == before
    expected = plain[part.__name__]
    if part is facade:
        chosen = [expected[MODELS.index(model)] for model in models_under(name)]
        found, expected = list(chain(*found)), list(chain(*chosen))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


class Floats(TorchDispatchMode):
    """Collects the types of all tensors of floating point that are made below it."""

    def __init__(self):
        super().__init__()
        self.dtypes = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        made = [one for one in tree_leaves(out) if isinstance(one, torch.Tensor)]
        self.dtypes |= {one.dtype for one in made if one.is_floating_point()}
        return out


FLOATING = [
    (4, {"gate": "softmax", "n_experts": 3}),
    (4, {"gate": ["softmax", "normalised-sigmoid"], "n_experts": (2, 2), "expert": "relu"}),
    (2, {"gate": "quadratic", "covariance": "full"}),
    (2, {"gate": "laplace", "family": "student-t", "method": "em", "max_iter": 20}),
    (2, {"gate": "euclidean-sigmoid", "expert": "cubic", "method": "ls"}),
    (2, {"gate": "dense-to-sparse", "expert": "tanh"}),
    (3, {"gate": "softmax", "method": "ls", "expert": "gelu"}),
]


@pytest.mark.parametrize(("d", "arguments"), FLOATING, ids=str)
def test_every_number_of_a_fit_has_double_precision(d, arguments):
    """A tensor of another type was made in torch's default dtype, and its numbers would change with that."""
    x, y = drawn(d)
    y = np.stack([y, y - x[:, 0]], 1) if "covariance" in arguments else y
    with Floats() as found:
        MixtureOfExpertsRegressor(**{"n_init": 1, "random_state": 0, "max_iter": 15, **arguments}).fit(x, y).summary()
    assert found.dtypes == {torch.float64}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_fit_that_raises_gives_the_settings_back(name):
    with SETTINGS[name]():
        before = settings_of_torch()
        with pytest.raises(ValueError, match="minimum of 1 is required"):
            MixtureOfExpertsRegressor().fit(np.empty((0, 3)), np.empty(0))
        assert settings_of_torch() == before


def test_no_random_number_of_torch_is_drawn(plain):
    assert torch.equal(*plain["random"])
