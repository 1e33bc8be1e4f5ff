"""What least squares cost against maximum likelihood of the same mixture on the same data, in processor time."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from benchmarks.optima import _noise, _parts, _planes
from benchmarks.timing import cpu_seconds, table
from gatewise import MixtureOfExpertsRegressor

MODELS = [(gate, expert) for gate in ("softmax", "sigmoid", "laplace") for expert in ("linear", "gelu")]
SIZES = [(n, k) for n in (300, 2000, 20000) for k in (2, 3)]
FEATURES = (1, 3, 6)
STARTS: tuple[int | str, ...] = (10, "auto")


class Case(NamedTuple):
    """A data set and the mixture that is fitted to it."""

    gate: str
    expert: str
    d: int
    k: int
    n: int

    def drawn(self) -> tuple[np.ndarray, np.ndarray]:
        """Return inputs (n, d) and response (n,) of a mixture with noise; the mean of either method is the same."""
        rng = np.random.default_rng([*map(ord, self.gate[:2] + self.expert[:2]), self.d, self.k, self.n])
        x = rng.normal(size=(self.n, self.d))
        eta = _planes(rng, x, _parts(rng, x, self.k), 1.5)
        return x, _noise(rng, np.tanh(eta) if self.expert == "gelu" else eta)


class Cost(NamedTuple):
    """Processor seconds of a fit, its status, and the sum of squares of what it predicts."""

    seconds: float
    status: str
    sse: float


def cases() -> Iterator[Case]:
    """Yield every gate and expert at every size, with the number of features in turn."""
    for number, (n, k) in enumerate(SIZES):
        for other, (gate, expert) in enumerate(MODELS):
            yield Case(gate, expert, FEATURES[(number // 2 + number % 2 + other) % len(FEATURES)], k, n)


def fitted(case: Case, method: str, starts: int | str, x: np.ndarray, y: np.ndarray) -> Cost:
    """Fit a case. An unnormalised sigmoid defines no density: its maximum likelihood is that of softmax gates."""
    gate = "softmax" if (case.gate, method) == ("sigmoid", "ml") else case.gate
    options: dict[str, Any] = {"n_experts": case.k, "gate": gate, "expert": case.expert, "method": method}
    begin = cpu_seconds()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = MixtureOfExpertsRegressor(**options, n_init=starts, random_state=0).fit(x, y)
    spent = cpu_seconds() - begin
    return Cost(spent, model.status_, float(np.square(y - model.predict(x)).sum()))


def warm() -> None:
    """Compile: one fit of each kind."""
    for gate, expert in MODELS:
        case = Case(gate, expert, 1, 2, 100)
        for method in ("ml", "ls"):
            fitted(case, method, 1, *case.drawn())


def run(sets: int = 100, **_: Any) -> dict[str, Any]:
    """Fit the first `sets` cases by both methods, from ten starts and by default."""
    warm()
    lines = []
    for case, _number in zip(cases(), range(sets), strict=False):
        x, y = case.drawn()
        line: dict[str, Any] = case._asdict()
        for starts in STARTS:
            ml, ls = (fitted(case, method, starts, x, y) for method in ("ml", "ls"))
            line |= {
                f"ml s, {starts}": ml.seconds,
                f"ls s, {starts}": ls.seconds,
                f"ratio, {starts}": ls.seconds / ml.seconds,
                f"sse / n, {starts}": ls.sse / case.n,
                f"status, {starts}": ls.status,
            }
        print(" ".join(str(value) for value in line.values()), flush=True)
        lines.append(line)
    table("processor seconds of least squares against maximum likelihood", lines)
    summary = [_summary(lines, key, value) for key, value in _kinds(lines)]
    table("ratios by kind", summary)
    return {"fits": lines, "ratios": summary}


def _kinds(lines: list[dict[str, Any]]) -> list[tuple[str, Any]]:
    kinds: list[tuple[str, Any]] = [("", None)]
    for key in Case._fields:
        kinds += [(key, value) for value in dict.fromkeys(line[key] for line in lines)]
    return kinds


def _summary(lines: list[dict[str, Any]], key: str, value: Any) -> dict[str, Any]:
    some = [line for line in lines if not key or line[key] == value]
    out: dict[str, Any] = {"kind": f"{key} {value}" if key else "all", "data sets": len(some)}
    for starts in STARTS:
        ratios = [line[f"ratio, {starts}"] for line in some]
        out |= {
            f"median, {starts}": float(np.median(ratios)),
            f"mean, {starts}": float(np.mean(ratios)),
            f"of sums, {starts}": sum(line[f"ls s, {starts}"] for line in some)
            / sum(line[f"ml s, {starts}"] for line in some),
        }
    return out
