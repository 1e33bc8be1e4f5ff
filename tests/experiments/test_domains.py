"""Latent domains on generated rows: groups are found, baselines use what they are told, nothing else is."""

from functools import cache

import numpy as np
import pytest
import torch

from gatewise.data.views import Recordings
from gatewise.experiments.domains import compare, sets
from gatewise.experiments.domains.compare import BLANK, DOMAINS, FOUND, HELD, begin_at_clusters
from gatewise.experiments.domains.sets import DomainRows
from gatewise.experiments.experiment import Job
from gatewise.experiments.train import seeded


def generated(folder=None):
    """Three far clouds whose classes lie on sides of their own."""
    rng = np.random.default_rng(0)
    domain = np.repeat([0, 1, 2], 150)
    centers = 6 * np.eye(3, 5)
    x = centers[domain] + rng.normal(size=(450, 5))
    turned = np.stack([x[:, 4], -x[:, 4], x[:, 3]], 1)[np.arange(450), domain] + 0.1 * rng.normal(size=450)
    return DomainRows(
        torch.tensor(x, dtype=torch.float32), torch.tensor((turned > 0).astype(int)), torch.tensor(domain)
    )


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setitem(compare.SETS, "digits", generated)
    monkeypatch.setattr(compare, "EPOCHS", 25)


@cache
def result(gate, how=FOUND, seed=0):
    return compare.run(Job(f"digits: {how}", gate, seed, 3e-2))


@pytest.mark.parametrize("gate", ["ss", "ll"])
def test_groups_are_found_without_labels_and_help(gate):
    found = result(gate)
    assert found["ari"] > 0.95
    assert found["moved"]
    assert found["accuracy"] > result("pooled")["accuracy"] + 0.1
    assert found["ari_begun"] > 0.95
    assert np.array(found["routing"]).sum() == 68


def test_known_domains_are_used_by_those_that_are_told():
    assert result("known domain")["accuracy"] > result("pooled")["accuracy"] + 0.1


@pytest.mark.parametrize("gate", compare.BASELINES)
def test_baselines_learn(gate):
    found = result(gate)
    assert found["accuracy"] > 0.5
    assert "ari" not in found


def test_a_gate_may_begin_anywhere():
    assert 0.0 <= result("ll", BLANK)["nmi"] <= 1.0


def test_a_held_out_domain_is_not_trained_on(monkeypatch):
    seen = []
    right = compare._fit
    monkeypatch.setattr(
        compare, "_fit", lambda job, data, rows, how: seen.append((data, rows)) or right(job, data, rows, how)
    )
    found = result.__wrapped__("ss", HELD)
    assert len(found["by_fold"]) == 3
    for fold, (data, rows) in enumerate(seen):
        assert set(data.domain[rows.test].tolist()) == {fold}
        assert fold not in set(data.domain[torch.cat([rows.train, rows.validation])].tolist())


def test_the_penalty_of_irm_vanishes_where_one_factor_suits_all_domains():
    data = generated()
    rows = torch.arange(450)
    scores = torch.zeros(450, 2)
    assert float(compare._irm(scores, data, rows)) == 0.0
    wrong = torch.nn.functional.one_hot(1 - data.y, 2) * 3.0
    assert float(compare._irm(wrong, data, rows)) > 1.0


def test_the_slope_is_the_derivative_in_a_factor():
    scores, y = torch.randn(7, 3), torch.randint(3, (7,))
    factor = torch.ones((), requires_grad=True)
    (wanted,) = torch.autograd.grad(torch.nn.functional.cross_entropy(factor * scores, y), factor)
    assert float(compare._slope(scores, y)) == pytest.approx(float(wanted), rel=1e-5)


def test_the_start_uses_no_label():
    data = generated()
    gates = []
    for y in (data.y, 1 - data.y):
        generator = seeded(0, 0)
        model = compare._model("ll", data._replace(y=y))
        begin_at_clusters(model, data.x, 0, generator, 20)
        gates.append(model.layer.router.gates[0].center.detach())
    assert torch.equal(*gates)


def test_two_runs_with_one_seed_are_equal():
    assert result("sl") == result.__wrapped__("sl")
    assert result("sl") != result("sl", seed=1)


def test_windows_of_the_watch(monkeypatch):
    series = [np.random.default_rng(i).normal(size=(250 + i, 6)) for i in range(4)]
    monkeypatch.setattr(sets, "BLOCK", 1)
    label, wearer, side = np.array([0, 1, 0, 1]), np.array([3, 3, 9, 9]), np.zeros(4)
    found = Recordings(series, label, wearer, side, tuple("abcdef"), ("0", "1"))
    monkeypatch.setattr(sets, "watch", lambda folder: found)
    rows = sets.wearers(None)
    assert rows.x.shape == (8, 30)
    assert rows.domain.tolist() == [0] * 4 + [1] * 4
    assert rows.y.tolist() == [0, 0, 1, 1] * 2
    assert rows.block.tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    monkeypatch.setattr(sets, "BLOCK", 5)
    assert sets.wearers(None).block.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_columns_with_units_are_scaled_by_the_rows_that_train():
    x = torch.cat([torch.randn(20, 3), 100 + torch.randn(5, 3)])
    rows = DomainRows(x, torch.zeros(25, dtype=torch.long), torch.zeros(25, dtype=torch.long), units=True)
    scaled = rows.scaled(torch.arange(20)).x
    assert torch.allclose(scaled[:20].mean(0), torch.zeros(3), atol=1e-6)
    assert torch.allclose(scaled[:20].std(0), torch.ones(3))
    assert scaled[20:].min() > 30
    assert rows._replace(units=False).scaled(torch.arange(20)).x is x


@pytest.mark.parametrize("test", [0.0, 0.2])
def test_blocks_stay_together(test):
    block = torch.arange(120) // 4
    rows = DomainRows(torch.zeros(120, 1), torch.zeros(120), torch.zeros(120), block)
    inside = torch.arange(8, 120)
    parts = rows.split(inside, 3, test)
    assert torch.cat(list(parts)).sort().values.equal(inside)
    found = [set(block[part].tolist()) for part in parts]
    assert sum(map(len, found)) == 28
    assert len(found[2]) == round(28 * test)


def test_the_variants_are_those_of_the_sets():
    assert {variant.partition(": ")[0] for variant in DOMAINS.variants} == set(compare.SETS)
