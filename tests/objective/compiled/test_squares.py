"""Compiled sums of least squares are those of the reference, for every composition, in every corner."""

from __future__ import annotations

import itertools
import sys
from dataclasses import dataclass, replace

import pytest
import torch

from gatewise.core.activations import ACTIVATIONS
from gatewise.core.experts import EXPERTS, Activation, Linear
from gatewise.core.families import MeanOnly, StudentT
from gatewise.core.gates import GATES, Gate
from gatewise.core.links import Sigmoid, Softmax
from gatewise.core.mixture import Mixture
from gatewise.core.scores import Activated, Affine, Tempered
from gatewise.objective import compiled, likelihood, squares
from gatewise.objective.rows import make_rows

from ...covering import pairs_and_slow_rest
from .conftest import ALL, REFERENCES, SHARES, SIGMOIDS, SQUARES, assert_same, assert_squares, draw, some

GATED = ALL | SIGMOIDS
MOVED = Activation("tanh", False, True, (0.2, -0.1), 0.0, (0.5, -0.3), (1.5, 0.7))
KEPT = {**EXPERTS, "moved": MOVED}
SHAPES = ({"own_data": True}, {"weighted": False}, {"same": True}, {"n": 1}, {"members": 1, "n": 130}, {})
SIGMOID = Mixture((GATES["sigmoid"],), (3,), EXPERTS["gelu"])
SOFTMAX = Mixture((GATES["softmax"],), (3,))


@dataclass(frozen=True)
class MyExpert(Linear):
    pass


@pytest.mark.parametrize("name", GATED)
@pytest.mark.parametrize("depth", [1, 2])
@SHARES
def test_every_composition(name, depth, share):
    """Gate x depth x expert x outputs, with other kinds of data in turn; the second gate is another one each time."""
    place = list(GATED).index(name) + depth
    for at, (expert, columns) in some(itertools.product(KEPT, (1, 2)), place, share):
        kept = KEPT[expert]
        if expert == "moved":
            kept = replace(kept, location=kept.location[:columns], spread=kept.spread[:columns])
        other = GATED[list(GATED)[(3 * at + len(name)) % len(GATED)]]
        gates = ((GATED[name],), (GATED[name], other) if at % 2 else (other, GATED[name]))[depth - 1]
        mixture = Mixture(gates, ((3,), (3, 2), (2, 3))[depth - 1 + (depth == 2 and at % 3 == 0)], kept)
        shape = dict(SHAPES[at % len(SHAPES)])
        if {ALL["metric"], ALL["origin"]} & set(gates):
            shape.pop("same", None)
        assert_squares(mixture, *draw(mixture, columns=columns, seed=at, **shape), size=64)


@pytest.mark.parametrize("fn", ACTIVATIONS)
@pytest.mark.parametrize("link", [Softmax(), Sigmoid()])
def test_every_activation_in_gates_and_experts(fn, link):
    mixture = Mixture((Gate(Tempered(Activated(Affine(), fn)), link),), (3,), Activation(fn, output=True))
    assert_squares(mixture, *draw(mixture, columns=2))


@pytest.mark.parametrize("names", [("softmax", "sigmoid", "scaled-laplace"), ("sigmoid", "laplace", "sigmoid")])
def test_three_levels_and_three_outputs(names):
    mixture = Mixture(tuple(GATES[name] for name in names), (2, 3, 2), EXPERTS["tanh"])
    assert_squares(mixture, *draw(mixture, columns=3))


@pytest.mark.parametrize("branching", [(1, 2), (2, 1), (1, 1)])
@pytest.mark.parametrize("gate", ["softmax", "sigmoid"])
def test_one_branch_and_one_expert(gate, branching):
    mixture = Mixture((GATES[gate], GATES["laplace"]), branching)
    assert_squares(mixture, *draw(mixture, columns=2))


@pytest.mark.parametrize("gate", ["softmax", "laplace", "sigmoid"])
def test_wide_data(gate):
    """More products than one chunk of rows holds."""
    mixture = Mixture((GATES[gate],), (2,))
    assert_squares(mixture, *draw(mixture, d=30, same=True))


@pytest.mark.parametrize("mixture", [SOFTMAX, SIGMOID], ids=str)
@pytest.mark.parametrize("power", [-30, 6, 13])
def test_large_and_tiny_logits(mixture, power):
    """Whole numbers, so that both sides see the same logits however large."""
    measure, block = draw(mixture, n=300)
    block = block._replace(gate_x=(4 * block.gate_x).round())
    gates = ({k: 2.0**power * (3 * v).round() for k, v in measure.gates[0].items()},)
    assert_squares(mixture, measure._replace(gates=gates), block)


BAD = {
    "gate": ("softmax", "laplace", "sigmoid", "normalised-sigmoid", "tanh-dense-to-sparse"),
    "expert": ("linear", "gelu"),
    "bad": (torch.nan, torch.inf, -torch.inf),
    "where": ("x", "gate_x", "y"),
}


@pytest.mark.parametrize(tuple(BAD), pairs_and_slow_rest(BAD))
def test_values_that_are_not_finite(gate, expert, bad, where):
    mixture = Mixture((GATES[gate],), (2,), EXPERTS[expert])
    measure, block = draw(mixture, columns=2)
    getattr(block, where)[..., 5] = bad
    assert_squares(mixture, measure, block)


@pytest.mark.parametrize("gate", GATED)
def test_parameters_that_are_not_finite(gate):
    mixture = Mixture((GATED[gate],), (2,))
    measure, block = draw(mixture, members=3)
    measure.gates[0]["bias"][0, 0] = torch.inf
    measure.gates[0]["bias"][1, 1] = -torch.inf
    measure.experts["coef"][2, 0] = torch.nan
    assert_squares(mixture, measure, block)


@pytest.mark.parametrize("gap", [0.0, 1e-9, 1e-3])
@pytest.mark.parametrize("gate", ["laplace", "euclidean-sigmoid"])
def test_rows_at_a_center(gate, gap):
    mixture = Mixture((GATES[gate],), (3,))
    measure, block = draw(mixture)
    block.gate_x[:, 4] = measure.gates[0]["center"][0, 1]
    block.gate_x[0, 4] += gap
    assert_squares(mixture, measure, block)


@pytest.mark.parametrize("gate", ["softmax", "sigmoid"])
def test_ill_conditioned_inputs(gate):
    mixture = Mixture((GATES[gate],), (3,))
    measure, block = draw(mixture, n=500, d=3, same=True)
    x = block.x.clone()
    x[1] = x[0] + 1e-7 * x[1]
    x[2] = 1e6 + x[2]
    small = torch.tensor([1.0, 1.0, 1e-6]).double()
    gates = ({**measure.gates[0], "weight": measure.gates[0]["weight"] * small},)
    experts = {**measure.experts, "coef": measure.experts["coef"] * small}
    assert_squares(mixture, measure._replace(gates=gates, experts=experts), block._replace(x=x, gate_x=x))


@pytest.mark.parametrize("size", [8, 64, 999, 4096])
def test_block_size_does_not_matter(size):
    mixture = Mixture((GATES["sigmoid"], GATES["softmax"]), (2, 3))
    assert_squares(mixture, *draw(mixture, n=1001), size)


@pytest.mark.parametrize("mixture", [SOFTMAX, SIGMOID], ids=str)
@pytest.mark.parametrize("hold", [True, False])
@pytest.mark.parametrize("grouped", [True, False])
def test_accumulate(mixture, hold, grouped, monkeypatch):
    """Rows in memory, and read in blocks; with units too, whose rows count one by one with the weight of the unit."""
    monkeypatch.setattr(compiled, "ROWS", 100)
    measure, block = draw(mixture, n=333)
    ends, weight = None, block.weight
    if grouped:
        ends, weight = torch.arange(3, 334, 3), block.weight[:111]
        block = block._replace(
            gate_x=block.gate_x[:, ::3].repeat_interleave(3, -1), weight=weight.repeat_interleave(3, -1)
        )
    x, gate_x, y = (part.T.numpy() for part in block[:3])
    rows = make_rows(x, y, gate_x=gate_x, weight=weight, ends=ends, hold=hold)
    for stat in SQUARES:
        assert_same(compiled.accumulate(stat, mixture, measure, rows), stat(mixture, measure, block), stat.__name__)


def test_statistics_stand_in_the_order_of_the_programs():
    from gatewise.objective.compiled import program

    assert (*REFERENCES, *SQUARES) == compiled.KINDS
    assert len(program.ORDERS) == len(compiled.KINDS)
    assert compiled.KINDS[program.GAUSS_NEWTON] is squares.gauss_newton
    assert compiled.KINDS[program.MASS] is likelihood.mass
    assert compiled.KINDS[program.SQUARES_MASS] is squares.mass


@pytest.mark.parametrize("stat", SQUARES)
def test_what_has_a_kernel(stat):
    """Any family, as there is none in a sum of squares; the mass of a leaf does not ask for its expert either."""
    assert compiled.statistic(stat, SIGMOID) is not None
    assert compiled.statistic(stat, replace(SOFTMAX, family=StudentT())) is not None
    assert compiled.statistic(stat, replace(SIGMOID, family=MeanOnly())) is not None
    assert compiled.statistic(stat, Mixture((GATES["top-k"],), (3,))) is None
    assert compiled.statistic(stat, Mixture((GATES["cosine"],), (3,))) is None
    other = Mixture((GATES["sigmoid"],), (3,), MyExpert())
    assert (compiled.statistic(stat, other) is None) == (stat is not squares.mass)
    assert compiled.statistic(likelihood.gradient, SIGMOID) is None


def test_the_mass_of_leaves_with_any_expert():
    mixture = Mixture((GATES["sigmoid"],), (3,), MyExpert(), StudentT())
    measure, block = draw(mixture)
    found = compiled.statistic(squares.mass, mixture)(mixture, measure, block)
    assert_same(found, squares.mass(mixture, measure, block), "mass")


def nothing(right):
    """No second derivatives besides the Gauss-Newton product."""
    return lambda *args: []


def unrelated(right):
    """No branch shares a node with another, or is above anything."""
    return lambda *args: False


def flat(right):
    """Scores without second derivatives."""
    return lambda *args: {}


def first_output(right):
    """Every output is compared with the first column of y."""

    def write(p, output, parts, count, density):
        return right(p, 0, parts, count, density)

    return write


def as_softmax(right):
    """Weights that do not sum to one are taken for a softmax."""

    def write(p, mixture, sizes):
        levels, start = right(p, mixture, sizes)
        return [level._replace(normalised=True) for level in levels], start

    return write


@pytest.mark.parametrize(
    ("path", "wrong", "statistic", "what"),
    [
        ("residuals._curvatures", nothing, "hessian", "Hessian"),
        ("residuals._related", unrelated, "hessian", "Hessian"),
        ("residuals.write_curved", flat, "hessian", "Hessian"),
        ("residuals._steps", lambda right: lambda products: right(products[:1]), "gauss_newton", "Hessian"),
        ("plan.write_curvatures", nothing, "hessian", "Hessian"),
        ("program.Program.minus", lambda right: lambda self, count, a: a, "gauss_newton", "Hessian"),
        ("residuals._write_residual", first_output, "value", "value"),
        ("plan.write_levels", as_softmax, "gradient", "gradient"),
        ("residuals.write_path_weights", lambda right: lambda p, levels: levels[-1].weights, "value", "value"),
        ("residuals.write_logit_gradients", lambda right: lambda p, levels, shares: levels, "gauss_newton", "Hessian"),
    ],
)
def test_the_law_can_fail(path, wrong, statistic, what, monkeypatch):
    from gatewise.objective.compiled import run

    *place, name = path.split(".")
    owner = sys.modules[f"gatewise.objective.compiled.{place[0]}"]
    for part in place[1:]:
        owner = getattr(owner, part)
    mixture = Mixture((GATES["sigmoid"], GATES["scaled-laplace"]), (2, 3))
    measure, block = draw(mixture, columns=2)
    run.ready.cache_clear()
    monkeypatch.setattr(owner, name, wrong(getattr(owner, name)))
    with pytest.raises(AssertionError, match=rf"broken: .*squares\.{statistic} .* {what}"):
        assert_squares(mixture, measure, block)
    run.ready.cache_clear()
