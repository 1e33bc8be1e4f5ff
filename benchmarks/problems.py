"""The data of the benchmarks, all drawn from formulas."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gatewise.core.gates import GATES
from gatewise.core.mixture import Measure, Mixture
from gatewise.objective.columns import Columns
from gatewise.objective.parameterization import Parameterization, make_parameterization
from gatewise.objective.rows import Rows, make_rows

Truth = dict[str, np.ndarray]


class Case(NamedTuple):
    """B replicates of n rows with d covariates and k experts."""

    name: str
    replicates: int
    n: int
    d: int
    k: int


CASES = (
    Case("i", 1, 1_000_000, 5, 5),
    Case("ii", 1, 100_000, 5, 3),
    Case("iii", 200, 10_000, 1, 3),
    Case("iv", 2000, 1000, 1, 3),
)


def softmax_mixture(k: int) -> Mixture:
    """Return k linear Gaussian experts behind a softmax gate."""
    return Mixture((GATES["softmax"],), (k,))


def draw_truth(rng: np.random.Generator, d: int, k: int, overlap: float = 1.0) -> Truth:
    """Draw gate (slopes N(0, 1), intercepts .3 N(0, 1), last class zero), experts 2 N(0, 1), variances .3 + .7 U."""
    slope, bias = rng.normal(size=(k, d)), 0.3 * rng.normal(size=k)
    experts = overlap * 2.0 * rng.normal(size=(k, d + 1))
    variance = 0.3 + 0.7 * rng.uniform(size=k)
    return {"slope": slope - slope[-1], "bias": bias - bias[-1], "experts": experts, "variance": variance}


def draw_rows(rng: np.random.Generator, truth: Truth, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Draw x ``shape + (d,)`` from N(0, 1) and y ``shape`` from the truth."""
    x = rng.normal(size=(*shape, truth["slope"].shape[1]))
    return x, respond(rng, truth, x)


def respond(rng: np.random.Generator, truth: Truth, x: np.ndarray) -> np.ndarray:
    """Draw the response of every row of x."""
    logits = x @ truth["slope"].T + truth["bias"]
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    label = (weights.cumsum(-1) < rng.uniform(size=(*x.shape[:-1], 1))).sum(-1)
    label = np.minimum(label, truth["slope"].shape[0] - 1)
    experts = truth["experts"][label]
    mean = (x * experts[..., :-1]).sum(-1) + experts[..., -1]
    return mean + np.sqrt(truth["variance"])[label] * rng.normal(size=label.shape)


def measure_of(truth: Truth) -> Measure:
    """Return the measure (*B) of arrays ``slope (*B, k, d), bias (*B, k), experts (*B, k, d + 1), variance``."""
    t = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in truth.items()}
    experts = t["experts"].unsqueeze(-2)
    return Measure(
        ({"weight": t["slope"], "bias": t["bias"]},),
        {"coef": experts[..., :-1], "intercept": experts[..., -1]},
        {"scale": t["variance"].sqrt().unsqueeze(-1)},
    )


def scattered(rng: np.random.Generator, truth: Truth, count: int, size: float = 0.1) -> Truth:
    """Return `count` copies of a truth, each moved by noise of standard deviation `size`."""
    moved = {k: v + size * rng.normal(size=(count, *v.shape)) for k, v in truth.items() if k != "variance"}
    return moved | {"variance": truth["variance"] * np.exp(size * rng.normal(size=(count, len(truth["variance"]))))}


def replicated_rows(x: np.ndarray, y: np.ndarray) -> Rows:
    """Return x ``(B, n, d)`` and y ``(B, n)`` as rows with a batch of data sets, or of one when B is 1."""
    if len(x) == 1:
        return make_rows(x[0], y[0, :, None])
    inputs = Columns(torch.from_numpy(np.ascontiguousarray(x.transpose(0, 2, 1))))
    return Rows(inputs, inputs, Columns(torch.from_numpy(y).unsqueeze(-2)))


def synthetic(d: int, k: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first n rows of the 100 000-row set ``sg_d{d}_k{k}`` (softmax gate, last class the reference)."""
    rng = np.random.default_rng(20240100 + 10 * d + k)
    if d == 1:
        c = np.linspace(-1.5, 1.5, k)
        slope, bias = (3.0 * c)[:, None], -3.0 * c**2 / 2
        b0 = rng.normal(0, 1.0, k)
        b1 = (np.where(np.arange(k) % 2 == 0, 1, -1) * rng.uniform(1.0, 2.5, k))[:, None]
        slope, bias = slope - slope[-1], bias - bias[-1]
    else:
        slope = rng.normal(0, 1.5, (k, d))
        slope -= slope[-1]
        bias = rng.normal(0, 0.5, k)
        bias -= bias[-1]
        b0, b1 = rng.normal(0, 1.0, k), rng.normal(0, 1.2, (k, d))
    scale = rng.uniform(0.25, 0.6, k)
    x = rng.uniform(-2, 2, (100_000, d))
    logits = bias + x @ slope.T
    weights = np.exp(logits - logits.max(1, keepdims=True))
    weights /= weights.sum(1, keepdims=True)
    z = (weights.cumsum(1) < rng.uniform(size=(100_000, 1))).sum(1)
    y = b0[z] + (x * b1[z]).sum(1) + scale[z] * rng.normal(size=100_000)
    return np.round(x, 6)[:n], np.round(y, 6)[:n]


def design_a(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw design A: two experts, one covariate on [-2, 2]; it is fitted with three."""
    truth = {
        "slope": np.array([[1.5], [0.0]]),
        "bias": np.array([0.3, 0.0]),
        "experts": np.array([[1.5, 1.0], [-1.0, -1.0]]),
        "variance": np.array([0.5, 0.7]) ** 2,
    }
    x = rng.uniform(-2, 2, (n, 1))
    return x, respond(rng, truth, x)


def parameterization_of(mixture: Mixture, d: int) -> Parameterization:
    """Return the plain chart of a mixture with one response."""
    return make_parameterization(mixture, d, d, 1)


def free_of(parameterization: Parameterization, truth: Truth) -> Tensor:
    """Return the free coordinates (*B, P) of arrays of parameters."""
    return parameterization.free(measure_of(truth))
