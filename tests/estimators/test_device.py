"""An estimator whose sums are taken on a device: the fit is that of the processor, and keeps nothing of the device.

The device is torch on the CPU, in blocks by the rule for a GPU: `tests/objective/test_device.py` says why.
"""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone

from gatewise import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor, load_model, save_model
from gatewise.data import ParquetTable
from gatewise.estimators import fitting
from gatewise.estimators.options import on_device as on_device_of
from gatewise.objective.device import Device
from gatewise.objective.elsewhere import Here, Pieces, rows_elsewhere, size_of
from gatewise.objective.rows import make_rows

N = 2101  # more than starts are searched on
ROOMY, TIGHT = 2**30, 2**18  # bytes: the rows are copied; they are not, and go in blocks that do not divide them


@pytest.fixture
def on_device(monkeypatch):
    """Make any device that is asked for torch on the CPU, with the memory that is said."""

    def make(free):
        monkeypatch.setattr(
            fitting, "device_named", lambda given: None if given is None else Device(torch.device("cpu"), free)
        )

    return make


def draw(kind="number", gate="softmax", levels=1):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, 3))
    near = np.linalg.norm(x - [2, 0, 1], axis=1) - np.linalg.norm(x + [2, 1, 0], axis=1)
    first = rng.random(N) < 1 / (1 + np.exp(near if gate == "laplace" else -2 * x[:, 0] - x[:, 1]))
    second = (rng.random(N) < 1 / (1 + np.exp(3 * x[:, 2]))) & (levels > 1)
    eta = np.where(first, 1 + x[:, 0] - x[:, 2], np.where(second, -2 - x[:, 1], -1 + 0.5 * x[:, 2]))
    y = {
        "number": eta + 0.3 * rng.normal(size=N),
        "count": rng.poisson(np.exp(0.7 * eta)),
        "class": np.array(["a", "b"])[(rng.random(N) < 1 / (1 + np.exp(-3 * eta))).astype(int)],
    }[kind]
    return x, y


OPTIONS = {"n_experts": 2, "n_init": 1, "random_state": 0}
CASES = {  # what is drawn, the arguments, the memory of the device
    "softmax": ({}, {}, TIGHT),
    "laplace, weights": ({"gate": "laplace"}, {"gate": "laplace", "standardize": False}, ROOMY),
    "poisson": ({"kind": "count"}, {"family": "poisson"}, TIGHT),
    "least squares": ({}, {"gate": "sigmoid", "method": "ls"}, ROOMY),
    "em": ({}, {"method": "em"}, ROOMY),
    "student-t, without kernel": ({}, {"family": "student-t"}, ROOMY),
    "levels": ({"levels": 2}, {"n_experts": (2, 2)}, TIGHT),
    "classes": ({"kind": "class"}, {}, TIGHT),
}


@pytest.mark.filterwarnings("ignore::gatewise.FitWarning")
@pytest.mark.parametrize("name", CASES)
def test_a_fit_is_that_of_the_processor(on_device, name):
    on_device(CASES[name][2])
    assert_same_fit(name)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.filterwarnings("ignore::gatewise.FitWarning")
@pytest.mark.parametrize("name", CASES)
def test_a_fit_by_a_gpu_is_that_of_the_processor(name):
    assert_same_fit(name)


def assert_same_fit(name):
    drawn, options, _ = CASES[name]
    x, y = draw(**drawn)
    weight = np.random.default_rng(1).integers(0, 3, N) if "weights" in name else None
    kind = MixtureOfExpertsClassifier if name == "classes" else MixtureOfExpertsRegressor
    one, other = (
        kind(**{**OPTIONS, **options}, device=device).fit(x, y, sample_weight=weight) for device in ("cuda", None)
    )
    assert one.status_ == other.status_
    np.testing.assert_allclose(one.fit_.objective, other.fit_.objective, rtol=1e-10)
    for path, value in one.measure_.paths().items():
        np.testing.assert_allclose(value, other.measure_.paths()[path], rtol=1e-7, atol=1e-8, err_msg=path)
    for path, value in (one.standard_errors_ or {}).items():
        np.testing.assert_allclose(value, other.standard_errors_[path], rtol=1e-6, err_msg=path)
    assert one._shares.totals.tolist() == pytest.approx(other._shares.totals.tolist(), rel=1e-8)


def test_a_fit_keeps_nothing_of_the_device(on_device, tmp_path):
    on_device(ROOMY)
    x, y = draw()
    model = MixtureOfExpertsRegressor(**OPTIONS, device="cuda").fit(x, y)
    expected = model.predict(x[:5])
    assert clone(model).get_params()["device"] == "cuda"
    save_model(model, tmp_path / "model.json")  # read where there is no GPU
    for again in (pickle.loads(pickle.dumps(model)), load_model(tmp_path / "model.json")):  # noqa: S301
        np.testing.assert_array_equal(again.predict(x[:5]), expected)
        assert again.device == "cuda"
        assert again.inference(x, y).standard_errors().keys() == model.standard_errors_.keys()  # by the processor
    assert not any(isinstance(value, Device) for value in vars(model).values())


def test_the_rows_of_files_are_those_in_memory(on_device, tmp_path):
    x, y = draw()
    pd.DataFrame(x, columns=["a", "b", "c"]).assign(y=y).to_parquet(tmp_path / "rows.parquet", row_group_size=500)
    table = ParquetTable(tmp_path / "rows.parquet", ["a", "b", "c"])
    expected = MixtureOfExpertsRegressor(**OPTIONS).fit(x, y)
    for free in (ROOMY, TIGHT):
        on_device(free)
        found = MixtureOfExpertsRegressor(**OPTIONS, device="cuda").fit(table, "y")
        assert found.status_ == expected.status_
        assert found.log_likelihood_ == pytest.approx(expected.log_likelihood_, rel=1e-10)
        np.testing.assert_allclose(found.coef_, expected.coef_, rtol=1e-7, atol=1e-8)


def test_rows_on_a_cluster_are_refused():
    part = make_rows(np.zeros((5, 3)), np.zeros((5, 1)))
    pieces = Pieces(Here((part,)), (size_of(part),), weighted=False, grouped=False)
    far = rows_elsewhere(pieces, {"x": 3, "y": 1}, same=True)
    with pytest.raises(ValueError, match="device='cuda:0' with rows on a Dask cluster"):
        on_device_of(Device(torch.device("cuda", 0)), far)
    assert on_device_of(None, far).device is None


@pytest.mark.parametrize("given", ["tpu", "cuda:", "cuda:x", "cpu:-1", "", 0, torch.device("cuda")])
def test_what_names_no_device_is_refused(given):
    x, y = draw()
    with pytest.raises(ValueError, match=r"give None, 'cpu', 'cuda' or 'cuda:0'"):
        MixtureOfExpertsRegressor(device=given).fit(x, y)


def test_a_gpu_that_is_not_there_is_an_error_before_anything_is_read(monkeypatch):
    unread = object()
    model = MixtureOfExpertsRegressor(device="cuda:1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for version, words in (
        (None, "this torch has no CUDA: install one with it"),
        ("12.8", "torch finds no GPU: see what nvidia-smi says"),
    ):
        monkeypatch.setattr(torch.version, "cuda", version)
        with pytest.raises(ValueError, match=f"device='cuda:1': {words}, or leave device=None"):
            model.fit(unread, unread)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match="device='cuda:1': the last one that torch finds is 'cuda:0'"):
        model.fit(unread, unread)
