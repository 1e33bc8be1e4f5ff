"""Every Python example of the documents runs, in order, one namespace per document."""

import re
import warnings
from pathlib import Path

import pytest

import gatewise

ROOT = Path(__file__).parents[1]
DOCUMENTS = ("README.md", "CONTRIBUTING.md")


def blocks(name):
    return re.findall(r"^```python\n(.*?)^```", (ROOT / name).read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_examples_run(name, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = blocks(name)
    assert found
    namespace = {"__name__": "__main__"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for block in found:
            exec(compile(block, name, "exec"), namespace)
    capsys.readouterr()


def test_readme_opens_with_the_two_commands():
    head = (ROOT / "README.md").read_text()[:400]
    assert "make demo" in head
    assert "make test" in head


def test_every_gate_is_in_the_readme():
    text = (ROOT / "README.md").read_text()
    missing = [name for name in gatewise.GATES if f"`{name}`" not in text and f"`{name.split('-')[0]}-`" not in text]
    assert not missing


def test_every_status_is_in_the_readme():
    text = (ROOT / "README.md").read_text()
    assert all(f"`{status}`" in text for status in gatewise.Status)


def test_the_public_names_exist():
    assert all(getattr(gatewise, name) is not None for name in gatewise.__all__)
