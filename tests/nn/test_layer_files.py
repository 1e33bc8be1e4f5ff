"""Layers come back from files as they were, and altered files are told in words."""

import copy
import json
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from gatewise.core.experts import EXPERTS
from gatewise.core.families import FAMILIES
from gatewise.core.gates import GATES, Gate
from gatewise.core.links import NormalisedSigmoid, TopK
from gatewise.core.mixture import Mixture
from gatewise.core.origin import ExpertAbout
from gatewise.core.scores import Activated, Cosine, Distance, Tempered
from gatewise.nn import Anneal, MoE, from_measure
from gatewise.nn.hub import GatedShared, load_block, load_layer, save_layer
from gatewise.testing import make_problem

pytest.importorskip("safetensors.torch")


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


LAYERS = {
    **{name: {"gate": name} for name in GATES},
    "tree": {"n_experts": (2, 3), "gate": ("laplace", "cosine"), "top_k": 2},
    "tree by level": {"n_experts": (2, 3), "top_k": (1, 2), "balance": "bias"},
    "dense": {"top_k": None, "normalise": "before", "balance": "none"},
    "composed": {"gate": Gate(Tempered(Activated(Cosine(floor=0.2), "tanh")), NormalisedSigmoid())},
    "numbers in a score": {"gate": Gate(Distance(metric=(0.5,) * 8), TopK(k=3))},
    "experts": {"activation": "swiglu", "bias": True, "dim_out": 5, "scale": 2.5, "shared": 2},
    "annealed": {"gate": "dense-to-sparse", "temperature": Anneal(2.0, 0.5, 10)},
    "fixed": {"gate": "dense-to-sparse", "temperature": 0.7},
    "rest": {"backend": "loop", "capacity": 1.5, "noise": 0.3, "balance_weight": 0.2, "z_weight": 0.1},
    "double": {"dtype": torch.float64},
    "half": {"dtype": torch.bfloat16},
}


def trained(n_experts=6, dtype=torch.float32, **options):
    layer = MoE(8, 12, n_experts, **options).to(dtype)
    optimizer = torch.optim.SGD(layer.parameters(), 0.1)
    for _ in range(2):
        layer(torch.randn(16, 8, dtype=dtype)).square().mean().backward()
        optimizer.step()
    return layer.eval()


@pytest.mark.parametrize("name", sorted(LAYERS))
def test_a_saved_layer_comes_back_as_it_was(name, tmp_path):
    layer = trained(**LAYERS[name])
    save_layer(layer, tmp_path)
    again = load_layer(tmp_path).eval()
    state = again.state_dict()
    assert list(state) == list(layer.state_dict())
    assert all(torch.equal(value, state[key]) for key, value in layer.state_dict().items())
    assert [value.dtype for value in state.values()] == [value.dtype for value in layer.state_dict().values()]
    x = torch.randn(9, 8, dtype=layer.experts.w_in.dtype)
    assert torch.equal(again(x), layer(x))
    assert repr(again) == repr(layer)
    assert (again.router.noise, again.backend) == (layer.router.noise, layer.backend)
    kinds = [{key: value.requires_grad for key, value in one.named_parameters()} for one in (layer, again)]
    assert kinds[0] == kinds[1]
    schedules = [[gate.schedule for gate in one.router.gates] for one in (layer, again)]
    assert schedules[0] == schedules[1]


def test_a_loaded_layer_goes_on_training(tmp_path):
    layer = trained(balance="bias", gate="dense-to-sparse", temperature=Anneal(2.0, 0.5, 10))
    save_layer(layer, tmp_path)
    again = load_layer(tmp_path).train()
    before = copy.deepcopy(again.state_dict())
    optimizer = torch.optim.SGD(again.parameters(), 0.1)
    again(torch.randn(16, 8)).square().mean().backward()
    optimizer.step()
    moved = {key for key, value in again.state_dict().items() if not torch.equal(value, before[key])}
    assert set(before) - moved == {"balancer.carried"}  # of earlier steps, where the last one was short
    assert int(again.balancer.steps) == 3


def test_a_shared_expert_behind_a_gate_is_saved_with_its_held_bias(tmp_path):
    layer = GatedShared(MoE(16, 4, 3, activation="swiglu"), 5)
    layer.layer.router.gates[0].bias.requires_grad_(False)
    save_layer(layer, tmp_path)
    again = load_layer(tmp_path)
    x = torch.randn(3, 16)
    assert torch.equal(again(x), layer(x))
    assert not again.layer.router.gates[0].bias.requires_grad


FITTED = [*EXPERTS.values(), ExpertAbout(EXPERTS["gelu"], (0.5, -1.0))]
TURNS = [  # every expert with one family in turn, with the others in the slow run
    pytest.param(expert, family, id=f"{expert}-{family}", marks=[pytest.mark.slow] * ((at - place) % len(FAMILIES) > 0))
    for at, expert in enumerate(FITTED)
    for place, family in enumerate(FAMILIES)
]


@pytest.mark.parametrize(("expert", "family"), TURNS)
def test_the_layer_of_a_fitted_mixture_comes_back(expert, family, tmp_path):
    mixture = Mixture((GATES["laplace"], GATES["softmax"]), (2, 2), expert, FAMILIES[family])
    _, measure, x, *_ = make_problem(mixture, d=2, gate_d=2, columns=2)
    layer = from_measure(mixture, measure)
    save_layer(layer, tmp_path)
    again = load_layer(tmp_path)
    assert torch.equal(again(x.mT), layer(x.mT))
    assert repr(again) == repr(layer)


def alter(folder, change):
    path = folder / "config.json"
    whole = json.loads(path.read_text())
    change(whole)
    path.write_text(json.dumps(whole))


def nested(times):
    """A gate as the first schema wrote it, of scores inside each other."""
    score = {"Affine": {}}
    for _ in range(times):
        score = {"Tempered": {"inner": score}}
    return {"score": score, "link": {"Softmax": {}}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda whole: whole["layer"].update(colour="red"), r"unknown fields \(colour\)"),
        (lambda whole: whole["layer"].pop("scale"), r"lack some \(scale\)"),
        (lambda whole: whole.update(code="import os"), "has an unknown 'code'"),
        (lambda whole: whole.update(schema=3), "upgrade gatewise"),
        (lambda whole: whole.update(format="x"), "not of a gatewise layer"),
        (lambda whole: whole["layer"].update(gate=["os.system"]), "'os.system' is unknown"),
        (lambda whole: whole["layer"].update(gate=[{"score": {"Popen": {}}, "link": {"Softmax": {}}}]), "'Popen'"),
        (lambda whole: whole["layer"].update(gate=[{"score": {"Affine": 3}}]), "no part of a gate"),
        (lambda whole: whole["layer"].update(gate=[nested(40)]), "more than 20 deep"),
        (lambda whole: whole["layer"].update(gate={"part": "Linear", "fields": {}}), "gate of the MoE is Linear"),
        (lambda whole: whole.update(gated_shared="2"), "gated_shared of the LayerFile is '2'"),
        (lambda whole: whole["layer"].update(experts=[{"tuple": ["linear", "gaussian"]}]), "experts of the layer is"),
        (lambda whole: whole["layer"].update(dim="8"), "dim of the MoE is '8'"),
        (lambda whole: whole["layer"].update(hidden=10**30), "beyond the whole numbers"),
        (lambda whole: whole["layer"].update(scale=float("nan")), "nan is no number"),
        (lambda whole: whole["layer"].update(scale={"float": "inf"}), "not finite"),
        (lambda whole: whole["layer"].update(temperature={"part": "Affine", "fields": {}}), "temperature of the MoE"),
        (lambda whole: whole["layer"].update(temperature={"anneal": {"start": "2"}}), "start of the Anneal"),
        (lambda whole: whole["layer"].update(top_k=[True]), "top_k of the MoE"),
        (lambda whole: whole["layer"].update(top_k=9), "top_k=9 with the branching"),
    ],
)
def test_an_altered_config_is_refused(change, message, tmp_path):
    save_layer(MoE(8, 4, 3), tmp_path)
    alter(tmp_path, change)
    with pytest.raises(ValueError, match=message):
        load_layer(tmp_path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        load_layer(tmp_path)
    save_layer(MoE(8, 4, 3), tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors"):
        load_layer(tmp_path)


@pytest.mark.parametrize(
    "options",
    [
        {"experts": lambda: nn.Linear(8, 8)},
        {"gate": "dense-to-sparse", "temperature": lambda step: 1.0},
    ],
)
def test_code_of_the_user_is_not_saved(options, tmp_path):
    with pytest.raises(ValueError, match="a file holds names"):
        save_layer(MoE(8, 4, 3, **options), tmp_path)


def test_without_safetensors_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(ImportError, match=r"pip install gatewise\[hub\]"):
        save_layer(MoE(8, 4, 3), tmp_path)


LIMITED = """
import resource, signal, sys
from gatewise.nn import MoE
from gatewise.nn.hub import save_layer
layer = MoE(32, 64, 8)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    save_layer(layer, sys.argv[1])
except OSError as fault:
    print(fault)
"""


def test_a_layer_that_does_not_fit_on_the_disk_leaves_the_old_one(tmp_path):
    save_layer(trained(), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    command = [sys.executable, "-c", LIMITED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"{tmp_path / 'model.safetensors'} cannot be written" in done.stdout
    assert "make room, or give another folder" in done.stdout
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("part", ["../other/model.safetensors", "/tmp/model.safetensors", "a/b.safetensors", "", ".."])
def test_a_checkpoint_names_files_of_its_folder_only(tmp_path, part):
    save_layer(trained(), tmp_path / "other")
    folder = tmp_path / "sent"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "mixtral", "num_experts_per_tok": 2}))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"x.gate.weight": part}}))
    with pytest.raises(ValueError, match="which is not a file of its folder: fetch the checkpoint again"):
        load_block(folder, "x.")


CONFIGS = {
    "cut short": ('{"format": "gatew', "is no JSON"),
    "nested without end": ("[" * 100_000, "is no JSON"),
    "a list": ("[1]", "holds no settings"),
    "no schema": ('{"format": "gatewise layer"}', "lacks schema, lacks layer, lacks gated_shared, lacks frozen"),
    "a schema in words": (
        '{"format": "gatewise layer", "schema": "one", "layer": {}, "gated_shared": null, "frozen": []}',
        "schema of the LayerFile is 'one'",
    ),
    "one field less": (
        '{"format": "gatewise layer", "schema": 1, "layer": {}, "frozen": []}',
        "the LayerFile lacks gated_shared;",
    ),
    "layers of none": (
        '{"format": "gatewise layer", "schema": 1, "layer": [], "gated_shared": null, "frozen": []}',
        r"layer of the LayerFile is \[\]",
    ),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_settings_that_are_none_are_told_in_words(tmp_path, name):
    text, words = CONFIGS[name]
    save_layer(trained(), tmp_path)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=words):
        load_layer(tmp_path)


@pytest.mark.parametrize(
    ("strange", "words"),
    [
        ("nothing", "freezes 'nothing', which is no parameter of the layer"),
        (3, r"frozen of the LayerFile is \[3\]"),
        (None, r"frozen of the LayerFile is \[None\]"),
    ],
)
def test_frozen_parameters_that_are_not_there_are_told(tmp_path, strange, words):
    save_layer(trained(), tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "frozen": [strange]}))
    with pytest.raises(ValueError, match=words):
        load_layer(tmp_path)


@pytest.mark.parametrize("name", ["experts.w_in_mask", "router.gates.0.weight_mask", "shared.w_out_mask"])
def test_a_layer_whose_parameters_are_wrapped_is_not_written(name, tmp_path):
    """No layer that is built anew could read it."""
    layer = MoE(16, 24, 4, shared=1)
    part, _, parameter = name.removesuffix("_mask").rpartition(".")
    prune.l1_unstructured(layer.get_submodule(part), parameter, 0.5)
    with pytest.raises(ValueError, match=rf"(has|lacks) '{part}\.{parameter}.*remove its pruning"):
        save_layer(layer, tmp_path / "layer")
    assert not (tmp_path / "layer").exists()
    prune.remove(layer.get_submodule(part), parameter)
    save_layer(layer, tmp_path / "layer")
    x = torch.randn(5, 16)
    assert torch.equal(load_layer(tmp_path / "layer")(x), layer(x))


class Wrapper(nn.Module):
    def __init__(self, base):
        super().__init__()
        self.base = base

    def forward(self, *args):
        return self.base(*args)


def test_a_layer_with_a_wrapped_part_is_not_written(tmp_path):
    layer = MoE(16, 24, 4, gate="dense-to-sparse")
    layer.router.gates[0] = Wrapper(layer.router.gates[0])
    with pytest.raises(ValueError, match=r"the layer has 'router\.gates\.0\.base.* merge its adapters"):
        save_layer(layer, tmp_path)
    layer.router.gates[0], layer.experts = layer.router.gates[0].base, Wrapper(layer.experts)
    with pytest.raises(ValueError, match="wrapped by Wrapper: merge it with them first"):
        save_layer(layer, tmp_path)


def test_writing_a_layer_draws_no_random_numbers(tmp_path):
    layer, state = MoE(16, 24, (2, 2), gate="laplace"), torch.get_rng_state()
    save_layer(layer, tmp_path)
    assert torch.equal(torch.get_rng_state(), state)
