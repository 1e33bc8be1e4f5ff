"""Voronoi losses: invariances, values by hand, cells, ties, merged atoms, errors in words."""

from math import exp, log
from operator import itemgetter

import pytest
import torch

from gatewise.core.experts import EXPERTS
from gatewise.core.families import FAMILIES
from gatewise.core.families.mean import MeanOnly
from gatewise.core.gates import GATES, Gate
from gatewise.core.links import Softmax
from gatewise.core.mixture import Measure, Mixture, leaf_weights, log_density
from gatewise.core.scores import Activated, Affine
from gatewise.theory.voronoi import LOSSES, Loss, all_powers, atoms, cell_errors, errors, voronoi_loss

ZERO = 1e-10
LOSS_OF = {
    "softmax": ["exact", "softmax", "softmax-sharp", "softmax-strong"],
    "laplace": ["exact", "laplace", "softmax-strong"],
    "constant": ["exact", "input-free"],
    "quadratic": ["exact", "softmax-strong"],
    "cosine": ["exact", "softmax-strong"],
    "perturbed-cosine": ["exact", "softmax-strong"],
    "dense-to-sparse": ["exact", "dense-to-sparse"],
    "relu-dense-to-sparse": ["exact", "dense-to-sparse"],
    "tanh-dense-to-sparse": ["exact", "activation-dense-to-sparse"],
    "activation-dense-to-sparse": ["exact", "activation-dense-to-sparse"],
    "normalised-sigmoid": ["normalised-sigmoid-sparse", "normalised-sigmoid-dense"],
    "sigmoid": ["sigmoid-regime-1", "sigmoid-regime-2"],
}
CASES = [(gate, loss) for gate, losses in LOSS_OF.items() for loss in losses]


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def softmax_measure(bias, weight, coef, intercept, scale):
    """A softmax measure with one input and one output."""
    gate = {"weight": tensor(weight)[..., None], "bias": tensor(bias)}
    experts = {"coef": tensor(coef)[..., None, None], "intercept": tensor(intercept)[..., None]}
    return Measure((gate,), experts, {"scale": tensor(scale)[..., None]})


def softmax(k):
    return Mixture((GATES["softmax"],), (k,))


def draw(mixture, d, seed, batch=()):
    """A measure in general position."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn((*batch, *shape), generator=g, dtype=torch.float64)

    k = mixture.branching[0]
    specs = mixture.gates[0].score.parameters(d)
    gate = {n: normal(*((k,) if s.per == "branch" else ()), *s.shape) for n, s in specs.items()}
    if "temperature" in gate:
        gate["temperature"] = 0.5 + gate["temperature"].abs()
    experts = {n: normal(k, 1, *s.shape) for n, s in mixture.expert.parameters(d).items()}
    return Measure(
        (gate,), experts, {n: 0.3 + normal(k, *s.shape).abs() for n, s in mixture.family.parameters(1).items()}
    )


def reorder(measure, index):
    def pick(name, value):
        return value if name == "temperature" else value[index]

    gate = {n: pick(n, v) for n, v in measure.gates[0].items()}
    return Measure(
        (gate,), {n: v[index] for n, v in measure.experts.items()}, {n: v[index] for n, v in measure.family.items()}
    )


def translated(mixture, measure):
    """The same mixture with the gate shifted in every way that changes nothing."""
    gate = dict(measure.gates[0])
    g = torch.Generator().manual_seed(5)
    for name in mixture.gates[0].translation():
        gate[name] = gate[name] + torch.randn(gate[name].shape[1:], generator=g, dtype=torch.float64)
    return measure._replace(gates=(gate,))


@pytest.mark.parametrize(("gate", "loss"), CASES)
@pytest.mark.parametrize("d", [1, 2])
def test_the_truth_in_any_order_and_translation_has_no_loss(gate, loss, d):
    mixture = Mixture((GATES[gate],), (3,))
    truth = draw(mixture, d, 1)
    other = reorder(translated(mixture, truth), [2, 0, 1])
    x = torch.randn(d, 30, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    torch.testing.assert_close(leaf_weights(mixture, other, x), leaf_weights(mixture, truth, x)[[2, 0, 1]])
    found = voronoi_loss(LOSSES[loss], mixture, other, mixture, truth)
    assert float(found.value) <= ZERO
    assert float(found.unweighted) <= ZERO
    if d > 1:  # the cosine of one input is a sign: its atoms may tie
        assert found.cells.tolist() == [2, 0, 1]
    assert not found.empty


@pytest.mark.parametrize(
    ("gate", "loss"), [(g, s) for g, s in CASES if "sigmoid" not in g and s not in ("sigmoid-regime-2",)]
)
def test_a_truth_with_a_split_atom_has_no_loss(gate, loss):
    truth_mixture, mixture = Mixture((GATES[gate],), (2,)), Mixture((GATES[gate],), (4,))
    truth = draw(truth_mixture, 2, 3)
    split = reorder(truth, [1, 0, 1, 1])
    share = log(0.2), 0.0, log(0.5), log(0.3)
    unit = split.gates[0].get("temperature", tensor(1.0))
    split.gates[0]["bias"] += unit * tensor(share)
    split = translated(mixture, split)
    found = voronoi_loss(LOSSES[loss], mixture, split, truth_mixture, truth)
    assert float(found.value) <= ZERO
    assert float(found.unweighted) <= ZERO
    assert found.sizes.tolist() == [1, 3]
    assert torch.allclose(cell_errors(found)["mass"].max, torch.zeros(2, dtype=torch.float64), atol=ZERO)


@pytest.mark.parametrize("loss", ["sigmoid-regime-1", "normalised-sigmoid-sparse"])
def test_a_split_sigmoid_atom_has_no_loss_in_the_sparse_regime(loss):
    gate = "sigmoid" if loss == "sigmoid-regime-1" else "normalised-sigmoid"
    truth = draw(Mixture((GATES[gate],), (2,)), 1, 3)
    split = reorder(truth, [0, 1, 1])
    half = torch.sigmoid(truth.gates[0]["bias"][1]) / 2
    split.gates[0]["bias"][1:] = torch.log(half / (1 - half))
    found = voronoi_loss(LOSSES[loss], Mixture((GATES[gate],), (3,)), split, Mixture((GATES[gate],), (2,)), truth)
    assert float(found.value) <= ZERO
    dense = voronoi_loss(
        LOSSES["sigmoid-regime-2"], Mixture((GATES[gate],), (3,)), split, Mixture((GATES[gate],), (2,)), truth
    )
    assert float(dense.value) == pytest.approx(
        float((split.gates[0]["bias"][1:] - truth.gates[0]["bias"][1]).abs().sum())
    )


TARGET = softmax_measure([-8.0, 0.0], [25.0, 0.0], [-20.0, 20.0], [15.0, -5.0], [0.3, 0.4])
DOUBLED = softmax_measure(
    [-8 + log(2), 0.0, 0.0], [25.0, 0.0, 0.0], [-20.0, 20.0, 20.0], [15.0, -5.0, -5.0], [0.3, 0.4, 0.4]
)


def test_the_published_formula_depends_on_the_anchor_and_the_infimum_does_not():
    moved = softmax_measure([-7.3, 0.7], [25.3, 0.3], [-20.0, 20.0], [15.0, -5.0], [0.3, 0.4])
    fixed = voronoi_loss(LOSSES["exact"], softmax(2), moved, softmax(2), TARGET, align=False)
    by_hand = exp(-7.3) - exp(-8) + exp(0.7) - 1 + 0.3 * (exp(-7.3) + exp(0.7))
    assert float(fixed.value) == pytest.approx(by_hand, abs=1e-12)
    assert round(by_hand, 3) == 1.618
    twice = voronoi_loss(LOSSES["softmax"], softmax(3), DOUBLED, softmax(2), TARGET, align=False)
    assert round(float(twice.value), 4) == 1.0003
    for k, measure in ((2, moved), (3, DOUBLED)):
        found = voronoi_loss(LOSSES["softmax"], softmax(k), measure, softmax(2), TARGET)
        assert float(found.value) <= ZERO
        assert float(found.unweighted) <= ZERO
    assert float(found.shift.bias) == pytest.approx(log(2))


FITTED = softmax_measure(
    [log(0.3), log(0.4), log(2.5)], [1.2, 0.9, -0.1], [2.1, 1.8, -1.0], [0.5, 0.2, 0.1], [0.6, 0.5, 1.1]
)
TRUE = softmax_measure([log(0.5), log(2.0)], [1.0, 0.0], [2.0, -1.0], [0.3, 0.0], [0.5, 1.0])
# masses .7 for .5 and 2.5 for 2; differences of gate, coef, intercept and VARIANCE of the atoms
MASS = 0.2 + 0.5
AWAY = [(0.2, 0.1, 0.2, 0.36 - 0.25), (0.1, 0.2, 0.1, 0.0), (0.1, 0.0, 0.1, 0.21)]
BY_HAND = {
    "exact": ((1, 1, 1, 1), 1),
    "softmax": ((4, 2, 4, 2), 1),
    "softmax-sharp": ((2, 2, 4, 2), 1),
    "softmax-strong": ((2, 2, 2, 2), 1),
    "dense-to-sparse": ((2, 2, 2, 2), 2),
}


@pytest.mark.parametrize("loss", BY_HAND)
def test_values_by_hand(loss):
    over, exact = BY_HAND[loss]
    terms = [sum(a**p for a, p in zip(atom, over, strict=True)) for atom in AWAY[:2]]
    terms.append(sum(a**exact for a in AWAY[2]))
    found = voronoi_loss(LOSSES[loss], softmax(3), FITTED, softmax(2), TRUE, align=False)
    assert found.cells.tolist() == [0, 0, 1]
    assert found.sizes.tolist() == [2, 1]
    assert float(found.value) == pytest.approx(MASS + 0.3 * terms[0] + 0.4 * terms[1] + 2.5 * terms[2], abs=1e-12)
    assert float(found.unweighted) == pytest.approx(MASS + sum(terms), abs=1e-12)


def test_values_by_hand_catch_a_standard_deviation(monkeypatch):
    monkeypatch.setitem(atoms.IN_VARIANCE, "scale", ("variance", lambda _, value: value))
    with pytest.raises(AssertionError):
        test_values_by_hand("exact")


def test_errors_of_single_parameters():
    found = voronoi_loss(LOSSES["softmax"], softmax(3), FITTED, softmax(2), TRUE, align=False)
    cells = cell_errors(found)
    assert cells["experts.coef"].mean.tolist() == pytest.approx([0.15, 0.0])
    assert cells["experts.intercept"].max.tolist() == pytest.approx([0.2, 0.1])
    assert cells["family.variance"].max.tolist() == pytest.approx([0.11, 0.21])
    assert cells["mass"].mean.tolist() == pytest.approx([0.2, 0.5])
    own = {name: float(value) for name, value in errors(found)["gates.0.weight"]._asdict().items()}
    assert own == pytest.approx({"exact_mean": 0.1, "exact_max": 0.1, "over_mean": 0.15, "over_max": 0.2})
    assert float(errors(found)["mass"].exact_mean) == pytest.approx(0.5)


def test_errors_are_taken_after_the_translation():
    moved = FITTED._replace(gates=({n: v + 3.0 for n, v in FITTED.gates[0].items()},))
    one, other = (voronoi_loss(LOSSES["softmax"], softmax(3), m, softmax(2), TRUE) for m in (FITTED, moved))
    assert float(other.shift.bias - one.shift.bias) == pytest.approx(3.0)
    for path, norm in one.differences.items():
        torch.testing.assert_close(other.differences[path], norm)
    assert float(one.value) < float(
        voronoi_loss(LOSSES["softmax"], softmax(3), FITTED, softmax(2), TRUE, align=False).value
    )


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        # sigmoid(0) = .5, sigmoid(log 3) = .75; the last cell is exactly filled, the first has two atoms
        ("sigmoid-regime-1", abs(0.5 + 0.75 - 0.5) + (0.1**2 + 0.2**2) + (0.3**2) + (0.2 + 0.1 + 0.1)),
        ("normalised-sigmoid-sparse", abs(0.5 + 0.75 - 0.5) + (0.1**2 + 0.2**2) + (0.3**2) + (0.2 + 0.1 + 0.1)),
        ("sigmoid-regime-2", (0.1 + 0.2) + (log(3) + 0.3) + (0.2 + 0.1 + 0.1)),
        ("normalised-sigmoid-dense", (0.1 + 0.2) + (log(3) + 0.3) + (0.2 + 0.1 + 0.1)),
    ],
)
def test_values_of_sigmoid_losses_by_hand(loss, expected):
    def measure(bias, weight, coef):
        gate = {"weight": tensor(weight)[:, None], "bias": tensor(bias)}
        return Measure((gate,), {"coef": tensor(coef)[:, None, None]}, {})

    def mixture(k):
        return Mixture((GATES["sigmoid"],), (k,), EXPERTS["tanh-no-bias"], MeanOnly())

    truth = measure([0.0, 1.0], [0.0, 4.0], [1.0, -2.0])
    fitted = measure([0.0, log(3), 1.2], [0.1, 0.0, 4.1], [1.2, 1.3, -2.1])
    found = voronoi_loss(LOSSES[loss], mixture(3), fitted, mixture(2), truth)
    assert float(found.value) == pytest.approx(expected, abs=1e-12)
    assert float(found.unweighted) == pytest.approx(expected, abs=1e-12)
    alone = measure([0.0, log(3), 1.2], [0.1, 0.0, 0.0], [1.2, 1.3, 1.0])
    lost = voronoi_loss(LOSSES[loss], mixture(3), alone, mixture(2), truth)
    assert bool(lost.empty)
    assert lost.mass[1] == pytest.approx(torch.sigmoid(tensor(1.0)))


def test_input_free_weights_are_shares():
    mixture = Mixture((GATES["constant"],), (2,))

    def measure(bias, coef):
        experts = {"coef": tensor(coef)[:, None, None], "intercept": torch.zeros(2, 1)}
        return Measure(({"bias": tensor(bias)},), experts, {"scale": torch.ones(2, 1)})

    fitted, truth = measure([log(3) + 7, 7.0], [1.0, -1.1]), measure([0.0, 0.0], [1.0, -1.0])
    found = voronoi_loss(LOSSES["input-free"], mixture, fitted, mixture, truth)
    assert float(found.value) == pytest.approx(0.25 + 0.25 + 0.25 * 0.1)


def test_an_empty_cell_costs_its_mass_and_is_flagged():
    near = softmax_measure([0.0, 0.0], [0.0, 0.0], [-1.0, -1.0], [0.0, 0.1], [1.0, 1.0])
    found = voronoi_loss(LOSSES["softmax"], softmax(2), near, softmax(2), TRUE, align=False)
    assert found.sizes.tolist() == [0, 2]
    assert bool(found.empty)
    assert float(found.value) == pytest.approx(0.5 + abs(2 - 2.0) + 0.1**4)
    cells = cell_errors(found)["experts.coef"]
    assert cells.mean.isnan().tolist() == [True, False]
    assert errors(found)["experts.coef"].exact_mean.isnan()
    assert float(cell_errors(found)["mass"].mean[0]) == pytest.approx(0.5)


def test_a_tie_goes_to_the_first_atom_and_is_counted():
    truth = softmax_measure([0.0, 0.0, 0.0], [0.0, 2.0, 4.0], [0.0] * 3, [0.0] * 3, [1.0] * 3)
    fitted = softmax_measure([0.0] * 4, [3.0, 1.0, 1.0 + 1e-6, 4.0], [0.0] * 4, [0.0] * 4, [1.0] * 4)
    found = voronoi_loss(LOSSES["exact"], softmax(4), fitted, softmax(3), truth, align=False)
    assert found.cells.tolist() == [1, 0, 1, 2]
    assert int(found.ties) == 2


def test_the_bias_is_no_part_of_the_distance():
    truth = softmax_measure([0.0, 5.0], [0.0, 1.0], [0.0, 0.0], [0.0, 0.0], [1.0, 1.0])
    fitted = softmax_measure([5.0, 0.0], [0.1, 0.9], [0.0, 0.0], [0.0, 0.0], [1.0, 1.0])
    found = voronoi_loss(LOSSES["exact"], softmax(2), fitted, softmax(2), truth, align=False)
    assert found.cells.tolist() == [0, 1]


def test_the_metric_decides_the_cells():
    # from the fitted atom: (3, 0) and (2, 2); norms 3 > sqrt(8), sums 3 < 4
    truth = softmax_measure([0.0, 0.0], [3.0, 2.0], [0.0, 2.0], [0.0, 0.0], [1.0, 1.0])
    fitted = softmax_measure([0.0, 0.0], [0.0, 2.0], [0.0, 2.0], [0.0, 0.0], [1.0, 1.0])
    cells = {
        metric: voronoi_loss(
            LOSSES["exact"], softmax(2), fitted, softmax(2), truth, metric=metric, align=False
        ).cells.tolist()
        for metric in ("euclidean", "sum")
    }
    assert cells == {"euclidean": [1, 1], "sum": [0, 1]}
    shifted = voronoi_loss(LOSSES["softmax"], softmax(3), DOUBLED, softmax(2), TARGET, metric="sum")
    assert float(shifted.value) <= ZERO


def test_coinciding_true_atoms_are_one():
    twice = reorder(TRUE, [0, 1, 1])
    twice.gates[0]["bias"][1:] = tensor([log(0.5), log(1.5)])
    one = voronoi_loss(LOSSES["softmax"], softmax(3), FITTED, softmax(2), TRUE)
    other = voronoi_loss(LOSSES["softmax"], softmax(3), FITTED, softmax(3), twice)
    assert float(other.value) == pytest.approx(float(one.value), abs=1e-12)
    assert other.sizes.tolist() == [2, 1, -1]
    assert not bool(other.empty)
    assert cell_errors(other)["experts.coef"].mean.isnan().tolist() == [False, False, True]
    sigmoid = Mixture((GATES["sigmoid"],), (3,))
    with pytest.raises(ValueError, match="true atoms 1 and 2 coincide"):
        voronoi_loss(LOSSES["sigmoid-regime-1"], sigmoid, FITTED, sigmoid, twice)


@pytest.mark.parametrize(
    ("gate", "weight", "bias", "temperature"),
    [
        ("dense-to-sparse", 2.5, 2.5, 2.5),
        ("relu-dense-to-sparse", 2.5, 2.5, 2.5),
        ("cosine", tensor([[0.3], [4.0], [1.5]]), 1.0, None),
        (Gate(Activated(Affine(), "sigmoid"), Softmax()), 1.0, 1.0, None),
    ],
)
def test_scales_that_no_data_identify_are_taken_off(gate, weight, bias, temperature):
    mixture = Mixture((GATES.get(gate, gate),), (3,))
    truth = draw(mixture, 2, 8)
    gates = dict(truth.gates[0])
    gates |= {"weight": gates["weight"] * weight, "bias": gates["bias"] * bias}
    if temperature:
        gates["temperature"] = gates["temperature"] * temperature
    scaled = truth._replace(gates=(gates,))
    x = torch.randn(2, 20, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    torch.testing.assert_close(leaf_weights(mixture, scaled, x), leaf_weights(mixture, truth, x))
    assert float(voronoi_loss(LOSSES["exact"], mixture, scaled, mixture, truth).value) <= ZERO


def test_a_temperature_that_is_identified_counts():
    mixture = Mixture((GATES["tanh-dense-to-sparse"],), (3,))
    truth = draw(mixture, 2, 8)
    gates = {**truth.gates[0], "temperature": truth.gates[0]["temperature"] + 0.1}
    found = voronoi_loss(LOSSES["exact"], mixture, truth._replace(gates=(gates,)), mixture, truth)
    assert float(errors(found)["gates.0.temperature"].exact_mean) == pytest.approx(0.1)
    assert float(found.value) > 0.05


@pytest.mark.parametrize("gate", ["tanh-dense-to-sparse", "activation-dense-to-sparse", "cosine", "perturbed-cosine"])
def test_two_atoms_of_an_odd_score_have_a_mirror_image(gate):
    mixture = Mixture((GATES[gate],), (2,))
    truth = draw(mixture, 2, 4)
    gates = {**truth.gates[0], "weight": -truth.gates[0]["weight"].flip(0)}
    image = truth._replace(gates=(gates,))
    x = torch.randn(2, 20, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    y = torch.zeros(1, 20, dtype=torch.float64)
    torch.testing.assert_close(log_density(mixture, image, x, x, y), log_density(mixture, truth, x, x, y))
    found = voronoi_loss(LOSSES["exact"], mixture, image, mixture, truth)
    assert float(found.value) <= ZERO
    assert bool(found.shift.mirrored)
    split = reorder(image, [0, 1, 1])
    split.gates[0]["bias"][1:] += split.gates[0].get("temperature", tensor(1.0)) * log(0.5)
    found = voronoi_loss(LOSSES["exact"], Mixture((GATES[gate],), (3,)), split, mixture, truth)
    assert float(found.value) <= ZERO


def test_gelu_and_three_atoms_have_no_mirror_image():
    for gate, k in (("gelu-dense-to-sparse", 2), ("tanh-dense-to-sparse", 3)):
        mixture = Mixture((GATES[gate],), (k,))
        truth = draw(mixture, 2, 4)
        gates = {**truth.gates[0], "weight": -truth.gates[0]["weight"].flip(0)}
        found = voronoi_loss(LOSSES["exact"], mixture, truth._replace(gates=(gates,)), mixture, truth)
        assert float(found.value) > 0.1


def test_covariances_are_compared_not_their_factors():
    mixture = Mixture((GATES["softmax"],), (2,), family=FAMILIES["full-gaussian"])
    family = {"cholesky": tensor([[1.0, 0.5, 2.0], [1.0, 0.0, 1.0]])}
    experts = {"coef": tensor([[[1.0], [0.0]], [[-1.0], [0.0]]]), "intercept": torch.zeros(2, 2)}
    truth = Measure(({"weight": tensor([[1.0], [0.0]]), "bias": torch.zeros(2)},), experts, family)
    flipped = truth._replace(family={"cholesky": tensor([[-1.0, -0.5, 2.0], [1.0, 0.0, -1.0]])})
    assert float(voronoi_loss(LOSSES["exact"], mixture, flipped, mixture, truth).value) <= ZERO


def test_a_batch_is_a_loop_over_its_members():
    g = torch.Generator().manual_seed(3)
    batch = FITTED.map(lambda v: v + 1.2 * torch.randn((2, 30, *v.shape), generator=g, dtype=torch.float64))
    together = voronoi_loss(LOSSES["softmax"], softmax(3), batch, softmax(2), TRUE)
    assert together.value.shape == (2, 30)
    assert together.cells.shape == (2, 30, 3)
    assert len(torch.unique(together.sizes.flatten(0, 1), dim=0)) > 1
    for place in ((0, 0), (0, 29), (1, 7), (1, 21)):
        member = batch.map(itemgetter(place))
        alone = voronoi_loss(LOSSES["softmax"], softmax(3), member, softmax(2), TRUE)
        assert float(alone.value) == pytest.approx(float(together.value[place]), abs=1e-12)
        assert float(alone.unweighted) == pytest.approx(float(together.unweighted[place]), abs=1e-12)
        assert alone.cells.tolist() == together.cells[place].tolist()


def test_a_measure_that_is_not_finite_has_no_loss():
    batch = FITTED.map(lambda v: torch.stack([v, v]))
    batch.experts["intercept"][1, 1] = torch.nan
    found = voronoi_loss(LOSSES["exact"], softmax(3), batch, softmax(2), TRUE)
    assert found.value.isnan().tolist() == [False, True]
    for path in ("weight", "bias"):
        alone = FITTED.map(torch.clone)
        alone.gates[0][path][0] = torch.inf
        assert voronoi_loss(LOSSES["exact"], softmax(3), alone, softmax(2), TRUE).value.isnan()


def test_four_atoms_of_one_need_an_order():
    truth = softmax_measure([0.0], [0.0], [1.0], [0.0], [1.0])
    fitted = softmax_measure([0.0] * 4, [0.0] * 4, [1.0] * 4, [0.0, 0.0, 0.0, 0.5], [1.0] * 4)
    with pytest.raises(ValueError, match=r"rbar\(4\) is not published"):
        voronoi_loss(LOSSES["softmax"], softmax(4), fitted, softmax(1), truth)
    with pytest.raises(ValueError, match="contradicts"):
        voronoi_loss(LOSSES["softmax"], softmax(4), fitted, softmax(1), truth, rbar=6)
    found = voronoi_loss(LOSSES["softmax"], softmax(4), fitted, softmax(1), truth, rbar=8, align=False)
    assert float(found.unweighted) == pytest.approx(3 + 0.5**8)
    voronoi_loss(LOSSES["softmax-strong"], softmax(4), fitted, softmax(1), truth)


def test_errors_in_words():
    laplace = Mixture((GATES["laplace"],), (2,))
    with pytest.raises(ValueError, match="same parameters"):
        voronoi_loss(LOSSES["exact"], softmax(2), TRUE, laplace, draw(laplace, 1, 1))
    with pytest.raises(ValueError, match=r"'laplace' does not cover gates\.0\.weight"):
        voronoi_loss(LOSSES["laplace"], softmax(2), TRUE, softmax(2), TRUE)
    with pytest.raises(ValueError, match="2 fitted atoms for 3 true ones"):
        voronoi_loss(LOSSES["exact"], softmax(2), TRUE, softmax(3), FITTED)
    with pytest.raises(ValueError, match="metric='cosine' is unknown"):
        voronoi_loss(LOSSES["exact"], softmax(2), TRUE, softmax(2), TRUE, metric="cosine")
    with pytest.raises(ValueError, match="is about sigmoid gates"):
        voronoi_loss(LOSSES["sigmoid-regime-1"], softmax(2), TRUE, softmax(2), TRUE)
    with pytest.raises(ValueError, match="one truth at a time"):
        voronoi_loss(LOSSES["exact"], softmax(2), TRUE, softmax(2), TRUE.map(lambda v: v[None]))
    two = Mixture((GATES["softmax"],) * 2, (2, 2))
    with pytest.raises(ValueError, match="use hierarchical_loss"):
        voronoi_loss(LOSSES["exact"], two, TRUE, two, TRUE)
    square = Mixture((Gate(Activated(Affine(), "square"), Softmax()),), (2,))
    with pytest.raises(ValueError, match="same for w and -w"):
        voronoi_loss(LOSSES["exact"], square, TRUE, square, TRUE)
    with pytest.raises(ValueError, match="mass='log' is unknown"):
        Loss("mine", mass="log")
    with pytest.raises(ValueError, match="known up to a shift"):
        Loss("mine", bias="all")
    with pytest.raises(ValueError, match="r >= 1"):
        all_powers(0.5)
