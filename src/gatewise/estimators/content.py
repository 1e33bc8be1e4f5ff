"""From the content of a model file to an estimator: every value is checked before any is used."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import replace
from math import isclose, isfinite, isnan
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gatewise.core.codec import build, decode, short
from gatewise.core.families import Categorical
from gatewise.core.families.gaussian import SPREAD
from gatewise.core.mixture import Measure, Mixture
from gatewise.core.names import entry_name
from gatewise.estimators import options
from gatewise.estimators.adopting import adopt, with_seen
from gatewise.estimators.arguments import DataSizes, require, unfitted
from gatewise.estimators.classifier import MixtureOfExpertsClassifier
from gatewise.estimators.errors import ReportedErrors
from gatewise.estimators.fitting import FittedModel
from gatewise.estimators.gate_inputs import GateReader
from gatewise.estimators.kinds import families_of
from gatewise.estimators.regressor import MixtureOfExpertsRegressor
from gatewise.fit.floor import Floor
from gatewise.fit.result import Certificate, Fit, Starts
from gatewise.fit.spec import FitSpec
from gatewise.fit.status import Status
from gatewise.formulas import FormulaDesign, design_from
from gatewise.infer.predict import Shares
from gatewise.infer.proportions import Proportions
from gatewise.objective.parameterization import from_paths, specifications

SCALARS = ("objective", "log_likelihood", "penalty", "n", "n_iter", "notes", "sse", "floor")
LENGTHS = {"origin": "inputs", "metric": "inputs"}
LENGTHS |= dict.fromkeys(("location", "spread", "floor", "low", "high"), "outputs")
CAME = {  # with each schema
    2: ("standard_errors", "spec", "floor", "floored", "warm_start"),
    3: ("gain", "classified"),
    4: ("offset", "shared", "design", "classes", "zero_inflated", "noise", "weight_kind"),
    5: ("reference", "between", "proportions"),
}
KINDS: dict[str, type[MixtureOfExpertsRegressor] | type[MixtureOfExpertsClassifier]] = {
    one.__name__: one for one in (MixtureOfExpertsRegressor, MixtureOfExpertsClassifier)
}
NOT_NEGATIVE = ("metric", "spread", "floor", "radius")


class Content(NamedTuple):
    """A file's content."""

    estimator: str
    params: dict[str, Any]
    mixture: dict[str, Any]
    measure: dict[str, Any]
    data: dict[str, Any]
    fit: dict[str, Any]


class FileData(NamedTuple):
    """What the estimator knows of its data."""

    n_features_in: int
    feature_names_in: list[str] | None
    gate_reader: dict[str, Any]
    one_dimensional_y: bool
    responsibilities: dict[str, Any]
    offset: bool = False
    design: dict[str, Any] | None = None
    classes: list[Any] | None = None
    proportions: dict[str, Any] | None = None


class FileFit(NamedTuple):
    """The fit without its mixture and measure."""

    objective: float
    log_likelihood: float
    penalty: float
    n: float
    n_iter: int
    notes: tuple[str, ...]
    df: int
    status: str
    flags: list[str]
    certificate: dict[str, Any]
    starts: dict[str, Any]
    standard_errors: dict[str, Any] | None = None
    sse: float | None = None
    floor: str = ""
    spec: dict[str, Any] | None = None


def estimator_of(given: Any, schema: int) -> MixtureOfExpertsRegressor | MixtureOfExpertsClassifier:
    """Return the fitted estimator that a content of some schema describes; an earlier one lacks what `CAME` later.

    Raises
    ------
    ValueError
        For a value that no fitted estimator has.
    """
    content = build(Content, given)
    later = {name for came, names in CAME.items() if schema < came for name in names}
    kind = KINDS.get(content.estimator)
    if kind is None:
        raise ValueError(f"the estimator {short(content.estimator)} is not known")
    mixture = build(Mixture, _decoded(content.mixture))
    data = build(FileData, _decoded(content.data), later=later)
    reader = _reader(data)
    measure, sizes = _measure(_decoded(content.measure), mixture, data.n_features_in, reader.count)
    require(not data.one_dimensional_y or sizes.q == 1, f"y has one dimension, the experts {sizes.q} outputs")
    result = build(FileFit, _decoded(content.fit), later=later)
    estimator = unfitted(kind, _decoded(content.params), mixture, measure, data.feature_names_in, sizes, later)
    spec = _spec(result.spec, estimator, mixture, sizes, data.one_dimensional_y, later)
    fit = _fit(result, mixture, spec, measure, later)
    errors = _errors(result.standard_errors, measure, later)
    names = None if data.feature_names_in is None else np.array(data.feature_names_in, dtype=object)
    given, taken = with_seen(estimator, data.n_features_in, names), _shares(data.responsibilities, mixture)
    design = _design(data, estimator, sizes)
    mixed = _proportions(data.proportions, mixture)
    flat = data.one_dimensional_y
    classes = _classes(data, mixture, sizes) if isinstance(estimator, MixtureOfExpertsClassifier) else None
    adopt(estimator, FittedModel(fit, reader, flat, taken, errors, given, data.offset, design, mixed, classes))
    return estimator


def _classes(data: FileData, mixture: Mixture, sizes: DataSizes) -> np.ndarray:
    """Return the labels of a classifier: all of one type, in their order, one more than outputs."""
    labels = data.classes or []
    require(isinstance(mixture.family, Categorical), f"the family of a classifier is {mixture.family}")
    alike = all(type(one) is type(labels[0]) and isinstance(one, bool | int | float | str) for one in labels)
    fits = alike and len(labels) == sizes.q + 1 and labels == sorted(set(labels))
    require(fits, f"a classifier of {sizes.q + 1} classes has the labels {short(labels)}")
    return np.array(labels)


def _decoded(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: decode(value) for name, value in given.items()}


def _reader(data: FileData) -> GateReader:
    """Return where the gates find their inputs, after comparing it with the number of features."""
    reader, d, names = build(GateReader, data.gate_reader), data.n_features_in, data.feature_names_in
    require(d > 0, f"the number of features is {d}")
    require(names is None or len(set(names)) == len(names) == d, f"{d} features do not have the names {short(names)}")
    chosen, count = reader.chosen, reader.count
    own = reader.given or chosen is not None
    require(count > 0 and (own or count == d), f"the gates read {count} of {d} features")
    if chosen is not None:
        fits = not reader.given and len(set(chosen)) == len(chosen) == count and all(0 <= i < d for i in chosen)
        require(fits, f"the gates read the columns {short(chosen)} of {d} features")
    require(reader.names is None or len(reader.names) == count, f"{count} gate inputs have other names")
    return reader


def _measure(values: dict[str, Any], mixture: Mixture, d: int, gate_d: int) -> tuple[Measure, DataSizes]:
    """Return the measure after comparing its paths, shapes and values with what the mixture needs."""
    require(all(isinstance(value, Tensor) for value in values.values()), "a parameter is no tensor")
    found = {path: tuple(value.shape) for path, value in values.items()}
    shape = next((shape for path, shape in found.items() if path.startswith("experts.")), ())
    require(len(shape) > mixture.depth, f"the parameters have the shapes {found}: those of experts are not among them")
    sizes = DataSizes(d, gate_d, shape[mixture.depth])
    specs = specifications(mixture, *sizes)
    wanted = {path: size for path, (_, size) in specs.items()}
    require(found == wanted, f"the parameters have the shapes {found}, the mixture needs {wanted}")
    for path, (spec, _) in specs.items():
        value = values[path]
        require(
            value.dtype == torch.float64 and bool(value.isfinite().all()),
            f"{path} has values that are no finite numbers",
        )
        low = bool((options.above_zero(spec) & (value <= 0)).any())
        require(not low, f"{path} has values that are not positive")
        require(spec.free or bool((value == spec.initial).all()), f"{path} is not {spec.initial}, as the gate has it")
    for path in mixture.shared:
        require(path in values and path.startswith("family."), f"{short(path)} cannot be shared by the experts")
        leaves = values[path].flatten(0, mixture.depth - 1)
        require(bool((leaves == leaves[0]).all()), f"{path} is shared by the experts, and differs")
    _check_parts(mixture, sizes)
    return from_paths(values, mixture.depth), sizes


def _check_parts(mixture: Mixture, sizes: DataSizes) -> None:
    """Raise unless the numbers inside of parts have the lengths of the data and the signs of what they are."""
    parts: list[tuple[Any, int]] = [(gate, sizes.gate_d) for gate in mixture.gates]
    parts += [(mixture.expert, sizes.d), (mixture.family, sizes.d)]
    while parts:
        part, inputs = parts.pop()
        for name, value in vars(part).items():
            length = {"inputs": inputs, "outputs": sizes.q}.get(LENGTHS.get(name, ""))
            if isinstance(value, tuple) and length is not None:
                require(len(value) == length, f"{name} of {type(part).__name__} has {len(value)} numbers for {length}")
            if name in NOT_NEGATIVE:
                low = min(value if isinstance(value, tuple) else (value or 0.0,))
                require(low >= 0, f"{name} of {type(part).__name__} has negative numbers")
            if name in ("score", "link", "inner", "expert"):
                parts.append((value, inputs))
            if name == "parts":
                parts += [(one, inputs) for one in value]
    for law in mixture.family.kinds():
        trials = vars(law).get("trials")
        require(trials is None or trials > 0, f"trials={trials}: a number from 1 belongs there")


def _spec(given: Any, estimator: Any, mixture: Mixture, sizes: DataSizes, flat: bool, later: Container[str]) -> FitSpec:
    """Return what was estimated; from the arguments where a file of an earlier version does not hold it."""
    if given is None:
        return options.spec_of(estimator, mixture, *sizes, flat)
    floor = given.get("min_scale")
    whole = {**given, "min_scale": build(Floor, floor)} if isinstance(floor, dict) else given
    spec = build(FitSpec, whole, later=later)
    named = options.references(spec.reference or None, mixture.branching) == spec.reference
    require(named, f"the reference {short(spec.reference)} is no branch of {mixture.branching}")
    paths = mixture.parameters()
    require(spec.determined.issubset(paths), f"the fit was bounded in {short(sorted(spec.determined))}")
    return spec


def _fit(given: FileFit, mixture: Mixture, spec: FitSpec, measure: Measure, later: Container[str]) -> Fit:
    """Return the fit after checking its numbers."""
    certificate, starts = build(Certificate, given.certificate, later=later), build(Starts, given.starts, later=later)
    status, flags = Status(given.status), tuple(map(Status, given.flags))
    require(status in flags, f"the status {status} is not among the flags")
    numbers = {"objective": given.objective, "penalty": given.penalty, "n": given.n, "sse": given.sse or 0.0}
    odd = [name for name, value in numbers.items() if not isfinite(value)]
    require(not odd and not isnan(given.log_likelihood), f"{', '.join(odd) or 'log_likelihood'} is no finite number")
    require(given.n > 0 and given.n_iter >= 0, f"n={given.n}, n_iter={given.n_iter}: they are not negative")
    require((given.sse is None) == mixture.family.has_density, "a sum of squares belongs to least squares alone")
    require(all(0 <= leaf < mixture.n_leaves for leaf in certificate.starved), "an expert is named that is not there")
    ended = starts.log_likelihood
    fits = ended.ndim == starts.sound.ndim == 1 and len(ended) == len(starts.sound) == len(starts.kind)
    fits = fits and ended.dtype == torch.float64 and starts.sound.dtype == torch.bool
    require(fits and starts.hits >= 0, "the starts have values, kinds and marks of different numbers or types")
    _check_ties(spec, measure)
    kept = given._asdict()
    scalars = {name: kept[name] for name in SCALARS}
    fit = Fit(mixture, spec, measure, status=status, flags=flags, certificate=certificate, starts=starts, **scalars)
    rank, most = certificate.rank, sum(value.numel() for value in measure.paths().values())
    require(0 <= rank <= most and fit.df == given.df, f"df={given.df} for rank {rank} of {most}")
    return fit


def _check_ties(spec: FitSpec, measure: Measure) -> None:
    """Raise unless the numbers that are tied are there, and equal."""
    if not spec.ties:
        return
    values = {
        entry_name(path, index): float(one)
        for path, value in measure.paths().items()
        for index, one in np.ndenumerate(value.numpy())
    }
    for tie in spec.ties:
        require(all(name in values for name in tie), f"the fit tied {short(tie)}, of which some are no parameters")
        same = all(isclose(values[name], values[tie[0]], rel_tol=1e-9, abs_tol=1e-12) for name in tie)
        require(same, f"{short(tie)} are tied, and differ")


def _design(data: FileData, estimator: Any, sizes: DataSizes) -> FormulaDesign | None:
    """Return the formula of the fit after comparing it with what the estimator knows of its data."""
    if data.design is None:
        return None
    design = replace(design_from(data.design), labelled=data.classes is not None)
    columns, reader = design.experts.columns or ("1",), data.gate_reader
    require(tuple(data.feature_names_in or ()) == columns, f"the formula has other columns than {short(columns)}")
    own = design.gates is not None and bool(design.gates.columns)
    require(reader["given"] is own, "the formula and the gates do not read the same inputs")
    names = reader["names"]
    require(not own or design.gates is None or tuple(names or ()) == design.gates.columns, "the gates have other names")
    require(data.offset is ("offset" in design.roles), "the formula has an offset and the fit none, or the reverse")
    columns_of_y = len(design.responses) if data.classes is None else len(data.classes)
    require(data.classes is None or len(design.responses) == 1, "classes are a single response of a formula")
    require(data.one_dimensional_y is (columns_of_y == 1), "the formula has another number of responses")
    trials = 2 if "trials" in design.roles else 1
    known = families_of(estimator.family)[0]
    wanted = known.outputs(columns_of_y) if trials == 1 else columns_of_y
    require(estimator.method == "ls" or wanted == sizes.q, "the formula has another number of responses")
    return design


def _shares(given: Any, mixture: Mixture) -> Shares:
    found = build(Shares, given)
    fits = found.totals.shape == (mixture.n_leaves,) and found.totals.dtype == torch.float64
    require(fits and not bool((found.totals < 0).any()), "the responsibilities are not one sum for each expert")
    return found


def _proportions(given: Any, mixture: Mixture) -> Proportions | None:
    if given is None:
        return None
    found = build(Proportions, given)
    parts = [found.estimate] if found.error is None else [found.estimate, found.error]
    fits = all(part.shape == (mixture.n_leaves,) and part.dtype == torch.float64 for part in parts)
    require(fits and not any(bool((part < 0).any()) for part in parts), "the proportions are not one for each expert")
    return found


def _errors(given: Any, measure: Measure, later: Container[str]) -> ReportedErrors:
    """Return the standard errors after comparing their paths and shapes with those of the measure."""
    if given is None:
        return ReportedErrors(None, "the file was written without them")
    errors = build(ReportedErrors, given, later=later)
    if errors.values is None:
        return errors
    wanted = {path: value.shape for path, value in measure.paths().items()}
    found = {path: value.shape for path, value in errors.values.items()}
    if SPREAD in found and SPREAD not in wanted:  # of a full covariance, beside the factor that is estimated
        found.pop(SPREAD)
    fits = all(value.dtype == torch.float64 and not bool((value < 0).any()) for value in errors.values.values())
    require(fits and found == wanted, "the standard errors do not have the shapes of the parameters, or are negative")
    for path, value in (errors.between or {}).items():
        shape, level = wanted.get(path, ()), int(path.split(".")[1]) if path.startswith("gates.") else 0
        pair = (*shape[: level + 1], *shape[level:])
        fits = path.startswith("gates.") and tuple(value.shape) == pair and value.dtype == torch.float64
        require(fits, f"the covariances between branches of {short(path)} do not have its shape")
    return errors
