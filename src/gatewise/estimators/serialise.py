"""Fitted models as JSON files: exact numbers, no code on loading, every damage noticed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from gatewise.core.chart import from_paths, specifications
from gatewise.core.mixture import Measure, Mixture
from gatewise.estimators.declarations import Scale
from gatewise.estimators.encoding import check_parts, decode, encode
from gatewise.estimators.gate_inputs import GateReader
from gatewise.estimators.inference import UNKNOWN, Errors
from gatewise.estimators.regressor import MixtureOfExpertsRegressor
from gatewise.fit.result import Certificate, Fit, Starts
from gatewise.fit.status import Status
from gatewise.infer.predict import Shares

FORMAT = "gatewise model"
SCHEMA = 1
VERSION = "0.1.0"


def save_model(model: MixtureOfExpertsRegressor | Fit, path: str | os.PathLike[str]) -> None:
    """Write a fitted estimator, or a Fit, to a JSON file.

    Numbers are written so that reading gives the same bits. A Fit has no data of its own: its gates are taken to read X
    when they have as many inputs as the experts, and ICL is not known after loading.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    ValueError
        If the model has a part that gatewise does not define.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> x = np.arange(30.0)[:, None]
    >>> model = MixtureOfExpertsRegressor(1, n_init=1, random_state=0).fit(x, np.sin(x[:, 0]))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_model(model, f"{folder}/model.json")
    ...     again = load_model(f"{folder}/model.json")
    >>> bool((again.predict(x) == model.predict(x)).all())
    True
    """
    estimator = _of_fit(model) if isinstance(model, Fit) else model
    check_is_fitted(estimator, "fit_")
    content = _content(estimator)
    whole = {
        "format": FORMAT,
        "schema": SCHEMA,
        "gatewise": VERSION,
        "sha256": _checksum(content),
        "content": content,
    }
    target = Path(path)
    scratch = target.with_name(f".{target.name}.{os.getpid()}")
    scratch.write_text(json.dumps(whole, indent=1, allow_nan=False) + "\n", "utf-8")
    scratch.replace(target)


def load_model(path: str | os.PathLike[str]) -> MixtureOfExpertsRegressor:
    """Read a fitted estimator from a JSON file of `save_model`; its predictions are those of the saved one, to the bit.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not a gatewise model, is cut short or altered, or was written by a newer schema.
    """
    whole = _read(Path(path))
    if whole["schema"] > SCHEMA:
        raise ValueError(
            f"{path} has schema {whole['schema']}, written by gatewise {whole.get('gatewise')}: this gatewise "
            f"{VERSION} reads up to schema {SCHEMA}; upgrade gatewise"
        )
    content = whole.get("content")
    if not isinstance(content, dict) or whole.get("sha256") != _checksum(content):
        raise ValueError(
            f"{path} has content that does not match its SHA-256: it was altered after saving; save the model again"
        )
    try:
        return _estimator(content)
    except (KeyError, TypeError, IndexError, AttributeError, RuntimeError) as cause:
        raise ValueError(f"{path} lacks a part of a gatewise model ({cause!r}): save the model again") from cause
    except ValueError as cause:
        raise ValueError(f"{path} is not a model that can be read: {cause}") from cause


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"there is no model file {path}: check the path, or save a model there first")
    try:
        whole = json.loads(path.read_text("utf-8"))
    except json.JSONDecodeError as cause:
        raise ValueError(
            f"{path} is not complete JSON ({cause.msg} in line {cause.lineno}): it was cut short or is another kind of "
            "file; save the model again"
        ) from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not text: a gatewise model is a JSON file; give the path of one") from None
    if not isinstance(whole, dict) or whole.get("format") != FORMAT or type(whole.get("schema")) is not int:
        raise ValueError(f"{path} is JSON but not a gatewise model: give the path of a file written by save_model")
    return whole


def _checksum(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _content(estimator: MixtureOfExpertsRegressor) -> dict[str, Any]:
    fit, mixture = estimator.fit_, estimator.mixture_
    params = estimator.get_params(deep=False)
    if not isinstance(params["random_state"], int | np.integer | None):
        params["random_state"] = None  # a generator has a state that later draws change
    parts = {name: getattr(mixture, name) for name in ("gates", "branching", "expert", "family", "shared")}
    scalars = ("objective", "log_likelihood", "penalty", "n", "n_iter", "notes", "sse")
    names = getattr(estimator, "feature_names_in_", None)
    return {
        "estimator": type(estimator).__name__,
        "params": {name: encode(value) for name, value in params.items()},
        "mixture": {name: encode(value) for name, value in parts.items()},
        "measure": {name: encode(value) for name, value in fit.measure.paths().items()},
        "data": {
            "n_features_in": int(estimator.n_features_in_),
            "feature_names_in": None if names is None else [str(name) for name in names],
            "gate_reader": encode(estimator._reader._asdict()),
            "one_dimensional_y": estimator._flat,
            "responsibilities": encode(estimator._shares._asdict()),
        },
        "fit": {
            **{name: encode(getattr(fit, name)) for name in scalars},
            "df": fit.df,
            "status": str(fit.status),
            "flags": [str(flag) for flag in fit.flags],
            "certificate": encode(fit.certificate._asdict()),
            "starts": encode(fit.starts._asdict()),
            "standard_errors": encode(estimator._errors._asdict()),
        },
    }


def _estimator(content: Mapping[str, Any]) -> MixtureOfExpertsRegressor:
    if content["estimator"] != MixtureOfExpertsRegressor.__name__:
        raise ValueError(f"the estimator {content['estimator']!r} is not known")
    estimator = MixtureOfExpertsRegressor(**{name: decode(value) for name, value in content["params"].items()})
    parts = {name: decode(value) for name, value in content["mixture"].items()}
    check_parts(parts["gates"], parts["expert"], parts["family"])
    mixture = Mixture(**parts)
    data, result = content["data"], content["fit"]
    reader = GateReader(**decode(data["gate_reader"]))
    measure = _measure(content["measure"], mixture, int(data["n_features_in"]), reader.count)
    fit = Fit(
        mixture=mixture,
        measure=measure,
        status=Status(result["status"]),
        flags=tuple(Status(flag) for flag in result["flags"]),
        certificate=Certificate(**decode(result["certificate"])),
        starts=Starts(**decode(result["starts"])),
        sse=decode(result.get("sse")),
        **{name: decode(result[name]) for name in ("objective", "log_likelihood", "penalty", "n", "n_iter", "notes")},
    )
    estimator.n_features_in_ = int(data["n_features_in"])
    if data["feature_names_in"] is not None:
        estimator.feature_names_in_ = np.array(data["feature_names_in"], dtype=object)
    errors = _errors(result.get("standard_errors"), measure)
    estimator._adopt(fit, reader, bool(data["one_dimensional_y"]))
    estimator._describe(Shares(**decode(data["responsibilities"])), errors)
    return estimator


def _measure(given: Mapping[str, Any], mixture: Mixture, d: int, gate_d: int) -> Measure:
    """Return the measure after comparing its paths and shapes with those of the mixture."""
    values = {path: decode(value) for path, value in given.items()}
    q = values[next(path for path in values if path.startswith("experts."))].shape[mixture.depth]
    wanted = {path: shape for path, (_, shape) in specifications(mixture, d, gate_d, q).items()}
    found = {path: tuple(value.shape) for path, value in values.items()}
    if found != wanted:
        raise ValueError(f"the parameters have the shapes {found}, the mixture needs {wanted}")
    return from_paths(values, mixture.depth)


def _errors(given: Any, measure: Measure) -> Errors:
    """Return the standard errors after comparing their paths and shapes with those of the measure."""
    if given is None:
        return Errors(None, "the file was written without them")
    errors = Errors(**decode(given))
    if errors.values is None:
        return errors
    wanted = {path: value.shape for path, value in measure.paths().items()}
    found = {path: value.shape for path, value in errors.values.items()}
    if "family.cholesky" in wanted:  # standard deviations come beside the factor that is estimated
        found.pop("family.scale", None)
    if found != wanted or any(bool((value < 0).any()) for value in errors.values.values()):
        raise ValueError("the standard errors do not have the shapes of the parameters, or are negative")
    return errors


def _of_fit(fit: Fit) -> MixtureOfExpertsRegressor:
    """Return a fitted estimator around a Fit."""
    mixture, paths = fit.mixture, fit.measure.paths()
    widths = [paths[path].shape[-1] for path in ("experts.coef", "gates.0.weight", "gates.0.center") if path in paths]
    if not widths:
        raise ValueError("the Fit does not say how many inputs it has: save the estimator instead")
    d, gate_d = widths[0], widths[-1]
    scale: Scale = "shared" if mixture.shared else "free"
    estimator = MixtureOfExpertsRegressor(
        mixture.branching, list(mixture.gates), mixture.expert, mixture.family, scale, standardize=False
    )
    estimator.n_features_in_ = d
    q = next(iter(fit.measure.experts.values())).shape[mixture.depth]
    unknown = Shares(float("nan"), torch.full((mixture.n_leaves,), torch.nan, dtype=torch.float64))
    estimator._adopt(fit, GateReader(gate_d != d, None, gate_d, None), q == 1)
    estimator._describe(unknown, Errors(None, UNKNOWN))
    return estimator
