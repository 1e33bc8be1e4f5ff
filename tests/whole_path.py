"""The path of a user through one composition, and the one table of what is refused on it."""

from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from inspect import signature
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from gatewise import (
    EXPERTS,
    FAMILIES,
    GATES,
    Expert,
    Family,
    Gate,
    MixtureOfExpertsRegressor,
    load_model,
    save_model,
)
from gatewise.nn import from_measure
from gatewise.optim.batch import descend

from .own_parts import Gamma, OwnExpert

STEPS = {"most": 5}


class Case(NamedTuple):
    """A composition with the data it is fitted to."""

    gates: tuple[Gate, ...]
    branching: tuple[int, ...]
    expert: Expert
    family: Family
    method: str
    d: int
    q: int
    standardize: bool = True
    weighted: bool = False


@contextmanager
def few_steps_of_searches():
    with pytest.MonkeyPatch.context() as patch:
        for name in ("gatewise.fit.ends.MOST_ROUNDS", "gatewise.fit.climb.ROUNDS"):
            patch.setattr(name, 1)
        for name in ("PER_COLUMN", "FEWEST"):
            patch.setattr(import_module("gatewise.infer.identifiability.check"), name, 20)
        for name in ("gatewise.optim.newton", "gatewise.optim.lbfgs"):
            patch.setattr(import_module(name), "descend", few_steps)
        fitted = import_module("gatewise.infer.identifiability.fitted")
        patch.setattr(fitted, "identify_parts", partial(fitted.identify_parts, draws=1))
        fitted._assess.cache_clear()
        yield
        fitted._assess.cache_clear()


@contextmanager
def one_neighbour():
    kinks = import_module("gatewise.fit.search.kinks")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("SWEEPS", "TRIED"):
            patch.setattr(kinks, name, 1)
        patch.setattr(kinks, "RADII", kinks.RADII[-1:])
        yield


@pytest.fixture(autouse=True, scope="module")
def short_searches():
    """Few steps of every search and few points of every check: the law is about what composes, not about digits."""
    with few_steps_of_searches():
        yield


@pytest.fixture(scope="module")
def few_neighbours():
    """One sweep over the centers that rest on kinks, and one neighbour tried."""
    with one_neighbour():
        yield


@pytest.fixture
def brief_fits():
    """All of this in one test: its law holds for parameters on their way as for optima."""
    with few_steps_of_searches(), one_neighbour():
        yield


@pytest.fixture(scope="module")
def steps_enough():
    """Steps enough for optima of small models, which have standard errors."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(STEPS, "most", 25)
        yield


@pytest.fixture
def more_steps(monkeypatch):
    """Steps enough that most fits end at an optimum."""
    monkeypatch.setitem(STEPS, "most", 25)


def few_steps(*arguments: Any) -> Any:
    """`descend` with at most so many steps."""
    given = dict(zip(signature(descend).parameters, arguments, strict=True))
    return descend(**{**given, "max_iter": min(given["max_iter"], STEPS["most"])})


class Refusal(NamedTuple):
    """What is refused: at which step, in which cases, by which error with which words, and a case that shows it."""

    step: str
    when: Callable[[Case], bool]
    error: type[Exception]
    words: str
    example: Case


def own(case: Case) -> bool:
    """Whether a part is the user's."""
    scores = [gate.score for gate in case.gates]
    while any(hasattr(score, "inner") for score in scores):
        scores = [getattr(score, "inner", score) for score in scores]
    parts = (*scores, case.expert, *((case.family,) if case.method != "ls" else ()))
    return any(not type(part).__module__.startswith("gatewise.") for part in parts)


def example(**changes: Any) -> Case:
    """A case that nothing refuses, with changes."""
    plain = Case((GATES["softmax"],), (2,), EXPERTS["linear"], FAMILIES["gaussian"], "ml", 1, 1)
    return plain._replace(**changes)


REFUSED = (  # reviewed: whatever else raises is a fault
    Refusal(
        "fit",
        lambda case: not all(gate.link.smooth for gate in case.gates),
        ValueError,
        "the objective jumps where the kept branches change",
        example(gates=(GATES["top-k"],)),
    ),
    Refusal(
        "fit",
        lambda case: case.method != "ls" and not all(gate.link.normalised for gate in case.gates),
        ValueError,
        "do not sum to one, so the mixture has no density",
        example(gates=(GATES["sigmoid"],)),
    ),
    Refusal(
        "fit",
        lambda case: case.method == "ls" and case.family != FAMILIES["gaussian"],
        ValueError,
        "least squares fits only the mean",
        example(method="ls", family=FAMILIES["poisson"]),
    ),
    Refusal(
        "predict_interval",
        lambda case: case.method == "ls",
        TypeError,
        "a least-squares fit has no distribution, so no quantiles or intervals: fit with maximum likelihood",
        example(method="ls"),
    ),
    Refusal(
        "predict_interval",
        lambda case: type(case.family).cdf is Family.cdf,
        NotImplementedError,
        "has no cdf, which quantiles and intervals need: define the method cdf",
        example(family=Gamma()),
    ),
    Refusal(
        "save_model",
        own,
        ValueError,
        "is not part of gatewise: a file holds names, not code; keep models with your own parts by pickle",
        example(expert=OwnExpert()),
    ),
)


def refusals(case: Case, step: str = "fit") -> list[Refusal]:
    """The entries of the table that refuse a step of a case."""
    return [one for one in REFUSED if one.step == step and one.when(case)]


def take(case: Case, step: str, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """The value of a step; None where the table refuses it, and then it has to raise what the table says."""
    expected = refusals(case, step)
    if not expected:
        return function(*arguments, **options)
    with pytest.raises(tuple(one.error for one in expected), match="|".join(one.words for one in expected)):
        function(*arguments, **options)
    return None


def draw_data(case: Case, n=60, noise=0.5):
    """Inputs ``(n, d)`` in different units, a response of the family whose predictor has two regimes, and weights.

    Rows are more where an expert of many columns could pass through all of them, and the outermost ones have a weight:
    between rows, and beyond them, the exponential of such an expert, the mean, is larger than any float.
    """
    d, q, family = case.d, case.q, case.family
    if family.mean_range == (0.0, np.inf):
        n = max(n, 6 * case.expert.design(torch.zeros(d, 1)).shape[0])
    rng = np.random.default_rng([d, q])
    x = rng.normal(size=(n, d))
    first = rng.random((n, 1)) < 1 / (1 + np.exp(-2 * x[:, :1]))
    eta = np.where(first, 0.5 + 0.4 * x[:, :1], -0.5 + 0.3 * x[:, -1:]) + 0.2 * np.arange(q)
    law = {name: torch.full((1, *spec.shape), spec.initial).double() for name, spec in family.parameters(q).items()}
    law |= {name: noise * law[name] for name in family.names("scale", "covariance")}
    y = family.sample(law, torch.from_numpy(eta.T.copy())[None], torch.Generator().manual_seed(d + 10 * q))[0].T.numpy()
    weight = rng.integers(0, 3, n) if case.weighted else None
    if weight is not None:
        weight[[*x.argmin(0), *x.argmax(0)]] = 1
    return x * np.logspace(0, 1, d) + 1, y[:, 0] if y.shape[1] == 1 else y, weight


def walk(case: Case, folder):
    """Take a composition along the whole path."""
    x, y, weight = draw_data(case)
    model = MixtureOfExpertsRegressor(
        case.branching,
        case.gates,
        case.expert,
        case.family,
        method=case.method,
        n_init=2,
        standardize=case.standardize,
        max_iter=10,
        random_state=0,
    )
    if take(case, "fit", model.fit, x, y, sample_weight=weight) is None:
        return
    assert "Status:" in str(model.summary())
    check_inference(model.inference(x, y, sample_weight=weight))
    mean = model.predict(x)
    assert mean.shape == seen_shape(case.family, y)
    assert np.isfinite(mean).all()
    check_intervals(take(case, "predict_interval", model.predict_interval, x[:5], 0.9), mean)
    path = folder / "model.json"
    take(case, "save_model", save_model, model, path)
    if not refusals(case, "save_model"):
        assert np.array_equal(load_model(path).predict(x), mean)
    layer = from_measure(model.mixture_, model.measure_, case.d)
    found = layer(torch.from_numpy(x)).detach().numpy().reshape(mean.shape)
    np.testing.assert_allclose(found, mean, rtol=1e-9, atol=1e-9 * np.abs(mean).max())


def seen_shape(family, y):
    """The shape of a response on the scale of the mean: without events and without the first of the classes."""
    if y.ndim == 1:
        return y.shape
    columns = family.observed(torch.from_numpy(y.T.copy())).shape[0]
    return (len(y), columns)


def check_inference(found):
    """Standard errors and Wald intervals, or the words why there are none."""
    if found.refused:
        assert " " in found.refused
        return
    shapes = {path: tuple(error.shape) for path, error in found.standard_errors().items()}
    assert found.information.shapes.items() <= shapes.items()
    assert len(found.wald(0.9).to_frame()) == len(found.information.names)


def check_intervals(ends, mean):
    if ends is not None:
        assert ends.shape == (*mean[:5].shape, 2)
        assert not np.isnan(ends).any()
        assert np.isfinite(ends[np.abs(mean[:5]) < 1e300]).all()  # beyond: an expert that a cut search left far out
        assert (ends[..., 0] <= ends[..., 1]).all()
