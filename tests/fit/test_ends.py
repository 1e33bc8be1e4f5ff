"""Which ends of least squares are polished on: those with a mean of their own that may still reach the best."""

import torch

from gatewise.core.gates import GATES
from gatewise.core.mixture import Mixture
from gatewise.fit.ends import _keeping_up, _unlike
from gatewise.fit.least_squares import mean_of
from gatewise.fit.model import prepare
from gatewise.fit.problem import SQUARES, evaluate, problem_of
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
