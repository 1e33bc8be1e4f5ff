"""What can be known to be wrong with a study before anything runs."""

from __future__ import annotations

from dataclasses import replace

import torch

from gatewise.core.mixture import Measure
from gatewise.objective.parameterization import from_paths, make_parameterization, specifications
from gatewise.objective.rows import Rows
from gatewise.objective.ties import tied
from gatewise.theory.arms import Arm, NearTruth
from gatewise.theory.claims import Claim, allowed, parameter_of
from gatewise.theory.dendrogram import dendrogram
from gatewise.theory.records import draw, estimated, measure, near_truth, parameter_errors, stack, undefined
from gatewise.theory.study import Study

WIDEST = 0.25  # tolerance of a difference of slopes
TO_ZERO = {  # why no claim of a kind is about a slope of zero
    "equal": "an error that does not fall has no rate, and a tolerance would allow rates",
    "at_most": "every error that does not grow has such a slope",
}
TRIALS, ROUNDING = 5, 1e-12  # fits near the truth, and errors that are none
OF_FITS = ("behind", "hits", "gap", "moved", "start", "active")  # columns of the table of fits that are no errors
DISTANCES = ("hellinger", "total variation", "mean")  # not measured of merged atoms
OF_LOSSES = ("loss", "empty", "ties")  # first words of series that come with a loss, as errors of parameters do


def check(study: Study) -> None:
    """Check a study before running it: truths, boxes, losses and claims must be consistent with the models.

    Each truth is evaluated in its mixture, data are drawn at the smallest size, and a made-up fit is measured, so
    errors do not show up only at the end of a long run.

    Parameters
    ----------
    study : Study

    Raises
    ------
    ValueError
        If a claim allows one slope only or nearly all, a truth does not belong to its mixture, a box has unknown
        parameters, a loss that is asked for does not apply to the model, starts near the truth do not exist, or a claim
        or comparison refers to a series that is not recorded, with the reason, to over-specified cells that do not
        exist, or to an error that is zero for most fits near the truth.

    Examples
    --------
    >>> from dataclasses import replace
    >>> from gatewise.theory import STUDIES, check
    >>> study = STUDIES["softmax-exact"]
    >>> check(study)
    >>> try:
    ...     check(replace(study, claims=(replace(study.claims[0], series="nothing"),)))
    ... except ValueError as error:
    ...     print("nothing" in str(error))
    True
    """
    for claim in study.claims:
        _check_claim(claim)
    held = {arm.name: _checked(study, arm) for arm in study.arms}
    about = [(claim.arm, claim.series) for claim in study.claims]
    about += [(claim.other, claim.other_series or claim.series) for claim in study.claims if claim.other]
    about += [(arm, series) for *pair, series in study.comparisons for arm in pair]
    for arm, series in about:
        given = study.arm(arm)
        if series not in (*held[arm], *OF_FITS):
            raise ValueError(f"arm {arm!r} has no series {series!r}: {_why_not(given, series, held[arm])}")
        if " over " in series and given.model.mixture.branching == given.data.mixture.branching:
            raise ValueError(
                f"arm {arm!r}, series {series!r}: the fitted model has the true number of experts, so no cell is "
                f"over-filled: {series.replace(' over ', ' exact ')!r} is the error, or fit more experts"
            )
        if series.startswith("gates.") and " exact " in series and _zero(study, given, series):
            raise ValueError(
                f"arm {arm!r}, series {series!r}: this error is zero for most fits near the truth. Gates are "
                "measured up to the shift that changes nothing, and with one such cell the shift takes all of its "
                "error: drop the claim"
            )


def _zero(study: Study, arm: Arm, series: str) -> bool:
    """Return whether an error of a gate is zero in most of some fits near the truth, among those that define it.

    That takes a single cell with one atom: of two true experts the other is over-filled.
    """
    same = arm.data.mixture.gates == arm.model.mixture.gates and arm.data.mixture.expert == arm.model.mixture.expert
    if not same or arm.data.mixture.branching != (2,) or arm.model.mixture.branching == (2,):
        return False
    fits = near_truth(study, replace(arm, starts=NearTruth(0.05, 0.0, TRIALS)), arm.levels()[0], 0)
    values = parameter_errors(arm, arm.data.at(arm.levels()[0].n), fits).get(series)
    defined = values[values.isfinite()] if values is not None else torch.empty(0)
    return bool(len(defined)) and float(defined.median()) < ROUNDING


def _why_not(arm: Arm, series: str, held: tuple[str, ...]) -> str:
    """Return why the records of an arm do not contain a series, in words."""
    reasons = undefined(arm, arm.data.at(arm.levels()[0].n), made_up(arm))
    name = series.removeprefix("merged ")
    if name not in DISTANCES and (parameter_of(name) or name.split(" ")[0] in OF_LOSSES):
        name = "loss"
    return reasons.get(name, f"it has {', '.join(held)}")


def _check_claim(claim: Claim) -> None:
    """Raise for a value and tolerance that would support nothing, or nearly everything."""
    if claim.kind == "slower_than_polynomial":
        return
    head = f"claim about {claim.arm!r}, {claim.series!r}: {claim.kind} {claim.value:g}, tolerance={claim.tolerance:g}"
    if claim.value == 0 and not claim.other and claim.kind in TO_ZERO:
        raise ValueError(
            f"{head}: {TO_ZERO[claim.kind]}; that an error does not fall is kind='at_least', value=0, tolerance=0.05"
        )
    one_sided = claim.kind in ("at_most", "at_least")
    if claim.tolerance == 0 and not one_sided:
        raise ValueError(f"{head}: an interval never lies inside a single slope; give a positive tolerance")
    if one_sided and claim.value:  # the edge of a claim about a rate is a rate
        wide, remedy = claim.tolerance > abs(claim.value) - 1e-12, f"less than {abs(claim.value):g}"
    else:
        most = WIDEST if claim.other or one_sided else 0.5 * abs(claim.value)
        bound = "" if one_sided else ", or claim a bound: kind='at_most' or 'at_least'"
        wide, remedy = claim.tolerance > most + 1e-12, f"at most {most:g}{bound}"
    if wide:
        low, high = allowed(claim)
        raise ValueError(
            f"{head} allows slopes from {low:+.3g} to {high:+.3g}, which very different rates have; give {remedy}"
        )


def _checked(study: Study, arm: Arm) -> tuple[str, ...]:
    try:
        return series_of(study, arm)
    except ValueError as fault:
        raise ValueError(f"arm {arm.name!r}: {fault}") from fault


def series_of(study: Study, arm: Arm) -> tuple[str, ...]:
    """List the names of the series that the records of an arm contain.

    Parameters
    ----------
    study : Study
    arm : Arm

    Returns
    -------
    tuple of str

    Examples
    --------
    >>> from gatewise.theory.papers import STUDIES
    >>> study = STUDIES["softmax-exact"]
    >>> [name for name in series_of(study, study.arms[0]) if "coef" in name]
    ['experts.coef exact mean', 'experts.coef exact max', 'experts.coef over mean', 'experts.coef over max']
    """
    _check_gates(arm)
    levels, model, d = arm.levels(), arm.model, arm.data.inputs.d
    first, *_ = levels
    outputs, *_ = (_check_truth(arm, level.n) for level in levels)
    _check_box(arm)
    free = make_parameterization(model.mixture, d, d, outputs, bounds=model.box, fixed=model.fixed, gauge=model.gauge)
    tied(free, model.ties, {})
    _check_response(arm, draw(study, arm, first, 0), outputs)
    _check_starts(arm, outputs)
    try:
        names = tuple(measure(arm, arm.data.at(first.n), [made_up(arm)]))
    except ValueError as fault:
        raise ValueError(f"{fault}; or record no losses, losses=()" if arm.losses else str(fault)) from fault
    if not arm.merged:
        return names
    dendrogram(model.mixture, stack([made_up(arm)]))
    merged = (f"merged {name}" for name in names if name not in DISTANCES and not name.endswith(" raw"))
    return (*names, *merged, "selected")


def made_up(arm: Arm) -> Measure:
    """Return a fitted measure of an arm whose atoms all differ."""
    mixture, d, source = estimated(arm), arm.data.inputs.d, torch.Generator().manual_seed(0)
    outputs = _outputs(arm, arm.data.at(arm.levels()[0].n))
    values = {
        path: spec.initial + 0.1 * torch.rand(shape, generator=source, dtype=torch.float64)
        for path, (spec, shape) in specifications(mixture, d, d, outputs).items()
    }
    return from_paths(values, mixture.depth)


def _check_response(arm: Arm, rows: Rows, outputs: int) -> None:
    """Raise unless the fitted family can be fitted to what the truth draws, with as many outputs."""
    family, y = estimated(arm).family, rows.read(0, rows.n)[2]
    fault = family.validate(y)
    if family.outputs(len(y)) != outputs:
        fault = f"{len(y)} columns, {outputs} outputs of the truth and {family.outputs(len(y))} of the fitted model"
    if fault:
        raise ValueError(f"the truth draws y with {fault}: {family} cannot be fitted to it, choose another family")


def _check_starts(arm: Arm, outputs: int) -> None:
    """Raise for starts near the truth of a model that has more parameters than the truth, or other levels."""
    if not isinstance(arm.starts, NearTruth):
        return
    mixture, d, truth = estimated(arm), arm.data.inputs.d, arm.data.at(arm.levels()[0].n).paths()
    fewer = [k < true for k, true in zip(mixture.branching, arm.data.mixture.branching, strict=False)]
    if mixture.depth != arm.data.mixture.depth or any(fewer):
        raise ValueError(
            f"{arm.starts}: the fitted model has the branching {mixture.branching}, the truth "
            f"{arm.data.mixture.branching}, so there are no starts near it; give starts=DataDrivenStarts(count)"
        )
    specs = specifications(arm.data.mixture, d, d, outputs), specifications(mixture, d, d, outputs)
    true, own = ({path: spec for path, (spec, _) in both.items()} for both in specs)
    if lacking := [path for path in own if path not in truth or own[path].shape != true[path].shape]:
        raise ValueError(
            f"{arm.starts}: the truth has no {', '.join(lacking)} of the fitted model, so there are no starts near it; "
            "give starts=DataDrivenStarts(count)"
        )


def _outputs(arm: Arm, truth: Measure) -> int:
    """Return the number of outputs of a truth, by the first parameter of its experts."""
    name, spec = next(iter(arm.data.mixture.expert.parameters(1).items()), ("", None))
    shape = torch.as_tensor(truth.experts.get(name, torch.zeros(()))).shape
    return shape[arm.data.mixture.depth] if spec is not None and len(shape) > arm.data.mixture.depth else 1


def _check_truth(arm: Arm, n: int) -> int:
    """Hold the truth at a size against its mixture, and return its number of outputs."""
    head, mixture, d = f"truth at n={n}", arm.data.mixture, arm.data.inputs.d
    truth = arm.data.at(n)
    if not isinstance(truth, Measure) or len(truth.gates) != mixture.depth or not truth.experts:
        raise ValueError(f"{head}: {truth!r}: give a Measure(gates, experts, family) with one mapping for every gate")
    held = {path: torch.as_tensor(value) for path, value in truth.paths().items()}
    outputs = _outputs(arm, truth)
    specs = specifications(mixture, d, d, outputs)
    needed = {path for path in specs if truth.family or not path.startswith("family.") or arm.model.method != "ls"}
    if set(held) != needed:
        raise ValueError(f"{head} has {', '.join(held)}: its mixture has {', '.join(p for p in specs if p in needed)}")
    for path, value in held.items():
        spec, wanted = specs[path]
        if tuple(value.shape) != wanted:
            raise ValueError(f"{head}: {path} has the shape {tuple(value.shape)}: for d={d} it is {wanted}")
        if value.dtype != torch.float64 or value is not truth.paths()[path]:
            raise ValueError(f"{head}: {path} is not a tensor of torch.float64: give torch.tensor(..., dtype=...)")
        low, high = spec.bounds
        positive = spec.transform == "log"
        if not bool((value.isfinite() & (value >= low) & (value <= high) & ((value > 0) | (not positive))).all()):
            raise ValueError(f"{head}: {path} = {value.tolist()}: give finite numbers between {low:g} and {high:g}")
    return outputs


def _check_gates(arm: Arm) -> None:
    """Raise for a gate without biases: the cells of a loss compare masses."""
    for gate in (*arm.model.mixture.gates, *arm.data.mixture.gates) if arm.losses else ():
        if gate.score.bias() is None:
            raise ValueError(
                f"the score {gate.score} has no bias, and a loss compares masses exp(bias): add a parameter with the "
                "role 'intercept', fixed with Model(fixed=...) if it is known, or record no losses, losses=()"
            )


def _check_box(arm: Arm) -> None:
    for path, pair in (arm.model.box or {}).items():
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise ValueError(f"the box of {path} is {pair}: give (lower, upper)")
