"""Published analyses by ``moe``: the recorded log-likelihoods, and flexmix beside them where R is installed."""

from __future__ import annotations

import subprocess
import tempfile
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.flexmix import missing
from benchmarks.timing import cpu_seconds, table
from gatewise import FitWarning, data, moe

SCRIPT = Path(__file__).with_suffix(".R")
NEAR = 0.002  # of a log-likelihood
TIMES = 10.0  # less time than the peer, at least


class Analysis(NamedTuple):
    """A model of a data set that comes with gatewise, and its recorded log-likelihood; `shared`: equal scales."""

    data: str
    formula: str
    gate: str
    k: int
    reference: float
    family: str = "gaussian"
    shared: bool = False


ANALYSES = (  # the references of docs/coming-from.md
    Analysis("tone", "tuned ~ stretchratio", "~ 1", 2, 145.4168),
    Analysis("tone", "tuned ~ stretchratio", "~ stretchratio", 2, 145.6503),
    Analysis("npreg", "yn ~ x + I(x**2)", "~ 1", 2, -642.5320),
    Analysis("npreg", "yp ~ x", "~ 1", 2, -440.6403, "poisson"),
    Analysis("nregfix", "y ~ x1 + x2", "~ w", 3, -399.3962),
    Analysis("co2", "CO2 ~ GNP", "~ 1", 1, -77.9462),
    Analysis("co2", "CO2 ~ GNP", "~ 1", 2, -66.9398),
    Analysis("co2", "CO2 ~ GNP", "~ 1", 2, -69.4238, shared=True),
    Analysis("co2", "CO2 ~ GNP", "~ GNP", 2, -66.2966),
    Analysis("co2", "CO2 ~ GNP", "~ GNP", 2, -68.4397, shared=True),
    Analysis("mcycle", "accel ~ times", "~ times", 2, -614.5367),
)


def ours(one: Analysis) -> dict[str, Any]:
    """Fit by moe, from one seed."""
    options = {"scale": "shared"} if one.shared else {}
    begin = cpu_seconds()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        frame = data.load(one.data).frame
        more = {"family": one.family, "random_state": 0, **options}
        model = moe(one.formula, frame, gate_formula=one.gate, n_experts=one.k, **more)
    value = float(model.log_likelihood_)
    return {
        "log-likelihood": value,
        "reference": one.reference,
        "reached": value > one.reference - NEAR,
        "status": str(model.status_),
        "CPU s": cpu_seconds() - begin,
    }


def theirs(one: Analysis) -> dict[str, Any]:
    """Fit by flexmix in a process of R, which measures itself; it gives every component a scale of its own."""
    if one.shared:
        return {"flexmix": np.nan, "its CPU s": np.nan}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rows.csv")
        data.load(one.data).frame.to_csv(path, index=False)
        formula = one.formula.replace("**", "^")
        command = ["Rscript", str(SCRIPT), str(path), formula, one.gate, one.family, str(one.k)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    said = dict(line.split() for line in done.stdout.splitlines())
    return {"flexmix": float(said["log_likelihood"]), "its CPU s": float(said["seconds"])}


def run(**_: Any) -> dict[str, Any]:
    """Print log-likelihood and time of every analysis, beside its reference and, where R is installed, flexmix."""
    reason = missing()
    ours(ANALYSES[0])  # what is loaded or compiled on first use
    lines = []
    for one in ANALYSES:
        line = {"data": one.data, "formula": one.formula, "gate": one.gate, "k": one.k, **ours(one)}
        if reason is None:
            line |= theirs(one)
            line["ratio"] = line["its CPU s"] / line["CPU s"]
            line["holds"] = line["reached"] and not line["ratio"] < TIMES
        lines.append(line)
    table("published analyses", lines)
    print(f"peers: {'flexmix' if reason is None else f'none, {reason}'}")
    reached = sum(line["reached"] for line in lines)
    print(f"{reached} of {len(lines)} reach the recorded log-likelihood to {NEAR}, or more")
    return {"lines": lines, "reached": reached, "missing": reason}
