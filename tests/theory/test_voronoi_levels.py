"""Losses of two-level mixtures, and distances from sets of measures."""

from itertools import permutations
from math import exp, log

import pytest
import torch

from gatewise.core.experts import EXPERTS
from gatewise.core.families.mean import MeanOnly
from gatewise.core.gates import GATES
from gatewise.core.mixture import Measure, Mixture, log_density
from gatewise.theory.orders import HALF_R, TWO, R
from gatewise.theory.voronoi import LOSSES, cell_errors, distance_to_set, errors, hierarchical_loss, two_level

ZERO = 1e-10
POWERS = (2, 4, 2)  # of coef, intercept and variance in a cell of two
SS = two_level(TWO, R, HALF_R, "two-level-softmax")


def model(names, k2, k1=2):
    return Mixture(tuple(GATES[n] for n in names), (k1, k2))


def draw(mixture, d, seed):
    g = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(shape, generator=g, dtype=torch.float64)

    k = mixture.branching
    gates = tuple(
        {n: normal(*k[: level + 1], *s.shape) for n, s in gate.score.parameters(d).items()}
        for level, gate in enumerate(mixture.gates)
    )
    experts = {n: normal(*k, 1, *s.shape) for n, s in mixture.expert.parameters(d).items()}
    return Measure(gates, experts, {"scale": normal(*k, 1).abs() + 0.3})


def reordered(measure, groups, leaves):
    """Groups in another order, and in every group the leaves, possibly repeated."""

    def inner(value):
        return torch.stack([value[g][leaf] for g, leaf in zip(groups, leaves, strict=True)])

    outer = {n: v[groups] for n, v in measure.gates[0].items()}
    return Measure(
        (outer, {n: inner(v) for n, v in measure.gates[1].items()}),
        {n: inner(v) for n, v in measure.experts.items()},
        {n: inner(v) for n, v in measure.family.items()},
    )


def translated(mixture, measure, seed=9):
    """Shift every gate by its own translation."""
    g = torch.Generator().manual_seed(seed)
    gates = []
    for level, (gate, params) in enumerate(zip(mixture.gates, measure.gates, strict=True)):
        moved = dict(params)
        for name in gate.translation():
            shape = list(params[name].shape)
            shape[level] = 1
            moved[name] = params[name] + torch.randn(shape, generator=g, dtype=torch.float64)
        gates.append(moved)
    return measure._replace(gates=tuple(gates))


PAIRS = [("softmax", "softmax"), ("softmax", "laplace"), ("laplace", "softmax"), ("laplace", "laplace")]


@pytest.mark.parametrize("names", PAIRS)
@pytest.mark.parametrize("d", [1, 2])
def test_the_same_density_in_any_order_translation_and_with_split_leaves_has_no_loss(names, d):
    truth_mixture, mixture = model(names, 2), model(names, 3)
    truth = draw(truth_mixture, d, 1)
    fitted = reordered(truth, [1, 0], [[0, 1, 0], [1, 1, 0]])
    fitted.gates[1]["bias"][0, [0, 2]] += torch.tensor([log(0.3), log(0.7)], dtype=torch.float64)
    fitted.gates[1]["bias"][1, :2] += log(0.5)
    fitted = translated(mixture, fitted)
    x = torch.randn(d, 20, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    y = torch.zeros(1, 20, dtype=torch.float64)
    torch.testing.assert_close(log_density(mixture, fitted, x, x, y), log_density(truth_mixture, truth, x, x, y))
    for loss in (SS, LOSSES["two-level-laplace"]):
        found = hierarchical_loss(loss, mixture, fitted, truth_mixture, truth)
        assert float(found.value) <= ZERO
        assert float(found.unweighted) <= ZERO
    assert found.groups.cells.tolist() == [1, 0]
    assert found.leaves.cells.tolist() == [[0, 1, 0], [1, 1, 0]]
    assert found.leaves.sizes.tolist() == [[2, 1], [1, 2]]
    assert not bool(found.empty)
    anchored = hierarchical_loss(SS, mixture, fitted, truth_mixture, truth, align=False)
    assert float(anchored.value) > 0.01


def by_loops(fitted, truth, outer, inner):
    """The loss of the paper in plain loops, for groups and leaves that are matched by the nearest location."""
    a, b = fitted.gates[0][outer], fitted.gates[0]["bias"].exp()
    a_true, b_true = truth.gates[0][outer], truth.gates[0]["bias"].exp()
    groups = [int((a[i] - a_true).norm(dim=-1).argmin()) for i in range(2)]
    total = sum(abs(sum(b[i] for i in range(2) if groups[i] == j) - b_true[j]) for j in range(2))

    def leaf(measure, i, j):
        variance = measure.family["scale"][i, j] ** 2
        return (
            measure.gates[1][inner][i, j],
            measure.experts["coef"][i, j, 0],
            measure.experts["intercept"][i, j],
            variance,
        )

    for i, group in enumerate(groups):
        beta, beta_true = fitted.gates[1]["bias"][i].exp(), truth.gates[1]["bias"][group].exp()
        inside = (a[i] - a_true[group]).norm()
        thetas = [torch.cat(leaf(truth, group, j)) for j in range(2)]
        cells = [
            min(range(2), key=lambda j: float((torch.cat(leaf(fitted, i, m)) - thetas[j]).norm())) for m in range(3)
        ]
        for j in range(2):
            members = [m for m in range(3) if cells[m] == j]
            inside = inside + abs(sum(beta[m] for m in members) - beta_true[j])
            powers = (2, *POWERS) if len(members) > 1 else (1, 1, 1, 1)
            for m in members:
                parts = zip(leaf(fitted, i, m), leaf(truth, group, j), powers, strict=True)
                inside = inside + beta[m] * sum((p - q).norm() ** e for p, q, e in parts)
        total = total + b[i] * inside
    return float(total)


@pytest.mark.parametrize("names", PAIRS)
def test_the_formula_of_the_paper(names):
    outer, inner = ({"softmax": "weight", "laplace": "center"}[n] for n in names)
    truth = draw(model(names, 2), 2, 1)
    g = torch.Generator().manual_seed(6)
    fitted = reordered(truth, [1, 0], [[0, 1, 0], [1, 1, 0]])
    fitted = fitted.map(lambda v: v + 0.1 * torch.randn(v.shape, generator=g, dtype=torch.float64))
    found = hierarchical_loss(SS, model(names, 3), fitted, model(names, 2), truth, align=False)
    assert float(found.value) == pytest.approx(by_loops(fitted, truth, outer, inner), abs=1e-12)
    best = hierarchical_loss(SS, model(names, 3), fitted, model(names, 2), truth)
    assert float(best.value) <= float(found.value) + 1e-12
    again = hierarchical_loss(SS, model(names, 3), translated(model(names, 3), fitted), model(names, 2), truth)
    assert float(again.value) == pytest.approx(float(best.value), abs=1e-9)


def test_levels_in_a_batch_and_their_errors():
    truth = draw(model(("softmax", "laplace"), 2), 1, 1)
    g = torch.Generator().manual_seed(6)
    fitted = reordered(truth, [0, 1], [[0, 1, 0], [1, 1, 0]])
    batch = fitted.map(lambda v: v + 0.05 * torch.randn((7, *v.shape), generator=g, dtype=torch.float64))
    arguments = model(("softmax", "laplace"), 2), truth
    together = hierarchical_loss(SS, model(("softmax", "laplace"), 3), batch, *arguments)
    alone = hierarchical_loss(SS, model(("softmax", "laplace"), 3), batch.map(lambda v: v[4]), *arguments)
    assert together.value.shape == (7,)
    assert together.leaves.value.shape == (7, 2)
    assert float(alone.value) == pytest.approx(float(together.value[4]), abs=1e-12)
    assert errors(together.groups)["gates.0.weight"].exact_mean.shape == (7,)
    assert cell_errors(together.leaves)["experts.coef"].mean.shape == (7, 2, 2)
    assert together.ties.tolist() == [0] * 7


def test_two_groups_in_one_place_leave_a_cell_empty():
    truth = draw(model(("laplace", "laplace"), 2), 2, 1)
    fitted = reordered(truth, [0, 0], [[0, 1], [0, 1]])
    found = hierarchical_loss(
        LOSSES["two-level-laplace"], model(("laplace",) * 2, 2), fitted, model(("laplace",) * 2, 2), truth, align=False
    )
    assert bool(found.empty)
    own, lost = (exp(float(b)) for b in truth.gates[0]["bias"])
    assert float(found.value) == pytest.approx(own + lost)


def test_levels_in_words():
    two, flat = model(("softmax", "softmax"), 2), Mixture((GATES["softmax"],), (2,))
    truth = draw(two, 1, 1)
    with pytest.raises(ValueError, match="voronoi_loss for one"):
        hierarchical_loss(SS, flat, truth, two, truth)
    truth.gates[0]["weight"][1] = truth.gates[0]["weight"][0]
    with pytest.raises(ValueError, match="true groups 0 and 1 have the same outer location"):
        hierarchical_loss(SS, two, truth, two, truth)
    with pytest.raises(ValueError, match=r"does not cover gates\.1\.weight"):
        hierarchical_loss(LOSSES["softmax"], two, draw(two, 1, 1), two, draw(two, 1, 2))


def regression(k, gate="sigmoid"):
    return Mixture((GATES[gate],), (k,), EXPERTS["bare-tanh"], MeanOnly())


def sigmoid_measures(count, k, seed, d=2, gate="sigmoid"):
    g = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn((count, k, *shape), generator=g, dtype=torch.float64)

    gates = {"weight": normal(d), "bias": normal()}
    if "dense" in gate:
        gates["temperature"] = 0.5 + torch.rand(count, generator=g, dtype=torch.float64)
    return Measure((gates,), {"coef": normal(1, d), "intercept": normal(1)}, {})


def test_distance_to_a_set_is_the_least_over_members_and_permutations():
    fitted, members = sigmoid_measures(4, 3, 1), sigmoid_measures(5, 3, 2)
    found = distance_to_set(regression(3), fitted, members)
    names = [fitted.gates[0]["weight"], fitted.gates[0]["bias"][..., None], fitted.experts["coef"][:, :, 0]]
    own = torch.cat([*names, fitted.experts["intercept"]], -1)
    names = [members.gates[0]["weight"], members.gates[0]["bias"][..., None], members.experts["coef"][:, :, 0]]
    other = torch.cat([*names, members.experts["intercept"]], -1)
    for i in range(4):
        least = min(
            float((own[i] - other[s][list(order)]).norm()) for s in range(5) for order in permutations(range(3))
        )
        assert float(found[i]) == pytest.approx(least, abs=1e-12)


@pytest.mark.parametrize("gate", ["softmax", "laplace", "tanh-dense-to-sparse", "dense-to-sparse", "sigmoid"])
def test_distance_is_zero_for_the_same_function_in_another_form(gate):
    members = sigmoid_measures(3, 2, 2, gate=gate)
    mixture = regression(2, gate)
    if gate == "laplace":
        members.gates[0]["center"] = members.gates[0].pop("weight")
    same = members.map(lambda v: v[1].flip(0) if v.ndim > 1 else v[1])
    shifted = {n: v + 2.5 if n in mixture.gates[0].translation() else v for n, v in same.gates[0].items()}
    found = distance_to_set(mixture, same._replace(gates=(shifted,)), members)
    assert found.shape == ()
    assert float(found) <= ZERO
    if gate == "tanh-dense-to-sparse":  # the mirror image, and a temperature once
        mirror = {**same.gates[0], "weight": -same.gates[0]["weight"].flip(0)}
        assert float(distance_to_set(mixture, same._replace(gates=(mirror,)), members)) <= ZERO
        warm = {**same.gates[0], "temperature": same.gates[0]["temperature"] + 1e-3}
        assert float(distance_to_set(mixture, same._replace(gates=(warm,)), members)) == pytest.approx(1e-3)


def test_distance_in_words():
    with pytest.raises(ValueError, match="3 fitted atoms and members with 2"):
        distance_to_set(regression(3), sigmoid_measures(1, 3, 1), sigmoid_measures(1, 2, 1))
