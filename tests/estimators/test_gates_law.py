"""Every gate of the library fits, summarises, infers, predicts, saves and loads, of any number of features."""

import warnings

import numpy as np
import pytest

from gatewise import MixtureOfExpertsRegressor, load_model, save_model
from gatewise.core.gates import GATES

SMOOTH = [name for name, gate in GATES.items() if gate.link.smooth]
CASES = [
    pytest.param(name, d, depth, standardize, marks=[] if (d, depth) in ((1, 1), (3, 1), (5, 2)) else pytest.mark.slow)
    for name in SMOOTH
    for d in (1, 2, 3, 5, 6)
    for depth in (1, 2)
    for standardize in (True, False)
    if standardize or d == 3  # the units of the data matter little where nothing is standardised
]
CHECKED = ["Weakly", "Strongly", "Interaction", "Ridge"]
DISAGREE = "Undecided: the draws disagree (14 derivatives with 6 relations or 13 derivatives with 1 relations)"
HALVES = {("relu-dense-to-sparse", 1, 2): DISAGREE}  # slopes are tied where their signs agree, and only there


def problem(d, n=40):
    """Draw rows in units that differ by column."""
    rng = np.random.default_rng(d)
    x = rng.normal(size=(n, d))
    first = rng.random(n) < 1 / (1 + np.exp(-2 * x[:, 0]))
    y = np.where(first, 1 + x[:, -1], -1 - x[:, 0]) + 0.3 * rng.normal(size=n)
    return x * np.linspace(0.5, 20.0, d) + np.linspace(3.0, -50.0, d), y


@pytest.mark.parametrize(("name", "d", "depth", "standardize"), CASES)
def test_a_gate_goes_all_the_way(name, d, depth, standardize, tmp_path):
    x, y = problem(d)
    gate = GATES[name]
    options = {
        "expert": "constant",
        "standardize": standardize,
        "n_init": 1,
        "random_state": 0,
        "max_iter": 20,
        "max_time": 0.3,
    }
    model = MixtureOfExpertsRegressor((2,) * depth, name, method="ml" if gate.link.normalised else "ls", **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # one start of few steps seldom ends well
        model.fit(x, y)
    text = str(model.summary())
    assert f"n = {len(y)}" in text
    theory = " ".join(text.partition("Theory: ")[2].split())
    halves = HALVES.get((name, d, depth))
    assert theory.startswith(halves) if halves else theory.split(":")[0].split()[0] in CHECKED
    found = model.inference(x, y)
    assert (found.refused is None) == (found.information.covariance.isfinite().all())
    mean = model.predict(x)
    assert mean.shape == y.shape
    assert np.isfinite(mean).all()
    np.testing.assert_allclose(model.gate_proba(x).sum(1), 1.0, rtol=1e-12) if gate.link.normalised else None
    save_model(model, tmp_path / "model.json")
    again = load_model(tmp_path / "model.json")
    np.testing.assert_array_equal(again.predict(x), mean)
    assert str(again.summary()).split("Starts")[0].split("ICL")[0] == text.split("Starts")[0].split("ICL")[0]
    assert str(again.summary()).partition("Theory")[2] == text.partition("Theory")[2]
