"""EM inside bounds ends at the optimum of the box, as Newton's method does."""

import numpy as np
import pytest

from gatewise import MixtureOfExpertsRegressor

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
