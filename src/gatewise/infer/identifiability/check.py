"""The check of an atom: draw parameters and points, find the ranks of the derivatives, compare the draws."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from gatewise.core.names import path_of
from gatewise.fit.arguments import whole
from gatewise.fit.torch_state import standard_torch
from gatewise.infer.identifiability.atoms import Atom
from gatewise.infer.identifiability.columns import Derivative, free_entries
from gatewise.infer.identifiability.draws import Draw, DrawPlan, draws_of, picked
from gatewise.infer.identifiability.proof import prove
from gatewise.infer.identifiability.relations import Relation, relations
from gatewise.infer.identifiability.result import Identifiability
from gatewise.infer.identifiability.verdict import IdentifiabilityVerdict

PER_COLUMN = 100  # rows per derivative
FEWEST, MOST = 1000, 700  # rows; derivatives
FAR = 16.0  # how many times as far points go where near ones leave no clear gap


def identify_atom(
    atom: Atom,
    *,
    order: int = 2,
    atoms: int = 1,
    shared_gate: bool = False,
    seed: int = 0,
    draws: int = 3,
    samples: int = 2,
    rows: int | None = None,
    proof: bool = False,
) -> Identifiability:
    """Check the derivatives of any atom ``u(x, y, theta)`` for linear relations.

    The derivatives at random points are the columns of a matrix, scaled to unit norm. Singular values below 1e-8 of the
    largest are treated as zero. A draw of the parameters is accepted if these are also below 1e-12, which leaves a gap
    of at least 1e4; other draws are replaced, at most as many as were requested. The result is undecided unless all
    accepted draws agree.

    Smooth functions of one input are nearly dependent on a short range: where too few draws count, the check is made
    once more at points up to 16 times as far out, rows scaled to unit norm. What holds there holds everywhere for
    analytic atoms, and so does what fails.

    Parameters
    ----------
    atom : Atom
    order, atoms : {1, 2}
    shared_gate : bool
        Give two atoms equal entries in `atom.levels`.
    seed : int
    draws, samples : int
        Draws of the parameters, and of the points for each of them.
    rows : int, optional
        Points per draw; default 100 per derivative.
    proof : bool
        Whether to prove the relations as well, and that there are no others, from the code of the atom.

    Raises
    ------
    ValueError
        If a number is out of range, nothing is left to differentiate, or the atom does not return one number per row.

    Examples
    --------
    >>> import torch
    >>> def curve(x, y, theta):
    ...     return torch.exp(theta[0] + theta[1] * x[0])
    >>> def draw(generator):
    ...     return torch.randn(2, generator=generator, dtype=torch.float64)
    >>> found = identify_atom(Atom(curve, ("height", "slope"), draw, d=1))
    >>> found.equations
    ('d2u/dheight2 = du/dheight', 'd2u/dheight dslope = du/dslope')
    """
    for name, number in (("order", order), ("atoms", atoms)):
        if number not in (1, 2):
            raise ValueError(f"{name}={number!r}: give 1 or 2")
    if not free_entries(atom):
        raise ValueError(f"all of {', '.join(atom.names)} are held: leave one to differentiate in")
    if shared_gate and (atoms == 1 or not any(atom.levels)):
        raise ValueError(
            "shared_gate=True compares two atoms with equal gates: give atoms=2, and an atom with `levels`"
        )
    times = whole("draws", draws, 1), whole("samples", samples, 1)
    plan = DrawPlan(atom, order, atoms, shared_gate, whole("seed", seed, 0), *times, FEWEST)
    count = len(plan.columns)
    if count > MOST:
        raise ValueError(
            f"{count} derivatives for d = {atom.d}: at most {MOST} are compared; relations show with fewer features"
        )
    plan = plan._replace(rows=max(FEWEST, PER_COLUMN * count) if rows is None else whole("rows", rows, count))
    with standard_torch():
        found = _looked_again(plan, *draws_of(plan))
        return _proved(found, plan) if proof else found


def _proved(found: Identifiability, plan: DrawPlan) -> Identifiability:
    return found._replace(proof=prove(plan).compared_with(found.verdict, found.n_atoms, found.nullity))


def _looked_again(plan: DrawPlan, clear: Sequence[Draw], refused: Sequence[Draw]) -> Identifiability:
    """Return the result, at points that reach far out where near ones leave no clear gap."""
    near = _result(plan, clear, refused)
    if len(clear) == plan.draws * plan.samples:
        return near
    far = plan._replace(reach=FAR)
    found = _result(far, *draws_of(far))
    return near if found.doubt else found


def _result(plan: DrawPlan, clear: Sequence[Draw], refused: Sequence[Draw]) -> Identifiability:
    draws = clear or refused
    lead, columns = draws[0], plan.columns
    doubt = _doubt(plan, clear)
    involved = picked(columns, lead.whole.involved)
    firsts = _parameters(plan.atom, [c for c in involved if c.first])
    idle = [Derivative((name,)) for name in lead.idle]
    unidentified = _parameters(plan.atom, [*lead.ridge, *idle])
    dependent = _parameters(plan.atom, [*lead.first.involved, *lead.ridge, *idle])
    gates = _parameters(plan.atom, [Derivative(level) for level in plan.atom.levels])
    found: list[Relation] = []
    if not doubt:
        once = draws[:: plan.samples]
        found = relations([draw.whole for draw in once], columns, [_values(plan, draw) for draw in once])
    by_label = {c.label: c for c in columns}
    tied = [[by_label[term] for term in relation.terms] for relation in found]
    taking = _parameters(plan.atom, [c for terms in tied if any(t.first for t in terms) for c in terms])
    return Identifiability(
        title=plan.atom.title,
        order=plan.order,
        atoms=plan.atoms,
        d=plan.atom.d,
        shared_gate=plan.shared_gate,
        estimated=_parameters(plan.atom, columns),
        columns=tuple(c.label for c in picked(columns, ~lead.whole.zero)),
        zero=tuple(c.label for c in picked(columns, lead.whole.zero)),
        nullity=lead.whole.nullity,
        first_nullity=lead.first.rank.nullity,
        kept=min(draw.whole.kept for draw in draws),
        dropped=max(draw.whole.dropped for draw in draws),
        involved=tuple(c.label for c in involved),
        parameters=firsts,
        splits=plan.atom.splits,
        partners=tuple(name for name in taking if name not in firsts),
        dependent=dependent,
        unidentified=unidentified,
        idle=_parameters(plan.atom, idle),
        relations=tuple(found),
        nullities=tuple(draw.whole.nullity for draw in draws),
        replaced=len(refused) // plan.samples,
        rows=plan.rows,
        doubt=doubt,
        verdict=IdentifiabilityVerdict.undecided if doubt else _verdict(plan, bool(unidentified), bool(firsts)),
        of_gates=tuple(name for name in dependent if name in gates),
        paths=plan.atom.paths,
    )


def _doubt(plan: DrawPlan, clear: Sequence[Draw]) -> str:
    """Return why nothing can be decided, or nothing."""
    if any(draw.empty for draw in clear):
        return "the atom is zero at all points of a draw"
    if silent := _parameters(plan.atom, [Derivative((name,)) for draw in clear for name in draw.silent]):
        return f"the atom depends on {', '.join(silent)}, but torch finds no derivative in {', '.join(silent)}"
    found = len(clear) // plan.samples
    if found < plan.draws:
        return f"only {found} of {2 * plan.draws} draws of the parameters gave singular values with a clear gap"
    counts = [f"{int((~d.whole.zero).sum())} derivatives with {d.whole.nullity} relations" for d in clear]
    if len({_fingerprint(plan, draw) for draw in clear}) > 1:
        return f"the draws disagree ({' or '.join(dict.fromkeys(counts))})"
    return ""


def _verdict(plan: DrawPlan, ridge: bool, tied: bool) -> IdentifiabilityVerdict:
    if ridge:
        return IdentifiabilityVerdict.ridge
    if tied and plan.atom.splits:
        return IdentifiabilityVerdict.interaction
    return IdentifiabilityVerdict.weak if tied or plan.order == 1 else IdentifiabilityVerdict.strong


def _fingerprint(plan: DrawPlan, draw: Draw) -> tuple[object, ...]:
    """Return what all draws have to agree on: what vanishes, the nullities, the first derivatives involved."""
    taking = tuple(c.label for c in picked(plan.columns, draw.whole.involved) if c.first)
    nullities = (draw.whole.nullity, draw.first.rank.nullity, *(one.rank.nullity for one in draw.ridges))
    return tuple(draw.whole.zero.tolist()), nullities, taking


def _values(plan: DrawPlan, draw: Draw) -> dict[str, float]:
    """Return the parameters of all atoms by name."""
    marks = [f" of u{k + 1}" if plan.atoms > 1 else "" for k in range(plan.atoms)]
    return {
        name + mark: value
        for mark, theta in zip(marks, draw.thetas, strict=True)
        for name, value in zip(plan.atom.names, theta.tolist(), strict=True)
    }


def _parameters(atom: Atom, derivatives: Collection[Derivative]) -> tuple[str, ...]:
    """Return the parameters behind some derivatives, in the order of the atom."""
    taken = {entry for derivative in derivatives for entry in derivative.entries}
    return tuple(dict.fromkeys(path_of(name) for name in atom.names if name in taken))
