"""Compiled against reference: problems, and the law that they agree."""

from __future__ import annotations

import pytest
import torch

from gatewise.core.families import Binomial, Gaussian, Poisson
from gatewise.core.gates import GATES, Gate
from gatewise.core.links import NormalisedSigmoid, Sigmoid, Softmax
from gatewise.core.scores import Activated, Affine, Distance, Tempered
from gatewise.objective import likelihood, squares, terms
from gatewise.objective.parameterization import from_paths
from gatewise.objective.rows import Block
from gatewise.testing.problems import draw_measure, generator, make_problem

pytest.importorskip("numba", reason="this platform has no compiler")

# Both sides add the same terms in another order, and terms may cancel in one entry of a sum but not in all: an entry is
# right up to a small multiple of the rounding of the largest entry, in a Hessian also of the squares it is made of.
RELATIVE = 1e-12

NAMES = [name for name, gate in GATES.items() if type(gate.link) in (Softmax, NormalisedSigmoid)]
COVERED = [name for name in NAMES if not any(word in name for word in ("cosine", "quadratic"))]
SPECIAL = {
    "metric": Gate(Distance(metric=(0.5, 2.0, 3.0), radius=0.3), Softmax()),
    "origin": Gate(Tempered(Activated(Affine(), "silu", origin=(0.3, -0.2, 0.1))), NormalisedSigmoid()),
    "rounded": Gate(Activated(Affine(), "relu", radius=0.2), Softmax()),
}
ALL = {name: GATES[name] for name in COVERED} | SPECIAL
SIGMOIDS = {
    "sigmoid": GATES["sigmoid"],
    "tempered": Gate(Tempered(Distance(radius=0.3)), Sigmoid()),
    "activated sigmoid": Gate(Tempered(Activated(Affine(), "gelu")), Sigmoid()),
}
LAWS = {
    "gaussian": (Gaussian(), 1),
    "two outputs": (Gaussian(), 2),
    "poisson": (Poisson(), 1),
    "trials": (Binomial(3), 1),
}


REFERENCES = (
    likelihood.value,
    likelihood.gradient,
    likelihood.hessian,
    likelihood.expected_complete_hessian,
    likelihood.mass,
)
SQUARES = (squares.value, squares.gradient, squares.gauss_newton, squares.hessian, squares.mass)
WHAT = ("value", "gradient", "Hessian")


def stack(measures, depth):
    paths = [m.paths() for m in measures]
    return from_paths({k: torch.stack([p[k] for p in paths]) for k in paths[0]}, depth)


def draw(mixture, *, n=37, members=2, columns=1, weighted=True, own_data=False, same=False, d=2, seed=0):
    """A batch of measures and a block; `own_data` gives every member rows of its own, `same` one x for all."""
    gate_d = d if same else 3
    q = mixture.family.outputs(columns)
    measure = stack(
        [draw_measure(mixture, d, gate_d, q, generator(seed + 10 + k)) for k in range(members)], mixture.depth
    )
    drawn = [
        make_problem(mixture, d=d, gate_d=gate_d, columns=columns, n=n, seed=seed + 100 * k)
        for k in range(members if own_data else 1)
    ]
    parts = [torch.stack([getattr(p, name) for p in drawn]) for name in ("x", "gate_x", "y")]
    x, gate_x, y = parts if own_data else (part[0] for part in parts)
    weight = 2 * torch.rand(n, generator=generator(seed), dtype=torch.float64) if weighted else None
    return measure, Block(x, x if same else gate_x, y, weight)


def some(cases, place, share):
    """The cases with their places, or one of every `share`: others for the next gate and at the next depth.

    So every gate meets every expert, every number of outputs and every family at one depth or another.
    """
    return list(enumerate(cases))[place % share :: share]


SHARES = pytest.mark.parametrize("share", [3, pytest.param(1, marks=pytest.mark.slow)])


def cancelling(mixture, measure, block):
    """The largest sum of squares of scores: the Hessian of log p is a difference of such sums."""
    at = likelihood.scores(terms.mixture_terms(mixture, measure, block, 1), block)
    squares = (at.at_leaf * at.leaves).sum(-1) if block.weight is None else (at.at_leaf * at.leaves) @ block.weight
    return float(squares.nan_to_num(0.0, 0.0, 0.0).abs().max())


def assert_same(found, expected, what, besides=0.0):
    """Compare sums; `besides` is the size of what cancels in the Hessian.

    Where the reference is not finite, value and gradient are the same NaN or infinity. In the Hessian they are not
    finite either, or zero: a factor that is zero for every row is left out, where the reference may multiply it by NaN.
    """
    assert len(found) == len(expected)
    for name, ours, theirs in zip(WHAT, found, expected, strict=False):
        assert ours.shape == theirs.shape, f"broken: {what}, {name} has shape {tuple(ours.shape)}"
        odd = ~theirs.isfinite()
        same = torch.where(theirs.isnan(), ours.isnan(), ours == theirs)
        same |= torch.tensor(name == "Hessian") & (~ours.isfinite() | (ours == 0))
        assert bool(same[odd].all()), f"broken: {what}, {name}: NaN or infinite in other places"
        if bool(odd.all()):
            continue
        gap, size = float((ours - theirs)[~odd].abs().max()), float(theirs[~odd].abs().max())
        size = max(size, besides if name == "Hessian" else 0.0)
        assert gap <= RELATIVE * size, f"broken: {what}, {name} is off by {gap / size:.2g} of its largest entry"


def assert_fused(mixture, measure, block, size=None):
    """The law: compiled sums are those of the reference, for every statistic."""
    from gatewise.objective.compiled.run import sums

    for kind, reference in enumerate(REFERENCES):
        what = f"fused == reference, statistic {kind} of {mixture} with {tuple(block.x.shape)} rows"
        besides = cancelling(mixture, measure, block) if reference is likelihood.hessian else 0.0
        found, expected = sums(kind, mixture, measure, block, size), reference(mixture, measure, block)
        if reference is likelihood.mass:  # members with a row without density are left to the reference
            left = ~found[0].isfinite().all(-1)
            assert not bool(likelihood.value(mixture, measure, block)[0][left].isfinite().any()), f"broken: {what}"
            if bool(left.all()):
                continue
            found, expected = (found[0][~left],), (expected[0][~left],)
        assert_same(found, expected, what, besides)


def assert_squares(mixture, measure, block, size=None):
    """The same law for the statistics of least squares, which know no family."""
    from gatewise.objective.compiled.run import sums

    for kind, reference in enumerate(SQUARES, len(REFERENCES)):
        what = f"fused == reference, squares.{reference.__name__} of {mixture} with {tuple(block.x.shape)} rows"
        assert_same(sums(kind, mixture, measure, block, size), reference(mixture, measure, block), what)
