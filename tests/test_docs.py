"""Every Python example of the documents runs, in order, one namespace per document."""

import re
import warnings
from pathlib import Path

import pytest

import gatewise
from gatewise import nn

ROOT = Path(__file__).parents[1]
GUIDES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md"))


def blocks(name):
    return re.findall(r"^```python\n(.*?)^```", (ROOT / name).read_text(), re.DOTALL | re.MULTILINE)


DOCUMENTS = ("README.md", "CONTRIBUTING.md", *(name for name in GUIDES if blocks(name)))


# Dynamo makes an instance of every autograd function that it traces.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize("name", DOCUMENTS)
def test_examples_run(name, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = blocks(name)
    assert found
    if any("from transformers import" in block for block in found):
        pytest.importorskip("transformers")
        pytest.importorskip("accelerate")
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


def headings(path):
    """The anchors of a document's headings."""
    found = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in found}


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", *GUIDES])
def test_links_lead_to_files_and_headings(name):
    for file, heading in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", (ROOT / name).read_text()):
        target = (ROOT / name).parent / file if file else ROOT / name
        assert target.exists(), file
        assert not heading or heading in headings(target), heading


def test_the_guide_to_layers_uses_every_public_name():
    text = (ROOT / "docs/layers.md").read_text()
    assert not [name for name in nn.__all__ if not re.search(rf"\b{name}\b", text)]


def test_the_public_names_exist():
    assert all(getattr(gatewise, name) is not None for name in gatewise.__all__)
