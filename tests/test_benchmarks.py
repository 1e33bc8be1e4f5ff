"""Every benchmark can be imported and is a function: what the package renames, benchmarks follow.

The comparison with other software runs at toy sizes too, with R and without, and its page shows what was measured.
"""

import json
from importlib import import_module
from pathlib import Path

import pytest
from benchmarks import flexmix, glm, gpu, gpu_estimators, peers
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


def test_the_sums_of_a_device_are_measured_against_the_compiled_ones(monkeypatch, tmp_path):
    """Torch on the CPU stands for the GPU, at a size that says nothing about speed."""
    few = gpu_estimators.CASES[:1]
    monkeypatch.setattr(gpu_estimators, "CASES", few)
    gpu.main(["estimators", "--device", "cpu", "--rows", "2500", "--rounds", "1", "--out", str(tmp_path / "gpu.json")])
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert "rows" not in found  # of layers
    sums, fits = found["estimators"]["sums"], found["estimators"]["fits"]
    assert [(row["sum"], row["where"]) for row in sums] == [
        (stat, where)
        for stat in ("gradient", "hessian")
        for where in ("cpu, compiled", "device", "device, rows copied")
    ]
    assert all(row["apart"] < 1e-12 and row["rows/s"] > 0 for row in sums)
    assert [(row["model"], row["rows"], row["same status"]) for row in fits] == [(few[0].name, 2500, True)]
    assert fits[0]["log-likelihood apart"] < 1e-10


def test_without_a_gpu_the_benchmark_says_how_to_try_it(monkeypatch, capsys):
    monkeypatch.setattr(gpu.torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        gpu.main(["estimators"])
    assert "--device cpu --tokens 64 --dim 64 --rows 5000 tries the code" in capsys.readouterr().err
