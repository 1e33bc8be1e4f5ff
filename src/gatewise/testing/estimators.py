"""Laws of the whole way that a part goes: fitted by an estimator, summarised, inferred, predicted, saved, made a layer.

``check_estimator_parts(mixture)`` fits `MixtureOfExpertsRegressor` with the parts of a mixture at d = 1 and 4 features
and q = 1 and 2 outputs; a law takes one such fit, an `EstimatorExample`. Whatever raises on the way is told in words,
with the sizes; what a part cannot do must be refused with the words that the documents give.

Examples
--------
>>> from gatewise import GATES
>>> law_estimator_prediction(fit_example(Mixture((GATES["laplace"],), (2,)), d=4, q=2))
"""

from __future__ import annotations

import copy
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import torch

from gatewise.core.gates import Gate
from gatewise.core.mixture import Mixture, regression
from gatewise.estimators import MixtureOfExpertsRegressor, load_model, save_model
from gatewise.estimators.warnings import FitWarning
from gatewise.nn.from_fit import from_measure
from gatewise.testing.compare import assert_close
from gatewise.testing.problems import make_problem

ESTIMATOR_SIZES = ((1, 1), (1, 2), (4, 1), (4, 2))  # features and outputs
ROWS, FEW = 100, 20  # of the data, and those whose intervals are asked for
SECONDS = 0.8  # of a fit: the laws hold for a search that was cut short, too
WIDER = 3.0  # inputs of a training step, in those of the data, of which a unit with a kink may use none
NO_DENSITY = "a least-squares fit has no distribution"
NO_CDF = "has no cdf"


class EstimatorExample(NamedTuple):
    """A fitted estimator with its data.

    Attributes
    ----------
    model : MixtureOfExpertsRegressor
    X, y : ndarray (n, d), (n,) or (n, columns)
    sizes : str
        The numbers of features and outputs, in words.

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import fit_example
    >>> found = fit_example(Mixture((GATES["constant"],), (2,)), d=3, q=1)
    >>> found.sizes, found.X.shape[1]
    ('d=3, q=1', 3)
    """

    model: MixtureOfExpertsRegressor
    X: np.ndarray
    y: np.ndarray
    sizes: str

    @property
    def mixture(self) -> Mixture:
        """The mixture that was fitted; one of a mean alone after least squares."""
        return self.model.mixture_

    @property
    def has_density(self) -> bool:
        """Whether the fit has a density, which the weights of an unnormalised gate do not give."""
        return self.mixture.family.has_density


class Attempt(AbstractContextManager[None]):
    """Whatever raises inside is an AssertionError that says what was tried.

    Examples
    --------
    >>> with Attempt("a fit with d=4, q=2"):
    ...     {}["family.shape"]
    Traceback (most recent call last):
    AssertionError: broken: a fit with d=4, q=2 raised KeyError: 'family.shape'
    """

    def __init__(self, what: str) -> None:
        self.what = what

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(value, Exception) and not isinstance(value, AssertionError):
            raise AssertionError(f"broken: {self.what} raised {type(value).__name__}: {value}") from value


def assert_refused(act: Callable[[], object], error: type[Exception], words: str, what: str) -> None:
    """Raise unless `act` raises an error of a kind whose message has certain words.

    Raises
    ------
    AssertionError
        With `what`, if nothing is raised, or something else.
    """
    try:
        with Attempt(what):
            act()
    except AssertionError as found:
        if isinstance(found.__cause__, error) and words in str(found.__cause__):
            return
        raise
    raise AssertionError(f"broken: {what} is refused with the words {words!r}")


def example_arguments(mixture: Mixture) -> dict[str, Any]:
    """Return the arguments of an estimator that fits the parts of a mixture; by least squares without a density."""
    out: dict[str, Any] = {"n_experts": mixture.branching, "gate": list(mixture.gates), "expert": mixture.expert}
    out |= {"n_init": 2, "random_state": 0}
    return out | ({"family": mixture.family} if mixture.normalised else {"method": "ls"})


def example_data(mixture: Mixture, d: int, q: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return X (n, d) and y, of one dimension where it has one column, drawn from a mixture."""
    columns = mixture.family.columns(q)
    problem = make_problem(mixture, d=d, gate_d=d, columns=columns, n=ROWS, seed=seed)
    y = problem.y.mT.numpy()
    return problem.x.mT.numpy(), y[:, 0] if columns == 1 else y


def fit_example(mixture: Mixture, d: int, q: int, seed: int = 0, max_time: float = SECONDS) -> EstimatorExample:
    """Fit an estimator with the parts of a mixture to data drawn from it, gates and experts with the same inputs.

    Parameters
    ----------
    mixture : Mixture
    d, q : int
        Numbers of features and outputs.
    seed : int
    max_time : float
        Seconds that the fit may take.

    Returns
    -------
    EstimatorExample

    Raises
    ------
    AssertionError
        If that raises anything.

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import fit_example
    >>> fit_example(Mixture((GATES["constant"],), (2,)), d=3, q=1).model.n_features_in_
    3
    """
    sizes = f"d={d}, q={q}"
    with Attempt(f"drawing data with {sizes}"):
        X, y = example_data(mixture, d, q, seed)
    with Attempt(f"a fit with {sizes}"), warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)  # few rows and little time: the laws are not about the optimum
        model = MixtureOfExpertsRegressor(**example_arguments(mixture), max_time=max_time).fit(X, y)
    return EstimatorExample(model, X, y, sizes)


def law_estimator_summary(example: EstimatorExample) -> None:
    """Every parameter of a fit is finite, and the summary has a row for each number of every expert.

    Parameters
    ----------
    example : EstimatorExample

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import fit_example, law_estimator_summary
    >>> example = fit_example(Mixture((GATES["constant"],), (2,)), d=3, q=1)
    >>> law_estimator_summary(example)
    """
    model, mixture = example.model, example.mixture
    with Attempt(f"the summary with {example.sizes}"):
        summary = model.summary()
        text, frame = str(summary), summary.experts
    if not text.strip():
        raise AssertionError(f"broken: the summary with {example.sizes} has a text")
    for path, value in model.measure_.paths().items():
        if not bool(value.isfinite().all()):
            raise AssertionError(f"broken: {path} of a fit with {example.sizes} is finite")
    rows = mixture.n_leaves * sum(_entries(example).values())
    if len(frame) != rows:
        raise AssertionError(f"broken: the summary with {example.sizes} has a row per number ({len(frame)} of {rows})")


def _entries(example: EstimatorExample) -> dict[str, int]:
    """Return how many numbers of every parameter the summary gives for one expert."""
    mixture, d = example.mixture, example.X.shape[1]
    q = mixture.family.outputs(1 if example.y.ndim == 1 else example.y.shape[1])
    own = {f"experts.{name}": q * spec.size for name, spec in mixture.expert.parameters(d).items()}
    covariance = mixture.family.names("covariance")  # given as standard deviations
    law = mixture.family.parameters(q).items()
    return own | {f"family.{name}": q if name in covariance else spec.size for name, spec in law}


def law_estimator_inference(example: EstimatorExample) -> None:
    """A fit has standard errors in the shapes of its parameters, none below zero, or words that say why not.

    Parameters
    ----------
    example : EstimatorExample

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import fit_example, law_estimator_inference
    >>> example = fit_example(Mixture((GATES["constant"],), (2,)), d=3, q=1)
    >>> law_estimator_inference(example)
    """
    model, sizes = example.model, example.sizes
    with Attempt(f"inference with {sizes}"):
        found = model.inference(example.X, example.y)
        text = found.text()
    if found.refused is not None:
        if not found.refused.strip() or found.refused not in text.replace("\n", " "):
            raise AssertionError(f"broken: inference with {sizes} says why there are no errors")
        return
    with Attempt(f"standard errors with {sizes}"):
        errors = found.standard_errors()
    for path, value in model.measure_.paths().items():
        if errors[path].shape != tuple(value.shape) or bool((errors[path] < 0).any()):
            raise AssertionError(f"broken: the errors of {path} with {sizes} have its shape and are not negative")


def law_estimator_prediction(example: EstimatorExample) -> None:
    """Predictions are the mean of the mixture, and the log-likelihood is the sum of the log densities of the rows.

    Parameters
    ----------
    example : EstimatorExample

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import fit_example, law_estimator_prediction
    >>> example = fit_example(Mixture((GATES["constant"],), (2,)), d=3, q=1)
    >>> law_estimator_prediction(example)
    """
    model, sizes = example.model, example.sizes
    with Attempt(f"predictions with {sizes}"):
        found = torch.from_numpy(model.predict(example.X)).reshape(ROWS, -1).mT
        shares = torch.from_numpy(model.gate_proba(example.X))
    x = torch.from_numpy(example.X).mT
    assert_close(found, regression(example.mixture, model.measure_, x, x), f"predictions with {sizes}", 1e-9)
    if not example.has_density:
        return
    assert_close(shares.flatten(1).sum(-1), torch.ones(ROWS).double(), f"gate weights with {sizes} sum to one", 1e-9)
    with Attempt(f"log densities with {sizes}"):
        total = torch.as_tensor(model.score_samples(example.X, example.y)).sum()
    expected = torch.as_tensor(model.log_likelihood_, dtype=torch.float64)
    assert_close(total, expected, f"log densities with {sizes} sum to the log-likelihood", 1e-8)


def law_estimator_interval(example: EstimatorExample) -> None:
    """The ends of a prediction interval are finite and in order; a part that has none says so when asked for one.

    Parameters
    ----------
    example : EstimatorExample

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import fit_example, law_estimator_interval
    >>> example = fit_example(Mixture((GATES["constant"],), (2,)), d=3, q=1)
    >>> law_estimator_interval(example)
    """
    model, what = example.model, f"a prediction interval with {example.sizes}"

    def ask() -> np.ndarray:
        return model.predict_interval(example.X[:FEW], 0.8)

    if not example.mixture.normalised:
        return assert_refused(ask, TypeError, NO_DENSITY, what)
    with Attempt(what):
        try:
            ends = ask()
        except NotImplementedError as refusal:
            if NO_CDF not in str(refusal):
                raise
            return None
    lower, upper = ends[..., 0], ends[..., 1]
    if not np.isfinite(ends).all() or not (lower <= upper).all():
        raise AssertionError(f"broken: {what} has finite ends in order")


def law_estimator_file(example: EstimatorExample) -> None:
    """A model predicts to the bit what it did before it was saved; one with code of a user's own is refused by name.

    Parameters
    ----------
    example : EstimatorExample

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import fit_example, law_estimator_file
    >>> example = fit_example(Mixture((GATES["constant"],), (2,)), d=3, q=1)
    >>> law_estimator_file(example)
    """
    model, what = example.model, f"saving and loading with {example.sizes}"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.json"
        own = sorted(foreign_parts(example.mixture))
        try:
            save_model(model, path)
        except ValueError as refusal:
            if not any(name in str(refusal) for name in own) or path.exists():
                raise AssertionError(f"broken: {what} raised {type(refusal).__name__}: {refusal}") from refusal
            return
        with Attempt(what):
            again = load_model(path)
            found, expected = again.predict(example.X), model.predict(example.X)
    if not np.array_equal(found, expected) or str(again.summary()) != str(model.summary()):
        raise AssertionError(f"broken: {what} keeps predictions and summary to the bit")


def foreign_parts(mixture: Mixture) -> set[str]:
    """Return the names of the classes of a mixture's parts that `gatewise.core` does not define."""
    return {type(part).__name__ for part in _parts(mixture) if not type(part).__module__.startswith("gatewise.core.")}


def _parts(value: Any) -> Iterator[Any]:
    """Give a part and all parts inside it."""
    if isinstance(value, tuple):
        for one in value:
            yield from _parts(one)
    elif is_dataclass(value):
        yield value
        for field in fields(value):
            yield from _parts(getattr(value, field.name))


def law_estimator_layer(example: EstimatorExample) -> None:
    """The neural layer of a fit gives its predictions; a training step has a finite gradient everywhere, and moves it.

    Single parameters may stand still, as the one slope of a cosine does, of which only the sign matters.

    Parameters
    ----------
    example : EstimatorExample

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import fit_example, law_estimator_layer
    >>> example = fit_example(Mixture((GATES["constant"],), (2,)), d=3, q=1)
    >>> law_estimator_layer(example)
    """
    model, what = example.model, f"the layer of a fit with {example.sizes}"
    x = torch.from_numpy(example.X)
    with Attempt(what):
        layer = from_measure(example.mixture, model.measure_, example.X.shape[1])
        found = layer(x)
    expected = torch.from_numpy(model.predict(example.X)).reshape(ROWS, -1)
    assert_close(found, expected, f"{what} gives its predictions", 1e-9)
    with Attempt(f"a training step of {what}"):
        moved = _trained(copy.deepcopy(layer), WIDER * x)
    before = dict(layer.named_parameters())
    for name in before:
        if name not in moved or not bool(moved[name].isfinite().all()):
            raise AssertionError(f"broken: {name} has a finite gradient in a training step of {what}")
    if all(torch.equal(moved[name], value) for name, value in before.items()):
        raise AssertionError(f"broken: a training step moves {what}")


def _trained(layer: torch.nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Take a step down the squares of all outputs less one, and return the parameters that have a gradient."""
    (layer.train()(x) - 1).square().mean().backward()
    torch.optim.SGD(layer.parameters(), lr=1e-3).step()
    return {name: value.detach() for name, value in layer.named_parameters() if value.grad is not None}


ESTIMATOR_LAWS: tuple[Callable[[EstimatorExample], None], ...] = (
    law_estimator_summary,
    law_estimator_inference,
    law_estimator_prediction,
    law_estimator_interval,
    law_estimator_file,
    law_estimator_layer,
)


def check_estimator_parts(mixture: Mixture) -> None:
    """Check that the parts of a mixture go the whole way of an estimator, at every one of ESTIMATOR_SIZES.

    Parts with jumps, such as top-k, have no certified optimum: the estimator must refuse them in words.

    Parameters
    ----------
    mixture : Mixture
        Its gates, expert and family are those of the estimator.

    Raises
    ------
    AssertionError
        Naming what went wrong, and at which numbers of features and outputs.

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import check_estimator_parts
    >>> check_estimator_parts(Mixture((GATES["constant"],), (2,)))
    """
    if not all(gate.link.smooth for gate in mixture.gates):
        X, y = example_data(replace(mixture, gates=(Gate(),) * mixture.depth), 1, 1)
        model = MixtureOfExpertsRegressor(**example_arguments(mixture))
        return assert_refused(lambda: model.fit(X, y), ValueError, "jumps", "a fit of a gate with jumps")
    for d, q in ESTIMATOR_SIZES:
        example = fit_example(mixture, d, q)
        for law in ESTIMATOR_LAWS:
            law(example)
