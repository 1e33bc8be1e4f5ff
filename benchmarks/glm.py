"""One expert against software for generalised linear models: the same estimates by maximum likelihood, in CPU seconds.

Log-likelihoods are of one function of the coefficients, the best over scale or shape, so that no convention of a
package about its scale counts.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
from scipy import stats
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from benchmarks.timing import best_of, table, versions
from gatewise import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor

N, D, CLASSES, SHAPE = 20_000, 6, 3, 4.0
Fit = Callable[[np.ndarray, np.ndarray], Any]


class Peer(NamedTuple):
    """A way to fit a family: the package as it is installed, what is called, the fit, and its coefficients.

    `read` returns the intercept, then the slopes; of classes one row for each but the first.
    """

    package: str
    call: str
    family: str
    fit: Fit
    read: Callable[[Any], np.ndarray]


def _statsmodels(family: str, call: str, **options: Any) -> Peer:
    def fit(x: np.ndarray, y: np.ndarray) -> Any:
        sm = import_module("statsmodels.api")
        made = getattr(sm.families, call)(**{name: make(sm) for name, make in options.items()})
        return sm.GLM(y, sm.add_constant(x), family=made).fit()

    return Peer("statsmodels", "GLM", family, fit, lambda result: result.params)


def _negative_binomial(x: np.ndarray, y: np.ndarray) -> Any:
    sm = import_module("statsmodels.api")
    return sm.NegativeBinomial(y, sm.add_constant(x)).fit(disp=0, maxiter=1000)


def _dask(family: str, call: str) -> Peer:
    def fit(x: np.ndarray, y: np.ndarray) -> Any:
        return getattr(import_module("dask_ml.linear_model"), call)(solver="newton").fit(x, y)  # without penalty

    return Peer("dask-ml", call, family, fit, lambda model: np.r_[model.intercept_, model.coef_])


def _sklearn(solver: str) -> Peer:
    def read(model: LogisticRegression) -> np.ndarray:
        found = np.column_stack([model.intercept_, model.coef_])
        return found[1:] - found[0]

    def fit(x: np.ndarray, y: np.ndarray) -> Any:
        return LogisticRegression(C=np.inf, solver=solver, max_iter=1000).fit(x, y)

    return Peer("scikit-learn", f"LogisticRegression, {solver}", "categorical", fit, read)


PEERS = (
    _statsmodels("gaussian", "Gaussian"),
    _statsmodels("poisson", "Poisson"),
    _statsmodels("binomial", "Binomial"),
    _statsmodels("gamma", "Gamma", link=lambda sm: sm.families.links.Log()),
    # GLM wants the dispersion to be known.
    Peer("statsmodels", "NegativeBinomial", "negative-binomial", _negative_binomial, lambda r: r.params[:-1]),
    _sklearn("lbfgs"),
    _sklearn("newton-cholesky"),
    _dask("gaussian", "LinearRegression"),
    _dask("poisson", "PoissonRegression"),
    _dask("binomial", "LogisticRegression"),
)


def ours(family: str) -> Peer:
    """Return the fit of one expert by gatewise."""
    if family == "categorical":
        model: Any = MixtureOfExpertsClassifier(n_experts=1, n_init=1, random_state=0)
    else:
        model = MixtureOfExpertsRegressor(n_experts=1, family=family, n_init=1, random_state=0)
    return Peer(
        "gatewise", "", family, model.fit, lambda m: np.concatenate([m.intercept_[0][..., None], m.coef_[0]], -1)
    )


def draw(family: str, n: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw standard normal inputs, and a response of a family with coefficients N(0, .09)."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, d))
    eta = 0.3 + x @ rng.normal(0, 0.3, (d, CLASSES))
    one = eta[:, 0]
    if family == "categorical":
        return x, (eta + rng.gumbel(size=eta.shape)).argmax(1)
    if family == "gaussian":
        return x, one + rng.normal(size=n)
    if family == "binomial":
        return x, (rng.random(n) < 1 / (1 + np.exp(-one))).astype(float)
    mean = np.exp(one) * (1.0 if family == "poisson" else rng.gamma(SHAPE, 1 / SHAPE, n))
    return x, mean if family == "gamma" else rng.poisson(mean).astype(float)


def log_likelihood(family: str, eta: np.ndarray, y: np.ndarray) -> float:
    """Return the largest log-likelihood over scale or shape at the predictors of all rows."""
    if family == "gaussian":
        return float(stats.norm.logpdf(y, eta, np.sqrt(np.mean((y - eta) ** 2))).sum())
    if family == "poisson":
        return float(stats.poisson.logpmf(y, np.exp(eta)).sum())
    if family in ("binomial", "categorical"):
        logits = np.column_stack([np.zeros(len(y)), eta])
        return float(log_softmax(logits, 1)[np.arange(len(y)), y.astype(int)].sum())

    def minus(log_shape: float) -> float:
        shape, mean = np.exp(log_shape), np.exp(eta)
        if family == "gamma":
            return -float(stats.gamma.logpdf(y, shape, scale=mean / shape).sum())
        return -float(stats.nbinom.logpmf(y, shape, shape / (shape + mean)).sum())

    return -float(minimize_scalar(minus, bounds=(-5.0, 10.0), method="bounded", options={"xatol": 1e-8}).fun)


def run(n: int = N, d: int = D, rounds: int = 5, **_: Any) -> dict[str, Any]:
    """Fit every family by gatewise and by each peer that is installed, in interleaved rounds."""
    known = versions(sorted({"gatewise", *(peer.package for peer in PEERS)}))
    lines = []
    with threadpool_limits(1):
        for family in dict.fromkeys(peer.family for peer in PEERS):
            x, y = draw(family, n, d)
            rivals = [peer for peer in PEERS if peer.family == family and peer.package in known]
            every = [ours(family), *rivals]
            found = [peer.read(peer.fit(x, y)) for peer in every]
            seconds = best_of({str(i): partial(peer.fit, x, y) for i, peer in enumerate(every)}, rounds)
            values = [log_likelihood(family, one[..., 0] + x @ one[..., 1:].T, y) for one in found]
            lines += [
                {
                    "family": family,
                    "peer": f"{peer.package} {peer.call}",
                    "its log-likelihood - ours": values[i] - values[0],
                    "largest difference of estimates": float(np.abs(found[i] - found[0]).max()),
                    "gatewise CPU s": seconds["0"],
                    "its CPU s": seconds[str(i)],
                    "ratio": seconds[str(i)] / seconds["0"],
                }
                for i, peer in enumerate(rivals, 1)
            ]
    table(f"one expert and GLM software, n = {n}, d = {d}: {known}", lines)
    absent = sorted({peer.package for peer in PEERS} - set(known))
    print(f"not present: {', '.join(f'{name} (pip install {name})' for name in absent) or 'none'}")
    return {"n": n, "d": d, "rows": lines, "versions": known, "absent": absent}
