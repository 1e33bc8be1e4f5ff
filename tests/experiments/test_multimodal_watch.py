"""Series of a watch in a generated file: persons stay apart, what is dropped or missing has no influence."""

import hashlib
import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from gatewise.data import installed
from gatewise.data.origins import SOURCES
from gatewise.experiments import Job
from gatewise.experiments.heads import MULTI_CLASS
from gatewise.experiments.multimodal import watch
from gatewise.experiments.multimodal.mfeat import absent, choices, routing
from gatewise.experiments.multimodal.models import BASELINES, EXPERTS, MultimodalSetting, OverTime, build, parameters
from gatewise.experiments.multimodal.watch import (
    KEPT,
    MULTIMODAL_WATCH,
    REFERENCES,
    SERIES,
    SUMMARY,
    TASKS,
    UNIT,
    WINDOW,
    by_person,
    case,
    kept_points,
    run,
    summary,
    windows,
)
from gatewise.experiments.specialise import information

PERSONS, CLASSES = 5, 3
ALL, SOME = "watch, nothing missing", "watch, 30 % missing"
JOB = Job(SOME, "laplace", 0, 1e-2, quick=True)
X = {
    "acceleration": torch.empty(20, KEPT, 4),
    "angular velocity": torch.empty(20, KEPT, 4),
    SUMMARY: torch.empty(20, 10),
}
SETTINGS = [
    MultimodalSetting.of(X, router, 7, MULTI_CLASS, REFERENCES) for router in ("joint", "per-modality", "disjoint")
]
ROUTERS = pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.router)


def content():
    """A file as the package's: recordings whose class is a direction and a frequency, with lengths of their own."""
    rng = np.random.default_rng(0)
    series, label, wearer = [], [], []
    for person in range(PERSONS):
        for exercise in range(CLASSES):
            for _ in range(2):
                time = np.arange(rng.integers(4 * WINDOW, 5 * WINDOW)) / 50
                wave = np.sin((1 + exercise) * time + rng.uniform(0, 6))
                level = np.eye(6)[exercise] + np.eye(6)[3 + exercise] * wave[:, None]
                series.append(level + 0.1 * rng.normal(size=(len(time), 6)) + 0.05 * person)
                label.append(exercise)
                wearer.append(person + 1)
    value = {
        "X": series,
        "y": np.array(label),
        "subject": np.array(wearer),
        "side": np.ones(len(label)),
        "X_labels": ["ax", "ay", "az", "wx", "wy", "wz"],
        "y_labels": ["a", "b", "c"],
    }
    file = io.BytesIO()
    np.save(file, np.array(value, dtype=object), allow_pickle=True)
    return file.getvalue()


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder with the file, whose checksum is the expected one."""
    (tmp_path / "watch_dataset.npy").write_bytes(content())
    entry = SOURCES["watch"]
    file = replace(entry.files[0], digest=hashlib.sha256(content()).hexdigest())
    monkeypatch.setitem(SOURCES, "watch", replace(entry, files=(file,)))
    windows.cache_clear()
    yield tmp_path
    windows.cache_clear()


def test_without_the_set_the_error_names_the_command_that_brings_it(monkeypatch):
    monkeypatch.setattr(installed, "_packaged", lambda one, file: None)
    with pytest.raises(FileNotFoundError, match=r"'watch' needs watch_dataset.npy.*pip install --no-deps seglearn=="):
        run(JOB)


def test_windows_are_whole_and_know_their_recording(folder):
    found = windows(folder)
    assert set(found.series) == set(SERIES)
    assert all(one.shape == (PERSONS * CLASSES * 2 * 4, WINDOW, 3) for one in found.series.values())
    assert found.label.tolist() == np.repeat(np.tile(np.repeat(range(CLASSES), 2), PERSONS), 4).tolist()
    assert found.wearer.tolist() == np.repeat(np.arange(1, PERSONS + 1), CLASSES * 8).tolist()
    levels = found.series["acceleration"].mean(1)
    assert levels.argmax(1).tolist() == found.label.tolist()


def test_the_summary_is_of_lengths():
    vectors = torch.randn(4, WINDOW, 3, generator=torch.Generator().manual_seed(0))
    turned = vectors @ torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(1))).Q
    one, two = (summary({"acceleration": v, "angular velocity": 2 * v}) for v in (vectors, turned))
    assert torch.allclose(one, two, atol=1e-5)
    length = vectors.norm(dim=-1)
    step = (length[:, 1:] - length[:, :-1]).abs().mean(1)
    columns = (length.mean(1), length.std(1), length.min(1).values, length.max(1).values, step)
    wanted = torch.stack([factor * column for column in columns for factor in (1, 2)], 1)
    assert torch.allclose(one, wanted, atol=1e-5)


def test_points_are_dropped_in_every_window_and_modality_by_the_seed():
    points = kept_points(500, 3, 0)
    assert points.shape == (500, KEPT)
    assert (points.diff(dim=1) > 0).all()
    assert torch.equal(points, kept_points(500, 3, 0))
    assert not torch.equal(points, kept_points(500, 3, 1))
    assert not torch.equal(points, kept_points(500, 4, 0))
    share = torch.bincount(points.flatten(), minlength=WINDOW) / 500
    assert float((share - KEPT / WINDOW).abs().max()) < 0.1  # five standard deviations


def test_persons_stay_apart_and_ten_seeds_test_ten_persons():
    wearer = torch.arange(10).repeat_interleave(30)
    tested = []
    for seed in range(10):
        rows = by_person(wearer, seed)
        assert sorted(torch.cat(rows).tolist()) == list(range(300))
        persons = [set(wearer[part].tolist()) for part in rows]
        assert [len(some) for some in persons] == [7, 2, 1]
        tested += persons[2]
        assert all(torch.equal(*pair) for pair in zip(rows, by_person(wearer, seed), strict=True))
    assert sorted(tested) == list(range(10))


def test_series_hold_their_times_and_are_standard_over_the_training_rows(folder):
    found = case(JOB._replace(folder=folder, quick=False))
    raw, rows = windows(folder), found.rows.train
    for role, name in enumerate(SERIES):
        x, points = found.data.x[name], kept_points(len(raw.label), 0, role)
        assert torch.equal(x[..., 0], points / UNIT)
        seen = x[rows[found.data.there[name][rows]], :, 1:].flatten(0, 1)
        assert torch.allclose(seen.mean(0), torch.zeros(3), atol=1e-4)
        assert torch.allclose(seen.std(0), torch.ones(3), atol=1e-4)
        order = raw.series[name].take_along_dim(points[..., None], 1)[0, :, 0].argsort()
        assert torch.equal(x[0, :, 1].argsort(), order)
    assert max(REFERENCES) * UNIT < WINDOW
    assert torch.equal(torch.stack(list(found.data.there.values()), 1), absent(len(raw.label), 3, 0.3, 0))


@ROUTERS
@pytest.mark.parametrize("gate", BASELINES)
def test_baselines_have_the_parameters_of_the_mixture_within_2_percent(setting, gate):
    wanted = parameters(build("softmax", setting))
    assert parameters(build(gate, setting)) == pytest.approx(wanted, rel=0.02)


def drawn():
    """Return modalities of 20 windows, where they are, and generated content."""
    generator = torch.Generator().manual_seed(0)
    there = dict(zip(X, absent(20, 3, 0.5, 0).T, strict=True))
    return {name: torch.randn(value.shape, generator=generator) for name, value in X.items()}, there


@ROUTERS
@pytest.mark.parametrize("gate", ["ll", *BASELINES])
def test_what_is_missing_has_no_influence_on_answers_or_gradients(setting, gate):
    torch.manual_seed(0)
    model = build(gate, setting).eval()
    x, there = drawn()
    shape = {name: there[name].reshape(-1, *[1] * (value.ndim - 1)) for name, value in x.items()}
    other = {name: value.where(shape[name], float("nan")) for name, value in x.items()}
    assert torch.equal(model(x, there), model(other, there))
    model(other, there).square().sum().backward()
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)
    changed = {name: value + 1 for name, value in x.items()}
    assert not torch.allclose(model(x, there), model(changed, there))


@ROUTERS
def test_the_order_of_the_points_does_not_matter_but_their_times_do(setting):
    torch.manual_seed(0)
    model = build("softmax", setting).eval()
    x, there = drawn()
    turned = x | {name: x[name].flip(1) for name in SERIES}
    assert torch.allclose(model(x, there), model(turned, there), atol=1e-5)
    later = x | {name: torch.cat([x[name][..., :1].flip(1), x[name][..., 1:]], -1) for name in SERIES}
    assert not torch.allclose(model(x, there), model(later, there), atol=1e-5)


def test_scores_are_the_mean_over_the_reference_times():
    torch.manual_seed(0)
    model = build("softmax", SETTINGS[1]).eval()
    x, there = drawn()
    by_time = []
    for at in range(len(REFERENCES)):
        tokens = {name: model._tokens(name, x[name], there[name])[:, at] for name in x}
        assert torch.equal(tokens[SUMMARY], x[SUMMARY])
        by_time.append(model.inner(tokens, there))
    assert isinstance(model, OverTime)
    assert torch.allclose(model(x, there), torch.stack(by_time).mean(0), atol=1e-5)


@pytest.mark.parametrize("variant", TASKS)
def test_a_quick_job_moves_every_gate_repeats_and_has_its_measures(variant, folder):
    job = JOB._replace(variant=variant, folder=folder)
    found, router = run(job), TASKS[variant].router
    assert json.dumps(found) == json.dumps(run(job))
    assert found["moved"]
    wanted = set(MULTIMODAL_WATCH.measures) - (set() if router == "per-modality" else {"information"})
    assert set(found) & set(MULTIMODAL_WATCH.measures) == wanted
    tokens = {"joint": 1, "per-modality": 3, "disjoint": 0}[router] * len(REFERENCES)
    assert len(found.get("choice", [])) == tokens * len(range(0, 120, watch.PROBE))
    if router != "joint":
        rows = case(job).rows.test
        there = absent(120, 3, TASKS[variant].missing, 0)[rows]
        assert np.array(found["routing"]).sum(1).tolist() == (2 * len(REFERENCES) * there.sum(0)).tolist()


@pytest.mark.parametrize("variant", TASKS)
def test_a_token_has_the_class_of_its_window(variant, folder):
    found = case(JOB._replace(variant=variant, folder=folder))
    torch.manual_seed(0)
    model = build("laplace", MultimodalSetting.of(found.data.x, found.router, CLASSES, MULTI_CLASS, REFERENCES)).eval()
    fusion, rows = model.inner.fusion, found.rows.test
    told = routing(model, fusion, found.data, rows, 60)["class_information"]
    each = [one.reshape(len(rows), -1) for one in choices(model, fusion, found.data, rows)]
    wanted = np.mean([information(one, found.data.label[rows], EXPERTS) for one in each])
    assert told == pytest.approx(wanted)
    assert told > 0.05


def test_test_rows_do_not_change_training(folder):
    job = JOB._replace(folder=folder)
    before, found = run(job), windows(folder)
    test = by_person(found.wearer, 0).test
    for values in (*found.series.values(), found.summary):
        values[test] = 1e3
    after = run(job)
    assert (before["validation"], before["loss"]) == (after["validation"], after["loss"])
    assert before["accuracy"] != after["accuracy"]
    assert set(run(job._replace(tuning=True))) == {"validation", "moved"}


@pytest.mark.parametrize("gate", ["softmax", "ll", *BASELINES])
def test_models_learn(gate, folder, monkeypatch):
    monkeypatch.setattr(watch, "EPOCHS", 30)
    found = run(Job(ALL, gate, 0, 1e-2, folder=folder))
    assert found["accuracy"] > 0.9
    assert found["moved"]
