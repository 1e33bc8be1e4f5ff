"""Full fits against R's flexmix, the most used software for the same model: one start each, CPU seconds of the fit."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from benchmarks import problems
from benchmarks.scaling import kernels
from benchmarks.timing import cpu_seconds, table
from gatewise.core.mixture import Measure
from gatewise.fit import maximum_likelihood
from gatewise.objective.rows import make_rows

N, D, K = 20_000, 5, 3
SEEDS = range(5)
TIMES = 50.0  # less CPU than flexmix, at least
ROUNDING = 1e-6  # of a log-likelihood, in points
SCRIPT = Path(__file__).with_suffix(".R")
ASK = 'cat(requireNamespace("flexmix", quietly = TRUE))'
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class Fitted(NamedTuple):
    """One fit: CPU seconds, its log-likelihood from its parameters and by its own account, and other facts."""

    seconds: float
    log_likelihood: float
    own: float
    facts: dict[str, Any]


def run(rounds: int = 5, rows: int = N, seeds: Sequence[int] = SEEDS, **_: Any) -> dict[str, Any]:
    """Fit the same rows by both from every seed; the least CPU seconds of at most three interleaved rounds."""
    reason = missing()
    if reason:
        print(f"\nflexmix: skipped, {reason}")
        return {"skipped": reason}
    x, y = problems.synthetic(D, K, rows)
    _ours(x[:500], y[:500], 0)  # what is loaded or compiled on first use
    theirs: dict[int, Fitted] = {}
    ours: dict[int, Fitted] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.csv"
        names = ",".join(["y", *(f"x{j + 1}" for j in range(D))])
        np.savetxt(path, np.column_stack([y, x]), "%.6f", ",", header=names, comments="")
        for _round in range(min(3, rounds)):
            for seed in seeds:
                theirs[seed] = _faster(theirs.get(seed), _flexmix(path, x, y, seed + 1))
                ours[seed] = _faster(ours.get(seed), _ours(x, y, seed))
    lines = [_line(seed, theirs[seed], ours[seed]) for seed in seeds]
    compiled = kernels()
    versions = theirs[seeds[0]].facts["versions"]
    table(f"sg_d{D}_k{K}, n = {rows}, one start each, against {versions}; compiled kernels: {compiled}", lines)
    ratios = [line["CPU ratio"] for line in lines]
    summary = {
        "least ratio": min(ratios),
        "median ratio": median(ratios),
        "largest gap": max(line["flexmix logL"] - line["gatewise logL"] for line in lines),
        "holds": all(line["holds"] for line in lines),
    }
    table(f"CPU ratio (at least {TIMES:.0f}) at equal or better log-likelihood", [summary])
    return {**summary, "compiled kernels": compiled, "versions": versions, "fits": lines}


def missing() -> str | None:
    """Return what is not installed, or None."""
    program = shutil.which("Rscript")
    if program is None:
        return "Rscript is not installed: install R (on Debian, the package r-base-core)"
    answer = subprocess.run([program, "-e", ASK], capture_output=True, text=True, check=False)
    if answer.stdout != "TRUE":
        return "R's package flexmix is not installed: install it (on Debian, the package r-cran-flexmix)"
    return None


def log_likelihood(truth: problems.Truth, x: np.ndarray, y: np.ndarray) -> float:
    """Return the log-likelihood of rows at arrays of parameters."""
    logits = x @ truth["slope"].T + truth["bias"]
    mean = x @ truth["experts"][:, :-1].T + truth["experts"][:, -1]
    variance = truth["variance"]
    joint = logits - 0.5 * ((y[:, None] - mean) ** 2 / variance + np.log(2 * np.pi * variance))
    return float((np.logaddexp.reduce(joint, 1) - np.logaddexp.reduce(logits, 1)).sum())


def _flexmix(path: Path, x: np.ndarray, y: np.ndarray, seed: int) -> Fitted:
    """Fit in a process of R, which measures itself."""
    command = ["Rscript", str(SCRIPT), str(path), str(K), str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **ONE_THREAD})
    said = {name: rest for name, _, rest in (line.partition(" ") for line in done.stdout.splitlines())}
    numbers = {name: np.array(said[name].split(), dtype=float) for name in said if name != "versions"}
    experts = numbers["coef"].reshape(-1, D + 1)
    gate = numbers["gate"].reshape(-1, D + 1) if "gate" in numbers else np.zeros((1, D + 1))
    truth = {
        "slope": gate[:, 1:],
        "bias": gate[:, 0],
        "experts": np.roll(experts, -1, axis=1),
        "variance": numbers["sigma"] ** 2,
    }
    facts: dict[str, Any] = {name: int(numbers[name][0]) for name in ("passes", "experts", "converged")}
    own = float(numbers["log_likelihood"][0])
    facts["versions"] = said["versions"].strip()
    return Fitted(float(numbers["seconds"][0]), log_likelihood(truth, x, y), own, facts)


def _ours(x: np.ndarray, y: np.ndarray, seed: int) -> Fitted:
    """Fit in this process."""
    begin = cpu_seconds()
    fit = maximum_likelihood(problems.softmax_mixture(K), make_rows(x, y[:, None]), starts=1, seed=seed)
    seconds = cpu_seconds() - begin
    own = log_likelihood(_arrays(fit.measure), x, y)
    return Fitted(seconds, own, float(fit.log_likelihood), {"status": str(fit.status)})


def _arrays(measure: Measure) -> problems.Truth:
    """Return the arrays of a measure, one expert per row."""
    gate, experts = measure.gates[0], measure.experts
    return {
        "slope": gate["weight"].numpy(),
        "bias": gate["bias"].numpy(),
        "experts": np.column_stack([experts["coef"][:, 0].numpy(), experts["intercept"].numpy()]),
        "variance": measure.family["scale"][:, 0].numpy() ** 2,
    }


def _faster(before: Fitted | None, now: Fitted) -> Fitted:
    """Return the fit that took less; the fits themselves repeat."""
    return now if before is None or now.seconds < before.seconds else before


def _line(seed: int, theirs: Fitted, ours: Fitted) -> dict[str, Any]:
    """Return a line of the table; both log-likelihoods are of one function of the parameters."""
    ratio = theirs.seconds / ours.seconds
    return {
        "seed": seed,
        "flexmix CPU s": theirs.seconds,
        "gatewise CPU s": ours.seconds,
        "CPU ratio": ratio,
        "flexmix logL": theirs.log_likelihood,
        "its own": theirs.own,
        "gatewise logL": ours.log_likelihood,
        "own": ours.own,
        "flexmix passes": theirs.facts["passes"],
        "experts left": theirs.facts["experts"],
        "status": ours.facts["status"],
        "holds": ratio >= TIMES and ours.log_likelihood >= theirs.log_likelihood - ROUNDING,
    }
