"""A known part of the predictors: an offset in Rows, from starts to information, against the models that absorb it."""

from dataclasses import replace

import numpy as np
import pytest
import statsmodels.api as sm
import torch

from gatewise.core.experts import EXPERTS
from gatewise.core.families import FAMILIES
from gatewise.core.gates import GATES
from gatewise.core.mixture import Mixture
from gatewise.fit.least_squares import least_squares
from gatewise.fit.maximum_likelihood import maximum_likelihood
from gatewise.fit.spec import FitSpec
from gatewise.infer.covariance.information import information, standard_errors
from gatewise.objective import likelihood, squares
from gatewise.objective.parameterization import from_paths
from gatewise.objective.rows import make_rows, stacked
from gatewise.testing import assert_close, generator, make_problem

from ..whole_path import brief_fits  # noqa: F401


def inputs(n=400, d=3, seed=2):
    rng = np.random.default_rng(seed)
    return rng, rng.normal(size=(n, d))


def test_poisson_regression_with_exposure_is_that_of_statsmodels():
    rng, x = inputs()
    exposure = rng.uniform(0.2, 20.0, size=len(x))
    y = rng.poisson(exposure * np.exp(0.4 + x @ [0.3, -0.2, 0.1]))
    mixture = Mixture((GATES["softmax"],), (1,), family=FAMILIES["poisson"])
    rows = make_rows(x, y[:, None], offset=np.log(exposure)[:, None])
    fit = maximum_likelihood(mixture, rows, starts=2)
    glm = sm.GLM(y, sm.add_constant(x), sm.families.Poisson(), offset=np.log(exposure)).fit(tol=1e-12)
    assert abs(fit.log_likelihood - glm.llf) < 1e-7
    assert_close(fit.measure.experts["coef"][0, 0], torch.tensor(glm.params[1:]), "slopes with an exposure", 1e-7)
    errors = standard_errors(information(fit, rows))
    assert_close(errors["experts.intercept"][0], torch.tensor(glm.bse[:1]), "their errors", 1e-6)


def with_slopes_moved(mixture, measure, step):
    """Return a batch of one measure whose experts have other slopes."""
    paths = {path: value.clone().unsqueeze(0) for path, value in measure.paths().items()}
    (slopes,) = mixture.paths("experts", "slope")
    paths[slopes] += step
    return from_paths(paths, mixture.depth)


@pytest.mark.parametrize("family", [*FAMILIES, None], ids=str)
@pytest.mark.parametrize(("gates", "branching"), [(("laplace",), (3,)), (("softmax", "cosine"), (2, 3))], ids=str)
@pytest.mark.parametrize(("d", "q", "units"), [(4, 1, False), (3, 3, True), (6, 2, False)])
def test_an_offset_in_the_inputs_is_a_change_of_slopes(family, gates, branching, d, q, units):
    """Of any family, and of least squares: the objective and both derivatives."""
    parts = () if family is None else (FAMILIES[family],)
    mixture = Mixture(tuple(GATES[gate] for gate in gates), branching, EXPERTS["linear"], *parts)
    problem = make_problem(mixture, d=d, gate_d=3, columns=mixture.family.columns(q), n=12, seed=d)
    step = torch.randn(q, d, generator=generator(q), dtype=torch.float64)
    options = {"gate_x": problem.gate_x.T, "ends": torch.tensor([2, 3, 7, 12]) if units else None}
    plain = make_rows(problem.x.T, problem.y.T, **options)
    known = make_rows(problem.x.T, problem.y.T, offset=(step @ problem.x).T, **options)
    objective = squares if family is None else likelihood
    for name in ("value", "gradient", "hessian"):
        function = getattr(objective, name)
        found = function(mixture, with_slopes_moved(mixture, problem.measure, 0.0), known.read(0, known.n_units))
        wanted = function(mixture, with_slopes_moved(mixture, problem.measure, step), plain.read(0, plain.n_units))
        for one, other in zip(found, wanted, strict=True):
            assert_close(one, other, f"{name} with an offset", 1e-10)


@pytest.mark.parametrize("gate", ["softmax", "laplace"])
@pytest.mark.parametrize("q", [1, 2])
def test_a_gaussian_mixture_with_an_offset_is_the_mixture_of_what_is_left(gate, q):
    rng, x = inputs(100, 3, 3)
    known = rng.normal(size=(len(x), q)) * 3.0
    left = x[:, :1] + 0.8 * rng.normal(size=len(x))[:, None] > 0
    y = np.where(left, 2 * x[:, 1:2], 5 - x[:, 2:]) + 0.2 * rng.normal(size=(len(x), q)) + known
    mixture = Mixture((GATES[gate],), (2,))
    # more starts than a few, so that experts are moved too; one floor, for the two responses differ in spread
    spec = FitSpec(min_scale=0.01)
    fit = maximum_likelihood(mixture, make_rows(x, y, offset=known), spec, starts=10)
    rest = maximum_likelihood(mixture, make_rows(x, y - known), spec, starts=10)
    assert abs(fit.log_likelihood - rest.log_likelihood) < 1e-5
    assert sorted(fit.measure.family["scale"][:, 0].tolist()) == pytest.approx(
        sorted(rest.measure.family["scale"][:, 0].tolist()), abs=1e-4
    )


@pytest.mark.parametrize(("gate", "expert"), [("softmax", "linear"), ("sigmoid", "linear"), ("laplace", "tanh-unit")])
def test_least_squares_takes_an_offset(gate, expert, monkeypatch, request):
    monkeypatch.setattr("gatewise.fit.ends.MOST_ROUNDS", 1)  # without the offset a fit may run far
    if gate == "laplace":
        request.getfixturevalue("brief_fits")
    rng, x = inputs(120, 3, 4)
    known = rng.normal(size=(len(x), 1))
    weight = 1 / (1 + np.exp(-3 * x[:, :1]))
    y = weight * (1 + x[:, 1:2] + known) + (1 - weight) * (x[:, 2:] - 1 + known) + 0.1 * rng.normal(size=known.shape)
    mixture = Mixture((GATES[gate],), (2,), EXPERTS[expert])
    fit = least_squares(mixture, make_rows(x, y, offset=known), starts=2)
    without = least_squares(mixture, make_rows(x, y), starts=2)
    assert fit.sse < 0.5 * without.sse
    if gate == "softmax":  # weights that sum to one carry the offset to the mean
        assert fit.sse == pytest.approx(least_squares(mixture, make_rows(x, y - known), starts=2).sse, rel=1e-7)


def test_offsets_follow_the_rows():
    _, x = inputs(6)
    known = np.arange(6.0)[:, None]
    rows = make_rows(x, x[:, :1], offset=known, ends=torch.tensor([2, 3, 6]))
    assert rows.take(torch.tensor([0, 2])).offset.held.flatten().tolist() == [0.0, 1.0, 3.0, 4.0, 5.0]
    assert [block.offset.flatten().tolist() for block in rows.blocks(2)] == [[0.0, 1.0], [2.0], [3.0, 4.0, 5.0]]
    with pytest.raises(ValueError, match="offset has 5 rows, x has 6"):
        make_rows(x, x[:, :1], offset=known[:5])
    plain = make_rows(x, x[:, :1])
    both = stacked([make_rows(x, x[:, :1], offset=known), make_rows(x, x[:, :1], offset=2 * known)])
    assert both.of(torch.tensor([1])).offset.held.flatten().tolist() == [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    for refused in ([plain, make_rows(x, x[:, :1], offset=known)], [replace(plain, weight=torch.ones(6))]):
        with pytest.raises(ValueError, match="offsets for all or none, and no weights or units"):
            stacked(refused)
