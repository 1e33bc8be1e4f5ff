"""The vision experiments: equal sizes, the same rows for all gates, test rows untouched, repeatable quick runs."""

import hashlib
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from gatewise.data.origins import SOURCES
from gatewise.experiments.ablations import ABLATIONS, BASE, ROUTINGS
from gatewise.experiments.experiment import Job, gates_of
from gatewise.experiments.vision import images
from gatewise.experiments.vision.images import CIFAR, FASHION, MEASURES, VISION
from gatewise.experiments.vision.models import (
    EQUAL_FLOPS,
    EQUAL_PARAMETERS,
    OneLayer,
    TokenRouting,
    Transformer,
    feed_forward,
)
from gatewise.nn.finding import layers

SETTINGS = {one.name: one.run.args[0] for one in (VISION, FASHION, CIFAR)}
ROUTING = TokenRouting()
PIXELS = {"vision": 64, "vision-fashion": 784, "vision-cifar": 3072}
LAYERS = [
    pytest.param(*sizes, id=f"{name}, {kind}")
    for name, setting in SETTINGS.items()
    for kind, sizes in (
        ("one layer", (PIXELS[name], setting.hidden, 10)),
        ("transformer", (setting.dim, setting.dim, setting.dim)),
    )
]


def multiplications(layer, dim):
    """What torch counts for one token of many."""
    for module in layers(layer).values():
        module.backend = "loop"
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        layer(torch.randn(512, dim))
    return counter.get_total_flops() / 512


def parameters(layer):
    return sum(parameter.numel() for parameter in layer.parameters())


@pytest.mark.parametrize(("dim", "hidden", "dim_out"), LAYERS)
@pytest.mark.parametrize("gate", ["softmax", "sigmoid", "ss"])
def test_dense_baselines_have_the_size_of_the_mixture_within_5_percent(dim, hidden, dim_out, gate):
    mixture = feed_forward(gate, ROUTING, dim, hidden, dim_out)
    work = multiplications(mixture, dim) / multiplications(
        feed_forward(EQUAL_FLOPS, ROUTING, dim, hidden, dim_out), dim
    )
    size = parameters(mixture) / parameters(feed_forward(EQUAL_PARAMETERS, ROUTING, dim, hidden, dim_out))
    assert work == pytest.approx(1.0, abs=0.05)
    assert size == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(("dim", "hidden", "dim_out"), LAYERS)
@pytest.mark.parametrize("gate", [gate for gate in VISION.gates if gate not in {"softmax", "sigmoid", "ss"}])
def test_parameters_are_equal_for_every_gate(dim, hidden, dim_out, gate):
    dense = parameters(feed_forward(EQUAL_PARAMETERS, ROUTING, dim, hidden, dim_out))
    assert parameters(feed_forward(gate, ROUTING, dim, hidden, dim_out)) == pytest.approx(dense, rel=0.05)


@pytest.mark.parametrize("routing", ROUTINGS.values(), ids=ROUTINGS)
def test_a_routing_is_what_the_layer_does(routing):
    for gate in ("ls", "laplace"):
        router = feed_forward(gate, routing, 8, 4, 3).router
        flat = (routing.experts,)
        assert router.branching == (flat if gate == "laplace" else routing.groups)
        assert router.slots == routing.serving
    dense = feed_forward(EQUAL_FLOPS, routing, 64, 64, 10)
    work = multiplications(feed_forward("ls", routing, 64, 64, 10), 64) / multiplications(dense, 64)
    assert work == pytest.approx(1.0, abs=0.05)


def test_an_ablation_changes_one_thing_only():
    base = ROUTINGS[BASE]
    for name, routing in ROUTINGS.items():
        changed = [field for field in TokenRouting._fields if getattr(routing, field) != getattr(base, field)]
        assert len(changed) == (name != BASE), name


def test_the_base_of_the_ablations_is_the_vision_experiment():
    base = Job(BASE, "ls", 0, 3e-3, quick=True)
    assert ABLATIONS.run(base) == VISION.run(base._replace(variant=VISION.variants[0]))


def test_a_transformer_has_experts_in_every_second_block_only():
    for name, shape in (("vision", (1, 8, 8)), ("vision-cifar", (3, 32, 32))):
        model = Transformer("sl", SETTINGS[name], shape, 10)
        assert list(layers(model)) == [f"blocks.{n}.feed" for n in range(1, SETTINGS[name].blocks, 2)]
        assert all(layer.router.branching == (2, 4) for layer in layers(model).values())
        assert model(torch.randn(3, *shape)).shape == (3, 10)
    assert not layers(Transformer(EQUAL_FLOPS, SETTINGS["vision"], (1, 8, 8), 10))
    assert layers(OneLayer("laplace", SETTINGS["vision"], (1, 8, 8), 10))["layer"].router.slots == 2


def test_a_patch_of_a_transformer_is_a_square_of_the_image():
    model = Transformer("ss", SETTINGS["vision"], (1, 8, 8), 10)
    seen = []
    model.embed.register_forward_hook(lambda module, given, out: seen.append(given[0]))
    x = torch.arange(64.0).reshape(1, 1, 8, 8)
    model(x)
    assert seen[0][0, 5].tolist() == x[0, 0, 2:4, 2:4].flatten().tolist()


@pytest.mark.parametrize("variant", VISION.variants)
@pytest.mark.parametrize("gate", ["laplace", "sl"])
def test_a_quick_job_is_repeatable_and_moves_every_gate(variant, gate):
    job = Job(variant, gate, 3, 3e-3, quick=True)
    first, second = VISION.run(job), VISION.run(job)
    assert first == second
    assert first["moved"] is True
    assert set(MEASURES) < set(first)
    assert all(np.isfinite(first[name]) for name in (*MEASURES, "validation"))
    assert VISION.run(job._replace(seed=4))["loss"] != first["loss"]


def test_a_gate_that_does_not_train_is_found_out(monkeypatch):
    def frozen(*given):
        model = OneLayer(*given)
        model.layer.router.requires_grad_(False)
        return model

    monkeypatch.setattr(images, "OneLayer", frozen)
    assert VISION.run(Job(VISION.variants[0], "ss", 0, 3e-3, quick=True))["moved"] is False


@pytest.mark.parametrize("variant", VISION.variants)
@pytest.mark.parametrize("gate", VISION.baselines)
def test_baselines_have_an_accuracy_and_no_routing(variant, gate):
    found = VISION.run(Job(variant, gate, 0, 3e-3, quick=True))
    assert set(found) == {"validation", "moved", "accuracy", "loss"}


def test_routing_counts_all_kept_experts_of_all_tokens_by_class():
    tokens = {VISION.variants[0]: 1, VISION.variants[1]: 16}
    for variant, per_image in tokens.items():
        found = VISION.run(Job(variant, "sl", 0, 3e-3, quick=True))
        table = np.array(found["routing"])
        data = images.images("digits")
        test = images.parts(data, 0, quick=True).test
        expected = np.bincount(data.label[test], minlength=10) * per_image * 2
        assert table.sum(1).tolist() == expected.tolist()
        assert table.shape == (10, 8)
        assert len(found["choice"]) == 1024


def test_one_layer_learns_digits():
    found = images.run(SETTINGS["vision"]._replace(epochs=(12, 1)), Job(VISION.variants[0], "ss", 0, 1e-2))
    assert found["accuracy"] > 0.92
    assert found["information"] > 0.3
    assert found["loss"][-1] < 0.1 * found["loss"][0]


# Rows


def test_parts_do_not_overlap_and_test_rows_are_the_same_for_all_seeds():
    data = images.images("digits")
    for quick in (False, True):
        found = images.parts(data, 5, quick)
        rows = torch.cat(found)
        assert len(rows.unique()) == len(rows)
        assert all(map(torch.equal, found, images.parts(data, 5, quick)))
        other = images.parts(data, 6, quick)
        assert torch.equal(found.test, other.test)
        assert not torch.equal(found.validation, other.validation)
        assert not set(found.test.tolist()) & set(torch.cat(other[:2]).tolist())
    assert len(torch.cat(images.parts(data, 5, quick=False))) == 1797


def test_the_own_test_part_of_a_set_is_used():
    data = images.images("digits")._replace(train=1500)
    found = images.parts(data, 0, quick=False)
    assert torch.equal(found.test, torch.arange(1500, 1797))
    assert sorted(torch.cat([found.train, found.validation]).tolist()) == list(range(1500))


@pytest.mark.parametrize("tuning", [False, True])
def test_test_rows_change_neither_training_nor_the_choice_of_the_rate(monkeypatch, tuning):
    job = Job(VISION.variants[0], "sl", 0, 3e-3, quick=True, tuning=tuning)
    before = VISION.run(job)
    data = images.images("digits")
    pixels, label = data.pixels.copy(), data.label.copy()
    test = images.parts(data, 0, quick=True).test.numpy()
    pixels[test], label[test] = 16 - pixels[test], 9 - label[test]
    monkeypatch.setattr(images, "images", lambda *_: data._replace(pixels=pixels, label=label))
    after = VISION.run(job)
    kept = {"validation", "moved"} if tuning else {"validation", "moved", "loss"}
    assert {name: before[name] for name in kept} == {name: after[name] for name in kept}
    assert set(before) == kept if tuning else before["accuracy"] != after["accuracy"]


# Data from folders


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A folder with small Fashion-MNIST and CIFAR-10 sets of random pixels, whose checksums are made the known ones."""
    draw = np.random.default_rng(0)
    contents = {}
    for part, rows in (("train", 80), ("t10k", 30)):
        pixels, label = draw.integers(0, 256, (rows, 28, 28), dtype=np.uint8), np.arange(rows, dtype=np.uint8) % 10
        contents[f"{part}-images-idx3-ubyte"] = b"\0\0\x08\3" + struct.pack(">3I", rows, 28, 28) + pixels.tobytes()
        contents[f"{part}-labels-idx1-ubyte"] = b"\0\0\x08\1" + struct.pack(">I", rows) + label.tobytes()
    for name in (*(f"data_batch_{n}.bin" for n in range(1, 6)), "test_batch.bin"):
        rows = np.c_[np.arange(20, dtype=np.uint8) % 10, draw.integers(0, 256, (20, 3072), dtype=np.uint8)]
        contents[name] = rows.tobytes()
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    for name in ("fashion-mnist", "cifar-10"):
        files = tuple(
            replace(file, digest=hashlib.new(file.method, contents[file.name.removesuffix(".gz")]).hexdigest())
            for file in SOURCES[name].files
        )
        monkeypatch.setitem(SOURCES, name, replace(SOURCES[name], files=files))
    return tmp_path


@pytest.mark.parametrize("experiment", [FASHION, CIFAR], ids=lambda one: one.name)
@pytest.mark.parametrize("kind", [0, 1])
def test_sets_of_a_folder_run_with_the_same_code(experiment, kind, small):
    found = experiment.run(Job(experiment.variants[kind], "ls", 0, 1e-3, quick=True, folder=small))
    assert found["moved"] is True
    assert set(MEASURES) < set(found)


@pytest.mark.parametrize(("experiment", "remedy"), [(FASHION, "apt-get install"), (CIFAR, "cifar-10-binary.tar.gz")])
def test_without_the_data_the_remedy_is_named(experiment, remedy, tmp_path, monkeypatch):
    monkeypatch.setitem(SOURCES, "fashion-mnist", replace(SOURCES["fashion-mnist"], system="no/such/folder"))
    with pytest.raises(FileNotFoundError, match=remedy):
        experiment.run(Job(experiment.variants[0], "ss", 0, 1e-3, quick=True, folder=tmp_path))


def test_the_words_of_the_experiments_hold():
    for experiment in (VISION, FASHION, CIFAR):
        setting = SETTINGS[experiment.name]
        assert all(gates_of(gate) for gate in experiment.gates)
        assert f"{setting.hidden} GELU units" in experiment.why
        assert f"{setting.epochs[0]} epochs for the one layer and {setting.epochs[1]} for the" in experiment.why
        assert next(iter(experiment.measures)) == "accuracy"
