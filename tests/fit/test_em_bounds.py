"""EM inside bounds ends at the optimum of the box, as Newton's method does."""

import numpy as np
import pytest
import torch

from gatewise import MixtureOfExpertsRegressor
from gatewise.fit.em import solve_in_box

CASES = {
    "slope of a regression": (1, {"n_experts": 1, "bounds": {"experts.coef": (0, 0.1)}}),
    "intercept of a regression": (1, {"n_experts": 1, "bounds": {"experts.intercept": (-1, 0.5)}}),
    "two experts": (1, {"gate": "constant", "bounds": {"experts.coef": (0.5, 0.6)}}),
    "two experts of four inputs": (4, {"bounds": {"experts.coef": (-0.5, 0.6)}}),
    "the gate": (3, {"bounds": {"gates.0.weight": (-0.3, 0.3)}}),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_em_and_newton_find_the_same_optimum_of_a_box(name):
    d, settings = CASES[name]
    rng = np.random.default_rng(0)
    x = rng.normal(size=(150, d))
    y = np.where(x[:, 0] + 0.5 * rng.normal(size=150) > 0, 2 * x[:, -1], 1 - x[:, 0]) + 0.3 * rng.normal(size=150)
    settings = {"n_experts": 2, "n_init": 3, "random_state": 0, "max_iter": 1000, **settings}
    em, newton = (MixtureOfExpertsRegressor(method=method, **settings).fit(x, y) for method in ("em", "ml"))
    assert em.fit_.certificate.active
    assert em.log_likelihood_ == pytest.approx(newton.log_likelihood_, abs=1e-6)


def test_a_step_in_a_box_never_descends():
    """Coordinates that are held together can turn a step downhill: then each takes its own."""
    matrix = torch.tensor([[[1.0, 0.99], [0.99, 1.0]]], dtype=torch.float64)
    right = torch.tensor([[-0.0098, -0.030]], dtype=torch.float64)
    least, most = (torch.tensor([side], dtype=torch.float64) for side in ([-5.0, 0.0], [0.5, 5.0]))
    step = solve_in_box(matrix, right, least, most)
    assert float((right * step).sum()) >= 0
    assert bool(((least <= step) & (step <= most)).all())


@pytest.mark.parametrize("size", [1, 3, 6])
def test_steps_in_boxes_ascend_and_solve_where_no_end_is_met(size):
    g = torch.Generator().manual_seed(size)
    root = torch.randn(200, size, size, generator=g, dtype=torch.float64)
    matrix = root @ root.mT + 1e-3 * torch.eye(size, dtype=torch.float64)
    right = torch.randn(200, size, generator=g, dtype=torch.float64)
    least, most = (sign * torch.rand(200, size, generator=g, dtype=torch.float64) for sign in (-1, 1))
    step = solve_in_box(matrix, right, least, most)
    assert bool(((least <= step) & (step <= most)).all())
    assert bool(((right * step).sum(-1) >= 0).all())
    free = torch.linalg.solve(matrix, right)
    inside = ((least <= free) & (free <= most)).all(-1)
    torch.testing.assert_close(step[inside], free[inside], rtol=1e-8, atol=1e-10)
