"""The facts of a fit as plain numbers and words, the same in tables, pages and JSON."""

from __future__ import annotations

from math import isfinite, log
from typing import Any, NamedTuple

from gatewise.core.gates import describe, gates
from gatewise.estimators.names import ReaderNames, names_of
from gatewise.fit import Fit
from gatewise.fit.words import beside, expert_name, status_words
from gatewise.plots.values import engine_fit


class Fitted(NamedTuple):
    """A fit with what it was fitted to.

    Attributes
    ----------
    label : str
        The gates in words.
    fit : Fit
    X, y : array-like (n, d), (n,)
    seconds : float or None
        Wall time of the fit.
    gate_x, groups : array-like, optional
        As given to the fit.
    names, gate_names : sequence of str, optional
        Labels of the columns, with units.
    target : str
        Label of y, with units.
    called : ReaderNames or None
        What the parameters are called; None: their paths.
    """

    label: str
    fit: Fit
    X: Any
    y: Any
    seconds: float | None = None
    gate_x: Any = None
    groups: Any = None
    names: Any = None
    gate_names: Any = None
    target: str = "y"
    called: ReaderNames | None = None


def facts(fit: Any, called: ReaderNames | None = None) -> dict[str, Any]:
    """Return what a reader needs to judge a fit; information criteria count the identified parameters only.

    Parameters
    ----------
    fit : Fit or fitted estimator
    called : ReaderNames, optional
        What the parameters are called. Default: as an estimator calls them, and those of a Fit by their paths.

    Returns
    -------
    dict
        Numbers, words and lists that JSON can hold; a number that is not finite is None.
    """
    called = names_of(fit) if called is None and not isinstance(fit, Fit) else called
    fit = engine_fit(fit)
    notes = [*fit.notes, *named(fit)]
    evidence, starts = fit.certificate, fit.starts
    found = {
        "n_experts": fit.mixture.titles.count(""),
        "branching": list(fit.mixture.branching),
        "n": fit.n,
        "log_likelihood": fit.log_likelihood,
        "df": fit.df,
        "aic": 2.0 * fit.df - 2.0 * fit.log_likelihood,
        "bic": fit.df * log(fit.n) - 2.0 * fit.log_likelihood,
        "status": str(fit.status),
        "status_in_words": status_words(fit) + beside(fit),
        "flags": [str(flag) for flag in fit.flags],
        "starts": len(starts.log_likelihood),
        "hits": starts.hits,
        "gap": starts.gap,
        "better": starts.better,
        "better_unsound": list(starts.better_unsound),
        "searched_on_subsample": starts.subsampled,
        "gradient": evidence.gradient,
        "decrement": evidence.decrement,
        "curvature": evidence.curvature,
        "certified": evidence.passed,
        "n_iter": fit.n_iter,
        "notes": notes if called is None else [called.text(note) for note in notes],
    }
    return {name: finite(value) for name, value in found.items()}


def named(fit: Fit) -> list[str]:
    """Return what carries the statuses, in words: which parameter grows, sits on a kink, or lies on a limit."""
    evidence, titles = fit.certificate, fit.mixture.titles
    starved = [expert_name(fit.mixture, leaf) for leaf in evidence.starved if not titles[leaf]]
    kinds = (
        (evidence.separated, "grows without limit"),
        (evidence.active, "lies on its bound"),
        (evidence.floor, "lies on the floor of the scales"),
        (starved, "has too few observations for its parameters or its scale"),
        (evidence.kinks, "sits on a kink"),
    )
    return [f"{name} {words}" for names, words in kinds for name in dict.fromkeys(names)]


def finite(value: Any) -> Any:
    """Return the value, or None for a number that JSON cannot hold."""
    return None if isinstance(value, float) and not isfinite(value) else value


def experts(fact: dict[str, Any]) -> str:
    """Return the number of experts, level by level, such as ``2 x 2``."""
    return " x ".join(map(str, fact["branching"]))


def least_bic(found: list[dict[str, Any]]) -> list[bool]:
    """Return which of several fits have the lowest BIC, as far as it is printed; none when there is one fit only."""
    least = min(fact["bic"] for fact in found)
    return [len(found) > 1 and fact["bic"] < least + 0.05 for fact in found]


def hits(fact: dict[str, Any]) -> str:
    """Return how many starts reached the value that was taken, such as ``12/20``."""
    return f"{fact['hits']}/{fact['starts']}"


def evidence_lines(fact: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the certificate as pairs of a name and a number in words."""
    gap = "none other found" if fact["gap"] is None else f"{fact['gap']:.3g}"
    unsound = fact["better_unsound"]
    lines = [
        ("projected gradient", small(fact["gradient"])),
        ("Newton decrement \N{MULTIPLICATION SIGN} n", small(fact["decrement"])),
        ("least curvature", small(fact["curvature"])),
        ("starts at the value taken", hits(fact)),
        ("gap to the next value", gap),
        ("95 % bound of the chance that one more start ends higher", f"{fact['better']:.2f}"),
    ]
    if unsound:
        lines.append(("higher but unsound", ", ".join(f"{value:.2f}" for value in unsound[:3])))
    return lines


def small(value: float | None) -> str:
    """Return a number that may be far below one; a dash where there is none."""
    return "\N{EN DASH}" if value is None else f"{value:.1e}"


def gate_phrase(gate: Any, depth: int | None = None) -> str:
    """Return the gates of the levels in words: ``laplace``, or ``softmax over laplace`` from the root down."""
    return " over ".join(map(describe, gates(gate, depth)))
