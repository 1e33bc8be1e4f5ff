"""The summary of a fit: tables of parameters, criteria, status and starts, as text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import isfinite, isnan
from textwrap import wrap

from gatewise.core.mixture import Mixture
from gatewise.estimators.errors import ReportedErrors
from gatewise.estimators.gate_inputs import gated_levels
from gatewise.estimators.names import ReaderNames
from gatewise.estimators.summary_value import Row, Summary, proportion_rows, rows_of
from gatewise.estimators.terms import REFERENCE, SummaryTerms, Term, TermGroup
from gatewise.estimators.warnings import floor_words, status_text, unbounded
from gatewise.fit.result import Fit
from gatewise.fit.words import expert_name, members
from gatewise.infer.covariance.loss import residual_variance
from gatewise.infer.predict import Shares
from gatewise.infer.proportions import Proportions
from gatewise.infer.text import number, p_text, z_value
from gatewise.objective.entries import reference_branch

WIDTH = 80
OWNER = re.compile(r"\[(?:expert|branch|node) [\d/]+\]")  # at the end of a name, where no line breaks
HARD = "\N{NO-BREAK SPACE}"
PLAIN = f"{'estimate':>11}"
ERRORS = f"{PLAIN}{'std. error':>11}{'':14}{'95 % interval':>22}"
FULL = f"{PLAIN}{'std. error':>11}{'z':>7}{'p':>7}{'95 % interval':>22}"


def summary(
    fit: Fit,
    taken: Shares,
    errors: ReportedErrors,
    gates: Sequence[str],
    names: ReaderNames,
    criteria: tuple[float, float, float],
    theory: str,
    formula: Sequence[tuple[str, str]] = (),
    mixed: Proportions | None = None,
) -> Summary:
    """Return model, criteria, status, tables of experts and gates, starts and notes.

    Parameters
    ----------
    fit : Fit
    taken : Shares
        Responsibilities summed over the data of fit.
    errors : ReportedErrors
        Standard errors, or why there are none.
    gates : descriptions of the gates by level
    names : ReaderNames
    criteria : AIC, BIC, ICL
    theory : what identifiability says of the model
    formula : names and texts of the parts of a formula
    mixed : Proportions, optional
        The gates averaged over the data of fit; None: not known.
    """
    mixture, terms = fit.mixture, SummaryTerms(fit, errors, *names.labels)
    lines = [
        f"Mixture of {members(mixture)}" + (f" in levels of {mixture.branching}" if mixture.depth > 1 else ""),
        *(line for name, words in formula for line in _part(name, words)),
        *_part("gate", ", ".join(gates)),
        *_part("expert", str(mixture.expert)),
        *_part(
            "family",
            f"{mixture.family}" + (f", shared {', '.join(map(names.name, mixture.shared))}" if mixture.shared else ""),
        ),
        f"  n = {fit.n:.15g}   log-likelihood = {fit.log_likelihood:.6f}   df = {fit.df}",
        *([] if fit.sse is None else [f"  sum of squared residuals = {fit.sse:.8g}"]),
        "  AIC = {:.4f}   BIC = {:.4f}".format(*criteria)
        + ("" if isnan(criteria[2]) else f"   ICL = {criteria[2]:.4f}"),
        *_wrapped(f"  {unbounded(fit)}" if unbounded(fit) else ""),
        *_wrapped(f"Status: {fit.status}: {status_text(fit, names.text)}"),
    ]
    head, experts, common = tuple(lines), terms.experts(), terms.common()
    estimated = gated_levels(mixture.gates, mixture.branching)
    levels = [(terms.gate(level, "branch"), terms.gate(level, "node")) for level in range(mixture.depth)]
    shown = [experts, [common], *(part for level in estimated for part in levels[level])]
    everything = [group for groups in shown for group in groups]
    wide = max((len(term.name) for group in everything for term in group.terms), default=0)
    plain = errors.values is None
    parts = proportion_rows(mixed, leaf_titles(mixture)) if mixed is not None and mixture.n_leaves > 1 else []
    wide = max([wide, *(len(row.owner) for row in parts)])
    lines += _proportions(mixture, parts, wide)
    for group, total, title in zip(experts, taken.totals.tolist(), mixture.titles, strict=True):
        of_expert = [] if title else _table(group, wide, plain)
        owner = title.capitalize() or f"Expert {_joined(group.owner)}"
        lines += ["", f"{owner}, share {total:.6g} of {fit.n:.6g}", *of_expert]
    lines += ["", "All experts, one estimate for all", *_table(common, wide, plain)] if common.terms else []
    for level, (branches, nodes) in enumerate(levels):
        shown_here = (branches, nodes) if level in estimated else None
        lines += ["", *_level(mixture, level, shown_here, wide, plain, fit.spec.reference)]
    notes = [line for note in (*fit.notes, *errors.notes) for line in _wrapped(f"Note: {names.text(note)}")]
    tail = [*_starts(fit), *notes, *_wrapped(names.text(errors_words(fit, errors))), *_wrapped(f"Theory: {theory}")]
    rows = [*rows_of("expert", experts), *(one._replace(owner="all") for one in rows_of("expert", [common]))]
    rows += [row for level, pair in enumerate(levels) for part in pair for row in rows_of(f"gate {level}", part)]
    return Summary("\n".join([*lines, "", *tail]), head, rows, tail, _criteria(fit, criteria), parts)


def leaf_titles(mixture: Mixture) -> list[str]:
    """Return what the leaves are called: ``expert 0/1``, or what their law is called."""
    return [title or expert_name(mixture, leaf) for leaf, title in enumerate(mixture.titles)]


def _proportions(mixture: Mixture, rows: Sequence[Row], wide: int) -> list[str]:
    """Return the table of the mixing proportions; nothing of one expert."""
    if not rows:
        return []
    plain = all(isnan(row.error) for row in rows)
    title = "Mixing proportions" if mixture.normalised else "Mean weights of the gates"
    lines = ["", f"{title}, averages over the data", f"  {'':{wide}}{PLAIN if plain else ERRORS}"]
    for row in rows:
        errors = "" if plain else f"{number(row.error):>11}{'':14}{number(row.lower):>11}{number(row.upper):>11}"
        lines.append(f"  {row.owner:{wide}}{number(row.estimate):>11}{errors}")
    return lines


def _level(
    mixture: Mixture,
    level: int,
    groups: tuple[list[TermGroup], list[TermGroup]] | None,
    wide: int,
    plain: bool,
    reference: tuple[int, ...],
) -> list[str]:
    """Return the gate of a level, by branches and nodes; None: it has nothing to divide."""
    if groups is None:
        return [f"Gate of level {level}", "  one branch with weight 1: nothing to estimate"]
    branches, nodes = groups
    zero = reference_branch(mixture, level, reference)
    named = "the last branch" if zero == mixture.branching[level] - 1 else f"branch {zero}"
    every = " of every group" if level else ""
    gate = mixture.gates[level]
    specs = gate.score.parameters(1)
    shifted = any(specs[name].free for name in gate.translation())
    words = f" ({named}{every} is the reference)" if shifted else ""
    lines = [f"Gate of level {level}{words}"]
    titles = mixture.titles if level == mixture.depth - 1 else ("",) * len(branches)
    lines += [line for pair in zip(branches, titles, strict=False) for line in _branch(*pair, wide, plain)]
    for group in nodes:
        lines += [f"  node {_joined(group.owner)}" if group.owner else "  all branches", *_rows(group, wide)]
    return lines if branches or nodes else [*lines, "  has no parameters"]


def _criteria(fit: Fit, criteria: tuple[float, float, float]) -> dict[str, float]:
    found = {"log-likelihood": fit.log_likelihood, "df": fit.df, "n": fit.n}
    found |= dict(zip(("AIC", "BIC", "ICL"), criteria, strict=True))
    return found if fit.sse is None else {**found, "SSE": fit.sse}


def errors_words(fit: Fit, errors: ReportedErrors) -> str:
    """Return where the standard errors come from, or why there are none."""
    if errors.values is None:
        return f"Standard errors: none, because {errors.reason}"
    source, variance = "observed information", residual_variance(fit)
    if fit.spec.weights == "sampling":
        source = "sandwich, for sampling weights"
    elif variance is not None:
        source = f"residual variance {number(variance)} times the inverse Hessian of half the sum of squares"
    return f"Standard errors: {source}; normal intervals, on the log scale for positive parameters"


def _joined(owner: Sequence[int]) -> str:
    return "/".join(map(str, owner))


def _part(kind: str, words: str) -> list[str]:
    start = f"  {kind:8}"
    return wrap(words, WIDTH, initial_indent=start, subsequent_indent=10 * " ", break_long_words=False)


def _wrapped(text: str) -> list[str]:
    whole = OWNER.sub(lambda found: found[0].replace(" ", HARD), text)
    lines = wrap(whole, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    return [line.replace(HARD, " ") for line in lines]


def _table(group: TermGroup, wide: int, plain: bool) -> list[str]:
    """Return header and rows of one group."""
    header = PLAIN if plain else FULL
    return [f"  {'':{wide}}{header}", *_rows(group, wide)]


def _branch(group: TermGroup, named: str, wide: int, plain: bool) -> list[str]:
    """Return one branch of a gate; nothing of what is zero as the reference."""
    title = f"  branch {named or _joined(group.owner)}"
    group = group._replace(terms=[term for term in group.terms if term.word != REFERENCE])
    if not group.terms:
        return []
    header = PLAIN if plain else FULL
    over = max(len(title) - wide - 2, 0)
    return [f"{title:{wide + 2}}{header[over:]}", *_rows(group, wide)]


def _rows(group: TermGroup, wide: int) -> list[str]:
    return [_row(term, wide) for term in group.terms]


def _row(term: Term, wide: int) -> str:
    start = f"  {term.name:{wide}}{number(term.estimate):>11}"
    if term.word or not term.numbers:
        return f"{start}  {term.word}".rstrip()
    error, z, p, lower, upper = term.numbers
    test = f"{'':14}" if isnan(z) else f"{z_value(z):>7}{p_text(p):>7}"
    return f"{start}{number(error):>11}{test}{number(lower):>11}{number(upper):>11}"


def _starts(fit: Fit) -> list[str]:
    starts = fit.starts
    gap = f"the next best is {starts.gap:.4g} below" if isfinite(starts.gap) else "no other value was found"
    where = " on a subsample" if starts.subsampled else ""
    count, found = len(starts.log_likelihood), f"{starts.hits} of"
    if starts.moved:  # the best value was found after the search
        found = "the one start did not" if count == 1 else "none of"
    reached = f"{found} {count} reached" if count > 1 or not starts.moved else f"{found} reach"
    lines = [
        f"Starts: {reached} the best value{where}; {gap};",
        f"        one more start ends higher with a chance below {starts.better:.2f} (95 % bound)",
    ]
    if starts.moved:
        lines.append("        the best value was found by refining the best end points")
    if starts.better_unsound:
        listed = ", ".join(f"{value:.4f}" for value in starts.better_unsound[:3])
        lines.append(f"        higher values refused as unsound: {listed}")
    if starts.floored:
        lines += _wrapped(f"Note: {floor_words(fit)}")
    return lines
