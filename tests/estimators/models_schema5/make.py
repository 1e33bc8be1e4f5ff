"""Write the saved models of this folder, of schema 5, and what they answered, with the gatewise that is installed.

    python tests/estimators/models_schema5/make.py [FOLDER]

Do not run this to make `test_saved_models.py` pass: what an old version wrote must stay readable as it is. Once the
schema of files has a new number, copy this script beside the files of that one.
"""

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from gatewise import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor, moe, save_model

ROWS, SHOWN = 120, 4
NUMBERS = ["age", "dose", "time"]


def frame():
    """Return a frame of three inputs, a factor, an exposure, weights, groups, counts, numbers and classes."""
    rng = np.random.default_rng(55)
    x = pd.DataFrame(rng.normal(size=(ROWS, 3)), columns=NUMBERS)
    x["site"], x["person"] = rng.choice(["north", "south", "west"], ROWS), np.arange(ROWS) // 3
    x["hours"], x["w"] = rng.uniform(1, 9, ROWS).round(2), rng.integers(1, 4, ROWS)
    first = rng.random(ROWS) < 0.5
    eta = np.where(first, 0.5 + 0.5 * x.age, -0.5 - 0.4 * x.dose) + 0.3 * (x.site == "south")
    x["visits"] = rng.poisson(x.hours * np.exp(eta)) * (rng.random(ROWS) < 0.8)
    x["level"] = np.where(first, 3 + x.age, -2 - x.time) + 0.3 * rng.normal(size=ROWS)
    x["ease"] = x.level / 2 + x.dose + rng.normal(size=ROWS)
    x["kind"] = np.where(rng.random(ROWS) < 1 / (1 + np.exp(-3 * eta)), "yes", "no")
    return x


def models():
    """Return fitted models by name, and whether they take the frame or its columns of numbers."""
    data, plain = frame(), {"n_init": 3, "random_state": 0}
    x, regressor = data[NUMBERS], MixtureOfExpertsRegressor
    counts = moe("visits ~ age + C(site)", data, gate_formula="~ dose", offset="np.log(hours)", shared="C(site)",
                 family="poisson", zero_inflated=True, n_experts=2, reference=0, **plain)  # fmt: skip
    noise = regressor(2, "constant", noise=True, weight_kind="sampling", **plain)
    tree = regressor((2, 2), ["softmax", "laplace"], expert="constant", reference=(0, 1), **plain)
    kinds = regressor(2, gate_features=["dose", "age"], expert=["linear", "constant"], family="student-t", **plain)
    apart = regressor(2, "quadratic", method="ls", standardize=False, bounds={"experts.coef": (-9.0, 9.0)}, **plain)
    people = moe("level + ease ~ age * dose + bs(time, df=4)", data, gate_formula="~ 1", groups="person", n_experts=2,
                 covariance="full", **plain)  # fmt: skip
    return {
        "formula": (counts, True),
        "groups": (people, True),
        "noise": (noise.fit(x, data.level, sample_weight=data.w), False),
        "tree": (tree.fit(x, data.level), False),
        "kinds": (kinds.fit(x, data.level), False),
        "squares": (apart.fit(x, data.level), False),
        "classes": (MixtureOfExpertsClassifier(2, **plain).fit(x, data.kind), False),
    }


def answers(model, by_formula):
    """Return what a model says of the first rows, and of itself."""
    rows = frame()[:SHOWN] if by_formula else frame()[NUMBERS][:SHOWN]
    said = {"gate_proba": model.gate_proba(rows).tolist(), "predict": np.asarray(model.predict(rows)).tolist()}
    if hasattr(model, "predict_proba"):
        said["predict_proba"] = model.predict_proba(rows).tolist()
    summary = model.summary()
    tables = {"experts": summary.experts, "gates": summary.gates, "proportions": summary.proportions}
    numbers = {name: table.select_dtypes("number").to_numpy().tolist() for name, table in tables.items()}
    said |= {name: [[None if np.isnan(one) else one for one in row] for row in rows] for name, rows in numbers.items()}
    measure = {path: np.asarray(value).tolist() for path, value in model.measure_.paths().items()}
    return said | {"measure": measure, "bic": model.bic(), "status": str(model.status_), "df": model.fit_.df}


def main(folder):
    expected = {}
    for name, (model, by_formula) in models().items():
        save_model(model, folder / f"{name}.json")
        expected[name] = answers(model, by_formula)
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
