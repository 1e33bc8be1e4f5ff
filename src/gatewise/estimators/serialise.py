"""Fitted models as JSON files: exact numbers, no code on loading, every damage noticed."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from gatewise.core.codec import DTYPES, encode, map_leaves, matches
from gatewise.estimators.adopting import adopt, with_seen
from gatewise.estimators.base import MixtureEstimator
from gatewise.estimators.classifier import MixtureOfExpertsClassifier
from gatewise.estimators.content import SCALARS, estimator_of
from gatewise.estimators.declarations import Scale
from gatewise.estimators.errors import UNKNOWN, ReportedErrors
from gatewise.estimators.fitting import FittedModel
from gatewise.estimators.gate_inputs import GateReader
from gatewise.estimators.regressor import MixtureOfExpertsRegressor
from gatewise.files import write_text
from gatewise.fit.floor import Floor
from gatewise.fit.result import Fit
from gatewise.fit.spec import FitSpec
from gatewise.fit.torch_state import standard_torch
from gatewise.infer.predict import Shares

FORMAT = "gatewise model"
SCHEMA = 5  # what came with each stands in `content.CAME`
VERSION = "0.1.0"
PER_FEATURE = ("slope", "location", "direction")  # roles with one entry for each input


class ModelFileError(ValueError):
    """A file is not that of a model, or holds a value that no fitted model has; its words say which.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from gatewise import ModelFileError, load_model
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "model.json")
    ...     _ = path.write_text("{}")
    ...     try:
    ...         load_model(path)
    ...     except ModelFileError:
    ...         print("no model")
    no model
    """


@standard_torch()
def save_model(model: MixtureEstimator | Fit, path: str | os.PathLike[str]) -> None:
    """Write a fitted estimator, or a Fit, to a JSON file.

    Numbers are written so that reading gives the same bits. A Fit has no data of its own: its gates are taken to read X
    when they have as many inputs as the experts, and ICL is not known after loading.

    Parameters
    ----------
    model : fitted estimator or Fit
    path : str or path
        The file to write; an older one is replaced as a whole or not at all.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    ValueError
        If the model has a part that gatewise does not define, or a value with which it could not be read again.
    OSError
        If the file cannot be written.

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
    estimator_of(json.loads(json.dumps(content)), SCHEMA)  # no file is written that could not be read
    whole = {
        "format": FORMAT,
        "schema": SCHEMA,
        "gatewise": VERSION,
        "sha256": _checksum(content),
        "content": content,
    }
    write_text(path, json.dumps(whole, indent=1, allow_nan=False) + "\n")


@standard_torch()
def load_model(path: str | os.PathLike[str]) -> MixtureOfExpertsRegressor | MixtureOfExpertsClassifier:
    """Read a fitted estimator from a JSON file of `save_model`; its predictions are those of the saved one, to the bit.

    Parameters
    ----------
    path : str or path
        A file that `save_model` wrote.

    Returns
    -------
    MixtureOfExpertsRegressor or MixtureOfExpertsClassifier

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ModelFileError
        A ValueError: if the file is not a gatewise model, is cut short or altered, was written by a newer schema, or
        holds a value that no fitted model has.

    Examples
    --------
    >>> from gatewise import MixtureOfExpertsRegressor
    >>> from gatewise.data import load
    >>> tone = load("tone")
    >>> model = MixtureOfExpertsRegressor(n_experts=2, gate="constant", n_init=1, random_state=0).fit(tone.X, tone.y)
    >>> import tempfile
    >>> from gatewise import load_model, save_model
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_model(model, f"{folder}/model.json")
    ...     again = load_model(f"{folder}/model.json")
    >>> again.log_likelihood_ == model.log_likelihood_
    True
    """
    whole = _read(Path(path))
    if whole["schema"] > SCHEMA:
        raise ModelFileError(
            f"{path} has schema {whole['schema']}, written by gatewise {whole.get('gatewise')!r:.40}: this gatewise "
            f"{VERSION} reads up to schema {SCHEMA}; upgrade gatewise"
        )
    if whole.get("sha256") != _checksum(whole.get("content")):
        raise ModelFileError(
            f"{path} has content that does not match its SHA-256: it was altered after saving; save the model again"
        )
    try:
        return estimator_of(whole["content"], whole["schema"])
    except ValueError as cause:
        words = " ".join(str(cause).split())
        raise ModelFileError(f"{path} is not a model that can be read: {words:.400}; save the model again") from cause


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"there is no model file {path}: check the path, or save a model there first")
    try:
        whole = json.loads(path.read_text("utf-8"), parse_constant=_no_number)
    except json.JSONDecodeError as cause:
        raise ModelFileError(
            f"{path} is not complete JSON ({cause.msg} in line {cause.lineno}): it was cut short or is another kind of "
            "file; save the model again"
        ) from None
    except UnicodeDecodeError:
        raise ModelFileError(f"{path} is not text: a gatewise model is a JSON file; give the path of one") from None
    except (ValueError, RecursionError) as cause:  # whole numbers of thousands of digits, nesting without end
        raise ModelFileError(f"{path} holds what no model has ({cause}): save the model again") from None
    kind = isinstance(whole, dict) and whole.get("format") == FORMAT and matches(whole.get("schema"), int)
    if not kind or whole["schema"] < 1:
        raise ModelFileError(f"{path} is JSON but not a gatewise model: give the path of a file written by save_model")
    return whole


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _checksum(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _native(value: Any) -> Any:
    """Return a tensor for an array, and a number of Python for one of numpy."""
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy() if value.dtype.name in DTYPES else value.astype(np.float64))
    return value.item() if isinstance(value, np.generic) else value


def _content(estimator: MixtureEstimator) -> dict[str, Any]:
    fit, mixture = estimator.fit_, estimator.mixture_
    params = estimator._given.get_params(deep=False)  # those of the fit
    if not isinstance(params["random_state"], int | np.integer | None):
        params["random_state"] = None  # a generator has a state that later draws change
    if callable(params["verbose"]):
        params["verbose"] = 0  # a function of the program that fitted
    parts = {name: getattr(mixture, name) for name in ("gates", "branching", "expert", "family", "shared")}
    names = getattr(estimator, "feature_names_in_", None)
    return {
        "estimator": type(estimator).__name__,
        "params": {name: encode(value) for name, value in map_leaves(params, _native).items()},
        "mixture": {name: encode(value) for name, value in parts.items()},
        "measure": {name: encode(value) for name, value in fit.measure.paths().items()},
        "data": {
            "n_features_in": int(estimator.n_features_in_),
            "feature_names_in": None if names is None else [str(name) for name in names],
            "gate_reader": encode(estimator._reader._asdict()),
            "one_dimensional_y": estimator._flat,
            "responsibilities": encode(estimator._shares._asdict()),
            "offset": estimator._offset,
            "classes": _classes(estimator),
            "proportions": None if estimator._proportions is None else encode(estimator._proportions._asdict()),
            "design": None if estimator._design is None else encode(estimator._design.content()),
        },
        "fit": {
            **{name: encode(getattr(fit, name)) for name in SCALARS},
            "df": fit.df,
            "status": str(fit.status),
            "flags": [str(flag) for flag in fit.flags],
            "certificate": encode(fit.certificate._asdict()),
            "starts": encode(fit.starts._asdict()),
            "standard_errors": encode(estimator._errors._asdict()),
            "spec": _written_spec(fit.spec),
        },
    }


def _classes(estimator: Any) -> list[Any] | None:
    """Return the labels of a classifier, None of a regressor.

    Raises
    ------
    ValueError
        For labels that are neither numbers, booleans nor text.
    """
    labels = getattr(estimator, "classes_", None)
    if labels is None:
        return None
    values = labels.tolist()
    if any(type(one) is not type(values[0]) or not isinstance(one, bool | int | float | str) for one in values):
        raise ValueError(f"classes_ are {values}: files hold labels that are all numbers, all booleans or all text")
    return values


def _written_spec(spec: FitSpec) -> Any:
    """Return what was estimated, with the floor of scales by its parts."""
    values = {field.name: getattr(spec, field.name) for field in fields(FitSpec)}
    if isinstance(spec.min_scale, Floor):
        values["min_scale"] = spec.min_scale._asdict()
    return encode(values)


def _of_fit(fit: Fit) -> MixtureOfExpertsRegressor:
    """Return a fitted estimator around a Fit."""
    mixture, paths = fit.mixture, fit.measure.paths()
    wide = [path for path, spec in mixture.parameters().items() if spec.role in PER_FEATURE and spec.shape]
    widths = [paths[path].shape[-1] for path in wide]
    if not widths:
        raise ValueError("the Fit does not say how many inputs it has: save the estimator instead")
    gates = [width for path, width in zip(wide, widths, strict=True) if path.startswith("gates.")]
    experts = [width for path, width in zip(wide, widths, strict=True) if path.startswith("experts.")]
    d, gate_d = (experts or gates)[0], (gates or experts)[0]
    scale: Scale = "shared" if mixture.shared else "free"
    estimator = MixtureOfExpertsRegressor(
        mixture.branching, list(mixture.gates), mixture.expert, mixture.family, scale, standardize=False
    )
    unknown = Shares(float("nan"), torch.full((mixture.n_leaves,), torch.nan, dtype=torch.float64))
    reader, given = GateReader(gate_d != d, None, gate_d, None), with_seen(estimator, d)
    adopt(estimator, FittedModel(fit, reader, fit.outputs == 1, unknown, ReportedErrors(None, UNKNOWN), given))
    return estimator
