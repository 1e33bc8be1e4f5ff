"""Merging atoms: split atoms come back, masses and means are kept, order and translation do not matter."""

import pytest
import torch

from gatewise.core.gates import GATES
from gatewise.core.mixture import Measure, Mixture
from gatewise.theory.dendrogram import dendrogram
from gatewise.theory.voronoi import LOSSES, voronoi_loss


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


TWO, THREE = Mixture((GATES["softmax"],), (2,)), Mixture((GATES["softmax"],), (3,))
TRUTH = Measure(
    ({"weight": tensor([[1.5], [0.0]]), "bias": tensor([0.3, 0.0])},),
    {"coef": tensor([[[1.5]], [[-1.0]]]), "intercept": tensor([[1.0], [-1.0]])},
    {"scale": tensor([[0.5], [0.7]])},
)


def split(share=0.25, gap=0.01):
    """The truth with its second atom split in two, `gap` to either side in the intercept, so that the mean is kept."""
    move = tensor([0.0, gap / share, -gap / (1 - share)])
    bias = tensor([0.3, 0.0, 0.0]) + torch.log(tensor([1.0, share, 1 - share]))
    pick = torch.tensor([0, 1, 1])
    whole = TRUTH.map(lambda v: v[pick])
    gates = ({"weight": whole.gates[0]["weight"], "bias": bias},)
    experts = {"coef": whole.experts["coef"], "intercept": whole.experts["intercept"] + move[:, None]}
    return Measure(gates, experts, whole.family).map(lambda v: v.unsqueeze(0))


def loss(tree, count):
    return float(voronoi_loss(LOSSES["exact"], *tree.at(count), TWO, TRUTH).value)


def test_a_split_atom_comes_back():
    tree = dendrogram(THREE, split())
    assert loss(tree, 3) > 0.01
    assert loss(tree, 2) == pytest.approx(0, abs=1e-12)
    assert [m.branching[0] for m in tree.mixtures] == [3, 2, 1]
    # mass p = e^0 / (e^0.3 + e^0) of the atom, halves 1/4 and 3/4 of it, 4/3 * .01 / .25 apart
    mass = 1 / (1 + torch.exp(tensor(0.3)))
    assert float(tree.heights[0, 0]) == pytest.approx(float(mass) * 0.1875 * (0.01 / 0.25 + 0.01 / 0.75) ** 2)


def test_order_and_translation_do_not_matter():
    one = split()
    turned = one.map(lambda v: v[:, torch.tensor([2, 0, 1])])
    turned.gates[0]["bias"].add_(0.7)
    turned.gates[0]["weight"].add_(0.3)
    trees = dendrogram(THREE, one), dendrogram(THREE, turned)
    assert trees[0].heights == pytest.approx(trees[1].heights)
    assert loss(trees[1], 2) == pytest.approx(0, abs=1e-12)
    level = trees[1].measures[2].gates[0]["bias"] - trees[0].measures[2].gates[0]["bias"]
    assert float(level[0, 0]) == pytest.approx(0.7)


def test_members_of_a_batch_are_merged_alone():
    several = [split(0.25), split(0.5, 0.3), split(0.75, 0.02)]
    whole = Measure(
        ({k: torch.cat([m.gates[0][k] for m in several]) for k in ("weight", "bias")},),
        {k: torch.cat([m.experts[k] for m in several]) for k in ("coef", "intercept")},
        {"scale": torch.cat([m.family["scale"] for m in several])},
    )
    heights = dendrogram(THREE, whole).heights
    assert heights.tolist() == [dendrogram(THREE, m).heights[0].tolist() for m in several]


def test_the_criterion_weighs_height_against_likelihood():
    tree = dendrogram(THREE, split())
    found = tree.criterion(tensor([[-1.0, -1.1]]), 100)
    expected = -(tree.heights + 4.605170185988092 * tensor([[-1.0, -1.1]]))
    assert found == pytest.approx(expected)


def test_what_has_no_dendrogram_is_refused():
    with pytest.raises(ValueError, match="one level"):
        dendrogram(Mixture((GATES["softmax"],) * 2, (2, 2)), split())
    with pytest.raises(ValueError, match="nothing shared"):
        dendrogram(Mixture((GATES["dense-to-sparse"],), (3,)), split())
