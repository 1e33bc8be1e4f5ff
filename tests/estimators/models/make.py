"""Write the saved models of this folder, and what they predict, with the gatewise that is installed.

    python tests/estimators/models/make.py [FOLDER]

The folder holds models as the first release wrote them: `tests/estimators/test_saved_models.py` reads each of them and
compares. Do not run this to make that test pass: a file that an old version wrote must stay readable as it is. Run it
into another folder to add models of a new kind, and copy these.

``NAME.json`` is the model, ``expected.json`` holds by name what it answered: the inputs ``X`` (and ``gate_X``), the
response ``y``, and the methods' values at them.
"""

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted

from gatewise import EXPERTS, GATES, MixtureOfExpertsRegressor, save_model
from gatewise.core.families import Binomial
from gatewise.core.gates import Gate
from gatewise.core.links import NormalisedSigmoid
from gatewise.core.scores import Activated, Affine, Cosine, Distance, Quadratic, Tempered

ROWS, SHOWN = 48, 4  # rows of a fit, and rows whose predictions are kept


def drawn(d, q=1, family="gaussian", seed=0):
    """Return X ``(n, d)`` and y ``(n, q)`` of two lines, or counts of their logarithms."""
    rng = np.random.default_rng([seed, d, q])
    x = rng.normal(size=(ROWS, d)) * (1.0, 3.0, 0.5)[:d] + (0.0, 10.0, -2.0)[:d]
    z = rng.random(ROWS) < 1 / (1 + np.exp(-2.0 * x[:, 0]))
    lines = np.where(z, 1.0 + x[:, 0], -1.0 - 0.5 * x[:, 0] + (x - x.mean(0)).sum(1))
    y = np.stack([(1 + j) * lines + 5.0 * j for j in range(q)], 1) + 0.3 * rng.normal(size=(ROWS, q))
    if family in ("poisson", "binomial"):
        return x, np.round(np.exp(0.4 * y)).clip(0, 9)
    return x, y


def cases():
    """Return the arguments of every model by name; ``d``, ``q`` and ``data`` say what it is fitted to."""
    found = {}
    for d in (1, 3):
        for name, gate in GATES.items():
            if gate.link.smooth:
                method = "ml" if gate.link.normalised else "ls"
                found[f"gate-{name}-d{d}"] = {"d": d, "gate": name, "method": method}
        for i, name in enumerate(EXPERTS):
            method = "ls" if i % 3 == 2 else "ml"
            found[f"expert-{name}-d{d}"] = {"d": d, "expert": name, "method": method, "standardize": i % 2 == 0}
        for name in ("student-t", "poisson"):
            found[f"family-{name}-d{d}"] = {"d": d, "family": name}
        found[f"family-binomial-d{d}"] = {"d": d, "family": Binomial(9)}
        found[f"family-full-gaussian-d{d}"] = {"d": d, "q": 2, "covariance": "full"}
        found[f"levels-d{d}"] = {"d": d, "n_experts": (2, 2), "gate": ["softmax", "laplace"]}
        found[f"gate-X-d{d}"] = {"d": d, "gate": "laplace", "data": "gate_X"}
        found[f"named-d{d}"] = {"d": d, "data": "named", "gate": "dense-to-sparse"}
    nested = Gate(Tempered(Activated(Affine(), "tanh")), NormalisedSigmoid())
    return found | {
        "family-binomial-one-trial": {"d": 2, "family": "binomial", "data": "zero-one"},
        "family-shared": {"d": 2, "q": 2, "scale": "shared"},
        "family-shared-full": {"d": 2, "q": 2, "covariance": "full", "scale": "shared", "n_experts": 2},
        "one-expert": {"d": 3, "n_experts": 1},
        "em": {"d": 2, "method": "em", "gate": "laplace"},
        "ls-levels": {"d": 2, "method": "ls", "n_experts": (2, 2), "gate": ["sigmoid", "laplace"]},
        "levels-uneven": {"d": 1, "n_experts": (2, 3), "gate": "softmax", "gauge": "none"},
        "gate-features": {"d": 3, "gate": "cosine", "gate_features": [0, 2]},
        "gate-features-named": {"d": 3, "data": "named", "gate_features": ["b"]},
        "composed": {"d": 1, "gate": nested},
        "composed-cosine": {"d": 2, "gate": Gate(Tempered(Cosine(0.2))), "standardize": False},
        "composed-metric": {"d": 2, "gate": Gate(Distance((1.0, 2.0))), "standardize": False},
        "composed-quadratic": {"d": 2, "gate": Gate(Quadratic()), "q": 2, "expert": "gelu-unit"},
        "bounds-and-fixed": {
            "d": 1,
            "bounds": {"family.scale": (0.1, np.array([1.0, 2.0]))},
            "fixed": {"experts.intercept": [1.0, np.nan]},
            "alpha": 0.5,
        },
    }


def fitted(d, q=1, data="", **options):
    """Return a fitted model, inputs and response of the rows that are kept."""
    family = options.get("family", "gaussian")
    x, y = drawn(d, q, "binomial" if isinstance(family, Binomial) else family)
    y = (y > np.median(y)).astype(float) if data == "zero-one" else y
    x = pd.DataFrame(x, columns=list("abc")[:d]) if data == "named" else x
    gate_x = drawn(2, seed=1)[0] if data == "gate_X" else None
    y = y[:, 0] if q == 1 else y
    model = MixtureOfExpertsRegressor(**{"n_init": 2, "random_state": 0, **options})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model.fit(x, y, gate_X=gate_x)
        except RuntimeError:  # advice about standardised parts of more than two inputs: the fit is there
            check_is_fitted(model, "fit_")
    return model, x[:SHOWN], None if gate_x is None else gate_x[:SHOWN], y[:SHOWN]


def answers(model, x, gate_x, y):
    """Return what a model says of rows, by method; what needs a density is left out of least squares."""
    law = model.mixture_.family.has_density
    told = {"predict": model.predict(x, gate_X=gate_x), "gate_proba": model.gate_proba(x, gate_X=gate_x)}
    if law:
        told["score_samples"] = model.score_samples(x, y, gate_X=gate_x)
        told["responsibilities"] = model.responsibilities(x, y, gate_X=gate_x)
    told |= {"aic": model.aic(), "bic": model.bic()} | ({"icl": model.icl()} if law else {})
    return {name: np.asarray(value).tolist() for name, value in told.items()}


def facts(model):
    """Return what a model says of its fit."""
    return {"status": str(model.status_), "df": model.fit_.df, "n": model.fit_.n, "outputs": model.n_outputs_}


def main(folder):
    """Write every model and what it answers."""
    expected = {}
    for name, options in cases().items():
        model, x, gate_x, y = fitted(**options)
        save_model(model, folder / f"{name}.json")
        rows = {"X": np.asarray(x).tolist(), "y": y.tolist()}
        rows |= {"columns": list(x.columns)} if isinstance(x, pd.DataFrame) else {}
        rows |= {} if gate_x is None else {"gate_X": gate_x.tolist()}
        expected[name] = {**rows, **facts(model), "answers": answers(model, x, gate_x, y)}
    (folder / "expected.json").write_text(json.dumps(expected) + "\n", "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
