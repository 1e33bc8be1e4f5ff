"""One expert of every family is the model of its name in statsmodels, in estimates, likelihood and standard errors.

Weibull times have no model there: theirs is the same likelihood in accelerated failure time form, by scipy.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.optimize import minimize
from scipy.special import expit
from statsmodels.discrete.discrete_model import MNLogit, NegativeBinomial
from statsmodels.miscmodels.ordinal_model import OrderedModel
from statsmodels.othermod.betareg import BetaModel
from statsmodels.tools.numdiff import approx_hess

from gatewise.core.families import FAMILIES
from gatewise.core.gates import GATES
from gatewise.core.mixture import Mixture
from gatewise.fit import Status, maximum_likelihood
from gatewise.infer.covariance.information import information, standard_errors
from gatewise.objective.rows import make_rows

COEF, N = np.array([0.6, -0.3, 0.2]), 400


class Reference(NamedTuple):
    """What another program says: the parameters with their standard errors, and the log-likelihood."""

    estimates: np.ndarray
    errors: np.ndarray
    llf: float


class Found(NamedTuple):
    """What is compared with it: parameters as vectors, from those of the fit and their standard errors by path."""

    estimates: Callable[[dict[str, np.ndarray]], np.ndarray]
    errors: Callable[[dict[str, np.ndarray], dict[str, np.ndarray]], np.ndarray]


def inputs() -> np.ndarray:
    return np.random.default_rng(0).uniform(-1.5, 1.5, (N, 3)) * [1.0, 2.0, 0.5] + [0.0, 1.0, -0.5]


def lines(paths: dict[str, np.ndarray]) -> np.ndarray:
    """Intercept, then slopes, output after output."""
    parts = paths["experts.intercept"][0][:, None], paths["experts.coef"][0]
    return np.concatenate(parts, 1).ravel()


def with_own(name: str, move: Callable[[Any], Any] = np.asarray, slope: Callable[[Any], Any] = np.ones_like) -> Found:
    """The lines, and an own parameter of the family moved to the other program's."""

    def errors(paths: dict[str, np.ndarray], seen: dict[str, np.ndarray]) -> np.ndarray:
        own = paths[f"family.{name}"].ravel()
        return np.append(lines(seen), np.abs(slope(own)) * seen[f"family.{name}"].ravel())

    return Found(lambda paths: np.append(lines(paths), move(paths[f"family.{name}"].ravel())), errors)


LINES = Found(lines, lambda paths, errors: lines(errors))
ALPHA = with_own("size", lambda size: 1 / size, lambda size: 1 / size**2)


def by_score(log_likelihood: Callable[[np.ndarray], float], start: np.ndarray) -> Reference:
    """The optimum of a log-likelihood, and the errors of its numerical second derivatives."""
    found = minimize(lambda t: -log_likelihood(t), start, method="BFGS", options={"gtol": 1e-7})
    at = found.x
    for _ in range(5):  # steps of Newton
        hessian = approx_hess(at, log_likelihood)
        slope = np.array([(log_likelihood(at + h) - log_likelihood(at - h)) / 2e-5 for h in 1e-5 * np.eye(len(at))])
        at = at - np.linalg.solve(hessian, slope)
    return Reference(at, np.sqrt(np.diag(np.linalg.inv(-approx_hess(at, log_likelihood)))), log_likelihood(at))


def of_law(model: Any, scale: float, own: float, own_error: float) -> Reference:
    """A GLM with its scale estimated by maximum likelihood too, which the slopes' information does not depend on."""
    fit = model.fit(tol=1e-14)
    errors = np.sqrt(np.diag(np.linalg.inv(-model.hessian(fit.params, scale=scale, observed=True))))
    llf = model.family.loglike(model.endog, fit.fittedvalues, scale=scale)
    return Reference(np.append(fit.params, own), np.append(errors, own_error), llf)


def gamma(x: np.ndarray, y: np.ndarray) -> Reference:
    model = sm.GLM(y[:, 0], sm.add_constant(x), family=sm.families.Gamma(sm.families.links.Log()))
    fit = model.fit(tol=1e-14)

    def shape_of(t: np.ndarray) -> float:
        return float(model.family.loglike(model.endog, fit.fittedvalues, scale=np.exp(-t[0])))

    own = by_score(shape_of, np.zeros(1))
    shape = float(np.exp(own.estimates[0]))
    return of_law(model, 1 / shape, shape, shape * own.errors[0])


def inverse_gaussian(x: np.ndarray, y: np.ndarray) -> Reference:
    model = sm.GLM(y[:, 0], sm.add_constant(x), family=sm.families.InverseGaussian(sm.families.links.Log()))
    shape = len(y) / model.fit(tol=1e-14).deviance
    return of_law(model, 1 / shape, shape, shape * (2 / len(y)) ** 0.5)


def log_normal(x: np.ndarray, y: np.ndarray) -> Reference:
    fit = sm.OLS(np.log(y[:, 0]), sm.add_constant(x)).fit()
    scale = (fit.ssr / N) ** 0.5
    errors = fit.bse * ((N - 4) / N) ** 0.5
    return Reference(np.append(fit.params, scale), np.append(errors, scale / (2 * N) ** 0.5), fit.llf - np.log(y).sum())


def negative_binomial(x: np.ndarray, y: np.ndarray) -> Reference:
    fit = NegativeBinomial(y[:, 0], sm.add_constant(x)).fit(disp=0, method="newton", maxiter=200, tol=1e-13)
    return Reference(fit.params, fit.bse, fit.llf)


def beta(x: np.ndarray, y: np.ndarray) -> Reference:
    model = BetaModel(y[:, 0], sm.add_constant(x))
    found = by_score(lambda t: float(model.loglike(t)), model.fit(disp=0).params)
    precision = np.exp(found.estimates[4])
    return Reference(
        np.append(found.estimates[:4], precision), np.append(found.errors[:4], precision * found.errors[4]), found.llf
    )


def categorical(x: np.ndarray, y: np.ndarray) -> Reference:
    fit = MNLogit(y.argmax(1), sm.add_constant(x)).fit(disp=0, method="newton", tol=1e-13)
    return Reference(fit.params.T.ravel(), fit.bse.T.ravel(), fit.llf)


def ordered(x: np.ndarray, y: np.ndarray) -> Reference:
    """Theirs are slopes, the first cutpoint, which is minus our intercept, and logarithms of the gaps."""
    model = OrderedModel(y[:, 0].astype(int), x, distr="logit")
    found = by_score(lambda t: float(model.loglike(t)), model.fit(disp=0, method="bfgs").params)
    at, errors = found.estimates, found.errors
    gaps = np.exp(at[4:])
    return Reference(np.r_[-at[3], at[:3], gaps], np.r_[errors[3], errors[:3], gaps * errors[4:]], found.llf)


def weibull(x: np.ndarray, y: np.ndarray) -> Reference:
    """``log T = eta + sigma W`` with the standard least extreme value W, for ``sigma = 1 / shape``."""
    design, time, event = sm.add_constant(x), np.log(y[:, 0]), y[:, 1]

    def log_likelihood(t: np.ndarray) -> float:
        w = (time - design @ t[:4]) / np.exp(t[4])
        return float((event * (w - t[4] - time) - np.exp(w)).sum())

    found = by_score(log_likelihood, np.zeros(5))
    shape = np.exp(-found.estimates[4])
    return Reference(
        np.append(found.estimates[:4], shape), np.append(found.errors[:4], shape * found.errors[4]), found.llf
    )


def classes(eta: np.ndarray, r: np.random.Generator) -> np.ndarray:
    odds = np.exp(np.c_[np.zeros(N), eta, 0.3 - 0.5 * eta])
    place = r.random((N, 1)) >= (odds / odds.sum(1, keepdims=True)).cumsum(1)[:, :2]
    return np.eye(3)[place.sum(1)]


def censored(eta: np.ndarray, r: np.random.Generator) -> np.ndarray:
    time, end = np.exp(eta) * r.weibull(1.7, N), r.uniform(0.5, 4, N)
    return np.c_[np.minimum(time, end), time <= end].astype(float)


def shares(eta: np.ndarray, r: np.random.Generator) -> np.ndarray:
    return r.beta(8 * expit(eta), 8 * expit(-eta))


MODELS = {
    "gamma": (lambda eta, r: np.exp(eta) * r.gamma(4, 1 / 4, N), gamma, with_own("shape")),
    "inverse-gaussian": (lambda eta, r: r.wald(np.exp(eta), 5), inverse_gaussian, with_own("shape")),
    "log-normal": (lambda eta, r: np.exp(eta + 0.6 * r.normal(size=N)), log_normal, with_own("scale")),
    "negative-binomial": (lambda eta, r: r.poisson(np.exp(eta) * r.gamma(2, 1 / 2, N)), negative_binomial, ALPHA),
    "beta": (shares, beta, with_own("precision")),
    "categorical": (classes, categorical, LINES),
    "ordered": (lambda eta, r: np.digitize(eta + r.logistic(size=N), [0, 1.2]), ordered, with_own("gap")),
    "weibull": (censored, weibull, with_own("shape")),
}


@pytest.mark.parametrize("name", MODELS)
def test_one_expert_is_the_model_of_statsmodels(name):
    draw, refer, read = MODELS[name]
    x = inputs()
    y = np.asarray(draw(0.4 + x @ COEF, np.random.default_rng(1)), dtype=float).reshape(N, -1)
    fit = maximum_likelihood(Mixture((GATES["constant"],), (1,), family=FAMILIES[name]), make_rows(x, y), starts=1)
    assert fit.status == Status.converged
    expected = refer(x, y)
    paths = {path: value.numpy() for path, value in fit.measure.paths().items()}
    seen = standard_errors(information(fit, make_rows(x, y)))
    errors = {path: np.asarray(value) for path, value in seen.items()}
    np.testing.assert_allclose(fit.log_likelihood, expected.llf, rtol=1e-8)
    np.testing.assert_allclose(read.estimates(paths), expected.estimates, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(read.errors(paths, errors), expected.errors, rtol=1e-5)
