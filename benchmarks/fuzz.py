"""Fuzz: hostile frames, formulas and options. Each ends in a right fit or a clear error, none after ten seconds.

``python -m benchmarks fuzz --examples 2000``. An example is known by its seed: ``python -m benchmarks.fuzz SEED`` shows
what it was and how it ended.
"""

from __future__ import annotations

import re
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
import pandas as pd

from benchmarks.timing import table
from gatewise import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor, load_model, moe, save_model

PROCESSES = 2
LIMIT = 10.0  # seconds of the processor
SIZES = (0, 1, 2, 4, 12, 30, 60, 60, 60, 90, 90, 90, 120, 120, 150)
NAMES = (
    "x",
    "z",
    "w",
    "größe",
    "年齢",
    "blood pressure",
    "x.1",
    "1x",
    "class",
    "log",
    "C",
    "np",
    "I",
    "a`b",
    "y~x",
    "",
)
FAMILIES = (
    *("gaussian", "gaussian", "gaussian", "student-t", "poisson", "negative-binomial", "binomial", "gamma"),
    *("inverse-gaussian", "log-normal", "beta", "weibull", "categorical", "ordered", "gaussian", "gaussian", "poisson"),
)
GATES = (
    *("softmax",) * 6,
    *("constant",) * 4,
    *("laplace", "equal", "cosine", "quadratic", "sigmoid"),
    *("normalised-sigmoid", "dense-to-sparse", "top-k", "nonsense"),
)
WRONG = (
    *(
        "",
        "y ~",
        "~ {a}",
        "y {a}",
        "y ~ {a} +",
        "y ~ foo({a})",
        "y ~ {a} | {b}",
        "y ~ .",
        "y ~ y",
        "y ~ nowhere",
        "y ~ 0",
    ),
    *(
        "y ~ __import__('os').getcwd()",
        "y ~ {a}.mean()",
        "y ~ {a}[0]",
        "y ~ lambda: 1",
        "y ~ {a} if {b} else 1",
        "y ~ (",
    ),
    *(
        "y ~ C({a}, Treatment('zz'))",
        "y ~ bs({a}, df=-3)",
        "y ~ poly({a}, 99)",
        "nowhere ~ {a}",
        "y ~ I({a}/0)",
        "y~{a}~{b}",
    ),
)
RIGHT = (
    *("y ~ {a}", "y ~ {a}", "y ~ {a} + {b}", "y ~ {a} + {b}", "y ~ {a} * {b}", "y ~ {a} - 1", "y ~ 1", "y ~ {a}:{b}"),
    *(
        "y ~ C({a})",
        "y ~ poly({a}, 2)",
        "y ~ bs({a}, df=4)",
        "y ~ cs({a}, df=4)",
        "y ~ center({a}) + {b}",
        "y ~ log(abs({a}) + 1)",
    ),
    *(
        "y ~ I({a}**2)",
        "y ~ np.exp({a})",
        "log(abs(y) + 1) ~ {a}",
        "y + {a} ~ {b}",
        "y ~ ({a} + {b})**2",
        "y ~ {a} + {a}",
    ),
)
WORDS = (
    *(
        "give",
        "divide",
        "multiply",
        "move",
        "convert",
        "fill",
        "leave",
        "use",
        "choose",
        "pass",
        "drop",
        "write",
        "rename",
        "fit",
    ),
    *("check", "needs?", "must", "found", "expected", "required", "there (are|is)", "(are|is) refused", "encod\\w+"),
    *("the (names|choices|options|functions|paths) are", "start at"),
)
REMEDY = re.compile(rf"\b({'|'.join(WORDS)})\b", re.IGNORECASE)
KNOWN = (  # warnings that are to the point: of scikit-learn, and of a factor with as many levels as rows
    "The number of unique classes is greater than 50%",
    "and a parameter for each: convert it by pd.to_numeric",
)


class Outcome(NamedTuple):
    """How an example ended: ``fit``, ``clear`` (an error in words), or what is wrong."""

    seed: int
    verdict: str
    words: str
    seconds: float


def column(rng: np.random.Generator, n: int, others: list[np.ndarray]) -> Any:
    """Return a column of a frame, more or less hostile."""
    x = rng.normal(size=n)
    kind = rng.choice(
        ["plain"] * 60
        + ["huge", "tiny", "far", "constant", "copy", "binary", "int", "bool", "text", "text", "mixed", "one level"]
        + [
            "category",
            "unused",
            "date",
            "span",
            "nan",
            "inf",
            "empty",
            "nullable",
            "string",
            "lists",
            "complex",
            "skewed",
        ]
    )
    letters = rng.choice(["a", "b", "c"], n) if n else np.array([], dtype="<U1")
    made: dict[str, Any] = {
        "plain": lambda: x, "huge": lambda: 1e12 * x, "tiny": lambda: 1e-12 * x, "far": lambda: 1e8 + x,
        "constant": lambda: np.full(n, 3.0), "copy": lambda: 2 * others[-1] if others else x,
        "binary": lambda: (x > 0).astype(float), "int": lambda: rng.integers(0, 5, n), "bool": lambda: x > 0,
        "text": lambda: letters.astype(object),
        "mixed": lambda: np.array([v if i % 2 else "t" for i, v in enumerate(x)], object),
        "one level": lambda: pd.Categorical(["a"] * n), "category": lambda: pd.Categorical(letters, list("cba")),
        "unused": lambda: pd.Categorical(letters, list("abcdefg")),
        "date": lambda: pd.Timestamp("2020-01-01") + pd.to_timedelta(np.arange(n), "D"),
        "span": lambda: pd.to_timedelta(np.arange(n), "h"), "nan": lambda: np.where(x > 1, np.nan, x),
        "inf": lambda: np.where(x > 1.5, np.inf, x), "empty": lambda: np.full(n, np.nan),
        "nullable": lambda: pd.array([None if v > 1 else int(3 * v) for v in x], dtype="Int64"),
        "string": lambda: pd.array([None if v > 1.5 else s for v, s in zip(x, letters, strict=True)], dtype="string"),
        "lists": lambda: np.fromiter(([v] for v in x), dtype=object, count=n), "complex": lambda: x + 1j,
        "skewed": lambda: np.exp(3 * x),
    }  # fmt: skip
    return made[str(kind)]()


def response(rng: np.random.Generator, n: int, family: str, first: np.ndarray) -> Any:
    """Return a response: most often one that the family takes."""
    eta = np.where(rng.random(n) < 0.5, 1 + first, -1 - 0.5 * first).clip(-3, 3)
    kind = rng.choice(["fits"] * 24 + ["constant", "huge", "tiny", "text", "date", "nan", "inf", "bool", "any"])
    fits: dict[str, Any] = {
        "poisson": lambda: rng.poisson(np.exp(eta)),
        "negative-binomial": lambda: rng.poisson(np.exp(eta) * rng.gamma(2, 0.5, n)),
        "binomial": lambda: (rng.random(n) < 1 / (1 + np.exp(-2 * eta))).astype(float),
        "ordered": lambda: rng.integers(0, 3, n), "beta": lambda: rng.beta(2, 2 + np.exp(eta)).clip(1e-9, 1 - 1e-9),
    }  # fmt: skip
    usual = eta + 0.3 * rng.normal(size=n) if family in ("gaussian", "student-t") else np.exp(eta + rng.normal(size=n))
    made: dict[str, Any] = {
        "fits": fits.get(family, lambda: usual), "constant": lambda: np.full(n, 2.0), "huge": lambda: 1e12 * usual,
        "tiny": lambda: 1e-12 * usual, "text": lambda: rng.choice(["yes", "no"], n) if n else np.array([], object),
        "date": lambda: pd.Timestamp("2020-01-01") + pd.to_timedelta(np.arange(n), "D"),
        "nan": lambda: np.where(rng.random(n) < 0.2, np.nan, fits.get(family, lambda: usual)()),
        "inf": lambda: np.where(rng.random(n) < 0.05, np.inf, usual), "bool": lambda: eta > 0, "any": lambda: eta,
    }  # fmt: skip
    return made[str(kind)]()


def example(seed: int) -> tuple[str, pd.DataFrame, str, dict[str, Any]]:
    """Return which estimator is fitted, a frame, a formula and options."""
    rng = np.random.default_rng([91, seed])
    n, family = int(rng.choice(SIZES)), str(rng.choice(FAMILIES))
    names = [str(name) for name in rng.choice(NAMES[:3] if rng.random() < 0.6 else NAMES, 3, replace=False)]
    values: list[Any] = []
    for _ in names:
        values.append(column(rng, n, [v for v in values if isinstance(v, np.ndarray) and v.dtype.kind == "f"]))
    first = values[0] if isinstance(values[0], np.ndarray) and values[0].dtype.kind == "f" else rng.normal(size=n)
    size = np.abs(first[np.isfinite(first)]).max(initial=1.0)
    y = response(rng, n, family, np.nan_to_num(first / size, posinf=0.0, neginf=0.0))
    parts = dict(zip(names, values, strict=True)) | {"y": y}
    frame = pd.DataFrame({k: pd.Series(v, dtype=object if isinstance(v, np.ndarray) and v.dtype == object else None)
                          for k, v in parts.items()})  # fmt: skip
    if rng.random() < 0.06:
        frame = pd.concat([frame, frame[[names[0]]]], axis=1)  # a name twice
    if rng.random() < 0.1:
        frame.index = rng.permutation(n) % 7 if n else frame.index  # an index with repetitions
    quoted = [name if name.isidentifier() and rng.random() < 0.95 else f"`{name}`" for name in names]
    if rng.random() < 0.04:
        quoted = names
    formula = str(rng.choice(WRONG if rng.random() < 0.12 else RIGHT)).format(a=quoted[0], b=quoted[1])
    return (
        str(rng.choice(["moe"] * 6 + ["arrays"] * 2 + ["classes"])),
        frame,
        formula,
        options(rng, frame, quoted, family),
    )


def options(rng: np.random.Generator, frame: pd.DataFrame, quoted: list[str], family: str) -> dict[str, Any]:
    """Return options of a fit, some of them impossible."""
    found: dict[str, Any] = {
        "n_init": 2,
        "random_state": 0,
        "family": family,
        "n_experts": int(rng.choice([1, 2, 2, 3])),
    }
    found["gate"] = str(rng.choice(GATES))
    if rng.random() < 0.4:
        found["gate_formula"] = str(
            rng.choice(["~ 1", f"~ {quoted[2]}", f"~ {quoted[0]} + {quoted[2]}"] * 4 + ["~", "z"])
        )
        if rng.random() < 0.9:
            found.pop("gate")
    extras: dict[str, Any] = {
        "weights": quoted[1], "offset": str(rng.choice([quoted[1], f"log({quoted[1]})"])), "trials": quoted[1],
        "groups": quoted[2].strip("`"), "shared": quoted[0], "zero_inflated": True, "noise": True, "reference": 0,
        "scale": "shared",
        "n_experts": (2, 2), "alpha": 1.0, "expert": str(rng.choice(["tanh", "constant", "polynomial", "relu"])),
        "weight_kind": "sampling", "method": str(rng.choice(["ls", "em"])), "standardize": False, "n_init": 0,
        "fixed": {"experts.intercept": 0.0}, "bounds": {"family.scale": (5.0, 1.0)}, "misspelt": 1,
    }  # fmt: skip
    for name in rng.choice(list(extras), int(rng.choice([0, 0, 0, 1, 2])), replace=False):
        found[str(name)] = extras[str(name)]
    return found


def fitted(kind: str, frame: pd.DataFrame, formula: str, given: dict[str, Any]) -> tuple[Any, Any, Any]:
    """Return a fitted model with the rows to predict from, and the arguments of `score_samples`."""
    if kind == "moe":
        model = moe(formula, frame, **given)
        return model, frame, ()
    roles = ("gate_formula", "weights", "offset", "groups", "trials", "shared", "misspelt")
    arguments = {k: v for k, v in given.items() if k not in roles and not (kind == "classes" and k in NOT_CLASSES)}
    x, y = frame.drop(columns="y"), frame["y"]
    if kind == "classes" and y.dtype.kind == "f" and len(y) % 2 == 0:
        y = y > y.median()
    estimator = MixtureOfExpertsClassifier if kind == "classes" else MixtureOfExpertsRegressor
    return estimator(**arguments).fit(x, y), x, (x, y)


NOT_CLASSES = ("family", "zero_inflated", "noise", "scale")


def checked(model: Any, rows: Any, seen: Any, kind: str) -> str:
    """Return what is wrong with a fit; empty: nothing."""
    if kind == "moe":
        rows = rows[model._design.complete(rows)]
    told = str(model.summary())
    if "nan" in told.split("Status")[0].lower().replace("nan(", ""):
        return f"the summary begins with a NaN: {told[:200]}"
    known = {"offset": 0.0} if model._offset and kind != "moe" else {}
    predicted = np.asarray(model.predict(rows, **known))
    sound = str(model.status_) != "unsound"  # the mean of an expert on no rows may be infinite
    if predicted.shape[0] != len(rows) or (sound and predicted.dtype.kind == "f" and not np.isfinite(predicted).all()):
        return f"predictions of shape {predicted.shape} are not finite"
    weights = model.gate_proba(rows)
    if not np.allclose(weights.sum(1), 1.0, atol=1e-6):
        return "gate weights do not sum to one"
    if model.mixture_.family.has_density and kind == "moe" and "weights" not in model._design.roles:
        total = float(model._log_density(None, None).sum())
        if not np.isclose(total, model.log_likelihood_, rtol=1e-6, atol=1e-4):
            return f"log densities sum to {total}, the log-likelihood is {model.log_likelihood_}"
    if str(model.status_) == "converged" and not np.isfinite(model.log_likelihood_):
        return f"a converged fit has the log-likelihood {model.log_likelihood_}"
    if kind == "moe" and not model._design.roles and model.gate in ("softmax", "constant"):
        least = one_line(model)
        if model.log_likelihood_ < least - 1e-3 - 1e-6 * abs(least):
            return f"the log-likelihood {model.log_likelihood_} is below that of one line, {least}"
    with tempfile.TemporaryDirectory() as folder:
        save_model(model, Path(folder, "m.json"))
        again = load_model(Path(folder, "m.json"))
    if not np.array_equal(np.asarray(again.predict(rows, **known)), predicted, equal_nan=predicted.dtype.kind == "f"):
        return "a model that was saved predicts something else"
    return ""


def one_line(model: Any) -> float:
    """Return the log-likelihood of one Gaussian line, which every mixture of lines contains; -inf where it may not."""
    options = (model.family, model.expert, model.method, model.fixed, model.bounds, model.alpha, model.shared)
    if options != ("gaussian", "linear", "ml", None, None, 0.0, ()) or model.noise or model.n_outputs_ > 1:
        return -np.inf
    found = model._design.matrices(model._frame, ("response",), True)
    design = np.column_stack([np.ones(len(found.x)), found.x])
    design = design / np.abs(design).max(0).clip(1e-300)
    residuals = found.y - design @ np.linalg.lstsq(design, found.y, rcond=None)[0]
    n, scale = len(residuals), residuals.std()
    if scale <= 1e-6 * np.abs(found.y).max() or n < 3 * design.shape[1]:
        return -np.inf  # an exact fit
    return float(-0.5 * n * (np.log(2 * np.pi * scale**2) + 1))


def faults_after(model: Any, frame: pd.DataFrame, kind: str) -> str:
    """Return what is wrong with errors about rows that the model cannot read; empty: nothing."""
    if kind != "moe" or not model._design.variables(()):
        return ""
    name = model._design.variables(())[0]
    try:
        model.predict(frame.drop(columns=name))
    except (ValueError, TypeError, KeyError) as error:
        return judged(error)[1] if judged(error)[0] != "clear" else ""
    return f"predict without the column {name!r} does not object"


def judged(error: BaseException) -> tuple[str, str]:
    """Return whether an error is clear, and its words."""
    words = f"{type(error).__name__}: {error}"
    frames = traceback.extract_tb(error.__traceback__)
    inside = bool(frames) and any(place in frames[-1].filename for place in ("gatewise", "sklearn"))
    if not isinstance(error, ValueError | TypeError):
        return "another error", f"{words} [{frames[-1].filename}:{frames[-1].lineno}]"
    if not inside:
        return "a foreign error", f"{words} [{frames[-1].filename}:{frames[-1].lineno}]"
    if len(str(error)) < 25 or not REMEDY.search(str(error)):
        return "no remedy", words
    return "clear", words


@contextmanager
def alarm(seconds: float) -> Any:
    """Stop a block that takes far too long, in seconds of the processor."""

    def stop(*_: Any) -> None:
        raise TimeoutError(f"stopped after {seconds:g} s")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.signal(signal.SIGPROF, before)


def outcome(seed: int) -> Outcome:
    """Run one example."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        kind, frame, formula, given = example(seed)
        heard.clear()
        begin = time.process_time()
        try:
            with alarm(6 * LIMIT):
                model, rows, seen = fitted(kind, frame, formula, given)
                spent = time.process_time() - begin
                wrong = checked(model, rows, seen, kind) or faults_after(model, frame, kind)
                verdict, words = ("wrong fit", wrong) if wrong else ("fit", str(model.status_))
        except Exception as error:  # noqa: BLE001 (that is what is looked for)
            spent = time.process_time() - begin
            verdict, words = judged(error)
    other = [one for one in heard if "gatewise" not in type(one.message).__module__]
    foreign = [one for one in other if not any(words in str(one.message) for words in KNOWN)]
    if verdict in ("fit", "clear") and foreign:
        verdict, words = "foreign warning", f"{foreign[0].message} [{foreign[0].filename}:{foreign[0].lineno}]"
    if spent > LIMIT:
        verdict, words = "slow", f"{spent:.1f} s, {words}"
    return Outcome(seed, verdict, words, spent)


def run(examples: int = 400, first: int = 0, **_: Any) -> dict[str, Any]:
    """Run examples and print how they ended, and every one that ended badly."""
    pool = joblib.Parallel(n_jobs=PROCESSES)
    found = pool(joblib.delayed(outcome)(seed) for seed in range(first, first + examples))
    counts = Counter(one.verdict for one in found)
    lines = [{"ended in": verdict, "examples": count} for verdict, count in counts.most_common()]
    table(f"{examples} hostile examples", lines)
    bad = [one for one in found if one.verdict not in ("fit", "clear")]
    for one in bad:
        print(f"seed {one.seed}: {one.verdict}: {one.words[:400]}")
    longest = max(one.seconds for one in found)
    print(f"longest: {longest:.1f} s")
    return {"examples": examples, "ended": dict(counts), "bad": len(bad), "longest_s": longest}


if __name__ == "__main__":
    for seed in map(int, sys.argv[1:]):
        kind, frame, formula, given = example(seed)
        print(f"seed {seed}: {kind} {formula!r} {given}\n{frame.dtypes.to_dict()}\n{frame.head(3)}")
        print(outcome(seed))
