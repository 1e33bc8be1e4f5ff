"""Heads: figures against their definitions written out, losses against their formulas, what is undefined says so."""

from itertools import product

import numpy as np
import pytest
import torch

from gatewise.experiments.heads import BINARY, MULTI_CLASS, MULTI_LABEL, REGRESSION, combined


def by_pairs(truth, score):
    """The share of pairs of a true and a false row that are in order, ties half."""
    pairs = list(product(score[truth == 1], score[truth == 0]))
    return np.mean([(a > b) + 0.5 * (a == b) for a, b in pairs])


def precision(truth, score):
    """The mean precision at the ranks of the true rows."""
    order = truth[np.argsort(-score)]
    return np.mean((np.cumsum(order) / np.arange(1, len(order) + 1))[order == 1])


def balance(truth, guess):
    hits = (truth * guess).sum()
    return 2 * hits / (truth.sum() + guess.sum())


@pytest.mark.parametrize("labels", [1, 25])
def test_figures_of_labels(labels):
    generator = torch.Generator().manual_seed(0)
    y = (torch.rand(80, labels, generator=generator) < 0.3).float()
    scores = torch.randn(80, labels, generator=generator) + y
    found = (BINARY if labels == 1 else MULTI_LABEL).measures(scores, y)
    truth, given = y.numpy(), scores.numpy()
    assert found["auroc"] == pytest.approx(np.mean([by_pairs(truth[:, c], given[:, c]) for c in range(labels)]))
    assert found["auprc"] == pytest.approx(np.mean([precision(truth[:, c], given[:, c]) for c in range(labels)]))
    assert found["f1"] == pytest.approx(np.mean([balance(truth[:, c], given[:, c] > 0) for c in range(labels)]))


def test_labels_with_one_value_are_left_out_and_none_left_is_an_error():
    y = torch.tensor([[0.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    scores = torch.tensor([[-1.0, 0.0, 0.0], [2.0, 0.0, 0.0], [0.5, 0.0, 0.0]])
    found = MULTI_LABEL.measures(scores, y)
    assert found == pytest.approx({"auroc": 1.0, "auprc": 1.0, "f1": 2 / 3})
    with pytest.raises(ValueError, match=r"none of 2 labels has both values in the 3 rows .* AUROC is undefined"):
        MULTI_LABEL.measures(scores[:, 1:], y[:, 1:])


def test_figures_of_classes():
    generator = torch.Generator().manual_seed(1)
    y = torch.randint(3, (60,), generator=generator)
    scores = torch.randn(60, 3, generator=generator) + 2 * torch.nn.functional.one_hot(y, 3)
    found = MULTI_CLASS.measures(scores, y)
    truth = [(y == c).numpy().astype(int) for c in range(3)]
    guess = [(scores.argmax(1) == c).numpy().astype(int) for c in range(3)]
    probability = scores.softmax(1).numpy()
    assert found["accuracy"] == pytest.approx(float((scores.argmax(1) == y).float().mean()))
    assert found["f1"] == pytest.approx(np.mean([balance(*pair) for pair in zip(truth, guess, strict=True)]))
    assert found["auroc"] == pytest.approx(np.mean([by_pairs(truth[c], probability[:, c]) for c in range(3)]))


def test_models_are_chosen_by_accuracy_and_auroc():
    generator = torch.Generator().manual_seed(2)
    y, scores = torch.randint(3, (60,), generator=generator), torch.randn(60, 3, generator=generator)
    assert MULTI_CLASS.score(scores, y) == MULTI_CLASS.measures(scores, y)["accuracy"]
    assert 0.0 < MULTI_CLASS.score(scores, y) < 1.0
    truth = torch.nn.functional.one_hot(y, 3)
    assert MULTI_LABEL.score(scores, truth) == MULTI_LABEL.measures(scores, truth)["auroc"]


def test_a_class_that_no_row_has_counts_in_no_mean():
    y, scores = torch.tensor([0, 1, 0, 1]), 5 * torch.eye(3)[[0, 1, 0, 1]]
    assert MULTI_CLASS.measures(scores, y) == {"accuracy": 1.0, "auroc": 1.0, "f1": 1.0}


def test_figures_of_numbers():
    y, scores = torch.tensor([[0.0], [1.0], [5.0]]), torch.tensor([[1.0], [1.0], [3.0]])
    found = REGRESSION.measures(scores, y)
    assert found["mae"] == pytest.approx(1.0)
    assert found["correlation"] == pytest.approx(np.corrcoef([0, 1, 5], [1, 1, 3])[0, 1])
    assert REGRESSION.score(scores, y) == pytest.approx(-1.0)
    assert REGRESSION.measures(torch.ones(3, 1), y)["correlation"] == 0.0


def test_losses_are_the_negative_log_likelihoods():
    scores = torch.tensor([[2.0, -1.0]])
    p = 1 / (1 + np.exp([-2.0, 1.0]))
    assert float(MULTI_LABEL.loss(scores, torch.tensor([[1, 0]]))) == pytest.approx(
        -(np.log(p[0]) + np.log(1 - p[1])) / 2, rel=1e-6
    )
    assert float(MULTI_CLASS.loss(scores, torch.tensor([1]))) == pytest.approx(np.log(1 + np.exp(3.0)), rel=1e-6)
    assert float(REGRESSION.loss(scores, torch.tensor([[0.0, 1.0]]))) == pytest.approx(4.0)


def test_models_are_combined_over_those_that_take_part():
    scores = torch.tensor([[[1.0, 0.0], [3.0, 1.0]], [[5.0, 2.0], [float(7), 9.0]]])
    there = torch.tensor([[True, True], [True, False]])
    assert combined(MULTI_LABEL, scores, there).tolist() == [[3.0, 1.0], [3.0, 1.0]]
    logs = scores.log_softmax(-1)
    wanted = torch.stack([logs[:, 0].mean(0), logs[0, 1]])
    assert torch.allclose(combined(MULTI_CLASS, scores, there), wanted)
