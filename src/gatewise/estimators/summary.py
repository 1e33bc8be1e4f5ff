"""A fit as a text for the reader."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from math import isfinite

from torch import Tensor

from gatewise.estimators.alerts import details
from gatewise.estimators.attributes import natural
from gatewise.fit.result import Fit
from gatewise.infer.predict import Shares

Table = list[tuple[str, list[float]]]


def summary(
    fit: Fit,
    taken: Shares,
    gates: Sequence[str],
    inputs: Sequence[str],
    gate_inputs: Sequence[str],
    criteria: tuple[float, float, float],
) -> str:
    """Return model, criteria, status, parameters, starts and notes, one line or table each.

    Parameters
    ----------
    fit : Fit
    taken : Shares
        Responsibilities summed over the data of fit.
    gates : descriptions of the gates by level
    inputs, gate_inputs : names
    criteria : AIC, BIC, ICL
    """
    mixture = fit.mixture
    lines = [
        f"Mixture of {mixture.n_leaves} experts" + (f" in levels of {mixture.branching}" if mixture.depth > 1 else ""),
        f"  gate    {', '.join(gates)}",
        f"  expert  {mixture.expert}",
        f"  family  {mixture.family}" + (f", shared {', '.join(mixture.shared)}" if mixture.shared else ""),
        f"  n = {fit.n:.15g}   log-likelihood = {fit.log_likelihood:.6f}   df = {fit.df}",
        "  AIC = {:.4f}   BIC = {:.4f}   ICL = {:.4f}".format(*criteria),
        f"Status: {fit.status}: {fit.status.words}{details(fit)}",
        "",
        "Experts",
        *_table(_experts(fit, taken, inputs), ["/".join(map(str, leaf)) for leaf in _owners(mixture.branching)]),
    ]
    for level in range(mixture.depth):
        lines += ["", f"Gate of level {level}, last branch as reference where only differences matter"]
        lines += _gate(fit, level, gate_inputs)
    return "\n".join([*lines, "", *_starts(fit), *(f"Note: {note}" for note in fit.notes), STANDARD_ERRORS])


STANDARD_ERRORS = "Standard errors are not part of this release."


def _owners(branching: Sequence[int]) -> Iterator[tuple[int, ...]]:
    return product(*(range(k) for k in branching))


def _experts(fit: Fit, taken: Shares, inputs: Sequence[str]) -> Table:
    """Return one line per parameter, one column per leaf."""
    mixture, leaves = fit.mixture, fit.mixture.n_leaves
    rows: Table = [("share", (taken.totals / fit.n).tolist())]
    found = natural(mixture, fit.measure, flat=False)
    for name in ("intercept_", "coef_", "output_", "scale_", "dof_"):
        if name not in found:
            continue
        value = found[name].reshape(leaves, *found[name].shape[mixture.depth :])
        for output in range(value.shape[1]):
            mark = f"y{output} " if value.shape[1] > 1 else ""
            own = value[:, output]
            if own.ndim == 1:
                rows.append((f"{mark}{name[:-1]}", own.tolist()))
            else:
                rows += [(f"{mark}{inputs[j]}", own[:, j].tolist()) for j in range(own.shape[1])]
    return rows


def _gate(fit: Fit, level: int, inputs: Sequence[str]) -> list[str]:
    """Return the parameters of one level: those of branches, one column each, then those of nodes."""
    mixture, params = fit.mixture, fit.measure.gates[level]
    specs = mixture.gates[level].score.parameters(len(inputs))
    lines: list[str] = []
    for owner, branching in (("child", mixture.branching[: level + 1]), ("node", mixture.branching[:level])):
        rows: Table = []
        for name, spec in specs.items():
            if spec.owner == owner:
                rows += _entries(name, params[name], len(spec.shape), inputs)
        if rows:
            lines += _table(rows, ["/".join(map(str, node)) or "root" for node in _owners(branching)])
    return lines or ["  has no parameters"]


def _entries(name: str, value: Tensor, rank: int, inputs: Sequence[str]) -> Table:
    if not rank:
        return [(name, value.reshape(-1).tolist())]
    flat = value.reshape(-1, value.shape[-1])
    labels = inputs if value.shape[-1] == len(inputs) else [str(j) for j in range(value.shape[-1])]
    return [(f"{name} {labels[j]}", flat[:, j].tolist()) for j in range(value.shape[-1])]


def _table(rows: Table, header: list[str]) -> list[str]:
    left = max(len(name) for name, _ in rows)
    lines = [f"  {'':{left}}" + "".join(f"{name:>13}" for name in header)]
    return lines + [f"  {name:{left}}" + "".join(f"{value:>13.6g}" for value in values) for name, values in rows]


def _starts(fit: Fit) -> list[str]:
    starts = fit.starts
    gap = f"the next best is {starts.gap:.4g} below" if isfinite(starts.gap) else "no other value was found"
    where = " on a subsample" if starts.subsampled else ""
    lines = [
        f"Starts: {starts.hits} of {len(starts.log_likelihood)} reached the best value{where}; {gap};",
        f"        estimated chance that one more finds a value not seen yet {starts.unseen:.2f}",
    ]
    if starts.moved:
        lines.append("        no start ended there: it was found by refining the best of them")
    if starts.better_unsound:
        listed = ", ".join(f"{value:.4f}" for value in starts.better_unsound[:3])
        lines.append(f"        higher values refused as unsound: {listed}")
    return lines
