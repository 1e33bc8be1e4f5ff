"""How often does the default fit miss a better sound optimum, by class of model, and what does its search cost?

Hostile problems: few rows, overlapping or wrong experts, more or fewer experts than the data have. The best optimum
known of each stands in `optima.json`: ``python -m benchmarks.optima`` finds it by 200 starts of another seed.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np

from benchmarks.timing import table
from gatewise import MixtureOfExpertsRegressor
from gatewise.files import write_text

KNOWN = Path(__file__).with_name("optima.json")
PROBLEMS = 40  # of each class
MISSED = 1e-4  # nats
STARTS = 200
DOUBTFUL = 60  # starts of a user who doubts the default
FRESH = 2  # seed of the problems that judge; the search was chosen on those of seed 1


class Data(NamedTuple):
    """A problem: options of the estimator, inputs (n, d), response (n,) or (n, q)."""

    options: dict[str, Any]
    x: np.ndarray
    y: np.ndarray


def _parts(rng: np.random.Generator, x: np.ndarray, experts: int) -> np.ndarray:
    """Return which of `experts` true experts draws each row, by a softmax gate of random sharpness."""
    logits = rng.uniform(0.3, 3.0) * x @ rng.normal(size=(x.shape[1], experts)) + 0.5 * rng.normal(size=experts)
    return (logits + rng.gumbel(size=logits.shape)).argmax(1)


def _planes(rng: np.random.Generator, x: np.ndarray, label: np.ndarray, size: float) -> np.ndarray:
    """Return linear predictors of the rows' own experts."""
    experts = size * rng.normal(size=(label.max() + 1, x.shape[1] + 1))
    return (x * experts[label, :-1]).sum(1) + experts[label, -1]


def _drawn(rng: np.random.Generator, most: int = 4, size: float = 1.5) -> tuple[np.ndarray, np.ndarray, int]:
    """Return inputs, linear predictors and the number of experts to fit: the true one, one more or one fewer."""
    d, experts = int(rng.integers(1, 7)), int(rng.integers(2, most + 1))
    x = rng.normal(size=(int(rng.integers(120, 400)), d))
    eta = _planes(rng, x, _parts(rng, x, experts), size)
    return x, eta, max(2, min(most, experts + int(rng.integers(-1, 2))))


def _noise(rng: np.random.Generator, eta: np.ndarray) -> np.ndarray:
    return eta + rng.uniform(0.2, 1.0) * rng.normal(size=len(eta))


def _gaussian(rng: np.random.Generator) -> Data:
    x, eta, k = _drawn(rng, 3)
    return Data({"n_experts": k}, x, _noise(rng, eta))


def _many(rng: np.random.Generator) -> Data:
    x, eta, k = _drawn(rng, 6)
    return Data({"n_experts": max(k, 4)}, x, _noise(rng, eta))


def _with_gate(*gates: str) -> Callable[[np.random.Generator], Data]:
    def draw(rng: np.random.Generator) -> Data:
        x, eta, k = _drawn(rng)
        return Data({"n_experts": k, "gate": str(rng.choice(gates))}, x, _noise(rng, eta))

    return draw


def _two_levels(rng: np.random.Generator) -> Data:
    x, eta, _ = _drawn(rng, 5)
    gate = [str(rng.choice(("softmax", "laplace"))) for _ in range(2)]
    return Data({"n_experts": (2, int(rng.integers(2, 4))), "gate": tuple(gate)}, x, _noise(rng, eta))


def _binomial(rng: np.random.Generator) -> Data:
    x, eta, k = _drawn(rng, 3)
    return Data({"n_experts": k, "family": "binomial"}, x, (rng.uniform(size=len(x)) < 1 / (1 + np.exp(-eta))) * 1.0)


def _poisson(rng: np.random.Generator) -> Data:
    x, eta, k = _drawn(rng, 3, 0.5)
    return Data({"n_experts": k, "family": "poisson"}, x, rng.poisson(np.exp(np.clip(eta + 0.5, -5, 5))) * 1.0)


def _student(rng: np.random.Generator) -> Data:
    x, eta, k = _drawn(rng, 3)
    return Data({"n_experts": k, "family": "student-t"}, x, eta + rng.uniform(0.2, 0.6) * rng.standard_t(3, len(x)))


def _curved(rng: np.random.Generator) -> Data:
    x, eta, k = _drawn(rng, 3)
    return Data({"n_experts": k, "expert": str(rng.choice(("gelu", "tanh", "relu")))}, x, _noise(rng, np.tanh(eta)))


def _squares(rng: np.random.Generator) -> Data:
    x, eta, k = _drawn(rng, 3)
    gate = str(rng.choice(("softmax", "sigmoid", "laplace")))
    expert = str(rng.choice(("linear", "linear", "gelu")))
    return Data({"n_experts": k, "method": "ls", "gate": gate, "expert": expert}, x, _noise(rng, eta))


CLASSES: dict[str, Callable[[np.random.Generator], Data]] = {
    "Gaussian, up to 3": _gaussian,
    "Gaussian, 4 to 6": _many,
    "Laplace gates": _with_gate("laplace", "scaled-laplace"),
    "activation gates": _with_gate("activated", "activation-dense-to-sparse", "cosine"),
    "quadratic gates": _with_gate("quadratic", "quadratic-monomial"),
    "two levels": _two_levels,
    "binomial": _binomial,
    "Poisson": _poisson,
    "Student-t": _student,
    "curved experts": _curved,
    "least squares": _squares,
}


class Found(NamedTuple):
    """A fit: log-likelihood, status, whether it is sound, processor time, starts, and how many of them reached it."""

    log_likelihood: float
    status: str
    sound: bool
    seconds: float
    starts: int
    hits: int
    bound: float


def problem(name: str, number: int, seed: int) -> Data:
    """Return one problem of a class."""
    return CLASSES[name](np.random.default_rng([seed, list(CLASSES).index(name), number]))


def fitted(data: Data, **options: Any) -> Found:
    """Fit a problem, by default as a user who sets nothing."""
    begin = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = MixtureOfExpertsRegressor(**data.options, **{"random_state": 0, **options}).fit(data.x, data.y)
    fit, spent = model.fit_, time.process_time() - begin
    starts = fit.starts
    sound = str(fit.status) != "unsound"
    return Found(
        float(fit.log_likelihood), str(fit.status), sound, spent, len(starts.kind), starts.hits, float(starts.better)
    )


def cases(count: int) -> Iterator[tuple[str, int]]:
    """Return classes and numbers of problems, one of each class in turn."""
    return ((name, number) for number in range(count) for name in CLASSES)


def run(sets: int = 100, **_: Any) -> dict[str, Any]:
    """Fit the problems that judge by default settings, and compare with the best optimum known."""
    known = json.loads(KNOWN.read_text())
    found = {f"{name}, {number}": fitted(problem(name, number, FRESH)) for name, number in cases(min(PROBLEMS, sets))}
    lines = [_line(name, known, found) for name in [*CLASSES, "all"]]
    table("default fits against the best sound optimum known", lines)
    calibration = _calibration(known, found)
    table("what is stated about further starts, and what they find", calibration)
    return {"classes": lines, "calibration": calibration, "fits": {key: fit._asdict() for key, fit in found.items()}}


def many_starts(sets: int = 100, **_: Any) -> dict[str, Any]:
    """Compare default fits with fits from 60 starts of another seed, as a user would who doubts the default."""
    keys = [f"{name}, {number}" for name, number in cases(min(PROBLEMS, sets))]
    found = {key: fitted(_of(key)) for key in keys}
    others = {key: fitted(_of(key), n_init=DOUBTFUL, random_state=1000) for key in keys}
    known = {key: fit.log_likelihood for key, fit in others.items() if fit.sound}
    lines = [_line(name, known, found) for name in [*CLASSES, "all"]]
    table(f"default fits against {DOUBTFUL} starts of another seed", lines)
    spent = [
        {"fits": words, "CPU s, mean": float(np.mean([fit.seconds for fit in fits.values()]))}
        for words, fits in (("default", found), (f"{DOUBTFUL} starts", others))
    ]
    table("what they cost", spent)
    return {"classes": lines, "cost": spent, "fits": {key: fit._asdict() for key, fit in others.items()}}


def _line(name: str, known: dict[str, float], found: dict[str, Found]) -> dict[str, Any]:
    fits = {key: fit for key, fit in found.items() if name == "all" or key.startswith(f"{name}, ")}
    sound = {key: fit for key, fit in fits.items() if fit.sound and key in known}
    missed = {key for key, fit in sound.items() if fit.log_likelihood < known[key] - MISSED}
    certified = {key for key, fit in sound.items() if fit.status == "converged"}
    seconds = [fit.seconds for fit in fits.values()] or [0.0]
    return {
        "class": name,
        "fits": len(fits),
        "sound": len(sound),
        "missed": len(missed),
        "missed %": 100 * len(missed) / max(1, len(sound)),
        "certified": len(certified),
        "of these missed": len(missed & certified),
        "above the known": sum(fit.log_likelihood > known[key] + MISSED for key, fit in sound.items()),
        "CPU s, median": float(np.median(seconds)),
        "mean": float(np.mean(seconds)),
        "p95": float(np.quantile(seconds, 0.95)),
    }


def _calibration(known: dict[str, float], found: dict[str, Found]) -> list[dict[str, Any]]:
    """Return, by the number of starts that reached the best, how often it was not the best known."""
    lines = []
    for words, least, most in (("none", 0, 0), ("one or two", 1, 2), ("three or more", 3, 10**9)):
        some = {key: fit for key, fit in found.items() if fit.sound and key in known and least <= fit.hits <= most}
        missed = sum(fit.log_likelihood < known[key] - MISSED for key, fit in some.items())
        again = sum(
            other.sound and other.log_likelihood > fit.log_likelihood + MISSED
            for key, fit in some.items()
            for other in [fitted(_of(key), n_init=1, random_state=4711)]
        )
        lines.append(
            {"starts at the best": words, "fits": len(some), "missed": missed, "one fresh start better": again}
        )
    return lines


def _of(key: str) -> Data:
    name, _, number = key.rpartition(", ")
    return problem(name, int(number), FRESH)


def reference(count: int, workers: int) -> None:
    """Find the best sound optimum of each problem by many starts of another seed; keep what is better than known."""
    some = list(cases(count))
    known: dict[str, float] = json.loads(KNOWN.read_text()) if KNOWN.exists() else {}
    search = joblib.delayed(lambda case: (case, fitted(problem(*case, FRESH), n_init=STARTS, random_state=77)))
    for (name, number), fit in joblib.Parallel(workers, return_as="generator_unordered")(map(search, some)):
        key = f"{name}, {number}"
        if fit.sound and fit.log_likelihood > known.get(key, -np.inf):
            known[key] = fit.log_likelihood
            write_text(KNOWN, json.dumps(known, indent=1, sort_keys=True))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Find the reference optima; better ones are added to optima.json.")
    parser.add_argument("--count", type=int, default=PROBLEMS, help="problems of each class")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    reference(options.count, options.workers)
