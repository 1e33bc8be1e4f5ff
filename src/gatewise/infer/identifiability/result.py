"""What a check of identifiability found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from gatewise.infer.identifiability.proof.result import Proof
from gatewise.infer.identifiability.relations import Relation, equations
from gatewise.infer.identifiability.verdict import IdentifiabilityVerdict, explain
from gatewise.markup import lines, page, table

if TYPE_CHECKING:
    from pandas import DataFrame


class Identifiability(NamedTuple):
    """Result of `identify`: linear relations among the derivatives of an atom, and what they mean for its parameters.

    Attributes
    ----------
    title : str
        Gate, expert and estimator.
    order, atoms, d : int
        Highest order of derivatives, number of atoms, number of features.
    shared_gate : bool
        Whether two atoms had equal gates.
    estimated : tuple of str
        Parameters in which derivatives were taken.
    columns : tuple of str
        Derivatives that were compared, such as ``d2u/dweight[0] dintercept``.
    zero : tuple of str
        Derivatives that vanish identically; left out.
    nullity, first_nullity : int
        Number of independent linear relations among all derivatives, and among the first derivatives.
    kept, dropped : float
        Smallest singular value that was kept and largest that was treated as zero, over all draws, relative to the
        largest.
    involved : tuple of str
        Derivatives in some relation.
    parameters : tuple of str
        Parameters whose first derivatives are in some relation.
    partners : tuple of str
        Other parameters in these relations, through second derivatives.
    dependent : tuple of str
        Parameters whose first derivatives vanish or are linearly dependent for a single atom or pair, or together with
        a bias that is left out.
    unidentified : tuple of str
        The part of `dependent` that weights that sum to one do not identify either.
    idle : tuple of str
        The part of `dependent` whose first derivatives vanish: parameters without effect.
    splits : bool
        Whether several fitted atoms can add up to a true one, so that second derivatives matter.
    relations : tuple of Relation
    nullities : tuple of int
        Nullity for each draw; equal unless the verdict is ``undecided``.
    replaced : int
        Number of parameter draws that were replaced because their singular values had no clear gap.
    rows : int
        Points per draw.
    doubt : str
        Why the verdict is ``undecided``; otherwise empty.
    verdict : IdentifiabilityVerdict
    proof : Proof or None
        What was proved, when it was asked for.
    of_gates : tuple of str
        The part of `dependent` that belongs to gates.
    paths : mapping of str
        For a leaf of a mixture, the path in a measure of every parameter, such as ``gates.0.weight`` for ``weight``.

    Examples
    --------
    >>> from gatewise import identify
    >>> found = identify("dense-to-sparse", "linear", order=1)
    >>> found.first_nullity, found.dependent
    (1, ('weight', 'temperature'))
    """

    title: str
    order: int
    atoms: int
    d: int
    shared_gate: bool
    estimated: tuple[str, ...]
    columns: tuple[str, ...]
    zero: tuple[str, ...]
    nullity: int
    first_nullity: int
    kept: float
    dropped: float
    involved: tuple[str, ...]
    parameters: tuple[str, ...]
    partners: tuple[str, ...]
    dependent: tuple[str, ...]
    unidentified: tuple[str, ...]
    idle: tuple[str, ...]
    splits: bool
    relations: tuple[Relation, ...]
    nullities: tuple[int, ...]
    replaced: int
    rows: int
    doubt: str
    verdict: IdentifiabilityVerdict
    proof: Proof | None = None
    of_gates: tuple[str, ...] = ()
    paths: Mapping[str, str] = {}

    @property
    def n_atoms(self) -> int:
        """Number of columns: the derivatives that do not vanish."""
        return len(self.columns)

    @property
    def equations(self) -> tuple[str, ...]:
        """The relations with simple coefficients; an equation without indices holds for every feature."""
        return tuple(equations(self.relations, self.columns))

    @property
    def unread(self) -> tuple[tuple[str, ...], ...]:
        """The derivatives of each relation that has no simple equation."""
        return tuple(relation.terms for relation in self.relations if relation.equation is None)

    @property
    def words(self) -> str:
        """The verdict for these parameters, in some sentences."""
        return explain(self)

    def text(self) -> str:
        """Return the findings as plain text.

        Examples
        --------
        >>> from gatewise.infer.identifiability import identify
        >>> print(identify("softmax", "gelu-no-bias", "ls", order=1).text().split("Weakly")[0])
        softmax gate, gelu-no-bias expert, least squares: one atom, d = 2, order 1
        4 derivatives, no linear relation; smallest singular value ...
        <BLANKLINE>
        """
        lines = [f"{self.title}: {self.setting}", self.counts]
        lines += [f"  {equation}" for equation in self.equations]
        lines += [f"  a relation between {', '.join(terms)}" for terms in self.unread]
        return "\n".join([*lines, self.words, *([] if self.proof is None else [self.proof.text()])])

    def __repr__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        listed = [*self.equations, *(f"between {', '.join(terms)}" for terms in self.unread)]
        found = table({"relation": listed}) if listed else ""
        proved = "" if self.proof is None else self.proof._repr_html_()
        return page(f"{self.title}: {self.setting}", lines([self.words]), found, lines([self.counts]), proved)

    def to_frame(self) -> DataFrame:
        """Return a data frame with a row for every relation: its equation, if it has a simple one, and its terms."""
        import pandas as pd

        rows = [(relation.equation, ", ".join(relation.terms)) for relation in self.relations]
        return pd.DataFrame(rows, columns=["equation", "terms"])

    @property
    def setting(self) -> str:
        """Number of atoms, features and order, in words."""
        atoms = "one atom" if self.atoms == 1 else f"two atoms{' with equal gates' * self.shared_gate}"
        return f"{atoms}, d = {self.d}, order {self.order}"

    @property
    def counts(self) -> str:
        """Numbers of derivatives and relations and the gap in the spectrum, in words."""
        left_out = f" ({len(self.zero)} more vanish)" if self.zero else ""
        relations = (
            f"{self.nullity} linear relation{'s' * (self.nullity != 1)}" if self.nullity else "no linear relation"
        )
        gap = f"smallest singular value {self.kept:.1e}"
        if self.nullity:
            gap = f"singular values from {self.kept:.1e} up kept, from {self.dropped:.1e} down dropped"
        again = f"; {self.replaced} draws without a clear gap left out" if self.replaced else ""
        return f"{self.n_atoms} derivatives{left_out}, {relations}; {gap}{again}"
