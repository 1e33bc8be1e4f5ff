"""What can be known to be wrong with a study before anything runs, and truths that a box shuts out."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from gatewise.core.chart import from_paths, make_chart, specifications
from gatewise.core.gates import Gate
from gatewise.core.mixture import Measure
from gatewise.fit.least_squares import mean_of
from gatewise.theory.arms import Arm
from gatewise.theory.records import draw, measure
from gatewise.theory.study import Study
from gatewise.theory.voronoi.gauge import conventional

OF_FITS = ("hits", "gap", "moved", "start", "active")  # columns of the table of fits that are no errors
DISTANCES = ("hellinger", "total variation", "mean")  # not measured of merged atoms
SLACK = 1e-9  # of a limit: truths may lie on it


def check(study: Study) -> None:
    """Check that truths, boxes, losses and claims fit together: some of it only the last block of a run would tell.

    Every truth is held against its mixture, rows are drawn at the least size, and a made-up fit is measured.

    Raises
    ------
    ValueError
        For a truth that is not one of its mixture, a box of no parameters, a loss that is not about the model, and a
        claim or comparison about a series that is not recorded, or about over-filled cells where there are none.
    """
    held = {arm.name: _checked(study, arm) for arm in study.arms}
    about = [(claim.arm, claim.series) for claim in study.claims]
    about += [(claim.other, claim.other_series or claim.series) for claim in study.claims if claim.other]
    about += [(arm, series) for *pair, series in study.comparisons for arm in pair]
    for arm, series in about:
        if series not in (*held[arm], *OF_FITS):
            raise ValueError(f"arm {arm!r} has no series {series!r}: it has {', '.join(held[arm])}")
        given = study.arm(arm)
        if " over " in series and given.model.mixture.branching == given.data.mixture.branching:
            raise ValueError(
                f"arm {arm!r}, series {series!r}: as many experts are fitted as are true, and no cell is over-filled: "
                f"{series.replace(' over ', ' exact ')!r} is the error, or fit more experts"
            )


def _checked(study: Study, arm: Arm) -> tuple[str, ...]:
    try:
        return series_of(study, arm)
    except ValueError as fault:
        raise ValueError(f"arm {arm.name!r}: {fault}") from fault


def series_of(study: Study, arm: Arm) -> tuple[str, ...]:
    """Return the names of the series that the records of an arm hold.

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
    make_chart(model.mixture, d, d, outputs, bounds=model.box, fixed=model.fixed, gauge=model.gauge)
    draw(study, arm, first, 0)
    mixture = mean_of(model.mixture) if model.method == "ls" else model.mixture
    source = torch.Generator().manual_seed(0)  # atoms that all differ
    values = {
        path: spec.initial + 0.1 * torch.rand(shape, generator=source, dtype=torch.float64)
        for path, (spec, shape) in specifications(mixture, d, d, outputs).items()
    }
    names = tuple(measure(arm, arm.data.at(first.n), [from_paths(values, mixture.depth)]))
    if not arm.merged:
        return names
    merged = (f"merged {name}" for name in names if name not in DISTANCES and not name.endswith(" raw"))
    return (*names, *merged, "selected")


def _check_truth(arm: Arm, n: int) -> int:
    """Hold the truth at a size against its mixture, and return its number of outputs."""
    head, mixture, d = f"truth at n={n}", arm.data.mixture, arm.data.inputs.d
    truth = arm.data.at(n)
    if not isinstance(truth, Measure) or len(truth.gates) != mixture.depth or not truth.experts:
        raise ValueError(f"{head}: {truth!r}: give a Measure(gates, experts, family) with one mapping for every gate")
    held = {path: torch.as_tensor(value) for path, value in truth.paths().items()}
    expert = next(iter(mixture.expert.parameters(d)))
    shape = held.get(f"experts.{expert}", torch.zeros(())).shape
    outputs = shape[mixture.depth] if len(shape) > mixture.depth else 1
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
    d = arm.data.inputs.d
    for gate in (*arm.model.mixture.gates, *arm.data.mixture.gates) if arm.losses else ():
        if "bias" not in gate.score.parameters(d):
            raise ValueError(
                f"the score {gate.score} has no parameter 'bias', and a loss compares masses exp(bias): add one, held "
                "with Model(fixed=...) if it is known, or record no losses, losses=()"
            )


def _check_box(arm: Arm) -> None:
    for path, pair in (arm.model.box or {}).items():
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise ValueError(f"the box of {path} is {pair}: give (lower, upper)")


def outside(study: Study) -> tuple[str, ...]:
    """Return, in words, every truth that the box or the least scale of its arm shuts out: its errors will level off.

    Parameters of unlike gates or experts are not compared, nor what the gauge leaves free. A gate that is known up to a
    shift is inside if it is with some branch as the reference.
    """
    found = []
    for arm in study.arms:
        for level in arm.levels():
            for path, values in _compared(arm, level.n).items():
                low, high = _limits(arm, path, values[0].ndim)
                beyond = [value[(value < low - SLACK) | (value > high + SLACK)] for value in values]
                if all(len(out) for out in beyond):
                    found.append(
                        f"arm {arm.name!r}: the truth lies outside of what is fitted, {path} = {float(beyond[0][0]):g} "
                        f"beyond [{float(low.min()):g}, {float(high.max()):g}]: its errors will level off"
                    )
    return tuple(dict.fromkeys(found))


def _limits(arm: Arm, path: str, ndim: int) -> tuple[Tensor, Tensor]:
    """Return the limits of a parameter; those of single atoms are joined, for atoms have no order."""
    given = (arm.model.box or {}).get(path, (-torch.inf, torch.inf))
    low, high = (torch.as_tensor(end, dtype=torch.float64) for end in given)
    if path == "family.scale" and arm.model.min_scale is not None:
        low = low.clamp_min(arm.model.min_scale)
    return (low.min(), high.max()) if max(low.ndim, high.ndim) >= ndim else (low, high)


def _compared(arm: Arm, n: int) -> dict[str, list[Tensor]]:
    """Return the true values that the limits of the fitted model are about, of a gate with every reference."""
    fitted, true, truth = arm.model.mixture, arm.data.mixture, arm.data.at(n)
    kept: dict[str, list[Tensor]] = {}
    for i, (gate, params) in enumerate(zip(true.gates, truth.gates, strict=True)):
        if fitted.gates[i : i + 1] == (gate,) and arm.model.gauge == "fixed":
            kept |= {f"gates.{i}.{k}": v for k, v in _referred(gate, i, params).items()}
    if fitted.expert == true.expert:
        kept |= {f"experts.{k}": [v] for k, v in truth.experts.items()}
    return kept | {f"family.{k}": [v] for k, v in truth.family.items() if fitted.family == true.family}


def _referred(gate: Gate, level: int, params: Mapping[str, Tensor]) -> dict[str, list[Tensor]]:
    """Return the parameters of a gate; where only differences are known those from the last branch, then the others."""
    held = conventional(gate, params) if gate.held() else dict(params)
    known = {name: [value] for name, value in held.items() if name not in gate.held()}
    for name in set(gate.translation()) & set(known):
        value = held[name]
        known[name] = [value - value.narrow(level, k, 1) for k in reversed(range(value.shape[level]))]
    return known
