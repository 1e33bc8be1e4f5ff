"""Every example runs in a few steps and writes its picture."""

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "examples"
SHORT = {"character_lm": ("--steps", "2"), "replace_transformer": ("--steps", "2"), "vit_digits": ("--epochs", "1")}


def test_every_example_is_here():
    assert {path.stem for path in FOLDER.glob("*.py")} == set(SHORT)


@pytest.mark.parametrize("name", SHORT)
def test_an_example_runs(name, tmp_path):
    if name == "replace_transformer":
        pytest.importorskip("transformers")
    picture = tmp_path / "picture.png"
    command = [sys.executable, str(FOLDER / f"{name}.py"), *SHORT[name], "--out", str(picture)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert picture.stat().st_size > 10_000
    assert f"wrote {picture}" in done.stdout
