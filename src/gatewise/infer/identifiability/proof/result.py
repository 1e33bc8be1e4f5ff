"""What was proved of the derivatives of an atom."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from gatewise.core.names import path_of
from gatewise.infer.identifiability.columns import Derivative
from gatewise.infer.identifiability.proof.certificate import Independence
from gatewise.infer.identifiability.proof.solve import Coefficient
from gatewise.infer.identifiability.relations import without_indices
from gatewise.markup import lines, page, table, verbatim

if TYPE_CHECKING:
    from pandas import DataFrame


class ProvedRelation(NamedTuple):
    """A linear relation between derivatives that holds at every x, y and parameter.

    Attributes
    ----------
    terms : tuple of Derivative
        The derivatives; the first is the one that the equation is solved for.
    ratios : tuple of Coefficient
        Their coefficients in ``sum = 0``, the first of them one.
    weights : tuple of Coefficient
        The same without denominators.
    """

    terms: tuple[Derivative, ...]
    ratios: tuple[Coefficient, ...]
    weights: tuple[Coefficient, ...]

    @property
    def equation(self) -> str:
        """The relation solved for its first derivative."""
        right = ""
        for (negative, text), term in zip(self.ratios[1:], self.terms[1:], strict=True):
            sign = "+" if negative else "-"
            factor = "" if text == "1" else f"{_enclosed(text)} "
            right += (f" {sign} " if right else "-" * (not negative)) + factor + term.label
        return f"{self.terms[0].label} = {right}"

    @property
    def direction(self) -> str:
        """The parameters that may move together, and along which vector; empty where a second derivative takes part."""
        if not all(term.first for term in self.terms):
            return ""
        names = [f"{term.entries[0]}{' of u' * bool(term.mark)}{term.mark}" for term in self.terms]
        flip = sum(w.negative for w in self.weights) * 2 > len(self.weights)
        values = [("-" if w.negative != flip else "") + (_summed(w.text)) for w in self.weights]
        return f"({', '.join(names)}) along ({', '.join(values)})"


class Proof(NamedTuple):
    """Which derivatives of an atom are linearly dependent, proved.

    Attributes
    ----------
    compared : tuple of Derivative
        The derivatives in question.
    zero : tuple of Derivative
        Those that vanish at every x and y.
    relations : tuple of ProvedRelation
        Verified as identities in x, y and the parameters, and independent of each other.
    certificate : Independence or None
        Why there are no other relations, for all parameters but some that fill no volume (with kinks: for those near
        the parameters of the certificate); None where it is not decided.
    doubt : str
        Why nothing is decided; otherwise empty.
    """

    compared: tuple[Derivative, ...]
    zero: tuple[Derivative, ...]
    relations: tuple[ProvedRelation, ...]
    certificate: Independence | None
    doubt: str

    @property
    def decided(self) -> bool:
        """Whether all relations are known, with proof."""
        return not self.doubt

    def compared_with(self, verdict: str, n_atoms: int, nullity: int) -> Proof:
        """Return the proof, undecided where a numerical check that is decided has other counts.

        Code that computes a function by different formulas, such as a series near a point, may fulfil relations to
        rounding only, and then breaks them in exact arithmetic. Of a function with several kinks, some pieces may be
        empty at the parameters that were drawn.
        """
        if self.doubt or verdict == "undecided" or (n_atoms, nullity) == (self.n_atoms, self.nullity):
            return self
        return self._replace(
            certificate=None,
            doubt=f"the numerical check finds {nullity} relations between {n_atoms} derivatives, the expressions of "
            f"the code {self.nullity} between {self.n_atoms}; the code may compute by approximations, or a piece of it "
            "may be empty",
        )

    @property
    def n_atoms(self) -> int:
        """Number of derivatives that do not vanish."""
        return len(self.compared) - len(self.zero)

    @property
    def nullity(self) -> int:
        """Number of independent relations."""
        return len(self.relations)

    @property
    def parameters(self) -> tuple[str, ...]:
        """Parameters whose first derivatives are in some relation."""
        taking = {entry for r in self.relations for term in r.terms if term.first for entry in term.entries}
        firsts = [term.entries[0] for term in self.compared if term.first]
        return tuple(dict.fromkeys(path_of(name) for name in firsts if name in taking))

    @property
    def equations(self) -> tuple[str, ...]:
        """The relations; an equation without indices holds for every feature."""
        texts = [relation.equation for relation in self.relations]
        return tuple(without_indices(texts, [term.label for term in self.compared]))

    @property
    def directions(self) -> tuple[str, ...]:
        """Vectors along which parameters move without a change of the atom: relations of first derivatives alone."""
        return tuple(direction for relation in self.relations if (direction := relation.direction))

    @property
    def words(self) -> str:
        """The result in a sentence."""
        if self.doubt:
            some = f", but for {self.nullity} of the relations" if self.relations else ""
            return f"Proof: not decided{some}: {self.doubt}."
        gone = f" ({len(self.zero)} more vanish)" if self.zero else ""
        count = f"Proof: {self.n_atoms} derivatives{gone}"
        if not self.relations:
            return f"{count}, and no relation between them: they are independent."
        several = "1 relation that holds" if self.nullity == 1 else f"{self.nullity} relations that hold"
        rest = self.n_atoms - self.nullity
        others = f"the other {rest} are independent" if rest > 1 else "nothing else remains"
        return f"{count}, {several} identically in x, y and the parameters; {others}."

    @property
    def reason(self) -> str:
        """Why there are no other relations, in a sentence."""
        return "" if self.certificate is None else f"No other relation: {self.certificate.words}."

    def text(self) -> str:
        """Return what was proved as plain text."""
        return "\n".join(self._lines())

    def as_json(self) -> dict[str, Any]:
        """Return what was proved as values that JSON can hold."""
        return {
            "decided": self.decided,
            "doubt": self.doubt,
            "n_atoms": self.n_atoms,
            "zero": [term.label for term in self.zero],
            "relations": [relation.equation for relation in self.relations],
            "directions": list(self.directions),
            "parameters": list(self.parameters),
            "reason": self.reason,
        }

    def _lines(self) -> Iterator[str]:
        yield self.words
        yield from (f"  {equation}" for equation in self.equations)
        if self.directions:
            yield "Directions in which the atom does not change:"
            yield from (f"  {direction}" for direction in self.directions)
        if self.reason:
            yield self.reason

    def __repr__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        found = table({"proved relation": self.equations}) if self.relations else ""
        ways = verbatim(self.directions) if self.directions else ""
        return page(self.words, found, ways, lines([self.reason] if self.reason else []))

    def to_frame(self) -> DataFrame:
        """Return a data frame with a row for every relation: its equation, derivatives and direction, if any."""
        import pandas as pd

        rows = [(r.equation, ", ".join(term.label for term in r.terms), r.direction) for r in self.relations]
        return pd.DataFrame(rows, columns=["equation", "terms", "direction"])


def _enclosed(text: str) -> str:
    """Return a coefficient in brackets unless it is one factor."""
    plain = text.replace("[", "").replace("]", "").replace(".", "").replace("_", "")
    return text if plain.isalnum() else f"({text})"


def _summed(text: str) -> str:
    return f"({text})" if " + " in text or " - " in text else text
