"""Compiled statistics are those of the reference, for every composition, in every corner."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from gatewise.core.activations import ACTIVATIONS
from gatewise.core.experts import EXPERTS, Activation, Linear
from gatewise.core.families import Binomial, StudentT
from gatewise.core.gates import GATES, Gate
from gatewise.core.links import Softmax
from gatewise.core.mixture import Mixture
from gatewise.core.scores import Activated, Affine, Tempered
from gatewise.objective import compiled, likelihood, terms
from gatewise.objective.accumulate import accumulate
from gatewise.objective.rows import make_rows

from ...covering import pairs_and_slow_rest
from .conftest import ALL, COVERED, LAWS, REFERENCES, assert_fused, assert_same, draw, some

SOFTMAX = Mixture((GATES["softmax"],), (3,))
MOVED = Activation("tanh", False, True, (0.2, -0.1), 0.0, (0.5,), (1.5,))
KEPT = {**EXPERTS, "moved": MOVED}
SHAPES = ({"own_data": True}, {"weighted": False}, {"same": True}, {"n": 1}, {"members": 1, "n": 130}, {})


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("share", [5, pytest.param(1, marks=pytest.mark.slow)])  # which has no divisor with the laws
def test_every_composition(name, depth, share):
    """Gate x depth x expert x family, with other kinds of data in turn; the second gate is another one each time."""
    place = list(ALL).index(name) + depth
    for at, (expert, law) in some(itertools.product(KEPT, LAWS), place, share):
        family, columns = LAWS[law]
        kept = (
            replace(MOVED, location=(0.5, -0.3), spread=(1.5, 0.7))
            if (expert, columns) == ("moved", 2)
            else KEPT[expert]
        )
        other = ALL[list(ALL)[at % len(ALL)]]
        gates = ((ALL[name],), (ALL[name], other) if at % 2 else (other, ALL[name]))[depth - 1]
        mixture = Mixture(gates, ((3,), (3, 2), (2, 3))[depth - 1 + (depth == 2 and at % 3 == 0)], kept, family)
        shape = dict(SHAPES[at % len(SHAPES)])
        if name in ("metric", "origin") or other in (ALL["metric"], ALL["origin"]):
            shape.pop("same", None)
        assert_fused(mixture, *draw(mixture, columns=columns, seed=at, **shape), size=64)


@pytest.mark.parametrize("fn", ACTIVATIONS)
def test_every_activation_in_gates_and_experts(fn):
    mixture = Mixture((Gate(Tempered(Activated(Affine(), fn)), Softmax()),), (3,), Activation(fn, output=True))
    assert_fused(mixture, *draw(mixture))


def test_three_levels():
    mixture = Mixture((GATES["softmax"], GATES["scaled-laplace"], GATES["dense-to-sparse"]), (2, 3, 2))
    assert_fused(mixture, *draw(mixture))


def test_one_branch_and_one_expert():
    mixture = Mixture((GATES["softmax"], GATES["laplace"]), (1, 2))
    assert_fused(mixture, *draw(mixture))


@pytest.mark.parametrize("gate", ["softmax", "laplace"])
def test_wide_data(gate):
    """More products than one chunk of rows holds."""
    mixture = Mixture((GATES[gate],), (2,))
    assert_fused(mixture, *draw(mixture, d=30, same=True))


def whole_numbers(mixture, n=40, d=2):
    """Numbers for which predictors are exact, so that both sides see the same ones however large."""
    measure, block = draw(mixture, n=n, d=d, same=True, weighted=False)
    x = (4 * block.x).round()
    measure = measure.map(lambda v: (3 * v).round())
    apart = torch.arange(3.0).double()[:, None] / 8  # no row is equally far from two experts
    experts = {**measure.experts, "intercept": measure.experts["intercept"] + apart}
    measure = measure._replace(experts=experts, family={"scale": torch.ones_like(measure.family["scale"])})
    return measure, block._replace(x=x, gate_x=x, y=block.y.round())


def test_large_logits():
    """Up to some 1e5."""
    measure, block = whole_numbers(SOFTMAX)
    gates = ({k: 2.0**13 * v for k, v in measure.gates[0].items()},)
    assert_fused(SOFTMAX, measure._replace(gates=gates), block)


@pytest.mark.parametrize("power", [-14, -30, -150, -530])
def test_tiny_scales(power):
    """Down to 1e-45, where squares of derivatives are still numbers, and 1e-160, where the density is none."""
    measure, block = whole_numbers(SOFTMAX)
    small = {"scale": torch.full_like(measure.family["scale"], 2.0**power)}
    assert_fused(SOFTMAX, measure._replace(family=small), block)


BAD = {
    "gate": ("softmax", "laplace", "normalised-sigmoid", "tanh-dense-to-sparse"),
    "law": tuple(LAWS),
    "bad": (torch.nan, torch.inf, -torch.inf),
    "where": ("x", "gate_x", "y"),
}


@pytest.mark.parametrize(tuple(BAD), pairs_and_slow_rest(BAD))
def test_values_that_are_not_finite(gate, law, bad, where):
    family, columns = LAWS[law]
    mixture = Mixture((GATES[gate],), (2,), family=family)
    measure, block = draw(mixture, columns=columns)
    getattr(block, where)[..., 5] = bad
    assert_fused(mixture, measure, block)


@pytest.mark.parametrize("gate", COVERED)
def test_parameters_that_are_not_finite(gate):
    mixture = Mixture((GATES[gate],), (2,))
    measure, block = draw(mixture, members=3)
    measure.gates[0]["bias"][0, 0] = torch.inf
    measure.gates[0]["bias"][1, 1] = -torch.inf
    measure.experts["coef"][2, 0] = torch.nan
    assert_fused(mixture, measure, block)


@pytest.mark.parametrize("gap", [0.0, 1e-9, 1e-3])
def test_rows_at_a_center(gap):
    mixture = Mixture((GATES["scaled-laplace"],), (3,))
    measure, block = draw(mixture)
    block.gate_x[:, 4] = measure.gates[0]["center"][0, 1]
    block.gate_x[0, 4] += gap
    assert_fused(mixture, measure, block)


def test_distance_on_a_line_is_straight():
    """Its second derivative is exactly zero, so nothing is lost however near a row is to a center."""
    from gatewise.objective.compiled.run import sums

    mixture = Mixture((GATES["laplace"],), (2,))
    measure, block = draw(mixture, d=1, same=True, members=1, weighted=False)
    found = []
    for gap in (1e-14, 1e-11):
        block.x[0, 7] = measure.gates[0]["center"][0, 1, 0] + gap
        found.append(sums(2, mixture, measure, block)[2])
    assert float((found[0] - found[1]).abs().max()) < 1e-9 * float(found[0].abs().max())


def sharp(temperature):
    mixture = Mixture((GATES["softmax"], GATES["dense-to-sparse"]), (2, 3))
    measure, block = draw(mixture)
    inner = {k: v if k == "temperature" else (4 * v).round() for k, v in measure.gates[1].items()}
    inner["temperature"] = torch.full_like(inner["temperature"], temperature)
    return mixture, measure._replace(gates=(measure.gates[0], inner)), block._replace(gate_x=(2 * block.gate_x).round())


def test_sharp_gates():
    assert_fused(*sharp(2.0**-16))


def test_small_numbers_are_not_lost_in_large_logits():
    """Where the weights are 0 and 1 by logits of 1e40, the density is still that of the expert."""
    from gatewise.objective.compiled.run import sums

    mixture, measure, block = sharp(1e-38)
    (expected,) = REFERENCES[0](mixture, measure, block)
    for kind in range(4):
        assert_same(sums(kind, mixture, measure, block)[:1], (expected,), f"the value of statistic {kind}")


def test_ill_conditioned_inputs():
    measure, block = draw(SOFTMAX, n=500, d=3, same=True)
    x = block.x.clone()
    x[1] = x[0] + 1e-7 * x[1]
    x[2] = 1e6 + x[2]
    gates = (
        {
            "weight": measure.gates[0]["weight"] * torch.tensor([1.0, 1.0, 1e-6]).double(),
            "bias": measure.gates[0]["bias"],
        },
    )
    experts = {
        "coef": measure.experts["coef"] * torch.tensor([1.0, 1.0, 1e-6]).double(),
        "intercept": measure.experts["intercept"],
    }
    assert_fused(SOFTMAX, measure._replace(gates=gates, experts=experts), block._replace(x=x, gate_x=x))


def test_counts_beyond_the_table():
    mixture = Mixture((GATES["softmax"],), (2,), family=LAWS["poisson"][0])
    measure, block = draw(mixture)
    block.y[0, :3] = torch.tensor([1023.0, 1024.0, 1e6])
    assert_fused(mixture, measure, block)


@pytest.mark.parametrize("size", [8, 64, 999, 4096])
def test_block_size_does_not_matter(size):
    mixture = Mixture((GATES["laplace"], GATES["softmax"]), (2, 3))
    measure, block = draw(mixture, n=1001)
    assert_fused(mixture, measure, block, size)


def test_two_threads_find_equal_shares_of_a_million_rows():
    from gatewise.objective.compiled.run import _tasks

    runs, tasks = _tasks(1, 1_000_000, True, 1024)
    assert runs == len(tasks)
    assert [(one.begin, one.end) for one in tasks[1:]] == [(one.end, other.end) for one, other in pairwise(tasks)]
    for threads, gain in ((2, 1.9), (4, 3.8), (8, 7.5)):
        assert len(tasks) / -(-len(tasks) // threads) >= gain


@pytest.mark.parametrize("own_data", [False, True])
def test_threads_do_not_matter(own_data):
    """Bitwise: rows and members are cut into the same pieces, whatever the number of threads."""
    from gatewise.objective.compiled.run import sums

    mixture = Mixture((GATES["softmax"],), (2,))
    measure, block = draw(mixture, n=70_001, members=3, d=1, same=True, own_data=own_data)
    before, found = torch.get_num_threads(), []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found.append(sums(3, mixture, measure, block))
    torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))
    assert_same(found[0], likelihood.expected_complete_hessian(mixture, measure, block), "many tasks")


def test_rows_need_not_be_neighbours_in_memory():
    measure, block = draw(SOFTMAX, n=80)
    part = block._replace(**{name: getattr(block, name)[..., 3:60:2] for name in ("x", "gate_x", "y", "weight")})
    assert_fused(SOFTMAX, measure, part)


@pytest.mark.parametrize("hold", [True, False])
def test_accumulate(hold, monkeypatch):
    monkeypatch.setattr(compiled, "ROWS", 100)
    measure, block = draw(SOFTMAX, n=333)
    rows = make_rows(
        block.x.T.numpy(), block.y.T.numpy(), gate_x=block.gate_x.T.numpy(), weight=block.weight, hold=hold
    )
    for stat, reference in zip(compiled.OF_LIKELIHOOD, REFERENCES, strict=True):
        assert_same(compiled.accumulate(stat, SOFTMAX, measure, rows), reference(SOFTMAX, measure, block), "all rows")
    grouped = make_rows(block.x.T.numpy(), block.y.T.numpy(), ends=torch.arange(3, 334, 3))
    assert compiled.accumulate(likelihood.gradient, SOFTMAX, measure, grouped) is None


class Mine(Affine):
    pass


@dataclass(frozen=True)
class MyExpert(Linear):
    pass


@pytest.mark.parametrize(
    "mixture",
    [
        Mixture((Gate(Mine(), Softmax()),), (2,)),
        Mixture((Gate(Tempered(Mine()), Softmax()),), (2,)),
        Mixture((GATES["softmax"], GATES["cosine"]), (2, 2)),
        Mixture((GATES["quadratic"],), (2,)),
        Mixture((GATES["top-k"],), (3,)),
        Mixture((GATES["sigmoid"],), (3,)),
        Mixture((GATES["softmax"],), (2,), MyExpert()),
        Mixture((GATES["softmax"],), (2,), family=StudentT()),
        Mixture((GATES["softmax"],), (2,), family=Binomial(None)),
    ],
    ids=str,
)
def test_what_has_no_kernel_is_left_to_the_reference(mixture):
    assert compiled.statistic(likelihood.gradient, mixture) is None


def test_unknown_statistics_and_a_missing_compiler(monkeypatch):
    assert compiled.statistic(terms.unit_responsibilities, SOFTMAX) is None
    assert compiled.statistic(likelihood.gradient, SOFTMAX) is not None
    monkeypatch.setattr(compiled, "available", lambda: False)
    assert compiled.statistic(likelihood.gradient, SOFTMAX) is None


def test_groups_are_refused():
    measure, block = draw(SOFTMAX, n=4)
    statistic = compiled.statistic(likelihood.gradient, SOFTMAX)
    with pytest.raises(ValueError, match="groups"):
        statistic(SOFTMAX, measure, block._replace(unit=torch.tensor([0, 0, 1, 1])))


def test_the_compiler_is_loaded_when_first_needed():
    code = "import sys, gatewise, gatewise.objective.compiled; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_any_changed_source_compiles_anew(tmp_path):
    from gatewise.objective.compiled.kernels import stamp_of

    folder = tmp_path / "fused"
    shutil.copytree(Path(compiled.__file__).parent, folder, ignore=shutil.ignore_patterns("__pycache__"))
    before = stamp_of(folder)
    assert before == stamp_of(Path(compiled.__file__).parent)
    with (folder / "scalar.py").open("a") as file:
        file.write("\n")
    assert stamp_of(folder) != before


def nothing(right):
    """A function that adds nothing."""
    return lambda *args: None


def last_row_lost(right):
    def tasks(*args):
        runs, found = right(*args)
        return runs, [task._replace(end=task.end - 1) for task in found]

    return tasks


def rolled(right):
    return lambda *args: right(*args).roll(1, -1)


def one_sided(right):
    def write_pairs(p, pairs, size):
        found = right(p, pairs, size)
        return found._replace(gather=np.triu(found.gather))

    return write_pairs


def positive(right):
    return lambda self, count, a: a


def unweighted(right):
    return lambda self, count, a, b: a if b == self.weight else right(self, count, a, b)


@pytest.mark.parametrize(
    ("path", "wrong", "what"),
    [
        ("curvature._curvature", lambda right: lambda *args: [], "Hessian"),
        ("curvature.write_curved", lambda right: lambda *args: {}, "Hessian"),
        ("plan.write_curvatures", nothing, "Hessian"),
        ("plan.add_diagonals", nothing, "Hessian"),
        ("plan.write_pairs", one_sided, "Hessian"),
        ("program.Program.minus", positive, "Hessian"),
        ("program.Program.product", unweighted, "gradient"),
        ("run._tasks", last_row_lost, "value"),
        ("run.packed", rolled, "value"),
    ],
)
def test_the_law_can_fail(path, wrong, what, monkeypatch):
    from gatewise.objective.compiled import run

    *place, name = path.split(".")
    owner = sys.modules[f"gatewise.objective.compiled.{place[0]}"]
    for part in place[1:]:
        owner = getattr(owner, part)
    mixture = Mixture((GATES["scaled-laplace"], GATES["softmax"]), (2, 3))
    measure, block = draw(mixture)
    run.ready.cache_clear()
    monkeypatch.setattr(owner, name, wrong(getattr(owner, name)))
    with pytest.raises(AssertionError, match=f"broken: .* {what}"):
        assert_fused(mixture, measure, block)
    run.ready.cache_clear()


@pytest.mark.parametrize("hold", [True, False])
@pytest.mark.parametrize(("law", "far"), [("gaussian", 1e200), ("two outputs", 1e200), ("poisson", 900.0)])
def test_responsibilities_of_rows_without_density(law, far, hold):
    """Every expert predicts a mean of 1e200, or of e^900 counts."""
    family, columns = LAWS[law]
    mixture = replace(SOFTMAX, family=family)
    measure, block = draw(mixture, columns=columns, weighted=False, d=3)
    experts = {**measure.experts, "intercept": torch.full_like(measure.experts["intercept"], far)}
    measure = measure._replace(experts=experts)
    rows = make_rows(block.x.T.numpy(), block.y.T.numpy(), gate_x=block.gate_x.T.numpy(), hold=hold)
    assert compiled.accumulate(likelihood.mass, mixture, measure, rows) is None
    (found,) = accumulate(likelihood.mass, mixture, measure, rows, 10)
    (expected,) = likelihood.mass(mixture, measure, block)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0.0)
    assert found.sum(-1).tolist() == pytest.approx([columns * rows.n] * len(found), rel=1e-12)
