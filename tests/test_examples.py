"""Every example runs in a few steps and writes its picture."""

import runpy
import sys
import warnings
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).parents[1] / "examples"
SHORT = {"character_lm": ("--steps", "2"), "replace_transformer": ("--steps", "2"), "vit_digits": ("--epochs", "1")}


def test_every_example_is_here():
    assert {path.stem for path in FOLDER.glob("*.py")} == set(SHORT)


@pytest.mark.parametrize("name", SHORT)
def test_an_example_runs(name, tmp_path, monkeypatch, capsys):
    if name == "replace_transformer":
        pytest.importorskip("transformers")
    picture = tmp_path / "picture.png"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *SHORT[name], "--out", str(picture)])
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("default")
        runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
    assert picture.stat().st_size > 10_000
    assert f"wrote {picture}" in capsys.readouterr().out
