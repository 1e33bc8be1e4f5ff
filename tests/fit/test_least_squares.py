"""Least squares: certified answers, other optimisers, degenerate data, and what may not matter."""

import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares as minpack

from gatewise.core.experts import EXPERTS, Activation
from gatewise.core.gates import GATES
from gatewise.core.mixture import Mixture, leaf_weights, regression
from gatewise.fit import Status, least_squares, maximum_likelihood
from gatewise.fit.frames import in_other_units
from gatewise.fit.least_squares import mean_of
from gatewise.fit.model import prepare
from gatewise.fit.problem import GAUSS_NEWTON, SQUARES, evaluate, newton_polish, problem_of
from gatewise.fit.search import variable_projection
from gatewise.fit.spec import FitSpec
from gatewise.objective.rows import make_rows
from gatewise.optim import Result
from gatewise.testing import draw_measure, generator

from ..whole_path import brief_fits  # noqa: F401

TARGETS = Path(__file__).parents[1] / "data" / "targets"


def mixture_of(*names, branching=(2, 2), expert="linear"):
    return Mixture(tuple(GATES[name] for name in names), branching[: len(names)], EXPERTS[expert])


def drawn(mixture, n=300, d=1, q=1, noise=0.1, seed=0):
    g = generator(seed)
    measure = draw_measure(mixture, d, d, q, g)
    x = 4 * torch.rand(d, n, generator=g, dtype=torch.float64) - 2
    y = regression(mixture, measure, x, x) + noise * torch.randn(q, n, generator=g, dtype=torch.float64)
    return x.T.numpy(), y.T.numpy()


def predicted(fit, x):
    inputs = torch.from_numpy(np.ascontiguousarray(x.T))
    return regression(fit.mixture, fit.measure, inputs, inputs).T.numpy()


def test_the_certified_optimum_of_c1_is_reached():
    target = json.loads((TARGETS / "C1_soft_gelu_exact_n2000.json").read_text())
    table = np.loadtxt(TARGETS / "C1_soft_gelu_exact_n2000.csv", delimiter=",", skiprows=1)
    fit = least_squares(mixture_of("softmax", expert="bare-gelu"), make_rows(table[:, :1], table[:, 1:]))
    assert fit.status == Status.converged
    assert fit.objective == pytest.approx(target["best_objective"], rel=1e-8)
    coefficients = sorted(fit.measure.experts["coef"].flatten().tolist(), reverse=True)
    np.testing.assert_allclose(coefficients, target["theta_best"][2:4], rtol=1e-6)


@pytest.mark.parametrize("names", [("sigmoid",), ("softmax",), ("laplace", "sigmoid"), ("sigmoid", "sigmoid")], ids=str)
@pytest.mark.parametrize("expert", ["linear", "gelu", "constant"])
@pytest.mark.usefixtures("brief_fits")  # parameters on their way are parameters
def test_the_sum_of_squares_is_that_of_the_reported_parameters(names, expert):
    x, y = drawn(mixture_of(*names, expert=expert))
    fit = least_squares(mixture_of(*names, expert=expert), make_rows(x, y), starts=2)
    sse = float(((y - predicted(fit, x)) ** 2).sum())
    n = len(y)
    assert fit.sse == pytest.approx(sse, rel=1e-9)
    assert fit.objective == pytest.approx(0.5 * sse / n, rel=1e-9)
    assert fit.log_likelihood == pytest.approx(-0.5 * n * (np.log(2 * np.pi * sse / n) + 1), rel=1e-9)


@pytest.mark.parametrize("expert", ["linear", "constant"])
def test_one_expert_is_ordinary_least_squares(expert):
    x, y = drawn(mixture_of("softmax", branching=(1,)), d=3)
    design = np.column_stack([x, np.ones(len(x))]) if expert == "linear" else np.ones((len(x), 1))
    expected = np.linalg.lstsq(design, y, rcond=None)[0]
    fit = least_squares(mixture_of("softmax", branching=(1,), expert=expert), make_rows(x, y))
    assert fit.measure.experts["intercept"].item() == pytest.approx(expected[-1, 0], abs=1e-10)
    assert fit.df == design.shape[1] + 1
    assert fit.status == Status.converged


def test_a_mixture_with_one_expert_more_is_never_worse(monkeypatch):
    monkeypatch.setattr(import_module("gatewise.fit.ends"), "MOST_ROUNDS", 1)  # nor is it on the way
    mixtures = [mixture_of("sigmoid", branching=(k,), expert="gelu") for k in (1, 2, 3)]
    rows = make_rows(*drawn(mixtures[1], n=100, d=3))
    sse = [least_squares(mixture, rows, starts=4).sse for mixture in mixtures]
    assert sse[0] >= sse[1] >= sse[2] * (1 - 1e-9)


def test_variable_projection_and_levenberg_marquardt_end_at_the_same_optimum():
    mixture = mixture_of("laplace")
    x, y = drawn(mixture, d=2, seed=0)
    fit = least_squares(mixture, make_rows(x, y), starts=6)
    model = prepare(fit.mixture, make_rows(x, y), FitSpec())
    problem = problem_of(model, model.rows, SQUARES)
    parts = variable_projection.split(problem)
    best = model.parameterization.free(in_other_units(fit.mixture, fit.measure, model.framing)[1])[None]
    start = best + 0.1 * torch.randn(1, model.parameterization.size, generator=generator(4), dtype=torch.float64)
    rough = replace(problem, loss=GAUSS_NEWTON)
    ways = [variable_projection.search(p, parts, start, 100, None) for p in (rough, problem)]
    ways += [newton_polish(p, start, 300).x for p in (rough, problem)]
    value, gradient = evaluate(problem, torch.cat(ways), 1)
    assert float(gradient.abs().max()) < 1e-7
    np.testing.assert_allclose(value, evaluate(problem, best, 0)[0].expand(4), rtol=1e-9)


def solved_and_dense(alike):
    """Solve for experts behind random gates, and by numpy; the first two gates of the second case are one."""
    mixture = mixture_of("sigmoid", branching=(3,))
    x, y = drawn(mixture, n=700, d=2, q=2)
    weight = torch.rand(700, generator=generator(1), dtype=torch.float64)
    model = prepare(mean_of(mixture), make_rows(x, y, weight=weight), FitSpec())
    problem = problem_of(model, model.rows, SQUARES)
    parts = variable_projection.split(problem)
    free = torch.randn(2, model.parameterization.size, generator=generator(2), dtype=torch.float64)
    if alike:
        for path in ("gates.0.weight", "gates.0.bias"):
            columns = model.parameterization.columns(path)
            free[:, columns[1].flatten()] = free[:, columns[0].flatten()]
    found = variable_projection.solved(problem, parts, free)
    block = model.rows.read(0, 700)
    design = torch.cat([block.x, torch.ones(1, 700, dtype=torch.float64)])
    share = leaf_weights(model.parameterization.mixture, model.parameterization.measure(free), block.gate_x)
    columns = ((share.unsqueeze(-2) * design).flatten(1, 2) * weight.sqrt()).mT.numpy()
    wanted = [np.linalg.lstsq(each, (block.y * weight.sqrt()).T.numpy(), rcond=None)[0] for each in columns]
    residual = [each @ best - (block.y * weight.sqrt()).T.numpy() for each, best in zip(columns, wanted, strict=True)]
    return problem, parts, found, wanted, [0.5 * float((each**2).sum()) / problem.total for each in residual]


def test_solved_experts_are_those_of_a_dense_solver():
    problem, parts, found, wanted, least = solved_and_dense(alike=False)
    for each, best in zip(found, wanted, strict=True):
        ours = each[parts.linear].movedim(1, -1).flatten(0, 1)  # leaves and columns, outputs
        np.testing.assert_allclose(ours, best, rtol=1e-10, atol=1e-10)
    value, gradient = evaluate(problem, found, 1)
    np.testing.assert_allclose(value, least, rtol=1e-12)
    assert float(gradient[:, parts.linear.flatten()].abs().max()) < 1e-12


def test_experts_behind_equal_gates_are_solved_for_as_well():
    problem, parts, found, _, least = solved_and_dense(alike=True)
    assert bool(found.isfinite().all())
    np.testing.assert_allclose(evaluate(problem, found, 0)[0], least, rtol=1e-9)
    assert float(found[:, parts.linear.flatten()].abs().max()) < 1e6


@pytest.mark.parametrize("loss", [SQUARES, GAUSS_NEWTON], ids=["exact", "Gauss-Newton"])
def test_the_reduced_objective_has_the_derivatives_of_its_own_values(loss, monkeypatch):
    mixture = mean_of(mixture_of("laplace"))
    x, y = drawn(mixture, d=2, noise=0.0 if loss is GAUSS_NEWTON else 0.5)
    model = prepare(mixture, make_rows(x, y), FitSpec())
    problem = problem_of(model, model.rows, loss)
    parts = variable_projection.split(problem)
    caught = {}

    def caught_newton(fun, x0, *_args, **_options):
        caught["fun"] = fun
        return Result(x0, *[torch.zeros(1)] * 5)

    monkeypatch.setattr(variable_projection, "newton", caught_newton)
    start = torch.randn(1, model.parameterization.size, generator=generator(3), dtype=torch.float64)
    variable_projection.search(problem, parts, start, 1, None)
    at, step = start[:, parts.rest], 1e-5 * torch.eye(len(parts.rest), dtype=torch.float64)
    members = torch.zeros(len(step), dtype=torch.long)
    (_, gradient, curvature), (up, *rising), (down, *falling) = (
        caught["fun"](point, members, 2) for point in (at, at + step, at - step)
    )
    np.testing.assert_allclose(gradient[0], (up - down) / 2e-5, rtol=1e-5, atol=1e-8)
    if loss is SQUARES:
        np.testing.assert_allclose(curvature[0], (rising[0] - falling[0]) / 2e-5, rtol=1e-4, atol=1e-7)


def test_frequency_weights_repeat_rows_and_zero_removes_them():
    mixture = mixture_of("sigmoid")
    noise = generator(7)
    x = 2.0 * torch.randn(240, 3, generator=noise, dtype=torch.float64)
    gate, up, down = (x @ torch.tensor([[1.5, 2.0, -1.0], [0.5, -1.0, 0.5], [-0.5, 0.0, 1.0]], dtype=torch.float64)).T
    y = torch.sigmoid(gate) * (up + 1.0) + torch.sigmoid(0.5 - gate) * (1.0 + down)
    y = y[:, None] + 0.3 * torch.randn(240, 1, generator=noise, dtype=torch.float64)
    weight = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64).repeat(80)
    index = np.repeat(np.arange(240), weight.numpy().astype(int))
    start = [least_squares(mixture, make_rows(x, y), starts=8).measure]
    one = least_squares(mixture, make_rows(x, y, weight=weight), starts=start)
    other = least_squares(mixture, make_rows(x[index], y[index]), starts=start)
    assert one.status == other.status == "converged"
    assert one.sse == pytest.approx(other.sse, rel=1e-9)
    assert one.n == other.n == 240


def test_units_of_inputs_and_response_do_not_matter():
    mixture = mixture_of("softmax")
    x, y = drawn(mixture, d=2)
    one = least_squares(mixture, make_rows(x, y), starts=5)
    other = least_squares(mixture, make_rows(1e6 * x + 1e7, 1e-6 * y - 3), starts=5)
    np.testing.assert_allclose(1e6 * (predicted(other, 1e6 * x + 1e7) + 3), predicted(one, x), atol=1e-6)


def test_several_outputs_count_alike():
    mixture = mixture_of("laplace")
    x, y = drawn(mixture, d=2, q=2, seed=4)
    one = least_squares(mixture, make_rows(x, y), starts=10)
    turned = least_squares(mixture, make_rows(x, y[:, ::-1].copy()), starts=10)
    assert one.status == Status.converged
    assert one.sse == pytest.approx(((y - predicted(one, x)) ** 2).sum(), rel=1e-9)
    assert turned.sse == pytest.approx(one.sse, rel=1e-9)


@pytest.mark.parametrize("noise", [1e-2, 1e-6, *(pytest.param(size, marks=pytest.mark.slow) for size in (1.0, 1e-4))])
def test_noise_of_any_size_is_certified(noise):
    mixture = mixture_of("softmax", expert="bare-tanh")
    x, y = drawn(mixture, n=150, d=3, noise=noise, seed=5)
    fit = least_squares(mixture, make_rows(x, y), starts=6)
    assert fit.certificate.passed
    assert np.sqrt(fit.sse / len(y)) < 1.2 * noise


def test_data_without_noise_are_fitted_exactly():
    mixture = mixture_of("softmax", expert="bare-tanh")
    x, y = drawn(mixture, noise=0.0, seed=5)
    fit = least_squares(mixture, make_rows(x, y))
    assert fit.sse < 1e-18 * ((y - y.mean()) ** 2).sum()


def test_a_bound_that_holds_is_named():
    mixture = mixture_of("sigmoid", expert="bare-gelu")
    x, y = drawn(mixture)
    fit = least_squares(mixture, make_rows(x, y), FitSpec(bounds={"experts.coef": (-0.2, 0.2)}), starts=8)
    assert Status.at_bound in fit.flags
    assert all(name.startswith("experts.coef") for name in fit.certificate.active)
    assert float(fit.measure.experts["coef"].abs().max()) <= 0.2 + 1e-12


def test_an_optimum_of_relu_experts_lies_on_its_hinge_and_passes_the_test_there():
    rng = np.random.default_rng([15, 3])
    x = rng.uniform(-2, 2, 400)

    def mean(t):
        gate = 1 / (1 + np.exp(-np.clip(t[0] * x + t[1], -700, 700)))
        return gate * np.maximum(t[2] * x + t[4], 0) + (1 - gate) * np.maximum(t[3] * x + t[5], 0)

    y = mean(rng.normal(0, 1.5, 6)) + 0.2 * rng.normal(size=400)
    fit = least_squares(mixture_of("softmax", expert="bare-relu"), make_rows(x[:, None], y[:, None]))
    assert fit.status == Status.at_kink
    assert fit.certificate.passed
    (name,) = fit.certificate.kinks
    leaf = int(name.partition("[")[2][0])
    inside = fit.measure.experts["coef"][leaf].item() * x + fit.measure.experts["intercept"][leaf].item()
    assert np.abs(inside).min() < 1e-9  # a row lies on the hinge, where the others pull it from both sides
    best = min(
        minpack(lambda t: mean(t) - y, rng.normal(0, 1.5, 6), method="lm", max_nfev=2000).cost for _ in range(15)
    )
    assert fit.objective <= best / 400 * (1 + 1e-9)


def test_gates_with_jumps_are_refused_and_the_sigmoid_is_not():
    x, y = drawn(mixture_of("sigmoid"))
    rows = make_rows(x, y)
    with pytest.raises(ValueError, match="TopK"):
        least_squares(mixture_of("top-k"), rows)
    with pytest.raises(ValueError, match="no density"):
        maximum_likelihood(mixture_of("sigmoid"), rows)
    assert least_squares(mixture_of("sigmoid"), rows, starts=2).sse > 0


def test_an_expert_without_kink_has_no_hinge():
    assert Activation("gelu").relu_kink({}, torch.zeros(1, 1)) is None


def test_time_that_is_up_gives_the_best_so_far():
    x, y = drawn(mixture_of("sigmoid", expert="gelu"), n=2000, d=3)
    fit = least_squares(mixture_of("sigmoid", expert="gelu"), make_rows(x, y), max_time=1e-3)
    assert np.isfinite(fit.sse)


def test_equal_seeds_give_equal_fits():
    x, y = drawn(mixture_of("sigmoid", expert="bare-gelu"), n=60, d=3, noise=0.5)
    fits = [
        least_squares(mixture_of("sigmoid", expert="bare-gelu"), make_rows(x, y), starts=4, seed=7) for _ in range(2)
    ]
    assert fits[0].objective == fits[1].objective


def test_the_size_of_weights_changes_no_status_and_negative_ones_are_refused():
    mixture = mixture_of("sigmoid", expert="bare-gelu")
    x, y = drawn(mixture)
    start = [least_squares(mixture, make_rows(x, y), starts=2).measure]
    fits = [least_squares(mixture, make_rows(x, y, weight=w * torch.ones(300)), starts=start) for w in (1e-5, 1.0, 1e5)]
    assert len({fit.status for fit in fits}) == 1
    for weight in (-torch.ones(300), torch.ones(299), torch.full((300,), torch.nan)):
        with pytest.raises(ValueError, match="pass 300 finite numbers from 0"):
            make_rows(x, y, weight=weight)


@pytest.mark.parametrize("estimate", [maximum_likelihood, least_squares])
def test_the_scale_of_a_hidden_unit_is_a_convention_on_a_kink_too(estimate):
    """Two inputs, so that the equation of the kink ties two slopes to the threshold."""
    rng = np.random.default_rng(7)
    x = rng.integers(-2, 3, size=(60, 2)).astype(float)
    y = np.maximum(0, 2 * x[:, 0] + x[:, 1] - 0.02) + 1 + 0.3 * rng.normal(size=60)
    fit = estimate(Mixture((GATES["constant"],), (1,), EXPERTS["relu"]), make_rows(x, y[:, None]), starts=2)
    assert fit.status == Status.at_kink
    assert fit.certificate.null == ()
    assert fit.certificate.rank == 4 + (estimate is maximum_likelihood)
    assert float(fit.measure.experts["output"].abs()) == pytest.approx(1.0, abs=1e-12)
