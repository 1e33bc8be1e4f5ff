"""The raw Laplace gate against an optimiser that shares no code with the package."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import minimize

from benchmarks.timing import table
from gatewise.core.gates import GATES
from gatewise.core.mixture import Mixture
from gatewise.fit import maximum_likelihood
from gatewise.objective.rows import make_rows

RELATIVE = 1e-8
SETS = ((1, 2, 200), (1, 2, 500), (1, 3, 300), (2, 2, 200), (2, 2, 500), (2, 3, 400))  # d, k, n
STARTS = 40


class Model:
    """Minus log-likelihood of k linear Gaussian experts behind ``bias - ||x - center||``, and its gradient."""

    def __init__(self, x: np.ndarray, y: np.ndarray, k: int) -> None:
        self.x, self.y, self.k, self.d = x, y, k, x.shape[1]
        self.design = np.column_stack([x, np.ones(len(x))])
        self.sizes = np.cumsum([k * self.d, k - 1, k * (self.d + 1)])

    def split(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return centers (k, d), biases (k,), experts (k, d + 1), log scales (k,)."""
        center, bias, experts, scale = np.split(theta, self.sizes)
        return center.reshape(self.k, -1), np.append(bias, 0.0), experts.reshape(self.k, -1), scale

    def __call__(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        center, bias, experts, log_scale = self.split(theta)
        apart = self.x[:, None] - center
        distance = np.sqrt((apart**2).sum(-1))
        logits = bias - distance
        z = (self.y[:, None] - self.design @ experts.T) * np.exp(-log_scale)
        joint = logits - 0.5 * z**2 - log_scale - 0.5 * np.log(2 * np.pi)
        share, gate_sum = _softmax(logits)
        leaf, total = _softmax(joint)
        pull = leaf - share
        with np.errstate(invalid="ignore", divide="ignore"):
            toward = np.where(distance[..., None] > 0, apart / distance[..., None], 0.0)
        gradient = [
            (pull[..., None] * toward).sum(0).ravel(),
            pull.sum(0)[:-1],
            ((leaf * z * np.exp(-log_scale)).T @ self.design).ravel(),
            (leaf * (z**2 - 1)).sum(0),
        ]
        return float((gate_sum - total).sum()), -np.concatenate(gradient)


def _softmax(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    top = values.max(1, keepdims=True)
    grown = np.exp(values - top)
    total = grown.sum(1, keepdims=True)
    return grown / total, (top + np.log(total))[:, 0]


def draw(rng: np.random.Generator, d: int, k: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw inputs of unequal spread and a response from a Laplace-gated mixture."""
    x = rng.normal(size=(n, d)) * rng.uniform(1.0, 3.0, d)
    center, experts = 2.0 * rng.normal(size=(k, d)), 1.5 * rng.normal(size=(k, d + 1))
    logits = -2.0 * np.sqrt(((x[:, None] - center) ** 2).sum(-1))
    label = (_softmax(logits)[0].cumsum(1) < rng.uniform(size=(n, 1))).sum(1).clip(max=k - 1)
    mean = (np.column_stack([x, np.ones(n)]) * experts[label]).sum(1)
    return x, mean + rng.uniform(0.3, 0.7, k)[label] * rng.normal(size=n)


def independent(x: np.ndarray, y: np.ndarray, k: int, rng: np.random.Generator, starts: int = STARTS) -> float:
    """Return the best log-likelihood from many starts, the best ones again with centers held at data points."""
    model, d = Model(x, y, k), x.shape[1]
    floor = np.log(0.01 * y.std())
    found = []
    for _ in range(starts):
        seeds = rng.choice(len(x), k, replace=False)
        label = ((x[:, None] - x[seeds]) ** 2).sum(-1).argmin(1)
        experts = np.stack([_plane(model.design[label == c], y[label == c]) for c in range(k)])
        experts += 0.3 * rng.normal(size=experts.shape)
        theta = np.concatenate([x[seeds].ravel(), np.zeros(k - 1), experts.ravel(), np.full(k, np.log(0.5 * y.std()))])
        found.append(_descend(model, theta, floor, np.zeros(len(theta), bool)))
    found.sort(key=lambda end: end[0])
    best = found[0][0]
    for value, theta in found[:4]:
        for c in range(k):
            center = theta[c * d : (c + 1) * d]
            for near in np.argsort(((x - center) ** 2).sum(1))[:4]:
                held = np.zeros(len(theta), bool)
                held[c * d : (c + 1) * d] = True
                snapped = theta.copy()
                snapped[held] = x[near]
                best = min(best, _descend(model, snapped, floor, held)[0], value)
    return -best


def _plane(design: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.linalg.lstsq(design, y, rcond=None)[0]


def _descend(model: Model, theta: np.ndarray, floor: float, held: np.ndarray) -> tuple[float, np.ndarray]:
    """Run L-BFGS-B with restarts, held coordinates staying where they are."""
    bounds = [(v, v) if fixed else (None, None) for v, fixed in zip(theta, held, strict=True)]
    bounds[-model.k :] = [(floor, None)] * model.k
    value = np.inf
    for _ in range(5):
        options = {"maxiter": 2000, "maxfun": 4000, "ftol": 1e-15, "gtol": 1e-8, "maxcor": 20}
        done = minimize(model, theta, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
        theta, fell = done.x, value - done.fun
        value = float(done.fun)
        if fell < 1e-10 * abs(value):
            break
    return value, theta


def run(**_: Any) -> dict[str, Any]:
    """Compare the best log-likelihoods, relative gap at most 1e-8 or ours higher."""
    lines = []
    for number, (d, k, n) in enumerate(SETS):
        rng = np.random.default_rng([7, number])
        x, y = draw(rng, d, k, n)
        fit = maximum_likelihood(Mixture((GATES["laplace"],), (k,)), make_rows(x, y[:, None]))
        other = independent(x, y, k, rng)
        gap = (other - fit.log_likelihood) / abs(other)
        lines.append(
            {
                "d, k, n": f"{d}, {k}, {n}",
                "gatewise": fit.log_likelihood,
                "independent": other,
                "relative gap": gap,
                "status": str(fit.status),
                "kinks": len(fit.certificate.kinks),
                "hits": fit.starts.hits,
                "holds": gap <= RELATIVE,
            }
        )
    table("raw Laplace gate: log-likelihood against scipy on an objective of its own", lines)
    return {"relative": RELATIVE, "sets": lines}
