"""The two sides of a formula: responses, and terms of factors, each of which is checked before anything is computed."""

from __future__ import annotations

from typing import Any, NamedTuple

from formulaic import Formula, SimpleFormula
from formulaic.errors import FormulaicError
from formulaic.parser import DefaultFormulaParser
from formulaic.parser.types import ASTNode, Token

from gatewise.formulas.habits import instead_of_signs, with_powers
from gatewise.formulas.words import LONGEST, QUOTED, Expression, column, elementwise, factor, is_name

TERMS = 300  # of a formula
FAULTS = (FormulaicError, ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError, SyntaxError)


class Parsed(NamedTuple):
    """A formula that was checked.

    Attributes
    ----------
    text : str
    responses : tuple of Expression
        Empty for a formula without a left side.
    terms : SimpleFormula
        The right side, as formulaic computes it.
    factors : dict
        The expression behind every factor of the terms, by its name there.
    intercept : bool
    """

    text: str
    responses: tuple[Expression, ...]
    terms: SimpleFormula
    factors: dict[str, Expression]
    intercept: bool


def parse(text: str, response: bool) -> Parsed:
    """Read a formula such as ``y ~ x + C(site)``, or without a response ``~ z``.

    Raises
    ------
    TypeError, ValueError
        For what is no formula, uses what it may not, or has too many terms.

    Examples
    --------
    >>> found = parse("log(y) ~ x * C(site) - 1", True)
    >>> found.intercept, [one.text for one in found.responses], list(found.factors)
    (False, ['log(y)'], ['x', 'C(site)'])
    """
    words = "'y ~ x + z'" if response else "'~ z'"
    if not isinstance(text, str):
        raise TypeError(f"the formula is a {type(text).__name__}: give a text such as {words}")
    if len(text) > LONGEST or not text.isprintable():
        raise ValueError(f"the formula has {len(text)} characters: give one line of at most {LONGEST}, such as {words}")
    text = with_powers(QUOTED.sub(lambda found: found[1] if is_name(found[1]) else found[0], text))  # `x` is x
    try:
        tree = DefaultFormulaParser().get_ast(text)
    except FAULTS as cause:
        why = f"{first_line(cause)}{instead_of_signs(text)}"
        raise ValueError(f"the formula {text!r} cannot be read: {why}; give one such as {words}") from None
    left, right = _sides(tree)
    if response != (left is not None):
        what = "has no response" if response else "has a response"
        raise ValueError(f"the formula {text!r} {what}: give one such as {words}")
    try:
        count, tokens = _size(right), _tokens(right)
    except RecursionError:
        raise ValueError(f"the formula {text!r} has too many operators: give fewer terms") from None
    if count > TERMS:
        raise ValueError(f"the formula {text!r} has up to {count} terms: give at most {TERMS}")
    expressions = [one for token in tokens if (one := _factor(text, token)) is not None]
    terms = _terms(text)
    known = {_plain(one.text): one for one in expressions}
    factors = {}
    for name in dict.fromkeys(part.expr for term in terms for part in term.factors if str(part.expr) != "1"):
        if _plain(name) not in known:
            raise ValueError(
                f"the formula {text!r} has the factor {name!r}, which is not clear: write it in another way"
            )
        factors[name] = known[_plain(name)]
    responses = tuple(_responses(text, left)) if left is not None else ()
    return Parsed(text, responses, terms, factors, "1" in [str(term) for term in terms])


def first_line(cause: Exception) -> str:
    """Return the first line of what an exception says."""
    return (str(cause).strip() or type(cause).__name__).splitlines()[0][:200]


def _plain(text: str) -> str:
    """Return a text without spaces and with one kind of quotes: the same factor may be written in several ways."""
    return "".join(text.split()).replace('"', "'")


def _sides(tree: Any) -> tuple[Any, Any]:
    if isinstance(tree, ASTNode) and tree.operator.symbol == "~":
        return (tree.args[0], tree.args[1]) if len(tree.args) == 2 else (None, tree.args[0])
    return None, tree


def _size(node: Any) -> int:
    """Return a number of terms that the expansion of a tree does not exceed, after checking its operators."""
    if isinstance(node, Token):
        return 1
    symbol, sizes = node.operator.symbol, [_size(one) for one in node.args]
    if symbol in ("**", "^"):
        power = str(node.args[1])
        if not power.isdecimal() or not 1 <= int(power) <= 9:
            raise ValueError(f"a formula has the power {power[:20]}: terms are raised to a whole number from 1 to 9")
        return min((sizes[0] + 1) ** int(power) - 1, 10**9)
    if symbol in ("+", "-", "/"):
        return sum(sizes)
    if symbol == "*":
        return min((sizes[0] + 1) * (sizes[1] + 1) - 1, 10**9)
    if symbol in (":", "in"):
        return min(sizes[0] * sizes[1], 10**9)
    raise ValueError(
        f"a formula has the operator {symbol!r}: use those of terms, + - * : / ** and %in%; inputs of gates "
        "stand in gate_formula, labels of groups in groups"
    )


def _tokens(node: Any) -> list[Token]:
    if isinstance(node, Token):
        return [node]
    inside = node.args[:1] if node.operator.symbol in ("**", "^") else node.args
    return [token for one in inside for token in _tokens(one)]


def _factor(text: str, token: Token) -> Expression | None:
    """Return the factor that a token is; None for the constants 0 and 1."""
    word, kind = str(token.token), token.kind.value
    if kind == "value":
        if word not in ("0", "1"):
            raise ValueError(f"the formula {text!r} has the constant {word[:20]}: only 1 and 0 stand for the intercept")
        return None
    if kind == "name":
        return column(word)
    if kind == "python":
        return factor(word)
    raise ValueError(f"the formula {text!r} has {word[:40]!r}, which is no term")


def _terms(text: str) -> SimpleFormula:
    try:
        found = Formula(text)
        return found if isinstance(found, SimpleFormula) else found.rhs
    except FAULTS as cause:
        raise ValueError(f"the formula {text!r} cannot be read: {first_line(cause)}") from None


def _responses(text: str, node: Any) -> list[Expression]:
    """Return the responses on the left, separated by +."""
    if isinstance(node, ASTNode):
        if node.operator.symbol != "+" or len(node.args) != 2:
            raise ValueError(
                f"the formula {text!r} has the operator {node.operator.symbol!r} on its left: responses are separated "
                "by +, and a computed one stands in I(...)"
            )
        return [one for part in node.args for one in _responses(text, part)]
    word, kind = str(node.token), node.kind.value
    if kind not in ("name", "python"):
        raise ValueError(f"the formula {text!r} has the response {word[:40]!r}: give the name of a column")
    return [column(word) if kind == "name" else elementwise(word)]
