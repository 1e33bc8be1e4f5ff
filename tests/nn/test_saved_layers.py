"""Layers of earlier versions, and of this one, stay readable: same outputs (`layers.../make.py` wrote them)."""

import json
from pathlib import Path

import pytest
import torch

from gatewise.nn.hub import load_layer, save_layer
from gatewise.nn.hub.files import SCHEMA

pytest.importorskip("safetensors.torch")
HOME = Path(__file__).parent
FOLDERS = {1: HOME / "layers", 2: HOME / "layers_schema2"}
EXPECTED = {schema: json.loads((path / "expected.json").read_text("utf-8")) for schema, path in FOLDERS.items()}
LAYERS = [(schema, name) for schema, found in EXPECTED.items() for name in found]


def config(folder):
    return json.loads((folder / "config.json").read_text("utf-8"))


def compare(layer, stored):
    x, y = (torch.tensor(stored[key], dtype=torch.float64) for key in "xy")
    torch.testing.assert_close(layer.eval()(x), y, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("schema", "name"), LAYERS)
def test_an_old_layer_computes_what_it_did_and_is_saved_again(schema, name, tmp_path):
    folder = FOLDERS[schema] / name
    assert config(folder)["schema"] == schema
    layer = load_layer(folder)
    save_layer(layer, tmp_path)
    for one in (layer, load_layer(tmp_path)):
        compare(one, EXPECTED[schema][name])


def test_layers_of_every_schema_are_kept():
    assert set(FOLDERS) == set(range(1, SCHEMA + 1)), f"write layers of schema {SCHEMA}: layers_schema2/make.py"
    for schema, folder in FOLDERS.items():
        assert {path.parent.name for path in folder.glob("*/config.json")} == set(EXPECTED[schema])


@pytest.mark.parametrize("name", EXPECTED[SCHEMA])
def test_a_layer_of_this_schema_is_saved_as_it_was(name, tmp_path):
    save_layer(load_layer(FOLDERS[SCHEMA] / name), tmp_path)
    assert config(tmp_path) == config(FOLDERS[SCHEMA] / name)
