"""Layers that earlier versions saved stay readable: same outputs (`layers/make.py` wrote them)."""

import json
from pathlib import Path

import pytest
import torch

from gatewise.nn.hub import load_layer

pytest.importorskip("safetensors.torch")
HOME = Path(__file__).parent / "layers"
EXPECTED = json.loads((HOME / "expected.json").read_text("utf-8"))


@pytest.mark.parametrize("name", EXPECTED)
def test_an_old_layer_computes_what_it_did(name):
    x, y = (torch.tensor(EXPECTED[name][key], dtype=torch.float64) for key in "xy")
    torch.testing.assert_close(load_layer(HOME / name).eval()(x), y, rtol=1e-12, atol=1e-12)
