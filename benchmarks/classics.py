"""What default fits of published data sets cost, and what they reach; another version beside it with --against.

``python -m benchmarks.classics --against FOLDER`` runs the same fits on the sources in FOLDER/src as well.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.timing import cpu_seconds, table
from gatewise import MixtureOfExpertsRegressor, data

CONSTANT: dict[str, Any] = {"gate": "constant"}
SHARED: dict[str, Any] = {"scale": "shared"}
FITS: dict[str, tuple[str, str, list[str], list[str] | None, dict[str, Any]]] = {
    # name: data set, response, inputs of the experts, inputs of the gates, options
    "tone, constant gate": ("tone", "tuned", ["stretchratio"], None, CONSTANT),
    "tone, softmax gate": ("tone", "tuned", ["stretchratio"], None, {}),
    "NPreg, Gaussian": ("npreg", "yn", ["x", "x2"], None, CONSTANT),
    "NPreg, Poisson": ("npreg", "yp", ["x"], None, {**CONSTANT, "family": "poisson"}),
    "CO2, constant gate": ("co2", "CO2", ["GNP"], None, CONSTANT),
    "CO2, shared scale": ("co2", "CO2", ["GNP"], None, {**CONSTANT, **SHARED}),
    "CO2, softmax gate": ("co2", "CO2", ["GNP"], None, {}),
    "CO2, softmax gate, shared scale": ("co2", "CO2", ["GNP"], None, SHARED),
    "motorcycle": ("mcycle", "accel", ["z"], None, {}),
    "NregFix, 3 experts": ("nregfix", "y", ["x1", "x2"], ["w"], {"n_experts": 3}),
    "drawn, 1 input, 2 experts": ("1 2 1000", "y", ["x1"], None, {}),
    "drawn, 1 input, 100,000 rows": ("1 2 100000", "y", ["x1"], None, {}),
    "drawn, 5 inputs, 3 experts": ("5 3 1000", "y", [f"x{j}" for j in range(1, 6)], None, {"n_experts": 3}),
    "drawn, 5 inputs, 5 experts": ("5 5 1000", "y", [f"x{j}" for j in range(1, 6)], None, {"n_experts": 5}),
}


def drawn(d: int, k: int, n: int) -> pd.DataFrame:
    """Draw a softmax-gated mixture of k Gaussian lines with d inputs."""
    rng = np.random.default_rng([20240, d, k])
    x = rng.uniform(-2, 2, (n, d))
    logits = x @ rng.normal(0, 1.5, (d, k)) + rng.normal(0, 0.5, k)
    label = (logits + rng.gumbel(size=(n, k))).argmax(1)
    mean = (x * rng.normal(0, 1.2, (k, d))[label]).sum(1) + rng.normal(0, 1.0, k)[label]
    y = mean + rng.uniform(0.25, 0.6, k)[label] * rng.normal(size=n)
    return pd.DataFrame({"y": y, **{f"x{j + 1}": column for j, column in enumerate(x.T)}})


def frame_of(name: str) -> pd.DataFrame:
    """Return the table of a data set, with the columns that its analyses add."""
    if name[0].isdigit():
        d, k, n = map(int, name.split())
        return drawn(d, k, n)
    frame = data.load(name).frame
    if name == "npreg":
        return frame.assign(x2=frame["x"] ** 2)
    return frame.assign(z=(frame["times"] - frame["times"].mean()) / 10) if name == "mcycle" else frame


def measured() -> list[dict[str, Any]]:
    """Fit everything once for the kernels, then once with a clock."""
    lines = []
    for name, (source, response, inputs, gate_inputs, options) in FITS.items():
        frame = frame_of(source)
        x, y = frame[inputs].astype(float), frame[response].astype(float)
        gate = None if gate_inputs is None else frame[gate_inputs].astype(float)
        seconds = []
        for _ in range(2):
            begin = cpu_seconds()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = MixtureOfExpertsRegressor(**{"random_state": 0, **options}).fit(x, y, gate_X=gate)
            seconds.append(cpu_seconds() - begin)
        lines.append(
            {
                "fit": name,
                "log-likelihood": round(float(model.log_likelihood_), 4),
                "status": str(model.status_),
                "CPU s": seconds[-1],
            }
        )
    return lines


def run(against: str | None = None, **_: Any) -> dict[str, Any]:
    """Print time and log-likelihood of each fit, beside those of another version where one is given."""
    lines = measured()
    if against is not None:
        here = str(Path(__file__).parents[1])
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(against, "src").resolve()), here])}
        program = "import json; from benchmarks.classics import measured; print(json.dumps(measured()))"
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        )
        for line, before in zip(lines, json.loads(done.stdout.splitlines()[-1]), strict=True):
            line |= {"before": before["log-likelihood"], "its status": before["status"], "its CPU s": before["CPU s"]}
            line["ratio"] = line["CPU s"] / before["CPU s"]
    table("default fits of published data", lines)
    return {"fits": lines}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.classics", description=__doc__)
    parser.add_argument("--against", metavar="FOLDER", help="a checkout of another version")
    run(**vars(parser.parse_args()))
