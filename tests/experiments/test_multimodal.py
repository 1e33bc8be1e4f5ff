"""Several modalities on generated views: what is missing has no influence, baselines have equal size, runs repeat."""

import numpy as np
import pytest
import torch

from gatewise.data.views import VIEWS, Views
from gatewise.experiments.experiment import Job, gates_of
from gatewise.experiments.heads import MULTI_CLASS
from gatewise.experiments.multimodal import digits as multimodal_digits
from gatewise.experiments.multimodal.digits import MULTIMODAL, PROPERTIES, TASKS, digits
from gatewise.experiments.multimodal.mfeat import MultimodalTask, absent, modality_table
from gatewise.experiments.multimodal.models import BASELINES, Gated, MultimodalSetting, build, parameters
from gatewise.experiments.train import split_rows, standard

ROWS = 400
SIZES = {"profiles": 216, "Fourier": 76, "Karhunen-Loeve": 64, "morphology": 6, "pixels": 240, "Zernike": 47}
THIRD = {
    router: next(name for name, task in TASKS.items() if task.router == router) for router in ("joint", "disjoint")
}
QUICK = {name: Job(name, "laplace", 0, 1e-2, quick=True) for name in TASKS}


def generated(folder=None):
    """Views of 4 to 9 features around a center of the digit."""
    rng = np.random.default_rng(0)
    label = np.arange(ROWS) % 10
    views = {}
    for number, view in enumerate(VIEWS):
        width = 6 if view == "morphology" else 4 + number
        views[view] = 3 + 2 * rng.normal(size=(10, width))[label] + rng.normal(size=(ROWS, width))
    return Views(views, label)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(multimodal_digits, "mfeat", generated)


SETTINGS = [MultimodalSetting(SIZES, router, 10, MULTI_CLASS) for router in ("joint", "per-modality", "disjoint")]


@pytest.mark.parametrize("gate", BASELINES)
@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.router)
def test_baselines_have_the_parameters_of_the_mixture_within_2_percent(setting, gate):
    wanted = parameters(build("softmax", setting))
    assert parameters(build(gate, setting)) == pytest.approx(wanted, rel=0.02)
    for other in MULTIMODAL.gates:
        assert parameters(build(other, setting)) == pytest.approx(wanted, rel=0.02), other


@pytest.mark.parametrize("gate", ["ll", *BASELINES])
@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.router)
def test_what_is_missing_has_no_influence(setting, gate):
    model = build(gate, setting).eval()
    x = {name: torch.randn(20, size) for name, size in SIZES.items()}
    there = dict(zip(SIZES, absent(20, 6, 0.5, 0).T, strict=True))
    other = {name: value.where(there[name][:, None], float("nan")) for name, value in x.items()}
    assert torch.equal(model(x, there), model(other, there))
    changed = {name: value + 1 for name, value in x.items()}
    assert not torch.allclose(model(x, there), model(changed, there))


def test_late_fusion_is_the_mean_of_the_log_probabilities_that_are_there():
    model = build("late fusion", SETTINGS[0]).eval()
    x = {name: torch.randn(3, size) for name, size in SIZES.items()}
    there = {name: torch.full((3,), name in ("pixels", "Zernike")) for name in SIZES}
    own = dict(zip(SIZES, model.networks, strict=True))
    wanted = (own["pixels"](x["pixels"]).log_softmax(1) + own["Zernike"](x["Zernike"]).log_softmax(1)) / 2
    assert torch.allclose(model(x, there), wanted, atol=1e-6)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 1.0])
def test_the_stated_share_is_missing_and_one_always_stays(share):
    there = absent(20_000, 6, share, 3)
    assert there.any(1).all()
    kept = 1 - share + share**6 / 6  # in expectation: one of six is put back where all would be missing
    assert float(there.float().mean()) == pytest.approx(kept, abs=0.005)
    assert torch.equal(there, absent(20_000, 6, share, 3))
    assert share in (0.0, 1.0) or not torch.equal(there, absent(20_000, 6, share, 4))


def test_views_are_standard_over_the_training_rows_in_which_they_are_there():
    rows = split_rows(ROWS, 0).train
    data = digits(MultimodalTask(0.6, "joint"), generated(), 0, rows)
    for name, x in data.x.items():
        seen = x[rows[data.there[name][rows]]]
        assert torch.allclose(seen.mean(0), torch.zeros(x.shape[1]), atol=1e-5)
        assert torch.allclose(seen.std(0), torch.ones(x.shape[1]), atol=1e-5)


def test_series_are_standard_by_channel_over_rows_and_times():
    generator = torch.Generator().manual_seed(0)
    series = 3 + torch.tensor([1.0, 5.0]) * torch.randn(30, 7, 2, generator=generator)
    found = standard(series, torch.arange(20))[:20].flatten(0, 1)
    assert torch.allclose(found.mean(0), torch.zeros(2), atol=1e-5)
    assert torch.allclose(found.std(0), torch.ones(2), atol=1e-5)
    single = series[..., 0]
    assert torch.equal(
        standard(single[:, :1], torch.arange(20)), (single[:, :1] - single[:20, 0].mean()) / single[:20, 0].std()
    )


def test_answers_of_the_three_kinds():
    found, rows = generated(), torch.arange(ROWS)
    labels = digits(MultimodalTask(0.3, "joint", "labels"), found, 0, rows)
    by_digit = {d: set(np.array(list(PROPERTIES))[labels.y[d].bool().numpy()]) for d in range(10)}
    assert by_digit[0] == {"even", "divisible by three", "square", "closed loop"}
    assert by_digit[7] == {"prime", "above four", "straight strokes only"}
    number = digits(MultimodalTask(0.3, "joint", "number"), found, 0, rows)
    assert "morphology" not in number.x
    column = found.views["morphology"][:, multimodal_digits.COLUMN]
    assert np.corrcoef(number.y[:, 0], column)[0, 1] == pytest.approx(1.0)
    assert torch.equal(digits(MultimodalTask(0.3, "joint"), found, 0, rows).y, torch.as_tensor(found.label))


def test_scores_of_a_model_of_the_test_rows_do_not_change_training(monkeypatch):
    before = multimodal_digits.run(QUICK["mfeat, 30 % missing"])
    test = split_rows(ROWS, 0).test
    found = generated()
    for values in found.views.values():
        values[test.numpy()] = 1e3
    monkeypatch.setattr(multimodal_digits, "mfeat", lambda folder: found)
    after = multimodal_digits.run(QUICK["mfeat, 30 % missing"])
    assert (before["validation"], before["loss"]) == (after["validation"], after["loss"])
    assert before["routing"] != after["routing"]


@pytest.mark.parametrize(("answers", "count"), [("even or odd", 1), ("labels", 8), ("many labels", 25)])
def test_labels_of_a_digit(answers, count):
    y = digits(MultimodalTask(0.0, "joint", answers), generated(), 0, torch.arange(50)).y
    assert y.shape == (ROWS, count)
    assert len(y.T.unique(dim=0)) == count
    assert ((y == 0).any(0) & (y == 1).any(0)).all()


@pytest.mark.parametrize("variant", TASKS)
def test_a_quick_job_moves_every_gate_repeats_and_has_the_measures_of_its_head(variant):
    found = multimodal_digits.run(QUICK[variant])
    assert found == multimodal_digits.run(QUICK[variant])
    assert found["moved"]
    answers = {
        "class": {"accuracy", "auroc", "f1"},
        "labels": {"auroc", "auprc", "f1"},
        "number": {"mae", "correlation"},
    }
    answers |= dict.fromkeys(("even or odd", "many labels"), answers["labels"])
    wanted = answers[TASKS[variant].answers] | {"class_information", "disagreement"}
    shared = TASKS[variant].router == "per-modality"
    assert set(found) & set(MULTIMODAL.measures) == wanted | ({"information"} if shared else set())
    assert ("routing" in found) == (TASKS[variant].router != "joint")
    tokens = {"joint": 1, "per-modality": 6, "disjoint": 0}[TASKS[variant].router] * len(range(0, ROWS, 12))
    assert len(found.get("choice", [])) == tokens
    assert set(found.get("choice", [])) <= set(range(8))


def test_the_table_counts_two_experts_for_every_view_that_is_there():
    variant = "mfeat, 60 % missing"
    found = multimodal_digits.run(QUICK[variant])
    rows = split_rows(ROWS, 0).test
    there = absent(ROWS, 6, 0.6, 0)[rows]
    assert np.array(found["routing"]).shape == (6, 8)
    assert np.array(found["routing"]).sum(1).tolist() == (2 * there.sum(0)).tolist()


def test_a_modality_table():
    index = [torch.tensor([[0, 1], [-1, -1]]), torch.tensor([[2, 1], [2, 0]])]
    assert modality_table(index, 3).tolist() == [[1, 1, 0], [1, 1, 2]]


@pytest.mark.parametrize("gate", ["softmax", "sl", *BASELINES])
def test_models_learn(gate, monkeypatch):
    monkeypatch.setattr(multimodal_digits, "EPOCHS", 8)
    found = multimodal_digits.run(Job(THIRD["joint"], gate, 0, 1e-2))
    assert found["accuracy"] > 0.7
    assert found["moved"]


def test_a_job_that_tunes_does_not_score_the_test_rows():
    assert set(multimodal_digits.run(QUICK["mfeat, 30 % missing"]._replace(tuning=True))) == {"validation", "moved"}


def test_gates_are_those_that_are_asked_for():
    model = Gated("sl", SETTINGS[0])
    router = model.fusion.layers[0].router
    assert router.branching == (2, 4)
    assert gates_of("sl") == ("softmax", "laplace")
    assert router.slots == 2
