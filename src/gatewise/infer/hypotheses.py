"""Tests of linear hypotheses about parameters: Wald's, and the likelihood ratio of a fit under the hypothesis."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import chi2
from torch import Tensor

from gatewise.core.names import path_of
from gatewise.fit.maximum_likelihood import maximum_likelihood
from gatewise.fit.order import LeafOrder
from gatewise.fit.result import Fit
from gatewise.fit.torch_state import standard_torch
from gatewise.infer.covariance.value import Information
from gatewise.infer.delta import moved_by_undetermined
from gatewise.infer.intervals import require
from gatewise.infer.text import number, p_text
from gatewise.markup import page, table
from gatewise.objective.entries import reference_branch
from gatewise.objective.rows import Rows

MARK = "p_{}_"  # what stands for a parameter while an expression is read
NEAR = 0.3  # likeness from which a name is shown in place of one that is unknown
FEW = 1e-10  # share of the largest singular value below which rows of a hypothesis repeat others


class Hypothesis(NamedTuple):
    """Linear restrictions ``weights @ parameters = value`` on the numbers of an `Information`.

    Attributes
    ----------
    text : str
    weights : Tensor (m, F)
    value : Tensor (m,)
    """

    text: str
    weights: Tensor
    value: Tensor


class HypothesisTest(NamedTuple):
    """The result of a test: a chi-square statistic, its degrees of freedom and the p-value.

    Attributes
    ----------
    hypothesis : str
    kind : {"wald", "lr"}
    statistic : float
    df : int
        Number of restrictions that do not follow from others.
    p_value : float
    estimate, error : tuple of float
        Left minus right side of every restriction, with its standard error.

    Examples
    --------
    >>> from gatewise import MixtureOfExpertsRegressor
    >>> from gatewise.data import load
    >>> tone = load("tone")
    >>> model = MixtureOfExpertsRegressor(n_experts=2, gate="constant", n_init=1, random_state=0).fit(tone.X, tone.y)
    >>> found = model.inference(tone.X, tone.y).test("stretchratio[0] = stretchratio[1]")
    >>> found.kind, found.df, found.p_value < 0.001
    ('wald', 1, True)
    """

    hypothesis: str
    kind: str
    statistic: float
    df: int
    p_value: float
    estimate: tuple[float, ...]
    error: tuple[float, ...]

    def text(self) -> str:
        """Return the test in a line, and what was estimated in another."""
        title = {"wald": "Wald test", "lr": "Likelihood ratio test"}[self.kind]
        sides = zip(self.estimate, self.error, strict=True)
        listed = ", ".join(f"{number(value)} (std. error {number(error)})" for value, error in sides)
        p = p_text(self.p_value).strip()
        shown = f"p {p}" if p.startswith("<") else f"p = {p}"
        head = f"{title} of {self.hypothesis}: chi-square {number(self.statistic)}, df {self.df}, {shown}"
        return f"{head}\nleft minus right: {listed}"

    def __repr__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        columns = {name: [getattr(self, name)] for name in ("statistic", "df", "p_value")}
        return page(f"{self.kind} test of {self.hypothesis}", table(columns))


def read_hypothesis(found: Information, text: str, aliases: Mapping[str, str]) -> Hypothesis:
    """Read restrictions such as ``x[0] = x[1]``, ``2 * x[0] - 1 = 0``, or several with commas between.

    Parameters
    ----------
    found : Information
    text : str
        Sums of parameters with numeric factors on both sides of ``=``. A parameter has the name that the Information
        gives it, such as ``experts.coef[0,0,1]``, or one of `aliases`.
    aliases : mapping name -> name in the Information

    Raises
    ------
    ValueError
        For an unknown name, and for what is no equation between sums of parameters.
    TypeError
        For what is no text.

    Examples
    --------
    >>> from gatewise.infer.covariance.value import Information
    >>> none = torch.zeros(2, 2)
    >>> found = Information(None, {"a": (2,)}, ("a[0]", "a[1]"), torch.ones(2), none, none, none, none, "observed")
    >>> read_hypothesis(found, "2 * slope - a[1] = 3", {"slope": "a[0]"}).weights.tolist()
    [[2.0, -1.0]]
    """
    if not isinstance(text, str):
        raise TypeError(f"the hypothesis is a {type(text).__name__}: give a text, several with commas between")
    names = {**aliases, **{name: name for name in found.names}}
    order = sorted(names, key=len, reverse=True)
    pattern = re.compile("|".join(rf"(?<![\w.]){re.escape(name)}" for name in order))
    marked = pattern.sub(lambda match: MARK.format(order.index(match[0])), text)
    places = {MARK.format(i): found.names.index(names[name]) for i, name in enumerate(order)}
    weights, values = [], []
    for part in marked.split(","):
        sides = [_Sum.read(side, places, names, text) for side in re.split(r"==?", part)]
        if len(sides) < 2:
            raise ValueError(f"{text!r} has no equation in {part.strip()!r}: write it as in 'x[0] = x[1]'")
        for left, right in pairwise(sides):
            row = torch.zeros(len(found.names), dtype=torch.float64)
            for place, factor in left.minus(right).factors.items():
                row[place] += factor
            weights.append(row)
            values.append(right.constant - left.constant)
    return Hypothesis(text.strip(), torch.stack(weights), torch.tensor(values, dtype=torch.float64))


class _Sum(NamedTuple):
    """Parameters with factors, and a constant."""

    factors: dict[int, float]
    constant: float

    @classmethod
    def read(cls, text: str, places: Mapping[str, int], names: Mapping[str, str], whole: str) -> _Sum:
        """Return the sum that an expression is."""
        try:
            return cls._of(ast.parse(text.strip(), mode="eval").body, places, names)
        except SyntaxError:
            raise ValueError(
                f"{whole!r} cannot be read: write sums of parameters, as in 'x[0] = 2 * x[1]'; "
                f"{near_names(text, names)}"
            ) from None

    @classmethod
    def _of(cls, node: ast.expr, places: Mapping[str, int], names: Mapping[str, str]) -> _Sum:
        match node:
            case ast.Constant(value=int() | float() as value):
                return cls({}, float(value))
            case ast.Name(id=name) if name in places:
                return cls({places[name]: 1.0}, 0.0)
            case ast.UnaryOp(op=ast.USub(), operand=one):
                return cls._of(one, places, names).times(-1.0)
            case ast.UnaryOp(op=ast.UAdd(), operand=one):
                return cls._of(one, places, names)
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return cls._of(left, places, names).minus(cls._of(right, places, names).times(-1.0))
            case ast.BinOp(left=left, op=ast.Sub(), right=right):
                return cls._of(left, places, names).minus(cls._of(right, places, names))
            case ast.BinOp(left=left, op=ast.Mult() | ast.Div() as op, right=right):
                first, second = cls._of(left, places, names), cls._of(right, places, names)
                if isinstance(op, ast.Mult) and not first.factors:
                    return second.times(first.constant)
                if not second.factors and (isinstance(op, ast.Mult) or second.constant):
                    return first.times(second.constant if isinstance(op, ast.Mult) else 1.0 / second.constant)
                raise ValueError("a product of parameters, or a division by one, is no linear hypothesis: use delta")
            case ast.Name() | ast.Subscript():
                wrong = ast.unparse(node).replace(" ", "")
                raise ValueError(f"{wrong!r} is no parameter: {near_names(wrong, names)}")
        raise ValueError(f"{ast.unparse(node)!r} is no sum of parameters with numeric factors")

    def times(self, factor: float) -> _Sum:
        """Return a multiple."""
        return _Sum({place: factor * value for place, value in self.factors.items()}, factor * self.constant)

    def minus(self, other: _Sum) -> _Sum:
        """Return the difference."""
        keys = dict.fromkeys([*self.factors, *other.factors])
        factors = {key: self.factors.get(key, 0.0) - other.factors.get(key, 0.0) for key in keys}
        return _Sum(factors, self.constant - other.constant)


def near_names(text: str, names: Mapping[str, str]) -> str:
    """Return which names come near to a text, or the first ones: short names where there are such."""
    short = [name for name, stands_for in names.items() if name != stands_for and "[expert " not in name]
    known = [name for name in short if "[branch " not in name and "[node " not in name] or list(names)
    return f"names are such as {', '.join(get_close_matches(text, known, 6, NEAR) or known[:6])}"


@standard_torch()
def wald_test(found: Information, hypothesis: Hypothesis) -> HypothesisTest:
    """Compute Wald's test ``(R b - r)' (R V R')^+ (R b - r)`` of linear restrictions ``R b = r``.

    Raises
    ------
    ValueError
        If there are no standard errors, the restrictions contradict each other, or are about parameters that the data
        leave open or that are not estimated.
    """
    require(found)
    weights = hypothesis.weights
    if bool(moved_by_undetermined(found, weights).any()):
        raise ValueError(f"{hypothesis.text!r} is about parameters that the data leave open: it cannot be tested")
    variance = weights @ found.covariance @ weights.T
    if not bool((variance.diagonal() > 0).all()):
        raise ValueError(f"{hypothesis.text!r} has a restriction without parameters that are estimated")
    gap = weights @ found.estimate - hypothesis.value
    error = variance.diagonal().sqrt()
    left, size, _ = torch.linalg.svd(variance / error[:, None] / error)
    kept = size > FEW * size[0]
    turned = left.T @ (gap / error)
    if bool((turned[~kept].abs() > 1e-6).any()):
        raise ValueError(f"{hypothesis.text!r} has restrictions that contradict each other")
    statistic, df = float((turned[kept] ** 2 / size[kept]).sum()), int(kept.sum())
    p = float(chi2.sf(statistic, df))
    return HypothesisTest(hypothesis.text, "wald", statistic, df, p, tuple(gap.tolist()), tuple(error.tolist()))


@standard_torch()
def ratio_test(found: Information, hypothesis: Hypothesis, fit: Fit, rows: Rows) -> HypothesisTest:
    """Compute the likelihood ratio test of equal parameters, and of parameters that have given values.

    The fit is repeated under the restrictions, from where it is. Degrees of freedom are the independent restrictions: a
    hypothesis that is false may lead to a fit that identifies fewer parameters than it would if it were true.

    Raises
    ------
    ValueError
        As `wald_test`, for restrictions of other kinds, and for a fit by least squares.
    """
    wald = wald_test(found, hypothesis)
    if not fit.mixture.family.has_density:
        raise ValueError("a least-squares fit has no likelihood: use kind='wald'")
    if fit.spec.weights == "sampling":
        raise ValueError("a likelihood ratio of sampling weights has no chi-square distribution: use kind='wald'")
    ties, fixed = _restricted(found, hypothesis, fit)
    spec = replace(fit.spec, ties=ties, fixed=fixed)
    under = maximum_likelihood(fit.mixture, rows, spec, starts=1, start=fit)
    statistic = 2.0 * (fit.log_likelihood - under.log_likelihood)
    if fit.df - under.df < wald.df:
        raise ValueError(
            f"the fit under {hypothesis.text!r} has {under.df} identified parameters and that without it {fit.df}, for "
            f"{wald.df} restrictions: the likelihood ratio has no chi-square distribution here"
        )
    p = float(chi2.sf(max(statistic, 0.0), wald.df))
    return wald._replace(kind="lr", statistic=statistic, p_value=p)


def _restricted(
    found: Information, hypothesis: Hypothesis, fit: Fit
) -> tuple[tuple[tuple[str, ...], ...], dict[str, Tensor]]:
    """Return the ties and the fixed values that a hypothesis stands for."""
    ties, fixed = [set(tie) for tie in fit.spec.ties], {k: v.clone() for k, v in fit.spec.fixed.items()}
    order = LeafOrder(fit.mixture, range(fit.mixture.n_leaves))
    for row, value in zip(hypothesis.weights, hypothesis.value.tolist(), strict=True):
        places = row.nonzero()[:, 0].tolist()
        names = [found.names[place] for place in places]
        if len(places) == 1:
            equal = set(names).union(*(tie for tie in ties if names[0] in tie))  # what is equal has one value
            ties = [tie for tie in ties if names[0] not in tie]
            for name in equal:
                path = path_of(name)
                held = fixed.setdefault(path, torch.full(found.shapes[path], torch.nan, dtype=torch.float64))
                first = next(i for i, one in enumerate(found.names) if path_of(one) == path)
                index = tuple(map(int, np.unravel_index(found.names.index(name) - first, found.shapes[path])))
                if order.shifted(path):  # a difference from the reference, which is then not free to be another
                    level = int(path.split(".")[1])
                    zero = reference_branch(fit.mixture, level, fit.spec.reference)
                    held[(*index[:level], zero, *index[level + 1 :])] = 0.0
                held[index] = value / float(row[places[0]])
        elif len(places) == 2 and not value and float(row[places].sum()) == 0.0:
            ties = _joined(ties, names)
        else:
            raise ValueError(
                f"{hypothesis.text!r}: the likelihood ratio is of equal parameters or of given values; use kind='wald'"
            )
    return tuple(tuple(sorted(tie, key=found.names.index)) for tie in ties), fixed


def _joined(ties: Sequence[set[str]], names: Sequence[str]) -> list[set[str]]:
    """Return the ties with some names in one."""
    own = set(names).union(*(tie for tie in ties if tie & set(names)))
    return [*(tie for tie in ties if not tie & own), own]
