"""Which ends of least squares are polished on: those with a mean of their own that may still reach the best."""

import torch

from gatewise.core.gates import GATES
from gatewise.core.mixture import Mixture
from gatewise.fit import ends
from gatewise.fit.ends import _keeping_up, _polish, _unlike
from gatewise.fit.least_squares import mean_of
from gatewise.fit.model import prepare
from gatewise.fit.problem import LIKELIHOOD, SQUARES, evaluate, problem_of
from gatewise.fit.spec import FitSpec
from gatewise.objective.rows import make_rows
from gatewise.testing import generator


def test_ends_with_one_mean_are_one():
    g = generator(0)
    x, y = torch.randn(80, 2, generator=g, dtype=torch.float64), torch.randn(80, 1, generator=g, dtype=torch.float64)
    model = prepare(mean_of(Mixture((GATES["softmax"],), (2,))), make_rows(x, y), FitSpec())
    problem = problem_of(model, model.rows, SQUARES)
    point = torch.randn(model.parameterization.size, generator=g, dtype=torch.float64)
    measure = model.parameterization.measure(point)
    swapped = model.parameterization.free(measure.map(lambda value: value.flip(0)))
    near = point + 1e-4 * torch.randn(len(point), generator=g, dtype=torch.float64)
    far = point + 1.0
    points = torch.stack([point, far, swapped, near])
    value = evaluate(problem, points, 0)[0]
    assert torch.allclose(value[0], value[2])
    assert not torch.equal(point, swapped)
    assert _unlike(problem, points, torch.tensor([3.0, 1.0, 2.0, 4.0])).tolist() == [1, 2]
    assert _unlike(problem, points, torch.tensor([2.0, 4.0, 3.0, 1.0])).tolist() == [1, 3]


def test_an_end_keeps_up_while_its_falls_may_take_it_to_the_best():
    value = torch.tensor([1.0, 1.2, 1.2, 5.0])
    last = torch.tensor([1.0, 1.3, 1.21, 5.0])
    assert _keeping_up(value, last, 0, 30).all()  # nothing is known yet
    assert _keeping_up(value, last, 1, 30).tolist() == [True, True, False, False]
    assert _keeping_up(value, last, 8, 30).tolist() == [True, True, True, False]  # a valley is long
    assert _keeping_up(value, last, 8, 9).tolist() == [True, False, False, False]  # one round is left


def test_where_rows_are_many_the_best_end_is_polished_on_and_no_other(monkeypatch):
    g = generator(1)
    x, y = torch.randn(200, 3, generator=g, dtype=torch.float64), torch.randn(200, 1, generator=g, dtype=torch.float64)
    model = prepare(Mixture((GATES["softmax"],), (3,)), make_rows(x, y), FitSpec())
    problem = problem_of(model, model.rows, LIKELIHOOD)
    points = 0.3 * torch.randn((4, model.parameterization.size), generator=g, dtype=torch.float64)
    monkeypatch.setattr(ends, "ROUND", 2)
    monkeypatch.setattr(ends, "BUDGET", 1.0)
    monkeypatch.setattr(ends, "FOR_THE_BEST", 1)
    short = _polish(problem, points, None, False)
    monkeypatch.setattr(ends, "FOR_THE_BEST", 10)
    long = _polish(problem, points, None, False)
    best = int(short.value.argmin())
    fallen = short.value - long.value
    assert float(fallen[best]) > 1e-3
    assert (fallen[torch.arange(4) != best] == 0).all()
    assert (short.n_iter, long.n_iter) == (2, 20)
