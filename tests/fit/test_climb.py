"""Polishing goes on along flat directions until nothing is left to gain, or the fit says that it still climbs."""

import time

import numpy as np
import pytest
import torch
from benchmarks.leftover import GAIN, leftover

from gatewise import BoundWarning, MixtureOfExpertsRegressor, UnidentifiedWarning
from gatewise.core.families import FAMILIES
from gatewise.core.gates import GATES
from gatewise.core.mixture import Mixture
from gatewise.estimators.warnings import alert
from gatewise.fit.climb import _across, climb
from gatewise.fit.flat import explore, predictor_moves
from gatewise.fit.maximum_likelihood import maximum_likelihood
from gatewise.fit.model import prepare
from gatewise.fit.problem import evaluate, problem_of
from gatewise.fit.spec import FitSpec
from gatewise.fit.status import Status
from gatewise.testing import fitting_problem
from gatewise.testing.fits.laws import rows_of

NARROW = 1e-7


@pytest.fixture(scope="module")
def point():
    """Model, problem and optimum of a mixture of two levels."""
    example = fitting_problem(Mixture((GATES["softmax"], GATES["laplace"]), (2, 2)), n=400, seed=3)
    rows = rows_of(example)
    fit = maximum_likelihood(example.mixture, rows, starts=2)
    model = prepare(example.mixture, rows, fit.spec)
    problem = problem_of(model, model.rows)
    return fit, problem, model.parameterization.free(model.working(fit.measure))


@pytest.mark.parametrize("case", [("Poisson", 10), ("binomial", 4)], ids=str)
def test_another_optimiser_gains_nothing_that_the_fit_does_not_announce(case):
    found = leftover(*case)
    assert found.status == "separated"
    assert found.gain < GAIN or found.climbing


def test_a_climb_ends_at_the_optimum_from_beside_it(point):
    _, problem, free = point
    beside = free + 1e-3 * torch.randn(len(free), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    up = climb(problem, beside, None, None)
    left = problem.total * float(evaluate(problem, up.point[None], 0)[0] - evaluate(problem, free[None], 0)[0])
    assert left < GAIN
    assert up.gain <= GAIN


def test_without_time_a_climb_says_that_it_did_not_look(point):
    _, problem, free = point
    assert climb(problem, free + 1e-3, None, time.monotonic() - 1.0).gain == float("inf")


def test_pinned_coordinates_stay(point):
    _, problem, free = point
    pinned = torch.arange(len(free)) < 2
    up = climb(problem, free + 1e-2, pinned, None)
    assert torch.equal(up.point[:2], free[:2] + 1e-2)
    assert not torch.equal(up.point[2:], free[2:] + 1e-2)


@pytest.mark.parametrize("gate", ["softmax", "scaled-laplace", "quadratic", "cosine", "tanh-dense-to-sparse"])
@pytest.mark.parametrize("expert", ["linear", "tanh"])
def test_rates_of_predictors_are_their_derivatives(gate, expert):
    from gatewise.core.experts import EXPERTS

    mixture = Mixture((GATES["softmax"], GATES[gate]), (2, 3), expert=EXPERTS[expert])
    example = fitting_problem(mixture, columns=2, n=40)
    model = prepare(mixture, rows_of(example), FitSpec())
    problem = problem_of(model, model.rows)
    free = model.parameterization.free(model.working(example.measure))
    directions = torch.randn(len(free), 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ((_, parts),) = predictor_moves(problem, free, directions)
    for k in range(3):
        ahead, behind = (
            next(predictor_moves(problem, free + step * directions[:, k], directions[:, :1]))[1]
            for step in (NARROW, -NARROW)
        )
        for part, up, down in zip(parts, ahead, behind, strict=True):
            slope = (up.values - down.values) / (2 * NARROW)
            torch.testing.assert_close(part.rates[..., k], slope, rtol=1e-5, atol=1e-5)


def test_many_directions_are_looked_at_in_parts(point, monkeypatch):
    _, problem, free = point
    whole = explore(problem, free, None, None).weak
    monkeypatch.setattr("gatewise.fit.flat.members_at_once", lambda each: 2)
    torch.testing.assert_close(explore(problem, free, None, None).weak.rates, whole.rates)


def test_without_time_directions_are_not_classified(point, monkeypatch):
    _, problem, free = point
    monkeypatch.setattr("gatewise.fit.flat.members_at_once", lambda each: 2)
    monkeypatch.setattr("gatewise.fit.flat.hessian_seconds", lambda problem: -60.0)  # enough for the Hessian
    assert not explore(problem, free, None, time.monotonic() - 1.0).weak.complete


def test_without_time_for_a_hessian_a_point_is_not_explored(point):
    _, problem, free = point
    assert explore(problem, free, None, time.monotonic()) is None


@pytest.fixture
def climbing(point):
    """A fit that is unidentified and still climbs."""
    certificate = point[0].certificate._replace(gain=0.67, passed=False, null=("gates.0.bias[0]",))
    flags = (Status.unidentified, Status.stalled)
    starts = point[0].starts._replace(hits=6)
    return point[0]._replace(certificate=certificate, status=flags[0], flags=flags, starts=starts)


def test_a_fit_that_still_climbs_says_so_everywhere(climbing):
    assert "unidentified and still climbing" in repr(climbing)
    with pytest.warns(UnidentifiedWarning, match=r"also stalled \(still climbing: .* by 0.67") as heard:
        alert(climbing, str, [], [], 1)
    for text in (climbing.text(), str(heard[0].message)):
        assert "also stalled (still climbing" in text
        assert "predictions are unaffected" not in text


def test_a_fit_that_ended_says_that_predictions_are_unaffected(climbing):
    ended = climbing._replace(certificate=climbing.certificate._replace(gain=0.0), flags=climbing.flags[:1])
    assert "predictions are unaffected" in ended.text()
    assert "climbing" not in repr(ended) + ended.text()


@pytest.mark.parametrize(
    ("evidence", "words"),
    [
        ({"classified": False}, "no time to tell which flat directions"),
        ({"gain": float("inf")}, "no time to see whether"),
        ({"gain": 1e-9}, "by less than 1e-6"),
    ],
)
def test_why_a_search_stopped_is_said(climbing, evidence, words):
    assert words in climbing._replace(certificate=climbing.certificate._replace(**evidence)).text()


def test_the_summary_says_what_stands_beside_the_status():
    example = fitting_problem(Mixture((GATES["softmax"],), (2,)), n=100, seed=1)
    model = MixtureOfExpertsRegressor(2, n_init=3, random_state=0).fit(example.x.T.numpy(), example.y[0].numpy())
    certificate = model.fit_.certificate._replace(gain=0.5, passed=False)
    flags = (Status.unidentified, Status.stalled)
    model.fit_ = model.fit_._replace(certificate=certificate, status=flags[0], flags=flags)
    assert "also stalled (still climbing" in " ".join(str(model.summary()).split())


@pytest.mark.parametrize(
    ("gains", "crawls"),
    [
        ([2e-3, 2.6e-3, 2.2e-3, 2.3e-3], True),  # thousands of rounds like these would follow
        ([2e-3, 2e-3, 2e-3], False),  # too few to tell
        ([1e-3, 1e-4, 1e-5, 1e-6], False),  # about to end
        ([1e-3, 2e-3, 4e-3, 8e-3], False),  # faster and faster
        ([4e-7, 0.5, 3e-5, 2e-5], False),  # a valley was crossed a while ago
        ([2.0, 1.9, 1.8, 1.7], False),  # worth going on
    ],
)
def test_a_climb_that_gains_little_and_hardly_less_is_given_up(point, monkeypatch, gains, crawls):
    _, problem, free = point
    left = iter(gains)
    monkeypatch.setattr("gatewise.fit.climb._further", lambda _problem, start, *_: start)
    monkeypatch.setattr("gatewise.fit.climb.gained", lambda *_: next(left))
    away = problem.parameterization.inside(free + 0.05)  # an end at which conditions of optimality do not hold
    if crawls:
        assert climb(problem, away, None, None).gain == gains[-1]
    else:
        with pytest.raises(StopIteration):  # it goes on
            climb(problem, away, None, None)


@pytest.mark.filterwarnings("ignore::gatewise.StartsDisagreeWarning")  # of three starts
def test_a_valley_that_bends_is_crossed(monkeypatch):
    """A sigmoid that hardly varies and its slopes change together along a curve: Newton's steps there are short."""
    rng = np.random.default_rng(0)
    x, (first, second), w = rng.uniform(-2, 2, (1000, 3)), rng.normal(size=(2, 3)), rng.normal(size=3)
    y = (
        0.57 * np.maximum(x @ first, 0)
        + np.maximum(x @ second, 0) / (1 + np.exp(x @ w))
        + 0.003 * rng.normal(size=1000)
    )
    limits = {"gates.0.weight": (-5, 5), "gates.0.bias": (-3, 3), "experts.coef": (-5, 5)}
    model = MixtureOfExpertsRegressor(
        3, gate="sigmoid", expert="relu-no-bias", method="ls", n_init=3, random_state=0, bounds=limits
    )
    with pytest.warns(BoundWarning):
        crossed = model.fit(x, y).fit_
    assert crossed.certificate.passed
    monkeypatch.setattr("gatewise.fit.climb._across", lambda *_: None)
    with pytest.warns(BoundWarning):
        assert crossed.log_likelihood > model.fit(x, y).fit_.log_likelihood - GAIN


def test_nothing_is_crossed_from_an_optimum_nor_where_rows_are_too_many(point, monkeypatch):
    _, problem, free = point
    directions = torch.randn(len(free), 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    assert _across(problem, free, directions, None, None) is None
    beside = free + 0.2
    lower = _across(problem, beside, directions, None, None)
    assert float(evaluate(problem, lower[None], 0)[0]) < float(evaluate(problem, beside[None], 0)[0])
    pinned = torch.arange(len(free)) < 2
    held = _across(problem, beside, directions * ~pinned[:, None], pinned, None)
    assert torch.equal(held[:2], beside[:2])
    monkeypatch.setattr("gatewise.fit.climb.WIDE", 100.0 * problem.rows.n)
    assert _across(problem, beside, directions, None, None) is None


def test_a_climb_never_leaves_finite_means_for_infinite_ones(monkeypatch):
    """An expert that weighs nothing somewhere may grow there without limit, and predictions with it."""
    example = fitting_problem(Mixture((GATES["softmax"],), (2,), family=FAMILIES["poisson"]), d=3, gate_d=3, n=200)
    rows = rows_of(example)
    model = prepare(example.mixture, rows, FitSpec())
    problem = problem_of(model, model.rows)
    start = model.parameterization.free(model.working(example.measure))
    step = torch.tensor([800.0 if "intercept" in name else 0.0 for name in model.parameterization.names]).double()
    monkeypatch.setattr("gatewise.fit.climb._further", lambda _problem, free, *_: free + step)
    monkeypatch.setattr("gatewise.fit.climb.gained", lambda *_: 1.0)
    up = climb(problem, start, None, None)
    torch.testing.assert_close(up.point, start, rtol=0, atol=0)
    assert up.gain == 1.0
