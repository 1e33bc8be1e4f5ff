"""Standard errors against other software, an independent likelihood and automatic differentiation; every refusal."""

import json
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import statsmodels.api as sm
import torch
from scipy import stats
from statsmodels.tools.numdiff import approx_hess

from gatewise import data
from gatewise.core.experts import EXPERTS
from gatewise.core.families import Binomial, Gaussian, Poisson, StudentT
from gatewise.core.gates import GATES
from gatewise.core.mixture import Mixture, leaf_log_weights, log_density, regression, sample
from gatewise.fit import maximum_likelihood
from gatewise.fit.spec import FitSpec
from gatewise.infer.bands import gate_band, mean_band
from gatewise.infer.covariance.information import information, standard_errors
from gatewise.infer.delta import delta
from gatewise.infer.intervals import wald
from gatewise.objective.columns import columns
from gatewise.objective.parameterization import make_parameterization
from gatewise.objective.rows import make_rows
from gatewise.objective.terms import unit_log_density
from gatewise.testing import draw_measure, generator

TARGETS = Path(__file__).parents[1] / "data" / "targets" / "targets.json"
ONE = Mixture((GATES["constant"],), (1,))
TWO = Mixture((GATES["softmax"],), (2,))


@pytest.fixture(scope="module")
def line():
    """One line, 80 rows of two inputs with unequal noise, in 20 clusters that share an effect."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(80, 2))
    cluster = np.repeat(np.arange(20), 4)
    noise = (0.3 + np.abs(x[:, 0])) * rng.normal(size=80) + 0.5 * rng.normal(size=20)[cluster]
    return x, 1 + x @ [0.5, -2.0] + noise, cluster


@pytest.fixture(scope="module")
def lines():
    """Two lines behind a softmax gate: 300 rows of two inputs, fitted."""
    rng = np.random.default_rng(7)
    x = rng.normal(size=(300, 2))
    first = rng.random(300) < 1 / (1 + np.exp(-1.5 * x[:, 0]))
    y = np.where(first, 1 + x[:, 1], -1 - x[:, 1] + 0.5 * x[:, 0]) + np.where(first, 0.3, 0.5) * rng.normal(size=300)
    rows = make_rows(x, y[:, None])
    return x, y, rows, maximum_likelihood(TWO, rows, starts=5)


def flat_errors(fit, rows, *options):
    found = information(fit, rows, *options)
    assert found.refused is None, found.refused
    return dict(zip(found.names, wald(found).error.numpy(), strict=True))


def expert_errors(fit, rows, *options):
    errors = standard_errors(information(fit, rows, *options))
    return np.r_[errors["experts.intercept"].numpy().ravel(), errors["experts.coef"].numpy().ravel()]


def test_one_gaussian_expert_has_the_errors_of_least_squares(line):
    x, y, _ = line
    rows = make_rows(x, y[:, None])
    fit = maximum_likelihood(ONE, rows, starts=1)
    ols = sm.OLS(y, sm.add_constant(x)).fit()
    found = np.r_[fit.measure.experts["intercept"].numpy().ravel(), fit.measure.experts["coef"].numpy().ravel()]
    np.testing.assert_allclose(found, ols.params, rtol=1e-6)
    with_n = np.sqrt(ols.df_resid / 80)  # maximum likelihood divides by n
    np.testing.assert_allclose(expert_errors(fit, rows), with_n * ols.bse, rtol=1e-5)
    scale = float(fit.measure.family["scale"])
    assert flat_errors(fit, rows)["family.scale[0,0]"] == pytest.approx(scale / np.sqrt(160), rel=1e-9)


@pytest.mark.parametrize("family", [Poisson(), Binomial(5)])
def test_one_expert_of_counts_has_the_errors_of_a_generalised_linear_model(line, family):
    x = line[0]
    rng = np.random.default_rng(0)
    eta = 0.4 + x @ [0.3, -0.6]
    counts = rng.poisson(np.exp(eta)) if family == Poisson() else rng.binomial(5, 1 / (1 + np.exp(-eta)))
    rows = make_rows(x, counts[:, None])
    fit = maximum_likelihood(Mixture((GATES["constant"],), (1,), family=family), rows, starts=1)
    law, answer = (
        (sm.families.Poisson(), counts)
        if family == Poisson()
        else (sm.families.Binomial(), np.column_stack([counts, 5 - counts]))
    )
    glm = sm.GLM(answer, sm.add_constant(x), family=law).fit(tol=1e-12)
    found = np.r_[fit.measure.experts["intercept"].numpy().ravel(), fit.measure.experts["coef"].numpy().ravel()]
    np.testing.assert_allclose(found, glm.params, rtol=1e-6)
    np.testing.assert_allclose(expert_errors(fit, rows), glm.bse, rtol=1e-5)


def test_the_sandwich_is_that_of_white_and_clusters_are_those_of_statsmodels(line):
    x, y, cluster = line
    rows = make_rows(x, y[:, None])
    fit = maximum_likelihood(ONE, rows, starts=1)
    ols = sm.OLS(y, sm.add_constant(x))
    np.testing.assert_allclose(expert_errors(fit, rows, "sandwich"), ols.fit(cov_type="HC0").bse, rtol=1e-6)
    plain = ols.fit(cov_type="cluster", cov_kwds={"groups": cluster, "use_correction": False}).bse
    found = expert_errors(fit, rows, "sandwich", torch.from_numpy(cluster))
    np.testing.assert_allclose(found, np.sqrt(20 / 19) * plain, rtol=1e-6)
    shuffled = torch.from_numpy(np.random.default_rng(0).permutation(100)[cluster])  # labels are only labels
    np.testing.assert_allclose(expert_errors(fit, rows, "sandwich", shuffled), found, rtol=1e-12)


def test_weights_are_frequencies_in_the_information_and_sampling_weights_in_the_sandwich(lines):
    x, y, _, _ = lines
    weight = np.where(np.arange(300) % 3 == 0, 2.0, 1.0)
    twice = np.repeat(np.arange(300), weight.astype(int))
    weighed, doubled = make_rows(x, y[:, None], weight=torch.from_numpy(weight)), make_rows(x[twice], y[twice, None])
    best = [maximum_likelihood(TWO, weighed, starts=5).measure]  # so that experts come in one order
    fits = [maximum_likelihood(TWO, rows, starts=best) for rows in (weighed, doubled)]
    once, again = (information(fit, rows) for fit, rows in zip(fits, (weighed, doubled), strict=True))
    np.testing.assert_allclose(once.covariance, again.covariance, rtol=1e-6, atol=1e-9)
    tripled = make_rows(x, y[:, None], weight=torch.from_numpy(3 * weight))
    fit = maximum_likelihood(TWO, tripled, starts=best)
    same = information(fit, tripled, "sandwich").covariance
    np.testing.assert_allclose(same, information(fits[0], weighed, "sandwich").covariance, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(3 * information(fit, tripled).covariance, once.covariance, rtol=1e-6, atol=1e-9)


MODELS = {  # target -> data set, inputs, response, gate, family, shared
    "NPreg_yn_k2_const": ("npreg", ["x", "x2"], "yn", "constant", Gaussian(), ()),
    "NPreg_yp_k2_const": ("npreg", ["x"], "yp", "constant", Poisson(), ()),
    "tonedata_k2_softmax": ("tone", ["stretchratio"], "tuned", "softmax", Gaussian(), ()),
    "CO2_k2_gate_expertGNP_V": ("co2", ["GNP"], "CO2", "softmax", Gaussian(), ()),
    "CO2_k2_gate_expertGNP_E": ("co2", ["GNP"], "CO2", "softmax", Gaussian(), ("family.scale",)),
}


@pytest.mark.parametrize("name", MODELS)
def test_errors_are_those_of_the_targets(name):
    entry = next(entry for entry in json.loads(TARGETS.read_text("utf-8")) if entry["id"] == name)
    where, inputs, response, gate, family, shared = MODELS[name]
    table = data.load(where).frame
    table = table.assign(x2=table["x"] ** 2) if "x2" in inputs else table
    rows = make_rows(table[inputs].to_numpy(float), table[[response]].to_numpy(float))
    fit = maximum_likelihood(Mixture((GATES[gate],), (2,), family=family, shared=shared), rows)
    assert fit.log_likelihood == pytest.approx(entry["loglik"], abs=entry["tol_loglik"])
    beta = np.column_stack([fit.measure.experts["intercept"][:, 0], fit.measure.experts["coef"][:, 0]])
    order = list(min(permutations(range(2)), key=lambda o: np.abs(beta[list(o)] - entry["beta"]).sum()))
    found = information(fit, rows)

    def listed(measure):
        """In the order of the targets: gate against the last expert, lines, log scales."""
        gates = measure.gates[0]
        parts = [gates["bias"][order][:1] - gates["bias"][order][1:]]
        parts += [(gates["weight"][order][0] - gates["weight"][order][1])] if "weight" in gates else []
        experts = torch.cat([measure.experts["intercept"], measure.experts["coef"][:, 0]], -1)
        parts.append(experts[order].flatten())
        if measure.family:
            parts.append(measure.family["scale"][order, 0].log()[: 1 if shared else 2])
        return torch.cat(parts)

    np.testing.assert_allclose(
        delta(found, listed).error, entry["se_observed_information"], rtol=entry["tol_se_relative"]
    )


def drawn(mixture, seed, n=400, d=2, gate_d=2, spread=1.0):
    """Rows of a mixture whose parts are well apart, and the fit from the truth."""
    g = generator(seed)
    measure = draw_measure(mixture, d, gate_d, 1, g)
    leaves = torch.linspace(-3.0, 3.0, mixture.n_leaves, dtype=torch.float64).reshape(*mixture.branching, 1)
    measure.experts["intercept"].copy_(leaves)
    if "scale" in measure.family:
        measure.family["scale"].fill_(0.5)
    x = torch.rand(d, n, generator=g, dtype=torch.float64) * 4 - 2
    gate_x = torch.rand(gate_d, n, generator=g, dtype=torch.float64) * 4 * spread - 2
    y, _ = sample(mixture, measure, x, gate_x, g)
    rows = make_rows(x.T + 5, (y * 3).T, gate_x=10 * gate_x.T)  # units far from the working ones
    return rows, maximum_likelihood(mixture, rows, starts=8)


CASES = {
    "softmax": Mixture((GATES["softmax"],), (3,)),
    "tree": Mixture((GATES["softmax"], GATES["softmax"]), (2, 2)),
    "shared": Mixture((GATES["constant"],), (2,), shared=("family.scale",)),
    "student": Mixture((GATES["softmax"],), (2,), family=StudentT()),
    "quadratic": Mixture((GATES["quadratic"],), (2,)),
    "cosine": Mixture((GATES["cosine"],), (2,)),
    "dense-to-sparse": Mixture((GATES["dense-to-sparse"],), (2,)),
}


@pytest.mark.parametrize("name", CASES)
def test_errors_of_predictions_are_those_of_an_autograd_hessian_in_the_units_of_the_data(name):
    rows, fit = drawn(CASES[name], 5, n=800 if name == "tree" else 400)
    found = information(fit, rows)
    assert found.refused is None, found.refused
    x, gate_x, y = rows.x.held, rows.gate_x.held, rows.y.held
    parameterization = make_parameterization(fit.mixture, 2, 2, 1)
    at = parameterization.free(fit.measure)
    hessian = torch.autograd.functional.hessian(
        lambda free: -log_density(fit.mixture, parameterization.measure(free), x, gate_x, y).sum(), at
    )
    near_x, near_gate = x[:, :5], gate_x[:, :5]

    def curves(measure):
        weights = leaf_log_weights(fit.mixture, measure, near_gate).exp()
        return torch.cat([regression(fit.mixture, measure, near_x, near_gate), weights]).flatten()

    slope = torch.autograd.functional.jacobian(lambda free: curves(parameterization.measure(free)), at)
    unit = hessian.diagonal().rsqrt()
    inverse = unit[:, None] * torch.linalg.pinv(unit[:, None] * hessian * unit, hermitian=True, rtol=1e-11) * unit
    expected = (slope @ inverse @ slope.T).diagonal().sqrt()
    np.testing.assert_allclose(delta(found, curves).error, expected, rtol=1e-5)
    near = columns(near_x.T), columns(near_gate.T)
    both = torch.cat([mean_band(found, *near).error, gate_band(found, *near).error])
    np.testing.assert_allclose(both.flatten(), expected, rtol=1e-5)
    if name != "cosine":
        errors = torch.cat([value.flatten() for value in standard_errors(found).values()])
        natural = torch.autograd.functional.jacobian(parameterization.constrained, at)
        np.testing.assert_allclose(errors, (natural @ inverse @ natural.T).diagonal().sqrt(), rtol=1e-5, atol=1e-12)


def test_errors_of_a_laplace_gate_are_those_of_a_numeric_hessian():
    rng = np.random.default_rng(2)
    x = rng.uniform(-2, 2, size=(600, 2))
    center = np.array([[0.9, 0.3], [-0.8, -0.5]])

    def shares(center, bias):
        score = np.array([bias, 0.0]) - np.linalg.norm(x[:, None] - center, axis=-1)
        return stats.logistic.cdf(score[:, 0] - score[:, 1])

    first = rng.random(600) < shares(3 * center, 0.2)
    y = np.where(first, 1 + x[:, 0], -1 - x[:, 1]) + 0.4 * rng.normal(size=600)
    rows = make_rows(x, y[:, None])
    fit = maximum_likelihood(Mixture((GATES["laplace"],), (2,)), rows, starts=20)
    found = information(fit, rows)
    assert found.refused is None, found.refused

    def minus_log_likelihood(p):
        share = shares(p[:4].reshape(2, 2), p[4])
        first = share * stats.norm.pdf(y, p[5:7] @ x.T + p[9], p[11])
        return -np.log(first + (1 - share) * stats.norm.pdf(y, p[7:9] @ x.T + p[10], p[12])).sum()

    free = [i for i, name in enumerate(found.names) if name != "gates.0.bias[1]"]
    at = found.estimate[free].numpy()
    assert minus_log_likelihood(at) == pytest.approx(-fit.log_likelihood, abs=1e-8)
    expected = np.sqrt(np.diag(np.linalg.inv(approx_hess(at, minus_log_likelihood))))
    np.testing.assert_allclose(wald(found).error[free], expected, rtol=1e-4)


def test_errors_follow_the_units_of_the_data(lines):
    x, y, rows, fit = lines
    before = flat_errors(fit, rows)
    moved = make_rows(x * [10.0, 0.1], 1000 * y[:, None])
    after = flat_errors(maximum_likelihood(TWO, moved, starts=5), moved)
    column, response = np.array([10.0, 0.1]), 1000
    for name, error in before.items():
        path, _, index = name.partition("[")
        factor = 1.0 if path.startswith("gates") else response
        if path.endswith(("weight", "coef")):
            factor /= column[int(index[-2])]
        assert after[name] == pytest.approx(factor * error, rel=1e-6, abs=1e-15)
    shifted = make_rows(x + 100.0, y[:, None])
    elsewhere = standard_errors(information(maximum_likelihood(TWO, shifted, starts=5), shifted))
    here = standard_errors(information(fit, rows))
    for path in ("experts.coef", "family.scale"):
        np.testing.assert_allclose(elsewhere[path].sort(0).values, here[path].sort(0).values, rtol=1e-6)
    assert bool((elsewhere["experts.intercept"] > 50 * here["experts.intercept"].max()).all())


def test_blocks_and_groups_do_not_change_the_errors(lines):
    x, y, _, _ = lines
    mixture = Mixture((GATES["constant"],), (2,))
    ends = torch.arange(3, 301, 3)
    grouped = make_rows(x, y[:, None], ends=ends)
    fit = maximum_likelihood(mixture, grouped, starts=5)
    found = standard_errors(information(fit, grouped, "sandwich"))
    singles = torch.arange(100)
    same = standard_errors(information(fit, grouped, "sandwich", singles))
    for path, value in found.items():
        np.testing.assert_allclose(same[path], np.sqrt(100 / 99) * value, rtol=1e-10)


def test_collinear_columns_have_no_error_of_their_own_but_what_the_data_determine_has(lines):
    x, y, rows, fit = lines
    plain = information(fit, rows)
    doubled = np.c_[x, x[:, 0], np.ones(300)]
    more = make_rows(doubled, y[:, None])
    found = information(maximum_likelihood(TWO, more, starts=5), more)
    errors = standard_errors(found)
    assert errors["experts.coef"].isnan()[0, 0].tolist() == [True, False, True, True]
    assert bool(errors["experts.intercept"].isnan().all())  # one with the constant column
    assert errors["gates.0.weight"].isnan()[0].tolist() == [True, False, True, True]
    once = standard_errors(plain)
    same = once["experts.coef"][:, 0].sort(0).values
    np.testing.assert_allclose(errors["experts.coef"][:, 0, 1].sort().values, same[:, 1], rtol=1e-6)
    band, wanted = mean_band(found, columns(doubled[:9])), mean_band(plain, columns(x[:9]))
    np.testing.assert_allclose(band.error, wanted.error, rtol=1e-6)
    beyond = doubled[:2] + [0.0, 0.0, 1.0, 0.0]  # off the plane that the data span
    assert bool(mean_band(found, columns(beyond)).error.isnan().all())
    with pytest.raises(ValueError, match="the data leave open"):
        delta(found, lambda measure: measure.experts["coef"][0, 0, 0])
    total = delta(found, lambda measure: measure.experts["coef"][:, 0, 0] + measure.experts["coef"][:, 0, 2])
    np.testing.assert_allclose(total.error.sort().values, same[:, 0], rtol=1e-6)


def test_a_ridge_is_told_and_its_errors_are_those_of_the_penalised_likelihood(lines):
    x, _, rows, plain = lines
    fit = maximum_likelihood(TWO, rows, FitSpec(alpha=20.0), starts=5)
    found = information(fit, rows)
    assert "penalised estimate" in found.notes[0]
    ridge, free = standard_errors(found)["gates.0.weight"][0], standard_errors(information(plain, rows))
    assert bool((ridge < free["gates.0.weight"][0]).all())
    sd = torch.from_numpy(x.std(0))
    parameterization = make_parameterization(TWO, 2, 2, 1)
    held = rows.x.held, rows.y.held

    def minus_penalised(at):
        measure = parameterization.measure(at)
        slopes = measure.gates[0]["weight"] * sd
        penalty = 10.0 * ((slopes - slopes.mean(0)) ** 2).sum()
        return penalty - log_density(TWO, measure, held[0], held[0], held[1]).sum()

    hessian = torch.autograd.functional.hessian(minus_penalised, parameterization.free(fit.measure))
    expected = torch.linalg.inv(hessian).diagonal().sqrt()[parameterization.columns("gates.0.weight")[0]]
    np.testing.assert_allclose(ridge, expected, rtol=1e-6)


def separated_rows():
    rng = np.random.default_rng(0)
    x = np.sort(rng.uniform(-1, 1, 60))
    return make_rows(x[:, None], (np.where(x < 0, 5 + x, -5 - x) + 0.3 * rng.normal(size=60))[:, None])


def refused(fit, rows):
    found = information(fit, rows)
    assert found.refused is not None
    assert bool(found.covariance.isnan().all())
    assert bool(torch.stack([value.isnan().all() for value in standard_errors(found).values()]).all())
    with pytest.raises(ValueError, match="this fit has no standard errors"):
        wald(found)
    with pytest.raises(ValueError, match="this fit has no standard errors"):
        delta(found, lambda measure: measure.experts["coef"][0, 0, 0])
    return found.refused


def test_a_separated_gate_is_refused_by_name():
    rows = separated_rows()
    words = refused(maximum_likelihood(TWO, rows, starts=5), rows)
    assert "gates.0.weight[0,0]" in words
    assert "rises without limit" in words


def test_a_direction_without_information_is_refused_by_name():
    rng = np.random.default_rng(0)
    rows = make_rows(rng.normal(size=(200, 1)), (rng.random(200) < 0.4).astype(float)[:, None])
    mixture = Mixture((GATES["constant"],), (2,), EXPERTS["constant"], Binomial(1))
    words = refused(maximum_likelihood(mixture, rows, starts=5), rows)
    assert "does not change along" in words
    assert "experts.intercept" in words


def test_a_point_that_the_certificate_calls_regular_but_is_singular_is_refused(lines):
    _, _, rows, fit = lines
    far = fit.measure.map(torch.clone)
    far.experts["intercept"][0] = far.experts["intercept"][1] = 0.0
    far.experts["coef"][:] = far.experts["coef"][1].clone()
    far.family["scale"][:] = far.family["scale"][1].clone()
    far.gates[0]["weight"][:] = 0.0
    total = float(unit_log_density(fit.mixture, far, rows.read(0, rows.n_units)).sum())
    words = refused(fit._replace(measure=far, log_likelihood=total, objective=-total / rows.n), rows)
    assert "singular along" in words
    assert "gates.0" in words


@pytest.mark.parametrize("n", [200, 3000])  # 3000: a sample of the rows is looked at first
def test_a_point_of_symmetry_is_refused_by_name(n):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 3))
    y = rng.normal(size=(n, 1)) - (x**2).sum(1, keepdims=True)  # no square fits falling parabolas better than none
    rows = make_rows(x, y)
    fit = maximum_likelihood(Mixture((GATES["constant"],), (1,), EXPERTS["square"]), rows, starts=3)
    assert fit.certificate.passed
    words = refused(fit, rows)
    names = ", ".join([*(f"experts.coef[0,0,{i}]" for i in range(3)), "experts.intercept[0,0]"])
    assert f"symmetric about the estimate of {names}" in words


def test_a_kink_is_refused_by_name():
    tone = data.load("tone")
    rows = make_rows(tone.X.to_numpy(float), tone.y.to_numpy(float)[:, None])
    fit = maximum_likelihood(Mixture((GATES["laplace"],), (2,)), rows)
    assert fit.certificate.kinks
    words = refused(fit, rows)
    assert fit.certificate.kinks[0] in words
    assert "no second derivative" in words


def test_an_active_bound_is_refused_by_name(lines):
    _, _, rows, _ = lines
    bounds = {"family.scale": (0.45, 3.0)}
    words = refused(maximum_likelihood(TWO, rows, FitSpec(bounds=bounds), starts=5), rows)
    assert "family.scale" in words
    assert "lies on a bound" in words


def test_a_scale_on_its_floor_is_refused_by_name(lines):
    _, _, rows, _ = lines
    floor = torch.tensor([0.45], dtype=torch.float64)
    words = refused(maximum_likelihood(TWO, rows, FitSpec(min_scale=floor), starts=5), rows)
    assert "family.scale" in words
    assert "lies on the floor of the scale" in words


def test_a_starved_expert_is_refused(lines):
    x, y, _, _ = lines
    rows = make_rows(x[:8], y[:8, None])
    fit = maximum_likelihood(Mixture((GATES["constant"],), (3,)), rows, starts=3)
    assert "expert" in refused(fit._replace(certificate=fit.certificate._replace(floor=())), rows)


def test_few_rows_and_a_search_cut_short_are_refused(lines):
    _, _, rows, fit = lines
    crowded = fit._replace(certificate=fit.certificate._replace(crowded=True))
    assert "fewer responses" in refused(crowded, rows)
    early = maximum_likelihood(TWO, rows, starts=2, method="em", max_iter=2)
    assert "the search stopped before" in refused(early, rows)


def test_other_rows_are_refused_and_the_spec_of_the_fit_is_used(lines):
    x, y, rows, fit = lines
    other = y.copy()
    other[0] += 0.5
    assert "those of the fit had" in refused(fit, make_rows(x, other[:, None]))
    held = {"experts.intercept": torch.tensor([[1.2], [torch.nan]], dtype=torch.float64)}
    fixed = maximum_likelihood(TWO, rows, FitSpec(fixed=held), starts=5)
    found = information(fixed, rows)
    errors = standard_errors(found)["experts.intercept"]
    assert errors[0, 0] == 0
    assert errors[1, 0] > 0
    assert bool(found.held[found.index("experts.intercept[0,0]")])


def test_the_reference_branch_has_no_error_and_other_branches_have_the_same_in_any_order(lines):
    _, _, rows, fit = lines
    found = information(fit, rows)
    errors = standard_errors(found)
    assert errors["gates.0.weight"][1].tolist() == [0.0, 0.0]
    assert errors["gates.0.bias"][1] == 0
    swapped = fit._replace(measure=fit.measure.map(lambda value: value.flip(0)))
    shifted = swapped.measure.gates[0]
    swapped.measure.gates[0].update({name: value - value[1] for name, value in shifted.items()})
    other = standard_errors(information(swapped, rows))
    np.testing.assert_allclose(other["gates.0.weight"][0], errors["gates.0.weight"][0], rtol=1e-8)
    np.testing.assert_allclose(other["experts.coef"].flip(0), errors["experts.coef"], rtol=1e-8)


def test_arguments_that_cannot_be_used_are_named(lines):
    _, _, rows, fit = lines
    with pytest.raises(ValueError, match="kind='robust': choose"):
        information(fit, rows, "robust")
    with pytest.raises(ValueError, match="need kind='sandwich'"):
        information(fit, rows, clusters=torch.arange(300))
    with pytest.raises(ValueError, match="give one label per unit"):
        information(fit, rows, "sandwich", torch.arange(30))
    with pytest.raises(ValueError, match="at least two clusters"):
        information(fit, rows, "sandwich", torch.zeros(300))
    few = information(fit, rows, "sandwich", torch.arange(300) % 4)
    assert "4 clusters for 11 parameters" in few.notes[0]
