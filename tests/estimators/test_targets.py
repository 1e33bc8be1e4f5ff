"""Certified answers on classic and synthetic data, at default settings."""

from itertools import permutations

import numpy as np
import pytest

from gatewise import MixtureOfExpertsRegressor

SHARED = {"scale": "shared"}
CONSTANT = {"gate": "constant"}
MODELS = {  # target -> inputs of the experts, gate inputs, response, arguments
    "tonedata_k2_const": (["stretchratio"], None, "tuned", CONSTANT),
    "tonedata_k2_softmax": (["stretchratio"], None, "tuned", {}),
    "NPreg_yn_k2_const": (["x", "x2"], None, "yn", CONSTANT),
    "NPreg_yp_k2_const": (["x"], None, "yp", CONSTANT | {"family": "poisson"}),
    "CO2_k1_const_expertGNP_V": (["GNP"], None, "CO2", CONSTANT | {"n_experts": 1}),
    "CO2_k2_const_expertGNP_V": (["GNP"], None, "CO2", CONSTANT),
    "CO2_k2_const_expertGNP_E": (["GNP"], None, "CO2", CONSTANT | SHARED),
    "CO2_k2_gate_expertGNP_V": (["GNP"], None, "CO2", {}),
    "CO2_k2_gate_expertGNP_E": (["GNP"], None, "CO2", SHARED),
    "mcycle_k2_softmax": (["z"], None, "accel", {}),
    "NregFix_k3_softmax": (["x1", "x2"], ["w"], "y", {"n_experts": 3}),
    "sg_d1_k2_n1000": (["x1"], None, "y", {}),
    "sg_d1_k2_n100000": (["x1"], None, "y", {}),
    "sg_d5_k3_n1000": ([f"x{j}" for j in range(1, 6)], None, "y", {"n_experts": 3}),
    "sg_d5_k5_n1000": ([f"x{j}" for j in range(1, 6)], None, "y", {"n_experts": 5}),
}


def fit_target(table, name, **changed):
    inputs, gate_inputs, response, arguments = MODELS[name]
    if "x2" in inputs and "x2" not in table:
        table = table.assign(x2=table["x"] ** 2)
    if "z" in inputs:
        table = table.assign(z=(table["times"] - table["times"].mean()) / 10)
    model = MixtureOfExpertsRegressor(**{"random_state": 0, **arguments, **changed})
    gate_x = None if gate_inputs is None else table[gate_inputs].astype(float)
    return model.fit(table[inputs].astype(float), table[response].astype(float), gate_X=gate_x)


def matching(model, beta):
    """The order of the fitted experts in which their coefficients are closest to those of the target."""
    found = np.column_stack([model.intercept_, model.coef_])
    return min(permutations(range(len(beta))), key=lambda order: np.abs(found[list(order)] - beta).sum())


def gate_rows(model, order):
    """Intercept and slopes of the gate against the last expert of an order."""
    params = model.gate_params_[0]
    rows = np.column_stack([params["bias"], *([params["weight"]] if "weight" in params else [])])[list(order)]
    return (rows - rows[-1])[:-1]


def test_every_target_of_these_families_is_here(targets):
    wanted = {name for name, entry in targets.items() if entry["use_as_target"] in (True, "loglik_only")}
    assert wanted == set(MODELS)


@pytest.mark.parametrize("name", MODELS)
def test_the_certified_fit_is_found(name, targets, frame):
    entry = targets[name]
    model = fit_target(frame(name), name)
    assert model.converged_
    assert model.log_likelihood_ == pytest.approx(entry["loglik"], abs=entry["tol_loglik"])
    assert model.fit_.df == entry["df"]
    if "AIC" in entry:
        assert model.aic() == pytest.approx(entry["AIC"], abs=2 * entry["tol_loglik"])
        assert model.bic() == pytest.approx(entry["BIC"], abs=2 * entry["tol_loglik"])
    if entry["use_as_target"] is not True or "beta" not in entry:
        return
    order = matching(model, entry["beta"])
    near = {"rtol": entry.get("tol_coef_relative", 1e-3), "atol": 1e-6}
    np.testing.assert_allclose(np.column_stack([model.intercept_, model.coef_])[list(order)], entry["beta"], **near)
    np.testing.assert_allclose(
        gate_rows(model, order), np.reshape(entry["gate"], gate_rows(model, order).shape), **near
    )
    if entry["sigma"]:
        sigma = np.broadcast_to(entry["sigma"], len(order))
        np.testing.assert_allclose(model.scale_[list(order)], sigma, **near)


@pytest.mark.parametrize("name", [n for n in MODELS if n.startswith(("tone", "CO2", "Nreg", "NPreg_yn"))])
def test_half_the_scale_floor_changes_nothing(name, targets, frame):
    response = frame(name)[MODELS[name][2]]
    model = fit_target(frame(name), name, min_scale=0.005 * response.std(ddof=0))
    assert model.converged_
    assert model.log_likelihood_ == pytest.approx(targets[name]["loglik"], abs=targets[name]["tol_loglik"])


@pytest.mark.parametrize("name", ["tonedata_k2_const", "tonedata_k2_softmax"])
def test_at_twice_the_floor_the_textbook_fit_of_the_tone_data_is_returned_and_the_better_one_listed(
    name, targets, frame
):
    entry = targets[name]
    textbook = entry["textbook_local_optimum"]
    model = fit_target(frame(name), name, min_scale=0.02 * frame(name)["tuned"].std(ddof=0))
    assert model.converged_
    assert model.log_likelihood_ == pytest.approx(textbook["loglik"], abs=0.001)
    order = matching(model, textbook["beta"])
    np.testing.assert_allclose(model.scale_[list(order)], textbook["sigma"], rtol=1e-3)
    assert model.fit_.starts.better_unsound
    assert max(model.fit_.starts.better_unsound) > textbook["loglik"] + 1
    assert "refused as unsound" in model.summary()


def test_the_exact_optimum_is_reached_to_eight_digits(exact):
    x, y, known = exact
    model = MixtureOfExpertsRegressor(random_state=0).fit(x, y)
    best = known["best_objective"]
    assert -model.log_likelihood_ / len(y) == pytest.approx(best, abs=known["tol"])
    assert -model.score_samples(x, y).mean() == pytest.approx(best, abs=known["tol"])
    level, slope, a0, a1, b0, b1, s0, s1 = known["theta_best"]
    beta = [[b0, a0], [b1, a1]]
    order = list(matching(model, beta))
    np.testing.assert_allclose(np.column_stack([model.intercept_, model.coef_])[order], beta, atol=1e-4)
    np.testing.assert_allclose(gate_rows(model, order), [[level, slope]], atol=1e-3)
    np.testing.assert_allclose(np.log(model.scale_[order]), [s0, s1], atol=1e-4)
