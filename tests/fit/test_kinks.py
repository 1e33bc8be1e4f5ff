"""Optima on kinks of distance gates: the kinks nearby, of one center and of two, are tried before one is certified."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from benchmarks.kinks import drawn

from gatewise.core.experts import EXPERTS
from gatewise.core.gates import GATES
from gatewise.core.mixture import Mixture
from gatewise.fit import settle as settling
from gatewise.fit.maximum_likelihood import maximum_likelihood
from gatewise.fit.model import prepare
from gatewise.fit.problem import evaluate, problem_of
from gatewise.fit.search import kinks, relu_kinks
from gatewise.fit.search.kinks import find_centers, nearest_points, refine_at_kinks
from gatewise.fit.spec import FitSpec
from gatewise.objective.rows import make_rows

LAPLACE = GATES["laplace"]


def at_optimum(mixture, rows, **options):
    """Return the problem and the optimum of a fit."""
    fit = maximum_likelihood(mixture, rows, **options)
    model = prepare(mixture, rows, fit.spec)
    return problem_of(model, model.rows), model.parameterization.free(model.working(fit.measure)), fit


def test_the_best_kink_that_is_known_is_reached():
    x, y = drawn(6)
    rows = make_rows(torch.from_numpy(x), torch.from_numpy(y)[:, None])
    _, _, fit = at_optimum(Mixture((LAPLACE, LAPLACE), (2, 2)), rows, starts=4)
    assert str(fit.status) == "at-kink"
    assert fit.log_likelihood > -3815.0874 - 1e-3  # a search of an earlier version ended .476 lower


@pytest.fixture(scope="module")
def centers():
    """Return a problem with Laplace gates, its optimum and its fit."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=(60, 1))
    y = np.where(np.abs(x[:, 0] - 0.4) < np.abs(x[:, 0] + 0.5), 2 * x[:, 0], 1 - x[:, 0]) + 0.5 * rng.normal(size=60)
    rows = make_rows(torch.from_numpy(x), torch.from_numpy(y)[:, None])
    return at_optimum(Mixture((LAPLACE,), (3,)), rows, starts=6)


def test_centers_stay_within_their_bounds(centers):
    problem, free, _ = centers
    center = find_centers(problem)[0].columns
    parameterization = problem.parameterization
    upper = parameterization.upper.clone()
    upper[center] = free[center] - 0.3
    bounded = replace(problem, parameterization=replace(parameterization, upper=upper))
    settled, _, _ = refine_at_kinks(bounded, bounded.parameterization.inside(free), None)
    assert bool((settled <= upper).all())


def test_a_box_without_a_data_point_is_searched():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(200, 3)) + [5.0, -8.0, 1.0]
    y = np.where(x[:, 0] > 5 + rng.normal(size=200), x[:, 0], -x[:, 2]) + 0.5 * rng.normal(size=200)
    rows = make_rows(torch.from_numpy(x), torch.from_numpy(y)[:, None])
    spec = FitSpec(bounds={"gates.0.center": (0.0, 12.0)})  # the second input is negative in every row
    fit = maximum_likelihood(Mixture((LAPLACE,), (2,)), rows, spec, starts=2)
    centre = fit.measure.paths()["gates.0.center"]
    assert bool((centre >= 0).all())
    assert bool((centre <= 12).all())


def test_what_other_parameters_do_is_foretold(centers):
    problem, free, _ = centers
    columns = find_centers(problem)[0].columns
    sites = nearest_points(problem, free[columns], 20)
    naive = free.repeat(len(sites), 1)
    naive[:, columns] = sites
    foretold = kinks._foretold(problem, free, columns, sites, [])
    assert torch.equal(foretold[:, columns], sites)
    far = (sites - free[columns]).abs().amax(-1) > 0.02
    lower = evaluate(problem, foretold, 0)[0] < evaluate(problem, naive, 0)[0]
    assert float(lower[far].double().mean()) > 0.8


def test_a_kink_of_relu_is_named_by_its_place_in_the_tree():
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(40, 3)), rng.normal(size=(40, 2))
    gates = (GATES["relu-dense-to-sparse"], GATES["softmax"])
    mixture, rows = Mixture(gates, (2, 3), EXPERTS["bare-relu"]), make_rows(torch.from_numpy(x), torch.from_numpy(y))
    model = prepare(mixture, rows, FitSpec())
    problem, parameterization = problem_of(model, model.rows), model.parameterization
    point = 1.0 + torch.rand(parameterization.size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert not relu_kinks._near(problem, point).names
    for name, path, at in (
        ("experts.coef[1,2,1]", "experts.{}", (1, 2, 1)), ("gates.0.weight[0]", "gates.0.{}", (0,)),
    ):  # fmt: skip
        here = point.clone()
        slopes = parameterization.columns(path.format("coef" if name[0] == "e" else "weight"))[at]
        here[slopes] = 0.0
        shift = parameterization.columns(path.format("intercept"))[at] if name[0] == "e" else None
        if shift is not None:
            here[shift] = 0.0  # the map is zero at every row
        assert set(relu_kinks._near(problem, here).names) == {name}


@pytest.mark.parametrize(
    ("gates", "branching", "d", "outputs", "chosen"),
    [
        (("laplace",), (3,), 1, 1, 0),
        (("laplace", "euclidean-sigmoid"), (2, 2), 3, 2, -1),
        (("laplace",), (3,), 4, 1, 1),
    ],
)
def test_a_center_beside_a_data_point_by_rounding_is_put_on_it(gates, branching, d, outputs, chosen):
    rng = np.random.default_rng(d)
    rows = make_rows(torch.from_numpy(rng.normal(size=(60, d))), torch.from_numpy(rng.normal(size=(60, outputs))))
    model = prepare(Mixture(tuple(GATES[name] for name in gates), branching), rows, FitSpec())
    problem = problem_of(model, model.rows)
    free = problem.parameterization.inside(0.3 * torch.from_numpy(rng.normal(size=problem.parameterization.size)))
    centers = find_centers(problem)
    k = chosen % len(centers)
    columns = centers[k].columns
    site = nearest_points(problem, free[columns], 1)[0]
    beside, away = free.clone(), free.clone()
    beside[columns], away[columns] = site + 3e-14, site + 1e-4
    values = evaluate(problem, torch.stack([beside, away]), 0)[0]
    found = [
        kinks._on_points(problem, centers, kinks.Place(point, float(value), {}, {}))
        for point, value in zip((beside, away), values, strict=True)
    ]
    assert torch.equal(found[0].point[columns], site)
    assert torch.equal(found[1].point[columns], away[columns])
    assert [list(place.held) for place in found] == [[k], []]


def test_where_the_way_up_becomes_unsound_the_next_best_end_is_settled(centers, monkeypatch):
    problem, free, _ = centers
    points = torch.stack([free + 0.1, free, free - 0.1])
    asked = []

    def settled(problem, point, deadline, spoilt):
        asked.append(point)
        return settling.Rest(problem, point, spoilt=spoilt(point))

    for spoilt, taken, tries in (
        (lambda point: not torch.equal(point, free), 1, 2),
        (lambda point: True, 0, 3),
        (lambda point: False, 0, 1),
    ):
        asked.clear()
        monkeypatch.setattr(settling, "settle", lambda *given, spoilt=spoilt: settled(*given, spoilt))
        assert torch.equal(settling.settle_best(problem, points, None).point, points[taken])
        assert len(asked) == tries


@pytest.mark.parametrize(("expert", "seed"), [("bare-relu", 4), ("relu-no-bias", 5)])
def test_only_rows_on_their_hinge_are_held_there(expert, seed):
    """Rows that are merely close to a hinge were held too, and the fit had no certificate."""
    rng = np.random.default_rng([3, seed])
    x, slope, level = rng.normal(size=(600, 3)), rng.normal(size=(2, 3)), 0.5 * rng.normal(size=2)
    leaf = (rng.random(600) < 1 / (1 + np.exp(-2 * x[:, 0]))).astype(int)
    unit = np.maximum(0, (x * slope[leaf]).sum(1) + level[leaf])
    y = 2 * np.where(leaf, unit, -unit) + 0.3 * rng.normal(size=600)
    rows = make_rows(torch.from_numpy(x), torch.from_numpy(y)[:, None])
    fit = maximum_likelihood(Mixture((GATES["softmax"],), (2,), EXPERTS[expert]), rows, starts=4, seed=0)
    assert fit.certificate.passed
    assert str(fit.status) == "at-kink"
