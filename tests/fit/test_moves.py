"""Moves from an optimum: of every kind, within the bounds, and nothing is touched that a move leaves alone."""

import numpy as np
import pytest
import torch

from gatewise.core.families import FAMILIES
from gatewise.core.gates import GATES
from gatewise.core.mixture import Mixture
from gatewise.fit.clock import Clock
from gatewise.fit.maximum_likelihood import NEWTON
from gatewise.fit.model import prepare
from gatewise.fit.pipeline import begin
from gatewise.fit.problem import LIKELIHOOD, problem_of
from gatewise.fit.rounds import improved, resample
from gatewise.fit.search.moves import moves
from gatewise.fit.search.resampled import resampled
from gatewise.fit.search.starts import draw_starts
from gatewise.fit.spec import FitSpec
from gatewise.fit.task import Points, drawn_points
from gatewise.objective.rows import make_rows


def gated(*names, branching, **parts):
    return Mixture(tuple(GATES[name] for name in names), branching, **parts)


CASES = {
    "flat": (gated("softmax", branching=(3,)), 3, 1),
    "two levels": (gated("laplace", "softmax", branching=(2, 2)), 4, 2),
    "counts": (gated("quadratic", branching=(2,), family=FAMILIES["poisson"]), 6, 1),
    "Student-t": (gated("dense-to-sparse", branching=(3,), family=FAMILIES["student-t"]), 3, 2),
}


def searched(name):
    """A problem of 150 rows and two points (2, P) of it."""
    mixture, d, q = CASES[name]
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(150, d)), rng.poisson(3.0, size=(150, q)).astype(float)
    model = prepare(mixture, make_rows(x, y), FitSpec())
    points = draw_starts(model.parameterization, model.rows, 2, np.random.default_rng(1))[0]
    return problem_of(model, model.rows, LIKELIHOOD), points


def slopes(problem, point):
    mixture = problem.parameterization.mixture
    (path,) = mixture.paths("experts", "slope")
    return problem.parameterization.measure(point).paths()[path].reshape(mixture.n_leaves, -1)


@pytest.mark.parametrize("name", CASES)
def test_moves_of_every_kind_change_only_what_they_say(name):
    problem, points = searched(name)
    parameterization, mixture = problem.parameterization, problem.parameterization.mixture
    free, kinds = moves(problem, points[:1], 8, np.random.default_rng(2))
    assert set(kinds) == {"relocated", "split", "gates anew"} | ({"swapped"} if mixture.depth > 1 else set())
    assert bool(free.isfinite().all())
    assert bool(((free >= parameterization.lower) & (free <= parameterization.upper)).all())
    most = {"relocated": 1, "split": 2, "swapped": 2, "gates anew": 0}
    for point, kind in zip(free, kinds, strict=True):
        changed = int(((slopes(problem, point) - slopes(problem, points[0])).abs() > 1e-9).any(-1).sum())
        assert changed <= most[kind], kind
        assert changed > 0 or kind == "gates anew", kind
    assert not torch.equal(free[0], free[len(set(kinds))])  # another draw is another move


@pytest.mark.parametrize("name", CASES)
def test_a_crossed_point_has_experts_of_two_optima(name):
    problem, points = searched(name)
    free, kinds = moves(problem, points, 40, np.random.default_rng(2))
    known = torch.cat([slopes(problem, point) for point in points])
    parents = set()
    for point, kind in zip(free, kinds, strict=True):
        if kind == "crossed":
            near = ((slopes(problem, point)[:, None] - known).abs() < 1e-9).all(-1)
            assert bool(near.any(-1).all())
            owners = near.to(torch.int8).argmax(-1) >= len(known) // 2
            assert bool(owners.any())
            assert not bool(owners.all())
            parents.add(tuple(owners.tolist()))
    assert len(parents) > 1


def rows_with(**parts):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 4))
    return make_rows(x, x @ [[1.0], [2.0], [3.0], [4.0]], **parts)


def problem_on(rows):
    model = prepare(gated("softmax", branching=(2,)), rows, FitSpec())
    return problem_of(model, model.rows, LIKELIHOOD)


def test_resampled_rows_are_rows_of_the_data_and_each_member_has_its_own():
    problem = problem_on(rows_with(offset=np.arange(60.0)[:, None]))
    found = resampled(problem, 5, np.random.default_rng(1)).rows
    x, y, offset = (part.read(0, 60) for part in (problem.rows.x, problem.rows.y, problem.rows.offset))
    data = torch.cat([x, y, offset])
    drawn = torch.cat([found.x.read(0, 60), found.y.read(0, 60), found.offset.read(0, 60)], 1)
    assert found.total == 60
    same = (drawn[..., None] == data[None, :, None, :]).all(1)
    assert bool(same.any(-1).all())
    kept = same.any(1).to(torch.float64).mean(-1)  # a bootstrap sample has 1 - 1/e of the rows
    assert bool(((kept > 0.45) & (kept < 0.8)).all())
    assert len({tuple(row) for row in same.any(1).tolist()}) == 5


def test_resampled_rows_follow_the_weights():
    weight = torch.zeros(60, dtype=torch.float64)
    weight[:3] = torch.tensor([1.0, 1.0, 8.0])
    problem = problem_on(rows_with(weight=weight))
    found = resampled(problem, 20, np.random.default_rng(1)).rows
    x = problem.rows.x.read(0, 60)
    count = [(found.x.read(0, 60)[:, 0] == x[0, i]).sum(-1).to(torch.float64).mean() for i in range(4)]
    assert found.weight is None
    assert count[3] == 0
    assert count[0] + count[1] + count[2] == 60
    assert 45 < count[2] < 51


def test_units_of_several_rows_are_resampled_whole():
    problem = problem_on(rows_with(ends=torch.tensor([10, 12, 30, 59, 60])))
    found = resampled(problem, 20, np.random.default_rng(1)).rows
    assert found.ends is problem.rows.ends
    assert found.weight.sum() == 5
    assert found.weight.min() == 0


def test_first_steps_on_resampled_rows_lead_from_a_local_optimum_to_better_ones():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(150, 3))
    planes = rng.normal(size=(3, 3))
    y = (x @ planes.T)[np.arange(150), rng.integers(3, size=150)] + 0.5 * rng.normal(size=150)
    mixture = gated("laplace", branching=(3,))
    task = begin(mixture, make_rows(x, y[:, None]), FitSpec(), NEWTON, 12, 0, Clock())
    ends = improved(task, NEWTON, drawn_points(task.model, task.sketch, 12, task.drawing, task.clock)).best(6)
    poor = ends.points[-1:]
    left = improved(task, NEWTON, resample(task, NEWTON, poor, 12))
    stayed = improved(task, NEWTON, Points(poor, ("the optimum itself",)))
    nats = task.part.total * (stayed.value[0] - left.value)
    assert float(task.part.total * (ends.value[-1] - stayed.value[0])) < 0.05
    assert int((nats > 0.5).sum()) >= 3
    assert set(left.kinds) == {"resampled"}
