"""gatewise beside other software, in one run: what both fit, both are given, and CPU seconds are compared.

``python -m benchmarks peers --out benchmarks/peers.json`` measures; ``python -m benchmarks.peers`` prints the tables of
that file in Markdown, as they stand in docs/peers.md. What is not installed is listed with how to install it.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pandas import DataFrame, read_csv
from torch import nn

from benchmarks import flexmix, glm, sizes
from benchmarks.nn import lucidrains, mixtral, ratio, st_moe
from benchmarks.timing import cpu_seconds, table, versions
from gatewise import FitWarning, MixtureOfExpertsRegressor, data, moe
from gatewise.nn import MoE

Row = Mapping[str, Any]
KEPT = Path(__file__).with_suffix(".json")
SCRIPT = Path(__file__).with_suffix(".R")
NEAR = 0.002  # of a log-likelihood
MIXTURES = ("flexmix", "mixtools")  # what peers.R fits


class Analysis(NamedTuple):
    """A model of a data set that comes with gatewise, and its recorded log-likelihood; `shared`: equal scales."""

    data: str
    formula: str
    gate: str
    k: int
    reference: float
    family: str = "gaussian"
    shared: bool = False

    def __str__(self) -> str:
        more = ["equal scales"] * self.shared + [self.family] * (self.family != "gaussian")
        return ", ".join([f"{self.data}: `{self.formula}`", f"gate `{self.gate}`", f"k = {self.k}", *more])


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


def fitted(one: Analysis, frame: DataFrame, **options: Any) -> MixtureOfExpertsRegressor:
    """Fit by moe, from one seed."""
    options |= {"scale": "shared"} if one.shared else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        more = {"family": one.family, "random_state": 0, **options}
        return moe(one.formula, frame, gate_formula=one.gate, n_experts=one.k, **more)


def ours(one: Analysis, frame: DataFrame) -> dict[str, Any]:
    """Fit by default; values are above the record."""
    begin = cpu_seconds()
    model = fitted(one, frame)
    seconds = cpu_seconds() - begin
    above = float(model.log_likelihood_) - one.reference
    return {
        "gatewise": above,
        "gatewise reached": above > -NEAR,
        "status": str(model.status_),
        "gatewise CPU s": seconds,
    }


def theirs(one: Analysis, frame: DataFrame) -> dict[str, Any]:
    """Fit by the R packages in a process that measures itself; what they cannot fit, or are not there to fit, is None.

    The optimum of flexmix is where our fit ends that starts from its posterior probabilities.
    """
    found: dict[str, Any] = dict.fromkeys(("flexmix", "flexmix, ML scales", "flexmix, its optimum", "mixtools"))
    if flexmix.missing() is None:
        with tempfile.TemporaryDirectory() as folder:
            path, posterior = Path(folder, "rows.csv"), Path(folder, "posterior.csv")
            frame.to_csv(path, index=False)
            formula = one.formula.replace("**", "^")
            words = (SCRIPT, path, formula, one.gate, one.family, one.k, str(one.shared).upper(), posterior)
            done = subprocess.run(["Rscript", *map(str, words)], capture_output=True, text=True, check=True)
            start = read_csv(posterior).to_numpy(float)
        lines = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("result ")]
        for name, version, *numbers in lines:
            seconds, own, ml = (None if number == "NA" else float(number) for number in numbers)
            found |= {f"{name} version": version, f"{name} CPU s": seconds}
            found[name] = None if own is None else own - one.reference
            found |= {} if ml is None else {f"{name}, ML scales": ml - one.reference}
        nearest = fitted(one, frame, start=start, n_init=1)
        found["flexmix, its optimum"] = float(nearest.log_likelihood_) - one.reference
    for name in MIXTURES:
        values = [found[key] for key in (name, f"{name}, ML scales") if found.get(key) is not None]
        found[f"{name} reached"] = max(values) > -NEAR if values else None
    return found


def published(analyses: Sequence[Analysis] = ANALYSES) -> dict[str, Any]:
    """Compare a fit by moe with the best of ten starts of flexmix and of mixtools; values are above the record."""
    frames = {one.data: data.load(one.data).frame for one in analyses}
    ours(analyses[0], frames[analyses[0].data])  # what is loaded or compiled on first use
    lines, known = [], versions(["gatewise"])
    for one in analyses:
        line = {"analysis": str(one), "record": one.reference, **ours(one, frames[one.data])}
        line |= theirs(one, frames[one.data])
        for name in MIXTURES:
            version = line.pop(f"{name} version", None)
            known |= {} if version is None else {name: version}
            seconds = line.setdefault(f"{name} CPU s", None)
            line[f"{name} ratio"] = None if seconds is None else seconds / line["gatewise CPU s"]
        lines.append(line)
    table(f"published analyses, log-likelihoods above the record: {known}", lines)
    reason = flexmix.missing()
    absent = [] if reason is None else [reason]
    if "mixtools" not in known:
        absent.append("mixtools was not run: it needs R, flexmix and mixtools (on Debian, the package r-cran-mixtools)")
    print(f"not present: {', '.join(absent) or 'none'}")
    table(f"the record reached to {NEAR}, or more", reached(lines))
    return {"rows": lines, "versions": known, "absent": absent}


def larger(**options: Any) -> dict[str, Any]:
    """Compare single starts on many rows with flexmix, by the benchmark of that name."""
    found = flexmix.run(**options)
    if "skipped" in found:
        return {"rows": [], "versions": {}, "absent": [found["skipped"]]}
    name = dict(zip(("R", "flexmix"), found["versions"].split()[1::2], strict=True))
    return {"rows": found["fits"], "versions": versions(["gatewise"]) | name, "absent": []}


LAYERS: dict[str, tuple[Callable[[int, int, int], nn.Module], str]] = {
    # package: layer of so many experts, inputs and hidden units; our units with as many matrices
    "transformers": (lambda e, d, h: mixtral(e, "grouped_mm", d, h), "swiglu"),
    "st-moe-pytorch": (st_moe, "swiglu"),
    "mixture-of-experts": (lucidrains, "gelu"),
}


def layers(dim: int = 256, tokens: int = 512, experts: int = 8, seconds: float = sizes.SECONDS) -> dict[str, Any]:
    """Compare a layer with those of the packages that are installed, forward alone, and forward and backward."""
    torch.manual_seed(0)
    known = versions(["gatewise", "torch", *LAYERS])
    lines = []
    for package in [name for name in LAYERS if name in known]:
        layer, units = LAYERS[package]
        size = sizes.Size(dim, tokens, experts, units)
        own = MoE(dim, 2 * dim, experts, "softmax", sizes.KEPT, activation=units)
        both = {"own": own, "peer": layer(experts, dim, 2 * dim)}
        for training in (False, True):
            tasks = {name: sizes.one_pass(one, size, 1, training) for name, one in both.items()}
            spent = sizes.measured(tasks, seconds)
            middle, low, high = ratio(spent["peer"], spent["own"])
            line = {"package": package, "units": units, "pass": "forward and backward" if training else "forward"}
            line |= {"gatewise ms": 1000 * min(spent["own"]), "its ms": 1000 * min(spent["peer"])}
            lines.append(line | {"ratio": middle, "low": low, "high": high})
    absent = [name for name in LAYERS if name not in known]
    table(f"layers, T = {tokens}, d = {dim}, hidden {2 * dim}, E = {experts}, top-2, fp32, one thread: {known}", lines)
    print(f"not present: {', '.join(f'{name} (pip install {name})' for name in absent) or 'none'}")
    return {"rows": lines, "versions": known, "absent": absent}


def run(rounds: int = 5, **_: Any) -> dict[str, Any]:
    """Print and return all four comparisons."""
    return {
        "published": published(),
        "larger": larger(rounds=rounds),
        "one_expert": glm.run(rounds=rounds),
        "layers": layers(),
    }


def reached(rows: Sequence[Row]) -> list[Row]:
    """Count the published analyses that each package has, and those of which it reaches the record."""
    found = []
    for name in ("gatewise", *MIXTURES):
        flags = [row[f"{name} reached"] for row in rows]
        had = [flag for flag in flags if flag is not None]
        found.append({"package": name, "analyses": len(had), "reached": sum(had)})
    return found


COLUMNS: dict[str, tuple[dict[str, str], ...]] = {  # section: its tables, each with the formats of its columns
    "published": (
        {
            "analysis": "",
            "record": ".4f",
            "gatewise": "z.3f",
            "flexmix": "z.3f",
            "flexmix, ML scales": "z.3f",
            "flexmix, its optimum": "z.3f",
            "mixtools": "z.3f",
        },
        {
            "analysis": "",
            "gatewise CPU s": ".2f",
            "flexmix CPU s": ".2f",
            "flexmix ratio": ".1f",
            "mixtools CPU s": ".2f",
            "mixtools ratio": ".1f",
        },
    ),
    "larger": (
        {
            "seed": "",
            "gatewise logL": ".3f",
            "flexmix logL": ".3f",
            "gatewise CPU s": ".3f",
            "flexmix CPU s": ".1f",
            "CPU ratio": ".0f",
        },
    ),
    "one_expert": (
        {
            "family": "",
            "peer": "",
            "its log-likelihood - ours": ".1g",
            "largest difference of estimates": ".1g",
            "gatewise CPU s": ".3f",
            "its CPU s": ".3f",
            "ratio": ".2f",
        },
    ),
    "layers": (
        {
            "package": "",
            "units": "",
            "pass": "",
            "gatewise ms": ".1f",
            "its ms": ".1f",
            "ratio": ".2f",
            "low": ".2f",
            "high": ".2f",
        },
    ),
}


def tables(result: Mapping[str, Any]) -> list[str]:
    """Return the tables of the page in Markdown, from what ``--out`` wrote."""
    machine, found = result["machine"], result["benchmarks"]["peers"]
    known = {"processor": machine["cpu"], "Python": machine["python"], "torch": machine["torch"]}
    for section in COLUMNS:
        known |= found[section]["versions"]
    counts = reached(found["published"]["rows"])
    return [
        as_markdown(counts, dict.fromkeys(counts[0], "")),
        *(as_markdown(found[section]["rows"], columns) for section, every in COLUMNS.items() for columns in every),
        as_markdown([{"what": name, "version": value} for name, value in known.items()], {"what": "", "version": ""}),
    ]


def as_markdown(rows: Sequence[Row], columns: Mapping[str, str]) -> str:
    """Return columns of rows as a table; each has the format of its numbers."""
    cells = [["" if row[name] is None else format(row[name], form) for name, form in columns.items()] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in [list(columns), ["---"] * len(columns), *cells])


if __name__ == "__main__":
    print("\n\n".join(tables(json.loads(KEPT.read_text("utf-8")))))
