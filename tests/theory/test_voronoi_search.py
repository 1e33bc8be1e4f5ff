"""The translation that is found against brute force, written a second time in plain loops."""

from math import exp
from operator import itemgetter

import pytest
import torch

from gatewise.core.gates import GATES
from gatewise.core.mixture import Measure, Mixture
from gatewise.theory.voronoi import LOSSES, align, median, pairs, voronoi_loss

ORDER = {1: 1, 2: 4, 3: 6, 4: 7}
POWERS = {  # of gate, coef, intercept, variance in over-filled cells of m atoms
    "exact": lambda m: (1, 1, 1, 1),
    "softmax": lambda m: (ORDER[m], ORDER[m] / 2, ORDER[m], ORDER[m] / 2),
    "softmax-sharp": lambda m: (2, 2, ORDER[m], ORDER[m] / 2),
    "softmax-strong": lambda m: (2, 2, 2, 2),
}
SAME = 1e-9


def softmax(k):
    return Mixture((GATES["softmax"],), (k,))


def draw(k, seed, d=1, batch=(), near=None, spread=0.3):
    """A softmax measure in general position, or around copies of the atoms of another one."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn((*batch, k, *shape), generator=g, dtype=torch.float64)

    if near is not None:
        index = torch.arange(k) % near.gates[0]["bias"].shape[-1]
        moved = near.map(lambda v: v[index] + spread * normal(*v.shape[1:]))
        return moved._replace(family={"scale": moved.family["scale"].abs() + 0.05})
    gate = {"weight": normal(d), "bias": normal()}
    return Measure((gate,), {"coef": normal(1, d), "intercept": normal(1)}, {"scale": normal(1).abs() + 0.3})


def atoms_of(measure):
    """Bias and the four locations of every atom with one input, as numbers."""
    gate, expert = measure.gates[0], measure.experts
    return [
        (float(b), (float(w), float(a), float(c), float(s) ** 2))
        for b, w, a, c, s in zip(
            gate["bias"], gate["weight"][:, 0], expert["coef"][:, 0, 0], expert["intercept"][:, 0],
            measure.family["scale"][:, 0], strict=True,
        )
    ]  # fmt: skip


def loss_at(name, fitted, truth, t0, t1, weighted=True):
    """The loss after taking (t0, t1) off the fitted gates, and whether some cell has at least its true mass."""
    moved = [(b - t0, (w - t1, *rest)) for b, (w, *rest) in fitted]
    cells = []
    for _, theta in moved:
        away = [sum((p - q) ** 2 for p, q in zip(theta, other, strict=True)) for _, other in truth]
        cells.append(away.index(min(away)))
    total, enough = 0.0, False
    for j, (bias, other) in enumerate(truth):
        members = [moved[i] for i, cell in enumerate(cells) if cell == j]
        mass = sum(exp(b) for b, _ in members)
        total += abs(mass - exp(bias))
        enough = enough or mass >= exp(bias)
        powers = POWERS[name](len(members)) if len(members) > 1 else (1, 1, 1, 1)
        for b, theta in members:
            term = sum(abs(p - q) ** e for p, q, e in zip(theta, other, powers, strict=True))
            total += term * (exp(b) if weighted else 1.0)
    return total, enough


@pytest.mark.parametrize("name", POWERS)
@pytest.mark.parametrize("k", [2, 3, 4])
@pytest.mark.parametrize("spread", [0.1, 1.0])
def test_no_translation_on_a_grid_is_better(name, k, spread):
    truth = draw(2, 10 + k)
    fitted = draw(k, 20 + k, near=truth, spread=spread)
    found = voronoi_loss(LOSSES[name], softmax(k), fitted, softmax(2), truth)
    own, true = atoms_of(fitted), atoms_of(truth)
    t0, t1 = float(found.shift.bias), float(found.shift.locations["gates.0.weight"])
    # on the edge of cells the infimum is that of one side, and rounding decides which one the loops are on
    here = min(loss_at(name, own, true, t0, t1 + nudge)[0] for nudge in (0.0, 1e-9, -1e-9))
    assert here == pytest.approx(float(found.value), abs=1e-7)
    wide = [t1 + 0.1 * i for i in range(-40, 41)] + [t1 + 3e-4 * i for i in range(-10, 11)]
    for other in wide:
        for shift in [t0 + 0.2 * i for i in range(-10, 11)] + [t0 + 1e-3 * i for i in range(-5, 6)]:
            value, enough = loss_at(name, own, true, shift, other)
            assert not enough or value >= float(found.value) - SAME


@pytest.mark.parametrize("spread", [0.1, 1.0])
def test_the_unweighted_loss_has_its_own_infimum(spread):
    truth = draw(2, 31)
    fitted = draw(3, 32, near=truth, spread=spread)
    found = voronoi_loss(LOSSES["softmax-sharp"], softmax(3), fitted, softmax(2), truth)
    own, true = atoms_of(fitted), atoms_of(truth)
    t0, t1 = float(found.shift.bias), float(found.shift.locations["gates.0.weight"])
    least = float("inf")
    for other in [t1 + 0.01 * i for i in range(-200, 201)]:
        for shift in [t0 + 0.1 * i for i in range(-20, 21)]:
            value, enough = loss_at("softmax-sharp", own, true, shift, other, weighted=False)
            least = min(least, value) if enough else least
    assert float(found.unweighted) - SAME <= least <= float(found.unweighted) + 0.1


def compared(d, k, truths, spread, seed):
    """Fits around a truth as the search sees them, the losses it found, and the least of many random shifts."""
    seen = []
    truth = draw(truths, seed, d)
    fitted = draw(k, seed + 1, d, (60,), truth, spread)
    search = align.best_shift

    def spy(some):
        seen.append((some, search(some)))
        return seen[-1][1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gatewise.theory.voronoi.compare.best_shift", spy)
        voronoi_loss(LOSSES["softmax-sharp"], softmax(k), fitted, softmax(truths), truth)
    some, t = seen[0]
    g = torch.Generator().manual_seed(seed)
    length = 4 * torch.rand(1, 3000, 1, generator=g, dtype=torch.float64) ** 4
    others = t[:, None] + length * torch.randn(60, 3000, d, generator=g, dtype=torch.float64)
    return pairs.try_shifts(some, t[:, None]).value[:, 0], pairs.try_shifts(some, others).value.amin(1)


@pytest.mark.parametrize(("d", "k", "truths"), [(1, 3, 2), (1, 4, 3), (2, 3, 2), (2, 4, 3), (3, 4, 2), (5, 3, 3)])
def test_no_random_shift_is_better_near_the_truth(d, k, truths):
    found, other = compared(d, k, truths, 0.1, 40 + d)
    assert bool((found <= other + SAME).all())


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_with_one_input_no_shift_is_better_anywhere(seed):
    found, other = compared(1, 4, 3, 2.0, 50 + seed)
    assert bool((found <= other + 1e-7 * found).all())


def test_the_brute_force_notices_a_worse_median(monkeypatch):
    def mean(points, weight, power):
        return (weight[..., None] * points).sum(1) / weight.sum(1, keepdim=True)

    monkeypatch.setattr(align, "power_median", mean)
    monkeypatch.setattr(align, "POLLS", 0)
    found, other = compared(2, 4, 3, 0.1, 42)
    assert not bool((found <= other + SAME).all())


def test_the_brute_force_notices_masses_that_are_not_rescaled(monkeypatch):
    kept = pairs._best_factor

    def one(some, inside, spread, counted):
        return kept(some._replace(factor=False), inside, spread, counted)

    monkeypatch.setattr(pairs, "_best_factor", one)
    with pytest.raises(AssertionError):
        test_no_translation_on_a_grid_is_better("softmax", 3, 0.1)


@pytest.mark.parametrize("power", [1.0, 1.5, 2.0, 4.0])
def test_the_median_of_powers_is_stationary(power):
    g = torch.Generator().manual_seed(7)
    points = torch.randn(50, 5, 3, generator=g, dtype=torch.float64)
    weight = torch.rand(50, 5, generator=g, dtype=torch.float64)
    powers = torch.full_like(weight, power)
    t = median.power_median(points, weight, powers)
    around = t[:, None] + 1e-4 * torch.randn(50, 200, 3, generator=g, dtype=torch.float64)
    least = median.cost(t[:, None], points, weight, powers)
    assert bool((median.cost(around, points, weight, powers) >= least - 1e-13).all())
    if power == 2:
        torch.testing.assert_close(t, (weight[..., None] * points).sum(1) / weight.sum(1, keepdim=True))


def test_a_mass_that_vanishes_is_no_optimum():
    # far away the loss of an empty measure, exp(0) + exp(0) = 2, would be smaller
    truth = draw(2, 3)
    truth.gates[0]["bias"][:] = 0.0
    far = truth._replace(experts={**truth.experts, "intercept": truth.experts["intercept"] + 100.0})
    found = voronoi_loss(LOSSES["exact"], softmax(2), far, softmax(2), truth)
    assert float(found.value) > 50
    assert float((found.mass <= 1e-12).sum()) >= 1


def test_masses_of_any_size():
    truth = draw(2, 3)
    for shift in (-2000.0, 2000.0):
        gate = {**truth.gates[0], "bias": truth.gates[0]["bias"] + shift}
        found = voronoi_loss(LOSSES["exact"], softmax(2), truth._replace(gates=(gate,)), softmax(2), truth)
        assert float(found.value) <= 1e-10
        assert float(found.shift.bias) == pytest.approx(shift)


def test_an_atom_without_mass_does_not_matter_to_the_weighted_loss():
    truth = draw(2, 3)
    fitted = truth.map(itemgetter([0, 1, 0]))
    fitted.gates[0]["bias"][2] = -700.0
    fitted.experts["intercept"][2] += 30.0
    found = voronoi_loss(LOSSES["softmax"], softmax(3), fitted, softmax(2), truth)
    assert float(found.value) < 1e-10
    assert float(found.unweighted) > 1.0


@pytest.mark.parametrize("seed", range(4))
def test_a_loss_above_the_mass_of_the_truth_says_that_mass_could_vanish(seed):
    """Biases shifted to minus infinity leave the mass of the truth: less than the loss of a fit far away."""
    truth = draw(2, seed, d=3)
    mass = float(truth.gates[0]["bias"].exp().sum())
    far = truth.map(lambda v: v.clone())
    far.experts["coef"][:] += 20.0
    near = truth.map(lambda v: v + 1e-3)
    both = Measure(
        ({k: torch.stack([m.gates[0][k] for m in (far, near)]) for k in far.gates[0]},),
        {k: torch.stack([m.experts[k] for m in (far, near)]) for k in far.experts},
        {"scale": torch.stack([far.family["scale"], near.family["scale"]])},
    )
    found = voronoi_loss(LOSSES["exact"], softmax(2), both, softmax(2), truth)
    assert found.vanishing.tolist() == [True, False]
    assert float(found.value[0]) > mass > float(found.value[1])
    for t0 in (20.0, 40.0):  # the published infimum is the mass of the truth
        moved = far._replace(gates=({**far.gates[0], "bias": far.gates[0]["bias"] - t0},))
        gone = voronoi_loss(LOSSES["exact"], softmax(2), moved, softmax(2), truth, align=False)
        assert float(gone.value) == pytest.approx(mass, abs=100 * exp(-t0) * mass)
        assert not bool(gone.vanishing)
