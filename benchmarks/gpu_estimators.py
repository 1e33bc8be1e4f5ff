"""Sums over many rows on a device against the compiled sums of the CPU: rows per second, and a whole fit.

``python -m benchmarks.gpu estimators``. Models of ten inputs: two and eight Gaussian experts, counts behind a Laplace
gate, two levels. One sum of the Hessian and one of the gradient; a whole fit with its errors. Every figure comes with
how far the results of both lie apart.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gatewise.core.families import FAMILIES
from gatewise.core.gates import GATES
from gatewise.core.mixture import Measure, Mixture
from gatewise.fit.maximum_likelihood import maximum_likelihood
from gatewise.fit.result import Fit
from gatewise.infer.covariance.information import information
from gatewise.infer.predict import shares
from gatewise.infer.proportions import proportions
from gatewise.objective import likelihood
from gatewise.objective.accumulate import accumulate
from gatewise.objective.device import Device, device_named
from gatewise.objective.parameterization import make_parameterization
from gatewise.objective.rows import Rows, make_rows

D = 10
STARTS = 2


class Case(NamedTuple):
    """A model, and how many times fewer rows than of the others it is measured on."""

    name: str
    mixture: Mixture
    counts: bool = False
    share: int = 1


CASES = (
    Case("2 gaussian, softmax", Mixture((GATES["softmax"],), (2,))),
    Case("8 gaussian, softmax", Mixture((GATES["softmax"],), (8,)), share=2),
    Case("3 poisson, laplace", Mixture((GATES["laplace"],), (3,), family=FAMILIES["poisson"]), counts=True),
    Case("2 x 3 gaussian, softmax", Mixture((GATES["softmax"],) * 2, (2, 3)), share=2),
)


def chosen(name: str) -> Device:
    """Return the device that is measured: ``cpu`` is torch on the CPU, which tries the code."""
    return device_named(name) or Device(torch.device("cpu"), 2**28)


def draw(case: Case, n: int) -> Rows:
    """Return rows of planes in regions that overlap, by leaf."""
    rng = np.random.default_rng(0)
    leaves = case.mixture.n_leaves
    x = rng.normal(size=(n, D))
    centers = 2.0 * rng.normal(size=(leaves, D))
    far = np.stack([np.linalg.norm(x - center, axis=1) for center in centers], 1)
    owner = ((-far if case.counts else x @ centers.T) + rng.gumbel(size=(n, leaves))).argmax(1)
    eta = 3.0 * (owner - leaves / 2) + (rng.normal(size=(leaves, D))[owner] * x).sum(1)
    y = rng.poisson(np.exp(0.1 * eta.clip(-20, 20))) if case.counts else eta + 0.5 * rng.normal(size=n)
    return make_rows(x, y[:, None])


def run(device: str, n: int, rounds: int) -> dict[str, list[dict[str, Any]]]:
    """Return the table of sums and the table of fits."""
    sums, fits = [], []
    for case in CASES:
        rows = draw(case, n // case.share)
        there = replace(rows, device=chosen(device))
        sums += [row for stat in ("gradient", "hessian") for row in _sums(case, stat, rows, there, rounds)]
        fits.append(_fits(case, rows, there))
    return {"sums": sums, "fits": fits}


def _sums(case: Case, name: str, rows: Rows, there: Rows, rounds: int) -> list[dict[str, Any]]:
    """Return rows per second of one sum: compiled, on the device, and there after a copy of the rows each time."""
    mixture, stat = case.mixture, getattr(likelihood, name)
    measure = _measure(mixture)
    width = len(make_parameterization(mixture, D, D, 1).local)
    tasks: dict[str, Callable[[], tuple[Tensor, ...]]] = {
        "cpu, compiled": lambda: accumulate(stat, mixture, measure, rows, width),
        "device": lambda: accumulate(stat, mixture, measure, there, width),
        "device, rows copied": lambda: accumulate(stat, mixture, measure, replace(there), width),
    }
    results, seconds = {}, {where: float("inf") for where in tasks}
    for number in range(rounds + 1):
        for where, task in tasks.items():
            begun = time.perf_counter()
            results[where] = task()
            if number:
                seconds[where] = min(seconds[where], time.perf_counter() - begun)
    expected = results["cpu, compiled"]
    return [
        {
            "model": case.name,
            "sum": name,
            "where": where,
            "rows": rows.n,
            "rows/s": rows.n / seconds[where],
            "times the CPU": seconds["cpu, compiled"] / seconds[where],
            "apart": max(map(_apart, found, expected)),
        }
        for where, found in results.items()
    ]


def _apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max() / other.abs().max())


def _measure(mixture: Mixture) -> Measure:
    """Return a measure of one member, with numbers of no special kind."""
    parameterization = make_parameterization(mixture, D, D, 1)
    return parameterization.measure(torch.linspace(-0.3, 0.3, parameterization.size, dtype=torch.float64)[None])


def _fits(case: Case, rows: Rows, there: Rows) -> dict[str, Any]:
    found: dict[str, tuple[float, Fit]] = {}
    for where, one in (("cpu", rows), ("device", there)):
        begun = time.perf_counter()
        fit = _fitted(case.mixture, one)
        found[where] = time.perf_counter() - begun, fit
    (here, expected), (other, fit) = found["cpu"], found["device"]
    return {
        "model": case.name,
        "rows": rows.n,
        "cpu s": here,
        "device s": other,
        "times the CPU": here / other,
        "status": str(fit.status),
        "same status": fit.status == expected.status,
        "log-likelihood apart": abs(fit.log_likelihood - expected.log_likelihood) / abs(expected.log_likelihood),
    }


def _fitted(mixture: Mixture, rows: Rows) -> Fit:
    """Return a fit, after what an estimator asks of it: errors, proportions and responsibilities."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = maximum_likelihood(mixture, rows, starts=STARTS, seed=0)
        proportions(information(fit, rows), rows)
        shares(fit.mixture, fit.measure, rows)
    return fit
