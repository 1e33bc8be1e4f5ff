"""Least squares against an independent optimiser: numpy means, MINPACK from many starts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import least_squares as minpack
from scipy.special import ndtr

from benchmarks.timing import cpu_seconds, table
from gatewise.core.experts import EXPERTS
from gatewise.core.gates import GATES
from gatewise.core.mixture import Mixture
from gatewise.fit.least_squares import least_squares
from gatewise.objective.rows import make_rows

RELATIVE = 1e-9
STARTS = 60


def gelu(z: np.ndarray) -> np.ndarray:
    """Return ``z Phi(z)``."""
    return z * ndtr(z)


def softmax(z: np.ndarray) -> np.ndarray:
    """Return the softmax over the first axis."""
    e = np.exp(z - z.max(0))
    return e / e.sum(0)


def sigmoid(z: np.ndarray) -> np.ndarray:
    """Return ``1 / (1 + exp(-z))``."""
    return 0.5 * (1.0 + np.tanh(0.5 * z))


Mean = Callable[[np.ndarray, np.ndarray], np.ndarray]


def sigmoid_gelu(t: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return ``sum_k sigmoid(w_k x + b_k) gelu(a_k x + c_k)``, t = (w, b, a, c)."""
    w, b, a, c = t.reshape(4, -1, 1)
    return (sigmoid(w * x + b) * gelu(a * x + c)).sum(0)


def sigmoid_linear(t: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return ``sum_k sigmoid(w_k x + b_k) (a_k x + c_k)``."""
    w, b, a, c = t.reshape(4, -1, 1)
    return (sigmoid(w * x + b) * (a * x + c)).sum(0)


def softmax_relu(t: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return ``sum_k softmax_k(w x + b) relu(a_k x + c_k)``, the last gate zero."""
    k = (len(t) + 2) // 4
    w, b = np.zeros((k, 1)), np.zeros((k, 1))
    w[:-1, 0], b[:-1, 0] = t[: k - 1], t[k - 1 : 2 * k - 2]
    a, c = t[2 * k - 2 :].reshape(2, k, 1)
    return (softmax(w * x + b) * np.maximum(a * x + c, 0.0)).sum(0)


def hierarchical_laplace(t: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return the mean of two levels of two Laplace gates with linear experts; the last bias of a node is zero."""
    outer, inner = t[:2, None], t[3:7].reshape(2, 2, 1)
    zero = np.zeros((1, 1))
    first = softmax(np.concatenate([t[2:3, None], zero]) - np.abs(outer - x))
    a, c = t[9:13].reshape(2, 2, 1), t[13:17].reshape(2, 2, 1)
    out = np.zeros_like(x)
    for i in range(2):
        second = softmax(np.concatenate([t[7 + i : 8 + i, None], zero]) - np.abs(inner[i] - x))
        out += first[i] * (second * (a[i] * x + c[i])).sum(0)
    return out


class Case(NamedTuple):
    """A model in both engines."""

    name: str
    mean: Mean
    size: int
    mixture: Mixture


CASES = (
    Case("sigmoid, GELU", sigmoid_gelu, 8, Mixture((GATES["sigmoid"],), (2,), EXPERTS["bare-gelu"])),
    Case("sigmoid, linear", sigmoid_linear, 8, Mixture((GATES["sigmoid"],), (2,), EXPERTS["linear"])),
    Case("softmax, ReLU", softmax_relu, 6, Mixture((GATES["softmax"],), (2,), EXPERTS["bare-relu"])),
    Case(
        "Laplace (2, 2), linear",
        hierarchical_laplace,
        17,
        Mixture((GATES["laplace"],) * 2, (2, 2), EXPERTS["linear"]),
    ),
)


def draw(case: Case, number: int, n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Draw inputs on [-2, 2] and a response around the mean at random parameters."""
    rng = np.random.default_rng([15, number])
    x = rng.uniform(-2.0, 2.0, n)
    return x, case.mean(rng.normal(0.0, 1.5, case.size), x) + 0.2 * rng.normal(size=n)


def independent(case: Case, x: np.ndarray, y: np.ndarray, seed: int) -> float:
    """Return the least mean of half the squares that MINPACK finds from many random starts."""
    rng = np.random.default_rng([16, seed])

    def residual(t: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            return case.mean(t, x) - y

    best, at = np.inf, np.zeros(case.size)
    for _ in range(STARTS):
        done = minpack(residual, rng.normal(0.0, 1.5, case.size), method="lm", max_nfev=4000)
        if done.cost < best:
            best, at = done.cost, done.x
    fine = minpack(residual, at, method="lm", jac="3-point", xtol=1e-15, ftol=1e-15, gtol=1e-15, max_nfev=20000)
    return min(best, fine.cost) / len(x)


def run(sets: int = 20, **_: Any) -> dict[str, Any]:
    """Fit `sets` data sets with each model by both engines, from equally many starts."""
    lines, gaps = [], {}
    for case in CASES:
        excess, statuses, begin, ours = [], {}, cpu_seconds(), 0.0
        for number in range(sets):
            x, y = draw(case, number)
            start = cpu_seconds()
            fit = least_squares(case.mixture, make_rows(x[:, None], y[:, None]), starts=STARTS, seed=number)
            ours += cpu_seconds() - start
            other = independent(case, x, y, number)
            excess.append(float((fit.objective - other) / other))
            statuses[str(fit.status)] = statuses.get(str(fit.status), 0) + 1
        gaps[case.name] = excess
        lines.append(
            {
                "model": case.name,
                "sets": sets,
                "never beaten": int(sum(e <= RELATIVE for e in excess)),
                "largest excess": max(excess),
                "ours better": int(sum(e < -RELATIVE for e in excess)),
                "CPU s ours": ours / sets,
                "CPU s other": (cpu_seconds() - begin - ours) / sets,
                "statuses": ", ".join(f"{k} {v}" for k, v in sorted(statuses.items())),
            }
        )
    table(f"half the mean square against MINPACK from {STARTS} starts; excess relative", lines)
    return {"cases": lines, "excess": gaps}
