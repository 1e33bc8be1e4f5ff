"""Rates of the literature as data: one row per parameter.

A parameter that enters a Voronoi loss with the power e converges at ``n^(-1/(2 e))`` when the loss converges at
``n^(-1/2)``. Powers depend on the number m of fitted atoms of a true one through `orders.rbar`. Logarithms are dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import NamedTuple

from gatewise.theory.orders import HALF_R, ONE, TWO, Power, R
from gatewise.theory.paths import BIAS, CENTER, COEF, EXPERTS, INNER_CENTER, INTERCEPT, TEMPERATURE, VARIANCE, WEIGHT

POLYNOMIAL, SLOWER, ORDER_ONLY = "polynomial", "slower_than_polynomial", "order_only"


class Rate(NamedTuple):
    """The rate of one parameter in one model.

    Attributes
    ----------
    estimator : "ml" | "ls"
    gate, experts : str
        As named in the literature.
    specification : "exact" | "over" | "any"
        Exactly filled or over-filled cell of the parameter; "any" where it makes no difference.
    parameter : str
        Path of the parameter, ``experts`` for all parameters of the experts.
    kind : "polynomial" | "slower_than_polynomial" | "order_only"
        "order_only" where the literature says which gate is faster and gives no exponent.
    power : Power or None
        Power in the loss, None unless the kind is "polynomial".
    source : str
        arXiv number or section.
    standing : "published" | "derived" | "recalled"
        "recalled" is a claim to test, never a fact.
    note : str
    """

    estimator: str
    gate: str
    experts: str
    specification: str
    parameter: str
    kind: str
    power: Power | None
    source: str
    standing: str
    note: str = ""

    def exponent(self, m: int = 1, default: float | None = None) -> Fraction | None:
        """Return s of the rate ``n^s`` in a cell with m fitted atoms, None where there is no polynomial rate."""
        return None if self.power is None else self.power.rate(m, default)

    def text(self) -> str:
        """Return the rate as text."""
        words = {SLOWER: "slower than every polynomial", ORDER_ONLY: "no exponent given"}
        return words[self.kind] if self.power is None else self.power.text()


def _rows(key: str, powers: Mapping[str, Power | str], source: str, standing: str, note: str = "") -> tuple[Rate, ...]:
    """Return one row per parameter; the key is "estimator | gate | experts | specification"."""
    estimator, gate, experts, specification = (word.strip() for word in key.split("|"))
    head = (estimator, gate, experts, specification)
    return tuple(
        Rate(*head, path, power, None, source, standing, note)
        if isinstance(power, str)
        else Rate(*head, path, POLYNOMIAL, power, source, standing, note)
        for path, power in powers.items()
    )


HEAT = {INTERCEPT: R, VARIANCE: HALF_R}  # the heat equation ties intercept and variance of every Gaussian linear expert
SOFTMAX = {WEIGHT: R, COEF: HALF_R, **HEAT}
UPPER = "upper bound; a sharper rate is derived in the row softmax (sharper)"
RELATION = "an order of a larger polynomial system takes the place of r; its values are not known"

RATES: tuple[Rate, ...] = (
    *_rows(
        "ml|softmax|linear|exact", {WEIGHT: ONE, COEF: ONE, INTERCEPT: ONE, VARIANCE: ONE}, "2305.03288", "published"
    ),
    *_rows("ml|softmax|linear|over", SOFTMAX, "2305.03288", "published", UPPER),
    *_rows("ml|softmax (sharper)|linear|over", {WEIGHT: TWO, COEF: TWO, **HEAT}, "this project", "derived"),
    *_rows(
        "ml|softmax|strongly identifiable|over", {WEIGHT: TWO, EXPERTS: TWO, VARIANCE: TWO}, "2505.10860", "published"
    ),
    *_rows(
        "ml|laplace|linear|exact", {CENTER: ONE, COEF: ONE, INTERCEPT: ONE, VARIANCE: ONE}, "2402.03226", "published"
    ),
    *_rows(
        "ml|laplace|linear|over",
        {CENTER: TWO, COEF: TWO, **HEAT},
        "2402.03226",
        "published",
        "the center has power 3/2, near n^-1/3, with one input and power 2 from three inputs on (derived)",
    ),
    *_rows(
        "ml|gaussian-score|linear|over", {**SOFTMAX, CENTER: R}, "this project", "derived", "a softmax gate in disguise"
    )[1:],
    *_rows(
        "ml|gaussian density, type I|linear|over",
        {CENTER: R, "gates.0.covariance": HALF_R, COEF: TWO, **HEAT},
        "2305.07572",
        "published",
    ),
    *_rows(
        "ml|gaussian density, type II|linear|over",
        {CENTER: R, "gates.0.covariance": HALF_R, COEF: HALF_R, **HEAT},
        "2305.07572",
        "published",
        "in cells with a true center at zero",
    ),
    *_rows(
        "ml|dense-to-sparse|linear|exact",
        {WEIGHT: SLOWER, TEMPERATURE: SLOWER},
        "2401.13875",
        "recalled",
        "abstract published",
    ),
    *_rows("ml|dense-to-sparse|linear|exact", {COEF: ONE, INTERCEPT: ONE, VARIANCE: ONE}, "2401.13875", "recalled"),
    *_rows("ml|dense-to-sparse|linear|over", {WEIGHT: SLOWER, TEMPERATURE: SLOWER, **HEAT}, "2401.13875", "recalled"),
    *_rows("ml|dense-to-sparse|linear|over", {COEF: SLOWER}, "2401.13875", "recalled", "uncertain"),
    *_rows(
        "ml|activation-dense-to-sparse|linear|exact",
        {WEIGHT: ONE, TEMPERATURE: ONE, COEF: ONE, INTERCEPT: ONE, VARIANCE: ONE},
        "2401.13875",
        "recalled",
        "conclusion in the abstract",
    ),
    *_rows(
        "ml|activation-dense-to-sparse|linear|over",
        {WEIGHT: TWO, TEMPERATURE: ONE, COEF: TWO, **HEAT},
        "2401.13875",
        "recalled",
    ),
    *_rows("ml|hmoe SS, SL|linear|over", {WEIGHT: ONE}, "2410.02935", "recalled", "outer gate"),
    *_rows("ml|hmoe SS, SL|linear|over", {"gates.1": TWO}, "2410.02935", "recalled", "uncertain for SS"),
    *_rows(
        "ml|hmoe SS, SL|linear|over",
        {COEF: ORDER_ONLY, INTERCEPT: ORDER_ONLY, VARIANCE: ORDER_ONLY},
        "2410.02935",
        "recalled",
        "n^-1/r', n^-1/(2r'), n^-1/r': " + RELATION,
    ),
    *_rows(
        "ml|hmoe LL|linear|over",
        {CENTER: ONE, INNER_CENTER: TWO, COEF: TWO, **HEAT},
        "2410.02935",
        "recalled",
        "LL faster than SS and SL: published",
    ),
    *_rows("ml|input-free|linear|over", {"mass": ONE, COEF: TWO, **HEAT}, "2505.10860", "published", "shared experts"),
    *_rows(
        "ml|normalised-sigmoid, sparse|strongly identifiable|over",
        {WEIGHT: TWO, EXPERTS: TWO, VARIANCE: TWO},
        "2505.10860",
        "published",
    ),
    *_rows(
        "ml|normalised-sigmoid, sparse|linear|over",
        {EXPERTS: HALF_R},
        "2505.10860",
        "published",
        "n^-1/r for the experts together; the split by parameter is not recovered",
    ),
    *_rows(
        "ml|normalised-sigmoid, dense|weakly identifiable|over",
        {WEIGHT: ONE, BIAS: ONE, EXPERTS: ONE, VARIANCE: ONE},
        "2505.10860",
        "published",
        "to the projection",
    ),
    *_rows("ls|softmax|feed-forward|over", {EXPERTS: TWO}, "2405.13997", "published"),
    *_rows("ls|softmax|polynomial|over", {EXPERTS: SLOWER}, "2405.13997", "published"),
    *_rows("ls|softmax|constant|over", {EXPERTS: SLOWER}, "2405.13997", "published"),
    *_rows("ls|sigmoid, regime 1|feed-forward|over", {EXPERTS: TWO}, "2405.13997", "published"),
    *_rows("ls|sigmoid, regime 1|polynomial|over", {EXPERTS: SLOWER}, "2405.13997", "published"),
    *_rows("ls|sigmoid, regime 1|constant|over", {EXPERTS: SLOWER}, "2405.13997", "published"),
    *_rows("ls|sigmoid, regime 2|feed-forward|over", {EXPERTS: ONE}, "2405.13997", "published"),
    *_rows("ls|sigmoid, regime 2|polynomial|over", {EXPERTS: ONE}, "2405.13997", "published"),
    *_rows("ls|sigmoid, regime 2|constant|over", {EXPERTS: SLOWER}, "2405.13997", "published"),
    *_rows("ls|sigmoid|any|exact", {EXPERTS: ONE}, "2405.13997", "recalled"),
    *_rows("ls|cosine|any|any", {WEIGHT: SLOWER, EXPERTS: SLOWER}, "2405.14131", "published", "1 / log^t n"),
    *_rows("ls|perturbed-cosine|strongly identifiable|exact", {WEIGHT: ONE, EXPERTS: ONE}, "2405.14131", "published"),
    *_rows(
        "ls|perturbed-cosine|strongly identifiable|over",
        {WEIGHT: TWO, EXPERTS: TWO},
        "2405.14131",
        "published",
        "the paper gives the range n^-1/4 to n^-1/2",
    ),
    *_rows("ls|quadratic-monomial|strongly identifiable|over", {EXPERTS: TWO}, "2410.11222", "published"),
    *_rows(
        "ls|quadratic|strongly identifiable|over",
        {EXPERTS: ORDER_ONLY},
        "2410.11222",
        "published",
        "slower than quadratic-monomial",
    ),
    *_rows(
        "ml|softmax|multinomial logit, partly vanishing|over",
        {EXPERTS: SLOWER},
        "2310.14188",
        "published",
        "a modified gate softmax(M(x)) restores the rate",
    ),
    *_rows("ml|softmax|multinomial logit|over", {EXPERTS: TWO}, "2310.14188", "published"),
    *_rows(
        "ml|sigmoid, modified|multinomial logit|over",
        {EXPERTS: ORDER_ONLY},
        "2602.01466",
        "published",
        "faster than softmax; with a temperature it needs exponentially many rows",
    ),
    *_rows(
        "ml|euclidean-sigmoid|multinomial logit|over",
        {EXPERTS: ORDER_ONLY},
        "2602.01466",
        "published",
        "polynomially many rows, also with a temperature",
    ),
)


def rate_table(rates: tuple[Rate, ...] = RATES) -> str:
    """Return the rates as lines of text, r standing for rbar(m).

    Examples
    --------
    >>> print(rate_table(tuple(r for r in RATES if r.gate == "laplace" and r.specification == "over")))
    ml laplace linear over gates.0.center n^-1/4 [published 2402.03226]: the center has power 3/2, ...
    ml laplace linear over experts.coef n^-1/4 [published 2402.03226]: the center ...
    ml laplace linear over experts.intercept n^-1/(2r) [published 2402.03226]: ...
    ml laplace linear over family.variance n^-1/r [published 2402.03226]: ...
    """
    lines = []
    for rate in rates:
        head = f"{rate.estimator} {rate.gate} {rate.experts} {rate.specification} {rate.parameter} {rate.text()}"
        note = f": {rate.note}" if rate.note else ""
        lines.append(f"{head} [{rate.standing} {rate.source}]{note}")
    return "\n".join(lines)
