"""Every benchmark can be imported and is a function: what the package renames, benchmarks follow.

The comparison with other software runs at toy sizes too, with R and without, and its page shows what was measured.
"""

import json
from importlib import import_module
from pathlib import Path

import pytest
from benchmarks import flexmix, glm, peers
from benchmarks.__main__ import BENCHMARKS

PAGE = Path(__file__).parents[1] / "docs" / "peers.md"


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_is_a_function(name):
    module, _, function = BENCHMARKS[name].partition(".")
    assert callable(getattr(import_module(f"benchmarks.{module}"), function))


def test_without_r_published_analyses_are_fitted_and_the_page_has_empty_cells(monkeypatch):
    monkeypatch.setattr(flexmix.shutil, "which", lambda name: None)
    found = peers.published(peers.ANALYSES[4:6])
    assert [row["gatewise reached"] for row in found["rows"]] == [True, True]
    assert "install R" in found["absent"][0]
    assert "r-cran-mixtools" in found["absent"][1]
    assert peers.larger() == {"rows": [], "versions": {}, "absent": found["absent"][:1]}
    assert [row["analyses"] for row in peers.reached(found["rows"])] == [2, 0, 0]


@pytest.mark.skipif(flexmix.missing() is not None, reason="R and flexmix are not installed")
def test_with_r_flexmix_is_at_the_recorded_optimum_once_its_scales_are_those_of_maximum_likelihood():
    record = peers.ANALYSES[5]
    row = peers.published([record])["rows"][0]
    assert row["flexmix reached"]
    assert row["flexmix"] < -0.03 < -peers.NEAR < row["flexmix, ML scales"] < peers.NEAR
    assert abs(row["flexmix, its optimum"]) < peers.NEAR
    assert row["mixtools"] is None  # one expert


@pytest.mark.skipif(flexmix.missing() is not None, reason="R and flexmix are not installed")
def test_larger_mixtures_are_compared_seed_by_seed():
    found = peers.larger(rounds=1, rows=1000, seeds=(3,))
    assert [row["seed"] for row in found["rows"]] == [3]
    assert {"R", "flexmix", "gatewise"} == set(found["versions"])


def test_one_expert_has_the_estimates_of_glm_software():
    found = glm.run(n=600, d=3, rounds=1)
    assert {row["family"] for row in found["rows"]} == {peer.family for peer in glm.PEERS}
    for row in found["rows"]:
        assert row["largest difference of estimates"] < 1e-3
        assert abs(row["its log-likelihood - ours"]) < 1e-3


def test_the_log_likelihood_is_that_of_the_fit():
    for family in ("gaussian", "gamma", "negative-binomial", "poisson", "binomial", "categorical"):
        x, y = glm.draw(family, 400, 3)
        peer = glm.ours(family)
        model = peer.fit(x, y)
        found = peer.read(model)
        eta = found[..., 0] + x @ found[..., 1:].T
        assert glm.log_likelihood(family, eta, y) == pytest.approx(model.log_likelihood_, abs=1e-5)
        assert glm.log_likelihood(family, eta + 0.1, y) < model.log_likelihood_ - 0.1


def test_layers_that_are_installed_are_measured_and_the_others_listed():
    found = peers.layers(16, 8, 4, 0.0)
    assert {row["package"] for row in found["rows"]} | set(found["absent"]) == set(peers.LAYERS)
    assert len(found["rows"]) == 2 * (len(peers.LAYERS) - len(found["absent"]))
    for row in found["rows"]:
        assert 0 < row["low"] <= row["ratio"] <= row["high"]


def test_the_page_shows_the_tables_of_the_kept_measurement():
    result = json.loads(peers.KEPT.read_text("utf-8"))
    page = PAGE.read_text("utf-8")
    missing = [table for table in peers.tables(result) if table not in page]
    assert not missing
