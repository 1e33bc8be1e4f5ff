"""Data with known answers: the targets, the synthetic sets they were computed on, and small mixtures of two lines."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gatewise import data
from gatewise.data.catalogue import CATALOGUE

HOME = Path(__file__).parents[1] / "data" / "targets"
TARGETS = {entry["id"]: entry for entry in json.loads((HOME / "targets.json").read_text("utf-8"))}


def draw_set(d, k, n):
    """Softmax-gated Gaussian mixture, the first n of 100 000 rows: X, y and the truth, last branch as reference."""
    rng = np.random.default_rng(20240100 + 10 * d + k)
    if d == 1:
        c = np.linspace(-1.5, 1.5, k)
        slope, level = (3.0 * c)[:, None], -3.0 * c**2 / 2
        level, slope = level - level[-1], slope - slope[-1]
        intercept = rng.normal(0, 1.0, k)
        coef = (np.where(np.arange(k) % 2 == 0, 1, -1) * rng.uniform(1.0, 2.5, k))[:, None]
    else:
        slope = rng.normal(0, 1.5, (k, d))
        slope -= slope[-1]
        level = rng.normal(0, 0.5, k)
        level -= level[-1]
        intercept, coef = rng.normal(0, 1.0, k), rng.normal(0, 1.2, (k, d))
    scale, x = rng.uniform(0.25, 0.6, k), rng.uniform(-2, 2, (100000, d))
    score = level + x @ slope.T
    weight = np.exp(score - score.max(1, keepdims=True))
    weight /= weight.sum(1, keepdims=True)
    z = (weight.cumsum(1) < rng.uniform(size=(100000, 1))).sum(1)
    y = intercept[z] + (x * coef[z]).sum(1) + scale[z] * rng.normal(size=100000)
    truth = {"weight": slope, "bias": level, "coef": coef, "intercept": intercept, "scale": scale}
    return np.round(x, 6)[:n], np.round(y, 6)[:n], truth


def as_csv(x, y):
    """The bytes of the file that the checksums belong to."""
    header = ",".join(["y", *(f"x{j + 1}" for j in range(x.shape[1]))])
    lines = [",".join(f"{v:.6f}" for v in row) for row in np.column_stack([y, x])]
    return "\n".join([header, *lines, ""]).encode()


def target_frame(entry):
    """The data of a target: a shipped data set with the same checksum, or a synthetic one made again."""
    shipped = [name for name, known in CATALOGUE.items() if known.sha256 == entry.get("sha256")]
    if shipped:
        return data.load(shipped[0]).frame
    _, d, k, n = entry["data"].removesuffix(".csv").split("_")
    x, y, _ = draw_set(int(d[1:]), int(k[1:]), int(n[1:]))
    assert hashlib.sha256(as_csv(x, y)).hexdigest() == entry["sha256"]
    return pd.DataFrame({"y": y, **{f"x{j + 1}": column for j, column in enumerate(x.T)}})


@pytest.fixture(scope="session")
def synthetic():
    return draw_set


@pytest.fixture(scope="session")
def targets():
    return TARGETS


@pytest.fixture(scope="session")
def frame():
    return lambda name: target_frame(TARGETS[name])


@pytest.fixture(scope="session")
def exact():
    """Softmax-gated Gaussian data and their exact optimum."""
    table = pd.read_csv(HOME / "A1_exact_n2000.csv")
    return table[["x"]].to_numpy(), table["y"].to_numpy(), json.loads((HOME / "A1_exact_n2000.json").read_text("utf-8"))


@pytest.fixture(scope="session")
def lines():
    """Two overlapping lines, 300 rows of two inputs, of which the gate needs one: X, y."""
    rng = np.random.default_rng(7)
    x = rng.normal(size=(300, 2))
    z = rng.random(300) < 1 / (1 + np.exp(-1.5 * x[:, 0]))
    y = np.where(z, 1 + x[:, 1], -1 - x[:, 1] + 0.5 * x[:, 0]) + np.where(z, 0.3, 0.5) * rng.normal(size=300)
    return x, y
