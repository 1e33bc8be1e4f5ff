"""The model card of a fitted estimator: Markdown with the front matter that the Hugging Face hub reads."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from math import isnan
from typing import Any

from sklearn.utils.validation import check_is_fitted

from gatewise import __version__
from gatewise.core.experts import EXPERTS
from gatewise.core.families import FAMILIES
from gatewise.core.names import name_of
from gatewise.estimators.base import MixtureEstimator
from gatewise.estimators.classifier import MixtureOfExpertsClassifier
from gatewise.estimators.framed import formula_lines
from gatewise.estimators.gate_inputs import gated_levels, gates_read_rows
from gatewise.estimators.names import labels_of, names_of
from gatewise.estimators.summary import errors_words
from gatewise.estimators.warnings import status_text
from gatewise.fit.torch_state import standard_torch
from gatewise.fit.words import members
from gatewise.infer.text import number
from gatewise.report.facts import experts, facts, gate_phrase, hits
from gatewise.report.page import rendered_template

LISTED = 20  # names in a sentence before the rest is only counted
METHODS = {"ml": "maximum likelihood", "em": "maximum likelihood, by EM", "ls": "least squares, of the mean only"}
MARKS = re.compile(r"([\\`*_\[\]<>|&#~$])")  # characters that Markdown gives a meaning


@standard_torch()
def model_card(model: MixtureEstimator, *, name: str = "", license: str = "", file: str = "model.json") -> str:
    """Return the model card of a fitted estimator: what it is, its numbers, their standing, and how to load it.

    The card is Markdown with YAML front matter, as the Hugging Face hub shows it: save it as ``README.md`` beside the
    model file, or give it to ``huggingface_hub.ModelCard``. What only the author knows is marked ``[More Information
    Needed]``: intended use, origin of the data, limits.

    Parameters
    ----------
    model : fitted estimator
        A regressor or a classifier, also of `load_model`.
    name : str
        Title of the card; empty: what the model is.
    license : str
        Of the model, in the words of the hub, such as ``"cc-by-4.0"``; empty: none is named.
    file : str
        Name of the file that `save_model` wrote, as the card tells its readers.

    Returns
    -------
    str

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    ValueError
        For a name, license or file that is not one line of printable characters.

    Examples
    --------
    >>> import numpy as np
    >>> from gatewise import MixtureOfExpertsRegressor, model_card
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(90, 3))
    >>> model = MixtureOfExpertsRegressor(1, n_init=1, random_state=0).fit(X, X[:, 0] + rng.normal(size=90))
    >>> card = model_card(model, name="A first model", license="cc-by-4.0")
    >>> print(card[: card.index("Predicts")])
    ---
    library_name: "gatewise"
    pipeline_tag: "tabular-regression"
    tags: ["gatewise", "mixture-of-experts"]
    license: "cc-by-4.0"
    model_name: "A first model"
    ---
    <BLANKLINE>
    # A first model
    <BLANKLINE>
    <BLANKLINE>
    """
    check_is_fitted(model, "fit_")
    for argument, text in (("name", name), ("license", license), ("file", file)):
        if not isinstance(text, str) or not text.isprintable():
            raise ValueError(f"{argument}={text!r} has line breaks or other signs that are not printed: give one line")
    fit, fact, summary, named = model.fit_, facts(model), model.summary(), names_of(model).text
    return rendered_template(
        "card.md.j2",
        (),
        front=_front(model, name, license),
        title=_prose(name) or f"Mixture of {members(model.mixture_)}",
        lead=_lead(model),
        facts=[(key, _cell(value)) for key, value in _facts(model, fact)],
        status=fact["status"],
        meaning=_prose(_sentence(status_text(fit, named))),
        notes=[_prose(named(note)) for note in dict.fromkeys((*fit.notes, *model._errors.notes))],
        heading=_prose(_sentence(named(errors_words(fit, model._errors)))),
        rows=[_row(*row) for row in summary.to_frame().itertuples(index=False)],
        file=json.dumps(file, ensure_ascii=False),
        predicting=_predicting(model, file),
        limits=_limits(model),
        version=__version__,
    )


def _front(model: MixtureEstimator, name: str, license: str) -> str:
    """Return the front matter; values are written as JSON, which is YAML too."""
    kind = "classification" if isinstance(model, MixtureOfExpertsClassifier) else "regression"
    values: dict[str, Any] = {"library_name": "gatewise", "pipeline_tag": f"tabular-{kind}"}
    values |= {"tags": ["gatewise", "mixture-of-experts"], "license": license, "model_name": name}
    return "\n".join(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in values.items() if value)


def _lead(model: MixtureEstimator) -> str:
    """Return what the model is, in words."""
    mixture, (inputs, gate_inputs) = model.mixture_, _inputs(model)
    label = "the class" if isinstance(model, MixtureOfExpertsClassifier) else "the mean"
    response = _listed(model._design.responses) if model._design else "the response"
    words = [f"Predicts {label} of {response} from {_listed(inputs)} by a mixture of {members(mixture)}."]
    words += [f"The experts are of the kind {_named(model._given.expert, EXPERTS)}."]
    levels = gated_levels(mixture.gates, mixture.branching)
    if levels and gates_read_rows(mixture.gates, mixture.branching):
        gate = gate_phrase(model._given.gate, mixture.depth)
        words.append(f"The gate ({_prose(gate)}) reads {_listed(gate_inputs)} and gives every expert its weight.")
    elif levels:
        words.append("The weights of the experts are the same at every row.")
    if mixture.family.has_density:
        words.append(f"Given the expert, the response has the distribution {_named(model._given.family, FAMILIES)}.")
    return " ".join(words)


def _inputs(model: MixtureEstimator) -> tuple[Sequence[str], Sequence[str]]:
    """Return the columns that experts and gates read: of the frame of a formula, else of X and gate_X."""
    design = model._design
    if design is None:
        labels = labels_of(model)
        return labels.inputs, labels.gate_inputs
    read = design.experts.variables or ("a constant",)
    return read, read if design.gates is None else design.gates.variables


def _facts(model: MixtureEstimator, fact: dict[str, Any]) -> Iterable[tuple[str, str]]:
    """Yield names and values of the table at the head."""
    design, fit = model._design, model.fit_
    yield from ((key.capitalize(), text if key == "rows" else _code(text)) for key, text in formula_lines(design))
    if design is not None:
        levels = {column: design.levels_of(column) for column in design.variables(())}
        yield from ((f"Levels of {_cell(_code(key))}", _listed(map(str, some))) for key, some in levels.items() if some)
    if isinstance(model, MixtureOfExpertsClassifier):
        yield "Classes", _listed(map(str, model.classes_))
    yield "Experts", f"{experts(fact)}, {_named(model._given.expert, EXPERTS)}"
    yield "Gate", _prose(gate_phrase(model._given.gate, model.mixture_.depth))
    if fit.mixture.family.has_density:
        yield "Family", _code(str(fit.mixture.family))
    yield "Estimated by", METHODS[model._given.method]
    yield "Observations", f"{fit.n:.15g}"
    yield "Log-likelihood", f"{fit.log_likelihood:.6f}"
    yield "Degrees of freedom", str(fit.df)
    if fit.sse is not None:
        yield "Sum of squared residuals", f"{fit.sse:.8g}"
    yield "AIC, BIC", f"{fact['aic']:.4f}, {fact['bic']:.4f}"
    yield "Starts that reached this value", hits(fact)


def _row(
    part: str,
    owner: str,
    parameter: str,
    estimate: float,
    error: float,
    z: float,
    p: float,
    lower: float,
    upper: float,
    note: str,
) -> list[str]:
    """Return the cells of one parameter."""
    interval = "" if isnan(lower) else f"{number(lower)} to {number(upper)}"
    spread = "" if isnan(error) else number(error)
    return [part, owner, _cell(_code(parameter)), number(estimate), spread, interval, note]


def _predicting(model: MixtureEstimator, file: str) -> str:
    """Return how new rows are given."""
    design, reader = model._design, model._reader
    if design is not None:
        roles = [role for role in ("offset",) if role in design.roles]
        given, names = "frame", f"a data frame with the columns {_listed(design.variables(roles))}"
    else:
        columns = getattr(model, "feature_names_in_", None)
        wide = f"{model.n_features_in_} columns in the order of the fit"
        given, names = "X", f"an array with {wide}" if columns is None else f"a table with {_listed(columns)}"
        if reader.given:
            given, names = "X, gate_X=...", f"{names}; `gate_X`: {_listed(reader.names or [f'{reader.count} columns'])}"
        if model._offset:
            given = f"{given}, offset=..."
    labelled = isinstance(model, MixtureOfExpertsClassifier)
    more = (
        "`predict_proba` gives the probabilities of the classes" if labelled else "`predict_interval` gives intervals"
    )
    shell = (
        f" In a shell: {_code(f'gatewise predict {file} new.csv')}."
        if design or hasattr(model, "feature_names_in_")
        else ""
    )
    return f"`model.predict({given})` takes {names}; {more}.{shell}"


def _limits(model: MixtureEstimator) -> Iterable[str]:
    """Yield what is known of the limits of every such model."""
    if model.mixture_.n_leaves > 1:
        yield "The experts are groups that fit the data; that they are groups of the population is not shown."
    if model._design is not None:
        yield "Levels of factors that the fit did not see are refused."
    yield "The model file holds estimates, names of columns and levels of factors, and no rows of the data."


def _named(given: Any, table: Mapping[str, Any]) -> str:
    """Return the names of parts as a user gives them; a part without a name as Python writes it."""
    parts = given if isinstance(given, list | tuple) else [given]
    return _listed([part if isinstance(part, str) else name_of(part, table) or str(part) for part in parts])


def _listed(names: Iterable[str]) -> str:
    """Return names in code spans with commas; of many, the first and how many more there are."""
    names = list(names)
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(map(_code, names[:LISTED])) + more


def _code(text: str) -> str:
    """Return a text as a code span, in which nothing has a meaning."""
    text = " ".join(text.split())
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def _cell(text: str) -> str:
    """Return a text for a cell of a table, which a bar would end even in a code span."""
    return text.replace("|", r"\|")


def _prose(text: str) -> str:
    """Return a text in which no character has a meaning in Markdown."""
    return MARKS.sub(r"\\\1", " ".join(text.split()))


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
