"""What formulas of R and Stata say and these do not: each with what to write instead."""

from __future__ import annotations

import re

CURVE = "for a smooth curve write bs(x, df=5) or cs(x, df=5)"
FACTOR = "for a factor write C(x), and C(x, Treatment('b')) to choose its reference"
COMPUTED = "compute it as a column of the data"
GROUPS = "rows that belong together are named by groups='id'; gatewise has no random effects"
INSTEAD: dict[str, str] = {  # by function
    "cbind": "the response is the column of successes, and trials='n' names that of the numbers of trials; several "
    "responses are y1 + y2",
    **dict.fromkeys(("s", "te", "ti", "ns", "lo", "rcs", "mfp"), CURVE),
    **dict.fromkeys(("factor", "as_factor", "relevel", "ordered", "i"), FACTOR),
    "Surv": "write time + event ~ x with family='weibull', where event is 0 for censored times",
    "offset": "give offset='log(hours)' beside the formula",
    "weights": "give weights='w' beside the formula",
    "log": "log has one argument; write log2(x) or log10(x), or divide log(x) by the logarithm of another base",
    **dict.fromkeys(("cut", "ifelse", "pmax", "pmin", "lag", "diff", "round", "as_numeric", "where"), COMPUTED),
}
SIGNS: tuple[tuple[str, str], ...] = (  # by what stands in the text
    ("##", "for main effects and interactions write x * z, for factors C(a) * C(b)"),
    ("|", GROUPS + "; inputs of the gates stand in gate_formula"),
    ("==", "comparisons are columns: " + COMPUTED),
    ("as.factor", FACTOR),
    ("as.numeric", COMPUTED),
)
PREFIX = re.compile(r"\b(i|ib\d+|c|L|D|F)\.(\w+)$")
LITERAL = re.compile(r"(`[^`]*`|'[^']*'|\"[^\"]*\")")


def instead_of(function: str) -> str:
    """Return what to write instead of a function, as the beginning of a sentence; "" where nothing is known.

    Examples
    --------
    >>> instead_of("s")
    'for a smooth curve write bs(x, df=5) or cs(x, df=5); '
    """
    return f"{INSTEAD[function]}; " if function in INSTEAD else ""


def instead_of_signs(text: str) -> str:
    """Return what to write instead of signs that stand in a formula."""
    return next((f"; {words}" for sign, words in SIGNS if sign in text), "")


def instead_of_prefix(name: str) -> str:
    """Return what to write instead of a column with a prefix of Stata, such as ``i.site``.

    Examples
    --------
    >>> instead_of_prefix("i.site"), instead_of_prefix("site")
    ('; for the factor write C(site)', '')
    """
    found = PREFIX.search(name)
    if not found:
        return ""
    if found[1].startswith("i"):
        return f"; for the factor write C({found[2]})"
    return f"; write {found[2]}" if found[1] == "c" else f"; {COMPUTED}"


def with_powers(text: str) -> str:
    """Write powers of R, ``x^2``, as those of Python.

    Examples
    --------
    >>> with_powers("I(x^2 + `a^b`)")
    'I(x**2 + `a^b`)'
    """
    parts = LITERAL.split(text)
    parts[::2] = [part.replace("^", "**") for part in parts[::2]]
    return "".join(parts)
