"""Mixtures by a formula: ``moe("y ~ x + C(site)", data)``."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from inspect import signature
from typing import TYPE_CHECKING, Any, cast

from gatewise.core.by_leaf import ExpertsByLeaf
from gatewise.core.experts import Constant, Linear
from gatewise.core.families import Categorical
from gatewise.core.gates import gates
from gatewise.core.names import did_you_mean
from gatewise.estimators.adopting import adopt
from gatewise.estimators.classifier import MixtureOfExpertsClassifier
from gatewise.estimators.declarations import Start
from gatewise.estimators.fitting import fitted, warn
from gatewise.estimators.inputs import Given
from gatewise.estimators.kinds import experts_of, families_of
from gatewise.estimators.known import KnownValues
from gatewise.estimators.labels import classes_of
from gatewise.estimators.options import branching
from gatewise.estimators.regressor import MixtureOfExpertsRegressor
from gatewise.estimators.shared import shared_names
from gatewise.formulas import FormulaDesign, design_of
from gatewise.formulas.dots import without_dots
from gatewise.formulas.grammar import parse

if TYPE_CHECKING:
    from pandas import DataFrame

READS_NOTHING = "constant"  # the gate of mixtures of regressions
NO_INPUTS = (READS_NOTHING, "equal")
FEW_LEVELS = 10  # a factor with fewer levels is one, however few rows there are


def moe(
    formula: str,
    data: DataFrame,
    *,
    gate_formula: str | None = None,
    offset: str | None = None,
    trials: str | None = None,
    weights: str | None = None,
    groups: str | None = None,
    shared: str | Sequence[str] = (),
    start: Start = None,
    **options: Any,
) -> MixtureOfExpertsRegressor:
    """Fit a mixture of experts by a model formula.

    Rows with a missing value in a column that is used are left out, and counted in ``summary()``. Methods of the result
    take data frames alone: ``predict(frame)``, ``responsibilities(frame)``, ``score(frame)``; without one, those that
    look at y read the frame of the fit, which the result keeps in memory and no file holds.

    Parameters
    ----------
    formula : str
        ``y ~ x * z + C(site)``; several responses ``y1 + y2 ~ x``; in ``y ~ .`` the dot stands for all columns without
        another role. The functions that it may use are in ``docs/formulas.md``. Its intercept is that of the experts;
        ``- 1`` holds them at zero. ``y ~ 1`` fits experts that are constants.
    data : DataFrame
    gate_formula : str, optional
        Inputs of the gates, ``~ z``; ``~ 1`` is the gate ``"constant"``. By default the gates read what the experts
        read, as everywhere in gatewise (with an intercept, since gates have one); flexmix's default, constant
        proportions, is ``"~ 1"`` or ``gate="constant"``.
    offset : str, optional
        A column or an expression, such as ``"np.log(hours)"``, added to the predictor of every expert.
    trials : str, optional
        Column of the numbers of trials, with ``family="binomial"``: the response counts the successes among them.
    weights : str, optional
        Column of frequency weights.
    groups : str, optional
        Column of labels; the rows of a group come from one expert.
    shared : str or sequence of str
        Terms of the formula, or columns of them, whose coefficients are the same in all experts; or ``"intercept"``.
    start : fitted model, Fit, Measure or array-like (n, L), optional
        Where the first start begins, as in `MixtureOfExpertsRegressor.fit`; responsibilities are of the rows that are
        used.
    **options
        Those of `MixtureOfExpertsRegressor`, such as ``n_experts=3`` or ``zero_inflated=True``.

    Returns
    -------
    MixtureOfExpertsRegressor or MixtureOfExpertsClassifier
        Fitted; the classifier where ``family="categorical"`` and the response is one column of labels (text,
        categories, truth values or numbers), of which the first in sorted order is the reference.

    Raises
    ------
    TypeError, ValueError
        For a formula that uses what it may not, columns that are missing, and whatever the regressor refuses.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> rng = np.random.default_rng(0)
    >>> data = pd.DataFrame({"x": rng.uniform(0, 4, 200), "site": rng.choice(["a", "b"], 200)})
    >>> low = rng.random(200) < 0.5
    >>> data["y"] = np.where(low, 1 + data.x, 8 - data.x) + (data.site == "b") + 0.2 * rng.normal(size=200)
    >>> model = moe("y ~ x + site", data, gate="constant", shared="site", n_init=5, random_state=0)
    >>> list(model.feature_names_in_), sorted(model.coef_[:, 0].round(1).tolist())
    (['x', 'site[T.b]'], [-1.0, 1.0])
    >>> model.predict(pd.DataFrame({"x": [0.0], "site": ["a"]})).shape
    (1,)
    """
    _require_options(options)
    roles = {"offset": offset, "trials": trials, "weights": weights, "groups": groups}
    formula, gate_formula = without_dots(data, formula, gate_formula, roles)
    labelled = _is_labelled(formula, options)
    gated = _with_intercept(formula, options) if gate_formula is None else gate_formula
    design, found = design_of(data, formula, gated, **roles, labelled=labelled)
    options = _of_experts(design, _of_gates(design, options))
    classes, y = classes_of(found.y) if labelled and found.y is not None else (None, found.y)
    _warn_of_levels(design, stacklevel=2)
    kind = MixtureOfExpertsRegressor if classes is None else _classifier_of(options)
    model = kind(**options, shared=_columns(design, shared))
    known = KnownValues(found.offset, found.trials)
    result, rows = fitted(model, Given(found.x, y, found.weights, found.gate_x, found.groups, known), start)
    result = result._replace(design=design, classes=classes)
    warn(result, rows, stacklevel=2)
    adopt(model, result, _kept(data, design))
    return cast(MixtureOfExpertsRegressor, model)  # only labels of classes have another type


def _kept(data: DataFrame, design: FormulaDesign) -> DataFrame:
    """Return the frame as it is now: later changes of the user's frame are no part of the fit."""
    frame = data.copy(deep=False)
    for name in design.variables():
        frame[name] = data[name].copy()
    return frame


def _warn_of_levels(design: FormulaDesign, stacklevel: int) -> None:
    """Warn of factors with more levels than half the rows: mostly numbers that are held as texts, or labels of rows."""
    sides = (design.experts, *([design.gates] if design.gates is not None else []))
    for name, count in {name: len(levels) for side in sides for name, levels in side.levels.items()}.items():
        if count >= FEW_LEVELS and 2 * count > design.rows:
            warnings.warn(
                f"the factor {name} has {count} levels in {design.rows} rows, and a parameter for each: convert it by "
                "pd.to_numeric if it holds numbers as text, join its levels, or leave it out",
                UserWarning,
                stacklevel=stacklevel + 1,
            )


def _is_labelled(formula: Any, options: Mapping[str, Any]) -> bool:
    """Return whether the response is one column of labels of classes."""
    laws = families_of(options.get("family", "gaussian"))
    one = isinstance(formula, str) and len(parse(formula, True).responses) == 1
    return one and all(isinstance(law, Categorical) for law in laws) and options.get("method") != "ls"


def _classifier_of(options: dict[str, Any]) -> type[MixtureOfExpertsClassifier]:
    """Return the classifier, and take out of the options what it has not.

    Raises
    ------
    TypeError
        For options that mean nothing for classes.
    """
    known = signature(MixtureOfExpertsClassifier).parameters
    del options["family"]
    usual = {name: one.default for name, one in signature(MixtureOfExpertsRegressor).parameters.items()}
    for name in [name for name in options if name not in known]:
        if options.pop(name) is not usual[name]:
            raise TypeError(f"{name} is given with classes, which have none: the options are {', '.join(known)}")
    return MixtureOfExpertsClassifier


def _require_options(options: Mapping[str, Any]) -> None:
    known = signature(MixtureOfExpertsRegressor).parameters
    for name in options:
        if name not in known:
            near = did_you_mean(name, [*known, *signature(moe).parameters])
            raise TypeError(f"moe has no argument {name!r}: {near}the options are {', '.join(known)}")
    if options.get("gate_features") is not None:
        raise TypeError("gate_features is given with a formula: name the inputs of the gates in gate_formula")


def _with_intercept(formula: Any, options: Mapping[str, Any]) -> str | None:
    """Return the formula of gates beside experts without an intercept: that of these, but with one; else None."""
    if not isinstance(formula, str) or formula.count("~") != 1 or options.get("gate", "softmax") in NO_INPUTS:
        return None
    return None if parse(formula, True).intercept else f"~{formula.partition('~')[2]} + 1"


def _of_gates(design: FormulaDesign, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options with the gate that the formulas ask for."""
    gate, empty = options.get("gate", "softmax"), design.gates is not None and not design.gates.columns
    if design.gates is not None and not design.gates.parsed.intercept:
        raise ValueError(
            f"gate_formula={design.gates.parsed.text!r} has no intercept: leave - 1 out, gates have their own"
        )
    constant = all(
        one == gates(READS_NOTHING, 1)[0] for one in gates(gate, len(branching(options.get("n_experts", 2))))
    )
    if design.gates is not None and design.gates.columns and constant:
        raise ValueError(f"gate={gate!r} reads no inputs, and gate_formula names some: leave one of the two out")
    nothing = design.gates is None and not design.experts.columns
    if (empty or nothing) and gate == "softmax":
        return {**options, "gate": READS_NOTHING}
    if empty and not constant and gate not in NO_INPUTS:
        raise ValueError(f"gate={gate!r} reads inputs, and gate_formula '~ 1' names none: leave gate out, or name some")
    return dict(options)


def _of_experts(design: FormulaDesign, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options with experts that have the intercept, or the columns, of the formula."""
    units, text = experts_of(options.get("expert", "linear")), design.experts.parsed.text
    if not design.experts.columns:
        if not design.experts.parsed.intercept:
            raise ValueError(f"the formula {text!r} has nothing on its right: give 1 for constants, or columns")
        if read := [unit for unit in units if not isinstance(unit, Linear | Constant)]:
            raise ValueError(f"the formula {text!r} has no columns, which the expert {read[0]} needs: leave expert out")
        return {**options, "expert": "constant"}
    if design.experts.parsed.intercept:
        return options
    whole = units[0] if len(units) == 1 else ExpertsByLeaf(units)
    held = {f"experts.{name}": 0.0 for name in whole.names("intercept")}
    without = [unit for unit in units if not unit.names("intercept")]
    if without:
        raise ValueError(
            f"the formula {text!r} leaves out an intercept, and the expert {without[0]} has none: leave - 1 out"
        )
    fixed = options.get("fixed") or {}
    twice = [path for path in held if path in fixed]
    if twice:
        raise ValueError(f"fixed has {twice[0]!r}, and the formula {text!r} holds it at zero: leave one of the two out")
    return {**options, "fixed": {**held, **fixed}}


def _columns(design: FormulaDesign, shared: Any) -> tuple[str, ...]:
    """Return the columns behind names of terms, columns and the intercept."""
    terms = {"".join(name.split()).replace('"', "'"): columns for name, columns in design.experts.terms.items()}
    found: list[str] = []
    for name in shared_names(shared):
        found += terms.get("".join(name.split()).replace('"', "'"), (name,))
    if "intercept" in found and not design.experts.parsed.intercept:
        raise ValueError(f"shared has 'intercept', which {design.experts.parsed.text!r} leaves out")
    return tuple(dict.fromkeys(found))
